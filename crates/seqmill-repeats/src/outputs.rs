//! The files of a run.

use crate::crew;
use seqmill_base::sink::{AtomicFile, EarlyWriter, sync_directory_of};
use seqmill_base::{Error, Result};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

/// Files that are written aside and take their names at the end.
pub(crate) struct Outputs {
    pub(crate) prefix: Option<PathBuf>,
    pub(crate) files: Vec<(AtomicFile, PathBuf)>,
}

impl Outputs {
    /// The path with `suffix`.
    pub(crate) fn path(&self, suffix: &str) -> Option<PathBuf> {
        let mut name = self.prefix.as_ref()?.as_os_str().to_owned();
        name.push(suffix);
        Some(PathBuf::from(name))
    }

    pub(crate) fn write(
        &mut self,
        suffix: &str,
        fill: impl FnOnce(&mut dyn Write, &Path) -> Result<()>,
    ) -> Result<()> {
        let file = self.written(suffix, fill)?;
        self.files.extend(file);
        Ok(())
    }

    /// A file that is written and still stands aside; none if nothing is to be written.
    pub(crate) fn written(
        &self,
        suffix: &str,
        fill: impl FnOnce(&mut dyn Write, &Path) -> Result<()>,
    ) -> Result<Option<(AtomicFile, PathBuf)>> {
        let Some(path) = self.path(suffix) else { return Ok(None) };
        let file = AtomicFile::create(&path, true)?;
        let mut out = BufWriter::with_capacity(1 << 17, EarlyWriter::new(file.file()));
        fill(&mut out, &path)?;
        out.flush().map_err(|e| Error::io(&path, &e))?;
        drop(out);
        Ok(Some((file, path)))
    }

    /// Syncs the files, on several threads, because most of it is waiting; then all take their
    /// names at once.
    pub(crate) fn commit(self, threads: usize) -> Result<Vec<(PathBuf, u64)>> {
        let sizes = crew::each(&mut vec![(); threads], self.files.len(), |(), i| {
            let (file, path) = &self.files[i];
            file.sync()?;
            Ok(file.file().metadata().map_err(|e| Error::io(path, &e))?.len())
        });
        let sizes = sizes.into_iter().collect::<Result<Vec<u64>>>()?;
        let mut done = Vec::with_capacity(sizes.len());
        for ((file, path), size) in self.files.into_iter().zip(sizes) {
            file.rename()?;
            done.push((path, size));
        }
        // All stand in one directory.
        if let Some((path, _)) = done.last() {
            sync_directory_of(path)?;
        }
        Ok(done)
    }
}
