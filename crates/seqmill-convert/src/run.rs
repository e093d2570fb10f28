//! The pipeline of a run: scan, load, stitch, select, cut, process, and what the output adds.

use crate::columns::{Decoded, Decoder};
use crate::cut::{Cutter, SharedIndex};
use crate::inputs::Inputs;
use crate::mismatch::indexed_places;
use crate::options::Resources;
use crate::schema::TagField;
use crate::select::selection_claim;
use crate::setup::Setup;
use crate::unit::{Batch, CutState, GroupFacts, Position, Selected};
use arrow_array::RecordBatch;
use seqmill_base::budget::AccountId;
use seqmill_base::pipeline::{Item, Pipeline, Threads};
use seqmill_base::{Error, ErrorKind, FormatKind, Job, Lease, Result};
use seqmill_io::cram::split_place;
use seqmill_io::records::{
    Assembly, Kind, STRETCH_UNIT_BYTES, Scanned, Stitched, UNIT_BYTES, UnitSource, record_need,
    row_need,
};
use seqmill_table::parquet::{KEEP_BYTES, claim_bytes};
use std::path::PathBuf;
use std::sync::Arc;

/// Groups of stages that may have pools of their own.
pub(crate) const LOADING: usize = 0;
pub(crate) const PROCESSING: usize = 1;
pub(crate) const WRITING: usize = 2;

/// Where the stages draw their memory from.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Accounts {
    /// Compressed and inflated input.
    pub read: AccountId,
    /// Columns that are not encoded yet.
    pub process: AccountId,
    /// Encoded data that are not written yet.
    pub write: AccountId,
    /// Bytes of finished pages of the open row group kept in memory.
    pub open_pages: u64,
}

/// Buffers at their ceilings (`bam.md` §6).
const READ_AHEAD: u64 = 32 << 20;
const PROCESS_BUFFER: u64 = 64 << 20;
const WRITE_BUFFER: u64 = 64 << 20;
const OPEN_PAGES: u64 = 24 << 20;

impl Accounts {
    /// Divides what is free of the pool: ceilings where they fit, else everything is scaled down.
    pub(crate) fn new(job: &Job, resources: &Resources) -> Self {
        let read = resources.read_ahead.unwrap_or(READ_AHEAD);
        let process = resources.process_buffer.unwrap_or(PROCESS_BUFFER);
        let write = resources.write_buffer.unwrap_or(WRITE_BUFFER);
        let wanted = read + process + write + OPEN_PAGES;
        let free = job.budget.pool().saturating_sub(job.budget.reserved());
        let scale = |bytes: u64| {
            if wanted <= free {
                return bytes;
            }
            // In KiB, so that the product fits.
            ((bytes >> 10) * (free >> 10) / (wanted >> 10)) << 10
        };
        Self {
            read: job.budget.account("read_ahead", scale(read)),
            process: job.budget.account("process_buffer", scale(process)),
            write: job.budget.account("write_buffer", scale(write)),
            open_pages: scale(OPEN_PAGES),
        }
    }
}

/// How often the text of a header is held: by its input, in the schema, and by whoever writes it
/// just now. Measured, as the next two.
const HEADER_TEXTS: u64 = 5;
/// The same for the list of references in the metadata.
const HEADER_LISTS: u64 = 3;
/// The same for references: in their list, in look-ups, in the dictionary.
const HEADER_REFERENCES: u64 = 3;

/// Headers with more are noted where it is said what a run needs.
const LARGE_HEADERS: u64 = 4 << 20;

/// Reserves the headers, before anything is made of them, and what is read ahead of remote inputs.
pub(crate) fn reserve_headers(inputs: &Inputs, job: &Job) -> Result<Lease> {
    let [texts, lists, references] = inputs.header_bytes();
    let bytes = HEADER_TEXTS * texts + HEADER_LISTS * lists + HEADER_REFERENCES * references;
    let account = job.budget.account("headers", bytes);
    if bytes > LARGE_HEADERS {
        // What a refusal asks for has room for the run, too.
        job.budget.note_need(bytes / 2);
    }
    let mut lease = job.budget.must_reserve(account, bytes)?;
    let ahead = inputs.ahead_bytes();
    if ahead > 0 {
        lease.absorb(job.budget.must_reserve(account, ahead)?);
    }
    Ok(lease)
}

