//! The counter: super-k-mers to bins by minimizer, merged; bins to buckets by prefix; buckets
//! sorted and counted in order (`kmers.md` §3, §10).

mod ahead;
mod count;
mod expand;
mod records;
mod split;

use super::arena::Arena;
use super::batch::Batch;
use super::histogram::Histogram;
use super::lanes::Lanes;
use super::room::Room;
use super::skm::OrderedBlocks;
use super::store::{SpillFile, Store};
use super::word::{Kmer, Word};
use records::RecordLayout;
use seqmill_base::budget::human_bytes;
use seqmill_base::process::thread_cpu_time;
use seqmill_base::{Error, ErrorKind, Job, Result};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Instant;

/// Blocks that bins fill before identical super-k-mers are merged for the first time (40 MiB).
const FIRST_MERGE_BLOCKS: u32 = 10 << 10;
/// Blocks that are written to the file when there is no room.
const SPILL_BLOCKS: usize = 64;

/// What gives text to count.
pub(super) trait BatchSource: Send {
    /// Fills a batch; false at the end of the unit.
    fn next(&mut self, batch: &mut Batch) -> Result<bool>;
    /// Notes what a batch had that is no base.
    fn skipped(&mut self, input: usize, symbols: u64);
}

/// What is counted and how.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rules {
    pub k: u32,
    pub canonical: bool,
    pub skip_lower: bool,
    /// Counts that are kept in the table.
    pub keep: (u64, u64),
}

impl Rules {
    /// Whether all counts are kept.
    pub(super) fn keeps_all(&self) -> bool {
        keeps_all(self.keep)
    }
}

/// Whether no count is outside of these.
pub(super) fn keeps_all(keep: (u64, u64)) -> bool {
    keep.0 <= 1 && keep.1 == u64::MAX
}

/// Removes k-mers whose count is not kept.
pub(super) fn filter<K: Word>(keep: (u64, u64), kmers: &mut Vec<K>, counts: &mut Vec<u64>) {
    if keeps_all(keep) {
        return;
    }
    let mut to = 0;
    for from in 0..kmers.len() {
        if (keep.0..=keep.1).contains(&counts[from]) {
            (kmers[to], counts[to]) = (kmers[from], counts[from]);
            to += 1;
        }
    }
    kmers.truncate(to);
    counts.truncate(to);
}

/// Seconds of a phase.
#[derive(Debug, Clone, Copy, Default)]
pub struct Phase {
    /// Name.
    pub name: &'static str,
    /// From beginning to end.
    pub wall: f64,
    /// CPU of all counting threads.
    pub cpu: f64,
}

/// What counting gave, besides the table.
#[derive(Default)]
pub(super) struct Counted {
    pub histogram: Histogram,
    pub phases: Vec<Phase>,
    pub spilled: u64,
}

/// One run of the counter.
pub(super) struct Engine<'a, K: Kmer> {
    rules: Rules,
    job: &'a Job,
    room: Room,
    lanes: Lanes,
    layout: RecordLayout,
    arena: Arc<Arena>,
    file: Arc<SpillFile>,
    bins: Store<K::Record>,
    /// All other stores: the buckets, and what threads make of one that is too big.
    stores: Mutex<Vec<Arc<Store<K>>>>,
    /// Read by those who are about to give blocks back.
    freeing: RwLock<()>,
    stop: AtomicBool,
    /// Blocks freed by merging, of a thousand, on average.
    gain: AtomicU32,
    records: AtomicU64,
    occurrences: AtomicU64,
}

impl<'a, K: Kmer> Engine<'a, K> {
    pub(super) fn new(rules: Rules, job: &'a Job, mut room: Room, tmpdir: &Path) -> Result<Self> {
        let lease = std::mem::replace(
            &mut room.arena,
            job.budget.must_reserve(job.budget.account("arena", 0), 0)?,
        );
        let arena = Arc::new(Arena::new(lease)?);
        let file = Arc::new(SpillFile::new(tmpdir));
        let bins = Store::new(Arc::clone(&arena), Arc::clone(&file), room.bins, K::Record::BYTES);
        Ok(Self {
            rules,
            job,
            lanes: Lanes::detect(),
            layout: RecordLayout::new::<K>(rules.k),
            arena,
            file,
            bins,
            stores: Mutex::new(Vec::new()),
            freeing: RwLock::new(()),
            stop: AtomicBool::new(false),
            gain: AtomicU32::new(500),
            records: AtomicU64::new(0),
            occurrences: AtomicU64::new(0),
            room,
        })
    }

    /// Counts everything the source has; k-mers go to `table` in order if there is one.
    pub(super) fn run(
        self,
        source: &Mutex<dyn BatchSource + '_>,
        table: Option<&OrderedBlocks<'_, K>>,
    ) -> Result<Counted> {
        let mut counted = Counted::default();
        self.arena.set_soft_limit(FIRST_MERGE_BLOCKS);
        counted.phases.push(self.on_all_threads("split", |_| self.split(source))?);
        self.arena.set_soft_limit(self.arena.blocks());
        let buckets = self.make_buckets();
        let next = AtomicUsize::new(0);
        counted.phases.push(self.on_all_threads("expand", |_| self.expand(&buckets, &next))?);
        let next = AtomicUsize::new(0);
        let histogram = Mutex::new(Histogram::default());
        let phase = self.on_all_threads("count", |_| {
            let counted = self.count(&buckets, &next, &histogram, table);
            if counted.is_err()
                && let Some(table) = table
            {
                table.fail();
            }
            counted
        })?;
        counted.phases.push(phase);
        counted.histogram = histogram.into_inner().unwrap_or_else(PoisonError::into_inner);
        counted.spilled = self.file.bytes();
        let total = counted.histogram.total();
        let occurrences = self.occurrences.load(Ordering::Relaxed);
        if total != Some(occurrences) {
            let total = total.unwrap_or(u64::MAX);
            return Err(Error::internal(format!(
                "{occurrences} occurrences were read and {total} counted"
            )));
        }
        Ok(counted)
    }

