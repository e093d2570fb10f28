//! The counter: super-k-mers to bins by minimizer, merged; bins to buckets by prefix; buckets
//! sorted and counted in order (`kmers.md` §3, §10).

use super::arena::{Arena, BLOCK_BYTES};
use super::batch::{BATCH_BYTES, Batch};
use super::histogram::Histogram;
use super::minimizers::{Lanes, Minimizers, minimizer_length};
use super::room::{MERGE_BYTES, Room};
use super::skm::OrderedBlocks;
use super::sort::{Layout, sort_and_count};
use super::store::{SpillFile, Store, Writer};
use super::word::{Kmer, Word};
use seqmill_base::process::thread_cpu_time;
use seqmill_base::{Error, Job, Result};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

/// Blocks that bins fill before identical super-k-mers are merged for the first time (40 MiB).
const FIRST_MERGE_BLOCKS: u32 = 10 << 10;
/// A merge that frees less than this many of a thousand blocks does not pay.
const POOR_GAIN: u32 = 250;
/// Elements that a bucket should hold: the sort then stays in the second-level cache.
const BUCKET_ELEMENTS: u64 = 24 << 10;
/// Fewest bucket bits: these bits are also room for weights.
const BUCKET_BITS_LEAST: u32 = 8;
/// Bits of a bucket too big for the scratch that make smaller ones.
const CHILD_BITS: u32 = 8;
/// Bytes of scratch for each element: two arrays of k-mers, counts, encoded blocks.
const fn scratch_bytes(kmer_bytes: usize) -> usize {
    3 * kmer_bytes + 8
}

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
        self.keep.0 <= 1 && self.keep.1 == u64::MAX
    }

    /// Removes k-mers whose count is not kept.
    pub(super) fn filter<K: Word>(&self, kmers: &mut Vec<K>, counts: &mut Vec<u64>) {
        if self.keeps_all() {
            return;
        }
        let mut to = 0;
        for from in 0..kmers.len() {
            if (self.keep.0..=self.keep.1).contains(&counts[from]) {
                (kmers[to], counts[to]) = (kmers[from], counts[from]);
                to += 1;
            }
        }
        kmers.truncate(to);
        counts.truncate(to);
    }
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

/// How a record is laid out: bases from the highest bit on, then the number of its k-mers, then
/// how often it was seen.
#[derive(Debug, Clone, Copy)]
struct RecordLayout {
    k: u32,
    /// Most k-mers in a record.
    longest: u32,
    length_bits: u32,
    weight_bits: u32,
}

impl RecordLayout {
    fn new<K: Kmer>(k: u32) -> Self {
        let longest = k + 1 - minimizer_length(k as usize) as u32;
        let length_bits = (longest - 1).max(1).ilog2() + 1;
        let weight_bits = (K::Record::BITS - 2 * (longest + k - 1) - length_bits).min(20);
        Self { k, longest, length_bits, weight_bits }
    }

    fn low<R: Word>(self, kmers: u32, weight: u64) -> R {
        R::from_low((u64::from(kmers - 1) << self.weight_bits) | weight)
    }

    #[inline(always)]
    fn kmers<R: Word>(self, record: R) -> u32 {
        (record.low() >> self.weight_bits) as u32 & ((1 << self.length_bits) - 1)
    }

    #[inline(always)]
    fn weight<R: Word>(self, record: R) -> u64 {
        record.low() & ((1 << self.weight_bits) - 1)
    }
}

/// Sorts records and joins those that are the same.
fn merge_records<R: Word>(records: &mut Vec<R>, layout: RecordLayout) {
    records.sort_unstable();
    let most = (1 << layout.weight_bits) - 1;
    let mut to = 0;
    let mut sum = 0;
    for from in 0..records.len() {
        let record = records[from];
        let content = record.down(layout.weight_bits);
        if from > 0 && records[to].down(layout.weight_bits) == content {
            sum += layout.weight(record);
            if sum > most {
                records[to] = content.up(layout.weight_bits).or(R::from_low(most));
                sum -= most;
                to += 1;
            }
        } else {
            to += usize::from(from > 0);
            sum = layout.weight(record);
        }
        records[to] = content.up(layout.weight_bits).or(R::from_low(sum));
    }
    records.truncate(if records.is_empty() { 0 } else { to + 1 });
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
    stop: AtomicBool,
    /// Blocks freed by merging, of a thousand, on average.
    gain: AtomicU32,
    records: AtomicU64,
    occurrences: AtomicU64,
}

