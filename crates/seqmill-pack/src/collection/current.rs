//! The collection of version 3.

use super::SampleNames;
use super::details::{ARRAYS, DetailsReader};
use super::names::NameCoder;
use crate::batch::Batch;
use crate::frame::Inflater;
use crate::vint::Reader;
use seqmill_base::{Error, FormatKind, Result};

/// Reads `collection-samples`.
pub(crate) fn read_sample_names(raw: &[u8]) -> Result<SampleNames> {
    let mut reader = Reader::new(raw, "names of samples");
    let mut names = SampleNames::default();
    for _ in 0..reader.count(1)? {
        names.push(reader.text()?)?;
    }
    reader.finish()?;
    Ok(names)
}

/// Reads the names and the description of a batch.
///
/// `samples` is how many the batch must have, `expected` the length that segments are told by,
/// `limit` the memory that the result may take.
pub(crate) fn read_batch(
    inflater: &mut Inflater,
    names: &[u8],
    details: &[u8],
    samples: usize,
    expected: u32,
    limit: u64,
) -> Result<Batch> {
    let mut batch = Batch::default();
    let arrays = split_arrays(inflater, details, limit)?;
    let mut segments = DetailsReader::new(&arrays, expected);
    let mut reader = Reader::new(names, "names of contigs");
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    if reader.vint()? as usize != samples || segments.count()? != samples {
        return Err(reader.wrong(&format!("the batch has not {samples} samples")));
    }
    let mut coder = NameCoder::default();
    let mut name = Vec::new();
    for _ in 0..samples {
        coder.reset();
        let contigs = reader.count(1)?;
        if segments.count()? != contigs {
            return Err(reader.wrong("a sample has not as many contigs as descriptions"));
        }
        for _ in 0..contigs {
            let room = limit.saturating_sub(batch.name_bytes());
            coder.decode(reader.text()?, room, &mut name)?;
            batch.push_contig(&name)?;
            for _ in 0..segments.count()? {
                batch.push_segment(segments.segment()?);
            }
            batch.end_contig()?;
        }
        batch.end_sample()?;
    }
    reader.finish()?;
    segments.finish()?;
    batch.check()?;
    Ok(batch)
}

/// The five arrays, each a frame of its own.
fn split_arrays(inflater: &mut Inflater, details: &[u8], limit: u64) -> Result<[Vec<u8>; ARRAYS]> {
    let mut head = Reader::new(details, "descriptions of segments");
    let mut sizes = [(0, 0); ARRAYS];
    for size in &mut sizes {
        *size = (u64::from(head.vint()?), head.vint()? as usize);
    }
    let mut rest = head.rest();
    let total: u64 = sizes.iter().map(|(raw, _)| raw).sum();
    if total > limit {
        return Err(crate::container::too_large(total));
    }
    let mut arrays: [Vec<u8>; ARRAYS] = Default::default();
    for (array, (raw, packed)) in arrays.iter_mut().zip(sizes) {
        let (frame, behind) = rest.split_at_checked(packed).ok_or_else(|| {
            Error::format(FormatKind::Other, "descriptions of segments are cut short")
        })?;
        *array = inflater.inflate(frame, raw)?;
        rest = behind;
    }
    if !rest.is_empty() {
        let what = "bytes follow the descriptions of segments";
        return Err(Error::format(FormatKind::Other, what));
    }
    Ok(arrays)
}
