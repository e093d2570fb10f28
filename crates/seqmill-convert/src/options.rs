//! What a conversion is asked to do, as plain data: the Python side builds it, checks what needs
//! no file, and sends it over as JSON.

use seqmill_io::Remote;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;
use std::sync::Arc;

/// Options of one conversion or scan (`bam.md` §3–§13). Everything that can change a byte of the
/// output is in [`Semantic`].
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[expect(clippy::struct_excessive_bools, reason = "independent switches of the command")]
pub struct Options {
    /// Inputs in order; `-` is standard input.
    pub inputs: Vec<PathBuf>,
    /// Output file; `None` when batches are streamed; `-` is standard output.
    pub output: Option<PathBuf>,
    /// What can change the output.
    pub semantic: Semantic,
    /// Threads and memory.
    pub resources: Resources,
    /// Replace an existing output, discard an earlier state.
    pub force: bool,
    /// Go on with an earlier state.
    pub resume: bool,
    /// Take a checkpoint after so many bytes of output.
    pub checkpoint_bytes: Option<u64>,
    /// Take a checkpoint after so many seconds.
    pub checkpoint_seconds: Option<f64>,
    /// Index of the only input (BAI or CSI), when it is not beside it.
    pub index: Option<PathBuf>,
    /// Write a chunk index (`.smci`) beside each input as a by-product.
    pub write_chunk_index: bool,
    /// Write only the chunk index.
    pub index_only: bool,
    /// Where damaged records that were skipped are listed.
    pub bad_records: Option<PathBuf>,
    /// Leave the provenance keys out of the metadata.
    pub no_provenance: bool,
    /// Name and version recorded as provenance.
    pub version: String,
    /// The inputs that are remote.
    #[serde(skip)]
    pub remote: Option<Arc<Remote>>,
}

/// How the work is spread; nothing here shows in the output.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Resources {
    /// Threads of the shared pool.
    pub threads: usize,
    /// Pools of their own for loading, processing and writing; all three or none.
    pub stage_threads: Option<[usize; 3]>,
    /// Bytes the whole process may hold.
    pub memory: u64,
    /// Bytes of input held before they are processed.
    pub read_ahead: Option<u64>,
    /// Bytes of columns held before they are encoded.
    pub process_buffer: Option<u64>,
    /// Bytes of encoded data held before they are written.
    pub write_buffer: Option<u64>,
    /// `read`, `map` or `direct`.
    pub io: String,
    /// Reads in flight with `direct`.
    pub queue_depth: usize,
    /// Where finished pages wait when they do not fit; default: the state directory.
    pub tmpdir: Option<PathBuf>,
}

impl Default for Resources {
    fn default() -> Self {
        Self {
            threads: 1,
            stage_threads: None,
            memory: 512 << 20,
            read_ahead: None,
            process_buffer: None,
            write_buffer: None,
            io: "read".to_owned(),
            queue_depth: 4,
            tmpdir: None,
        }
    }
}

