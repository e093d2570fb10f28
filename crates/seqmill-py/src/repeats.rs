//! `seqmill repeats` and `seqmill.find_repeats`.

use crate::arrow::{LastError, stream_capsule};
use crate::error::to_python;
use crate::job::{new_job, read_options, run};
use arrow_array::builder::{
    Float32Builder, Int32Builder, Int64Builder, StringBuilder, StringDictionaryBuilder,
};
use arrow_array::types::Int32Type;
use arrow_array::{ArrayRef, RecordBatch};
use arrow_schema::{ArrowError, DataType, Field, Schema, SchemaRef};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyCapsule};
use seqmill_base::process::memory_figures;
use seqmill_base::{Error, Job, Result};
use seqmill_convert::Resources;
use seqmill_io::sequence::{Piece, SequenceOptions, SequenceStream};
use seqmill_repeats::tables::{
    consensus_range, covered_spans, family_rows, overview, owners, place,
};
use seqmill_repeats::text::LETTERS;
use seqmill_repeats::{Format, Options, Report, kmer};
use seqmill_table::ipc::{IpcCompression, IpcEncoder, IpcWriter};
use seqmill_table::parquet::{
    Codec, GroupDictionaries, GroupEnd, LeafEncoding, LeafOptions, PageEncoder, ParquetFile, Plan,
};
use std::path::Path;
use std::sync::{Arc, OnceLock};

fn internal(error: &ArrowError) -> Error {
    Error::internal(format!("table: {error}"))
}

fn dictionary() -> DataType {
    DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8))
}

fn schema(columns: &[(&str, DataType)]) -> SchemaRef {
    let fields: Vec<Field> =
        columns.iter().map(|(name, kind)| Field::new(*name, kind.clone(), false)).collect();
    Arc::new(Schema::new(fields))
}

fn text_of(name: &[u8]) -> String {
    String::from_utf8_lossy(name).into_owned()
}

fn narrow(value: u32) -> i32 {
    i32::try_from(value).unwrap_or(i32::MAX)
}

fn letters(codes: &[u8]) -> String {
    codes.iter().map(|code| char::from(LETTERS[usize::from(*code)])).collect()
}

/// The table of families.
fn families(report: &Report, identities: &[f32]) -> Result<RecordBatch> {
    let found = &report.found;
    let (mut name, mut consensus, mut seed) =
        (StringBuilder::new(), StringBuilder::new(), StringBuilder::new());
    let (mut length, mut copies, mut elements) =
        (Int32Builder::new(), Int32Builder::new(), Int32Builder::new());
    let (mut covered, mut identity, mut gc) =
        (Int64Builder::new(), Float32Builder::new(), Float32Builder::new());
    let rows = family_rows(found, &report.text, identities);
    for (row, family) in rows.iter().zip(&found.state.families) {
        name.append_value(format!("fam{}", row.number));
        consensus.append_value(letters(&family.consensus));
        seed.append_value(text_of(&kmer::letters(family.seed, found.k)));
        length.append_value(i32::try_from(family.consensus.len()).unwrap_or(i32::MAX));
        copies.append_value(narrow(family.copies));
        elements.append_value(narrow(family.elements));
        covered.append_value(i64::try_from(row.covered_bases).unwrap_or(i64::MAX));
        identity.append_value(row.mean_identity);
        gc.append_value(row.gc);
    }
    let schema = schema(&[
        ("family", DataType::Utf8),
        ("consensus", DataType::Utf8),
        ("length", DataType::Int32),
        ("seed", DataType::Utf8),
        ("seed_count", DataType::Int32),
        ("element_count", DataType::Int32),
        ("covered_bases", DataType::Int64),
        ("mean_identity", DataType::Float32),
        ("gc", DataType::Float32),
    ]);
    let columns: Vec<ArrayRef> = vec![
        Arc::new(name.finish()),
        Arc::new(consensus.finish()),
        Arc::new(length.finish()),
        Arc::new(seed.finish()),
        Arc::new(copies.finish()),
        Arc::new(elements.finish()),
        Arc::new(covered.finish()),
        Arc::new(identity.finish()),
        Arc::new(gc.finish()),
    ];
    RecordBatch::try_new(schema, columns).map_err(|e| internal(&e))
}

