//! What the scanner gives: blocks, pieces of a stream, containers.

use super::{Container, Input, Kind};
use crate::bgzf::{CompressedUnit, UnitScanner, VirtualOffset};
use crate::cram::{ContainerScanner, RawContainer, split_place};
use crate::gzip::GzipStream;
use crate::source::Source;
use seqmill_base::pipeline::Item;
use seqmill_base::{Error, Lease, Result};
use std::sync::Arc;

/// A unit as the source gives it.
pub enum RawUnit {
    /// Nothing: one input has ended.
    Nothing,
    /// Blocks to inflate.
    Blocks(CompressedUnit),
    /// A container of CRAM.
    Container(RawContainer),
    /// Bytes that need no inflation, with their offset in the stream.
    Bytes {
        /// The bytes.
        data: Vec<u8>,
        /// Where they lie in the stream.
        offset: u64,
        /// The unit begins a stretch, whose first record begins here.
        first_record: Option<usize>,
        /// Bytes of the input consumed.
        file_end: u64,
        /// Held as long as the bytes.
        lease: Lease,
    },
}

impl seqmill_base::pipeline::Item for RawUnit {
    fn bytes(&self) -> u64 {
        match self {
            Self::Nothing => 0,
            Self::Blocks(unit) => unit.bytes(),
            Self::Container(container) => container.bytes(),
            Self::Bytes { data, .. } => data.len() as u64,
        }
    }
}

impl RawUnit {
    /// Bytes of text it becomes.
    pub fn text_bytes(&self) -> u64 {
        match self {
            Self::Blocks(unit) => unit.inflated_bytes() as u64,
            _ => self.bytes(),
        }
    }

    /// Bytes that loading it takes.
    pub fn claim(&self) -> u64 {
        match self {
            // Four bytes a record, and a record takes 36 bytes at least; usually it is a tenth of
            // that.
            Self::Blocks(unit) => (unit.inflated_bytes() + unit.inflated_bytes() / 16) as u64,
            Self::Container(container) => container.claim_bytes,
            Self::Bytes { .. } | Self::Nothing => 0,
        }
    }
}

/// Units of an input, one after the other.
pub enum UnitSource {
    /// Blocks of BGZF.
    Blocks(UnitScanner),
    /// Pieces of a stream without blocks.
    Bytes(Box<ByteUnits>),
    /// Containers of CRAM.
    Containers(ContainerScanner),
}

impl UnitSource {
    /// Units from the places given: pairs of begin and end (none: to the end of the input).
    pub fn new(input: &Input, stretches: &[(u64, Option<u64>)], unit_bytes: usize) -> Self {
        Self::of(Arc::clone(&input.source), input, stretches, unit_bytes)
    }

    /// The same from another source of the input's bytes.
    pub fn of(
        source: Arc<dyn Source>,
        input: &Input,
        stretches: &[(u64, Option<u64>)],
        unit_bytes: usize,
    ) -> Self {
        if input.container == Container::Bgzf {
            let stretches = stretches
                .iter()
                .map(|(begin, end)| (VirtualOffset(*begin), end.map(VirtualOffset)))
                .collect();
            return Self::Blocks(UnitScanner::new(source, stretches, unit_bytes));
        }
        let begin = stretches.first().map_or(0, |s| s.0);
        if input.kind == Kind::Cram {
            let (offset, _) = split_place(begin.max(input.first));
            return Self::Containers(ContainerScanner::new(source, offset));
        }
        let gzip =
            (input.container == Container::Gzip).then(|| GzipStream::new(Arc::clone(&source)));
        let (began, damage) = (false, None);
        Self::Bytes(Box::new(ByteUnits { source, gzip, at: 0, begin, unit_bytes, began, damage }))
    }

    /// Bytes to reserve before the next unit is asked for.
    pub fn claim(&self) -> u64 {
        match self {
            Self::Blocks(_) => UnitScanner::CLAIM_BYTES,
            Self::Bytes(units) => units.unit_bytes as u64,
            Self::Containers(_) => ContainerScanner::CLAIM_BYTES,
        }
    }

    /// The next unit, none at the end; `lease` is what [`Self::claim`] asked for.
    pub fn next_unit(&mut self, lease: Lease) -> Result<Option<RawUnit>> {
        match self {
            Self::Blocks(scanner) => Ok(scanner.next_unit(lease)?.map(RawUnit::Blocks)),
            Self::Bytes(units) => units.next_unit(lease),
            Self::Containers(scanner) => Ok(scanner.next_container(lease)?.map(RawUnit::Container)),
        }
    }

    /// Whether a complete file's end marker was missing (always false where there is none).
    pub fn lacks_end_marker(&self) -> bool {
        match self {
            Self::Blocks(scanner) => !scanner.ended_with_marker(),
            Self::Containers(scanner) => !scanner.ended_with_marker(),
            Self::Bytes(_) => false,
        }
    }
}

/// Pieces of a stream without blocks.
pub struct ByteUnits {
    source: Arc<dyn Source>,
    gzip: Option<GzipStream>,
    /// Next byte of the stream.
    at: u64,
    /// Where the first record begins; what lies before is passed over.
    begin: u64,
    unit_bytes: usize,
    began: bool,
    /// What is wrong behind the bytes that were given last.
    damage: Option<Error>,
}

impl ByteUnits {
    fn next_unit(&mut self, lease: Lease) -> Result<Option<RawUnit>> {
        let mut data = Vec::with_capacity(self.unit_bytes);
        if self.gzip.is_none() {
            self.at = self.at.max(self.begin);
        }
        loop {
            if let Some(error) = self.damage.take() {
                return Err(error);
            }
            let offset = self.at;
            data.clear();
            let file_end = if let Some(gzip) = &mut self.gzip {
                match gzip.append(&mut data, self.unit_bytes) {
                    Err(error) if data.is_empty() => return Err(error),
                    // The bytes before it are whole.
                    appended => self.damage = appended.err(),
                }
                self.at += data.len() as u64;
                gzip.consumed()
            } else {
                data.resize(self.unit_bytes, 0);
                let got = self.source.read_at(&mut data, self.at)?;
                data.truncate(got);
                self.at += got as u64;
                self.at
            };
            if data.is_empty() {
                return Ok(None);
            }
            self.source.done_until(file_end);
            if self.at <= self.begin {
                continue;
            }
            let skip = usize::try_from(self.begin.saturating_sub(offset)).unwrap_or(0);
            let first_record = (!std::mem::replace(&mut self.began, true)).then_some(skip);
            return Ok(Some(RawUnit::Bytes { data, offset, first_record, file_end, lease }));
        }
    }
}
