//! Whole jobs: from inputs to published outputs, with state that survives an interruption.

use super::count::{CountOptions, CountReport, count_to_table, footer};
use super::dump::{DumpOptions, OutputSpec, TableFormat, dump_table, packed_for};
use super::histogram::Histogram;
use super::import::{is_text, length_of, text_to_tables};
use super::merge::{
    KeyRange, MergeRules, SetOperation, check_mergeable, merge_tables, tables_at_once,
};
use super::skm::SkmTable;
use super::word::Word;
use crate::with_kmer;
use seqmill_base::checkpoint::{JobIdentity, StateDirectory, state_path};
use seqmill_base::sink::refuse_existing;
use seqmill_base::{Error, ErrorKind, Job, Result};
use seqmill_io::sequence::input_fingerprint;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Version of the state's layout.
const STATE_FORMAT: u32 = 1;

/// Where outputs go and what stands in the way.
#[derive(Debug, Clone, Default)]
pub struct OutputRules {
    /// What is written.
    pub outputs: Vec<OutputSpec>,
    /// How.
    pub dump: DumpOptions,
    /// Replace what exists.
    pub force: bool,
    /// Go on where an interrupted run ended.
    pub resume: bool,
    /// Folder of temporary tables where no output is a file.
    pub tmpdir: PathBuf,
    /// A unit of a larger job: whoever runs it keeps the state, and runs it again from its start.
    pub is_unit: bool,
}

/// The folder in which a job works.
enum Workplace {
    /// Beside the output; survives an interruption.
    State(StateDirectory),
    /// All outputs are streams: nothing to go on from.
    Passing(PathBuf),
}

impl Workplace {
    fn open(rules: &OutputRules, identity: impl FnOnce() -> Result<JobIdentity>) -> Result<Self> {
        for output in &rules.outputs {
            if output.path != Path::new("-") {
                refuse_existing(&output.path, rules.force)?;
            }
        }
        let file = rules.outputs.iter().find(|o| o.path != Path::new("-"));
        let Some(file) = file else {
            let name = format!("seqmill-{}-{:x}", std::process::id(), unique());
            let folder = rules.tmpdir.join(name);
            std::fs::create_dir(&folder).map_err(|e| Error::io(&folder, &e))?;
            return Ok(Self::Passing(folder));
        };
        if rules.is_unit {
            let folder = state_path(&file.path);
            std::fs::create_dir_all(&folder).map_err(|e| Error::io(&folder, &e))?;
            return Ok(Self::Passing(folder));
        }
        let force = rules.force && !rules.resume;
        let (state, _) = StateDirectory::open(&file.path, &identity()?, rules.resume, force)?;
        Ok(Self::State(state))
    }

    fn state(&self) -> Option<&StateDirectory> {
        match self {
            Self::State(state) => Some(state),
            Self::Passing(_) => None,
        }
    }

    fn file(&self, name: &str) -> PathBuf {
        match self {
            Self::State(state) => state.file(name),
            Self::Passing(folder) => folder.join(name),
        }
    }

    /// Removes the folder, or leaves it for a resumed run.
    fn close(self, result: &Result<()>) -> Result<()> {
        let keep = match result {
            Ok(()) => false,
            // What bad input or usage ended would end again in the same way.
            Err(error) => matches!(
                error.kind(),
                ErrorKind::Io | ErrorKind::Cancelled | ErrorKind::Budget | ErrorKind::Internal
            ),
        };
        match self {
            Self::State(_) if keep => Ok(()),
            Self::State(state) => state.remove(),
            Self::Passing(folder) => {
                std::fs::remove_dir_all(&folder).map_err(|e| Error::io(&folder, &e))
            }
        }
    }
}

/// A number no other job of this process has.
fn unique() -> u64 {
    static NEXT: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);
    NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed)
}

