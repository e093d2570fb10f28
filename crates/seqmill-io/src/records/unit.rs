//! What flows from the scanner to the records: inflated units, records in them, lines.

use super::load::Breaks;
use crate::bam::Fault;
use crate::bgzf::{BlockMark, VirtualOffset};
use seqmill_base::pipeline::Item;
use seqmill_base::{Error, Lease, Result};
use std::ops::Range;
use std::sync::Arc;

/// Inflated bytes with the places they come from.
#[derive(Debug)]
pub struct Unit {
    /// BAM record data.
    pub data: Vec<u8>,
    /// Where each block begins; for inputs without blocks one mark with the stream's offset.
    pub marks: Vec<BlockMark>,
    /// Offset of the first byte of `data` within its first block.
    pub skew: u32,
    /// Input the bytes come from.
    pub input: u32,
    /// The bytes of the input are not in blocks: a place is a plain offset.
    pub plain: bool,
    /// Held as long as the data.
    pub lease: Lease,
}

impl Unit {
    /// The virtual offset of a byte of the data (for plain inputs: the stream offset).
    pub fn voffset(&self, at: usize) -> VirtualOffset {
        let found = self.marks.partition_point(|m| m.start as usize <= at).saturating_sub(1);
        let Some(mark) = self.marks.get(found) else { return VirtualOffset(0) };
        let mut within = at - mark.start as usize;
        if found == 0 {
            within += self.skew as usize;
        }
        if self.plain {
            return VirtualOffset(mark.offset + within as u64);
        }
        VirtualOffset::new(mark.offset, u32::try_from(within).unwrap_or(0))
    }

    /// Makes room for `more` bytes, out of `spare` where it is given.
    pub(super) fn make_room(&mut self, more: usize, spare: Option<Lease>) -> Result<()> {
        let goal = self.data.len() + more;
        if let Some(spare) = spare {
            self.lease.absorb(spare);
        }
        self.lease.resize(goal as u64)?;
        self.data.reserve_exact(more);
        Ok(())
    }

    /// [`record_need`] of the record that the data begin with, which need not be whole.
    pub(super) fn record_need(&self) -> u64 {
        let word = |at: usize| {
            let bytes = self.data.get(at..).and_then(<[u8]>::first_chunk::<4>);
            bytes.map_or(0, |b| u64::from(u32::from_le_bytes(*b)))
        };
        record_need(word(0), word(20))
    }
}

/// What a record of `size` bytes and `bases` bases takes at most while it becomes a row: as it is,
/// and all that [`row_need`] says.
pub fn record_need(size: u64, bases: u64) -> u64 {
    size + size / 2 + row_need(size, bases)
}

/// What a record takes at most beside itself: as columns, as pages, and in the work on the largest
/// page. Pages hold numbers of 8 and 16 bits in 32, and their levels beside them.
pub fn row_need(size: u64, bases: u64) -> u64 {
    let others = size.saturating_sub(bases + bases / 2);
    // Columns of bases have their length from the beginning, those of tags grow by quarters.
    let columns = 2 * bases + others + others / 4;
    let pages = 2 * bases + 4 * others;
    let work = (2 * bases).max(10 * others);
    columns + pages + work
}

/// A unit and the records found in it under an assumption the stitcher checks.
pub struct Loaded {
    /// The bytes.
    pub unit: Unit,
    /// The unit begins a stretch, whose first record begins here.
    pub first_record: Option<usize>,
    /// Records if one begins at byte 0.
    pub assumed: Hop,
    /// Where lines or records of text begin or end.
    pub breaks: Breaks,
    /// Where each record begins in the file, when the unit cannot tell.
    pub places: Option<Vec<u64>>,
    /// Bytes of the input consumed when this unit is done.
    pub file_end: u64,
    /// What is wrong behind the bytes.
    pub damage: Option<Error>,
}

impl Item for Loaded {
    fn bytes(&self) -> u64 {
        self.unit.data.len() as u64
    }
}

/// Starts of consecutive records.
#[derive(Debug, Default)]
pub struct Hop {
    /// Offsets of the `block_size` fields.
    pub starts: Vec<u32>,
    /// Where the next record would begin; it is not whole if this is before the end.
    pub end: usize,
    /// The record at `end` has an impossible `block_size`.
    pub broken: bool,
}

impl Hop {
    /// Follows the `block_size` values on from where it stands; `data` may have grown since.
    pub(super) fn go_on(&mut self, data: &[u8]) {
        let mut at = self.end;
        while !self.broken
            && let Some(size) = data.get(at..).and_then(<[u8]>::first_chunk::<4>)
        {
            let size = u32::from_le_bytes(*size) as usize;
            self.broken = size < 32;
            let end = at + 4 + size;
            if self.broken || end > data.len() {
                break;
            }
            self.starts.push(u32::try_from(at).unwrap_or(u32::MAX));
            at = end;
        }
        self.end = at;
    }
}

/// A unit whose records are certain.
pub struct Stitched {
    /// The bytes.
    pub unit: Arc<Unit>,
    /// Offsets of the `block_size` fields.
    pub starts: Vec<u32>,
    /// Where each record begins in the file, when the unit cannot tell.
    pub places: Option<Vec<u64>>,
    /// Number of the first record in its input.
    pub ordinal: u64,
    /// Bytes of the input consumed when this unit is done.
    pub file_end: u64,
    /// What is wrong with records, by their numbers within the unit: found in their text.
    pub faults: Vec<(u32, Fault, Error)>,
}

impl Item for Stitched {
    fn bytes(&self) -> u64 {
        self.unit.data.len() as u64
    }
}

/// Whole lines, or whole records of FASTA and FASTQ, that have not been looked at.
pub struct TextRun {
    /// The bytes.
    pub unit: Arc<Unit>,
    /// The lines.
    pub range: Range<usize>,
    /// Where records begin; empty for SAM, whose records are lines.
    pub starts: Vec<u32>,
    /// Number of the first line, from 1.
    pub line: u64,
    /// Number of the first record in its input.
    pub ordinal: u64,
    /// Bytes of the input consumed when this unit is done.
    pub file_end: u64,
}

/// What the stitcher gives.
pub enum Joined {
    /// Records whose places are certain.
    Records(Stitched),
    /// Lines, or records of text.
    Text(TextRun),
}

impl Item for Joined {
    fn bytes(&self) -> u64 {
        match self {
            Self::Records(stitched) => stitched.bytes(),
            Self::Text(run) => run.range.len() as u64,
        }
    }
}

/// The bytes behind the `block_size` at `start`.
pub fn record_body(data: &[u8], start: usize) -> &[u8] {
    let Some((size, rest)) = data.get(start..).and_then(<[u8]>::split_first_chunk::<4>) else {
        return &[];
    };
    rest.get(..u32::from_le_bytes(*size) as usize).unwrap_or_default()
}
