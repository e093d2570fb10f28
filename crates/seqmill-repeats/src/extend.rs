//! The banded recurrences: extending a consensus, and aligning copies to it.
//!
//! Both run over columns of the consensus and 2W + 1 offsets for each copy. Sixteen copies lie
//! side by side in the lanes of a vector of 16-bit scores ([`lanes`]); parameters or lengths that
//! do not fit 16 bits take the plain way ([`wide`]), with equal results.

mod align;
mod grow;
pub(crate) mod lanes;
mod letters;
mod wide;

use crate::options::Parameters;
use crate::text::Text;
pub(crate) use align::{Aligner, Side, Task, Tasks};
pub(crate) use grow::Grower;
pub(crate) use letters::Lane;
use seqmill_base::CancelToken;

/// The code of what is no base.
pub(crate) const NO_BASE: u8 = 4;
/// The reference's minus infinity.
pub(crate) const NEG: i32 = -100_000;

/// Which way from the seed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Direction {
    /// From the first base of the seed on.
    Right,
    /// From the base before the seed on.
    Left,
}

/// One occurrence of a seed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Copy_ {
    /// Where its window starts on the forward strand.
    pub(crate) place: u32,
    /// Whether it is the reverse complement of the seed.
    pub(crate) reverse: bool,
}

/// Scores and limits, checked and ready for use.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Scoring {
    pub(crate) k: u32,
    pub(crate) matching: i32,
    pub(crate) mismatch: i32,
    pub(crate) gap_open: i32,
    pub(crate) gap_extend: i32,
    pub(crate) cap_penalty: i32,
    pub(crate) max_extend: u32,
    pub(crate) max_gap: u32,
    pub(crate) stop_after: u32,
    pub(crate) min_improvement: i64,
    pub(crate) reprise: bool,
}

/// Highest score above the bias that a signed 16-bit lane can hold with room to spare.
const MOST_NARROW: i64 = 32_000;
/// A cell at the floor must not climb to where it counts.
const LEAST_NARROW: i64 = -29_000;

impl Scoring {
    pub(crate) fn new(parameters: &Parameters, k: u32) -> Self {
        Self {
            k,
            matching: parameters.matching,
            mismatch: parameters.mismatch,
            gap_open: parameters.gap_open,
            gap_extend: parameters.gap_extend,
            cap_penalty: parameters.cap_penalty,
            max_extend: parameters.max_extend,
            max_gap: parameters.max_gap,
            stop_after: parameters.stop_after,
            min_improvement: i64::from(parameters.min_improvement),
            reprise: parameters.reprise(),
        }
    }

    /// Offsets in the band.
    pub(crate) fn band(&self) -> usize {
        2 * self.max_gap as usize + 1
    }

    /// Whether 16 bits hold every score that can matter.
    pub(crate) fn is_narrow(&self) -> bool {
        let columns =
            i64::from(self.max_extend) + i64::from(self.stop_after) + i64::from(self.max_gap) + 2;
        let gain = columns * i64::from(self.matching);
        let small = [self.mismatch, self.gap_open, self.gap_extend]
            .into_iter()
            .all(|score| score >= -10_000);
        small
            && gain <= MOST_NARROW
            && LEAST_NARROW + gain < i64::from(self.cap_penalty) - 1000
            && self.cap_penalty >= -10_000
    }
}

/// What one direction of an extension gave: the columns of the consensus.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct Extension {
    /// Codes of the columns up to the best one.
    pub(crate) columns: Vec<u8>,
}

/// The state of one direction while it grows.
#[derive(Debug, Clone)]
pub(crate) struct Progress {
    total_best: i64,
    /// Column of the best total, -1 for none.
    x_best: i64,
    stopped: bool,
}

impl Progress {
    pub(crate) fn new() -> Self {
        Self { total_best: 0, x_best: -1, stopped: false }
    }

    /// Columns from `x` on until the extension stops, were there no progress any more.
    fn left(&self, x: i64, scoring: &Scoring) -> i64 {
        self.x_best + i64::from(scoring.stop_after) - x
    }

    /// Takes the total of column `x`; `bounds` are the most it can be one column further and at
    /// the last column before the stop. Between these two the bound less what is asked for is
    /// convex, so if both fall short no column can become the best one (specification 12.6).
    fn take(&mut self, x: i64, total: i64, bounds: [i64; 2], scoring: &Scoring) {
        let asked = |columns: i64| self.total_best + columns * scoring.min_improvement;
        if total >= asked(x - self.x_best) {
            self.x_best = x;
            self.total_best = total;
        } else if x - self.x_best >= i64::from(scoring.stop_after)
            || (bounds[0] < asked(x + 1 - self.x_best)
                && bounds[1] < asked(i64::from(scoring.stop_after)))
        {
            self.stopped = true;
        }
        if x + 1 >= i64::from(scoring.max_extend) {
            self.stopped = true;
        }
    }
}

/// Everything a kernel reads.
#[derive(Clone, Copy)]
pub(crate) struct Context<'a> {
    pub(crate) text: &'a Text,
    pub(crate) scoring: Scoring,
    pub(crate) cancel: &'a CancelToken,
}

#[cfg(test)]
mod tests;
