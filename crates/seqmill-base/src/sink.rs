//! Outputs that appear under their name only when they are complete.

use crate::error::{Error, Result};
use std::fs::{File, OpenOptions};
use std::path::{Path, PathBuf};

/// Fails with `Exists` if `path` is there and may not be replaced, and with `Input` if it is a
/// device or a pipe, whose place a complete output would take.
pub fn refuse_existing(path: &Path, force: bool) -> Result<()> {
    if std::fs::metadata(path).is_ok_and(|meta| !meta.is_file() && !meta.is_dir()) {
        let what = format!("{}: a device or pipe is no output", path.display());
        return Err(Error::input(what));
    }
    if !force && path.symlink_metadata().is_ok() {
        return Err(Error::exists(path));
    }
    Ok(())
}

/// Makes the entries of the directory of `path` durable.
pub fn sync_directory_of(path: &Path) -> Result<()> {
    let parent = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let directory = File::open(parent).map_err(|e| Error::io(parent, &e))?;
    directory.sync_all().map_err(|e| Error::io(parent, &e))
}

/// Renames a complete, synced file to its final name and makes the name durable.
pub fn publish(from: &Path, to: &Path) -> Result<()> {
    std::fs::rename(from, to).map_err(|e| Error::io(to, &e))?;
    sync_directory_of(to)
}

/// A file that is written aside (`.NAME.part`) and takes its name by [`AtomicFile::commit`].
/// Dropped without a commit it leaves nothing behind.
#[derive(Debug)]
pub struct AtomicFile {
    file: File,
    aside: PathBuf,
    path: PathBuf,
    committed: bool,
}

impl AtomicFile {
    /// Begins a file that will be `path`.
    pub fn create(path: &Path, force: bool) -> Result<Self> {
        refuse_existing(path, force)?;
        let name = path.file_name().ok_or_else(|| {
            Error::input(format!("output {:?} has no file name", path.display().to_string()))
        })?;
        let mut aside_name = std::ffi::OsString::from(".");
        aside_name.push(name);
        aside_name.push(".part");
        let aside = path.with_file_name(aside_name);
        let file = OpenOptions::new()
            .write(true)
            .read(true)
            .create(true)
            .truncate(true)
            .open(&aside)
            .map_err(|e| Error::io(&aside, &e))?;
        Ok(Self { file, aside, path: path.to_path_buf(), committed: false })
    }

    /// The open file.
    pub fn file(&self) -> &File {
        &self.file
    }

    /// Where the file is until it takes its name.
    pub fn aside(&self) -> &Path {
        &self.aside
    }

    /// Syncs the content and gives the file its name.
    pub fn commit(mut self) -> Result<()> {
        self.file.sync_all().map_err(|e| Error::io(&self.aside, &e))?;
        publish(&self.aside, &self.path)?;
        self.committed = true;
        Ok(())
    }
}

impl Drop for AtomicFile {
    fn drop(&mut self) {
        if !self.committed {
            let _ = std::fs::remove_file(&self.aside);
        }
    }
}

/// Writes a small file whole: aside, synced, renamed.
pub fn write_atomically(path: &Path, content: &[u8]) -> Result<()> {
    use std::os::unix::fs::FileExt;
    let aside = AtomicFile::create(path, true)?;
    aside.file().write_all_at(content, 0).map_err(|e| Error::io(path, &e))?;
    aside.commit()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_are_never_replaced() {
        for force in [false, true] {
            let error = refuse_existing(Path::new("/dev/null"), force).unwrap_err();
            assert!(error.to_string().contains("device"), "{error}");
        }
        assert!(refuse_existing(Path::new("/dev/none/such"), true).is_ok());
    }
}