/// Options that can change bytes of the output; part of the identity of a job and, as JSON, of
/// the provenance.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[expect(clippy::struct_excessive_bools, reason = "independent switches of the command")]
pub struct Semantic {
    /// `parquet`, `arrow` (file) or `arrows` (stream); empty for batches in memory.
    pub format: String,
    /// `sam`, `bio` or `basic`.
    pub profile: String,
    /// `11` or `01`.
    pub coords: String,
    /// Columns by name, in the order of the output; `+name` adds to the default ones.
    pub columns: Option<Vec<String>>,
    /// Columns left out.
    pub exclude_columns: Vec<String>,
    /// `struct`, `columns`, `sam`, `binary` or `none`.
    pub tags: String,
    /// Tags with their SAM types (`i`, `Z`, `B:C`, …), instead of looking for them.
    pub tag_types: Option<Vec<(String, String)>>,
    /// `all` or `listed`: whether tags that are not listed go to `tags_other`.
    pub tags_from: String,
    /// `sample` or `full`.
    pub discover: String,
    /// Most tag fields.
    pub max_tags: usize,
    /// `text`, `ops` or `struct`.
    pub cigar: String,
    /// `text` or `packed`.
    pub seq: String,
    /// `text` or `phred`.
    pub qual: String,
    /// Region strings (1-based, inclusive).
    pub regions: Vec<String>,
    /// Regions as (name, begin, end), 0-based half-open; no end: to the end of the reference.
    pub intervals: Vec<(String, u64, Option<u64>)>,
    /// All records of this reference, those without a position included: a part of a sorted file.
    pub whole_reference: Option<String>,
    /// Least mapping quality.
    pub min_mapq: u8,
    /// All of these flag bits must be set.
    pub require_flags: u16,
    /// None of these flag bits may be set.
    pub exclude_flags: u16,
    /// Not all of these flag bits may be set (0: no condition).
    pub exclude_all_flags: u16,
    /// Read groups kept.
    pub read_groups: Option<Vec<String>>,
    /// Tag name to the SAM texts kept.
    pub tag_in: Vec<(String, Vec<String>)>,
    /// Read names kept.
    pub name_in: Option<Vec<String>>,
    /// Least `l_seq`.
    pub min_length: Option<u64>,
    /// Greatest `l_seq`.
    pub max_length: Option<u64>,
    /// Most records given, after all filters.
    pub limit: Option<u64>,
    /// Records left out at the beginning, after all filters.
    pub offset: u64,
    /// Part `i` of `n` (0-based) by the chunk index.
    pub shard: Option<(u64, u64)>,
    /// An expression over columns, flags and tags.
    pub filter: Option<Expression>,
    /// Batch size in bytes of Arrow data.
    pub batch_bytes: u64,
    /// Exact rows of a batch; wins over the bytes.
    pub batch_rows: Option<u64>,
    /// `zstd`, `lz4`, `snappy`, `gzip`, `none`; empty: the format's default.
    pub compression: String,
    /// Level of the compression.
    pub compression_level: Option<i32>,
    /// Bytes of Arrow data of a Parquet row group.
    pub row_group_bytes: u64,
    /// Parquet with PLAIN and dictionary encodings only.
    pub compat: bool,
    /// `error` or `skip`.
    pub on_bad_record: String,
    /// Treat what would be a warning as an error.
    pub strict: bool,
    /// Compare checksums of blocks and walk tags that are not used.
    pub verify: bool,
    /// Full paths in `source` and the metadata.
    pub record_paths: bool,
    /// FASTA with the reference of a CRAM.
    pub reference: Option<PathBuf>,
    /// Mate file of a FASTA/FASTQ input.
    pub mate: Option<PathBuf>,
}

impl Default for Semantic {
    fn default() -> Self {
        Self {
            format: String::new(),
            profile: "sam".to_owned(),
            coords: "11".to_owned(),
            columns: None,
            exclude_columns: Vec::new(),
            tags: "struct".to_owned(),
            tag_types: None,
            tags_from: "all".to_owned(),
            discover: "sample".to_owned(),
            max_tags: 256,
            cigar: "text".to_owned(),
            seq: "text".to_owned(),
            qual: "text".to_owned(),
            regions: Vec::new(),
            intervals: Vec::new(),
            whole_reference: None,
            min_mapq: 0,
            require_flags: 0,
            exclude_flags: 0,
            exclude_all_flags: 0,
            read_groups: None,
            tag_in: Vec::new(),
            name_in: None,
            min_length: None,
            max_length: None,
            limit: None,
            offset: 0,
            shard: None,
            filter: None,
            batch_bytes: 2 << 20,
            batch_rows: None,
            compression: String::new(),
            compression_level: None,
            row_group_bytes: 64 << 20,
            compat: false,
            on_bad_record: "error".to_owned(),
            strict: false,
            verify: true,
            record_paths: false,
            reference: None,
            mate: None,
        }
    }
}

/// A filter expression, parsed on the Python side (`bam.md` §8).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Expression {
    /// All must hold.
    And(Vec<Expression>),
    /// One must hold.
    Or(Vec<Expression>),
    /// Must not hold.
    Not(Box<Expression>),
    /// A flag bit by its number, e.g. 1024.
    Flag(u16),
    /// Column, operator (`==`, `!=`, `<`, `<=`, `>`, `>=`) and value. Null compares false.
    Compare(String, String, Scalar),
    /// Column is one of the values.
    In(String, Vec<Scalar>),
    /// Column is null.
    IsNull(String),
    /// Always or never.
    Constant(bool),
}

/// A literal in a filter expression.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Scalar {
    /// An integer.
    Int(i64),
    /// A number with a fraction.
    Float(f64),
    /// Text.
    Text(String),
}
