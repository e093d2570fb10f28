//! The whole job: from options to files.

use crate::annotate::annotate;
use crate::cluster;
use crate::crew;
use crate::estimate::Hints;
use crate::extend::{Context, Scoring};
use crate::flow::PipelineOptions;
use crate::options::Parameters;
use crate::outputs::Outputs;
use crate::read::{self, Loaded};
use crate::run::{Books, Clock, Found, Run, loop_figures};
use crate::text::Text;
use crate::usage;
use crate::write::{self, Content, Masking, reprise};
use seqmill_base::checkpoint::{JobIdentity, StateDirectory};
use seqmill_base::process::{LeanAllocator, memory_figures, usage_figures};
use seqmill_base::sink::{AtomicFile, refuse_existing};
use seqmill_base::{Error, Job, Result};
use seqmill_io::fasta::OpenArchive;
use seqmill_io::sequence::{SequenceOptions, input_file, input_fingerprint};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::time::Instant;

/// What is asked for.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(clippy::struct_excessive_bools, reason = "independent switches of the command")]
pub struct Options {
    /// FASTA file.
    pub input: PathBuf,
    /// Beginning of the names of the outputs; none: nothing is written.
    pub output: Option<PathBuf>,
    /// Names of formats, see [`Format`].
    pub formats: Vec<Format>,
    /// The algorithm.
    pub parameters: Parameters,
    /// Threads and memory.
    pub resources: Resources,
    /// What the caller knows of sizes.
    pub hints: Hints,
    /// Count and claim with all threads.
    pub parallel: bool,
    /// How batches travel.
    pub pipeline: PipelineOptions,
    /// Search the library against what is not covered.
    pub annotate: bool,
    /// Leave out of the library what a longer sequence covers at such an identity.
    pub cluster: Option<f64>,
    /// BED and GFF3 by family, as found, rather than by place.
    pub family_order: bool,
    /// Lower case of the input does not stay.
    pub reset_softmask: bool,
    /// Names as `RepeatMasker` wants them.
    pub repeatmasker_names: bool,
    /// Replace outputs, discard earlier state.
    pub force: bool,
    /// Go on with earlier state.
    pub resume: bool,
    /// Version of the program, part of the identity of a job.
    pub version: String,
    /// How archives are opened; without, there are none.
    #[serde(skip)]
    pub archives: Option<OpenArchive>,
}

impl Options {
    /// How the input is read, with so many threads that read ahead.
    fn reading(&self, threads: usize) -> SequenceOptions {
        SequenceOptions { threads, archives: self.archives, ..SequenceOptions::default() }
    }
}

/// How the work is spread; nothing here shows in the output.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Resources {
    /// Threads.
    pub threads: usize,
    /// Bytes the whole process may hold.
    pub memory: u64,
}

/// An output.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// The consensus sequences.
    Library,
    /// Elements as BED6.
    Bed,
    /// Elements as GFF3.
    Gff3,
    /// The genome with repeats in lower case.
    Softmask,
    /// The genome with repeats as N.
    Hardmask,
    /// The table of seeds.
    Freq,
    /// Alignments of elements.
    Stockholm,
    /// The tables as Parquet; written by whoever knows Arrow.
    Parquet,
    /// The tables as Arrow IPC files; likewise.
    Arrow,
}

impl Format {
    /// Ends of the names of the files.
    pub fn suffixes(self) -> &'static [&'static str] {
        match self {
            Self::Library => &[".families.fa"],
            Self::Bed => &[".bed"],
            Self::Gff3 => &[".gff3"],
            Self::Softmask => &[".softmasked.fa"],
            Self::Hardmask => &[".hardmasked.fa"],
            Self::Freq => &[".freq"],
            Self::Stockholm => &[".stk"],
            Self::Parquet => &[".families.parquet", ".elements.parquet"],
            Self::Arrow => &[".families.arrow", ".elements.arrow"],
        }
    }
}

/// Most sequences that the metrics list.
const MOST_RECORDS: usize = 1000;

/// Files of the reference.
const REPRISE_SUFFIXES: [&str; 4] = [".freq", ".reprof", ".bed", ".masked"];

