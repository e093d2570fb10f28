//! How the memory of a job is shared out among input, threads and the arena.

use super::arena::BLOCK_BYTES;
use super::batch::BATCH_CLAIM;
use seqmill_base::budget::human_bytes;
use seqmill_base::{Budget, Error, Lease, Result};
use seqmill_io::sequence::SequenceStream;
use std::sync::Arc;

/// Items that are merged at once, and blocks on their way to the file.
pub(super) const MERGE_BYTES: usize = 1 << 19;
/// Least scratch of a thread.
const SCRATCH_LEAST: u64 = 1 << 20;
/// Most of it: more would only touch more memory.
const SCRATCH_MOST: u64 = 16 << 20;
/// Least arena, and more of it for each thread: an open block for every bin and bucket.
const ARENA_LEAST: u64 = 2 << 20;
const ARENA_PER_THREAD: u64 = 5 << 19;

/// What a counting run may hold.
pub(super) struct Room {
    pub threads: usize,
    /// Threads that inflate ahead.
    pub reader_threads: usize,
    /// Bytes of sorting scratch for each thread.
    pub scratch: u64,
    pub arena: Lease,
    pub bins: usize,
    /// Most buckets, as a power of two.
    pub bucket_bits_max: u32,
    _threads: Lease,
}

impl Room {
    /// Shares out what is free; fewer threads rather than more memory.
    pub(super) fn plan(budget: &Arc<Budget>, threads: usize, least_margin: u64) -> Result<Self> {
        let free = budget.pool().saturating_sub(budget.reserved()).saturating_sub(least_margin);
        let mut least = 0;
        for threads in (1..=threads).rev() {
            for reader_threads in
                [if threads > 1 { threads } else { 0 }, usize::from(threads > 1), 0]
            {
                let input = SequenceStream::claim_bytes(reader_threads);
                let count = threads as u64;
                let scratch = (free / 8 / count).clamp(SCRATCH_LEAST, SCRATCH_MOST);
                let own = count * (BATCH_CLAIM + MERGE_BYTES as u64 * 3 / 2 + scratch);
                least = input + own + ARENA_LEAST + count * ARENA_PER_THREAD;
                let comfortable = input <= free / 4;
                if least > free || !(comfortable || reader_threads == 0) {
                    continue;
                }
                let account = budget.account("scratch", own);
                let own_lease = budget.must_reserve(account, own)?;
                let arena_bytes = free - input - own;
                let account = budget.account("bins", arena_bytes);
                let arena = budget.must_reserve(account, arena_bytes)?;
                let blocks = arena_bytes / BLOCK_BYTES as u64;
                let for_open = (blocks / 2 / count).max(256);
                return Ok(Self {
                    threads,
                    reader_threads,
                    scratch,
                    arena,
                    bins: if for_open >= 2048 { 512 } else { 256 },
                    bucket_bits_max: for_open.ilog2().clamp(8, 12),
                    _threads: own_lease,
                });
            }
        }
        let needed = budget.limit() - free + least;
        Err(Error::budget(
            format!(
                "counting needs {} more than the {} that are free of a memory budget of {}; \
                 give at least --memory {}",
                human_bytes(least - free),
                human_bytes(free),
                human_bytes(budget.limit()),
                human_bytes(needed),
            ),
            needed,
        ))
    }
}
