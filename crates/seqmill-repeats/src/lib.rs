//! De novo repeat families of a genome, exact and inside one memory budget.
//!
//! The genome is taken in as two bits a base ([`text`]); k-mers that occur often enough become
//! seeds with lists of their occurrences ([`rank`]); each is extended to a consensus, its copies
//! are aligned to that, and what they cover is masked for those that follow ([`find`]).

pub mod crew;
mod extend;
pub mod find;
pub mod kmer;
pub mod mask;
pub mod options;
pub mod rank;
mod read;
pub mod run;
pub mod text;
mod write;
