//! Timers and counters of the stages of a pipeline (`workflow.md` B.3).

use serde::Serialize;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Counters of one stage; workers add to them.
#[derive(Debug, Default)]
pub struct StageCounters {
    busy_ns: AtomicU64,
    items: AtomicU64,
    bytes_in: AtomicU64,
    bytes_out: AtomicU64,
    wait_input_ns: AtomicU64,
    wait_output_ns: AtomicU64,
    wait_memory_ns: AtomicU64,
    queue_bytes: AtomicU64,
    queue_bytes_peak: AtomicU64,
}

/// Why a worker had nothing to do in a stage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wait {
    /// Nothing had arrived.
    Input,
    /// What it makes would not fit behind it.
    Output,
    /// The budget was used up.
    Memory,
}

/// The figures of one stage, as they stand in the metrics document.
#[derive(Debug, Clone, Default, Serialize)]
pub struct StageFigures {
    /// Name of the stage.
    pub name: String,
    /// Threads that may run it.
    pub threads: usize,
    /// Items it worked on.
    pub items: u64,
    /// CPU seconds of its work.
    pub busy_s: f64,
    /// Thread seconds without input.
    pub wait_input_s: f64,
    /// Thread seconds held back by what lies behind.
    pub wait_output_s: f64,
    /// Thread seconds held back by the budget.
    pub wait_memory_s: f64,
    /// Bytes it took in.
    pub bytes_in: u64,
    /// Bytes it gave out.
    pub bytes_out: u64,
    /// Most bytes that waited before it.
    pub queue_bytes_peak: u64,
}

impl StageCounters {
    /// One item done.
    pub fn worked(&self, cpu: Duration, bytes_in: u64, bytes_out: u64) {
        self.busy_ns.fetch_add(nanoseconds(cpu), Ordering::Relaxed);
        self.items.fetch_add(1, Ordering::Relaxed);
        self.bytes_in.fetch_add(bytes_in, Ordering::Relaxed);
        self.bytes_out.fetch_add(bytes_out, Ordering::Relaxed);
    }

    /// A thread stood still for the given reason.
    pub fn waited(&self, reason: Wait, time: Duration) {
        let counter = match reason {
            Wait::Input => &self.wait_input_ns,
            Wait::Output => &self.wait_output_ns,
            Wait::Memory => &self.wait_memory_ns,
        };
        counter.fetch_add(nanoseconds(time), Ordering::Relaxed);
    }

    /// An item of so many bytes joined the queue before the stage.
    pub fn queued(&self, bytes: u64) {
        let now = self.queue_bytes.fetch_add(bytes, Ordering::Relaxed) + bytes;
        self.queue_bytes_peak.fetch_max(now, Ordering::Relaxed);
    }

    /// An item of so many bytes left the queue before the stage.
    pub fn dequeued(&self, bytes: u64) {
        self.queue_bytes.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// The figures now.
    pub fn figures(&self, name: &str, threads: usize) -> StageFigures {
        let seconds = |counter: &AtomicU64| counter.load(Ordering::Relaxed) as f64 * 1e-9;
        StageFigures {
            name: name.to_owned(),
            threads,
            items: self.items.load(Ordering::Relaxed),
            busy_s: seconds(&self.busy_ns),
            wait_input_s: seconds(&self.wait_input_ns),
            wait_output_s: seconds(&self.wait_output_ns),
            wait_memory_s: seconds(&self.wait_memory_ns),
            bytes_in: self.bytes_in.load(Ordering::Relaxed),
            bytes_out: self.bytes_out.load(Ordering::Relaxed),
            queue_bytes_peak: self.queue_bytes_peak.load(Ordering::Relaxed),
        }
    }
}

fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}
