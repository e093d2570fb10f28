//! Sequential output in pieces of at most 1 MiB.

use seqmill_base::write_behind::WriteBehind;
use seqmill_base::{Error, Result};
use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// Largest piece that is written or copied at once: larger ones cost more system time.
pub(super) const PIECE_BYTES: usize = 1 << 20;

/// A file that is written from front to back.
#[derive(Debug)]
pub(super) struct Output {
    file: File,
    path: PathBuf,
    buffer: Vec<u8>,
    /// Bytes in the file.
    written: u64,
    behind: WriteBehind,
}

impl Output {
    /// Opens `path` and cuts it to `keep` bytes, which it must have.
    pub(super) fn open(path: &Path, keep: u64) -> Result<Self> {
        let io = |e: std::io::Error| Error::io(path, &e);
        let mut options = OpenOptions::new();
        options.read(true).write(true);
        let file = options.create(keep == 0).open(path).map_err(io)?;
        let len = file.metadata().map_err(io)?.len();
        if len < keep {
            return Err(Error::input(format!(
                "cannot resume: {len} bytes are left of the {keep} that had been written; use \
                 --force to begin anew"
            ))
            .at_path(path));
        }
        file.set_len(keep).map_err(io)?;
        Ok(Self {
            file,
            path: path.to_path_buf(),
            buffer: Vec::new(),
            written: keep,
            behind: WriteBehind::new(keep),
        })
    }

    /// Offset of the next byte.
    pub(super) fn position(&self) -> u64 {
        self.written + self.buffer.len() as u64
    }

    /// Bytes of the buffer.
    pub(super) fn buffer_bytes(&self) -> usize {
        self.buffer.capacity()
    }

    pub(super) fn write(&mut self, mut bytes: &[u8]) -> Result<()> {
        if self.buffer.capacity() == 0 {
            self.buffer.reserve_exact(PIECE_BYTES);
        }
        while !bytes.is_empty() {
            let part = bytes.len().min(PIECE_BYTES - self.buffer.len());
            self.buffer.extend_from_slice(&bytes[..part]);
            bytes = &bytes[part..];
            if self.buffer.len() == PIECE_BYTES {
                self.flush()?;
            }
        }
        Ok(())
    }

    pub(super) fn flush(&mut self) -> Result<()> {
        let io = |e: std::io::Error| Error::io(&self.path, &e);
        self.file.write_all_at(&self.buffer, self.written).map_err(io)?;
        self.written += self.buffer.len() as u64;
        self.buffer.clear();
        self.behind.advance(&self.file, self.written);
        Ok(())
    }

    /// Writes what is buffered and waits until all is on the disk.
    pub(super) fn sync(&mut self) -> Result<()> {
        self.flush()?;
        self.file.sync_all().map_err(|e| Error::io(&self.path, &e))
    }

    /// Waits until the first `bytes` bytes are on the disk.
    pub(super) fn sync_until(&mut self, bytes: u64) -> Result<()> {
        if self.written < bytes {
            self.flush()?;
        }
        self.file.sync_all().map_err(|e| Error::io(&self.path, &e))
    }

    /// Reads bytes that have been flushed.
    pub(super) fn read_at(&self, bytes: &mut [u8], at: u64) -> Result<()> {
        self.file.read_exact_at(bytes, at).map_err(|e| Error::io(&self.path, &e))
    }

    /// Appends `len` bytes that `other` holds at `at`.
    pub(super) fn copy(&mut self, other: &Self, mut at: u64, mut len: u64) -> Result<()> {
        let mut piece = Vec::new();
        while len > 0 {
            let part = (PIECE_BYTES as u64).min(len);
            piece.resize(part as usize, 0);
            other.read_at(&mut piece, at)?;
            self.write(&piece)?;
            at += part;
            len -= part;
        }
        Ok(())
    }

    /// Empties the file.
    pub(super) fn clear(&mut self) -> Result<()> {
        self.buffer.clear();
        self.written = 0;
        self.behind = WriteBehind::new(0);
        self.file.set_len(0).map_err(|e| Error::io(&self.path, &e))
    }
}
