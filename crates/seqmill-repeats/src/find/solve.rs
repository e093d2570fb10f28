//! What seeds give: their extensions and the spans of their copies.

use super::Element;
use crate::batch::{BatchSeed, CandidateBatch, Pools};
use crate::extend::lanes::{Kernel, LANES};
use crate::extend::{Aligner, Context, Copy_, Direction, Grower, Scoring, Side, Task, Tasks};
use crate::mask::Mask;
use crate::pool::Pooled;
use seqmill_base::Lease;
use std::ops::Range;
use std::sync::Arc;

/// Columns that a batch holds beyond those of one seed; the seeds behind are not worked out.
const COLUMNS_BYTES: usize = 1 << 16;
/// Alignments of one piece of the work on a large seed.
const ALIGNED_TOGETHER: usize = 4;

/// What a seed gives as long as its occurrences are the same.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Outcome<'o> {
    /// The consensus to the right and to the left.
    pub(crate) columns: [&'o [u8]; 2],
    /// One for every copy, in order.
    pub(crate) spans: &'o [Element],
}

/// Where the outcome of a seed of a batch lies.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Solved {
    /// The occurrences it was made from; 0 if it was not worked out.
    copies: u32,
    /// Ends of the columns to the right, and of those to the left behind them.
    columns: [u32; 3],
    /// Its first span.
    spans: u32,
}

/// What became of a batch.
#[derive(Debug)]
pub(crate) struct SolvedBatch {
    pub(crate) solved: Pooled<Solved>,
    columns: Pooled<u8>,
    spans: Pooled<Element>,
    pub(crate) lease: Lease,
}

impl SolvedBatch {
    /// The outcome of the `i`th seed and the number of copies it was made from.
    pub(crate) fn outcome(&self, i: usize) -> Option<(u32, Outcome<'_>)> {
        let solved = self.solved.get(i).filter(|solved| solved.copies > 0)?;
        let [from, middle, end] = solved.columns.map(|at| at as usize);
        let (spans, copies) = (solved.spans as usize, solved.copies as usize);
        let columns = [&self.columns[from..middle], &self.columns[middle..end]];
        Some((solved.copies, Outcome { columns, spans: &self.spans[spans..spans + copies] }))
    }
}

/// What there is to do.
#[derive(Debug)]
pub(crate) enum Job {
    /// Seeds, each by itself.
    Batch(CandidateBatch),
    /// One direction of a large seed.
    Grow(Arc<Large>, Direction),
    /// Some alignments of a large seed.
    Align(Arc<Large>, Range<usize>),
}

/// What was done.
#[derive(Debug)]
pub(crate) enum Done {
    Batch(SolvedBatch),
    Columns(Pooled<u8>),
    Sides(Pooled<CopySide>),
}

/// A side of a copy that was aligned: its number, the side, and how far it goes.
pub(crate) type CopySide = (u32, Direction, Side);

/// What all threads read of a large seed that they work on.
#[derive(Debug, Default)]
pub(crate) struct Large {
    copies: Vec<Copy_>,
    columns: [Vec<u8>; 2],
    tasks: Vec<Task>,
}

/// Memory for large seeds, one after the other.
#[derive(Debug, Default)]
pub(super) struct Together {
    large: Arc<Large>,
    columns: [Vec<u8>; 2],
    sides: Vec<[Side; 2]>,
    spans: Vec<Element>,
}

/// What all workers read.
#[derive(Clone, Copy)]
pub(crate) struct Sight<'a> {
    pub(crate) context: Context<'a>,
    pub(crate) masked: &'a Mask,
    pub(crate) min_frequency: u32,
    pub(crate) pools: &'a Pools,
}

/// Memory and kernels of one thread.
#[derive(Debug)]
pub(crate) struct Worker {
    grower: Grower,
    aligner: Aligner,
    tasks: Tasks,
    copies: Vec<Copy_>,
    sides: Vec<[Side; 2]>,
    spans: Vec<Element>,
}

impl Worker {
    pub(crate) fn new(kernel: Kernel) -> Self {
        Self {
            grower: Grower::new(kernel),
            aligner: Aligner::new(kernel),
            tasks: Tasks::default(),
            copies: Vec::new(),
            sides: Vec::new(),
            spans: Vec::new(),
        }
    }

    /// Bytes for seeds of so many copies.
    pub(crate) fn bytes_for(scoring: &Scoring, copies: usize) -> u64 {
        let each = size_of::<Copy_>() + size_of::<[Side; 2]>() + size_of::<Element>() + 40;
        Grower::bytes_for(scoring, copies) + (copies * each) as u64 + (1 << 14)
    }

