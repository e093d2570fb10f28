//! Archives of many samples as part of a store: each sample plays the part of a file.

use crate::blocks::Stretch;
use crate::encode::Writer;
use crate::facts::Facts;
use crate::files::OpenFile;
use crate::flat::Format;
use crate::index::Index;
use crate::options::OpenOptions;
use crate::probe::stale;
use crate::store::{Contig, Process, Store};
use crate::walk::{Found, Walk};
use crate::window::{Lines, Place};
use seqmill_base::{Error, FormatKind, Result};
use seqmill_io::fasta::{FaiRecord, SequenceArchive};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

/// The suffix of archives, which nothing at their beginning tells from other files.
pub(crate) const SUFFIX: &str = ".agc";
/// Archives that a process keeps open: each may keep memory of its own.
const OPEN_MAX: usize = 4;
/// Bytes that one archive may keep, at least.
const BYTES_MIN: u64 = 16 << 20;
/// Bases that are read at a time.
const STEP_BASES: u64 = 1 << 16;

type Shared = Arc<dyn SequenceArchive>;

/// The archives that are open, the one used last at the end.
#[derive(Default)]
pub(crate) struct Archives {
    open: Mutex<Vec<(PathBuf, Shared)>>,
}

impl std::fmt::Debug for Archives {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Archives")
    }
}

impl Archives {
    /// The archive at `path`, opened if it is not.
    pub(crate) fn get(&self, path: &Path, options: &OpenOptions) -> Result<Shared> {
        self.get_if(path, options, || Ok(()))
    }

    /// The archive of an open file: where it is opened anew, another one may have its name.
    pub(crate) fn get_as_it_was(&self, file: &OpenFile, options: &OpenOptions) -> Result<Shared> {
        self.get_if(file.path(), options, || file.check_path())
    }

    fn get_if(
        &self,
        path: &Path,
        options: &OpenOptions,
        check_opened: impl FnOnce() -> Result<()>,
    ) -> Result<Shared> {
        let Some(open) = options.archives else {
            let what = "archives cannot be read by this build";
            return Err(Error::format(FormatKind::Other, what).at_path(path));
        };
        let mut known = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(at) = known.iter().position(|(own, _)| own == path) {
            let found = known.remove(at);
            let archive = Arc::clone(&found.1);
            known.push(found);
            return Ok(archive);
        }
        let archive = open(path, (options.cache_bytes as u64).max(BYTES_MIN))?;
        check_opened()?;
        if known.len() >= OPEN_MAX {
            known.remove(0);
        }
        known.push((path.to_path_buf(), Arc::clone(&archive)));
        Ok(archive)
    }
}

/// Fails if the contig of a sample is not the one that the index has under its number.
fn check_name(archive: &dyn SequenceArchive, sample: usize, contig: &Contig<'_>) -> Result<()> {
    let record = archive.record(sample, contig.id as usize)?;
    let is_it = record.is_some_and(|(header, length)| {
        let name = header.split(|&b| b == b' ' || b == b'\t').next().unwrap_or_default();
        name == contig.name && length == contig.length()
    });
    if is_it { Ok(()) } else { Err(stale(contig.name, "the archive has another one there")) }
}

/// The path of an archive and the sample that `path`, which does not exist, means.
fn split_sample(base: &Path, path: &[u8]) -> Option<(Vec<u8>, Vec<u8>)> {
    use std::os::unix::ffi::OsStrExt;
    let whole = base.join(std::ffi::OsStr::from_bytes(path));
    let (_, sample) = seqmill_io::sequence::split_sample(&whole)?;
    let archive = path.len().checked_sub(sample.len() + 1)?;
    Some((path.get(..archive)?.to_vec(), sample.to_vec()))
}

