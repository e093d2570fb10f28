//! `seqmill coverage` and `seqmill.measure_coverage`.

use crate::arrow::{LastError, schema_capsule, stream_capsule};
use crate::error::to_python;
use crate::job::{new_job, read_options, run};
use pyo3::prelude::*;
use pyo3::types::PyCapsule;
use seqmill_base::{Job, Result};
use seqmill_convert::Resources;
use seqmill_count::coverage::{
    Options, Report, TableReader, assemble, measure, measure_share, plan_shares,
};
use serde_json::json;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError};

/// Measures coverage and writes the files; options and result are JSON (see `seqmill.coverage`).
#[pyfunction]
#[pyo3(signature = (options_json, progress = None))]
pub(crate) fn measure_coverage(
    py: Python<'_>,
    options_json: &str,
    progress: Option<Py<PyAny>>,
) -> PyResult<String> {
    let report = do_work(py, options_json, progress.as_ref(), measure)?;
    Ok(answer(&report.0))
}

/// Divides a job into shares (see `seqmill.engine.coverage`).
#[pyfunction]
pub(crate) fn coverage_plan(py: Python<'_>, options_json: &str) -> PyResult<String> {
    let (shares, warnings) = do_work(py, options_json, None, plan_shares)?;
    Ok(json!({"shares": shares, "warnings": warnings}).to_string())
}

/// Measures a share into a folder.
#[pyfunction]
pub(crate) fn coverage_share(py: Python<'_>, options_json: &str) -> PyResult<String> {
    let (figures, warnings) = do_work(py, options_json, None, measure_share)?;
    Ok(json!({"figures": figures, "warnings": warnings}).to_string())
}

/// Writes the files of a job from what its shares left.
#[pyfunction]
#[pyo3(signature = (options_json, progress = None))]
pub(crate) fn coverage_assemble(
    py: Python<'_>,
    options_json: &str,
    progress: Option<Py<PyAny>>,
) -> PyResult<String> {
    let report = do_work(py, options_json, progress.as_ref(), assemble)?;
    Ok(answer(&report.0))
}

fn answer(report: &Report) -> String {
    json!({"rows": report.rows, "warnings": report.warnings, "metrics": report.document})
        .to_string()
}

/// What work came to, and what was noticed, also if it failed.
type WithWarnings<T> = (Result<T>, Vec<String>);

/// Runs a job from its options; an exception carries the warnings that came before it.
fn do_work<T: Send + 'static>(
    py: Python<'_>,
    options_json: &str,
    progress: Option<&Py<PyAny>>,
    work: fn(&Options, &Job) -> WithWarnings<T>,
) -> PyResult<(T, Vec<String>)> {
    let mut options: Options = read_options(py, options_json)?;
    options.archives = crate::archive::ARCHIVES;
    let (threads, memory) = (options.threads, options.memory);
    let resources = Resources { threads, memory, ..Resources::default() };
    let job = new_job(py, &resources)?;
    let (result, warnings) = run(py, &job, progress, move |job| work(&options, job))?;
    result.map(|found| (found, warnings.clone())).map_err(|error| {
        let exception = to_python(py, &error);
        let _ = exception.value(py).setattr("warnings", warnings);
        exception
    })
}

/// A `coverage.tsv` as a stream of Arrow batches; every stream reads the file anew.
#[pyclass(frozen, module = "seqmill._native", name = "CoverageRows")]
pub(crate) struct CoverageRows {
    path: PathBuf,
    last_error: LastError,
}

#[pymethods]
impl CoverageRows {
    #[new]
    fn new(py: Python<'_>, path: PathBuf) -> PyResult<Self> {
        py.detach(|| TableReader::open(&path)).map_err(|e| to_python(py, &e))?;
        Ok(Self { path, last_error: LastError::default() })
    }

    /// The rows as a capsule.
    #[pyo3(signature = (requested_schema = None))]
    fn __arrow_c_stream__<'py>(
        &self,
        py: Python<'py>,
        requested_schema: Option<Py<PyAny>>,
    ) -> PyResult<Bound<'py, PyCapsule>> {
        // A producer may ignore the wish for another schema (Arrow PyCapsule interface).
        drop(requested_schema);
        let mut reader =
            py.detach(|| TableReader::open(&self.path)).map_err(|e| to_python(py, &e))?;
        let schema = reader.schema();
        stream_capsule(
            py,
            schema,
            Box::new(move || reader.next_batch()),
            Arc::clone(&self.last_error),
        )
    }

    /// The schema as a capsule.
    fn __arrow_c_schema__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyCapsule>> {
        let reader = py.detach(|| TableReader::open(&self.path)).map_err(|e| to_python(py, &e))?;
        schema_capsule(py, &reader.schema())
    }

    /// Raises the error that ended a stream, if one did.
    fn raise_error(&self, py: Python<'_>) -> PyResult<()> {
        let error = self.last_error.lock().unwrap_or_else(PoisonError::into_inner).clone();
        error.map_or(Ok(()), |e| Err(to_python(py, &e)))
    }
}