/// What one thread takes beside what the accounts know: a batch in the making and its views,
/// states of compressors, what the allocator keeps for it.
const THREAD_FLOOR: u64 = 8 << 20;

/// Threads as the options ask for, or as many as the budget has room for (`workflow.md` A.4), and
/// what encoding takes: `state` bytes for each thread and `beside` for all.
pub(crate) fn threads(
    resources: &Resources,
    job: &Job,
    (state, beside): (u64, u64),
) -> Result<(Threads, Lease)> {
    let (threads, compressing) = if let Some([load, process, write]) = resources.stage_threads {
        (Threads::PerGroup(vec![load, process, write]), write)
    } else {
        let room = usize::try_from(job.budget.pool() / (THREAD_FLOOR + state));
        let count = resources.threads.min(room.unwrap_or(usize::MAX)).max(1);
        if count < resources.threads {
            job.budget.note_thread(state, THREAD_FLOOR + state);
        }
        (Threads::Shared(count), count)
    };
    let bytes = state.saturating_mul(compressing as u64).saturating_add(beside);
    let account = job.budget.account("encoders", bytes);
    Ok((threads, job.budget.must_reserve(account, bytes)?))
}

/// Gives the units of all inputs in order.
struct Scanner {
    inputs: Arc<Inputs>,
    stretches: Vec<Vec<(u64, Option<u64>)>>,
    current: Option<UnitSource>,
    input: usize,
    before: u64,
    strict: bool,
    /// The whole of each input is read, to its end.
    to_the_end: bool,
}

impl Scanner {
    /// The next unit; where an input ends, a unit without bytes.
    fn next(&mut self, lease: Lease) -> Result<Option<Scanned>> {
        let Some(input) = self.inputs.list.get(self.input) else { return Ok(None) };
        let stretches = self.stretches.get(self.input).map_or(&[][..], Vec::as_slice);
        let unit_bytes = if self.to_the_end { UNIT_BYTES } else { STRETCH_UNIT_BYTES };
        let units =
            self.current.get_or_insert_with(|| UnitSource::new(input, stretches, unit_bytes));
        let next = units.next_unit(lease).map_err(|e| e.at_path(&input.path))?;
        if let Some(raw) = next {
            let input = u32::try_from(self.input).unwrap_or(u32::MAX);
            return Ok(Some(Scanned { raw, input, before: self.before }));
        }
        input.source.check_unchanged()?;
        if self.to_the_end && units.lacks_end_marker() {
            let text = "the end marker is missing: the file may be cut at the edge of a block";
            if self.strict {
                let error = Error::format(FormatKind::Truncated, text);
                return Err(error.at_path(&input.path));
            }
            self.inputs.warn(format!("{}: missing_eof: {text}", input.path.display()));
        }
        self.before += input.source.len().unwrap_or(0);
        let ended = self.input;
        self.input += 1;
        self.current = None;
        Ok(Some(Scanned::nothing(ended, self.before)))
    }
}

/// By-products of a run.
#[derive(Default)]
pub(crate) struct Extras {
    /// Is told of skipped records.
    pub on_bad: Option<crate::select::OnBad>,
    /// Collects a chunk index.
    pub index: Option<SharedIndex>,
    /// Only whole batches are given: behind an error a later run goes on, and cuts as this one.
    pub resumable: bool,
}

