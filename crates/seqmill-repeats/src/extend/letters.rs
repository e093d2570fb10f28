//! The letters that a copy shows to the columns of a consensus.

use super::{Context, Copy_, Direction, NO_BASE};
use crate::text::Text;

/// Where a copy's letters lie: letter `y` is at `origin + y` or `origin - y`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Lane {
    origin: i64,
    backward: bool,
    complement: bool,
    /// The stretch of bases around the seed.
    run: (i64, i64),
    /// The record.
    record: (i64, i64),
}

impl Lane {
    pub(crate) fn new(context: &Context<'_>, copy: Copy_, direction: Direction) -> Self {
        let text = context.text;
        let (place, k) = (i64::from(copy.place), i64::from(context.scoring.k));
        let (origin, backward) = match (direction, copy.reverse) {
            (Direction::Right, false) => (place, false),
            (Direction::Right, true) => (place + k - 1, true),
            (Direction::Left, false) => (place - 1, true),
            (Direction::Left, true) => (place + k, false),
        };
        let run = text.run_of(copy.place).map_or((0, 0), |i| {
            let run = text.runs()[i];
            (i64::from(run.start), i64::from(run.end))
        });
        let record = &text.records()[text.record_of(copy.place)];
        let record = (i64::from(record.start), i64::from(record.end()));
        Self { origin, backward, complement: copy.reverse, run, record }
    }

    fn position(&self, y: i64) -> i64 {
        if self.backward { self.origin - y } else { self.origin + y }
    }

    /// The letter `y`.
    pub(crate) fn letter(&self, text: &Text, y: i64) -> u8 {
        let at = self.position(y);
        if at < self.record.0 || at >= self.record.1 {
            return NO_BASE;
        }
        let code = text.code(at as u32);
        if code < NO_BASE && self.complement { 3 - code } else { code }
    }

    /// Sixteen letters from `y` on, two bits each, the first in the lowest bits; `None` if one
    /// of them may be no base.
    #[inline]
    pub(crate) fn sixteen(&self, text: &Text, y: i64) -> Option<u32> {
        let at = self.position(y);
        let low = if self.backward { at - 15 } else { at };
        if low < self.run.0 || low + 16 > self.run.1 {
            return None;
        }
        let bases = (text.bases(low as u32) >> 32) as u32;
        let bases = if self.complement { !bases } else { bases };
        // The first base in the text stands highest: a backward lane has them in order.
        Some(if self.backward { bases } else { reverse_pairs(bases) })
    }
}

#[inline]
fn reverse_pairs(x: u32) -> u32 {
    let x = x.swap_bytes();
    let x = (x >> 4 & 0x0f0f_0f0f) | (x & 0x0f0f_0f0f) << 4;
    (x >> 2 & 0x3333_3333) | (x & 0x3333_3333) << 2
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::extend::Scoring;
    use crate::options::Parameters;
    use crate::text::TextBuilder;
    use seqmill_base::CancelToken;

    #[test]
    fn sixteen_are_the_single_letters() {
        let mut builder = TextBuilder::default();
        builder.start(b"a");
        let letters: Vec<u8> =
            (0..300_u64).map(|i| b"ACGT"[(crate::kmer::mix(i) % 4) as usize]).collect();
        builder.push(&letters).unwrap();
        builder.push(b"NNACGT").unwrap();
        let text = builder.finish();
        let cancel = CancelToken::default();
        let scoring = Scoring::new(&Parameters::default(), 11);
        let context = Context { text: &text, scoring, cancel: &cancel };
        let mut whole = 0;
        for (reverse, direction) in [
            (false, Direction::Right),
            (true, Direction::Right),
            (false, Direction::Left),
            (true, Direction::Left),
        ] {
            for place in [0, 50, 289] {
                let lane = Lane::new(&context, Copy_ { place, reverse }, direction);
                for y in -20..330 {
                    let Some(bases) = lane.sixteen(&text, y) else { continue };
                    whole += 1;
                    for j in 0..16 {
                        let code = (bases >> (2 * j) & 3) as u8;
                        assert_eq!(code, lane.letter(&text, y + j), "{place} {y} {j}");
                    }
                }
            }
        }
        assert!(whole > 500);
    }
}
