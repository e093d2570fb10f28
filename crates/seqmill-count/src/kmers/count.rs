//! A counting job from inputs to a table, in units that survive an interruption.

use super::direct;
use super::engine::{BatchSource, Counted, Engine, Phase, Rules};
use super::histogram::Histogram;
use super::input::{InputFacts, Inputs, TextRules};
use super::merge::{KeyRange, MergeRules, merge_tables};
use super::room::Room;
use super::skm::{FILTERED, OrderedBlocks, SkmTable, SkmWriter, TableFacts, TableFile};
use super::word::{Kmer, Wide};
use seqmill_base::checkpoint::StateDirectory;
use seqmill_base::sink::AtomicFile;
use seqmill_base::{Error, Job, Result};
use seqmill_io::sequence::archive_claim;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

/// Index and blocks of the table that is written.
const OUTPUT_MARGIN: u64 = 1 << 20;
/// Most units: the tables of all are merged at once.
const UNITS_MAX: u64 = 10_000;

/// What is counted, how, and in which room.
#[derive(Debug, Clone)]
pub struct CountOptions {
    /// Files; `-` is standard input.
    pub inputs: Vec<PathBuf>,
    /// Length of the k-mers, 1 to 255.
    pub k: u32,
    /// Count a k-mer and its reverse complement as one.
    pub canonical: bool,
    /// Lower case is no base.
    pub skip_lower: bool,
    /// Counts that the table keeps.
    pub keep: (u64, u64),
    /// Which text is counted.
    pub text: TextRules,
    /// Threads.
    pub threads: usize,
    /// Where temporary files go.
    pub tmpdir: PathBuf,
    /// A unit ends with the record in which its bases reach this.
    pub unit_bases: u64,
    /// What the footer says besides the inputs.
    pub footer: Vec<(String, Value)>,
}

/// What counting gave.
#[derive(Debug, Clone, Default)]
pub struct CountReport {
    /// Occurrences.
    pub total: u64,
    /// Distinct k-mers, before filters.
    pub distinct: u64,
    /// K-mers in the table.
    pub stored: u64,
    /// Numbers of distinct k-mers by count, before filters.
    pub histogram: Histogram,
    /// The inputs.
    pub inputs: Vec<InputFacts>,
    /// Seconds of each phase.
    pub phases: Vec<Phase>,
    /// Bytes that went to temporary files.
    pub spilled: u64,
    /// Bytes of the table.
    pub bytes: u64,
    /// Its digest ([`TableFile::digest`]).
    pub digest: u64,
    /// Counting threads that the budget allowed.
    pub threads: usize,
    /// Units that an earlier run had finished.
    pub resumed_units: u64,
    /// What is odd but no error.
    pub warnings: Vec<String>,
}

/// What a state says of finished units.
#[derive(Serialize, Deserialize)]
struct Checkpoint {
    units: u64,
    inputs: Vec<InputFacts>,
}

/// Chooses the width of the numbers for k-mers of a length.
#[macro_export]
macro_rules! with_kmer {
    ($k:expr, $kmer:ident => $body:expr) => {
        match $k {
            0..=32 => {
                type $kmer = u64;
                $body
            }
            33..=64 => {
                type $kmer = u128;
                $body
            }
            65..=128 => {
                type $kmer = $crate::kmers::word::Wide<4>;
                $body
            }
            _ => {
                type $kmer = $crate::kmers::word::Wide<8>;
                $body
            }
        }
    };
}

/// Counts into a table at `output`, keeping finished units in `state`.
pub fn count_to_table(
    options: &CountOptions,
    output: &Path,
    force: bool,
    state: Option<&StateDirectory>,
    job: &Job,
) -> Result<CountReport> {
    check(options)?;
    with_kmer!(options.k, K => count_units::<K>(options, output, force, state, job))
}

fn check(options: &CountOptions) -> Result<()> {
    if !(1..=255).contains(&options.k) {
        return Err(Error::input(format!("k is {}; it takes 1 to 255", options.k)));
    }
    if options.keep.0 > options.keep.1 {
        let (least, most) = options.keep;
        return Err(Error::input(format!("min-count {least} is above max-count {most}")));
    }
    Ok(())
}

/// Room that the index of the table takes at most, as far as the inputs tell: the arena must not
/// have it. Sixteen bytes for 512 k-mers, four times of that while it grows.
fn index_claim(options: &CountOptions, pool: u64) -> u64 {
    let text = |path: &PathBuf| {
        let bytes = std::fs::metadata(path).map_or(0, |meta| meta.len());
        let packed = path.extension().is_some_and(|e| e != "fa" && e != "fasta" && e != "fna");
        if packed { 4 * bytes } else { bytes }
    };
    let bases: u64 = options.inputs.iter().map(text).sum();
    (bases / 8).min(pool / 4)
}

