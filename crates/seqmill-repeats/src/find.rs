//! The main loop: the best seed becomes a family or not, what it covers is masked, and so on.
//!
//! The outcome of a seed depends on the text and on which of its occurrences are not masked yet,
//! on nothing else. Several seeds at the head of the queue are therefore worked out at once; when
//! its turn comes an outcome counts only if the seed still has exactly the occurrences it was made
//! from, so the result is that of one seed after the other.

mod queue;
mod solve;

use crate::extend::{Context, Extension};
use crate::mask::Mask;
use crate::options::Parameters;
use crate::rank::{Ranking, Seed};
use queue::{Queue, Waiting};
use seqmill_base::{Job, Result};
use serde::{Deserialize, Serialize};
pub(crate) use solve::{Outcome, Worker, span};
use std::collections::VecDeque;

/// A family of repeats.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Family {
    /// Its seed.
    pub seed: u64,
    /// Copies of the seed that it was made from.
    pub copies: u32,
    /// Codes of the consensus.
    pub consensus: Vec<u8>,
    /// Columns to the left of the seed.
    pub left: u32,
    /// Where its elements begin in the list of all.
    pub elements_from: u64,
    /// How many elements it has.
    pub elements: u32,
}

/// A copy that is long enough to be reported.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Element {
    /// Where the window of the seed starts.
    pub place: u32,
    /// First position, relative to `place`.
    pub start: i32,
    /// Last position, relative to `place`.
    pub end: i32,
    /// Whether it lies on the reverse strand.
    pub reverse: bool,
    /// Sum of the best scores of both sides.
    pub score: i32,
    /// Columns that agree on the left and on the right, counted from the anchor.
    pub columns: [u32; 2],
    /// The column of the consensus that the first base of the seed stands for.
    pub anchor: u32,
    /// Whether it was found by its likeness to a finished consensus rather than by a seed.
    pub annotated: bool,
}

impl Element {
    /// Its length.
    pub fn length(&self) -> u32 {
        (self.end - self.start + 1).max(0).unsigned_abs()
    }

    /// Its first position in the text.
    pub fn first(&self) -> i64 {
        i64::from(self.place) + i64::from(self.start)
    }

    /// The position behind it.
    pub fn behind(&self) -> i64 {
        i64::from(self.place) + i64::from(self.end) + 1
    }
}

/// What the main loop did.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoopFigures {
    /// Seeds that were extended.
    pub extended: u64,
    /// Seeds that went back into the queue with fewer occurrences.
    pub requeued: u64,
    /// Outcomes that were worked out ahead and counted.
    pub ahead_used: u64,
    /// Outcomes that were worked out ahead in vain.
    pub ahead_wasted: u64,
}

/// Everything that the rest of the loop depends on, apart from the genome and the ranking.
#[derive(Debug, Default)]
pub struct LoopState {
    /// What is not to be used again.
    pub masked: Mask,
    /// What elements of families cover.
    pub covered: Mask,
    /// The families so far.
    pub families: Vec<Family>,
    /// Their elements.
    pub elements: Vec<Element>,
    /// Figures so far.
    pub figures: LoopFigures,
    /// Count, k-mer and number of every seed that waits.
    pub waiting: Vec<(u32, u64, u32)>,
}

/// Fewest and most seeds that are worked out at a time.
const AHEAD: [usize; 2] = [2, 1024];
/// Most copies of the seeds that are worked out at a time.
const AHEAD_COPIES: u64 = 1 << 15;

/// The loop while it runs.
pub(crate) struct Finder<'a> {
    context: Context<'a>,
    parameters: &'a Parameters,
    seeds: &'a mut [Seed],
    positions: &'a mut [u32],
    queue: Queue,
    ahead: VecDeque<Ahead>,
    ahead_size: usize,
    wasted: usize,
    workers: &'a mut [Worker],
    state: LoopState,
}

/// A seed at the head of the queue, perhaps with its outcome.
struct Ahead {
    waiting: Waiting,
    copies: u32,
    outcome: Option<Outcome>,
}

