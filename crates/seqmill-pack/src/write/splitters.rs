//! Splitters: the k-mers at which contigs are cut (`agc.md` §8.2).
//!
//! A candidate must occur once in the reference. Instead of sorting all its k-mers (8 bytes a
//! base), they are counted in as many slots of two bits as there are bases: a k-mer whose slot was
//! hit once is certainly single. A third of the single k-mers is found so, which puts a cut about
//! three bases later than the first possible one, in a 32nd of the memory.

use super::kmers::{KmerScanner, murmur64, reduce};
use rustc_hash::FxBuildHasher;
use seqmill_base::Result;
use seqmill_base::prefetch::prefetch;

/// Slots a 64-bit word holds.
const SLOTS_PER_WORD: u64 = 32;
/// Counters that are asked for ahead.
const AHEAD: usize = 32;
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

    fn count_up(&mut self, (word, shift): (usize, u32)) {
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
        let mut places = [(0, 0); AHEAD];
        let mut held = 0;
        for &code in codes {
            if !scanner.push(code) {
                continue;
            }
            let place = self.place(scanner.canonical());
            prefetch(&self.words, place.0);
            if let Some(slot) = places.get_mut(held % AHEAD) {
                let before = std::mem::replace(slot, place);
                if held >= AHEAD {
                    self.count_up(before);
                }
            }
            held += 1;
        }
        for &place in places.iter().take(held) {
            self.count_up(place);
        }
    }
}

/// Bases at the end of a contig that are looked through for a last splitter, at a time.
const TAIL_BASES: usize = 256;

/// Chooses the splitters of one contig, base by base.
pub(crate) struct Chooser {
    scanner: KmerScanner,
    /// The scanner has the bases before those to come.
    is_warm: bool,
    overlap: usize,
    segment_size: usize,
    since: usize,
    /// The bases behind the last splitter that are too near to it: the last candidate among them
    /// becomes a splitter if the contig ends before there is another.
    near: Vec<u8>,
}

impl Chooser {
    /// Bytes held, at most.
    pub(crate) fn bytes_for(segment_size: u32) -> u64 {
        u64::from(segment_size) * 2
    }

    pub(crate) fn new(kmer_length: u32, segment_size: u32) -> Self {
        let segment_size = segment_size as usize;
        Self {
            scanner: KmerScanner::new(kmer_length),
            is_warm: false,
            overlap: kmer_length as usize - 1,
            segment_size,
            since: segment_size,
            near: Vec::new(),
        }
    }

    /// Takes bases and adds the splitters among their k-mers.
    pub(crate) fn push(
        &mut self,
        codes: &[u8],
        is_candidate: impl Fn(u64) -> bool,
        into: &mut Splitters,
    ) {
        let mut rest = codes;
        while !rest.is_empty() {
            let near = self.segment_size.saturating_sub(self.since).min(rest.len());
            let (skipped, far) = rest.split_at(near);
            self.near.extend_from_slice(skipped);
            self.since += near;
            let found = self.find(far, &is_candidate);
            rest = match found {
                Some((at, kmer)) => {
                    into.insert(kmer);
                    self.begin(0);
                    far.get(at + 1..).unwrap_or_default()
                }
                None => &[],
            };
        }
    }

    /// The first candidate, and where it ends.
    fn find(&mut self, far: &[u8], is_candidate: impl Fn(u64) -> bool) -> Option<(usize, u64)> {
        if far.is_empty() {
            return None;
        }
        if !self.is_warm {
            let from = self.near.len().saturating_sub(self.overlap);
            for &code in self.near.get(from..).unwrap_or_default() {
                self.scanner.push(code);
            }
            self.is_warm = true;
        }
        for (i, &code) in far.iter().enumerate() {
            if self.scanner.push(code) && is_candidate(self.scanner.canonical()) {
                return Some((i, self.scanner.canonical()));
            }
        }
        self.since += far.len();
        None
    }

    fn begin(&mut self, since: usize) {
        self.scanner.restart();
        self.is_warm = false;
        self.since = since;
        self.near.clear();
    }

    /// Ends the contig.
    pub(crate) fn end(&mut self, is_candidate: impl Fn(u64) -> bool, into: &mut Splitters) {
        let mut end = self.near.len();
        while end > self.overlap {
            let from = end.saturating_sub(TAIL_BASES + self.overlap);
            self.scanner.restart();
            let mut last = None;
            for &code in self.near.get(from..end).unwrap_or_default() {
                if self.scanner.push(code) && is_candidate(self.scanner.canonical()) {
                    last = Some(self.scanner.canonical());
                }
            }
            if let Some(kmer) = last {
                into.insert(kmer);
                break;
            }
            end = if from == 0 { 0 } else { from + self.overlap };
        }
        self.begin(self.segment_size);
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
            None => chooser.end(|kmer| counters.is_single(kmer), &mut splitters),
        }
        Ok(())
    })?;
    splitters.build_filter();
    Ok(splitters)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What `Chooser` does, base by base, and looking at each k-mer.
    fn choose_plainly(codes: &[u8], k: u32, size: u32, single: &dyn Fn(u64) -> bool) -> Vec<u64> {
        let mut scanner = KmerScanner::new(k);
        let (mut since, mut last, mut chosen) = (size, None, Vec::new());
        for &code in codes {
            since += 1;
            if !scanner.push(code) || !single(scanner.canonical()) {
                continue;
            }
            if since > size {
                chosen.push(scanner.canonical());
                (since, last) = (0, None);
                scanner.restart();
            } else {
                last = Some(scanner.canonical());
            }
        }
        chosen.extend(last);
        chosen.sort_unstable();
        chosen
    }

    #[test]
    fn bases_that_are_left_out_change_nothing() {
        for seed in 0..60_u64 {
            let n = murmur64(seed) % 3000;
            let size = 100 + (murmur64(seed + 7) % 900) as u32;
            let one_of = 1 + murmur64(seed + 9) % 400;
            let codes: Vec<u8> = (0..n)
                .map(|i| {
                    let r = murmur64(i ^ (seed << 32));
                    if r.is_multiple_of(97) { 4 } else { (r >> 20) as u8 & 3 }
                })
                .collect();
            let single = |kmer: u64| murmur64(kmer).is_multiple_of(one_of);
            let expected = choose_plainly(&codes, 21, size, &single);
            for step in [1, 13, 100, 4000] {
                let mut chooser = Chooser::new(21, size);
                for _ in 0..2 {
                    let mut splitters = Splitters::default();
                    for piece in codes.chunks(step) {
                        chooser.push(piece, single, &mut splitters);
                    }
                    chooser.end(single, &mut splitters);
                    assert_eq!(splitters.sorted(), expected, "seed {seed}, step {step}");
                }
            }
        }
    }

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