/// What a job left.
#[derive(Debug)]
pub struct Report {
    /// The genome.
    pub text: Text,
    /// What was found.
    pub found: Found,
    /// Files with their sizes.
    pub outputs: Vec<(PathBuf, u64)>,
    /// What was odd.
    pub warnings: Vec<String>,
    /// The engine's part of the metrics document.
    pub document: Value,
    /// The scores used, for alignments of elements.
    pub(crate) scoring: Scoring,
}

/// Adds what only the caller can write (tables), before anything takes its name.
///
/// It gets the format, the end of the name, and the path to write to.
pub type Extra<'a> = dyn Fn(&Report, Format, &str, &Path) -> Result<()> + Send + Sync + 'a;

/// Runs a job.
pub fn run(options: &Options, job: &Job, extra: &Extra<'_>) -> Result<Report> {
    options.parameters.check()?;
    cluster::check(options.cluster)?;
    check(options)?;
    let _lean = LeanAllocator::within(job.budget.limit());
    let began = Instant::now();
    let usage = usage_figures();
    let mut clock = Clock::new(options.resources.threads);
    let (state, resumed) = open_state(options)?.map_or((None, false), |(s, r)| (Some(s), r));
    let result = work(options, job, extra, state.as_ref(), resumed, &mut clock);
    match (result, state) {
        (Ok(mut report), state) => {
            if let Some(state) = state {
                state.remove()?;
            }
            report.document = document(options, job, &report, &clock, began, usage);
            Ok(report)
        }
        (Err(error), Some(state)) if comes_again(&error) => {
            state.remove()?;
            Err(error)
        }
        (Err(error), _) => Err(error),
    }
}

/// Whether the same run would end the same way.
fn comes_again(error: &Error) -> bool {
    use seqmill_base::ErrorKind::{Format, Input, NotFound};
    matches!(error.kind(), Input | NotFound | Format(_))
}

fn check(options: &Options) -> Result<()> {
    let Some(prefix) = &options.output else { return Ok(()) };
    let outputs = Outputs { prefix: Some(prefix.clone()), files: Vec::new() };
    let masks = [Format::Softmask, Format::Hardmask];
    if options.input.as_os_str() == "-" && options.formats.iter().any(|f| masks.contains(f)) {
        return Err(Error::input("masked sequence needs an input that can be read twice, not -"));
    }
    for path in suffixes(options).iter().filter_map(|suffix| outputs.path(suffix)) {
        if read::is_same_file(&path, input_file(&options.input)) {
            return Err(Error::input("the output would replace the input").at_path(&path));
        }
        // A resumed run may have published some of its files before it was killed.
        refuse_existing(&path, options.force || options.resume)?;
    }
    Ok(())
}

fn suffixes(options: &Options) -> Vec<&'static str> {
    if options.parameters.reprise() {
        return REPRISE_SUFFIXES.to_vec();
    }
    options.formats.iter().flat_map(|f| f.suffixes()).copied().collect()
}

fn open_state(options: &Options) -> Result<Option<(StateDirectory, bool)>> {
    let Some(prefix) = &options.output else { return Ok(None) };
    if options.input.as_os_str() == "-" {
        return Ok(None);
    }
    let internal = |e: serde_json::Error| Error::internal(e.to_string());
    let semantic = json!({
        "parameters": serde_json::to_value(&options.parameters).map_err(internal)?,
        "formats": serde_json::to_value(&options.formats).map_err(internal)?,
        "annotate": options.annotate,
        "cluster": options.cluster,
        "family_order": options.family_order,
        "reset_softmask": options.reset_softmask,
        "repeatmasker_names": options.repeatmasker_names,
    });
    let inputs = serde_json::to_value([input_fingerprint(&options.input)?]).map_err(internal)?;
    let identity = JobIdentity {
        format: 1,
        seqmill: options.version.clone(),
        command: "repeats".to_owned(),
        options: semantic,
        inputs,
    };
    StateDirectory::open(prefix, &identity, options.resume, options.force).map(Some)
}

