//! Who does what next: the queues between the stages and the threads that empty them.

use super::{Emitted, Erased, Ordered, Stage, Threads, Value, Work, lock};
use crate::budget::Lease;
use crate::error::{Error, Result};
use crate::job::Job;
use crate::metrics::{StageFigures, Wait};
use crate::process::thread_cpu_time;
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How long an idle thread sleeps before it looks at the cancel flag and the budget again.
const IDLE_POLL: Duration = Duration::from_millis(20);

/// What is waiting before one stage.
#[derive(Default)]
struct Queue {
    waiting: BTreeMap<u64, Value>,
    /// Number of the item an ordered stage wants next.
    next: u64,
    /// Number the stage gives to its next result.
    made: u64,
    running: usize,
    /// Nothing more will arrive.
    upstream_closed: bool,
    closed: bool,
}

struct State {
    queues: Vec<Queue>,
    running: usize,
    /// Threads that sleep: to wake nobody is a call of the system, too.
    waiting: usize,
    failure: Option<Error>,
}

struct Task {
    stage: usize,
    seq: u64,
    value: Option<Value>,
    lease: Option<Lease>,
}

pub(super) struct Scheduler<'a, 'j> {
    stages: Vec<Stage<'a>>,
    job: &'j Job,
    state: Mutex<State>,
    changed: Condvar,
}

enum Pick {
    Task(Task),
    Wait(usize, Wait),
    Over,
}

impl<'a, 'j> Scheduler<'a, 'j> {
    pub(super) fn new(stages: Vec<Stage<'a>>, job: &'j Job) -> Self {
        let mut queues: Vec<Queue> = stages.iter().map(|_| Queue::default()).collect();
        if let Some(first) = queues.first_mut() {
            first.upstream_closed = true;
        }
        let state = State { queues, running: 0, waiting: 0, failure: None };
        Self { stages, job, state: Mutex::new(state), changed: Condvar::new() }
    }

