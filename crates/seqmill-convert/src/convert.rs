//! A conversion into a file: output, state, report.

use crate::cut::SharedIndex;
use crate::index_job::{index_pass, write_chunk_index};
use crate::inputs::Inputs;
use crate::options::Options;
use crate::output::{Encoding, Held, Parcel, ipc_compression, ipc_messages, parquet_pages};
use crate::report::{Meter, Outcome, document};
use crate::run::{
    Accounts, Extras, WRITING, batches, process, reserve_headers, threads, with_record,
};
use crate::setup::{Setup, differing_options};
use crate::sink::{Checkpoint, FileCheckpoint, Sink, Writer};
use crate::unit::{CutState, Note};
use arrow_array::RecordBatch;
use seqmill_base::checkpoint::{JobIdentity, StateDirectory};
use seqmill_base::metrics::StageFigures;
use seqmill_base::pipeline::{Pipeline, Threads};
use seqmill_base::sink::{publish, refuse_existing};
use seqmill_base::{Error, ErrorKind, Job, Result};
use seqmill_table::ipc::{IpcMessage, IpcWriter};
use seqmill_table::parquet::{ParquetFile, Plan};
use serde_json::{Value, json};
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// Layout of the state directory.
const STATE_FORMAT: u32 = 1;
/// Data under construction.
const DATA_FILE: &str = "data.partial";
/// What the Parquet footer needs of closed row groups.
const SPOOL_FILE: &str = "footer.partial";
/// Pages of the open row group that do not fit in memory.
const OVERFLOW_FILE: &str = "pages.partial";

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

