//! Runs a case through the real converter and judges how it ended.

use crate::allocator;
use crate::case::{Case, Mode};
use arrow_array::{Array, RecordBatch};
use seqmill_base::checkpoint::state_path;
use seqmill_base::{Budget, Error, ErrorKind, FormatKind, Job};
use seqmill_convert::{Batches, Inputs, Options, Resources};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use xxhash_rust::xxh3::Xxh3;

/// Live bytes allowed beyond the budget: what the program itself takes and no account holds
/// (encoders, windows of the sample, reads in flight), measured on undamaged files.
pub(crate) const SLACK_BYTES: usize = 16 << 20;
/// A budget that any small input must fit in.
const AMPLE_BYTES: u64 = 128 << 20;

/// How a case ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum End {
    /// Records and a hash of what came out.
    Done(u64, u64),
    /// Class and message of the error.
    Failed(String, String),
}

/// The judgement of a case.
pub(crate) struct Verdict {
    /// For the table of outcomes.
    pub outcome: String,
    /// What must not be.
    pub fault: Option<String>,
    /// Most live bytes beyond the budget of the run.
    pub excess: i64,
}

/// The last panic: its message and where it came from.
static PANIC: Mutex<Option<String>> = Mutex::new(None);

/// Keeps panics quiet and remembers where they happened.
pub(crate) fn watch_panics() {
    std::panic::set_hook(Box::new(|info| {
        let trace = std::backtrace::Backtrace::force_capture().to_string();
        let ours: Vec<&str> = trace
            .lines()
            .filter(|line| line.contains(" at ") && !line.contains("/rustc/"))
            .map(str::trim)
            .take(12)
            .collect();
        let text = format!("{info}\n      {}", ours.join("\n      "));
        *PANIC.lock().unwrap_or_else(PoisonError::into_inner) = Some(text);
    }));
}

pub(crate) fn take_panic() -> Option<String> {
    PANIC.lock().unwrap_or_else(PoisonError::into_inner).take()
}

/// Writes the input of a case into a folder; returns its path.
pub(crate) fn write_input(case: &Case, folder: &Path, stem: &str) -> std::io::Result<PathBuf> {
    let path = folder.join(format!("{stem}.{}", case.suffix));
    std::fs::write(&path, &case.bytes)?;
    for suffix in ["bai", "csi"] {
        let index = folder.join(format!("{stem}.{}.{suffix}", case.suffix));
        match &case.index {
            Some((own, bytes)) if own == suffix => std::fs::write(index, bytes)?,
            _ => {
                let _ = std::fs::remove_file(index);
            }
        }
    }
    Ok(path)
}

/// Runs a case in a folder. With `explain` the place of a too large allocation is noted.
pub(crate) fn run(case: &Case, folder: &Path, explain: bool) -> std::io::Result<Verdict> {
    let input = write_input(case, folder, "case")?;
    let mut options = case.options.clone();
    options.inputs = vec![input.clone()];
    let (end, mut fault, mut excess) = run_once(case.mode, &options, folder, explain);
    if let (None, Some(other)) = (&fault, &case.again) {
        let resources = std::mem::replace(&mut options.resources, other.clone());
        let (second, second_fault, second_excess) = run_once(case.mode, &options, folder, explain);
        excess = excess.max(second_excess);
        fault = second_fault.or_else(|| differs(&end, &second, &resources, other));
    }
    if fault.is_none() && case.mode == Mode::Convert && case.number.is_multiple_of(4) {
        fault = count_differs(&end, &options, folder);
    }
    let only_index = !case.story.is_empty() && case.story.iter().all(|s| s.starts_with("index"));
    if fault.is_none() && only_index && case.whole {
        fault = blames_the_data(&end);
    }
    let _ = std::fs::remove_file(&input);
    let mode = match case.mode {
        Mode::Convert => case.options.semantic.format.as_str(),
        Mode::Stream => "stream",
        Mode::Count => "count",
        Mode::Coverage => "coverage",
    };
    let outcome = match &end {
        End::Done(..) => format!("{mode} done"),
        End::Failed(class, _) => format!("{mode} {class}"),
    };
    Ok(Verdict { outcome, fault, excess })
}

/// Both ends must be the same, unless memory or the system made the difference.
fn differs(one: &End, two: &End, first: &Resources, second: &Resources) -> Option<String> {
    let excused =
        |end: &End| matches!(end, End::Failed(class, _) if class == "Budget" || class == "Io");
    if one == two || excused(one) || excused(two) {
        return None;
    }
    Some(format!("not the same with other resources:\n  {first:?}: {one:?}\n  {second:?}: {two:?}"))
}

