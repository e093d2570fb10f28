//! Sums of runs whose k-mers lie near each other: what all have in common is left out, so that a
//! k-mer and its count are one number, and runs are merged as numbers.

use crate::kmers::lanes::Lanes;
use crate::kmers::sort::fold_equal;
use crate::kmers::word::Word;
use std::hint::select_unpredictable;

/// Most bits of a count in a number: sums of as many as there may be are below 64 bits.
const COUNT_BITS_MAX: u32 = 32;

/// Runs of k-mers with counts that are merged together.
pub(super) struct Packed<K> {
    numbers: Vec<K>,
    spare: Vec<K>,
    /// Where each run ends.
    ends: Vec<usize>,
    base: K,
    count_bits: u32,
    lanes: Lanes,
}

impl<K: Word> Packed<K> {
    pub(super) fn new() -> Self {
        let (base, lanes) = (K::default(), Lanes::detect());
        Self {
            numbers: Vec::new(),
            spare: Vec::new(),
            ends: Vec::new(),
            base,
            count_bits: 0,
            lanes,
        }
    }

    /// Begins with no runs: so many k-mers will lie between these two. False if there is no room
    /// for counts beside them.
    pub(super) fn begin(&mut self, least: K, greatest: K, kmers: usize) -> bool {
        self.numbers.clear();
        self.numbers.reserve_exact(kmers);
        self.spare.clear();
        self.spare.reserve_exact(kmers);
        self.ends.clear();
        self.base = least;
        self.count_bits = greatest.minus(least).zeros_above().min(COUNT_BITS_MAX);
        self.count_bits > 0
    }

    /// Adds a run. False if a count has no room.
    pub(super) fn push(&mut self, kmers: &[K], counts: &[u64]) -> bool {
        let (base, bits) = (self.base, self.count_bits);
        let begin = self.numbers.len();
        self.numbers.resize(begin + kmers.len(), K::default());
        self.ends.push(self.numbers.len());
        let any = self.lanes.run(
            (&mut self.numbers[begin..], kmers, counts),
            #[inline(always)]
            |numbers, kmers, counts| {
                let mut any = 0;
                for ((number, kmer), count) in numbers.iter_mut().zip(kmers).zip(counts) {
                    any |= count;
                    *number = kmer.minus(base).up_all(bits).or(K::from_low(*count));
                }
                any
            },
        );
        any >> bits == 0
    }

    /// Merges all runs to k-mers and sums, which take the place of what is there.
    pub(super) fn sum(&mut self, kmers: &mut Vec<K>, counts: &mut Vec<u64>) {
        while self.ends.len() > 1 {
            self.merge_pairs();
        }
        let (base, bits) = (self.base, self.count_bits);
        self.lanes.run(
            (&self.numbers, kmers, counts),
            #[inline(always)]
            |numbers, kmers, counts| {
                fold_equal(numbers, kmers, counts, bits);
                for kmer in kmers {
                    *kmer = kmer.plus(base);
                }
            },
        );
    }

    /// Makes one run of every two.
    fn merge_pairs(&mut self) {
        self.spare.resize(self.numbers.len(), K::default());
        let (mut begin, mut joined) = (0, 0);
        for pair in 0..self.ends.len().div_ceil(2) {
            let middle = self.ends[2 * pair];
            let end = self.ends.get(2 * pair + 1).copied().unwrap_or(middle);
            let (left, right) = (&self.numbers[begin..middle], &self.numbers[middle..end]);
            merge(left, right, &mut self.spare[begin..end]);
            self.ends[pair] = end;
            (begin, joined) = (end, pair + 1);
        }
        self.ends.truncate(joined);
        std::mem::swap(&mut self.numbers, &mut self.spare);
    }
}

/// Merges two sorted runs into `to`, which has room for just both: as two merges, each from both
/// its ends, so that four steps that wait for nothing of each other go on at the same time.
fn merge<K: Word>(left: &[K], right: &[K], to: &mut [K]) {
    assert_eq!(left.len() + right.len(), to.len(), "room for both runs");
    let cut = left.len() / 2;
    let right_cut = left.get(cut).map_or(0, |middle| right.partition_point(|k| k < middle));
    let (low, high) = to.split_at_mut(cut + right_cut);
    let mut one = Ends::new(&left[..cut], &right[..right_cut], low);
    let mut other = Ends::new(&left[cut..], &right[right_cut..], high);
    loop {
        let steps = one.safe_steps().min(other.safe_steps());
        if steps == 0 {
            break;
        }
        for _ in 0..steps {
            // SAFETY: neither has made more than its safe steps.
            unsafe {
                one.step();
                other.step();
            }
        }
    }
    one.finish();
    other.finish();
}

/// A merge that is under way from both its ends: what is left of two runs and of the room.
struct Ends<'m, K> {
    left: std::ops::Range<*const K>,
    right: std::ops::Range<*const K>,
    low: *mut K,
    high: *mut K,
    runs: std::marker::PhantomData<(&'m [K], &'m mut [K])>,
}

