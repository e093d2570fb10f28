//! Splitters: the k-mers at which contigs are cut (`agc.md` §8.2).
//!
//! A candidate must occur once in the reference. Instead of sorting all its k-mers (8 bytes a
//! base), they are counted in as many slots of two bits as there are bases: a k-mer whose slot was
//! hit once is certainly single. A third of the single k-mers is found so, which puts a cut about
//! three bases later than the first possible one, in a 32nd of the memory.

use super::kmers::{KmerScanner, murmur64, reduce};
use rustc_hash::FxBuildHasher;
use seqmill_base::Result;

/// Slots a 64-bit word holds.
const SLOTS_PER_WORD: u64 = 32;
/// Bits of the filter for each splitter.
const FILTER_BITS: usize = 32;

/// Counters of two bits: never, once, more often.
pub(crate) struct Counters {
    words: Vec<u64>,
    slots: u64,
}

impl Counters {
    /// Bytes of so many slots.
    pub(crate) fn bytes_for(slots: u64) -> u64 {
        slots.div_ceil(SLOTS_PER_WORD) * 8
    }

    pub(crate) fn new(slots: u64) -> Self {
        let slots = slots.max(1);
        let words = usize::try_from(slots.div_ceil(SLOTS_PER_WORD)).unwrap_or(usize::MAX);
        Self { words: vec![0; words], slots }
    }

    fn place(&self, kmer: u64) -> (usize, u32) {
        let slot = reduce(murmur64(kmer), self.slots);
        let word = usize::try_from(slot / SLOTS_PER_WORD).unwrap_or(usize::MAX);
        (word, u32::try_from(slot % SLOTS_PER_WORD).unwrap_or(0) * 2)
    }

    pub(crate) fn add(&mut self, kmer: u64) {
        let (word, shift) = self.place(kmer);
        if let Some(word) = self.words.get_mut(word) {
            let count = (*word >> shift) & 3;
            if count < 2 {
                *word += 1 << shift;
            }
        }
    }

    fn count(&self, kmer: u64) -> u64 {
        let (word, shift) = self.place(kmer);
        self.words.get(word).map_or(2, |word| (word >> shift) & 3)
    }

    /// Whether a k-mer is certainly single.
    pub(crate) fn is_single(&self, kmer: u64) -> bool {
        self.count(kmer) == 1
    }

    /// Whether a k-mer may have been added.
    pub(crate) fn may_hold(&self, kmer: u64) -> bool {
        self.count(kmer) > 0
    }

    /// Adds all k-mers of a contig.
    pub(crate) fn add_all(&mut self, scanner: &mut KmerScanner, codes: &[u8]) {
        for &code in codes {
            if scanner.push(code) {
                self.add(scanner.canonical());
            }
        }
    }
}

/// Chooses the splitters of one contig, base by base.
pub(crate) struct Chooser {
    scanner: KmerScanner,
    segment_size: u64,
    since: u64,
    /// The last candidate since the last splitter: it becomes one at the end of the contig.
    last: Option<u64>,
}

impl Chooser {
    pub(crate) fn new(kmer_length: u32, segment_size: u32) -> Self {
        let segment_size = u64::from(segment_size);
        let scanner = KmerScanner::new(kmer_length);
        Self { scanner, segment_size, since: segment_size, last: None }
    }

    /// Takes bases and adds the splitters among their k-mers.
    pub(crate) fn push(
        &mut self,
        codes: &[u8],
        is_candidate: impl Fn(u64) -> bool,
        into: &mut Splitters,
    ) {
        for &code in codes {
            self.since += 1;
            if !self.scanner.push(code) {
                continue;
            }
            let kmer = self.scanner.canonical();
            if !is_candidate(kmer) {
                continue;
            }
            if self.since > self.segment_size {
                into.insert(kmer);
                (self.since, self.last) = (0, None);
                self.scanner.restart();
            } else {
                self.last = Some(kmer);
            }
        }
    }

    /// Ends the contig.
    pub(crate) fn end(&mut self, into: &mut Splitters) {
        if let Some(kmer) = self.last.take() {
            into.insert(kmer);
        }
        self.since = self.segment_size;
        self.scanner.restart();
    }
}

