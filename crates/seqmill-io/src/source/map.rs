//! A mapped file that keeps only a window resident.

use super::{Identity, Source};
use memmap2::{Advice, Mmap, UncheckedAdvice};
use seqmill_base::{Error, Result};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

/// Pages are dropped whenever so many bytes have been copied out of them, wherever they lie: the
/// sample reads all over the file before the run begins at its front.
const DROP_STEP: u64 = 4 << 20;

/// A private read-only map with sequential advice.
pub(super) struct MapSource {
    map: Option<Mmap>,
    file: File,
    path: PathBuf,
    identity: Identity,
    /// Bytes copied so far.
    copied: AtomicU64,
}

impl MapSource {
    pub(super) fn new(file: File, path: &Path) -> Result<Self> {
        let identity = Identity::of(&file, path)?;
        let map = if identity.size == 0 {
            None
        } else {
            // SAFETY: the map is read-only and private. Another process may still cut the file;
            // the size is compared before each read, so that at most a race of microseconds can
            // fault, and `--io read` has none.
            let map = unsafe { Mmap::map(&file) }.map_err(|e| Error::io(path, &e))?;
            let _ = map.advise(Advice::Sequential);
            Some(map)
        };
        Ok(Self { map, file, path: path.to_path_buf(), identity, copied: AtomicU64::new(0) })
    }
}

impl Source for MapSource {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> Result<usize> {
        self.identity.check(&self.file, &self.path)?;
        let Some(map) = &self.map else { return Ok(0) };
        let begin = usize::try_from(offset).unwrap_or(usize::MAX).min(map.len());
        let rest = map.get(begin..).unwrap_or_default();
        let n = rest.len().min(buffer.len());
        if let (Some(to), Some(from)) = (buffer.get_mut(..n), rest.get(..n)) {
            to.copy_from_slice(from);
        }
        let before = self.copied.fetch_add(n as u64, Ordering::Relaxed);
        if before / DROP_STEP != (before + n as u64) / DROP_STEP {
            // SAFETY: dropping pages of a private, read-only file map changes no byte: they are
            // read from the file again when touched.
            let _ = unsafe { map.unchecked_advise(UncheckedAdvice::DontNeed) };
        }
        Ok(n)
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