    /// Runs all stages to the end on threads of its own.
    pub(super) fn run(self, threads: &Threads) -> (Result<()>, Vec<StageFigures>) {
        let pools: Vec<(Option<usize>, usize)> = match threads {
            Threads::Shared(n) => vec![(None, (*n).max(1))],
            Threads::PerGroup(counts) => {
                counts.iter().enumerate().map(|(group, n)| (Some(group), (*n).max(1))).collect()
            }
        };
        std::thread::scope(|scope| {
            for (group, count) in &pools {
                for i in 0..*count {
                    let this = &self;
                    let builder = std::thread::Builder::new().name(format!("seqmill-{i}"));
                    let spawned = builder.spawn_scoped(scope, move || this.work(*group));
                    if let Err(e) = spawned {
                        self.fail(Error::io(std::path::Path::new("thread"), &e));
                    }
                }
            }
        });
        let may_run = |stage: &Stage<'_>| -> usize {
            pools.iter().filter(|(g, _)| g.is_none_or(|g| g == stage.group)).map(|(_, n)| n).sum()
        };
        let figures = self.stages.iter().map(|s| s.counters.figures(s.name, may_run(s))).collect();
        let state = self.state.into_inner().unwrap_or_else(PoisonError::into_inner);
        (state.failure.map_or(Ok(()), Err), figures)
    }

    fn work(&self, group: Option<usize>) {
        let mut state = lock(&self.state);
        loop {
            match self.pick(&mut state, group) {
                Pick::Over => {
                    self.changed.notify_all();
                    return;
                }
                Pick::Wait(stage, reason) => {
                    let since = Instant::now();
                    state.waiting += 1;
                    let waited = self.changed.wait_timeout(state, IDLE_POLL);
                    state = waited.unwrap_or_else(PoisonError::into_inner).0;
                    state.waiting -= 1;
                    if let Some(stage) = self.stages.get(stage) {
                        stage.counters.waited(reason, since.elapsed());
                    }
                }
                Pick::Task(task) => {
                    drop(state);
                    let (stage, results) = self.execute(task);
                    state = lock(&self.state);
                    self.settle(&mut state, stage, results);
                    if state.waiting > 0 {
                        self.changed.notify_all();
                    }
                }
            }
        }
    }

    /// Chooses the latest stage that has work and room for what it makes.
    fn pick(&self, state: &mut State, group: Option<usize>) -> Pick {
        if state.failure.is_none() && self.job.cancel.is_cancelled() {
            state.failure = Some(Error::cancelled());
        }
        if state.failure.is_some() || state.queues.last().is_none_or(|q| q.closed) {
            return Pick::Over;
        }
        let mut wait = None;
        let mut scarce = false;
        for (index, stage) in self.stages.iter().enumerate().rev() {
            if group.is_some_and(|g| g != stage.group) {
                continue;
            }
            let Some(seq) = ready(state, index, &stage.work) else { continue };
            if scarce && stage.claim.is_some() {
                continue;
            }
            let lease = match self.claim(state, index, seq) {
                Claimed::Lease(lease) => lease,
                Claimed::Refused(reason) => {
                    // What is running will give memory back: a stage before this one must not take it.
                    scarce |= state.running > 0 && matches!(reason, Wait::Memory);
                    wait.get_or_insert((index, reason));
                    continue;
                }
            };
            return Pick::Task(start(state, stage, index, seq, lease));
        }
        if state.running == 0
            && let Some((index, seq)) = self.stuck(state)
            && self.stages.get(index).is_some_and(|s| group.is_none_or(|g| g == s.group))
        {
            return self.force(state, index, seq);
        }
        let (stage, reason) = wait.unwrap_or_else(|| {
            let last = self.stages.iter().rposition(|s| group.is_none_or(|g| g == s.group));
            (last.unwrap_or(0), Wait::Input)
        });
        Pick::Wait(stage, reason)
    }

    /// The item furthest along, if no thread of any group could start anything.
    fn stuck(&self, state: &State) -> Option<(usize, u64)> {
        let mut refused = None;
        for (index, stage) in self.stages.iter().enumerate().rev() {
            let Some(seq) = ready(state, index, &stage.work) else { continue };
            match self.claim(state, index, seq) {
                Claimed::Lease(_) => return None,
                Claimed::Refused(_) => refused = refused.or(Some((index, seq))),
            }
        }
        refused
    }

    /// Starts an item beyond the share of its account: nothing else can make progress.
    fn force(&self, state: &mut State, index: usize, seq: u64) -> Pick {
        let Some((stage, claim)) =
            self.stages.get(index).and_then(|s| s.claim.as_ref().map(|c| (s, c)))
        else {
            return Pick::Over;
        };
        let bytes = (claim.estimate)(waiting_value(state, index, seq));
        match self.job.budget.must_reserve(claim.account, bytes) {
            Ok(lease) => Pick::Task(start(state, stage, index, seq, Some(lease))),
            Err(error) => {
                state.failure = Some(error);
                Pick::Over
            }
        }
    }

    fn claim(&self, state: &State, index: usize, seq: u64) -> Claimed {
        let Some(claim) = self.stages.get(index).and_then(|s| s.claim.as_ref()) else {
            return Claimed::Lease(None);
        };
        if waiting_is_error(state, index, seq) {
            return Claimed::Lease(None);
        }
        let bytes = (claim.estimate)(waiting_value(state, index, seq));
        match self.job.budget.try_reserve(claim.account, bytes) {
            Some(lease) => Claimed::Lease(Some(lease)),
            None if self.job.budget.reserved() + bytes > self.job.budget.pool() => {
                Claimed::Refused(Wait::Memory)
            }
            None => Claimed::Refused(Wait::Output),
        }
    }

    /// Runs one task without the lock; a panic becomes an internal error.
    fn execute(&self, task: Task) -> (usize, Outcome) {
        let Task { stage: index, seq, value, lease } = task;
        let Some(stage) = self.stages.get(index) else {
            return (index, Outcome::failed(seq, Error::internal("no such stage")));
        };
        let bytes_in = value.as_ref().map_or(0, |v| v.as_ref().map_or(0, |v| (stage.weigh)(v)));
        if value.is_some() {
            stage.counters.dequeued(bytes_in);
        }
        let before = thread_cpu_time();
        let caught = catch_unwind(AssertUnwindSafe(|| match &stage.work {
            Work::Source(next) => match lock(next)(lease) {
                Ok(Some(value)) => Outcome::one(seq, Ok(value)),
                Ok(None) => Outcome { seq, values: Vec::new(), ended: true },
                Err(error) => Outcome { seq, values: vec![Err(error)], ended: true },
            },
            Work::Parallel(work) => match (value, lease) {
                (Some(Ok(value)), Some(lease)) => Outcome::one(seq, work(value, lease)),
                (Some(Err(error)), _) => Outcome::one(seq, Err(error)),
                _ => Outcome::one(seq, Err(Error::internal("stage without input"))),
            },
            Work::Ordered(work) => ordered(&mut lock(work), seq, value, lease),
        }));
        let outcome = caught.unwrap_or_else(|panic| {
            let text = panic
                .downcast_ref::<String>()
                .cloned()
                .or_else(|| panic.downcast_ref::<&str>().map(ToString::to_string));
            Outcome::failed(seq, Error::internal(text.unwrap_or_else(|| "panic".to_owned())))
        });
        let next = self.stages.get(index + 1);
        let bytes_out = outcome
            .values
            .iter()
            .map(|v| v.as_ref().map_or(0, |v| next.map_or(0, |n| (n.weigh)(v))))
            .sum();
        stage.counters.worked(thread_cpu_time().saturating_sub(before), bytes_in, bytes_out);
        (index, outcome)
    }

    /// Puts results into the next queue and notes what has come to its end.
    fn settle(&self, state: &mut State, index: usize, outcome: Outcome) {
        state.running -= 1;
        let last = index + 1 == self.stages.len();
        let mut fresh = Vec::with_capacity(outcome.values.len());
        if let (Some(queue), Some(stage)) = (state.queues.get_mut(index), self.stages.get(index)) {
            queue.running -= 1;
            for value in outcome.values {
                let seq = if matches!(stage.work, Work::Parallel(_)) {
                    outcome.seq
                } else {
                    queue.made += 1;
                    queue.made - 1
                };
                fresh.push((seq, value));
            }
            queue.closed |= outcome.ended;
        }
        if outcome.ended {
            // Whatever still waits before a stage that has ended (an error passed) is dropped,
            // and no stage before it goes on.
            for queue in state.queues.iter_mut().take(index + 1) {
                queue.closed = true;
                queue.waiting.clear();
            }
        }
        if last {
            if let Some((_, Err(error))) = fresh.into_iter().find(|(_, v)| v.is_err()) {
                state.failure.get_or_insert(error);
            }
        } else if let (Some(queue), Some(stage)) =
            (state.queues.get_mut(index + 1), self.stages.get(index + 1))
        {
            for (seq, value) in fresh {
                if queue.closed {
                    break;
                }
                stage.counters.queued(value.as_ref().map_or(0, |v| (stage.weigh)(v)));
                queue.waiting.insert(seq, value);
            }
        }
        self.close(state);
    }

    /// Passes the end of the stream on to stages that have nothing left to do.
    fn close(&self, state: &mut State) {
        for index in 1..self.stages.len() {
            let upstream = state.queues.get(index - 1).is_some_and(|q| q.closed && q.running == 0);
            let Some(queue) = state.queues.get_mut(index) else { continue };
            queue.upstream_closed |= upstream;
            let parallel =
                self.stages.get(index).is_some_and(|s| matches!(s.work, Work::Parallel(_)));
            if parallel && queue.upstream_closed && queue.running == 0 && queue.waiting.is_empty() {
                queue.closed = true;
            }
        }
    }

    fn fail(&self, error: Error) {
        lock(&self.state).failure.get_or_insert(error);
        self.changed.notify_all();
    }
}