/// Converts the inputs of the options into one output; `overview` counts for the pictures.
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
    let _headers = reserve_headers(inputs, job)?;
    let mut setup = Setup::new(inputs, &options.semantic, false)?;
    provenance(options, &mut setup);
    let (bad, on_bad) = bad_records(options);
    let mut run =
        Run { options, job, overview, inputs, setup: &setup, meter: Meter::start(), bad, on_bad };
    if output == Path::new("-") {
        return run.write_stdout();
    }
    refuse_existing(&output, options.force)?;
    let (state, earlier) = open_state(options, inputs, &output)?;
    let checkpoint = if earlier { state.checkpoint::<Checkpoint>()? } else { None };
    match run.write_file(&state, checkpoint.filter(|c| c.state.given > 0).as_ref()) {
        Ok((report, index)) => {
            publish(&state.file(DATA_FILE), &output)?;
            state.remove()?;
            match index {
                Some((index, sorted)) => drop(write_chunk_index(inputs, &index, sorted)?),
                None if options.write_chunk_index => drop(index_pass(options, job, inputs)?),
                None => {}
            }
            Ok(report)
        }
        Err(error) => {
            if !keeps_state(&error, inputs) {
                state.remove()?;
            }
            Err(error)
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

/// Whether a run reads every record of its only input.
fn is_whole(setup: &Setup) -> bool {
    setup.stretches.len() == 1
        && setup.index_used.is_none()
        && setup.regions.is_none()
        && setup.semantic.limit.is_none()
}

/// One conversion on its way.
struct Run<'a> {
    options: &'a Options,
    job: &'a Job,
    overview: bool,
    inputs: &'a Arc<Inputs>,
    setup: &'a Setup,
    meter: Meter,
    bad: BadRecords,
    on_bad: Option<crate::select::OnBad>,
}

/// The index collected in a pass, and whether the records were in order.
type CollectedIndex = Option<(SharedIndex, bool)>;

impl Run<'_> {
    /// Writes the file under construction in the state directory.
    fn write_file(
        &mut self,
        state: &StateDirectory,
        earlier: Option<&Checkpoint>,
    ) -> Result<(Report, CollectedIndex)> {
        let semantic = &self.setup.semantic;
        let encoding = Encoding::new(semantic)?;
        let resources = &self.options.resources;
        let (threads, _encoders) = threads(resources, self.job, encoding.state_bytes())?;
        let accounts = Accounts::new(self.job, resources);
        // A run that goes on has not seen the beginning: its index takes a pass of its own.
        let index = (self.options.write_chunk_index && earlier.is_none() && is_whole(self.setup))
            .then(SharedIndex::default);
        let extras = Extras { on_bad: self.on_bad.take(), index: index.clone(), resumable: true };
        let resume = earlier.map(|c| c.state);
        let batches = batches(self.inputs, self.setup, self.job, accounts, resume, extras)?;
        let processed =
            process(batches, self.inputs, self.setup, self.job, accounts.process, self.overview);
        let sink =
            |writer| Sink::new(self.options, self.job, self.overview, writer, Some(state), earlier);
        let (mut sink, result, stages) = match encoding {
            Encoding::Parquet(codec) => {
                let setup = self.setup;
                let leaf = |path: &str, data_type: &arrow_schema::DataType| {
                    setup.leaf_options(path, data_type)
                };
                let plan = Plan::new(&setup.columns.schema, codec, &leaf)?;
                let overflow = Overflow::new(state, self.options.resources.tmpdir.as_deref());
                let file = parquet_file(state, &overflow, &plan, accounts.open_pages, earlier)?;
                let account = self.job.budget.account("open_row_group", accounts.open_pages);
                let _open_pages = self.job.budget.must_reserve(account, accounts.open_pages)?;
                let pages = parquet_pages(processed, setup, &plan, accounts.write)?;
                let mut sink = sink(Writer::Parquet(Box::new(file)));
                let (result, stages) =
                    self.drain(pages, &mut sink, &threads, |writer, data| match writer {
                        Writer::Parquet(file) => file.append(data),
                        Writer::Ipc(_) => Ok(false),
                    });
                (sink, result, stages)
            }
            Encoding::Ipc(compression) => {
                let empty = empty_batch(self.setup)?;
                let (data, footer) = (state.file(DATA_FILE), semantic.format == "arrow");
                let file = match earlier.map(|c| &c.file) {
                    Some(FileCheckpoint::Ipc(at)) => IpcWriter::resume(
                        &data,
                        Arc::clone(&self.setup.columns.schema),
                        *at,
                        footer,
                    )?,
                    _ => IpcWriter::create(&data, &empty, compression, footer)?,
                };
                let messages = ipc_messages(processed, empty, compression, accounts.write);
                let mut sink = sink(Writer::Ipc(Box::new(file)));
                let take = |writer: &mut Writer, data| append_message(writer, &data);
                let (result, stages) = self.drain(messages, &mut sink, &threads, take);
                (sink, result, stages)
            }
        };
        if let Err(error) = result {
            if keeps_state(&error, self.inputs) {
                // What is complete counts; a failure to say so must not hide the reason.
                let _ = sink.checkpoint();
            }
            let whole = resume.is_none();
            return Err(if whole { self.with_record(error) } else { error });
        }
        let resumed_from = resume.map(|s| s.given);
        let sorted = sink.last.sorted;
        let report = self.finish(&mut sink, stages, resumed_from)?;
        Ok((report, index.map(|index| (index, sorted))))
    }

    fn with_record(&self, error: Error) -> Error {
        with_record(error, self.inputs, self.setup, self.job)
    }

    /// Arrow IPC to standard output: no state, no resume.
    fn write_stdout(&mut self) -> Result<Report> {
        let semantic = &self.setup.semantic;
        if semantic.format != "arrows" {
            return Err(Error::input("standard output takes the format arrows only"));
        }
        let compression = ipc_compression(&semantic.compression, semantic.compression_level)?;
        let resources = &self.options.resources;
        let state = (compression.state_bytes(), 0);
        let (threads, _encoders) = threads(resources, self.job, state)?;
        let accounts = Accounts::new(self.job, resources);
        let empty = empty_batch(self.setup)?;
        let extras = Extras { on_bad: self.on_bad.take(), ..Extras::default() };
        let batches = batches(self.inputs, self.setup, self.job, accounts, None, extras)?;
        let processed =
            process(batches, self.inputs, self.setup, self.job, accounts.process, self.overview);
        let writer = IpcWriter::stream(Box::new(std::io::stdout()), &empty, compression)?;
        let writer = Writer::Ipc(Box::new(writer));
        let mut sink = Sink::new(self.options, self.job, self.overview, writer, None, None);
        let messages = ipc_messages(processed, empty, compression, accounts.write);
        let take = |writer: &mut Writer, data| append_message(writer, &data);
        let (result, stages) = self.drain(messages, &mut sink, &threads, take);
        result.map_err(|e| self.with_record(e))?;
        self.finish(&mut sink, stages, None)
    }

    /// Runs the pipeline into the writer.
    fn drain<'p, T: Held>(
        &self,
        parcels: Pipeline<'p, Parcel<T>>,
        sink: &'p mut Sink<'_>,
        threads: &Threads,
        mut append: impl FnMut(&mut Writer, T) -> Result<bool> + Send + 'p,
    ) -> (Result<()>, Vec<StageFigures>) {
        let take = move |Parcel { data, meta }: Parcel<T>| {
            let Some(writer) = &mut sink.writer else { return Ok(()) };
            let between = append(writer, data)?;
            sink.appended(&meta, between)
        };
        parcels.run("write", WRITING, take, threads, self.job)
    }

    fn finish(
        &self,
        sink: &mut Sink<'_>,
        stages: Vec<StageFigures>,
        resumed_from: Option<u64>,
    ) -> Result<Report> {
        write_bad_records(self.options.bad_records.as_ref(), &self.bad)?;
        let order = if sink.last.sorted && sink.last.given > 0 { "coordinate" } else { "unknown" };
        let mut order = vec![("sam.sort_order".to_owned(), order.to_owned())];
        if self.setup.reads.is_some() {
            order.clear();
        }
        let (bytes, format) = match sink.writer.take() {
            Some(Writer::Parquet(file)) => {
                let metadata = self.setup.columns.schema.metadata().iter();
                let mut keys: Vec<(String, String)> =
                    metadata.map(|(k, v)| (k.clone(), v.clone())).collect();
                keys.extend(order);
                keys.sort();
                let maker = format!("seqmill version {}", self.options.version);
                let figures = file.finish(&keys, &maker)?;
                (figures.bytes, json!({"parquet": figures}))
            }
            Some(Writer::Ipc(file)) => (file.finish(&order)?, json!({"arrow": {}})),
            None => return Err(Error::internal("the output is finished already")),
        };
        let state = sink.last;
        warn_of(self.inputs, &state);
        let outcome = Outcome {
            state,
            totals: &sink.totals,
            stages,
            output_bytes: bytes,
            format,
            overview: sink.overview.as_ref(),
            resumed_from,
        };
        self.job.progress.bytes_out.store(bytes, Ordering::Relaxed);
        let document = document(self.inputs, self.setup, self.job, &self.meter, &outcome);
        Ok(Report { document, records: state.given, bytes, warnings: self.inputs.warnings() })
    }
}