/// Room for what is held whole, headers and some reads: the arena must not have it.
fn whole_claim(options: &CountOptions, pool: u64) -> u64 {
    let is_bam = |path: &PathBuf| path.extension().is_some_and(|e| e == "bam");
    let reads = options.text.min_base_quality > 0 || options.inputs.iter().any(is_bam);
    if reads { pool / 4 } else { pool / 12 }
}

fn rules(options: &CountOptions) -> Rules {
    Rules {
        k: options.k,
        canonical: options.canonical,
        skip_lower: options.skip_lower,
        keep: options.keep,
    }
}

/// The footer of a table.
pub(super) fn footer(inputs: &[InputFacts], more: &[(String, Value)]) -> Value {
    let mut footer = json!({ "inputs": inputs });
    if let Value::Object(map) = &mut footer {
        map.extend(more.iter().cloned());
    }
    footer
}

fn count_units<K: Kmer + NewEngine>(
    options: &CountOptions,
    output: &Path,
    force: bool,
    state: Option<&StateDirectory>,
    job: &Job,
) -> Result<CountReport> {
    let direct = options.k <= direct::K_MAX && fits_directly(options, job);
    let lease = if direct {
        let account = job.budget.account("counters", u64::MAX);
        Some(job.budget.must_reserve(account, direct::counter_bytes(options.k))?)
    } else {
        None
    };
    let pool = job.budget.pool();
    let archive = options.inputs.iter().map(|path| archive_claim(path, pool)).max().unwrap_or(0);
    let margin = OUTPUT_MARGIN + archive + index_claim(options, pool) + whole_claim(options, pool);
    let plan = |job: &Job| Room::plan(&job.budget, options.threads, margin);
    let reader_threads = if direct { 0 } else { plan(job)?.reader_threads };
    let text = &options.text;
    let k = options.k as usize;
    let inputs = Inputs::new(&options.inputs, text, k, reader_threads, options.unit_bases, job)?;
    let inputs = Mutex::new(inputs);
    let mut report = CountReport { threads: options.threads, ..CountReport::default() };
    let done: Option<Checkpoint> = match state {
        Some(state) => state.checkpoint()?,
        None => None,
    };
    let mut unit = 0;
    if let Some(done) = done {
        unit = done.units;
        report.resumed_units = done.units;
        lock(&inputs).skip_units(done.units, done.inputs)?;
    }
    let keeps_all = rules(options).keeps_all();
    loop {
        // Only when a unit is over it is known whether it is the last: the first is written
        // under its own name, and becomes a part if another follows.
        let aside = match state {
            Some(state) => {
                let folder = state.file("parts");
                std::fs::create_dir_all(&folder).map_err(|e| Error::io(&folder, &e))?;
                part_path(state, unit)
            }
            None => output.to_path_buf(),
        };
        let file = AtomicFile::create(&aside, force || state.is_some())?;
        let mut filtered = rules(options);
        if state.is_some() && options.unit_bases < u64::MAX {
            // A part is never filtered; a table of one unit is, when it is known to be the only.
            filtered.keep = if keeps_all { filtered.keep } else { (0, u64::MAX) };
        }
        let account = job.budget.account("index", u64::MAX);
        let index = job.budget.must_reserve(account, 0)?;
        let writer = SkmWriter::<K>::new(file.file(), &aside, options.k, index);
        let (counted, writer, threads) = if direct && let Some(lease) = &lease {
            K::count_directly(filtered, options.threads, &inputs, writer, job, lease)?
        } else {
            let room = plan(job)?;
            let threads = room.threads;
            let engine = Engine::<K>::new(filtered, job, room, &options.tmpdir)?;
            let table = OrderedBlocks::new(writer);
            let counted = engine.run(&inputs, Some(&table))?;
            (counted, table.into_writer()?, threads)
        };
        report.threads = threads;
        let more = {
            let mut inputs = lock(&inputs);
            report.inputs.clone_from(&inputs.facts);
            let more = inputs.next_unit();
            if !more {
                inputs.check_regions()?;
                report.warnings.extend(inputs.warnings.iter().cloned());
            }
            more
        };
        let stored = writer.distinct();
        let facts = TableFacts {
            k: options.k,
            canonical: options.canonical,
            flags: if filtered.keeps_all() { 0 } else { FILTERED },
            distinct: stored,
            // No file holds as many bases.
            total: counted.histogram.total().unwrap_or(u64::MAX),
        };
        let written = writer.finish(&facts, &footer(&report.inputs, &options.footer))?;
        add_phases(&mut report.phases, &counted.phases);
        report.spilled += counted.spilled;
        file.commit()?;
        unit += 1;
        if more && unit >= UNITS_MAX {
            return Err(Error::input(format!(
                "unit-bases {} makes more than {UNITS_MAX} units; give more",
                options.unit_bases
            )));
        }
        let Some(state) = state else {
            return Ok(finish_single(report, &counted, stored, written));
        };
        if unit == 1 && !more && filtered.keep == options.keep {
            seqmill_base::sink::refuse_existing(output, force)?;
            seqmill_base::sink::publish(&aside, output)?;
            return Ok(finish_single(report, &counted, stored, written));
        }
        state.save_checkpoint(&Checkpoint { units: unit, inputs: report.inputs.clone() })?;
        if !more {
            break;
        }
    }
    let Some(state) = state else { return Ok(report) };
    drop(lease);
    let parts: Vec<PathBuf> = (0..unit).map(|unit| part_path(state, unit)).collect();
    merge_units::<K>(options, &parts, output, force, job, report)
}

