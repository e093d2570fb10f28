//! Short k-mers: a counter for each that there is.

use super::batch::Batch;
use super::engine::{BatchSource, Counted, Phase, Rules, filter};
use super::histogram::Histogram;
use super::lanes::Lanes;
use super::skm::SkmWriter;
use super::word::Word;
use seqmill_base::process::thread_cpu_time;
use seqmill_base::{Error, Job, Lease, Result};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

/// Longest k-mers that are counted so.
pub(super) const K_MAX: u32 = 12;
/// Counters given to the table at a time.
const STRIP: usize = 1 << 14;

/// Bytes of the counters.
pub(super) fn counter_bytes(k: u32) -> u64 {
    8 << (2 * k)
}

/// Counts everything the source has; k-mers go to `table` in order if there is one.
pub(super) fn count(
    rules: Rules,
    threads: usize,
    source: &Mutex<dyn BatchSource + '_>,
    table: Option<&mut SkmWriter<'_, u64>>,
    job: &Job,
    lease: &Lease,
) -> Result<Counted> {
    let size = 1_usize << (2 * rules.k);
    debug_assert!(lease.bytes() >= counter_bytes(rules.k));
    let counters: Vec<AtomicU64> = (0..size).map(|_| AtomicU64::new(0)).collect();
    let begin = Instant::now();
    let cpu = Mutex::new(0.0);
    let failure: Mutex<Option<Error>> = Mutex::new(None);
    let one = || {
        let before = thread_cpu_time();
        if let Err(error) = count_batches(rules, source, &counters, job) {
            failure.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
        }
        let used = thread_cpu_time().saturating_sub(before);
        *cpu.lock().unwrap_or_else(PoisonError::into_inner) += used.as_secs_f64();
    };
    std::thread::scope(|scope| {
        for _ in 1..threads {
            scope.spawn(one);
        }
        one();
    });
    if let Some(error) = failure.into_inner().unwrap_or_else(PoisonError::into_inner) {
        return Err(error);
    }
    let cpu = cpu.into_inner().unwrap_or_else(PoisonError::into_inner);
    let phase = Phase { name: "count", wall: begin.elapsed().as_secs_f64(), cpu };
    let histogram = give(rules, &counters, table, job)?;
    Ok(Counted { histogram, phases: vec![phase], spilled: 0 })
}

fn count_batches(
    rules: Rules,
    source: &Mutex<dyn BatchSource + '_>,
    counters: &[AtomicU64],
    job: &Job,
) -> Result<()> {
    let k = rules.k;
    let mask = u64::ones(2 * k);
    let top = 2 * (k - 1);
    let mut batch = Batch::default();
    let lanes = Lanes::detect();
    loop {
        job.cancel.check()?;
        {
            let mut source = source.lock().unwrap_or_else(PoisonError::into_inner);
            if batch.skipped > 0 {
                source.skipped(batch.input, std::mem::take(&mut batch.skipped));
            }
            if !source.next(&mut batch)? {
                return Ok(());
            }
        }
        batch.prepare(k as usize, rules.skip_lower, lanes);
        for (first, end) in &batch.windows {
            let (mut forward, mut back) = (0, 0);
            for (i, code) in batch.codes[*first..end + k as usize - 1].iter().enumerate() {
                let code = u64::from(*code);
                forward = ((forward << 2) | code) & mask;
                back = (back >> 2) | ((code ^ 3) << top);
                if i + 1 >= k as usize {
                    let kmer = if rules.canonical { forward.min(back) } else { forward };
                    counters[kmer as usize].fetch_add(1, Ordering::Relaxed);
                }
            }
        }
    }
}

/// Gives the k-mers that occur, in order.
fn give(
    rules: Rules,
    counters: &[AtomicU64],
    mut table: Option<&mut SkmWriter<'_, u64>>,
    job: &Job,
) -> Result<Histogram> {
    let mut histogram = Histogram::default();
    let (mut kmers, mut counts) = (Vec::new(), Vec::new());
    for (strip, counters) in counters.chunks(STRIP).enumerate() {
        job.cancel.check()?;
        kmers.clear();
        counts.clear();
        for (i, counter) in counters.iter().enumerate() {
            let count = counter.load(Ordering::Relaxed);
            if count > 0 {
                kmers.push((strip * STRIP + i) as u64);
                counts.push(count);
            }
        }
        histogram.add(&counts);
        if let Some(table) = &mut table {
            filter(rules.keep, &mut kmers, &mut counts);
            table.put(&kmers, &counts)?;
        }
    }
    Ok(histogram)
}
