//! Files behind an address. The engine speaks no HTTP: whoever needs bytes puts a request for a
//! range into a queue and waits; readers outside of the engine take requests and hand in bytes as
//! they come. So no thread of the engine ever attaches to the interpreter in which those run.

mod ahead;

use super::Source;
use ahead::AheadSource;
use seqmill_base::fingerprint::{Fingerprint, fingerprint_of};
use seqmill_base::{CancelToken, Error, Result};
use std::collections::{BTreeMap, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// How often a wait looks whether it was called off.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// A remote file as it was when the job began.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RemoteObject {
    /// Its bytes.
    pub size: u64,
    /// Stands for its version (`ETag`, else the time of the last change), as a local file's time
    /// does.
    pub tag: i64,
}

/// A range that somebody waits for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RangeRequest {
    /// Number, for the answer.
    pub id: u64,
    /// The file.
    pub path: PathBuf,
    /// First byte.
    pub offset: u64,
    /// Bytes; never more than a range may have.
    pub length: u64,
}

/// What has come of a range so far.
#[derive(Debug, Default)]
struct Answer {
    length: usize,
    bytes: Vec<u8>,
    ended: Option<Result<()>>,
}

#[derive(Debug, Default)]
struct State {
    objects: BTreeMap<PathBuf, RemoteObject>,
    asked: VecDeque<RangeRequest>,
    answers: BTreeMap<u64, Answer>,
    last_id: u64,
    /// Bytes of all ranges that are on their way or not used up yet.
    held: u64,
    closed: bool,
    /// Jobs whose end ends every wait, by their number.
    jobs: BTreeMap<u64, CancelToken>,
}

/// The readers' side: ranges that are wanted. It ends with the [`Remote`] that it belongs to.
#[derive(Debug)]
pub struct RangeQueue {
    state: Mutex<State>,
    /// There is a request, or nothing will come any more.
    wanted: Condvar,
    /// An answer has ended.
    answered: Condvar,
}

