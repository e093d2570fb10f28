//! Seeds that occur exactly (distance 0): counters as a first look, then sorted places.
//!
//! The first pass counts k-mer classes in a table of two-bit counters; it only ever admits too
//! much. The second marks the windows whose counter is high enough; only their places are sorted.

mod counters;

use super::group::{Lists, Rules};
use super::{Ranking, Search};
use crate::crew;
use crate::flow;
use crate::kmer::{Complexity, reverse_complement, spread};
use counters::Layout;
use seqmill_base::large_pages::{Zeroes, of_large_pages};
use seqmill_base::{Error, Lease, Result};
use std::sync::atomic::{AtomicU32, Ordering};

/// Parts into which places are sorted before each is sorted by itself.
pub(super) const BUCKETS: usize = 256;
/// Windows between asking for memory (of a counter, of bases) and looking at it.
pub(super) const AHEAD: usize = 32;
/// Least slots of the counter table.
const LEAST_SLOTS: u64 = 1 << 16;
/// Most bytes of all tables, for each base.
const TABLES_PART: u64 = 2;
/// Marks are kept apart by the upper bit of the hash: often as many are sorted at a time.
const HALVES: usize = 2;
/// Bytes of places that are sorted at a time in any case.
const LEAST_PART: u64 = 1 << 22;

/// The bucket of a hash.
#[inline]
fn bucket_of(hash: u64) -> usize {
    (hash >> 56) as usize
}

/// Which of the marks are those of a bucket.
#[inline]
fn half_of(bucket: usize) -> usize {
    bucket * HALVES / BUCKETS
}

/// Pieces of the text, at borders of 64 positions: a piece owns the words of its marks.
pub(super) fn pieces(length: u32, threads: usize) -> u32 {
    let wanted = u64::from(length) / (threads as u64 * 8).max(1);
    let step = wanted.clamp(1 << 12, 1 << 22).next_multiple_of(64);
    u32::try_from(step).unwrap_or(1 << 22)
}

/// Small pieces for each thread: towards the end of them the others wait.
const PIECES: usize = 4;

/// The pieces in which marks are made and read.
fn step_of(search: &Search<'_>) -> u32 {
    pieces(search.text.len(), PIECES * search.threads)
}

