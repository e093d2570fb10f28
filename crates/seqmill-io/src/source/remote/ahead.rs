//! A remote file that is read front to back: what follows is on its way before it is needed.

use super::{Remote, RemoteObject, Source, Ticket};
use seqmill_base::Result;
use seqmill_base::fingerprint::Fingerprint;
use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

/// Shortest range: a request costs as much time as some ten thousand bytes.
const LEAST_BYTES: u64 = 64 << 10;
/// Bytes asked for ahead once a reader goes on where it was; doubled each time that it does.
const FIRST_AHEAD_BYTES: u64 = 256 << 10;

/// A range that was asked for.
struct Piece {
    begin: u64,
    end: u64,
    ticket: Ticket,
}

/// Ranges behind one another, the first of which has the reader's place.
#[derive(Default)]
struct Ahead {
    pieces: VecDeque<Piece>,
    /// Bytes behind the reader's place that are to be asked for.
    reach: u64,
}

impl Ahead {
    /// Forgets what lies before `at`, everything if `at` is somewhere else.
    fn go_to(&mut self, at: u64) {
        while self.pieces.front().is_some_and(|piece| piece.end <= at) {
            let gone = self.pieces.pop_front();
            // The reader may have come to the very end of what was asked for.
            if self.pieces.is_empty() && gone.is_some_and(|piece| piece.end == at) {
                return;
            }
        }
        if self.pieces.front().is_none_or(|piece| at < piece.begin) {
            self.pieces.clear();
            self.reach = 0;
        }
    }
}

/// See [`Remote::open`].
pub(super) struct AheadSource {
    remote: Arc<Remote>,
    path: PathBuf,
    object: RemoteObject,
    ahead: Mutex<Ahead>,
}

impl AheadSource {
    pub(super) fn new(remote: Arc<Remote>, path: &Path, object: RemoteObject) -> Self {
        Self { remote, path: path.to_path_buf(), object, ahead: Mutex::default() }
    }

    /// Asks for what is needed at `at`, and for as much behind it as the reach and the budget say.
    fn ask_ahead(&self, ahead: &mut Ahead, at: u64, needed: u64) -> Result<()> {
        let most = self.remote.range_bytes;
        if ahead.pieces.is_empty() {
            let length = needed.max(LEAST_BYTES).min(most).min(self.object.size - at);
            let ticket = self.remote.ask(&self.path, at, length)?;
            ahead.pieces.push_back(Piece { begin: at, end: at + length, ticket });
        }
        let until = at.saturating_add(ahead.reach).min(self.object.size);
        let step = (ahead.reach / 2).clamp(LEAST_BYTES.min(most), most);
        while let Some(begin) = ahead.pieces.back().map(|piece| piece.end).filter(|e| *e < until) {
            let length = step.min(self.object.size - begin);
            if !self.remote.has_room(length) {
                break;
            }
            let ticket = self.remote.ask(&self.path, begin, length)?;
            ahead.pieces.push_back(Piece { begin, end: begin + length, ticket });
        }
        Ok(())
    }

    fn fill(&self, ahead: &mut Ahead, buffer: &mut [u8], offset: u64) -> Result<()> {
        let mut done = 0;
        while let Some(rest) = buffer.get_mut(done..).filter(|rest| !rest.is_empty()) {
            let at = offset + done as u64;
            ahead.go_to(at);
            self.ask_ahead(ahead, at, rest.len() as u64)?;
            let Some(piece) = ahead.pieces.front_mut() else { break };
            let skip = usize::try_from(at - piece.begin).unwrap_or(usize::MAX);
            let bytes = piece.ticket.bytes()?.get(skip..).unwrap_or_default();
            let n = bytes.len().min(rest.len());
            if let (Some(to), Some(from)) = (rest.get_mut(..n), bytes.get(..n)) {
                to.copy_from_slice(from);
            }
            done += n;
        }
        let next = offset + done as u64;
        let most = self.remote.ahead_bytes();
        ahead.reach = (2 * ahead.reach).max(done as u64).max(FIRST_AHEAD_BYTES).min(most);
        if next == self.object.size {
            ahead.pieces.clear();
        }
        Ok(())
    }
}

impl Source for AheadSource {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> Result<usize> {
        let rest = self.object.size.saturating_sub(offset);
        let total = usize::try_from(rest).unwrap_or(usize::MAX).min(buffer.len());
        if total == 0 {
            return Ok(0);
        }
        let mut ahead = self.ahead.lock().unwrap_or_else(PoisonError::into_inner);
        let filled = self.fill(&mut ahead, buffer.get_mut(..total).unwrap_or_default(), offset);
        if filled.is_err() {
            *ahead = Ahead::default();
        }
        filled.map(|()| total)
    }

    fn len(&self) -> Option<u64> {
        Some(self.object.size)
    }

    fn path(&self) -> &Path {
        &self.path
    }

    fn fingerprint(&self) -> Result<Fingerprint> {
        self.remote.fingerprint(&self.path)
    }
}
