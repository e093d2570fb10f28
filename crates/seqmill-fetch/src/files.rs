//! Open files of a process: few at a time, read by position only.

use crate::walk::mtime_ns;
use memmap2::Mmap;
use rustc_hash::FxBuildHasher;
use seqmill_base::{Error, ErrorKind, FormatKind, Result};
use seqmill_io::Remote;
use std::fs::File;
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// So long an open file is taken to be as it was; asking costs as much as a short window.
pub(crate) const CHECKED_FOR: Duration = Duration::from_millis(50);

/// A sequence file that is the one the index describes.
#[derive(Debug)]
pub(crate) struct OpenFile {
    bytes: Bytes,
    path: PathBuf,
    pub(crate) size: u64,
    mtime_ns: i64,
}

/// Where its bytes are.
#[derive(Debug)]
enum Bytes {
    Here(File),
    Mapped(File, Mmap),
    Remote(Arc<Remote>),
}

impl OpenFile {
    /// Opens a file; one that is not as the index says is refused.
    pub(crate) fn open(path: PathBuf, size: u64, mtime: i64) -> Result<Self> {
        let failed = |e: std::io::Error| Error::io(&path, &e);
        let file = File::open(&path).map_err(failed)?;
        let meta = file.metadata().map_err(failed)?;
        if (meta.len(), mtime_ns(&meta)) != (size, mtime) {
            return Err(changed(&path));
        }
        advise_random(&file);
        Ok(Self { bytes: Bytes::Here(file), path, size, mtime_ns: mtime })
    }

    /// The same of a remote file.
    pub(crate) fn open_remote(
        remote: &Arc<Remote>,
        path: PathBuf,
        size: u64,
        mtime: i64,
    ) -> Result<Self> {
        match remote.object(&path) {
            Some(object) if (object.size, object.tag) == (size, mtime) => {
                Ok(Self { bytes: Bytes::Remote(Arc::clone(remote)), path, size, mtime_ns: mtime })
            }
            _ => Err(changed(&path)),
        }
    }

    /// Fails if somebody has written to the file since it was opened.
    fn check_unchanged(&self) -> Result<()> {
        let (Bytes::Here(file) | Bytes::Mapped(file, _)) = &self.bytes else {
            // Each range is told to be of the right version.
            return Ok(());
        };
        let meta = file.metadata().map_err(|e| Error::io(&self.path, &e))?;
        if (meta.len(), mtime_ns(&meta)) == (self.size, self.mtime_ns) {
            return Ok(());
        }
        Err(changed(&self.path))
    }

    /// Fails if another file has the path of this one by now.
    pub(crate) fn check_path(&self) -> Result<()> {
        let meta = std::fs::metadata(&self.path).map_err(|e| Error::io(&self.path, &e))?;
        if (meta.len(), mtime_ns(&meta)) == (self.size, self.mtime_ns) {
            return Ok(());
        }
        Err(changed(&self.path))
    }

    /// The same file, mapped. A file that cannot be mapped is read.
    pub(crate) fn mapped(mut self) -> Self {
        if let Bytes::Here(file) = self.bytes {
            // SAFETY: `mapped_text` looks at the size before each use. What a writer could still do
            // in between is what `io="mmap"` accepts for files that nobody writes.
            self.bytes = match unsafe { Mmap::map(&file) } {
                Ok(map) => {
                    let _ = map.advise(memmap2::Advice::Random);
                    Bytes::Mapped(file, map)
                }
                Err(_) => Bytes::Here(file),
            };
        }
        self
    }

    /// The text from `begin` to `end` of a mapped file.
    pub(crate) fn mapped_text(&self, begin: u64, end: u64) -> Option<Result<&[u8]>> {
        let Bytes::Mapped(file, map) = &self.bytes else { return None };
        let place = |at: u64| usize::try_from(at.min(self.size)).unwrap_or(usize::MAX);
        Some(match file.metadata() {
            Ok(meta) if meta.len() == self.size => {
                Ok(map.get(place(begin)..place(end)).unwrap_or_default())
            }
            // Beyond the end of a file that was cut there is nothing to be read.
            Ok(_) => Err(changed(&self.path)),
            Err(e) => Err(Error::io(&self.path, &e)),
        })
    }