/// Data that are in order are not blamed for a damaged index.
fn blames_the_data(end: &End) -> Option<String> {
    let End::Failed(class, message) = end else { return None };
    let allowed = ["IndexMismatch", "Input", "NotFound", "Budget"].contains(&class.as_str());
    (!allowed).then(|| format!("only the index is damaged: {class}: {message}"))
}

/// A conversion that succeeded gives as many records as are counted.
fn count_differs(end: &End, options: &Options, folder: &Path) -> Option<String> {
    let End::Done(records, _) = end else { return None };
    match run_once(Mode::Count, options, folder, false) {
        (_, Some(fault), _) => Some(fault),
        (End::Done(counted, _), None, _) if counted == *records => None,
        (End::Failed(class, _), None, _) if class == "Budget" => None,
        (other, None, _) => {
            Some(format!("{records} records converted but the count says {other:?}"))
        }
    }
}

fn run_once(
    mode: Mode,
    options: &Options,
    folder: &Path,
    explain: bool,
) -> (End, Option<String>, i64) {
    let output = folder.join("case.out");
    let mut options = options.clone();
    options.output = (mode == Mode::Convert).then(|| output.clone());
    let memory = options.resources.memory;
    let base = allocator::begin();
    if explain {
        allocator::note_beyond(base, memory as usize + SLACK_BYTES);
    }
    let caught = catch_unwind(AssertUnwindSafe(|| match mode {
        Mode::Convert => convert(&options),
        Mode::Stream => stream(&options),
        Mode::Count => count(&options),
        Mode::Coverage => coverage(&options, &output),
    }));
    let figures = allocator::end(base);
    let panic = take_panic();
    let mut fault = None;
    let end = match caught {
        Ok(Ok((records, hash))) => End::Done(records, hash),
        Ok(Err(error)) => {
            fault = judge(&error, &options);
            End::Failed(class(&error), error.to_string())
        }
        Err(_) => End::Failed("panic".to_owned(), String::new()),
    };
    if let Some(panic) = panic {
        fault = Some(format!("panic: {panic}"));
    }
    let excess = figures.peak as i64 - memory as i64;
    if fault.is_none() && excess > SLACK_BYTES as i64 {
        fault = Some(format!(
            "{} bytes live with a budget of {memory}, the largest allocation {}\n{}",
            figures.peak,
            figures.largest,
            allocator::noted().unwrap_or_default(),
        ));
    }
    let state = state_path(&output);
    if fault.is_none() {
        fault = leftovers(&end, &output, &state);
    }
    let _ = std::fs::remove_file(&output);
    let _ = std::fs::remove_dir_all(&output);
    let _ = std::fs::remove_dir_all(&state);
    (end, fault, excess)
}

/// Bad input leaves neither output nor state.
fn leftovers(end: &End, output: &Path, state: &Path) -> Option<String> {
    let End::Failed(class, message) = end else {
        return state.exists().then(|| "the state stays after success".to_owned());
    };
    if output.exists() {
        return Some(format!("an output stays after {class}: {message}"));
    }
    let resumable = ["Io", "Budget", "Cancelled"].contains(&class.as_str());
    (state.exists() && !resumable).then(|| format!("the state stays after {class}: {message}"))
}

fn class(error: &Error) -> String {
    match error.kind() {
        ErrorKind::Format(kind) => format!("{kind:?}"),
        other => format!("{other:?}"),
    }
}

/// Whether an error is one that damaged input may end in.
fn judge(error: &Error, options: &Options) -> Option<String> {
    let (memory, place) = (options.resources.memory, error.place());
    let input = options.inputs.first();
    let is_cram = input.and_then(|path| path.extension()).is_some_and(|suffix| suffix == "cram");
    match error.kind() {
        ErrorKind::Format(FormatKind::IndexMismatch) => None,
        ErrorKind::Format(_) if place.path.as_ref() != input => {
            Some(format!("the input is not named: {error}"))
        }
        ErrorKind::Format(FormatKind::Record | FormatKind::Tag)
            if place.record.is_none() || place.voffset.is_none() || place.field.is_none() =>
        {
            Some(format!("record, field or place is not named: {error}"))
        }
        ErrorKind::Internal => Some(format!("internal error: {error}")),
        ErrorKind::Cancelled | ErrorKind::Exists => Some(format!("no reason for: {error}")),
        ErrorKind::Io => Some(format!("damage taken for a failure of the system: {error}")),
        // An entropy coder of CRAM may inflate a few bytes to any size: what a block claims under
        // a right checksum has to be believed, and refused.
        ErrorKind::Budget if memory >= AMPLE_BYTES && !is_cram => {
            Some(format!("small input: {error}"))
        }
        _ if error.message().trim().is_empty() => Some("an error without a message".to_owned()),
        _ => None,
    }
}

