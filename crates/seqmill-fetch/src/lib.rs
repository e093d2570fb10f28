//! Random access to collections of sequence files, with one index that processes share.
#![cfg_attr(test, allow(clippy::cast_possible_truncation))]

mod archives;
mod aside;
mod batch;
mod blocks;
mod build;
mod cache;
mod check;
mod encode;
mod facts;
mod files;
mod flat;
mod gzip;
mod index;
mod load;
mod options;
mod packed;
mod place;
mod probe;
mod read;
mod reader;
mod spaced;
mod spool;
mod store;
mod tracks;
mod walk;
mod window;

pub use batch::Window;
pub use encode::{Encoder, Layout};
pub use flat::Format;
pub use load::DEFAULT_SUFFIXES;
pub use options::{Content, OpenOptions, Pack, Root};
pub use reader::StoreFile;
pub use store::{Contig, Store};
pub use window::{OutOfRange, Place};
