//! Alignments to tables: the pipeline behind `seqmill convert` and `seqmill.scan_alignments`.
//!
//! ```text
//! scan ─▶ load ─▶ stitch ─▶ select ─▶ cut ─▶ process ─▶ encode ─▶ assign ─▶ finish ─▶ write
//! blocks  inflate  records   checks    batches columns   pages     numbers   pages     file
//! ```

mod bases;
mod chunk_index;
mod columns;
mod convert;
mod cut;
mod discover;
mod expression;
mod index_job;
mod inputs;
mod mismatch;
mod options;
mod output;
mod overview;
mod reads;
mod regions;
mod report;
mod run;
mod sample;
mod scan;
mod schema;
mod select;
mod serial;
mod setup;
mod sink;
mod tags;
mod text;
mod unit;
mod wide;

pub use bases::Kernel;
pub use convert::{Report, convert};
pub use index_job::index_only;
pub use inputs::Inputs;
pub use options::{Expression, Options, Resources, Scalar, Semantic};
pub use scan::{Batches, count, schema};