impl Walk {
    /// Puts the samples of archives in the place of the archives. One that cannot be read stays:
    /// why that is so becomes part of the index.
    pub(crate) fn expand(&mut self, base: &Path, options: &OpenOptions) -> Result<()> {
        let is_archive = |found: &Found| {
            found.suffix == SUFFIX.as_bytes() || split_sample(base, &found.name).is_some()
        };
        let (archives, mut found): (Vec<Found>, Vec<Found>) =
            std::mem::take(&mut self.found).into_iter().partition(is_archive);
        for archive in archives {
            let whole = [archive.name.as_slice(), &archive.suffix].concat();
            let (path, only) = match split_sample(base, &whole) {
                Some((path, sample)) => (path, Some(sample)),
                None => (whole, None),
            };
            let stem = path.strip_suffix(SUFFIX.as_bytes()).unwrap_or(&path).to_vec();
            let of_sample = |sample: &[u8], index: usize| Found {
                name: [&stem, b"/".as_slice(), sample].concat(),
                suffix: path.clone(),
                sample: Some(index as u64),
            };
            let file = Found { name: stem.clone(), suffix: SUFFIX.into(), sample: None };
            let opened = self.archives.get(&base.join(file.relative_path()), options);
            let Ok(samples) = opened.and_then(|archive| archive.samples()) else {
                found.push(file);
                continue;
            };
            let before = found.len();
            for (index, sample) in samples.iter().enumerate() {
                if only.as_ref().is_none_or(|only| only == sample) {
                    found.push(of_sample(sample, index));
                }
            }
            if let Some(only) = only.filter(|_| found.len() == before) {
                let only = String::from_utf8_lossy(&only);
                return Err(Error::name_not_found(format!("the archive has no sample {only:?}"))
                    .at_path(&base.join(file.relative_path())));
            }
        }
        self.found = found;
        Ok(())
    }
}

impl Facts {
    /// Fills in what an archive says of one of its samples.
    pub(crate) fn fill_sample(
        &mut self,
        path: &Path,
        sample: u64,
        archives: &Archives,
        options: &OpenOptions,
    ) -> Result<()> {
        self.format = Some(Format::Archive);
        self.sample = Some(sample);
        let archive = archives.get(path, options)?;
        let mut seen = hashbrown::HashSet::<Vec<u8>, rustc_hash::FxBuildHasher>::default();
        for contig in archive.contigs(usize::try_from(sample).unwrap_or(usize::MAX))? {
            let length = contig.length;
            if !seen.insert(contig.name.clone()) {
                let name = String::from_utf8_lossy(&contig.name);
                let path = path.display();
                self.notes.warnings.push(format!(
                    "{path}: contig {name:?} comes more than once; the first one is used"
                ));
            }
            // An archive has no lines: each contig is one.
            self.contigs.push(FaiRecord {
                name: contig.name,
                length,
                offset: 0,
                line_bases: length.max(1),
                line_width: length.max(1),
            });
        }
        Ok(())
    }
}

impl Store {
    /// Gives the bases of a window of a sample to `writer`.
    pub(crate) fn read_archive(
        &self,
        process: &Process,
        file: &OpenFile,
        contig: &Contig<'_>,
        place: &Place,
        stretch: &mut Stretch,
        writer: &mut Writer<'_>,
    ) -> Result<()> {
        let index: &Index = self.index();
        let sample = usize::try_from(index.file(contig.file)?.first_block).unwrap_or(usize::MAX);
        let archive = process.archives.get_as_it_was(file, self.options())?;
        if !process.is_checked(contig.ordinal) {
            check_name(archive.as_ref(), sample, contig).map_err(|e| e.at_path(file.path()))?;
            process.set_checked(contig.ordinal);
        }
        let (start, end) = (place.start, place.end);
        let mut lines = Lines::new(&contig.geometry, contig.name, start, end, false);
        let mut at = start;
        while at < end {
            let count = (end - at).min(STEP_BASES);
            let bases = stretch.buffer(usize::try_from(count).unwrap_or(0));
            archive.read_range(sample, contig.id as usize, at, bases)?;
            lines.take(bases, writer)?;
            at += count;
        }
        lines.finish()
    }
}

#[cfg(test)]
mod tests;
