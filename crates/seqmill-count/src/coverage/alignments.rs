//! Depth of a file of alignments: units to spans in parallel, spans to depth in order.

use super::depth::{Depth, FAR_BYTES, WINDOW_BYTES};
use super::mates::Mates;
use super::options::{Mates as MateRule, Options};
use super::runs::Runs;
use super::spans::{Key, Spanner, Spans, Spot, Turn, spans_claim};
use seqmill_base::metrics::StageFigures;
use seqmill_base::pipeline::{Pipeline, Threads};
use seqmill_base::{Error, FormatKind, Job, Lease, Progress, Result};
use seqmill_io::bam::index::{AlignmentIndex, IndexedPlaces};
use seqmill_io::records::{
    Assembly, Container, Input, Kind, STRETCH_UNIT_BYTES, Scanned, Stitched, UNIT_BYTES, UnitSource,
};
use seqmill_io::region::Interval;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// Compressed and inflated input at most.
const READ_AHEAD: u64 = 32 << 20;
/// Spans at most.
const SPANS: u64 = 64 << 20;
/// Least memory a thread is worth.
const THREAD_FLOOR: u64 = 8 << 20;
/// Least time between two checkpoints.
const CHECKPOINT_EVERY: Duration = Duration::from_secs(5);

/// Where a run can go on: before the first record of a sequence.
#[derive(Debug, Clone, Default, PartialEq, serde::Serialize, serde::Deserialize)]
pub(super) struct Place {
    /// The sequence.
    pub reference: u32,
    /// Virtual offset of its first record.
    pub voffset: u64,
    /// Number of that record.
    pub ordinal: u64,
    /// Records before it, and those of them that count.
    pub looked_at: u64,
    pub counted: u64,
}

/// Is told where a run could go on.
pub(super) type Checkpoint<'a> = Box<dyn FnMut(&mut Runs<'_>, &Place) -> Result<()> + Send + 'a>;

/// What is read of the input.
pub(super) struct Reading {
    /// Stretches of the file: begin and end (none: to the end).
    pub stretches: Vec<(u64, Option<u64>)>,
    /// What the index gave, if one is used.
    pub index: Option<Arc<IndexedPlaces>>,
}

/// Decides what is read for the regions asked about.
pub(super) fn plan_reading(
    input: &Input,
    union: Option<&[Interval]>,
    index: Option<&Path>,
    warn: &mut dyn FnMut(String),
) -> Result<Reading> {
    let whole = Reading { stretches: vec![(input.first, None)], index: None };
    let seekable =
        input.kind == Kind::Bam && input.container == Container::Bgzf && input.source.is_seekable();
    let Some(union) = union.filter(|_| seekable) else { return Ok(whole) };
    let beside = index.map(Path::to_path_buf).or_else(|| AlignmentIndex::beside(&input.path));
    let Some(path) = beside else { return Ok(whole) };
    let time = |path: &Path| path.metadata().and_then(|m| m.modified()).ok();
    if time(&path).zip(time(&input.path)).is_some_and(|(index, data)| index < data) {
        warn(format!("{}: the index is older than the data", path.display()));
    }
    let opened = AlignmentIndex::open(&path)?;
    let stretches = opened.stretches(union)?;
    let stretches: Vec<_> =
        stretches.into_iter().map(|(begin, end)| (begin.0, Some(end.0))).collect();
    let size = input.source.len().unwrap_or(u64::MAX);
    let index = Some(Arc::new(IndexedPlaces::new(path, &stretches, size)));
    Ok(Reading { stretches, index })
}

impl Reading {
    /// Leaves out what lies before a place.
    pub(super) fn go_on_from(&mut self, voffset: u64) {
        self.stretches.retain(|(_, end)| end.is_none_or(|end| end > voffset));
        if let Some((begin, _)) = self.stretches.first_mut() {
            *begin = (*begin).max(voffset);
        }
    }
}

/// What a run came to.
#[derive(Debug, Default)]
pub(super) struct Measured {
    pub looked_at: u64,
    pub counted: u64,
    pub stages: Vec<StageFigures>,
}

/// Depth in the order of the records.
struct Sweep<'r, 'w, 'a> {
    runs: &'r mut Runs<'w>,
    depth: Depth,
    mates: Option<Mates>,
    lengths: Vec<u32>,
    /// Sequence of the last record; none before the first.
    current: Option<u32>,
    /// First sequence that has not been given.
    next: u32,
    last: Key,
    place: Place,
    checkpoint: Option<Checkpoint<'a>>,
    saved: Instant,
    save_every: Duration,
    far: Lease,
    job: Job,
    indexed: bool,
}