/// Candidates of distance 0.
pub(super) fn candidates(search: &Search<'_>) -> Result<Ranking> {
    let mut ranking = Ranking::default();
    let length = u64::from(search.text.len());
    let marks_bytes = length.div_ceil(64) * 8 * HALVES as u64;
    let room = search.index_bytes.saturating_sub(marks_bytes);
    // Two slots a window: with one, every seventh single k-mer would be admitted for nothing.
    let slots = (length * 2).next_power_of_two().clamp(LEAST_SLOTS, 1 << 33);
    let most = (room / 2 * 4).max(LEAST_SLOTS).next_power_of_two() / 2;
    let slots = slots.min(most).max(LEAST_SLOTS);
    let reserve = |bytes| {
        let reserved = search.job.budget.must_reserve(search.accounts.index, bytes);
        reserved.map_err(|e| e.within("counting k-mers"))
    };
    // Every thread counts in a table of its own: in a shared one they would wait for each other.
    let for_tables = (room / 2).min(length * TABLES_PART);
    let tables = usize::try_from(for_tables / (slots / 4)).unwrap_or(1).clamp(1, search.threads);
    let mut held_tables = reserve(slots / 4 * tables as u64 + marks_bytes)?;
    let layout = Layout::new(slots);
    // Each from fresh pages: a copy of the first one would touch all of them here.
    let tables = (0..tables).map(|_| Zeroes::new((slots / 4) as usize)).collect();

    let table = counters::count(search, layout, tables, &mut ranking)?;
    let mut marks = of_large_pages(vec![[0_u64; HALVES]; search.text.len().div_ceil(64) as usize]);
    let admitted = counters::flag(search, layout, &table, &mut marks)?;
    drop(table);
    held_tables.resize(marks_bytes)?;
    let mut held = search.job.budget.must_reserve(search.accounts.positions, 0)?;
    let totals: Vec<u64> =
        (0..BUCKETS).map(|b| admitted.iter().map(|h| u64::from(h[b])).sum()).collect();
    // Room for the most there can be: pages that are never touched cost nothing, and lists that
    // grow in place leave no holes. What is touched is reserved.
    let all = usize::try_from(totals.iter().sum::<u64>()).unwrap_or(0);
    ranking.positions.reserve_exact(all);
    ranking.candidates.reserve_exact(all / search.parameters.min_frequency.max(1) as usize);
    // Buckets of so many places are sorted at a time; lists of seeds need the rest.
    let most = (room / 4).min(length.max(LEAST_PART)).max(1 << 14) / 4;
    // Equal shares of the buckets: the others need not be looked through then.
    let parts = usize::try_from((all as u64).div_ceil(most)).unwrap_or(BUCKETS).max(1);
    let share = BUCKETS / parts.next_power_of_two().min(BUCKETS);
    let mut sorting = reserve(0)?;
    let mut buckets = Buckets::default();
    let complexity = Complexity::new(search.k);
    let mut from = 0;
    while from < BUCKETS {
        search.job.cancel.check()?;
        let (mut to, mut total) = (from, 0);
        let border = (from / share + 1) * share;
        while to < border && (to == from || total + totals[to] <= most) {
            total += totals[to];
            to += 1;
        }
        let places = total.max(buckets.places.len() as u64) * 4;
        sorting.resize(places)?;
        ranking.figures.partitions += 1;
        ranking.figures.admitted += total;
        let halves = half_of(from)..=half_of(to - 1);
        let words = |i: usize| halves.clone().fold(0, |word, half| word | marks[i][half]);
        scatter(search, words, &admitted, (from, to), &mut buckets);
        // Beside the places the pairs of one bucket on each thread.
        let largest = (from..to).map(|b| Grouping::size_of(search, &complexity, buckets.bucket(b)));
        let pairs = Grouping::bytes_for(largest.max().unwrap_or(0) as u64);
        sorting.resize(places + pairs * search.threads as u64)?;
        group(search, &buckets, (from, to), &complexity, (&mut ranking, &mut held))?;
        from = to;
    }
    ranking.lease = Some(held);
    Ok(ranking)
}

type Histogram = [u32; BUCKETS];

/// The piece of the text that a task works on.
fn piece(search: &Search<'_>, step: u32, task: usize) -> (u32, u32) {
    let from = task as u32 * step;
    (from, search.text.len().min(from.saturating_add(step)))
}

/// Places by bucket, increasing within each.
#[derive(Default)]
pub(super) struct Buckets {
    /// Those of the buckets, and what is left of larger ones before.
    places: Vec<AtomicU32>,
    first: usize,
    ends: Vec<usize>,
}

impl Buckets {
    pub(super) fn bucket(&self, i: usize) -> &[AtomicU32] {
        let from = if i == self.first { 0 } else { self.ends[i - 1] };
        &self.places[from..self.ends[i]]
    }
}

/// Sorts the marked places of the buckets `first..last`; `marks` gives the words, which may hold
/// places of other buckets too.
fn scatter(
    search: &Search<'_>,
    marks: impl Fn(usize) -> u64 + Sync,
    histograms: &[Histogram],
    (first, last): (usize, usize),
    buckets: &mut Buckets,
) {
    let (text, k) = (search.text, search.k);
    let step = step_of(search);
    let chosen: Vec<Histogram> = histograms
        .iter()
        .map(|h| std::array::from_fn(|b| if b >= first && b < last { h[b] } else { 0 }))
        .collect();
    let (starts, ends) = offsets(&chosen);
    let total = ends.last().copied().unwrap_or(0);
    let Buckets { places, .. } = buckets;
    if places.len() < total {
        places.reserve_exact(total - places.len());
        *places = of_large_pages(std::mem::take(places));
        places.resize_with(total, || AtomicU32::new(0));
    }
    let places = &*places;
    let mut threads = vec![(); search.threads];
    crew::each(&mut threads, histograms.len(), |(), task| {
        let mut next = starts[task];
        let (from, to) = piece(search, step, task);
        for i in from as usize / 64..to.div_ceil(64) as usize {
            let mut word = marks(i);
            while word != 0 {
                let at = (i * 64) as u32 + word.trailing_zeros();
                word &= word - 1;
                let forward = text.kmer(at, k);
                let bucket = bucket_of(spread(forward.min(reverse_complement(forward, k))));
                if bucket >= first && bucket < last {
                    places[next[bucket]].store(at, Ordering::Relaxed);
                    next[bucket] += 1;
                }
            }
        }
    });
    (buckets.first, buckets.ends) = (first, ends);
}

