//! Mutated inputs against the real converter: no crash, hang, panic or allocation beyond the
//! budget, the same end whatever the resources, nothing left behind.
//!
//! ```text
//! seqmill-fuzz --inputs 100000 --seed 1 [--seconds T] [--first N] [--keep DIR] [--work DIR]
//! seqmill-fuzz --seed 1 --case N        runs one case again and tells everything
//! seqmill-fuzz --kind archives|coverage|fetch|kmers|repeats --inputs 100000 --seed 1    another job's inputs
//! ```
//!
//! Case `n` is a function of the seed, `n` and the corpus alone. A worker process runs the cases
//! one after the other; when it crashes or hangs, its parent keeps the input and goes on behind
//! it.
#![expect(
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::cast_sign_loss,
    reason = "numbers are made to be wrong here"
)]

mod allocator;
mod alone;
mod archive;
mod bam;
mod case;
mod corpus;
mod coverage;
mod cram;
mod fetch;
mod frame;
mod index;
mod kmers;
mod mutate;
mod random;
mod repeats;
mod supervise;
mod target;
mod text;
mod worker;

use std::path::PathBuf;
use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: allocator::Counting = allocator::Counting;

/// The job whose inputs are mutated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Everything that is converted, and what measures coverage.
    Convert,
    /// AGC archives.
    Archives,
    /// Regions and sequences whose coverage is measured, also in shares.
    Coverage,
    /// FASTA of which windows are read, with its side files.
    Fetch,
    /// Sequences whose k-mers are counted, and tables of them.
    Kmers,
    /// Genomes in which repeats are looked for.
    Repeats,
}

/// What the command line says.
#[derive(Debug, Clone)]
pub(crate) struct Arguments {
    /// Cases to run.
    pub inputs: u64,
    pub seed: u64,
    /// Stop after so many seconds.
    pub seconds: f64,
    /// Number of the first case.
    pub first: u64,
    /// Run this case only, and explain it.
    pub case: Option<u64>,
    /// Where the inputs of failures are kept.
    pub keep: PathBuf,
    /// Where cases are run; in memory, because the state of each is synced.
    pub work: Option<PathBuf>,
    /// This process runs the cases itself.
    pub worker: bool,
    pub kind: Kind,
}

fn parse(mut words: impl Iterator<Item = String>) -> Result<Arguments, String> {
    let mut arguments = Arguments {
        inputs: 1000,
        seed: 1,
        seconds: f64::INFINITY,
        first: 0,
        case: None,
        keep: PathBuf::from("target/fuzz"),
        work: None,
        worker: false,
        kind: Kind::Convert,
    };
    while let Some(option) = words.next() {
        if option == "--worker" {
            arguments.worker = true;
            continue;
        }
        let value = words.next().ok_or_else(|| format!("{option} needs a value"))?;
        let number = || value.parse::<u64>().map_err(|_| format!("{option} {value:?}: no number"));
        match option.as_str() {
            "--inputs" => arguments.inputs = number()?,
            "--seed" => arguments.seed = number()?,
            "--seconds" => arguments.seconds = number()? as f64,
            "--first" => arguments.first = number()?,
            "--case" => arguments.case = Some(number()?),
            "--keep" => arguments.keep = PathBuf::from(value),
            "--kind" => arguments.kind = parse_kind(&value)?,
            "--work" => arguments.work = Some(PathBuf::from(value)),
            _ => return Err(format!("option {option:?} does not exist")),
        }
    }
    Ok(arguments)
}

fn parse_kind(word: &str) -> Result<Kind, String> {
    Ok(match word {
        "convert" => Kind::Convert,
        "archives" => Kind::Archives,
        "coverage" => Kind::Coverage,
        "fetch" => Kind::Fetch,
        "kmers" => Kind::Kmers,
        "repeats" => Kind::Repeats,
        _ => {
            let known = "convert, archives, coverage, fetch, kmers or repeats";
            return Err(format!("--kind {word:?}: {known}"));
        }
    })
}

fn main() -> ExitCode {
    let result = parse(std::env::args().skip(1)).and_then(|arguments| {
        let alone = arguments.worker || arguments.case.is_some();
        let ran = match arguments.kind {
            Kind::Archives => archive::run(&arguments),
            Kind::Coverage => coverage::run(&arguments),
            Kind::Fetch => fetch::run(&arguments),
            Kind::Kmers => kmers::run(&arguments),
            Kind::Repeats => repeats::run(&arguments),
            Kind::Convert if alone => worker::run(&arguments),
            Kind::Convert => supervise::run(&arguments),
        };
        ran.map_err(|e| e.to_string())
    });
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(message) => {
            supervise::say(&format!("seqmill-fuzz: {message}"));
            ExitCode::from(2)
        }
    }
}
