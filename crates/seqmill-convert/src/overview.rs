//! Counts for the pictures of a report: qualities, flags, lengths, references, tags.

use crate::unit::Batch;
use hashbrown::HashMap;
use rustc_hash::FxBuildHasher;
use seqmill_io::bam::{TagKind, Tags, reference_span};
use serde_json::{Value, json};

/// Histogram bins of lengths: two to each power of two.
const LENGTH_BINS: usize = 64;
/// Template lengths are counted one by one up to here.
const TLEN_MAX: usize = 2000;
/// Width of a bin of template lengths.
const TLEN_BIN: usize = 10;
/// References shown by name.
const TOP_REFERENCES: usize = 50;
/// Tags told apart.
const TAGS_MAX: usize = 1024;

/// Counts over records that were given.
#[derive(Debug, Clone)]
pub(crate) struct Overview {
    mapq: Vec<u64>,
    flags: [u64; 16],
    lengths: Vec<u64>,
    tlen: Vec<u64>,
    quality: Vec<u64>,
    /// Records and bases covered, by reference.
    references: HashMap<i32, (u64, u64), FxBuildHasher>,
    tags: HashMap<([u8; 2], u8), u64, FxBuildHasher>,
}

impl Default for Overview {
    fn default() -> Self {
        Self {
            mapq: vec![0; 256],
            flags: [0; 16],
            lengths: vec![0; LENGTH_BINS],
            tlen: vec![0; TLEN_MAX / TLEN_BIN + 1],
            quality: vec![0; 94],
            references: HashMap::default(),
            tags: HashMap::default(),
        }
    }
}

fn bump(counts: &mut [u64], at: usize) {
    if let Some(count) = counts.get_mut(at) {
        *count += 1;
    }
}

/// Bin of a length: 0, 1, then halves of octaves.
fn length_bin(length: u32) -> usize {
    if length < 2 {
        return length as usize;
    }
    let octave = length.ilog2();
    2 * octave as usize + (length >> (octave - 1) & 1) as usize
}

/// Least length of a bin.
fn bin_edge(bin: usize) -> u64 {
    if bin < 2 {
        return bin as u64;
    }
    let whole = 1_u64 << (bin / 2);
    if bin.is_multiple_of(2) { whole } else { whole + whole / 2 }
}

impl Overview {
    /// Counts a batch.
    pub(crate) fn of_batch(batch: &Batch, references: usize) -> Self {
        let mut overview = Self::default();
        overview.references.reserve(references.min(64));
        for slice in &batch.slices {
            for row in slice.rows.clone() {
                let Some(record) = slice.selected.record(row) else { continue };
                bump(&mut overview.mapq, usize::from(record.mapq()));
                let flag = record.flag();
                for (bit, count) in overview.flags.iter_mut().enumerate() {
                    *count += u64::from(flag >> bit & 1);
                }
                bump(&mut overview.lengths, length_bin(record.length()));
                if flag & 0x903 == 3 && record.template_length() > 0 {
                    let tlen = record.template_length().unsigned_abs() as usize;
                    bump(&mut overview.tlen, tlen.min(TLEN_MAX) / TLEN_BIN);
                }
                let parts = record.parts();
                if parts.qual.first().is_some_and(|q| *q != 0xff) {
                    let sum: u64 = parts.qual.iter().map(|q| u64::from(*q)).sum();
                    bump(
                        &mut overview.quality,
                        usize::try_from(sum / parts.qual.len() as u64).unwrap_or(0),
                    );
                }
                let covered = reference_span(record.cigar(&parts).0).unsigned_abs();
                let entry = overview.references.entry(record.ref_id()).or_default();
                entry.0 += 1;
                entry.1 += covered;
                for tag in Tags::new(parts.tags) {
                    let Ok(tag) = tag else { break };
                    overview.count_tag(tag.name, tag.kind, 1);
                }
            }
        }
        overview
    }

