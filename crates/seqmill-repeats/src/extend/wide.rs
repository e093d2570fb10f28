//! The recurrences with whole 32-bit scores, one copy after the other, word by word.
//!
//! For parameters that 16 bits cannot hold; the tests hold the vectors against it.

use super::align::Side;
use super::{Context, Extension, Lane, NEG, Progress, Scoring};

/// The three rows of one copy.
#[derive(Clone)]
struct Rows {
    diagonal: Vec<i32>,
    insert: Vec<i32>,
    delete: Vec<i32>,
}

impl Rows {
    fn start(scoring: &Scoring) -> Self {
        let (band, middle) = (scoring.band(), scoring.max_gap as usize);
        let mut rows =
            Self { diagonal: vec![NEG; band], insert: vec![NEG; band], delete: vec![NEG; band] };
        rows.diagonal[middle] = 0;
        for (i, cell) in (0..).zip(&mut rows.delete[middle + 1..]) {
            *cell = scoring.gap_open + scoring.gap_extend * i;
        }
        rows
    }

    fn high(&self, o: usize) -> i32 {
        self.diagonal[o].max(self.insert[o]).max(self.delete[o])
    }

    /// The best cell a column of each base would give, as far as it can be the largest sum.
    fn trial(&self, scoring: &Scoring, letters: &[u8]) -> [i32; 4] {
        let mut best = [NEG; 4];
        for (o, letter) in letters.iter().enumerate() {
            let high = self.high(o);
            for (base, best) in (0..).zip(&mut best) {
                let score = if *letter == base { scoring.matching } else { scoring.mismatch };
                *best = (*best).max(high + score);
            }
        }
        for o in 0..letters.len() - 1 {
            let insert = self.inserted(scoring, o);
            best = best.map(|best| best.max(insert));
        }
        best
    }

    fn inserted(&self, scoring: &Scoring, o: usize) -> i32 {
        (self.diagonal[o + 1] + scoring.gap_open).max(self.insert[o + 1] + scoring.gap_extend)
    }

    /// Takes a column of the consensus; `edge` is what the cells outside the band hold.
    fn step(&mut self, scoring: &Scoring, letters: &[u8], base: u8, edge: i32) {
        let band = letters.len();
        for (o, letter) in letters.iter().enumerate() {
            let score = if *letter == base { scoring.matching } else { scoring.mismatch };
            // Both look at cells of the column before, at this offset and the next.
            let high = self.high(o);
            self.insert[o] = if o + 1 < band { self.inserted(scoring, o) } else { edge };
            self.diagonal[o] = high + score;
        }
        self.delete[0] = edge;
        for o in 1..band {
            self.delete[o] = (self.diagonal[o - 1] + scoring.gap_open)
                .max(self.delete[o - 1] + scoring.gap_extend);
        }
    }

    fn best(&self) -> i32 {
        (0..self.diagonal.len()).map(|o| self.high(o)).fold(NEG, i32::max)
    }
}

fn letters_at(context: &Context<'_>, lane: &Lane, x: i64, mirrored: bool, out: &mut [u8]) {
    let w = i64::from(context.scoring.max_gap);
    for (o, letter) in (-w..=w).zip(out) {
        let y = if mirrored { x - o } else { x + o };
        *letter = lane.letter(context.text, y);
    }
}

/// Extends one direction.
pub(super) fn grow(context: &Context<'_>, lanes: &[Lane]) -> Extension {
    let scoring = &context.scoring;
    let mut copies: Vec<(Rows, i32)> = lanes.iter().map(|_| (Rows::start(scoring), 0)).collect();
    let mut letters = vec![vec![0; scoring.band()]; lanes.len()];
    let mut progress = Progress::new();
    let mut columns = Vec::new();
    let mut x = 0;
    while !progress.stopped && !context.cancel.is_cancelled() {
        let mut sums = [0_i64; 4];
        for ((lane, letters), (rows, best)) in lanes.iter().zip(&mut letters).zip(&copies) {
            letters_at(context, lane, x, false, letters);
            let trial = rows.trial(scoring, letters);
            for (sum, score) in sums.iter_mut().zip(trial) {
                *sum += i64::from(score.max(best + scoring.cap_penalty).max(0));
            }
        }
        let base = first_largest(sums);
        columns.push(base);
        let left = progress.left(x, scoring);
        let (mut total, mut bounds) = (0, [0; 2]);
        for (letters, (rows, best)) in letters.iter().zip(&mut copies) {
            rows.step(scoring, letters, base, NEG);
            let score = rows.best();
            *best = score.max(*best);
            let floor = i64::from(*best + scoring.cap_penalty);
            let most = |columns: i64| {
                (i64::from(score) + columns * i64::from(scoring.matching)).max(floor)
            };
            total += most(0);
            bounds[0] += most(1);
            bounds[1] += most(left);
        }
        progress.take(x, total, bounds, scoring);
        x += 1;
    }
    columns.truncate(usize::try_from(progress.x_best + 1).unwrap_or(0));
    Extension { columns }
}

/// The base with the largest sum, the first of equals.
pub(super) fn first_largest(sums: [i64; 4]) -> u8 {
    let mut base = 0;
    for other in 1..4 {
        if sums[other] > sums[base] {
            base = other;
        }
    }
    base as u8
}

/// Aligns one copy to a finished consensus.
pub(super) fn align(
    context: &Context<'_>,
    lane: &Lane,
    columns: impl Iterator<Item = u8>,
    mirrored: bool,
) -> Side {
    let scoring = &context.scoring;
    let edge = if scoring.reprise { 0 } else { NEG };
    let mut rows = Rows::start(scoring);
    let mut letters = vec![0; scoring.band()];
    let mut side = Side { best: 0, column: 0, offset: -(scoring.max_gap as i32) };
    for (x, base) in (0..).zip(columns) {
        letters_at(context, lane, i64::from(x), mirrored, &mut letters);
        rows.step(scoring, &letters, base, edge);
        let score = rows.best();
        if score > side.best {
            let o = (0..scoring.band()).find(|o| rows.high(*o) == score).unwrap_or(0);
            side = Side { best: score, column: x, offset: o as i32 - scoring.max_gap as i32 };
        }
        if x - side.column >= scoring.stop_after as i32
            || (x % 1024 == 0 && context.cancel.is_cancelled())
        {
            break;
        }
    }
    side
}
