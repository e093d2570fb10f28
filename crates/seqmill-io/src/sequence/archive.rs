//! Archives as input: the text that the FASTA file of their samples would have, made as it is read.

use crate::fasta::{OpenArchive, SampleChecks, SequenceArchive};
use crate::source::{IoMode, Source, open_source};
use seqmill_base::budget::AccountId;
use seqmill_base::fingerprint::{Fingerprint, fingerprint, hash_bytes};
use seqmill_base::{Error, Job, Lease, Result};
use std::fs::File;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

/// The suffix that the archive has where a sample is named behind a `:`.
const SUFFIX: &[u8] = b".agc";
/// An archive begins with the length of a number of at most eight bytes; no text does.
const FIRST_BYTE_MAX: u8 = 8;
/// Bases of a line of the text.
const LINE_BASES: u64 = 80;
/// The part of the memory that an open archive may take, and the bounds of it.
const MEMORY_SHARE: u64 = 4;
const MEMORY_LEAST: u64 = 8 << 20;
const MEMORY_MOST: u64 = 256 << 20;
/// Bases that are decoded at a time.
const STEP_BASES: u64 = 1 << 18;

/// The archive and the sample that a path means which does not exist itself: the longest part
/// before a `:` that exists counts.
pub fn split_sample(path: &Path) -> Option<(&Path, &[u8])> {
    let bytes = path.as_os_str().as_bytes();
    if !bytes.contains(&b':') || path.exists() {
        return None;
    }
    let colons = (0..bytes.len()).rev().filter(|&at| bytes.get(at) == Some(&b':'));
    colons
        .filter_map(|at| Some((bytes.get(..at)?, bytes.get(at + 1..)?)))
        .filter(|(archive, _)| archive.ends_with(SUFFIX))
        .map(|(archive, sample)| (Path::new(std::ffi::OsStr::from_bytes(archive)), sample))
        .find(|(archive, _)| archive.exists())
}

/// Whether an input is an archive or one of its samples, as far as name and first byte tell.
pub fn is_archive_input(path: &Path) -> bool {
    if split_sample(path).is_some() {
        return true;
    }
    let begins_like_one = || {
        let mut first = [0];
        File::open(path).and_then(|mut file| file.read_exact(&mut first)).is_ok()
            && first[0] <= FIRST_BYTE_MAX
    };
    path.metadata().is_ok_and(|meta| meta.is_file())
        && (path.as_os_str().as_bytes().ends_with(SUFFIX) || begins_like_one())
}

/// The file that holds an input.
pub fn input_file(path: &Path) -> &Path {
    split_sample(path).map_or(path, |(archive, _)| archive)
}

/// The fingerprint of an input; that of a sample is none of another sample.
pub fn input_fingerprint(path: &Path) -> Result<Fingerprint> {
    let Some((archive, sample)) = split_sample(path) else { return fingerprint(path) };
    let mut print = fingerprint(archive)?;
    print.hash = hash_bytes(&[print.hash.as_bytes(), b":", sample].concat());
    Ok(print)
}

/// Bytes of memory that an open input holds besides its stream: none unless it is an archive.
pub fn archive_claim(path: &Path, pool: u64) -> u64 {
    if is_archive_input(path) { archive_bytes(pool) + STEP_BASES } else { 0 }
}

fn archive_bytes(pool: u64) -> u64 {
    (pool / MEMORY_SHARE).clamp(MEMORY_LEAST, MEMORY_MOST)
}

/// Opens `path` (`-` is standard input) as bytes; what an archive holds becomes FASTA text.
/// Without `archives` there are none.
pub fn open_sequence(
    path: &Path,
    archives: Option<OpenArchive>,
    job: &Job,
    account: AccountId,
) -> Result<Arc<dyn Source>> {
    let Some(open) = archives.filter(|_| is_archive_input(path)) else {
        return open_source(path, IoMode::Read);
    };
    let pool = job.budget.pool();
    let lease = job.budget.must_reserve(account, archive_bytes(pool) + STEP_BASES)?;
    let sample = split_sample(path);
    let archive = open(input_file(path), archive_bytes(pool))?;
    let samples = archive.samples()?;
    let range = match sample {
        None => 0..samples.len(),
        Some((file, name)) => {
            let found = samples.iter().position(|own| own == name).ok_or_else(|| {
                let name = String::from_utf8_lossy(name);
                Error::name_not_found(format!("the archive has no sample {name:?}")).at_path(file)
            })?;
            found..found + 1
        }
    };
    let place = Mutex::new(Place { sample: range.start, ..Place::default() });
    let path = path.to_path_buf();
    Ok(Arc::new(ArchiveText { archive, path, samples: range, place, _lease: lease }))
}

