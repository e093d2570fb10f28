//! Marked places and how many come before each.

use super::super::Search;
use crate::crew;
use seqmill_base::prefetch::prefetch;
use seqmill_base::{Lease, Result};

/// Words between two known counts.
const STEP: usize = 8;

/// Marks with their ranks.
pub(super) struct Ranked {
    words: Vec<u64>,
    before: Vec<u32>,
    count: u64,
    _lease: Lease,
}

impl Ranked {
    /// Marks the places for which `test` holds.
    pub(super) fn new(search: &Search<'_>, test: impl Fn(u32) -> bool + Sync) -> Result<Self> {
        let length = search.text.len();
        let words = length.div_ceil(64) as usize + 1;
        let bytes = words as u64 * 8 + words.div_ceil(STEP) as u64 * 4;
        let lease = super::reserve(search, bytes, "marks of candidates")?;
        let mut threads = vec![(); search.threads];
        let piece = 1 << 12;
        let parts = crew::each(&mut threads, words.div_ceil(piece), |(), task| {
            let own = task * piece..words.min((task + 1) * piece);
            let one = |i: usize| {
                let from = i as u32 * 64;
                (from..length.min(from.saturating_add(64)))
                    .fold(0_u64, |word, at| word | u64::from(test(at)) << (at % 64))
            };
            own.map(one).collect::<Vec<_>>()
        });
        let words = parts.concat();
        let mut before = Vec::with_capacity(words.len().div_ceil(STEP));
        let mut count = 0;
        for chunk in words.chunks(STEP) {
            before.push(count as u32);
            count += chunk.iter().map(|w| u64::from(w.count_ones())).sum::<u64>();
        }
        Ok(Self { words, before, count, _lease: lease })
    }

    pub(super) fn count(&self) -> u64 {
        self.count
    }

    /// The marks of the text, without the word behind them.
    pub(super) fn words(&self) -> &[u64] {
        &self.words[..self.words.len() - 1]
    }

    /// Asks for the memory that tells of a place.
    #[inline(always)]
    pub(super) fn prefetch(&self, at: u32) {
        prefetch(&self.words, at as usize / 64);
    }

    #[inline]
    pub(super) fn has(&self, at: u32) -> bool {
        self.words[at as usize / 64] >> (at % 64) & 1 != 0
    }

    /// How many marks lie before the marked place `at`.
    #[inline]
    pub(super) fn rank(&self, at: u32) -> usize {
        let i = at as usize / 64;
        let from = i / STEP * STEP;
        let whole: u32 = self.words[from..i].iter().map(|w| w.count_ones()).sum();
        let part = self.words[i] & !(u64::MAX << (at % 64));
        (self.before[i / STEP] + whole + part.count_ones()) as usize
    }

    /// Calls `each` with every marked place, in order.
    pub(super) fn each(&self, mut each: impl FnMut(u32)) {
        for (i, word) in self.words.iter().enumerate() {
            let mut word = *word;
            while word != 0 {
                each((i * 64) as u32 + word.trailing_zeros());
                word &= word - 1;
            }
        }
    }
}
