//! Sorted tables merged into one, as streams.

mod cursor;
mod join;
mod packed;
mod ranges;

pub use cursor::KeyRange;
pub(in crate::kmers) use cursor::TableCursor;
pub use ranges::key_boundaries;

use super::engine::{filter, keep_cause, keeps_all};
use super::histogram::Histogram;
use super::skm::{FILTERED, OrderedBlocks, SkmTable, SkmWriter, TableFacts, TableFile};
use super::word::Word;
use join::Join;
use seqmill_base::sink::AtomicFile;
use seqmill_base::{Error, FormatKind, Job, Result};
use serde_json::Value;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

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
    /// Threads; fewer are used where the memory budget has no room for them.
    pub threads: usize,
}

impl Default for MergeRules {
    fn default() -> Self {
        Self {
            operation: SetOperation::UnionSum,
            keep: (0, u64::MAX),
            allow_filtered: false,
            threads: 1,
        }
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
    /// The file of the result.
    pub file: TableFile,
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
    let room = (room - room / 8).saturating_sub(MERGE_BYTES + join::claim_bytes(0, K::BYTES, 1));
    let each = join::claim_bytes(1, K::BYTES, 1) - join::claim_bytes(0, K::BYTES, 1);
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
    let free = job.budget.pool().saturating_sub(job.budget.reserved());
    let claim = |threads| join::claim_bytes(tables.len(), K::BYTES, threads) + MERGE_BYTES;
    // The index of the result needs room, too.
    let fits = |threads: &usize| *threads <= 1 || claim(*threads) <= free / 2;
    let threads = (1..=rules.threads.max(1)).rev().find(fits).unwrap_or(1);
    let _buffers = job.budget.must_reserve(account, claim(threads))?;
    let index = job.budget.must_reserve(account, 0)?;
    let file = AtomicFile::create(output, force)?;
    let blocks = OrderedBlocks::new(SkmWriter::<K>::new(file.file(), output, facts.k, index));
    let join = Join::new(tables, rules.operation, range);
    let histogram = join_on_threads(&join, rules.keep, threads, &blocks, job)?;
    let writer = blocks.into_writer()?;
    let mut merged = Merged { histogram, ..Merged::default() };
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
        flags: flags | if keeps_all(rules.keep) { 0 } else { FILTERED },
        distinct: merged.stored,
        total: merged.total,
        ..facts
    };
    merged.file = writer.finish(&facts, footer)?;
    file.commit()?;
    Ok(merged)
}

/// Joins slabs and writes them in order; gives the histogram of what there was before the filter.
fn join_on_threads<K: Word>(
    join: &Join<'_, K>,
    keep: (u64, u64),
    threads: usize,
    blocks: &OrderedBlocks<'_, K>,
    job: &Job,
) -> Result<Histogram> {
    let histogram = Mutex::new(Histogram::default());
    let failure = Mutex::new(None);
    let one = || {
        let _guard = FailOnPanic(blocks);
        let mut own = Histogram::default();
        let worked = join.work(|number, kmers, counts| {
            job.cancel.check()?;
            own.add(counts);
            filter(keep, kmers, counts);
            blocks.put(number, kmers, counts, true)
        });
        if let Err(error) = worked {
            keep_cause(&mut failure.lock().unwrap_or_else(PoisonError::into_inner), error);
            blocks.fail();
        }
        histogram.lock().unwrap_or_else(PoisonError::into_inner).absorb(&own);
    };
    std::thread::scope(|scope| {
        for _ in 1..threads {
            scope.spawn(one);
        }
        one();
    });
    match failure.into_inner().unwrap_or_else(PoisonError::into_inner) {
        Some(error) => Err(error),
        None => Ok(histogram.into_inner().unwrap_or_else(PoisonError::into_inner)),
    }
}

/// Lets the others go when a thread panics: they would wait for its slab.
struct FailOnPanic<'b, 'f, K: Word>(&'b OrderedBlocks<'f, K>);

impl<K: Word> Drop for FailOnPanic<'_, '_, K> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.fail();
        }
    }
}