/// The table of elements, in the order of the genome.
fn elements(report: &Report, identities: &[f32]) -> Result<RecordBatch> {
    let state = &report.found.state;
    let owners = owners(&state.families);
    let (mut chrom, mut family, mut source) = (
        StringDictionaryBuilder::<Int32Type>::new(),
        StringDictionaryBuilder::<Int32Type>::new(),
        StringDictionaryBuilder::<Int32Type>::new(),
    );
    let (mut start, mut end, mut strand) =
        (Int64Builder::new(), Int64Builder::new(), StringBuilder::new());
    let (mut score, mut identity) = (Int32Builder::new(), Float32Builder::new());
    let (mut from, mut to) = (Int32Builder::new(), Int32Builder::new());
    for i in seqmill_repeats::tables::by_place(&report.text, &state.elements) {
        let i = i as usize;
        let element = &state.elements[i];
        let owner = &state.families[owners[i] as usize];
        let place = place(&report.text, element);
        let name = text_of(report.text.records()[place.record].name());
        chrom.append(name).map_err(|e| internal(&e))?;
        family.append(format!("fam{}", owners[i])).map_err(|e| internal(&e))?;
        source
            .append(if element.annotated { "annotated" } else { "discovery" })
            .map_err(|e| internal(&e))?;
        start.append_value(place.start);
        end.append_value(place.end);
        strand.append_value(if element.reverse { "-" } else { "+" });
        score.append_value(element.score);
        identity.append_value(identities.get(i).copied().unwrap_or_default());
        let range = consensus_range(owner, element);
        from.append_value(narrow(range.0));
        to.append_value(narrow(range.1));
    }
    let schema = schema(&[
        ("chrom", dictionary()),
        ("start", DataType::Int64),
        ("end", DataType::Int64),
        ("family", dictionary()),
        ("strand", DataType::Utf8),
        ("score", DataType::Int32),
        ("identity", DataType::Float32),
        ("consensus_start", DataType::Int32),
        ("consensus_end", DataType::Int32),
        ("source", dictionary()),
    ]);
    let columns: Vec<ArrayRef> = vec![
        Arc::new(chrom.finish()),
        Arc::new(start.finish()),
        Arc::new(end.finish()),
        Arc::new(family.finish()),
        Arc::new(strand.finish()),
        Arc::new(score.finish()),
        Arc::new(identity.finish()),
        Arc::new(from.finish()),
        Arc::new(to.finish()),
        Arc::new(source.finish()),
    ];
    RecordBatch::try_new(schema, columns).map_err(|e| internal(&e))
}

/// The table of seeds.
fn seeds(report: &Report) -> Result<RecordBatch> {
    let found = &report.found;
    let (mut seed, mut count) = (StringBuilder::new(), Int32Builder::new());
    let mut chrom = StringDictionaryBuilder::<Int32Type>::new();
    let mut start = Int64Builder::new();
    for one in &found.seeds {
        seed.append_value(text_of(&kmer::letters(one.kmer, found.k)));
        count.append_value(narrow(one.count));
        let record = &report.text.records()[report.text.record_of(one.first)];
        chrom.append(text_of(record.name())).map_err(|e| internal(&e))?;
        start.append_value(i64::from(one.first - record.start));
    }
    let schema = schema(&[
        ("seed", DataType::Utf8),
        ("count", DataType::Int32),
        ("chrom", dictionary()),
        ("start", DataType::Int64),
    ]);
    let columns: Vec<ArrayRef> = vec![
        Arc::new(seed.finish()),
        Arc::new(count.finish()),
        Arc::new(chrom.finish()),
        Arc::new(start.finish()),
    ];
    RecordBatch::try_new(schema, columns).map_err(|e| internal(&e))
}

