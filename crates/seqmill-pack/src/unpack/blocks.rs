//! Text cut into blocks, which are compressed in parallel.

use super::Text;
use seqmill_base::budget::AccountId;
use seqmill_base::metrics::StageFigures;
use seqmill_base::pipeline::{Item, Pipeline, Threads};
use seqmill_base::{Job, Lease, Result};
use seqmill_io::bgzf::{Compressor, GziIndex, PAYLOAD_BYTES};

/// Text cut at the borders of blocks.
struct Payload(Vec<u8>);

impl Item for Payload {
    fn bytes(&self) -> u64 {
        self.0.len() as u64
    }
}

struct Blocks {
    bytes: Vec<u8>,
    sizes: Vec<(u64, u64)>,
    _lease: Lease,
}

impl Item for Blocks {
    fn bytes(&self) -> u64 {
        self.bytes.len() as u64
    }
}

/// Adds the stages that make blocks of texts, and runs all of it; notes where blocks begin.
#[expect(clippy::too_many_arguments, reason = "the ends of one pipeline")]
pub(super) fn compressed<'a>(
    decoded: Pipeline<'a, Text>,
    account: AccountId,
    level: i32,
    gzi: &'a mut GziIndex,
    written: &'a mut u64,
    write: &'a mut (impl FnMut(&[u8]) -> Result<()> + Send),
    threads: &Threads,
    job: &Job,
) -> (Result<()>, Vec<StageFigures>) {
    let mut open: Vec<u8> = Vec::new();
    let cut = decoded.ordered("cut", 0, move |text: Option<Text>, out| {
        let Some(text) = text else {
            if !open.is_empty() {
                out.push(Payload(std::mem::take(&mut open)));
            }
            return Ok(());
        };
        open.extend_from_slice(&text.bytes);
        let whole = open.len() / PAYLOAD_BYTES * PAYLOAD_BYTES;
        if whole > 0 {
            let rest = open.split_off(whole);
            out.push(Payload(std::mem::replace(&mut open, rest)));
        }
        Ok(())
    });
    let mut uncompressed = 0;
    cut.parallel(
        "deflate",
        0,
        account,
        |payload: &Payload| payload.0.len() as u64 + (64 << 10),
        move || Compressor::new(level),
        |compressor, payload, mut lease| {
            let compressor = compressor.as_mut().map_err(|e| e.clone())?;
            let (mut bytes, mut sizes) = (Vec::with_capacity(payload.0.len() / 3), Vec::new());
            for block in payload.0.chunks(PAYLOAD_BYTES) {
                let before = bytes.len();
                compressor.append_block(block, &mut bytes)?;
                sizes.push(((bytes.len() - before) as u64, block.len() as u64));
            }
            lease.resize(bytes.capacity() as u64)?;
            Ok(Blocks { bytes, sizes, _lease: lease })
        },
    )
    .run(
        "write",
        0,
        move |blocks: Blocks| {
            for (size, payload) in &blocks.sizes {
                gzi.push(*written, uncompressed);
                *written += size;
                uncompressed += payload;
            }
            write(&blocks.bytes)
        },
        threads,
        job,
    )
}
