//! Cases one after the other in this process: what all jobs but the conversion share.

use crate::allocator;
use crate::random::Random;
use crate::supervise::{say, work_folder};
use crate::target::{take_panic, watch_panics};
use seqmill_base::{Error, ErrorKind, Result};
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// What an attempt may take.
pub(crate) struct Limits {
    /// Budget of the job.
    pub memory: u64,
    /// What may be live beyond it.
    pub slack: usize,
    /// What takes longer hangs.
    pub longest: Duration,
}

/// How an attempt ended.
pub(crate) struct Attempt<T> {
    /// What the work gave.
    pub done: Option<T>,
    /// `done`, the class of the error, or `panic`.
    pub outcome: String,
    /// What must not be.
    pub fault: Option<String>,
}

/// Does one thing; besides what is wrong with the input, errors of some kinds are in order.
pub(crate) fn attempt<T>(
    limits: &Limits,
    in_order: impl FnOnce(ErrorKind) -> bool,
    work: impl FnOnce() -> Result<T>,
) -> Attempt<T> {
    let base = allocator::begin();
    let began = Instant::now();
    let caught = catch_unwind(AssertUnwindSafe(work));
    let figures = allocator::end(base);
    let (done, outcome, mut fault) = match caught {
        Ok(Ok(done)) => (Some(done), "done".to_owned(), None),
        Ok(Err(error)) => (None, format!("{:?}", error.kind()), judge(&error, in_order)),
        Err(_) => (None, "panic".to_owned(), Some("panic".to_owned())),
    };
    // It may have happened on another thread.
    if let Some(panic) = take_panic() {
        fault = Some(format!("panic: {panic}"));
    }
    if figures.peak > limits.memory as usize + limits.slack {
        let (peak, largest) = (figures.peak, figures.largest);
        fault.get_or_insert(format!(
            "{peak} bytes live with a budget of {}, the largest allocation {largest}",
            limits.memory
        ));
    }
    if began.elapsed() > limits.longest {
        fault.get_or_insert(format!("took {:?}", began.elapsed()));
    }
    Attempt { done, outcome, fault }
}

fn judge(error: &Error, in_order: impl FnOnce(ErrorKind) -> bool) -> Option<String> {
    match error.kind() {
        ErrorKind::Format(_) if error.place().path.is_none() => {
            Some(format!("the input is not named: {error}"))
        }
        ErrorKind::Format(_) => None,
        kind if in_order(kind) => None,
        _ => Some(error.to_string()),
    }
}

/// A case under way.
pub(crate) struct Case {
    /// The mutated input.
    pub bytes: Vec<u8>,
    /// Where it lies.
    pub path: PathBuf,
    suffix: &'static str,
    story: String,
    outcomes: Vec<String>,
    fault: Option<String>,
}

impl Case {
    /// Writes the input into the folder of the run; `story` says what was done to it.
    pub(crate) fn new(
        folder: &Path,
        bytes: Vec<u8>,
        suffix: &'static str,
        story: String,
    ) -> std::io::Result<Self> {
        let path = folder.join(format!("case.{suffix}"));
        std::fs::write(&path, &bytes)?;
        Ok(Self { bytes, path, suffix, story, outcomes: Vec::new(), fault: None })
    }

    /// Says anew what was done to the input and beside it.
    pub(crate) fn tell(&mut self, story: String) {
        self.story = story;
    }

    /// Counts an outcome.
    pub(crate) fn count(&mut self, outcome: String) {
        self.outcomes.push(outcome);
    }

    /// Notes what must not be; the first counts.
    pub(crate) fn blame(&mut self, fault: Option<String>) {
        self.fault = self.fault.take().or(fault);
    }

    /// Whether nothing is wrong so far.
    pub(crate) fn is_good(&self) -> bool {
        self.fault.is_none()
    }

    /// Notes an attempt under a name; says whether it gave something.
    pub(crate) fn note<T>(&mut self, what: &str, attempt: Attempt<T>) -> bool {
        self.count(format!("{what} {}", attempt.outcome));
        self.blame(attempt.fault.map(|fault| format!("{what}: {fault}")));
        attempt.done.is_some()
    }
}

/// Runs cases of a kind and says what came of them; `begin` makes ready what runs one in a folder.
pub(crate) fn run<F>(
    arguments: &crate::Arguments,
    kind: &str,
    begin: impl FnOnce(&Path) -> std::io::Result<F>,
) -> std::io::Result<bool>
where
    F: FnMut(&mut Random) -> std::io::Result<Case>,
{
    let crate::Arguments { inputs, first, seed, seconds, case, .. } = *arguments;
    let (first, inputs) = case.map_or((first, inputs), |case| (case, 1));
    let folder = work_folder(arguments);
    std::fs::create_dir_all(&folder)?;
    watch_panics();
    let mut one = begin(&folder)?;
    let mut outcomes: BTreeMap<String, u64> = BTreeMap::new();
    let (began, mut faults, mut ran) = (Instant::now(), 0, 0);
    for number in first..first + inputs {
        if began.elapsed().as_secs_f64() > seconds {
            break;
        }
        ran += 1;
        let done = one(&mut Random::of_case(seed, number))?;
        for outcome in done.outcomes {
            *outcomes.entry(outcome).or_default() += 1;
        }
        if case.is_some() || done.fault.is_some() {
            say(&format!("case {number}: {}", done.story));
        }
        if let Some(fault) = done.fault {
            faults += 1;
            std::fs::create_dir_all(&arguments.keep)?;
            let kept = arguments.keep.join(format!("{kind}-{seed}-{number}.{}", done.suffix));
            std::fs::write(kept, &done.bytes)?;
            say(&format!("  {fault}"));
        }
        std::fs::remove_file(&done.path)?;
    }
    for (outcome, count) in &outcomes {
        say(&format!("{count:>8} {outcome}"));
    }
    say(&format!("{kind}: {ran} cases in {:.0} s, {faults} faults", began.elapsed().as_secs_f64()));
    std::fs::remove_dir_all(folder)?;
    Ok(faults == 0)
}
