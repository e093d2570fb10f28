//! Making the chunk index as a by-product of a pass, and using one.

use crate::regions::RegionFilter;
use crate::sample::Sample;
use hashbrown::HashMap;
use rustc_hash::FxBuildHasher;
use seqmill_base::Result;
use seqmill_io::bam::chunk_index::{
    ChunkIndex, DataPrint, FLAG_COORDINATE, FLAG_END_MARKER, Stretch, TagEntry,
};
use seqmill_io::bam::{Record, TagKind, Tags};
use seqmill_io::records::{Stitched, record_body};
use std::path::Path;

/// Inflated bytes of a stretch, about.
const STRETCH_BYTES: u64 = 4 << 20;

/// Count and longest value by name, type and subtype.
type TagTable = HashMap<([u8; 2], u8, u8), (u64, u32), FxBuildHasher>;

/// What the records of one unit show.
#[derive(Debug, Clone)]
pub(crate) struct UnitSummary {
    stretch: Stretch,
    bytes: u64,
    tags: TagTable,
}

impl UnitSummary {
    /// Looks at all records of a unit.
    pub(crate) fn of(stitched: &Stitched) -> Option<Self> {
        let unit = &stitched.unit;
        let first = unit.voffset(*stitched.starts.first()? as usize);
        let mut stretch = Stretch {
            block: first.block(),
            inflated: 0,
            first: u32::try_from(first.within()).unwrap_or(0),
            records: u32::try_from(stitched.starts.len()).unwrap_or(u32::MAX),
            ordinal: stitched.ordinal,
            references: (i32::MAX, i32::MIN),
            lowest: i32::MAX,
            highest: i32::MIN,
            flags: (0, u16::MAX),
        };
        let mut tags = TagTable::default();
        let mut bytes = 0;
        for start in &stitched.starts {
            let body = record_body(&unit.data, *start as usize);
            bytes += 4 + body.len() as u64;
            let Ok(record) = Record::new(body) else { continue };
            let reference = if record.ref_id() < 0 { i32::MAX } else { record.ref_id() };
            stretch.references.0 = stretch.references.0.min(reference);
            stretch.references.1 = stretch.references.1.max(reference);
            stretch.lowest = stretch.lowest.min(record.pos());
            stretch.highest = stretch.highest.max(i32::try_from(record.end()).unwrap_or(i32::MAX));
            stretch.flags.0 |= record.flag();
            stretch.flags.1 &= record.flag();
            for tag in Tags::new(record.parts().tags) {
                let Ok(tag) = tag else { break };
                let (kind, subtype) = match tag.kind {
                    TagKind::Character => (b'A', 0),
                    TagKind::Integer(kind) => (kind, 0),
                    TagKind::Float => (b'f', 0),
                    TagKind::Text => (b'Z', 0),
                    TagKind::Hex => (b'H', 0),
                    TagKind::Array(subtype) => (b'B', subtype),
                };
                let entry = tags.entry((tag.name, kind, subtype)).or_default();
                entry.0 += 1;
                entry.1 = entry.1.max(u32::try_from(tag.value.len()).unwrap_or(u32::MAX));
            }
        }
        Some(Self { stretch, bytes, tags })
    }
}

/// Collects the summaries of a pass, in order.
#[derive(Debug, Default)]
pub(crate) struct IndexBuilder {
    stretches: Vec<Stretch>,
    /// Inflated bytes of records in the open stretch, and before each one.
    open_bytes: u64,
    bytes: u64,
    records: u64,
    tags: TagTable,
}

impl IndexBuilder {
    /// Adds the next unit.
    pub(crate) fn add(&mut self, summary: &UnitSummary) {
        let next = &summary.stretch;
        self.records += u64::from(next.records);
        match self.stretches.last_mut() {
            Some(open) if self.open_bytes < STRETCH_BYTES => {
                open.records += next.records;
                open.references.0 = open.references.0.min(next.references.0);
                open.references.1 = open.references.1.max(next.references.1);
                open.lowest = open.lowest.min(next.lowest);
                open.highest = open.highest.max(next.highest);
                open.flags.0 |= next.flags.0;
                open.flags.1 &= next.flags.1;
            }
            _ => {
                // Distance of the first record from the beginning of the records, for now; the
                // length of the header and the place within the block come in `finish`.
                self.stretches.push(Stretch { inflated: self.bytes, ..*next });
                self.open_bytes = 0;
            }
        }
        self.open_bytes += summary.bytes;
        self.bytes += summary.bytes;
        let mut tags: Vec<_> = summary.tags.iter().collect();
        tags.sort_unstable();
        for (key, (count, longest)) in tags {
            let entry = self.tags.entry(*key).or_default();
            entry.0 += count;
            entry.1 = entry.1.max(*longest);
        }
    }

