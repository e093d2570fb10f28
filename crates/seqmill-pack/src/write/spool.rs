//! Contigs that are gone through more than once: half a byte a base, on disk if they are many.

use seqmill_base::{Error, Result};
use std::fs::{File, OpenOptions};
use std::io::{BufReader, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

/// Bases of one block.
const BLOCK_BASES: usize = 1 << 16;
/// Buffer of the file.
const BUFFER_BYTES: usize = 1 << 18;

const TAG_HEADER: u8 = 1;
const TAG_CODES: u8 = 2;
const TAG_END: u8 = 3;

/// What was put in, in the same order.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Spooled<'s> {
    /// A contig begins.
    Contig(&'s [u8]),
    /// Bases of it.
    Codes(&'s [u8]),
    /// It ends.
    End,
}

/// An unnamed file in a folder: gone with the process.
pub(crate) fn temporary_file(folder: &Path) -> Result<File> {
    static COUNTER: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);
    let number = COUNTER.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    let path = folder.join(format!(".seqmill-{}-{number}.tmp", std::process::id()));
    let failed = |e: std::io::Error| Error::io(&path, &e);
    let file =
        OpenOptions::new().read(true).write(true).create_new(true).open(&path).map_err(failed)?;
    std::fs::remove_file(&path).map_err(failed)?;
    Ok(file)
}

/// Contigs in memory up to a limit, else in a temporary file.
pub(crate) struct Spool {
    memory: Vec<u8>,
    limit: usize,
    file: Option<File>,
    folder: PathBuf,
    open: Vec<u8>,
    spilled: u64,
}

impl Spool {
    pub(crate) fn new(limit: u64, folder: &Path) -> Self {
        Self {
            memory: Vec::new(),
            limit: usize::try_from(limit).unwrap_or(usize::MAX),
            file: None,
            folder: folder.to_path_buf(),
            open: Vec::with_capacity(BLOCK_BASES),
            spilled: 0,
        }
    }

    /// Bytes that it holds in memory.
    pub(crate) fn bytes(&self) -> u64 {
        (self.memory.capacity() + self.open.capacity() + 2 * BUFFER_BYTES) as u64
    }

    /// Bytes that went to disk.
    pub(crate) fn spilled(&self) -> u64 {
        self.spilled
    }

    pub(crate) fn contig(&mut self, header: &[u8]) -> Result<()> {
        self.record(TAG_HEADER, header.len(), header)
    }

    pub(crate) fn codes(&mut self, mut codes: &[u8]) -> Result<()> {
        while !codes.is_empty() {
            let room = BLOCK_BASES - self.open.len();
            let (now, later) = codes.split_at(room.min(codes.len()));
            self.open.extend_from_slice(now);
            codes = later;
            if self.open.len() == BLOCK_BASES {
                self.end_block()?;
            }
        }
        Ok(())
    }

    pub(crate) fn end(&mut self) -> Result<()> {
        self.end_block()?;
        self.record(TAG_END, 0, &[])
    }

    fn end_block(&mut self) -> Result<()> {
        if self.open.is_empty() {
            return Ok(());
        }
        let codes = std::mem::take(&mut self.open);
        let packed: Vec<u8> = codes
            .chunks(2)
            .map(|pair| pair.iter().rev().fold(0, |b, &c| (b << 4) | (c & 15)))
            .collect();
        self.record(TAG_CODES, codes.len(), &packed)?;
        self.open = codes;
        self.open.clear();
        Ok(())
    }

    fn record(&mut self, tag: u8, n: usize, data: &[u8]) -> Result<()> {
        self.memory.push(tag);
        self.memory.extend(u32::try_from(n).unwrap_or(u32::MAX).to_le_bytes());
        self.memory.extend_from_slice(data);
        if self.memory.len() > self.limit.max(BUFFER_BYTES) || self.file.is_some() {
            if self.file.is_some() && self.memory.len() < BUFFER_BYTES {
                return Ok(());
            }
            self.flush()?;
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<()> {
        if self.file.is_none() {
            self.file = Some(temporary_file(&self.folder)?);
        }
        if let Some(file) = &mut self.file {
            file.write_all(&self.memory).map_err(|e| Error::io(&self.folder, &e))?;
            self.spilled += self.memory.len() as u64;
        }
        self.memory = Vec::new();
        Ok(())
    }

    /// Begins to read from the front; nothing may be put in any more.
    pub(crate) fn read(&mut self) -> Result<SpoolReader<'_>> {
        let source: Box<dyn Read + Send + '_> = if self.file.is_some() {
            self.flush()?;
            match &mut self.file {
                Some(file) => {
                    file.seek(SeekFrom::Start(0)).map_err(|e| Error::io(&self.folder, &e))?;
                    Box::new(BufReader::with_capacity(BUFFER_BYTES, file))
                }
                None => return Err(Error::internal("a spool has lost its file")),
            }
        } else {
            Box::new(self.memory.as_slice())
        };
        Ok(SpoolReader { source, packed: Vec::new(), codes: Vec::new() })
    }

    /// Like [`Self::read`], for good.
    pub(crate) fn into_reader(mut self) -> Result<SpoolReader<'static>> {
        let source: Box<dyn Read + Send> = if self.file.is_some() {
            self.flush()?;
            let mut file = self.file.take().ok_or_else(|| Error::internal("no file"))?;
            file.seek(SeekFrom::Start(0)).map_err(|e| Error::io(&self.folder, &e))?;
            Box::new(BufReader::with_capacity(BUFFER_BYTES, file))
        } else {
            Box::new(std::io::Cursor::new(self.memory))
        };
        Ok(SpoolReader { source, packed: Vec::new(), codes: Vec::new() })
    }
}

