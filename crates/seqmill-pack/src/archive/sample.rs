//! A sample and its contigs.

use super::{Archive, closest};
use crate::batch::{Batch, Segment, contig_length, short_name};
use crate::cache::Content;
use crate::collection::read_batch;
use crate::container::too_large;
use seqmill_base::{Error, FormatKind, Result};
use std::sync::Arc;

/// A sample; holds the batch that describes it.
#[derive(Clone)]
pub struct Sample {
    batch: Arc<Batch>,
    within: usize,
    kmer_length: u32,
}

/// A contig of a sample.
#[derive(Clone, Copy)]
pub struct ContigView<'s> {
    sample: &'s Sample,
    contig: usize,
}

impl Sample {
    /// Number of contigs.
    pub fn contig_count(&self) -> usize {
        self.batch.contigs(self.within)
    }

    /// A contig by its number.
    pub fn contig(&self, contig: usize) -> Option<ContigView<'_>> {
        (contig < self.contig_count()).then_some(ContigView { sample: self, contig })
    }

    /// All contigs in input order.
    pub fn contigs(&self) -> impl Iterator<Item = ContigView<'_>> {
        (0..self.contig_count()).map(|contig| ContigView { sample: self, contig })
    }

    /// The number of the contig of a short name.
    pub fn find(&self, name: &[u8]) -> Option<usize> {
        self.batch.find(self.within, name)
    }

    /// Names that resemble one, as the end of a message.
    pub fn closest(&self, name: &[u8]) -> String {
        let names = (0..self.contig_count()).map(|i| short_name(self.batch.header(self.within, i)));
        closest(names, name)
    }
}

impl<'s> ContigView<'s> {
    /// The whole header.
    pub fn header(&self) -> &'s [u8] {
        self.sample.batch.header(self.sample.within, self.contig)
    }

    /// The header up to its first blank.
    pub fn name(&self) -> &'s [u8] {
        short_name(self.header())
    }

    /// Number of the contig within its sample.
    pub fn number(&self) -> usize {
        self.contig
    }

    /// Length in bases.
    pub fn length(&self) -> u64 {
        contig_length(self.segments(), self.sample.kmer_length)
    }

    pub(crate) fn segments(&self) -> &'s [Segment] {
        self.sample.batch.segments(self.sample.within, self.contig)
    }
}

impl Archive {
    /// A sample by its number.
    pub fn sample(&self, i: usize) -> Result<Sample> {
        if i >= self.sample_count() {
            return Err(Error::not_found(format!("the archive has no sample number {i}")));
        }
        let kmer_length = self.parameters.kmer_length;
        if let Some(batch) = &self.old {
            return Ok(Sample { batch: Arc::clone(batch), within: i, kmer_length });
        }
        let size = self.parameters.pack_size as usize;
        let batch = self.batch(i / size)?;
        Ok(Sample { batch, within: i % size, kmer_length })
    }

    /// The contig of a short name in a sample, or an error with names that resemble it; an error
    /// also where several have the name, as in archives of programs that let them in.
    pub fn find_contig(&self, sample: &Sample, name: &[u8]) -> Result<usize> {
        let found = sample.find(name).ok_or_else(|| {
            let near = sample.closest(name);
            let name = String::from_utf8_lossy(name);
            Error::name_not_found(format!("the sample has no contig {name:?}{near}"))
                .at_path(self.path())
        })?;
        if sample.batch.is_ambiguous(sample.within, found, name) {
            let name = String::from_utf8_lossy(name);
            let what = format!(
                "the sample has several contigs {name:?}; only the whole sample can be unpacked"
            );
            return Err(Error::input(what).at_path(self.path()));
        }
        Ok(found)
    }

    pub(crate) fn batch(&self, i: usize) -> Result<Arc<Batch>> {
        if let Some(batch) = &self.old {
            return Ok(Arc::clone(batch));
        }
        let part = u32::try_from(i).unwrap_or(u32::MAX);
        let content = self.cached(self.streams.0, part, || self.load_batch(i))?;
        match content {
            Content::Batch(batch) => Ok(batch),
            _ => Err(Error::internal("a batch is not one")),
        }
    }

    fn load_batch(&self, i: usize) -> Result<Content> {
        let within = |e: Error| e.within(&format!("batch {i} of samples")).at_path(self.path());
        let size = self.parameters.pack_size as usize;
        let samples = self.sample_count().saturating_sub(i * size).min(size);
        let item = self.memory.item();
        let part = |stream: u32| {
            let part = self.container.parts(stream).get(i).copied();
            part.ok_or_else(|| Error::format(FormatKind::Other, "there is no such part"))
        };
        let (names, details) = (part(self.streams.0)?, part(self.streams.1)?);
        let place = details.offset;
        let names = self.container.read(names, item)?;
        let details = self.container.read(details, item)?;
        if names.metadata > item {
            return Err(within(too_large(names.metadata)));
        }
        let expected =
            self.parameters.segment_size.unwrap_or(0).saturating_add(self.parameters.kmer_length);
        let batch = self.with_inflater(|inflater| {
            let raw = inflater.inflate(names.bytes(), names.metadata)?;
            read_batch(inflater, &raw, details.bytes(), samples, expected, item)
        });
        Ok(Content::Batch(Arc::new(batch.map_err(|e| within(e).at_offset(place))?)))
    }
}
