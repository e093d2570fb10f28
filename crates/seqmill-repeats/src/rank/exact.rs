//! Seeds that occur exactly (distance 0): counters as a first look, then sorted places.
//!
//! The first pass counts k-mer classes in a table of two-bit counters; it only ever admits too
//! much. The second marks the windows whose counter is high enough; only their places are sorted.

use super::group::{Lists, Rules};
use super::{Ranking, Search};
use crate::crew;
use crate::kmer::{Complexity, mix, reverse_complement, scan};
use seqmill_base::prefetch::prefetch;
use seqmill_base::{Lease, Result};
use std::sync::atomic::{AtomicU8, AtomicU32, Ordering};

/// Parts into which places are sorted before each is sorted by itself.
pub(super) const BUCKETS: usize = 256;
/// Windows between asking for memory (of a counter, of bases) and looking at it.
pub(super) const AHEAD: usize = 32;
/// Least slots of the counter table.
const LEAST_SLOTS: u64 = 1 << 16;
/// Bytes of places that are sorted at a time in any case.
const LEAST_PART: u64 = 1 << 22;

/// Two-bit counters that stop at three.
struct Counters {
    bytes: Vec<AtomicU8>,
    shift: u32,
    shared: bool,
}

impl Counters {
    fn new(slots: u64, shared: bool) -> Self {
        let bytes = (0..slots / 4).map(|_| AtomicU8::new(0)).collect();
        // The bits that choose partition and bucket stand above those of the slot.
        Self { bytes, shift: 64 - slots.trailing_zeros(), shared }
    }

    #[inline]
    fn place(&self, hash: u64) -> (usize, u32) {
        let slot = (hash.rotate_left(24) >> self.shift) as usize;
        (slot >> 2, (slot & 3) as u32 * 2)
    }

    #[inline]
    fn add(&self, hash: u64) {
        let (i, shift) = self.place(hash);
        let byte = &self.bytes[i];
        let mut value = byte.load(Ordering::Relaxed);
        while value >> shift & 3 < 3 {
            let more = value + (1 << shift);
            if !self.shared {
                byte.store(more, Ordering::Relaxed);
                return;
            }
            match byte.compare_exchange_weak(value, more, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return,
                Err(now) => value = now,
            }
        }
    }

    /// Asks for the memory of a counter that will be looked at.
    #[inline(always)]
    fn prefetch(&self, hash: u64) {
        prefetch(&self.bytes, self.place(hash).0);
    }

    #[inline]
    fn get(&self, hash: u64) -> u8 {
        let (i, shift) = self.place(hash);
        self.bytes[i].load(Ordering::Relaxed) >> shift & 3
    }
}

/// The bucket of a hash.
#[inline]
fn bucket_of(hash: u64) -> usize {
    (hash >> 56) as usize
}

/// Pieces of the text, at borders of 64 positions: a piece owns the words of its marks.
pub(super) fn pieces(length: u32, threads: usize) -> u32 {
    let wanted = u64::from(length) / (threads as u64 * 8).max(1);
    let step = wanted.clamp(1 << 12, 1 << 22).next_multiple_of(64);
    u32::try_from(step).unwrap_or(1 << 22)
}

