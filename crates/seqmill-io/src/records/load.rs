//! From compressed units to certain records: inflation, hopping, stitching.

mod text;

use super::input::{Input, Kind, RawUnit};
use super::unit::{Hop, Joined, Loaded, Stitched, Unit};
use crate::bam::Record;
use crate::bgzf::{BlockMark, Inflater};
use crate::cram::{CramDecoder, RawContainer, container_place};
use seqmill_base::{Error, FormatKind, Lease, Result};
use std::path::PathBuf;
use std::sync::Arc;

pub use text::Breaks;

/// Bytes of a unit after inflation. A constant: units do not show in the output.
pub const UNIT_BYTES: usize = 1 << 20;
/// The same for stretches found by an index, which are short.
pub const STRETCH_UNIT_BYTES: usize = 128 << 10;

/// Makes a unit of what the scanner gave: inflates blocks, decodes a CRAM container, and finds the
/// records, assuming that one begins at the first byte.
pub fn load_unit(
    inflater: &mut Inflater,
    raw: RawUnit,
    input: u32,
    what: &LoadInput,
    mut lease: Lease,
) -> Result<Loaded> {
    let mut assumed = Hop::default();
    let mut damage = None;
    let (unit, first_record, file_end) = match raw {
        RawUnit::Blocks(blocks) => {
            let (mut data, mut marks) = (Vec::new(), Vec::new());
            let hops = what.kind == Kind::Bam && blocks.first_record.is_none_or(|at| at == 0);
            let inflated = inflater.inflate_blocks(&blocks, &mut data, &mut marks, |data| {
                if hops {
                    assumed.go_on(data);
                }
            });
            match inflated {
                Err(error) if data.is_empty() => return Err(error),
                // The records before it are whole.
                inflated => damage = inflated.err(),
            }
            if assumed.end > data.len() {
                assumed = Hop::default();
            }
            let unit = Unit { data, marks, skew: 0, input, plain: false, lease };
            (unit, blocks.first_record, blocks.file_end)
        }
        RawUnit::Bytes { data, offset, first_record, file_end, lease: own } => {
            let marks = vec![BlockMark { offset, start: 0 }];
            let unit = Unit { data, marks, skew: 0, input, plain: true, lease: own };
            (unit, first_record, file_end)
        }
        RawUnit::Container(container) => {
            let Some(cram) = &what.cram else { return Err(Error::internal("no CRAM decoder")) };
            return load_container(cram, &container, input, lease);
        }
        RawUnit::Nothing => {
            lease.resize(0)?;
            let unit =
                Unit { data: Vec::new(), marks: Vec::new(), skew: 0, input, plain: true, lease };
            (unit, None, 0)
        }
    };
    let (breaks, places) = (Breaks::default(), None);
    let mut loaded = Loaded { unit, first_record, assumed, breaks, places, file_end, damage };
    match what.kind {
        Kind::Bam | Kind::Cram => {
            if first_record.is_none_or(|at| at == 0) {
                loaded.assumed.go_on(&loaded.unit.data);
            }
        }
        kind => loaded.breaks = Breaks::find(kind, &loaded.unit.data),
    }
    let unit = &mut loaded.unit;
    let starts = loaded.assumed.starts.capacity() + loaded.breaks.list.capacity();
    let held = unit.data.capacity() + 4 * starts + 16 * unit.marks.capacity();
    unit.lease.resize(held as u64)?;
    Ok(loaded)
}

/// Records of a container, re-encoded as BAM.
fn load_container(
    cram: &CramDecoder,
    container: &RawContainer,
    input: u32,
    lease: Lease,
) -> Result<Loaded> {
    let decoded = cram.decode(container, lease)?;
    let end = decoded.data.len();
    let places = (0..decoded.starts.len() as u64).map(|i| container_place(container.offset, i));
    let places = Some(places.collect());
    let unit = Unit {
        data: decoded.data,
        marks: vec![BlockMark { offset: container_place(container.offset, 0), start: 0 }],
        skew: 0,
        input,
        plain: true,
        lease: decoded.lease,
    };
    Ok(Loaded {
        unit,
        first_record: None,
        assumed: Hop { starts: decoded.starts, end, broken: false },
        breaks: Breaks::default(),
        places,
        file_end: container.file_end,
        damage: None,
    })
}

/// What the loader needs to know of an input.
pub struct LoadInput {
    /// What the input is.
    pub kind: Kind,
    /// Its decoder, if it is CRAM.
    pub cram: Option<Arc<CramDecoder>>,
}