impl RangeQueue {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for the next range that is wanted; `None` when nothing will come any more.
    pub fn next_request(&self) -> Option<RangeRequest> {
        let mut state = self.lock();
        loop {
            if state.closed {
                return None;
            }
            if let Some(request) = state.asked.pop_front() {
                return Some(request);
            }
            state = self.wanted.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Hands in the next bytes of a range; `false` when nobody wants them any more.
    pub fn append(&self, id: u64, bytes: &[u8]) -> bool {
        let mut state = self.lock();
        let Some(answer) = state.answers.get_mut(&id) else { return false };
        if answer.bytes.is_empty() {
            // Only now: ranges that are still waiting take no memory.
            answer.bytes.reserve_exact(answer.length);
        }
        let room = answer.length - answer.bytes.len();
        answer.bytes.extend_from_slice(bytes.get(..room.min(bytes.len())).unwrap_or_default());
        true
    }

    /// Ends a range. One that lacks bytes has failed, whatever is said.
    pub fn finish(&self, id: u64, result: Result<()>) {
        let mut state = self.lock();
        if let Some(answer) = state.answers.get_mut(&id) {
            let whole = answer.bytes.len() == answer.length;
            let result = if result.is_ok() && !whole {
                Err(Error::internal("a range was ended before it was complete"))
            } else {
                result
            };
            answer.ended = Some(result);
        }
        drop(state);
        self.answered.notify_all();
    }

    /// Waits so long, or until nothing is wanted any more, which is the result.
    pub fn wait_closed(&self, time: Duration) -> bool {
        let waited = self.wanted.wait_timeout_while(self.lock(), time, |state| !state.closed);
        waited.unwrap_or_else(PoisonError::into_inner).0.closed
    }

    fn wait(&self, id: u64) -> Result<Vec<u8>> {
        let mut state = self.lock();
        loop {
            if state.closed || state.jobs.values().any(CancelToken::is_cancelled) {
                return Err(Error::cancelled());
            }
            let Some(answer) = state.answers.get_mut(&id) else {
                return Err(Error::internal("a range vanished"));
            };
            if let Some(ended) = answer.ended.take() {
                let bytes = std::mem::take(&mut answer.bytes);
                return ended.map(|()| bytes);
            }
            let waited = self.answered.wait_timeout(state, LOOK_EVERY);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn close(&self) {
        let mut state = self.lock();
        state.closed = true;
        state.asked.clear();
        drop(state);
        self.wanted.notify_all();
        self.answered.notify_all();
    }
}

/// The remote files of one job or store, as the engine sees them.
#[derive(Debug)]
pub struct Remote {
    queue: Arc<RangeQueue>,
    ranges: u64,
    range_bytes: u64,
    pid: u32,
}

impl Drop for Remote {
    fn drop(&mut self) {
        self.queue.close();
    }
}

impl Remote {
    /// Files of which at most `ranges` ranges of `range_bytes` bytes are held.
    pub fn new(ranges: u64, range_bytes: u64) -> Arc<Self> {
        let queue = RangeQueue {
            state: Mutex::default(),
            wanted: Condvar::new(),
            answered: Condvar::new(),
        };
        Arc::new(Self {
            queue: Arc::new(queue),
            ranges: ranges.max(1),
            range_bytes: range_bytes.max(1),
            pid: std::process::id(),
        })
    }

    /// Where readers find what is wanted.
    pub fn queue(&self) -> Arc<RangeQueue> {
        Arc::clone(&self.queue)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.queue.lock()
    }

    /// Ranges that may be on their way at a time.
    pub fn ranges(&self) -> u64 {
        self.ranges
    }

    /// Bytes that ranges may take together.
    pub fn ahead_bytes(&self) -> u64 {
        self.ranges * self.range_bytes
    }

    /// Makes a file known.
    pub fn add(&self, path: PathBuf, object: RemoteObject) {
        self.lock().objects.insert(path, object);
    }

    /// A file, if it is one of these.
    pub fn object(&self, path: &Path) -> Option<RemoteObject> {
        self.lock().objects.get(path).copied()
    }

    /// A file to be read mostly front to back: ranges are asked for ahead of the reader.
    pub fn open(self: &Arc<Self>, path: &Path) -> Result<Arc<dyn Source>> {
        let object = self.object(path).ok_or_else(|| missing(path))?;
        Ok(Arc::new(AheadSource::new(Arc::clone(self), path, object)))
    }

    /// Fills `buffer` from `offset` on, fewer bytes only at the end: one range after the other.
    pub fn read_at(self: &Arc<Self>, path: &Path, buffer: &mut [u8], offset: u64) -> Result<usize> {
        let object = self.object(path).ok_or_else(|| missing(path))?;
        let rest = object.size.saturating_sub(offset);
        let total = usize::try_from(rest).unwrap_or(usize::MAX).min(buffer.len());
        let step = usize::try_from(self.range_bytes).unwrap_or(usize::MAX);
        let mut at = offset;
        for piece in buffer.get_mut(..total).unwrap_or_default().chunks_mut(step) {
            let length = piece.len() as u64;
            piece.copy_from_slice(self.ask(path, at, length)?.bytes()?);
            at += length;
        }
        Ok(total)
    }

    /// The whole of a small file.
    pub fn read_whole(self: &Arc<Self>, path: &Path) -> Result<Vec<u8>> {
        let object = self.object(path).ok_or_else(|| missing(path))?;
        let (mut bytes, mut at) = (Vec::new(), 0);
        while at < object.size {
            let length = (object.size - at).min(self.range_bytes);
            bytes.extend_from_slice(self.ask(path, at, length)?.bytes()?);
            at += length;
        }
        Ok(bytes)
    }

    /// Identity of a file: the same hash as of a local copy.
    pub fn fingerprint(self: &Arc<Self>, path: &Path) -> Result<Fingerprint> {
        let object = self.object(path).ok_or_else(|| missing(path))?;
        fingerprint_of(object.size, object.tag, |buffer, offset| {
            self.read_at(path, buffer, offset).map(drop)
        })
    }

    /// Asks for a range, which must lie within the file.
    fn ask(self: &Arc<Self>, path: &Path, offset: u64, length: u64) -> Result<Ticket> {
        if std::process::id() != self.pid {
            let what = "remote files cannot be read in a process made by fork; open them there, \
                        or start processes with spawn or forkserver";
            return Err(Error::input(what).at_path(path));
        }
        let mut state = self.lock();
        if state.closed {
            return Err(Error::input("the remote files are closed").at_path(path));
        }
        state.last_id += 1;
        state.held += length;
        let id = state.last_id;
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        state.answers.insert(id, Answer { length, ..Answer::default() });
        let request = RangeRequest { id, path: path.to_path_buf(), offset, length: length as u64 };
        state.asked.push_back(request);
        drop(state);
        // All: who pauses between attempts waits there too.
        self.queue.wanted.notify_all();
        Ok(Ticket { remote: Arc::clone(self), id, length: length as u64, bytes: None })
    }

    /// Whether so many bytes more may be asked for ahead.
    fn has_room(&self, bytes: u64) -> bool {
        self.lock().held + bytes <= self.ahead_bytes()
    }

    /// Ends waits when `token` is cancelled, as long as the result lives.
    pub fn stop_with(self: &Arc<Self>, token: CancelToken) -> Watch {
        let mut state = self.lock();
        state.last_id += 1;
        let id = state.last_id;
        state.jobs.insert(id, token);
        Watch { remote: Arc::clone(self), id }
    }

    /// Ends every wait; nothing can be read any more.
    pub fn close(&self) {
        self.queue.close();
    }
}

fn missing(path: &Path) -> Error {
    Error::io(path, &std::io::Error::from_raw_os_error(libc::ENOENT))
}

/// Takes its token back when it is dropped.
#[must_use]
#[derive(Debug)]
pub struct Watch {
    remote: Arc<Remote>,
    id: u64,
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.remote.lock().jobs.remove(&self.id);
    }
}

/// A range that was asked for; its bytes count as held as long as it lives.
struct Ticket {
    remote: Arc<Remote>,
    id: u64,
    length: u64,
    bytes: Option<Vec<u8>>,
}

impl Ticket {
    fn bytes(&mut self) -> Result<&[u8]> {
        if self.bytes.is_none() {
            self.bytes = Some(self.remote.queue.wait(self.id)?);
        }
        Ok(self.bytes.as_deref().unwrap_or_default())
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let mut state = self.remote.lock();
        state.answers.remove(&self.id);
        state.asked.retain(|request| request.id != self.id);
        state.held -= self.length;
    }
}

#[cfg(test)]
mod tests;
