//! From compressed units to certain records: inflation, hopping, stitching.

use crate::unit::{Hop, Loaded, Stitched, Unit, hop};
use seqmill_base::pipeline::Emit;
use seqmill_base::{Error, FormatKind, Lease, Result};
use seqmill_io::bam::Record;
use seqmill_io::bgzf::{BlockMark, CompressedUnit, Inflater};
use std::path::PathBuf;
use std::sync::Arc;

/// Bytes of a unit after inflation. A constant: units do not show in the output.
pub(crate) const UNIT_BYTES: usize = 1 << 20;

/// A unit beside the record starts that the loader finds in it.
pub(crate) fn unit_claim(inflated: usize) -> u64 {
    // Four bytes a record, and a record takes 36 bytes at least; usually it is a tenth of that.
    (inflated + inflated / 16) as u64
}

/// Inflates a unit and hops over its records, assuming that one begins at its first byte.
pub(crate) fn load(
    inflater: &mut Inflater,
    unit: &CompressedUnit,
    input: u32,
    mut lease: Lease,
) -> Result<Loaded> {
    let mut data = Vec::new();
    let mut marks = Vec::new();
    inflater.inflate_unit(unit, &mut data, &mut marks)?;
    let mut assumed = Hop::default();
    if unit.first_record.is_none_or(|at| at == 0) {
        (assumed.end, assumed.broken) = hop(&data, 0, &mut assumed.starts);
    }
    let held = data.capacity() + 4 * assumed.starts.capacity() + 16 * marks.capacity();
    lease.resize(held as u64)?;
    let file_end = unit.file_end;
    let unit_data = Unit { data, marks, skew: 0, input, plain: false, lease };
    Ok(Loaded { unit: unit_data, first_record: unit.first_record, assumed, file_end })
}

/// Decides where records really begin, and joins those that straddle units.
pub(crate) struct Stitcher {
    inputs: Vec<StitchInput>,
    /// The beginning of a record whose end has not been seen yet.
    pending: Option<Unit>,
    /// Number of the next record in its input.
    ordinal: u64,
    input: u32,
}

/// What the stitcher knows of an input.
pub(crate) struct StitchInput {
    /// For messages.
    pub path: PathBuf,
    /// References of its header.
    pub references: usize,
}

impl Stitcher {
    /// A stitcher whose first record has the number `ordinal` in the input `input`.
    pub(crate) fn new(inputs: Vec<StitchInput>, input: u32, ordinal: u64) -> Self {
        Self { inputs, pending: None, ordinal, input }
    }

    /// Index of the input whose records are being found.
    pub(crate) fn input(&self) -> usize {
        self.input as usize
    }

    /// Takes the next unit, or the end of the input.
    pub(crate) fn stitch(
        &mut self,
        loaded: Option<Loaded>,
        emit: &mut Emit<'_, Stitched>,
    ) -> Result<()> {
        let Some(loaded) = loaded else { return self.no_more() };
        if loaded.unit.input != self.input {
            self.no_more()?;
            self.input = loaded.unit.input;
            self.ordinal = 0;
        }
        let Loaded { unit, first_record, assumed, file_end } = loaded;
        let first_block = unit.marks.get(1).map_or(unit.data.len(), |mark| mark.start as usize);
        if first_record.is_some_and(|first| first > first_block) {
            let text = "index does not match: it points behind the data of a block";
            let place = unit.voffset(0).0;
            return Err(Error::format(FormatKind::IndexMismatch, text).at_voffset(place));
        }
        let from = match (first_record, self.pending.take()) {
            (Some(first), pending) => {
                self.pending = pending;
                self.no_more()?;
                first
            }
            (None, Some(pending)) => match self.complete(pending, &unit, file_end, emit)? {
                Some(used) => used,
                None => return Ok(()),
            },
            (None, None) => 0,
        };
        let Hop { mut starts, mut end, mut broken } = assumed;
        if from != 0 {
            let from = from.min(unit.data.len());
            (end, broken) = hop(&unit.data, from, &mut starts);
        }
        let rest = unit.data.get(end..).unwrap_or_default();
        if !rest.is_empty() && !broken {
            let place = unit.voffset(end);
            let (offset, skew) =
                if unit.plain { (place.0, 0) } else { (place.block(), place.within()) };
            let lease = unit.lease.sibling(rest.len() as u64)?;
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
        self.give(unit, starts, file_end, emit);
        if let Some(voffset) = fault_at {
            return Err(self.bad_size().at_voffset(voffset));
        }
        self.check_pending()
    }

    fn give(&mut self, unit: Unit, starts: Vec<u32>, file_end: u64, emit: &mut Emit<'_, Stitched>) {
        let ordinal = self.ordinal;
        self.ordinal += starts.len() as u64;
        if !starts.is_empty() {
            emit.push(Stitched { unit: Arc::new(unit), starts, ordinal, file_end });
        }
    }

    /// Feeds a unit's first bytes to the record that began before it. Returns how many it took,
    /// or `None` if the record goes on behind the unit.
    fn complete(
        &mut self,
        mut pending: Unit,
        unit: &Unit,
        file_end: u64,
        emit: &mut Emit<'_, Stitched>,
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
                self.give(pending, vec![0], file_end, emit);
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
            pending.lease.resize((have + part.len()) as u64).map_err(|e| self.too_long(&e))?;
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
        let fault = Record::check_fixed(fixed, size, references);
        fault.map_err(|f| crate::select::fault_error(f, self.ordinal, pending.voffset(0).0))
    }

    fn bad_size(&self) -> Error {
        Error::format(FormatKind::Record, "block_size is less than 32")
            .at_record(self.ordinal)
            .at_field("block_size")
    }

    /// The input, or a stretch of it, has ended: no record may be half read.
    fn no_more(&mut self) -> Result<()> {
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
