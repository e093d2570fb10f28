//! Depth along a sequence from the ends of blocks, over a window that slides (`kmers.md` §6.3).

use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// Positions of the window; a power of two.
const WINDOW: usize = 1 << 20;
/// Positions looked at together: blocks end rarely, and most of the window is zero.
const LANES: usize = 16;
/// Bytes of the window.
pub(super) const WINDOW_BYTES: u64 = (WINDOW * size_of::<i32>()) as u64;
/// Bytes of an end that lies behind the window.
pub(super) const FAR_BYTES: u64 = size_of::<Reverse<(u32, i32)>>() as u64;

/// Differences of depth within a window, and those behind it.
///
/// Blocks may be added in any order as long as none begins before what was swept.
pub(super) struct Depth {
    ring: Vec<i32>,
    /// First position that is not swept yet.
    base: u32,
    /// Depth before `base`, and where it began.
    now: i64,
    since: u32,
    /// No difference lies behind this position.
    last: Option<u32>,
    far: BinaryHeap<Reverse<(u32, i32)>>,
}

fn slot(position: u32) -> usize {
    position as usize & (WINDOW - 1)
}

impl Depth {
    pub(super) fn new() -> Self {
        let ring = vec![0; WINDOW];
        Self { ring, base: 0, now: 0, since: 0, last: None, far: BinaryHeap::new() }
    }

    /// Ends behind the window.
    pub(super) fn far_len(&self) -> usize {
        self.far.len()
    }

    /// Whether sweeping up to `position` would keep the window in step with the records.
    #[inline]
    pub(super) fn lags(&self, position: u32) -> bool {
        position.saturating_sub(self.base) as usize >= WINDOW / 2
    }

    /// Adds `by` to the depth of `begin..end`.
    #[inline]
    pub(super) fn add(&mut self, begin: u32, end: u32, by: i32) {
        self.change(begin, by);
        self.change(end, -by);
    }

    #[inline]
    fn change(&mut self, position: u32, by: i32) {
        debug_assert!(position >= self.base);
        self.last = self.last.max(Some(position));
        if ((position - self.base) as usize) < WINDOW {
            if let Some(cell) = self.ring.get_mut(slot(position)) {
                *cell += by;
            }
        } else {
            self.far.push(Reverse((position, by)));
        }
    }

    /// Gives the runs that end at or before `to`: begin, end, depth. No block may begin before
    /// `to` any more.
    pub(super) fn sweep(&mut self, to: u32, give: &mut impl FnMut(u32, u32, u64)) {
        while self.base < to {
            if self.last.is_none_or(|last| last < self.base) {
                self.base = to;
                return;
            }
            // The window ends where its first slot would be used twice, and the slice at its edge.
            let begin = slot(self.base);
            let most = (WINDOW - begin).min((to - self.base) as usize);
            self.sweep_slots(begin, begin + most, give);
            #[expect(clippy::cast_possible_truncation, reason = "no more than the window")]
            let swept = most as u32;
            self.base += swept;
            while let Some(Reverse((position, by))) = self.far.peek().copied()
                && ((position - self.base) as usize) < WINDOW
            {
                self.far.pop();
                if let Some(cell) = self.ring.get_mut(slot(position)) {
                    *cell += by;
                }
            }
        }
    }

    fn sweep_slots(&mut self, begin: usize, end: usize, give: &mut impl FnMut(u32, u32, u64)) {
        let base = self.base;
        let (mut depth, mut since) = (self.now, self.since);
        let slots = self.ring.get_mut(begin..end).unwrap_or_default();
        for (lane, cells) in slots.chunks_mut(LANES).enumerate() {
            if cells.iter().fold(0, |any, cell| any | cell) == 0 {
                continue;
            }
            for (within, cell) in cells.iter_mut().enumerate() {
                let by = std::mem::take(cell);
                if by == 0 {
                    continue;
                }
                #[expect(clippy::cast_possible_truncation, reason = "less than the window")]
                let position = base + (lane * LANES + within) as u32;
                if position > since {
                    give(since, position, depth.unsigned_abs());
                }
                depth += i64::from(by);
                since = position;
            }
        }
        (self.now, self.since) = (depth, since);
    }

    /// Gives what is left of a sequence of `length` bases, and begins anew.
    pub(super) fn finish(&mut self, length: u32, give: &mut impl FnMut(u32, u32, u64)) {
        // Blocks are cut at the end of the sequence: the last ends lie there.
        self.sweep(length, give);
        if length > self.since {
            give(self.since, length, self.now.unsigned_abs());
        }
        if let Some(cell) = self.ring.get_mut(slot(length)) {
            *cell = 0;
        }
        self.far.clear();
        (self.base, self.now, self.since, self.last) = (0, 0, 0, None);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slow(blocks: &[(u32, u32)], length: u32) -> Vec<(u32, u32, u64)> {
        let mut depth = vec![0; length as usize];
        for (begin, end) in blocks {
            for cell in &mut depth[*begin as usize..*end as usize] {
                *cell += 1;
            }
        }
        let mut runs: Vec<(u32, u32, u64)> = Vec::new();
        for (depth, at) in depth.into_iter().zip(0..) {
            match runs.last_mut() {
                Some((_, end, last)) if *last == depth => *end = at + 1,
                _ => runs.push((at, at + 1, depth)),
            }
        }
        runs
    }

    #[test]
    fn runs_are_those_of_an_array() {
        let mut seed = 7_u64;
        let mut draw = |n: u32| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (seed >> 33) as u32 % n
        };
        let mut engine = Depth::new();
        for length in [1, 5000, 1 << 20, (3 << 20) + 17] {
            let mut blocks: Vec<(u32, u32)> = (0..400)
                .map(|i| {
                    let begin = draw(length);
                    let most = if i % 40 == 0 { length - begin } else { 300 };
                    (begin, (begin + 1 + draw(most)).min(length))
                })
                .collect();
            blocks.sort_unstable();
            let mut runs = Vec::new();
            let mut give = |begin, end, depth| runs.push((begin, end, depth));
            for (begin, end) in &blocks {
                if engine.lags(*begin) {
                    engine.sweep(*begin, &mut give);
                }
                engine.add(*begin, *end, 1);
            }
            engine.finish(length, &mut give);
            // Neighbours of one depth meet where blocks end and begin at one place with sum 0.
            assert_eq!(runs, slow(&blocks, length), "{length}");
        }
    }

    #[test]
    fn a_sequence_without_blocks_is_one_run() {
        let mut runs = Vec::new();
        Depth::new().finish(9, &mut |begin, end, depth| runs.push((begin, end, depth)));
        assert_eq!(runs, [(0, 9, 0)]);
    }
}
