//! Finding the sequence files of a store.

use crate::archives::Archives;
use crate::options::{OpenOptions, Root};
use seqmill_base::{Error, Result};
use std::ffi::OsStr;
use std::fs::Metadata;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use xxhash_rust::xxh3::Xxh3;

/// A sequence file: its path relative to the root, of which the last bytes are the suffix.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Found {
    pub(crate) name: Vec<u8>,
    /// For a sample of an archive, the whole path of the archive.
    pub(crate) suffix: Vec<u8>,
    /// Number of the sample in its archive.
    pub(crate) sample: Option<u64>,
}

impl Found {
    pub(crate) fn relative_path(&self) -> PathBuf {
        let mut path = if self.sample.is_some() { Vec::new() } else { self.name.clone() };
        path.extend(&self.suffix);
        PathBuf::from(std::ffi::OsString::from_vec(path))
    }
}

/// A directory that was walked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Directory {
    pub(crate) path: Vec<u8>,
    pub(crate) mtime_ns: i64,
    pub(crate) listing: u64,
}

/// The files of a store, sorted by name, and its directories.
#[derive(Debug, Default)]
pub(crate) struct Walk {
    pub(crate) found: Vec<Found>,
    pub(crate) directories: Vec<Directory>,
    pub(crate) archives: Archives,
}

pub(crate) fn mtime_ns(meta: &Metadata) -> i64 {
    meta.mtime().wrapping_mul(1_000_000_000).wrapping_add(meta.mtime_nsec())
}

/// The longest of the suffixes that `name` ends with.
pub(crate) fn suffix_of<'s>(name: &[u8], suffixes: &'s [String]) -> Option<&'s str> {
    suffixes
        .iter()
        .filter(|s| name.len() > s.len() && name.ends_with(s.as_bytes()))
        .max_by_key(|s| s.len())
        .map(String::as_str)
}

/// What counts in one directory: sequence files and subdirectories, sorted.
#[derive(Debug, Default)]
struct Listing {
    files: Vec<Vec<u8>>,
    folders: Vec<Vec<u8>>,
}

impl Listing {
    fn read(path: &Path, suffixes: &[String]) -> Result<Self> {
        let failed = |e: std::io::Error| Error::io(path, &e);
        let mut listing = Self::default();
        for entry in std::fs::read_dir(path).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let name = entry.file_name().into_vec();
            if name.starts_with(b".") {
                continue;
            }
            let mut kind = entry.file_type().map_err(failed)?;
            if kind.is_symlink() {
                // A link that leads nowhere is nobody's sequence file.
                let Ok(meta) = std::fs::metadata(entry.path()) else { continue };
                kind = meta.file_type();
            }
            if kind.is_dir() {
                listing.folders.push(name);
            } else if kind.is_file() && suffix_of(&name, suffixes).is_some() {
                // A pipe would never answer.
                listing.files.push(name);
            }
        }
        listing.files.sort_unstable();
        listing.folders.sort_unstable();
        Ok(listing)
    }

    fn digest(&self) -> u64 {
        let mut hasher = Xxh3::new();
        for (kind, names) in [(b'f', &self.files), (b'd', &self.folders)] {
            for name in names {
                hasher.update(&[kind]);
                hasher.update(&(name.len() as u64).to_le_bytes());
                hasher.update(name);
            }
        }
        hasher.digest()
    }
}

/// Digest of what counts in the directory `path`.
pub(crate) fn listing_digest(path: &Path, suffixes: &[String]) -> Result<u64> {
    Ok(Listing::read(path, suffixes)?.digest())
}

fn join(folder: &[u8], name: &[u8]) -> Vec<u8> {
    let mut path = folder.to_vec();
    if !path.is_empty() {
        path.push(b'/');
    }
    path.extend(name);
    path
}

fn split(path: Vec<u8>, suffixes: &[String]) -> Found {
    let mut name = path;
    let length = suffix_of(&name, suffixes).map_or(0, str::len);
    let suffix = name.split_off(name.len() - length);
    Found { name, suffix, sample: None }
}

/// Walks the root.
pub(crate) fn walk(root: &Root, options: &OpenOptions) -> Result<Walk> {
    let suffixes = &options.suffixes;
    let mut walk = Walk::default();
    match root {
        Root::Directory(base) => {
            let meta = std::fs::metadata(base).map_err(|e| Error::io(base, &e))?;
            let mut above = vec![(meta.dev(), meta.ino())];
            descend(base, Vec::new(), suffixes, &mut above, &mut walk)?;
        }
        Root::Files(_, paths) => {
            for path in paths {
                walk.found.push(split(path.as_os_str().as_bytes().to_vec(), suffixes));
            }
        }
    }
    walk.expand(root.base(), options)?;
    walk.found.sort_unstable();
    for pair in walk.found.windows(2) {
        if let [a, b] = pair
            && a.name == b.name
        {
            return Err(Error::input(format!(
                "{} and {} would have one name, {:?}; rename one or choose suffixes",
                a.relative_path().display(),
                b.relative_path().display(),
                String::from_utf8_lossy(&a.name),
            ))
            .at_path(root.base()));
        }
    }
    Ok(walk)
}

fn descend(
    base: &Path,
    folder: Vec<u8>,
    suffixes: &[String],
    above: &mut Vec<(u64, u64)>,
    walk: &mut Walk,
) -> Result<()> {
    let path = base.join(OsStr::from_bytes(&folder));
    let meta = std::fs::metadata(&path).map_err(|e| Error::io(&path, &e))?;
    let listing = Listing::read(&path, suffixes)?;
    let digest = listing.digest();
    for name in &listing.files {
        walk.found.push(split(join(&folder, name), suffixes));
    }
    let folders: Vec<Vec<u8>> = listing.folders.iter().map(|name| join(&folder, name)).collect();
    walk.directories.push(Directory { path: folder, mtime_ns: mtime_ns(&meta), listing: digest });
    for below in folders {
        let path = base.join(OsStr::from_bytes(&below));
        let Ok(meta) = std::fs::metadata(&path) else { continue };
        let identity = (meta.dev(), meta.ino());
        // A link to a directory above would never end.
        if above.contains(&identity) {
            continue;
        }
        above.push(identity);
        descend(base, below, suffixes, above, walk)?;
        above.pop();
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_found_below_and_loops_are_not_followed() {
        let base = std::env::temp_dir().join(format!("seqmill-walk-{}", std::process::id()));
        std::fs::create_dir_all(base.join("b/c")).unwrap();
        for name in ["z.fa", "a.fna.gz", "a.fna.gz.fai", ".h.fa", "b/c/x.fa", "b.fa", "note.txt"] {
            std::fs::write(base.join(name), b"").unwrap();
        }
        std::os::unix::fs::symlink("..", base.join("b/up")).unwrap();
        let suffixes: Vec<String> = [".fa", ".gz", ".fna.gz"].map(str::to_owned).into();
        let options = OpenOptions { suffixes, ..OpenOptions::default() };
        let root = Root::Directory(base.clone());
        let found = walk(&root, &options).unwrap();
        let names: Vec<&[u8]> = found.found.iter().map(|f| f.name.as_slice()).collect();
        assert_eq!(names, [b"a".as_slice(), b"b", b"b/c/x", b"z"]);
        assert_eq!(found.directories.len(), 3);
        std::fs::write(base.join("a.fa"), b"").unwrap();
        let error = walk(&root, &options).unwrap_err().to_string();
        assert!(error.contains("a.fa and a.fna.gz"), "{error}");
        std::fs::remove_dir_all(base).unwrap();
    }
}