fn work(
    options: &Options,
    job: &Job,
    extra: &Extra<'_>,
    state: Option<&StateDirectory>,
    resumed: bool,
    clock: &mut Clock,
) -> Result<Report> {
    let books = Books::open(job);
    let size = std::fs::metadata(&options.input).map_or(0, |m| m.len());
    job.progress.bytes_total.store(size * 2, Ordering::Relaxed);
    let threads = options.resources.threads;
    let ahead = if threads > 1 { threads } else { 0 };
    let Loaded { text, lease, warnings, bytes } =
        read::load(&options.input, options.reading(ahead), job, books.text)?;
    if !options.parameters.reprise() {
        read::check_names(&text, &options.input, job, books.text)?;
    }
    clock.stage("read", u64::from(text.len()));
    job.progress.bytes_in.store(bytes, Ordering::Relaxed);
    job.progress.records_in.store(text.records().len() as u64, Ordering::Relaxed);
    let run =
        Run { text: &text, options, job, books, state, resumed, input_bytes: bytes.min(size) };
    let mut found = run.find(clock)?;
    found.leases.push(lease);
    let scoring = Scoring::new(&options.parameters, found.k);
    if options.annotate && !options.parameters.reprise() {
        let context = Context { text: &text, scoring, cancel: &job.cancel };
        let least = options.parameters.min_length;
        (found.annotated, found.annotated_k) =
            annotate(&context, &mut found.state, least, threads, job, books.index)?;
        clock.stage("annotate", found.annotated);
    }
    if let Some(wanted) = options.cluster.filter(|_| !options.parameters.reprise()) {
        let families = &found.state.families;
        found.dropped = cluster::redundant(families, &scoring, wanted, threads, job, books.index)?;
        clock.stage("cluster", found.dropped.len() as u64);
    }
    let mut report =
        Report { text, found, outputs: Vec::new(), warnings, document: Value::Null, scoring };
    if report.found.seeds.is_empty() {
        let text = "no k-mer occurs often enough to be a seed; there are no families";
        report.warnings.push(format!("{}: {text}", options.input.display()));
    }
    report.outputs = write_all(options, job, extra, &report, books)?;
    clock.stage("write", report.outputs.len() as u64);
    Ok(report)
}

fn write_all(
    options: &Options,
    job: &Job,
    extra: &Extra<'_>,
    report: &Report,
    books: Books,
) -> Result<Vec<(PathBuf, u64)>> {
    let mut outputs = Outputs { prefix: options.output.clone(), files: Vec::new() };
    let (text, found) = (&report.text, &report.found);
    let state = &found.state;
    let failed = |path: &Path, e: std::io::Error| Error::io(path, &e);
    if options.parameters.reprise() {
        let files = if found.seeds.is_empty() { 1 } else { REPRISE_SUFFIXES.len() };
        let mut threads = vec![(); options.resources.threads];
        let write = |(): &mut (), i: usize| {
            // The longest one first.
            let suffix = REPRISE_SUFFIXES[files - 1 - i];
            outputs.written(suffix, |out, path| {
                let written = match suffix {
                    ".freq" => reprise::frequencies(out, text, &found.seeds, found.k),
                    ".reprof" => reprise::library(out, &state.families, found.k),
                    ".bed" => reprise::elements(out, text, &state.families, &state.elements),
                    _ => reprise::masked(out, text, &state.covered),
                };
                written.map_err(|e| failed(path, e))
            })
        };
        for file in crew::each(&mut threads, files, write).into_iter().rev() {
            outputs.files.extend(file?);
        }
        return outputs.commit(options.resources.threads);
    }
    let content = Content { text, found, by_place: !options.family_order };
    let context = Context { text, scoring: report.scoring, cancel: &job.cancel };
    for format in &options.formats {
        job.cancel.check()?;
        let suffix = format.suffixes()[0];
        outputs.write(suffix, |out, path| {
            let io = |result: std::io::Result<()>| result.map_err(|e| failed(path, e));
            match format {
                Format::Library => io(write::library(out, &content, options.repeatmasker_names)),
                Format::Bed => io(write::bed(out, &content)),
                Format::Gff3 => io(write::gff3(out, &content)),
                Format::Freq => io(write::seeds(out, &content)),
                Format::Stockholm => io(write::stockholm(out, &content, &context)),
                Format::Softmask | Format::Hardmask => {
                    let masking = match (format, options.reset_softmask) {
                        (Format::Hardmask, _) => Masking::Hard,
                        (_, true) => Masking::SoftAnew,
                        _ => Masking::Soft,
                    };
                    let input = &options.input;
                    let with = (options.reading(0), job, books.output);
                    write::masked(out, input, &state.covered, text.len(), masking, with)
                }
                Format::Parquet | Format::Arrow => Ok(()),
            }
        })?;
        if matches!(format, Format::Parquet | Format::Arrow) {
            // These open and name their files themselves, through the same aside names.
            outputs.files.pop();
            for suffix in format.suffixes() {
                let Some(path) = outputs.path(suffix) else { continue };
                let file = AtomicFile::create(&path, true)?;
                let aside = file.aside().to_path_buf();
                outputs.files.push((file, path));
                extra(report, *format, suffix, &aside)?;
            }
        }
    }
    outputs.commit(options.resources.threads)
}