impl<'a> Finder<'a> {
    /// A loop over all seeds of a ranking, or over those that `state` says are waiting.
    pub(crate) fn new(
        context: Context<'a>,
        parameters: &'a Parameters,
        ranking: &'a mut Ranking,
        workers: &'a mut [Worker],
        mut state: LoopState,
        fresh: bool,
    ) -> Self {
        if fresh {
            let seeds = (0..).zip(&ranking.seeds);
            state.waiting = seeds.map(|(i, seed)| (seed.count, seed.kmer, i)).collect();
        }
        let queue = Queue::new(std::mem::take(&mut state.waiting));
        Self {
            context,
            parameters,
            seeds: &mut ranking.seeds,
            positions: &mut ranking.positions,
            queue,
            ahead: VecDeque::new(),
            ahead_size: AHEAD[0],
            wasted: 0,
            workers,
            state,
        }
    }

    /// What there is so far.
    pub(crate) fn state(&self) -> &LoopState {
        &self.state
    }

    /// Every seed that waits.
    pub(crate) fn waiting(&self) -> Vec<(u32, u64, u32)> {
        self.queue.iter().chain(self.ahead.iter().map(|a| a.waiting)).map(Waiting::parts).collect()
    }

    /// Ends the loop.
    pub(crate) fn finish(self) -> LoopState {
        self.state
    }

    /// Seeds that have not been tried.
    pub(crate) fn seeds_left(&self) -> usize {
        self.queue.len() + self.ahead.len()
    }

    /// Takes the next seed; false when the loop is over.
    pub(crate) fn step(&mut self, job: &Job) -> Result<bool> {
        if self.state.families.len() as u64 >= self.parameters.max_families {
            return Ok(false);
        }
        loop {
            job.cancel.check()?;
            let Some((waiting, prepared)) = self.pop() else { return Ok(false) };
            let copies = self.filter(waiting.seed);
            let next = self.next_count();
            if next.is_none_or(|next| copies >= next) {
                if copies < self.parameters.min_frequency {
                    return Ok(false);
                }
                if let Err(error) = self.accept(waiting.seed, copies, prepared, job) {
                    // It has not had its turn; whoever goes on must find it in the queue.
                    self.queue.push(waiting);
                    return Err(error);
                }
                return Ok(true);
            }
            self.state.figures.requeued += 1;
            if let Some(prepared) = prepared
                && prepared.outcome.is_some()
            {
                self.waste();
            }
            if copies >= self.parameters.min_frequency {
                self.queue.push(Waiting { count: copies, ..waiting });
            }
        }
    }

    fn waste(&mut self) {
        self.wasted += 1;
        self.state.figures.ahead_wasted += 1;
    }

    /// The best waiting seed, with what was worked out ahead.
    fn pop(&mut self) -> Option<(Waiting, Option<Ahead>)> {
        if self.ahead.is_empty() && self.workers.len() > 1 {
            self.look_ahead();
        }
        let from_queue = match (self.ahead.front(), self.queue.peek()) {
            (Some(ahead), Some(top)) => top > ahead.waiting,
            (Some(_), None) => false,
            (None, _) => true,
        };
        if from_queue {
            return self.queue.pop().map(|waiting| (waiting, None));
        }
        self.ahead.pop_front().map(|ahead| (ahead.waiting, Some(ahead)))
    }

    /// The count at the head of the queue.
    fn next_count(&self) -> Option<u32> {
        let ahead = self.ahead.front().map(|a| a.waiting.count);
        ahead.max(self.queue.peek().map(|w| w.count))
    }

    /// Drops the masked occurrences of a seed; how many are left.
    fn filter(&mut self, seed: u32) -> u32 {
        let k = self.context.scoring.k;
        let masked = &self.state.masked;
        let seed = &mut self.seeds[seed as usize];
        let from = usize::try_from(seed.offset).unwrap_or(usize::MAX);
        let all = seed.forward as usize + seed.reverse as usize;
        let list = &mut self.positions[from..from + all];
        let (mut kept, mut forward) = (0, 0);
        for i in 0..all {
            if i == seed.forward as usize {
                forward = kept;
            }
            let place = list[i];
            if !masked.touches(place, k) {
                list[kept] = place;
                kept += 1;
            }
        }
        if all == seed.forward as usize {
            forward = kept;
        }
        seed.forward = forward as u32;
        seed.reverse = (kept - forward) as u32;
        kept as u32
    }

