//! Adding to an archive: what is complete is copied, what is open is opened again
//! (`agc.md` §9).

use super::encode::Effort;
use super::feed::Adaptive;
use super::groups::Groups;
use super::kmers::{KmerScanner, NO_KMER};
use super::output::{CONTIGS, DETAILS, DIGESTS, Output, StreamId};
use super::run::{Ground, Start};
use super::splitters::{Counters, Splitters};
use super::stages::Recorder;
use crate::archive::{Archive, Memory, RAW_GROUPS, SEPARATOR};
use crate::collection::SampleNames;
use crate::symbols::CODES;
use seqmill_base::{Error, FormatKind, Result};

/// The part of the budget that the archive gets that is added to.
const ARCHIVE_SHARE: u64 = 2;
const VERSION_3: u32 = 3000;
/// Bases decoded at a time.
const STEP_BASES: usize = 1 << 16;

/// An archive as it goes on.
pub(crate) struct Continued {
    pub(crate) start: Start,
    pub(crate) names: SampleNames,
    pub(crate) adaptive: Option<Adaptive>,
    pub(crate) effort: Effort,
}

fn wrong(what: impl Into<String>) -> Error {
    Error::format(FormatKind::Other, what)
}

/// Opens the output's earlier state and copies it, all but what is open.
pub(crate) fn continue_archive(ground: &Ground<'_>, output: &mut Output) -> Result<Continued> {
    let job = ground.job;
    let share = job.budget.pool() / ARCHIVE_SHARE;
    let account = job.budget.account("archive", share);
    let held = job.budget.must_reserve(account, share)?;
    let path = &ground.options.output;
    let archive = Archive::open(path, Memory::of(share))?;
    if archive.version() < VERSION_3 {
        let what = "archives of versions 1 and 2 cannot be added to; rewrite it first with \
                    unpack --subset";
        return Err(Error::input(what).at_path(path));
    }
    let continued = copy_archive(ground, &archive, output).map_err(|e| e.at_path(path));
    drop(held);
    continued
}

fn copy_archive(ground: &Ground<'_>, archive: &Archive, output: &mut Output) -> Result<Continued> {
    let parameters = archive.parameters();
    let effort = Effort { match_least: parameters.min_match as usize, ..ground.effort };
    let mut recorder = ground.recorder(parameters)?;
    let mut groups = ground.groups(parameters.kmer_length, effort)?;
    copy_groups(ground, archive, output, &mut groups, &mut recorder)?;
    let splitters = read_splitters(archive, &mut groups)?;
    let samples = copy_collection(archive, output, &mut recorder)?;
    if let Some(stream) = archive.container().find(crate::digests::STREAM) {
        for part in archive.container().parts(stream) {
            output.copy(archive.container(), *part, DIGESTS)?;
        }
    }
    let mut names = SampleNames::default();
    for i in 0..archive.sample_count() {
        names.push(archive.sample_name(i).unwrap_or_default())?;
    }
    let adaptive = if ground.options.adaptive { Some(count_kmers(ground, archive)?) } else { None };
    let start = Start { parameters, splitters, groups, recorder, samples };
    Ok(Continued { start, names, adaptive, effort })
}

/// Copies references and full packs; opens the last pack of each group.
fn copy_groups(
    ground: &Ground<'_>,
    archive: &Archive,
    output: &mut Output,
    groups: &mut Groups,
    recorder: &mut Recorder,
) -> Result<()> {
    let container = archive.container();
    let size = archive.parameters().pack_size;
    let mut raw_entries = 0;
    for (i, group) in container.groups().iter().enumerate() {
        ground.job.cancel.check()?;
        if group.id as usize != i {
            return Err(wrong(format!("group {i} is missing; the archive cannot be added to")));
        }
        if group.id >= RAW_GROUPS {
            let stream = group.reference.unwrap_or(u32::MAX);
            let part = container.parts(stream).first().copied();
            let part = part.ok_or_else(|| wrong(format!("group {i} has no reference")))?;
            let symbols = archive.reference(*group)?;
            let mut codes = vec![0; symbols.len()];
            symbols.letters(0, &mut codes)?;
            for code in &mut codes {
                *code = CODES.get(usize::from(*code)).copied().unwrap_or(0);
            }
            groups.push(&codes)?;
            output.copy(container, part, StreamId::Reference(group.id))?;
        }
        let parts = group.delta.map_or(&[][..], |stream| container.parts(stream));
        let Some((last, full)) = parts.split_last() else { continue };
        for part in full {
            output.copy(container, *part, StreamId::Delta(group.id))?;
        }
        let pack = archive.load_pack(*last, true)?;
        let before = u32::try_from(full.len()).unwrap_or(u32::MAX).saturating_mul(size);
        let entries = u32::try_from(pack.ends.len()).unwrap_or(u32::MAX);
        if group.id < RAW_GROUPS {
            raw_entries += u64::from((before + entries).saturating_sub(1));
        }
        if entries >= size {
            output.copy(container, *last, StreamId::Delta(group.id))?;
            recorder.pending.open_group(group.id, before + entries);
            continue;
        }
        recorder.pending.open_group(group.id, before);
        for entry in pack.bytes.split(|&b| b == SEPARATOR).take(pack.ends.len()) {
            recorder.pending.add(group.id, entry, false, ground.job)?;
        }
    }
    if groups.count() as usize != container.groups().len() {
        return Err(wrong("the raw groups 0 to 15 are missing; the archive cannot be added to"));
    }
    groups.set_raw_entries(raw_entries);
    output.register_groups(groups.count());
    Ok(())
}

