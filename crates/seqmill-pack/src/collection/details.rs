//! The five arrays that describe segments (`agc.md` §3.4).

use crate::batch::Segment;
use crate::vint::{Reader, differ, restore, write_vint};
use rustc_hash::FxBuildHasher;
use seqmill_base::Result;

/// Number of arrays.
pub(crate) const ARRAYS: usize = 5;

/// The last in-group id of each group within a batch, from which the next is predicted.
#[derive(Debug, Default)]
pub(crate) struct InGroup {
    last: hashbrown::HashMap<u32, u32, FxBuildHasher>,
}

impl InGroup {
    /// Codes an id.
    pub(crate) fn encode(&mut self, group: u32, id: u32) -> u32 {
        let last = self.last.get(&group).copied();
        let coded = match last {
            None => id,
            Some(_) if id == 0 => 0,
            Some(p) if id == p + 1 => 1,
            Some(p) => u32::try_from(differ(u64::from(id), u64::from(p) + 1) + 1).unwrap_or(0),
        };
        self.keep(group, id, last);
        coded
    }

    /// The id of a code; `None` if it is beyond 32 bits.
    pub(crate) fn decode(&mut self, group: u32, coded: u32) -> Option<u32> {
        let last = self.last.get(&group).copied();
        let id = match (last, coded) {
            (None, coded) => coded,
            (Some(_), 0) => 0,
            (Some(p), 1) => p.checked_add(1)?,
            (Some(p), coded) => {
                u32::try_from(restore(u64::from(coded) - 1, u64::from(p) + 1)).ok()?
            }
        };
        self.keep(group, id, last);
        Some(id)
    }

    fn keep(&mut self, group: u32, id: u32, last: Option<u32>) {
        // Id 0 is the reference: it never changes the prediction.
        if id > 0 && last.is_none_or(|p| id > p) {
            self.last.insert(group, id);
        }
    }
}

/// Writes the arrays of a batch.
#[derive(Debug, Default)]
pub(crate) struct Details {
    /// The arrays as they stand so far.
    pub(crate) arrays: [Vec<u8>; ARRAYS],
    in_group: InGroup,
}

impl Details {
    /// The arrays, with the number of samples in front.
    pub(crate) fn finish(self, samples: u32) -> Vec<Vec<u8>> {
        let [counts, groups, ids, lengths, orientations] = self.arrays;
        let mut first = Vec::with_capacity(counts.len() + 5);
        write_vint(samples, &mut first);
        first.extend(counts);
        vec![first, groups, ids, lengths, orientations]
    }

    /// Appends a number of contigs or segments.
    pub(crate) fn count(&mut self, n: u32) {
        let [counts, ..] = &mut self.arrays;
        write_vint(n, counts);
    }

    /// Appends a segment; `expected` is the length most segments have.
    pub(crate) fn segment(&mut self, segment: &Segment, expected: u32) {
        let [_, groups, ids, lengths, orientations] = &mut self.arrays;
        write_vint(segment.group, groups);
        write_vint(self.in_group.encode(segment.group, segment.id), ids);
        let length = differ(u64::from(segment.length), u64::from(expected));
        #[expect(clippy::cast_possible_truncation, reason = "the format keeps 32 bits")]
        write_vint(length as u32, lengths);
        write_vint(u32::from(segment.reverse), orientations);
    }
}

/// Reads the arrays of a batch.
pub(crate) struct DetailsReader<'a> {
    counts: Reader<'a>,
    groups: Reader<'a>,
    ids: Reader<'a>,
    lengths: Reader<'a>,
    orientations: Reader<'a>,
    in_group: InGroup,
    expected: u32,
}

impl<'a> DetailsReader<'a> {
    pub(crate) fn new(arrays: &'a [Vec<u8>; ARRAYS], expected: u32) -> Self {
        let [counts, groups, ids, lengths, orientations] = arrays;
        Self {
            counts: Reader::new(counts, "numbers of segments"),
            groups: Reader::new(groups, "groups of segments"),
            ids: Reader::new(ids, "entries of segments"),
            lengths: Reader::new(lengths, "lengths of segments"),
            orientations: Reader::new(orientations, "orientations of segments"),
            in_group: InGroup::default(),
            expected,
        }
    }

    pub(crate) fn count(&mut self) -> Result<usize> {
        Ok(self.counts.vint()? as usize)
    }

    pub(crate) fn segment(&mut self) -> Result<Segment> {
        let group = self.groups.vint()?;
        let coded = self.ids.vint()?;
        let id = self
            .in_group
            .decode(group, coded)
            .ok_or_else(|| self.ids.wrong("an entry is beyond 32 bits"))?;
        let length = restore(u64::from(self.lengths.vint()?), u64::from(self.expected));
        let length =
            u32::try_from(length).map_err(|_| self.lengths.wrong("a length is beyond 32 bits"))?;
        let reverse = match self.orientations.vint()? {
            0 => false,
            1 => true,
            _ => return Err(self.orientations.wrong("an orientation is neither 0 nor 1")),
        };
        Ok(Segment { group, id, length, reverse })
    }

    pub(crate) fn finish(self) -> Result<()> {
        for reader in [self.counts, self.groups, self.ids, self.lengths, self.orientations] {
            reader.finish()?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn segments_make_the_round_trip() {
        let mut details = Details::default();
        let segments: Vec<Segment> = [0, 1, 2, 2, 0, 9, 3, 10, 0, 11, 7]
            .iter()
            .flat_map(|&id| {
                [16, 17].map(|group| Segment {
                    group,
                    id: id * (group - 15),
                    length: 990 + id * 100,
                    reverse: id % 3 == 0,
                })
            })
            .collect();
        for segment in &segments {
            details.segment(segment, 1021);
        }
        let arrays: [Vec<u8>; ARRAYS] = details.finish(1).try_into().unwrap();
        let mut reader = DetailsReader::new(&arrays, 1021);
        assert_eq!(reader.count().unwrap(), 1);
        for segment in &segments {
            assert_eq!(reader.segment().unwrap(), *segment);
        }
        reader.finish().unwrap();
    }
}
