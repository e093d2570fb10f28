//! A pass over whole inputs for the complete list of tags (`--discover full`).

use crate::inputs::Inputs;
use crate::sample::Sample;
use crate::serial::Serial;
use seqmill_base::{Error, Result};
use seqmill_io::bam::Record;
use seqmill_io::records::record_body;

/// Adds every record of every input to a sample.
pub(crate) fn full_sample(inputs: &Inputs) -> Result<Sample> {
    let mut sample = Sample::default();
    for input in &inputs.list {
        if !input.source.is_seekable() {
            return Err(Error::input(
                "a stream cannot be read twice: --discover full needs a file",
            ));
        }
        let mut records = Serial::new(input, u64::MAX, inputs.memory)?;
        // Damage is reported by the run itself, with its place.
        while let Ok(Some(stitched)) = records.next_records() {
            for start in &stitched.starts {
                if let Ok(record) = Record::new(record_body(&stitched.unit.data, *start as usize)) {
                    sample.add_record(&record);
                }
            }
        }
    }
    Ok(sample)
}
