//! Outputs that appear under their name only when they are complete.

use crate::error::{Error, Result};
use crate::write_behind::WriteBehind;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::Write;
use std::os::unix::fs::MetadataExt;
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

/// Opens an empty file for one writer. What another one ended or was killed with is written over;
/// one that is at work is waited for, or an error.
fn open_alone(aside: &Path, wait: bool) -> Result<File> {
    let io = |e| Error::io(aside, &e);
    loop {
        let mut open = OpenOptions::new();
        let open = open.write(true).read(true).create(true).truncate(false);
        let file = open.open(aside).map_err(io)?;
        let locked = if wait { file.lock().map_err(TryLockError::Error) } else { file.try_lock() };
        match locked {
            // File systems without locks have none to break.
            Ok(()) | Err(TryLockError::Error(_)) => {}
            Err(TryLockError::WouldBlock) => {
                let what = "another process is writing this output";
                return Err(Error::system(aside, libc::EAGAIN, what));
            }
        }
        // The other may have given the file its name, or removed it, before it let go.
        let own = file.metadata().map_err(io)?;
        let there = std::fs::metadata(aside);
        if there.is_ok_and(|m| (m.dev(), m.ino()) == (own.dev(), own.ino())) {
            file.set_len(0).map_err(io)?;
            return Ok(file);
        }
    }
}

/// A file that is written aside (`.NAME.part`) and takes its name by [`AtomicFile::commit`].
/// Dropped without a commit it leaves nothing behind. Two processes cannot write one output.
#[derive(Debug)]
pub struct AtomicFile {
    file: File,
    aside: PathBuf,
    path: PathBuf,
    committed: bool,
}

impl AtomicFile {
    /// Begins a file that will be `path`.
    ///
    /// # Errors
    ///
    /// `Exists` and `Input` as [`refuse_existing`], `Io` with `EAGAIN` while another process writes
    /// the same output.
    pub fn create(path: &Path, force: bool) -> Result<Self> {
        Self::create_alone(path, force, false)
    }

    fn create_alone(path: &Path, force: bool, wait: bool) -> Result<Self> {
        refuse_existing(path, force)?;
        let name = path.file_name().ok_or_else(|| {
            Error::input(format!("output {:?} has no file name", path.display().to_string()))
        })?;
        let mut aside_name = std::ffi::OsString::from(".");
        aside_name.push(name);
        aside_name.push(".part");
        let aside = path.with_file_name(aside_name);
        let file = open_alone(&aside, wait)?;
        // Another process may have ended the output between the first look and the lock.
        if let Err(error) = refuse_existing(path, force) {
            let _ = std::fs::remove_file(&aside);
            return Err(error);
        }
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

    /// Syncs the content.
    pub fn sync(&self) -> Result<()> {
        self.file.sync_all().map_err(|e| Error::io(&self.aside, &e))
    }

    /// Gives the file its name. Before that its content has to be synced, behind it its directory.
    pub fn rename(mut self) -> Result<()> {
        std::fs::rename(&self.aside, &self.path).map_err(|e| Error::io(&self.path, &e))?;
        self.committed = true;
        Ok(())
    }

    /// Syncs the content, gives the file its name and makes that durable.
    pub fn commit(self) -> Result<()> {
        self.sync()?;
        let path = self.path.clone();
        self.rename()?;
        sync_directory_of(&path)
    }
}

impl Drop for AtomicFile {
    fn drop(&mut self) {
        if !self.committed {
            let _ = std::fs::remove_file(&self.aside);
        }
    }
}

/// Bytes that the system is asked to write together.
const BEGUN_TOGETHER: u64 = 1 << 20;

/// Writes to a file from its beginning and lets the system begin with what is there, so that
/// syncing it at the end takes less long.
#[derive(Debug)]
pub struct EarlyWriter<'f> {
    file: &'f File,
    written: u64,
    behind: WriteBehind,
}

impl<'f> EarlyWriter<'f> {
    /// A writer to an empty file.
    #[must_use]
    pub fn new(file: &'f File) -> Self {
        Self { file, written: 0, behind: WriteBehind::in_steps(BEGUN_TOGETHER) }
    }
}

impl Write for EarlyWriter<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let count = self.file.write(bytes)?;
        self.written += count as u64;
        self.behind.advance(self.file, self.written);
        Ok(count)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.file.flush()
    }
}

/// Writes a small file whole: aside, synced, renamed.
pub fn write_atomically(path: &Path, content: &[u8]) -> Result<()> {
    use std::os::unix::fs::FileExt;
    let aside = AtomicFile::create_alone(path, true, true)?;
    aside.file().write_all_at(content, 0).map_err(|e| Error::io(path, &e))?;
    aside.commit()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(name: &str) -> PathBuf {
        let name = format!("seqmill-sink-{name}-{}", std::process::id());
        let folder = std::env::temp_dir().join(name);
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir_all(&folder).unwrap();
        folder
    }

    #[test]
    fn one_output_has_one_writer() {
        let folder = folder("one");
        let path = folder.join("x");
        let first = AtomicFile::create(&path, false).unwrap();
        let error = AtomicFile::create(&path, true).unwrap_err();
        assert_eq!(error.errno(), Some(libc::EAGAIN), "{error}");
        first.commit().unwrap();
        assert!(AtomicFile::create(&path, false).is_err());
        // Of a process that was killed the file stays, but not its lock.
        std::fs::write(folder.join(".x.part"), b"rest").unwrap();
        let second = AtomicFile::create(&path, true).unwrap();
        assert_eq!(second.file().metadata().unwrap().len(), 0);
        drop(second);
        assert!(!folder.join(".x.part").exists());
        std::fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn early_writing_changes_nothing() {
        let folder = folder("early");
        let file = AtomicFile::create(&folder.join("x"), false).unwrap();
        let bytes: Vec<u8> = (0..5_u32 << 18).flat_map(u32::to_le_bytes).collect();
        let mut out = EarlyWriter::new(file.file());
        for part in bytes.chunks(300_001) {
            out.write_all(part).unwrap();
        }
        out.flush().unwrap();
        file.commit().unwrap();
        assert!(std::fs::read(folder.join("x")).unwrap() == bytes);
        std::fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn small_files_of_many_writers_are_whole() {
        let folder = folder("small");
        let path = folder.join("x");
        std::thread::scope(|scope| {
            for i in 0..8_u8 {
                let path = &path;
                scope.spawn(move || {
                    for _ in 0..20 {
                        write_atomically(path, &vec![i; 1 + usize::from(i) * 100]).unwrap();
                    }
                });
            }
        });
        let content = std::fs::read(&path).unwrap();
        assert_eq!(content.len(), 1 + usize::from(content[0]) * 100);
        std::fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn devices_are_never_replaced() {
        for force in [false, true] {
            let error = refuse_existing(Path::new("/dev/null"), force).unwrap_err();
            assert!(error.to_string().contains("device"), "{error}");
        }
        assert!(refuse_existing(Path::new("/dev/none/such"), true).is_ok());
    }
}
