//! What held memory in a run, by what it was (specification 15).

use crate::job::Report;
use crate::rank::Seed;
use seqmill_base::Job;
use serde_json::{Value, json};

/// Bytes of a seed that are its k-mer with its place, and those that count.
const KMER_BYTES: u64 = 12;
const COUNT_BYTES: u64 = 12;

/// The parts at their highest, and the accounts with theirs.
pub(crate) fn of(report: &Report, job: &Job) -> Value {
    let accounts = job.budget.accounts();
    let peak = |name: &str| accounts.iter().find(|a| a.name == name).map_or(0, |a| a.peak);
    let found = &report.found;
    let seeds = found.seeds.len() as u64;
    let positions = found.positions * 4;
    let (kmers, frequencies) = (seeds * KMER_BYTES + peak("index"), seeds * COUNT_BYTES);
    let listed = positions + seeds * size_of::<Seed>() as u64;
    let storage = peak("positions").saturating_sub(listed);
    let headers = seeds * (size_of::<Seed>() as u64 - KMER_BYTES - COUNT_BYTES);
    let others = ["text", "masks", "pipeline", "extension", "output"];
    let overhead = headers + others.into_iter().map(peak).sum::<u64>();
    json!({
        "total_bytes": kmers + positions + frequencies + storage + overhead,
        "kmers_bytes": kmers,
        "positions_bytes": positions,
        "frequencies_bytes": frequencies,
        "vec_storage_bytes": storage,
        "overhead_bytes": overhead,
        "peak_bytes": job.budget.reserved_peak(),
        "pool_bytes": found.pools.held_bytes(),
        "accounts": accounts,
    })
}
