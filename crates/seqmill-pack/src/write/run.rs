//! Packing from beginning to end.

use super::append::{Continued, continue_archive};
use super::compress::Packer;
use super::describe::Describer;
use super::encode::Effort;
use super::feed::{Adaptive, Feeder, Setup, TASK_BASES, Totals};
use super::groups::Groups;
use super::input::{Input, Item, Notes};
use super::ledger::{Ledger, SampleShare};
use super::options::PackOptions;
use super::output::{
    CONTIGS, DETAILS, DIGESTS, FILE_TYPE_INFO, Output, PARAMS, ReadyPart, SAMPLES,
    SEGMENT_SPLITTERS, SPLITTERS, StreamShare,
};
use super::pending::Pending;
use super::place::Placer;
use super::reference::{TableRoom, USUAL_STEP};
use super::splitters::{Chooser, Counters, Splitters, find_splitters};
use super::spool::{Spool, Spooled};
use super::stages::{Accounts, Recorder, Shop, close, run};
use crate::archive::{Archive, Parameters, RAW_GROUPS};
use crate::write::compress::Level;
use seqmill_base::metrics::StageFigures;
use seqmill_base::process::LeanAllocator;
use seqmill_base::{Error, Job, Lease, Result};
use seqmill_io::sequence::SequenceStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The entry that makes a raw group exist; real entries begin at 1.
const DUMMY_ENTRY: [u8; 1] = [0x7f];
/// Bases of the first sample that a batch would have at most, and the bounds of B.
const BATCH_BASES: u64 = 64_000_000;
const PACK_SIZES: (u64, u64) = (50, 2000);
/// What is kept of the first sample in memory before it goes to disk, as a part of the budget.
const SPOOL_SHARE: u64 = 8;
const TABLE_SHARE: u64 = 6;
/// More than this is not worth its place: the page cache does as well.
const SPOOL_MAX_BYTES: u64 = 4 << 20;
/// Tables beyond this are made again for each sample, which costs a few percent.
const TABLE_MAX_BYTES: u64 = 32 << 20;
const PENDING_SHARE: u64 = 4;
/// Cut contigs that may wait for their groups: enough that no thread is idle.
const QUEUED_BYTES: u64 = 8 * TASK_BASES;

/// What was packed.
#[derive(Debug)]
pub struct Packed {
    /// Samples that went in.
    pub samples: u64,
    /// Their contigs and bases.
    pub contigs: u64,
    /// Bases.
    pub bases: u64,
    /// Segments the contigs were cut in.
    pub segments: u64,
    /// Groups of the archive.
    pub groups: u32,
    /// Bases of all references.
    pub reference_bases: u64,
    /// Splitters of the archive.
    pub splitters: u64,
    /// Bytes of the archive.
    pub bytes: u64,
    /// k, L, B, S.
    pub parameters: Parameters,
    /// Warnings.
    pub warnings: Vec<String>,
    /// Records without sequence, symbols that were changed, names that were.
    pub empty_records: u64,
    /// Symbols that are no letters.
    pub letters_changed: u64,
    /// Samples with such symbols.
    pub changed_in: Vec<(String, u64)>,
    /// Names that came again.
    pub renamed: u64,
    /// What each sample put in; of many samples neighbours share a row.
    pub shares: Vec<SampleShare>,
    /// Bytes of the archive by what they hold.
    pub streams: Vec<StreamShare>,
    /// Bytes that a million bytes of differences became.
    pub delta_ppm: u64,
    /// Figures of the pipeline.
    pub stages: Vec<StageFigures>,
}

fn check(options: &PackOptions) -> Result<()> {
    for (name, value, least, most) in [
        ("kmer_length", options.kmer_length, 17, 32),
        ("min_match", options.min_match, 15, 32),
        ("segment_size", options.segment_size, 100, 1_000_000),
        ("pack_size", options.pack_size.unwrap_or(1), 1, 1_000_000_000),
        ("threads", u32::try_from(options.threads).unwrap_or(u32::MAX), 1, 4096),
    ] {
        if !(least..=most).contains(&value) {
            return Err(Error::input(format!("{name} is {value}; it takes {least} to {most}")));
        }
    }
    Ok(())
}

fn folder_of(options: &PackOptions) -> PathBuf {
    if let Some(folder) = &options.tmpdir {
        return folder.clone();
    }
    match options.output.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_path_buf(),
        _ => PathBuf::from("."),
    }
}

