//! Both forms of every window, sorted into groups that agree in the half that is not varied.

use super::super::exact::{AHEAD, offsets, pieces};
use super::super::{Ranking, Search};
use crate::crew;
use crate::kmer::{mask, reverse_complement, scan};
use seqmill_base::Result;
use std::sync::atomic::{AtomicU32, Ordering};

/// Bits of the number of buckets of a slice.
const BUCKET_BITS: u32 = 9;
/// Lists of one slice: each bucket has one for each strand.
const LISTS: usize = 2 << BUCKET_BITS;
/// Most bits that address a counter of a group.
const COUNTER_BITS: u32 = 18;
/// Groups up to this size are compared pair by pair.
pub(super) const FEW: usize = 12;
/// Local numbers with at most so many bits are sorted by counting.
const COUNTED_BITS: u32 = 12;
/// Bytes of forms that are worked on at once if the budget has them.
const LEAST_ROOM: u64 = 8 << 20;
/// Slices are not made so small that many more scans would save little memory.
pub(super) const FINEST_SLICE: u64 = 3 << 20;
/// Most slices, as bits.
const MOST_SLICE_BITS: u32 = 12;

/// One form of one window.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Entry {
    /// Number of its group within the bucket, then `SMALLER`, then the strand.
    key: u32,
    /// The part that is varied.
    suffix: u32,
    /// Where the window starts.
    pub(super) place: u32,
}

/// The form is the smaller of the two.
const SMALLER: u32 = 2;
/// The form is the reverse complement of the window.
const REVERSE: u32 = 1;

impl Entry {
    fn group(self) -> u32 {
        self.key >> 2
    }

    pub(super) fn is_reverse(&self) -> bool {
        self.key & REVERSE != 0
    }
}

/// How forms are cut and sorted.
pub(super) struct Forms {
    k: u32,
    suffix_bits: u32,
    prefix_bits: u32,
    slice_bits: u32,
    bucket_bits: u32,
    counter_bits: u32,
    /// Changes of one base of the right half, then of the middle base.
    changes: Vec<u32>,
    middle: usize,
    /// Entries by piece of the text: for every slice the lists.
    histograms: Vec<Vec<[u32; LISTS]>>,
    step: u32,
}

impl Forms {
    /// Plans slices that fit the index account and counts what they hold.
    pub(super) fn plan(search: &Search<'_>, ranking: &mut Ranking) -> Result<Self> {
        let length = u64::from(search.text.len());
        // Two entries a window. Twice as many slices cost as many scans more and halve the memory.
        let room = (search.index_bytes / 2).min((length * 4).max(LEAST_ROOM)).max(1 << 16);
        let mut slice_bits = 0;
        while (length * 8) >> slice_bits > room && slice_bits < MOST_SLICE_BITS {
            slice_bits += 1;
        }
        Self::with_slices(search, ranking, slice_bits)
    }

    /// The same in twice as many slices; `None` if that would save little.
    pub(super) fn finer(&self, search: &Search<'_>) -> Result<Option<Self>> {
        let may = self.slice_bits < MOST_SLICE_BITS.min(self.prefix_bits - self.bucket_bits);
        if !may || self.slice_bytes(search) / 2 < FINEST_SLICE {
            return Ok(None);
        }
        Self::with_slices(search, &mut Ranking::default(), self.slice_bits + 1).map(Some)
    }

    /// Bytes of the forms of a slice, about.
    pub(super) fn slice_bytes(&self, search: &Search<'_>) -> u64 {
        (u64::from(search.text.len()) * 8) >> self.slice_bits
    }

    fn with_slices(search: &Search<'_>, ranking: &mut Ranking, slice_bits: u32) -> Result<Self> {
        let k = search.k;
        let half = k / 2;
        let suffix_bits = 2 * (k - half);
        let prefix_bits = 2 * half;
        let bucket_bits = BUCKET_BITS.min(prefix_bits);
        let slice_bits = slice_bits.min(prefix_bits - bucket_bits);
        let mut changes: Vec<u32> = Vec::new();
        for place in 0..k - half {
            changes.extend((1..4).map(|change| change << (2 * place)));
        }
        let mut forms = Self {
            k,
            suffix_bits,
            prefix_bits,
            slice_bits,
            bucket_bits,
            counter_bits: suffix_bits.min(COUNTER_BITS),
            middle: 3 * half as usize,
            changes,
            histograms: Vec::new(),
            step: pieces(search.text.len(), search.threads),
        };
        forms.count(search, ranking)?;
        Ok(forms)
    }

    pub(super) fn slices(&self) -> usize {
        1 << self.slice_bits
    }

