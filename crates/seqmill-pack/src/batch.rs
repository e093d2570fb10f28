//! A batch of samples: names of their contigs, and the segments that make each up.

use seqmill_base::{Error, FormatKind, Result};
use std::sync::OnceLock;

/// A piece of a contig: which entry of which group holds it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Segment {
    pub(crate) group: u32,
    pub(crate) id: u32,
    /// Bases as stored, overlap included.
    pub(crate) length: u32,
    /// The stored sequence is the reverse complement of the contig's.
    pub(crate) reverse: bool,
}

/// Some consecutive samples.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    names: Vec<u8>,
    /// End of each contig's name.
    name_ends: Vec<u32>,
    /// End of each contig's segments.
    segment_ends: Vec<u32>,
    /// End of each sample's contigs.
    contig_ends: Vec<u32>,
    segments: Vec<Segment>,
    /// For each sample its contigs by short name.
    by_name: Vec<OnceLock<Box<[u32]>>>,
}

/// The name of a contig: its header up to the first blank.
pub fn short_name(header: &[u8]) -> &[u8] {
    let end = header.iter().position(|b| matches!(b, b' ' | b'\t' | b'\r' | b'\n'));
    header.get(..end.unwrap_or(header.len())).unwrap_or_default()
}

/// Length of a contig of these segments.
pub(crate) fn contig_length(segments: &[Segment], k: u32) -> u64 {
    let total: u64 = segments.iter().map(|s| u64::from(s.length)).sum();
    total.saturating_sub(u64::from(k) * (segments.len() as u64).saturating_sub(1))
}

fn start(ends: &[u32], i: usize) -> usize {
    i.checked_sub(1).and_then(|i| ends.get(i)).map_or(0, |&end| end as usize)
}

fn end(ends: &[u32], i: usize) -> usize {
    ends.get(i).map_or(0, |&end| end as usize)
}

fn place(n: usize) -> Result<u32> {
    u32::try_from(n)
        .map_err(|_| Error::format(FormatKind::Other, "a batch of samples is beyond 4 GiB"))
}

impl Batch {
    /// Bytes that the batch holds.
    pub(crate) fn bytes(&self) -> u64 {
        (self.names.len()
            + 4 * (self.name_ends.len() + self.segment_ends.len() + self.contig_ends.len())
            // The index by name is made when it is wanted.
            + 4 * self.name_ends.len()
            + self.segments.len() * size_of::<Segment>()
            + self.by_name.len() * size_of::<OnceLock<Box<[u32]>>>()
            + 256) as u64
    }

    pub(crate) fn push_contig(&mut self, name: &[u8]) -> Result<()> {
        self.names.extend_from_slice(name);
        self.name_ends.push(place(self.names.len())?);
        Ok(())
    }

    pub(crate) fn push_segment(&mut self, segment: Segment) {
        self.segments.push(segment);
    }

    /// Ends the segments of a contig.
    pub(crate) fn end_contig(&mut self) -> Result<()> {
        self.segment_ends.push(place(self.segments.len())?);
        Ok(())
    }

    /// Ends the contigs of a sample.
    pub(crate) fn end_sample(&mut self) -> Result<()> {
        self.contig_ends.push(place(self.name_ends.len())?);
        self.by_name.push(OnceLock::new());
        Ok(())
    }

    /// Bytes of names so far.
    pub(crate) fn name_bytes(&self) -> usize {
        self.names.len()
    }

    pub(crate) fn samples(&self) -> usize {
        self.contig_ends.len()
    }

    pub(crate) fn contigs(&self, sample: usize) -> usize {
        end(&self.contig_ends, sample).saturating_sub(start(&self.contig_ends, sample))
    }

    fn ordinal(&self, sample: usize, contig: usize) -> usize {
        start(&self.contig_ends, sample) + contig
    }

    /// The whole header of a contig.
    pub(crate) fn header(&self, sample: usize, contig: usize) -> &[u8] {
        let i = self.ordinal(sample, contig);
        self.names.get(start(&self.name_ends, i)..end(&self.name_ends, i)).unwrap_or_default()
    }

    pub(crate) fn segments(&self, sample: usize, contig: usize) -> &[Segment] {
        let i = self.ordinal(sample, contig);
        let range = start(&self.segment_ends, i)..end(&self.segment_ends, i);
        self.segments.get(range).unwrap_or_default()
    }

    /// The contig of a short name; of equal names the first.
    pub(crate) fn find(&self, sample: usize, name: &[u8]) -> Option<usize> {
        let sorted = self.by_name.get(sample)?.get_or_init(|| {
            let mut order: Vec<u32> =
                (0..self.contigs(sample)).filter_map(|i| u32::try_from(i).ok()).collect();
            order.sort_by_key(|&i| (short_name(self.header(sample, i as usize)), i));
            order.into_boxed_slice()
        });
        let at = sorted.partition_point(|&i| short_name(self.header(sample, i as usize)) < name);
        let found = *sorted.get(at)? as usize;
        (short_name(self.header(sample, found)) == name).then_some(found)
    }

    /// Whether another contig of the sample has the short name of this one, which was found by it.
    pub(crate) fn is_ambiguous(&self, sample: usize, found: usize, name: &[u8]) -> bool {
        let Some(sorted) = self.by_name.get(sample).and_then(OnceLock::get) else { return false };
        let at = sorted.partition_point(|&i| short_name(self.header(sample, i as usize)) <= name);
        at.checked_sub(1).and_then(|i| sorted.get(i)).is_some_and(|&last| last as usize != found)
    }

    /// Checks that every list has come to its end and that no contig is without a segment.
    pub(crate) fn check(&self) -> Result<()> {
        let whole = self.segment_ends.len() == self.name_ends.len()
            && end(&self.contig_ends, self.samples().saturating_sub(1)) == self.name_ends.len();
        if whole {
            return Ok(());
        }
        Err(Error::format(FormatKind::Other, "names and descriptions of contigs do not match"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contigs_are_found_by_short_name() {
        let mut batch = Batch::default();
        for name in ["b x", "a", "b y", "c\tz"] {
            batch.push_contig(name.as_bytes()).unwrap();
            batch.push_segment(Segment { group: 0, id: 1, length: 5, reverse: false });
            batch.end_contig().unwrap();
        }
        batch.end_sample().unwrap();
        batch.check().unwrap();
        assert_eq!(batch.find(0, b"b"), Some(0));
        assert_eq!(batch.find(0, b"c"), Some(3));
        assert!(batch.is_ambiguous(0, 0, b"b"));
        assert!(!batch.is_ambiguous(0, 3, b"c") && !batch.is_ambiguous(0, 1, b"a"));
        assert_eq!(batch.find(0, b"d"), None);
        assert_eq!(batch.header(0, 2), b"b y");
        assert_eq!(contig_length(batch.segments(0, 1), 21), 5);
    }
}
