//! Tables leave through the Arrow `PyCapsule` protocol.

use arrow_array::ffi_stream::FFI_ArrowArrayStream;
use arrow_array::{RecordBatch, RecordBatchReader};
use arrow_schema::ffi::FFI_ArrowSchema;
use arrow_schema::{ArrowError, Schema, SchemaRef};
use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use pyo3::types::PyCapsule;
use seqmill_base::{Error, Result};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};

/// What gives batches one after the other.
pub(crate) type Source = Box<dyn FnMut() -> Result<Option<RecordBatch>> + Send>;

/// The last error of a stream: C consumers see its text only, Python can ask for the error.
pub(crate) type LastError = Arc<Mutex<Option<Error>>>;

/// A stream behind the C interface. A panic must not cross C frames: it becomes an error, and
/// the stream ends.
struct Reader {
    schema: SchemaRef,
    source: Option<Source>,
    last_error: LastError,
}

impl Iterator for Reader {
    type Item = std::result::Result<RecordBatch, ArrowError>;

    fn next(&mut self) -> Option<Self::Item> {
        let source = self.source.as_mut()?;
        let next = catch_unwind(AssertUnwindSafe(source))
            .unwrap_or_else(|_| Err(Error::internal("panic in the scan")));
        match next {
            Ok(Some(batch)) => Some(Ok(batch)),
            Ok(None) => {
                self.source = None;
                None
            }
            Err(error) => {
                self.source = None;
                let text = error.to_string();
                *self.last_error.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
                Some(Err(ArrowError::ExternalError(text.into())))
            }
        }
    }
}

impl RecordBatchReader for Reader {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }
}

/// A capsule `arrow_array_stream` over batches.
pub(crate) fn stream_capsule(
    py: Python<'_>,
    schema: SchemaRef,
    source: Source,
    last_error: LastError,
) -> PyResult<Bound<'_, PyCapsule>> {
    let reader = Reader { schema, source: Some(source), last_error };
    let stream = FFI_ArrowArrayStream::new(Box::new(reader));
    PyCapsule::new_with_value(py, stream, c"arrow_array_stream")
}

/// A capsule `arrow_schema`.
pub(crate) fn schema_capsule<'py>(
    py: Python<'py>,
    schema: &Schema,
) -> PyResult<Bound<'py, PyCapsule>> {
    let schema =
        FFI_ArrowSchema::try_from(schema).map_err(|e| PyRuntimeError::new_err(e.to_string()))?;
    PyCapsule::new_with_value(py, schema, c"arrow_schema")
}
