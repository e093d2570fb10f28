//! One run from a file to families: read, rank, find; what is kept for a resumed run.

use crate::batch::{Pipe, Pools, PoolsFigures};
use crate::cluster::Dropped;
use crate::estimate::Estimate;
use crate::extend::lanes::Kernel;
use crate::extend::{Context, Scoring};
use crate::find::{Bench, Element, Family, Finder, LoopFigures, LoopState, Sight, Work, Worker};
use crate::flow::{self, FlowFigures};
use crate::job::Options;
use crate::mask::Mask;
use crate::rank::{Accounts, CountFigures, Ranking, Search, Seed, claim};
use crate::state;
use crate::text::Text;
use seqmill_base::budget::{AccountId, human_bytes};
use seqmill_base::checkpoint::StateDirectory;
use seqmill_base::metrics::StageFigures;
use seqmill_base::process::usage_figures;
use seqmill_base::{Error, Job, Lease, Result};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// What a run found.
#[derive(Debug)]
pub struct Found {
    /// Seed length.
    pub k: u32,
    /// The kept seeds, the most frequent first.
    pub seeds: Vec<Seed>,
    /// Families and elements.
    pub state: LoopState,
    /// What was expected.
    pub estimate: Estimate,
    /// How counting went.
    pub counted: CountFigures,
    /// Seeds with lists that were cut.
    pub cut_seeds: u64,
    /// Positions of kept seeds.
    pub positions: u64,
    /// Elements that were found by likeness, and the length of the k-mers that led to them.
    pub annotated: u64,
    pub(crate) annotated_k: u32,
    /// Sequences that are left out of the library, by family.
    pub dropped: Vec<Dropped>,
    /// How batches went to the claimer, and to the loop.
    pub flow: [FlowFigures; 2],
    /// How buffers were used.
    pub pools: PoolsFigures,
    /// Whether it went on from an earlier run, and from where.
    pub resumed: Option<&'static str>,
    pub(crate) leases: Vec<Lease>,
}

impl Found {
    /// The context in which an element was aligned: on the reverse strand its place counts from
    /// the end of the k-mer, which has a length of its own where likeness led to it.
    pub(crate) fn context_of<'c>(&self, element: &Element, context: &Context<'c>) -> Context<'c> {
        let k = if element.annotated { self.annotated_k } else { self.k };
        Context { scoring: Scoring { k, ..context.scoring }, ..*context }
    }

    /// The families whose sequences are in the library, with their numbers.
    pub fn library(&self) -> impl Iterator<Item = (usize, &Family)> {
        let mut dropped = self.dropped.iter().map(|one| one.family as usize).peekable();
        let families = self.state.families.iter().enumerate();
        families.filter(move |(i, _)| dropped.next_if_eq(i).is_none())
    }
}

/// Accounts of a run (specification 15).
#[derive(Debug, Clone, Copy)]
pub(crate) struct Books {
    pub(crate) text: AccountId,
    pub(crate) masks: AccountId,
    pub(crate) index: AccountId,
    pub(crate) positions: AccountId,
    pub(crate) pipeline: AccountId,
    pub(crate) extension: AccountId,
    pub(crate) output: AccountId,
}

impl Books {
    pub(crate) fn open(job: &Job) -> Self {
        let account = |name: &str| job.budget.account(name, u64::MAX);
        Self {
            text: account("text"),
            masks: account("masks"),
            index: account("index"),
            positions: account("positions"),
            pipeline: account("pipeline"),
            extension: account("extension"),
            output: account("output"),
        }
    }
}

/// Names of the files in the state directory.
const RANKING_FILE: &str = "ranking.bin";
const LOOP_FILE: &str = "loop.bin";
/// Families and time between two checkpoints.
const CHECKPOINT_FAMILIES: usize = 100;
const CHECKPOINT_TIME: Duration = Duration::from_mins(1);
/// Most bytes of batches on their way, and their part of what the index may take.
const MOST_PIPELINE_BYTES: u64 = 16 << 20;
const PIPELINE_PART: u64 = 8;
/// What seeds with a mismatch take for each base of usual genomes, lists and all.
const USUAL_NEAR_BYTES: u64 = 10;
/// Least bytes of the index account.
const LEAST_INDEX_BYTES: u64 = 1 << 20;

/// Takes the time of stages.
pub(crate) struct Clock {
    began: Instant,
    cpu: f64,
    pub(crate) stages: Vec<StageFigures>,
    threads: usize,
}

impl Clock {
    pub(crate) fn new(threads: usize) -> Self {
        Self { began: Instant::now(), cpu: cpu(), stages: Vec::new(), threads }
    }

    /// Ends a stage.
    pub(crate) fn stage(&mut self, name: &str, items: u64) {
        let (wall, now) = (self.began.elapsed().as_secs_f64(), cpu());
        let busy = now - self.cpu;
        self.stages.push(StageFigures {
            name: name.to_owned(),
            threads: self.threads,
            items,
            busy_s: busy,
            wait_input_s: (wall * self.threads as f64 - busy).max(0.0),
            ..StageFigures::default()
        });
        (self.began, self.cpu) = (Instant::now(), now);
    }
}