/// What the run begins with: of an archive that is continued, or found in the first sample.
pub(crate) struct Start {
    pub(crate) parameters: Parameters,
    pub(crate) splitters: Splitters,
    pub(crate) groups: Groups,
    pub(crate) recorder: Recorder,
    pub(crate) samples: u64,
}

/// What is needed to make a [`Start`].
pub(crate) struct Ground<'a> {
    pub(crate) options: &'a PackOptions,
    pub(crate) effort: Effort,
    pub(crate) room: Arc<TableRoom>,
    pub(crate) folder: &'a Path,
    pub(crate) job: &'a Job,
}

impl Ground<'_> {
    pub(crate) fn recorder(&self, parameters: Parameters) -> Result<Recorder> {
        let (k, s) = (parameters.kmer_length, parameters.segment_size.unwrap_or(0));
        let share = self.job.budget.pool() / PENDING_SHARE;
        let account = self.job.budget.account("descriptions", share);
        Ok(Recorder {
            dummies: Vec::new(),
            pending: Pending::new(parameters.pack_size, share, self.job, self.folder)?,
            describer: Describer::new(parameters.pack_size, s + k),
            ledger: Ledger::default(),
            lease: self.job.budget.must_reserve(account, 0)?,
        })
    }

    /// `effort` is that of the coder, whose tables and entries the groups share.
    pub(crate) fn groups(&self, kmer_length: u32, effort: Effort) -> Result<Groups> {
        let account = self.job.budget.account("references", self.job.budget.pool());
        let lease = self.job.budget.must_reserve(account, 0)?;
        Ok(Groups::new(kmer_length, effort, Arc::clone(&self.room), lease))
    }
}

/// What a thread takes beside what the accounts know: small contexts of compressors, buffers in the
/// making, what the allocator keeps for it. Measured on yeasts.
const THREAD_BYTES: u64 = 6 << 20;

/// Packs inputs, or samples of the archive `from`, into an archive.
pub fn pack(options: &PackOptions, from: Option<&Archive>, job: &Job) -> Result<Packed> {
    check(options)?;
    let folder = folder_of(options);
    let budget = &job.budget;
    let _lean = LeanAllocator::within(budget.limit());
    let threads = options.threads.max(1) as u64;
    let beside = budget.account("threads", budget.pool());
    let _beside = budget.must_reserve(beside, THREAD_BYTES * threads)?;
    let pool = budget.pool() - budget.reserved();
    let table_bytes = (pool / TABLE_SHARE).min(TABLE_MAX_BYTES);
    let tables = budget.account("tables", table_bytes);
    let _tables = budget.must_reserve(tables, table_bytes)?;
    let step = if options.level == Level::Max { 1 } else { USUAL_STEP };
    let effort = Effort { match_least: options.min_match as usize, step };
    let room = Arc::new(TableRoom::new(table_bytes));
    let mut output = Output::create(&options.output, options.force || options.append)?;
    let read_ahead = usize::from(options.threads > 1);
    let input_account = budget.account("input", SequenceStream::claim_bytes(read_ahead));
    let mut input = Input::new(options, from, job, input_account)?;
    let working = budget.account("contig", pool / 2);
    let lease = budget.must_reserve(working, TASK_BASES)?;
    let ground = Ground { options, effort, room: Arc::clone(&room), folder: &folder, job };
    let mut first = None;
    let mut known = None;
    let (start, shop_effort) = if options.append {
        let Continued { start, names, adaptive, effort } = continue_archive(&ground, &mut output)?;
        input.keep_names(names.iter());
        known = adaptive;
        (start, effort)
    } else {
        let (start, spool, adaptive) = begin_archive(&ground, &mut input)?;
        first = spool;
        known = adaptive.or(known);
        (start, effort)
    };
    let placing = lease.sibling(0)?;
    let Start { parameters, splitters, groups, mut recorder, samples } = start;
    let setup =
        Setup { kmer_length: parameters.kmer_length, batch_size: parameters.pack_size, samples };
    let mut feeder = Feeder::new(input, splitters, &setup, lease, job);
    feeder.first = match first {
        Some((name, spool)) => Some((name, spool.into_reader()?)),
        None => None,
    };
    feeder.adaptive = known;
    let mut placer = Placer::new(groups, placing, job);
    let shop = Shop { level: options.level, effort: shop_effort, room, threads: options.threads };
    let accounts = Accounts {
        segments: budget.account("segments", (pool / 8).min(QUEUED_BYTES)),
        coded: budget.account("coded", pool / 8),
        parts: budget.account("parts", pool / 4),
    };
    let (result, mut stages) =
        run(&mut feeder, &mut placer, &mut recorder, &mut output, &shop, accounts, job);
    result?;
    if feeder.totals.samples == 0 {
        let message = "there is no sequence in the inputs; an archive holds at least one base";
        return Err(Error::format(seqmill_base::FormatKind::EmptyInput, message));
    }
    let (result, more) = close(&mut recorder, &mut output, &shop, accounts, job);
    result?;
    merge(&mut stages, more);
    finish_streams(&mut output, &mut recorder, (&feeder, &placer), parameters, options.level)?;
    let delta_ppm = output.delta_ppm();
    let streams = output.finish()?;
    let bytes = streams.iter().map(|share| share.bytes).sum();
    let shares = recorder.ledger.into_rows();
    Ok(Packed { bytes, shares, streams, delta_ppm, stages, ..report(feeder, &placer, parameters) })
}

