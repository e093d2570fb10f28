//! Profiles of whole files, a bounded stretch of windows at a time.

mod table;

pub use table::write_profile;

use super::dump::append_number;
use super::query::profile_bases;
use super::skm::SkmTable;
use seqmill_base::{Job, Result};
use seqmill_io::fasta::OpenArchive;
use seqmill_io::sequence::{Piece, SequenceOptions, SequenceStream};
use std::path::Path;
use std::sync::Arc;

/// Counts of consecutive windows of a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProfileStretch {
    /// Name of the record.
    pub name: Vec<u8>,
    /// First window, 0-based.
    pub start: u64,
    /// Counts.
    pub counts: Vec<u64>,
    /// A byte for each window: 1 if it holds nothing but bases.
    pub valid: Vec<u8>,
}

impl ProfileStretch {
    /// Appends a line for each window: record, first base (0-based), count or `NA`.
    pub fn append_lines(&self, text: &mut Vec<u8>) {
        for (start, (count, valid)) in (self.start..).zip(self.counts.iter().zip(&self.valid)) {
            text.extend_from_slice(&self.name);
            text.push(b'\t');
            append_number(start, text);
            text.push(b'\t');
            match valid {
                0 => text.extend_from_slice(b"NA"),
                _ => append_number(*count, text),
            }
            text.push(b'\n');
        }
    }
}

/// Goes through a file.
pub struct FileProfile {
    table: Arc<SkmTable>,
    stream: SequenceStream,
    windows: usize,
    name: Vec<u8>,
    /// Bases whose windows were not given yet, and those that reach into the next.
    bases: Vec<u8>,
    start: u64,
}

impl FileProfile {
    /// A profile of `path` in stretches of about `windows` windows.
    pub fn open(
        table: Arc<SkmTable>,
        path: &Path,
        archives: Option<OpenArchive>,
        windows: usize,
        job: &Job,
    ) -> Result<Self> {
        let account = job.budget.account("input", u64::MAX);
        let options = SequenceOptions { archives, ..SequenceOptions::default() };
        let stream = SequenceStream::open(path, options, job, account)?;
        let (name, bases) = (Vec::new(), Vec::new());
        Ok(Self { table, stream, windows: windows.max(1), name, bases, start: 0 })
    }

    /// The next stretch; records without a window give none.
    pub fn next_stretch(&mut self) -> Result<Option<ProfileStretch>> {
        let overlap = self.table.facts().k as usize - 1;
        loop {
            let ended = match self.stream.next_piece()? {
                None => return Ok(None),
                Some(Piece::Start { header, .. }) => {
                    let name = header.split(u8::is_ascii_whitespace).next().unwrap_or_default();
                    self.name = name.to_vec();
                    self.bases.clear();
                    self.start = 0;
                    false
                }
                Some(Piece::Bases(bases)) => {
                    self.bases.extend_from_slice(bases);
                    false
                }
                Some(Piece::Qualities(_)) => false,
                Some(Piece::End { .. }) => true,
            };
            let whole = self.bases.len() >= self.windows + overlap;
            if !(ended || whole) || self.bases.len() <= overlap {
                continue;
            }
            let (counts, valid) = profile_bases(&self.table, &self.bases)?;
            let start = self.start;
            self.start += counts.len() as u64;
            self.bases.drain(..counts.len());
            return Ok(Some(ProfileStretch { name: self.name.clone(), start, counts, valid }));
        }
    }
}
