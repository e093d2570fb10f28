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

    pub(super) fn low<R: Word>(self, kmers: u32, weight: u64) -> R {
        R::from_low((u64::from(kmers - 1) << self.weight_bits) | weight)
    }

    #[inline(always)]
    pub(super) fn kmers<R: Word>(self, record: R) -> u32 {
        (record.low() >> self.weight_bits) as u32 & ((1 << self.length_bits) - 1)
    }

    #[inline(always)]
    pub(super) fn weight<R: Word>(self, record: R) -> u64 {
        record.low() & ((1 << self.weight_bits) - 1)
    }
}

/// Sorts records and joins those that are the same.
pub(super) fn merge_records<R: Word>(records: &mut Vec<R>, layout: RecordLayout) {
    records.sort_unstable();
    let most = (1 << layout.weight_bits) - 1;
    let mut to = 0;
    let mut sum = 0;
    for from in 0..records.len() {
        let record = records[from];
        let content = record.down(layout.weight_bits);
        if from > 0 && records[to].down(layout.weight_bits) == content {
            sum += layout.weight(record);
            if sum > most {
                records[to] = content.up(layout.weight_bits).or(R::from_low(most));
                sum -= most;
                to += 1;
            }
        } else {
            to += usize::from(from > 0);
            sum = layout.weight(record);
        }
        records[to] = content.up(layout.weight_bits).or(R::from_low(sum));
    }
    records.truncate(if records.is_empty() { 0 } else { to + 1 });
}
