//! A job that is divided: shares of its regions are measured by themselves, each leaves its results
//! in the order of the sequences, and the files are written from all of them as from one job.

use super::alignments::Measured;
use super::document::figures;
use super::options::{Options, Share};
use super::output::refuse_results;
use super::run::{Content, Prepared, Report, Results, Work, check, prepare, refuse_per_base};
use super::sequences::write_sequences;
use super::targets::{Stretch, Targets};
use super::text::Text;
use seqmill_base::{Error, FormatKind, Job, Result};
use seqmill_io::bam::index::AlignmentIndex;
use seqmill_io::records::{Container, Kind};
use seqmill_io::sequence::text_places;
use serde_json::{Value, json};
use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader};
use std::path::Path;

/// Bases of a share by default: some seconds of work.
const ALIGNED_BASES: u64 = 10_000_000;
const SEQUENCE_BASES: u64 = 100_000_000;
/// Most shares of a job: what is noted of each would outgrow the work.
const SHARES_MAX: usize = 100_000;

/// Divides a job; gives the shares. The second part are warnings.
pub fn plan_shares(options: &Options, job: &Job) -> (Result<Vec<Share>>, Vec<String>) {
    let mut warnings = Vec::new();
    let shares = check(options).and_then(|()| plan(options, job, &mut warnings));
    (shares, warnings)
}

fn plan(options: &Options, job: &Job, warnings: &mut Vec<String>) -> Result<Vec<Share>> {
    let prepared = prepare(options, job, warnings)?;
    refuse_per_base(options)?;
    if !options.force && !options.resume {
        refuse_results(&options.output)?;
    }
    let everything = Share { stretches: Vec::new(), everything: true };
    let divisible = match &prepared.content {
        Content::Sequences(_) => note_sequences(options, &prepared, job)?,
        Content::Alignments(input) => {
            input.kind == Kind::Bam
                && input.container == Container::Bgzf
                && input.source.is_seekable()
                && (options.index.is_some() || AlignmentIndex::beside(&input.path).is_some())
        }
    };
    let share_bases = match (options.share_bases, &prepared.content) {
        (0, Content::Alignments(_)) => ALIGNED_BASES,
        (0, Content::Sequences(_)) => SEQUENCE_BASES,
        (bases, _) => bases,
    };
    let shares = if divisible { cut(&prepared, share_bases)? } else { vec![everything.clone()] };
    Ok(if shares.len() > 1 { shares } else { vec![everything] })
}

/// Writes where the sequences are; whether the file can be read from any of them on.
fn note_sequences(options: &Options, prepared: &Prepared, job: &Job) -> Result<bool> {
    let account = job.budget.account("places", job.budget.pool());
    let mut places = prepared.places.clone();
    let divisible = text_places(&options.input, &mut places, job, account)?;
    if let Some(path) = &options.sequences_to {
        write_sequences(path, &prepared.sequences, &places)?;
    }
    Ok(divisible)
}

/// Shares of about so many bases; regions that overlap stay together.
fn cut(prepared: &Prepared, share_bases: u64) -> Result<Vec<Share>> {
    let mut shares: Vec<Share> = Vec::new();
    let mut share = Share::default();
    let (mut bases, mut last) = (0_u64, Stretch { reference: 0, begin: 0, end: 0 });
    let step = match prepared.targets {
        Targets::Windows(step) if step < u64::MAX => Some(step),
        _ => None,
    };
    let mut walk = prepared.targets.walk(&prepared.sequences);
    while let Some((_, stretch)) = walk.advance() {
        let apart = stretch.reference != last.reference || stretch.begin >= last.end;
        if apart && bases >= share_bases.max(1) && !share.stretches.is_empty() {
            shares.push(std::mem::take(&mut share));
            bases = 0;
            if shares.len() >= SHARES_MAX {
                return Err(Error::input(format!(
                    "unit-bases {share_bases} makes more than {SHARES_MAX} units; give more"
                )));
            }
        }
        let fresh = stretch.end.saturating_sub(if apart { stretch.begin } else { last.end });
        bases += fresh.max(1);
        let end = if apart { stretch.end } else { last.end.max(stretch.end) };
        last = Stretch { end, ..stretch };
        match share.stretches.last_mut() {
            // Windows of a sequence are noted together.
            Some(known) if step.is_some() && known.0 == stretch.reference => known.2 = stretch.end,
            _ => share.stretches.push((stretch.reference, stretch.begin, stretch.end, step)),
        }
    }
    if !share.stretches.is_empty() {
        shares.push(share);
    }
    Ok(shares)
}

/// Measures a share into a folder: results, runs, and what is known of them.
pub fn measure_share(options: &Options, job: &Job) -> (Result<Value>, Vec<String>) {
    let mut warnings = Vec::new();
    let result = check(options).and_then(|()| share_into(options, job, &mut warnings));
    (result, warnings)
}