impl LoadInput {
    /// What the loader needs to know of `input`.
    pub fn new(input: &Input) -> Self {
        Self { kind: input.kind, cram: input.cram.clone() }
    }
}

/// Decides where records really begin, and joins those that straddle units.
pub struct Stitcher {
    inputs: Vec<StitchInput>,
    /// The beginning of a record whose end has not been seen yet.
    pending: Option<Unit>,
    /// Room for what it grows by with the next unit.
    spare: Option<Lease>,
    /// Number of the next record in its input.
    ordinal: u64,
    input: u32,
    /// Where text is.
    lines: text::Lines,
}

/// What the stitcher knows of an input.
pub struct StitchInput {
    /// For messages.
    pub path: PathBuf,
    /// References of its header.
    pub references: usize,
    /// What the input is.
    pub kind: Kind,
    /// Number of the line on which the first record begins, in text.
    pub first_line: u64,
}

impl StitchInput {
    /// What the stitcher needs to know of `input`.
    pub fn new(input: &Input) -> Self {
        Self {
            path: input.path.clone(),
            references: input.header.references.len(),
            kind: input.kind,
            first_line: input.first_line,
        }
    }
}

impl Stitcher {
    /// A stitcher that begins with the record of the number `ordinal` in the input `input`; text
    /// begins at line `line` (none: that of the first record).
    pub fn new(inputs: Vec<StitchInput>, input: u32, ordinal: u64, line: Option<u64>) -> Self {
        let first_line = inputs.get(input as usize).map_or(1, |i| i.first_line);
        let lines = text::Lines::new(line.unwrap_or(first_line));
        Self { inputs, pending: None, spare: None, ordinal, input, lines }
    }

    /// Index of the input whose records are being found.
    pub fn input(&self) -> usize {
        self.input as usize
    }

    fn kind(&self) -> Kind {
        self.inputs.get(self.input as usize).map_or(Kind::Bam, |i| i.kind)
    }

    /// Takes room for what the next unit adds to a record that goes on; without it the room is asked
    /// for when it is needed.
    pub fn hold(&mut self, lease: Option<Lease>) {
        self.spare = lease;
    }

    /// Takes the next unit, or the end of the input; appends what is certain to `out`.
    pub fn stitch(&mut self, loaded: Option<Loaded>, out: &mut Vec<Joined>) -> Result<()> {
        let Some(mut loaded) = loaded else { return self.no_more(out) };
        let damage = loaded.damage.take();
        self.stitch_unit(loaded, out)?;
        damage.map_or(Ok(()), Err)
    }

    fn stitch_unit(&mut self, loaded: Loaded, out: &mut Vec<Joined>) -> Result<()> {
        if loaded.unit.input != self.input {
            self.no_more(out)?;
            self.input = loaded.unit.input;
            self.ordinal = 0;
            let first_line = self.inputs.get(self.input as usize).map_or(1, |i| i.first_line);
            self.lines = text::Lines::new(first_line);
        }
        match self.kind() {
            Kind::Bam => self.stitch_records(loaded, out),
            Kind::Cram => {
                let Loaded { unit, assumed, places, file_end, .. } = loaded;
                self.give(unit, assumed.starts, places, file_end, out);
                Ok(())
            }
            kind => self.stitch_text(kind, loaded, out),
        }
    }

    fn stitch_records(&mut self, loaded: Loaded, out: &mut Vec<Joined>) -> Result<()> {
        let Loaded { unit, first_record, assumed, file_end, .. } = loaded;
        let first_block = unit.marks.get(1).map_or(unit.data.len(), |mark| mark.start as usize);
        if first_record.is_some_and(|first| first > first_block) {
            let text = "index does not match: it points behind the data of a block";
            let place = unit.voffset(0).0;
            return Err(Error::format(FormatKind::IndexMismatch, text).at_voffset(place));
        }
        let from = match (first_record, self.pending.take()) {
            (Some(first), pending) => {
                self.pending = pending;
                self.no_more(out)?;
                first
            }
            (None, Some(pending)) => match self.complete(pending, &unit, file_end, out)? {
                Some(used) => used,
                None => return Ok(()),
            },
            (None, None) => 0,
        };
        let mut assumed = assumed;
        if from != 0 {
            assumed.starts.clear();
            assumed = Hop { end: from.min(unit.data.len()), broken: false, ..assumed };
            assumed.go_on(&unit.data);
        }
        let Hop { starts, end, broken } = assumed;
        let rest = unit.data.get(end..).unwrap_or_default();
        if !rest.is_empty() && !broken {
            let place = unit.voffset(end);
            let (offset, skew) =
                if unit.plain { (place.0, 0) } else { (place.block(), place.within()) };
            let lease = match self.spare.take() {
                Some(mut lease) => {
                    lease.resize(rest.len() as u64)?;
                    lease
                }
                None => unit.lease.sibling(rest.len() as u64)?,
            };
            self.pending = Some(Unit {
                data: rest.to_vec(),
                marks: vec![BlockMark { offset, start: 0 }],
                skew: u32::try_from(skew).unwrap_or(0),
                input: unit.input,
                plain: unit.plain,
                lease,
            });
        }
        let fault_at = broken.then(|| unit.voffset(end).0);
        self.give(unit, starts, None, file_end, out);
        if let Some(voffset) = fault_at {
            return Err(self.bad_size().at_voffset(voffset));
        }
        self.check_pending()
    }

