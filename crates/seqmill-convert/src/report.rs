//! What a run measured, as the engine's part of the metrics document (`workflow.md` B.3).

use crate::inputs::Inputs;
use crate::overview::Overview;
use crate::run::BatchFacts;
use crate::setup::Setup;
use crate::tags::OVERFLOW_NAMES;
use crate::unit::{CutState, NOTE_NAMES};
use hashbrown::HashMap;
use rustc_hash::FxBuildHasher;
use seqmill_base::Job;
use seqmill_base::metrics::StageFigures;
use seqmill_base::process::{UsageFigures, memory_figures, storage_bytes, usage_figures};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use std::time::Instant;

/// Counts that are kept over an interruption.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Totals {
    pub batches: u64,
    pub rows_min: u64,
    pub rows_max: u64,
    pub rows: u64,
    pub arrow_bytes: u64,
    pub bases: u64,
    /// By tag, in order of appearance, how often by reason.
    pub overflow: Vec<([u8; 2], [u64; 4])>,
}

impl Totals {
    /// Adds a batch.
    pub(crate) fn add(&mut self, facts: &BatchFacts) {
        if facts.rows == 0 {
            return;
        }
        self.rows_min = if self.batches == 0 { facts.rows } else { self.rows_min.min(facts.rows) };
        self.rows_max = self.rows_max.max(facts.rows);
        self.batches += 1;
        self.rows += facts.rows;
        self.arrow_bytes += facts.arrow_bytes;
        self.bases += facts.bases;
        for (name, counts) in &facts.overflow {
            match self.overflow.iter_mut().find(|(n, _)| n == name) {
                Some((_, sum)) => sum.iter_mut().zip(counts).for_each(|(a, b)| *a += b),
                None => self.overflow.push((*name, *counts)),
            }
        }
    }
}

/// Where the figures of a run are taken from.
pub(crate) struct Meter {
    began: Instant,
    usage: UsageFigures,
    storage: (Option<u64>, Option<u64>),
}

impl Meter {
    pub(crate) fn start() -> Self {
        Self { began: Instant::now(), usage: usage_figures(), storage: storage_bytes() }
    }
}

/// What the end of a run has to tell.
pub(crate) struct Outcome<'a> {
    pub state: CutState,
    pub totals: &'a Totals,
    pub stages: Vec<StageFigures>,
    pub output_bytes: u64,
    /// Figures of the output format.
    pub format: Value,
    pub overview: Option<&'a Overview>,
    pub resumed_from: Option<u64>,
}

/// The engine's part of the document.
pub(crate) fn document(
    inputs: &Inputs,
    setup: &Setup,
    job: &Job,
    meter: &Meter,
    outcome: &Outcome<'_>,
) -> Value {
    let wall = meter.began.elapsed().as_secs_f64();
    let usage = usage_figures();
    let progress = job.progress.snapshot();
    let notes = outcome.state.notes;
    let by_name: Map<String, Value> =
        NOTE_NAMES.iter().zip(notes).map(|(n, c)| ((*n).to_owned(), c.into())).collect();
    // Neither damaged records nor warnings are filtered ones.
    let filtered: u64 = notes.iter().skip(1).take(NOTE_NAMES.len() - 2).sum();
    let inflated = outcome.stages.iter().find(|s| s.name == "load").map_or(0, |s| s.bytes_out);
    let rate = |n: u64| if wall > 0.0 { n as f64 / wall } else { 0.0 };
    let mut overflow: HashMap<String, Value, FxBuildHasher> = HashMap::default();
    for (name, counts) in &outcome.totals.overflow {
        let name: String = name.iter().map(|b| char::from(*b)).collect();
        let reasons: Map<String, Value> = OVERFLOW_NAMES
            .iter()
            .zip(counts)
            .filter(|(_, n)| **n > 0)
            .map(|(reason, n)| ((*reason).to_owned(), (*n).into()))
            .collect();
        overflow.insert(name, Value::Object(reasons));
    }
    let mut overflow: Vec<(String, Value)> = overflow.into_iter().collect();
    overflow.sort_by(|a, b| a.0.cmp(&b.0));
    let overflow: Map<String, Value> = overflow.into_iter().collect();
    let totals = outcome.totals;
    let mean = |sum: u64| sum.checked_div(totals.batches).unwrap_or(0);
    let names: Vec<(String, u64)> =
        inputs.references().map(|(name, length)| (name.to_owned(), length)).collect();
    let sizes =
        setup.record_sizes.map(|[mean, p95, max]| json!({"mean": mean, "p95": p95, "max": max}));
    let memory = memory_figures();
    let (read, written) = storage_bytes();
    let since = |now: Option<u64>, before: Option<u64>| {
        now.zip(before).map(|(now, before)| now.saturating_sub(before))
    };
    json!({
        "totals": {
            "bytes_in": progress.bytes_in,
            "bytes_out": outcome.output_bytes,
            "bases": totals.bases,
            "records_in": outcome.state.looked_at,
            "records_out": outcome.state.given,
            "records_filtered": filtered,
            "wall_s": wall,
            "cpu_user_s": usage.cpu_user_s - meter.usage.cpu_user_s,
            "cpu_sys_s": usage.cpu_sys_s - meter.usage.cpu_sys_s,
            "records_per_s": rate(outcome.state.looked_at),
            "mb_in_per_s": rate(progress.bytes_in) / 1e6,
            "compression_ratio": (outcome.output_bytes > 0)
                .then(|| totals.arrow_bytes as f64 / outcome.output_bytes as f64),
        },
        "stages": outcome.stages,
        "memory": {
            "limit": job.budget.limit(),
            "overhead": job.budget.overhead(),
            "reserved_peak": job.budget.reserved_peak(),
            "rss_peak": memory.rss_peak,
            "consumers": job.budget.accounts(),
        },
        "io": {
            "storage_read_bytes": since(read, meter.storage.0),
            "storage_write_bytes": since(written, meter.storage.1),
            "major_faults": usage.major_faults - meter.usage.major_faults,
            "minor_faults": usage.minor_faults - meter.usage.minor_faults,
            "vol_ctx": usage.vol_ctx - meter.usage.vol_ctx,
            "invol_ctx": usage.invol_ctx - meter.usage.invol_ctx,
        },
        "detail": {
            "records_bad": notes.first(),
            "records_noted": by_name,
            "tags_other": overflow,
            "inflated_bytes": inflated,
            "inflated_mb_per_s": rate(inflated) / 1e6,
            "arrow_bytes": totals.arrow_bytes,
            "batches": {
                "count": totals.batches,
                "rows_min": totals.rows_min,
                "rows_mean": mean(totals.rows),
                "rows_max": totals.rows_max,
                "bytes_mean": mean(totals.arrow_bytes),
                "record_bytes": sizes,
            },
            "format": outcome.format,
            "sort_order": if outcome.state.sorted { "coordinate" } else { "unknown" },
            "simd": setup.columns.kernel.name(),
            "index_used": setup.index_used,
            "resumed_from": outcome.resumed_from,
            "overview": outcome.overview.map(|o| o.to_json(&names)),
        },
    })
}