fn share_into(options: &Options, job: &Job, warnings: &mut Vec<String>) -> Result<Value> {
    let prepared = prepare(options, job, warnings)?;
    let folder = options.output.clone();
    std::fs::create_dir_all(&folder).map_err(|e| Error::io(&folder, &e))?;
    let work = Work { options, job, prepared, folder, state: None };
    let _spools = work.reserve_spools()?;
    let mut results = work.measure(None, warnings)?;
    results.rows.sync()?;
    results.values.sync()?;
    Ok(json!({
        "rows": work.prepared.targets.distinct(&work.prepared.sequences),
        "looked_at": results.measured.looked_at,
        "counted": results.measured.counted,
        "profile": results.profile,
        "memory": figures(job),
    }))
}

/// Writes the files of a job from what its shares left.
pub fn assemble(options: &Options, job: &Job) -> (Result<Report>, Vec<String>) {
    let mut warnings = Vec::new();
    let result = check(options).and_then(|()| assemble_parts(options, job, &mut warnings));
    let result =
        result.map(|(rows, document)| Report { rows, warnings: warnings.clone(), document });
    (result, warnings)
}

fn assemble_parts(
    options: &Options,
    job: &Job,
    warnings: &mut Vec<String>,
) -> Result<(u64, Value)> {
    let prepared = prepare(options, job, warnings)?;
    let began = std::time::Instant::now();
    let folder = options.work.clone();
    let work = Work { options, job, prepared, folder, state: None };
    let _spools = work.reserve_spools()?;
    for name in ["rows", "values"] {
        concatenate(&options.parts, name, &work.folder.join(name), job)?;
    }
    if options.per_base.is_some() {
        join_runs(&options.parts, &work.folder.join("per_base"), job)?;
    }
    let (rows, values) = work.open_spools(true)?;
    let (measured, profile) = (Measured::default(), Value::Null);
    work.write(Results { rows, values, measured, profile }, began, false)
}

fn concatenate(parts: &[std::path::PathBuf], name: &str, to: &Path, job: &Job) -> Result<()> {
    let mut whole = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .open(to)
        .map_err(|e| Error::io(to, &e))?;
    for part in parts {
        job.cancel.check()?;
        let path = part.join(name);
        let mut file = File::open(&path).map_err(|e| Error::io(&path, &e))?;
        std::io::copy(&mut file, &mut whole).map_err(|e| Error::io(to, &e))?;
    }
    Ok(())
}

/// A run as its line says: the place before the depth, the place where it ends, the depth.
struct Run {
    name: Vec<u8>,
    begin: Vec<u8>,
    end: Vec<u8>,
    depth: Vec<u8>,
}

impl Run {
    fn parse(line: &[u8]) -> Option<Self> {
        let mut fields = line.strip_suffix(b"\n").unwrap_or(line).rsplitn(4, |b| *b == b'\t');
        let (depth, end, begin) = (fields.next()?, fields.next()?, fields.next()?);
        let name = fields.next()?;
        let own = <[u8]>::to_vec;
        Some(Self { name: own(name), begin: own(begin), end: own(end), depth: own(depth) })
    }

    fn goes_on_in(&self, next: &Self) -> bool {
        self.name == next.name && self.end == next.begin && self.depth == next.depth
    }
}

/// Puts the runs of shares one behind the other; a run may go on from one to the next.
fn join_runs(parts: &[std::path::PathBuf], to: &Path, job: &Job) -> Result<()> {
    let mut text = Text::open(to, 0)?;
    let mut held: Option<Run> = None;
    for part in parts {
        let path = part.join("per_base");
        let failed = |e: std::io::Error| Error::io(&path, &e);
        let broken = || Error::format(FormatKind::Other, "this is no run of depth").at_path(&path);
        let mut lines = BufReader::with_capacity(1 << 17, File::open(&path).map_err(failed)?);
        let (mut line, mut number) = (Vec::new(), 0_u64);
        loop {
            line.clear();
            if lines.read_until(b'\n', &mut line).map_err(failed)? == 0 {
                break;
            }
            // Only the first run of a share can belong to one before.
            let first = number == 0;
            number += 1;
            if number.is_multiple_of(1 << 14) {
                job.cancel.check()?;
            }
            if first && let Some(before) = held.take() {
                let run = Run::parse(&line).ok_or_else(broken)?;
                if before.goes_on_in(&run) {
                    held = Some(Run { begin: before.begin, ..run });
                    continue;
                }
                push_run(&mut text, &before)?;
                held = Some(run);
                continue;
            }
            if let Some(before) = held.take() {
                push_run(&mut text, &before)?;
            }
            // Whether it is the last is known when the next is read.
            held = Some(Run::parse(&line).ok_or_else(broken)?);
        }
    }
    if let Some(last) = held {
        push_run(&mut text, &last)?;
    }
    text.sync().map(|_| ())
}

fn push_run(text: &mut Text, run: &Run) -> Result<()> {
    for (field, mark) in
        [(&run.name, b"\t"), (&run.begin, b"\t"), (&run.end, b"\t"), (&run.depth, b"\n")]
    {
        text.push(field);
        text.push(mark);
    }
    text.flush_if_full()
}
