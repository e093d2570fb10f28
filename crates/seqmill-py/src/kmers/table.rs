//! Open tables: look-ups, arrays, streams, profiles.

use super::resources;
use crate::arrow::{LastError, schema_capsule, stream_capsule};
use crate::error::to_python;
use crate::job::{new_job, read_options, run};
use pyo3::buffer::{Element, PyBuffer};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;
use pyo3::types::{PyBytes, PyCapsule};
use seqmill_base::{Budget, Job};
use seqmill_count::kmers::skm::SkmTable;
use seqmill_count::kmers::{
    TableBatches, lookup_packed, lookup_text, profile_into, stored_histogram, table_arrays,
    table_schema, verify_table,
};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

/// A mapped table.
#[pyclass(frozen, module = "seqmill._native", name = "KmerTable")]
pub(crate) struct KmerTable {
    table: Arc<SkmTable>,
}

/// Numbers as bytes that arrays take over.
pub(super) fn as_bytes<'py>(py: Python<'py>, numbers: &[u64]) -> PyResult<Bound<'py, PyBytes>> {
    PyBytes::new_with(py, 8 * numbers.len(), |bytes| {
        for (place, number) in bytes.as_chunks_mut::<8>().0.iter_mut().zip(numbers) {
            *place = number.to_ne_bytes();
        }
        Ok(())
    })
}

/// The places of an array of Python, which it holds while they are filled.
fn places<T: Element>(array: &mut PyBuffer<T>, n: usize) -> PyResult<&mut [T]> {
    if array.readonly() || !array.is_c_contiguous() || array.item_count() != n {
        let text = format!("an array to be filled must be writable, contiguous and {n} long");
        return Err(PyValueError::new_err(text));
    }
    if n == 0 {
        return Ok(&mut []);
    }
    // SAFETY: the buffer is contiguous, writable and of this type and length, and held while
    // `array` lives. That no other thread uses the array meanwhile is the caller's part, as with
    // NumPy's own functions.
    Ok(unsafe { std::slice::from_raw_parts_mut(array.buf_ptr().cast::<T>(), n) })
}

#[pymethods]
impl KmerTable {
    #[new]
    fn new(py: Python<'_>, path: PathBuf) -> PyResult<Self> {
        let table = py.detach(|| SkmTable::open(&path)).map_err(|e| to_python(py, &e))?;
        Ok(Self { table: Arc::new(table) })
    }

    /// k, whether canonical, flags, stored k-mers, occurrences, blocks, bytes.
    #[getter]
    fn facts(&self) -> (u32, bool, u8, u64, u64, usize, u64) {
        let facts = self.table.facts();
        let (blocks, bytes) = (self.table.blocks(), self.table.bytes());
        (facts.k, facts.canonical, facts.flags, facts.distinct, facts.total, blocks, bytes)
    }

    /// The footer as JSON.
    fn footer(&self, py: Python<'_>) -> PyResult<String> {
        self.table.footer().map(|f| f.to_string()).map_err(|e| to_python(py, &e))
    }

    /// Fills `counts` (u64) with the counts of packed k-mers (u64).
    fn query_packed(
        &self,
        py: Python<'_>,
        kmers: PyBuffer<u64>,
        counts: PyBuffer<u64>,
    ) -> PyResult<()> {
        // Copied: what Python may change at any time is not shared with a thread.
        let own = kmers.to_vec(py)?;
        let found =
            py.detach(|| lookup_packed(&self.table, &own)).map_err(|e| to_python(py, &e))?;
        counts.copy_from_slice(py, &found)
    }

    /// Counts of k-mers as text; `None` for what is no k-mer of the table's length.
    fn query_text(&self, py: Python<'_>, kmers: Vec<Vec<u8>>) -> PyResult<Vec<Option<u64>>> {
        py.detach(|| {
            kmers.iter().map(|text| lookup_text(&self.table, text)).collect::<Result<_, _>>()
        })
        .map_err(|e| to_python(py, &e))
    }

    /// Fills `counts` (u64, zeros) with the count at each window of a sequence, and `valid` (u8,
    /// zeros) with 1 where the window has one.
    fn profile(
        &self,
        py: Python<'_>,
        bases: PyBackedBytes,
        mut counts: PyBuffer<u64>,
        mut valid: PyBuffer<u8>,
    ) -> PyResult<()> {
        let windows = (bases.len() + 1).saturating_sub(self.table.facts().k as usize);
        let (counts, valid) = (places(&mut counts, windows)?, places(&mut valid, windows)?);
        py.detach(|| profile_into(&self.table, &bases, counts, valid))
            .map_err(|e| to_python(py, &e))
    }

    /// All k-mers (words, the highest first) and counts.
    fn arrays<'py>(&self, py: Python<'py>) -> PyResult<(Bound<'py, PyBytes>, Bound<'py, PyBytes>)> {
        let found = py.detach(|| table_arrays(&self.table));
        let (kmers, counts) = found.map_err(|e| to_python(py, &e))?;
        Ok((as_bytes(py, &kmers)?, as_bytes(py, &counts)?))
    }

    /// How many stored k-mers have each count.
    #[pyo3(signature = (most = None))]
    fn histogram(&self, py: Python<'_>, most: Option<u64>) -> PyResult<Vec<(u64, u64)>> {
        let job = Job::new(Budget::new(1 << 30, 0).map_err(|e| to_python(py, &e))?);
        let table = Arc::clone(&self.table);
        run(py, &job, None, move |job| stored_histogram(&table, most, job))?
            .map(|h| h.into_iter().collect())
            .map_err(|e| to_python(py, &e))
    }

    /// Checks every block.
    #[pyo3(signature = (options_json = "{}"))]
    fn verify(&self, py: Python<'_>, options_json: &str) -> PyResult<()> {
        let job = new_job(py, &resources(&read_options(py, options_json)?))?;
        let table = Arc::clone(&self.table);
        run(py, &job, None, move |job| verify_table(&table, job))?.map_err(|e| to_python(py, &e))
    }

    /// The schema as a capsule.
    #[pyo3(signature = (text = false))]
    fn schema<'py>(&self, py: Python<'py>, text: bool) -> PyResult<Bound<'py, PyCapsule>> {
        schema_capsule(py, &table_schema(&self.table, text))
    }

    /// A stream of batches.
    #[pyo3(signature = (text = false, rows = 1 << 16))]
    fn stream(&self, text: bool, rows: usize) -> KmerTableStream {
        let batches = TableBatches::new(Arc::clone(&self.table), text, rows);
        KmerTableStream { batches: Mutex::new(Some(batches)) }
    }
}

/// One stream of batches of a table.
#[pyclass(frozen, module = "seqmill._native", name = "KmerTableStream")]
pub(crate) struct KmerTableStream {
    batches: Mutex<Option<TableBatches>>,
}

#[pymethods]
impl KmerTableStream {
    /// The stream as a capsule; it can be taken once.
    #[pyo3(signature = (requested_schema = None))]
    fn __arrow_c_stream__<'py>(
        &self,
        py: Python<'py>,
        requested_schema: Option<Py<PyAny>>,
    ) -> PyResult<Bound<'py, PyCapsule>> {
        // A producer may ignore the wish for another schema (Arrow PyCapsule interface).
        drop(requested_schema);
        let taken = self.batches.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(mut batches) = taken else {
            let error = seqmill_base::Error::input("the stream was taken already");
            return Err(to_python(py, &error));
        };
        let schema = batches.schema();
        stream_capsule(py, schema, Box::new(move || batches.next_batch()), LastError::default())
    }
}