impl<'m, K: Word> Ends<'m, K> {
    /// `to` has room for just both.
    fn new(left: &'m [K], right: &'m [K], to: &'m mut [K]) -> Self {
        assert_eq!(left.len() + right.len(), to.len(), "room for both runs");
        let to = to.as_mut_ptr_range();
        Self {
            left: left.as_ptr_range(),
            right: right.as_ptr_range(),
            low: to.start,
            high: to.end,
            runs: std::marker::PhantomData,
        }
    }

    /// How many are left of both runs.
    fn lengths(&self) -> (usize, usize) {
        let length = |run: &std::ops::Range<*const K>| {
            (run.end as usize - run.start as usize) / size_of::<K>()
        };
        (length(&self.left), length(&self.right))
    }

    /// Steps after which no run has come to its end: each takes two of one run at most.
    fn safe_steps(&self) -> usize {
        let (left, right) = self.lengths();
        left.min(right) / 2
    }

    /// Moves the least and the greatest of what is left.
    ///
    /// # Safety
    /// Both runs have two numbers left, or more.
    #[inline(always)]
    unsafe fn step(&mut self) {
        // SAFETY: both runs have numbers at both ends, and the room has as many places.
        unsafe {
            let (left, right) = (*self.left.start, *self.right.start);
            let is_left = left <= right;
            *self.low = select_unpredictable(is_left, left, right);
            self.low = self.low.add(1);
            self.left.start = self.left.start.add(usize::from(is_left));
            self.right.start = self.right.start.add(usize::from(!is_left));
            let (left, right) = (*self.left.end.sub(1), *self.right.end.sub(1));
            let is_left = left > right;
            self.high = self.high.sub(1);
            *self.high = select_unpredictable(is_left, left, right);
            self.left.end = self.left.end.sub(usize::from(is_left));
            self.right.end = self.right.end.sub(usize::from(!is_left));
        }
    }

    /// Moves all that is left.
    fn finish(mut self) {
        loop {
            let steps = self.safe_steps();
            if steps == 0 {
                break;
            }
            for _ in 0..steps {
                // SAFETY: no more than the safe steps.
                unsafe { self.step() };
            }
        }
        let (left, right) = self.lengths();
        // SAFETY: what is left of the runs, and the room for just that.
        let (mut left, mut right, mut to) = unsafe {
            (
                std::slice::from_raw_parts(self.left.start, left),
                std::slice::from_raw_parts(self.right.start, right),
                std::slice::from_raw_parts_mut(self.low, left + right),
            )
        };
        while let ([one, more @ ..], [other, others @ ..]) = (left, right) {
            let is_left = one <= other;
            let Some((place, places)) = to.split_first_mut() else { return };
            *place = if is_left { *one } else { *other };
            to = places;
            if is_left {
                left = more;
            } else {
                right = others;
            }
        }
        let rest = if left.is_empty() { right } else { left };
        to.copy_from_slice(rest);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kmers::word::Wide;
    use std::collections::BTreeMap;

    fn check<K: Word>(base: K, spread: u64, most: u64, lengths: &[usize]) {
        let mut x = spread ^ most;
        let mut next = || {
            x = x.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695);
            x >> 20
        };
        let mut expected: BTreeMap<K, u64> = BTreeMap::new();
        let mut packed = Packed::new();
        assert!(packed.begin(base, base.plus(K::from_low(spread)), 0));
        for length in lengths {
            let run: BTreeMap<K, u64> = (0..*length)
                .map(|_| (base.plus(K::from_low(next() % spread)), 1 + next() % most))
                .collect();
            for (kmer, count) in &run {
                *expected.entry(*kmer).or_insert(0) += count;
            }
            let (kmers, counts): (Vec<K>, Vec<u64>) = run.into_iter().unzip();
            assert!(packed.push(&kmers, &counts));
        }
        let (mut kmers, mut counts) = (Vec::new(), Vec::new());
        packed.sum(&mut kmers, &mut counts);
        let found: Vec<_> = kmers.into_iter().zip(counts).collect();
        assert_eq!(found, expected.into_iter().collect::<Vec<_>>(), "{spread} {most} {lengths:?}");
    }

    #[test]
    fn runs_are_summed() {
        let lists: [&[usize]; 7] =
            [&[], &[5], &[1, 1], &[700, 700], &[0, 900, 1], &[3, 500, 40, 800, 7], &[300; 17]];
        for lengths in lists {
            for (spread, most) in [(3, 1), (900, 5), (1 << 40, 1 << 20), (1 << 20, (1 << 32) - 1)] {
                check::<u64>(0, spread, most, lengths);
                check::<u64>(1 << 62, spread, most, lengths);
                check::<u128>(1 << 80, spread, most, lengths);
                check::<Wide<4>>(Wide::from_low(9).up(100), spread, most, lengths);
            }
        }
    }

    #[test]
    fn what_has_no_room_is_refused() {
        let mut packed = Packed::new();
        assert!(!packed.begin(0_u64, 1 << 63, 2));
        assert!(packed.begin(0_u64, (1 << 62) - 1, 2));
        assert!(packed.push(&[1, 2], &[3, 3]));
        assert!(!packed.push(&[1, 2], &[3, 4]));
        assert!(packed.begin(7_u64, 7, 2));
        assert!(packed.push(&[7], &[(1 << 32) - 1]));
        assert!(!packed.push(&[7], &[1 << 32]));
    }
}