/// The record at hand.
#[derive(Default)]
struct Place {
    sample: usize,
    contig: usize,
    /// Where its text begins.
    begin: u64,
    header: Vec<u8>,
    length: u64,
    /// A record is at hand.
    open: bool,
    letters: Vec<u8>,
    /// Checks of a text that was read without gaps so far.
    checks: Option<Box<dyn SampleChecks>>,
    /// How far it was read.
    read: u64,
}

impl Place {
    /// Bytes of the header line.
    fn head(&self) -> u64 {
        self.header.len() as u64 + 2
    }

    /// Where the text of the record ends.
    fn end(&self) -> u64 {
        self.begin + self.head() + self.length + self.length.div_ceil(LINE_BASES)
    }
}

/// The text of samples, from front to back; going back costs a walk from the beginning. What is
/// read without gaps is compared with the checksums that the archive has.
struct ArchiveText {
    archive: Arc<dyn SequenceArchive>,
    path: PathBuf,
    samples: std::ops::Range<usize>,
    place: Mutex<Place>,
    _lease: Lease,
}

impl ArchiveText {
    /// Takes up the record in which the byte `at` lies; false behind the last one.
    fn go_to(&self, place: &mut Place, at: u64) -> Result<bool> {
        if at < place.begin || at == 0 {
            *place = Place { sample: self.samples.start, ..Place::default() };
        }
        if at == 0 {
            place.checks = Arc::clone(&self.archive).checks(self.samples.clone())?;
        } else if at != place.read {
            place.checks = None;
        }
        loop {
            if place.open {
                if at < place.end() {
                    return Ok(true);
                }
                (place.begin, place.contig, place.open) = (place.end(), place.contig + 1, false);
                if let Some(checks) = &mut place.checks {
                    checks.end_record();
                }
            }
            if place.sample >= self.samples.end {
                if let Some(mut checks) = place.checks.take() {
                    checks.finish()?;
                }
                return Ok(false);
            }
            let record = self.archive.record(place.sample, place.contig)?;
            if let Some((header, length)) = record {
                if let Some(checks) = &mut place.checks {
                    checks.record(place.sample, place.contig, &header)?;
                }
                (place.header, place.length, place.open) = (header, length, true);
            } else {
                (place.sample, place.contig) = (place.sample + 1, 0);
            }
        }
    }

    /// Copies text of the record at hand from its byte `at` on; gives how many bytes.
    fn copy(&self, place: &mut Place, at: u64, out: &mut [u8]) -> Result<usize> {
        let head = place.head();
        if at < head {
            let line = [b">", place.header.as_slice(), b"\n"].concat();
            let rest = line.get(usize_of(at)..).unwrap_or_default();
            let n = rest.len().min(out.len());
            out.iter_mut().zip(rest).for_each(|(slot, byte)| *slot = *byte);
            return Ok(n);
        }
        let within = at - head;
        let (line, column) = (within / (LINE_BASES + 1), within % (LINE_BASES + 1));
        let first = line * LINE_BASES + column;
        if column == LINE_BASES || first >= place.length {
            let Some(slot) = out.first_mut() else { return Ok(0) };
            *slot = b'\n';
            return Ok(1);
        }
        let bases = (place.length - first).min(out.len() as u64).min(STEP_BASES);
        let mut letters = std::mem::take(&mut place.letters);
        letters.resize(usize_of(bases), 0);
        let read = self.archive.read_range(place.sample, place.contig, first, &mut letters);
        let mut done = 0;
        let (mut rest, mut room) = (letters.as_slice(), usize_of(LINE_BASES - column));
        while !rest.is_empty() && done < out.len() {
            let n = rest.len().min(room).min(out.len() - done);
            let (line, more) = rest.split_at(n);
            if let Some(checks) = &mut place.checks {
                checks.letters(line);
            }
            out.iter_mut().skip(done).zip(line).for_each(|(slot, letter)| *slot = *letter);
            (rest, room, done) = (more, room - n, done + n);
            if room == 0
                && let Some(slot) = out.get_mut(done)
            {
                *slot = b'\n';
                (room, done) = (usize_of(LINE_BASES), done + 1);
            }
        }
        place.letters = letters;
        read.map(|()| done)
    }
}

impl Source for ArchiveText {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> Result<usize> {
        let mut place = self.place.lock().unwrap_or_else(PoisonError::into_inner);
        let mut done = 0;
        while let Some(rest) = buffer.get_mut(done..).filter(|rest| !rest.is_empty()) {
            let at = offset + done as u64;
            if !self.go_to(&mut place, at)? {
                break;
            }
            let within = at - place.begin;
            let copied = self.copy(&mut place, within, rest)?;
            place.read = at + copied as u64;
            done += copied;
        }
        Ok(done)
    }

