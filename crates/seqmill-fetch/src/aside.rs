//! Files that several processes may write at once: each writes its own aside and renames it.

use seqmill_base::{Error, ErrorKind, Result};
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Age from which a temporary file of a process that is gone is removed.
const ABANDONED_AFTER: Duration = Duration::from_hours(1);

/// A file beside `path` that becomes `path` when it is complete.
#[derive(Debug)]
pub(crate) struct Aside {
    file: File,
    written: PathBuf,
    path: PathBuf,
    done: bool,
}

/// `NAME.tmp.PID.RANDOM`, hidden also where `NAME` is not.
fn aside_name(path: &Path) -> PathBuf {
    let clock = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.subsec_nanos());
    // The address of a local is as random as the kernel places stacks.
    let place = (&raw const clock).addr() as u64;
    let random =
        xxhash_rust::xxh3::xxh3_64(&(u64::from(clock) ^ place.rotate_left(32)).to_le_bytes());
    let mut name = std::ffi::OsString::new();
    let own = path.file_name().unwrap_or_default();
    if !own.as_encoded_bytes().starts_with(b".") {
        name.push(".");
    }
    name.push(own);
    name.push(format!(".tmp.{}.{:08x}", std::process::id(), random >> 32));
    path.with_file_name(name)
}

impl Aside {
    pub(crate) fn create(path: &Path) -> Result<Self> {
        let aside = aside_name(path);
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create_new(true)
            .custom_flags(libc::O_CLOEXEC)
            .open(&aside)
            .map_err(|e| Error::io(&aside, &e))?;
        Ok(Self { file, written: aside, path: path.to_path_buf(), done: false })
    }

    pub(crate) fn file(&self) -> &File {
        &self.file
    }

    /// Makes the content durable and gives the file its name.
    pub(crate) fn commit(mut self) -> Result<()> {
        self.file.sync_all().map_err(|e| Error::io(&self.written, &e))?;
        std::fs::rename(&self.written, &self.path).map_err(|e| Error::io(&self.path, &e))?;
        self.done = true;
        Ok(())
    }
}

impl Drop for Aside {
    fn drop(&mut self) {
        if !self.done {
            let _ = std::fs::remove_file(&self.written);
        }
    }
}

/// Writes a small file whole.
pub(crate) fn write_aside(path: &Path, content: &[u8]) -> Result<()> {
    let aside = Aside::create(path)?;
    let mut file = aside.file();
    file.write_all(content).map_err(|e| Error::io(path, &e))?;
    aside.commit()
}

/// Whether an error says that a place cannot be written, so that another one may be tried.
pub(crate) fn is_unwritable(error: &Error) -> bool {
    error.kind() == ErrorKind::Io
        && matches!(
            error.errno(),
            Some(
                libc::EACCES
                    | libc::EPERM
                    | libc::EROFS
                    | libc::ENOSPC
                    | libc::EDQUOT
                    | libc::ENOENT
                    | libc::EFBIG
            )
        )
}

/// Removes what killed builders of `path` left behind.
pub(crate) fn remove_abandoned(path: &Path) {
    let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else { return };
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    let mut prefix = name.as_encoded_bytes().to_vec();
    prefix.extend(b".tmp.");
    for entry in entries.flatten() {
        let own = entry.file_name();
        let Some(rest) = own.as_encoded_bytes().strip_prefix(prefix.as_slice()) else { continue };
        let pid = rest.split(|&b| b == b'.').next().unwrap_or_default();
        let pid = std::str::from_utf8(pid).ok().and_then(|p| p.parse::<libc::pid_t>().ok());
        let old = entry
            .metadata()
            .and_then(|m| m.modified())
            .is_ok_and(|t| t.elapsed().is_ok_and(|age| age > ABANDONED_AFTER));
        // SAFETY: signal 0 only asks whether the process exists.
        let gone = pid.is_some_and(|pid| pid > 0 && unsafe { libc::kill(pid, 0) } != 0);
        if old && gone {
            let _ = std::fs::remove_file(entry.path());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_complete_file_takes_its_name() {
        let folder = std::env::temp_dir().join(format!("seqmill-aside-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let path = folder.join("x");
        drop(Aside::create(&path).unwrap());
        assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 0);
        write_aside(&path, b"content").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"content");
        assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 1);
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
