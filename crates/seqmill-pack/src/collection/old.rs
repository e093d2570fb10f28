//! The collections of versions 1 and 2 (`agc.md` §7).

use super::OldCollection;
use crate::batch::{Batch, Segment};
use crate::vint::{Reader, restore, unzigzag};
use seqmill_base::Result;

/// Least bytes of a description of a segment: four numbers.
const SEGMENT_LEAST_BYTES: usize = 4;

fn commands(reader: &mut Reader<'_>, into: &mut OldCollection) -> Result<()> {
    for _ in 0..reader.count(2)? {
        let text = String::from_utf8_lossy(reader.text()?).into_owned();
        let date = String::from_utf8_lossy(reader.text()?).into_owned();
        into.commands.push(format!("{text} : {date}"));
    }
    Ok(())
}

fn flag(reader: &mut Reader<'_>) -> Result<bool> {
    match reader.vint()? {
        0 => Ok(false),
        1 => Ok(true),
        _ => Err(reader.wrong("an orientation is neither 0 nor 1")),
    }
}

/// Reads `collection-desc` of version 1.
pub(crate) fn read_version_1(raw: &[u8]) -> Result<OldCollection> {
    let mut reader = Reader::new(raw, "collection");
    let mut collection = OldCollection::default();
    let batch = &mut collection.batch;
    for _ in 0..reader.count(2)? {
        collection.names.push(reader.text()?)?;
        for _ in 0..reader.count(2)? {
            batch.push_contig(reader.text()?)?;
            let mut before = [0; 3];
            for _ in 0..reader.count(SEGMENT_LEAST_BYTES)? {
                for value in &mut before {
                    let difference = reader.vint()?;
                    *value = unzigzag(difference, *value)
                        .ok_or_else(|| reader.wrong("a number is beyond 32 bits"))?;
                }
                let [group, id, length] = before;
                let reverse = flag(&mut reader)?;
                batch.push_segment(Segment { group, id, length, reverse });
            }
            batch.end_contig()?;
        }
        batch.end_sample()?;
    }
    commands(&mut reader, &mut collection)?;
    reader.finish()?;
    collection.batch.check()?;
    Ok(collection)
}

/// Reads `collection-main` and all parts of `collection-details` of version 2; `details` gives
/// them one at a time.
pub(crate) fn read_version_2(
    main: &[u8],
    mut details: impl FnMut(usize) -> Result<Vec<u8>>,
) -> Result<OldCollection> {
    let mut reader = Reader::new(main, "collection");
    let mut collection = OldCollection::default();
    let per_part = reader.vint()?.max(1) as usize;
    let samples = reader.count(2)?;
    // Names and numbers of segments of all samples come first.
    let mut shapes: Vec<Vec<u32>> = Vec::with_capacity(samples);
    for _ in 0..samples {
        collection.names.push(reader.text()?)?;
        let contigs = reader.count(2)?;
        let mut shape = Vec::with_capacity(contigs);
        for _ in 0..contigs {
            collection.batch.push_contig(reader.text()?)?;
            shape.push(reader.vint()?);
        }
        collection.batch.end_sample()?;
        shapes.push(shape);
    }
    commands(&mut reader, &mut collection)?;
    reader.finish()?;
    for (part, shapes) in shapes.chunks(per_part).enumerate() {
        let raw = details(part)?;
        read_details(&raw, shapes, &mut collection.batch)?;
    }
    collection.batch.check()?;
    Ok(collection)
}

/// Four arrays back to back: groups, entries, lengths, orientations.
fn read_details(raw: &[u8], shapes: &[Vec<u32>], batch: &mut Batch) -> Result<()> {
    let mut reader = Reader::new(raw, "descriptions of segments");
    let total: u64 = shapes.iter().flatten().map(|&n| u64::from(n)).sum();
    if total.saturating_mul(SEGMENT_LEAST_BYTES as u64) > raw.len() as u64 {
        return Err(reader.wrong("fewer segments than the contigs have"));
    }
    let mut columns: [Vec<u32>; 3] = Default::default();
    for column in &mut columns {
        for &segments in shapes.iter().flatten() {
            let mut before = 0;
            for _ in 0..segments {
                let value = restore(u64::from(reader.vint()?), u64::from(before));
                before =
                    u32::try_from(value).map_err(|_| reader.wrong("a number is beyond 32 bits"))?;
                column.push(before);
            }
        }
    }
    let [groups, ids, lengths] = columns;
    let mut rows = groups.into_iter().zip(ids).zip(lengths);
    for &segments in shapes.iter().flatten() {
        for ((group, id), length) in rows.by_ref().take(segments as usize) {
            let reverse = flag(&mut reader)?;
            batch.push_segment(Segment { group, id, length, reverse });
        }
        batch.end_contig()?;
    }
    reader.finish()
}