/// Candidates of distance 0.
pub(super) fn candidates(search: &Search<'_>) -> Result<Ranking> {
    let mut ranking = Ranking::default();
    let length = u64::from(search.text.len());
    let marks_bytes = length.div_ceil(64) * 8;
    let room = search.index_bytes.saturating_sub(marks_bytes);
    // Two slots a window: with one, every seventh single k-mer would be admitted for nothing.
    let slots = (length * 2).next_power_of_two().clamp(LEAST_SLOTS, 1 << 33);
    let most = (room / 2 * 4).max(LEAST_SLOTS).next_power_of_two() / 2;
    let slots = slots.min(most).max(LEAST_SLOTS);
    let reserve = |bytes| {
        let reserved = search.job.budget.must_reserve(search.accounts.index, bytes);
        reserved.map_err(|e| e.within("counting k-mers"))
    };
    let mut tables = reserve(slots / 4 + marks_bytes)?;
    let counters = Counters::new(slots, search.threads > 1);
    let mut marks = vec![0_u64; search.text.len().div_ceil(64) as usize];
    let admitted = flag(search, &counters, &mut marks, &mut ranking)?;
    drop(counters);
    tables.resize(marks_bytes)?;
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
    let mut from = 0;
    while from < BUCKETS {
        search.job.cancel.check()?;
        let (mut to, mut total) = (from, 0);
        while to < BUCKETS && (to == from || total + totals[to] <= most) {
            total += totals[to];
            to += 1;
        }
        // Places, and the pairs of one bucket on each thread.
        let pairs = Grouping::bytes_for(totals[from..to].iter().max().copied().unwrap_or(0));
        let _places = reserve(total * 4 + pairs * search.threads as u64)?;
        ranking.figures.partitions += 1;
        ranking.figures.admitted += total;
        let places = scatter(search, &marks, &admitted, (from, to));
        group(search, &places, (from, to), &mut ranking, &mut held)?;
        from = to;
    }
    ranking.lease = Some(held);
    Ok(ranking)
}

type Histogram = [u32; BUCKETS];

/// Counts, then marks the windows that may be frequent; how many by piece and bucket.
fn flag(
    search: &Search<'_>,
    table: &Counters,
    marks: &mut [u64],
    ranking: &mut Ranking,
) -> Result<Vec<Histogram>> {
    let (text, k) = (search.text, search.k);
    let step = pieces(text.len(), search.threads);
    let tasks = text.len().div_ceil(step) as usize;
    let mut threads = vec![(); search.threads];
    let windows = crew::each(&mut threads, tasks, |(), task| {
        let from = task as u32 * step;
        let to = text.len().min(from.saturating_add(step));
        if search.job.cancel.is_cancelled() {
            return 0;
        }
        let mut ahead = [0_u64; AHEAD];
        let mut windows = 0;
        scan(text, k, from, to, |window| {
            let hash = mix(window.canonical());
            table.prefetch(hash);
            let slot = &mut ahead[windows % AHEAD];
            let due = std::mem::replace(slot, hash);
            if windows >= AHEAD {
                table.add(due);
            }
            windows += 1;
        });
        for hash in &ahead[..windows.min(AHEAD)] {
            table.add(*hash);
        }
        windows as u64
    });
    search.job.cancel.check()?;
    ranking.figures.windows = windows.into_iter().sum();
    let least = u8::try_from(search.parameters.min_frequency.min(3)).unwrap_or(3);
    let slots: Vec<std::sync::Mutex<&mut [u64]>> =
        marks.chunks_mut(step as usize / 64).map(std::sync::Mutex::new).collect();
    Ok(crew::each(&mut threads, tasks, |(), task| {
        let from = task as u32 * step;
        let to = text.len().min(from.saturating_add(step));
        let mut own = slots[task].lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        own.fill(0);
        let mut histogram = [0; BUCKETS];
        let mut ahead = [(0_u64, 0_u32); AHEAD];
        let mut windows = 0;
        let mut settle = |(hash, at): (u64, u32)| {
            // The lowest bit of the place says that it is a palindrome.
            let need = if at & 1 != 0 { least.div_ceil(2) } else { least };
            let admitted = table.get(hash) >= need;
            let at = at >> 1;
            own[at as usize / 64] |= u64::from(admitted) << (at % 64);
            histogram[bucket_of(hash)] += u32::from(admitted);
        };
        scan(text, k, from, to, |window| {
            let hash = mix(window.canonical());
            table.prefetch(hash);
            let at = (window.at - from) << 1 | u32::from(window.forward == window.reverse);
            let due = std::mem::replace(&mut ahead[windows % AHEAD], (hash, at));
            if windows >= AHEAD {
                settle(due);
            }
            windows += 1;
        });
        ahead[..windows.min(AHEAD)].iter().for_each(|due| settle(*due));
        histogram
    }))
}

