//! Sorted tables merged into one, as streams.

mod cursor;
mod join;
mod ranges;

pub use cursor::KeyRange;
pub(in crate::kmers) use cursor::TableCursor;
pub use ranges::key_boundaries;

use super::histogram::Histogram;
use super::skm::{FILTERED, SkmTable, SkmWriter, TableFacts};
use super::word::Word;
use seqmill_base::sink::AtomicFile;
use seqmill_base::{Error, FormatKind, Job, Result};
use serde_json::Value;
use std::path::Path;

/// How counts of several tables become one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SetOperation {
    /// Their sum.
    #[default]
    UnionSum,
    /// The least, of k-mers that all tables have.
    IntersectMin,
    /// The first less the others, where that is above 0.
    Subtract,
    /// The first, where no other table has the k-mer.
    Difference,
}

impl SetOperation {
    /// The operation of a name.
    pub fn from_name(name: &str) -> Option<Self> {
        Some(match name {
            "union-sum" => Self::UnionSum,
            "intersect-min" => Self::IntersectMin,
            "subtract" => Self::Subtract,
            "difference" => Self::Difference,
            _ => return None,
        })
    }
}

/// What a merge does.
#[derive(Debug, Clone, Copy)]
pub struct MergeRules {
    /// How counts are joined.
    pub operation: SetOperation,
    /// Counts that the result keeps.
    pub keep: (u64, u64),
    /// Take tables from which k-mers were filtered.
    pub allow_filtered: bool,
}

impl Default for MergeRules {
    fn default() -> Self {
        Self { operation: SetOperation::UnionSum, keep: (0, u64::MAX), allow_filtered: false }
    }
}

/// What a merge gave.
#[derive(Debug, Clone, Default)]
pub struct Merged {
    /// Occurrences before the filter.
    pub total: u64,
    /// Distinct k-mers before the filter.
    pub distinct: u64,
    /// K-mers in the result.
    pub stored: u64,
    /// Bytes of the result.
    pub bytes: u64,
    /// Before the filter.
    pub histogram: Histogram,
}

/// Fails unless the tables can be merged: same k and strand, nothing filtered.
pub fn check_mergeable(tables: &[SkmTable], allow_filtered: bool) -> Result<()> {
    let Some(first) = tables.first() else {
        return Err(Error::input("nothing to merge: give at least one table"));
    };
    for table in tables {
        let (a, b) = (first.facts(), table.facts());
        let strand = |canonical| if canonical { "canonical" } else { "forward" };
        if a.k != b.k || a.canonical != b.canonical {
            return Err(Error::format(
                FormatKind::Other,
                format!(
                    "k = {}, {} in {}, but k = {}, {} in {}",
                    a.k,
                    strand(a.canonical),
                    first.path().display(),
                    b.k,
                    strand(b.canonical),
                    table.path().display(),
                ),
            )
            .at_path(table.path()));
        }
        if b.flags & FILTERED != 0 && !allow_filtered {
            return Err(Error::format(
                FormatKind::Other,
                "k-mers were filtered from this table, so sums with it would be wrong; \
                 use --allow-filtered to merge it all the same",
            )
            .at_path(table.path()));
        }
    }
    Ok(())
}

/// Bytes of a merge besides what it holds of the tables.
const MERGE_BYTES: u64 = 4 << 20;

/// Tables that can be merged at once in so much memory.
pub(in crate::kmers) fn tables_at_once<K: Word>(room: u64) -> usize {
    // The index of the result needs some of it, too.
    let room = (room - room / 8).saturating_sub(MERGE_BYTES + join::claim_bytes(0, K::BYTES));
    let each = join::claim_bytes(1, K::BYTES) - join::claim_bytes(0, K::BYTES);
    usize::try_from(room / each).unwrap_or(usize::MAX)
}

/// Merges what of tables lies in a range of keys into one at `output`.
pub fn merge_tables<K: Word>(
    tables: &[SkmTable],
    rules: MergeRules,
    range: KeyRange<K>,
    footer: &Value,
    output: &Path,
    force: bool,
    job: &Job,
) -> Result<Merged> {
    check_mergeable(tables, rules.allow_filtered)?;
    let facts = tables.first().map(|t| *t.facts()).ok_or_else(|| Error::internal("no table"))?;
    let account = job.budget.account("merge", u64::MAX);
    let claim = join::claim_bytes(tables.len(), K::BYTES) + MERGE_BYTES;
    let _buffers = job.budget.must_reserve(account, claim)?;
    let index = job.budget.must_reserve(account, 0)?;
    let file = AtomicFile::create(output, force)?;
    let mut writer = SkmWriter::<K>::new(file.file(), output, facts.k, index);
    let mut merged = Merged::default();
    let (mut kept, mut kept_counts) = (Vec::new(), Vec::new());
    let keeps_all = rules.keep.0 <= 1 && rules.keep.1 == u64::MAX;
    join::join(tables, rules.operation, range, |kmers, counts| {
        job.cancel.check()?;
        merged.histogram.add(counts);
        if keeps_all {
            return writer.put(kmers, counts);
        }
        kept.clear();
        kept_counts.clear();
        for (kmer, count) in kmers.iter().zip(counts) {
            if (rules.keep.0..=rules.keep.1).contains(count) {
                kept.push(*kmer);
                kept_counts.push(*count);
            }
        }
        writer.put(&kept, &kept_counts)
    })?;
    merged.distinct = merged.histogram.distinct();
    merged.stored = writer.distinct();
    let flags = tables.iter().fold(0, |flags, t| flags | t.facts().flags);
    let total = if flags != 0 && rules.operation == SetOperation::UnionSum {
        // The sum of the headers is what was counted; the histogram lacks what was filtered.
        tables.iter().try_fold(0_u64, |sum, t| sum.checked_add(t.facts().total))
    } else {
        merged.histogram.total()
    };
    merged.total = total.ok_or_else(|| {
        Error::format(FormatKind::Other, "the sum of all counts is beyond 64 bits")
    })?;
    let facts = TableFacts {
        flags: flags | if keeps_all { 0 } else { FILTERED },
        distinct: merged.stored,
        total: merged.total,
        ..facts
    };
    merged.bytes = writer.finish(&facts, footer)?;
    file.commit()?;
    Ok(merged)
}