fn report(feeder: Feeder, placer: &Placer, parameters: Parameters) -> Packed {
    let Totals { samples, contigs, bases } = feeder.totals;
    let Notes { mut warnings, empty_records, letters_changed, changed_in, renamed } =
        feeder.input.notes;
    if letters_changed > 0 {
        warnings.push(format!(
            "{letters_changed} symbols in {} samples are no letters of sequence and were changed",
            changed_in.len()
        ));
    }
    Packed {
        samples,
        contigs,
        bases,
        segments: placer.segments,
        groups: placer.groups.count(),
        reference_bases: placer.groups.reference_bases(),
        splitters: feeder.splitters.len() as u64,
        bytes: 0,
        parameters,
        warnings,
        empty_records,
        letters_changed,
        changed_in,
        renamed,
        shares: Vec::new(),
        streams: Vec::new(),
        delta_ppm: 0,
        stages: Vec::new(),
    }
}

/// Stages of one name are one.
fn merge(stages: &mut Vec<StageFigures>, more: Vec<StageFigures>) {
    for stage in more {
        match stages.iter_mut().find(|s| s.name == stage.name) {
            Some(known) => {
                known.items += stage.items;
                known.busy_s += stage.busy_s;
                known.wait_input_s += stage.wait_input_s;
                known.wait_output_s += stage.wait_output_s;
                known.wait_memory_s += stage.wait_memory_s;
                known.bytes_in += stage.bytes_in;
                known.bytes_out += stage.bytes_out;
                known.queue_bytes_peak = known.queue_bytes_peak.max(stage.queue_bytes_peak);
            }
            None => stages.push(stage),
        }
    }
}

type FirstSample = Option<(Vec<u8>, Spool)>;

/// Reads the first sample, finds its splitters and chooses B.
fn begin_archive(
    ground: &Ground<'_>,
    input: &mut Input,
) -> Result<(Start, FirstSample, Option<Adaptive>)> {
    let (options, job) = (ground.options, ground.job);
    let share = (job.budget.pool() / SPOOL_SHARE).min(SPOOL_MAX_BYTES);
    let account = job.budget.account("first sample", share);
    let held = job.budget.must_reserve(account, share)?;
    let mut spool = Spool::new(share, ground.folder);
    let (mut name, mut bases) = (None, 0);
    while let Some(item) = input.next()? {
        job.cancel.check()?;
        match item {
            Item::Sample(sample) => name = Some(sample),
            Item::Contig(header) => spool.contig(&header)?,
            Item::Codes => {
                bases += input.codes().len() as u64;
                spool.codes(input.codes())?;
            }
            Item::EndContig => spool.end()?,
            Item::EndSample => break,
        }
    }
    job.budget.spilled(account, spool.spilled());
    let mut held = held;
    held.resize(spool.bytes())?;
    let counted = job.budget.account("k-mers", job.budget.pool());
    let counters_lease = job.budget.must_reserve(counted, Counters::bytes_for(bases))?;
    let choosing = counters_lease.sibling(Chooser::bytes_for(options.segment_size))?;
    let mut counters = Counters::new(bases);
    let mut walk = |take: &mut dyn FnMut(Option<&[u8]>) -> Result<()>| {
        let mut reader = spool.read()?;
        while let Some(spooled) = reader.next()? {
            job.cancel.check()?;
            match spooled {
                Spooled::Contig(_) => {}
                Spooled::Codes(codes) => take(Some(codes))?,
                Spooled::End => take(None)?,
            }
        }
        Ok(())
    };
    let (k, s) = (options.kmer_length, options.segment_size);
    let splitters = find_splitters(&mut walk, &mut counters, k, s)?;
    drop(choosing);
    keep(held);
    let adaptive = options.adaptive.then(|| {
        keep_for_good(counters_lease);
        Adaptive { known: counters, kmer_length: k, segment_size: s }
    });
    let chosen = (BATCH_BASES / bases.max(1)).clamp(PACK_SIZES.0, PACK_SIZES.1);
    let pack_size = options.pack_size.unwrap_or(u32::try_from(chosen).unwrap_or(50));
    let parameters = Parameters {
        kmer_length: k,
        min_match: options.min_match,
        pack_size,
        segment_size: Some(s),
    };
    let mut recorder = ground.recorder(parameters)?;
    for group in 0..RAW_GROUPS {
        // With packs of one entry the dummy is a pack of its own.
        let (_, full) = recorder.pending.add(group, &DUMMY_ENTRY, false, job)?;
        recorder.dummies.extend(full);
    }
    let groups = ground.groups(k, ground.effort)?;
    let start = Start { parameters, splitters, groups, recorder, samples: 0 };
    Ok((start, name.map(|name| (name, spool)), adaptive))
}

