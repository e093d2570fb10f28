//! What the calls of a store take: names, policies, arrays.

use crate::error::to_python;
use pyo3::buffer::{Element, PyBuffer};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyString};
use seqmill_base::Error;
use seqmill_fetch::{Contig, OutOfRange, Place, Store, Window};

/// A name given by the user as bytes; text that was bytes before comes back as it was.
pub(crate) struct Name(pub(crate) Vec<u8>);

impl<'py> FromPyObject<'_, 'py> for Name {
    type Error = PyErr;

    fn extract(object: Borrowed<'_, 'py, PyAny>) -> PyResult<Self> {
        if let Ok(bytes) = object.cast::<PyBytes>() {
            return Ok(Self(bytes.as_bytes().to_vec()));
        }
        let text = object.cast::<PyString>()?;
        if let Ok(text) = text.to_cow() {
            return Ok(Self(text.as_bytes().to_vec()));
        }
        let bytes = text.call_method1("encode", ("utf-8", "surrogateescape"))?;
        Ok(Self(bytes.cast::<PyBytes>()?.as_bytes().to_vec()))
    }
}

pub(crate) fn name_to_python<'py>(py: Python<'py>, name: &[u8]) -> PyResult<Bound<'py, PyAny>> {
    if let Ok(text) = std::str::from_utf8(name) {
        return Ok(PyString::new(py, text).into_any());
    }
    PyBytes::new(py, name).call_method1("decode", ("utf-8", "surrogateescape"))
}

pub(super) fn policy(py: Python<'_>, name: &str) -> PyResult<OutOfRange> {
    Ok(match name {
        "error" => OutOfRange::Error,
        "pad" => OutOfRange::Pad,
        "clip" => OutOfRange::Clip,
        "shift" => OutOfRange::Shift,
        other => {
            let allowed = "out_of_range takes error, pad, clip or shift";
            let error = Error::input(format!("{other:?} is not allowed; {allowed}"));
            return Err(to_python(py, &error));
        }
    })
}

/// A writable array of Python that is held while the engine fills it.
pub(crate) struct Output(PyBuffer<u8>);

impl<'py> FromPyObject<'_, 'py> for Output {
    type Error = PyErr;

    fn extract(object: Borrowed<'_, 'py, PyAny>) -> PyResult<Self> {
        let buffer = PyBuffer::get(&object)?;
        if buffer.readonly() || !buffer.is_c_contiguous() {
            return Err(PyValueError::new_err("the output must be writable and contiguous"));
        }
        Ok(Self(buffer))
    }
}

impl Output {
    pub(crate) fn bytes(&mut self) -> &mut [u8] {
        if self.0.len_bytes() == 0 {
            return &mut [];
        }
        // SAFETY: the buffer is contiguous, writable and held while `self` lives. That no other
        // thread uses the array meanwhile is the caller's part, as with NumPy's own functions.
        unsafe { std::slice::from_raw_parts_mut(self.0.buf_ptr().cast::<u8>(), self.0.len_bytes()) }
    }
}

/// Many windows, as parallel arrays.
pub(super) struct Windows {
    files: Vec<u32>,
    contigs: Vec<u32>,
    starts: Vec<i64>,
    ends: Vec<i64>,
    strands: Vec<i8>,
}

impl Windows {
    pub(super) fn new(py: Python<'_>, arrays: &Bound<'_, PyAny>) -> PyResult<Self> {
        fn column<T: Element + Copy>(
            py: Python<'_>,
            arrays: &Bound<'_, PyAny>,
            i: usize,
        ) -> PyResult<Vec<T>> {
            PyBuffer::<T>::get(&arrays.get_item(i)?)?.to_vec(py)
        }
        let windows = Self {
            files: column(py, arrays, 0)?,
            contigs: column(py, arrays, 1)?,
            starts: column(py, arrays, 2)?,
            ends: column(py, arrays, 3)?,
            strands: column(py, arrays, 4)?,
        };
        let n = windows.files.len();
        let lengths = [
            windows.contigs.len(),
            windows.starts.len(),
            windows.ends.len(),
            windows.strands.len(),
        ];
        if lengths != [n; 4] {
            return Err(PyValueError::new_err("the arrays have different lengths"));
        }
        Ok(windows)
    }

    pub(super) fn place(
        &self,
        store: &Store,
        policy: OutOfRange,
    ) -> seqmill_base::Result<Vec<Window>> {
        let mut placed = Vec::with_capacity(self.files.len());
        let rows = self.files.iter().zip(&self.contigs).zip(&self.starts).zip(&self.ends);
        for ((((&file, &contig), &start), &end), &strand) in rows.zip(&self.strands) {
            let found = store.contig(file, contig)?;
            let place = store.place(&found, start, Some(end), policy)?;
            placed.push(Window { file, contig, place, minus: strand < 0 });
        }
        Ok(placed)
    }

    pub(super) fn len(&self) -> usize {
        self.files.len()
    }
}

pub(super) type PlaceTuple = (u64, u64, u64, u64);

pub(super) fn place_of(
    (start, end, left, right): PlaceTuple,
    contig: &Contig<'_>,
) -> PyResult<Place> {
    if start > end || end > contig.length() {
        return Err(PyValueError::new_err("the place was not made by this store"));
    }
    Ok(Place { start, end, left, right })
}
