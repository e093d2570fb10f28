//! CRAM 3.0 and 3.1 (`CRAMv3`): containers found here, decoded by noodles-cram, given as BAM.
//!
//! noodles trusts the lengths in a file and panics where the parts of a container contradict each
//! other. What it allocates by is therefore looked at before ([`guard`]), and its calls are fenced.

mod container;
mod decode;
mod encode;
mod encodings;
mod guard;
mod matches;
mod number;
mod reference;
mod rewrite;

pub use container::{ContainerScanner, RawContainer, check_version, read_file_header};
pub use decode::{CramDecoder, Decoded};
pub use reference::ReferenceStore;

/// First bytes of a CRAM.
pub const MAGIC: [u8; 4] = *b"CRAM";

/// Bits of a place that number the records of a container.
const NUMBER_BITS: u32 = 22;

/// The place of a record: the offset of its container and its number there.
pub fn container_place(offset: u64, number: u64) -> u64 {
    (offset << NUMBER_BITS) | number.min((1 << NUMBER_BITS) - 1)
}

/// Offset of the container and number of the record of a place.
pub fn split_place(place: u64) -> (u64, u64) {
    (place >> NUMBER_BITS, place & ((1 << NUMBER_BITS) - 1))
}
