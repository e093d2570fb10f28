//! Coverage by region, window and base (`kmers.md` §6): depth of alignments, content of sequence.
//!
//! ```text
//! alignments  scan ─▶ load ─▶ stitch ─▶ spans ─▶ depth ─▶ runs ─▶ regions ─▶ spool ─▶ files
//! sequence    read ─▶ classes of symbols, k-mers ────────────────▶ regions ─▶ spool ─▶ files
//! ```
//!
//! Results arise in the order of the sequences and wait in a file; the outputs are written from it
//! in the order of the list. So memory depends on neither.

mod alignments;
mod columns;
mod counts;
mod depth;
mod distinct;
mod document;
mod mates;
mod options;
mod output;
mod run;
mod runs;
mod sequences;
mod shares;
mod spans;
mod spool;
mod stats;
mod table;
mod targets;
mod text;
mod tracker;

pub use options::{Mates, Options, Semantic, Share, Value};
pub use run::{Report, measure};
pub use shares::{assemble, measure_share, plan_shares};
pub use table::TableReader;
