//! Long work on a thread of its own while the calling thread looks for signals.

use pyo3::prelude::*;
use seqmill_base::{CancelToken, Error, Result};
use seqmill_io::Remote;
use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;

/// Longest time the calling thread is away from the interpreter.
const AWAY: Duration = Duration::from_millis(50);

/// Runs `work`; a signal cancels `cancel`, and with it every wait for ranges of `remote`.
pub(crate) fn attentive<T: Send>(
    py: Python<'_>,
    remote: Option<&Arc<Remote>>,
    cancel: &CancelToken,
    work: impl FnOnce() -> Result<T> + Send,
) -> PyResult<Result<T>> {
    let _watch = remote.map(|remote| remote.stop_with(cancel.clone()));
    py.detach(|| {
        let (sender, receiver) = channel();
        std::thread::scope(|scope| {
            scope.spawn(move || sender.send(work()));
            let mut interrupt = None;
            loop {
                match receiver.recv_timeout(AWAY) {
                    Ok(result) => return interrupt.map_or(Ok(result), Err),
                    Err(RecvTimeoutError::Disconnected) => {
                        return Ok(Err(Error::internal("a thread ended without a result")));
                    }
                    Err(RecvTimeoutError::Timeout) if interrupt.is_none() => {
                        // This is the calling thread, so it may look for signals.
                        if let Err(error) = signals() {
                            cancel.cancel();
                            interrupt = Some(error);
                        }
                    }
                    Err(RecvTimeoutError::Timeout) => {}
                }
            }
        })
    })
}

/// What a signal that has come raises.
#[expect(clippy::redundant_closure_for_method_calls, reason = "the method is not general enough")]
fn signals() -> PyResult<()> {
    Python::attach(|py| py.check_signals())
}
