//! From the sorted places of one k-mer class to a seed with its tandem-filtered lists.

use super::{Candidate, Ranking};
use crate::options::Parameters;
use crate::text::Text;
use seqmill_base::{Error, Lease, Result};

/// Collects seeds and their lists.
#[derive(Debug, Default)]
pub(super) struct Lists {
    pub(super) candidates: Vec<Candidate>,
    pub(super) positions: Vec<u32>,
    pub(super) cut: u64,
}

/// What decides about a list.
#[derive(Clone, Copy)]
pub(super) struct Rules<'a> {
    pub(super) text: &'a Text,
    pub(super) tandem_distance: u32,
    pub(super) min_frequency: u32,
    pub(super) max_frequency: u32,
    pub(super) max_positions: u32,
}

impl<'a> Rules<'a> {
    pub(super) fn new(text: &'a Text, parameters: &Parameters) -> Self {
        Self {
            text,
            tandem_distance: parameters.tandem_distance,
            min_frequency: parameters.min_frequency,
            max_frequency: parameters.max_frequency.unwrap_or(u32::MAX),
            max_positions: parameters.max_positions_per_kmer.unwrap_or(u32::MAX),
        }
    }

    /// Appends what the tandem filter keeps of a sorted list; returns how many that are.
    fn filter(&self, places: impl Iterator<Item = u32>, out: &mut Vec<u32>) -> usize {
        let before = out.len();
        let mut previous: Option<u32> = None;
        for place in places {
            let near = previous.is_some_and(|last| {
                place - last < self.tandem_distance && !self.text.crosses_records(last, place)
            });
            if !near {
                out.push(place);
            }
            previous = Some(place);
        }
        out.len() - before
    }
}

impl Lists {
    /// Lists with room for seeds of so many occurrences; pages that are never touched cost nothing.
    pub(super) fn with_room_for(occurrences: usize, rules: Rules<'_>) -> Self {
        let seeds = occurrences / rules.min_frequency.max(1) as usize;
        Self {
            candidates: Vec::with_capacity(seeds),
            positions: Vec::with_capacity(occurrences),
            cut: 0,
        }
    }

    /// Adds the seed at `first` with its sorted occurrences if there are enough of them.
    pub(super) fn add(
        &mut self,
        rules: Rules<'_>,
        first: u32,
        forward: impl Iterator<Item = u32>,
        reverse: impl Iterator<Item = u32>,
    ) {
        let offset = self.positions.len();
        let mut kept = [
            rules.filter(forward, &mut self.positions),
            rules.filter(reverse, &mut self.positions),
        ];
        let count = u32::try_from(kept[0] + kept[1]).unwrap_or(u32::MAX);
        if count < rules.min_frequency || count > rules.max_frequency {
            self.positions.truncate(offset);
            return;
        }
        let most = rules.max_positions as usize;
        if kept[0] > most || kept[1] > most {
            let second = offset + kept[0];
            let keep = [kept[0].min(most), kept[1].min(most)];
            self.positions.copy_within(second..second + keep[1], offset + keep[0]);
            self.positions.truncate(offset + keep[0] + keep[1]);
            kept = keep;
            self.cut += 1;
        }
        let narrow = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        self.candidates.push(Candidate {
            first,
            offset: narrow(offset),
            forward: narrow(kept[0]),
            reverse: narrow(kept[1]),
        });
    }

    /// Moves all to the end of a ranking, reserved in `held` before.
    pub(super) fn append_all(
        all: Vec<Self>,
        ranking: &mut Ranking,
        held: &mut Lease,
    ) -> Result<()> {
        all.into_iter().try_for_each(|lists| lists.append_to(ranking, held))
    }

    /// Moves what there is to the end of a ranking, reserved in `held` before.
    pub(super) fn append_to(mut self, ranking: &mut Ranking, held: &mut Lease) -> Result<()> {
        let base = ranking.positions.len();
        let candidates = ranking.candidates.len() + self.candidates.len();
        let positions = base + self.positions.len();
        if u32::try_from(positions).is_err() {
            let text = "seeds have more than 4 G occurrences; raise min_frequency";
            return Err(Error::input(text));
        }
        let bytes = positions * 4 + candidates * size_of::<Candidate>();
        held.resize(bytes as u64).map_err(|e| e.within("positions of seeds"))?;
        // Exactly: doubling would take what nobody has reserved, and large blocks move for free.
        ranking.candidates.reserve_exact(self.candidates.len());
        ranking.positions.reserve_exact(self.positions.len());
        let moved = self.candidates.drain(..);
        ranking.candidates.extend(moved.map(|c| Candidate { offset: c.offset + base as u32, ..c }));
        ranking.positions.append(&mut self.positions);
        ranking.cut_seeds += self.cut;
        Ok(())
    }
}
