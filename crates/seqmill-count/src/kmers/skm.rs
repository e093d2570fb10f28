//! The table `skm`: sorted k-mers with counts in blocks of 512, each for itself (Elias-Fano), an
//! index of their first k-mers, and what was counted as JSON. All numbers are little-endian.

mod block;
mod encode;
#[cfg(target_arch = "x86_64")]
mod permute;
mod read;
mod write;

pub use read::SkmTable;
pub use write::{OrderedBlocks, SkmWriter, TableFacts};

/// First bytes.
pub const MAGIC: [u8; 4] = *b"SKM1";
/// Last bytes.
pub const END_MAGIC: [u8; 4] = *b"SKME";
/// Version of the layout.
pub const VERSION: u16 = 1;
/// Bytes of the header.
pub const HEADER_BYTES: usize = 64;
/// K-mers in every block but the last.
pub const BLOCK_KMERS: usize = 512;
/// Flag: k-mers were left out by their count.
pub const FILTERED: u8 = 1;

/// Words of a k-mer in the file.
pub const fn key_words(k: u32) -> usize {
    k.div_ceil(32) as usize
}
