//! Text files written front to back through a buffer of fixed size.

use seqmill_base::{Error, Result};
use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// Bytes gathered before they are written.
const BUFFER_BYTES: usize = 1 << 17;
/// Room left for one line.
const LINE_BYTES: usize = 1 << 10;

/// A text file under construction.
pub(super) struct Text {
    file: File,
    path: PathBuf,
    buffer: Vec<u8>,
    written: u64,
}

impl Text {
    /// Bytes that a text holds.
    pub(super) const BYTES: u64 = BUFFER_BYTES as u64;

    /// Opens a text whose first `keep` bytes stay.
    pub(super) fn open(path: &Path, keep: u64) -> Result<Self> {
        let failed = |e: std::io::Error| Error::io(path, &e);
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)
            .map_err(failed)?;
        file.set_len(keep).map_err(failed)?;
        let (path, buffer) = (path.to_path_buf(), Vec::with_capacity(BUFFER_BYTES));
        Ok(Self { file, path, buffer, written: keep })
    }

    /// Appends bytes; they are written by [`Self::flush_if_full`].
    #[inline]
    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// Appends a number.
    #[inline]
    pub(super) fn number(&mut self, number: u64) {
        push_number(&mut self.buffer, number);
    }

    /// The bytes that are not written yet, to append to.
    pub(super) fn buffer(&mut self) -> &mut Vec<u8> {
        &mut self.buffer
    }

    /// Writes when there might be no room for another line.
    #[inline]
    pub(super) fn flush_if_full(&mut self) -> Result<()> {
        if self.buffer.len() + LINE_BYTES > BUFFER_BYTES { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> Result<()> {
        let failed = |e: std::io::Error| Error::io(&self.path, &e);
        self.file.write_all_at(&self.buffer, self.written).map_err(failed)?;
        self.written += self.buffer.len() as u64;
        self.buffer.clear();
        Ok(())
    }

    /// Writes everything and makes it durable; gives the length.
    pub(super) fn sync(&mut self) -> Result<u64> {
        self.flush()?;
        self.file.sync_data().map_err(|e| Error::io(&self.path, &e))?;
        Ok(self.written)
    }

    /// Writes everything, without waiting for the device.
    pub(super) fn close(mut self) -> Result<u64> {
        self.flush()?;
        Ok(self.written)
    }
}

/// Appends a number in decimal digits.
#[inline]
pub(super) fn push_number(out: &mut Vec<u8>, mut number: u64) {
    let mut digits = [0; 20];
    let mut at = digits.len();
    loop {
        at -= 1;
        if let Some(digit) = digits.get_mut(at) {
            *digit = b'0' + u8::try_from(number % 10).unwrap_or(0);
        }
        number /= 10;
        if number == 0 {
            break;
        }
    }
    out.extend_from_slice(digits.get(at..).unwrap_or_default());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_as_they_are() {
        for number in [0, 7, 10, 123_456, u64::MAX] {
            let mut out = Vec::new();
            push_number(&mut out, number);
            assert_eq!(out, number.to_string().into_bytes());
        }
    }
}