/// Builds the pipeline up to the batches.
pub(crate) fn batches<'a>(
    inputs: &Arc<Inputs>,
    setup: &'a Setup,
    job: &Job,
    accounts: Accounts,
    resume: Option<CutState>,
    extras: Extras,
) -> Result<Pipeline<'a, Batch>> {
    if let Some(plan) = &setup.reads {
        return Ok(crate::reads::batches(
            inputs,
            setup,
            plan,
            job,
            accounts,
            (resume, extras.resumable),
        ));
    }
    let position = resume.map(|state| state.position);
    let mut selector = setup.selector(inputs)?;
    selector.resume_after = position.map(|p| (p.input, p.ordinal));
    selector.on_bad = extras.on_bad;
    selector.summarise = extras.index.is_some();
    let scanner = Scanner {
        inputs: Arc::clone(inputs),
        stretches: stretches_from(setup, position),
        current: None,
        input: position.map_or(0, |p| p.input as usize),
        before: position.map_or(0, |p| bytes_before(inputs, p.input)),
        strict: setup.semantic.strict,
        to_the_end: setup.index_used.is_none(),
    };
    let paths: Vec<PathBuf> = inputs.list.iter().map(|i| i.path.clone()).collect();
    let read_again = position.map_or(0, |p| records_before(inputs, p));
    let first = position.map_or((0, setup.first_ordinal), |p| (p.input, p.ordinal - read_again));
    let first_line = position.map(|p| p.line).filter(|line| *line > 0);
    let mut state = resume.unwrap_or(CutState {
        sorted: true,
        last_key: (i64::MIN, i64::MIN),
        ..CutState::default()
    });
    // The last record that was given is read once more, and passed over; so are those before it
    // in its container.
    state.looked_at -= u64::from(resume.is_some()) + read_again;
    let mut cutter = Cutter::new(setup.sizes, state, paths, Arc::clone(&job.progress));
    cutter.index = extras.index;
    cutter.resumable = extras.resumable;
    let filtering = selector.filter.any;
    let verify = setup.semantic.verify;
    let claims = inputs.list.iter().map(|i| UnitSource::new(i, &[], UNIT_BYTES).claim());
    let claim = claims.max().unwrap_or(0);
    let mut scanner = scanner;
    let indexed = indexed_places(inputs, setup).map(Arc::new);
    let blame = move |error: Error| match &indexed {
        Some(indexed) => indexed.blame(error),
        None => error,
    };
    let (blame_scan, blame_stitch, blame_cut) = (blame.clone(), blame.clone(), blame);
    let scan = move |lease| scanner.next(lease).map_err(&blame_scan);
    let scanned = Pipeline::source("scan", LOADING, accounts.read, claim, scan);
    let assembly =
        Assembly { verify, skip_bad: selector.skip_bad, first, first_line, group: LOADING };
    let warnings = Arc::clone(inputs);
    let warn = move |text| warnings.warn(text);
    let stitched = assembly.add(scanned, &inputs.list, job, accounts.read, warn, blame_stitch)?;
    Ok(stitched
        .parallel(
            "select",
            PROCESSING,
            accounts.read,
            move |stitched: &Stitched| selection_claim(stitched, filtering),
            || (),
            move |(), stitched, lease| selector.select(stitched, lease),
        )
        .ordered("cut", PROCESSING, move |selected: Option<Selected>, emit| {
            cutter.cut(selected, emit).map_err(&blame_cut)
        }))
}

/// Records before that of the position which are read again: those of its container.
fn records_before(inputs: &Inputs, position: Position) -> u64 {
    let kind = inputs.list.get(position.input as usize).map(|i| i.kind);
    if kind == Some(Kind::Cram) { split_place(position.voffset).1 } else { 0 }
}

/// Batches with less have no record that needs much more memory than others.
const LARGE_BATCH_BYTES: u64 = 4 << 20;

/// What a batch needs on its whole way, and beside its records.
fn batch_need(batch: &Batch) -> (u64, u64) {
    let rows =
        batch.slices.iter().flat_map(|s| s.rows.clone().filter_map(|r| s.selected.record(r)));
    rows.fold((0, 0), |(whole, beside), record| {
        let (size, bases) = (record.bytes() as u64, record.length().into());
        (whole + record_need(size, bases), beside + row_need(size, bases))
    })
}

/// Names the record that damage of the container falls on, or at which the budget was used up,
/// where the records were counted from the beginning of the only input.
pub(crate) fn with_record(error: Error, inputs: &Inputs, setup: &Setup, job: &Job) -> Error {
    let container = matches!(
        error.kind(),
        ErrorKind::Budget
            | ErrorKind::Format(
                FormatKind::Bgzf
                    | FormatKind::Checksum
                    | FormatKind::Inflate
                    | FormatKind::Truncated
            )
    );
    if !container || setup.index_used.is_some() || inputs.list.len() > 1 {
        return error;
    }
    error.at_record(job.progress.snapshot().records_in)
}