enum Claimed {
    Lease(Option<Lease>),
    Refused(Wait),
}

struct Outcome {
    seq: u64,
    values: Vec<Value>,
    /// The stage will give nothing more.
    ended: bool,
}

impl Outcome {
    fn one(seq: u64, value: Value) -> Self {
        Self { seq, values: vec![value], ended: false }
    }

    fn failed(seq: u64, error: Error) -> Self {
        Self { seq, values: vec![Err(error)], ended: true }
    }
}

/// One call of an ordered stage: an item, the end, or an error that passes through.
fn ordered(
    work: &mut Ordered<'_>,
    seq: u64,
    value: Option<Value>,
    lease: Option<Lease>,
) -> Outcome {
    let mut out = Emitted::default();
    let (item, error) = match value {
        Some(Ok(item)) => (Some(item), None),
        Some(Err(error)) => (None, Some(error)),
        None => (None, None),
    };
    let was_item = item.is_some();
    out.failing = error.is_some();
    if let Err(own) = work(item, lease, &mut out) {
        // What a stage finds wrong with an end that is none comes of the error that passes.
        out.values.push(Err(error.unwrap_or(own)));
        out.ended = true;
    } else if let Some(error) = error.filter(|_| !out.ended) {
        out.values.push(Err(error));
    }
    Outcome { seq, values: out.values, ended: out.ended || !was_item }
}

/// The number of the item that a stage could work on now. The end of the stream counts as an
/// item of an ordered stage.
fn ready(state: &State, index: usize, work: &Work<'_>) -> Option<u64> {
    let queue = state.queues.get(index)?;
    if queue.closed {
        return None;
    }
    match work {
        Work::Source(_) => (queue.running == 0).then_some(queue.made),
        Work::Parallel(_) => queue.waiting.keys().next().copied(),
        Work::Ordered(_) => {
            let at_end = queue.upstream_closed && queue.waiting.is_empty();
            let next = queue.waiting.contains_key(&queue.next) || at_end;
            (queue.running == 0 && next).then_some(queue.next)
        }
    }
}

fn waiting_value(state: &State, index: usize, seq: u64) -> Option<&Erased> {
    state.queues.get(index)?.waiting.get(&seq)?.as_ref().ok()
}

fn waiting_is_error(state: &State, index: usize, seq: u64) -> bool {
    state.queues.get(index).and_then(|q| q.waiting.get(&seq)).is_some_and(Result::is_err)
}

fn start(
    state: &mut State,
    stage: &Stage<'_>,
    index: usize,
    seq: u64,
    lease: Option<Lease>,
) -> Task {
    state.running += 1;
    let mut value = None;
    if let Some(queue) = state.queues.get_mut(index) {
        queue.running += 1;
        value = queue.waiting.remove(&seq);
        if matches!(stage.work, Work::Ordered(_)) {
            queue.next += 1;
        }
    }
    Task { stage: index, seq, value, lease }
}