fn cpu() -> f64 {
    let usage = usage_figures();
    usage.cpu_user_s + usage.cpu_sys_s
}

/// A run on a text that is in memory.
pub(crate) struct Run<'a> {
    pub(crate) text: &'a Text,
    pub(crate) options: &'a Options,
    pub(crate) job: &'a Job,
    pub(crate) books: Books,
    pub(crate) state: Option<&'a StateDirectory>,
    /// There is state of an earlier run.
    pub(crate) resumed: bool,
    /// Bytes of the input, for progress.
    pub(crate) input_bytes: u64,
}

impl Run<'_> {
    /// Finds the families.
    pub(crate) fn find(&self, clock: &mut Clock) -> Result<Found> {
        let (text, parameters) = (self.text, &self.options.parameters);
        let records = text.records().len() as u64;
        let k = parameters.seed_length_for(u64::from(text.len()), records)?;
        let mask_bytes = Mask::bytes_for(text.len());
        let budget = &self.job.budget;
        let lease = |account, bytes, what: &str| {
            budget.must_reserve(account, bytes).map_err(|e| e.within(what))
        };
        let mut leases = vec![
            lease(self.books.masks, 2 * mask_bytes, "masks")?,
            lease(self.books.output, 1 << 20, "output")?,
        ];
        let index_bytes = self.index_bytes()?;
        let hints = &self.options.hints;
        let lengths = text.records().iter().map(|r| u64::from(r.length));
        let threads = self.options.resources.threads;
        let estimate = Estimate::new(lengths, k, parameters, hints, index_bytes, threads);
        let pools = Pools::default();
        let share = (index_bytes / PIPELINE_PART).min(MOST_PIPELINE_BYTES);
        let pipe =
            || Pipe::new(&pools, self.options.pipeline, self.job, self.books.pipeline, share);
        let mut claiming = pipe();
        let (mut ranking, ranked) = self.ranking(k, index_bytes, &mut claiming, clock)?;
        let (state, fresh) = self.begin(&ranking, !ranked)?;
        let scoring = Scoring::new(parameters, k);
        let most = ranking.seeds.iter().map(|s| s.forward as usize + s.reverse as usize).max();
        let worker_bytes = Worker::bytes_for(&scoring, most.unwrap_or(0)) * threads as u64;
        leases.push(lease(self.books.extension, worker_bytes, "extension")?);
        let resumed = if !fresh {
            Some("find")
        } else if ranked {
            Some("rank")
        } else {
            None
        };
        let kernel = Kernel::detect();
        let mut workers: Vec<Worker> = (0..threads).map(|_| Worker::new(kernel)).collect();
        let context = Context { text, scoring, cancel: &self.job.cancel };
        let masked = Arc::clone(&state.masked);
        let min_frequency = parameters.min_frequency;
        let sight = Sight { context, masked: &masked, min_frequency, pools: &pools };
        let mut held = lease(self.books.output, 0, "families")?;
        let work = |worker: &mut Worker, work: Work| worker.work(&sight, work);
        let (state, finding) = flow::run(&mut workers, &work, |desk| {
            let finder = Finder::new(sight, parameters, &mut ranking, pipe(), state);
            self.run_loop(finder, desk, &mut held)
        })?;
        leases.push(held);
        clock.stage("find", state.figures.extended);
        let positions = ranking.positions.len() as u64;
        ranking.positions = Vec::new();
        leases.extend(ranking.lease.take());
        Ok(Found {
            k,
            seeds: std::mem::take(&mut ranking.seeds),
            state,
            estimate,
            counted: ranking.figures,
            cut_seeds: ranking.cut_seeds,
            positions,
            annotated: 0,
            annotated_k: 0,
            dropped: Vec::new(),
            flow: [claiming.gauge.figures, finding],
            pools: pools.figures(),
            resumed,
            leases,
        })
    }

    /// What the index may take: all that is free, less what comes later.
    fn index_bytes(&self) -> Result<u64> {
        let budget = &self.job.budget;
        let free = budget.pool().saturating_sub(budget.reserved());
        let later = u64::from(self.text.len()) / 8;
        let index = free.saturating_sub(later) / 3 * 2;
        // With a mismatch every window has a byte that bounds its count; with hardly more than
        // these bytes the text would be looked through very many times.
        let near = self.options.parameters.distance == 1;
        let length = u64::from(self.text.len());
        let least = LEAST_INDEX_BYTES + if near { 2 * length } else { 0 };
        if index < least {
            let more = (least.div_ceil(2) * 3 + later).saturating_sub(free);
            // What comes behind the bounds is not known yet; advice that only leads to the next
            // refusal helps nobody.
            let whole = if near { (USUAL_NEAR_BYTES * length).saturating_sub(free) } else { 0 };
            let more = more.max(whole);
            // A part of a larger budget goes to what the program takes beside its accounts.
            let needed = budget.limit() + more + more / 16;
            return Err(Error::budget(
                format!(
                    "the index needs {} more than is free of a memory budget of {}; \
                     give at least --memory {}",
                    human_bytes(needed - budget.limit()),
                    human_bytes(budget.limit()),
                    human_bytes(needed),
                ),
                needed,
            ));
        }
        Ok(index)
    }

    fn ranking(
        &self,
        k: u32,
        index_bytes: u64,
        pipe: &mut Pipe<'_>,
        clock: &mut Clock,
    ) -> Result<(Ranking, bool)> {
        let path = self.state.map(|state| state.file(RANKING_FILE));
        if let Some(path) = path.as_ref().filter(|_| self.resumed) {
            let lease = self.job.budget.must_reserve(self.books.positions, 0)?;
            if let Some(ranking) = state::load_ranking(path, self.text.len(), lease)? {
                return Ok((ranking, true));
            }
        }
        if self.options.hints.aggressive_preallocation {
            // Shows at once whether the whole account is there; counting draws on the same bytes.
            drop(self.job.budget.must_reserve(self.books.index, index_bytes)?);
        }
        let accounts = Accounts { index: self.books.index, positions: self.books.positions };
        let parameters = &self.options.parameters;
        // Who wants counting on one thread keeps the others for the loop.
        let threads = if self.options.parallel { self.options.resources.threads } else { 1 };
        let search = Search {
            text: self.text,
            k,
            parameters,
            threads,
            job: self.job,
            accounts,
            index_bytes,
        };
        let mut ranking = search.candidates()?;
        clock.stage("count", ranking.figures.windows);
        let mask = Mask::new(self.text.len());
        claim(&mut ranking, self.text, &mask, k, parameters, threads, (self.job, pipe))?;
        ranking.compact(threads)?;
        clock.stage("claim", ranking.figures.candidates);
        Ok((ranking, false))
    }

    /// The state the loop begins with, and whether it is a new one; a new ranking is kept.
    fn begin(&self, ranking: &Ranking, keep: bool) -> Result<(LoopState, bool)> {
        let kept = self.state.filter(|_| keep).map(|state| state.file(RANKING_FILE));
        let save = || kept.as_ref().map_or(Ok(()), |path| state::save_ranking(path, ranking));
        if self.options.resources.threads == 1 {
            save()?;
            return self.loop_state(ranking);
        }
        std::thread::scope(|scope| {
            let saving = scope.spawn(save);
            let state = self.loop_state(ranking);
            saving.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
            state
        })
    }

    fn loop_state(&self, ranking: &Ranking) -> Result<(LoopState, bool)> {
        if let Some(state) = self.state.filter(|_| self.resumed) {
            let path = state.file(LOOP_FILE);
            let found = state::load_loop(&path, self.text.len(), ranking.seeds.len())?;
            if let Some(state) = found {
                return Ok((state, false));
            }
        }
        let mask = || Mask::new(self.text.len());
        let seeds = (0..).zip(&ranking.seeds);
        let mut waiting: Vec<_> = seeds.map(|(i, seed)| (seed.count, seed.kmer, i)).collect();
        // In the order of the queue, which finds it so.
        waiting.sort_unstable();
        let (masked, covered) = (Arc::new(mask()), mask());
        Ok((LoopState { masked, covered, waiting, ..LoopState::default() }, true))
    }

    fn run_loop(
        &self,
        mut finder: Finder<'_>,
        desk: &mut Bench<'_>,
        held: &mut Lease,
    ) -> Result<(LoopState, FlowFigures)> {
        let total = finder.seeds_left().max(1) as u64;
        let mut saved = (finder.state().families.len(), Instant::now());
        let mut count = 0_u64;
        loop {
            let more = match finder.step(desk, self.job) {
                Ok(more) => more,
                Err(error) => {
                    // What there is so far is kept for a resumed run.
                    self.save(&finder)?;
                    return Err(error);
                }
            };
            if !more {
                break;
            }
            count += 1;
            let state = finder.state();
            if count.is_multiple_of(64) {
                let bytes = state.elements.capacity() * size_of::<crate::find::Element>()
                    + state.families.iter().map(|f| f.consensus.len() + 64).sum::<usize>();
                held.resize(bytes as u64).map_err(|e| e.within("families and elements"))?;
                let done = total - (finder.seeds_left() as u64).min(total);
                let at = self.input_bytes + self.input_bytes * done / total;
                self.job.progress.bytes_in.store(at, Ordering::Relaxed);
                self.job.progress.records_out.store(state.families.len() as u64, Ordering::Relaxed);
            }
            let families = state.families.len();
            if families >= saved.0 + CHECKPOINT_FAMILIES || saved.1.elapsed() >= CHECKPOINT_TIME {
                self.save(&finder)?;
                saved = (families, Instant::now());
            }
        }
        Ok(finder.finish())
    }

    fn save(&self, finder: &Finder<'_>) -> Result<()> {
        let Some(state) = self.state else { return Ok(()) };
        state::save_loop(&state.file(LOOP_FILE), finder.state(), &finder.waiting())
    }
}

/// Figures of the loop by name.
pub(crate) fn loop_figures(figures: LoopFigures) -> serde_json::Value {
    serde_json::to_value(figures).unwrap_or_default()
}