    /// Takes seeds from the queue and works out what they would give now.
    fn look_ahead(&mut self) {
        let [least, most] = AHEAD;
        let grown = if self.wasted * 8 <= self.ahead_size { 2 } else { 1 };
        self.ahead_size = if self.wasted * 4 > self.ahead_size {
            (self.ahead_size / 4).max(least)
        } else {
            (self.ahead_size * grown).min(most)
        };
        self.wasted = 0;
        let mut sum = 0;
        while self.ahead.len() < self.ahead_size && sum < AHEAD_COPIES {
            let Some(waiting) = self.queue.pop() else { break };
            let copies = self.filter(waiting.seed);
            sum += u64::from(copies);
            self.ahead.push_back(Ahead { waiting, copies, outcome: None });
        }
        let next = |i: usize| self.ahead.get(i + 1).map_or(0, |a| a.waiting.count);
        let likely: Vec<usize> = (0..self.ahead.len())
            .filter(|i| {
                let copies = self.ahead[*i].copies;
                copies >= self.parameters.min_frequency && copies >= next(*i)
            })
            .collect();
        let (context, parameters) = (&self.context, self.parameters);
        let (seeds, positions, ahead) = (&*self.seeds, &*self.positions, &self.ahead);
        let outcomes = crate::crew::each(self.workers, likely.len(), |worker, task| {
            let seed = &seeds[ahead[likely[task]].waiting.seed as usize];
            worker.solve(context, parameters, seed, positions)
        });
        for (i, outcome) in likely.into_iter().zip(outcomes) {
            self.ahead[i].outcome = Some(outcome);
        }
    }

    fn accept(&mut self, seed: u32, copies: u32, prepared: Option<Ahead>, job: &Job) -> Result<()> {
        self.state.figures.extended += 1;
        let seed = self.seeds[seed as usize];
        let outcome = match prepared {
            Some(Ahead { copies: then, outcome: Some(outcome), .. }) if then == copies => {
                self.state.figures.ahead_used += 1;
                outcome
            }
            other => {
                if other.is_some_and(|ahead| ahead.outcome.is_some()) {
                    self.waste();
                }
                solve::together(self.workers, &self.context, self.parameters, &seed, self.positions)
            }
        };
        // A cancelled extension is not a result.
        job.cancel.check()?;
        self.apply(&seed, copies, &outcome);
        Ok(())
    }

    /// Masks what the copies cover, and reports the family if it is one.
    fn apply(&mut self, seed: &Seed, copies: u32, outcome: &Outcome) {
        let text = self.context.text;
        let parameters = self.parameters;
        let [right, left] = &outcome.extensions;
        let long = right.columns.len() + left.columns.len() >= parameters.min_length as usize;
        let from = self.state.elements.len();
        for element in &outcome.spans {
            let record = &text.records()[text.record_of(element.place)];
            let first = element.first().max(i64::from(record.start));
            let behind = element.behind().min(i64::from(record.end()));
            if first < behind {
                self.state.masked.set(first as u32, behind as u32);
            }
            if long && element.end >= element.start && element.length() >= parameters.min_length {
                let anchor = left.columns.len() as u32;
                self.state.elements.push(Element { anchor, ..*element });
            }
        }
        let found = self.state.elements.len() - from;
        let rare = found < parameters.min_frequency as usize;
        if !long || (rare && !parameters.reprise() && !parameters.keep_rare) {
            self.state.elements.truncate(from);
            return;
        }
        for element in &self.state.elements[from..] {
            let record = &text.records()[text.record_of(element.place)];
            let first = element.first().max(i64::from(record.start));
            let behind = element.behind().min(i64::from(record.end()));
            if first < behind {
                self.state.covered.set(first as u32, behind as u32);
            }
        }
        self.state.families.push(Family {
            seed: seed.kmer,
            copies,
            consensus: consensus(right, left),
            left: left.columns.len() as u32,
            elements_from: from as u64,
            elements: found as u32,
        });
    }
}

fn consensus(right: &Extension, left: &Extension) -> Vec<u8> {
    left.columns.iter().rev().chain(&right.columns).copied().collect()
}
