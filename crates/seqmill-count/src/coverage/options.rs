//! What a coverage job is asked to do, as plain data: the Python side builds it and sends it over
//! as JSON.

use seqmill_io::fasta::OpenArchive;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// Options of one job (`kmers.md` §6).
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Options {
    /// FASTA, BAM, SAM or CRAM; `-` is standard input.
    pub input: PathBuf,
    /// Folder of the outputs.
    pub output: PathBuf,
    /// What can change the output.
    pub semantic: Semantic,
    /// Runs of equal depth go to this file.
    pub per_base: Option<PathBuf>,
    /// Threads of the job.
    pub threads: usize,
    /// Bytes the whole process may hold.
    pub memory: u64,
    /// Index of the input (BAI or CSI), when it is not beside it.
    pub index: Option<PathBuf>,
    /// Replace existing outputs, discard an earlier state.
    pub force: bool,
    /// Go on with an earlier state.
    pub resume: bool,
    /// Least seconds between two checkpoints.
    pub checkpoint_seconds: Option<f64>,
    /// Version recorded in the state.
    pub version: String,
    /// A job that is divided: regions are a share until they have so many bases; 0: what is some
    /// seconds of work.
    pub share_bases: u64,
    /// What of the job is measured here.
    pub share: Option<Share>,
    /// What the shares left, in their order.
    pub parts: Vec<PathBuf>,
    /// Folder in which the parts become the files.
    pub work: PathBuf,
    /// Names, lengths and places of the sequences of FASTA, as the plan of the job found them.
    pub sequences: Option<PathBuf>,
    /// Where the plan notes them.
    pub sequences_to: Option<PathBuf>,
    /// How archives are opened; without, there are none.
    #[serde(skip)]
    pub archives: Option<OpenArchive>,
}

/// Regions that are measured together: in the order of the sequences, by number of the sequence.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Share {
    /// Sequence, begin, end, and the length of the windows into which they are cut.
    pub stretches: Vec<(u32, u64, u64, Option<u64>)>,
    /// All there is: nothing is left out, and the input is read from front to back.
    pub everything: bool,
}

/// How mates that overlap are counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mates {
    /// Each record by itself.
    #[default]
    Both,
    /// The two primary records of a template count a position once.
    Once,
    /// The same, but only where they are a proper pair: mosdepth takes others for two templates.
    Proper,
}

/// What a bin of a region file shows of depth.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Value {
    /// The mean, rounded half to even.
    #[default]
    Mean,
    /// The sum.
    Sum,
    /// The greatest.
    Max,
    /// The least.
    Min,
}

/// Options that can change bytes of the output.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[expect(clippy::struct_excessive_bools, reason = "independent switches of the command")]
pub struct Semantic {
    /// Region strings, before those of the file.
    pub regions: Vec<String>,
    /// Files with regions.
    pub regions_files: Vec<PathBuf>,
    /// Whether they are BED; else their names say so.
    pub bed: Option<bool>,
    /// Windows of this length instead of regions.
    pub windows: Option<u64>,
    /// Bad regions are left out.
    pub skip_bad_regions: bool,
    /// Bins of a region.
    pub bins: u64,
    /// What a bin shows.
    pub value: Value,
    /// Depths for which positions are counted.
    pub thresholds: Vec<u32>,
    /// How mates count.
    pub mates: Mates,
    /// Deleted positions count as covered.
    pub count_deletions: bool,
    /// Least mapping quality.
    pub min_mapq: u8,
    /// Least base quality.
    pub min_baseq: u8,
    /// Records with any of these flags do not count.
    pub exclude_flags: u16,
    /// Records need all of these flags.
    pub require_flags: u16,
    /// Length of k-mers.
    pub k: usize,
    /// A k-mer and its reverse complement are one.
    pub canonical: bool,
    /// Lower-case bases break k-mers.
    pub skip_soft_masked: bool,
    /// Table of k-mers in which those of the regions are looked up.
    pub kmer_db: Option<PathBuf>,
    /// Files for each region.
    pub region_files: bool,
    /// The table as Parquet, too.
    pub parquet: bool,
    /// What would be a warning of the format is an error.
    pub strict: bool,
    /// Compare checksums of blocks.
    pub verify: bool,
    /// FASTA with the reference of a CRAM.
    pub reference: Option<PathBuf>,
}

impl Default for Semantic {
    fn default() -> Self {
        Self {
            regions: Vec::new(),
            regions_files: Vec::new(),
            bed: None,
            windows: None,
            skip_bad_regions: false,
            bins: 1,
            value: Value::Mean,
            thresholds: vec![1, 5, 10, 30],
            mates: Mates::Both,
            count_deletions: false,
            min_mapq: 0,
            min_baseq: 0,
            exclude_flags: 0x704,
            require_flags: 0,
            k: 31,
            canonical: false,
            skip_soft_masked: false,
            kmer_db: None,
            region_files: true,
            parquet: false,
            strict: false,
            verify: true,
            reference: None,
        }
    }
}
