//! Genome collections in AGC archives: read, written, appended to, inside one memory budget.

#![cfg_attr(not(test), warn(clippy::indexing_slicing))]
#![cfg_attr(test, allow(clippy::cast_possible_truncation, clippy::unwrap_used))]

mod archive;
mod batch;
mod cache;
mod checks;
mod collection;
mod container;
mod delta;
mod digests;
mod frame;
mod group_name;
mod reader;
mod symbols;
mod unpack;
mod verify;
mod vint;
mod write;

pub use archive::{Archive, CACHE_USEFUL_BYTES, ContigView, Memory, Parameters, Sample};
pub use batch::short_name;
pub use reader::{is_archive, open_archive};
pub use unpack::{Selection, UnpackOptions, Unpacked, unpack};
pub use verify::{Verified, verify};
pub use write::{
    LetterRule, Level, PackOptions, Packed, SampleInput, SampleRule, SampleShare, StreamShare,
    pack, rename,
};