    /// Opens a file that only we write.
    pub(crate) fn open_any(path: PathBuf) -> Result<Self> {
        let meta = std::fs::metadata(&path).map_err(|e| Error::io(&path, &e))?;
        Self::open(path, meta.len(), mtime_ns(&meta))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Fills the buffer from `offset` on; fewer bytes only at the end.
    pub(crate) fn read_at(&self, buffer: &mut [u8], offset: u64) -> Result<usize> {
        let file = match &self.bytes {
            Bytes::Here(file) | Bytes::Mapped(file, _) => file,
            Bytes::Remote(remote) => {
                return remote.read_at(&self.path, buffer, offset).map_err(|error| {
                    let replaced = error.kind() == ErrorKind::Format(FormatKind::Changed);
                    if replaced { changed(&self.path) } else { error }
                });
            }
        };
        let mut done = 0;
        while let Some(rest) = buffer.get_mut(done..).filter(|rest| !rest.is_empty()) {
            match file.read_at(rest, offset + done as u64) {
                Ok(0) => break,
                Ok(n) => done += n,
                Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
                Err(e) => return Err(Error::io(&self.path, &e)),
            }
        }
        Ok(done)
    }
}

pub(crate) fn changed(path: &Path) -> Error {
    let what = "the file has changed since it was indexed; open the store again";
    Error::format(FormatKind::StaleIndex, what).at_path(path)
}

fn advise_random(file: &File) {
    #[cfg(target_os = "linux")]
    // SAFETY: the descriptor is open; the call is a hint.
    unsafe {
        libc::posix_fadvise(file.as_raw_fd(), 0, 0, libc::POSIX_FADV_RANDOM);
    }
    #[cfg(not(target_os = "linux"))]
    let _ = file.as_raw_fd();
}

/// Most files that may be open at a time: a quarter of what the process is allowed.
pub(crate) fn open_limit(wanted: usize) -> usize {
    // SAFETY: an all-zero rlimit is a valid value of this plain C struct.
    let mut limit: libc::rlimit = unsafe { std::mem::zeroed() };
    // SAFETY: the struct is live and writable.
    let status = unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) };
    let allowed =
        if status == 0 { usize::try_from(limit.rlim_cur).unwrap_or(usize::MAX) } else { 256 };
    wanted.min(allowed / 4).max(1)
}

#[derive(Debug)]
struct Entry {
    file: Arc<OpenFile>,
    used: u64,
    checked: Instant,
}

#[derive(Debug, Default)]
struct Entries {
    by_id: hashbrown::HashMap<u32, Entry, FxBuildHasher>,
    clock: u64,
}

/// The open files, of which the one unused for longest is closed for another.
#[derive(Debug)]
pub(crate) struct OpenFiles {
    entries: Mutex<Entries>,
    limit: usize,
}

impl OpenFiles {
    pub(crate) fn new(limit: usize) -> Self {
        Self { entries: Mutex::default(), limit: open_limit(limit) }
    }

    /// The file of an id, opened by `open` if it is not.
    pub(crate) fn get(
        &self,
        id: u32,
        open: impl FnOnce() -> Result<OpenFile>,
    ) -> Result<Arc<OpenFile>> {
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        let entries = &mut *entries;
        entries.clock += 1;
        if let Some(entry) = entries.by_id.get_mut(&id) {
            entry.used = entries.clock;
            if entry.checked.elapsed() > CHECKED_FOR {
                entry.file.check_unchanged()?;
                entry.checked = Instant::now();
            }
            return Ok(Arc::clone(&entry.file));
        }
        if entries.by_id.len() >= self.limit {
            let mut ages: Vec<u64> = entries.by_id.values().map(|entry| entry.used).collect();
            // A quarter at once: otherwise each opening would look at all.
            let keep = ages.len() / 4;
            let (_, &mut border, _) = ages.select_nth_unstable(keep);
            entries.by_id.retain(|_, entry| entry.used > border);
        }
        let file = Arc::new(open()?);
        let entry = Entry { file: Arc::clone(&file), used: entries.clock, checked: Instant::now() };
        entries.by_id.insert(id, entry);
        Ok(file)
    }
}