    fn give(
        &mut self,
        unit: Unit,
        starts: Vec<u32>,
        places: Option<Vec<u64>>,
        file_end: u64,
        out: &mut Vec<Joined>,
    ) {
        let ordinal = self.ordinal;
        self.ordinal += starts.len() as u64;
        if !starts.is_empty() {
            let unit = Arc::new(unit);
            let faults = Vec::new();
            out.push(Joined::Records(Stitched { unit, starts, places, ordinal, file_end, faults }));
        }
    }

    /// Feeds a unit's first bytes to the record that began before it. Returns how many it took,
    /// or `None` if the record goes on behind the unit.
    fn complete(
        &mut self,
        mut pending: Unit,
        unit: &Unit,
        file_end: u64,
        out: &mut Vec<Joined>,
    ) -> Result<Option<usize>> {
        let mut used = 0;
        loop {
            let have = pending.data.len();
            let want = match pending.data.first_chunk::<4>() {
                Some(size) => 4 + u32::from_le_bytes(*size) as usize,
                None => 4,
            };
            if have >= 4 && have >= want {
                if want < 36 {
                    return Err(self.bad_size().at_voffset(pending.voffset(0).0));
                }
                self.give(pending, vec![0], None, file_end, out);
                return Ok(Some(used));
            }
            let rest = unit.data.get(used..).unwrap_or_default();
            let part = rest.get(..want - have).unwrap_or(rest);
            if part.is_empty() {
                self.pending = Some(pending);
                self.check_pending()?;
                return Ok(None);
            }
            used += part.len();
            pending.make_room(part.len(), self.spare.take()).map_err(|e| self.too_long(&e))?;
            pending.data.extend_from_slice(part);
        }
    }

    fn too_long(&self, error: &Error) -> Error {
        let needed = error.needed().unwrap_or(0);
        let record = self.ordinal;
        Error::budget(format!("record {record} alone does not fit: {}", error.message()), needed)
    }

    /// Looks at the fixed fields of a record that is not whole yet, so that damage in its length
    /// is not taken for a very long record.
    fn check_pending(&self) -> Result<()> {
        let Some(pending) = &self.pending else { return Ok(()) };
        let Some((size, fixed)) = pending.data.split_first_chunk::<4>() else { return Ok(()) };
        let Some(fixed) = fixed.first_chunk::<32>() else { return Ok(()) };
        let size = u64::from(u32::from_le_bytes(*size));
        let references = self.inputs.get(self.input as usize).map_or(0, |i| i.references);
        pending.lease.note_need(pending.record_need());
        let fault = Record::check_fixed(fixed, size, references);
        fault.map_err(|f| f.into_error(self.ordinal, pending.voffset(0).0))
    }

    fn bad_size(&self) -> Error {
        Error::format(FormatKind::Record, "block_size is less than 32")
            .at_record(self.ordinal)
            .at_field("block_size")
    }

    /// The input, or a stretch of it, has ended: no record may be half read.
    fn no_more(&mut self, out: &mut Vec<Joined>) -> Result<()> {
        if !matches!(self.kind(), Kind::Bam | Kind::Cram) {
            return self.end_text(out);
        }
        let Some(pending) = self.pending.take() else { return Ok(()) };
        let mut error = Error::format(
            FormatKind::Truncated,
            format!("the data end inside record {}", self.ordinal),
        )
        .at_record(self.ordinal)
        .at_voffset(pending.voffset(0).0);
        if let Some(input) = self.inputs.get(pending.input as usize) {
            error = error.at_path(&input.path);
        }
        Err(error)
    }
}

#[cfg(test)]
mod tests;
