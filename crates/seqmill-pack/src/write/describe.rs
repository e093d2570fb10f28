//! The collection as it is written: batches of samples.

use crate::batch::Segment;
use crate::collection::{Details, NameCoder};
use crate::digests;
use crate::vint::write_vint;
use seqmill_base::{Error, Result};

/// Samples of a batch that average more bases than this have a checksum each.
const OWN_DIGEST_BASES: u64 = 1_000_000;

#[derive(Debug, Default)]
struct OpenContig {
    header: Vec<u8>,
    segments: Vec<Segment>,
}

/// What ends a sample.
#[derive(Debug, Clone)]
pub(crate) struct SampleEnd {
    pub(crate) name: Vec<u8>,
    pub(crate) bases: u64,
    /// Checksum of the sample, and of all since the batch began.
    pub(crate) digest: u64,
    pub(crate) batch_digest: u64,
}

/// A batch that is complete.
pub(crate) struct FullBatch {
    pub(crate) names: Vec<u8>,
    pub(crate) arrays: Vec<Vec<u8>>,
    pub(crate) digests: Option<Vec<u8>>,
}

/// Describes samples; holds one batch.
pub(crate) struct Describer {
    names: Vec<u8>,
    sample_names: Vec<u8>,
    samples: u32,
    in_batch: u32,
    coder: NameCoder,
    details: Details,
    contigs: Vec<OpenContig>,
    expected: u32,
    size: u32,
    /// Of samples of this batch that were added now, not continued.
    digests: Vec<u64>,
    batch_digest: u64,
    bases: u64,
}

impl Describer {
    /// Batches of `size` samples, lengths told by `expected`.
    pub(crate) fn new(size: u32, expected: u32) -> Self {
        Self {
            names: Vec::new(),
            sample_names: Vec::new(),
            samples: 0,
            in_batch: 0,
            coder: NameCoder::default(),
            details: Details::default(),
            contigs: Vec::new(),
            expected,
            size,
            digests: Vec::new(),
            batch_digest: 0,
            bases: 0,
        }
    }

    /// Bytes held.
    pub(crate) fn bytes(&self) -> u64 {
        let arrays: usize = self.details.arrays.iter().map(Vec::capacity).sum();
        (self.names.capacity() + self.sample_names.capacity() + arrays) as u64
            + self
                .contigs
                .iter()
                .map(|c| (c.header.len() + 16 * c.segments.capacity()) as u64 + 64)
                .sum::<u64>()
    }

    /// Names a sample that is in a batch which is copied.
    pub(crate) fn keep_sample(&mut self, name: &[u8]) {
        self.sample_names.extend_from_slice(name);
        self.sample_names.push(0);
        self.samples += 1;
    }

    pub(crate) fn contig(&mut self, header: Vec<u8>) {
        self.contigs.push(OpenContig { header, segments: Vec::new() });
    }

    pub(crate) fn segment(&mut self, contig: u32, segment: Segment) -> Result<()> {
        let open = self.contigs.get_mut(contig as usize);
        open.ok_or_else(|| Error::internal("a segment without a contig"))?.segments.push(segment);
        Ok(())
    }

    /// Ends a sample; without checksums one of a batch that is continued.
    pub(crate) fn end_sample(&mut self, name: &[u8], end: Option<&SampleEnd>) {
        let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        self.keep_sample(name);
        self.in_batch += 1;
        self.coder.reset();
        let contigs = std::mem::take(&mut self.contigs);
        write_vint(count(contigs.len()), &mut self.names);
        self.details.count(count(contigs.len()));
        for contig in contigs {
            self.coder.encode(&contig.header, &mut self.names);
            self.names.push(0);
            self.details.count(count(contig.segments.len()));
            for segment in &contig.segments {
                self.details.segment(segment, self.expected);
            }
        }
        if let Some(end) = end {
            self.digests.push(end.digest);
            self.batch_digest = end.batch_digest;
            self.bases += end.bases;
        }
    }

    /// Whether the batch has all its samples.
    pub(crate) fn is_full(&self) -> bool {
        self.in_batch >= self.size
    }

    /// Takes the batch, unless it is empty.
    pub(crate) fn take_batch(&mut self) -> Option<FullBatch> {
        if self.in_batch == 0 {
            return None;
        }
        let samples = std::mem::take(&mut self.in_batch);
        let mut names = Vec::new();
        write_vint(samples, &mut names);
        names.append(&mut std::mem::take(&mut self.names));
        let arrays = std::mem::take(&mut self.details).finish(samples);
        let digests = self.take_digests();
        Some(FullBatch { names, arrays, digests })
    }

    fn take_digests(&mut self) -> Option<Vec<u8>> {
        let digests = std::mem::take(&mut self.digests);
        let bases = std::mem::take(&mut self.bases);
        let count = u32::try_from(digests.len()).unwrap_or(u32::MAX);
        if count == 0 {
            return None;
        }
        let first = self.samples - count;
        if bases / u64::from(count) < OWN_DIGEST_BASES {
            return Some(digests::write_part(first, count, &[self.batch_digest]));
        }
        Some(digests::write_part(first, count, &digests))
    }

    /// The names of all samples, as they are stored.
    pub(crate) fn sample_names(&mut self) -> Vec<u8> {
        let mut names = Vec::with_capacity(self.sample_names.len() + 5);
        write_vint(self.samples, &mut names);
        names.append(&mut self.sample_names);
        names
    }
}
