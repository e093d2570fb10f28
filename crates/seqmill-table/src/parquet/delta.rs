//! `DELTA_BINARY_PACKED` and the lengths of `DELTA_LENGTH_BYTE_ARRAY` (`Encodings.md`).

use super::bits::{CHUNK, pack_chunk, pack_wide, width_of};
use super::thrift::{varint, zigzag};

/// Values per block; a multiple of 128.
const BLOCK: usize = 128;
/// Miniblocks per block; each must hold a multiple of 32 values.
const MINIBLOCKS: usize = BLOCK / CHUNK;

fn header(count: usize, first: i64, out: &mut Vec<u8>) {
    varint(BLOCK as u64, out);
    varint(MINIBLOCKS as u64, out);
    varint(count as u64, out);
    varint(zigzag(first), out);
}

/// Appends 32-bit integers. Differences wrap around, as readers add them.
pub(super) fn delta32(values: &[i32], out: &mut Vec<u8>) {
    header(values.len(), values.first().copied().unwrap_or(0).into(), out);
    let mut block = [0u32; BLOCK];
    let mut at = 1;
    while at < values.len() {
        let count = BLOCK.min(values.len() - at);
        let (before, now) = (&values[at - 1..at - 1 + count], &values[at..at + count]);
        let mut least = i32::MAX;
        for ((target, a), b) in block.iter_mut().zip(before).zip(now) {
            let delta = b.wrapping_sub(*a);
            least = least.min(delta);
            *target = delta.cast_unsigned();
        }
        for target in &mut block[..count] {
            *target = target.wrapping_sub(least.cast_unsigned());
        }
        block[count..].fill(0);
        varint(zigzag(least.into()), out);
        let (chunks, _) = block.as_chunks::<CHUNK>();
        let mut widths = [0u8; MINIBLOCKS];
        for (width, chunk) in widths.iter_mut().zip(chunks) {
            *width = width_of(chunk.iter().fold(0, |all, v| all | v).into()) as u8;
        }
        out.extend_from_slice(&widths);
        for (width, chunk) in widths.iter().zip(chunks) {
            pack_chunk(chunk, (*width).into(), out);
        }
        at += count;
    }
}

/// Appends 64-bit integers. Differences wrap around, as readers add them.
pub(super) fn delta64(values: &[i64], out: &mut Vec<u8>) {
    header(values.len(), values.first().copied().unwrap_or(0), out);
    let mut block = [0u64; BLOCK];
    let mut narrow = [0u32; CHUNK];
    let mut at = 1;
    while at < values.len() {
        let count = BLOCK.min(values.len() - at);
        let (before, now) = (&values[at - 1..at - 1 + count], &values[at..at + count]);
        let mut least = i64::MAX;
        for ((target, a), b) in block.iter_mut().zip(before).zip(now) {
            let delta = b.wrapping_sub(*a);
            least = least.min(delta);
            *target = delta.cast_unsigned();
        }
        for target in &mut block[..count] {
            *target = target.wrapping_sub(least.cast_unsigned());
        }
        block[count..].fill(0);
        varint(zigzag(least), out);
        let (chunks, _) = block.as_chunks::<CHUNK>();
        let mut widths = [0u32; MINIBLOCKS];
        for (width, chunk) in widths.iter_mut().zip(chunks) {
            *width = width_of(chunk.iter().fold(0, |all, v| all | v));
        }
        out.extend(widths.iter().map(|w| *w as u8));
        for (&width, chunk) in widths.iter().zip(chunks) {
            if width <= u32::BITS {
                for (target, value) in narrow.iter_mut().zip(chunk) {
                    *target = *value as u32;
                }
                pack_chunk(&narrow, width, out);
            } else {
                pack_wide(chunk.iter().copied(), width, out);
            }
        }
        at += count;
    }
}
