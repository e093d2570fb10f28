//! The seeds of a genome: which k-mers there are often enough, where they occur, and in what
//! order they are tried.

mod claim;
mod exact;
mod general;
mod group;
mod near;
mod order;

use crate::crew;
use crate::options::Parameters;
use crate::text::Text;
use seqmill_base::budget::AccountId;
use seqmill_base::{Job, Lease, Result};

/// A seed and where its occurrences stand in the list of positions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seed {
    /// The k-mer as it is written at its first place.
    pub kmer: u64,
    /// Its first place.
    pub first: u32,
    /// Occurrences that count (f before claiming, f' behind it).
    pub count: u32,
    /// Where its list begins: forward occurrences, then those of the reverse complement.
    pub offset: u64,
    /// Forward occurrences listed.
    pub forward: u32,
    /// Reverse occurrences listed.
    pub reverse: u32,
}

/// A k-mer that occurs often enough, before it claims its places; there are very many of these.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Candidate {
    /// Its first place, where it is written.
    pub first: u32,
    /// Where its list begins.
    pub offset: u32,
    /// Forward occurrences.
    pub forward: u32,
    /// Reverse occurrences.
    pub reverse: u32,
}

impl Candidate {
    /// How often it counts.
    pub fn count(&self) -> u32 {
        self.forward.saturating_add(self.reverse)
    }
}

/// Seeds with their lists.
#[derive(Debug, Default)]
pub struct Ranking {
    /// What may become a seed, in the order of claiming; empty behind it.
    pub candidates: Vec<Candidate>,
    /// The seeds.
    pub seeds: Vec<Seed>,
    /// Their occurrences.
    pub positions: Vec<u32>,
    /// Seeds whose lists were cut at `max_positions_per_kmer`.
    pub cut_seeds: u64,
    /// What counting needed.
    pub figures: CountFigures,
    /// The bytes of seeds and positions.
    pub lease: Option<Lease>,
}

impl Ranking {
    /// Lets go of the lists that no seed has any more.
    pub(crate) fn compact(&mut self, threads: usize) -> Result<()> {
        let mut order: Vec<u32> = (0..self.seeds.len() as u32).collect();
        let seeds = &self.seeds;
        crew::sort_by_key(threads, &mut order, |i| seeds[*i as usize].offset);
        let mut to = 0;
        for i in order {
            let seed = &mut self.seeds[i as usize];
            let length = seed.forward as usize + seed.reverse as usize;
            let from = usize::try_from(seed.offset).unwrap_or(usize::MAX);
            // Lists only move towards the front, in their order.
            self.positions.copy_within(from..from + length, to);
            seed.offset = to as u64;
            to += length;
        }
        self.positions.truncate(to);
        self.positions.shrink_to_fit();
        self.seeds.shrink_to_fit();
        let bytes = self.positions.len() * 4 + self.seeds.len() * size_of::<Seed>();
        self.lease.as_mut().map_or(Ok(()), |lease| lease.resize(bytes as u64))
    }
}

/// How counting went.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct CountFigures {
    /// Windows of bases.
    pub windows: u64,
    /// Windows that were not excluded by the first look.
    pub admitted: u64,
    /// Partitions that were worked on.
    pub partitions: u64,
    /// Partitions that turned out too large and were split.
    pub splits: u64,
    /// Candidate seeds, before claiming.
    pub candidates: u64,
}

/// Where and with what the seeds are found.
pub(crate) struct Search<'a> {
    pub(crate) text: &'a Text,
    pub(crate) k: u32,
    pub(crate) parameters: &'a Parameters,
    pub(crate) threads: usize,
    pub(crate) job: &'a Job,
    pub(crate) accounts: Accounts,
    /// Most bytes of tables and lists of one partition; the result does not depend on it.
    pub(crate) index_bytes: u64,
}

/// Accounts that ranking draws from.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Accounts {
    pub(crate) index: AccountId,
    pub(crate) positions: AccountId,
}

impl Search<'_> {
    /// Seeds that occur often enough, with their tandem-filtered lists, in the order in which they
    /// claim their places (count down, first place up).
    pub(crate) fn candidates(&self) -> Result<Ranking> {
        let mut ranking = match self.parameters.distance {
            0 => exact::candidates(self)?,
            1 => near::candidates(self)?,
            _ => general::candidates(self)?,
        };
        ranking.figures.candidates = ranking.candidates.len() as u64;
        self.order(&mut ranking.candidates);
        Ok(ranking)
    }

    /// Sorts by count down, then first place up.
    fn order(&self, candidates: &mut [Candidate]) {
        let bytes = size_of_val(candidates);
        let room = self.job.budget.must_reserve(self.accounts.index, bytes as u64);
        if room.is_ok() && candidates.len() >= LEAST_DIGITS {
            order::by_digits(candidates, self.text.len(), self.threads);
        } else {
            crew::sort_by_key(self.threads, candidates, order::key);
        }
    }
}

/// Fewer candidates are sorted by comparison.
const LEAST_DIGITS: usize = 1 << 12;

pub(crate) use claim::claim;

#[cfg(test)]
mod tests;