impl Sweep<'_, '_, '_> {
    fn take(&mut self, spans: &Spans) -> Result<()> {
        if let Some((first, spot)) = spans.first {
            let broken = if first < self.last { Some(spot) } else { spans.disorder };
            if let Some(spot) = broken {
                return Err(unsorted(spot, self.indexed));
            }
            self.last = spans.last;
        }
        let (mut read, mut block) = (0_usize, 0_usize);
        for (number, turn) in spans.turns.iter().enumerate() {
            let end = spans.turns.get(number + 1).map_or(spans.reads.len(), |t| t.read as usize);
            self.turn_to(turn)?;
            for at in read..end {
                block = self.read(spans, at, block, turn.reference)?;
            }
            self.place.counted += (end - read) as u64;
            read = end;
        }
        self.place.looked_at += spans.looked_at;
        let wanted = self.depth.far_len() as u64 * FAR_BYTES;
        if wanted > self.far.bytes() {
            self.far.resize(2 * wanted)?;
        }
        let progress = &self.job.progress;
        Progress::add(&progress.records_in, spans.looked_at);
        progress.bytes_in.fetch_max(spans.file_end, std::sync::atomic::Ordering::Relaxed);
        Ok(())
    }

    #[inline]
    fn read(&mut self, spans: &Spans, at: usize, first: usize, reference: u32) -> Result<usize> {
        let Some(read) = spans.reads.get(at) else { return Ok(first) };
        let end = read.blocks as usize;
        let blocks = spans.blocks.get(first..end).unwrap_or_default();
        if self.depth.lags(read.pos) {
            self.sweep(reference, read.pos)?;
        }
        for (begin, end) in blocks {
            self.depth.add(*begin, *end, 1);
        }
        let name = spans.names.get(at).copied().unwrap_or(0);
        if let (Some(mates), true) = (&mut self.mates, name != 0) {
            let depth = &mut self.depth;
            mates.meet(name, read.pos, blocks, |(begin, end)| depth.add(begin, end, -1))?;
        }
        Ok(end)
    }

    fn sweep(&mut self, reference: u32, to: u32) -> Result<()> {
        let (runs, mut failure) = (&mut *self.runs, None);
        self.depth.sweep(to, &mut |begin, end, depth| {
            if failure.is_none() {
                failure = runs.give(reference, begin, end, depth).err();
            }
        });
        failure.map_or(Ok(()), Err)
    }

    /// Ends the sequence before, and gives those without records on the way.
    fn turn_to(&mut self, turn: &Turn) -> Result<()> {
        if self.current == Some(turn.reference) {
            return Ok(());
        }
        self.finish_until(turn.reference)?;
        self.current = Some(turn.reference);
        let between = self.runs.tracker.is_between();
        if let Some(checkpoint) = &mut self.checkpoint
            && between
            && self.saved.elapsed() >= self.save_every
        {
            let Turn { reference, voffset, ordinal, .. } = *turn;
            let counted = self.place.counted;
            let place = Place { reference, voffset, ordinal, looked_at: ordinal, counted };
            checkpoint(self.runs, &place)?;
            self.saved = Instant::now();
        }
        Ok(())
    }

    /// Gives what is left of the sequences before `reference`.
    fn finish_until(&mut self, reference: u32) -> Result<()> {
        for index in self.next..reference {
            let length = self.lengths.get(index as usize).copied().unwrap_or(0);
            let was_read = self.current == Some(index);
            if was_read || self.runs.wants(index) {
                let (runs, mut failure) = (&mut *self.runs, None);
                self.depth.finish(length, &mut |begin, end, depth| {
                    if failure.is_none() {
                        failure = runs.give(index, begin, end, depth).err();
                    }
                });
                failure.map_or(Ok(()), Err)?;
            }
            if let Some(mates) = self.mates.as_mut().filter(|_| was_read) {
                mates.clear();
            }
            self.job.cancel.check()?;
        }
        self.next = reference;
        Ok(())
    }
}

fn unsorted((ordinal, voffset): Spot, indexed: bool) -> Error {
    if indexed {
        // Records are numbered from the first one read, which says nothing.
        let text = "the input is not sorted by coordinate, although it has an index";
        return Error::format(FormatKind::IndexMismatch, text).at_voffset(voffset);
    }
    let text = "the input is not sorted by coordinate: this record belongs before the one before \
                it; sort it first, for instance with samtools sort";
    Error::format(FormatKind::Record, text).at_field("pos").at_record(ordinal).at_voffset(voffset)
}

