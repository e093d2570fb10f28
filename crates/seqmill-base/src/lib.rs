//! The substrate every capability stands on: errors, the memory budget, bounded pipelines,
//! cancellation, progress, metrics, resumable state and atomic outputs.
//!
//! This crate knows no file format, no Arrow and no Python.

pub mod budget;
pub mod cancel;
pub mod checkpoint;
pub mod error;
pub mod fingerprint;
pub mod job;
pub mod large_pages;
pub mod metrics;
pub mod pipeline;
pub mod prefetch;
pub mod process;
pub mod progress;
pub mod sink;
pub mod write_behind;

pub use budget::{Budget, Lease};
pub use cancel::CancelToken;
pub use error::{Error, ErrorKind, FormatKind, Result};
pub use job::Job;
pub use progress::{Progress, ProgressSnapshot};
