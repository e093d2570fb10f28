//! A pass over whole inputs for the complete list of tags (`--discover full`).

use crate::input::{RawUnit, UnitSource};
use crate::inputs::Inputs;
use crate::load::UNIT_BYTES;
use crate::sample::Sample;
use crate::unit::record_body;
use seqmill_base::{Budget, Error, Result};
use seqmill_io::bam::Record;
use seqmill_io::bgzf::Inflater;

/// A longer record is damage, which the run itself reports.
const RECORD_MAX_BYTES: usize = 256 << 20;

/// Adds every record of every input to a sample.
pub(crate) fn full_sample(inputs: &Inputs) -> Result<Sample> {
    let mut sample = Sample::default();
    let budget = Budget::new(1 << 40, 0)?;
    let account = budget.account("discover", 1 << 40);
    let mut inflater = Inflater::new(false);
    for input in &inputs.list {
        if !input.source.is_seekable() {
            return Err(Error::input(
                "a stream cannot be read twice: --discover full needs a file",
            ));
        }
        let mut units = UnitSource::new(input, &[(input.first, None)], UNIT_BYTES);
        let (mut carry, mut data, mut marks) = (Vec::new(), Vec::new(), Vec::new());
        loop {
            let lease = budget.must_reserve(account, 0)?;
            // Damage is reported by the run itself, with its place.
            let Ok(Some(unit)) = units.next_unit(lease) else { break };
            let skip = match unit {
                RawUnit::Blocks(unit) => {
                    if inflater.inflate_unit(&unit, &mut data, &mut marks).is_err() {
                        break;
                    }
                    unit.first_record
                }
                RawUnit::Nothing => continue,
                RawUnit::Bytes { data: bytes, first_record, .. } => {
                    data = bytes;
                    first_record
                }
            };
            carry.extend_from_slice(data.get(skip.unwrap_or(0)..).unwrap_or_default());
            let mut at = 0;
            while let Ok(record) = Record::new(record_body(&carry, at)) {
                sample.add_record(&record);
                at += 4 + record_body(&carry, at).len();
            }
            carry.drain(..at);
            if carry.len() > RECORD_MAX_BYTES {
                break;
            }
        }
    }
    Ok(sample)
}
