//! Reads past the page cache (`O_DIRECT`) with several of them in flight.

use super::{Identity, Source, read_full_at};
use seqmill_base::{Error, Result};
use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

/// Bytes of one read; a multiple of every block size.
const READ_BYTES: usize = 1 << 19;
/// Alignment of buffers and offsets.
const ALIGN: usize = 4096;

/// What the reading threads share.
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
    file: File,
    path: PathBuf,
    size: u64,
}

#[derive(Default)]
struct State {
    /// Finished and running reads by their index; `None` while running.
    reads: BTreeMap<u64, Option<Result<Vec<u8>>>>,
    /// Reads wanted next: from here on, as many as the depth allows.
    wanted: u64,
    closed: bool,
}

/// A file read ahead by threads of its own, as deep as asked.
pub(super) struct DirectSource {
    shared: Arc<Shared>,
    plain: File,
    identity: Identity,
    threads: Vec<std::thread::JoinHandle<()>>,
}

impl DirectSource {
    pub(super) fn new(plain: File, path: &Path, depth: usize) -> Result<Self> {
        let identity = Identity::of(&plain, path)?;
        let opened =
            OpenOptions::new().read(true).custom_flags(libc::O_DIRECT).open(path).or_else(|e| {
                // Some file systems (tmpfs) have no direct reads: ordinary ones give the same.
                if e.raw_os_error() == Some(libc::EINVAL) { File::open(path) } else { Err(e) }
            });
        let shared = Arc::new(Shared {
            state: Mutex::default(),
            changed: Condvar::new(),
            file: opened.map_err(|e| Error::io(path, &e))?,
            path: path.to_path_buf(),
            size: identity.size,
        });
        let depth = depth.clamp(1, 64);
        let mut threads = Vec::with_capacity(depth);
        for _ in 0..depth {
            let shared = Arc::clone(&shared);
            let name = "seqmill-read".to_owned();
            let builder = std::thread::Builder::new().name(name);
            let run = move || shared.read_ahead(depth as u64);
            threads.push(builder.spawn(run).map_err(|e| Error::io(path, &e))?);
        }
        Ok(Self { shared, plain, identity, threads })
    }
}

fn lock(shared: &Shared) -> MutexGuard<'_, State> {
    shared.state.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    fn read_ahead(&self, depth: u64) {
        let mut state = lock(self);
        loop {
            if state.closed {
                return;
            }
            let reads = self.size.div_ceil(READ_BYTES as u64);
            let next = (state.wanted..(state.wanted + depth).min(reads))
                .find(|i| !state.reads.contains_key(i));
            let Some(index) = next else {
                state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            state.reads.insert(index, None);
            drop(state);
            let result = self.read(index);
            state = lock(self);
            state.reads.insert(index, Some(result));
            self.changed.notify_all();
        }
    }

    fn read(&self, index: u64) -> Result<Vec<u8>> {
        let mut buffer = vec![0_u8; READ_BYTES + ALIGN];
        let skip = buffer.as_ptr().align_offset(ALIGN);
        let aligned = buffer.get_mut(skip..skip + READ_BYTES).unwrap_or_default();
        let got = read_full_at(&self.file, aligned, index * READ_BYTES as u64, &self.path)?;
        buffer.copy_within(skip..skip + got, 0);
        buffer.truncate(got);
        Ok(buffer)
    }
}

impl Source for DirectSource {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> Result<usize> {
        let mut done = 0;
        while done < buffer.len() && offset + (done as u64) < self.identity.size {
            let at = offset + done as u64;
            let index = at / READ_BYTES as u64;
            let mut state = lock(&self.shared);
            state.wanted = index;
            state.reads.retain(|i, read| *i >= index || read.is_none());
            self.shared.changed.notify_all();
            while !matches!(state.reads.get(&index), Some(Some(_))) {
                state = self.shared.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
            }
            let bytes = match state.reads.get(&index) {
                Some(Some(Ok(bytes))) => bytes,
                Some(Some(Err(e))) => return Err(e.clone()),
                _ => return Err(Error::internal("a read vanished")),
            };
            let within = usize::try_from(at % READ_BYTES as u64).unwrap_or(0);
            let rest = bytes.get(within..).unwrap_or_default();
            let Some(room) = buffer.get_mut(done..) else { break };
            let n = rest.len().min(room.len());
            if n == 0 {
                break;
            }
            if let (Some(to), Some(from)) = (room.get_mut(..n), rest.get(..n)) {
                to.copy_from_slice(from);
            }
            done += n;
        }
        Ok(done)
    }

    fn len(&self) -> Option<u64> {
        Some(self.identity.size)
    }

    fn path(&self) -> &Path {
        &self.shared.path
    }

    fn check_unchanged(&self) -> Result<()> {
        self.identity.check(&self.plain, &self.shared.path)
    }
}

impl Drop for DirectSource {
    fn drop(&mut self) {
        lock(&self.shared).closed = true;
        self.shared.changed.notify_all();
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}
