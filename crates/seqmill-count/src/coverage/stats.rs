//! Statistics of one region from runs of equal depth.

use super::options::Value;
use std::collections::BTreeMap;

/// Depths that are counted in an array; greater ones are rare.
const DENSE: usize = 1 << 12;

/// How many positions have each value.
#[derive(Debug, Default)]
pub(super) struct Histogram {
    dense: Vec<u64>,
    rare: BTreeMap<u64, u64>,
}

impl Histogram {
    #[inline]
    pub(super) fn add(&mut self, value: u64, n: u64) {
        match usize::try_from(value).ok().filter(|at| *at < DENSE) {
            Some(at) => {
                if at >= self.dense.len() {
                    self.dense.resize((at + 1).next_power_of_two().max(64), 0);
                }
                if let Some(count) = self.dense.get_mut(at) {
                    *count += n;
                }
            }
            None => *self.rare.entry(value).or_insert(0) += n,
        }
    }

    fn iter(&self) -> impl Iterator<Item = (u64, u64)> {
        let dense = self.dense.iter().enumerate().map(|(value, n)| (value as u64, *n));
        dense.filter(|(_, n)| *n > 0).chain(self.rare.iter().map(|(value, n)| (*value, *n)))
    }

    /// Values at two places of the sorted values, the first not behind the second.
    fn at(&self, first: u64, second: u64) -> (u64, u64) {
        let (mut before, mut low) = (0, None);
        for (value, n) in self.iter() {
            before += n;
            if low.is_none() && first < before {
                low = Some(value);
            }
            if let Some(low) = low
                && second < before
            {
                return (low, value);
            }
        }
        (0, 0)
    }

    /// Twice the median of `n` values: the sum of the two in the middle.
    pub(super) fn median_twice(&self, n: u64) -> u64 {
        if n == 0 {
            return 0;
        }
        let (low, high) = self.at((n - 1) / 2, n / 2);
        low + high
    }

    pub(super) fn min(&self) -> u64 {
        self.iter().next().map_or(0, |(value, _)| value)
    }

    pub(super) fn max(&self) -> u64 {
        self.iter().last().map_or(0, |(value, _)| value)
    }

    /// Positions with `least` or more.
    pub(super) fn at_least(&self, least: u64) -> u64 {
        self.iter().filter(|(value, _)| *value >= least).map(|(_, n)| n).sum()
    }

    pub(super) fn clear(&mut self) {
        self.dense.fill(0);
        self.rare.clear();
    }

    /// Bytes it may hold when all values are below [`DENSE`].
    pub(super) const BYTES: u64 = (DENSE * size_of::<u64>()) as u64;
}

/// Edges of the bins of a region: bin `i` begins at `floor(i * length / bins)`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bins {
    length: u64,
    count: u64,
}

impl Bins {
    /// No bin is empty, unless the region is.
    pub(super) fn new(length: u64, wanted: u64) -> Self {
        Self { length, count: wanted.min(length).max(1) }
    }

    pub(super) fn count(self) -> u64 {
        self.count
    }

    /// Where bin `i` begins within the region.
    pub(super) fn edge(self, i: u64) -> u64 {
        let edge = u128::from(i) * u128::from(self.length) / u128::from(self.count);
        u64::try_from(edge).unwrap_or(self.length)
    }
}

/// What the bin that is open holds.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct BinSum {
    sum: u64,
    max: u64,
    min: Option<u64>,
    n: u64,
}

impl BinSum {
    #[inline]
    pub(super) fn add(&mut self, depth: u64, n: u64) {
        self.sum += depth * n;
        self.max = self.max.max(depth);
        self.min = Some(self.min.map_or(depth, |min| min.min(depth)));
        self.n += n;
    }

    /// Positions so far.
    pub(super) fn positions(&self) -> u64 {
        self.n
    }

    /// What the bin shows.
    pub(super) fn value(&self, value: Value) -> u64 {
        match value {
            Value::Sum => self.sum,
            Value::Max => self.max,
            Value::Min => self.min.unwrap_or(0),
            Value::Mean => half_even(self.sum, self.n),
        }
    }
}

/// `sum / n` rounded half to even.
fn half_even(sum: u64, n: u64) -> u64 {
    if n == 0 {
        return 0;
    }
    let (whole, rest) = (sum / n, sum % n);
    match (2 * rest).cmp(&n) {
        std::cmp::Ordering::Less => whole,
        std::cmp::Ordering::Greater => whole + 1,
        std::cmp::Ordering::Equal => whole + (whole & 1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_mean_of_the_middle() {
        let mut histogram = Histogram::default();
        for value in [9, 3, 3, 100_000] {
            histogram.add(value, 1);
        }
        assert_eq!(histogram.median_twice(4), 12);
        assert_eq!((histogram.min(), histogram.max()), (3, 100_000));
        assert_eq!(histogram.at_least(9), 2);
        histogram.add(4, 1);
        assert_eq!(histogram.median_twice(5), 8);
    }

    #[test]
    fn means_round_half_to_even() {
        let rounded: Vec<u64> = [1, 3, 5, 7].iter().map(|sum| half_even(*sum, 2)).collect();
        assert_eq!(rounded, [0, 2, 2, 4]);
        assert_eq!(half_even(5, 3), 2);
    }

    #[test]
    fn bins_cover_the_region() {
        let bins = Bins::new(10, 3);
        let edges: Vec<u64> = (0..=bins.count()).map(|i| bins.edge(i)).collect();
        assert_eq!(edges, [0, 3, 6, 10]);
        assert_eq!(Bins::new(2, 5).count(), 2);
        assert_eq!(Bins::new(0, 5).count(), 1);
    }
}
