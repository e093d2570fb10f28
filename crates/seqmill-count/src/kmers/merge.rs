//! Sorted tables merged into one, as streams.

use super::histogram::Histogram;
use super::skm::{FILTERED, SkmTable, SkmWriter, TableFacts};
use super::word::Word;
use seqmill_base::sink::AtomicFile;
use seqmill_base::{Error, FormatKind, Job, Result};
use serde_json::Value;
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::path::Path;

/// K-mers given to the writer at a time.
const STRIP: usize = 1 << 14;
/// Blocks after which read pages are let go.
const FORGET_BLOCKS: usize = 1 << 12;

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

/// Goes through a table from the beginning.
pub(in crate::kmers) struct TableCursor<'t, K> {
    table: &'t SkmTable,
    block: usize,
    kmers: Vec<K>,
    counts: Vec<u64>,
    at: usize,
}

impl<'t, K: Word> TableCursor<'t, K> {
    pub(super) fn new(table: &'t SkmTable) -> Self {
        Self { table, block: 0, kmers: Vec::new(), counts: Vec::new(), at: 0 }
    }

    /// Goes on behind the first `rows` k-mers.
    pub(super) fn at(table: &'t SkmTable, rows: u64) -> Result<Self> {
        let per_block = super::skm::BLOCK_KMERS as u64;
        let mut cursor = Self::new(table);
        cursor.block = usize::try_from(rows / per_block).unwrap_or(usize::MAX);
        cursor.block = cursor.block.min(table.blocks());
        for _ in 0..rows % per_block {
            cursor.next()?;
        }
        Ok(cursor)
    }

    /// The next k-mer and its count.
    #[inline]
    pub(super) fn next(&mut self) -> Result<Option<(K, u64)>> {
        if self.at == self.kmers.len() {
            if self.block == self.table.blocks() {
                return Ok(None);
            }
            let last = self.kmers.last().copied();
            self.kmers.clear();
            self.counts.clear();
            self.at = 0;
            self.table.decode(self.block, &mut self.kmers, &mut self.counts)?;
            self.block += 1;
            if last.is_some_and(|last| self.kmers.first().is_some_and(|first| *first <= last)) {
                return Err(Error::format(
                    FormatKind::Other,
                    format!("block {} of the table is not in order", self.block - 1),
                )
                .at_path(self.table.path()));
            }
            if self.block.is_multiple_of(FORGET_BLOCKS) {
                self.table.done_until(self.block - 1);
            }
        }
        let found = (self.kmers[self.at], self.counts[self.at]);
        self.at += 1;
        Ok(Some(found))
    }
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

/// Merges tables into one at `output`.
pub fn merge_tables<K: Word>(
    tables: &[SkmTable],
    rules: MergeRules,
    footer: &Value,
    output: &Path,
    force: bool,
    job: &Job,
) -> Result<Merged> {
    check_mergeable(tables, rules.allow_filtered)?;
    let facts = tables.first().map(|t| *t.facts()).ok_or_else(|| Error::internal("no table"))?;
    let account = job.budget.account("merge", u64::MAX);
    let per_table = 512 * (K::BYTES as u64 + 8) * 2 + (64 << 10);
    let _buffers = job.budget.must_reserve(account, tables.len() as u64 * per_table + (4 << 20))?;
    let index = job.budget.must_reserve(account, 0)?;
    let file = AtomicFile::create(output, force)?;
    let mut writer = SkmWriter::<K>::new(file.file(), output, facts.k, index);
    let mut merged = Merged::default();
    let (mut kmers, mut counts) = (Vec::with_capacity(STRIP), Vec::with_capacity(STRIP));
    let mut flush = |kmers: &mut Vec<K>, counts: &mut Vec<u64>| {
        job.cancel.check()?;
        writer.put(kmers, counts)?;
        kmers.clear();
        counts.clear();
        Ok(())
    };
    join(tables, rules.operation, |kmer, count| {
        merged.histogram.add_many(count, 1);
        if (rules.keep.0..=rules.keep.1).contains(&count) {
            kmers.push(kmer);
            counts.push(count);
            if kmers.len() == STRIP {
                return flush(&mut kmers, &mut counts);
            }
        }
        Ok(())
    })?;
    flush(&mut kmers, &mut counts)?;
    merged.distinct = merged.histogram.distinct();
    merged.total = merged.histogram.total();
    merged.stored = writer.distinct();
    let filtered = rules.keep.0 > 1 || rules.keep.1 < u64::MAX;
    let flags = tables.iter().fold(0, |flags, t| flags | t.facts().flags);
    if rules.allow_filtered && flags != 0 {
        // The sum of the headers is what was counted; the histogram lacks what was filtered.
        merged.total = tables.iter().map(|t| t.facts().total).sum();
    }
    let facts = TableFacts {
        flags: flags | if filtered { FILTERED } else { 0 },
        distinct: merged.stored,
        total: merged.total,
        ..facts
    };
    merged.bytes = writer.finish(&facts, footer)?;
    file.commit()?;
    Ok(merged)
}

/// Goes through all tables in order of the k-mers.
fn join<K: Word>(
    tables: &[SkmTable],
    operation: SetOperation,
    mut give: impl FnMut(K, u64) -> Result<()>,
) -> Result<()> {
    let mut cursors: Vec<TableCursor<'_, K>> = tables.iter().map(TableCursor::new).collect();
    let mut heap = BinaryHeap::with_capacity(tables.len());
    for (table, cursor) in cursors.iter_mut().enumerate() {
        if let Some((kmer, count)) = cursor.next()? {
            heap.push(Reverse((kmer, table, count)));
        }
    }
    while let Some(Reverse((kmer, mut table, mut count))) = heap.pop() {
        let from_first = if table == 0 { Some(count) } else { None };
        let (mut sum, mut least, mut others, mut found) = (0_u64, u64::MAX, 0_u64, 0);
        loop {
            sum = sum.checked_add(count).ok_or_else(|| {
                Error::format(FormatKind::Other, "the sum of counts is beyond 64 bits")
            })?;
            least = least.min(count);
            others += if table == 0 { 0 } else { count };
            found += 1;
            if let Some((next, count)) = cursors[table].next()? {
                heap.push(Reverse((next, table, count)));
            }
            match heap.peek() {
                Some(Reverse((next, ..))) if *next == kmer => {}
                _ => break,
            }
            let Some(Reverse((_, next_table, next_count))) = heap.pop() else { break };
            (table, count) = (next_table, next_count);
        }
        let count = match operation {
            SetOperation::UnionSum => sum,
            SetOperation::IntersectMin if found == tables.len() => least,
            SetOperation::Subtract => from_first.unwrap_or(0).saturating_sub(others),
            SetOperation::Difference if found == 1 => from_first.unwrap_or(0),
            SetOperation::IntersectMin | SetOperation::Difference => 0,
        };
        if count > 0 {
            give(kmer, count)?;
        }
    }
    Ok(())
}
