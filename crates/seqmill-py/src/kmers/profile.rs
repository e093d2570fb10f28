//! Profiles of files as an iterator.

use super::table::as_bytes;
use crate::error::to_python;
use crate::job::{new_job, run};
use pyo3::prelude::*;
use pyo3::types::PyBytes;
use seqmill_base::{Error, Job};
use seqmill_convert::Resources;
use seqmill_count::kmers::skm::SkmTable;
use seqmill_count::kmers::{
    FileProfile, ProfileLines, ProfileStretch, profile_table_claim, write_profile,
};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

/// Name, first window, counts (u64), and a byte for each window that has a count.
type Stretch<'py> = (Bound<'py, PyBytes>, u64, Bound<'py, PyBytes>, Bound<'py, PyBytes>);

/// Stretches of the profile of a file.
#[pyclass(frozen, module = "seqmill._native", name = "KmerProfile")]
pub(crate) struct KmerProfile {
    profile: Mutex<FileProfile>,
}

#[pymethods]
impl KmerProfile {
    fn __iter__(slf: PyRef<'_, Self>) -> PyRef<'_, Self> {
        slf
    }

    fn __next__<'py>(&self, py: Python<'py>) -> PyResult<Option<Stretch<'py>>> {
        py.check_signals()?;
        let Some(stretch) = py.detach(|| self.next()).map_err(|e| to_python(py, &e))? else {
            return Ok(None);
        };
        Ok(Some((
            PyBytes::new(py, &stretch.name),
            stretch.start,
            as_bytes(py, &stretch.counts)?,
            PyBytes::new(py, &stretch.valid),
        )))
    }
}

impl KmerProfile {
    fn next(&self) -> Result<Option<ProfileStretch>, Error> {
        self.profile.lock().unwrap_or_else(PoisonError::into_inner).next_stretch()
    }
}

/// The lines of the profile of a file, some at a time.
#[pyclass(frozen, module = "seqmill._native", name = "KmerProfileLines")]
pub(crate) struct KmerProfileLines {
    lines: Mutex<ProfileLines>,
}

#[pymethods]
impl KmerProfileLines {
    fn __iter__(slf: PyRef<'_, Self>) -> PyRef<'_, Self> {
        slf
    }

    fn __next__<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyBytes>>> {
        py.check_signals()?;
        let next = || self.lines.lock().unwrap_or_else(PoisonError::into_inner).next_lines();
        let text = py.detach(next).map_err(|e: Error| to_python(py, &e))?;
        Ok(text.map(|text| PyBytes::new(py, &text)))
    }
}

fn budget(memory: u64) -> Resources {
    Resources { threads: 1, memory, ..Resources::default() }
}

/// Writes the profile of a file as Parquet; gives the bytes of the output.
#[pyfunction]
pub(crate) fn kmers_profile_table(
    py: Python<'_>,
    table: PathBuf,
    path: PathBuf,
    output: PathBuf,
    force: bool,
    memory: u64,
) -> PyResult<u64> {
    let job = new_job(py, &budget(memory))?;
    let work = move |job: &Job| {
        let table = Arc::new(SkmTable::open(&table)?);
        let claim = profile_table_claim(job);
        let mut profile = FileProfile::open(table, &path, crate::archive::ARCHIVES, claim, job)?;
        write_profile(&mut profile, &output, force, job)
    };
    run(py, &job, None, work)?.map_err(|e| to_python(py, &e))
}

fn open(
    py: Python<'_>,
    table: &Path,
    path: &Path,
    memory: u64,
    output: u64,
) -> PyResult<FileProfile> {
    let job = new_job(py, &budget(memory))?;
    let opened = py.detach(|| {
        let table = Arc::new(SkmTable::open(table)?);
        FileProfile::open(table, path, crate::archive::ARCHIVES, output, &job)
    });
    opened.map_err(|e| to_python(py, &e))
}

/// Goes through the profile of a file in stretches of windows; arrays of these are not in the budget.
#[pyfunction]
#[expect(clippy::needless_pass_by_value, reason = "arguments come from Python")]
pub(crate) fn kmers_profile(
    py: Python<'_>,
    table: PathBuf,
    path: PathBuf,
    memory: u64,
) -> PyResult<KmerProfile> {
    let profile = open(py, &table, &path, memory, 0)?;
    Ok(KmerProfile { profile: Mutex::new(profile) })
}

/// Goes through the lines of the profile of a file: of windows, or of runs of equal counts.
#[pyfunction]
#[expect(clippy::needless_pass_by_value, reason = "arguments come from Python")]
pub(crate) fn kmers_profile_lines(
    py: Python<'_>,
    table: PathBuf,
    path: PathBuf,
    runs: bool,
    memory: u64,
) -> PyResult<KmerProfileLines> {
    let profile = open(py, &table, &path, memory, ProfileLines::OUTPUT_BYTES)?;
    Ok(KmerProfileLines { lines: Mutex::new(ProfileLines::new(profile, runs)) })
}
