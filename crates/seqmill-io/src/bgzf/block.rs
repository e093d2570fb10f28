//! Framing of one block: a gzip member with a `BC` subfield (`SAMv1 §4.1`).

use seqmill_base::{Error, FormatKind, Result};

/// Largest block, compressed or not.
pub const BLOCK_MAX_BYTES: usize = 1 << 16;

/// The empty block that ends a complete file (`SAMv1 §4.1.2`).
pub const EOF_MARKER: [u8; 28] = [
    0x1f, 0x8b, 0x08, 0x04, 0, 0, 0, 0, 0, 0xff, 0x06, 0, 0x42, 0x43, 0x02, 0, 0x1b, 0, 0x03, 0, 0,
    0, 0, 0, 0, 0, 0, 0,
];

/// Gzip magic, deflate, flags with the extra field only (RFC 1952 §2.3).
const MAGIC: [u8; 4] = [0x1f, 0x8b, 0x08, 0x04];
/// Bytes before the extra field: magic, method, flags, time, extra flags, system, length.
const FIXED_BYTES: usize = 12;
/// CRC32 and ISIZE.
const FOOTER_BYTES: usize = 8;

/// Where the parts of a block lie, relative to its first byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Frame {
    /// Length of the whole block.
    pub block_bytes: usize,
    /// Start of the deflate stream.
    pub data_start: usize,
}

impl Frame {
    /// End of the deflate stream.
    pub fn data_end(&self) -> usize {
        self.block_bytes - FOOTER_BYTES
    }
}

/// What the bytes at a place are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// A block whose frame is known; it may reach beyond the bytes given.
    Block(Frame),
    /// The beginning of a block, too short to tell its length.
    Incomplete,
    /// Not a block.
    Not(&'static str),
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..)?.first_chunk::<2>().map(|b| u16::from_le_bytes(*b))
}

/// Reads the frame of the block that begins at the first of `bytes`.
///
/// The subfields are walked: `BC` need not be the first nor the only one.
pub fn frame_at(bytes: &[u8]) -> Framing {
    let known = bytes.len().min(MAGIC.len());
    if bytes.get(..known) != MAGIC.get(..known) {
        return Framing::Not("the gzip magic with an extra field is missing");
    }
    let Some(extra_bytes) = u16_at(bytes, 10) else { return Framing::Incomplete };
    let extra_end = FIXED_BYTES + usize::from(extra_bytes);
    let mut at = FIXED_BYTES;
    let mut size = None;
    while at + 4 <= extra_end {
        let Some(id) = bytes.get(at..at + 2) else { return Framing::Incomplete };
        let Some(length) = u16_at(bytes, at + 2) else { return Framing::Incomplete };
        if id == b"BC" && length == 2 {
            let Some(value) = u16_at(bytes, at + 4) else { return Framing::Incomplete };
            size.get_or_insert(usize::from(value) + 1);
        }
        at += 4 + usize::from(length);
    }
    if at != extra_end {
        return Framing::Not("the extra field is malformed");
    }
    let Some(block_bytes) = size else { return Framing::Not("the BC subfield is missing") };
    if block_bytes < extra_end + FOOTER_BYTES + 1 {
        return Framing::Not("BSIZE is smaller than the block's own header");
    }
    Framing::Block(Frame { block_bytes, data_start: extra_end })
}

/// Whether `bytes`, the beginning of a file, are BGZF rather than plain gzip.
pub fn is_bgzf(bytes: &[u8]) -> bool {
    matches!(frame_at(bytes), Framing::Block(_))
}

/// CRC32 and ISIZE of a whole block.
pub(super) fn footer(block: &[u8]) -> Option<(u32, u32)> {
    let (crc, isize_field) = block.last_chunk::<FOOTER_BYTES>()?.split_first_chunk::<4>()?;
    Some((u32::from_le_bytes(*crc), u32::from_le_bytes(*isize_field.first_chunk()?)))
}

pub(super) fn broken(reason: &str, offset: u64) -> Error {
    Error::format(FormatKind::Bgzf, format!("no BGZF block at byte {offset}: {reason}"))
        .at_offset(offset)
}

pub(super) fn cut_block(offset: u64) -> Error {
    Error::format(
        FormatKind::Truncated,
        format!("the file ends inside the BGZF block at byte {offset}"),
    )
    .at_offset(offset)
}

/// ISIZE of a block, refused where no block can be that long.
pub(super) fn checked_isize(isize_field: u32, offset: u64) -> Result<usize> {
    match usize::try_from(isize_field) {
        Ok(n) if n <= BLOCK_MAX_BYTES => Ok(n),
        _ => Err(Error::format(
            FormatKind::Inflate,
            format!("the BGZF block at byte {offset} claims {isize_field} bytes, more than 65536"),
        )
        .at_offset(offset)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_marker_is_a_block() {
        let frame = Frame { block_bytes: 28, data_start: 18 };
        assert_eq!(frame_at(&EOF_MARKER), Framing::Block(frame));
        for cut in 0..18 {
            assert_eq!(frame_at(&EOF_MARKER[..cut]), Framing::Incomplete, "{cut}");
        }
    }

    #[test]
    fn other_subfields_may_stand_before_bc() {
        let mut block = EOF_MARKER.to_vec();
        block[10] = 13;
        block.splice(12..12, *b"XY\x03\x00abc");
        block[12 + 7 + 4] = 28 + 7 - 1;
        assert_eq!(frame_at(&block), Framing::Block(Frame { block_bytes: 35, data_start: 25 }));
    }

    #[test]
    fn nonsense_is_refused() {
        assert!(matches!(frame_at(b"hello"), Framing::Not(_)));
        let mut block = EOF_MARKER;
        block[16] = 5;
        assert!(matches!(frame_at(&block), Framing::Not(_)), "BSIZE below the header");
        let mut block = EOF_MARKER;
        block[12] = b'X';
        assert!(matches!(frame_at(&block), Framing::Not(_)), "no BC");
    }
}