    /// The changes that are tried on a form: the middle base only if it is the smaller form.
    pub(super) fn deltas(&self, entry: &Entry) -> impl Iterator<Item = u32> + '_ {
        let end = if entry.key & SMALLER != 0 { self.changes.len() } else { self.middle };
        self.changes[..end].iter().copied()
    }

    /// The form of an entry.
    pub(super) fn form_of(&self, search: &Search<'_>, entry: &Entry) -> u64 {
        let forward = search.text.kmer(entry.place, self.k);
        if entry.is_reverse() { reverse_complement(forward, self.k) } else { forward }
    }

    /// Spreads prefixes: a bijection on their bits, so that equal numbers mean equal prefixes.
    #[inline]
    fn spread(&self, prefix: u64) -> u64 {
        let bits = u64::MAX >> (64 - self.prefix_bits);
        let x = prefix.wrapping_mul(0x9e37_79b9_7f4a_7c15) & bits;
        let x = x ^ x >> (self.prefix_bits / 2);
        x.wrapping_mul(0x51f3_b5b8_0000_0001 | 0x2545_f491) & bits
    }

    /// Slice, bucket and group of a form.
    #[inline]
    fn address(&self, form: u64) -> (usize, usize, u32) {
        let spread = self.spread(form >> self.suffix_bits);
        let local_bits = self.prefix_bits - self.slice_bits - self.bucket_bits;
        let slice = (spread >> (self.prefix_bits - self.slice_bits)) as usize;
        let bucket = (spread >> local_bits) as usize & ((1 << self.bucket_bits) - 1);
        let local = if local_bits == 0 { 0 } else { spread & u64::MAX >> (64 - local_bits) };
        (slice, bucket, local as u32)
    }

    fn piece(&self, search: &Search<'_>, task: usize) -> (u32, u32) {
        let from = task as u32 * self.step;
        (from, search.text.len().min(from.saturating_add(self.step)))
    }

    fn count(&mut self, search: &Search<'_>, ranking: &mut Ranking) -> Result<()> {
        let tasks = search.text.len().div_ceil(self.step) as usize;
        let mut threads = vec![(); search.threads];
        let results = crew::each(&mut threads, tasks, |(), task| {
            let mut counts = vec![[0_u32; LISTS]; self.slices()];
            let (from, to) = self.piece(search, task);
            let mut windows = 0_u64;
            if search.job.cancel.is_cancelled() {
                return (counts, windows);
            }
            scan(search.text, self.k, from, to, |window| {
                windows += 1;
                let (slice, bucket, _) = self.address(window.forward);
                counts[slice][2 * bucket] += 1;
                let (slice, bucket, _) = self.address(window.reverse);
                counts[slice][2 * bucket + 1] += 1;
            });
            (counts, windows)
        });
        search.job.cancel.check()?;
        self.histograms = vec![Vec::new(); self.slices()];
        for (counts, windows) in results {
            ranking.figures.windows += windows;
            for (all, own) in self.histograms.iter_mut().zip(counts) {
                all.push(own);
            }
        }
        Ok(())
    }

    /// Calls `work` with every group of a slice, and `done` with what a bucket gave.
    pub(super) fn each_group<R: Default + Send>(
        &self,
        search: &Search<'_>,
        slice: usize,
        work: impl Fn(&mut Scratch, &[Entry], &mut R) + Sync,
        done: impl Fn(&mut R) + Sync,
    ) -> Result<()> {
        search.job.cancel.check()?;
        let histograms = &self.histograms[slice];
        let (starts, ends) = offsets(histograms);
        let total = ends.last().copied().unwrap_or(0);
        let largest = (0..LISTS / 2)
            .map(|b| ends[2 * b + 1] - if b == 0 { 0 } else { ends[2 * b - 1] })
            .max()
            .unwrap_or(0);
        let scratch_bytes = (largest * 2 * size_of::<Entry>() + largest * 12) as u64
            + (1 << self.counter_bits >> 2);
        let bytes = (total as u64 + 1) * 4 + scratch_bytes * search.threads as u64;
        let _lease = super::reserve(search, bytes, "forms of k-mers")?;
        let places = self.scatter(search, slice, starts, total);
        let mut scratch: Vec<(Scratch, R)> =
            (0..search.threads).map(|_| (Scratch::new(self), R::default())).collect();
        crew::each(&mut scratch, LISTS / 2, |(scratch, result), bucket| {
            if !search.job.cancel.is_cancelled() {
                let from = if bucket == 0 { 0 } else { ends[2 * bucket - 1] };
                let lists = [
                    &places[from..ends[2 * bucket]],
                    &places[ends[2 * bucket]..ends[2 * bucket + 1]],
                ];
                let entries = scratch.load(self, search, lists);
                for group in entries.chunk_by(|a, b| a.group() == b.group()) {
                    work(scratch, group, result);
                }
                scratch.entries = entries;
                done(result);
            }
        });
        search.job.cancel.check()
    }

    fn scatter(
        &self,
        search: &Search<'_>,
        slice: usize,
        mut starts: Vec<[usize; LISTS]>,
        total: usize,
    ) -> Vec<AtomicU32> {
        // The last place takes what is of another slice: half of all, so a branch would be wrong
        // very often.
        let places: Vec<AtomicU32> = (0..=total).map(|_| AtomicU32::new(0)).collect();
        let slots: Vec<std::sync::Mutex<&mut [usize; LISTS]>> =
            starts.iter_mut().map(std::sync::Mutex::new).collect();
        let mut threads = vec![(); search.threads];
        crew::each(&mut threads, slots.len(), |(), task| {
            let starts = slots[task].lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            let mut next = [total; LISTS + 1];
            next[..LISTS].copy_from_slice(&**starts);
            let (from, to) = self.piece(search, task);
            let mut put = |form: u64, strand: usize, at: u32| {
                let (own, bucket, _) = self.address(form);
                let list = if own == slice { 2 * bucket + strand } else { LISTS };
                places[next[list]].store(at, Ordering::Relaxed);
                next[list] += usize::from(own == slice);
            };
            scan(search.text, self.k, from, to, |window| {
                put(window.forward, 0, window.at);
                put(window.reverse, 1, window.at);
            });
        });
        places
    }

    /// Address of the counter of a suffix; linear, so that changes can be applied to it.
    #[inline]
    fn counter(&self, suffix: u32) -> usize {
        let folded = suffix ^ suffix.checked_shr(COUNTER_BITS).unwrap_or(0);
        (folded & ((1 << self.counter_bits) - 1)) as usize
    }

    /// The sum of [`Scratch::sum`] for a group of few entries.
    pub(super) fn few(&self, group: &[Entry], entry: &Entry) -> u32 {
        let middle = if self.k % 2 == 1 { 1_u32 << (self.suffix_bits - 2) } else { 0 };
        let mut sum = 0;
        for other in group {
            let x = entry.suffix ^ other.suffix;
            let places = (x | x >> 1) & 0x5555_5555;
            let counts = if places == 0 {
                !entry.is_reverse()
            } else {
                places.is_power_of_two() && (places != middle || entry.key & SMALLER != 0)
            };
            sum += u32::from(counts);
        }
        sum
    }
}

