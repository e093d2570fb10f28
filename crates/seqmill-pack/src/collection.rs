//! The collection: names of samples, and the batches that describe their contigs.

mod current;
mod details;
mod names;
mod old;

pub(crate) use current::{read_batch, read_sample_names};
pub(crate) use details::Details;
pub(crate) use names::NameCoder;
pub(crate) use old::{read_version_1, read_version_2};

use crate::batch::Batch;
use rustc_hash::FxBuildHasher;
use seqmill_base::Result;
use seqmill_base::{Error, FormatKind};

/// Names of all samples in the order of the archive.
#[derive(Debug, Default)]
pub(crate) struct SampleNames {
    text: Vec<u8>,
    ends: Vec<usize>,
    /// Hash of each name to its number; equal hashes are resolved by looking.
    index: hashbrown::HashTable<u32>,
}

fn hash(name: &[u8]) -> u64 {
    use std::hash::{BuildHasher, Hasher};
    let mut hasher = FxBuildHasher.build_hasher();
    hasher.write(name);
    hasher.finish()
}

impl SampleNames {
    pub(crate) fn len(&self) -> usize {
        self.ends.len()
    }

    pub(crate) fn get(&self, i: usize) -> Option<&[u8]> {
        let end = *self.ends.get(i)?;
        let start = i.checked_sub(1).and_then(|i| self.ends.get(i)).map_or(0, |&end| end);
        self.text.get(start..end)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &[u8]> {
        (0..self.len()).filter_map(|i| self.get(i))
    }

    pub(crate) fn find(&self, name: &[u8]) -> Option<usize> {
        self.index.find(hash(name), |&i| self.get(i as usize) == Some(name)).map(|&i| i as usize)
    }

    /// Appends a name; of equal names the first is found.
    pub(crate) fn push(&mut self, name: &[u8]) -> Result<()> {
        let i = u32::try_from(self.ends.len())
            .map_err(|_| Error::format(FormatKind::Other, "too many samples"))?;
        self.text.extend_from_slice(name);
        self.ends.push(self.text.len());
        if self.find(name).is_none() {
            let Self { text, ends, index } = self;
            let at = |&i: &u32| {
                let end = ends.get(i as usize).map_or(0, |&end| end);
                let start = (i as usize).checked_sub(1).and_then(|i| ends.get(i)).map_or(0, |&e| e);
                hash(text.get(start..end).unwrap_or_default())
            };
            index.insert_unique(hash(name), i, at);
        }
        Ok(())
    }

    /// Bytes held.
    pub(crate) fn bytes(&self) -> u64 {
        (self.text.capacity() + 8 * self.ends.capacity() + 8 * self.index.capacity()) as u64
    }
}

/// What an archive of version 1 or 2 says of its samples: everything at once.
#[derive(Debug, Default)]
pub(crate) struct OldCollection {
    pub(crate) names: SampleNames,
    /// All samples.
    pub(crate) batch: Batch,
    /// Command lines that made the archive.
    pub(crate) commands: Vec<String>,
}
