//! Checksums of whole samples, compared while their records pass by.

use crate::archive::Archive;
use crate::digests::{Digest, Summer};
use seqmill_base::Result;
use seqmill_io::fasta::SampleChecks;
use std::collections::VecDeque;
use std::sync::Arc;

/// Sums up samples, and compares those whose checksum the archive has.
///
/// A checksum of several samples is compared where all of them pass by one after the other.
pub(crate) struct Checks {
    archive: Arc<Archive>,
    /// In the order of the samples.
    digests: Vec<Digest>,
    /// Samples that have not begun.
    to_come: VecDeque<usize>,
    /// The sample that has begun last.
    current: Option<usize>,
    open: Option<Open>,
}

struct Open {
    digest: Digest,
    /// The sample that has to come next.
    next: usize,
    summer: Summer,
}

impl Checks {
    /// Checks of these samples, whole and in this order; none if the archive has no checksums.
    pub(crate) fn new(archive: &Arc<Archive>, samples: &[usize]) -> Result<Option<Self>> {
        let (archive, digests) = (Arc::clone(archive), archive.digests()?);
        let to_come = samples.iter().copied().collect();
        let any = !digests.is_empty();
        Ok(any.then_some(Self { archive, digests, to_come, current: None, open: None }))
    }

    /// Begins a sample, after those before it, which have no contigs; all that are left if `None`.
    fn enter(&mut self, sample: Option<usize>) -> Result<()> {
        if let Some(before) = self.current.take() {
            self.end(before)?;
        }
        while let Some(next) = self.to_come.pop_front() {
            self.begin(next);
            if sample == Some(next) {
                self.current = sample;
                break;
            }
            self.end(next)?;
        }
        Ok(())
    }

    fn begin(&mut self, sample: usize) {
        match &mut self.open {
            Some(open) if open.next == sample => open.next += 1,
            _ => {
                let found = self.digests.binary_search_by_key(&sample, |d| d.samples.start);
                let digest = found.ok().and_then(|i| self.digests.get(i));
                self.open = digest.map(|digest| Open {
                    digest: digest.clone(),
                    next: sample + 1,
                    summer: Summer::default(),
                });
            }
        }
    }

    fn end(&mut self, sample: usize) -> Result<()> {
        match self.open.take() {
            Some(open) if open.digest.samples.end == sample + 1 => {
                open.digest.compare(&self.archive, &open.summer)
            }
            open => {
                self.open = open;
                Ok(())
            }
        }
    }
}

impl SampleChecks for Checks {
    fn record(&mut self, sample: usize, contig: usize, header: &[u8]) -> Result<()> {
        if contig == 0 {
            self.enter(Some(sample))?;
        }
        if let Some(open) = &mut self.open {
            open.summer.header(header);
        }
        Ok(())
    }

    fn letters(&mut self, letters: &[u8]) {
        if let Some(open) = &mut self.open {
            open.summer.letters(letters);
        }
    }

    fn end_record(&mut self) {
        if let Some(open) = &mut self.open {
            open.summer.end_contig();
        }
    }

    fn finish(&mut self) -> Result<()> {
        self.enter(None)
    }
}
