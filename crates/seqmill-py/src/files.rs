//! Small services on files: identity, BGZF.

use crate::error::to_python;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict};
use std::path::PathBuf;

/// Size, modification time and hash of a file (`workflow.md` C.1).
#[pyfunction]
pub(crate) fn fingerprint(py: Python<'_>, path: PathBuf) -> PyResult<Py<PyDict>> {
    let print = py
        .detach(|| seqmill_base::fingerprint::fingerprint(&path))
        .map_err(|e| to_python(py, &e))?;
    let dict = PyDict::new(py);
    dict.set_item("size", print.size)?;
    dict.set_item("mtime_ns", print.mtime_ns)?;
    dict.set_item("hash", print.hash)?;
    Ok(dict.unbind())
}

/// BGZF blocks of 65,280 bytes each, without the end marker.
#[pyfunction]
#[pyo3(signature = (data, level = 6))]
pub(crate) fn bgzf_compress(py: Python<'_>, data: Vec<u8>, level: i32) -> PyResult<Py<PyBytes>> {
    let compressed =
        py.detach(|| seqmill_io::bgzf::compress(&data, level)).map_err(|e| to_python(py, &e))?;
    Ok(PyBytes::new(py, &compressed).unbind())
}
