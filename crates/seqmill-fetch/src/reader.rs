//! One file of a store as the other capabilities read sequence.

use crate::encode::Encoder;
use crate::flat::{Format, REGULAR_BYTES};
use crate::store::Store;
use crate::window::{OutOfRange, Place};
use seqmill_base::{Error, Result};
use seqmill_io::fasta::{ContigInfo, SequenceReader};
use std::sync::Arc;

/// Bases that a read of an archive decodes, about: a segment.
const ARCHIVE_COST_BASES: u64 = 60_000;

/// One file (or one sample of an archive) of a store.
pub struct StoreFile {
    store: Arc<Store>,
    file: u32,
    identity: Encoder,
}

impl StoreFile {
    /// The file of this number, which must be readable.
    pub fn new(store: Arc<Store>, file: u32) -> Result<Self> {
        if file >= store.files() {
            return Err(Error::input(format!("there is no file number {file}")));
        }
        store.failure(file)?.map_or(Ok(()), Err)?;
        Ok(Self { store, file, identity: Encoder::identity() })
    }
}

impl SequenceReader for StoreFile {
    fn contigs(&self) -> Result<Vec<ContigInfo>> {
        (0..self.store.contigs(self.file)?)
            .map(|id| {
                let contig = self.store.contig(self.file, id)?;
                Ok(ContigInfo { name: contig.name.to_vec(), length: contig.length() })
            })
            .collect()
    }

    fn read_range(&self, contig: usize, start: u64, into: &mut [u8]) -> Result<()> {
        let id = u32::try_from(contig).unwrap_or(u32::MAX);
        let contig = self.store.contig(self.file, id)?;
        let end = start.checked_add(into.len() as u64);
        let signed = (i64::try_from(start).ok()).zip(end.and_then(|end| i64::try_from(end).ok()));
        let Some((first, last)) = signed else {
            return Err(Error::out_of_range("the range is longer than any contig"));
        };
        let place: Place = self.store.place(&contig, first, Some(last), OutOfRange::Error)?;
        self.store.read(&contig, &place, false, (&self.identity, b'N'), into)
    }

    fn cost_bases(&self) -> u64 {
        match self.store.index().file(self.file).map(|record| record.format) {
            Ok(Format::Bgzf | Format::Gzip) => REGULAR_BYTES,
            Ok(Format::Archive) => ARCHIVE_COST_BASES,
            Ok(Format::Plain) | Err(_) => 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::options::{OpenOptions, Root};

    #[test]
    fn a_file_of_a_store_is_read_by_range() {
        let folder = std::env::temp_dir().join(format!("seqmill-reader-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("x.fa"), b">a\nACGT\nAC\n>b\nTT\n").unwrap();
        let suffixes = vec![".fa".to_owned()];
        let options = OpenOptions { suffixes, no_cache: true, ..OpenOptions::default() };
        let store = Arc::new(Store::open(Root::Directory(folder.clone()), options).unwrap());
        let file = StoreFile::new(Arc::clone(&store), 0).unwrap();
        assert_eq!(file.contigs().unwrap()[1], ContigInfo { name: b"b".into(), length: 2 });
        let mut out = [0; 3];
        file.read_range(0, 3, &mut out).unwrap();
        assert_eq!(&out, b"TAC");
        assert!(file.read_range(0, 4, &mut out).is_err());
        assert!(file.read_range(2, 0, &mut []).is_err());
        assert!(file.read_range(0, u64::MAX, &mut out).is_err());
        assert!(StoreFile::new(store, 1).is_err());
        std::fs::remove_dir_all(folder).unwrap();
    }
}
