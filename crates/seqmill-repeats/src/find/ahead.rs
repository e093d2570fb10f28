//! Seeds that are worked out ahead of their turn, in batches on all threads.

use super::queue::{Queue, Waiting};
use super::solve::{self, Outcome, SolvedBatch};
use super::{Bench, Done, Work};
use crate::batch::{BatchSeed, CandidateBatch, Pipe};
use crate::extend::Scoring;
use crate::flow::FlowFigures;
use crate::rank::Seed;
use seqmill_base::{Error, Result};
use std::collections::VecDeque;

/// Fewest and most seeds that are worked out ahead.
const AHEAD: [usize; 2] = [2, 2048];
/// Most copies of the seeds that are worked out ahead.
const AHEAD_COPIES: u64 = 1 << 16;

/// The seeds that were taken from the queue ahead of their turn, in its order.
pub(super) struct Window<'p> {
    pipe: Pipe<'p>,
    ahead: VecDeque<Waiting>,
    /// Copies of the seeds ahead: of all, and of each batch.
    copies: u64,
    batches: VecDeque<u64>,
    /// How many may be ahead now: more as long as little is in vain.
    size: usize,
    /// The batch at hand and the next of its seeds.
    batch: Option<SolvedBatch>,
    next: usize,
    /// Seeds since the size was set, and those of them that were worked out in vain.
    handled: usize,
    wasted: usize,
}

impl<'p> Window<'p> {
    pub(super) fn new(pipe: Pipe<'p>) -> Self {
        Self {
            pipe,
            ahead: VecDeque::new(),
            copies: 0,
            batches: VecDeque::new(),
            size: AHEAD[0],
            batch: None,
            next: 0,
            handled: 0,
            wasted: 0,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.ahead.len()
    }

    pub(super) fn figures(&self) -> FlowFigures {
        self.pipe.gauge.figures
    }

    pub(super) fn waiting(&self) -> impl Iterator<Item = Waiting> + '_ {
        self.ahead.iter().copied()
    }

    /// The first of the seeds ahead.
    pub(super) fn front(&self) -> Option<Waiting> {
        self.ahead.front().copied()
    }

    /// Sends batches of the next seeds as long as there is room.
    pub(super) fn fill(
        &mut self,
        desk: &mut Bench<'_>,
        queue: &mut Queue,
        scoring: &Scoring,
        seeds: &[Seed],
        positions: &[u32],
    ) -> Result<()> {
        let pieces = 2 * desk.threads();
        let batch_size = (self.size / pieces).clamp(1, self.pipe.options.batch_size.max(1));
        // All threads work on a large seed, and what is like it would be worked out in vain meanwhile.
        while queue.peek().is_some_and(|next| !solve::is_large(next.count as usize))
            && self.ahead.len() + batch_size <= self.size
            && self.copies < AHEAD_COPIES
            && self.pipe.is_open()
        {
            if !self.send(desk, queue, scoring, (seeds, positions), batch_size)? {
                break;
            }
        }
        Ok(())
    }

    /// Sends one batch; false if there is nothing to send or it has to wait.
    fn send(
        &mut self,
        desk: &mut Bench<'_>,
        queue: &mut Queue,
        scoring: &Scoring,
        (seeds, positions): (&[Seed], &[u32]),
        batch_size: usize,
    ) -> Result<bool> {
        let pools = self.pipe.pools;
        let mut own = pools.seeds.take(batch_size);
        let before = self.ahead.len();
        let mut places = 0;
        while own.len() < batch_size && self.copies + places < AHEAD_COPIES {
            let Some(waiting) = queue.pop_behind(self.ahead.back().copied()) else { break };
            let seed = &seeds[waiting.seed as usize];
            let needed = queue.peek().map_or(0, |next| next.count.min(waiting.count));
            own.push(BatchSeed {
                number: waiting.seed,
                from: places as u32,
                forward: seed.forward,
                reverse: seed.reverse,
                needed,
            });
            places += u64::from(seed.forward) + u64::from(seed.reverse);
            self.ahead.push_back(waiting);
        }
        if own.is_empty() {
            return Ok(false);
        }
        let count = usize::try_from(places).unwrap_or(usize::MAX);
        let bytes = solve::batch_bytes(scoring, own.len(), count);
        let Some(lease) = self.pipe.reserve(bytes)? else {
            self.ahead.drain(before..).for_each(|waiting| queue.push(waiting));
            return Ok(false);
        };
        let mut lists = pools.positions.take(count);
        for seed in own.iter() {
            let from = usize::try_from(seeds[seed.number as usize].offset).unwrap_or(usize::MAX);
            lists.extend_from_slice(&positions[from..from + seed.count()]);
        }
        self.copies += places;
        self.batches.push_back(places);
        self.pipe.sent(own.len(), bytes);
        desk.send(Work::Batch(CandidateBatch { seeds: own, positions: lists, lease }));
        Ok(true)
    }

    /// Takes the first seed and its place in the batch at hand.
    pub(super) fn pop(&mut self, desk: &mut Bench<'_>) -> Result<Option<(Waiting, Option<usize>)>> {
        let done = self.batch.as_ref().is_none_or(|batch| self.next >= batch.solved.len());
        if done {
            self.settle();
            match desk.take() {
                Some(Done::Batch(batch)) => self.batch = Some(batch),
                _ => return Err(Error::internal("a worker is gone")),
            }
        }
        let Some(waiting) = self.ahead.pop_front() else { return Ok(None) };
        self.next += 1;
        Ok(Some((waiting, Some(self.next - 1))))
    }

    /// Lets go of the batch at hand and sets how far to look ahead.
    fn settle(&mut self) {
        let Some(batch) = self.batch.take() else { return };
        self.pipe.taken(batch.lease.bytes());
        self.copies -= self.batches.pop_front().unwrap_or(0);
        self.handled += batch.solved.len();
        self.next = 0;
        let [least, most] = AHEAD;
        if self.wasted * 4 > self.size {
            self.size = (self.size / 4).max(least);
        } else if self.handled < self.size {
            return;
        } else if self.wasted * 8 <= self.size {
            self.size = (self.size * 2).min(most);
        }
        (self.handled, self.wasted) = (0, 0);
    }

    /// The place of an outcome if it was made from so many copies.
    pub(super) fn made_from(&self, prepared: Option<usize>, copies: u32) -> Option<usize> {
        prepared.filter(|i| {
            let outcome = self.batch.as_ref().and_then(|batch| batch.outcome(*i));
            outcome.is_some_and(|(then, _)| then == copies)
        })
    }

    /// An outcome.
    pub(super) fn outcome(&self, i: usize) -> Option<Outcome<'_>> {
        self.batch.as_ref()?.outcome(i).map(|(_, outcome)| outcome)
    }

    /// Notes that a seed was not used as it was worked out; 1 if it was worked out at all.
    pub(super) fn waste(&mut self, prepared: Option<usize>) -> u64 {
        let known = prepared.is_some_and(|i| self.outcome(i).is_some());
        self.wasted += usize::from(known);
        u64::from(known)
    }
}