/// Buckets and how they are cut.
struct Buckets<K> {
    store: Store<K>,
    bits: u32,
    /// Bits of the weight in an element.
    free: u32,
}

impl<'a, K: Kmer> Engine<'a, K> {
    pub(super) fn new(rules: Rules, job: &'a Job, mut room: Room, tmpdir: &Path) -> Result<Self> {
        let lease = std::mem::replace(
            &mut room.arena,
            job.budget.must_reserve(job.budget.account("arena", 0), 0)?,
        );
        let arena = Arc::new(Arena::new(lease)?);
        let file = Arc::new(SpillFile::new(tmpdir));
        let bins = Store::new(Arc::clone(&arena), Arc::clone(&file), room.bins);
        Ok(Self {
            rules,
            job,
            lanes: Lanes::detect(),
            layout: RecordLayout::new::<K>(rules.k),
            arena,
            file,
            bins,
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
        if total != occurrences {
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
                if !self.stop.swap(true, Ordering::Relaxed) || failure.is_none() {
                    *failure = Some(error);
                }
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

    /// Text to super-k-mers in bins.
    fn split(&self, source: &Mutex<dyn BatchSource + '_>) -> Result<()> {
        let k = self.rules.k as usize;
        let mut batch = Batch::default();
        let mut minimizers = Minimizers::new(k, self.lanes);
        let mut bins = Writer::new(&self.bins);
        let mut scratch = Vec::new();
        let bin_count = self.bins.shards() as u64;
        let (mut records, mut occurrences) = (0, 0);
        loop {
            self.check()?;
            {
                let mut source = source.lock().unwrap_or_else(PoisonError::into_inner);
                if batch.skipped > 0 {
                    source.skipped(batch.input, std::mem::take(&mut batch.skipped));
                }
                if !source.next(&mut batch)? {
                    break;
                }
            }
            batch.prepare(k, self.rules.skip_lower);
            occurrences += batch.occurrences();
            let mut failure = Ok(());
            let mut relieve = || self.relieve_bins(&mut scratch);
            let longest = self.layout.longest as usize;
            minimizers.runs(&batch.codes, &batch.windows, longest, |hash, at, n| {
                let bases = n as u32 + self.layout.k - 1;
                let mut record: K::Record = batch.bases(at, bases);
                if self.rules.canonical {
                    // Both strands give the same record, so that they merge.
                    let turned = record.mirror().up(K::Record::BITS - 2 * bases);
                    record = record.min(turned);
                }
                let record = record.or(self.layout.low(n as u32, 1));
                let bin = (u64::from(hash).wrapping_mul(bin_count) >> 32) as usize;
                records += 1;
                if let Err(error) = bins.push(bin, record, &mut relieve) {
                    failure = Err(error);
                }
            });
            failure?;
        }
        self.records.fetch_add(records, Ordering::Relaxed);
        self.occurrences.fetch_add(occurrences, Ordering::Relaxed);
        Ok(())
    }

    /// Makes room in the arena while bins are filled: merges, then allows more, then spills.
    #[cold]
    fn relieve_bins(&self, scratch: &mut Vec<K::Record>) -> Result<()> {
        self.check()?;
        let (soft, all) = (self.arena.soft_limit(), self.arena.blocks());
        let poor = self.gain.load(Ordering::Relaxed) < POOR_GAIN;
        let (shard, fresh) = self.bins.fullest(true);
        if fresh >= 2 && !poor {
            let limit = MERGE_BYTES / K::Record::BYTES;
            let layout = self.layout;
            let merge = |records: &mut Vec<K::Record>| merge_records(records, layout);
            let (before, behind) = self.bins.compact(shard, scratch, limit, merge);
            let freed = (1000 * before.saturating_sub(behind) / before.max(1)) as u32;
            let gain = self.gain.load(Ordering::Relaxed);
            self.gain.store((7 * gain + freed) / 8, Ordering::Relaxed);
            if behind < before {
                return Ok(());
            }
        }
        if soft < all {
            self.arena.set_soft_limit(soft + soft / 2);
            // One more try to merge with every step.
            self.gain.fetch_max(POOR_GAIN + 10, Ordering::Relaxed);
            return Ok(());
        }
        self.spill_fullest(&self.bins).map(|_| ())
    }

    fn spill_fullest<T: Word>(&self, store: &Store<T>) -> Result<usize> {
        let mut freed = 0;
        while freed < 64 {
            let (shard, held) = store.fullest(false);
            if held == 0 {
                break;
            }
            freed += store.spill(shard)?;
        }
        if freed == 0 && self.arena.used() >= self.arena.blocks() {
            let needed = self.job.budget.limit() + self.job.budget.limit() / 4;
            return Err(Error::budget("bins leave no room; give more --memory", needed));
        }
        Ok(freed)
    }

    /// Chooses how many buckets there are, by what the bins hold.
    fn make_buckets(&self) -> Buckets<K> {
        let records: u64 = (0..self.bins.shards()).map(|bin| self.bins.items(bin)).sum();
        let made = self.records.load(Ordering::Relaxed).max(1);
        let occurrences = self.occurrences.load(Ordering::Relaxed);
        let elements = u128::from(records) * u128::from(occurrences) / u128::from(made);
        let wanted = (elements as u64 / BUCKET_ELEMENTS).max(1).ilog2() + 1;
        let bits = wanted.clamp(BUCKET_BITS_LEAST, self.room.bucket_bits_max);
        let store = Store::new(Arc::clone(&self.arena), Arc::clone(&self.file), 1 << bits);
        Buckets { store, bits, free: K::BITS - 2 * self.rules.k + bits }
    }

    /// Bins to elements in buckets.
    fn expand(&self, buckets: &Buckets<K>, next: &AtomicUsize) -> Result<()> {
        let mut writer = Writer::new(&buckets.store);
        let mut records = Vec::new();
        let limit = MERGE_BYTES / K::Record::BYTES;
        let mut relieve = || self.relieve_buckets(&buckets.store);
        loop {
            let bin = next.fetch_add(1, Ordering::Relaxed);
            if bin >= self.bins.shards() {
                return Ok(());
            }
            self.bins.drain(bin, &mut records, limit, |records| {
                self.check()?;
                merge_records(records, self.layout);
                for record in records.iter() {
                    self.expand_record(*record, buckets, &mut writer, &mut relieve)?;
                }
                Ok(())
            })?;
        }
    }

    #[inline(always)]
    fn expand_record(
        &self,
        record: K::Record,
        buckets: &Buckets<K>,
        writer: &mut Writer<'_, K>,
        relieve: &mut impl FnMut() -> Result<()>,
    ) -> Result<()> {
        let k = self.rules.k;
        let mask = K::ones(2 * k);
        let prefix_down = 2 * k - buckets.bits;
        let most = (1_u64 << buckets.free.min(32)) - 1;
        let weight = self.layout.weight(record);
        let turned = record.mirror();
        for i in 0..=self.layout.kmers(record) {
            let mut kmer = K::of_record(record.down(K::Record::BITS - 2 * (k + i))).and(mask);
            if self.rules.canonical {
                kmer = kmer.min(K::of_record(turned.down(2 * i)).and(mask));
            }
            let bucket = kmer.down(prefix_down).low() as usize;
            let element = kmer.up(buckets.free);
            let mut rest = weight;
            while rest > most {
                writer.push(bucket, element.or(K::from_low(most)), relieve)?;
                rest -= most;
            }
            writer.push(bucket, element.or(K::from_low(rest)), relieve)?;
        }
        Ok(())
    }

    #[cold]
    fn relieve_buckets(&self, store: &Store<K>) -> Result<()> {
        self.check()?;
        if store.fullest(false).1 > 0 {
            return self.spill_fullest(store).map(|_| ());
        }
        self.spill_fullest(&self.bins).map(|_| ())
    }

    /// Buckets to sorted k-mers and their counts.
    fn count(
        &self,
        buckets: &Buckets<K>,
        next: &AtomicUsize,
        histogram: &Mutex<Histogram>,
        table: Option<&OrderedBlocks<'_, K>>,
    ) -> Result<()> {
        let mut own = Histogram::default();
        let mut arrays = Arrays::default();
        loop {
            let bucket = next.fetch_add(1, Ordering::Relaxed);
            if bucket >= buckets.store.shards() {
                break;
            }
            self.check()?;
            let mut give = |kmers: &mut Vec<K>, counts: &mut Vec<u64>, last: bool| {
                own.add(counts);
                let Some(table) = table else { return Ok(()) };
                self.rules.filter(kmers, counts);
                table.put(bucket, kmers, counts, last)
            };
            let high = K::from_low(bucket as u64).up_all(2 * self.rules.k - buckets.bits);
            let shape = Shape { depth: 0, free: buckets.free, bucket: high };
            self.count_shard(&buckets.store, bucket, shape, &mut arrays, &mut give)?;
            give(&mut Vec::new(), &mut Vec::new(), true)?;
        }
        histogram.lock().unwrap_or_else(PoisonError::into_inner).absorb(&own);
        Ok(())
    }

    /// Counts one shard; what is too big for the scratch is cut by its next bits.
    fn count_shard(
        &self,
        store: &Store<K>,
        shard: usize,
        shape: Shape<K>,
        arrays: &mut Arrays<K>,
        give: &mut Give<'_, K>,
    ) -> Result<()> {
        let most = self.room.scratch as usize / scratch_bytes(K::BYTES);
        let items = store.items(shard);
        if items == 0 {
            return Ok(());
        }
        if items <= most as u64 {
            let Arrays { elements, spare, counts } = arrays;
            store.drain(shard, elements, most + BLOCK_BYTES, |elements| {
                let layout = Layout { free: shape.free, depth: shape.depth };
                sort_and_count(elements, spare, counts, layout, self.lanes);
                for kmer in elements.iter_mut() {
                    *kmer = kmer.or(shape.bucket);
                }
                give(elements, counts, false)
            })?;
            return Ok(());
        }
        let key_bits = K::BITS - shape.free - shape.depth;
        if key_bits == 0 {
            return self.count_one_kmer(store, shard, shape, arrays, give);
        }
        let bits = key_bits.min(CHILD_BITS);
        let down = K::BITS - shape.depth - bits;
        let child = Store::new(Arc::clone(&self.arena), Arc::clone(&self.file), 1 << bits);
        let mut writer = Writer::new(&child);
        let mut relieve = || {
            self.check()?;
            if child.fullest(false).1 > 0 {
                return self.spill_fullest(&child).map(|_| ());
            }
            self.spill_fullest(store).map(|_| ())
        };
        store.drain(shard, &mut arrays.elements, most.min(1 << 16), |elements| {
            for element in elements.iter() {
                let sub = element.down(down).low() as usize & ((1 << bits) - 1);
                writer.push(sub, *element, &mut relieve)?;
            }
            Ok(())
        })?;
        drop(writer);
        let shape = Shape { depth: shape.depth + bits, ..shape };
        (0..1 << bits).try_for_each(|sub| self.count_shard(&child, sub, shape, arrays, give))
    }

    /// All elements are of one k-mer.
    fn count_one_kmer(
        &self,
        store: &Store<K>,
        shard: usize,
        shape: Shape<K>,
        arrays: &mut Arrays<K>,
        give: &mut Give<'_, K>,
    ) -> Result<()> {
        let weights = K::ones(shape.free.min(64)).low();
        let (mut kmer, mut sum) = (K::default(), 0);
        store.drain(shard, &mut arrays.elements, BATCH_BYTES, |elements| {
            kmer = elements.first().map_or(kmer, |e| e.down_all(shape.free).or(shape.bucket));
            sum += elements.iter().map(|e| e.low() & weights).sum::<u64>();
            self.check()
        })?;
        give(&mut vec![kmer], &mut vec![sum], false)
    }
}

/// Takes sorted k-mers and counts; true ends a bucket.
type Give<'g, K> = dyn FnMut(&mut Vec<K>, &mut Vec<u64>, bool) -> Result<()> + 'g;

/// What the elements of a shard have in common.
#[derive(Clone, Copy)]
struct Shape<K> {
    depth: u32,
    free: u32,
    /// The leading bits that elements do not have.
    bucket: K,
}

struct Arrays<K> {
    elements: Vec<K>,
    spare: Vec<K>,
    counts: Vec<u64>,
}

impl<K> Default for Arrays<K> {
    fn default() -> Self {
        Self { elements: Vec::new(), spare: Vec::new(), counts: Vec::new() }
    }
}
