//! A conversion into a file: output, state, checkpoints, report.

use crate::inputs::Inputs;
use crate::options::Options;
use crate::output::{Held, Meta, Parcel, codec, ipc_compression, ipc_messages, parquet_pages};
use crate::overview::Overview;
use crate::report::{Meter, Outcome, Totals, document};
use crate::run::{Accounts, WRITING, batches, process, threads};
use crate::setup::{Setup, differing_options};
use crate::unit::{CutState, NOTE_NAMES, Note};
use arrow_array::RecordBatch;
use seqmill_base::checkpoint::{JobIdentity, StateDirectory};
use seqmill_base::metrics::StageFigures;
use seqmill_base::pipeline::Pipeline;
use seqmill_base::progress::Progress;
use seqmill_base::sink::{publish, refuse_existing};
use seqmill_base::{Error, ErrorKind, Job, Result};
use seqmill_table::ipc::IpcWriter;
use seqmill_table::parquet::{FileState, ParquetFile, Plan};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Layout of the state directory.
const STATE_FORMAT: u32 = 1;
/// Data under construction.
const DATA_FILE: &str = "data.partial";
/// What the Parquet footer needs of closed row groups.
const SPOOL_FILE: &str = "footer.partial";
/// Pages of the open row group that do not fit in memory.
const OVERFLOW_FILE: &str = "pages.partial";
/// A checkpoint is taken after so many bytes of output.
const CHECKPOINT_BYTES: u64 = 1 << 30;
/// Or after so many seconds.
const CHECKPOINT_SECONDS: f64 = 30.0;

/// What `checkpoint.json` says.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Checkpoint {
    state: CutState,
    totals: Totals,
    file: FileCheckpoint,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum FileCheckpoint {
    Parquet(FileState),
    Ipc(u64),
}

/// The result of a conversion.
pub struct Report {
    /// The engine's part of the metrics document.
    pub document: Value,
    /// Records given.
    pub records: u64,
    /// Bytes of the output.
    pub bytes: u64,
    /// Warnings.
    pub warnings: Vec<String>,
}

/// Writer of one of the file formats.
enum Writer {
    Parquet(Box<ParquetFile>),
    Ipc(Box<IpcWriter>),
}

impl Writer {
    fn bytes(&self) -> u64 {
        match self {
            Self::Parquet(file) => file.position(),
            Self::Ipc(file) => file.bytes(),
        }
    }

    fn checkpoint(&mut self) -> Result<FileCheckpoint> {
        Ok(match self {
            Self::Parquet(file) => FileCheckpoint::Parquet(file.state()?),
            Self::Ipc(file) => FileCheckpoint::Ipc(file.sync()?),
        })
    }
}

/// Everything the last stage holds.
struct Sink<'a> {
    writer: Option<Writer>,
    state: Option<&'a StateDirectory>,
    totals: Totals,
    last: CutState,
    overview: Option<Overview>,
    progress: Arc<Progress>,
    checkpoint_bytes: u64,
    checkpoint_every: Duration,
    checkpoint_at: u64,
    checkpoint_time: Instant,
}

impl Sink<'_> {
    /// Takes the facts of a batch that was appended; `between`: no row group is open.
    fn appended(&mut self, meta: &Meta, between: bool) -> Result<()> {
        self.totals.add(&meta.facts);
        self.last = meta.after;
        if let (Some(sum), Some(part)) = (&mut self.overview, &meta.facts.overview) {
            sum.add(part);
        }
        let bytes = self.writer.as_ref().map_or(0, Writer::bytes);
        self.progress.bytes_out.store(bytes, Ordering::Relaxed);
        self.progress.records_out.store(meta.after.given, Ordering::Relaxed);
        if between {
            let due = bytes - self.checkpoint_at.min(bytes) >= self.checkpoint_bytes
                || self.checkpoint_time.elapsed() >= self.checkpoint_every;
            if due {
                self.checkpoint()?;
            }
        }
        Ok(())
    }

    fn checkpoint(&mut self) -> Result<()> {
        let (Some(state), Some(writer)) = (self.state, &mut self.writer) else { return Ok(()) };
        let file = writer.checkpoint()?;
        state.save_checkpoint(&Checkpoint {
            state: self.last,
            totals: self.totals.clone(),
            file,
        })?;
        self.checkpoint_at = writer.bytes();
        self.checkpoint_time = Instant::now();
        Ok(())
    }
}