/// Where each piece begins to write in each bucket, and where the buckets end.
pub(super) fn offsets<const N: usize>(histograms: &[[u32; N]]) -> (Vec<[usize; N]>, Vec<usize>) {
    let mut starts = vec![[0; N]; histograms.len()];
    let mut ends = Vec::with_capacity(N);
    let mut at = 0;
    for bucket in 0..N {
        for (start, histogram) in starts.iter_mut().zip(histograms) {
            start[bucket] = at;
            at += histogram[bucket] as usize;
        }
        ends.push(at);
    }
    (starts, ends)
}

/// Most classes that share a cell, on average, before the cells are sorted.
const PER_CELL: usize = 4;
/// Most bits of the number of a cell.
const CELL_BITS: u32 = 12;
/// A bucket of so many places is sifted.
const LARGE_BUCKET: usize = 1 << 18;
/// Cells of up to so many places are sorted by insertion.
const FEW: usize = 32;

/// A window of a class.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Member {
    /// Of the class; as different as the k-mers are.
    hash: u64,
    /// Where the window starts.
    pub(super) place: u32,
    /// The smaller form is its reverse complement.
    flipped: bool,
}

/// Memory for the classes of a bucket.
#[derive(Debug, Default, Clone)]
pub(super) struct Grouping {
    unsorted: Vec<Member>,
    sorted: Vec<Member>,
    ends: Vec<u32>,
}

impl Grouping {
    /// Bytes for buckets of so many places.
    pub(super) fn bytes_for(places: u64) -> u64 {
        places * 2 * size_of::<Member>() as u64 + (4 << CELL_BITS)
    }

    /// Whether windows that can be no seeds are dropped at once: a bucket with very many places
    /// has mostly those, such as the one of poly-A.
    fn is_sifted(bucket: &[AtomicU32]) -> bool {
        bucket.len() >= LARGE_BUCKET
    }

    /// How many windows of a bucket are grouped.
    fn size_of(search: &Search<'_>, complexity: &Complexity, bucket: &[AtomicU32]) -> usize {
        if !Self::is_sifted(bucket) {
            return bucket.len();
        }
        let kmer = |place: &AtomicU32| search.text.kmer(place.load(Ordering::Relaxed), search.k);
        bucket.iter().filter(|place| complexity.is_complex(kmer(place))).count()
    }

    /// Calls `each` with every class of a bucket that may be a seed, and with some that may not,
    /// its places in order.
    pub(super) fn classes(
        &mut self,
        search: &Search<'_>,
        complexity: &Complexity,
        bucket: &[AtomicU32],
        mut each: impl FnMut(&[Member]),
    ) {
        let k = search.k;
        let member = |(i, place): (usize, &AtomicU32)| {
            if let Some(later) = bucket.get(i + AHEAD) {
                search.text.prefetch(later.load(Ordering::Relaxed));
            }
            let place = place.load(Ordering::Relaxed);
            let forward = search.text.kmer(place, k);
            let reverse = reverse_complement(forward, k);
            Member { hash: spread(forward.min(reverse)), place, flipped: reverse < forward }
        };
        self.unsorted.clear();
        self.unsorted.reserve_exact(Self::size_of(search, complexity, bucket));
        let all = bucket.iter().enumerate().map(member);
        if Self::is_sifted(bucket) {
            let complex = |m: &Member| complexity.is_complex(search.text.kmer(m.place, k));
            self.unsorted.extend(all.filter(complex));
        } else {
            self.unsorted.extend(all);
        }
        // Sorted roughly by the bits below those of the bucket, then each cell by itself.
        let cells = (self.unsorted.len() / PER_CELL + 1).next_power_of_two().min(1 << CELL_BITS);
        let cell = |hash: u64| (hash >> (56 - CELL_BITS)) as usize & (cells - 1);
        self.ends.clear();
        self.ends.resize(cells, 0);
        for member in &self.unsorted {
            self.ends[cell(member.hash)] += 1;
        }
        let mut at = 0;
        for end in &mut self.ends {
            at += std::mem::replace(end, at);
        }
        self.sorted.clear();
        self.sorted.resize(self.unsorted.len(), Member::default());
        for member in &self.unsorted {
            let next = &mut self.ends[cell(member.hash)];
            self.sorted[*next as usize] = *member;
            *next += 1;
        }
        let mut from = 0;
        for end in &self.ends {
            let own = &mut self.sorted[from..*end as usize];
            from = *end as usize;
            sort_cell(own);
            for class in own.chunk_by(|a, b| a.hash == b.hash) {
                each(class);
            }
        }
    }
}

