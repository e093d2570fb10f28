//! The main loop: the best seed becomes a family or not, what it covers is masked, and so on.
//!
//! The outcome of a seed depends on the text and on which of its occurrences are not masked yet,
//! on nothing else. Several seeds at the head of the queue are therefore worked out at once; when
//! its turn comes an outcome counts only if the seed still has exactly the occurrences it was made
//! from, so the result is that of one seed after the other.

mod ahead;
mod queue;
mod solve;

use crate::batch::Pipe;
use crate::flow::Desk;
use crate::mask::Mask;
use crate::options::Parameters;
use crate::rank::{Ranking, Seed};
use ahead::Window;
use queue::{Queue, Waiting};
use seqmill_base::{Job, Result};
use serde::{Deserialize, Serialize};
pub(crate) use solve::{CopySide, Done, Job as Work, Sight, Solved, Worker, span};
use solve::{Outcome, Together};
use std::sync::Arc;

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
    pub masked: Arc<Mask>,
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

/// The desk of the loop.
pub(crate) type Bench<'d> = Desk<'d, Worker, Work, Done>;

/// The loop while it runs.
pub(crate) struct Finder<'a> {
    sight: Sight<'a>,
    parameters: &'a Parameters,
    seeds: &'a mut [Seed],
    positions: &'a mut [u32],
    queue: Queue,
    window: Window<'a>,
    together: Together,
    state: LoopState,
}

/// What a seed gave: worked out ahead, or now.
enum Given {
    Ahead(usize),
    Now,
    Together,
}

impl<'a> Finder<'a> {
    /// A loop over the seeds that `state` says are waiting.
    pub(crate) fn new(
        sight: Sight<'a>,
        parameters: &'a Parameters,
        ranking: &'a mut Ranking,
        pipe: Pipe<'a>,
        mut state: LoopState,
    ) -> Self {
        let queue = Queue::new(std::mem::take(&mut state.waiting));
        Self {
            sight,
            parameters,
            seeds: &mut ranking.seeds,
            positions: &mut ranking.positions,
            queue,
            window: Window::new(pipe),
            together: Together::default(),
            state,
        }
    }

    /// What there is so far.
    pub(crate) fn state(&self) -> &LoopState {
        &self.state
    }

    /// Every seed that waits.
    pub(crate) fn waiting(&self) -> Vec<(u32, u64, u32)> {
        self.queue.iter().chain(self.window.waiting()).map(Waiting::parts).collect()
    }

    /// Ends the loop.
    pub(crate) fn finish(self) -> (LoopState, crate::flow::FlowFigures) {
        (self.state, self.window.figures())
    }

    /// Seeds that have not been tried.
    pub(crate) fn seeds_left(&self) -> usize {
        self.queue.len() + self.window.len()
    }

    /// Takes the next seed; false when the loop is over.
    pub(crate) fn step(&mut self, desk: &mut Bench<'_>, job: &Job) -> Result<bool> {
        if self.state.families.len() as u64 >= self.parameters.max_families {
            return Ok(false);
        }
        loop {
            job.cancel.check()?;
            if desk.threads() > 1 {
                let (seeds, positions) = (&*self.seeds, &*self.positions);
                let scoring = &self.sight.context.scoring;
                self.window.fill(desk, &mut self.queue, scoring, seeds, positions)?;
            }
            let Some((waiting, prepared)) = self.pop(desk)? else { return Ok(false) };
            let copies = self.filter(waiting.seed);
            let next = self.next_count();
            if next.is_none_or(|next| copies >= next) {
                if copies < self.parameters.min_frequency {
                    return Ok(false);
                }
                if let Err(error) = self.accept(desk, waiting.seed, copies, prepared, job) {
                    // It has not had its turn; whoever goes on must find it in the queue.
                    self.queue.push(waiting);
                    return Err(error);
                }
                return Ok(true);
            }
            self.state.figures.requeued += 1;
            self.state.figures.ahead_wasted += self.window.waste(prepared);
            if copies >= self.parameters.min_frequency {
                self.queue.push(Waiting { count: copies, ..waiting });
            }
        }
    }

