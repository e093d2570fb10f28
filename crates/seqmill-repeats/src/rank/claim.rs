//! Greedy claiming: every seed counts only the places that no seed before it has taken.
//!
//! Claiming is one candidate after the other. What takes time is to fetch the lists, which lie
//! scattered, and most of it is in vain, because most places of most candidates are taken already.
//! So workers fetch the lists of whole batches ahead of their turn and drop what is taken by then:
//! only candidates before those of the batch can have taken it. The claimer looks once more.

use super::{Candidate, Ranking, Seed};
use crate::batch::{BatchSeed, CandidateBatch, Pipe};
use crate::crew;
use crate::flow::{self, Desk};
use crate::mask::Mask;
use crate::options::Parameters;
use crate::text::Text;
use seqmill_base::prefetch::prefetch;
use seqmill_base::{Error, Job, Result};

/// Most seeds that the reference handles at a time; the rest behind the last full block is lost.
const REFERENCE_BLOCK: usize = 1000;

/// Lists between asking for the memory of one and reading it.
const LISTS_AHEAD: usize = 8;

/// Batches that are sent together: threads that ask for one after the other get in each other's
/// way.
const SENT_TOGETHER: usize = 4;

/// What the workers read.
struct Sight<'a> {
    candidates: &'a [Candidate],
    positions: &'a [u32],
    mask: &'a Mask,
    k: u32,
}

/// Counts the candidates of `ranking` anew, in their order, each without the places of those
/// before it. Those that are still frequent enough become seeds, by count down and first place up.
pub(crate) fn claim(
    ranking: &mut Ranking,
    text: &Text,
    mask: &Mask,
    k: u32,
    parameters: &Parameters,
    threads: usize,
    (job, pipe): (&Job, &mut Pipe<'_>),
) -> Result<()> {
    let candidates = std::mem::take(&mut ranking.candidates);
    let n = candidates.len();
    let block = n.min(REFERENCE_BLOCK);
    let handled = if parameters.reprise() && n > 0 { n / block * block } else { n };
    let sight =
        Sight { candidates: &candidates[..handled], positions: &ranking.positions, mask, k };
    let fetch = |(): &mut (), mut group: Group| {
        for batch in &mut group {
            sight.fetch(batch);
        }
        group
    };
    let mut seeds: Vec<Seed> = Vec::new();
    flow::run(&mut vec![(); threads], &fetch, |desk| {
        let mut next = 0;
        let mut spare = Vec::new();
        loop {
            job.cancel.check()?;
            next = send(desk, &candidates[..handled], next, pipe, &mut spare)?;
            if pipe.in_flight() == 0 {
                return Ok(());
            }
            let mut group = desk.take().ok_or_else(|| Error::internal("a worker is gone"))?;
            for CandidateBatch { seeds: taken, positions, lease } in &mut group {
                for seed in taken.iter() {
                    let count = sight.settle(seed, positions);
                    if count >= parameters.min_frequency {
                        let candidate = &candidates[seed.number as usize];
                        seeds.push(Seed {
                            kmer: text.kmer(candidate.first, k),
                            first: candidate.first,
                            count,
                            offset: u64::from(candidate.offset),
                            forward: candidate.forward,
                            reverse: candidate.reverse,
                        });
                    }
                }
                pipe.taken(lease.bytes());
            }
            group.clear();
            spare.push(group);
        }
    })?;
    crew::sort_by_key(threads, &mut seeds, |seed| (u32::MAX - seed.count, seed.first));
    ranking.seeds = seeds;
    Ok(())
}

/// Batches that change hands together.
type Group = Vec<CandidateBatch>;

/// Sends the candidates from `next` on, whose lists are still to be fetched, as far as there is
/// room; where it stopped.
fn send(
    desk: &mut Desk<'_, (), Group, Group>,
    candidates: &[Candidate],
    mut next: usize,
    pipe: &mut Pipe<'_>,
    spare: &mut Vec<Group>,
) -> Result<usize> {
    loop {
        let mut group = spare.pop().unwrap_or_default();
        while group.len() < SENT_TOGETHER && next < candidates.len() && pipe.is_open() {
            let to = candidates.len().min(next + pipe.options.batch_size);
            let Some(batch) = batch_of(candidates, next..to, pipe)? else { break };
            group.push(batch);
            next = to;
        }
        if group.is_empty() {
            spare.push(group);
            return Ok(next);
        }
        desk.send(group);
    }
}

/// A batch of candidates; none if it has to wait for those on their way.
fn batch_of(
    candidates: &[Candidate],
    range: std::ops::Range<usize>,
    pipe: &mut Pipe<'_>,
) -> Result<Option<CandidateBatch>> {
    let own = &candidates[range.clone()];
    let places: usize = own.iter().map(|c| c.count() as usize).sum();
    let bytes = (places * 4 + own.len() * size_of::<BatchSeed>()) as u64;
    let Some(lease) = pipe.reserve(bytes)? else { return Ok(None) };
    let mut seeds = pipe.pools.seeds.take(own.len());
    let mut from = 0;
    for (number, candidate) in (range.start as u32..).zip(own) {
        let Candidate { forward, reverse, .. } = *candidate;
        seeds.push(BatchSeed { number, from, forward, reverse, needed: 0 });
        from += candidate.count();
    }
    let positions = pipe.pools.positions.take(places);
    pipe.sent(own.len(), bytes);
    Ok(Some(CandidateBatch { seeds, positions, lease }))
}

impl Sight<'_> {
    /// Fills a batch with what is not taken yet.
    fn fetch(&self, batch: &mut CandidateBatch) {
        let CandidateBatch { seeds, positions, .. } = batch;
        for i in 0..seeds.len() {
            // Lists of candidates of one batch lie anywhere.
            if let Some(later) = seeds.get(i + LISTS_AHEAD) {
                let candidate = &self.candidates[later.number as usize];
                prefetch(self.positions, candidate.offset as usize);
            }
            let seed = &mut seeds[i];
            let candidate = &self.candidates[seed.number as usize];
            let (from, forward) = (candidate.offset as usize, candidate.forward as usize);
            let list = &self.positions[from..from + candidate.count() as usize];
            seed.from = positions.len() as u32;
            positions.extend_from_slice(list);
            let own = &mut positions[seed.from as usize..];
            let (kept, forward) = self.mask.keep_free(own, forward, self.k);
            positions.truncate(seed.from as usize + kept);
            (seed.forward, seed.reverse) = (forward as u32, (kept - forward) as u32);
        }
    }

    /// Takes the places of a seed that are free; how many. All are looked at before one is taken.
    fn settle(&self, seed: &BatchSeed, positions: &mut [u32]) -> u32 {
        let from = seed.from as usize;
        let list = &mut positions[from..from + seed.count()];
        let (kept, _) = self.mask.keep_free(list, 0, self.k);
        for place in &list[..kept] {
            self.mask.set(*place, place.saturating_add(self.k));
        }
        kept as u32
    }
}