    /// The index of `data`, whose first record begins at the inflated offset `header_bytes`.
    pub(crate) fn finish(
        self,
        data: &Path,
        header_bytes: u64,
        sorted: bool,
        marker: bool,
    ) -> Result<ChunkIndex> {
        let mut stretches = self.stretches;
        for stretch in &mut stretches {
            stretch.inflated = header_bytes + stretch.inflated - u64::from(stretch.first);
        }
        let mut tags: Vec<TagEntry> = self
            .tags
            .into_iter()
            .map(|((name, kind, subtype), (count, longest))| TagEntry {
                name,
                kind,
                subtype,
                count,
                longest,
            })
            .collect();
        tags.sort_unstable();
        let flags =
            if sorted { FLAG_COORDINATE } else { 0 } | if marker { FLAG_END_MARKER } else { 0 };
        Ok(ChunkIndex {
            flags,
            print: DataPrint::of(data)?,
            records: self.records,
            inflated: header_bytes + self.bytes,
            stretches,
            tags,
        })
    }
}

/// Adds the complete tag list of an index to a sample, in place of what the sample has seen.
pub(crate) fn complete_tags(sample: &mut Sample, index: &ChunkIndex) {
    for entry in &index.tags {
        sample.add_known_tag(entry.name, entry.kind, entry.subtype, entry.count);
    }
}

/// Which part of the records a run is about, by their numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Part {
    /// First record.
    pub begin: u64,
    /// First record behind.
    pub end: u64,
}

/// Part `i` of `n` of all records.
pub(crate) fn shard(index: &ChunkIndex, i: u64, n: u64) -> Part {
    let edge = |i: u64| {
        let edge = u128::from(index.records) * u128::from(i) / u128::from(n.max(1));
        u64::try_from(edge).unwrap_or(u64::MAX)
    };
    Part { begin: edge(i), end: edge(i + 1) }
}

/// Where to read for a part, and the number of the first record there.
pub(crate) fn stretch_of(index: &ChunkIndex, part: Part) -> Option<(u64, Option<u64>, u64)> {
    if part.begin >= part.end {
        return None;
    }
    let first = index.stretches.partition_point(|s| s.ordinal <= part.begin).checked_sub(1)?;
    let begin = index.stretches.get(first)?;
    let behind = index.stretches.iter().find(|s| s.ordinal >= part.end);
    Some((begin.voffset().0, behind.map(|s| s.voffset().0), begin.ordinal))
}

/// Stretches that can hold records of the regions, those that follow each other joined.
pub(crate) fn stretches_of_regions(
    index: &ChunkIndex,
    regions: &RegionFilter,
) -> Vec<(u64, Option<u64>)> {
    let can_hold = |s: &Stretch| {
        (regions.unplaced && s.references.1 == i32::MAX)
            || regions.intervals.iter().any(|interval| {
                let reference = i64::from(interval.reference);
                let (low, high) = (i64::from(s.references.0), i64::from(s.references.1));
                // Positions say something only of a stretch with a single reference.
                let apart = low == high
                    && regions.whole.is_none()
                    && (interval.begin >= u64::try_from(s.highest).unwrap_or(0)
                        || interval.end <= u64::try_from(s.lowest).unwrap_or(0));
                reference >= low && reference <= high && !apart
            })
    };
    let mut found: Vec<(u64, Option<u64>)> = Vec::new();
    let mut joined = false;
    for (i, stretch) in index.stretches.iter().enumerate() {
        if !can_hold(stretch) {
            joined = false;
            continue;
        }
        let end = index.stretches.get(i + 1).map(|s| s.voffset().0);
        match found.last_mut().filter(|_| joined) {
            Some(last) => last.1 = end,
            None => found.push((stretch.voffset().0, end)),
        }
        joined = true;
    }
    found
}
