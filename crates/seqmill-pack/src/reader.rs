//! An archive as whoever reads sequence by range knows it.

use crate::archive::{Archive, Memory, Sample};
use crate::checks::Checks;
use seqmill_base::{Error, Result};
use seqmill_io::fasta::{ContigInfo, SampleChecks, SequenceArchive};
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

impl SequenceArchive for Archive {
    fn samples(&self) -> Result<Vec<Vec<u8>>> {
        Ok((0..self.sample_count())
            .filter_map(|i| self.sample_name(i))
            .map(<[u8]>::to_vec)
            .collect())
    }

    fn contigs(&self, sample: usize) -> Result<Vec<ContigInfo>> {
        let sample: Sample = self.sample(sample)?;
        let info = |contig: crate::ContigView<'_>| ContigInfo {
            name: contig.name().to_vec(),
            length: contig.length(),
        };
        Ok(sample.contigs().map(info).collect())
    }

    fn record(&self, sample: usize, contig: usize) -> Result<Option<(Vec<u8>, u64)>> {
        let sample = self.sample(sample)?;
        Ok(sample.contig(contig).map(|view| (view.header().to_vec(), view.length())))
    }

    fn read_range(&self, sample: usize, contig: usize, start: u64, into: &mut [u8]) -> Result<()> {
        let sample = self.sample(sample)?;
        let view = sample
            .contig(contig)
            .ok_or_else(|| Error::not_found(format!("the sample has no contig number {contig}")))?;
        self.read(view, start, into)
    }

    fn checks(self: Arc<Self>, samples: Range<usize>) -> Result<Option<Box<dyn SampleChecks>>> {
        let checks = Checks::new(&self, &samples.collect::<Vec<_>>())?;
        Ok(checks.map(|checks| Box::new(checks) as Box<dyn SampleChecks>))
    }

    fn cost_bases(&self) -> u64 {
        u64::from(self.parameters().segment_size.unwrap_or(1))
    }
}

/// Opens an archive that keeps at most so many bytes in memory.
pub fn open_archive(path: &Path, bytes: u64) -> Result<Arc<dyn SequenceArchive>> {
    Ok(Arc::new(Archive::open(path, Memory::of(bytes))?))
}

/// Whether a file is an archive: its end must pass the checks of the container.
pub fn is_archive(path: &Path) -> bool {
    Archive::open(path, Memory::of(1 << 30)).is_ok()
}
