//! Batches on their way: one thread makes them, any works on them, the first takes the results.
//!
//! Work may end in any order; results are taken in the order in which the batches were sent. The
//! thread that waits for a result works on what waits itself, so nothing can stand still, and with
//! one worker all of it happens on the calling thread, by the same steps.

use serde::{Deserialize, Serialize};
use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// How batches travel; nothing here shows in a result.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PipelineOptions {
    /// Seeds in a batch.
    pub batch_size: usize,
    /// Batches that may be on their way.
    pub channel_capacity: usize,
    /// Share of channel or account above which no batch is made until it is under half of it.
    pub backpressure_threshold: Option<f64>,
}

impl Default for PipelineOptions {
    fn default() -> Self {
        Self { batch_size: 100, channel_capacity: 64, backpressure_threshold: Some(0.8) }
    }
}

/// What went through.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct FlowFigures {
    /// Batches.
    pub batches: u64,
    /// Seeds in them.
    pub seeds: u64,
    /// Most batches that were on their way at a time.
    pub most_in_flight: u64,
    /// Times the producer was stopped by the threshold.
    pub waits: u64,
}

/// Tells when the producer may send.
#[derive(Debug)]
pub(crate) struct Gauge {
    options: PipelineOptions,
    stopped: bool,
    pub(crate) figures: FlowFigures,
}

impl Gauge {
    pub(crate) fn new(options: PipelineOptions) -> Self {
        Self { options, stopped: false, figures: FlowFigures::default() }
    }

    /// Whether one more batch may be sent while so many are on their way and such a share of
    /// their account is in use.
    pub(crate) fn is_open(&mut self, in_flight: usize, account: f64) -> bool {
        let capacity = self.options.channel_capacity.max(1);
        let used = (in_flight as f64 / capacity as f64).max(account);
        if let Some(threshold) = self.options.backpressure_threshold {
            if in_flight == 0 || used < threshold / 2.0 {
                self.stopped = false;
            } else if used > threshold && !self.stopped {
                self.stopped = true;
                self.figures.waits += 1;
            }
        }
        in_flight == 0 || (!self.stopped && in_flight < capacity)
    }

    /// Notes a batch that was sent, the last of so many on their way.
    pub(crate) fn sent(&mut self, seeds: usize, in_flight: usize) {
        self.figures.batches += 1;
        self.figures.seeds += seeds as u64;
        self.figures.most_in_flight = self.figures.most_in_flight.max(in_flight as u64);
    }
}

/// Looks at what is to be done, or was done, before a thread sleeps.
const PAUSES: u32 = 1000;

/// What is to be done and what was done.
struct State<T, R> {
    waiting: VecDeque<(u64, T)>,
    /// Results by number, from `first` on.
    results: VecDeque<Option<R>>,
    first: u64,
    /// Pieces of one piece of work that goes before all batches.
    urgent: VecDeque<(usize, T)>,
    urgent_results: Vec<Option<R>>,
    urgent_left: usize,
    /// Workers that wait for something to do, and whether the desk waits for a result: to wake
    /// somebody costs, also where nobody sleeps.
    idle: usize,
    desk_waits: bool,
    closed: bool,
    /// A worker panicked; its thread tells of it when it is joined.
    broken: bool,
}

struct Shared<T, R> {
    state: Mutex<State<T, R>>,
    /// How often something was sent, and how often something was done.
    sent: AtomicU64,
    ended: AtomicU64,
    /// There is something to do, or nothing more will come.
    work: Condvar,
    /// Something was done.
    done: Condvar,
}

impl<T, R> Shared<T, R> {
    fn lock(&self) -> MutexGuard<'_, State<T, R>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets go of the state until `count` changes or some microseconds have gone: most waiting is
    /// over by then, and to sleep and to be woken takes longer.
    fn pause<'l>(
        &'l self,
        state: MutexGuard<'l, State<T, R>>,
        count: &AtomicU64,
    ) -> MutexGuard<'l, State<T, R>> {
        let before = count.load(Ordering::Relaxed);
        drop(state);
        for _ in 0..PAUSES {
            if count.load(Ordering::Relaxed) != before {
                break;
            }
            std::hint::spin_loop();
        }
        self.lock()
    }

    /// Lets the desk wait until something was done.
    fn wait_done<'l>(&'l self, state: MutexGuard<'l, State<T, R>>) -> MutexGuard<'l, State<T, R>> {
        let before = self.ended.load(Ordering::Relaxed);
        let mut state = self.pause(state, &self.ended);
        if state.broken || self.ended.load(Ordering::Relaxed) != before {
            return state;
        }
        state.desk_waits = true;
        let mut state = self.done.wait(state).unwrap_or_else(PoisonError::into_inner);
        state.desk_waits = false;
        state
    }
}

