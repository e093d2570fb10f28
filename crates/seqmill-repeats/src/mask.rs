//! One bit a position.

use std::sync::atomic::{AtomicU64, Ordering};

/// Positions that are taken.
///
/// One thread takes positions while others may look: bits are only ever set, so whoever sees one
/// sees what will hold from then on.
#[derive(Debug, Default)]
pub struct Mask {
    words: Vec<AtomicU64>,
    length: u32,
}

impl Mask {
    /// An empty mask for `length` positions.
    pub fn new(length: u32) -> Self {
        Self { words: (0..Self::words_for(length)).map(|_| AtomicU64::new(0)).collect(), length }
    }

    fn words_for(length: u32) -> usize {
        // A test reads one word beyond the last.
        length as usize / 64 + 2
    }

    /// Bytes of a mask for `length` positions.
    pub fn bytes_for(length: u32) -> u64 {
        Self::words_for(length) as u64 * 8
    }

    /// A mask from its words; `None` if their number is another.
    pub fn from_words(words: Vec<u64>, length: u32) -> Option<Self> {
        let words: Vec<AtomicU64> = words.into_iter().map(AtomicU64::new).collect();
        (words.len() == Self::words_for(length)).then_some(Self { words, length })
    }

    /// How many words there are.
    pub fn word_count(&self) -> usize {
        self.words.len()
    }

    /// The words.
    pub fn words(&self) -> impl Iterator<Item = u64> + '_ {
        self.words.iter().map(|word| word.load(Ordering::Relaxed))
    }

    #[inline]
    fn word(&self, i: usize) -> u64 {
        self.words[i].load(Ordering::Relaxed)
    }

    /// Sets bits. Plain loads and stores: there is one thread that sets.
    #[inline]
    fn add(&self, i: usize, bits: u64) {
        self.words[i].store(self.word(i) | bits, Ordering::Relaxed);
    }

    /// The 64 positions from `at` on, the first in the lowest bit: whether they are taken.
    #[inline]
    pub fn bits(&self, at: u32) -> u64 {
        let (i, shift) = (at as usize / 64, at % 64);
        self.word(i) >> shift | (self.word(i + 1) << 1) << (63 - shift)
    }

    /// Whether any of the `k` (at most 63) positions from `at` on is taken.
    #[inline]
    pub fn touches(&self, at: u32, k: u32) -> bool {
        self.bits(at) << (64 - k) != 0
    }

    /// Moves the places whose `k` positions are all free to the front of a list; how many these
    /// are, and how many of them stood among the first `forward`.
    pub fn keep_free(&self, list: &mut [u32], forward: usize, k: u32) -> (usize, usize) {
        let (mut kept, mut before) = (0, 0);
        for i in 0..list.len() {
            if i == forward {
                before = kept;
            }
            // Which ones are free nobody can guess: no branch.
            let place = list[i];
            list[kept] = place;
            kept += usize::from(!self.touches(place, k));
        }
        if forward == list.len() {
            before = kept;
        }
        (kept, before)
    }

    /// Whether the position is taken.
    #[inline]
    pub fn has(&self, at: u32) -> bool {
        self.word(at as usize / 64) >> (at % 64) & 1 != 0
    }

    /// Takes the positions `from..to`; only one thread may do so at a time.
    pub fn set(&self, from: u32, to: u32) {
        let to = to.min(self.length);
        if from >= to {
            return;
        }
        let (first, last) = (from as usize / 64, (to - 1) as usize / 64);
        let head = u64::MAX << (from % 64);
        let tail = u64::MAX >> (63 - (to - 1) % 64);
        if first == last {
            self.add(first, head & tail);
            return;
        }
        self.add(first, head);
        for i in first + 1..last {
            self.add(i, u64::MAX);
        }
        self.add(last, tail);
    }

    /// Positions taken.
    pub fn count(&self) -> u64 {
        self.words().map(|w| u64::from(w.count_ones())).sum()
    }

    /// Positions taken in `from..to`.
    pub fn count_in(&self, from: u32, to: u32) -> u64 {
        let (mut at, mut sum) = (from, 0);
        while at < to {
            let room = (64 - at % 64).min(to - at);
            let bits = self.word(at as usize / 64) >> (at % 64) & (u64::MAX >> (64 - room));
            sum += u64::from(bits.count_ones());
            at += room;
        }
        sum
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_are_as_set() {
        let mask = Mask::new(300);
        let mut plain = vec![false; 300];
        for (from, to) in [(3, 9), (60, 70), (100, 230), (299, 400), (5, 5), (128, 192)] {
            mask.set(from, to);
            let end = 300.min(to as usize);
            plain[(from as usize).min(end)..end].fill(true);
        }
        for at in 0..300_u32 {
            assert_eq!(mask.has(at), plain[at as usize], "{at}");
            for k in [1, 7, 32, 63] {
                let end = 300.min((at + k) as usize);
                assert_eq!(
                    mask.touches(at, k),
                    plain[at as usize..end].contains(&true),
                    "{at} {k}"
                );
                let count = plain[at as usize..end].iter().filter(|b| **b).count() as u64;
                assert_eq!(mask.count_in(at, end as u32), count);
            }
        }
        assert_eq!(mask.count(), plain.iter().filter(|b| **b).count() as u64);
    }
}