fn job(resources: &Resources) -> Result<Job, Error> {
    Ok(Job::new(Budget::new(resources.memory, 0)?))
}

fn convert(options: &Options) -> Result<(u64, u64), Error> {
    let job = job(&options.resources)?;
    let report = seqmill_convert::convert(options, &job, options.checkpoint_bytes.is_some()).0?;
    let path = options.output.clone().unwrap_or_default();
    let mut hash = Xxh3::new();
    hash.update(&std::fs::read(&path).map_err(|e| Error::io(&path, &e))?);
    Ok((report.records, hash.digest()))
}

fn stream(options: &Options) -> Result<(u64, u64), Error> {
    let inputs = Arc::new(Inputs::open(options)?);
    let job = job(&options.resources)?;
    let mut batches = Batches::start(&inputs, &options.semantic, &options.resources, job)?;
    let mut hash = Xxh3::new();
    let mut records = 0;
    while let Some(batch) = batches.next_batch()? {
        records += batch.num_rows() as u64;
        check_batch(&batch)?;
        hash.update(&(batch.num_rows() as u64).to_le_bytes());
        for column in batch.columns() {
            hash_data(&column.to_data(), &mut hash);
        }
    }
    Ok((records, hash.digest()))
}

/// Offsets, UTF-8, dictionary keys: whatever reads the arrays relies on them.
fn check_batch(batch: &RecordBatch) -> Result<(), Error> {
    for (column, field) in batch.columns().iter().zip(batch.schema().fields()) {
        column
            .to_data()
            .validate_full()
            .map_err(|e| Error::internal(format!("column {} is not valid: {e}", field.name())))?;
    }
    Ok(())
}

fn hash_data(data: &arrow_data::ArrayData, hash: &mut Xxh3) {
    hash.update(&(data.len() as u64).to_le_bytes());
    hash.update(&(data.null_count() as u64).to_le_bytes());
    for child in data.child_data() {
        hash_data(child, hash);
    }
    for buffer in data.buffers() {
        hash.update(buffer.as_slice());
    }
}

fn count(options: &Options) -> Result<(u64, u64), Error> {
    let inputs = Arc::new(Inputs::open(options)?);
    let job = job(&options.resources)?;
    let n = seqmill_convert::count(&inputs, &options.semantic, &options.resources, &job)?;
    Ok((n, 0))
}

/// Coverage of the same input, with options taken from those of the conversion.
fn coverage(options: &Options, output: &Path) -> Result<(u64, u64), Error> {
    use seqmill_count::coverage;

    let semantic = &options.semantic;
    let regions: Vec<String> = semantic.regions.iter().filter(|r| *r != "*").cloned().collect();
    let windows = regions.is_empty().then_some(1 + semantic.row_group_bytes);
    let options = coverage::Options {
        input: options.inputs.first().cloned().unwrap_or_default(),
        output: output.to_path_buf(),
        semantic: coverage::Semantic {
            windows: windows.filter(|_| semantic.strict || semantic.batch_rows.is_some()),
            regions,
            skip_bad_regions: true,
            bins: 1 + semantic.max_tags as u64 % 5,
            mates: if semantic.verify { coverage::Mates::Once } else { coverage::Mates::Both },
            min_mapq: semantic.min_mapq,
            min_baseq: if semantic.exclude_flags == 0 { 0 } else { 20 },
            count_deletions: semantic.compat,
            k: 1 + semantic.batch_rows.map_or(20, |rows| rows as usize % 99),
            parquet: semantic.strict,
            strict: semantic.strict,
            verify: semantic.verify,
            region_files: false,
            ..coverage::Semantic::default()
        },
        threads: options.resources.threads,
        memory: options.resources.memory,
        force: true,
        ..coverage::Options::default()
    };
    let budget = Budget::new(options.memory, 0)?;
    let report = coverage::measure(&options, &Job::new(budget)).0?;
    let table = output.join("coverage.tsv");
    // A reference that claims to be long has many windows.
    let mut hash = Xxh3::new();
    let failed = |e: std::io::Error| Error::io(&table, &e);
    let mut lines = std::io::BufReader::new(std::fs::File::open(&table).map_err(failed)?);
    loop {
        let part = std::io::BufRead::fill_buf(&mut lines).map_err(failed)?;
        let n = part.len();
        if n == 0 {
            break;
        }
        hash.update(part);
        std::io::BufRead::consume(&mut lines, n);
    }
    Ok((report.rows, hash.digest()))
}
