//! How many k-mers there are of each count.

use std::collections::BTreeMap;

/// Counts below this have a counter each.
const DENSE: usize = 4096;
/// Counts below this are counted in several tables at once.
const SMALL: usize = 64;
/// Counts that are looked at together.
const GROUP: usize = 16;

/// Numbers of distinct k-mers by count.
#[derive(Debug, Clone)]
pub struct Histogram {
    dense: Vec<u64>,
    sparse: BTreeMap<u64, u64>,
}

impl Default for Histogram {
    fn default() -> Self {
        Self { dense: vec![0; DENSE], sparse: BTreeMap::new() }
    }
}

impl Histogram {
    /// Adds k-mers with these counts.
    pub fn add(&mut self, counts: &[u64]) {
        // Neighbours are mostly the same count: each adds to another table than the one before, so
        // that none waits for it.
        let mut small = [[0_u64; SMALL]; 4];
        let mut ones = 0;
        for group in counts.chunks(GROUP) {
            // Mostly all are 1.
            if group.iter().fold(0, |other, count| other | (count ^ 1)) == 0 {
                ones += group.len() as u64;
                continue;
            }
            for (i, count) in group.iter().enumerate() {
                match usize::try_from(*count).ok().filter(|count| *count < SMALL) {
                    Some(count) => small[i % 4][count] += 1,
                    None => self.add_many(*count, 1),
                }
            }
        }
        self.add_many(1, ones);
        for count in 0..SMALL {
            let number = small.iter().map(|table| table[count]).sum::<u64>();
            if number > 0 {
                self.add_many(count as u64, number);
            }
        }
    }

    /// Adds `number` k-mers of one count.
    #[inline]
    pub fn add_many(&mut self, count: u64, number: u64) {
        match usize::try_from(count).ok().and_then(|c| self.dense.get_mut(c)) {
            Some(counter) => *counter += number,
            None => *self.sparse.entry(count).or_insert(0) += number,
        }
    }

    /// Adds another histogram.
    pub fn absorb(&mut self, other: &Self) {
        for (count, number) in other.iter() {
            self.add_many(count, number);
        }
    }

    /// Counts that occur, ascending, with the number of distinct k-mers.
    pub fn iter(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        let dense = (0..).zip(self.dense.iter().copied()).filter(|(_, n)| *n > 0);
        dense.chain(self.sparse.iter().map(|(c, n)| (*c, *n)))
    }

    /// Distinct k-mers.
    pub fn distinct(&self) -> u64 {
        self.iter().map(|(_, n)| n).sum()
    }

    /// Occurrences, if they are not beyond 64 bits.
    pub fn total(&self) -> Option<u64> {
        self.iter().try_fold(0_u64, |sum, (c, n)| sum.checked_add(c.checked_mul(n)?))
    }
}