    /// Works a seed out alone.
    pub(crate) fn solve(
        &mut self,
        context: &Context<'_>,
        list: &[u32],
        forward: usize,
    ) -> Outcome<'_> {
        self.grow(context, list, forward);
        self.align(context)
    }

    /// The first half of the work: the consensus.
    fn grow(&mut self, context: &Context<'_>, list: &[u32], forward: usize) {
        self.copies.clear();
        self.copies.extend(copies_of(list, forward));
        self.grower.both(context, &self.copies);
    }

    /// The second half: the copies along it.
    fn align(&mut self, context: &Context<'_>) -> Outcome<'_> {
        let columns = self.grower.columns();
        self.sides.clear();
        self.sides.resize(self.copies.len(), [Side::default(); 2]);
        for task in self.tasks.split(&self.copies, &context.scoring) {
            let sides = &mut self.sides;
            self.aligner.align(context, &self.copies, columns, task, |i, direction, side| {
                sides[i as usize][side_index(direction)] = side;
            });
        }
        self.spans.clear();
        self.spans.extend(spans(&context.scoring, &self.copies, &self.sides));
        Outcome { columns, spans: &self.spans }
    }

    /// Does what was sent.
    pub(crate) fn work(&mut self, sight: &Sight<'_>, job: Job) -> Done {
        match job {
            Job::Batch(batch) => Done::Batch(self.solve_batch(sight, batch)),
            Job::Grow(large, direction) => {
                let found = self.grower.one(&sight.context, &large.copies, direction);
                let mut columns = sight.pools.columns.take(found.len());
                columns.extend_from_slice(found);
                Done::Columns(columns)
            }
            Job::Align(large, range) => {
                let mut sides = sight.pools.sides.take(range.len() * LANES);
                let columns = large.columns.each_ref().map(Vec::as_slice);
                for task in &large.tasks[range] {
                    let put = |i, direction, side| sides.push((i, direction, side));
                    self.aligner.align(&sight.context, &large.copies, columns, task, put);
                }
                Done::Sides(sides)
            }
        }
    }

    /// Works out every seed of a batch whose turn comes if nothing is masked meanwhile.
    fn solve_batch(&mut self, sight: &Sight<'_>, batch: CandidateBatch) -> SolvedBatch {
        let CandidateBatch { seeds, mut positions, lease } = batch;
        let mut solved = sight.pools.solved.take(seeds.len());
        let mut columns = sight.pools.columns.take(COLUMNS_BYTES);
        let mut spans = sight.pools.spans.take(positions.len());
        let k = sight.context.scoring.k;
        for seed in seeds.iter() {
            solved.push(Solved::default());
            let (count, forward) = drop_masked(seed, &mut positions, sight.masked, k);
            let turn = count >= sight.min_frequency.max(1) && count >= seed.needed;
            if !turn || columns.len() >= COLUMNS_BYTES || sight.context.cancel.is_cancelled() {
                continue;
            }
            let from = seed.from as usize;
            let list = &positions[from..from + count as usize];
            self.grow(&sight.context, list, forward);
            // What was masked meanwhile makes the rest vain.
            if list.iter().any(|place| sight.masked.touches(*place, k)) {
                continue;
            }
            let outcome = self.align(&sight.context);
            let one = Solved { copies: count, columns: [0; 3], spans: spans.len() as u32 };
            let mut ends = [columns.len() as u32; 3];
            for (end, codes) in ends[1..].iter_mut().zip(outcome.columns) {
                columns.extend_from_slice(codes);
                *end = columns.len() as u32;
            }
            spans.extend_from_slice(outcome.spans);
            if let Some(last) = solved.last_mut() {
                *last = Solved { columns: ends, ..one };
            }
        }
        SolvedBatch { solved, columns, spans, lease }
    }
}

/// Bytes of a batch and of what becomes of it.
pub(crate) fn batch_bytes(scoring: &Scoring, seeds: usize, places: usize) -> u64 {
    let each = size_of::<BatchSeed>() + size_of::<Solved>();
    let columns = COLUMNS_BYTES + 2 * scoring.max_extend as usize;
    (seeds * each + places * (size_of::<u32>() + size_of::<Element>()) + columns) as u64
}