/// A lease that is held to the end of the job.
fn keep_for_good(lease: Lease) {
    std::mem::forget(lease);
}

fn keep(lease: Lease) {
    // The spool is read once more while the first sample is packed.
    keep_for_good(lease);
}

/// The streams that there are once.
fn finish_streams(
    output: &mut Output,
    recorder: &mut Recorder,
    (feeder, placer): (&Feeder, &Placer),
    parameters: Parameters,
    level: Level,
) -> Result<()> {
    let mut packer = Packer::new(level)?;
    if let Some(batch) = recorder.describer.take_batch() {
        output.part(CONTIGS, &packer.collection(&batch.names)?)?;
        output.part(DETAILS, &packer.details(&batch.arrays)?)?;
        if let Some(data) = batch.digests {
            output.part(DIGESTS, &ReadyPart { metadata: 0, data })?;
        }
    }
    let names = recorder.describer.sample_names();
    output.part(SAMPLES, &packer.collection(&names)?)?;
    let splitters = feeder.splitters.sorted();
    let data = splitters.iter().flat_map(|k| k.to_le_bytes()).collect();
    output.part(SPLITTERS, &ReadyPart { metadata: splitters.len() as u64, data })?;
    let keys = placer.groups.keys();
    let mut data = Vec::with_capacity(20 * keys.len());
    for (a, b, group) in &keys {
        data.extend(a.to_le_bytes());
        data.extend(b.to_le_bytes());
        data.extend(group.to_le_bytes());
    }
    output.part(SEGMENT_SPLITTERS, &ReadyPart { metadata: keys.len() as u64, data })?;
    output.register_groups(placer.groups.count());
    write_facts(output, parameters)
}

/// The sizes, and what wrote the archive.
pub(crate) fn write_facts(output: &mut Output, parameters: Parameters) -> Result<()> {
    let Parameters { kmer_length, min_match, pack_size, segment_size } = parameters;
    let numbers = [kmer_length, min_match, pack_size, segment_size.unwrap_or(0)];
    let data = numbers.iter().flat_map(|n| n.to_le_bytes()).collect();
    output.part(PARAMS, &ReadyPart { metadata: 0, data })?;
    let facts = [
        ("comment", "AGC (Assembled Genomes Compressor) archive written by seqmill"),
        ("file_version_major", "3"),
        ("file_version_minor", "0"),
        ("producer", "seqmill"),
        ("producer_version_build", env!("CARGO_PKG_VERSION")),
        ("producer_version_major", env!("CARGO_PKG_VERSION_MAJOR")),
        ("producer_version_minor", env!("CARGO_PKG_VERSION_MINOR")),
    ];
    let mut data = Vec::new();
    for (key, value) in facts {
        for text in [key, value] {
            data.extend_from_slice(text.as_bytes());
            data.push(0);
        }
    }
    output.part(FILE_TYPE_INFO, &ReadyPart { metadata: facts.len() as u64, data })
}
