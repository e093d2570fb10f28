//! Genomes, mutated, through the search for repeats. `seqmill-fuzz --kind repeats`.
//!
//! Each is searched twice, with other threads, budget and batches: what comes out must be the same.

use crate::alone::{self, Case, Limits};
use crate::frame::{gzip, reframe_anyhow};
use crate::mutate;
use crate::random::Random;
use seqmill_base::{Budget, Error, ErrorKind, Job};
use seqmill_repeats::Options;
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// A budget that any small input must fit in.
const AMPLE_BYTES: u64 = 96 << 20;
/// Files that a run writes.
const SUFFIXES: [&str; 6] = [".families.fa", ".bed", ".gff3", ".softmasked.fa", ".stk", ".freq"];

fn letters(count: usize, random: &mut Random) -> Vec<u8> {
    (0..count).map(|_| *random.pick(b"ACGT")).collect()
}

/// A genome with copies of a few units.
fn genome(random: &mut Random) -> Vec<u8> {
    let units: Vec<Vec<u8>> = (0..=random.below(3))
        .map(|_| {
            let length = 20 + random.below(300);
            letters(length, random)
        })
        .collect();
    let mut text = Vec::new();
    let width = 1 + random.below(90);
    for record in 0..=random.below(4) {
        let mut sequence = Vec::new();
        for _ in 0..random.below(14) {
            let spacer = random.below(80);
            sequence.extend(letters(spacer, random));
            let mut copy = random.pick(&units).clone();
            for base in &mut copy {
                if random.once_in(20) {
                    *base = *random.pick(b"ACGTNacgtRYn");
                }
            }
            if random.once_in(2) {
                copy.reverse();
                for base in &mut copy {
                    *base = match *base {
                        b'A' => b'T',
                        b'C' => b'G',
                        b'G' => b'C',
                        b'T' => b'A',
                        other => other,
                    };
                }
            }
            sequence.extend(copy);
        }
        text.extend(format!(">r{record} described\n").bytes());
        for line in sequence.chunks(width) {
            text.extend_from_slice(line);
            text.push(b'\n');
        }
    }
    text
}

/// Mostly a genome; often damaged, and packed in some way.
fn input(random: &mut Random, story: &mut String) -> (Vec<u8>, &'static str) {
    let mut text = genome(random);
    if random.once_in(2) {
        let other = genome(random);
        let _ = write!(story, "{}; ", mutate::bytes(&mut text, &other, random));
    }
    let (mut bytes, suffix) = match random.below(4) {
        0 => (gzip(&text), "fa.gz"),
        1 => (reframe_anyhow(&text, random).0, "fa.gz"),
        _ => (text, "fa"),
    };
    if suffix == "fa.gz" && random.once_in(4) {
        let _ = write!(story, "packed: {}", mutate::bytes(&mut bytes, &[], random));
    }
    (bytes, suffix)
}

fn parameters(random: &mut Random) -> serde_json::Value {
    let mut all =
        serde_json::to_value(seqmill_repeats::options::Parameters::default()).unwrap_or_default();
    let mut set = |name: &str, value: serde_json::Value| all[name] = value;
    set("distance", (*random.pick(&[0, 0, 0, 1, 1, 2])).into());
    set("tandem_distance", (*random.pick(&[0, 10, 500])).into());
    set("min_length", (*random.pick(&[1, 20, 50])).into());
    set("min_frequency", (*random.pick(&[1, 2, 3, 3, 5])).into());
    if random.once_in(3) {
        set("seed_length", (2 + random.below(31)).into());
    }
    if random.once_in(4) {
        set("max_gap", (*random.pick(&[0, 1, 20])).into());
        set("match", (*random.pick(&[1, 3, 1000])).into());
        set("gap_open", (*random.pick(&[0, -1, -100_000])).into());
        set("max_extend", (*random.pick(&[1, 40, 100_000])).into());
        set("stop_after", (*random.pick(&[1, 7, 300])).into());
    }
    if random.once_in(8) {
        set("max_families", random.below(3).into());
        set("max_positions_per_kmer", (1 + random.below(4)).into());
        set("keep_rare", true.into());
    }
    all
}

