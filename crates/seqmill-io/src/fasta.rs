//! FASTA: the `.fai` index, the side files of a sequence file, and sequence read by range.

mod build;
mod fai;
mod scan;

pub use build::{SideFiles, build_side_files};
pub use fai::{FaiIndex, FaiRecord, parse_fai};
pub use scan::FaiScanner;

use seqmill_base::Result;

/// A contig of a [`SequenceReader`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContigInfo {
    /// Its name, as bytes.
    pub name: Vec<u8>,
    /// Its length in bases.
    pub length: u64,
}

/// Sequence that is read by range: a FASTA file, an archive, a packed file.
pub trait SequenceReader: Send + Sync {
    /// The contigs in file order.
    fn contigs(&self) -> Result<Vec<ContigInfo>>;

    /// Fills `into` with the bases of `contig` (its index) from `start` (0-based) on. The range
    /// must lie within the contig.
    fn read_range(&self, contig: usize, start: u64, into: &mut [u8]) -> Result<()>;

    /// Bases that one read costs at least: the size of a block. Reads that share a block should
    /// follow one another.
    fn cost_bases(&self) -> u64;
}