    fn count_tag(&mut self, name: [u8; 2], kind: TagKind, n: u64) {
        let kind = match kind {
            TagKind::Character => b'A',
            TagKind::Integer(_) => b'i',
            TagKind::Float => b'f',
            TagKind::Text => b'Z',
            TagKind::Hex => b'H',
            TagKind::Array(_) => b'B',
        };
        if self.tags.len() < TAGS_MAX || self.tags.contains_key(&(name, kind)) {
            *self.tags.entry((name, kind)).or_default() += n;
        }
    }

    /// Adds the counts of another batch.
    pub(crate) fn add(&mut self, other: &Self) {
        let pairs = [
            (&mut self.mapq, &other.mapq),
            (&mut self.lengths, &other.lengths),
            (&mut self.tlen, &other.tlen),
            (&mut self.quality, &other.quality),
        ];
        for (to, from) in pairs {
            to.iter_mut().zip(from).for_each(|(a, b)| *a += b);
        }
        self.flags.iter_mut().zip(other.flags).for_each(|(a, b)| *a += b);
        let mut references: Vec<_> = other.references.iter().collect();
        references.sort_unstable();
        for (id, (records, bases)) in references {
            let entry = self.references.entry(*id).or_default();
            entry.0 += records;
            entry.1 += bases;
        }
        let mut tags: Vec<_> = other.tags.iter().collect();
        tags.sort_unstable();
        for (key, n) in tags {
            if self.tags.len() < TAGS_MAX || self.tags.contains_key(key) {
                *self.tags.entry(*key).or_default() += n;
            }
        }
    }

    /// The counts as `detail.overview` of the metrics document.
    pub(crate) fn to_json(&self, names: &[(String, u64)]) -> Value {
        let last = self.lengths.iter().rposition(|n| *n > 0).unwrap_or(0);
        let edges: Vec<u64> = (0..=last + 1).map(bin_edge).collect();
        let tlen_edges: Vec<usize> = (0..=self.tlen.len()).map(|i| i * TLEN_BIN).collect();
        let mut references: Vec<_> = self.references.iter().collect();
        references.sort_unstable_by_key(|(id, (records, _))| (std::cmp::Reverse(*records), **id));
        let rest = references.split_off(references.len().min(TOP_REFERENCES));
        references.sort_unstable_by_key(|(id, _)| (**id < 0, **id));
        let name = |id: i32| {
            let found = usize::try_from(id).ok().and_then(|id| names.get(id));
            found.map_or(("*".to_owned(), 0), Clone::clone)
        };
        let mut list: Vec<Value> = references
            .into_iter()
            .map(|(id, (records, bases))| {
                let (name, length) = name(*id);
                json!({"name": name, "length": length, "records": records, "bases": bases})
            })
            .collect();
        if !rest.is_empty() {
            let sum = rest.iter().fold((0, 0), |sum, (_, n)| (sum.0 + n.0, sum.1 + n.1));
            list.push(json!({"name": "rest", "length": 0, "records": sum.0, "bases": sum.1}));
        }
        let mut tags: Vec<_> = self.tags.iter().collect();
        tags.sort_unstable();
        let tags: Vec<Value> = tags
            .into_iter()
            .map(|((name, kind), count)| {
                let name: String = name.iter().map(|b| char::from(*b)).collect();
                json!({"tag": name, "type": char::from(*kind).to_string(), "count": count})
            })
            .collect();
        json!({
            "mapq": self.mapq,
            "flags": self.flags,
            "length_log2_bins": {"edges": edges, "counts": self.lengths.get(..=last)},
            "tlen": {"edges": tlen_edges, "counts": self.tlen},
            "references": list,
            "tags": tags,
            "quality": self.quality,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_length_lies_within_its_bin() {
        for length in (0..5000).chain([1 << 20, u32::MAX]) {
            let bin = length_bin(length);
            assert!(bin_edge(bin) <= u64::from(length), "{length}");
            assert!(u64::from(length) < bin_edge(bin + 1), "{length}");
        }
    }
}
