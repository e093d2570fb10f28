//! Records: runs of overlapping k-mers as one number, which merge when they are the same.

use crate::kmers::minimizers::minimizer_length;
use crate::kmers::word::{Kmer, Word};

/// How a record is laid out: bases from the highest bit on, then the number of its k-mers, then
/// how often it was seen.
#[derive(Debug, Clone, Copy)]
pub(super) struct RecordLayout {
    pub k: u32,
    /// Most k-mers in a record.
    pub longest: u32,
    length_bits: u32,
    pub weight_bits: u32,
}

impl RecordLayout {
    pub(super) fn new<K: Kmer>(k: u32) -> Self {
        let longest = k + 1 - minimizer_length(k as usize) as u32;
        let length_bits = (longest - 1).max(1).ilog2() + 1;
        let weight_bits = (K::Record::BITS - 2 * (longest + k - 1) - length_bits).min(20);
        Self { k, longest, length_bits, weight_bits }
    }

    #[inline(always)]
    pub(super) fn low<R: Word>(self, kmers: u32, weight: u64) -> R {
        R::from_low((u64::from(kmers - 1) << self.weight_bits) | weight)
    }

    /// How many k-mers a record has.
    #[inline(always)]
    pub(super) fn kmers<R: Word>(self, record: R) -> u32 {
        ((record.low() >> self.weight_bits) as u32 & ((1 << self.length_bits) - 1)) + 1
    }

    #[inline(always)]
    pub(super) fn weight<R: Word>(self, record: R) -> u64 {
        record.low() & self.most_weight()
    }

    #[inline(always)]
    fn most_weight(self) -> u64 {
        (1 << self.weight_bits) - 1
    }

    /// Where a search for a record begins in a table of `1 << bits` places.
    #[inline(always)]
    fn slot<R: Word>(self, record: R, bits: u32) -> usize {
        let mut mixed = record.low() & !self.most_weight();
        for i in 1..R::BYTES / 8 {
            mixed = mixed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ record.word(i);
        }
        (mixed.wrapping_mul(0xd6e8_feb8_6659_fd93) >> (64 - bits)) as usize
    }

    /// Whether two records have the same k-mers.
    #[inline(always)]
    fn same<R: Word>(self, a: R, b: R) -> bool {
        let low = (a.low() ^ b.low()) & !self.most_weight();
        (1..R::BYTES / 8).fold(low, |differ, i| differ | (a.word(i) ^ b.word(i))) == 0
    }
}

/// A place in the table that has no record.
const NOBODY: u32 = u32::MAX;

/// Joins records that are the same, through a table of where each stands (`places`, reused).
pub(super) fn merge_records<R: Word>(
    records: &mut Vec<R>,
    places: &mut Vec<u32>,
    layout: RecordLayout,
) {
    if records.len() < 2 {
        return;
    }
    let bits = (records.len() + records.len() / 2).next_power_of_two().ilog2();
    let mask = (1_usize << bits) - 1;
    places.clear();
    places.resize(mask + 1, NOBODY);
    let most = layout.most_weight();
    let mut kept = 0;
    for from in 0..records.len() {
        let record = records[from];
        let mut slot = layout.slot(record, bits);
        loop {
            let place = places[slot];
            if place == NOBODY {
                places[slot] = kept as u32;
                records[kept] = record;
                kept += 1;
                break;
            }
            let known = records[place as usize];
            if layout.same(known, record) {
                let (held, more) = (layout.weight(known), layout.weight(record));
                if held + more <= most {
                    records[place as usize] = known.plus(R::from_low(more));
                } else {
                    // The one that is known is full; what is left goes on with the new one.
                    records[place as usize] = known.plus(R::from_low(most - held));
                    records[kept] = record.minus(R::from_low(most - held));
                    places[slot] = kept as u32;
                    kept += 1;
                }
                break;
            }
            slot = (slot + 1) & mask;
        }
    }
    records.truncate(kept);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kmers::word::Wide;
    use std::collections::BTreeMap;

    fn check<K: Kmer>(k: u32, weight: u64) {
        let layout = RecordLayout::new::<K>(k);
        let mut x = u64::from(k);
        let mut next = || {
            x = x.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695);
            x >> 33
        };
        let mut records: Vec<K::Record> = (0..3000)
            .map(|_| {
                let bases = K::Record::from_low(next() % 700).up(K::Record::BITS - 40);
                bases.or(layout.low(1 + (next() % 2) as u32, weight))
            })
            .collect();
        let sums = |records: &[K::Record]| {
            let mut sums = BTreeMap::new();
            for record in records {
                *sums.entry(record.down(layout.weight_bits)).or_insert(0) += layout.weight(*record);
            }
            sums
        };
        let expected = sums(&records);
        merge_records(&mut records, &mut Vec::new(), layout);
        assert_eq!(sums(&records), expected);
        let most = layout.most_weight();
        let least: u64 = expected.values().map(|sum| sum.div_ceil(most)).sum();
        assert_eq!(records.len() as u64, least);
        assert!(records.iter().all(|r| layout.weight(*r) > 0));
    }

    #[test]
    fn the_same_records_become_one() {
        for weight in [1, 3] {
            check::<u64>(31, weight);
            check::<u64>(32, weight);
            check::<u128>(51, weight);
            check::<Wide<4>>(127, weight);
            check::<Wide<8>>(255, weight);
        }
        let layout = RecordLayout::new::<u64>(31);
        check::<u64>(31, layout.most_weight());
        check::<u64>(31, layout.most_weight() - 1);
    }
}