fn read_splitters(archive: &Archive, groups: &mut Groups) -> Result<Splitters> {
    let read = |name: &str| {
        let stream = archive.container().find(name);
        let part = stream.and_then(|s| archive.container().parts(s).first().copied());
        let part = part.ok_or_else(|| wrong(format!("there is no stream {name}")))?;
        archive.container().read(part, archive.memory().item())
    };
    let data = read("segment-splitters")?;
    let (records, rest) = data.bytes().as_chunks::<20>();
    if !rest.is_empty() {
        return Err(wrong("stream segment-splitters is cut short"));
    }
    let number = |bytes: &[u8], at: usize| {
        bytes
            .get(at..at + 8)
            .and_then(|b| b.first_chunk::<8>())
            .map_or(0, |b| u64::from_le_bytes(*b))
    };
    for record in records {
        let (a, b) = (number(record, 0), number(record, 8));
        let group = record.last_chunk::<4>().map_or(0, |b| u32::from_le_bytes(*b));
        if (a, b) == (NO_KMER, NO_KMER) {
            continue;
        }
        if !(RAW_GROUPS..groups.count()).contains(&group) {
            return Err(wrong(format!("stream segment-splitters names group {group}, not there")));
        }
        groups.insert_key((a, b), group);
    }
    groups.end_sample();
    let data = read("splitters")?;
    let (kmers, rest) = data.bytes().as_chunks::<8>();
    if !rest.is_empty() {
        return Err(wrong("stream splitters is cut short"));
    }
    Ok(Splitters::from_kmers(kmers.iter().map(|b| u64::from_le_bytes(*b))))
}

/// Copies full batches; opens the last one. Gives the number of samples.
fn copy_collection(archive: &Archive, output: &mut Output, recorder: &mut Recorder) -> Result<u64> {
    let size = archive.parameters().pack_size as usize;
    let full = archive.sample_count() / size;
    let container = archive.container();
    for (name, stream) in [("collection-contigs", CONTIGS), ("collection-details", DETAILS)] {
        let from = container.find(name).unwrap_or(u32::MAX);
        for part in container.parts(from).iter().take(full) {
            output.copy(container, *part, stream)?;
        }
    }
    for i in 0..archive.sample_count() {
        let name = archive.sample_name(i).unwrap_or_default();
        if i < full * size {
            recorder.describer.keep_sample(name);
            continue;
        }
        let sample = archive.sample(i)?;
        for (number, contig) in sample.contigs().enumerate() {
            recorder.describer.contig(contig.header().to_vec());
            for segment in contig.segments() {
                let number = u32::try_from(number).unwrap_or(u32::MAX);
                recorder.describer.segment(number, *segment)?;
            }
        }
        recorder.describer.end_sample(name, None);
    }
    Ok(archive.sample_count() as u64)
}

/// The k-mers of the reference, for new splitters.
fn count_kmers(ground: &Ground<'_>, archive: &Archive) -> Result<Adaptive> {
    let parameters = archive.parameters();
    let sample = archive.sample(0)?;
    let bases = sample.contigs().map(|c| c.length()).sum();
    let account = ground.job.budget.account("k-mers", ground.job.budget.pool());
    let held = ground.job.budget.must_reserve(account, Counters::bytes_for(bases))?;
    std::mem::forget(held);
    let mut known = Counters::new(bases);
    let mut scanner = KmerScanner::new(parameters.kmer_length);
    let mut letters = vec![0; STEP_BASES];
    for contig in sample.contigs() {
        let mut at = 0;
        while at < contig.length() {
            ground.job.cancel.check()?;
            let size = usize::try_from(contig.length() - at).unwrap_or(usize::MAX);
            let piece = letters.get_mut(..size.min(STEP_BASES)).unwrap_or_default();
            archive.read(contig, at, piece)?;
            at += piece.len() as u64;
            for letter in piece.iter_mut() {
                *letter = CODES.get(usize::from(*letter)).copied().unwrap_or(0);
            }
            known.add_all(&mut scanner, piece);
        }
        scanner.restart();
    }
    Ok(Adaptive {
        known,
        kmer_length: parameters.kmer_length,
        segment_size: parameters.segment_size.unwrap_or(0),
    })
}
