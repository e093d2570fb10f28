//! Reading archives.

use super::document;
use super::tables::{ArchiveTable, TableKind};
use crate::error::to_python;
use crate::fetch::arguments::{Name, Output, name_to_python};
use crate::job::{new_job, read_options, run};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyBytes;
use seqmill_base::{Error, Job};
use seqmill_convert::Resources;
use seqmill_pack::{Archive, CACHE_USEFUL_BYTES, Memory, Sample, UnpackOptions};
use serde_json::json;
use std::path::PathBuf;
use std::sync::Arc;

/// k, L, B and, where the archive says it, S.
type ParametersTuple = (u32, u32, u32, Option<u32>);

/// An open archive.
#[pyclass(frozen, module = "seqmill._native", name = "ArchiveReader")]
pub(crate) struct ArchiveReader {
    pub(super) archive: Arc<Archive>,
}

impl ArchiveReader {
    fn sample(&self, py: Python<'_>, i: usize) -> PyResult<Sample> {
        py.detach(|| self.archive.sample(i)).map_err(|e| to_python(py, &e))
    }
}

#[pymethods]
impl ArchiveReader {
    /// Opens an archive that takes at most `memory` bytes, of which `cache` are kept between reads.
    #[new]
    #[pyo3(signature = (path, memory, cache = None))]
    fn new(py: Python<'_>, path: PathBuf, memory: u64, cache: Option<u64>) -> PyResult<Self> {
        let mut memory = Memory::of(memory);
        if let Some(cache) = cache {
            memory.cache = cache.min(memory.bytes / 2);
        }
        let archive = py.detach(|| Archive::open(&path, memory)).map_err(|e| to_python(py, &e))?;
        Ok(Self { archive: Arc::new(archive) })
    }

    /// Version of the file: major times 1000 plus minor.
    #[getter]
    fn version(&self) -> u32 {
        self.archive.version()
    }

    /// k, L, B and S.
    #[getter]
    fn parameters(&self) -> ParametersTuple {
        let p = self.archive.parameters();
        (p.kmer_length, p.min_match, p.pack_size, p.segment_size)
    }

    /// What the archive says of itself.
    #[getter]
    fn facts(&self) -> Vec<(String, String)> {
        self.archive.facts().to_vec()
    }

    /// Command lines that made it (versions 1 and 2).
    #[getter]
    fn commands(&self) -> Vec<String> {
        self.archive.commands().to_vec()
    }

    /// Bytes of the file.
    #[getter]
    fn file_bytes(&self) -> u64 {
        self.archive.file_bytes()
    }

    /// Bytes that the tables take.
    #[getter]
    fn table_bytes(&self) -> u64 {
        self.archive.table_bytes()
    }

    /// Number of samples.
    fn __len__(&self) -> usize {
        self.archive.sample_count()
    }

