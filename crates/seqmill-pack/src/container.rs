//! The container: parts one after another, then the footer that lists them by stream.

use crate::group_name::{GroupStream, parse_group_stream};
use seqmill_base::budget::human_bytes;
use seqmill_base::{Error, FormatKind, Result};
use seqmill_io::Source;
use std::path::Path;
use std::sync::Arc;

/// Bytes of the footer's length at the very end.
const TAIL_BYTES: usize = 8;
/// Longest container integer: its length, then eight bytes.
const CINT_MAX_BYTES: usize = 9;
/// Bytes of tables that one byte of footer can turn into, at most.
const TABLE_FACTOR: u64 = 8;

/// A part as the footer addresses it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Part {
    /// Where its metadata begin.
    pub(crate) offset: u64,
    /// Bytes of data behind the metadata.
    pub(crate) size: u64,
}

/// The data of a part.
#[derive(Debug)]
pub(crate) struct PartData {
    /// Its number before the data.
    pub(crate) metadata: u64,
    buffer: Vec<u8>,
    start: usize,
}

impl PartData {
    pub(crate) fn bytes(&self) -> &[u8] {
        self.buffer.get(self.start..).unwrap_or_default()
    }
}

/// The two streams of a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Group {
    pub(crate) id: u32,
    pub(crate) delta: Option<u32>,
    pub(crate) reference: Option<u32>,
}

/// An open container with its footer read and checked.
pub(crate) struct Container {
    source: Arc<dyn Source>,
    parts_end: u64,
    parts: Vec<Part>,
    /// First part of each stream, and the number of all parts at the end.
    first_parts: Vec<u32>,
    named: Vec<(Vec<u8>, u32)>,
    groups: Vec<Group>,
}

/// Reads a container integer at the head of `bytes`: its value and length.
pub(crate) fn read_cint(bytes: &[u8]) -> Option<(u64, usize)> {
    let length = usize::from(*bytes.first()?);
    if length >= CINT_MAX_BYTES {
        return None;
    }
    let digits = bytes.get(1..=length)?;
    let value = digits.iter().fold(0, |sum, &b| (sum << 8) | u64::from(b));
    Some((value, length + 1))
}

/// Appends a container integer.
pub(crate) fn write_cint(value: u64, out: &mut Vec<u8>) {
    let bytes = value.to_be_bytes();
    let skipped = (value.leading_zeros() / 8) as usize;
    let digits = bytes.get(skipped..).unwrap_or_default();
    out.push(u8::try_from(digits.len()).unwrap_or(8));
    out.extend_from_slice(digits);
}

struct Walk<'f> {
    footer: &'f [u8],
    at: usize,
    base: u64,
}

impl<'f> Walk<'f> {
    fn wrong(&self, what: &str) -> Error {
        Error::format(FormatKind::Other, format!("not an AGC archive, or damaged: {what}"))
            .at_offset(self.base + self.at as u64)
    }

    fn rest(&self) -> &'f [u8] {
        self.footer.get(self.at..).unwrap_or_default()
    }

    fn cint(&mut self, what: &str) -> Result<u64> {
        let (value, length) = read_cint(self.rest())
            .ok_or_else(|| self.wrong(&format!("the footer has no number of {what} here")))?;
        self.at += length;
        Ok(value)
    }

    fn name(&mut self) -> Result<&'f [u8]> {
        let rest = self.rest();
        let end = memchr::memchr(0, rest)
            .ok_or_else(|| self.wrong("a stream name in the footer has no end"))?;
        self.at += end + 1;
        Ok(rest.get(..end).unwrap_or_default())
    }
}

#[derive(Default)]
struct Tables {
    parts: Vec<Part>,
    first_parts: Vec<u32>,
    named: Vec<(Vec<u8>, u32)>,
    group_streams: Vec<(u32, bool, u32)>,
}

