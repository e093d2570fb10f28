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

/// Buckets and how they are cut.
pub(super) struct Buckets<K> {
    pub store: Store<K>,
    pub bits: u32,
    /// Bits of the weight in an element.
    pub free: u32,
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
        let store = Store::new(Arc::clone(&self.arena), Arc::clone(&self.file), 1 << bits);
        Buckets { store, bits, free: K::BITS - 2 * self.rules.k + bits }
    }

    /// Bins to elements in buckets.
    pub(super) fn expand(&self, buckets: &Buckets<K>, next: &AtomicUsize) -> Result<()> {
        let mut writer = Writer::new(&buckets.store);
        let mut records = Vec::new();
        let limit = MERGE_BYTES / K::Record::BYTES;
        let mut relieve = || self.relieve_buckets(&buckets.store);
        loop {
            let bin = next.fetch_add(1, Ordering::Relaxed);
            if bin >= self.bins.shards() {
                return Ok(());
            }
            self.bins.drain(bin, &mut records, limit, |records| {
                self.check()?;
                merge_records(records, self.layout);
                for record in records.iter() {
                    self.expand_record(*record, buckets, &mut writer, &mut relieve)?;
                }
                Ok(())
            })?;
        }
    }

    #[inline(always)]
    fn expand_record(
        &self,
        record: K::Record,
        buckets: &Buckets<K>,
        writer: &mut Writer<'_, K>,
        relieve: &mut impl FnMut() -> Result<()>,
    ) -> Result<()> {
        let k = self.rules.k;
        let mask = K::ones(2 * k);
        let prefix_down = 2 * k - buckets.bits;
        let most = (1_u64 << buckets.free.min(32)) - 1;
        let weight = self.layout.weight(record);
        let turned = record.mirror();
        for i in 0..=self.layout.kmers(record) {
            let mut kmer = K::of_record(record.down(K::Record::BITS - 2 * (k + i))).and(mask);
            if self.rules.canonical {
                kmer = kmer.min(K::of_record(turned.down(2 * i)).and(mask));
            }
            let bucket = kmer.down(prefix_down).low() as usize;
            let element = kmer.up(buckets.free);
            let mut rest = weight;
            while rest > most {
                writer.push(bucket, element.or(K::from_low(most)), relieve)?;
                rest -= most;
            }
            writer.push(bucket, element.or(K::from_low(rest)), relieve)?;
        }
        Ok(())
    }

    #[cold]
    fn relieve_buckets(&self, store: &Store<K>) -> Result<()> {
        self.check()?;
        if store.fullest(false).1 > 0 {
            return self.spill_fullest(store).map(|_| ());
        }
        self.spill_fullest(&self.bins).map(|_| ())
    }
}