/// Writes a table as one batch.
fn write_table(batch: &RecordBatch, format: Format, path: &Path) -> Result<()> {
    if format == Format::Arrow {
        // Without rows, but with the dictionaries.
        let empty = batch.slice(0, 0);
        let mut encoder = IpcEncoder::new(&empty, IpcCompression::None)?;
        let mut writer = IpcWriter::create(path, &empty, IpcCompression::None, true)?;
        writer.append(&encoder.encode(batch)?)?;
        writer.finish(&[])?;
        return Ok(());
    }
    let plan = Plan::new(&batch.schema(), Codec::Zstd(1), &|_, kind| LeafOptions {
        encoding: match kind {
            DataType::Utf8 | DataType::Dictionary(..) => LeafEncoding::Dictionary,
            _ => LeafEncoding::Plain,
        },
        statistics: true,
        plain_fallback: false,
    })?;
    let beside = |end: &str| {
        let mut name = path.as_os_str().to_owned();
        name.push(end);
        std::path::PathBuf::from(name)
    };
    let (spool, overflow) = (beside(".spool"), beside(".overflow"));
    let result = write_parquet(batch, &plan, [path, &spool, &overflow]);
    for aside in [spool, overflow] {
        let _ = std::fs::remove_file(aside);
    }
    result
}

fn write_parquet(batch: &RecordBatch, plan: &Arc<Plan>, paths: [&Path; 3]) -> Result<()> {
    const OPEN_PAGE_BYTES: u64 = 8 << 20;
    let [data, spool, overflow] = paths;
    let mut file = ParquetFile::create(data, spool, overflow, Arc::clone(plan), OPEN_PAGE_BYTES)?;
    if batch.num_rows() > 0 {
        let mut encoder = PageEncoder::new(Arc::clone(plan))?;
        let mut dictionaries = GroupDictionaries::new(plan);
        let assigned = dictionaries.assign(encoder.encode(batch)?, Some(GroupEnd::default()));
        file.append(encoder.finish(assigned)?)?;
    }
    file.finish(&[], concat!("seqmill ", env!("CARGO_PKG_VERSION"))).map(|_| ())
}

fn write_extra(
    report: &Report,
    threads: usize,
    job: &Job,
    format: Format,
    suffix: &str,
    path: &Path,
) -> Result<()> {
    let identities = report.identities(threads, job)?;
    let batch = if suffix.starts_with(".families") {
        families(report, &identities)?
    } else {
        elements(report, &identities)?
    };
    write_table(&batch, format, path)
}

/// What a run found.
#[pyclass(frozen, module = "seqmill._native", name = "RepeatRun")]
pub(crate) struct RepeatRun {
    report: Report,
    options: Options,
    identities: OnceLock<Vec<f32>>,
    job: Job,
}

impl RepeatRun {
    fn identities(&self, py: Python<'_>) -> PyResult<&[f32]> {
        if let Some(known) = self.identities.get() {
            return Ok(known);
        }
        let threads = self.options.resources.threads;
        let made = py
            .detach(|| self.report.identities(threads, &self.job))
            .map_err(|e| to_python(py, &e))?;
        Ok(self.identities.get_or_init(|| made))
    }

    /// The letters of a sequence as the file has them, masked.
    fn read_masked(&self, name: &[u8], hard: bool) -> Result<Option<Vec<u8>>> {
        let text = &self.report.text;
        let Some(wanted) = text.records().iter().position(|r| r.name() == name) else {
            return Ok(None);
        };
        let account = self.job.budget.account("masked", u64::MAX);
        let record = &text.records()[wanted];
        let _lease = self.job.budget.must_reserve(account, u64::from(record.length))?;
        let options =
            SequenceOptions { archives: self.options.archives, ..SequenceOptions::default() };
        let mut stream = SequenceStream::open(&self.options.input, options, &self.job, account)?;
        let mut letters = Vec::with_capacity(record.length as usize);
        let mut number = 0_usize;
        while let Some(piece) = stream.next_piece()? {
            match piece {
                Piece::Start { .. } => number += 1,
                Piece::Bases(bases) if number == wanted + 1 => letters.extend_from_slice(bases),
                Piece::End { .. } if number == wanted + 1 => break,
                _ => {}
            }
        }
        for (at, letter) in (record.start..).zip(&mut letters) {
            if at < record.end() && self.report.found.state.covered.has(at) {
                *letter = if hard { b'N' } else { letter.to_ascii_lowercase() };
            }
        }
        Ok(Some(letters))
    }
}

