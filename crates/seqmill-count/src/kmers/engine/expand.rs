//! Bins to elements in buckets by prefix.

use super::Engine;
use super::records::merge_records;
use crate::kmers::room::MERGE_BYTES;
use crate::kmers::store::{Store, Writer};
use crate::kmers::word::{Kmer, Word};
use seqmill_base::Result;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Elements that a bucket should hold: the sort then stays in the second-level cache.
const BUCKET_ELEMENTS: u64 = 24 << 10;
/// Fewest bucket bits: these bits are also room for weights.
const BUCKET_BITS_LEAST: u32 = 8;

/// Fewest bits of a weight. Greater weights make several elements.
const WEIGHT_BITS_LEAST: u32 = 3;

/// Buckets and how they are cut.
pub(super) struct Buckets<K> {
    pub store: Arc<Store<K>>,
    pub bits: u32,
    /// Bits of the weight in an element, the lowest; the k-mer stands above them.
    pub free: u32,
    /// Bits above the k-mer.
    pub depth: u32,
}

/// Bits of the weight and bits above the k-mer, of elements that are as narrow as possible: memory
/// that is touched for the first time costs more than what is done with it.
fn element_shape<K: Kmer>(key_bits: u32, weight_bits: u32) -> (u32, u32) {
    let narrow = (key_bits + weight_bits).next_multiple_of(8);
    let whole = if K::LOW_FIRST { narrow.min(K::BITS) } else { K::BITS };
    (whole - key_bits, K::BITS - whole)
}

impl<K: Kmer> Engine<'_, K> {
    /// Chooses how many buckets there are, by what the bins hold.
    pub(super) fn make_buckets(&self) -> Buckets<K> {
        let records: u64 = (0..self.bins.shards()).map(|bin| self.bins.items(bin)).sum();
        let made = self.records.load(Ordering::Relaxed).max(1);
        let occurrences = self.occurrences.load(Ordering::Relaxed);
        let elements = u128::from(records) * u128::from(occurrences) / u128::from(made);
        let wanted = (elements as u64 / BUCKET_ELEMENTS).max(1).ilog2() + 1;
        let bits = wanted.clamp(BUCKET_BITS_LEAST, self.room.bucket_bits_max);
        // What merging has gained so far tells how heavy records are.
        let weight_bits = WEIGHT_BITS_LEAST + (made / records.max(1)).max(1).ilog2();
        let key_bits = (2 * self.rules.k).saturating_sub(bits);
        let (free, depth) = element_shape::<K>(key_bits, weight_bits);
        let store = self.new_store(1 << bits, (K::BITS - depth) as usize / 8);
        Buckets { store, bits, free, depth }
    }

    /// Bins to elements in buckets.
    pub(super) fn expand(&self, buckets: &Buckets<K>, next: &AtomicUsize) -> Result<()> {
        let mut writer = Writer::new(&buckets.store);
        let limit = MERGE_BYTES / K::Record::BYTES;
        let (mut records, mut places) = (Vec::with_capacity(limit), Vec::new());
        loop {
            let bin = next.fetch_add(1, Ordering::Relaxed);
            if bin >= self.bins.shards() {
                return Ok(());
            }
            self.bins.drain(bin, &mut records, limit, |records| {
                self.check()?;
                merge_records(records, &mut places, self.layout);
                self.lanes.run(
                    (records.as_slice(), buckets, &mut writer),
                    #[inline(always)]
                    |records, buckets, writer| self.expand_records(records, buckets, writer),
                )
            })?;
        }
    }

    #[inline(always)]
    fn expand_records(
        &self,
        records: &[K::Record],
        buckets: &Buckets<K>,
        writer: &mut Writer<'_, K>,
    ) -> Result<()> {
        let (layout, canonical) = (self.layout, self.rules.canonical);
        let (bits, down, depth) = (buckets.bits, K::BITS - buckets.bits, buckets.depth);
        let most = (1_u64 << buckets.free.min(32)) - 1;
        let mut relieve = || self.relieve();
        let mut failure = None;
        for record in records {
            let mut weight = layout.weight(*record);
            // A weight that an element has no room for makes several.
            while weight > 0 {
                let part = weight.min(most);
                weight -= part;
                let part = K::from_low(part);
                K::expand(*record, layout.k, layout.kmers(*record), canonical, |kmer| {
                    let bucket = kmer.down(down).low() as usize;
                    let pushed =
                        writer.push(bucket, kmer.up(bits).down(depth).or(part), &mut relieve);
                    if let Err(error) = pushed {
                        failure = Some(error);
                    }
                });
            }
            if failure.is_some() {
                break;
            }
        }
        failure.map_or(Ok(()), Err)
    }
}