/// Reads a spool.
pub(crate) struct SpoolReader<'s> {
    source: Box<dyn Read + Send + 's>,
    packed: Vec<u8>,
    codes: Vec<u8>,
}

impl SpoolReader<'_> {
    pub(crate) fn next(&mut self) -> Result<Option<Spooled<'_>>> {
        let failed = |e: std::io::Error| Error::io(Path::new("temporary file"), &e);
        let mut head = [0; 5];
        match self.source.read_exact(&mut head) {
            Ok(()) => {}
            Err(e) if e.kind() == std::io::ErrorKind::UnexpectedEof => return Ok(None),
            Err(e) => return Err(failed(e)),
        }
        let [tag, size @ ..] = head;
        let n = u32::from_le_bytes(size) as usize;
        match tag {
            TAG_HEADER => {
                self.packed.resize(n, 0);
                self.source.read_exact(&mut self.packed).map_err(failed)?;
                Ok(Some(Spooled::Contig(&self.packed)))
            }
            TAG_CODES => {
                self.packed.resize(n.div_ceil(2), 0);
                self.source.read_exact(&mut self.packed).map_err(failed)?;
                self.codes.clear();
                self.codes.extend(self.packed.iter().flat_map(|&b| [b & 15, b >> 4]));
                self.codes.truncate(n);
                Ok(Some(Spooled::Codes(&self.codes)))
            }
            _ => Ok(Some(Spooled::End)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contigs_come_back_from_memory_and_from_disk() {
        let codes: Vec<u8> = (0..1_000_003_u32).map(|i| (i % 16) as u8).collect();
        for limit in [0, 1 << 30] {
            let mut spool = Spool::new(limit, &std::env::temp_dir());
            spool.contig(b"a b").unwrap();
            for piece in codes.chunks(70_001) {
                spool.codes(piece).unwrap();
            }
            spool.end().unwrap();
            assert_eq!(spool.spilled() > 0, limit == 0);
            for _ in 0..2 {
                let mut reader = spool.read().unwrap();
                assert_eq!(reader.next().unwrap(), Some(Spooled::Contig(b"a b")));
                let mut back = Vec::new();
                while let Some(Spooled::Codes(piece)) = reader.next().unwrap() {
                    back.extend_from_slice(piece);
                }
                assert_eq!(back, codes);
                assert_eq!(reader.next().unwrap(), None);
            }
        }
    }
}