/// Converts the inputs of the options into one output.
pub fn convert(options: &Options, job: &Job, overview: bool) -> (Result<Report>, Vec<String>) {
    let inputs = match Inputs::open(options) {
        Ok(inputs) => Arc::new(inputs),
        Err(error) => return (Err(error), Vec::new()),
    };
    let result = convert_opened(options, job, overview, &inputs);
    (result, inputs.warnings())
}

fn convert_opened(
    options: &Options,
    job: &Job,
    overview: bool,
    inputs: &Arc<Inputs>,
) -> Result<Report> {
    let output = options.output.clone().ok_or_else(|| Error::input("no output is given"))?;
    job.progress.bytes_total.store(inputs.total_bytes().unwrap_or(0), Ordering::Relaxed);
    let mut setup = Setup::new(inputs, &options.semantic, false)?;
    provenance(options, &mut setup);
    if output == Path::new("-") {
        return run_stream(options, job, overview, inputs, &setup);
    }
    refuse_existing(&output, options.force)?;
    let (state, earlier) = open_state(options, inputs, &output)?;
    let checkpoint = if earlier { state.checkpoint::<Checkpoint>()? } else { None };
    let result = run_file(options, job, overview, inputs, &setup, &state, checkpoint);
    match result {
        Ok(report) => {
            publish(&state.file(DATA_FILE), &output)?;
            state.remove()?;
            Ok(report)
        }
        Err(error) => {
            if !keeps_state(&error, inputs) {
                state.remove()?;
            }
            Err(error.at_path(&output))
        }
    }
}

/// Whether an error may go away, so that the run can go on from its state.
fn keeps_state(error: &Error, inputs: &Inputs) -> bool {
    let again = matches!(
        error.kind(),
        ErrorKind::Io | ErrorKind::Cancelled | ErrorKind::Budget | ErrorKind::Internal
    );
    again && inputs.sources().all(|s| s.is_seekable())
}

/// Keys of the metadata that say what made the output; equal runs write equal bytes.
fn provenance(options: &Options, setup: &mut Setup) {
    if options.no_provenance {
        return;
    }
    let differing = differing_options(&setup.semantic);
    let keys = [
        ("seqmill.version", options.version.clone()),
        ("seqmill.command", "convert".to_owned()),
        ("seqmill.options", Value::Object(differing).to_string()),
    ];
    setup.add_metadata(keys.map(|(k, v)| (k.to_owned(), v)));
}

fn open_state(options: &Options, inputs: &Inputs, output: &Path) -> Result<(StateDirectory, bool)> {
    let semantic = serde_json::to_value(&options.semantic)
        .map_err(|e| Error::internal(format!("options cannot be written: {e}")))?;
    let identity = JobIdentity {
        format: STATE_FORMAT,
        seqmill: options.version.clone(),
        command: "convert".to_owned(),
        options: semantic,
        inputs: inputs.identities(true, true)?,
    };
    StateDirectory::open(output, &identity, options.resume, options.force && !options.resume)
}

fn sink<'a>(
    options: &Options,
    job: &Job,
    overview: bool,
    writer: Writer,
    state: Option<&'a StateDirectory>,
    earlier: Option<&Checkpoint>,
) -> Sink<'a> {
    let at = writer.bytes();
    let seconds = match (options.checkpoint_seconds, options.checkpoint_bytes) {
        (Some(seconds), _) => seconds,
        // A rule in bytes alone: the time does not count.
        (None, Some(_)) => f64::from(u32::MAX),
        (None, None) => CHECKPOINT_SECONDS,
    };
    let fresh = CutState { sorted: true, ..CutState::default() };
    Sink {
        writer: Some(writer),
        state,
        totals: earlier.map(|c| c.totals.clone()).unwrap_or_default(),
        last: earlier.map_or(fresh, |c| c.state),
        overview: overview.then(Overview::default),
        progress: Arc::clone(&job.progress),
        checkpoint_bytes: options.checkpoint_bytes.unwrap_or(match options.checkpoint_seconds {
            Some(_) => u64::MAX,
            None => CHECKPOINT_BYTES,
        }),
        checkpoint_every: Duration::from_secs_f64(seconds.clamp(0.0, f64::from(u32::MAX))),
        checkpoint_at: at,
        checkpoint_time: Instant::now(),
    }
}

/// Collects what is told of skipped records.
type BadRecords = Arc<Mutex<Vec<(u64, u64, String)>>>;

fn bad_records(options: &Options) -> (BadRecords, Option<crate::select::OnBad>) {
    let list: BadRecords = Arc::default();
    if options.bad_records.is_none() {
        return (list, None);
    }
    let target = Arc::clone(&list);
    let tell: crate::select::OnBad = Box::new(move |record, voffset, fault| {
        let reason = format!("{} {}", fault.field, fault.reason);
        let mut list = target.lock().unwrap_or_else(PoisonError::into_inner);
        list.push((record, voffset, reason));
    });
    (list, Some(tell))
}