/// Where a result belongs.
#[derive(Clone, Copy)]
enum Slot {
    Batch(u64),
    Urgent(usize),
}

impl<T, R> State<T, R> {
    fn take(&mut self) -> Option<(Slot, T)> {
        if let Some((i, task)) = self.urgent.pop_front() {
            return Some((Slot::Urgent(i), task));
        }
        self.waiting.pop_front().map(|(id, task)| (Slot::Batch(id), task))
    }

    fn put(&mut self, slot: Slot, result: R) {
        match slot {
            Slot::Batch(id) => {
                let i = usize::try_from(id.wrapping_sub(self.first)).unwrap_or(usize::MAX);
                if let Some(place) = self.results.get_mut(i) {
                    *place = Some(result);
                }
            }
            Slot::Urgent(i) => {
                self.urgent_results[i] = Some(result);
                self.urgent_left -= 1;
            }
        }
    }
}

type Work<'w, W, T, R> = &'w (dyn Fn(&mut W, T) -> R + Sync);

/// The place of the thread that makes batches and takes results.
pub(crate) struct Desk<'d, W, T, R> {
    shared: &'d Shared<T, R>,
    worker: &'d mut W,
    work: Work<'d, W, T, R>,
    threads: usize,
    sent: u64,
}

/// Wakes everybody when the desk or a worker is left, however that happens.
struct Leaving<'l, T, R>(&'l Shared<T, R>, bool);

impl<T, R> Drop for Leaving<'_, T, R> {
    fn drop(&mut self) {
        let Self(shared, desk) = self;
        let mut state = shared.lock();
        state.closed |= *desk;
        state.broken |= std::thread::panicking();
        if state.closed || state.broken {
            state.waiting.clear();
            state.urgent.clear();
            shared.work.notify_all();
            shared.done.notify_all();
        }
    }
}

