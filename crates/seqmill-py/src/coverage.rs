//! `seqmill coverage` and `seqmill.measure_coverage`.

use crate::arrow::{LastError, schema_capsule, stream_capsule};
use crate::error::to_python;
use crate::job::{new_job, run};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyCapsule;
use seqmill_convert::Resources;
use seqmill_count::coverage::{Options, TableReader, measure};
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
    let mut options: Options = serde_json::from_str(options_json)
        .map_err(|e| PyValueError::new_err(format!("options: {e}")))?;
    options.archives = crate::archive::ARCHIVES;
    let (threads, memory) = (options.threads, options.memory);
    let resources = Resources { threads, memory, ..Resources::default() };
    let job = new_job(py, &resources)?;
    let (result, warnings) = run(py, &job, progress.as_ref(), move |job| measure(&options, job))?;
    match result {
        Ok(report) => {
            let answer = json!({
                "rows": report.rows,
                "warnings": report.warnings,
                "metrics": report.document,
            });
            Ok(answer.to_string())
        }
        Err(error) => {
            let exception = to_python(py, &error);
            let _ = exception.value(py).setattr("warnings", warnings);
            Err(exception)
        }
    }
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
