//! Parts of a FASTA file that are read by themselves: cut behind a line end, so that each begins
//! with a whole line, and a record may go on from one part to the next.

use super::archive::is_archive_input;
use super::text::{Packing, packing_of};
use crate::bgzf::{BLOCK_MAX_BYTES, BlockReader, Framing, VirtualOffset, frame_at};
use crate::source::{IoMode, Source, open_source};
use seqmill_base::budget::AccountId;
use seqmill_base::{Error, FormatKind, Job, Result};
use std::path::Path;
use std::sync::Arc;

/// Bytes read at once in search of a line end.
const STEP_BYTES: usize = 1 << 16;
/// Most parts of a file.
const PARTS_MAX: u64 = 100_000;
/// Bytes that hold the header of a block as everybody writes it.
const HEADER_BYTES: usize = 512;

/// A part of the text: places are bytes of a plain file, virtual offsets of a BGZF file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TextPart {
    /// Where it begins: 0, or behind a line end.
    pub begin: u64,
    /// Where the next part begins; none: the end of the file.
    pub end: Option<u64>,
}

/// Cuts a FASTA file into parts of about so many bytes of text. What cannot be cut (FASTQ, gzip,
/// a pipe, an archive, another format) has one part. Parts depend on the file and `part_bytes` alone.
pub fn plan_parts(
    path: &Path,
    part_bytes: u64,
    job: &Job,
    account: AccountId,
) -> Result<Vec<TextPart>> {
    if is_archive_input(path) {
        return Ok(vec![TextPart { begin: 0, end: None }]);
    }
    let source = open_source(path, IoMode::Read)?;
    let cuts = match source.len() {
        Some(length) if source.is_seekable() => match packing_of(source.as_ref())? {
            Packing::Plain => plain_cuts(&source, length, part_bytes, job)?,
            Packing::Bgzf => block_cuts(&source, part_bytes, job, account)?,
            Packing::Gzip => Vec::new(),
        },
        _ => Vec::new(),
    };
    let begins = std::iter::once(0).chain(cuts.iter().copied());
    let ends = cuts.iter().copied().map(Some).chain([None]);
    Ok(begins.zip(ends).map(|(begin, end)| TextPart { begin, end }).collect())
}

/// Refuses parts so small that what is noted of each would outgrow the work.
fn check_parts(path: &Path, length: u64, part_bytes: u64) -> Result<()> {
    let parts = length / part_bytes.max(1);
    if parts <= PARTS_MAX {
        return Ok(());
    }
    let (shown, least) = (path.display(), length.div_ceil(PARTS_MAX));
    Err(Error::input(format!(
        "unit-bases {part_bytes} makes some {parts} units of {shown}; at most {PARTS_MAX} are made: \
         give {least} or more"
    )))
}

/// Turns offsets in the text of a file, ascending, into places from which it can be read; false if
/// it can be read from its beginning only, for which all places are 0.
pub fn text_places(
    path: &Path,
    offsets: &mut [u64],
    job: &Job,
    account: AccountId,
) -> Result<bool> {
    if is_archive_input(path) {
        offsets.fill(0);
        return Ok(false);
    }
    let source = open_source(path, IoMode::Read)?;
    match packing_of(source.as_ref())? {
        Packing::Plain => Ok(source.is_seekable()),
        Packing::Bgzf => {
            let (blocks, _) = walk_blocks(&source, job, account)?;
            for offset in offsets {
                let before = blocks.partition_point(|(_, begin)| begin <= offset).saturating_sub(1);
                let Some((block, begin)) = blocks.get(before) else { continue };
                let within = u32::try_from(*offset - begin).unwrap_or(u32::MAX);
                *offset = VirtualOffset::new(*block, within).0;
            }
            Ok(true)
        }
        Packing::Gzip => {
            offsets.fill(0);
            Ok(false)
        }
    }
}

/// Whether text begins as FASTA does.
fn is_fasta(text: &[u8]) -> bool {
    text.iter().find(|b| !matches!(b, b'\n' | b'\r')) == Some(&b'>')
}

/// Places near which a text of this length is cut: parts differ little in size.
fn nominal(length: u64, part_bytes: u64) -> impl Iterator<Item = u64> {
    let part_bytes = part_bytes.max(1);
    let parts = (length / part_bytes + u64::from(length % part_bytes > part_bytes / 2)).max(1);
    (1..parts).map(move |i| {
        u64::try_from(u128::from(length) * u128::from(i) / u128::from(parts)).unwrap_or(length)
    })
}

fn plain_cuts(
    source: &Arc<dyn Source>,
    length: u64,
    part_bytes: u64,
    job: &Job,
) -> Result<Vec<u64>> {
    let mut buffer = vec![0; STEP_BYTES];
    let got = source.read_at(&mut buffer, 0)?;
    let mut cuts: Vec<u64> = Vec::new();
    if !is_fasta(buffer.get(..got).unwrap_or_default()) {
        return Ok(cuts);
    }
    check_parts(source.path(), length, part_bytes)?;
    for place in nominal(length, part_bytes) {
        let mut at = place;
        if cuts.last().is_some_and(|last| *last >= at) {
            continue; // a line longer than a part
        }
        loop {
            job.cancel.check()?;
            let got = source.read_at(&mut buffer, at)?;
            let text = buffer.get(..got).unwrap_or_default();
            if let Some(newline) = memchr::memchr(b'\n', text) {
                at += newline as u64 + 1;
                break;
            }
            at += got as u64;
            if got == 0 {
                break;
            }
        }
        if at >= length {
            break;
        }
        cuts.push(at);
    }
    Ok(cuts)
}

