//! Counts of a region's k-mers in a table of k-mers.

use super::options::Semantic;
use super::stats::Histogram;
use crate::kmers::profile_bases;
use crate::kmers::skm::SkmTable;
use seqmill_base::{Error, Result};

/// Windows that are looked up together, at least.
const BATCH: usize = 1 << 14;

/// Bytes of the look-ups at hand: k-mers of up to 64 bytes, twice, and counts.
pub(super) const LOOK_UP_BYTES: u64 = BATCH as u64 * 64;

/// The table that the options name; it must be of their k-mers.
pub(super) fn open_table(options: &Semantic) -> Result<Option<SkmTable>> {
    let Some(path) = &options.kmer_db else { return Ok(None) };
    let table = SkmTable::open(path)?;
    let facts = table.facts();
    if facts.k as usize != options.k || facts.canonical != options.canonical {
        let strand = if facts.canonical { "canonical" } else { "forward" };
        let text = format!("the table holds {}-mers, {strand}; give -k and --strand so", facts.k);
        return Err(Error::input(text).at_path(path));
    }
    Ok(Some(table))
}

/// What the windows of a region count in the table.
#[derive(Default)]
pub(super) struct RegionCounts {
    /// Bases whose windows were not looked up, and those that reach into the next.
    bases: Vec<u8>,
    counts: Histogram,
    sum: u64,
    n: u64,
}

impl RegionCounts {
    /// Bytes of one, with the look-ups at hand.
    pub(super) const BYTES: u64 = Histogram::BYTES + 2 * BATCH as u64;

    /// Takes the next bases of the region; `masked`: lower case is no base.
    pub(super) fn take(&mut self, table: &SkmTable, bases: &[u8], masked: bool) -> Result<()> {
        let k = table.facts().k as usize;
        for part in bases.chunks(BATCH) {
            self.bases.extend(part.iter().map(|base| match base {
                b'a'..=b'z' if masked => b'N',
                base => *base,
            }));
            let (counts, valid) = profile_bases(table, &self.bases)?;
            for (count, valid) in counts.iter().zip(valid) {
                if valid == 1 {
                    self.counts.add(*count, 1);
                    self.sum = self.sum.saturating_add(*count);
                    self.n += 1;
                }
            }
            self.bases.drain(..self.bases.len().saturating_sub(k - 1));
        }
        Ok(())
    }

    /// Sum, windows, twice the median, least and greatest.
    pub(super) fn numbers(&self) -> [u64; 5] {
        let median = self.counts.median_twice(self.n);
        [self.sum, self.n, median, self.counts.min(), self.counts.max()]
    }
}