    /// Runs `work` on every thread; the first error that is not an echo of another counts.
    fn on_all_threads(
        &self,
        name: &'static str,
        work: impl Fn(usize) -> Result<()> + Sync,
    ) -> Result<Phase> {
        let begin = Instant::now();
        let cpu = Mutex::new(0.0);
        let failure: Mutex<Option<Error>> = Mutex::new(None);
        let one = |thread| {
            let before = thread_cpu_time();
            if let Err(error) = work(thread) {
                let mut failure = failure.lock().unwrap_or_else(PoisonError::into_inner);
                keep_cause(&mut failure, error);
                self.stop.store(true, Ordering::Relaxed);
            }
            let used = thread_cpu_time().saturating_sub(before);
            *cpu.lock().unwrap_or_else(PoisonError::into_inner) += used.as_secs_f64();
        };
        std::thread::scope(|scope| {
            for thread in 1..self.room.threads {
                let one = &one;
                scope.spawn(move || one(thread));
            }
            one(0);
        });
        if let Some(error) = failure.into_inner().unwrap_or_else(PoisonError::into_inner) {
            return Err(error);
        }
        if self.stop.load(Ordering::Relaxed) {
            return Err(Error::internal("panic in a counting thread"));
        }
        let cpu = cpu.into_inner().unwrap_or_else(PoisonError::into_inner);
        Ok(Phase { name, wall: begin.elapsed().as_secs_f64(), cpu })
    }

    fn check(&self) -> Result<()> {
        if self.stop.load(Ordering::Relaxed) {
            return Err(Error::cancelled());
        }
        self.job.cancel.check()
    }

    /// A store whose blocks are written to the file when there is no room, until it is left.
    fn new_store(&self, shards: usize, width: usize) -> Arc<Store<K>> {
        let store = Store::new(Arc::clone(&self.arena), Arc::clone(&self.file), shards, width);
        let store = Arc::new(store);
        self.stores().push(Arc::clone(&store));
        store
    }

    fn leave_store(&self, store: &Arc<Store<K>>) {
        self.stores().retain(|other| !Arc::ptr_eq(other, store));
    }

    fn stores(&self) -> MutexGuard<'_, Vec<Arc<Store<K>>>> {
        self.stores.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes room in the arena: blocks of any store go to the file.
    #[cold]
    fn relieve(&self) -> Result<()> {
        self.check()?;
        if self.spill_some()? > 0 {
            return Ok(());
        }
        // Other threads may have taken all there was, and not have given it back yet.
        drop(self.freeing.write());
        if self.arena.used() < self.arena.blocks() || self.spill_some()? > 0 {
            return Ok(());
        }
        let needed = self.job.budget.limit() + self.job.budget.limit() / 4;
        let message = format!(
            "bins leave no room in a memory budget of {}; give at least --memory {}",
            human_bytes(self.job.budget.limit()),
            human_bytes(needed),
        );
        Err(Error::budget(message, needed))
    }

    /// Writes blocks to the file, full ones first; returns how many.
    fn spill_some(&self) -> Result<usize> {
        let _freeing = self.freeing.read();
        let stores = self.stores().clone();
        for store in &stores {
            let freed = store.spill_full(SPILL_BLOCKS)?;
            if freed > 0 {
                return Ok(freed);
            }
        }
        let freed = self.bins.spill_full(SPILL_BLOCKS)?;
        if freed > 0 {
            return Ok(freed);
        }
        let mut freed = self.bins.spill_partial(SPILL_BLOCKS)?;
        for store in &stores {
            if freed == 0 {
                freed = store.spill_partial(SPILL_BLOCKS)?;
            }
        }
        Ok(freed)
    }
}

/// Keeps the first error that is not an echo: threads that are told to stop end as cancelled, and
/// may come to say so before the one that has failed.
pub(super) fn keep_cause(kept: &mut Option<Error>, error: Error) {
    let is_echo = |error: &Error| error.kind() == ErrorKind::Cancelled;
    if kept.as_ref().is_none_or(|kept| is_echo(kept) && !is_echo(&error)) {
        *kept = Some(error);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cause_is_told_and_not_its_echo() {
        let echo = Error::cancelled;
        let first = || Error::internal("first");
        for order in [
            vec![first(), echo(), Error::internal("second")],
            vec![echo(), first(), echo()],
            vec![echo(), echo(), first()],
        ] {
            let mut kept = None;
            for error in order {
                keep_cause(&mut kept, error);
            }
            assert_eq!(kept.map(|e| e.to_string()), Some(first().to_string()));
        }
    }
}