/// Runs `body` at the desk while the other workers do what it sends.
pub(crate) fn run<W: Send, T: Send, R: Send, A>(
    workers: &mut [W],
    work: Work<'_, W, T, R>,
    body: impl FnOnce(&mut Desk<'_, W, T, R>) -> A,
) -> A {
    let shared = Shared {
        state: Mutex::new(State {
            waiting: VecDeque::new(),
            results: VecDeque::new(),
            first: 0,
            urgent: VecDeque::new(),
            urgent_results: Vec::new(),
            urgent_left: 0,
            idle: 0,
            desk_waits: false,
            closed: false,
            broken: false,
        }),
        sent: AtomicU64::new(0),
        ended: AtomicU64::new(0),
        work: Condvar::new(),
        done: Condvar::new(),
    };
    let threads = workers.len();
    std::thread::scope(|scope| {
        let (own, others) = workers.split_at_mut(1);
        for worker in others {
            let shared = &shared;
            scope.spawn(move || serve(shared, worker, work));
        }
        let _leaving = Leaving(&shared, true);
        body(&mut Desk { shared: &shared, worker: &mut own[0], work, threads, sent: 0 })
    })
}

fn serve<W, T, R>(shared: &Shared<T, R>, worker: &mut W, work: Work<'_, W, T, R>) {
    let _leaving = Leaving(shared, false);
    loop {
        let mut state = shared.lock();
        let (slot, task) = loop {
            if state.closed || state.broken {
                return;
            }
            if let Some(taken) = state.take() {
                break taken;
            }
            state = shared.pause(state, &shared.sent);
            if let Some(taken) = state.take() {
                break taken;
            }
            if state.closed || state.broken {
                return;
            }
            state.idle += 1;
            state = shared.work.wait(state).unwrap_or_else(PoisonError::into_inner);
            state.idle -= 1;
        };
        drop(state);
        let result = work(worker, task);
        let mut state = shared.lock();
        state.put(slot, result);
        shared.ended.fetch_add(1, Ordering::Relaxed);
        let wake = state.desk_waits;
        drop(state);
        if wake {
            shared.done.notify_one();
        }
    }
}

impl<W, T, R> Desk<'_, W, T, R> {
    /// Threads that work, this one included.
    pub(crate) fn threads(&self) -> usize {
        self.threads
    }

    /// The worker of this thread.
    pub(crate) fn own(&mut self) -> &mut W {
        self.worker
    }

    /// Sends a batch; its number.
    pub(crate) fn send(&mut self, task: T) -> u64 {
        let id = self.sent;
        self.sent += 1;
        let mut state = self.shared.lock();
        state.waiting.push_back((id, task));
        self.shared.sent.fetch_add(1, Ordering::Relaxed);
        state.results.push_back(None);
        let wake = state.idle > 0;
        drop(state);
        if wake {
            self.shared.work.notify_one();
        }
        id
    }

    /// The result of the first batch whose result was not taken; `None` if there is none.
    pub(crate) fn take(&mut self) -> Option<R> {
        let mut state = self.shared.lock();
        loop {
            if state.broken {
                return None;
            }
            match state.results.front_mut() {
                None => return None,
                Some(front) => {
                    if let Some(result) = front.take() {
                        state.results.pop_front();
                        state.first += 1;
                        return Some(result);
                    }
                }
            }
            if let Some((slot, task)) = state.take() {
                drop(state);
                let result = (self.work)(self.worker, task);
                state = self.shared.lock();
                state.put(slot, result);
            } else {
                state = self.shared.wait_done(state);
            }
        }
    }

    /// Does pieces of work before all that waits, with all threads; then gives the results to
    /// `each`, in their order.
    pub(crate) fn together(
        &mut self,
        tasks: impl IntoIterator<Item = T>,
        mut each: impl FnMut(usize, R),
    ) {
        let mut state = self.shared.lock();
        state.urgent.extend(tasks.into_iter().enumerate());
        self.shared.sent.fetch_add(1, Ordering::Relaxed);
        let count = state.urgent.len();
        state.urgent_left = count;
        state.urgent_results.clear();
        state.urgent_results.resize_with(count, || None);
        for _ in 1..count.min(state.idle + 1) {
            self.shared.work.notify_one();
        }
        while state.urgent_left > 0 && !state.broken {
            if let Some((i, task)) = state.urgent.pop_front() {
                drop(state);
                let result = (self.work)(self.worker, task);
                state = self.shared.lock();
                state.put(Slot::Urgent(i), result);
            } else {
                state = self.shared.wait_done(state);
            }
        }
        for (i, result) in state.urgent_results.drain(..).enumerate() {
            if let Some(result) = result {
                each(i, result);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_come_in_order_whatever_the_threads() {
        for threads in 1..5 {
            let mut workers = vec![0_u64; threads];
            let work = |done: &mut u64, task: u64| {
                *done += 1;
                if task % 7 == 3 {
                    std::thread::yield_now();
                }
                task * task
            };
            let taken = run(&mut workers, &work, |desk| {
                let mut gauge = Gauge::new(PipelineOptions::default());
                let (mut next, mut in_flight, mut taken) = (0, 0, Vec::new());
                while next < 500 || in_flight > 0 {
                    while next < 500 && gauge.is_open(in_flight, 0.0) {
                        assert_eq!(desk.send(next), next);
                        next += 1;
                        in_flight += 1;
                    }
                    if next == 250 {
                        let mut squares = Vec::new();
                        desk.together(1..4, |i, square| squares.push((i, square)));
                        assert_eq!(squares, [(0, 1), (1, 4), (2, 9)]);
                    }
                    taken.extend(desk.take());
                    in_flight -= 1;
                }
                assert_eq!(desk.take(), None);
                taken
            });
            assert_eq!(taken, (0..500).map(|i| i * i).collect::<Vec<_>>());
            assert!(workers.iter().sum::<u64>() >= 500);
        }
    }

    #[test]
    fn the_producer_waits_until_use_is_under_half_the_threshold() {
        let options = PipelineOptions { channel_capacity: 10, ..PipelineOptions::default() };
        let mut gauge = Gauge::new(options);
        assert!((0..9).all(|n| gauge.is_open(n, 0.0)));
        assert!(!gauge.is_open(9, 0.0));
        assert!(!gauge.is_open(5, 0.0));
        assert!(gauge.is_open(3, 0.0));
        // The account counts like the channel; with nothing on its way there is no waiting.
        assert!(!gauge.is_open(3, 0.9));
        assert!(gauge.is_open(0, 0.9));
        assert_eq!(gauge.figures.waits, 2);
        let mut free = Gauge::new(PipelineOptions { backpressure_threshold: None, ..options });
        assert!(free.is_open(9, 0.99) && !free.is_open(10, 0.0));
        let strict = PipelineOptions { backpressure_threshold: Some(0.0), ..options };
        let mut strict = Gauge::new(strict);
        assert!(strict.is_open(0, 0.0) && !strict.is_open(1, 0.0) && strict.is_open(0, 0.0));
    }

    #[test]
    fn a_panic_of_a_worker_reaches_the_caller() {
        let caught = std::panic::catch_unwind(|| {
            let mut workers = [0, 1];
            let work = |worker: &mut i32, task: i32| {
                assert!(*worker == 0 || task < 5, "as asked for");
                std::thread::sleep(std::time::Duration::from_millis(1));
            };
            run(&mut workers, &work, |desk| {
                for task in 0..50 {
                    desk.send(task);
                }
                while desk.take().is_some() {}
            });
        });
        assert!(caught.is_err());
    }
}
