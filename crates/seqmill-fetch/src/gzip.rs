//! Copies in BGZF of files that are gzip without blocks.

use crate::aside::Aside;
use seqmill_base::{Error, Result};
use seqmill_io::Source;
use seqmill_io::bgzf::{Compressor, EOF_MARKER, PAYLOAD_BYTES};
use seqmill_io::gzip::GzipStream;
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use xxhash_rust::xxh3::Xxh3;

/// Level of the copies: they are read often and are only a cache.
const LEVEL: i32 = 4;

/// Where the copy of a file as it is now lies.
pub(crate) fn recompressed_path(folder: &Path, path: &Path, size: u64, mtime_ns: i64) -> PathBuf {
    let whole = std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf());
    let mut hasher = Xxh3::new();
    hasher.update(&size.to_le_bytes());
    hasher.update(&mtime_ns.to_le_bytes());
    hasher.update(whole.as_os_str().as_bytes());
    folder.join(format!("{:016x}.fa.gz", hasher.digest()))
}

/// Writes the copy.
pub(crate) fn recompress(source: &Arc<dyn Source>, copy: &Path) -> Result<()> {
    if let Some(folder) = copy.parent() {
        std::fs::create_dir_all(folder).map_err(|e| Error::io(folder, &e))?;
    }
    let aside = Aside::create(copy)?;
    let mut out = std::io::BufWriter::new(aside.file());
    let failed = |e: std::io::Error| Error::io(copy, &e);
    let mut stream = GzipStream::new(Arc::clone(source));
    let mut compressor = Compressor::new(LEVEL)?;
    let (mut text, mut block) = (Vec::new(), Vec::new());
    while stream.append(&mut text, PAYLOAD_BYTES)? > 0 {
        compressor.append_block(&text, &mut block)?;
        out.write_all(&block).map_err(failed)?;
        text.clear();
        block.clear();
    }
    out.write_all(&EOF_MARKER).map_err(failed)?;
    out.flush().map_err(failed)?;
    drop(out);
    aside.commit()
}
