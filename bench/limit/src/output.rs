//! What becomes of the columns.

use crate::Result;
use crate::columns::{Columns, Text};
use crate::tags::Values;
use std::fs::File;
use std::io::Write;
use zstd::bulk::Compressor;

/// Bytes of columns compressed as one group.
const ZSTD_GROUP_BYTES: usize = 4_000_000;
/// Bytes of columns otherwise: they stay in cache.
const GROUP_BYTES: usize = 1 << 20;
/// Longer writes only cost more.
const WRITE_BYTES: usize = 1 << 20;

/// Where the columns go.
pub struct Output {
    file: Option<File>,
    compressor: Option<Compressor<'static>>,
    buffer: Vec<u8>,
    pub column_bytes: usize,
    pub written: usize,
}

impl Output {
    /// Columns are made and forgotten.
    pub fn none() -> Self {
        Self { file: None, compressor: None, buffer: Vec::new(), column_bytes: 0, written: 0 }
    }

    /// Columns are written as they are.
    pub fn plain(path: &str) -> Result<Self> {
        Ok(Self { file: Some(File::create(path)?), ..Self::none() })
    }

    /// Columns are compressed one by one.
    pub fn zstd(path: &str) -> Result<Self> {
        Ok(Self { compressor: Some(Compressor::new(1)?), ..Self::plain(path)? })
    }

    /// Bytes of columns that are put at once.
    pub fn group_bytes(&self) -> usize {
        if self.compressor.is_some() { ZSTD_GROUP_BYTES } else { GROUP_BYTES }
    }

    /// Takes the columns and leaves them empty.
    pub fn put(&mut self, columns: &mut Columns) -> Result<()> {
        self.column_bytes += columns.bytes();
        for text in [&columns.name, &columns.cigar, &columns.bases, &columns.quality] {
            self.text(text)?;
        }
        for tag in &columns.tags.columns {
            match tag {
                Values::Integer(values) => self.buffer(as_bytes(values))?,
                Values::Bytes(text) => self.text(text)?,
            }
        }
        self.text(&columns.tags.others)?;
        for numbers in [
            &columns.reference,
            &columns.pos,
            &columns.mate_reference,
            &columns.mate_pos,
            &columns.template_length,
            &columns.end,
        ] {
            self.buffer(as_bytes(numbers))?;
        }
        self.buffer(as_bytes(&columns.flag))?;
        self.buffer(&columns.mapq)?;
        columns.clear();
        Ok(())
    }

    fn text(&mut self, text: &Text) -> Result<()> {
        self.buffer(&text.bytes)?;
        self.buffer(as_bytes(&text.ends))
    }

    fn buffer(&mut self, bytes: &[u8]) -> Result<()> {
        let Some(file) = &mut self.file else { return Ok(()) };
        let bytes = match &mut self.compressor {
            None => bytes,
            Some(compressor) => {
                let bound = zstd::zstd_safe::compress_bound(bytes.len());
                self.buffer.clear();
                self.buffer.reserve(bound);
                compressor.compress_to_buffer(bytes, &mut self.buffer)?;
                &self.buffer
            }
        };
        for part in bytes.chunks(WRITE_BYTES) {
            file.write_all(part)?;
        }
        self.written += bytes.len();
        Ok(())
    }
}

/// Numbers as the bytes they are in memory.
fn as_bytes<T: Copy>(numbers: &[T]) -> &[u8] {
    // SAFETY: the columns hold integers only: no padding, and any byte is a valid u8.
    unsafe { std::slice::from_raw_parts(numbers.as_ptr().cast(), size_of_val(numbers)) }
}
