//! `seqmill kmers`: jobs over files, and open tables.

mod options;
mod profile;
mod table;

pub(crate) use profile::{
    KmerProfile, KmerProfileLines, kmers_profile, kmers_profile_lines, kmers_profile_table,
};
pub(crate) use table::{KmerTable, KmerTableStream};

use crate::error::to_python;
use crate::job::{new_job, read_options, run};
use options::{count_options, dump_options, merge_options, output_rules};
use pyo3::prelude::*;
use seqmill_base::metrics::StageFigures;
use seqmill_base::{Error, Job, Result};
use seqmill_convert::Resources;
use seqmill_count::kmers::{self, CountReport};
use seqmill_io::region_list::{RegionList, SequenceNames};
use seqmill_io::sequence::{Piece, SequenceOptions, SequenceStream, open_sequence, plan_parts};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

pub(crate) fn resources(options: &Value) -> Resources {
    Resources {
        threads: options["threads"].as_u64().map_or(1, |n| usize::try_from(n).unwrap_or(1)),
        memory: options["memory"].as_u64().unwrap_or(512 << 20),
        ..Resources::default()
    }
}

/// What a job found, with its figures as the metrics document has them.
fn answer(report: &CountReport, job: &Job) -> String {
    let histogram: Vec<(u64, u64)> = report.histogram.iter().collect();
    let stages: Vec<StageFigures> = report
        .phases
        .iter()
        .map(|phase| StageFigures {
            name: phase.name.to_owned(),
            threads: report.threads,
            busy_s: phase.cpu,
            ..StageFigures::default()
        })
        .collect();
    let seconds: serde_json::Map<String, Value> =
        report.phases.iter().map(|p| (p.name.to_owned(), json!(p.wall))).collect();
    let limit = job.budget.limit();
    json!({
        "total": report.total,
        "distinct": report.distinct,
        "stored": report.stored,
        "bytes": report.bytes,
        "digest": format!("{:016x}", report.digest),
        "spilled": report.spilled,
        "threads": report.threads,
        "resumed_units": report.resumed_units,
        "inputs": report.inputs,
        "histogram": histogram,
        "warnings": report.warnings,
        "stages": stages,
        "seconds": seconds,
        "memory": {
            "limit": limit,
            "overhead": job.budget.overhead(),
            "reserved_peak": job.budget.reserved_peak(),
            "consumers": job.budget.accounts(),
        },
    })
    .to_string()
}

fn finish(py: Python<'_>, job: &Job, result: Result<CountReport>) -> PyResult<String> {
    result.map(|report| answer(&report, job)).map_err(|e| to_python(py, &e))
}

/// Counts files; options and result are JSON (see `seqmill.kmers`).
#[pyfunction]
#[pyo3(signature = (options_json, progress = None))]
pub(crate) fn kmers_count(
    py: Python<'_>,
    options_json: &str,
    progress: Option<Py<PyAny>>,
) -> PyResult<String> {
    let options: Value = read_options(py, options_json)?;
    let job = new_job(py, &resources(&options))?;
    let count = count_options(&options);
    let rules = output_rules(&options).map_err(|e| to_python(py, &e))?;
    let work = move |job: &Job| kmers::run_count(&count, &rules, job);
    let result = run(py, &job, progress.as_ref(), work)?;
    finish(py, &job, result)
}

/// Merges tables and partials, or does another operation on them.
#[pyfunction]
#[pyo3(signature = (options_json, progress = None))]
pub(crate) fn kmers_merge(
    py: Python<'_>,
    options_json: &str,
    progress: Option<Py<PyAny>>,
) -> PyResult<String> {
    let options: Value = read_options(py, options_json)?;
    let job = new_job(py, &resources(&options))?;
    let merge = merge_options(&options).map_err(|e| to_python(py, &e))?;
    let rules = output_rules(&options).map_err(|e| to_python(py, &e))?;
    let work = move |job: &Job| kmers::run_merge(&merge, &rules, job);
    let result = run(py, &job, progress.as_ref(), work)?;
    finish(py, &job, result)
}

/// Keys that cut what tables hold into about so many equal ranges.
#[pyfunction]
pub(crate) fn kmers_boundaries(
    py: Python<'_>,
    paths: Vec<PathBuf>,
    ranges: u64,
) -> PyResult<Vec<String>> {
    let job = new_job(py, &Resources { memory: 1 << 40, ..Resources::default() })?;
    let work = move |job: &Job| -> Result<Vec<String>> {
        let open = |path: &PathBuf| kmers::skm::SkmTable::open(path);
        let tables = paths.iter().map(open).collect::<Result<Vec<_>>>()?;
        kmers::check_mergeable(&tables, false)?;
        kmers::key_boundaries(&tables, ranges, job)
    };
    run(py, &job, None, work)?.map_err(|e| to_python(py, &e))
}

/// Size and digest (16 hex digits) of a table, whose checksums must all be right.
#[pyfunction]
pub(crate) fn kmers_digest(py: Python<'_>, path: PathBuf) -> PyResult<(u64, String)> {
    let job = new_job(py, &Resources { memory: 1 << 40, ..Resources::default() })?;
    let work = move |job: &Job| kmers::skm::SkmTable::open(&path)?.digest(|| job.cancel.check());
    let file = run(py, &job, None, work)?.map_err(|e| to_python(py, &e))?;
    Ok((file.bytes, format!("{:016x}", file.digest)))
}

