//! The process that starts workers, survives them, keeps what broke them, and sums up.

use crate::Arguments;
use crate::case::make;
use crate::corpus::corpus;
use crate::target::{SLACK_BYTES, write_input};
use crate::worker::{HANG_CODE, STATUS_FILE};
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::time::Instant;

/// Inputs of failures kept at most: the first ones show what is wrong.
const KEEP_MAX: usize = 50;

/// Where the standard error of a worker goes.
const ERROR_FILE: &str = "stderr";

/// One line on standard output.
pub(crate) fn say(line: &str) {
    let _ = writeln!(std::io::stdout().lock(), "{line}");
}

#[derive(Default)]
struct Summary {
    outcomes: BTreeMap<String, u64>,
    faults: Vec<(u64, String)>,
    excess: i64,
    slowest: (u64, u64),
    /// Number of the next case.
    next: u64,
}

impl Summary {
    fn line(&mut self, line: &str) {
        let parts: Vec<&str> = line.split('\t').collect();
        match parts.as_slice() {
            ["fault", number, what] => {
                let what = what.replace('\u{1f}', "\n");
                self.faults.push((number.parse().unwrap_or(0), what));
            }
            ["outcome", outcome, count] => {
                *self.outcomes.entry((*outcome).to_owned()).or_default() +=
                    count.parse::<u64>().unwrap_or(0);
            }
            ["at", next, excess, milliseconds, number] => {
                self.next = next.parse().unwrap_or(self.next);
                self.excess = self.excess.max(excess.parse().unwrap_or(i64::MIN));
                let slowest = (milliseconds.parse().unwrap_or(0), number.parse().unwrap_or(0));
                self.slowest = self.slowest.max(slowest);
            }
            _ => say(line),
        }
    }
}

/// A folder in memory where there is one: every case syncs its state.
pub(crate) fn work_folder(arguments: &Arguments) -> PathBuf {
    let name = format!("seqmill-fuzz-{}", std::process::id());
    let shared = Path::new("/dev/shm");
    arguments.work.clone().unwrap_or_else(|| {
        if shared.is_dir() { shared.join(name) } else { std::env::temp_dir().join(name) }
    })
}

/// Runs all cases; `true` if none was wrong.
pub(crate) fn run(arguments: &Arguments) -> std::io::Result<bool> {
    let work = work_folder(arguments);
    std::fs::create_dir_all(&work)?;
    let start = Instant::now();
    let first = arguments.first;
    let last = first + arguments.inputs;
    let corpus = corpus();
    say(&format!("seed {}, cases {first} to {last}, {} files", arguments.seed, corpus.len()));
    let mut summary = Summary { next: first, excess: i64::MIN, ..Summary::default() };
    let mut told = 0;
    while summary.next < last && start.elapsed().as_secs_f64() < arguments.seconds {
        let status = work_on(arguments, &work, start, &mut summary)?;
        if let Some(mut how) = broken(status) {
            how.push_str(&last_words(&work));
            let number = std::fs::read(work.join(STATUS_FILE))?;
            let number = number.first_chunk::<8>().map_or(summary.next, |b| u64::from_le_bytes(*b));
            summary.faults.push((number, how));
            summary.next = number + 1;
        }
        for (number, what) in &summary.faults[told..] {
            say(&format!("case {number}: {what}"));
            if told < KEEP_MAX {
                std::fs::create_dir_all(&arguments.keep)?;
                let case = make(&corpus, arguments.seed, *number);
                let stem = format!("seed-{}-case-{number}", arguments.seed);
                let path = write_input(&case, &arguments.keep, &stem)?;
                say(&format!("  {} {:?}; kept as {}", case.seed, case.story, path.display()));
            }
            told += 1;
        }
    }
    std::fs::remove_dir_all(&work)?;
    tell(arguments, &summary, start);
    Ok(summary.faults.is_empty())
}

/// Lets one worker run to its end.
fn work_on(
    arguments: &Arguments,
    work: &Path,
    start: Instant,
    summary: &mut Summary,
) -> std::io::Result<ExitStatus> {
    let left = arguments.first + arguments.inputs - summary.next;
    let seconds = arguments.seconds - start.elapsed().as_secs_f64();
    let mut command = Command::new(std::env::current_exe()?);
    command.arg("--worker").arg("--work").arg(work).stdout(Stdio::piped());
    let errors = std::fs::OpenOptions::new()
        .create(true)
        .write(true)
        .truncate(true)
        .open(work.join(ERROR_FILE))?;
    command.stderr(errors);
    let mut option = |name: &str, value: u64| {
        command.arg(name).arg(value.to_string());
    };
    option("--seed", arguments.seed);
    option("--first", summary.next);
    option("--inputs", left);
    if seconds.is_finite() {
        option("--seconds", seconds.max(1.0) as u64);
    }
    let mut child = command.spawn()?;
    if let Some(output) = child.stdout.take() {
        for line in BufReader::new(output).lines() {
            summary.line(&line?);
        }
    }
    child.wait()
}

/// What a worker said before it crashed: the message, and where in our own code.
fn last_words(work: &Path) -> String {
    let text = std::fs::read(work.join(ERROR_FILE)).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let ours = text.lines().filter(|line| line.contains(" at ./crates/")).map(str::trim).take(4);
    let lines: Vec<&str> = text.lines().take(1).chain(ours).collect();
    format!("\n    {}", lines.join("\n    "))
}

/// How a worker ended that did not end by itself.
fn broken(status: ExitStatus) -> Option<String> {
    match status.code() {
        Some(0 | 1) => None,
        Some(code) if code == i32::from(HANG_CODE) => Some("hangs: more than 10 s".to_owned()),
        _ => Some(format!("the process ended: {status}")),
    }
}

fn tell(arguments: &Arguments, summary: &Summary, start: Instant) {
    let cases = summary.next - arguments.first;
    let seconds = start.elapsed().as_secs_f64();
    for (outcome, count) in &summary.outcomes {
        say(&format!("{count:>9}  {outcome}"));
    }
    say(&format!(
        "seed {}: {cases} inputs in {seconds:.1} s ({:.0}/s), {} failures; live bytes at most \
         {:.1} MiB beyond the budget (allowed {} MiB); slowest case {} with {} ms",
        arguments.seed,
        cases as f64 / seconds,
        summary.faults.len(),
        summary.excess as f64 / (1 << 20) as f64,
        SLACK_BYTES >> 20,
        summary.slowest.1,
        summary.slowest.0,
    ));
}