fn identity(command: &str, options: Value, inputs: &[PathBuf]) -> Result<JobIdentity> {
    let prints = inputs.iter().map(|path| {
        let regular = std::fs::metadata(path).is_ok_and(|meta| meta.is_file());
        if path == Path::new("-") || (path.exists() && !regular) {
            return Ok(Value::Null);
        }
        let print = input_fingerprint(path)?;
        serde_json::to_value(print).map_err(|e| Error::internal(format!("fingerprint: {e}")))
    });
    Ok(JobIdentity {
        format: STATE_FORMAT,
        seqmill: env!("CARGO_PKG_VERSION").to_owned(),
        command: command.to_owned(),
        options,
        inputs: Value::Array(prints.collect::<Result<Vec<_>>>()?),
    })
}

/// Writes the outputs of a finished table.
fn publish(table_path: &Path, rules: &OutputRules, job: &Job) -> Result<u64> {
    let others: Vec<_> = rules.outputs.iter().filter(|o| o.path != table_path).collect();
    if others.is_empty() {
        return Ok(0);
    }
    let table = SkmTable::open(table_path)?;
    let mut bytes = 0;
    for output in others {
        bytes += dump_table(&table, output, rules.dump, rules.force || rules.resume, job)?;
    }
    Ok(bytes)
}

/// Where the table itself is written: under its own name if it is an output.
fn table_path(rules: &OutputRules, workplace: &Workplace) -> PathBuf {
    let wanted = rules.outputs.iter().find(|o| o.format == TableFormat::Skm);
    wanted.map_or_else(|| workplace.file("table.skm"), |output| output.path.clone())
}

/// A histogram is of everything that was counted, also where the table is filtered.
fn write_histograms(rules: &OutputRules, histogram: &Histogram) -> Result<()> {
    for output in rules.outputs.iter().filter(|o| o.format == TableFormat::Hist) {
        let mut folded = std::collections::BTreeMap::new();
        for (count, number) in histogram.iter() {
            let count = rules.dump.hist_max.map_or(count, |most| count.min(most));
            *folded.entry(count).or_insert(0) += number;
        }
        let line = |(count, number): (&u64, &u64)| format!("{count}\t{number}\n");
        let text = folded.iter().map(line).collect::<Vec<_>>().concat();
        if output.path == Path::new("-") {
            use std::io::Write;
            let mut out = std::io::stdout().lock();
            out.write_all(text.as_bytes())
                .and_then(|()| out.flush())
                .map_err(|e| Error::io(&output.path, &e))?;
        } else {
            refuse_existing(&output.path, rules.force || rules.resume)?;
            let text = packed_for(&output.path, text.into_bytes())?;
            seqmill_base::sink::write_atomically(&output.path, &text)?;
        }
    }
    Ok(())
}

/// The outputs that are made from the table.
fn from_table(rules: &OutputRules) -> OutputRules {
    let outputs = rules.outputs.iter().filter(|o| o.format != TableFormat::Hist);
    OutputRules { outputs: outputs.cloned().collect(), ..rules.clone() }
}

/// Counts inputs into outputs.
pub fn run_count(options: &CountOptions, rules: &OutputRules, job: &Job) -> Result<CountReport> {
    let text = &options.text;
    let what = json!({
        "k": options.k,
        "canonical": options.canonical,
        "skip_lower": options.skip_lower,
        "keep": options.keep,
        "min_base_quality": text.min_base_quality,
        "flags": [text.flags.require, text.flags.exclude],
        "regions": text.regions.as_ref().map(|r| format!("{r:?}")),
        "parts": text.parts.iter().map(|p| format!("{p:?}")).collect::<Vec<_>>(),
        "unit_bases": options.unit_bases,
        "footer": options.footer,
        "formats": rules.outputs.iter().map(|o| format!("{:?}", o.format)).collect::<Vec<_>>(),
    });
    let workplace = Workplace::open(rules, || identity("kmers count", what, &options.inputs))?;
    let path = table_path(rules, &workplace);
    let mut report = CountReport::default();
    let mut work = || {
        let force = rules.force || rules.resume;
        report = count_to_table(options, &path, force, workplace.state(), job)?;
        write_histograms(rules, &report.histogram)?;
        report.bytes += publish(&path, &from_table(rules), job)?;
        Ok(())
    };
    let result = work();
    let closed = workplace.close(&result);
    result?;
    closed?;
    Ok(report)
}

