//! What a writer is asked to do.

use super::compress::Level;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// What makes a sample.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SampleRule {
    /// One or more files.
    #[default]
    File,
    /// Every record.
    Record,
    /// Records whose names begin with the same `sample#haplotype`.
    Pansn,
}

/// What becomes of symbols that are none of the 16 letters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LetterRule {
    /// An error.
    #[default]
    Refuse,
    /// They become N.
    N,
    /// They are left out.
    Drop,
}

/// Files of a sample, or files of many.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct SampleInput {
    /// Name of the sample; of the files of many there is none.
    pub name: Option<String>,
    /// FASTA in any packing.
    pub paths: Vec<PathBuf>,
}

/// What to pack, and how.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[expect(clippy::struct_excessive_bools, reason = "options are what they are")]
pub struct PackOptions {
    /// The archive.
    pub output: PathBuf,
    /// Add to an archive that is there.
    #[serde(default)]
    pub append: bool,
    /// What goes in, the reference first.
    #[serde(default)]
    pub inputs: Vec<SampleInput>,
    /// Samples of another archive instead, which is given beside: their numbers and new names.
    #[serde(default)]
    pub archive_samples: Vec<(usize, String)>,
    /// What makes a sample.
    #[serde(default)]
    pub samples: SampleRule,
    /// k.
    pub kmer_length: u32,
    /// S.
    pub segment_size: u32,
    /// L.
    pub min_match: u32,
    /// B; chosen by the first sample where it is not given.
    #[serde(default)]
    pub pack_size: Option<u32>,
    /// Find new splitters in contigs that have none.
    #[serde(default)]
    pub adaptive: bool,
    /// Effort.
    #[serde(default)]
    pub level: Level,
    /// Symbols that are no letters.
    #[serde(default)]
    pub letters: LetterRule,
    /// Records without sequence are an error.
    #[serde(default)]
    pub refuse_empty: bool,
    /// Names that come again get a number.
    #[serde(default)]
    pub rename_duplicates: bool,
    /// Replace an output that exists.
    #[serde(default)]
    pub force: bool,
    /// Threads.
    pub threads: usize,
    /// Where temporary files go; beside the output.
    #[serde(default)]
    pub tmpdir: Option<PathBuf>,
}
