//! The process that runs cases: what it finds goes to its standard output, line by line.

use crate::Arguments;
use crate::case::make;
use crate::corpus::corpus;
use crate::supervise::say;
use crate::target;
use std::collections::BTreeMap;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// A case that takes longer hangs.
const HANG: Duration = Duration::from_secs(10);
/// Exit code of a worker whose case hangs.
pub(crate) const HANG_CODE: u8 = 99;
/// Name of the file that holds the number of the case under way.
pub(crate) const STATUS_FILE: &str = "status";
/// Cases between two reports to the parent.
const REPORT_EVERY: u64 = 200;
/// Address space of a worker, against allocations that are not counted.
const ADDRESS_BYTES: u64 = 8 << 30;

/// Milliseconds since `start` at which the case under way began; 0 between cases.
fn watch(start: Instant, began: Arc<AtomicU64>) {
    std::thread::spawn(move || {
        loop {
            std::thread::sleep(Duration::from_millis(250));
            let began = began.load(Ordering::Relaxed);
            let now = start.elapsed().as_millis() as u64;
            if began > 0 && now > began + HANG.as_millis() as u64 {
                std::process::exit(i32::from(HANG_CODE));
            }
        }
    });
}

fn limit_address_space() {
    let limit = libc::rlimit { rlim_cur: ADDRESS_BYTES, rlim_max: ADDRESS_BYTES };
    // SAFETY: the pointer is to a live rlimit; the call only sets a limit of this process.
    let _ = unsafe { libc::setrlimit(libc::RLIMIT_AS, &raw const limit) };
}

/// Runs the cases of the arguments; `false` if one was not as it must be.
pub(crate) fn run(arguments: &Arguments) -> std::io::Result<bool> {
    limit_address_space();
    target::watch_panics();
    let corpus = corpus();
    let folder = arguments.work.clone().unwrap_or_else(|| {
        std::env::temp_dir().join(format!("seqmill-fuzz-{}", std::process::id()))
    });
    std::fs::create_dir_all(&folder)?;
    if let Some(number) = arguments.case {
        return explain(arguments, &corpus, number, &folder);
    }
    let status = std::fs::OpenOptions::new()
        .create(true)
        .write(true)
        .truncate(true)
        .open(folder.join(STATUS_FILE))?;
    let (start, began) = (Instant::now(), Arc::new(AtomicU64::new(0)));
    watch(start, Arc::clone(&began));
    let mut outcomes: BTreeMap<String, u64> = BTreeMap::new();
    let (mut excess, mut slowest, mut good) = (i64::MIN, (0, 0), true);
    let last = arguments.first + arguments.inputs;
    for number in arguments.first..last {
        status.write_all_at(&number.to_le_bytes(), 0)?;
        let case = make(&corpus, arguments.seed, number);
        let at = start.elapsed().as_millis() as u64;
        began.store(at.max(1), Ordering::Relaxed);
        let verdict = target::run(&case, &folder, false)?;
        began.store(0, Ordering::Relaxed);
        slowest = slowest.max((start.elapsed().as_millis() as u64 - at, number));
        excess = excess.max(verdict.excess);
        *outcomes.entry(verdict.outcome).or_default() += 1;
        if let Some(fault) = verdict.fault {
            good = false;
            say(&format!("fault\t{number}\t{}", fault.replace('\n', "\u{1f}")));
        }
        let late = start.elapsed().as_secs_f64() > arguments.seconds;
        if (number + 1 - arguments.first).is_multiple_of(REPORT_EVERY) || number + 1 == last || late
        {
            for (outcome, count) in std::mem::take(&mut outcomes) {
                say(&format!("outcome\t{outcome}\t{count}"));
            }
            say(&format!("at\t{}\t{excess}\t{}\t{}", number + 1, slowest.0, slowest.1));
        }
        if late {
            break;
        }
    }
    Ok(good)
}

/// Runs one case and tells what it is.
fn explain(
    arguments: &Arguments,
    corpus: &[crate::corpus::Seed],
    number: u64,
    folder: &Path,
) -> std::io::Result<bool> {
    let case = make(corpus, arguments.seed, number);
    say(&format!("case {number} of seed {}: {}", arguments.seed, case.seed));
    for line in &case.story {
        say(&format!("  {line}"));
    }
    say(&format!("  {:?} {:?}", case.mode, case.options.resources));
    let semantic = serde_json::to_value(&case.options.semantic).unwrap_or_default();
    say(&format!("  {semantic}"));
    let path =
        target::write_input(&case, folder, &format!("seed-{}-case-{number}", arguments.seed))?;
    say(&format!("  input: {} ({} bytes)", path.display(), case.bytes.len()));
    let start = Instant::now();
    let verdict = target::run(&case, folder, true)?;
    say(&format!("{} in {:.3} s", verdict.outcome, start.elapsed().as_secs_f64()));
    if let Some(fault) = &verdict.fault {
        say(&format!("fault: {fault}"));
    }
    Ok(verdict.fault.is_none())
}
