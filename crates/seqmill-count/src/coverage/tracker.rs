//! Runs of equal depth to the statistics of the regions that they touch.

use super::options::{Semantic, Value};
use super::spool::Spool;
use super::stats::{BinSum, Bins, Histogram};
use super::targets::{Stretch, Walk};
use seqmill_base::{Lease, Result};

/// Numbers of a result before the thresholds: length, sum, twice the median, least, greatest, and
/// positions with a depth of one and more.
pub(super) const FIXED_NUMBERS: usize = 6;

/// A region whose end is not reached.
struct Open {
    index: u64,
    stretch: Stretch,
    histogram: Histogram,
    sum: u64,
    bins: Bins,
    bin: u64,
    bin_end: u64,
    bin_sum: BinSum,
    values: Vec<u64>,
}

/// The statistics of all regions, as the runs come along.
pub(super) struct Tracker<'w> {
    walk: Walk<'w>,
    open: Vec<Open>,
    /// Histograms to be used again.
    idle: Vec<Histogram>,
    bins: u64,
    value: Value,
    thresholds: Vec<u32>,
    row: Vec<u64>,
    pub rows: Spool,
    pub values: Spool,
    lease: Lease,
    charged: usize,
}

impl<'w> Tracker<'w> {
    pub(super) fn new(
        walk: Walk<'w>,
        semantic: &Semantic,
        rows: Spool,
        values: Spool,
        lease: Lease,
    ) -> Self {
        Self {
            walk,
            open: Vec::new(),
            idle: Vec::new(),
            bins: semantic.bins,
            value: semantic.value,
            thresholds: semantic.thresholds.clone(),
            row: Vec::new(),
            rows,
            values,
            lease,
            charged: 0,
        }
    }

    /// Takes the next run: `begin..end` of a sequence has one depth.
    #[inline]
    pub(super) fn run(&mut self, reference: u32, begin: u64, end: u64, depth: u64) -> Result<()> {
        while let Some(next) = self.walk.peek()
            && (next.reference, next.begin) < (reference, end)
        {
            self.begin_next()?;
            // Windows come by the thousand within one run: no more are open than needed.
            if next.end <= end {
                self.add(begin, end, depth)?;
            }
        }
        self.add(begin, end, depth)
    }

    /// Adds the run to the open regions, each from where it got to, and closes those that end.
    fn add(&mut self, begin: u64, end: u64, depth: u64) -> Result<()> {
        let mut closing = false;
        for open in &mut self.open {
            open.add(begin, end, depth, self.value);
            closing |= open.stretch.end <= end;
        }
        if !closing {
            return Ok(());
        }
        let mut at = 0;
        while at < self.open.len() {
            if self.open.get(at).is_some_and(|open| open.stretch.end <= end) {
                let open = self.open.swap_remove(at);
                self.close(open)?;
            } else {
                at += 1;
            }
        }
        Ok(())
    }

    fn begin_next(&mut self) -> Result<()> {
        let Some((index, stretch)) = self.walk.advance() else { return Ok(()) };
        let bins = Bins::new(stretch.end - stretch.begin, self.bins);
        if self.open.len() >= self.charged {
            self.charged += 16;
            let each = Histogram::BYTES + 8 * bins.count() + size_of::<Open>() as u64;
            self.lease.resize(self.lease.bytes() + 16 * each)?;
        }
        let open = Open {
            index,
            stretch,
            histogram: self.idle.pop().unwrap_or_default(),
            sum: 0,
            bins,
            bin: 0,
            bin_end: stretch.begin + bins.edge(1),
            bin_sum: BinSum::default(),
            values: Vec::new(),
        };
        if stretch.begin == stretch.end {
            return self.close(open);
        }
        self.open.push(open);
        Ok(())
    }

    fn close(&mut self, mut open: Open) -> Result<()> {
        let length = open.stretch.end - open.stretch.begin;
        let histogram = &open.histogram;
        self.row.clear();
        self.row.extend([
            length,
            open.sum,
            histogram.median_twice(length),
            histogram.min(),
            histogram.max(),
            histogram.at_least(1),
        ]);
        self.row.extend(self.thresholds.iter().map(|least| histogram.at_least(u64::from(*least))));
        self.rows.put(open.index, &self.row)?;
        // Regions with fewer bases than bins leave the rest of their row empty.
        let width = usize::try_from(self.bins).unwrap_or(usize::MAX);
        open.values.resize(width, 0);
        self.values.put(open.index, &open.values)?;
        open.histogram.clear();
        self.idle.push(open.histogram);
        Ok(())
    }

    /// All runs have come; what is left are regions behind them, which have no bases.
    pub(super) fn finish(&mut self) -> Result<()> {
        while self.walk.peek().is_some() {
            self.begin_next()?;
        }
        Ok(())
    }

    /// Whether no region is half measured.
    pub(super) fn is_between(&self) -> bool {
        self.open.is_empty()
    }

    /// Passes over the regions of the sequences before `reference`: they are measured.
    pub(super) fn skip_to(&mut self, reference: u32) {
        self.walk.skip_to(reference);
    }
}

impl Open {
    #[inline]
    fn add(&mut self, begin: u64, end: u64, depth: u64, value: Value) {
        // A region that was opened within this run has had none of it; others had all before it.
        let mut at = begin.max(self.done());
        let end = end.min(self.stretch.end);
        if at >= end {
            return;
        }
        self.sum += depth * (end - at);
        self.histogram.add(depth, end - at);
        while at < end {
            let to = end.min(self.bin_end);
            self.bin_sum.add(depth, to - at);
            at = to;
            if at == self.bin_end {
                self.values.push(self.bin_sum.value(value));
                self.bin_sum = BinSum::default();
                self.bin += 1;
                self.bin_end = self.stretch.begin + self.bins.edge(self.bin + 1);
            }
        }
    }

    /// Where the region got to.
    fn done(&self) -> u64 {
        self.stretch.begin + self.bins.edge(self.bin) + self.bin_sum.positions()
    }
}