fn walk_footer(footer: &[u8], parts_end: u64) -> Result<Tables> {
    let mut walk = Walk { footer, at: 0, base: parts_end };
    let streams = walk.cint("streams")?;
    if streams > footer.len() as u64 {
        return Err(walk.wrong(&format!("{streams} streams do not fit into the footer")));
    }
    let mut tables = Tables::default();
    for stream in 0..streams {
        let stream = u32::try_from(stream).map_err(|_| walk.wrong("too many streams"))?;
        let name = walk.name()?;
        let parts = walk.cint("parts")?;
        if parts > walk.rest().len() as u64 {
            return Err(walk.wrong(&format!("{parts} parts do not fit into the footer")));
        }
        walk.cint("raw bytes")?;
        let first = u32::try_from(tables.parts.len()).map_err(|_| walk.wrong("too many parts"))?;
        tables.first_parts.push(first);
        for _ in 0..parts {
            let offset = walk.cint("offset")?;
            let size = walk.cint("size")?;
            let end = offset.checked_add(size).and_then(|end| end.checked_add(u64::from(size > 0)));
            if end.is_none_or(|end| end > parts_end) {
                let name = String::from_utf8_lossy(name);
                return Err(
                    walk.wrong(&format!("a part of stream {name:?} lies outside of the file"))
                );
            }
            tables.parts.push(Part { offset, size });
        }
        match parse_group_stream(name) {
            Some(GroupStream { id, reference }) => {
                tables.group_streams.push((id, reference, stream));
            }
            None => tables.named.push((name.to_vec(), stream)),
        }
    }
    if !walk.rest().is_empty() {
        return Err(walk.wrong("bytes follow the last stream of the footer"));
    }
    tables.first_parts.push(u32::try_from(tables.parts.len()).unwrap_or(u32::MAX));
    Ok(tables)
}

/// Puts the two streams of each group together.
fn pair_groups(mut streams: Vec<(u32, bool, u32)>) -> Result<Vec<Group>> {
    streams.sort_unstable();
    let mut groups: Vec<Group> = Vec::with_capacity(streams.len());
    for (id, is_reference, stream) in streams {
        if groups.last().is_none_or(|group| group.id != id) {
            groups.push(Group { id, delta: None, reference: None });
        }
        let Some(group) = groups.last_mut() else { continue };
        let slot = if is_reference { &mut group.reference } else { &mut group.delta };
        if slot.replace(stream).is_some() {
            let what = format!("group {id} has a stream twice");
            return Err(Error::format(FormatKind::Other, what));
        }
    }
    Ok(groups)
}

impl Container {
    /// Opens from the end and checks everything the footer says against the file's length;
    /// `limit` bounds the memory that the tables may take.
    pub(crate) fn open(source: Arc<dyn Source>, limit: u64) -> Result<Self> {
        let path = source.path().to_path_buf();
        Self::open_here(source, limit).map_err(|e| e.at_path(&path))
    }

    fn open_here(source: Arc<dyn Source>, limit: u64) -> Result<Self> {
        let length = source.len().ok_or_else(|| {
            Error::input("an archive is read from its end: a file is needed, not a stream")
        })?;
        if length == 0 {
            return Err(Error::format(FormatKind::EmptyInput, "the file is empty"));
        }
        let short = |what: String| Error::format(FormatKind::Truncated, what);
        let Some(before_tail) = length.checked_sub(TAIL_BYTES as u64) else {
            return Err(short(format!("{length} bytes are too few for an AGC archive")));
        };
        let mut tail = [0; TAIL_BYTES];
        read_exact(source.as_ref(), &mut tail, before_tail)?;
        let footer_length = u64::from_le_bytes(tail);
        let Some(parts_end) = before_tail.checked_sub(footer_length) else {
            let what = format!(
                "not an AGC archive, or cut short: the footer would have {footer_length} bytes, \
                 the file has {length}"
            );
            return Err(short(what).at_offset(before_tail));
        };
        let needed = footer_length.saturating_mul(TABLE_FACTOR + 1);
        if needed > limit {
            return Err(Error::budget(
                format!(
                    "the footer of {} needs a larger memory budget",
                    human_bytes(footer_length)
                ),
                needed,
            ));
        }
        let mut footer = vec![0; usize::try_from(footer_length).unwrap_or(usize::MAX)];
        read_exact(source.as_ref(), &mut footer, parts_end)?;
        let mut tables = walk_footer(&footer, parts_end)?;
        drop(footer);
        tables.named.sort_unstable();
        let mut pairs = tables.named.iter().zip(tables.named.iter().skip(1));
        if let Some(((name, _), _)) = pairs.find(|(a, b)| a.0 == b.0) {
            let name = String::from_utf8_lossy(name);
            let what = format!("the footer lists stream {name:?} twice");
            return Err(Error::format(FormatKind::Other, what));
        }
        let groups = pair_groups(tables.group_streams)?;
        tables.parts.shrink_to_fit();
        Ok(Self {
            source,
            parts_end,
            parts: tables.parts,
            first_parts: tables.first_parts,
            named: tables.named,
            groups,
        })
    }

    pub(crate) fn path(&self) -> &Path {
        self.source.path()
    }

    pub(crate) fn source(&self) -> &Arc<dyn Source> {
        &self.source
    }

    /// Bytes that the tables hold.
    pub(crate) fn table_bytes(&self) -> u64 {
        (self.parts.len() * size_of::<Part>()
            + self.first_parts.len() * 4
            + self.groups.len() * size_of::<Group>()
            + self.named.len() * 48) as u64
    }

