//! What a job says of itself: in the summary, and in the metrics.

use super::alignments::Measured;
use super::options::{Mates, Semantic};
use super::output::Plan;
use super::run::Work;
use seqmill_base::Job;
use seqmill_base::process::memory_figures;
use serde_json::{Map, Value, json};
use std::path::Path;

/// What the job's budget came to.
pub(super) fn figures(job: &Job) -> Value {
    json!({
        "limit": job.budget.limit(),
        "overhead": job.budget.overhead(),
        "reserved_peak": job.budget.reserved_peak(),
        "rss_peak": memory_figures().rss_peak,
        "consumers": job.budget.accounts(),
    })
}

impl Work<'_> {
    pub(super) fn plan(&self) -> Plan<'_> {
        let regions = self.prepared.targets.distinct(&self.prepared.sequences);
        let mut walk = self.prepared.targets.walk(&self.prepared.sequences);
        let bases: u64 = std::iter::from_fn(|| walk.advance()).map(|(_, s)| s.end - s.begin).sum();
        let name = self.options.input.file_name().map(|n| n.to_string_lossy().into_owned());
        let mut details = json!({
            "regions": regions,
            "bases": bases,
            "metric": self.metric(),
            "k": self.k(),
            "strand": self.strand(),
            "input": name.unwrap_or_else(|| "-".to_owned()),
        });
        // What parts must have in common, besides.
        let options = self.unusual_options();
        if !options.is_empty() {
            details["options"] = Value::Object(options);
        }
        Plan {
            sequences: &self.prepared.sequences,
            targets: &self.prepared.targets,
            columns: self.columns(),
            bins: self.options.semantic.bins,
            region_files: self.options.semantic.region_files,
            details,
        }
    }

    /// Options that change the numbers, where they are not the usual ones.
    fn unusual_options(&self) -> Map<String, Value> {
        let (semantic, usual) = (&self.options.semantic, Semantic::default());
        let of_alignments = |s: &Semantic| {
            json!({
                "bins": s.bins,
                "mates": s.mates,
                "count_deletions": s.count_deletions,
                "min_mapq": s.min_mapq,
                "min_baseq": s.min_baseq,
                "exclude_flags": s.exclude_flags,
                "require_flags": s.require_flags,
            })
        };
        let of_sequence = |s: &Semantic| {
            let table = s.kmer_db.as_deref().and_then(Path::file_name);
            json!({
                "bins": s.bins,
                "skip_soft_masked": s.skip_soft_masked,
                "kmer_db": table.map(|name| name.to_string_lossy()),
            })
        };
        let (chosen, usual) = match self.k() {
            None => (of_alignments(semantic), of_alignments(&usual)),
            Some(_) => (of_sequence(semantic), of_sequence(&usual)),
        };
        let Value::Object(chosen) = chosen else { return Map::new() };
        chosen.into_iter().filter(|(name, value)| usual[name] != *value).collect()
    }

    pub(super) fn document(
        &self,
        began: std::time::Instant,
        rows: u64,
        measured: &Measured,
        profile: &Value,
        resumed: bool,
    ) -> Value {
        let progress = self.job.progress.snapshot();
        let semantic = &self.options.semantic;
        json!({
            "totals": {
                "bytes_in": progress.bytes_in,
                "bytes_out": progress.bytes_out,
                "records_in": measured.looked_at,
                "records_out": rows,
                "records_filtered": measured.looked_at - measured.counted,
                "wall_s": began.elapsed().as_secs_f64(),
            },
            "stages": measured.stages,
            "memory": figures(self.job),
            "detail": {
                "regions": self.prepared.targets.distinct(&self.prepared.sequences),
                "records_counted": measured.counted,
                "metric": self.metric(),
                "k": self.k(),
                "strand": self.strand(),
                "mates": self.k().is_none().then_some(match semantic.mates {
                    Mates::Both => "both",
                    Mates::Once => "once",
                    Mates::Proper => "proper",
                }),
                "resumed": resumed,
                "profile": profile,
            },
        })
    }
}