    /// Name of a sample.
    fn sample_name<'py>(&self, py: Python<'py>, i: usize) -> PyResult<Bound<'py, PyAny>> {
        let name = self.archive.sample_name(i);
        let name =
            name.ok_or_else(|| PyValueError::new_err(format!("there is no sample number {i}")))?;
        name_to_python(py, name)
    }

    /// The number of a sample.
    fn find_sample(&self, py: Python<'_>, name: Name) -> PyResult<usize> {
        self.archive.find_sample(&name.0).map_err(|e| to_python(py, &e))
    }

    /// Whether there is a sample of a name.
    fn has_sample(&self, name: Name) -> bool {
        self.archive.find_sample(&name.0).is_ok()
    }

    /// Number of contigs of a sample.
    fn contig_count(&self, py: Python<'_>, sample: usize) -> PyResult<usize> {
        Ok(self.sample(py, sample)?.contig_count())
    }

    /// Header and length of a contig.
    fn contig<'py>(
        &self,
        py: Python<'py>,
        sample: usize,
        contig: usize,
    ) -> PyResult<(Bound<'py, PyAny>, u64)> {
        let sample = self.sample(py, sample)?;
        let view = sample.contig(contig).ok_or_else(|| {
            PyValueError::new_err(format!("the sample has no contig number {contig}"))
        })?;
        Ok((name_to_python(py, view.header())?, view.length()))
    }

    /// The short name of a contig.
    fn contig_name<'py>(
        &self,
        py: Python<'py>,
        sample: usize,
        contig: usize,
    ) -> PyResult<Bound<'py, PyAny>> {
        let sample = self.sample(py, sample)?;
        name_to_python(py, sample.contig(contig).map(|v| v.name()).unwrap_or_default())
    }

    /// The number of the contig of a short name.
    fn find_contig(&self, py: Python<'_>, sample: usize, name: Name) -> PyResult<usize> {
        let sample = self.sample(py, sample)?;
        self.archive.find_contig(&sample, &name.0).map_err(|e| to_python(py, &e))
    }

    /// Whether a sample has a contig of a short name.
    fn has_contig(&self, py: Python<'_>, sample: usize, name: Name) -> PyResult<bool> {
        Ok(self.sample(py, sample)?.find(&name.0).is_some())
    }

    /// Samples that have a contig of a short name, at most so many, with the contig's number.
    fn find_in_all(
        &self,
        py: Python<'_>,
        name: Name,
        most: usize,
    ) -> PyResult<Vec<(usize, usize)>> {
        let archive = &self.archive;
        py.detach(|| {
            let mut found = Vec::new();
            for i in 0..archive.sample_count() {
                if let Some(contig) = archive.sample(i)?.find(&name.0) {
                    found.push((i, contig));
                    if found.len() >= most {
                        break;
                    }
                }
            }
            Ok(found)
        })
        .map_err(|e: Error| to_python(py, &e))
    }

    /// Fills an array with the letters of a contig from `start` on.
    fn read(
        &self,
        py: Python<'_>,
        sample: usize,
        contig: usize,
        start: u64,
        mut out: Output,
    ) -> PyResult<()> {
        let sample = self.sample(py, sample)?;
        let view = sample.contig(contig).ok_or_else(|| PyValueError::new_err("no such contig"))?;
        let out = out.bytes();
        py.detach(|| self.archive.read(view, start, out)).map_err(|e| to_python(py, &e))
    }

    /// The letters of a range of a contig.
    fn read_bytes<'py>(
        &self,
        py: Python<'py>,
        sample: usize,
        contig: usize,
        start: u64,
        end: u64,
    ) -> PyResult<Bound<'py, PyBytes>> {
        let sample = self.sample(py, sample)?;
        let view = sample.contig(contig).ok_or_else(|| PyValueError::new_err("no such contig"))?;
        let size = usize::try_from(end.saturating_sub(start))?;
        PyBytes::new_with(py, size, |out| {
            py.detach(|| self.archive.read(view, start, out)).map_err(|e| to_python(py, &e))
        })
    }

    /// A table of the samples, or of the contigs of all samples.
    fn table(&self, kind: &str) -> PyResult<ArchiveTable> {
        let kind = match kind {
            "samples" => TableKind::Samples,
            "contigs" => TableKind::Contigs,
            other => return Err(PyValueError::new_err(format!("no table {other:?}"))),
        };
        Ok(ArchiveTable::new(Arc::clone(&self.archive), kind))
    }

    /// Bytes that an archive keeps between reads where nothing else is asked for.
    #[classattr]
    #[pyo3(name = "CACHE_BYTES")]
    fn cache_bytes() -> u64 {
        CACHE_USEFUL_BYTES
    }
}

/// Whether a file is an archive.
#[pyfunction]
pub(crate) fn is_archive(py: Python<'_>, path: PathBuf) -> bool {
    py.detach(|| seqmill_pack::is_archive(&path))
}

/// Writes sequence of an archive as FASTA; options and result are JSON (see `seqmill.archive`).
#[pyfunction]
#[pyo3(signature = (reader, options_json, memory, progress = None))]
pub(crate) fn archive_unpack(
    py: Python<'_>,
    reader: &ArchiveReader,
    options_json: &str,
    memory: u64,
    progress: Option<Py<PyAny>>,
) -> PyResult<String> {
    let options: UnpackOptions = read_options(py, options_json)?;
    let job = new_job(py, &Resources { threads: options.threads, memory, ..Resources::default() })?;
    let archive = Arc::clone(&reader.archive);
    let work = move |job: &Job| seqmill_pack::unpack(&archive, &options, job);
    let done = run(py, &job, progress.as_ref(), work)?.map_err(|e| to_python(py, &e))?;
    let totals = json!({
        "records_out": done.records, "bases": done.bases, "bytes_out": done.bytes,
    });
    let answer = json!({
        "records": done.records,
        "bases": done.bases,
        "bytes": done.bytes,
        "metrics": document(&job, totals, &done.stages, json!({})),
    });
    Ok(answer.to_string())
}

/// Checks an archive; gives counts and the faults, each as an exception.
#[pyfunction]
#[pyo3(signature = (reader, threads, memory, progress = None))]
pub(crate) fn archive_verify(
    py: Python<'_>,
    reader: &ArchiveReader,
    threads: usize,
    memory: u64,
    progress: Option<Py<PyAny>>,
) -> PyResult<(String, Vec<Py<PyAny>>)> {
    let job = new_job(py, &Resources { threads, memory, ..Resources::default() })?;
    let archive = Arc::clone(&reader.archive);
    let work = move |job: &Job| seqmill_pack::verify(&archive, threads, job);
    let found = run(py, &job, progress.as_ref(), work)?.map_err(|e| to_python(py, &e))?;
    let faults = found.faults.iter().map(|e| to_python(py, e).into_value(py).into_any()).collect();
    let answer = json!({
        "samples": found.samples,
        "contigs": found.contigs,
        "bases": found.bases,
        "parts": found.parts,
        "checksums": found.checksums,
        "faults": found.fault_count,
    });
    Ok((answer.to_string(), faults))
}
