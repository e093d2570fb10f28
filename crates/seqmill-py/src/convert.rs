//! `seqmill convert` and `seqmill.scan_alignments`.

use crate::arrow::{LastError, schema_capsule, stream_capsule};
use crate::attention::attentive;
use crate::error::to_python;
use crate::job::{new_job, read_options, run};
use crate::remote::{RemoteFiles, engine_side};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyCapsule;
use seqmill_base::{CancelToken, Error, Job};
use seqmill_convert::{Batches, Inputs, Options, Semantic};
use serde_json::{Value, json};
use std::sync::{Arc, Mutex, PoisonError};

/// Converts inputs into one output; options and result are JSON (see `seqmill.alignments`).
#[pyfunction]
#[pyo3(signature = (options_json, progress = None, overview = false, remote = None))]
pub(crate) fn convert(
    py: Python<'_>,
    options_json: &str,
    progress: Option<Py<PyAny>>,
    overview: bool,
    remote: Option<Py<RemoteFiles>>,
) -> PyResult<String> {
    let mut options: Options = read_options(py, options_json)?;
    options.remote = engine_side(remote.as_ref());
    let job = new_job(py, &options.resources)?;
    let _watch = options.remote.as_ref().map(|r| r.stop_with(job.cancel.clone()));
    let (result, warnings) = run(py, &job, progress.as_ref(), move |job| {
        seqmill_convert::convert(&options, job, overview)
    })?;
    let report = match result {
        Ok(report) => report,
        Err(error) => {
            let exception = to_python(py, &error);
            let _ = exception.value(py).setattr("warnings", warnings);
            return Err(exception);
        }
    };
    let answer = json!({
        "records": report.records,
        "bytes": report.bytes,
        "warnings": report.warnings,
        "metrics": report.document,
    });
    Ok(answer.to_string())
}

/// Writes the chunk index of each input beside it; returns the paths.
#[pyfunction]
#[pyo3(signature = (options_json, progress = None))]
pub(crate) fn make_chunk_index(
    py: Python<'_>,
    options_json: &str,
    progress: Option<Py<PyAny>>,
) -> PyResult<Vec<std::path::PathBuf>> {
    let options: Options = read_options(py, options_json)?;
    let job = new_job(py, &options.resources)?;
    run(py, &job, progress.as_ref(), move |job| seqmill_convert::index_only(&options, job))?
        .map_err(|e| to_python(py, &e))
}

/// Opened inputs of which any number of streams can be made.
#[pyclass(frozen, module = "seqmill._native", name = "AlignmentScan")]
pub(crate) struct AlignmentScan {
    inputs: Mutex<Option<Arc<Inputs>>>,
    options: Options,
}

/// `options.semantic` with some of its keys replaced.
fn with_overrides(semantic: &Semantic, overrides: &str) -> PyResult<Semantic> {
    let bad = |e: serde_json::Error| PyValueError::new_err(format!("options: {e}"));
    let mut all = serde_json::to_value(semantic).map_err(bad)?;
    let new: Value = serde_json::from_str(overrides).map_err(bad)?;
    if let (Some(all), Value::Object(new)) = (all.as_object_mut(), new) {
        all.extend(new);
    }
    serde_json::from_value(all).map_err(bad)
}

impl AlignmentScan {
    fn inputs(&self, py: Python<'_>) -> PyResult<Arc<Inputs>> {
        let inputs = self.inputs.lock().unwrap_or_else(PoisonError::into_inner);
        inputs.clone().ok_or_else(|| to_python(py, &Error::input("the scan is closed")))
    }
}

#[pymethods]
impl AlignmentScan {
    #[new]
    #[pyo3(signature = (options_json, remote = None))]
    fn new(py: Python<'_>, options_json: &str, remote: Option<Py<RemoteFiles>>) -> PyResult<Self> {
        let mut options: Options = read_options(py, options_json)?;
        options.remote = engine_side(remote.as_ref());
        let inputs = if options.remote.is_some() {
            // Whoever waits for a server can be interrupted.
            let cancel = CancelToken::default();
            attentive(py, options.remote.as_ref(), &cancel, || Inputs::open(&options))?
        } else {
            py.detach(|| Inputs::open(&options))
        };
        let inputs = inputs.map_err(|e| to_python(py, &e))?;
        Ok(Self { inputs: Mutex::new(Some(Arc::new(inputs))), options })
    }

    /// SAM header text of the first input.
    #[getter]
    fn header(&self, py: Python<'_>) -> PyResult<String> {
        Ok(self.inputs(py)?.header().to_owned())
    }

