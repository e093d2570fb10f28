//! Pipes and standard input: read once, front to back.

use super::Source;
use seqmill_base::{Error, Result};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

struct State {
    reader: Box<dyn Read + Send>,
    /// Bytes read from the stream and kept, because they may be asked for again.
    kept: Vec<u8>,
    /// Stream offset of the first kept byte.
    kept_from: u64,
    ended: bool,
}

/// A stream. Bytes are kept from the beginning on until [`Source::done_until`] lets go of them,
/// so that format, header and sample can be looked at before the run begins.
pub struct StreamSource {
    state: Mutex<State>,
    path: PathBuf,
}

impl StreamSource {
    /// A source over `reader`.
    pub fn new(reader: Box<dyn Read + Send>, path: &Path) -> Self {
        let state = State { reader, kept: Vec::new(), kept_from: 0, ended: false };
        Self { state: Mutex::new(state), path: path.to_path_buf() }
    }
}

impl State {
    /// Reads on until the kept bytes reach `until` or the stream ends.
    fn fill(&mut self, until: u64, path: &Path) -> Result<()> {
        const STEP: usize = 1 << 16;
        while !self.ended && self.kept_from + (self.kept.len() as u64) < until {
            let missing = until - self.kept_from - self.kept.len() as u64;
            let step = usize::try_from(missing).unwrap_or(STEP).max(STEP);
            let start = self.kept.len();
            self.kept.resize(start + step, 0);
            let got = match self.reader.read(self.kept.get_mut(start..).unwrap_or_default()) {
                Ok(n) => n,
                Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {
                    self.kept.truncate(start);
                    continue;
                }
                Err(e) => return Err(Error::io(path, &e)),
            };
            self.kept.truncate(start + got);
            self.ended = got == 0;
        }
        Ok(())
    }
}

impl Source for StreamSource {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> Result<usize> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if offset < state.kept_from {
            return Err(Error::input("a stream cannot be read twice").at_path(&self.path));
        }
        state.fill(offset + buffer.len() as u64, &self.path)?;
        let begin = usize::try_from(offset - state.kept_from).unwrap_or(usize::MAX);
        let rest = state.kept.get(begin.min(state.kept.len())..).unwrap_or_default();
        let n = rest.len().min(buffer.len());
        if let (Some(to), Some(from)) = (buffer.get_mut(..n), rest.get(..n)) {
            to.copy_from_slice(from);
        }
        Ok(n)
    }

    fn len(&self) -> Option<u64> {
        None
    }

    fn path(&self) -> &Path {
        &self.path
    }

    fn done_until(&self, offset: u64) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let gone = usize::try_from(offset.saturating_sub(state.kept_from)).unwrap_or(usize::MAX);
        let gone = gone.min(state.kept.len());
        if gone >= 1 << 20 || gone == state.kept.len() {
            state.kept.drain(..gone);
            state.kept_from += gone as u64;
        }
    }

    fn is_seekable(&self) -> bool {
        false
    }
}
