//! Remote files: the engine's queue of ranges, served by the threads of `seqmill._remote`.

use crate::error::to_python;
use pyo3::prelude::*;
use pyo3::types::PyDict;
use seqmill_base::{Error, FormatKind};
use seqmill_io::{Remote, RemoteObject};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// The remote files of one job or store.
#[pyclass(frozen, module = "seqmill._native", name = "RemoteFiles")]
pub(crate) struct RemoteFiles {
    pub(crate) remote: Arc<Remote>,
}

#[pymethods]
impl RemoteFiles {
    #[new]
    fn new(ranges: u64, range_bytes: u64) -> Self {
        Self { remote: Remote::new(ranges, range_bytes) }
    }

    /// Makes a file known: its size, and a number that stands for its version.
    fn add(&self, path: PathBuf, size: u64, tag: i64) {
        self.remote.add(path, RemoteObject { size, tag });
    }

    /// The queue of wanted ranges, for those who read them.
    fn queue(&self) -> RangeQueue {
        RangeQueue { queue: self.remote.queue() }
    }

    /// Size, version and hash of a file, as `fingerprint` gives them of a local one.
    fn fingerprint<'py>(&self, py: Python<'py>, path: PathBuf) -> PyResult<Bound<'py, PyDict>> {
        let print = py.detach(|| self.remote.fingerprint(&path)).map_err(|e| to_python(py, &e))?;
        let answer = PyDict::new(py);
        answer.set_item("size", print.size)?;
        answer.set_item("mtime_ns", print.mtime_ns)?;
        answer.set_item("hash", print.hash)?;
        Ok(answer)
    }

    /// Ends all waiting; nothing can be read any more.
    fn close(&self) {
        self.remote.close();
    }
}

/// The readers' side of [`RemoteFiles`]: it does not keep them alive.
#[pyclass(frozen, module = "seqmill._native", name = "RangeQueue")]
pub(crate) struct RangeQueue {
    queue: Arc<seqmill_io::RangeQueue>,
}

#[pymethods]
impl RangeQueue {
    /// Waits for the next range that is wanted: its number, file, first byte and length. None when
    /// the files were closed.
    fn next_request(&self, py: Python<'_>) -> Option<(u64, String, u64, u64)> {
        let request = py.detach(|| self.queue.next_request())?;
        // Not as a path: that would make one slash of the two in an address.
        let place = request.path.to_string_lossy().into_owned();
        Some((request.id, place, request.offset, request.length))
    }

    /// Hands in the next bytes of a range; False when nobody wants them any more.
    fn append(&self, py: Python<'_>, number: u64, data: &[u8]) -> bool {
        py.detach(|| self.queue.append(number, data))
    }

    /// Ends a range that is complete.
    fn finish(&self, number: u64) {
        self.queue.finish(number, Ok(()));
    }

    /// Ends a range that cannot be had, with an error of the system.
    fn fail(&self, number: u64, path: PathBuf, errno: i32, text: String) {
        self.queue.finish(number, Err(Error::system(&path, errno, text)));
    }

    /// Ends a range of a file that is not what it was.
    fn fail_changed(&self, number: u64, path: PathBuf, offset: u64, text: String) {
        let error = Error::format(FormatKind::Changed, text);
        self.queue.finish(number, Err(error.at_path(&path).at_offset(offset)));
    }

    /// Waits some seconds; True as soon as nothing is wanted any more.
    fn wait_closed(&self, py: Python<'_>, seconds: f64) -> bool {
        let time = Duration::try_from_secs_f64(seconds).unwrap_or_default();
        py.detach(|| self.queue.wait_closed(time))
    }
}

/// The engine's side of files that Python may have given.
pub(crate) fn engine_side(files: Option<&Py<RemoteFiles>>) -> Option<Arc<Remote>> {
    files.map(|files| Arc::clone(&files.get().remote))
}