    /// Names and lengths of the references.
    #[getter]
    fn references(&self, py: Python<'_>) -> PyResult<Vec<(String, u64)>> {
        let inputs = self.inputs(py)?;
        Ok(inputs.references().map(|(name, length)| (name.to_owned(), length)).collect())
    }

    /// Warnings so far.
    #[getter]
    fn warnings(&self, py: Python<'_>) -> PyResult<Vec<String>> {
        Ok(self.inputs(py)?.warnings())
    }

    /// The schema as a capsule.
    #[pyo3(signature = (overrides_json = "{}"))]
    fn schema_capsule<'py>(
        &self,
        py: Python<'py>,
        overrides_json: &str,
    ) -> PyResult<Bound<'py, PyCapsule>> {
        let inputs = self.inputs(py)?;
        let semantic = with_overrides(&self.options.semantic, overrides_json)?;
        let schema = py
            .detach(|| seqmill_convert::schema(&inputs, &semantic))
            .map_err(|e| to_python(py, &e))?;
        schema_capsule(py, &schema)
    }

    /// Starts a stream of batches.
    #[pyo3(signature = (overrides_json = "{}"))]
    fn stream(&self, py: Python<'_>, overrides_json: &str) -> PyResult<BatchStream> {
        let inputs = self.inputs(py)?;
        let semantic = with_overrides(&self.options.semantic, overrides_json)?;
        let job = new_job(py, &self.options.resources)?;
        let resources = self.options.resources.clone();
        let own = job.clone();
        let batches = py
            .detach(|| Batches::start(&inputs, &semantic, &resources, own))
            .map_err(|e| to_python(py, &e))?;
        Ok(BatchStream {
            batches: Arc::new(Mutex::new(Some(batches))),
            taken: Mutex::new(false),
            last_error: LastError::default(),
            job,
        })
    }

    /// Counts the records that pass the filters.
    #[pyo3(signature = (overrides_json = "{}"))]
    fn count(&self, py: Python<'_>, overrides_json: &str) -> PyResult<u64> {
        let inputs = self.inputs(py)?;
        let semantic = with_overrides(&self.options.semantic, overrides_json)?;
        let resources = self.options.resources.clone();
        let job = new_job(py, &resources)?;
        let _watch = self.options.remote.as_ref().map(|r| r.stop_with(job.cancel.clone()));
        let result = run(py, &job, None, move |job| {
            seqmill_convert::count(&inputs, &semantic, &resources, job)
        })?;
        result.map_err(|e| to_python(py, &e))
    }

    /// Lets go of the inputs; running streams go on.
    fn close(&self) {
        *self.inputs.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

/// One stream of batches.
#[pyclass(frozen, module = "seqmill._native", name = "BatchStream")]
pub(crate) struct BatchStream {
    batches: Arc<Mutex<Option<Batches>>>,
    taken: Mutex<bool>,
    last_error: LastError,
    job: Job,
}

#[pymethods]
impl BatchStream {
    /// The stream as a capsule; it can be taken once.
    #[pyo3(signature = (requested_schema = None))]
    fn __arrow_c_stream__<'py>(
        &self,
        py: Python<'py>,
        requested_schema: Option<Py<PyAny>>,
    ) -> PyResult<Bound<'py, PyCapsule>> {
        // A producer may ignore the wish for another schema (Arrow PyCapsule interface).
        drop(requested_schema);
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let batches = Arc::clone(&self.batches);
        let schema = {
            let batches = batches.lock().unwrap_or_else(PoisonError::into_inner);
            batches.as_ref().map(Batches::schema)
        };
        let Some(schema) = schema.filter(|_| !*taken) else {
            return Err(to_python(py, &Error::input("the stream was taken already")));
        };
        *taken = true;
        let source = Box::new(move || {
            let mut batches = batches.lock().unwrap_or_else(PoisonError::into_inner);
            batches.as_mut().map_or(Ok(None), Batches::next_batch)
        });
        stream_capsule(py, schema, source, Arc::clone(&self.last_error))
    }

    /// Raises the error that ended the stream, if one did.
    fn raise_error(&self, py: Python<'_>) -> PyResult<()> {
        let error = self.last_error.lock().unwrap_or_else(PoisonError::into_inner).clone();
        error.map_or(Ok(()), |e| Err(to_python(py, &e)))
    }

    /// Stops the threads and returns the engine's part of the metrics document.
    fn close(&self, py: Python<'_>) -> Option<String> {
        self.job.cancel.cancel();
        let batches = Arc::clone(&self.batches);
        py.detach(move || {
            let mut batches = batches.lock().unwrap_or_else(PoisonError::into_inner);
            let mut batches = batches.take()?;
            batches.close();
            batches.document().map(Value::to_string)
        })
    }
}
