//! Where the files of a store lie: in the file system, or behind addresses.

use crate::walk::mtime_ns;
use seqmill_base::{Error, Result};
use seqmill_io::{IoMode, Remote, Source, open_source};
use std::path::Path;
use std::sync::Arc;

/// Size and time of the last change; of a remote file, the number that stands for its version.
pub(crate) type Version = (u64, i64);

/// How the files of a store are looked at and opened.
#[derive(Debug, Clone, Default)]
pub(crate) struct Place {
    remote: Option<Arc<Remote>>,
}

impl Place {
    pub(crate) fn new(remote: Option<Arc<Remote>>) -> Self {
        Self { remote }
    }

    /// The remote files, if that is what the store is made of.
    pub(crate) fn remote(&self) -> Option<&Arc<Remote>> {
        self.remote.as_ref()
    }

    /// The version of a file.
    pub(crate) fn version(&self, path: &Path) -> Result<Version> {
        if let Some(remote) = &self.remote {
            let object = remote.object(path).ok_or_else(|| absent(path))?;
            return Ok((object.size, object.tag));
        }
        let meta = std::fs::metadata(path).map_err(|e| Error::io(path, &e))?;
        Ok((meta.len(), mtime_ns(&meta)))
    }

    /// Whether there is such a file.
    pub(crate) fn has(&self, path: &Path) -> bool {
        match &self.remote {
            Some(remote) => remote.object(path).is_some(),
            None => path.exists(),
        }
    }

    /// All bytes of a small file.
    pub(crate) fn read(&self, path: &Path) -> Result<Vec<u8>> {
        match &self.remote {
            Some(remote) => remote.read_whole(path),
            None => std::fs::read(path).map_err(|e| Error::io(path, &e)),
        }
    }

    /// A file to be read mostly front to back.
    pub(crate) fn open(&self, path: &Path) -> Result<Arc<dyn Source>> {
        match &self.remote {
            Some(remote) => remote.open(path),
            None => open_source(path, IoMode::Read),
        }
    }
}

fn absent(path: &Path) -> Error {
    Error::io(path, &std::io::Error::from_raw_os_error(libc::ENOENT))
}
