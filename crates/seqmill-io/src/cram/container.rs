//! Containers: their headers and how they follow each other (`CRAMv3 §6-7`).

use super::number::Bytes;
use crate::source::Source;
use libdeflater::crc32;
use seqmill_base::pipeline::Item;
use seqmill_base::{Error, FormatKind, Lease, Result};
use std::io::Read;
use std::sync::Arc;

/// Bytes of the file definition: magic, version, file id.
const DEFINITION_BYTES: usize = 26;
/// Bytes of a container header that are read at once; more if it has many landmarks.
const HEADER_BYTES: usize = 256;
/// Most bytes of a container header: 2^16 slices of a container are far beyond all uses.
const HEADER_MAX_BYTES: usize = 1 << 19;
/// Bytes of a noodles record besides its data, generously.
pub(super) const RECORD_BYTES: u64 = 640;
/// Bytes that the name tokenizer takes for each name: 128 tokens.
const NAME_BYTES: u64 = 4608;
/// Start that the container at the end of a file claims: `EOF` in a place of no reference.
const END_START: i32 = 4_542_278;

/// A container as it stands in the file.
#[derive(Debug)]
pub struct RawContainer {
    /// Offset in the file.
    pub offset: u64,
    /// Header and blocks.
    pub bytes: Vec<u8>,
    /// Bytes of the header.
    pub header_bytes: usize,
    /// Where slices begin, behind the header.
    pub(super) landmarks: Vec<usize>,
    /// About the bytes that decoding takes, by what the container claims.
    pub claim_bytes: u64,
    /// Offset behind the container.
    pub file_end: u64,
    /// Holds the bytes.
    pub lease: Lease,
}

impl Item for RawContainer {
    fn bytes(&self) -> u64 {
        self.bytes.len() as u64
    }
}

impl RawContainer {
    /// The blocks.
    pub(super) fn body(&self) -> &[u8] {
        self.bytes.get(self.header_bytes..).unwrap_or_default()
    }
}

struct Header {
    own_bytes: usize,
    body_bytes: usize,
    landmarks: Vec<usize>,
    records: u64,
    bases: u64,
    is_end: bool,
}

fn damaged(what: &str, offset: u64) -> Error {
    Error::format(FormatKind::Other, format!("the CRAM container at byte {offset} {what}"))
        .at_offset(offset)
}

fn cut(offset: u64) -> Error {
    Error::format(
        FormatKind::Truncated,
        format!("the file ends inside the CRAM container at byte {offset}"),
    )
    .at_offset(offset)
}

/// Fails unless the file begins as a CRAM of a version that can be read.
pub fn check_version(start: &[u8]) -> Result<()> {
    let (Some(major), Some(minor)) = (start.get(4), start.get(5)) else {
        return Err(Error::format(FormatKind::Truncated, "the file ends inside the header"));
    };
    if *major == 3 && *minor <= 1 {
        return Ok(());
    }
    Err(Error::format(
        FormatKind::Header,
        format!("CRAM version {major}.{minor} cannot be read; versions 3.0 and 3.1 can"),
    ))
}

/// The header of the container at `offset`, or `None` if the file ends there.
fn read_header(source: &dyn Source, offset: u64) -> Result<Option<Header>> {
    let mut want = HEADER_BYTES;
    loop {
        let mut bytes = vec![0; want];
        let got = source.read_at(&mut bytes, offset)?;
        let bytes = bytes.get(..got).unwrap_or_default();
        if bytes.is_empty() {
            return Ok(None);
        }
        if let Some(header) = parse_header(bytes, offset)? {
            return Ok(Some(header));
        }
        if got < want {
            return Err(cut(offset));
        }
        if want >= HEADER_MAX_BYTES {
            return Err(damaged("has an impossible header", offset));
        }
        want = HEADER_MAX_BYTES;
    }
}

/// A header whose checksum is right; `None` if more bytes are needed.
fn parse_header(bytes: &[u8], offset: u64) -> Result<Option<Header>> {
    let mut rest = Bytes(bytes);
    let fields = (|| {
        let length = rest.i32_le()?;
        let (reference, start) = (rest.itf8()?, rest.itf8()?);
        rest.itf8()?; // span
        let records = rest.length()?;
        rest.ltf8()?; // record counter
        let bases = rest.ltf8()?;
        let blocks = rest.itf8()?;
        let count = rest.length()?;
        let mut landmarks = Vec::new();
        for _ in 0..count {
            landmarks.push(rest.length()?);
        }
        Some((length, reference, start, blocks, landmarks, records as u64, bases))
    })();
    let Some((length, reference, start, blocks, landmarks, records, bases)) = fields else {
        return Ok(None);
    };
    let covered = bytes.len() - rest.0.len();
    let Some(stored) = rest.i32_le() else { return Ok(None) };
    let computed = crc32(bytes.get(..covered).unwrap_or_default());
    if stored.cast_unsigned() != computed {
        let what = format!(
            "has a wrong checksum in its header (stored {stored:08x}, computed {computed:08x})"
        );
        let error = damaged(&what, offset);
        return Err(Error::format(FormatKind::Checksum, error.message()).at_offset(offset));
    }
    let body_bytes =
        usize::try_from(length).map_err(|_| damaged("claims a negative length", offset))?;
    let is_end = reference == -1 && start == END_START && blocks == 1 && landmarks.is_empty();
    Ok(Some(Header { own_bytes: covered + 4, body_bytes, landmarks, records, bases, is_end }))
}

