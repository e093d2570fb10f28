//! BAM, the binary form of alignments (`SAMv1 §4.2`).

pub mod chunk_index;
mod header;
pub mod index;
mod record;
mod tag;

pub use header::{Header, HeaderProgress, Reference};
pub use record::{Fault, Head, MAX_QUALITY, Parts, Record, SEQ_ALPHABET, reference_span};
pub use tag::{Tag, TagKind, Tags, array_item_bytes};

/// First bytes of inflated BAM data.
pub const MAGIC: [u8; 4] = *b"BAM\x01";