/// What a merge is asked for.
#[derive(Debug, Clone, Default)]
pub struct MergeOptions {
    /// Tables or text.
    pub inputs: Vec<PathBuf>,
    /// Rules.
    pub rules: MergeRules,
    /// What text without its own says.
    pub k: Option<u32>,
    /// As `k`.
    pub canonical: Option<bool>,
    /// Every chunk from 0 up to here must be there exactly once.
    pub chunks: Option<u64>,
    /// Only keys from the first on, up to the second without it; see [`super::key_boundaries`].
    pub range: (Option<String>, Option<String>),
    /// Inputs of which the result tells; none: those of which the tables tell.
    pub footer: Option<Vec<super::input::InputFacts>>,
}

/// Numbers of chunks as ranges, for messages.
fn ranges(numbers: &BTreeSet<u64>) -> String {
    let mut text = Vec::new();
    let mut rest = numbers.iter().copied().peekable();
    while let Some(first) = rest.next() {
        let mut last = first;
        while rest.next_if_eq(&(last + 1)).is_some() {
            last += 1;
        }
        text.push(if first == last { first.to_string() } else { format!("{first}-{last}") });
    }
    text.join(", ")
}

/// Each chunk of a plan must be in exactly one partial.
fn check_chunks(tables: &[SkmTable], chunks: u64) -> Result<()> {
    let mut seen = BTreeSet::new();
    let mut twice = BTreeSet::new();
    for table in tables {
        let footer = table.footer()?;
        let listed = footer.get("chunks").and_then(Value::as_array).ok_or_else(|| {
            let text = "the table does not say which chunks it holds; was it made by kmers chunk?";
            Error::format(seqmill_base::FormatKind::Other, text).at_path(table.path())
        })?;
        for range in listed {
            let ends: Vec<u64> = range
                .as_array()
                .map_or_else(Vec::new, |pair| pair.iter().filter_map(Value::as_u64).collect());
            let [first, last] = ends[..] else { continue };
            // One number stands for all that the plan does not have.
            for id in first.min(chunks)..=last.min(chunks) {
                if !seen.insert(id) && id < chunks {
                    twice.insert(id);
                }
            }
        }
    }
    let missing: BTreeSet<u64> = (0..chunks).filter(|id| !seen.contains(id)).collect();
    let beyond: BTreeSet<u64> = seen.range(chunks..).copied().collect();
    let mut faults = Vec::new();
    for (what, list) in [("missing", &missing), ("twice", &twice), ("not in the plan", &beyond)] {
        if !list.is_empty() {
            faults.push(format!("{what}: {}", ranges(list)));
        }
    }
    if faults.is_empty() {
        return Ok(());
    }
    let text = format!("the partials do not make up the plan; chunks {}", faults.join("; "));
    let path = tables.first().map_or(Path::new("."), SkmTable::path);
    Err(Error::format(seqmill_base::FormatKind::Other, text).at_path(path))
}

/// The footer of the undivided count: records and bases of partials of one file add up.
fn merged_footer(tables: &[SkmTable], of_a_plan: bool) -> Result<Value> {
    let mut inputs: Vec<super::input::InputFacts> = Vec::new();
    for table in tables {
        let footer = table.footer()?;
        let found = footer.get("inputs").cloned().unwrap_or(Value::Array(Vec::new()));
        let found: Vec<super::input::InputFacts> =
            serde_json::from_value(found).unwrap_or_default();
        for facts in found {
            match inputs.iter_mut().find(|i| of_a_plan && i.name == facts.name) {
                Some(known) => {
                    known.records += facts.records;
                    known.bases += facts.bases;
                    known.skipped += facts.skipped;
                }
                None => inputs.push(facts),
            }
        }
    }
    Ok(footer(&inputs, &[]))
}

/// Merges tables, or does another operation on them.
pub fn run_merge(options: &MergeOptions, rules: &OutputRules, job: &Job) -> Result<CountReport> {
    let what = json!({
        "operation": format!("{:?}", options.rules.operation),
        "keep": options.rules.keep,
        "chunks": options.chunks,
        "range": options.range,
        "formats": rules.outputs.iter().map(|o| format!("{:?}", o.format)).collect::<Vec<_>>(),
    });
    let workplace = Workplace::open(rules, || identity("kmers merge", what, &options.inputs))?;
    let path = table_path(rules, &workplace);
    let mut report = CountReport::default();
    let mut work = || merge_into(options, rules, &workplace, &path, &mut report, job);
    let result = work();
    let closed = workplace.close(&result);
    result?;
    closed?;
    Ok(report)
}

