//! The one way in which a long call runs (`style.md` §3): the kernel on a thread of its own, the
//! calling thread waiting for it, seeing to signals and progress.

use crate::error::to_python;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyDict;
use seqmill_base::process::memory_figures;
use seqmill_base::{Budget, Error, Job};
use seqmill_convert::Resources;
use serde::de::DeserializeOwned;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::{Duration, Instant};

/// Longest time the calling thread is away from the interpreter.
const AWAY: Duration = Duration::from_millis(50);
/// Least time between two progress calls.
const PROGRESS_EVERY: Duration = Duration::from_millis(100);
/// Stack, allocator caches and compressor state of one thread.
const THREAD_BYTES: u64 = 1 << 20;

/// Reads the options of a call, which are JSON.
pub(crate) fn read_options<T: DeserializeOwned>(py: Python<'_>, text: &str) -> PyResult<T> {
    serde_json::from_str(text).map_err(|error| {
        // Python writes a byte of a name that is no text as half of a character.
        let lone = text.find("\\udc").filter(|_| error.is_syntax());
        let Some(at) = lone else {
            return PyValueError::new_err(format!("options: {error}"));
        };
        let begin = text[..at].rfind('"').map_or(0, |quote| quote + 1);
        let end = text[at..].find('"').map_or(text.len(), |quote| at + quote);
        let what = format!("{}: is not UTF-8; give the file another name", &text[begin..end]);
        to_python(py, &Error::input(what))
    })
}

/// A job with the budget of `resources`: what the process holds already, the threads and a
/// twentieth for fragmentation are taken off (`workflow.md` A.3).
pub(crate) fn new_job(py: Python<'_>, resources: &Resources) -> PyResult<Job> {
    let threads = match resources.stage_threads {
        Some(counts) => counts.iter().sum(),
        None => resources.threads,
    };
    let overhead =
        memory_figures().rss.unwrap_or(0) + THREAD_BYTES * threads as u64 + resources.memory / 20;
    let budget = Budget::new(resources.memory, overhead).map_err(|e| to_python(py, &e))?;
    Ok(Job::new(budget))
}

/// The counters as a dict for the callback.
fn sample(py: Python<'_>, job: &Job, done: bool) -> PyResult<Py<PyDict>> {
    let now = job.progress.snapshot();
    let info = PyDict::new(py);
    info.set_item("file_index", now.file_index)?;
    info.set_item("records", now.records_in)?;
    info.set_item("records_total", now.records_total)?;
    info.set_item("input_bytes", now.bytes_in)?;
    info.set_item("input_total", now.bytes_total)?;
    info.set_item("output_bytes", now.bytes_out)?;
    info.set_item("rss", memory_figures().rss)?;
    info.set_item("done", done)?;
    Ok(info.unbind())
}

/// Calls the callback; `false` from it asks for cancellation.
fn tell(py: Python<'_>, callback: &Py<PyAny>, job: &Job, done: bool) -> PyResult<bool> {
    let answer = callback.call1(py, (sample(py, job, done)?,))?;
    Ok(!answer.bind(py).is(pyo3::types::PyBool::new(py, false)))
}

/// Runs `work` on a thread and waits for it.
pub(crate) fn run<T: Send + 'static>(
    py: Python<'_>,
    job: &Job,
    callback: Option<&Py<PyAny>>,
    work: impl FnOnce(&Job) -> T + Send + 'static,
) -> PyResult<T> {
    let (sender, receiver) = channel();
    let own = job.clone();
    let builder = std::thread::Builder::new().name("seqmill-job".to_owned());
    let thread = builder
        .spawn(move || {
            let _ = sender.send(work(&own));
        })
        .map_err(|e| to_python(py, &Error::internal(format!("no thread can be started: {e}"))))?;
    let mut failure: Option<PyErr> = None;
    let mut told = Instant::now();
    let fail = |error: PyErr, failure: &mut Option<PyErr>| {
        job.cancel.cancel();
        failure.get_or_insert(error);
    };
    if let Some(callback) = callback
        && let Err(error) = tell(py, callback, job, false).and_then(continue_or_cancel)
    {
        fail(error, &mut failure);
    }
    let receiver = std::sync::Mutex::new(receiver);
    let result = loop {
        let received = py.detach(|| {
            let receiver = receiver.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            receiver.recv_timeout(AWAY)
        });
        match received {
            Ok(value) => break Some(value),
            Err(RecvTimeoutError::Disconnected) => break None,
            Err(RecvTimeoutError::Timeout) => {}
        }
        if failure.is_some() {
            continue;
        }
        if let Err(error) = py.check_signals() {
            fail(error, &mut failure);
            continue;
        }
        if let Some(callback) = callback
            && told.elapsed() >= PROGRESS_EVERY
        {
            told = Instant::now();
            if let Err(error) = tell(py, callback, job, false).and_then(continue_or_cancel) {
                fail(error, &mut failure);
            }
        }
    };
    let joined = py.detach(|| thread.join());
    if let Some(error) = failure {
        return Err(error);
    }
    py.check_signals()?;
    if let Some(callback) = callback {
        tell(py, callback, job, true)?;
    }
    match (result, joined) {
        (Some(value), _) => Ok(value),
        (None, _) => {
            Err(to_python(py, &Error::internal("the job's thread ended without a result")))
        }
    }
}

fn continue_or_cancel(go_on: bool) -> PyResult<()> {
    if go_on {
        return Ok(());
    }
    Python::attach(|py| Err(to_python(py, &Error::cancelled())))
}
