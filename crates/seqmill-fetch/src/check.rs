//! `--check`: every block, both side files and the index against the sequence files.

use crate::facts::{contig_list_suffix, with_suffix};
use crate::flat::Format;
use crate::store::Store;
use seqmill_base::{Error, FormatKind, Job, Result};
use seqmill_io::bgzf::GziIndex;
use seqmill_io::fasta::{FaiRecord, build_side_files, parse_fai};
use std::path::Path;

impl Store {
    /// Checks the index as a whole.
    pub fn check_index(&self) -> Result<()> {
        self.index().verify()
    }

    /// Reads one file from front to back: checksums of all blocks, lines, and whether its side
    /// files and the index say what is there. The first fault is the result.
    pub fn check_file(&self, file: u32, threads: usize, job: &Job) -> Result<()> {
        self.failure(file)?.map_or(Ok(()), Err)?;
        let path = self.path(file)?;
        let record = self.index().file(file)?;
        if self.is_raw() || matches!(record.format, Format::Gzip | Format::Archive) {
            return self.read_whole(file, job);
        }
        let place = self.options().place();
        let source = place.open(&path)?;
        let found = build_side_files(&source, record.format == Format::Bgzf, threads, job)?;
        let fai_path = with_suffix(&path, contig_list_suffix(self.options().content));
        if place.has(&fai_path) {
            let text = place.read(&fai_path)?;
            if parse_fai(&text, &fai_path)?.records != found.fai.records {
                return Err(stale(&fai_path, "it does not list the contigs that are in the file"));
            }
        }
        let gzi_path = with_suffix(&path, ".gzi");
        if let Some(gzi) = &found.gzi
            && place.has(&gzi_path)
        {
            let bytes = place.read(&gzi_path)?;
            check_gzi(&GziIndex::from_bytes(&bytes, &gzi_path)?, gzi, &gzi_path)?;
        }
        self.check_records(file, &found.fai.records, &path)?;
        self.check_packed(file, &job.cancel)
    }

    fn check_records(&self, file: u32, found: &[FaiRecord], path: &Path) -> Result<()> {
        let what = "the store index does not list the contigs that are in the file";
        if self.contigs(file)? as usize != found.len() {
            return Err(stale(path, what));
        }
        for (record, id) in found.iter().zip(0..) {
            let known = self.contig(file, id)?;
            let same = FaiRecord { name: known.name.to_vec(), ..known.geometry } == *record;
            if !same {
                return Err(stale(path, what));
            }
        }
        Ok(())
    }

    /// Reads every contig, as a caller would.
    fn read_whole(&self, file: u32, job: &Job) -> Result<()> {
        const STEP_BASES: u64 = 1 << 20;
        let encoder = crate::encode::Encoder::identity();
        let mut out = vec![0; usize::try_from(STEP_BASES).unwrap_or(0)];
        for id in 0..self.contigs(file)? {
            let contig = self.contig(file, id)?;
            let mut start = 0;
            while start < contig.length() {
                job.cancel.check()?;
                let end = (start + STEP_BASES).min(contig.length());
                let place = crate::window::Place { start, end, left: 0, right: 0 };
                let length = usize::try_from(end - start).unwrap_or(0);
                let out = out.get_mut(..length).unwrap_or_default();
                self.read(&contig, &place, false, (&encoder, b'N'), out)?;
                start = end;
            }
        }
        Ok(())
    }
}

/// Entries may leave blocks out, or list the empty one at the end; what they say must be true.
fn check_gzi(told: &GziIndex, found: &GziIndex, path: &Path) -> Result<()> {
    let real = found.entries();
    let end = real.last().copied().unwrap_or_default();
    for entry in told.entries() {
        if real.binary_search(entry).is_err() && entry.0 <= end.0 {
            let what = format!("it names a block at byte {} that is not there", entry.0);
            return Err(stale(path, &what));
        }
    }
    Ok(())
}

fn stale(path: &Path, what: &str) -> Error {
    Error::format(FormatKind::StaleIndex, what).at_path(path)
}
