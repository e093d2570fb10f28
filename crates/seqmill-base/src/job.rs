//! What every long call carries: cancel flag, progress counters, budget.

use crate::budget::Budget;
use crate::cancel::CancelToken;
use crate::progress::Progress;
use std::sync::Arc;

/// The context of one user request; clones refer to the same job.
#[derive(Debug, Clone)]
pub struct Job {
    /// Polled by every worker, at most 10 ms of work apart.
    pub cancel: CancelToken,
    /// Counters that a display samples.
    pub progress: Arc<Progress>,
    /// Where every stage draws its memory from.
    pub budget: Arc<Budget>,
}

impl Job {
    /// A job with the given budget.
    pub fn new(budget: Arc<Budget>) -> Self {
        Self { cancel: CancelToken::default(), progress: Arc::new(Progress::default()), budget }
    }
}
