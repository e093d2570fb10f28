//! Profiles of whole files, a bounded stretch of windows at a time.

mod lines;
mod table;

pub use lines::ProfileLines;
pub use table::{profile_table_claim, write_profile};

use super::query::{TOUCHED_BYTES, profile_bases, profile_bytes, profile_sparingly};
use super::skm::SkmTable;
use seqmill_base::{Job, Lease, Result};
use seqmill_io::fasta::OpenArchive;
use seqmill_io::sequence::{Piece, SequenceOptions, SequenceStream};
use std::path::Path;
use std::sync::Arc;

/// Windows that are looked up together: fewer in a small budget.
const WINDOWS_MOST: usize = 1 << 20;
const WINDOWS_LEAST: usize = 1 << 14;
/// Bases that a stream gives at once.
const PIECE_BYTES: u64 = 1 << 19;
/// Copies of a name on its way to the output: here, in a stretch, as text and in Python.
const NAME_COPIES: u64 = 8;

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

/// Goes through a file.
pub struct FileProfile {
    table: Arc<SkmTable>,
    stream: SequenceStream,
    windows: usize,
    /// The memory of the table is given back.
    sparing: bool,
    name: Vec<u8>,
    /// Bases of the record at hand, and how many of them are windows that were given.
    bases: Vec<u8>,
    at: usize,
    start: u64,
    ended: bool,
    name_lease: Lease,
    _lease: Lease,
}

impl FileProfile {
    /// A profile of `path` in stretches of windows: as many as the budget has room for, beside
    /// `output` bytes of what is made of them. Which count stands where does not depend on it.
    pub fn open(
        table: Arc<SkmTable>,
        path: &Path,
        archives: Option<OpenArchive>,
        output: u64,
        job: &Job,
    ) -> Result<Self> {
        let account = job.budget.account("input", u64::MAX);
        let options = SequenceOptions { archives, ..SequenceOptions::default() };
        let stream = SequenceStream::open(path, options, job, account)?;
        let name_lease = job.budget.must_reserve(account, 0)?;
        let k = table.facts().k;
        let margin = output + SequenceStream::claim_bytes(0) + PIECE_BYTES;
        let free = job.budget.pool().saturating_sub(job.budget.reserved());
        let free = free.saturating_sub(margin);
        let least = profile_bytes(k, WINDOWS_LEAST);
        let sparing = table.bytes() > free / 2 || table.bytes() + least > free;
        let held = if sparing {
            table.index_bytes() + TOUCHED_BYTES.min(table.bytes())
        } else {
            table.bytes()
        };
        let mut windows = WINDOWS_MOST;
        while windows > WINDOWS_LEAST && held + profile_bytes(k, windows) > free {
            windows /= 2;
        }
        let own = held + profile_bytes(k, windows) + PIECE_BYTES;
        // What others need beside it counts for whether it can begin.
        let account = job.budget.account("windows", u64::MAX);
        let mut lease = job.budget.must_reserve(account, own + margin - PIECE_BYTES)?;
        lease.resize(own)?;
        Ok(Self {
            table,
            stream,
            windows,
            sparing,
            name: Vec::new(),
            bases: Vec::new(),
            at: 0,
            start: 0,
            ended: true,
            name_lease,
            _lease: lease,
        })
    }

    /// The next stretch; records without a window give none. All stretches of a record but its
    /// last have as many windows, a power of two.
    pub fn next_stretch(&mut self) -> Result<Option<ProfileStretch>> {
        let overlap = self.table.facts().k as usize - 1;
        loop {
            let left = self.bases.len() - self.at;
            if left > overlap && (self.ended || left >= self.windows + overlap) {
                let count = (left - overlap).min(self.windows);
                let bases = &self.bases[self.at..self.at + count + overlap];
                let look_up = if self.sparing { profile_sparingly } else { profile_bases };
                let (counts, valid) = look_up(&self.table, bases)?;
                let start = self.start;
                self.start += count as u64;
                self.at += count;
                return Ok(Some(ProfileStretch { name: self.name.clone(), start, counts, valid }));
            }
            self.bases.drain(..self.at);
            self.at = 0;
            match self.stream.next_piece()? {
                None => return Ok(None),
                Some(Piece::Start { header, .. }) => {
                    let name = header.split(u8::is_ascii_whitespace).next().unwrap_or_default();
                    self.name_lease.resize(NAME_COPIES * name.len() as u64)?;
                    self.name.clear();
                    self.name.extend_from_slice(name);
                    self.bases.clear();
                    (self.start, self.ended) = (0, false);
                }
                Some(Piece::Bases(bases)) => {
                    if self.bases.capacity() < self.bases.len() + bases.len() {
                        // Not twice as much: more is never needed.
                        let room = self.windows + overlap + PIECE_BYTES as usize;
                        let more =
                            (2 * self.bases.len()).min(room).max(self.bases.len() + bases.len());
                        self.bases.reserve_exact(more - self.bases.len());
                    }
                    self.bases.extend_from_slice(bases);
                }
                Some(Piece::Qualities(_)) => {}
                Some(Piece::End { .. }) => self.ended = true,
            }
        }
    }
}