/// The same search with resources of its own.
fn options(
    input: &Path,
    output: &Path,
    parameters: &serde_json::Value,
    (annotate, cluster): (bool, Option<f64>),
    random: &mut Random,
) -> Result<Options, Error> {
    let threshold = if random.once_in(3) { None } else { Some(random.below(11) as f64 / 10.0) };
    serde_json::from_value(serde_json::json!({
        "input": input, "output": output,
        "formats": ["library", "bed", "gff3", "softmask", "stockholm", "freq"],
        "parameters": parameters,
        "resources": {
            "threads": 1 + random.below(3),
            "memory": *random.pick(&[4_u64 << 20, 24 << 20, AMPLE_BYTES]),
        },
        "hints": {}, "parallel": !random.once_in(3),
        "pipeline": {
            "batch_size": *random.pick(&[1, 3, 100]),
            "channel_capacity": *random.pick(&[1, 2, 64]),
            "backpressure_threshold": threshold,
        },
        "annotate": annotate, "cluster": cluster, "family_order": false, "reset_softmask": false,
        "repeatmasker_names": false, "force": true, "resume": false, "version": "0",
    }))
    .map_err(|e| Error::internal(e.to_string()))
}

/// How a run ended: its files, or the class of the error.
#[derive(Debug, PartialEq, Eq)]
enum End {
    Done(Vec<Vec<u8>>),
    Failed(String),
}

fn with_suffix(prefix: &Path, suffix: &str) -> PathBuf {
    let mut name = prefix.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

/// One run; how it ended and what must not be.
fn attempt(options: &Options) -> (End, Option<String>) {
    let memory = options.resources.memory;
    let limits = Limits { memory, slack: 16 << 20, longest: Duration::from_secs(20) };
    let in_order = |kind| match kind {
        ErrorKind::Budget => memory < AMPLE_BYTES,
        kind => kind == ErrorKind::Input,
    };
    let alone::Attempt { done, outcome, mut fault } = alone::attempt(&limits, in_order, || {
        let job = Job::new(Budget::new(memory, 0)?);
        seqmill_repeats::run(options, &job, &|_, _, _, _| Ok(())).map(|_| ())
    });
    let prefix = options.output.clone().unwrap_or_default();
    let end = if done.is_some() {
        let read = |suffix: &&str| std::fs::read(with_suffix(&prefix, suffix));
        let files: Result<Vec<_>, _> = SUFFIXES.iter().map(read).collect();
        End::Done(files.unwrap_or_else(|e| {
            fault = Some(format!("an output is not there: {e}"));
            Vec::new()
        }))
    } else {
        End::Failed(outcome)
    };
    let left = SUFFIXES.iter().any(|suffix| with_suffix(&prefix, suffix).exists());
    if matches!(end, End::Failed(_)) && left {
        fault.get_or_insert("an output stays after a failure".to_owned());
    }
    for suffix in SUFFIXES {
        let _ = std::fs::remove_file(with_suffix(&prefix, suffix));
    }
    let _ = std::fs::remove_dir_all(with_suffix(&prefix, ".seqmill"));
    (end, fault)
}

/// One case: its outcome and what must not be.
fn one(path: &Path, output: &Path, random: &mut Random) -> Result<(String, Option<String>), Error> {
    let parameters = parameters(random);
    let annotate = random.once_in(4);
    let cluster = random.once_in(4).then(|| 0.4 + random.below(7) as f64 / 10.0);
    let mut options = || options(path, output, &parameters, (annotate, cluster), random);
    let (first, second) = (options()?, options()?);
    let (end, mut fault) = attempt(&first);
    let (other, found) = attempt(&second);
    fault = fault.or(found);
    let small = |end: &End| *end == End::Failed("Budget".to_owned());
    if fault.is_none() && end != other && !small(&end) && !small(&other) {
        let (a, b) = (&first, &second);
        fault = Some(format!(
            "not the same with {:?} {:?} and {:?} {:?}; {parameters}",
            a.resources, a.pipeline, b.resources, b.pipeline
        ));
    }
    let outcome = match end {
        End::Done(files) if files[0].is_empty() => "done, nothing found".to_owned(),
        End::Done(_) => "done, families".to_owned(),
        End::Failed(class) => class,
    };
    Ok((outcome, fault))
}

/// Runs cases; says what came of them.
pub(crate) fn run(arguments: &crate::Arguments) -> std::io::Result<bool> {
    alone::run(arguments, "repeats", |folder| {
        let folder = folder.to_path_buf();
        Ok(move |random: &mut Random| {
            let mut story = String::new();
            let (bytes, suffix) = input(random, &mut story);
            let mut case = Case::new(&folder, bytes, suffix, story)?;
            let (outcome, fault) = one(&case.path, &folder.join("out"), random)
                .unwrap_or_else(|error| ("options".to_owned(), Some(error.to_string())));
            case.count(outcome);
            case.blame(fault);
            Ok(case)
        })
    })
}
