//! Going through the k-mers of a table, or of a range of them.

use super::super::skm::{BLOCK_KMERS, SkmTable};
use super::super::word::Word;
use seqmill_base::{Error, FormatKind, Result};

/// Goes through a table from the beginning.
pub(in crate::kmers) struct TableCursor<'t, K> {
    table: &'t SkmTable,
    block: usize,
    kmers: Vec<K>,
    counts: Vec<u64>,
    at: usize,
}

impl<'t, K: Word> TableCursor<'t, K> {
    pub(in crate::kmers) fn new(table: &'t SkmTable) -> Self {
        Self { table, block: 0, kmers: Vec::new(), counts: Vec::new(), at: 0 }
    }

    /// Goes on behind the first `rows` k-mers.
    pub(in crate::kmers) fn at(table: &'t SkmTable, rows: u64) -> Result<Self> {
        let per_block = BLOCK_KMERS as u64;
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
    pub(in crate::kmers) fn next(&mut self) -> Result<Option<(K, u64)>> {
        if self.at == self.kmers.len() && !self.next_block()? {
            return Ok(None);
        }
        let found = (self.kmers[self.at], self.counts[self.at]);
        self.at += 1;
        Ok(Some(found))
    }

    fn next_block(&mut self) -> Result<bool> {
        let last = self.kmers.last().copied();
        self.kmers.clear();
        self.counts.clear();
        self.at = 0;
        take_block(self.table, &mut self.block, last, &mut self.kmers, &mut self.counts)
    }
}

/// Appends the next block, which must go on behind `last`; false at the end of the table.
fn take_block<K: Word>(
    table: &SkmTable,
    block: &mut usize,
    last: Option<K>,
    kmers: &mut Vec<K>,
    counts: &mut Vec<u64>,
) -> Result<bool> {
    if *block == table.blocks() {
        return Ok(false);
    }
    let before = kmers.len();
    table.decode(*block, kmers, counts)?;
    *block += 1;
    if last.is_some_and(|last| kmers.get(before).is_some_and(|first| *first <= last)) {
        let text = format!("block {} of the table is not in order", *block - 1);
        return Err(Error::format(FormatKind::Other, text).at_path(table.path()));
    }
    table.done_with(*block - 1);
    Ok(true)
}

/// A range of keys: from the first on, up to the second without it; none is no bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyRange<K> {
    /// Where it begins.
    pub begin: Option<K>,
    /// Where it ends.
    pub end: Option<K>,
}

impl<K> KeyRange<K> {
    /// Every key.
    pub const ALL: Self = Self { begin: None, end: None };
}

/// Gives the k-mers of a table that lie in a range, many at a time.
pub(super) struct Strand<'t, K> {
    table: &'t SkmTable,
    /// Which table of the merge.
    pub number: usize,
    block: usize,
    range: KeyRange<K>,
    pub kmers: Vec<K>,
    pub counts: Vec<u64>,
    /// K-mers in front that were used.
    pub used: usize,
    last: Option<K>,
    ended: bool,
}

impl<'t, K: Word> Strand<'t, K> {
    pub(super) fn new(table: &'t SkmTable, number: usize, range: KeyRange<K>) -> Self {
        let block = range.begin.and_then(|begin| table.block_from(begin, 0)).unwrap_or(0);
        let (kmers, counts) = (Vec::new(), Vec::new());
        let (used, last, ended) = (0, None, false);
        Self { table, number, block, range, kmers, counts, used, last, ended }
    }

    /// Holds at least `least` k-mers, unless there are no more; false if there are none at all.
    pub(super) fn fill(&mut self, least: usize) -> Result<bool> {
        if self.kmers.len() - self.used >= least || self.ended {
            return Ok(self.used < self.kmers.len());
        }
        self.kmers.drain(..self.used);
        self.counts.drain(..self.used);
        self.used = 0;
        // Blocks are whole: what is there when the last is read is less than wanted.
        let most = least + BLOCK_KMERS - self.kmers.len();
        self.kmers.reserve_exact(most);
        self.counts.reserve_exact(most);
        while self.kmers.len() < least && !self.ended {
            let before = self.kmers.len();
            let (kmers, counts) = (&mut self.kmers, &mut self.counts);
            self.ended = !take_block(self.table, &mut self.block, self.last, kmers, counts)?;
            self.last = self.kmers.last().copied().or(self.last);
            self.cut(before);
        }
        Ok(!self.kmers.is_empty())
    }

    /// Drops what of the block at `before` lies outside of the range.
    fn cut(&mut self, before: usize) {
        let block = &self.kmers[before..];
        if let Some(end) = self.range.end {
            let inside = block.partition_point(|kmer| *kmer < end);
            if inside < block.len() {
                self.ended = true;
                self.kmers.truncate(before + inside);
                self.counts.truncate(before + inside);
            }
        }
        let Some(begin) = self.range.begin else { return };
        let block = &self.kmers[before..];
        if block.first().is_some_and(|first| *first < begin) {
            let outside = block.partition_point(|kmer| *kmer < begin);
            self.kmers.drain(before..before + outside);
            self.counts.drain(before..before + outside);
        }
    }

    /// Whether what it holds is all there is.
    pub(super) fn is_last(&self) -> bool {
        self.ended
    }
}
