//! Columns of names, qualities and raw tags: long values copied one after the other.

use super::arrays::{Optional, ascii, binary, length_offset, text};
use super::{View, place};
use crate::bases::quality_text;
use crate::unit::Batch;
use arrow_array::ArrayRef;
use arrow_schema::DataType;
use seqmill_base::Result;
use seqmill_io::bam::Fault;

/// `*` is how SAM writes a missing name.
pub(super) fn names(views: &[View<'_>]) -> Result<ArrayRef> {
    let total = views.iter().map(|v| v.parts.name.len()).sum();
    length_offset(total)?;
    let mut bytes = Vec::with_capacity(total);
    let mut ends = Vec::with_capacity(views.len() + 1);
    ends.push(0);
    let mut present = Optional::<u8>::new(views.len());
    for view in views {
        let name = view.parts.name;
        let there = name != b"*" && !name.is_empty();
        if there {
            bytes.extend_from_slice(name);
        }
        ends.push(length_offset(bytes.len())?);
        present.push(there.then_some(1));
    }
    text(ends, bytes, present.nulls(), "qname")
}

pub(super) fn qualities(
    views: &[View<'_>],
    data_type: &DataType,
    batch: &Batch,
) -> Result<ArrayRef> {
    let raw = *data_type == DataType::Binary;
    let total: usize = views.iter().map(|v| v.parts.qual.len()).sum();
    length_offset(total)?;
    let mut bytes = vec![0; total];
    let mut ends = Vec::with_capacity(views.len() + 1);
    ends.push(0);
    let mut present = Optional::<u8>::new(views.len());
    let mut at = 0;
    for (row, view) in views.iter().enumerate() {
        let qual = view.parts.qual;
        let there = qual.first().is_some_and(|q| *q != 0xff);
        if there {
            let out = bytes.get_mut(at..at + qual.len()).unwrap_or_default();
            if raw {
                out.copy_from_slice(qual);
            } else if !quality_text(qual, out) {
                return Err(place(Fault::record("qual", "has a value above 93"), batch, row));
            }
            at += qual.len();
        }
        ends.push(length_offset(at)?);
        present.push(there.then_some(1));
    }
    bytes.truncate(at);
    let nulls = present.nulls();
    Ok(if raw { binary(ends, bytes, nulls) } else { ascii(ends, bytes, nulls) })
}

pub(super) fn mean_quality(qual: &[u8]) -> Option<f32> {
    let there = qual.first().is_some_and(|q| *q != 0xff);
    let sum: u64 = qual.iter().map(|q| u64::from(*q)).sum();
    #[expect(clippy::cast_possible_truncation, reason = "a mean of bytes fits in any float")]
    there.then(|| (sum as f64 / qual.len() as f64) as f32)
}

pub(super) fn binary_tags(views: &[View<'_>]) -> Result<ArrayRef> {
    let total = views.iter().map(|v| v.parts.tags.len()).sum();
    length_offset(total)?;
    let mut bytes = Vec::with_capacity(total);
    let mut ends = vec![0];
    for view in views {
        bytes.extend_from_slice(view.parts.tags);
        ends.push(length_offset(bytes.len())?);
    }
    Ok(binary(ends, bytes, None))
}
