//! Where bytes come from: files read by `pread`, mapped or past the page cache, and streams.

mod direct;
mod map;
mod remote;
mod stream;

use seqmill_base::fingerprint::{Fingerprint, fingerprint};
use seqmill_base::{Error, FormatKind, Result};
use std::fs::File;
use std::os::unix::fs::{FileExt, FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub use remote::{RangeQueue, RangeRequest, Remote, RemoteObject, Watch};
pub use stream::StreamSource;

/// Bytes that can be read at an offset by several threads at once.
pub trait Source: Send + Sync {
    /// Fills `buffer` from `offset` on; fewer bytes only at the end.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> Result<usize>;

    /// Length, where it is known.
    fn len(&self) -> Option<u64>;

    /// Whether there are no bytes.
    fn is_empty(&self) -> bool {
        self.len() == Some(0)
    }

    /// Name for messages.
    fn path(&self) -> &Path;

    /// Bytes before `offset` will not be read again; a hint.
    fn done_until(&self, _offset: u64) {}

    /// These stretches, each from its first byte to the one behind its last, will be read next, in
    /// this order; a hint, which takes the place of the one before.
    fn expect(&self, _stretches: &[(u64, u64)]) {}

    /// Fails with `Changed` if the file is not what it was when it was opened.
    fn check_unchanged(&self) -> Result<()> {
        Ok(())
    }

    /// Identity of the file, for what is made of it.
    fn fingerprint(&self) -> Result<Fingerprint> {
        fingerprint(self.path())
    }

    /// Whether any offset may be read in any order.
    fn is_seekable(&self) -> bool {
        true
    }
}

/// How a regular file is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum IoMode {
    /// `pread` into buffers: as fast as a map and safe when the file is cut by somebody else.
    #[default]
    Read,
    /// A private read-only map whose pages are dropped behind the reader.
    Map,
    /// Past the page cache, with so many reads in flight.
    Direct(usize),
}

/// Opens `path` (`-` is standard input). Pipes and devices are streamed.
pub fn open_source(path: &Path, mode: IoMode) -> Result<Arc<dyn Source>> {
    if path == Path::new("-") {
        return Ok(Arc::new(StreamSource::new(Box::new(std::io::stdin()), Path::new("<stdin>"))));
    }
    let failed = |e: std::io::Error| Error::io(path, &e);
    let file = File::open(path).map_err(failed)?;
    let meta = file.metadata().map_err(failed)?;
    let kind = meta.file_type();
    if kind.is_dir() {
        return Err(Error::io(path, &std::io::Error::from_raw_os_error(libc::EISDIR)));
    }
    if kind.is_fifo() || kind.is_char_device() || kind.is_socket() {
        return Ok(Arc::new(StreamSource::new(Box::new(file), path)));
    }
    Ok(match mode {
        IoMode::Read => Arc::new(ReadSource::new(file, path)?),
        IoMode::Map => Arc::new(map::MapSource::new(file, path)?),
        IoMode::Direct(depth) => Arc::new(direct::DirectSource::new(file, path, depth)?),
    })
}

/// Identity of an open file at one moment: size and time of the last change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Identity {
    size: u64,
    mtime: (i64, i64),
}

impl Identity {
    fn of(file: &File, path: &Path) -> Result<Self> {
        let meta = file.metadata().map_err(|e| Error::io(path, &e))?;
        Ok(Self { size: meta.len(), mtime: (meta.mtime(), meta.mtime_nsec()) })
    }

    fn check(self, file: &File, path: &Path) -> Result<()> {
        if Self::of(file, path)? == self {
            return Ok(());
        }
        Err(Error::format(FormatKind::Changed, "the file changed while it was read").at_path(path))
    }
}

/// Reads until the buffer is full or the file ends.
fn read_full_at(file: &File, buffer: &mut [u8], offset: u64, path: &Path) -> Result<usize> {
    let mut done = 0;
    while let Some(rest) = buffer.get_mut(done..).filter(|rest| !rest.is_empty()) {
        match file.read_at(rest, offset + done as u64) {
            Ok(0) => break,
            Ok(n) => done += n,
            Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
            Err(e) => return Err(Error::io(path, &e)),
        }
    }
    Ok(done)
}

/// A regular file read by `pread`.
struct ReadSource {
    file: File,
    path: PathBuf,
    identity: Identity,
}

impl ReadSource {
    fn new(file: File, path: &Path) -> Result<Self> {
        let identity = Identity::of(&file, path)?;
        Ok(Self { file, path: path.to_path_buf(), identity })
    }
}

impl Source for ReadSource {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> Result<usize> {
        read_full_at(&self.file, buffer, offset, &self.path)
    }

    fn len(&self) -> Option<u64> {
        Some(self.identity.size)
    }

    fn path(&self) -> &Path {
        &self.path
    }

    fn check_unchanged(&self) -> Result<()> {
        self.identity.check(&self.file, &self.path)
    }
}

/// Bytes in memory, for tests.
#[cfg(test)]
pub(crate) struct MemorySource(Vec<u8>);

#[cfg(test)]
impl MemorySource {
    pub(crate) fn new(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }
}

#[cfg(test)]
impl Source for MemorySource {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> Result<usize> {
        let rest = self.0.get(offset as usize..).unwrap_or_default();
        let n = rest.len().min(buffer.len());
        buffer[..n].copy_from_slice(&rest[..n]);
        Ok(n)
    }

    fn len(&self) -> Option<u64> {
        Some(self.0.len() as u64)
    }

    fn path(&self) -> &Path {
        Path::new("memory")
    }
}