impl Report {
    /// Identities of all elements.
    pub fn identities(&self, threads: usize, job: &Job) -> Result<Vec<f32>> {
        crate::tables::identities(&self.found, &self.text, self.scoring, threads, &job.cancel)
    }
}

fn document(
    options: &Options,
    job: &Job,
    report: &Report,
    clock: &Clock,
    began: Instant,
    before: seqmill_base::process::UsageFigures,
) -> Value {
    let usage = usage_figures();
    let found = &report.found;
    let state = &found.state;
    let memory = memory_figures();
    // Of an assembly in very many pieces the first ones stand for all.
    let records: Vec<Value> = report
        .text
        .records()
        .iter()
        .take(MOST_RECORDS)
        .map(|record| {
            let masked = state.covered.count_in(record.start, record.end());
            let name = String::from_utf8_lossy(record.name()).into_owned();
            json!({"name": name, "length": record.length, "masked": masked})
        })
        .collect();
    json!({
        "totals": {
            "bytes_in": job.progress.snapshot().bytes_in,
            "bytes_out": report.outputs.iter().map(|(_, size)| size).sum::<u64>(),
            "bases": report.text.len(),
            "records_in": report.text.records().len(),
            "records_out": state.families.len(),
            "wall_s": began.elapsed().as_secs_f64(),
            "cpu_user_s": usage.cpu_user_s - before.cpu_user_s,
            "cpu_sys_s": usage.cpu_sys_s - before.cpu_sys_s,
        },
        "stages": clock.stages,
        "memory": {
            "limit": job.budget.limit(),
            "overhead": job.budget.overhead(),
            "reserved_peak": job.budget.reserved_peak(),
            "rss_peak": memory.rss_peak,
            "consumers": job.budget.accounts(),
        },
        "detail": {
            "seed_length": found.k,
            "distance": options.parameters.distance,
            "seeds": found.seeds.len(),
            "seeds_cut": found.cut_seeds,
            "families": state.families.len(),
            "elements": state.elements.len(),
            "annotated": found.annotated,
            "library_bases": found.library().map(|(_, f)| f.consensus.len()).sum::<usize>(),
            "dropped": found.dropped,
            "masked_bases": state.covered.count(),
            "records": records,
            "estimate": found.estimate,
            "counting": {
                "windows": found.counted.windows,
                "admitted": found.counted.admitted,
                "candidates": found.counted.candidates,
                "partitions": found.counted.partitions,
                "splits": found.counted.splits,
                "resizes": 0,
            },
            "loop": loop_figures(state.figures),
            "pipeline": {
                "batch_size": options.pipeline.batch_size,
                "channel_capacity": options.pipeline.channel_capacity,
                "claim": found.flow[0],
                "find": found.flow[1],
            },
            "pools": found.pools,
            "resumed_from": found.resumed,
            "memory_usage": usage::of(report, job),
        },
    })
}