    fn len(&self) -> Option<u64> {
        None
    }

    fn path(&self) -> &Path {
        &self.path
    }
}

fn usize_of(n: u64) -> usize {
    usize::try_from(n).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fasta::ContigInfo;

    /// Samples of contigs of one header and letters each.
    struct Listed(Vec<Vec<(&'static str, Vec<u8>)>>);

    impl SequenceArchive for Listed {
        fn samples(&self) -> Result<Vec<Vec<u8>>> {
            Ok((0..self.0.len()).map(|i| format!("s{i}").into_bytes()).collect())
        }

        fn contigs(&self, sample: usize) -> Result<Vec<ContigInfo>> {
            let info = |(name, letters): &(&str, Vec<u8>)| ContigInfo {
                name: name.as_bytes().to_vec(),
                length: letters.len() as u64,
            };
            Ok(self.0[sample].iter().map(info).collect())
        }

        fn record(&self, sample: usize, contig: usize) -> Result<Option<(Vec<u8>, u64)>> {
            let found = self.0[sample].get(contig);
            Ok(found.map(|(name, letters)| (name.as_bytes().to_vec(), letters.len() as u64)))
        }

        fn read_range(
            &self,
            sample: usize,
            contig: usize,
            start: u64,
            out: &mut [u8],
        ) -> Result<()> {
            let letters = &self.0[sample][contig].1[usize_of(start)..];
            out.copy_from_slice(&letters[..out.len()]);
            Ok(())
        }

        fn cost_bases(&self) -> u64 {
            1
        }
    }

    fn letters(n: usize) -> Vec<u8> {
        (0..n).map(|i| b"ACGT"[(i * i + i / 7) % 4]).collect()
    }

    #[test]
    fn the_text_is_that_of_the_file() {
        let samples = vec![
            vec![("a one", letters(80)), ("b", letters(200))],
            vec![],
            vec![("c", letters(79)), ("", letters(0)), ("d", letters(81))],
        ];
        let mut expected = Vec::new();
        for (name, letters) in samples.iter().flatten() {
            expected.extend_from_slice(format!(">{name}\n").as_bytes());
            for line in letters.chunks(80) {
                expected.extend_from_slice(line);
                expected.push(b'\n');
            }
        }
        let budget = seqmill_base::Budget::new(1 << 30, 0).unwrap();
        let account = budget.account("input", u64::MAX);
        let text = ArchiveText {
            samples: 0..samples.len(),
            archive: Arc::new(Listed(samples)),
            path: PathBuf::new(),
            place: Mutex::default(),
            _lease: budget.must_reserve(account, 0).unwrap(),
        };
        for size in [1, 7, 80, 81, 500] {
            for at in (0..=expected.len()).rev().step_by(3).chain(0..expected.len()) {
                let mut got = vec![0; size];
                let n = text.read_at(&mut got, at as u64).unwrap();
                assert_eq!(&got[..n], &expected[at..(at + size).min(expected.len())], "{at}");
            }
        }
    }

    #[test]
    fn a_sample_is_named_behind_the_longest_path_that_exists() {
        let folder = std::env::temp_dir().join(format!("seqmill-split-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        for name in ["a.agc", "a.agc:b.agc", "a.fa"] {
            std::fs::write(folder.join(name), [1, 0]).unwrap();
        }
        let split = |name: &str| {
            let path = folder.join(name);
            let found = split_sample(&path);
            found.map(|(file, sample)| {
                let name = file.file_name().unwrap().to_string_lossy().into_owned();
                (name, String::from_utf8_lossy(sample).into_owned())
            })
        };
        let pair = |a: &str, b: &str| Some((a.to_owned(), b.to_owned()));
        assert_eq!(split("a.agc:s:1"), pair("a.agc", "s:1"));
        assert_eq!(split("a.agc:b.agc:s"), pair("a.agc:b.agc", "s"));
        for whole in ["a.agc", "a.agc:b.agc", "a.fa:s", "c.agc:s"] {
            assert_eq!(split(whole), None, "{whole}");
        }
        let print = |name: &str| input_fingerprint(&folder.join(name)).unwrap().hash;
        assert_ne!(print("a.agc:s"), print("a.agc:t"));
        assert!(
            is_archive_input(&folder.join("a.agc:s")) && is_archive_input(&folder.join("a.fa"))
        );
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
