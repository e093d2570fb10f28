//! FASTA and FASTQ: reads without alignments, in a table of their own (`bam.md` §15).
//!
//! ```text
//! scan ─▶ load ─▶ stitch ─▶ select ─▶ cut ─▶ process ─▶ (as for alignments)
//! bytes   inflate  records   grammar   batches columns
//! ```

mod decode;
mod pairs;
mod parse;
mod plan;
mod run;
mod select;

pub(crate) use decode::empty_batch;
pub(crate) use plan::{ReadsPlan, setup};
pub(crate) use run::{batches, process};
pub(crate) use select::ReadRows;