/// Sorts by hash; the places of one hash stay in their order.
fn sort_cell(cell: &mut [Member]) {
    if cell.len() > FEW {
        cell.sort_unstable();
        return;
    }
    for i in 1..cell.len() {
        let member = cell[i];
        let mut to = i;
        while to > 0 && cell[to - 1].hash > member.hash {
            cell[to] = cell[to - 1];
            to -= 1;
        }
        cell[to] = member;
    }
}

/// Buckets on their way for each thread: lists stand twice only for those.
const BUCKETS_AHEAD: usize = 8;

fn group(
    search: &Search<'_>,
    buckets: &Buckets,
    (first, last): (usize, usize),
    complexity: &Complexity,
    (ranking, held): (&mut Ranking, &mut Lease),
) -> Result<()> {
    let rules = Rules::new(search.text, search.parameters);
    let work = |grouping: &mut Grouping, bucket: usize| {
        lists_of(search, grouping, buckets.bucket(bucket), rules, complexity)
    };
    let mut scratch = vec![Grouping::default(); search.threads];
    flow::run(&mut scratch, &work, |desk| {
        let mut next = first;
        for bucket in first..last {
            search.job.cancel.check()?;
            while next < last.min(bucket + BUCKETS_AHEAD * search.threads) {
                desk.send(next);
                next += 1;
            }
            let lists = desk.take().ok_or_else(|| Error::internal("a worker is gone"))?;
            lists.append_to(ranking, held)?;
        }
        Ok(())
    })
}

/// The seeds of a bucket.
fn lists_of(
    search: &Search<'_>,
    grouping: &mut Grouping,
    bucket: &[AtomicU32],
    rules: Rules<'_>,
    complexity: &Complexity,
) -> Lists {
    let mut lists = Lists::with_room_for(bucket.len(), rules);
    grouping.classes(search, complexity, bucket, |class| {
        if class.len() * 2 < rules.min_frequency as usize {
            return;
        }
        let (first, k) = (class[0], search.k);
        let kmer = search.text.kmer(first.place, k);
        let palindrome = kmer == reverse_complement(kmer, k);
        let occurrences = if palindrome { 2 * class.len() } else { class.len() };
        if occurrences < rules.min_frequency as usize || !complexity.is_complex(kmer) {
            return;
        }
        let on = |flipped: bool| {
            let own = move |member: &&Member| palindrome || member.flipped == flipped;
            class.iter().filter(own).map(|member| member.place)
        };
        let (forward, reverse) = (on(first.flipped), on(!first.flipped));
        lists.add(rules, first.place, forward, reverse);
    });
    lists
}

/// Sorts all marked places into buckets of whole classes.
pub(super) fn sort_marked(search: &Search<'_>, marks: &[u64]) -> Buckets {
    let step = step_of(search) as usize / 64;
    let mut threads = vec![(); search.threads];
    let histograms = crew::each(&mut threads, marks.len().div_ceil(step), |(), task| {
        let mut histogram = [0; BUCKETS];
        for (i, word) in marks.iter().enumerate().skip(task * step).take(step) {
            let mut word = *word;
            while word != 0 {
                let at = (i * 64) as u32 + word.trailing_zeros();
                word &= word - 1;
                let forward = search.text.kmer(at, search.k);
                let hash = spread(forward.min(reverse_complement(forward, search.k)));
                histogram[bucket_of(hash)] += 1;
            }
        }
        histogram
    });
    let mut buckets = Buckets::default();
    scatter(search, |i| marks[i], &histograms, (0, BUCKETS), &mut buckets);
    buckets
}