/// Units of one input up to its end.
fn scan(
    input: &Input,
    reading: &Reading,
    strict: bool,
    warnings: &Arc<Mutex<Vec<String>>>,
) -> impl FnMut(Lease) -> Result<Option<Scanned>> + Send + use<> {
    let unit_bytes = if reading.index.is_some() { STRETCH_UNIT_BYTES } else { UNIT_BYTES };
    let mut units = UnitSource::new(input, &reading.stretches, unit_bytes);
    let (path, source) = (input.path.clone(), Arc::clone(&input.source));
    let (whole, warnings) = (reading.index.is_none(), Arc::clone(warnings));
    move |lease| {
        if let Some(raw) = units.next_unit(lease).map_err(|e| e.at_path(&path))? {
            return Ok(Some(Scanned { raw, input: 0, before: 0 }));
        }
        source.check_unchanged()?;
        if whole && units.lacks_end_marker() {
            let text = "the end marker is missing: the file may be cut at the edge of a block";
            if strict {
                return Err(Error::format(FormatKind::Truncated, text).at_path(&path));
            }
            warn(&warnings, format!("{}: missing_eof: {text}", path.display()));
        }
        Ok(None)
    }
}

fn warn(warnings: &Mutex<Vec<String>>, text: String) {
    let mut list = warnings.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    if !list.contains(&text) {
        list.push(text);
    }
}

/// Reads the input and gives the depth of all its sequences to `runs`.
#[expect(clippy::too_many_arguments, reason = "what a run needs, once")]
pub(super) fn measure_alignments(
    input: &Input,
    options: &Options,
    reading: &Reading,
    from: Option<&Place>,
    runs: &mut Runs<'_>,
    checkpoint: Option<Checkpoint<'_>>,
    warnings: &mut Vec<String>,
    job: &Job,
) -> Result<Measured> {
    let semantic = &options.semantic;
    let pool = job.budget.pool();
    let read = job.budget.account("read_ahead", READ_AHEAD.min(pool / 3));
    let spans = job.budget.account("spans", SPANS.min(pool / 3));
    let window = job.budget.account("window", pool);
    let mut far = job.budget.must_reserve(window, WINDOW_BYTES)?;
    let far_lease = far.sibling(0)?;
    far.resize(WINDOW_BYTES)?;
    let once = semantic.mates != MateRule::Both;
    let mates = job.budget.account("mates", pool);
    let mates = once.then(|| job.budget.must_reserve(mates, 0).map(Mates::new)).transpose()?;
    let lengths: Vec<u32> = input
        .header
        .references
        .iter()
        .map(|r| u32::try_from(r.length).unwrap_or(u32::MAX))
        .collect();
    let sequences = u32::try_from(lengths.len()).unwrap_or(u32::MAX);
    let spanner = Spanner::new(semantic, lengths.clone());
    let mut sweep = Sweep {
        runs,
        depth: Depth::new(),
        mates,
        lengths,
        current: None,
        next: from.map_or(0, |place| place.reference),
        last: (0, 0),
        place: from.cloned().unwrap_or_default(),
        checkpoint,
        saved: Instant::now(),
        save_every: options
            .checkpoint_seconds
            .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
            .unwrap_or(CHECKPOINT_EVERY),
        far: far_lease,
        job: job.clone(),
        indexed: reading.index.is_some(),
    };
    let found = Arc::new(Mutex::new(Vec::new()));
    let told = Arc::clone(&found);
    let assembly = Assembly {
        verify: semantic.verify,
        skip_bad: false,
        first: (0, from.map_or(0, |place| place.ordinal)),
        first_line: None,
        group: 0,
    };
    let places = reading.index.clone();
    let blame = move |error: Error| match &places {
        Some(places) => places.blame(error),
        None => error,
    };
    let claim = UnitSource::new(input, &[], UNIT_BYTES).claim();
    let scanned = Pipeline::<Scanned>::source(
        "scan",
        0,
        read,
        claim,
        scan(input, reading, semantic.strict, &found),
    );
    let stitched = assembly.add(
        scanned,
        std::slice::from_ref(input),
        job,
        read,
        move |text| warn(&told, text),
        {
            let blame = blame.clone();
            move |error| blame(error)
        },
    )?;
    let by_quality = semantic.min_baseq > 0;
    let path = input.path.clone();
    let spanned = stitched.parallel(
        "spans",
        0,
        spans,
        move |stitched: &Stitched| spans_claim(stitched, by_quality),
        || (),
        move |(), stitched, lease| spanner.span(&stitched, lease).map_err(|e| e.at_path(&path)),
    );
    let room = usize::try_from(pool / THREAD_FLOOR).unwrap_or(usize::MAX);
    let threads = Threads::Shared(options.threads.min(room).max(1));
    let take = |spans: Spans| sweep.take(&spans).map_err(|e| e.at_path(&input.path));
    let (result, stages) = spanned.run("depth", 0, take, &threads, job);
    warnings.append(&mut found.lock().unwrap_or_else(std::sync::PoisonError::into_inner));
    result.map_err(blame)?;
    sweep.finish_until(sequences)?;
    sweep.runs.tracker.finish()?;
    Ok(Measured { looked_at: sweep.place.looked_at, counted: sweep.place.counted, stages })
}