/// The set of splitters, with a filter that most other k-mers do not pass.
#[derive(Debug, Default)]
pub(crate) struct Splitters {
    set: hashbrown::HashSet<u64, FxBuildHasher>,
    filter: Vec<u64>,
    filtered: usize,
}

impl Splitters {
    pub(crate) fn from_kmers(kmers: impl Iterator<Item = u64>) -> Self {
        let mut splitters = Self::default();
        splitters.set.extend(kmers);
        splitters.build_filter();
        splitters
    }

    pub(crate) fn insert(&mut self, kmer: u64) {
        self.set.insert(kmer);
    }

    pub(crate) fn len(&self) -> usize {
        self.set.len()
    }

    /// All of them in ascending order.
    pub(crate) fn sorted(&self) -> Vec<u64> {
        let mut kmers: Vec<u64> = self.set.iter().copied().collect();
        kmers.sort_unstable();
        kmers
    }

    /// Makes the filter fit for look-ups after splitters were added.
    pub(crate) fn build_filter(&mut self) {
        if self.filtered == self.set.len() && !self.filter.is_empty() {
            return;
        }
        let words = (self.set.len() * FILTER_BITS / 64).next_power_of_two().max(64);
        self.filter.clear();
        self.filter.resize(words, 0);
        for kmer in self.sorted() {
            let (word, bit) = self.place(kmer);
            if let Some(word) = self.filter.get_mut(word) {
                *word |= bit;
            }
        }
        self.filtered = self.set.len();
    }

    fn place(&self, kmer: u64) -> (usize, u64) {
        let hash = kmer.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let word = (hash >> 32) as usize & (self.filter.len().wrapping_sub(1));
        (word, 1 << (hash >> 58))
    }

    #[inline]
    pub(crate) fn contains(&self, kmer: u64) -> bool {
        let (word, bit) = self.place(kmer);
        self.filter.get(word).is_some_and(|w| w & bit != 0) && self.set.contains(&kmer)
    }
}

/// Goes through contigs in pieces: `Some(codes)` for bases, `None` where a contig ends.
pub(crate) type Walk<'w> =
    dyn FnMut(&mut dyn FnMut(Option<&[u8]>) -> Result<()>) -> Result<()> + 'w;

/// Finds the splitters of a reference of so many bases; `walk` goes through it, twice.
pub(crate) fn find_splitters(
    walk: &mut Walk<'_>,
    counters: &mut Counters,
    kmer_length: u32,
    segment_size: u32,
) -> Result<Splitters> {
    let mut scanner = KmerScanner::new(kmer_length);
    walk(&mut |codes| {
        match codes {
            Some(codes) => counters.add_all(&mut scanner, codes),
            None => scanner.restart(),
        }
        Ok(())
    })?;
    let mut splitters = Splitters::default();
    let mut chooser = Chooser::new(kmer_length, segment_size);
    walk(&mut |codes| {
        match codes {
            Some(codes) => chooser.push(codes, |kmer| counters.is_single(kmer), &mut splitters),
            None => chooser.end(&mut splitters),
        }
        Ok(())
    })?;
    splitters.build_filter();
    Ok(splitters)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn splitters_are_single_and_apart() {
        let codes: Vec<u8> = (0..50_000_u64).map(|i| (murmur64(i) % 4) as u8).collect();
        let mut twice = codes.clone();
        twice.extend_from_slice(&codes[..20_000]);
        let mut counters = Counters::new(twice.len() as u64);
        let mut walk = |take: &mut dyn FnMut(Option<&[u8]>) -> Result<()>| {
            for piece in twice.chunks(777) {
                take(Some(piece))?;
            }
            take(None)
        };
        let splitters = find_splitters(&mut walk, &mut counters, 21, 1000).unwrap();
        let mut scanner = KmerScanner::new(21);
        let mut places = Vec::new();
        for (i, &code) in twice.iter().enumerate() {
            if scanner.push(code) && splitters.contains(scanner.canonical()) {
                places.push(i);
            }
        }
        assert_eq!(places.len(), splitters.len());
        assert!(places.len() > 25 && places.iter().all(|&p| (20_000..50_025).contains(&p)));
        let near = places.windows(2).filter(|pair| pair[1] - pair[0] < 1000).count();
        assert!(near <= 1, "only the last one may be nearer: {places:?}");
    }
}
