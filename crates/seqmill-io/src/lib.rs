//! Bytes and records: sources, BGZF, BAM, regions and indices, as views over buffers.
#![warn(clippy::indexing_slicing)]

pub mod bam;
pub mod bgzf;
pub mod region;
pub mod source;

pub use region::{Interval, Region};
pub use source::{IoMode, Source, open_source};
