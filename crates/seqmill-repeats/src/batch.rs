//! Candidate batches: seeds on their way between threads, with the places where they occur.

use crate::find::{CopySide, Element, Solved};
use crate::flow::{Gauge, PipelineOptions};
use crate::pool::{Pool, PoolFigures, Pooled};
use seqmill_base::budget::AccountId;
use seqmill_base::{Job, Lease, Result};
use serde::Serialize;

/// A seed of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct BatchSeed {
    /// Its number among the candidates, or among the seeds.
    pub(crate) number: u32,
    /// Where its list begins in the positions of the batch.
    pub(crate) from: u32,
    /// Forward occurrences listed.
    pub(crate) forward: u32,
    /// Reverse occurrences listed, behind the forward ones.
    pub(crate) reverse: u32,
    /// Fewer occurrences than that and its turn does not come yet.
    pub(crate) needed: u32,
}

impl BatchSeed {
    /// Occurrences listed.
    pub(crate) fn count(&self) -> usize {
        self.forward as usize + self.reverse as usize
    }
}

/// Consecutive seeds with their two position lists. Batches have consecutive numbers, which
/// whoever sends them gets from the desk.
#[derive(Debug)]
pub(crate) struct CandidateBatch {
    /// The seeds.
    pub(crate) seeds: Pooled<BatchSeed>,
    /// Their lists.
    pub(crate) positions: Pooled<u32>,
    /// Its bytes.
    pub(crate) lease: Lease,
}

/// The buffers of a job.
#[derive(Debug, Default)]
pub(crate) struct Pools {
    pub(crate) seeds: Pool<BatchSeed>,
    pub(crate) positions: Pool<u32>,
    pub(crate) solved: Pool<Solved>,
    pub(crate) spans: Pool<Element>,
    pub(crate) columns: Pool<u8>,
    pub(crate) sides: Pool<CopySide>,
}

/// How the pools were used.
#[derive(Debug, Default, Clone, Copy, Serialize)]
pub struct PoolsFigures {
    /// Seeds of batches.
    pub seeds: PoolFigures,
    /// Position lists.
    pub positions: PoolFigures,
    /// Where the outcomes of a batch lie.
    pub solved: PoolFigures,
    /// Spans of copies.
    pub spans: PoolFigures,
    /// Columns of consensus sequences.
    pub columns: PoolFigures,
    /// Sides of the copies of large seeds.
    pub sides: PoolFigures,
}

impl PoolsFigures {
    /// Bytes that all pools keep.
    pub fn held_bytes(&self) -> u64 {
        let all = [self.seeds, self.positions, self.solved, self.spans, self.columns, self.sides];
        all.iter().map(|figures| figures.held_bytes).sum()
    }
}

impl Pools {
    pub(crate) fn figures(&self) -> PoolsFigures {
        PoolsFigures {
            seeds: self.seeds.figures(),
            positions: self.positions.figures(),
            solved: self.solved.figures(),
            spans: self.spans.figures(),
            columns: self.columns.figures(),
            sides: self.sides.figures(),
        }
    }
}

/// Where batches begin: when the next one may be made, and of what.
pub(crate) struct Pipe<'p> {
    pub(crate) pools: &'p Pools,
    pub(crate) gauge: Gauge,
    pub(crate) options: PipelineOptions,
    job: &'p Job,
    account: AccountId,
    share: u64,
    used: u64,
    in_flight: usize,
}

impl<'p> Pipe<'p> {
    pub(crate) fn new(
        pools: &'p Pools,
        options: PipelineOptions,
        job: &'p Job,
        account: AccountId,
        share: u64,
    ) -> Self {
        let gauge = Gauge::new(options);
        Self { pools, gauge, options, job, account, share, used: 0, in_flight: 0 }
    }

    /// Batches on their way.
    pub(crate) fn in_flight(&self) -> usize {
        self.in_flight
    }

    /// Whether a batch may be made now.
    pub(crate) fn is_open(&mut self) -> bool {
        let account = self.used as f64 / self.share.max(1) as f64;
        self.gauge.is_open(self.in_flight, account)
    }

    /// Reserves the bytes of a batch; `None`: it has to wait for those on their way.
    pub(crate) fn reserve(&mut self, bytes: u64) -> Result<Option<Lease>> {
        let fits = self.used + bytes <= self.share;
        if fits && let Some(lease) = self.job.budget.try_reserve(self.account, bytes) {
            return Ok(Some(lease));
        }
        if self.in_flight > 0 {
            return Ok(None);
        }
        let lease = self.job.budget.must_reserve(self.account, bytes);
        lease.map(Some).map_err(|e| e.within("seeds on their way"))
    }

    /// Notes that a batch was sent.
    pub(crate) fn sent(&mut self, seeds: usize, bytes: u64) {
        self.used += bytes;
        self.in_flight += 1;
        self.gauge.sent(seeds, self.in_flight);
    }

    /// Notes that what became of a batch was taken.
    pub(crate) fn taken(&mut self, bytes: u64) {
        self.used -= bytes;
        self.in_flight -= 1;
    }
}
