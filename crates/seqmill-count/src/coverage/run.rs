//! A whole job: what is measured, the state it keeps, the files it leaves.

use super::alignments::{Checkpoint, Measured, Place, measure_alignments, plan_reading};
use super::columns::{Column, SEQUENCE_NUMBERS, depth_columns, sequence_columns};
use super::options::{Options, Value as Shown};
use super::output::{PARQUET, TABLE, publish_files, refuse_results, write_files};
use super::runs::Runs;
use super::sequences::{Sequences, measure_sequences};
use super::spool::Spool;
use super::table::write_parquet;
use super::targets::{Sequence, Targets};
use super::text::Text;
use super::tracker::{FIXED_NUMBERS, Tracker};
use seqmill_base::checkpoint::{JobIdentity, StateDirectory};
use seqmill_base::fingerprint::fingerprint;
use seqmill_base::sink::{publish, refuse_existing};
use seqmill_base::{Error, ErrorKind, FormatKind, Job, Lease, Result};
use seqmill_io::IoMode;
use seqmill_io::bgzf::compress_source;
use seqmill_io::open_source;
use seqmill_io::records::{Container, Input, Kind, OpenOptions, open_input};
use seqmill_io::sequence::{input_fingerprint, is_archive_input};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Version of the state's layout.
const STATE_FORMAT: u32 = 1;
/// Most bins of a region.
const BINS_MAX: u64 = 1_000_000;
/// Most thresholds.
const THRESHOLDS_MAX: usize = 1000;
/// Level of compressed runs.
const LEVEL: i32 = 6;

/// What a job came to.
#[derive(Debug)]
pub struct Report {
    /// Rows of the table.
    pub rows: u64,
    /// What was noticed.
    pub warnings: Vec<String>,
    /// Figures for the metrics document.
    pub document: Value,
}

/// Where an interrupted job can go on.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Saved {
    place: Place,
    /// Length of the file of runs.
    per_base: u64,
    profile: Vec<Vec<u64>>,
    /// Everything is measured.
    measured: bool,
}

/// What is read, after its beginning was looked at.
pub(super) enum Content {
    Alignments(Box<Input>),
    Sequences(Sequences),
}

/// Measures coverage and writes the files; the second part are warnings, also of a job that failed.
pub fn measure(options: &Options, job: &Job) -> (Result<Report>, Vec<String>) {
    let mut warnings = Vec::new();
    let result = check(options).and_then(|()| run(options, job, &mut warnings));
    let result =
        result.map(|(rows, document)| Report { rows, warnings: warnings.clone(), document });
    (result, warnings)
}

pub(super) fn check(options: &Options) -> Result<()> {
    let semantic = &options.semantic;
    if !(1..=BINS_MAX).contains(&semantic.bins) {
        return Err(Error::input(format!("bins {} is not in 1..={BINS_MAX}", semantic.bins)));
    }
    if !(1..=255).contains(&semantic.k) {
        return Err(Error::input(format!("k {} is not in 1..=255", semantic.k)));
    }
    if semantic.thresholds.len() > THRESHOLDS_MAX {
        return Err(Error::input(format!("more than {THRESHOLDS_MAX} thresholds")));
    }
    let mut sorted = semantic.thresholds.clone();
    sorted.sort_unstable();
    if sorted.windows(2).any(|pair| pair.first() == pair.get(1)) {
        return Err(Error::input("a threshold is given twice"));
    }
    Ok(())
}

/// What is read and what is measured of it, before anything is.
pub(super) struct Prepared {
    pub content: Content,
    pub sequences: Arc<[Sequence]>,
    pub targets: Targets,
    /// Where the sequences of FASTA begin: in the text, or in the file if a plan says so.
    pub places: Vec<u64>,
    _headers: Lease,
}

