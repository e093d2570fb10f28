//! Bit packing and the hybrid of runs and bit-packed groups (`Encodings.md`, RLE).

use super::thrift::varint;

/// Values that are packed at a time where speed matters.
pub(super) const CHUNK: usize = 32;
/// A run is worth its header from this many equal values on; below, it only breaks up a packed
/// stretch. Multiple of 8: packed stretches come in groups of 8 values.
const MIN_RUN: usize = 16;
/// Values per bit-packed group.
const GROUP: usize = 8;

/// Bits needed for `value`.
pub(super) fn width_of(value: u64) -> u32 {
    u64::BITS - value.leading_zeros()
}

fn pack_const<const W: usize>(input: &[u32; CHUNK], out: &mut Vec<u8>) {
    let mut words = [0u32; W];
    for (i, &value) in input.iter().enumerate() {
        let bit = i * W;
        let (word, shift) = (bit / 32, bit % 32);
        words[word] |= value << shift;
        if shift + W > 32 {
            words[word + 1] |= value >> (32 - shift);
        }
    }
    let start = out.len();
    out.resize(start + W * 4, 0);
    for (target, word) in out[start..].chunks_exact_mut(4).zip(words) {
        target.copy_from_slice(&word.to_le_bytes());
    }
}

/// Packs 32 values of at most `width` ≤ 32 bits each, least significant bit first.
pub(super) fn pack_chunk(input: &[u32; CHUNK], width: u32, out: &mut Vec<u8>) {
    macro_rules! dispatch {
        ($($w:literal)*) => {
            match width {
                $($w => pack_const::<$w>(input, out),)*
                _ => {}
            }
        };
    }
    dispatch!(1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26 27 28 29 30 31 32);
}

/// Packs values of at most `width` ≤ 64 bits each; the last byte is filled with zeros.
pub(super) fn pack_wide(values: impl Iterator<Item = u64>, width: u32, out: &mut Vec<u8>) {
    if width == 0 {
        return;
    }
    let (mut held, mut bits) = (0u128, 0u32);
    for value in values {
        held |= u128::from(value) << bits;
        bits += width;
        if bits >= 64 {
            out.extend_from_slice(&(held as u64).to_le_bytes());
            held >>= 64;
            bits -= 64;
        }
    }
    let rest = (held as u64).to_le_bytes();
    out.extend_from_slice(&rest[..bits.div_ceil(8) as usize]);
}

/// Appends `len` bits of `source` from bit `start` on; the last byte is filled with zeros.
pub(super) fn copy_bits(source: &[u8], start: usize, len: usize, out: &mut Vec<u8>) {
    let bytes = len.div_ceil(8);
    let (first, shift) = (start / 8, start % 8);
    if shift == 0 {
        out.extend_from_slice(&source[first..first + bytes]);
    } else {
        let source = &source[first..(start + len).div_ceil(8)];
        let high = source.iter().skip(1).chain(std::iter::once(&0));
        let pairs = source.iter().zip(high).take(bytes);
        out.extend(pairs.map(|(low, high)| (low >> shift) | (high << (8 - shift))));
    }
    if !len.is_multiple_of(8)
        && let Some(last) = out.last_mut()
    {
        *last &= (1 << (len % 8)) - 1;
    }
}

/// Appends a run of `count` times `value`.
pub(super) fn run(value: u32, count: usize, width: u32, out: &mut Vec<u8>) {
    if count > 0 {
        varint((count as u64) << 1, out);
        out.extend_from_slice(&value.to_le_bytes()[..width.div_ceil(8) as usize]);
    }
}

/// Appends the header of `count` bit-packed values; they must follow, the last group filled up.
pub(super) fn packed_header(count: usize, out: &mut Vec<u8>) {
    varint(((count.div_ceil(GROUP) as u64) << 1) | 1, out);
}

fn packed<T: Copy + Into<u32>>(values: &[T], width: u32, out: &mut Vec<u8>) {
    if values.is_empty() {
        return;
    }
    packed_header(values.len(), out);
    let chunks = values.chunks_exact(CHUNK);
    let rest = chunks.remainder();
    let mut chunk = [0u32; CHUNK];
    for part in chunks {
        for (target, &value) in chunk.iter_mut().zip(part) {
            *target = value.into();
        }
        pack_chunk(&chunk, width, out);
    }
    if !rest.is_empty() {
        chunk = [0; CHUNK];
        for (target, &value) in chunk.iter_mut().zip(rest) {
            *target = value.into();
        }
        let end = out.len() + rest.len().div_ceil(GROUP) * width as usize;
        pack_chunk(&chunk, width, out);
        out.truncate(end);
    }
}

/// Without a branch per value, so that it becomes vector code.
fn all_are<T: Copy + PartialEq>(values: &[T], wanted: T) -> bool {
    values.iter().filter(|v| **v == wanted).count() == values.len()
}

/// Appends values of 1 ≤ `width` ≤ 32 bits as runs where there are any, else bit-packed.
pub(super) fn hybrid<T: Copy + PartialEq + Into<u32>>(values: &[T], width: u32, out: &mut Vec<u8>) {
    let mut pending = 0;
    let mut at = 0;
    while let Some(window) = values.get(at..at + MIN_RUN) {
        let first = window[0];
        if all_are(window, first) {
            packed(&values[pending..at], width, out);
            let mut end = at + MIN_RUN;
            while values.get(end..end + MIN_RUN).is_some_and(|next| all_are(next, first)) {
                end += MIN_RUN;
            }
            end += values[end..].iter().take_while(|v| **v == first).count();
            run(first.into(), end - at, width, out);
            at = end;
            pending = at;
        } else {
            at += GROUP;
        }
    }
    let rest = &values[pending..];
    match rest {
        // A last stretch of one value needs no group.
        [first, others @ ..] if others.iter().all(|v| v == first) => {
            run((*first).into(), rest.len(), width, out);
        }
        _ => packed(rest, width, out),
    }
}
