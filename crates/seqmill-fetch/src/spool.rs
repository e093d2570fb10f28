//! Bytes that grow: some in memory, the others in a file without a name.

use crate::aside::Aside;
use seqmill_base::{Error, Result};
use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::Path;

/// Bytes that are kept in memory.
const MEMORY_BYTES: usize = 1 << 20;
/// Bytes of the file that are read at a time.
const READ_BYTES: usize = 1 << 18;

/// What is appended to now and read once at the end.
#[derive(Default)]
pub(crate) struct Spool {
    memory: Vec<u8>,
    spilled: Option<File>,
    length: u64,
}

impl Spool {
    /// Appends; more than fits goes to a file in `folder`.
    pub(crate) fn push(&mut self, bytes: &[u8], folder: &Path) -> Result<()> {
        self.memory.extend_from_slice(bytes);
        self.length += bytes.len() as u64;
        if self.memory.len() >= MEMORY_BYTES {
            self.spill(folder)?;
        }
        Ok(())
    }

    fn spill(&mut self, folder: &Path) -> Result<()> {
        let failed = |e: std::io::Error| Error::io(folder, &e);
        if self.spilled.is_none() {
            let aside = Aside::create(&folder.join("seqmill-spool"))?;
            // Dropped without a commit it has no name any more and goes with its descriptor.
            self.spilled = Some(aside.file().try_clone().map_err(failed)?);
        }
        if let Some(file) = &mut self.spilled {
            file.write_all(&self.memory).map_err(failed)?;
            self.memory.clear();
        }
        Ok(())
    }

    /// Bytes so far.
    pub(crate) fn length(&self) -> u64 {
        self.length
    }

    /// Calls `each` with the content, piece by piece.
    pub(crate) fn drain(
        mut self,
        folder: &Path,
        mut each: impl FnMut(&[u8]) -> Result<()>,
    ) -> Result<()> {
        let failed = |e: std::io::Error| Error::io(folder, &e);
        if let Some(file) = &mut self.spilled {
            file.seek(SeekFrom::Start(0)).map_err(failed)?;
            let mut buffer = vec![0; READ_BYTES];
            loop {
                let got = file.read(&mut buffer).map_err(failed)?;
                if got == 0 {
                    break;
                }
                each(buffer.get(..got).unwrap_or_default())?;
            }
        }
        each(&self.memory)
    }
}