fn write_bad_records(path: Option<&PathBuf>, list: &BadRecords) -> Result<()> {
    let Some(path) = path else { return Ok(()) };
    let mut list = list.lock().unwrap_or_else(PoisonError::into_inner);
    list.sort();
    let mut text = String::from("ordinal\tvoffset\treason\n");
    for (record, voffset, reason) in list.iter() {
        let _ = writeln!(text, "{record}\t{voffset}\t{reason}");
    }
    seqmill_base::sink::write_atomically(path, text.as_bytes())
}

fn run_file(
    options: &Options,
    job: &Job,
    overview: bool,
    inputs: &Arc<Inputs>,
    setup: &Setup,
    state: &StateDirectory,
    checkpoint: Option<Checkpoint>,
) -> Result<Report> {
    let meter = Meter::start();
    let accounts = Accounts::new(job, &options.resources);
    let data = state.file(DATA_FILE);
    let resumed_from = checkpoint.as_ref().map(|c| c.state.given);
    let (bad, tell) = bad_records(options);
    let resume = checkpoint.as_ref().map(|c| c.state).filter(|s| s.given > 0);
    let batches = batches(inputs, setup, job, accounts, resume, tell)?;
    let processed = process(batches, inputs, setup, accounts.process, overview);
    let pool = threads(&options.resources);
    let checkpoint = checkpoint.filter(|c| c.state.given > 0);
    let semantic = &setup.semantic;
    if semantic.format == "parquet" {
        let codec = codec(&semantic.compression, semantic.compression_level)?;
        let leaf =
            |path: &str, data_type: &arrow_schema::DataType| setup.leaf_options(path, data_type);
        let plan = Plan::new(&setup.columns.schema, codec, &leaf)?;
        let (spool, overflow) = (state.file(SPOOL_FILE), state.file(OVERFLOW_FILE));
        let open_pages = accounts.open_pages;
        let file = match checkpoint.as_ref().map(|c| &c.file) {
            Some(FileCheckpoint::Parquet(at)) => {
                ParquetFile::resume(&data, &spool, &overflow, Arc::clone(&plan), open_pages, at)?
            }
            _ => ParquetFile::create(&data, &spool, &overflow, Arc::clone(&plan), open_pages)?,
        };
        let writer = Writer::Parquet(Box::new(file));
        let mut sink = sink(options, job, overview, writer, Some(state), checkpoint.as_ref());
        let account = job.budget.account("open_row_group", open_pages);
        let _open_pages = job.budget.must_reserve(account, open_pages)?;
        let pages = parquet_pages(processed, setup, &plan, accounts.write)?;
        let (result, stages) = drain(pages, &mut sink, &pool, job, |writer, data| {
            let Writer::Parquet(file) = writer else { return Ok(false) };
            file.append(data)
        });
        result.and_then(|()| {
            finish(options, job, inputs, setup, &meter, &mut sink, stages, &bad, resumed_from)
        })
    } else {
        let compression = ipc_compression(&semantic.compression, semantic.compression_level)?;
        let empty = empty_batch(setup)?;
        let footer = semantic.format == "arrow";
        let file = match checkpoint.as_ref().map(|c| &c.file) {
            Some(FileCheckpoint::Ipc(at)) => {
                IpcWriter::resume(&data, Arc::clone(&setup.columns.schema), *at, footer)?
            }
            _ => IpcWriter::create(&data, &empty, compression, footer)?,
        };
        let writer = Writer::Ipc(Box::new(file));
        let mut sink = sink(options, job, overview, writer, Some(state), checkpoint.as_ref());
        let messages = ipc_messages(processed, empty, compression, accounts.write);
        let (result, stages) = drain(messages, &mut sink, &pool, job, |writer, data| {
            let Writer::Ipc(file) = writer else { return Ok(false) };
            file.append(&data).map(|()| true)
        });
        result.and_then(|()| {
            finish(options, job, inputs, setup, &meter, &mut sink, stages, &bad, resumed_from)
        })
    }
}

