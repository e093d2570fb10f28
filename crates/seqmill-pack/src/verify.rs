//! Checking an archive: structure, bounds, lengths, and checksums where there are any.

use crate::archive::{Archive, Memory, RAW_GROUPS};
use crate::container::{Group, Part};
use crate::digests::{Digest, Summer};
use crate::frame::stream_error;
use seqmill_base::pipeline::{Item, Pipeline, Threads};
use seqmill_base::{Error, ErrorKind, FormatKind, Job, Lease, Progress, Result};
use std::collections::VecDeque;
use std::io::Read;
use std::ops::Range;

/// Bytes decoded at a time.
const STEP_BYTES: usize = 1 << 20;
/// Groups of one task.
const GROUPS: usize = 256;
/// Faults that are told; the others are only counted.
const FAULTS_TOLD: usize = 1000;
const SEPARATOR: u8 = crate::archive::SEPARATOR;

/// What a check has found.
#[derive(Debug, Default)]
pub struct Verified {
    /// Samples of the archive.
    pub samples: u64,
    /// Contigs that were decoded.
    pub contigs: u64,
    /// Their bases.
    pub bases: u64,
    /// Parts of groups that were decoded.
    pub parts: u64,
    /// Samples whose checksum was compared.
    pub checksums: u64,
    /// What is wrong and where.
    pub faults: Vec<Error>,
    /// Number of faults, told or not.
    pub fault_count: u64,
}

enum Unit {
    Groups(Range<usize>),
    Samples(Range<usize>, Option<Digest>),
}

struct Task(Unit, Lease);

impl Item for Task {
    fn bytes(&self) -> u64 {
        0
    }
}

#[derive(Default)]
struct Found(Verified);

impl Item for Found {
    fn bytes(&self) -> u64 {
        0
    }
}

impl Verified {
    fn fault(&mut self, error: Error) -> Result<()> {
        if !matches!(error.kind(), ErrorKind::Format(_)) {
            return Err(error);
        }
        self.fault_count += 1;
        if self.faults.len() < FAULTS_TOLD {
            self.faults.push(error);
        }
        Ok(())
    }

    fn add(&mut self, mut other: Self) {
        self.contigs += other.contigs;
        self.bases += other.bases;
        self.parts += other.parts;
        self.checksums += other.checksums;
        self.fault_count += other.fault_count;
        other.faults.truncate(FAULTS_TOLD.saturating_sub(self.faults.len()));
        self.faults.append(&mut other.faults);
    }
}

fn units(archive: &Archive, digests: &[Digest]) -> VecDeque<Unit> {
    let groups = archive.container().groups().len();
    let mut units: VecDeque<Unit> =
        (0..groups).step_by(GROUPS).map(|i| Unit::Groups(i..(i + GROUPS).min(groups))).collect();
    let mut at = 0;
    let alone = |range: Range<usize>| range.map(|i| Unit::Samples(i..i + 1, None));
    for digest in digests {
        units.extend(alone(at..digest.samples.start));
        units.push_back(Unit::Samples(digest.samples.clone(), Some(digest.clone())));
        at = digest.samples.end;
    }
    units.extend(alone(at..archive.sample_count()));
    units
}

/// Decodes everything an archive holds and gives what is wrong with it.
///
/// # Errors
///
/// What keeps the archive from being opened at all, and everything but damage.
pub fn verify(from: &Archive, threads: usize, job: &Job) -> Result<Verified> {
    let share = job.budget.pool() / 2;
    let account = job.budget.account("archive", share);
    let _held = job.budget.must_reserve(account, share)?;
    let archive = from.open_again(Memory::of(share))?;
    let mut all = Verified { samples: archive.sample_count() as u64, ..Verified::default() };
    let digests = match archive.digests() {
        Ok(digests) => digests,
        Err(error) => {
            all.fault(error)?;
            Vec::new()
        }
    };
    let work = job.budget.account("work", share / 2);
    let mut units = units(&archive, &digests);
    let (result, _) = Pipeline::source("plan", 0, work, STEP_BYTES as u64, |lease| {
        Ok(units.pop_front().map(|unit| Task(unit, lease)))
    })
    .parallel(
        "check",
        0,
        work,
        |_| 0,
        Vec::new,
        |buffer: &mut Vec<u8>, task: Task, _| {
            buffer.resize(STEP_BYTES, 0);
            let mut found = Verified::default();
            match task.0 {
                Unit::Groups(range) => check_groups(&archive, range, buffer, &mut found)?,
                Unit::Samples(range, digest) => {
                    check_samples(&archive, range, digest, buffer, &mut found, job)?;
                }
            }
            Progress::add(&job.progress.records_in, found.contigs);
            drop(task.1);
            Ok(Found(found))
        },
    )
    .run(
        "collect",
        0,
        |found: Found| {
            all.add(found.0);
            Ok(())
        },
        &Threads::Shared(threads.max(1)),
        job,
    );
    result?;
    Ok(all)
}

