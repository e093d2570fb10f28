//! The side files of a FASTA file by one pass: blocks inflated in parallel, lines in order.

use super::fai::FaiIndex;
use super::scan::FaiScanner;
use crate::bgzf::{GziIndex, Inflater, UnitScanner, VirtualOffset};
use crate::source::Source;
use seqmill_base::pipeline::{Item, Pipeline, Threads};
use seqmill_base::{Job, Lease, Progress, Result};
use std::sync::Arc;

/// Inflated bytes of one task.
const UNIT_BYTES: usize = 1 << 20;

/// What one pass over a file gives.
#[derive(Debug, Default)]
pub struct SideFiles {
    /// The contigs.
    pub fai: FaiIndex,
    /// The blocks; `None` for a plain file.
    pub gzi: Option<GziIndex>,
    /// A BGZF file ended without the empty block that marks its end.
    pub missing_eof: bool,
}

struct Text {
    bytes: Vec<u8>,
    /// Compressed offset and data size of each block.
    blocks: Vec<(u64, u64)>,
    compressed: u64,
    _lease: Lease,
}

impl Item for Text {
    fn bytes(&self) -> u64 {
        self.bytes.len() as u64
    }
}

/// Reads a whole FASTA file, plain or (`bgzf`) in blocks, and finds its contigs and blocks.
///
/// The block index lists what `bgzip -r` lists: every block with data but the first.
pub fn build_side_files(
    source: &Arc<dyn Source>,
    bgzf: bool,
    threads: usize,
    job: &Job,
) -> Result<SideFiles> {
    if bgzf { scan_blocks(source, threads, job) } else { scan_plain(source, job) }
        .map_err(|e| e.at_path(source.path()))
}

fn scan_plain(source: &Arc<dyn Source>, job: &Job) -> Result<SideFiles> {
    let mut scanner = FaiScanner::default();
    let mut buffer = vec![0; UNIT_BYTES];
    let mut at = 0;
    loop {
        job.cancel.check()?;
        let got = source.read_at(&mut buffer, at)?;
        if got == 0 {
            break;
        }
        scanner.push(buffer.get(..got).unwrap_or_default())?;
        at += got as u64;
        Progress::add(&job.progress.bytes_in, got as u64);
    }
    source.check_unchanged()?;
    Ok(SideFiles { fai: scanner.finish()?, gzi: None, missing_eof: false })
}

fn scan_blocks(source: &Arc<dyn Source>, threads: usize, job: &Job) -> Result<SideFiles> {
    let threads = threads.max(1);
    let share = 4 * UNIT_BYTES as u64 * threads as u64;
    let input = job.budget.account("input", share);
    let output = job.budget.account("text", share);
    let whole = vec![(VirtualOffset(0), None)];
    let units = std::sync::Mutex::new(UnitScanner::new(Arc::clone(source), whole, UNIT_BYTES));
    let lock = || units.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let mut scanner = FaiScanner::default();
    let mut gzi = GziIndex::default();
    let (mut uncompressed, mut first) = (0, true);
    let take = |text: Text| {
        for &(offset, size) in text.blocks.iter().filter(|block| block.1 > 0) {
            // htslib counts blocks with data and leaves out the first of them.
            if !std::mem::take(&mut first) {
                gzi.push(offset, uncompressed);
            }
            uncompressed += size;
        }
        Progress::add(&job.progress.bytes_in, text.compressed);
        scanner.push(&text.bytes)
    };
    Pipeline::source("read", 0, input, UnitScanner::CLAIM_BYTES, |lease| lock().next_unit(lease))
        .parallel(
            "inflate",
            0,
            output,
            |unit| unit.inflated_bytes() as u64,
            || (Inflater::new(true), Vec::new()),
            |(inflater, marks), unit, lease| {
                let mut bytes = Vec::new();
                inflater.inflate_unit(&unit, &mut bytes, marks)?;
                let ends = marks.iter().skip(1).map(|m| u64::from(m.start));
                let sizes = ends.chain([bytes.len() as u64]).zip(marks.iter());
                let blocks = sizes.map(|(end, m)| (m.offset, end - u64::from(m.start))).collect();
                Ok(Text { compressed: unit.bytes(), bytes, blocks, _lease: lease })
            },
        )
        .run("scan", 0, take, &Threads::Shared(threads), job)
        .0?;
    source.check_unchanged()?;
    let missing_eof = !lock().ended_with_marker();
    Ok(SideFiles { fai: scanner.finish()?, gzi: Some(gzi), missing_eof })
}