/// Parts of about so many bytes into which the text of a sequence file can be cut.
#[pyfunction]
pub(crate) fn sequence_parts(
    py: Python<'_>,
    path: PathBuf,
    part_bytes: u64,
) -> PyResult<Vec<(u64, Option<u64>)>> {
    let job = new_job(py, &Resources { memory: 1 << 40, ..Resources::default() })?;
    let work = move |job: &Job| {
        let account = job.budget.account("input", u64::MAX);
        plan_parts(&path, part_bytes, job, account)
    };
    let parts = run(py, &job, None, work)?.map_err(|e| to_python(py, &e))?;
    Ok(parts.into_iter().map(|part| (part.begin, part.end)).collect())
}

/// Writes a table in other formats; returns the bytes.
#[pyfunction]
#[pyo3(signature = (path, options_json, progress = None))]
pub(crate) fn kmers_dump(
    py: Python<'_>,
    path: PathBuf,
    options_json: &str,
    progress: Option<Py<PyAny>>,
) -> PyResult<u64> {
    let options: Value = read_options(py, options_json)?;
    let job = new_job(py, &resources(&options))?;
    let rules = output_rules(&options).map_err(|e| to_python(py, &e))?;
    let dump = dump_options(&options);
    let work = move |job: &Job| -> Result<u64> {
        let table = kmers::skm::SkmTable::open(&path)?;
        let outputs = rules.outputs.iter();
        outputs.map(|o| kmers::dump_table(&table, o, dump, rules.force, job)).sum()
    };
    run(py, &job, progress.as_ref(), work)?.map_err(|e| to_python(py, &e))
}

/// Headers and lengths of the records of a file.
#[pyfunction]
pub(crate) fn kmers_records(py: Python<'_>, path: PathBuf) -> PyResult<Vec<(Vec<u8>, u64)>> {
    let job = new_job(py, &Resources { memory: 1 << 40, ..Resources::default() })?;
    let work = move |job: &Job| records(&path, job);
    run(py, &job, None, work)?.map_err(|e| to_python(py, &e))
}

fn records(path: &Path, job: &Job) -> Result<Vec<(Vec<u8>, u64)>> {
    let account = job.budget.account("input", u64::MAX);
    let archives = crate::archive::ARCHIVES;
    let options = SequenceOptions::default();
    let source = open_sequence(path, archives, job, account)?;
    if kmers::is_bam(source.as_ref())? {
        let text = "is BAM: reads are not cut by regions or plans; give its sequences as FASTA, or \
                    make a BAM of the region first (samtools view -b)";
        return Err(Error::input(text).at_path(path));
    }
    let mut stream = SequenceStream::new(source, options, job, account)?;
    let mut found: Vec<(Vec<u8>, u64)> = Vec::new();
    while let Some(piece) = stream.next_piece()? {
        match piece {
            Piece::Start { header, .. } => {
                let name = header.split(u8::is_ascii_whitespace).next().unwrap_or_default();
                found.push((name.to_vec(), 0));
            }
            Piece::End { bases } => match found.last_mut() {
                Some(record) => record.1 = bases,
                None => return Err(Error::internal("a record ended that had not begun")),
            },
            _ => {}
        }
    }
    Ok(found)
}

/// Name, begin and end of a region, 0-based half-open.
type Region = (Vec<u8>, u64, u64);

/// What region strings and the lines of a file mean for the records of sequence files, and what
/// was noticed.
#[pyfunction]
pub(crate) fn kmers_regions(
    py: Python<'_>,
    paths: Vec<PathBuf>,
    regions: Vec<String>,
    file: Option<PathBuf>,
) -> PyResult<(Vec<Region>, Vec<String>)> {
    let job = new_job(py, &Resources { memory: 1 << 40, ..Resources::default() })?;
    let work = move |job: &Job| find_regions(&paths, &regions, file.as_deref(), job);
    run(py, &job, None, work)?.map_err(|e| to_python(py, &e))
}

fn find_regions(
    paths: &[PathBuf],
    regions: &[String],
    file: Option<&Path>,
    job: &Job,
) -> Result<(Vec<Region>, Vec<String>)> {
    let mut known = Vec::new();
    for path in paths {
        known.extend(records(path, job)?);
    }
    let texts: Vec<_> = known.iter().map(|(name, _)| String::from_utf8_lossy(name)).collect();
    let lengths = known.iter().map(|(_, length)| *length);
    let names = SequenceNames::new(texts.iter().map(AsRef::as_ref).zip(lengths));
    let account = job.budget.account("regions", u64::MAX);
    let mut list = RegionList::new(job.budget.must_reserve(account, 0)?, false);
    for region in regions {
        list.add(region, &names)?;
    }
    if let Some(file) = file {
        list.add_file(file, None, &names)?;
    }
    list.close_warnings();
    if list.targets.is_empty() {
        list.warnings.push("no region: the outputs are empty".to_owned());
    }
    let name = |index: u32| known.get(index as usize).map(|(name, _)| name.clone());
    let found =
        list.targets.iter().map(|t| (name(t.reference).unwrap_or_default(), t.begin, t.end));
    Ok((found.collect(), list.warnings))
}