/// Places by bucket, increasing within each.
pub(super) struct Buckets {
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

/// Sorts the marked places of the buckets `first..last`.
fn scatter(
    search: &Search<'_>,
    marks: &[u64],
    histograms: &[Histogram],
    (first, last): (usize, usize),
) -> Buckets {
    let (text, k) = (search.text, search.k);
    let step = pieces(text.len(), search.threads);
    let chosen: Vec<Histogram> = histograms
        .iter()
        .map(|h| std::array::from_fn(|b| if b >= first && b < last { h[b] } else { 0 }))
        .collect();
    let (starts, ends) = offsets(&chosen);
    let total = ends.last().copied().unwrap_or(0);
    let places: Vec<AtomicU32> = (0..total).map(|_| AtomicU32::new(0)).collect();
    let mut threads = vec![(); search.threads];
    let per_piece = step as usize / 64;
    crew::each(&mut threads, histograms.len(), |(), task| {
        let mut next = starts[task];
        let words = marks.iter().enumerate().skip(task * per_piece).take(per_piece);
        for (i, word) in words {
            let mut word = *word;
            while word != 0 {
                let at = (i * 64) as u32 + word.trailing_zeros();
                word &= word - 1;
                let forward = text.kmer(at, k);
                let bucket = bucket_of(mix(forward.min(reverse_complement(forward, k))));
                if bucket >= first && bucket < last {
                    places[next[bucket]].store(at, Ordering::Relaxed);
                    next[bucket] += 1;
                }
            }
        }
    });
    Buckets { places, first, ends }
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

    /// Calls `each` with every class of a bucket, its places in order.
    pub(super) fn classes(
        &mut self,
        search: &Search<'_>,
        bucket: &[AtomicU32],
        mut each: impl FnMut(&[Member]),
    ) {
        let k = search.k;
        self.unsorted.clear();
        self.unsorted.extend(bucket.iter().enumerate().map(|(i, place)| {
            if let Some(later) = bucket.get(i + AHEAD) {
                search.text.prefetch(later.load(Ordering::Relaxed));
            }
            let place = place.load(Ordering::Relaxed);
            let forward = search.text.kmer(place, k);
            let reverse = reverse_complement(forward, k);
            Member { hash: mix(forward.min(reverse)), place, flipped: reverse < forward }
        }));
        // Sorted roughly by the bits below those of the bucket, then each cell by itself.
        let cells = (bucket.len() / PER_CELL + 1).next_power_of_two().min(1 << CELL_BITS);
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
        self.sorted.resize(bucket.len(), Member::default());
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

fn group(
    search: &Search<'_>,
    buckets: &Buckets,
    (first, last): (usize, usize),
    ranking: &mut Ranking,
    held: &mut Lease,
) -> Result<()> {
    let complexity = Complexity::new(search.k);
    let rules = Rules::new(search.text, search.parameters);
    let mut scratch = vec![Grouping::default(); search.threads];
    // A few buckets at a time, so that lists stand twice only for those.
    let batch = 8 * search.threads;
    for from in (first..last).step_by(batch) {
        search.job.cancel.check()?;
        let results = crew::each(&mut scratch, batch.min(last - from), |grouping, task| {
            let bucket = buckets.bucket(from + task);
            let mut lists = Lists::with_room_for(bucket.len(), rules);
            grouping.classes(search, bucket, |class| {
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
        });
        Lists::append_all(results, ranking, held)?;
    }
    Ok(())
}

/// Sorts all marked places into buckets of whole classes.
pub(super) fn sort_marked(search: &Search<'_>, marks: &[u64]) -> Buckets {
    let step = pieces(search.text.len(), search.threads) as usize / 64;
    let mut threads = vec![(); search.threads];
    let histograms = crew::each(&mut threads, marks.len().div_ceil(step), |(), task| {
        let mut histogram = [0; BUCKETS];
        for (i, word) in marks.iter().enumerate().skip(task * step).take(step) {
            let mut word = *word;
            while word != 0 {
                let at = (i * 64) as u32 + word.trailing_zeros();
                word &= word - 1;
                let forward = search.text.kmer(at, search.k);
                let hash = mix(forward.min(reverse_complement(forward, search.k)));
                histogram[bucket_of(hash)] += 1;
            }
        }
        histogram
    });
    scatter(search, marks, &histograms, (0, BUCKETS))
}