pub(super) fn prepare(
    options: &Options,
    job: &Job,
    warnings: &mut Vec<String>,
) -> Result<Prepared> {
    let open = OpenOptions {
        mode: IoMode::Read,
        verify: options.semantic.verify,
        strict: options.semantic.strict,
        header_bytes: OpenOptions::header_bytes(options.memory),
        reference: options.semantic.reference.clone(),
        remote: None,
    };
    let (content, sequences, places) = open_content(options, &open, job, warnings)?;
    let account = job.budget.account("headers", job.budget.pool());
    let names: usize = sequences.iter().map(|s| s.name.len() + size_of::<Sequence>() + 40).sum();
    let headers = job.budget.must_reserve(account, 3 * names as u64)?;
    let targets = match options.share.as_ref().filter(|share| !share.everything) {
        Some(share) => Targets::of_share(share, job)?,
        None => Targets::new(&options.semantic, &sequences, job)?,
    };
    if options.share.is_none() {
        warnings.extend(targets.warnings().iter().cloned());
        if targets.rows(&sequences) == 0 {
            warnings.push("no region: the outputs are empty".to_owned());
        }
    }
    if options.semantic.kmer_db.is_some() && matches!(content, Content::Alignments(_)) {
        return Err(Error::input(
            "kmer-db needs sequence: the k-mers of alignments are not counted",
        ));
    }
    if options.per_base.is_some() && matches!(content, Content::Sequences(_)) {
        return Err(Error::input("per-base needs alignments: sequence has no depth"));
    }
    Ok(Prepared { content, sequences, targets, places, _headers: headers })
}

fn run(options: &Options, job: &Job, warnings: &mut Vec<String>) -> Result<(u64, Value)> {
    let prepared = prepare(options, job, warnings)?;
    refuse_per_base(options)?;
    let (state, earlier) = open_state(options)?;
    let folder = state.path().to_path_buf();
    let saved = if earlier { state.checkpoint()? } else { None };
    let outcome = Work { options, job, prepared, folder, state: Some(&state) }.run(warnings, saved);
    match &outcome {
        Ok(_) => state.remove()?,
        Err(error) if !may_go_on(error) => state.remove()?,
        Err(_) => {}
    }
    outcome
}

pub(super) fn refuse_per_base(options: &Options) -> Result<()> {
    match &options.per_base {
        Some(path) if !options.resume => refuse_existing(path, options.force),
        _ => Ok(()),
    }
}

/// Whether a job that ended so may be resumed.
fn may_go_on(error: &Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::Io | ErrorKind::Budget | ErrorKind::Cancelled | ErrorKind::Internal
    )
}

fn open_content(
    options: &Options,
    open: &OpenOptions,
    job: &Job,
    warnings: &mut Vec<String>,
) -> Result<(Content, Arc<[Sequence]>, Vec<u64>)> {
    if options.archives.is_some() && is_archive_input(&options.input) {
        let (content, sequences, places) = Sequences::open(&options.input, options, job)?;
        return Ok((Content::Sequences(content), sequences.into(), places));
    }
    let mut input = open_input(&options.input, open)?;
    if input.kind == Kind::Fastq {
        let text = "coverage needs FASTA or alignments; this is FASTQ";
        return Err(Error::format(FormatKind::NotAlignments, text).at_path(&input.path));
    }
    if input.kind == Kind::Fasta {
        let (content, sequences, places) = Sequences::open(&options.input, options, job)?;
        warnings.extend(content.warnings.iter().cloned());
        return Ok((Content::Sequences(content), sequences.into(), places));
    }
    let noticed = input.warnings.iter().map(|text| format!("{}: {text}", input.path.display()));
    warnings.extend(noticed);
    // The text of a header can be long, and nothing here reads it.
    if input.kind == Kind::Bam {
        input.header.text = String::new();
    }
    let sequences =
        input.header.references.iter().map(|r| Sequence { name: r.name.clone(), length: r.length });
    let sequences = sequences.collect();
    Ok((Content::Alignments(Box::new(input)), sequences, Vec::new()))
}

fn open_state(options: &Options) -> Result<(StateDirectory, bool)> {
    let input = if options.input == Path::new("-") {
        json!("-")
    } else {
        let print = input_fingerprint(&options.input)?;
        json!({"size": print.size, "mtime_ns": print.mtime_ns, "xxh3": print.hash})
    };
    let mut lists = Vec::new();
    for path in &options.semantic.regions_files {
        lists.push(fingerprint(path)?.hash);
    }
    let semantic = serde_json::to_value(&options.semantic)
        .map_err(|e| Error::internal(format!("options: {e}")))?;
    let identity = JobIdentity {
        format: STATE_FORMAT,
        seqmill: options.version.clone(),
        command: "coverage".to_owned(),
        options: semantic,
        inputs: json!([input, lists, options.per_base.is_some()]),
    };
    if !options.force && !options.resume {
        refuse_results(&options.output)?;
    }
    let found = StateDirectory::open(&options.output, &identity, options.resume, options.force)?;
    if !options.force && !found.1 {
        // Nothing to go on with: results that are there belong to another job.
        if let Err(error) = refuse_results(&options.output) {
            found.0.remove()?;
            return Err(error);
        }
    }
    Ok(found)
}

