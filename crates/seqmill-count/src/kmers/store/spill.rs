//! The temporary file that takes what memory has no room for.

use crate::kmers::arena::BLOCK_BYTES;
use seqmill_base::{Error, Result};
use std::fs::{File, OpenOptions};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};

/// The temporary file, made when it is first needed.
pub(in crate::kmers) struct SpillFile {
    folder: PathBuf,
    file: OnceLock<File>,
    making: Mutex<()>,
    /// Blocks that were given a place.
    end: AtomicU64,
}

impl SpillFile {
    pub(in crate::kmers) fn new(folder: &Path) -> Self {
        Self {
            folder: folder.to_path_buf(),
            file: OnceLock::new(),
            making: Mutex::new(()),
            end: AtomicU64::new(0),
        }
    }

    /// Bytes that were written.
    pub(in crate::kmers) fn bytes(&self) -> u64 {
        self.end.load(Ordering::Relaxed) * BLOCK_BYTES as u64
    }

    fn file(&self) -> Result<&File> {
        let _making = self.making.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(file) = self.file.get() {
            return Ok(file);
        }
        let file = open_nameless(&self.folder)?;
        Ok(self.file.get_or_init(|| file))
    }

    pub(super) fn write(&self, bytes: &[u8], blocks: u64) -> Result<u64> {
        let file = self.file()?;
        let at = self.end.fetch_add(blocks, Ordering::Relaxed);
        file.write_all_at(bytes, at * BLOCK_BYTES as u64).map_err(|e| self.failed(&e))?;
        Ok(at)
    }

    pub(super) fn read(&self, bytes: &mut [u8], block: u64) -> Result<()> {
        let failed = |e: std::io::Error| self.failed(&e);
        self.file()?.read_exact_at(bytes, block * BLOCK_BYTES as u64).map_err(failed)
    }

    fn failed(&self, error: &std::io::Error) -> Error {
        Error::io(&self.folder, error)
    }
}

/// A file that is gone when the process is, however it ends.
fn open_nameless(folder: &Path) -> Result<File> {
    let failed = |e: std::io::Error| Error::io(folder, &e);
    let nameless =
        OpenOptions::new().read(true).write(true).custom_flags(libc::O_TMPFILE).open(folder);
    match nameless {
        Ok(file) => Ok(file),
        Err(e) if matches!(e.raw_os_error(), Some(libc::EOPNOTSUPP | libc::EISDIR)) => {
            let name = format!(".seqmill-{}.spill", std::process::id());
            let path = folder.join(name);
            let made = OpenOptions::new().read(true).write(true).create_new(true).open(&path);
            let file = made.map_err(failed)?;
            std::fs::remove_file(&path).map_err(failed)?;
            Ok(file)
        }
        Err(e) => Err(failed(e)),
    }
}