/// Arrow IPC to standard output: no state, no resume.
fn run_stream(
    options: &Options,
    job: &Job,
    overview: bool,
    inputs: &Arc<Inputs>,
    setup: &Setup,
) -> Result<Report> {
    if setup.semantic.format != "arrows" {
        return Err(Error::input("standard output takes the format arrows only"));
    }
    let meter = Meter::start();
    let accounts = Accounts::new(job, &options.resources);
    let compression =
        ipc_compression(&setup.semantic.compression, setup.semantic.compression_level)?;
    let empty = empty_batch(setup)?;
    let (bad, tell) = bad_records(options);
    let batches = batches(inputs, setup, job, accounts, None, tell)?;
    let processed = process(batches, inputs, setup, accounts.process, overview);
    let out = Box::new(std::io::stdout());
    let writer = Writer::Ipc(Box::new(IpcWriter::stream(out, &empty, compression)?));
    let mut sink = sink(options, job, overview, writer, None, None);
    let messages = ipc_messages(processed, empty, compression, accounts.write);
    let pool = threads(&options.resources);
    let (result, stages) = drain(messages, &mut sink, &pool, job, |writer, data| {
        let Writer::Ipc(file) = writer else { return Ok(false) };
        file.append(&data).map(|()| true)
    });
    result?;
    finish(options, job, inputs, setup, &meter, &mut sink, stages, &bad, None)
}

/// Runs the pipeline into the writer.
fn drain<'a, T: Held>(
    parcels: Pipeline<'a, Parcel<T>>,
    sink: &'a mut Sink<'_>,
    pool: &seqmill_base::pipeline::Threads,
    job: &Job,
    mut append: impl FnMut(&mut Writer, T) -> Result<bool> + Send + 'a,
) -> (Result<()>, Vec<StageFigures>) {
    let take = move |Parcel { data, meta }: Parcel<T>| {
        let Some(writer) = &mut sink.writer else { return Ok(()) };
        let between = append(writer, data)?;
        sink.appended(&meta, between)
    };
    parcels.run("write", WRITING, take, pool, job)
}

#[expect(clippy::too_many_arguments, reason = "the parts of one report")]
fn finish(
    options: &Options,
    job: &Job,
    inputs: &Inputs,
    setup: &Setup,
    meter: &Meter,
    sink: &mut Sink<'_>,
    stages: Vec<StageFigures>,
    bad: &BadRecords,
    resumed_from: Option<u64>,
) -> Result<Report> {
    write_bad_records(options.bad_records.as_ref(), bad)?;
    let order = if sink.last.sorted && sink.last.given > 0 { "coordinate" } else { "unknown" };
    let order = vec![("sam.sort_order".to_owned(), order.to_owned())];
    let (bytes, format) = match sink.writer.take() {
        Some(Writer::Parquet(file)) => {
            let mut keys: Vec<(String, String)> = setup
                .columns
                .schema
                .metadata()
                .iter()
                .map(|(k, v)| (k.clone(), v.clone()))
                .collect();
            keys.extend(order);
            keys.sort();
            let figures = file.finish(&keys, &format!("seqmill version {}", options.version))?;
            (figures.bytes, json!({"parquet": figures}))
        }
        Some(Writer::Ipc(file)) => (file.finish(&order)?, json!({"arrow": {}})),
        None => return Err(Error::internal("the output is finished already")),
    };
    let state = sink.last;
    warn_of(inputs, &state);
    let outcome = Outcome {
        state,
        totals: &sink.totals,
        stages,
        output_bytes: bytes,
        format,
        overview: sink.overview.as_ref(),
        resumed_from,
    };
    job.progress.bytes_out.store(bytes, Ordering::Relaxed);
    let document = document(inputs, setup, job, meter, &outcome);
    Ok(Report { document, records: state.given, bytes, warnings: inputs.warnings() })
}

/// Warnings that follow from the counts.
pub(crate) fn warn_of(inputs: &Inputs, state: &CutState) {
    let count = |note: Note| state.notes.get(note as usize).copied().unwrap_or(0);
    let pairs = [
        (Note::UnterminatedName, "read names do not end in NUL"),
        (Note::Bad, "damaged records were skipped"),
    ];
    for (note, text) in pairs {
        if count(note) > 0 {
            inputs.warn(format!("{} {text}", count(note)));
        }
    }
    debug_assert_eq!(NOTE_NAMES.len(), state.notes.len());
}

/// A batch without rows that has the dictionaries.
pub(crate) fn empty_batch(setup: &Setup) -> Result<RecordBatch> {
    let batch = crate::unit::Batch {
        slices: Vec::new(),
        rows: 0,
        weight: 0,
        group_end: None,
        after: CutState::default(),
    };
    let mut decoder = crate::columns::Decoder::new(Arc::clone(&setup.columns));
    Ok(decoder.decode(&batch)?.batch)
}