/// A job that has a folder to work in.
pub(super) struct Work<'a> {
    pub options: &'a Options,
    pub job: &'a Job,
    pub prepared: Prepared,
    pub folder: PathBuf,
    /// Survives an interruption.
    pub state: Option<&'a StateDirectory>,
}

/// Results in the order of the sequences.
pub(super) struct Results {
    pub rows: Spool,
    pub values: Spool,
    pub measured: Measured,
    pub profile: Value,
}

impl Work<'_> {
    fn run(&self, warnings: &mut Vec<String>, saved: Option<Saved>) -> Result<(u64, Value)> {
        let resumed = saved.is_some();
        let _spools = self.reserve_spools()?;
        let began = std::time::Instant::now();
        let results = self.measure(saved, warnings)?;
        self.write(results, began, resumed)
    }

    pub(super) fn reserve_spools(&self) -> Result<Lease> {
        let account = self.job.budget.account("results", self.job.budget.pool());
        let bins = self.options.semantic.bins;
        self.job.budget.must_reserve(account, 2 * (Spool::BYTES + bins * 16))
    }

    pub(super) fn open_spools(&self, keep: bool) -> Result<(Spool, Spool)> {
        let semantic = &self.options.semantic;
        let numbers = match &self.prepared.content {
            Content::Alignments(_) => FIXED_NUMBERS + semantic.thresholds.len(),
            Content::Sequences(_) => SEQUENCE_NUMBERS,
        };
        let bins = usize::try_from(semantic.bins).unwrap_or(usize::MAX);
        let rows = Spool::open(&self.folder.join("rows"), numbers, keep)?;
        Ok((rows, Spool::open(&self.folder.join("values"), bins, keep)?))
    }

    /// Measures what is asked for.
    pub(super) fn measure(
        &self,
        saved: Option<Saved>,
        warnings: &mut Vec<String>,
    ) -> Result<Results> {
        let (rows, values) = self.open_spools(saved.is_some())?;
        let saved = saved.unwrap_or_default();
        match &self.prepared.content {
            Content::Alignments(input) => self.depth(input, rows, values, saved, warnings),
            Content::Sequences(content) => self.bases(content, rows, values, &saved),
        }
    }

    /// Writes the files of the job and puts them where they are wanted.
    pub(super) fn write(
        &self,
        results: Results,
        began: std::time::Instant,
        resumed: bool,
    ) -> Result<(u64, Value)> {
        let Results { mut rows, mut values, measured, profile } = results;
        let plan = self.plan();
        let folder = self.folder.join("out");
        write_files(&folder, &plan, &mut rows, &mut values, self.job)?;
        if self.options.semantic.parquet {
            let schema = json!({"k": self.k(), "strand": self.strand(), "metric": self.metric()});
            write_parquet(&folder.join(TABLE), &folder.join(PARQUET), &schema, self.job)?;
        }
        self.publish_per_base()?;
        publish_files(&folder, &self.options.output)?;
        let rows = self.prepared.targets.rows(&self.prepared.sequences);
        let document = self.document(began, rows, &measured, &profile, resumed);
        Ok((rows, document))
    }

    fn depth(
        &self,
        input: &Input,
        rows: Spool,
        values: Spool,
        saved: Saved,
        warnings: &mut Vec<String>,
    ) -> Result<Results> {
        let progress = &self.job.progress;
        progress.bytes_total.store(input.source.len().unwrap_or(0), Ordering::Relaxed);
        let union = self.prepared.targets.union();
        let mut reading =
            plan_reading(input, union.as_deref(), self.options.index.as_deref(), &mut |text| {
                warnings.push(text);
            })?;
        let per_base = self.options.per_base.as_ref();
        let runs_file = self.folder.join("per_base");
        let per_base = per_base.map(|_| Text::open(&runs_file, saved.per_base)).transpose()?;
        let lease = self.lease("open_regions")?;
        let walk = self.prepared.targets.walk(&self.prepared.sequences);
        let tracker = Tracker::new(walk, &self.options.semantic, rows, values, lease);
        let mut runs = Runs::new(tracker, per_base, Arc::clone(&self.prepared.sequences), union);
        runs.profile.restore(saved.profile);
        let mut measured = Measured {
            looked_at: saved.place.looked_at,
            counted: saved.place.counted,
            stages: Vec::new(),
        };
        if !saved.measured {
            let from = Some(&saved.place).filter(|place| place.voffset > 0);
            if let Some(place) = from {
                reading.go_on_from(place.voffset);
                runs.tracker.skip_to(place.reference);
            }
            let indexed = input.kind == Kind::Bam && input.container == Container::Bgzf;
            let save: Checkpoint<'_> =
                Box::new(|runs: &mut Runs<'_>, place: &Place| self.save(runs, place, false));
            let kept = self.state.is_some() && indexed && input.source.is_seekable();
            let save = kept.then_some(save);
            measured = measure_alignments(
                input,
                self.options,
                &reading,
                from,
                &mut runs,
                save,
                warnings,
                self.job,
            )?;
            let place = Place {
                looked_at: measured.looked_at,
                counted: measured.counted,
                ..Place::default()
            };
            self.save(&mut runs, &place, true)?;
        }
        let profile = runs.profile.to_json(&self.prepared.sequences);
        let Tracker { rows, values, .. } = runs.tracker;
        Ok(Results { rows, values, measured, profile })
    }

    fn save(&self, runs: &mut Runs<'_>, place: &Place, measured: bool) -> Result<()> {
        runs.tracker.rows.sync()?;
        runs.tracker.values.sync()?;
        let per_base = runs.per_base.as_mut().map_or(Ok(0), Text::sync)?;
        let profile = runs.profile.sums();
        let place = place.clone();
        let saved = Saved { place, per_base, profile, measured };
        self.state.map_or(Ok(()), |state| state.save_checkpoint(&saved))
    }

    fn bases(
        &self,
        content: &Sequences,
        mut rows: Spool,
        mut values: Spool,
        saved: &Saved,
    ) -> Result<Results> {
        if !saved.measured {
            let walk = self.prepared.targets.walk(&self.prepared.sequences);
            measure_sequences(content, self.options, walk, (&mut rows, &mut values), self.job)?;
            rows.sync()?;
            values.sync()?;
            let saved = Saved { measured: true, ..Saved::default() };
            self.state.map_or(Ok(()), |state| state.save_checkpoint(&saved))?;
        }
        Ok(Results { rows, values, measured: Measured::default(), profile: Value::Null })
    }

    fn lease(&self, name: &str) -> Result<Lease> {
        let account = self.job.budget.account(name, self.job.budget.pool());
        self.job.budget.must_reserve(account, 0)
    }

    pub(super) fn columns(&self) -> Vec<Column> {
        match self.prepared.content {
            Content::Alignments(_) => depth_columns(&self.options.semantic.thresholds),
            Content::Sequences(_) => sequence_columns(self.options.semantic.kmer_db.is_some()),
        }
    }

    pub(super) fn metric(&self) -> &'static str {
        match (&self.prepared.content, self.options.semantic.value) {
            (Content::Sequences(_), _) => "kmers",
            (_, Shown::Mean) => "mean_depth",
            (_, Shown::Sum) => "sum_depth",
            (_, Shown::Max) => "max_depth",
            (_, Shown::Min) => "min_depth",
        }
    }

    pub(super) fn k(&self) -> Option<usize> {
        matches!(self.prepared.content, Content::Sequences(_)).then_some(self.options.semantic.k)
    }

    pub(super) fn strand(&self) -> Option<&'static str> {
        let name = if self.options.semantic.canonical { "canonical" } else { "forward" };
        self.k().map(|_| name)
    }

    fn publish_per_base(&self) -> Result<()> {
        let Some(path) = &self.options.per_base else { return Ok(()) };
        let runs = self.folder.join("per_base");
        let name = path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
        let aside = path.with_file_name(format!(".{name}.part"));
        let packed = path.extension().is_some_and(|suffix| suffix == "gz");
        if !packed && std::fs::rename(&runs, &aside).is_ok() {
            return publish(&aside, path);
        }
        let written = write_runs(&runs, &aside, path, self.options.threads, self.job);
        if let Err(error) = written {
            let _ = std::fs::remove_file(&aside);
            return Err(error);
        }
        publish(&aside, path)
    }
}

/// Copies the runs to another file system, or compresses them.
fn write_runs(runs: &Path, aside: &PathBuf, path: &Path, threads: usize, job: &Job) -> Result<()> {
    let failed = |e: std::io::Error| Error::io(aside, &e);
    if path.extension().is_none_or(|suffix| suffix != "gz") {
        std::fs::copy(runs, aside).map_err(failed)?;
        return std::fs::File::open(aside).and_then(|f| f.sync_all()).map_err(failed);
    }
    let input = open_source(runs, IoMode::Read)?;
    let mut file = std::fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .open(aside)
        .map_err(failed)?;
    compress_source(&input, &mut file, aside, LEVEL, threads, job)?;
    file.sync_all().map_err(failed)
}
