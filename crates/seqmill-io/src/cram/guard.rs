//! A look at what a container claims, before noodles allocates by it.
//!
//! Checked are the checksums and lengths of all blocks, that slices stand where the header says,
//! the number of records, the lengths that entropy coders write a second time, and the longest
//! read and list of features, as far as their encodings show them.

use super::container::{Block, RawContainer};
use super::encodings::{Encodings, parse_compression_header};
use super::number::Bytes;
use seqmill_base::{Error, FormatKind, Result};

/// What is known of one slice.
#[derive(Debug)]
pub(super) struct SliceFacts {
    /// Records it claims.
    pub records: usize,
    /// Number of its reference; -1: none, -2: several.
    pub reference: i32,
    /// First base of the reference it covers, 1-based.
    pub start: i32,
    /// Block with the reference, if it is embedded.
    pub embedded: Option<i32>,
    /// Bytes of all its blocks when they are decoded.
    pub raw_bytes: u64,
    /// Bytes that decoders need for a time.
    pub scratch_bytes: u64,
    /// It has blocks of 256 symbols that are marked as packed.
    mispacked: bool,
}

/// What is known of a container.
#[derive(Debug)]
pub(super) struct ContainerFacts {
    pub slices: Vec<SliceFacts>,
    /// Bases are differences to a reference that is not in the file.
    pub external_reference: bool,
    /// Positions are differences to those of the records before.
    pub deltas: bool,
    /// There are blocks of 256 symbols that are marked as packed.
    pub mispacked: bool,
    pub encodings: Encodings,
}

/// Most records of a slice: what a place in the file can count.
const RECORDS_MAX: usize = 1 << 22;
/// Longest table of frequencies: 257 symbols by 257 symbols of at most three bytes.
const TABLE_MAX_BYTES: u64 = 1 << 18;

fn broken(what: &str, offset: u64) -> Error {
    Error::format(FormatKind::Other, format!("the CRAM container at byte {offset} {what}"))
        .at_offset(offset)
}

impl ContainerFacts {
    /// Walks all blocks of a container.
    pub(super) fn of(container: &RawContainer) -> Result<Self> {
        let offset = container.offset;
        let body = container.body();
        let mut rest = Bytes(body);
        let header = Block::read(&mut rest, offset)?;
        if header.content_type != Block::COMPRESSION_HEADER {
            return Err(broken("does not begin with a compression header", offset));
        }
        check_size(header.raw_bytes, body.len(), offset)?;
        let header = header.inflate(offset)?;
        let (external_reference, deltas, encodings) = parse_compression_header(&header)
            .ok_or_else(|| broken("has a damaged compression header", offset))?;
        let mut slices = Vec::new();
        for (number, landmark) in container.landmarks.iter().enumerate() {
            let end = container.landmarks.get(number + 1).copied().unwrap_or(body.len());
            if *landmark != body.len() - rest.0.len() || end < *landmark || end > body.len() {
                return Err(broken("has slices where there are none", offset));
            }
            slices.push(slice_facts(&mut rest, offset)?);
        }
        if !rest.0.is_empty() {
            return Err(broken("has bytes behind its last slice", offset));
        }
        let mispacked = slices.iter().any(|slice| slice.mispacked);
        Ok(Self { slices, external_reference, deltas, mispacked, encodings })
    }
}

/// A block of headers is small: it cannot inflate to more than deflate can make of its bytes.
fn check_size(raw_bytes: usize, stored: usize, offset: u64) -> Result<()> {
    if raw_bytes > stored.saturating_mul(1100) {
        return Err(broken("has a header block of an impossible length", offset));
    }
    Ok(())
}

fn slice_facts(rest: &mut Bytes<'_>, offset: u64) -> Result<SliceFacts> {
    let before = rest.0.len();
    let header = Block::read(rest, offset)?;
    if header.content_type != Block::SLICE_HEADER {
        return Err(broken("has slices where there are none", offset));
    }
    check_size(header.raw_bytes, before, offset)?;
    let header = header.inflate(offset)?;
    let mut fields = Bytes(&header);
    let parsed = (|| {
        let reference = fields.itf8()?;
        let start = fields.itf8()?;
        fields.itf8()?; // span
        let records = fields.length()?;
        fields.ltf8()?; // record counter
        let blocks = fields.length()?;
        for _ in 0..fields.length()? {
            fields.itf8()?;
        }
        let embedded = fields.itf8()?;
        fields.take(16)?; // MD5 of the reference
        Some((reference, start, records, blocks, (embedded >= 0).then_some(embedded)))
    })();
    let Some((reference, start, records, blocks, embedded)) = parsed else {
        return Err(broken("has a damaged slice header", offset));
    };
    if records > RECORDS_MAX {
        return Err(broken("claims more than 4194304 records in a slice", offset));
    }
    let (mut raw_bytes, mut scratch_bytes) = (0_u64, 0_u64);
    let mut found = embedded.is_none();
    let mut mispacked = false;
    for number in 0..blocks {
        let block = Block::read(rest, offset)?;
        let expected = if number == 0 { Block::CORE } else { Block::EXTERNAL };
        if block.content_type != expected {
            return Err(broken("has its blocks out of order", offset));
        }
        found |= number > 0 && Some(block.content_id) == embedded;
        raw_bytes += block.raw_bytes as u64;
        mispacked |= mispacked_head(&block).is_some();
        if check_block(&block).is_none() {
            return Err(broken("has a block whose lengths contradict each other", offset));
        }
        scratch_bytes = scratch_bytes.max(block.scratch_bytes());
    }
    if blocks == 0 || !found {
        return Err(broken("lacks a block that its slice header names", offset));
    }
    Ok(SliceFacts { records, reference, start, embedded, raw_bytes, scratch_bytes, mispacked })
}