fn append_message(writer: &mut Writer, data: &IpcMessage) -> Result<bool> {
    match writer {
        Writer::Ipc(file) => file.append(data).map(|()| true),
        Writer::Parquet(_) => Ok(false),
    }
}

/// Where pages of the open row group wait that do not fit in memory; gone with the run.
struct Overflow(PathBuf);

impl Overflow {
    /// In the folder for temporary files, else in the state directory.
    fn new(state: &StateDirectory, tmpdir: Option<&Path>) -> Self {
        Self(match tmpdir {
            Some(folder) => folder.join(format!("seqmill-{}-{OVERFLOW_FILE}", unique_number())),
            None => state.file(OVERFLOW_FILE),
        })
    }
}

impl Drop for Overflow {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// A number that no other run on this machine uses now.
fn unique_number() -> String {
    static RUNS: AtomicU64 = AtomicU64::new(0);
    format!("{}-{}", std::process::id(), RUNS.fetch_add(1, Ordering::Relaxed))
}

fn parquet_file(
    state: &StateDirectory,
    overflow: &Overflow,
    plan: &Arc<Plan>,
    open_pages: u64,
    earlier: Option<&Checkpoint>,
) -> Result<ParquetFile> {
    let [data, spool] = [DATA_FILE, SPOOL_FILE].map(|n| state.file(n));
    let overflow = overflow.0.clone();
    let plan = Arc::clone(plan);
    match earlier.map(|c| &c.file) {
        Some(FileCheckpoint::Parquet(at)) => {
            ParquetFile::resume(&data, &spool, &overflow, plan, open_pages, at)
        }
        _ => ParquetFile::create(&data, &spool, &overflow, plan, open_pages),
    }
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
}

/// A batch without rows that has the dictionaries.
pub(crate) fn empty_batch(setup: &Setup) -> Result<RecordBatch> {
    if let Some(plan) = &setup.reads {
        return crate::reads::empty_batch(plan, setup);
    }
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
