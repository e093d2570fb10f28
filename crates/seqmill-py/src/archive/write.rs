//! Writing archives.

use super::document;
use super::read::ArchiveReader;
use crate::error::to_python;
use crate::job::{new_job, read_options, run};
use pyo3::prelude::*;
use seqmill_base::Job;
use seqmill_convert::Resources;
use seqmill_pack::PackOptions;
use serde_json::json;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

/// Packs inputs, or samples of the archive `source`, into an archive; options and result are JSON (see `seqmill.archive`).
#[pyfunction]
#[pyo3(signature = (options_json, memory, progress = None, source = None))]
pub(crate) fn archive_pack(
    py: Python<'_>,
    options_json: &str,
    memory: u64,
    progress: Option<Py<PyAny>>,
    source: Option<&ArchiveReader>,
) -> PyResult<String> {
    let options: PackOptions = read_options(py, options_json)?;
    let resources = Resources { threads: options.threads, memory, ..Resources::default() };
    let job = new_job(py, &resources)?;
    let from = source.map(|reader| Arc::clone(&reader.archive));
    let work = move |job: &Job| seqmill_pack::pack(&options, from.as_deref(), job);
    let done = run(py, &job, progress.as_ref(), work)?.map_err(|e| to_python(py, &e))?;
    let sizes = done.parameters;
    let totals = json!({
        "records_in": done.contigs, "records_out": done.contigs, "bases": done.bases,
        "bytes_out": done.bytes,
    });
    let detail = json!({
        "samples": done.samples,
        "contigs": done.contigs,
        "segments": done.segments,
        "groups": done.groups,
        "reference_bases": done.reference_bases,
        "splitters": done.splitters,
        "parameters": {
            "kmer_length": sizes.kmer_length,
            "segment_size": sizes.segment_size,
            "min_match": sizes.min_match,
            "pack_size": sizes.pack_size,
        },
        "empty_records": done.empty_records,
        "letters_changed": done.letters_changed,
        "letters_changed_in": done.changed_in,
        "names_changed": done.renamed,
    });
    let answer = json!({
        "samples": done.samples,
        "contigs": done.contigs,
        "bases": done.bases,
        "bytes": done.bytes,
        "warnings": done.warnings,
        "overview": {
            "samples": done.shares,
            "streams": done.streams.iter().map(|s| (s.name, s.bytes)).collect::<BTreeMap<_, _>>(),
            "delta_ppm": done.delta_ppm,
        },
        "metrics": document(&job, totals, &done.stages, detail),
    });
    Ok(answer.to_string())
}

/// Copies an archive with other names of its samples; gives the bytes of the new one.
#[pyfunction]
#[pyo3(signature = (reader, output, names, force, memory, progress = None))]
pub(crate) fn archive_rename(
    py: Python<'_>,
    reader: &ArchiveReader,
    output: PathBuf,
    names: Vec<String>,
    force: bool,
    memory: u64,
    progress: Option<Py<PyAny>>,
) -> PyResult<u64> {
    let job = new_job(py, &Resources { memory, ..Resources::default() })?;
    let archive = Arc::clone(&reader.archive);
    let work = move |job: &Job| seqmill_pack::rename(&archive, &output, &names, force, job);
    run(py, &job, progress.as_ref(), work)?.map_err(|e| to_python(py, &e))
}