/// Compares the length that an entropy coder states with that of the block; `None` if they
/// contradict each other.
fn check_block(block: &Block<'_>) -> Option<()> {
    let raw = block.raw_bytes as u64;
    let mut data = Bytes(block.data);
    match block.method {
        0 => (block.data.len() as u64 == raw || raw == 0).then_some(()),
        // gzip, bzip2 and lzma inflate into what the block states.
        1..=3 => Some(()),
        4 => {
            data.take(5)?;
            (u64::from(data.i32_le()?.cast_unsigned()) == raw).then_some(())
        }
        5 | 6 => check_entropy(data, raw, block.method == 5, 0),
        7 => (data.uint7()? == raw).then_some(()),
        8 => check_names(data, raw),
        _ => None,
    }
}

/// Flags of the rANS Nx16 and the arithmetic coder (`CRAMcodecs §3, §4`).
const ORDER: u8 = 0x01;
const STRIPE: u8 = 0x08;
const NO_SIZE: u8 = 0x10;
const STORED: u8 = 0x20;
const RUNS: u8 = 0x40;
pub(super) const PACKED: u8 = 0x80;

/// Where a stream says that it is packed although it is not.
pub(super) struct MispackedHead {
    pub mark_begin: usize,
    pub mark_end: usize,
}

/// Finds the mark of packing with 256 symbols, whose number was cut to 0.
pub(super) fn mispacked_head(block: &Block<'_>) -> Option<MispackedHead> {
    let mut data = Bytes(block.data);
    let flags = data.u8().filter(|_| matches!(block.method, 5 | 6))?;
    if flags & PACKED == 0 || flags & (STRIPE | STORED) != 0 {
        return None;
    }
    if flags & NO_SIZE == 0 {
        data.uint7()?;
    }
    let mark_begin = block.data.len() - data.0.len();
    let symbols = data.u8()?;
    let length = data.uint7()?;
    let mark_end = block.data.len() - data.0.len();
    let found = symbols == 0 && length == block.raw_bytes as u64;
    found.then_some(MispackedHead { mark_begin, mark_end })
}

/// Follows the lengths of a stream of rANS Nx16 or of the arithmetic coder, parts within parts.
fn check_entropy(mut data: Bytes<'_>, raw: u64, is_rans: bool, depth: u32) -> Option<()> {
    if depth > 2 {
        return None;
    }
    let flags = data.u8()?;
    if flags & NO_SIZE == 0 && data.uint7()? != raw {
        return None;
    }
    if flags & STRIPE != 0 {
        let count = u64::from(data.u8()?);
        if count == 0 {
            return None;
        }
        let mut lengths = Vec::new();
        for _ in 0..count {
            lengths.push(usize::try_from(data.uint7()?).ok()?);
        }
        for (number, length) in (0..).zip(lengths) {
            let part = raw / count + u64::from(raw % count > number);
            check_entropy(Bytes(data.take(length)?), part, is_rans, depth + 1)?;
        }
        return Some(());
    }
    let mut length = raw;
    if flags & PACKED != 0 {
        let symbols = usize::from(data.u8()?);
        data.take(symbols)?;
        length = data.uint7()?;
        if length > raw {
            return None;
        }
    }
    if is_rans && flags & RUNS != 0 {
        let meta = data.uint7()?;
        let literals = data.uint7()?;
        if meta >> 1 > 2 * length + 512 || literals > length {
            return None;
        }
        let bytes = if meta & 1 == 0 { data.uint7()? } else { meta >> 1 };
        data.take(usize::try_from(bytes).ok()?)?;
        length = literals;
    }
    if is_rans && flags & ORDER != 0 && flags & STORED == 0 && length > 0 {
        let table = data.u8()?;
        if table & 1 == 1 && data.uint7()? > TABLE_MAX_BYTES {
            return None;
        }
    }
    Some(())
}

/// Follows the streams of the name tokenizer (`CRAMcodecs §6`).
fn check_names(mut data: Bytes<'_>, raw: u64) -> Option<()> {
    let stated = u64::from(data.i32_le()?.cast_unsigned());
    let names = u64::from(data.i32_le()?.cast_unsigned());
    if stated != raw || names > raw {
        return None;
    }
    let is_rans = data.u8()? == 0;
    while !data.0.is_empty() {
        let kind = data.u8()?;
        if kind & 0x40 != 0 {
            // A copy of another stream: its position and type.
            data.take(2)?;
            continue;
        }
        let length = usize::try_from(data.uint7()?).ok()?;
        let stream = data.take(length)?;
        let mut size = Bytes(stream);
        let flags = size.u8()?;
        // These streams tell their own length; no part of a name list is longer than some times it.
        let stated = if flags & NO_SIZE == 0 { size.uint7()? } else { return None };
        if stated > 8 * raw + 1024 {
            return None;
        }
        check_entropy(Bytes(stream), stated, is_rans, 0)?;
    }
    Some(())
}