/// The text of the file header and the offset of the first container of records.
pub fn read_file_header(source: &dyn Source, most: usize) -> Result<(Vec<u8>, u64)> {
    let mut definition = [0; DEFINITION_BYTES];
    let got = source.read_at(&mut definition, 0)?;
    check_version(definition.get(..got).unwrap_or_default())?;
    let offset = DEFINITION_BYTES as u64;
    let header = read_header(source, offset)?.ok_or_else(|| cut(offset))?;
    let too_long = |bytes: usize| {
        let needed = 16 * bytes as u64;
        Error::budget(
            format!("the header claims {bytes} bytes, too much for the memory budget"),
            needed,
        )
    };
    let begin = offset + header.own_bytes as u64;
    let end = begin + header.body_bytes as u64;
    if source.len().is_some_and(|length| end > length) {
        return Err(cut(offset));
    }
    if header.body_bytes > most {
        return Err(too_long(header.body_bytes));
    }
    let mut body = vec![0; header.body_bytes];
    let got = source.read_at(&mut body, begin)?;
    if got < body.len() {
        return Err(cut(offset));
    }
    let mut rest = Bytes(&body);
    let block = Block::read(&mut rest, begin)?;
    if block.content_type != Block::FILE_HEADER {
        return Err(damaged("does not hold the header of the file", offset));
    }
    if block.raw_bytes > most {
        return Err(too_long(block.raw_bytes));
    }
    let data = block.inflate(begin)?;
    let mut text = Bytes(&data);
    let text = text.i32_le().and_then(|n| text.take(usize::try_from(n).ok()?));
    let text = text.ok_or_else(|| {
        Error::format(FormatKind::Header, "the header claims to be longer than its block")
    })?;
    Ok((text.to_vec(), end))
}

/// One block of a container (`CRAMv3 §8`).
#[derive(Debug, Clone, Copy)]
pub(super) struct Block<'b> {
    pub method: u8,
    pub content_type: u8,
    pub content_id: i32,
    pub raw_bytes: usize,
    pub data: &'b [u8],
}

impl<'b> Block<'b> {
    pub(super) const FILE_HEADER: u8 = 0;
    pub(super) const COMPRESSION_HEADER: u8 = 1;
    pub(super) const SLICE_HEADER: u8 = 2;
    pub(super) const EXTERNAL: u8 = 4;
    pub(super) const CORE: u8 = 5;

    /// Takes the next block.
    fn parse(rest: &mut Bytes<'b>) -> Option<Self> {
        let (method, content_type) = (rest.u8()?, rest.u8()?);
        let content_id = rest.itf8()?;
        let (stored_bytes, raw_bytes) = (rest.length()?, rest.length()?);
        let data = rest.take(stored_bytes)?;
        rest.take(4)?; // checksum
        // An empty block is empty whatever its method says (`CRAMv3 §8`).
        let method = if raw_bytes == 0 { 0 } else { method };
        Some(Self { method, content_type, content_id, raw_bytes, data })
    }

    /// Bytes that decoding the block takes for a time besides its data.
    pub(super) fn scratch_bytes(&self) -> u64 {
        let raw = self.raw_bytes as u64;
        match self.method {
            0 => 0,
            3 => 64 << 20,
            7 => 16 << 20,
            8 => {
                let mut head = Bytes(self.data);
                let names = head.take(4).and_then(|_| head.i32_le()).unwrap_or(0);
                u64::from(names.cast_unsigned()).min(raw) * NAME_BYTES + 8 * raw
            }
            _ => 2 * raw + (4 << 20),
        }
    }