    /// The best waiting seed, with its place among those worked out ahead.
    fn pop(&mut self, desk: &mut Bench<'_>) -> Result<Option<(Waiting, Option<usize>)>> {
        let from_queue = match (self.window.front(), self.queue.peek()) {
            (Some(ahead), Some(top)) => top > ahead,
            (Some(_), None) => false,
            (None, _) => true,
        };
        if from_queue {
            return Ok(self.queue.pop().map(|waiting| (waiting, None)));
        }
        self.window.pop(desk)
    }

    /// The count at the head of the queue.
    fn next_count(&self) -> Option<u32> {
        self.window.front().max(self.queue.peek()).map(|w| w.count)
    }

    /// Drops the masked occurrences of a seed; how many are left.
    fn filter(&mut self, seed: u32) -> u32 {
        let seed = &mut self.seeds[seed as usize];
        let from = usize::try_from(seed.offset).unwrap_or(usize::MAX);
        let all = seed.forward as usize + seed.reverse as usize;
        let list = &mut self.positions[from..from + all];
        let (masked, k) = (&self.state.masked, self.sight.context.scoring.k);
        let (kept, forward) = masked.keep_free(list, seed.forward as usize, k);
        seed.forward = forward as u32;
        seed.reverse = (kept - forward) as u32;
        kept as u32
    }

    fn accept(
        &mut self,
        desk: &mut Bench<'_>,
        seed: u32,
        copies: u32,
        prepared: Option<usize>,
        job: &Job,
    ) -> Result<()> {
        self.state.figures.extended += 1;
        let seed = self.seeds[seed as usize];
        let from = usize::try_from(seed.offset).unwrap_or(usize::MAX);
        let list = &self.positions[from..from + copies as usize];
        let forward = seed.forward as usize;
        let context = &self.sight.context;
        let given = if let Some(i) = self.window.made_from(prepared, copies) {
            self.state.figures.ahead_used += 1;
            Given::Ahead(i)
        } else {
            self.state.figures.ahead_wasted += self.window.waste(prepared);
            if desk.threads() > 1 && solve::is_large(copies as usize) {
                self.together.solve(desk, &context.scoring, list, forward);
                Given::Together
            } else {
                Given::Now
            }
        };
        let state = &mut self.state;
        let record = Record { sight: &self.sight, parameters: self.parameters, seed: &seed };
        let outcome = match given {
            Given::Ahead(i) => self.window.outcome(i),
            Given::Now => Some(desk.own().solve(context, list, forward)),
            Given::Together => Some(self.together.outcome()),
        };
        // A cancelled extension is not a result.
        job.cancel.check()?;
        if let Some(outcome) = outcome {
            record.apply(state, copies, outcome);
        }
        Ok(())
    }
}

/// Puts what a seed gave into the state.
struct Record<'r> {
    sight: &'r Sight<'r>,
    parameters: &'r Parameters,
    seed: &'r Seed,
}

impl Record<'_> {
    /// Masks what the copies cover, and reports the family if it is one.
    fn apply(&self, state: &mut LoopState, copies: u32, outcome: Outcome<'_>) {
        let text = self.sight.context.text;
        let parameters = self.parameters;
        let [right, left] = outcome.columns;
        let long = right.len() + left.len() >= parameters.min_length as usize;
        let from = state.elements.len();
        for element in outcome.spans {
            let record = &text.records()[text.record_of(element.place)];
            let first = element.first().max(i64::from(record.start));
            let behind = element.behind().min(i64::from(record.end()));
            if first < behind {
                state.masked.set(first as u32, behind as u32);
            }
            if long && element.end >= element.start && element.length() >= parameters.min_length {
                state.elements.push(Element { anchor: left.len() as u32, ..*element });
            }
        }
        let found = state.elements.len() - from;
        let rare = found < parameters.min_frequency as usize;
        if !long || (rare && !parameters.reprise() && !parameters.keep_rare) {
            state.elements.truncate(from);
            return;
        }
        for element in &state.elements[from..] {
            let record = &text.records()[text.record_of(element.place)];
            let first = element.first().max(i64::from(record.start));
            let behind = element.behind().min(i64::from(record.end()));
            if first < behind {
                state.covered.set(first as u32, behind as u32);
            }
        }
        state.families.push(Family {
            seed: self.seed.kmer,
            copies,
            consensus: left.iter().rev().chain(right).copied().collect(),
            left: left.len() as u32,
            elements_from: from as u64,
            elements: found as u32,
        });
    }
}
