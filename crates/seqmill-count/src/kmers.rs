//! K-mers counted exactly: extraction, counting, spill, merge, sorted tables.
#![allow(
    clippy::cast_possible_truncation,
    clippy::inline_always,
    reason = "packed bases, hashes and places within blocks are cut on purpose all over; kernels \
              must end up inside of the functions that have wide instructions"
)]

mod arena;
mod batch;
mod count;
mod direct;
mod dump;
mod engine;
mod histogram;
mod import;
mod input;
mod job;
mod lanes;
mod merge;
mod minimizers;
mod profile;
mod query;
mod room;
pub mod skm;
mod sort;
mod store;
pub mod word;

pub use count::{CountOptions, CountReport, count_to_table};
pub use dump::{
    DumpOptions, OutputSpec, TableBatches, TableFormat, dump_table, stored_histogram, table_schema,
};
pub use engine::Phase;
pub use histogram::Histogram;
pub use input::{InputFacts, ReadFlags, Stretches, TextRules, is_bam};
pub use job::{MergeOptions, OutputRules, run_count, run_merge};
pub use merge::{
    KeyRange, MergeRules, Merged, SetOperation, check_mergeable, key_boundaries, merge_tables,
};
pub use profile::{FileProfile, ProfileLines, ProfileStretch, profile_table_claim, write_profile};
pub use query::{
    lookup_packed, lookup_text, profile_bases, profile_into, table_arrays, verify_table,
};