    /// The groups by ascending number.
    pub(crate) fn groups(&self) -> &[Group] {
        &self.groups
    }

    /// The stream of a name.
    pub(crate) fn find(&self, name: &str) -> Option<u32> {
        let at = self.named.binary_search_by(|(n, _)| n.as_slice().cmp(name.as_bytes())).ok()?;
        self.named.get(at).map(|(_, stream)| *stream)
    }

    /// The streams of a group.
    pub(crate) fn group(&self, id: u32) -> Option<Group> {
        // Groups are numbered without gaps, so the place is nearly always the number.
        let direct = self.groups.get(id as usize).filter(|group| group.id == id);
        direct.copied().or_else(|| {
            let at = self.groups.binary_search_by_key(&id, |group| group.id).ok()?;
            self.groups.get(at).copied()
        })
    }

    /// The parts of a stream.
    pub(crate) fn parts(&self, stream: u32) -> &[Part] {
        let bound = |i: usize| self.first_parts.get(i).map_or(0, |&at| at as usize);
        let stream = stream as usize;
        self.parts.get(bound(stream)..bound(stream + 1)).unwrap_or_default()
    }

    /// Reads the metadata of a part: its value and where the data begin.
    pub(crate) fn read_head(&self, part: Part) -> Result<(u64, u64)> {
        if part.size == 0 {
            return Ok((0, part.offset));
        }
        let mut head = [0; CINT_MAX_BYTES];
        let room = self.parts_end.saturating_sub(part.offset).min(CINT_MAX_BYTES as u64);
        let head = head.get_mut(..usize::try_from(room).unwrap_or(0)).unwrap_or_default();
        read_exact(self.source.as_ref(), head, part.offset)?;
        let (metadata, length) = read_cint(head).ok_or_else(|| self.no_metadata(part))?;
        let start = part.offset + length as u64;
        if start.saturating_add(part.size) > self.parts_end {
            return Err(self.no_metadata(part));
        }
        Ok((metadata, start))
    }

    /// Reads a part whole, if that takes at most `limit` bytes.
    pub(crate) fn read(&self, part: Part, limit: u64) -> Result<PartData> {
        if part.size == 0 {
            return Ok(PartData { metadata: 0, buffer: Vec::new(), start: 0 });
        }
        if part.size > limit {
            return Err(too_large(part.size).at_offset(part.offset).at_path(self.path()));
        }
        let room = self.parts_end.saturating_sub(part.offset);
        let bytes = (part.size + CINT_MAX_BYTES as u64).min(room);
        let mut buffer = vec![0; usize::try_from(bytes).unwrap_or(0)];
        read_exact(self.source.as_ref(), &mut buffer, part.offset)?;
        let (metadata, start) = read_cint(&buffer).ok_or_else(|| self.no_metadata(part))?;
        let end = start + usize::try_from(part.size).unwrap_or(usize::MAX);
        if end > buffer.len() {
            return Err(self.no_metadata(part));
        }
        buffer.truncate(end);
        Ok(PartData { metadata, buffer, start })
    }

    fn no_metadata(&self, part: Part) -> Error {
        Error::format(FormatKind::Other, "the metadata of a part are no number")
            .at_offset(part.offset)
            .at_path(self.path())
    }
}

/// The error for a part or its content that does not fit into the budget.
pub(crate) fn too_large(bytes: u64) -> Error {
    Error::budget(
        format!("a part of {} does not fit into the memory budget", human_bytes(bytes)),
        bytes.saturating_mul(crate::archive::ITEM_SHARE),
    )
}

/// Fills `buffer` or fails with `Truncated`.
pub(crate) fn read_exact(source: &dyn Source, buffer: &mut [u8], offset: u64) -> Result<()> {
    let got = source.read_at(buffer, offset)?;
    if got == buffer.len() {
        return Ok(());
    }
    source.check_unchanged()?;
    Err(Error::format(FormatKind::Truncated, "the file ends before its data")
        .at_offset(offset + got as u64)
        .at_path(source.path()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn container_integers_make_the_round_trip() {
        let mut out = Vec::new();
        write_cint(300, &mut out);
        assert_eq!(out, [2, 1, 0x2c]);
        for value in [0, 1, 255, 256, u64::from(u32::MAX), u64::MAX] {
            out.clear();
            write_cint(value, &mut out);
            assert_eq!(read_cint(&out), Some((value, out.len())));
        }
        assert_eq!(read_cint(&[9, 0, 0, 0, 0, 0, 0, 0, 0, 0]), None);
        assert_eq!(read_cint(&[2, 1]), None);
    }
}