    /// Takes the next block and compares its checksum. `offset`: where the bytes begin, for
    /// messages.
    pub(super) fn read(rest: &mut Bytes<'b>, offset: u64) -> Result<Self> {
        let whole = *rest;
        let Some(block) = Self::parse(rest) else {
            return Err(damaged("ends inside a block", offset));
        };
        let covered = whole.0.len() - rest.0.len() - 4;
        let stored = Bytes(whole.0.get(covered..).unwrap_or_default()).i32_le().unwrap_or(0);
        let computed = crc32(whole.0.get(..covered).unwrap_or_default());
        if stored.cast_unsigned() != computed {
            let text = format!(
                "a block of the CRAM container at byte {offset} has a wrong checksum \
                 (stored {stored:08x}, computed {computed:08x})"
            );
            return Err(Error::format(FormatKind::Checksum, text).at_offset(offset));
        }
        Ok(block)
    }

    /// The data of a block of headers, which is stored or deflated.
    pub(super) fn inflate(&self, offset: u64) -> Result<Vec<u8>> {
        let data = match self.method {
            0 => self.data.to_vec(),
            1 => {
                let mut data = Vec::new();
                let limit = self.raw_bytes as u64 + 1;
                let read = flate2::bufread::MultiGzDecoder::new(self.data)
                    .take(limit)
                    .read_to_end(&mut data);
                read.map_err(|e| {
                    let text =
                        format!("a header block of the CRAM container at byte {offset}: {e}");
                    Error::format(FormatKind::Inflate, text).at_offset(offset)
                })?;
                data
            }
            method => {
                let what = format!("has a header block of the compression method {method}");
                return Err(damaged(&what, offset));
            }
        };
        if data.len() == self.raw_bytes || self.method == 0 {
            return Ok(data);
        }
        let text = format!(
            "a header block of the CRAM container at byte {offset} has another length than stated"
        );
        Err(Error::format(FormatKind::Inflate, text).at_offset(offset))
    }
}

/// Gives the containers of a file one after the other.
pub struct ContainerScanner {
    source: Arc<dyn Source>,
    at: u64,
    ended_with_marker: bool,
}

impl ContainerScanner {
    /// Bytes to reserve before each call of [`Self::next_container`]; what a container takes is
    /// known when its header is.
    pub const CLAIM_BYTES: u64 = 256 << 10;

    /// A scanner from the container at `offset` on.
    pub fn new(source: Arc<dyn Source>, offset: u64) -> Self {
        Self { source, at: offset, ended_with_marker: false }
    }

    /// Whether the last container was the one that marks the end.
    pub fn ended_with_marker(&self) -> bool {
        self.ended_with_marker
    }

    /// The next container with records, or `None` at the end of the file.
    pub fn next_container(&mut self, mut lease: Lease) -> Result<Option<RawContainer>> {
        loop {
            let offset = self.at;
            let Some(header) = read_header(self.source.as_ref(), offset)? else { return Ok(None) };
            // `samtools reheader` leaves the marker twice.
            if self.ended_with_marker && !header.is_end {
                return Err(damaged("stands behind the end of the file", offset));
            }
            let whole = header.own_bytes + header.body_bytes;
            let file_end = offset + whole as u64;
            if self.source.len().is_some_and(|length| file_end > length) {
                return Err(cut(offset));
            }
            lease.resize(whole as u64).map_err(|e| {
                Error::budget(
                    format!("the CRAM container at byte {offset} does not fit: {}", e.message()),
                    e.needed().unwrap_or(0),
                )
            })?;
            let mut bytes = vec![0; whole];
            let got = self.source.read_at(&mut bytes, offset)?;
            if got < whole {
                return Err(cut(offset));
            }
            self.at = file_end;
            self.source.done_until(file_end);
            self.ended_with_marker = header.is_end;
            // A container without slices has no records.
            if header.landmarks.is_empty() {
                continue;
            }
            let body = bytes.get(header.own_bytes..).unwrap_or_default();
            let claim_bytes = claim(&header, body);
            let Header { own_bytes: header_bytes, landmarks, .. } = header;
            return Ok(Some(RawContainer {
                offset,
                bytes,
                header_bytes,
                landmarks,
                claim_bytes,
                file_end,
                lease,
            }));
        }
    }
}

/// About the bytes that decoding a container takes: an estimate, corrected when more is known.
fn claim(header: &Header, body: &[u8]) -> u64 {
    let (mut raw, mut scratch) = (0_u64, 0);
    let mut rest = Bytes(body);
    // Blocks whose checksum is wrong claim nothing; the decoder says what is wrong with them.
    while let Ok(block) = Block::read(&mut rest, 0) {
        raw = raw.saturating_add(block.raw_bytes as u64);
        scratch = scratch.max(block.scratch_bytes());
    }
    // Damaged counts must not make the claim impossible: no container inflates more than this.
    let most = (body.len() as u64).saturating_mul(1100);
    let records = header.records.min(most).saturating_mul(RECORD_BYTES);
    let sum = records.saturating_add(4 * header.bases.min(most)).saturating_add(3 * raw.min(most));
    body.len() as u64 + scratch + sum
}