fn drop_masked(seed: &BatchSeed, positions: &mut [u32], masked: &Mask, k: u32) -> (u32, usize) {
    let from = seed.from as usize;
    let list = &mut positions[from..from + seed.count()];
    let (kept, forward) = masked.keep_free(list, seed.forward as usize, k);
    (kept as u32, forward)
}

fn side_index(direction: Direction) -> usize {
    usize::from(direction == Direction::Left)
}

fn copies_of(list: &[u32], forward: usize) -> impl Iterator<Item = Copy_> + '_ {
    list.iter().enumerate().map(move |(i, place)| Copy_ { place: *place, reverse: i >= forward })
}

/// Whether a seed of so many copies is worth the work of all threads.
pub(super) fn is_large(copies: usize) -> bool {
    Grower::is_large(copies)
}

impl Together {
    /// What all threads will read, to be changed: nobody has it between two pieces of work.
    fn own(&mut self) -> &mut Large {
        if Arc::get_mut(&mut self.large).is_none() {
            self.large = Arc::default();
        }
        Arc::get_mut(&mut self.large).unwrap_or_else(|| unreachable!("nobody else has a new one"))
    }

    /// Works a large seed out with all threads.
    pub(super) fn solve(
        &mut self,
        desk: &mut crate::flow::Desk<'_, Worker, Job, Done>,
        scoring: &Scoring,
        list: &[u32],
        forward: usize,
    ) {
        let large = self.own();
        large.copies.clear();
        large.copies.extend(copies_of(list, forward));
        let grow = |direction| Job::Grow(Arc::clone(&self.large), direction);
        let columns = &mut self.columns;
        desk.together([Direction::Right, Direction::Left].map(grow), |i, done| {
            if let Done::Columns(found) = done {
                columns[i].clone_from(&found);
            }
        });
        let columns = std::mem::take(&mut self.columns);
        let large = self.own();
        // What the seed before left is memory for the next one.
        let old = std::mem::replace(&mut large.columns, columns);
        large.tasks.clear();
        large.tasks.extend_from_slice(desk.own().tasks.split(&large.copies, scoring));
        let (count, copies) = (large.tasks.len(), large.copies.len());
        self.columns = old;
        self.sides.clear();
        self.sides.resize(copies, [Side::default(); 2]);
        let (large, all) = (&self.large, &mut self.sides);
        let ranges = (0..count).step_by(ALIGNED_TOGETHER);
        let align = |from| Job::Align(Arc::clone(large), from..count.min(from + ALIGNED_TOGETHER));
        desk.together(ranges.map(align), |_, done| {
            if let Done::Sides(found) = done {
                for (i, direction, side) in found.iter() {
                    all[*i as usize][side_index(*direction)] = *side;
                }
            }
        });
        self.spans.clear();
        self.spans.extend(spans(scoring, &self.large.copies, &self.sides));
    }

    /// What the last seed gave.
    pub(super) fn outcome(&self) -> Outcome<'_> {
        Outcome { columns: self.large.columns.each_ref().map(Vec::as_slice), spans: &self.spans }
    }
}

fn spans<'s>(
    scoring: &Scoring,
    copies: &'s [Copy_],
    sides: &'s [[Side; 2]],
) -> impl Iterator<Item = Element> + 's {
    let (k, reprise) = (scoring.k as i32, scoring.reprise);
    copies.iter().zip(sides).map(move |(copy, sides)| span(*copy, *sides, k, reprise))
}

/// Where a copy begins and ends (specification 9).
pub(crate) fn span(copy: Copy_, [right, left]: [Side; 2], k: i32, reprise: bool) -> Element {
    let reach = |side: Side| side.column + side.offset;
    // How far it goes beyond its first base to the right (inclusive) and to the left (exclusive).
    // A side that never scored ends at the edge of the seed; without a right side nothing of the
    // seed itself is left.
    let scored = |side: Side| side.best > 0;
    let (to_right, to_left) = if reprise {
        (reach(right), reach(left) + 1)
    } else {
        let to_right = if scored(right) { reach(right) } else { -1 };
        (to_right, if scored(left) { reach(left) + 1 } else { 0 })
    };
    let (start, end) =
        if copy.reverse { (k - 1 - to_right, k - 1 + to_left) } else { (-to_left, to_right) };
    let columns =
        [left, right].map(|side| if scored(side) { side.column.unsigned_abs() + 1 } else { 0 });
    Element {
        place: copy.place,
        start,
        end,
        reverse: copy.reverse,
        score: right.best + left.best,
        columns,
        anchor: 0,
        annotated: false,
    }
}
