//! Engine errors as the exception classes of `seqmill.errors`.

use pyo3::exceptions::PyOSError;
use pyo3::prelude::*;
use seqmill_base::{Error, ErrorKind};

/// The exception for an error; if even that cannot be made, the reason why.
pub(crate) fn to_python(py: Python<'_>, error: &Error) -> PyErr {
    build(py, error).unwrap_or_else(|failure| failure)
}

fn build(py: Python<'_>, error: &Error) -> PyResult<PyErr> {
    let place = error.place();
    if error.kind() == ErrorKind::Io
        && let Some(errno) = error.errno()
    {
        // Two arguments make Python choose FileNotFoundError, PermissionError and the like.
        let text = error.message().split(" (os error").next().unwrap_or_default().to_owned();
        return Ok(match &place.path {
            // A path type would make one slash of the two in an address.
            Some(path) if path.to_string_lossy().contains("://") => {
                PyOSError::new_err((errno, text, path.to_string_lossy().into_owned()))
            }
            Some(path) => PyOSError::new_err((errno, text, path.clone())),
            None => PyOSError::new_err((errno, text)),
        });
    }
    let name = match error.kind() {
        ErrorKind::Input => "InputError",
        ErrorKind::OutOfRange => "OutOfRangeError",
        ErrorKind::NotFound => "NotFoundError",
        ErrorKind::NameNotFound => "NameNotFoundError",
        ErrorKind::Format(kind) => kind.class_name(),
        ErrorKind::Budget => "BudgetError",
        ErrorKind::Exists => "OutputExistsError",
        ErrorKind::Cancelled => "CancelledError",
        ErrorKind::Io => return Ok(PyOSError::new_err(error.to_string())),
        _ => "InternalError",
    };
    let class = py.import("seqmill.errors")?.getattr(name)?;
    let exception = class.call1((error.to_string(),))?;
    match error.kind() {
        ErrorKind::Format(_) => {
            exception.setattr("path", place.path.as_ref().map(|p| p.display().to_string()))?;
            exception.setattr("offset", place.offset)?;
            exception.setattr("voffset", place.voffset)?;
            exception.setattr("record", place.record)?;
            exception.setattr("line", place.line)?;
            exception.setattr("field", place.field)?;
        }
        ErrorKind::Budget => exception.setattr("needed", error.needed())?,
        ErrorKind::Exists => {
            exception.setattr("path", place.path.as_ref().map(|p| p.display().to_string()))?;
        }
        _ => {}
    }
    Ok(PyErr::from_value(exception))
}
