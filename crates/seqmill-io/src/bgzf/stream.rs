//! Block-parallel compression of a whole source.

use super::block::EOF_MARKER;
use super::gzi::GziIndex;
use super::writer::{Compressor, PAYLOAD_BYTES};
use crate::source::Source;
use seqmill_base::pipeline::{Item, Pipeline, Threads};
use seqmill_base::{Error, Job, Lease, Result};
use std::io::Write;
use std::path::Path;
use std::sync::Arc;

/// Blocks that one task compresses.
const TASK_BLOCKS: usize = 16;

/// Bytes of several blocks, before or after compression.
struct Piece {
    bytes: Vec<u8>,
    /// Compressed and uncompressed size of each block.
    blocks: Vec<(u64, u64)>,
    lease: Lease,
}

impl Item for Piece {
    fn bytes(&self) -> u64 {
        self.bytes.len() as u64
    }
}

/// Compresses `source` into `out` (named `path` in messages) with the end marker, and returns the
/// block index. The bytes do not depend on the number of threads.
pub fn compress_source(
    source: &Arc<dyn Source>,
    out: &mut (dyn Write + Send),
    path: &Path,
    level: i32,
    threads: usize,
    job: &Job,
) -> Result<GziIndex> {
    Compressor::new(level)?;
    let claim = (TASK_BLOCKS * PAYLOAD_BYTES) as u64;
    // Two pieces a thread on each side keep everybody busy.
    let share = 4 * claim * threads as u64;
    let (input, output) = (job.budget.account("input", share), job.budget.account("output", share));
    let mut at = 0;
    let (mut compressed, mut uncompressed) = (0, 0);
    let mut index = GziIndex::default();
    let mut write = |bytes: &[u8]| out.write_all(bytes).map_err(|e| Error::io(path, &e));
    let pieces = Pipeline::source("read", 0, input, claim, |lease| {
        let mut bytes = vec![0; TASK_BLOCKS * PAYLOAD_BYTES];
        let got = source.read_at(&mut bytes, at)?;
        bytes.truncate(got);
        at += got as u64;
        source.done_until(at);
        Ok((got > 0).then(|| Piece { bytes, blocks: Vec::new(), lease }))
    })
    .parallel(
        "deflate",
        0,
        output,
        |piece: &Piece| piece.bytes.len() as u64 + (64 << 10),
        || Compressor::new(level),
        |compressor, piece, mut lease| {
            let compressor = compressor.as_mut().map_err(|e| e.clone())?;
            let mut bytes = Vec::with_capacity(piece.bytes.len() / 2);
            let mut blocks = Vec::with_capacity(TASK_BLOCKS);
            for payload in piece.bytes.chunks(PAYLOAD_BYTES) {
                let before = bytes.len();
                compressor.append_block(payload, &mut bytes)?;
                blocks.push(((bytes.len() - before) as u64, payload.len() as u64));
            }
            drop(piece.lease);
            lease.resize(bytes.capacity() as u64)?;
            Ok(Piece { bytes, blocks, lease })
        },
    );
    let take = |piece: Piece| {
        for (block, payload) in &piece.blocks {
            index.push(compressed, uncompressed);
            compressed += block;
            uncompressed += payload;
        }
        write(&piece.bytes)
    };
    pieces.run("write", 0, take, &Threads::Shared(threads), job).0?;
    out.write_all(&EOF_MARKER).map_err(|e| Error::io(path, &e))?;
    Ok(index)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::MemorySource;
    use seqmill_base::Budget;

    #[test]
    fn threads_do_not_show() {
        let data: Vec<u8> = (0..5_000_000_u32).map(|i| (i / 9 % 251).to_le_bytes()[0]).collect();
        let source: Arc<dyn Source> = Arc::new(MemorySource::new(data.clone()));
        let mut outputs = Vec::new();
        for threads in [1, 2, 5] {
            let job = Job::new(Budget::new(64 << 20, 0).unwrap());
            let mut out = Vec::new();
            let path = Path::new("memory");
            let index = compress_source(&source, &mut out, path, 4, threads, &job).unwrap();
            assert_eq!(index.entries().len(), data.len().div_ceil(PAYLOAD_BYTES));
            outputs.push((out, index));
        }
        assert!(outputs.windows(2).all(|pair| pair[0] == pair[1]));
        let mut expected = super::super::compress(&data, 4).unwrap();
        expected.extend(EOF_MARKER);
        assert_eq!(outputs[0].0, expected);
    }
}
