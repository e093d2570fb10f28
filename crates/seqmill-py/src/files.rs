//! Small services on files: identity, BGZF.

use crate::error::to_python;
use crate::job::{new_job, run};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict};
use seqmill_base::sink::{AtomicFile, write_atomically};
use seqmill_base::{Job, Result};
use seqmill_convert::Resources;
use seqmill_io::bgzf::compress_source;
use seqmill_io::{IoMode, open_source};
use std::path::PathBuf;

/// Size, modification time and hash of a file, or of a sample of an archive (`workflow.md` C.1).
#[pyfunction]
pub(crate) fn fingerprint(py: Python<'_>, path: PathBuf) -> PyResult<Py<PyDict>> {
    let print = py
        .detach(|| seqmill_io::sequence::input_fingerprint(&path))
        .map_err(|e| to_python(py, &e))?;
    let dict = PyDict::new(py);
    dict.set_item("size", print.size)?;
    dict.set_item("mtime_ns", print.mtime_ns)?;
    dict.set_item("hash", print.hash)?;
    Ok(dict.unbind())
}

/// Size and XXH3-64 of all of a file.
#[pyfunction]
pub(crate) fn hash_file(py: Python<'_>, path: PathBuf) -> PyResult<(u64, String)> {
    py.detach(|| seqmill_base::fingerprint::hash_file(&path)).map_err(|e| to_python(py, &e))
}

/// XXH3-128 of bytes, the form of the keys of jobs and units (`workflow.md` C.1).
#[pyfunction]
pub(crate) fn hash_bytes(data: &[u8]) -> String {
    seqmill_base::fingerprint::hash_bytes(data)
}

/// BGZF blocks of 65,280 bytes each, without the end marker.
#[pyfunction]
#[pyo3(signature = (data, level = 6))]
pub(crate) fn bgzf_compress(py: Python<'_>, data: Vec<u8>, level: i32) -> PyResult<Py<PyBytes>> {
    let compressed =
        py.detach(|| seqmill_io::bgzf::compress(&data, level)).map_err(|e| to_python(py, &e))?;
    Ok(PyBytes::new(py, &compressed).unbind())
}

/// Compresses a file into BGZF with the end marker, and writes `OUT.gzi` beside it if `gzi`.
#[pyfunction]
#[pyo3(signature = (source, output, *, level = 6, threads = 1, memory = 256 << 20, gzi = false, force = false))]
#[expect(clippy::too_many_arguments, reason = "keywords of a Python function")]
pub(crate) fn bgzf_compress_file(
    py: Python<'_>,
    source: PathBuf,
    output: PathBuf,
    level: i32,
    threads: usize,
    memory: u64,
    gzi: bool,
    force: bool,
) -> PyResult<()> {
    let resources = Resources { threads, memory, ..Resources::default() };
    let job = new_job(py, &resources)?;
    let work = move |job: &Job| -> Result<()> {
        let input = open_source(&source, IoMode::Read)?;
        let aside = AtomicFile::create(&output, force)?;
        let mut file = aside.file();
        let index = compress_source(&input, &mut file, &output, level, threads, job)?;
        if gzi {
            let mut name = output.as_os_str().to_owned();
            name.push(".gzi");
            write_atomically(&PathBuf::from(name), &index.to_bytes())?;
        }
        aside.commit()
    };
    run(py, &job, None, work)?.map_err(|e| to_python(py, &e))
}