fn check_samples(
    archive: &Archive,
    range: Range<usize>,
    digest: Option<Digest>,
    buffer: &mut [u8],
    found: &mut Verified,
    job: &Job,
) -> Result<()> {
    let mut summer = Summer::default();
    let mut whole = true;
    for i in range.clone() {
        let sample = match archive.sample(i) {
            Ok(sample) => sample,
            Err(error) => {
                whole = false;
                found.fault(error.within(&format!("sample {}", name(archive, i))))?;
                continue;
            }
        };
        for contig in sample.contigs() {
            job.cancel.check()?;
            if let Err(error) = summer.contig(archive, contig, buffer) {
                whole = false;
                let contig = String::from_utf8_lossy(contig.name()).into_owned();
                let place = format!("sample {}, contig {contig:?}", name(archive, i));
                found.fault(error.within(&place))?;
                continue;
            }
            found.contigs += 1;
            found.bases += contig.length();
        }
    }
    let Some(digest) = digest.filter(|_| whole) else { return Ok(()) };
    found.checksums += range.len() as u64;
    digest.compare(archive, &summer).or_else(|error| found.fault(error))
}

fn name(archive: &Archive, i: usize) -> String {
    format!("{:?}", String::from_utf8_lossy(archive.sample_name(i).unwrap_or_default()))
}

fn check_groups(
    archive: &Archive,
    range: Range<usize>,
    buffer: &mut [u8],
    found: &mut Verified,
) -> Result<()> {
    for group in archive.container().groups().get(range).unwrap_or_default() {
        if let Err(error) = check_group(archive, *group, buffer, found) {
            found.fault(error.within(&format!("group {}", group.id)).at_path(archive.path()))?;
        }
    }
    Ok(())
}

fn check_group(
    archive: &Archive,
    group: Group,
    buffer: &mut [u8],
    found: &mut Verified,
) -> Result<()> {
    if group.reference.is_some() && group.id >= RAW_GROUPS {
        archive.reference(group)?;
        found.parts += 1;
    }
    let parts = group.delta.map_or(&[][..], |stream| archive.container().parts(stream));
    for (i, part) in parts.iter().enumerate() {
        let is_last = i + 1 == parts.len();
        check_pack(archive, *part, is_last, buffer)
            .map_err(|e| e.within(&format!("pack {i}")).at_offset(part.offset))?;
        found.parts += 1;
    }
    Ok(())
}

/// Counts the entries of a pack.
fn check_pack(archive: &Archive, part: Part, is_last: bool, buffer: &mut [u8]) -> Result<()> {
    let wrong = |what: String| Error::format(FormatKind::Other, what);
    let (length, _) = archive.container().read_head(part)?;
    let mut reader = archive.open_pack(part)?;
    let (mut entries, mut bytes, mut last) = (0_u64, 0_u64, SEPARATOR);
    loop {
        let got = reader.read(buffer).map_err(|e| stream_error(&e, length))?;
        let piece = buffer.get(..got).unwrap_or_default();
        let Some(&end) = piece.last() else { break };
        last = end;
        bytes += got as u64;
        entries += memchr::memchr_iter(SEPARATOR, piece).count() as u64;
    }
    let size = u64::from(archive.parameters().pack_size);
    if last != SEPARATOR || entries > size || (!is_last && entries < size) {
        return Err(wrong(format!("the pack has {entries} entries, not {size}")));
    }
    if length > 0 && bytes != length {
        return Err(wrong(format!("the pack has {bytes} bytes where {length} are said")));
    }
    Ok(())
}
