//! `seqmill.Archive`, `seqmill unpack` and `seqmill pack`.

mod read;
mod tables;
mod write;

pub(crate) use read::{ArchiveReader, archive_unpack, archive_verify, is_archive};
pub(crate) use tables::ArchiveTable;
pub(crate) use write::{archive_pack, archive_rename};

use seqmill_base::Job;
use seqmill_base::metrics::StageFigures;
use seqmill_io::fasta::OpenArchive;
use serde_json::{Value, json};

/// What opens the archives that other capabilities are given.
pub(crate) const ARCHIVES: Option<OpenArchive> = Some(seqmill_pack::open_archive);

/// The engine's part of the metrics document.
fn document(job: &Job, totals: Value, stages: &[StageFigures], detail: Value) -> Value {
    json!({
        "totals": totals,
        "stages": stages,
        "memory": {
            "limit": job.budget.limit(),
            "overhead": job.budget.overhead(),
            "reserved_peak": job.budget.reserved_peak(),
            "consumers": job.budget.accounts(),
        },
        "detail": detail,
    })
}
