//! What flows from the selection to the decoder: rows of units, batches.

use seqmill_base::pipeline::Item;
use seqmill_base::{Error, Lease};
use seqmill_io::bam::Record;
use seqmill_io::bgzf::VirtualOffset;
use seqmill_io::records::{Unit, record_body};
use std::ops::Range;
use std::sync::Arc;

/// A unit whose records have passed the filters.
pub(crate) struct Selected {
    pub unit: Arc<Unit>,
    /// Offsets of the `block_size` fields.
    pub starts: Vec<u32>,
    /// Where each record begins in the file, if the unit was made of copies.
    pub voffsets: Option<Vec<u64>>,
    /// Arrow bytes of each record, as they count for batches.
    pub weights: Vec<u32>,
    /// Numbers of the records within the unit, if some were left out.
    pub numbers: Option<Vec<u32>>,
    pub ordinal: u64,
    /// Stretches of records with one reference: first row and reference.
    pub runs: Vec<(u32, i32)>,
    /// Rows where the coordinate order is broken against the row before in the unit.
    pub descents: Vec<u32>,
    /// What was noted of records, by their numbers within the unit.
    pub notes: Vec<(u32, Note)>,
    /// Records looked at, by their numbers within the unit.
    pub looked_at: u32,
    pub file_end: u64,
    /// No record behind the unit can be in a region.
    pub behind: bool,
    /// What a chunk index is built from, when one is asked for.
    pub summary: Option<Box<crate::chunk_index::UnitSummary>>,
    /// What is wrong with the record behind the last row.
    pub error: Option<Error>,
    /// The rows are reads without alignments.
    pub reads: Option<Box<crate::reads::ReadRows>>,
    /// Held until the rows are decoded.
    pub _lease: Lease,
}

impl Item for Selected {
    fn bytes(&self) -> u64 {
        self.unit.data.len() as u64
    }
}

impl Selected {
    /// Number of a row's record in its input.
    pub(crate) fn ordinal_of(&self, row: usize) -> u64 {
        let within = match &self.numbers {
            Some(numbers) => numbers.get(row).copied().unwrap_or(0) as usize,
            None => row,
        };
        self.ordinal + within as u64
    }

    /// Where a run could go on behind a row.
    pub(crate) fn position(&self, row: usize) -> Position {
        let mut position = Position {
            input: self.unit.input,
            voffset: self.voffset_of(row).0,
            ordinal: self.ordinal_of(row),
            ..Position::default()
        };
        if let Some(reads) = &self.reads {
            let (voffset, mate, (line, mate_line)) = reads.places(row);
            position = Position { voffset, line, mate, mate_line, ..position };
        }
        position
    }

    /// The body of a row's record.
    pub(crate) fn body(&self, row: usize) -> &[u8] {
        let Some(start) = self.starts.get(row) else { return &[] };
        record_body(&self.unit.data, *start as usize)
    }

    /// A row's record; rows have been checked when they were selected. Reads are none.
    pub(crate) fn record(&self, row: usize) -> Option<Record<'_>> {
        if self.reads.is_some() {
            return None;
        }
        Record::new(self.body(row)).ok()
    }

    /// Where a row's record begins.
    pub(crate) fn voffset_of(&self, row: usize) -> VirtualOffset {
        if let Some(voffsets) = &self.voffsets {
            return VirtualOffset(voffsets.get(row).copied().unwrap_or(0));
        }
        self.unit.voffset(self.starts.get(row).copied().unwrap_or(0) as usize)
    }
}

/// What the selection notes of a record: why it was left out, or a warning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Note {
    Bad,
    Region,
    Mapq,
    Flags,
    ReadGroup,
    Tag,
    Name,
    Length,
    Expression,
    /// The record is kept; its name lacks the NUL.
    UnterminatedName,
}

/// Names of the notes, in their order.
pub(crate) const NOTE_NAMES: [&str; 10] = [
    "bad",
    "region",
    "mapq",
    "flags",
    "read_group",
    "tag",
    "name",
    "length",
    "expression",
    "unterminated_name",
];

/// How often each note was made.
pub(crate) type NoteCounts = [u64; NOTE_NAMES.len()];

/// Rows of one unit.
pub(crate) struct Slice {
    pub selected: Arc<Selected>,
    pub rows: Range<usize>,
}

/// Where a run could go on: behind the last record of a batch.
#[derive(Debug, Clone, Copy, Default, PartialEq, serde::Serialize, serde::Deserialize)]
pub(crate) struct Position {
    /// Index of the input.
    pub input: u32,
    /// Virtual offset of the last record given (plain inputs: stream offset).
    pub voffset: u64,
    /// Number of the last record given in its input.
    pub ordinal: u64,
    /// Line on which it begins, in FASTA; 0: not known.
    #[serde(default)]
    pub line: u64,
    /// Where the mate of the last record given begins, with a mate file, and its line.
    #[serde(default)]
    pub mate: u64,
    #[serde(default)]
    pub mate_line: u64,
}

/// Consecutive rows that become one record batch.
pub(crate) struct Batch {
    pub slices: Vec<Slice>,
    pub rows: usize,
    /// Sum of the weights.
    pub weight: u64,
    /// The Parquet row group ends behind this batch.
    pub group_end: Option<GroupFacts>,
    /// State of the cutter behind this batch.
    pub after: CutState,
}

impl Item for Batch {
    fn bytes(&self) -> u64 {
        self.weight
    }
}

/// What is known of a finished row group.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct GroupFacts {
    /// All rows are of one reference and `pos` never descends.
    pub sorted_by_pos: bool,
    /// Reference and position never descend.
    pub sorted_by_coordinate: bool,
}

/// The cutter between two batches; with a [`Position`] it is all a resumed run needs.
#[derive(Debug, Clone, Copy, Default, PartialEq, serde::Serialize, serde::Deserialize)]
pub(crate) struct CutState {
    pub position: Position,
    /// Records that passed the filters, before `offset` and `limit`.
    pub passed: u64,
    /// Records given.
    pub given: u64,
    /// Coordinate order held so far.
    pub sorted: bool,
    /// Coordinates of the last record that passed.
    pub last_key: (i64, i64),
    /// Records looked at in all inputs.
    pub looked_at: u64,
    pub notes: NoteCounts,
}
