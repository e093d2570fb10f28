//! Ordered, bounded pipelines: one source, stages that run in parallel or in order, one sink.
//!
//! ```text
//! source ─▶ parallel ─▶ ordered ─▶ parallel ─▶ … ─▶ sink
//!            (any thread)  (one at a time, in sequence)
//! ```
//!
//! One pool of threads serves all stages, or groups of stages have pools of their own. A thread
//! always prefers the latest stage that has work, so memory drains before more is taken in.
//! Items are numbered where they arise and every ordered stage sees them in that order, hence
//! the result does not depend on the number of threads. A failing item travels on as an error and
//! is raised when its turn comes at the sink: the first damage in the file is the one reported,
//! whatever the timing.
//!
//! Memory: a parallel stage states an upper bound for what it will make; the scheduler reserves
//! it from the budget before the work begins and hands the [`Lease`] to the work, whose result
//! keeps it. If nothing runs and nothing may start, the item that is furthest along starts beyond
//! its account's share, which makes progress certain as long as the budget itself has room.

mod scheduler;

use crate::budget::{AccountId, Lease};
use crate::error::{Error, Result};
use crate::job::Job;
use crate::metrics::{StageCounters, StageFigures};
use scheduler::Scheduler;
use std::any::Any;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// What flows through a pipeline.
pub trait Item: Send + 'static {
    /// Size of the item, for the figures of the queues.
    fn bytes(&self) -> u64;
}

impl Item for () {
    fn bytes(&self) -> u64 {
        0
    }
}

/// Threads of a pipeline.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Threads {
    /// One pool, any thread may run any stage.
    Shared(usize),
    /// `n` threads for each group of stages; the index is the group given to the stage.
    PerGroup(Vec<usize>),
}

/// The outlet of an ordered stage.
pub struct Emit<'e, U> {
    out: &'e mut Emitted,
    kind: std::marker::PhantomData<fn(U)>,
}

/// What one call of an ordered stage gave.
#[derive(Default)]
struct Emitted {
    values: Vec<Value>,
    ended: bool,
    failing: bool,
}

impl<U: Item> Emit<'_, U> {
    /// Sends an item to the next stage.
    pub fn push(&mut self, item: U) {
        self.out.values.push(Ok(Box::new(item)));
    }

    /// Ends the stream behind what was sent: nothing more is taken in, and what is on its way to
    /// this stage, errors included, is dropped.
    pub fn end(&mut self) {
        self.out.ended = true;
    }

    /// Whether an error follows. A call with `None` is not about the end of the stream then: what
    /// is not whole yet stays so.
    pub fn is_failing(&self) -> bool {
        self.out.failing
    }
}

type Erased = Box<dyn Any + Send>;
type Value = Result<Erased>;
type Source<'a> = Box<dyn FnMut(Option<Lease>) -> Result<Option<Erased>> + Send + 'a>;
type Parallel<'a> = Box<dyn Fn(Erased, Lease) -> Result<Erased> + Send + Sync + 'a>;
type Ordered<'a> =
    Box<dyn FnMut(Option<Erased>, Option<Lease>, &mut Emitted) -> Result<()> + Send + 'a>;
type Estimate<'a> = Box<dyn Fn(Option<&Erased>) -> u64 + Send + Sync + 'a>;

enum Work<'a> {
    Source(Mutex<Source<'a>>),
    Parallel(Parallel<'a>),
    Ordered(Mutex<Ordered<'a>>),
}

/// How much a stage reserves before it works on an item, and where.
struct Claim<'a> {
    account: AccountId,
    estimate: Estimate<'a>,
}

struct Stage<'a> {
    name: &'static str,
    group: usize,
    work: Work<'a>,
    claim: Option<Claim<'a>>,
    weigh: fn(&Erased) -> u64,
    counters: StageCounters,
}

/// A pipeline under construction whose last stage gives items of type `T`.
pub struct Pipeline<'a, T> {
    stages: Vec<Stage<'a>>,
    kind: std::marker::PhantomData<fn(T)>,
}

fn weigh<T: Item>(value: &Erased) -> u64 {
    value.downcast_ref::<T>().map_or(0, Item::bytes)
}

fn estimate_of<'a, T: Item>(estimate: impl Fn(&T) -> u64 + Send + Sync + 'a) -> Estimate<'a> {
    Box::new(move |value| value.and_then(|v| v.downcast_ref::<T>()).map_or(0, &estimate))
}

fn unbox<T: 'static>(value: Erased) -> Result<T> {
    value.downcast().map(|b| *b).map_err(|_| Error::internal("pipeline stages do not fit"))
}

