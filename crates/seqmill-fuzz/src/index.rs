//! Indices that cover a file in one bin a reference, and damage to indices.

use crate::frame::{inflate, reframe};
use crate::mutate::{bytes, put, value};
use crate::random::Random;

/// One bin that spans everything.
const ROOT_BIN: u32 = 0;

fn chunk(bytes: &mut Vec<u8>, (begin, end): (u64, u64)) {
    bytes.extend(1_u32.to_le_bytes());
    bytes.extend(begin.to_le_bytes());
    bytes.extend(end.to_le_bytes());
}

/// A BAI with one chunk for each reference that has records.
pub(crate) fn bai(chunks: &[Option<(u64, u64)>]) -> Vec<u8> {
    let mut bytes = b"BAI\x01".to_vec();
    bytes.extend((chunks.len() as u32).to_le_bytes());
    for one in chunks {
        bytes.extend(u32::from(one.is_some()).to_le_bytes());
        if let Some(one) = one {
            bytes.extend(ROOT_BIN.to_le_bytes());
            chunk(&mut bytes, *one);
        }
        bytes.extend(1_u32.to_le_bytes());
        bytes.extend(one.map_or(0, |c| c.0).to_le_bytes());
    }
    bytes.extend(3_u64.to_le_bytes());
    bytes
}

/// A CSI of the same content.
pub(crate) fn csi(chunks: &[Option<(u64, u64)>]) -> Vec<u8> {
    let mut bytes = b"CSI\x01".to_vec();
    bytes.extend(14_u32.to_le_bytes());
    bytes.extend(5_u32.to_le_bytes());
    bytes.extend(0_u32.to_le_bytes());
    bytes.extend((chunks.len() as u32).to_le_bytes());
    for one in chunks {
        bytes.extend(u32::from(one.is_some()).to_le_bytes());
        if let Some(one) = one {
            bytes.extend(ROOT_BIN.to_le_bytes());
            bytes.extend(one.0.to_le_bytes());
            chunk(&mut bytes, *one);
        }
    }
    bytes.extend(3_u64.to_le_bytes());
    reframe(&bytes, &mut || 60_000, true).0
}

/// Damages an index; a compressed one mostly inside.
pub(crate) fn damage(index: &mut Vec<u8>, other: &[u8], random: &mut Random) -> String {
    let compressed = index.starts_with(&[0x1f, 0x8b]);
    if compressed
        && !random.once_in(4)
        && let Some(mut inner) = inflate(index)
    {
        let what = damage_inner(&mut inner, other, random);
        *index = reframe(&inner, &mut || 60_000, !random.once_in(5)).0;
        return format!("index inside: {what}");
    }
    let what = damage_inner(index, other, random);
    format!("index: {what}")
}

fn damage_inner(index: &mut Vec<u8>, other: &[u8], random: &mut Random) -> String {
    if random.once_in(2) {
        return bytes(index, other, random);
    }
    let at = 4 * random.below(index.len().div_ceil(4));
    let value = value(random);
    let wide = random.once_in(3);
    let number = if wide { u64::from(value) << 16 } else { u64::from(value) };
    put(index, at, if wide { 8 } else { 4 }, number);
    format!("number at {at} set to {number}")
}
