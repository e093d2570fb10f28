//! Which references a segment resembles, told by a sample of their k-mers.
//!
//! Segments whose splitters name no group (a contig without any, above all) look here, so that
//! the hundredth copy of a plasmid is not stored as it is.

use super::kmers::{KmerScanner, murmur64};
use rustc_hash::FxBuildHasher;

/// One k-mer of so many is in the sample.
const RATE: u64 = 512;
/// The same where size is worth time and memory.
const THOROUGH_RATE: u64 = 64;
/// Least k-mers that a reference must share.
const VOTES_LEAST: usize = 2;
/// Least part of the sampled k-mers that it must share.
const VOTES_SHARE: usize = 8;
/// Bytes an entry takes.
const ENTRY_BYTES: u64 = 28;

/// Sampled k-mers of all references.
pub(crate) struct Sketch {
    /// The group, twice, plus one if the k-mer stands there in its canonical form.
    places: hashbrown::HashMap<u64, u32, FxBuildHasher>,
    kmer_length: u32,
    rate: u64,
}

fn sample(kmer_length: u32, rate: u64, codes: &[u8], mut take: impl FnMut(u64, bool)) {
    let mut scanner = KmerScanner::new(kmer_length);
    for &code in codes {
        if scanner.push(code) && murmur64(scanner.canonical()) < u64::MAX / rate {
            let kmer = scanner.kmer();
            take(kmer.code, kmer.direct);
        }
    }
}

impl Sketch {
    pub(crate) fn new(kmer_length: u32, thorough: bool) -> Self {
        let rate = if thorough { THOROUGH_RATE } else { RATE };
        Self { places: hashbrown::HashMap::default(), kmer_length, rate }
    }

    /// Bytes held.
    pub(crate) fn bytes(&self) -> u64 {
        self.places.len() as u64 * ENTRY_BYTES
    }

    /// Adds a reference; a k-mer stays with the first one that has it.
    pub(crate) fn insert(&mut self, group: u32, codes: &[u8]) {
        let places = &mut self.places;
        sample(self.kmer_length, self.rate, codes, |kmer, direct| {
            places.entry(kmer).or_insert(2 * group + u32::from(direct));
        });
    }

    /// The group whose reference shares most k-mers, and whether its strand is the other one.
    pub(crate) fn find(&self, codes: &[u8]) -> Option<(u32, bool)> {
        let mut votes: Vec<u32> = Vec::new();
        let mut sampled = 0;
        sample(self.kmer_length, self.rate, codes, |kmer, direct| {
            sampled += 1;
            if let Some(&place) = self.places.get(&kmer) {
                let reverse = (place & 1 == 1) != direct;
                votes.push((place & !1) + u32::from(reverse));
            }
        });
        votes.sort_unstable();
        let best = votes.chunk_by(|a, b| a == b).max_by_key(|same| {
            // Of equal numbers the smallest group: the first of the largest is wanted.
            (same.len(), std::cmp::Reverse(same.first().copied()))
        })?;
        let needed = VOTES_LEAST.max(sampled / VOTES_SHARE);
        let place = *best.first()?;
        (best.len() >= needed).then_some((place / 2, place % 2 == 1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copies_are_found_on_both_strands() {
        let random = |seed: u64| -> Vec<u8> {
            (0..20_000).map(|i| (murmur64(i ^ (seed << 40)) % 4) as u8).collect()
        };
        let mut sketch = Sketch::new(31, false);
        for group in 16..20 {
            sketch.insert(group, &random(u64::from(group)));
        }
        for group in 16..20 {
            let mut copy = random(u64::from(group))[3000..].to_vec();
            copy[5000] = (copy[5000] + 1) % 4;
            assert_eq!(sketch.find(&copy), Some((group, false)));
            let mut turned = Vec::new();
            crate::symbols::reverse_complement_codes(&copy, &mut turned);
            assert_eq!(sketch.find(&turned), Some((group, true)));
        }
        assert_eq!(sketch.find(&random(99)), None);
    }
}