/// Offsets of the blocks of a file, in the file and in the text, and the length of the text.
fn walk_blocks(
    source: &Arc<dyn Source>,
    job: &Job,
    account: AccountId,
) -> Result<(Vec<(u64, u64)>, u64)> {
    let mut lease = job.budget.must_reserve(account, 1 << 16)?;
    let mut blocks: Vec<(u64, u64)> = Vec::new();
    let (mut at, mut text) = (0, 0);
    // The length of a block's text stands at its end, in front of the next header.
    let mut buffer = vec![0; BLOCK_MAX_BYTES + HEADER_BYTES];
    let mut head = {
        let got = source.read_at(buffer.get_mut(..HEADER_BYTES).unwrap_or_default(), 0)?;
        buffer.get(..got).unwrap_or_default().to_vec()
    };
    while !head.is_empty() {
        job.cancel.check()?;
        let frame = match frame_at(&head) {
            Framing::Block(frame) => frame,
            // A header that is longer than others.
            Framing::Incomplete if head.len() == HEADER_BYTES => {
                let got =
                    source.read_at(buffer.get_mut(..BLOCK_MAX_BYTES).unwrap_or_default(), at)?;
                head = buffer.get(..got).unwrap_or_default().to_vec();
                if head.len() > HEADER_BYTES {
                    continue;
                }
                return Err(cut(source, at));
            }
            Framing::Incomplete => return Err(cut(source, at)),
            Framing::Not(reason) => {
                let text = format!("there is no BGZF block at byte {at}: {reason}");
                return Err(Error::format(FormatKind::NotBgzf, text)
                    .at_path(source.path())
                    .at_offset(at));
            }
        };
        let next = at + frame.block_bytes as u64;
        let tail = buffer.get_mut(..4 + HEADER_BYTES).unwrap_or_default();
        let got = source.read_at(tail, next - 4)?;
        let tail = buffer.get(..got).unwrap_or_default();
        let size = tail.first_chunk::<4>().ok_or_else(|| cut(source, at))?;
        blocks.push((at, text));
        if 32 * blocks.len() as u64 > lease.bytes() {
            lease.resize(64 * blocks.len() as u64)?;
        }
        text += u64::from(u32::from_le_bytes(*size));
        head = tail.get(4..).unwrap_or_default().to_vec();
        at = next;
    }
    Ok((blocks, text))
}

fn cut(source: &Arc<dyn Source>, at: u64) -> Error {
    let text = format!("the file ends within the BGZF block at byte {at}");
    Error::format(FormatKind::Truncated, text).at_path(source.path()).at_offset(at)
}

fn block_cuts(
    source: &Arc<dyn Source>,
    part_bytes: u64,
    job: &Job,
    account: AccountId,
) -> Result<Vec<u64>> {
    let _buffers = job.budget.must_reserve(account, 4 * BLOCK_MAX_BYTES as u64)?;
    let mut reader = BlockReader::new(Arc::clone(source), true);
    let named = |e: Error| e.at_path(source.path());
    let mut text = Vec::new();
    let mut next = Some(0);
    while let Some(offset) = next.filter(|_| text.is_empty()) {
        next = reader.append_block(offset, &mut text).map_err(named)?;
    }
    let mut cuts: Vec<u64> = Vec::new();
    if !is_fasta(&text) {
        return Ok(cuts);
    }
    let (blocks, length) = walk_blocks(source, job, account)?;
    check_parts(source.path(), length, part_bytes)?;
    for place in nominal(length, part_bytes) {
        let before = blocks.partition_point(|(_, begin)| *begin <= place).saturating_sub(1);
        let Some((offset, begin)) = blocks.get(before).copied() else { break };
        let mut from = usize::try_from(place - begin).unwrap_or(0);
        let mut next = Some(offset);
        let mut found = None;
        while let Some(offset) = next {
            job.cancel.check()?;
            text.clear();
            next = reader.append_block(offset, &mut text).map_err(named)?;
            let rest = text.get(from.min(text.len())..).unwrap_or_default();
            if let Some(newline) = memchr::memchr(b'\n', rest) {
                let behind = from + newline + 1;
                let within = u32::try_from(behind).unwrap_or(u32::MAX);
                found = Some(if behind < text.len() {
                    VirtualOffset::new(offset, within)
                } else {
                    VirtualOffset::new(next.unwrap_or(offset), 0)
                });
                break;
            }
            from = 0;
        }
        let Some(found) = found else { break };
        if cuts.last().is_none_or(|last| *last < found.0) {
            cuts.push(found.0);
        }
    }
    Ok(cuts)
}