/// Memory of one worker.
pub(super) struct Scratch {
    entries: Vec<Entry>,
    unsorted: Vec<Entry>,
    /// Two-bit counters that stop at three.
    counters: Vec<u32>,
    /// Suffixes with the numbers of their entries.
    pub(super) sorted: Vec<u64>,
    /// Of each entry of a group the first place of its class.
    pub(super) firsts: Vec<u32>,
    /// Counters of the changes, in the order of the changes.
    steps: Vec<u32>,
    /// How many of them stay in the same word.
    near: usize,
    /// The first that is folded.
    folded: usize,
}

impl Scratch {
    fn new(forms: &Forms) -> Self {
        let steps: Vec<u32> = forms.changes.iter().map(|c| forms.counter(*c) as u32).collect();
        let near = steps.iter().take_while(|step| **step < 16).count();
        // Beyond the bits of a counter a change is folded back onto the first ones.
        let folded = 3 * COUNTER_BITS as usize / 2;
        let words = (1_usize << forms.counter_bits).div_ceil(16);
        Self {
            entries: Vec::new(),
            unsorted: Vec::new(),
            counters: vec![0; words],
            sorted: Vec::new(),
            firsts: Vec::new(),
            steps,
            near,
            folded,
        }
    }

    /// The entries of a bucket, sorted by group.
    fn load(&mut self, forms: &Forms, search: &Search<'_>, lists: [&[AtomicU32]; 2]) -> Vec<Entry> {
        let local_bits = forms.prefix_bits - forms.slice_bits - forms.bucket_bits;
        let suffix_mask = mask(forms.suffix_bits / 2);
        self.unsorted.clear();
        for (strand, list) in lists.into_iter().enumerate() {
            self.unsorted.extend(list.iter().enumerate().map(|(i, place)| {
                if let Some(later) = list.get(i + AHEAD) {
                    search.text.prefetch(later.load(Ordering::Relaxed));
                }
                let place = place.load(Ordering::Relaxed);
                let forward = search.text.kmer(place, forms.k);
                let reverse = reverse_complement(forward, forms.k);
                let (form, other) =
                    if strand == 0 { (forward, reverse) } else { (reverse, forward) };
                let (_, _, local) = forms.address(form);
                let smaller = if form < other { SMALLER } else { 0 };
                let suffix = (form & suffix_mask) as u32;
                Entry { key: local << 2 | smaller | strand as u32, suffix, place }
            }));
        }
        let mut entries = std::mem::take(&mut self.entries);
        if local_bits == 0 {
            entries.clone_from(&self.unsorted);
            return entries;
        }
        if local_bits > COUNTED_BITS {
            entries.clone_from(&self.unsorted);
            entries.sort_unstable_by_key(|e| e.group());
            return entries;
        }
        let mut next = [0_u32; 1 << COUNTED_BITS];
        for entry in &self.unsorted {
            next[entry.group() as usize] += 1;
        }
        let mut at = 0;
        for slot in &mut next[..1 << local_bits] {
            at += std::mem::replace(slot, at);
        }
        entries.clear();
        entries.resize(self.unsorted.len(), Entry::default());
        for entry in &self.unsorted {
            let slot = &mut next[entry.group() as usize];
            entries[*slot as usize] = *entry;
            *slot += 1;
        }
        entries
    }

