//! Identity of an input file: size, time and a hash of three places.

use crate::error::{Error, Result};
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;
use xxhash_rust::xxh3::Xxh3;

/// Bytes hashed at the beginning, the middle and the end.
const STRETCH_BYTES: u64 = 1 << 20;

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
    let size = meta.len();
    let mut hasher = Xxh3::new();
    let mut buffer = vec![0_u8; usize::try_from(STRETCH_BYTES.min(size)).unwrap_or(0)];
    let starts = if size <= STRETCH_BYTES {
        vec![0]
    } else {
        vec![0, (size - STRETCH_BYTES) / 2, size - STRETCH_BYTES]
    };
    for start in starts {
        file.read_exact_at(&mut buffer, start).map_err(failed)?;
        hasher.update(&buffer);
    }
    Ok(Fingerprint {
        size,
        mtime_ns: meta.mtime() * 1_000_000_000 + meta.mtime_nsec(),
        hash: format!("{:016x}", hasher.digest()),
    })
}
