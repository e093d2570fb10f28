//! De novo repeat families of a genome, exact and inside one memory budget.
//!
//! The genome is taken in as two bits a base ([`text`]); k-mers that occur often enough become
//! seeds with lists of their occurrences ([`rank`]); each is extended to a consensus, its copies
//! are aligned to that, and what they cover is masked for those that follow ([`find`]).

#![expect(
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::cast_sign_loss,
    clippy::inline_always,
    clippy::many_single_char_names,
    clippy::needless_range_loop,
    reason = "positions are below 2^32 by the limit of the text, and scores below 2^31 by the \
              ranges of the parameters; vector kernels are inlined into the functions that have \
              the instructions they need; kernels index several rows by one offset, and speak of columns x \
              and bases a, c, g, t"
)]

mod annotate;
mod batch;
pub mod cluster;
pub mod crew;
pub mod estimate;
mod extend;
pub mod find;
pub mod flow;
pub mod job;
pub mod kmer;
pub mod mask;
pub mod options;
mod outputs;
pub mod pool;
pub mod rank;
mod read;
mod run;
mod state;
pub mod tables;
pub mod text;
mod trace;
mod usage;
mod write;

pub use job::{Format, Options, Report, Resources, run};
pub use run::Found;