/// The length of the k-mers of the first input that has any: a text without takes on that of the
/// others.
fn find_length(inputs: &[PathBuf]) -> Result<Option<u32>> {
    for input in inputs {
        let found = if is_text(input)? {
            length_of(input)?
        } else {
            Some(SkmTable::open(input)?.facts().k)
        };
        if found.is_some() {
            return Ok(found);
        }
    }
    Ok(None)
}

/// Makes fewer tables of more than can be merged at once, in `folder`.
fn join_in_rounds<K: Word>(
    mut tables: Vec<SkmTable>,
    rules: MergeRules,
    range: KeyRange<K>,
    folder: &Path,
    job: &Job,
) -> Result<Vec<SkmTable>> {
    let rules = MergeRules { keep: (0, u64::MAX), ..rules };
    for round in 0.. {
        let most = tables_at_once::<K>(job.budget.pool().saturating_sub(job.budget.reserved()));
        // With room for no two the merge tells how much it needs.
        if tables.len() <= most || most < 2 {
            break;
        }
        let mut joined = Vec::with_capacity(tables.len().div_ceil(most));
        for (number, group) in tables.chunks(most).enumerate() {
            let path = folder.join(format!("round-{round}-{number:05}.skm"));
            merge_tables(group, rules, range, &footer(&[], &[]), &path, true, job)?;
            joined.push(SkmTable::open(&path)?);
        }
        tables = joined;
    }
    Ok(tables)
}

fn merge_into(
    options: &MergeOptions,
    rules: &OutputRules,
    workplace: &Workplace,
    path: &Path,
    report: &mut CountReport,
    job: &Job,
) -> Result<()> {
    let folder = workplace.file("runs");
    std::fs::create_dir_all(&folder).map_err(|e| Error::io(&folder, &e))?;
    let mut tables = Vec::with_capacity(options.inputs.len());
    let union = options.rules.operation == SetOperation::UnionSum;
    for (number, input) in options.inputs.iter().enumerate() {
        job.cancel.check()?;
        if !is_text(input)? {
            tables.push(SkmTable::open(input)?);
            continue;
        }
        let known = tables.first().map(SkmTable::facts).copied();
        let k = match options.k.or(known.map(|f| f.k)) {
            Some(k) => Some(k),
            None => find_length(&options.inputs[number..])?,
        };
        let canonical = options.canonical.or(known.map(|f| f.canonical));
        let prefix = folder.join(format!("{number:04}"));
        let runs = text_to_tables(input, k, canonical, &prefix, job)?;
        if !union && runs.len() > 1 {
            return Err(Error::input(
                "text of this size goes into sums only; make it a table first",
            )
            .at_path(input));
        }
        tables.extend(runs);
    }
    check_mergeable(&tables, options.rules.allow_filtered)?;
    if let Some(chunks) = options.chunks {
        check_chunks(&tables, chunks)?;
    }
    let footer = match &options.footer {
        Some(inputs) => footer(inputs, &[]),
        None => merged_footer(&tables, options.chunks.is_some())?,
    };
    let k = tables.first().map_or(0, |t| t.facts().k);
    let force = rules.force || rules.resume;
    let merge = options.rules;
    let merged = with_kmer!(k, K => {
        let range = KeyRange::<K>::parse(&options.range)?;
        if union {
            tables = join_in_rounds(tables, merge, range, &folder, job)?;
        }
        merge_tables(&tables, merge, range, &footer, path, force, job)
    })?;
    report.total = merged.total;
    report.distinct = merged.distinct;
    report.stored = merged.stored;
    (report.bytes, report.digest) = (merged.file.bytes, merged.file.digest);
    report.histogram = merged.histogram;
    write_histograms(rules, &report.histogram)?;
    report.bytes += publish(path, &from_table(rules), job)?;
    Ok(())
}