fn capsule(py: Python<'_>, batch: RecordBatch) -> PyResult<Bound<'_, PyCapsule>> {
    let schema = batch.schema();
    let mut batch = Some(batch);
    stream_capsule(py, schema, Box::new(move || Ok(batch.take())), LastError::default())
}

#[pymethods]
impl RepeatRun {
    /// The result as JSON: outputs, warnings, metrics, and counts for pictures if asked for.
    #[pyo3(signature = (with_overview = false))]
    fn summary(&self, py: Python<'_>, with_overview: bool) -> PyResult<String> {
        let report = &self.report;
        let outputs: Vec<_> = report
            .outputs
            .iter()
            .map(|(path, bytes)| serde_json::json!({"path": path, "bytes": bytes}))
            .collect();
        let overview = if with_overview {
            overview(&report.found, &report.text, self.identities(py)?)
        } else {
            serde_json::Value::Null
        };
        let answer = serde_json::json!({
            "outputs": outputs,
            "warnings": report.warnings,
            "metrics": report.document,
            "families": report.found.state.families.len(),
            "elements": report.found.state.elements.len(),
            "seeds": report.found.seeds.len(),
            "overview": overview,
        });
        Ok(answer.to_string())
    }

    /// A table as a capsule: `families`, `elements` or `seeds`.
    fn table<'py>(&self, py: Python<'py>, name: &str) -> PyResult<Bound<'py, PyCapsule>> {
        let batch = match name {
            "families" => families(&self.report, self.identities(py)?),
            "elements" => elements(&self.report, self.identities(py)?),
            "seeds" => seeds(&self.report),
            other => return Err(PyValueError::new_err(format!("no table {other:?}"))),
        };
        capsule(py, batch.map_err(|e| to_python(py, &e))?)
    }

    /// The consensus of a family by its number; `None` if there is none.
    fn consensus(&self, py: Python<'_>, number: usize) -> Option<Py<PyBytes>> {
        let family = self.report.found.state.families.get(number)?;
        Some(PyBytes::new(py, letters(&family.consensus).as_bytes()).unbind())
    }

    /// What elements cover of a sequence, as pairs of eight bytes; `None` if there is none of
    /// this name.
    fn covered(&self, py: Python<'_>, name: &[u8]) -> Option<Py<PyBytes>> {
        let spans = py.detach(|| covered_spans(&self.report.found, &self.report.text, name))?;
        let bytes: Vec<u8> = spans.iter().flatten().flat_map(|at| at.to_le_bytes()).collect();
        Some(PyBytes::new(py, &bytes).unbind())
    }

    /// A sequence with its repeats masked; `None` if there is none of this name.
    fn masked(&self, py: Python<'_>, name: &[u8], hard: bool) -> PyResult<Option<Py<PyBytes>>> {
        let read = py.detach(|| self.read_masked(name, hard)).map_err(|e| to_python(py, &e))?;
        Ok(read.map(|letters| PyBytes::new(py, &letters).unbind()))
    }
}

/// Memory for each thread: below, a second one costs more than it gains. Measured on a yeast.
const THREAD_ROOM: u64 = 24 << 20;

/// Finds repeats; options are JSON (see `seqmill.repeats`).
#[pyfunction]
#[pyo3(signature = (options_json, progress = None))]
pub(crate) fn find_repeats(
    py: Python<'_>,
    options_json: &str,
    progress: Option<Py<PyAny>>,
) -> PyResult<RepeatRun> {
    let mut options: Options = read_options(py, options_json)?;
    options.archives = crate::archive::ARCHIVES;
    // Fewer threads rather than a budget that is too small (`workflow.md` A.4).
    let room = options.resources.memory.saturating_sub(memory_figures().rss.unwrap_or(0));
    let most = usize::try_from(room / THREAD_ROOM).unwrap_or(usize::MAX).max(1);
    options.resources.threads = options.resources.threads.min(most);
    let threads = options.resources.threads;
    let resources = Resources { threads, memory: options.resources.memory, ..Resources::default() };
    let job = new_job(py, &resources)?;
    let asked = options.clone();
    let report = run(py, &job, progress.as_ref(), move |job| {
        let extra = |report: &Report, format, suffix: &str, path: &Path| {
            write_extra(report, threads, job, format, suffix, path)
        };
        seqmill_repeats::run(&asked, job, &extra)
    })?
    .map_err(|e| to_python(py, &e))?;
    Ok(RepeatRun { report, options, identities: OnceLock::new(), job })
}