impl<'a, T: Item> Pipeline<'a, T> {
    /// Begins with a source that is asked for items one at a time until it returns `None`; each
    /// reserves `bytes` from `account` first.
    pub fn source(
        name: &'static str,
        group: usize,
        account: AccountId,
        bytes: u64,
        mut next: impl FnMut(Lease) -> Result<Option<T>> + Send + 'a,
    ) -> Self {
        let work: Source<'a> = Box::new(move |lease| {
            let lease = lease.ok_or_else(|| Error::internal("source without a lease"))?;
            Ok(next(lease)?.map(|item| Box::new(item) as Erased))
        });
        let stage = Stage {
            name,
            group,
            work: Work::Source(Mutex::new(work)),
            claim: Some(Claim { account, estimate: Box::new(move |_| bytes) }),
            weigh: weigh::<()>,
            counters: StageCounters::default(),
        };
        Self { stages: vec![stage], kind: std::marker::PhantomData }
    }

    /// Adds a stage that any number of threads may run at once. `estimate` bounds the bytes of
    /// the result; `fresh` makes the state a thread works with (buffers, compressors), which is
    /// handed from item to item.
    pub fn parallel<S: Send + 'a, U: Item>(
        mut self,
        name: &'static str,
        group: usize,
        account: AccountId,
        estimate: impl Fn(&T) -> u64 + Send + Sync + 'a,
        fresh: impl Fn() -> S + Send + Sync + 'a,
        work: impl Fn(&mut S, T, Lease) -> Result<U> + Send + Sync + 'a,
    ) -> Pipeline<'a, U> {
        let states: Mutex<Vec<S>> = Mutex::new(Vec::new());
        let work: Parallel<'a> = Box::new(move |value, lease| {
            let mut state = lock(&states).pop().unwrap_or_else(&fresh);
            let result = work(&mut state, unbox::<T>(value)?, lease);
            lock(&states).push(state);
            result.map(|item| Box::new(item) as Erased)
        });
        self.stages.push(Stage {
            name,
            group,
            work: Work::Parallel(work),
            claim: Some(Claim { account, estimate: estimate_of(estimate) }),
            weigh: weigh::<T>,
            counters: StageCounters::default(),
        });
        Pipeline { stages: self.stages, kind: std::marker::PhantomData }
    }

    /// Adds a stage that sees the items one at a time in order and may give any number of items
    /// for each. After the last item, and before an error passes ([`Emit::is_failing`]), it is called
    /// with `None`.
    pub fn ordered<U: Item>(
        self,
        name: &'static str,
        group: usize,
        mut work: impl FnMut(Option<T>, &mut Emit<'_, U>) -> Result<()> + Send + 'a,
    ) -> Pipeline<'a, U> {
        self.in_order(name, group, None, move |item, _, emit| work(item, emit))
    }

    /// The same for a stage that keeps some of what it sees: `estimate` bounds how much more it holds
    /// after an item, and the work is given a lease of that.
    pub fn ordered_holding<U: Item>(
        self,
        name: &'static str,
        group: usize,
        account: AccountId,
        estimate: impl Fn(&T) -> u64 + Send + Sync + 'a,
        work: impl FnMut(Option<T>, Option<Lease>, &mut Emit<'_, U>) -> Result<()> + Send + 'a,
    ) -> Pipeline<'a, U> {
        let claim = Claim { account, estimate: estimate_of(estimate) };
        self.in_order(name, group, Some(claim), work)
    }

    fn in_order<U: Item>(
        mut self,
        name: &'static str,
        group: usize,
        claim: Option<Claim<'a>>,
        mut work: impl FnMut(Option<T>, Option<Lease>, &mut Emit<'_, U>) -> Result<()> + Send + 'a,
    ) -> Pipeline<'a, U> {
        let work: Ordered<'a> = Box::new(move |value, lease, out| {
            let item = value.map(unbox::<T>).transpose()?;
            work(item, lease, &mut Emit { out, kind: std::marker::PhantomData })
        });
        self.stages.push(Stage {
            name,
            group,
            work: Work::Ordered(Mutex::new(work)),
            claim,
            weigh: weigh::<T>,
            counters: StageCounters::default(),
        });
        Pipeline { stages: self.stages, kind: std::marker::PhantomData }
    }

    /// Ends the pipeline with a stage that takes the items in order, and runs it to the end.
    ///
    /// The figures of the stages are returned also when the run fails.
    pub fn run(
        self,
        name: &'static str,
        group: usize,
        mut take: impl FnMut(T) -> Result<()> + Send + 'a,
        threads: &Threads,
        job: &Job,
    ) -> (Result<()>, Vec<StageFigures>) {
        let whole = self.ordered::<()>(name, group, move |item, _| item.map_or(Ok(()), &mut take));
        Scheduler::new(whole.stages, job).run(threads)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
