//! Text to super-k-mers in bins.

use super::records::merge_records;
use super::{BatchSource, Engine};
use crate::kmers::batch::Batch;
use crate::kmers::minimizers::Minimizers;
use crate::kmers::room::MERGE_BYTES;
use crate::kmers::store::Writer;
use crate::kmers::word::{Kmer, Word};
use seqmill_base::Result;
use std::sync::atomic::Ordering;
use std::sync::{Mutex, PoisonError};

/// A merge that frees less than this many of a thousand blocks does not pay.
const POOR_GAIN: u32 = 250;
/// Spreads numbers that are near each other (2^32 over the golden ratio).
const SPREAD: u32 = 0x9e37_79b1;

/// The bin of a minimizer. The least of many hashes is low: they are spread again, so that bins are
/// alike.
#[inline(always)]
fn bin_of(hash: u32, bins: u64) -> usize {
    ((u64::from(hash.wrapping_mul(SPREAD)) * bins) >> 32) as usize
}

impl<K: Kmer> Engine<'_, K> {
    /// Text to super-k-mers in bins.
    pub(super) fn split(&self, source: &Mutex<dyn BatchSource + '_>, thread: usize) -> Result<()> {
        let k = self.rules.k as usize;
        let mut batch = Batch::default();
        let mut minimizers = Minimizers::new(k, self.lanes);
        let mut bins = Writer::new(&self.bins, thread);
        let mut scratch = (Vec::new(), Vec::new());
        let bin_count = self.bins.shards() as u64;
        let (mut records, mut occurrences) = (0, 0);
        loop {
            self.check()?;
            {
                let mut source = source.lock().unwrap_or_else(PoisonError::into_inner);
                if batch.skipped > 0 {
                    source.skipped(batch.input, std::mem::take(&mut batch.skipped));
                }
                if !source.next(&mut batch)? {
                    break;
                }
            }
            batch.prepare(k, self.rules.skip_lower, self.lanes);
            occurrences += batch.occurrences();
            let mut failure = Ok(());
            let mut relieve = || self.relieve_bins(&mut scratch);
            let longest = self.layout.longest as usize;
            minimizers.runs(&batch.codes, &batch.windows, longest, |hash, at, n| {
                let bases = n as u32 + self.layout.k - 1;
                let mut record: K::Record = batch.bases(at, bases);
                if self.rules.canonical {
                    // Both strands give the same record, so that they merge.
                    let turned = record.mirror().up(K::Record::BITS - 2 * bases);
                    record = record.min(turned);
                }
                let record = record.or(self.layout.low(n as u32, 1));
                let bin = bin_of(hash, bin_count);
                records += 1;
                if let Err(error) = bins.push(bin, record, &mut relieve) {
                    failure = Err(error);
                }
            });
            failure?;
        }
        self.records.fetch_add(records, Ordering::Relaxed);
        self.occurrences.fetch_add(occurrences, Ordering::Relaxed);
        Ok(())
    }

    /// Makes room in the arena while bins are filled: merges, then allows more, then spills.
    #[cold]
    fn relieve_bins(&self, scratch: &mut (Vec<K::Record>, Vec<u32>)) -> Result<()> {
        self.check()?;
        let (soft, all) = (self.arena.soft_limit(), self.arena.blocks());
        let poor = self.gain.load(Ordering::Relaxed) < POOR_GAIN;
        let (shard, fresh) = self.bins.fullest(true);
        if fresh >= 2 && !poor {
            let limit = MERGE_BYTES / K::Record::BYTES;
            let layout = self.layout;
            let (records, places) = scratch;
            let _freeing = self.freeing.read();
            let merge = |records: &mut Vec<K::Record>| merge_records(records, places, layout);
            let (before, behind) = self.bins.compact(shard, records, limit, merge);
            let freed = (1000 * before.saturating_sub(behind) / before.max(1)) as u32;
            let gain = self.gain.load(Ordering::Relaxed);
            self.gain.store((7 * gain + freed) / 8, Ordering::Relaxed);
            if behind < before {
                return Ok(());
            }
        }
        if soft < all {
            self.arena.set_soft_limit(soft + soft / 2);
            // One more try to merge with every step.
            self.gain.fetch_max(POOR_GAIN + 10, Ordering::Relaxed);
            return Ok(());
        }
        self.relieve()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bins_are_alike() {
        let mut x = 1_u64;
        let mut hash = || {
            x = x.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695);
            (x >> 32) as u32
        };
        let mut bins = [0; 256];
        for _ in 0..256 * 400 {
            let least = (0..21).map(|_| hash()).min().unwrap();
            bins[bin_of(least, 256)] += 1;
        }
        assert!(bins.iter().all(|n| (250..550).contains(n)), "{bins:?}");
    }
}
