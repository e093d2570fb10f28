//! Results on their way from the order of the sequence to that of the list: numbers in a file,
//! so that memory does not grow with the regions.

use seqmill_base::{Error, Result};
use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// Bytes gathered before they are written, and read at once.
const STEP_BYTES: usize = 1 << 16;

/// Rows of a fixed number of `u64`, written in any order and read in any order.
pub(super) struct Spool {
    file: File,
    path: PathBuf,
    width: usize,
    /// Rows that follow one another and are not written yet.
    buffer: Vec<u8>,
    at: u64,
    /// What was read last, and from where.
    page: Vec<u8>,
    page_at: u64,
}

impl Spool {
    /// Bytes a spool holds beside one row.
    pub(super) const BYTES: u64 = 2 * STEP_BYTES as u64;

    /// Opens the file, which is kept if `keep`.
    pub(super) fn open(path: &Path, width: usize, keep: bool) -> Result<Self> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(!keep)
            .open(path)
            .map_err(|e| Error::io(path, &e))?;
        let path = path.to_path_buf();
        let (buffer, page) = (Vec::with_capacity(STEP_BYTES), Vec::new());
        Ok(Self { file, path, width: 8 * width, buffer, at: 0, page, page_at: 0 })
    }

    /// Writes row `index`.
    pub(super) fn put(&mut self, index: u64, row: &[u64]) -> Result<()> {
        debug_assert_eq!(8 * row.len(), self.width);
        let at = index * self.width as u64;
        if at != self.at + self.buffer.len() as u64 || self.buffer.len() + self.width > STEP_BYTES {
            self.flush()?;
            self.at = at;
        }
        for number in row {
            self.buffer.extend_from_slice(&number.to_le_bytes());
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<()> {
        let failed = |e: std::io::Error| Error::io(&self.path, &e);
        self.file.write_all_at(&self.buffer, self.at).map_err(failed)?;
        self.at += self.buffer.len() as u64;
        self.buffer.clear();
        self.page.clear();
        Ok(())
    }

    /// Makes what was written durable.
    pub(super) fn sync(&mut self) -> Result<()> {
        self.flush()?;
        self.file.sync_data().map_err(|e| Error::io(&self.path, &e))
    }

    /// Reads row `index` into `row`.
    pub(super) fn get(&mut self, index: u64, row: &mut Vec<u64>) -> Result<()> {
        if !self.buffer.is_empty() {
            self.flush()?;
        }
        let at = index * self.width as u64;
        let held =
            at >= self.page_at && at + self.width as u64 <= self.page_at + self.page.len() as u64;
        if !held {
            let failed = |e: std::io::Error| Error::io(&self.path, &e);
            self.page.resize(STEP_BYTES.max(self.width), 0);
            let mut got = 0;
            while got < self.page.len() {
                let room = self.page.get_mut(got..).unwrap_or_default();
                match self.file.read_at(room, at + got as u64).map_err(failed)? {
                    0 => break,
                    n => got += n,
                }
            }
            self.page.truncate(got);
            self.page_at = at;
        }
        let from = usize::try_from(at - self.page_at).unwrap_or(usize::MAX);
        let bytes = self.page.get(from..from.saturating_add(self.width));
        let bytes = bytes.ok_or_else(|| Error::internal("a row of the spool is missing"))?;
        row.clear();
        row.extend(
            bytes.chunks_exact(8).map(|b| b.first_chunk().map_or(0, |b| u64::from_le_bytes(*b))),
        );
        Ok(())
    }
}