fn finish_single(
    mut report: CountReport,
    counted: &Counted,
    stored: u64,
    written: TableFile,
) -> CountReport {
    report.total = counted.histogram.total().unwrap_or(u64::MAX);
    report.distinct = counted.histogram.distinct();
    report.histogram = counted.histogram.clone();
    report.stored = stored;
    (report.bytes, report.digest) = (written.bytes, written.digest);
    report
}

fn merge_units<K: Kmer>(
    options: &CountOptions,
    parts: &[PathBuf],
    output: &Path,
    force: bool,
    job: &Job,
    mut report: CountReport,
) -> Result<CountReport> {
    let tables = parts.iter().map(|path| SkmTable::open(path)).collect::<Result<Vec<_>>>()?;
    let rules =
        MergeRules { keep: options.keep, threads: options.threads, ..MergeRules::default() };
    let footer = footer(&report.inputs, &options.footer);
    let merged = merge_tables::<K>(&tables, rules, KeyRange::ALL, &footer, output, force, job)?;
    report.total = merged.total;
    report.distinct = merged.distinct;
    report.stored = merged.stored;
    (report.bytes, report.digest) = (merged.file.bytes, merged.file.digest);
    report.histogram = merged.histogram;
    Ok(report)
}

fn part_path(state: &StateDirectory, unit: u64) -> PathBuf {
    state.file("parts").join(format!("unit-{unit:06}.skm"))
}

fn lock<T: ?Sized>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

fn add_phases(sum: &mut Vec<Phase>, phases: &[Phase]) {
    for phase in phases {
        match sum.iter_mut().find(|p| p.name == phase.name) {
            Some(known) => {
                known.wall += phase.wall;
                known.cpu += phase.cpu;
            }
            None => sum.push(*phase),
        }
    }
}

fn fits_directly(options: &CountOptions, job: &Job) -> bool {
    let free = job.budget.pool().saturating_sub(job.budget.reserved());
    direct::counter_bytes(options.k) + OUTPUT_MARGIN + (8 << 20) * options.threads as u64 <= free
        || options.k <= 8
}

/// Short k-mers are numbers of one word; the other widths are never counted directly.
pub(super) trait NewEngine: Kmer {
    /// Counts with a counter for each k-mer.
    fn count_directly<'f>(
        rules: Rules,
        threads: usize,
        source: &Mutex<dyn BatchSource + '_>,
        writer: SkmWriter<'f, Self>,
        job: &Job,
        lease: &seqmill_base::Lease,
    ) -> Result<(Counted, SkmWriter<'f, Self>, usize)>;
}

impl NewEngine for u64 {
    fn count_directly<'f>(
        rules: Rules,
        threads: usize,
        source: &Mutex<dyn BatchSource + '_>,
        mut writer: SkmWriter<'f, Self>,
        job: &Job,
        lease: &seqmill_base::Lease,
    ) -> Result<(Counted, SkmWriter<'f, Self>, usize)> {
        let counted = direct::count(rules, threads, source, Some(&mut writer), job, lease)?;
        Ok((counted, writer, threads))
    }
}

macro_rules! never_directly {
    ($($type:ty),+) => {$(
        impl NewEngine for $type {
            fn count_directly<'f>(
                _: Rules,
                _: usize,
                _: &Mutex<dyn BatchSource + '_>,
                _: SkmWriter<'f, Self>,
                _: &Job,
                _: &seqmill_base::Lease,
            ) -> Result<(Counted, SkmWriter<'f, Self>, usize)> {
                Err(Error::internal("a long k-mer has no counter of its own"))
            }
        }
    )+};
}

never_directly!(u128, Wide<4>, Wide<8>);
