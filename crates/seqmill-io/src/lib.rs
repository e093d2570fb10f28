//! Bytes and records: sources, BGZF, BAM, regions and indices, as views over buffers.
#![cfg_attr(not(test), warn(clippy::indexing_slicing))]
#![cfg_attr(test, allow(clippy::cast_possible_truncation))]

pub mod bam;
pub mod bgzf;
pub mod cram;
pub mod fasta;
pub mod gzip;
pub mod records;
pub mod region;
pub mod region_list;
pub mod sam;
pub mod sequence;
pub mod source;

pub use region::{Interval, Region};
pub use source::{
    IoMode, RangeQueue, RangeRequest, Remote, RemoteObject, Source, Watch, open_source,
};
