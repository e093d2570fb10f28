//! The seeds that wait, the best one first.

use std::collections::BinaryHeap;

/// A seed that waits: the larger count first, then the k-mer that comes last in the alphabet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Waiting {
    pub(super) count: u32,
    pub(super) kmer: u64,
    pub(super) seed: u32,
}

impl Waiting {
    pub(super) fn parts(self) -> (u32, u64, u32) {
        (self.count, self.kmer, self.seed)
    }
}

/// The queue.
#[derive(Debug)]
pub(super) struct Queue {
    /// Those that have never been taken, the best one last.
    sorted: Vec<Waiting>,
    /// Those that came back.
    back: BinaryHeap<Waiting>,
}

impl Queue {
    pub(super) fn new(waiting: Vec<(u32, u64, u32)>) -> Self {
        let mut sorted: Vec<Waiting> =
            waiting.into_iter().map(|(count, kmer, seed)| Waiting { count, kmer, seed }).collect();
        sorted.sort_unstable();
        Self { sorted, back: BinaryHeap::new() }
    }

    pub(super) fn len(&self) -> usize {
        self.sorted.len() + self.back.len()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = Waiting> + '_ {
        self.sorted.iter().chain(self.back.iter()).copied()
    }

    pub(super) fn peek(&self) -> Option<Waiting> {
        self.sorted.last().copied().max(self.back.peek().copied())
    }

    pub(super) fn pop(&mut self) -> Option<Waiting> {
        if self.sorted.last() >= self.back.peek() { self.sorted.pop() } else { self.back.pop() }
    }

    /// The best one that does not come before `last`; those that came back and do are left where
    /// they are.
    pub(super) fn pop_behind(&mut self, last: Option<Waiting>) -> Option<Waiting> {
        let back = self.back.peek().filter(|top| last.is_none_or(|last| **top <= last));
        if self.sorted.last() >= back { self.sorted.pop() } else { self.back.pop() }
    }

    pub(super) fn push(&mut self, waiting: Waiting) {
        self.back.push(waiting);
    }
}
