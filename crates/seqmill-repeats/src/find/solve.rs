//! What one seed gives: its extensions and the spans of its copies.

use super::Element;
use crate::crew;
use crate::extend::lanes::Kernel;
use crate::extend::{Aligner, Context, Copy_, Direction, Extension, Grower, Scoring, Side, tasks};
use crate::options::Parameters;
use crate::rank::Seed;

/// What a seed gives as long as its occurrences are the same.
#[derive(Debug)]
pub(crate) struct Outcome {
    /// Right and left.
    pub(crate) extensions: [Extension; 2],
    /// One for every copy, in order.
    pub(crate) spans: Vec<Element>,
}

/// Memory and kernels of one thread.
#[derive(Debug)]
pub(crate) struct Worker {
    grower: Grower,
    aligner: Aligner,
    copies: Vec<Copy_>,
    sides: Vec<[Side; 2]>,
}

impl Worker {
    pub(crate) fn new(kernel: Kernel) -> Self {
        Self {
            grower: Grower::new(kernel),
            aligner: Aligner::new(kernel),
            copies: Vec::new(),
            sides: Vec::new(),
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
        parameters: &Parameters,
        seed: &Seed,
        positions: &[u32],
    ) -> Outcome {
        fill_copies(seed, positions, &mut self.copies);
        let extensions = self.grower.both(context, &self.copies);
        self.sides.clear();
        self.sides.resize(self.copies.len(), [Side::default(); 2]);
        for task in tasks(&self.copies, &context.scoring) {
            let sides = &mut self.sides;
            self.aligner.align(context, &self.copies, &extensions, &task, |i, direction, side| {
                sides[i as usize][side_index(direction)] = side;
            });
        }
        let spans = spans(context, parameters, &self.copies, &self.sides);
        Outcome { extensions, spans }
    }
}

fn side_index(direction: Direction) -> usize {
    usize::from(direction == Direction::Left)
}

fn fill_copies(seed: &Seed, positions: &[u32], out: &mut Vec<Copy_>) {
    let from = usize::try_from(seed.offset).unwrap_or(usize::MAX);
    let (forward, reverse) = (seed.forward as usize, seed.reverse as usize);
    let list = &positions[from..from + forward + reverse];
    out.clear();
    let copies = list.iter().enumerate();
    out.extend(copies.map(|(i, place)| Copy_ { place: *place, reverse: i >= forward }));
}

/// Works a seed out with all threads.
pub(super) fn together(
    workers: &mut [Worker],
    context: &Context<'_>,
    parameters: &Parameters,
    seed: &Seed,
    positions: &[u32],
) -> Outcome {
    let count = seed.forward as usize + seed.reverse as usize;
    if workers.len() < 2 || !Grower::is_large(count) {
        return workers[0].solve(context, parameters, seed, positions);
    }
    let mut copies = Vec::new();
    fill_copies(seed, positions, &mut copies);
    let directions = [Direction::Right, Direction::Left];
    let mut grown = crew::each(workers, 2, |worker, task| {
        worker.grower.one(context, &copies, directions[task])
    })
    .into_iter();
    let extensions = [grown.next().unwrap_or_default(), grown.next().unwrap_or_default()];
    let tasks = tasks(&copies, &context.scoring);
    let aligned = crew::each(workers, tasks.len(), |worker, task| {
        let mut found = Vec::new();
        worker.aligner.align(context, &copies, &extensions, &tasks[task], |i, direction, side| {
            found.push((i, direction, side));
        });
        found
    });
    let mut sides = vec![[Side::default(); 2]; copies.len()];
    for (i, direction, side) in aligned.into_iter().flatten() {
        sides[i as usize][side_index(direction)] = side;
    }
    let spans = spans(context, parameters, &copies, &sides);
    Outcome { extensions, spans }
}

fn spans(
    context: &Context<'_>,
    parameters: &Parameters,
    copies: &[Copy_],
    sides: &[[Side; 2]],
) -> Vec<Element> {
    let reprise = parameters.reprise();
    let k = context.scoring.k as i32;
    copies.iter().zip(sides).map(|(copy, sides)| span(*copy, *sides, k, reprise)).collect()
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