fn bytes_before(inputs: &Inputs, input: u32) -> u64 {
    inputs.sources().take(input as usize).map(|s| s.len().unwrap_or(0)).sum()
}

/// What is left of the stretches behind a position.
pub(crate) fn stretches_from(
    setup: &Setup,
    position: Option<Position>,
) -> Vec<Vec<(u64, Option<u64>)>> {
    let mut all = setup.stretches.clone();
    let Some(position) = position else { return all };
    if let Some(stretches) = all.get_mut(position.input as usize) {
        stretches.retain(|(_, end)| end.is_none_or(|end| end > position.voffset));
        if let Some((begin, _)) = stretches.first_mut() {
            *begin = (*begin).max(position.voffset);
        }
    }
    all
}

/// A decoded batch on its way to the output.
pub(crate) struct Processed {
    pub batch: RecordBatch,
    pub bytes: u64,
    pub group_end: Option<GroupFacts>,
    pub after: CutState,
    pub facts: BatchFacts,
    pub lease: Lease,
    /// The lease has room for the pages, too: a large batch that is decoded must not wait for it.
    pub prepaid: bool,
}

/// What the report wants to know of a batch.
#[derive(Debug, Default)]
pub(crate) struct BatchFacts {
    pub rows: u64,
    pub arrow_bytes: u64,
    pub bases: u64,
    pub overflow: Vec<([u8; 2], [u64; 4])>,
    pub overview: Option<Box<crate::overview::Overview>>,
}

impl Item for Processed {
    fn bytes(&self) -> u64 {
        self.bytes
    }
}

/// Bytes a batch may take when it is decoded.
pub(crate) fn batch_claim(batch: &Batch, tags: &[TagField]) -> u64 {
    // The weight counts the values; validity, growth of text buffers and the views come on top, and
    // what a tag field takes in rows without the tag.
    let absent: u64 = tags.iter().map(|field| field.tag_type.row_bytes()).sum();
    let rows = batch.rows as u64;
    batch.weight + batch.weight / 2 + (200 + absent) * rows + (64 << 10)
}

/// Adds the stage that decodes batches.
pub(crate) fn process<'a>(
    batches: Pipeline<'a, Batch>,
    inputs: &Arc<Inputs>,
    setup: &'a Setup,
    job: &Job,
    account: AccountId,
    overview: bool,
) -> Pipeline<'a, Processed> {
    if let Some(plan) = &setup.reads {
        return crate::reads::process(batches, setup, plan, account);
    }
    let paths: Vec<PathBuf> = inputs.list.iter().map(|i| i.path.clone()).collect();
    let references = inputs.references.len();
    let budget = Arc::clone(&job.budget);
    let pages = setup.semantic.format == "parquet";
    batches.parallel(
        "process",
        PROCESSING,
        account,
        move |batch: &Batch| {
            let claim = batch_claim(batch, &setup.columns.tags.fields);
            if batch.weight <= LARGE_BATCH_BYTES {
                return claim;
            }
            let (whole, beside) = batch_need(batch);
            budget.note_need(whole);
            if pages { beside.saturating_sub(KEEP_BYTES as u64) } else { claim }
        },
        || Decoder::new(Arc::clone(&setup.columns)),
        move |decoder, batch, mut lease| {
            let decoded = decoder.decode(&batch).map_err(|e| {
                let input = batch.slices.first().map_or(0, |s| s.selected.unit.input as usize);
                paths.get(input).map_or_else(|| e.clone(), |path| e.clone().at_path(path))
            })?;
            let overview =
                overview.then(|| Box::new(crate::overview::Overview::of_batch(&batch, references)));
            let Decoded { batch: table, overflow, bases } = decoded;
            let bytes = table.get_array_memory_size() as u64;
            let prepaid = pages && batch.weight > LARGE_BATCH_BYTES;
            if prepaid {
                lease.resize((bytes + claim_bytes(&table)).min(lease.bytes()).max(bytes))?;
            } else {
                lease.resize(bytes)?;
            }
            let facts = BatchFacts {
                rows: batch.rows as u64,
                arrow_bytes: batch.weight,
                bases,
                overflow,
                overview,
            };
            let Batch { group_end, after, .. } = batch;
            Ok(Processed { batch: table, bytes, group_end, after, facts, lease, prepaid })
        },
    )
}
