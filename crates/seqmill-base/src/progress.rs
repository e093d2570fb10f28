//! Atomic counters of a job, sampled by whoever shows or exports them.

use std::sync::atomic::{AtomicU64, Ordering};

/// Counters of one job. Workers add, the calling thread samples.
#[derive(Debug, Default)]
pub struct Progress {
    /// Bytes of input consumed (compressed bytes for BGZF).
    pub bytes_in: AtomicU64,
    /// Total bytes of input; 0 when not known.
    pub bytes_total: AtomicU64,
    /// Bytes of output written.
    pub bytes_out: AtomicU64,
    /// Records read.
    pub records_in: AtomicU64,
    /// Records written or delivered.
    pub records_out: AtomicU64,
    /// Total records; 0 when not known.
    pub records_total: AtomicU64,
    /// Index of the input that is read now.
    pub file_index: AtomicU64,
}

/// The counters at one moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ProgressSnapshot {
    /// See [`Progress::bytes_in`].
    pub bytes_in: u64,
    /// See [`Progress::bytes_total`].
    pub bytes_total: Option<u64>,
    /// See [`Progress::bytes_out`].
    pub bytes_out: u64,
    /// See [`Progress::records_in`].
    pub records_in: u64,
    /// See [`Progress::records_out`].
    pub records_out: u64,
    /// See [`Progress::records_total`].
    pub records_total: Option<u64>,
    /// See [`Progress::file_index`].
    pub file_index: u64,
}

impl Progress {
    /// Adds to a counter.
    pub fn add(counter: &AtomicU64, n: u64) {
        counter.fetch_add(n, Ordering::Relaxed);
    }

    /// The counters now.
    pub fn snapshot(&self) -> ProgressSnapshot {
        let known = |counter: &AtomicU64| match counter.load(Ordering::Relaxed) {
            0 => None,
            n => Some(n),
        };
        ProgressSnapshot {
            bytes_in: self.bytes_in.load(Ordering::Relaxed),
            bytes_total: known(&self.bytes_total),
            bytes_out: self.bytes_out.load(Ordering::Relaxed),
            records_in: self.records_in.load(Ordering::Relaxed),
            records_out: self.records_out.load(Ordering::Relaxed),
            records_total: known(&self.records_total),
            file_index: self.file_index.load(Ordering::Relaxed),
        }
    }
}
