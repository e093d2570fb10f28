//! FASTA: the `.fai` index, the side files of a sequence file, and sequence read by range.

mod build;
mod fai;
mod scan;

pub use build::{SideFiles, build_side_files};
pub use fai::{FaiIndex, FaiRecord, parse_fai};
pub use scan::FaiScanner;

use seqmill_base::Result;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

/// What is wrong with a carriage return within a line, behind what holds it. Text whose lines end
/// with carriage returns alone would pass for one long header.
pub const STRAY_RETURN: &str = "holds a carriage return within a line (line ends of old Macs are \
    not read); write line feeds, for instance with tr '\\r' '\\n'";

/// A line, or the beginning of one, without the carriage returns at its end: in what is left none
/// may stand.
pub fn trim_returns(line: &[u8]) -> &[u8] {
    let end = line.iter().rposition(|b| *b != b'\r').map_or(0, |at| at + 1);
    line.get(..end).unwrap_or_default()
}

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

/// A file that holds the sequences of several samples, of which each plays the part of a file.
pub trait SequenceArchive: Send + Sync {
    /// Names of the samples, in the order of the archive.
    fn samples(&self) -> Result<Vec<Vec<u8>>>;

    /// The contigs of a sample (its index) in file order, named up to the first space or tab.
    fn contigs(&self, sample: usize) -> Result<Vec<ContigInfo>>;

    /// The whole header and the length of a contig of a sample; `None` behind the last contig.
    fn record(&self, sample: usize, contig: usize) -> Result<Option<(Vec<u8>, u64)>>;

    /// Fills `into` with the bases of a contig of a sample from `start` (0-based) on. The range
    /// must lie within the contig. What it keeps in memory between calls is bounded by what it was
    /// opened with.
    fn read_range(&self, sample: usize, contig: usize, start: u64, into: &mut [u8]) -> Result<()>;

    /// Checks of these samples, all of which will be read from front to back; `None` if there is
    /// nothing to compare them with.
    fn checks(self: Arc<Self>, samples: Range<usize>) -> Result<Option<Box<dyn SampleChecks>>> {
        let _ = samples;
        Ok(None)
    }

    /// Bases that one read costs at least; see [`SequenceReader::cost_bases`].
    fn cost_bases(&self) -> u64;
}

/// Compares checksums of samples whose records pass by from front to back.
pub trait SampleChecks: Send {
    /// A contig of a sample (their indexes) begins; what ended before it is compared.
    fn record(&mut self, sample: usize, contig: usize, header: &[u8]) -> Result<()>;

    /// The next letters of the record.
    fn letters(&mut self, letters: &[u8]);

    /// The record was given to its end.
    fn end_record(&mut self);

    /// The last record was given; what is left is compared.
    fn finish(&mut self) -> Result<()>;
}

/// Opens an archive for whoever may be given one; the crate that reads archives provides it, so
/// that no capability depends on another. The number is the bytes it may keep in memory.
pub type OpenArchive = fn(&Path, u64) -> Result<Arc<dyn SequenceArchive>>;
