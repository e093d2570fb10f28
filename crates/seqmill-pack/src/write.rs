//! Writing archives: creating, adding, renaming.

mod append;
mod compress;
mod describe;
mod encode;
mod feed;
mod groups;
mod input;
mod kmers;
mod ledger;
mod options;
mod output;
mod pending;
mod place;
mod reference;
mod rename;
mod run;
mod segments;
mod sketch;
mod splitters;
mod spool;
mod stages;

pub use compress::Level;
pub use ledger::SampleShare;
pub use options::{LetterRule, PackOptions, SampleInput, SampleRule};
pub use output::StreamShare;
pub use rename::rename;
pub use run::{Packed, pack};