    /// Counts the suffixes of a group.
    pub(super) fn fill(&mut self, forms: &Forms, group: &[Entry]) {
        for entry in group {
            let i = forms.counter(entry.suffix);
            let (word, shift) = (&mut self.counters[i >> 4], (i & 15) * 2);
            *word += u32::from(*word >> shift & 3 < 3) << shift;
        }
    }

    /// Forgets them again.
    pub(super) fn empty(&mut self, forms: &Forms, group: &[Entry]) {
        for entry in group {
            self.counters[forms.counter(entry.suffix) >> 4] = 0;
        }
    }

    #[inline]
    fn count(&self, i: usize) -> u32 {
        self.counters[i >> 4] >> ((i & 15) * 2) & 3
    }

    /// Whether a suffix may be there.
    #[inline]
    pub(super) fn holds(&self, forms: &Forms, suffix: u32) -> bool {
        self.count(forms.counter(suffix)) > 0
    }

    /// How often the neighbours of a form occur that differ in the varied half, each at most
    /// three times; of the forward form also how often it occurs itself.
    ///
    /// A word holds the counters of the last two bases. What differs in another base stands at
    /// the same place of another word, so those are added up unshifted.
    #[inline]
    pub(super) fn sum(&self, forms: &Forms, entry: &Entry) -> u32 {
        let i = forms.counter(entry.suffix);
        let end = if entry.key & SMALLER != 0 { self.steps.len() } else { forms.middle };
        let (word, shift) = (i >> 4, (i & 15) * 2);
        let own = self.counters[word];
        let mut sum = if entry.is_reverse() { 0 } else { own >> shift & 3 };
        // Long suffixes are folded: then changes further up stay in the word too.
        let folded = self.steps.len().min(self.folded);
        let near = [&self.steps[..end.min(self.near)], &self.steps[folded.min(end)..end]];
        for step in near.into_iter().flatten() {
            sum += self.count(i ^ *step as usize);
        }
        let field = 3_u32 << shift;
        let mut far = 0_u64;
        for step in &self.steps[self.near.min(end)..folded.min(end)] {
            let other = word ^ (*step as usize >> 4);
            debug_assert!(other < self.counters.len());
            // SAFETY: `word` and `step >> 4` are below the number of words, a power of two, and so
            // is their exclusive or.
            let value = unsafe { *self.counters.get_unchecked(other) };
            far += u64::from(value & field);
        }
        sum + (far >> shift) as u32
    }

    /// Sorts the entries of a group by suffix.
    pub(super) fn sort(&mut self, group: &[Entry]) {
        self.sorted.clear();
        self.sorted.extend((0..).zip(group).map(|(i, e): (u64, _)| u64::from(e.suffix) << 32 | i));
        self.sorted.sort_unstable();
    }

    /// The suffix that is `i`th, and the number of its entry.
    pub(super) fn sorted_entry(&self, i: usize) -> (u32, usize) {
        let item = self.sorted[i];
        ((item >> 32) as u32, item as u32 as usize)
    }

    /// Calls `each` with the entries of a suffix.
    pub(super) fn run(&self, suffix: u32, group: &[Entry], mut each: impl FnMut(&Entry)) {
        let from = self.sorted.partition_point(|item| ((item >> 32) as u32) < suffix);
        for item in &self.sorted[from..] {
            if (item >> 32) as u32 != suffix {
                break;
            }
            each(&group[*item as u32 as usize]);
        }
    }
}
