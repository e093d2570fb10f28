//! A Parquet writer whose pages are made in parallel and whose memory does not grow with the file.
//!
//! ```text
//! RecordBatch ─▶ PageEncoder::encode ─▶ GroupDictionaries::assign ─▶ PageEncoder::finish ─▶ ParquetFile::append
//!                (any thread)           (in order, cheap)            (any thread)           (in order)
//! ```
//!
//! A batch becomes one data page per leaf column; a row group is a run of batches. Everything
//! whose bytes depend on a batch alone is done in the first step. Only the numbers of dictionary
//! values depend on the batches before: the second step hands them out, the third packs and
//! compresses them. So the file is the same for any number of threads.
//!
//! What the footer needs of a closed row group goes to an append-only spool file and is copied
//! into the data file at the end ([`ParquetFile::finish`]); a checkpoint ([`FileState`]) is
//! therefore two lengths and a few totals. Pages of the open row group beyond a given size wait
//! in an overflow file.
//!
//! The format is that of `apache/parquet-format`: `parquet.thrift` for the structures (names here
//! are those of its structs and fields), `Encodings.md` for pages, `PageIndex.md` for the column
//! and offset indexes, `Compression.md` for the codecs.

#![expect(
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::cast_sign_loss,
    reason = "a batch has less than 2^31 rows and a page less than 2^31 bytes, both checked; \
              Arrow's offsets and keys are signed but never negative"
)]

mod bits;
mod claim;
mod compress;
mod delta;
mod dictionary;
mod encoder;
mod file;
mod footer;
mod group;
mod levels;
mod output;
mod page;
mod plan;
mod schema;
mod stats;
mod thrift;
mod values;

pub use claim::claim_bytes;
pub use encoder::{KEEP_BYTES, PageEncoder};
pub use file::{FileFigures, FileState, LeafFigures, ParquetFile};
pub use group::GroupDictionaries;
pub use page::{AssignedBatch, EncodedBatch, FinishedBatch};
pub use plan::Plan;

/// Compression of pages (`CompressionCodec` of `parquet.thrift`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Codec {
    /// `UNCOMPRESSED`.
    None,
    /// `ZSTD` with its level.
    Zstd(i32),
    /// `LZ4_RAW`, LZ4 blocks without a frame.
    Lz4,
    /// `SNAPPY`, raw format.
    Snappy,
    /// `GZIP` with its level, 0 to 9.
    Gzip(u32),
}

/// How the values of a leaf column are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LeafEncoding {
    /// `PLAIN`.
    Plain,
    /// `RLE_DICTIONARY`; falls back for the rest of a row group once its dictionary grows too
    /// large ([`GroupDictionaries`]). A Boolean leaf is stored `PLAIN` instead.
    Dictionary,
    /// `DELTA_BINARY_PACKED`, integers only.
    DeltaBinary,
    /// `DELTA_LENGTH_BYTE_ARRAY`, text and binary only. A leaf that is an Arrow dictionary is
    /// stored `PLAIN` instead, also where its dictionary falls back: pyarrow cannot read this
    /// encoding into a dictionary.
    DeltaLength,
}

/// What is decided for each leaf column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LeafOptions {
    /// Encoding of the values.
    pub encoding: LeafEncoding,
    /// Whether chunk statistics and a column index (least and greatest value of each page) are
    /// kept. The offset index is always written.
    pub statistics: bool,
    /// Whether a dictionary falls back to `PLAIN` instead of a delta encoding, for readers that
    /// know no delta encodings.
    pub plain_fallback: bool,
}

/// A column by which the rows of a row group are sorted (`SortingColumn`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SortingColumn {
    /// Number of the leaf, see [`Plan::leaf_index`].
    pub leaf: usize,
    /// Greatest value first.
    pub descending: bool,
    /// Nulls before all values.
    pub nulls_first: bool,
}

/// Marks a batch as the last of its row group.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct GroupEnd {
    /// The order in which the rows of this group were found to be.
    pub sorting: Option<Vec<SortingColumn>>,
}

#[cfg(test)]
mod tests;
