//! Identity of an input file: size, time and a hash of three places.

use crate::error::{Error, Result};
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io::Read;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;
use xxhash_rust::xxh3::{Xxh3, xxh3_128};

/// Bytes hashed at the beginning, the middle and the end.
const STRETCH_BYTES: u64 = 1 << 20;
/// Bytes read at a time where all of a file is hashed.
const PIECE_BYTES: usize = 1 << 18;

/// Identity of a file as `workflow.md` C.1 defines it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fingerprint {
    /// Size in bytes.
    pub size: u64,
    /// Time of the last modification, ns since the epoch.
    pub mtime_ns: i64,
    /// XXH3-64 of the first, middle and last MiB, as 16 hex digits.
    pub hash: String,
}

/// Takes the fingerprint of a regular file.
pub fn fingerprint(path: &Path) -> Result<Fingerprint> {
    let failed = |e: std::io::Error| Error::io(path, &e);
    let file = File::open(path).map_err(failed)?;
    let meta = file.metadata().map_err(failed)?;
    let mtime_ns = meta.mtime() * 1_000_000_000 + meta.mtime_nsec();
    fingerprint_of(meta.len(), mtime_ns, |buffer, offset| {
        file.read_exact_at(buffer, offset).map_err(failed)
    })
}

/// The fingerprint of bytes that `read` copies from a given place.
pub fn fingerprint_of(
    size: u64,
    mtime_ns: i64,
    mut read: impl FnMut(&mut [u8], u64) -> Result<()>,
) -> Result<Fingerprint> {
    let mut hasher = Xxh3::new();
    let mut buffer = vec![0_u8; usize::try_from(STRETCH_BYTES.min(size)).unwrap_or(0)];
    let starts = if size <= STRETCH_BYTES {
        vec![0]
    } else {
        vec![0, (size - STRETCH_BYTES) / 2, size - STRETCH_BYTES]
    };
    for start in starts {
        read(&mut buffer, start)?;
        hasher.update(&buffer);
    }
    Ok(Fingerprint { size, mtime_ns, hash: format!("{:016x}", hasher.digest()) })
}

/// Size and XXH3-64 (16 hex digits) of a whole file, read in pieces.
pub fn hash_file(path: &Path) -> Result<(u64, String)> {
    let failed = |e: std::io::Error| Error::io(path, &e);
    let mut file = File::open(path).map_err(failed)?;
    let mut hasher = Xxh3::new();
    let mut buffer = vec![0_u8; PIECE_BYTES];
    let mut size = 0;
    loop {
        let read = file.read(&mut buffer).map_err(failed)?;
        let Some(piece) = buffer.get(..read).filter(|piece| !piece.is_empty()) else { break };
        hasher.update(piece);
        size += read as u64;
    }
    Ok((size, format!("{:016x}", hasher.digest())))
}

/// XXH3-128 of bytes, as 32 hex digits: the form of the keys of jobs and units.
#[must_use]
pub fn hash_bytes(data: &[u8]) -> String {
    format!("{:032x}", xxh3_128(data))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_whole_file_has_the_hash_of_its_bytes() {
        let folder = std::env::temp_dir().join(format!("seqmill-hash-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let path = folder.join("data");
        let data = vec![7_u8; PIECE_BYTES + 3];
        std::fs::write(&path, &data).unwrap();
        let expected = format!("{:016x}", xxhash_rust::xxh3::xxh3_64(&data));
        assert_eq!(hash_file(&path).unwrap(), (data.len() as u64, expected));
        assert_eq!(hash_bytes(b"").len(), 32);
        assert!(hash_file(&folder.join("absent")).is_err());
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
