//! Buckets to sorted k-mers and their counts.

use super::ahead::{Ahead, waiting_bytes};
use super::expand::Buckets;
use super::{Engine, filter};
use crate::kmers::arena::BLOCK_BYTES;
use crate::kmers::batch::BATCH_BYTES;
use crate::kmers::histogram::Histogram;
use crate::kmers::skm::OrderedBlocks;
use crate::kmers::sort::{Layout, Scratch, scratch_bytes, sort_and_count};
use crate::kmers::store::{Store, Writer};
use crate::kmers::word::Kmer;
use seqmill_base::Result;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

/// Bits of a bucket too big for the scratch that make smaller ones.
const CHILD_BITS: u32 = 8;

/// Bytes for each element: k-mers, room to sort them, counts, encoded blocks.
const fn element_bytes(kmer_bytes: usize) -> usize {
    2 * kmer_bytes + scratch_bytes(kmer_bytes) + size_of::<u64>()
}

impl<K: Kmer> Engine<'_, K> {
    /// Buckets to sorted k-mers and their counts.
    pub(super) fn count(
        &self,
        buckets: &Buckets<K>,
        next: &AtomicUsize,
        histogram: &Mutex<Histogram>,
        table: Option<&OrderedBlocks<'_, K>>,
    ) -> Result<()> {
        let mut own = Histogram::default();
        let mut arrays = Arrays::default();
        let waiting = waiting_bytes(self.room.scratch);
        let mut ahead = table.map(|table| Ahead::new(table, waiting));
        loop {
            let bucket = next.fetch_add(1, Ordering::Relaxed);
            if bucket >= buckets.store.shards() {
                break;
            }
            self.check()?;
            let mut give = |kmers: &mut Vec<K>, counts: &mut Vec<u64>| {
                own.add(counts);
                let Some(ahead) = &mut ahead else { return Ok(()) };
                filter(self.rules.keep, kmers, counts);
                ahead.give(bucket, kmers, counts)
            };
            let high = K::from_low(bucket as u64).up_all(2 * self.rules.k - buckets.bits);
            let shape = Shape { depth: buckets.depth, free: buckets.free, bucket: high };
            self.count_shard(&buckets.store, bucket, shape, &mut arrays, &mut give)?;
            if let Some(ahead) = &mut ahead {
                ahead.end(bucket)?;
            }
        }
        if let Some(ahead) = &mut ahead {
            ahead.write_all()?;
        }
        histogram.lock().unwrap_or_else(PoisonError::into_inner).absorb(&own);
        Ok(())
    }

    /// Counts one shard; what is too big for the scratch is cut by its next bits.
    fn count_shard(
        &self,
        store: &Store<K>,
        shard: usize,
        shape: Shape<K>,
        arrays: &mut Arrays<K>,
        give: &mut Give<'_, K>,
    ) -> Result<()> {
        let room = self.room.scratch - waiting_bytes(self.room.scratch);
        let most = room as usize / element_bytes(K::BYTES);
        let items = store.items(shard);
        if items == 0 {
            return Ok(());
        }
        if items <= most as u64 {
            let Arrays { elements, scratch, counts } = arrays;
            store.drain(shard, elements, most + BLOCK_BYTES, |elements| {
                let layout = Layout { free: shape.free, depth: shape.depth };
                sort_and_count(elements, scratch, counts, layout, self.lanes);
                for kmer in elements.iter_mut() {
                    *kmer = kmer.or(shape.bucket);
                }
                give(elements, counts)
            })?;
            return Ok(());
        }
        let key_bits = K::BITS - shape.free - shape.depth;
        if key_bits == 0 {
            return self.count_one_kmer(store, shard, shape, arrays, give);
        }
        let bits = key_bits.min(CHILD_BITS);
        let down = K::BITS - shape.depth - bits;
        let child = self.new_store(1 << bits, store.width());
        let mut writer = Writer::new(&child);
        let mut relieve = || self.relieve();
        store.drain(shard, &mut arrays.elements, most.min(1 << 16), |elements| {
            for element in elements.iter() {
                let sub = element.down(down).low() as usize & ((1 << bits) - 1);
                writer.push(sub, *element, &mut relieve)?;
            }
            Ok(())
        })?;
        drop(writer);
        let shape = Shape { depth: shape.depth + bits, ..shape };
        (0..1 << bits).try_for_each(|sub| self.count_shard(&child, sub, shape, arrays, give))?;
        self.leave_store(&child);
        Ok(())
    }

    /// All elements are of one k-mer.
    fn count_one_kmer(
        &self,
        store: &Store<K>,
        shard: usize,
        shape: Shape<K>,
        arrays: &mut Arrays<K>,
        give: &mut Give<'_, K>,
    ) -> Result<()> {
        let weights = K::ones(shape.free.min(64)).low();
        let (mut kmer, mut sum) = (K::default(), 0);
        store.drain(shard, &mut arrays.elements, BATCH_BYTES, |elements| {
            kmer = elements.first().map_or(kmer, |e| e.down_all(shape.free).or(shape.bucket));
            sum += elements.iter().map(|e| e.low() & weights).sum::<u64>();
            self.check()
        })?;
        give(&mut vec![kmer], &mut vec![sum])
    }
}

/// Takes sorted k-mers and counts.
type Give<'g, K> = dyn FnMut(&mut Vec<K>, &mut Vec<u64>) -> Result<()> + 'g;

/// What the elements of a shard have in common.
#[derive(Clone, Copy)]
struct Shape<K> {
    depth: u32,
    free: u32,
    /// The leading bits that elements do not have.
    bucket: K,
}

struct Arrays<K> {
    elements: Vec<K>,
    scratch: Scratch<K>,
    counts: Vec<u64>,
}

impl<K> Default for Arrays<K> {
    fn default() -> Self {
        Self { elements: Vec::new(), scratch: Scratch::default(), counts: Vec::new() }
    }
}
