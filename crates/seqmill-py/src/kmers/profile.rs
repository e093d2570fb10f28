//! Profiles of files as an iterator.

use super::table::as_bytes;
use crate::error::to_python;
use crate::job::{new_job, run};
use pyo3::prelude::*;
use pyo3::types::PyBytes;
use seqmill_base::{Error, Job};
use seqmill_convert::Resources;
use seqmill_count::kmers::skm::SkmTable;
use seqmill_count::kmers::{FileProfile, ProfileStretch, write_profile};
use std::path::PathBuf;
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

    /// The next stretch as lines of text: record, first base, count or NA.
    fn next_lines<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyBytes>>> {
        py.check_signals()?;
        let lines = py.detach(|| {
            let Some(stretch) = self.next()? else { return Ok(None) };
            let mut text = Vec::with_capacity(16 * stretch.counts.len());
            stretch.append_lines(&mut text);
            Ok(Some(text))
        });
        let lines = lines.map_err(|e: Error| to_python(py, &e))?;
        Ok(lines.map(|text| PyBytes::new(py, &text)))
    }
}

impl KmerProfile {
    fn next(&self) -> Result<Option<ProfileStretch>, Error> {
        self.profile.lock().unwrap_or_else(PoisonError::into_inner).next_stretch()
    }
}

/// Writes the profile of a file as Parquet; gives the bytes of the output.
#[pyfunction]
pub(crate) fn kmers_profile_table(
    py: Python<'_>,
    table: PathBuf,
    path: PathBuf,
    windows: usize,
    output: PathBuf,
    force: bool,
) -> PyResult<u64> {
    let job = new_job(py, &Resources { memory: 1 << 40, ..Resources::default() })?;
    let work = move |job: &Job| {
        let table = Arc::new(SkmTable::open(&table)?);
        let mut profile = FileProfile::open(table, &path, crate::archive::ARCHIVES, windows, job)?;
        write_profile(&mut profile, &output, force, job)
    };
    run(py, &job, None, work)?.map_err(|e| to_python(py, &e))
}

/// Goes through the profile of a file in stretches of about `windows` windows.
#[pyfunction]
pub(crate) fn kmers_profile(
    py: Python<'_>,
    table: PathBuf,
    path: PathBuf,
    windows: usize,
) -> PyResult<KmerProfile> {
    let job = new_job(py, &Resources { memory: 1 << 40, ..Resources::default() })?;
    let opened = py.detach(|| {
        let table = Arc::new(SkmTable::open(&table)?);
        FileProfile::open(table, &path, crate::archive::ARCHIVES, windows, &job)
    });
    let profile = opened.map_err(|e| to_python(py, &e))?;
    Ok(KmerProfile { profile: Mutex::new(profile) })
}
