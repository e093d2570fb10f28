//! A remote file that is read front to back: what follows is on its way before it is needed.

use super::{Remote, RemoteObject, Source, Ticket};
use seqmill_base::Result;
use seqmill_base::fingerprint::Fingerprint;
use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

/// Shortest range: a request costs as much time as some ten thousand bytes.
const LEAST_BYTES: u64 = 64 << 10;
/// Bytes asked for ahead once a reader goes on where it was; then as many as it has read there.
const FIRST_AHEAD_BYTES: u64 = 256 << 10;

/// A range that was asked for.
struct Piece {
    begin: u64,
    end: u64,
    ticket: Ticket,
}

impl Piece {
    fn has(&self, at: u64) -> bool {
        (self.begin..self.end).contains(&at)
    }
}

/// What is on its way.
#[derive(Default)]
struct Ahead {
    /// Ranges behind one another. They reach back to where the last read began: blocks are read
    /// with some of what follows them, which is read once more with the next one.
    pieces: VecDeque<Piece>,
    /// Bytes behind the reader's place that are to be asked for.
    reach: u64,
    /// Where it began to read front to back, and how far it has come.
    start: u64,
    next: u64,
    /// Stretches that will be read later, not asked for yet, and ranges of them that were.
    expected: VecDeque<(u64, u64)>,
    planned: VecDeque<Piece>,
}

impl Ahead {
    /// Forgets what lies before `at`, all ranges if `at` is somewhere else.
    fn go_to(&mut self, at: u64) {
        let mut end = None;
        while self.pieces.front().is_some_and(|piece| piece.end <= at) {
            end = self.pieces.pop_front().map(|piece| piece.end);
        }
        // The reader may have come to the very end of what was asked for.
        let goes_on = self.pieces.front().map_or(end == Some(at), |piece| piece.begin <= at);
        if !goes_on {
            self.pieces.clear();
        }
        if !goes_on || at > self.next {
            self.reach = 0;
            self.start = at;
        }
    }

    /// Makes a planned range with the byte `at` one of those that are read.
    fn take_planned(&mut self, at: u64) {
        while self.planned.front().is_some_and(|piece| piece.end <= at) {
            self.planned.pop_front();
        }
        if self.planned.front().is_some_and(|piece| piece.has(at)) {
            self.pieces.extend(self.planned.pop_front());
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

    fn ask(&self, begin: u64, length: u64) -> Result<Piece> {
        let length = length.min(self.remote.range_bytes).min(self.object.size - begin);
        let ticket = self.remote.ask(&self.path, begin, length)?;
        Ok(Piece { begin, end: begin + length, ticket })
    }

    /// Asks for the range with the byte `at`, of which `needed` bytes are wanted.
    fn ask_now(&self, ahead: &mut Ahead, at: u64, needed: u64) -> Result<()> {
        ahead.take_planned(at);
        if ahead.pieces.back().is_some_and(|piece| piece.has(at)) {
            return Ok(());
        }
        let (begin, end) = match ahead.expected.front() {
            Some(&(begin, end)) if (begin..end).contains(&at) => {
                ahead.expected.pop_front();
                (begin, end)
            }
            _ => (at, at + needed.max(LEAST_BYTES)),
        };
        if !self.remote.has_room(end - begin) {
            ahead.pieces.retain(|piece| piece.end > at);
        }
        ahead.pieces.push_back(self.ask(begin, end - begin)?);
        Ok(())
    }

    /// Asks for as much behind `at` as the reach and the budget say, once less than half of it is
    /// on its way; and for what is expected.
    fn ask_ahead(&self, ahead: &mut Ahead, at: u64) -> Result<()> {
        let until = at.saturating_add(ahead.reach).min(self.object.size);
        let step = (ahead.reach / 2).max(LEAST_BYTES).min(self.remote.range_bytes);
        let asked = ahead.pieces.back().map_or(until, |piece| piece.end);
        if asked < until.saturating_sub(ahead.reach / 2)
            || asked < until && until == self.object.size
        {
            let mut begin = asked;
            while begin < until && self.remote.has_room(step) {
                let piece = self.ask(begin, step)?;
                begin = piece.end;
                ahead.pieces.push_back(piece);
            }
        }
        while let Some(&(begin, end)) = ahead.expected.front() {
            let length = end - begin;
            if !self.remote.has_room(length) {
                break;
            }
            ahead.expected.pop_front();
            ahead.planned.push_back(self.ask(begin, length)?);
        }
        Ok(())
    }

    fn fill(&self, ahead: &mut Ahead, buffer: &mut [u8], offset: u64) -> Result<()> {
        ahead.go_to(offset);
        let mut done = 0;
        while let Some(rest) = buffer.get_mut(done..).filter(|rest| !rest.is_empty()) {
            let at = offset + done as u64;
            if !ahead.pieces.iter().any(|piece| piece.has(at)) {
                self.ask_now(ahead, at, rest.len() as u64)?;
            }
            self.ask_ahead(ahead, at)?;
            let Some(piece) = ahead.pieces.iter_mut().find(|piece| piece.has(at)) else { break };
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
        ahead.next = next;
        ahead.reach = next.saturating_sub(ahead.start).max(FIRST_AHEAD_BYTES).min(most);
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

    fn expect(&self, stretches: &[(u64, u64)]) {
        let mut ahead = self.ahead.lock().unwrap_or_else(PoisonError::into_inner);
        ahead.planned.clear();
        ahead.expected.clear();
        let mut asked = 0;
        for &(begin, end) in stretches {
            let end = end.min(self.object.size);
            asked = asked.max(begin);
            while asked < end {
                let next = end.min(asked + self.remote.range_bytes);
                ahead.expected.push_back((asked, next));
                asked = next;
            }
        }
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
