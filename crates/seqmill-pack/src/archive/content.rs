//! From a segment to its letters: references, packs, deltas.

use super::{Archive, RAW_GROUPS, lock};
use crate::batch::Segment;
use crate::cache::{Content, Pack};
use crate::container::{Group, Part, too_large};
use crate::delta::decode;
use crate::frame::{stream, stream_error};
use crate::symbols::{Symbols, letter, reverse_complement_letters};
use seqmill_base::{Error, FormatKind, Result};
use seqmill_io::Source;
use std::io::Read;
use std::ops::Range;
use std::sync::Arc;

/// Ends each entry of a pack.
pub(crate) const SEPARATOR: u8 = 0xff;
/// Bytes taken in at a time where a part is too large to be held.
const STREAM_BYTES: usize = 1 << 16;

fn wrong(what: impl Into<String>) -> Error {
    Error::format(FormatKind::Other, what)
}

/// Where a pack is and which of its entries is wanted.
struct Entry {
    stream: u32,
    part: u32,
    within: usize,
}

impl Archive {
    /// Writes bases of a contig from `start` on into `out` as upper-case letters.
    pub fn read(&self, contig: super::ContigView<'_>, start: u64, out: &mut [u8]) -> Result<()> {
        let segments = contig.segments();
        let overlap = u64::from(self.parameters.kmer_length);
        let end = start + out.len() as u64;
        if end > contig.length() {
            return Err(Error::out_of_range("the range reaches beyond the contig"));
        }
        // Where the bases begin that a segment adds to the contig.
        let mut at = 0_u64;
        for (i, segment) in segments.iter().enumerate() {
            if at >= end {
                break;
            }
            let skipped = if i == 0 { 0 } else { overlap };
            let fresh = u64::from(segment.length).checked_sub(skipped);
            let fresh = fresh
                .filter(|_| i > 0 || segments.len() == 1 || u64::from(segment.length) >= overlap);
            let fresh = fresh.ok_or_else(|| {
                wrong("a segment is shorter than its overlap").at_path(self.path())
            })?;
            let (from, to) = (start.max(at), end.min(at + fresh));
            if from < to {
                let place = usize_of(from - start)..usize_of(to - start);
                let range = usize_of(from - at + skipped)..usize_of(to - at + skipped);
                let slots = out.get_mut(place).unwrap_or_default();
                self.read_segment(segment, range, slots)?;
            }
            at += fresh;
        }
        Ok(())
    }

    /// Writes a range of a segment, in the orientation of the contig.
    pub(crate) fn read_segment(
        &self,
        segment: &Segment,
        range: Range<usize>,
        out: &mut [u8],
    ) -> Result<()> {
        let length = segment.length as usize;
        let stored = if segment.reverse {
            length.saturating_sub(range.end)..length.saturating_sub(range.start)
        } else {
            range
        };
        self.read_stored(segment, stored, out).map_err(|e| {
            e.within(&format!("entry {} of group {}", segment.id, segment.group))
                .at_path(self.path())
        })?;
        if segment.reverse {
            reverse_complement_letters(out);
        }
        Ok(())
    }

    fn read_stored(&self, segment: &Segment, range: Range<usize>, out: &mut [u8]) -> Result<()> {
        let length = segment.length as usize;
        let group =
            self.container.group(segment.group).ok_or_else(|| wrong("there is no such group"))?;
        if segment.group < RAW_GROUPS {
            return self.read_raw(group, segment.id, length, range, out);
        }
        let reference = self.reference(group)?;
        if segment.id == 0 {
            if reference.len() != length {
                return Err(wrong(format!(
                    "the reference has {} bases where {length} are said",
                    reference.len()
                )));
            }
            return reference.letters(range.start, out);
        }
        let entry = self.entry(group, segment.id - 1)?;
        if let Some(pack) = self.pack(&entry)? {
            let delta = pack.entry(entry.within).ok_or_else(|| no_entry(&pack.ends))?;
            decode(delta, &reference, self.grammar, length, range, out)
        } else {
            let (delta, _) = self.stream_entry(&entry, 0..usize::MAX)?;
            decode(&delta, &reference, self.grammar, length, range, out)
        }
        .map_err(|e| self.place(e, &entry))
    }

    /// An entry of a group without reference: plain symbols.
    fn read_raw(
        &self,
        group: Group,
        id: u32,
        length: usize,
        range: Range<usize>,
        out: &mut [u8],
    ) -> Result<()> {
        let entry = self.entry(group, id)?;
        let (pack, streamed);
        let (codes, found) = if let Some(whole) = self.pack(&entry)? {
            pack = whole;
            let codes = pack.entry(entry.within).ok_or_else(|| no_entry(&pack.ends))?;
            (codes.get(range).unwrap_or_default(), codes.len())
        } else {
            streamed = self.stream_entry(&entry, range)?;
            (streamed.0.as_slice(), streamed.1)
        };
        if found != length {
            let what = format!("the entry has {found} bases where {length} are said");
            return Err(self.place(wrong(what), &entry));
        }
        for (slot, &code) in out.iter_mut().zip(codes) {
            *slot = letter(code).map_err(|e| self.place(e, &entry))?;
        }
        Ok(())
    }

    fn place(&self, error: Error, entry: &Entry) -> Error {
        match self.container.parts(entry.stream).get(entry.part as usize) {
            Some(part) => error.at_offset(part.offset),
            None => error,
        }
    }

    fn entry(&self, group: Group, i: u32) -> Result<Entry> {
        let stream = group.delta.ok_or_else(|| wrong("the group has no such entry"))?;
        let size = self.parameters.pack_size;
        let part = i / size;
        if part as usize >= self.container.parts(stream).len() {
            return Err(wrong("the group has no such entry"));
        }
        Ok(Entry { stream, part, within: (i % size) as usize })
    }

    /// Looks for a decoded part, and decodes and keeps it if it is not there.
    pub(super) fn cached(
        &self,
        stream: u32,
        part: u32,
        load: impl FnOnce() -> Result<Content>,
    ) -> Result<Content> {
        let cache = &self.process().cache;
        let found = lock(cache).get((stream, part));
        if let Some(content) = found {
            return Ok(content);
        }
        let content = load()?;
        lock(cache).put((stream, part), content.clone());
        Ok(content)
    }

    pub(crate) fn reference(&self, group: Group) -> Result<Arc<Symbols>> {
        let stream = group.reference.ok_or_else(|| wrong("the group has no reference"))?;
        let content = self.cached(stream, 0, || {
            let part = self.container.parts(stream).first().copied();
            let part = part.ok_or_else(|| wrong("the group has no reference"))?;
            let symbols = self.load_reference(part).map_err(|e| e.at_offset(part.offset))?;
            Ok(Content::Reference(Arc::new(symbols)))
        })?;
        match content {
            Content::Reference(symbols) => Ok(symbols),
            _ => Err(Error::internal("a reference is not one")),
        }
    }

    fn load_reference(&self, part: Part) -> Result<Symbols> {
        let data = self.container.read(part, self.memory.item())?;
        if data.metadata == 0 {
            return Ok(Symbols::plain(data.bytes().to_vec()));
        }
        let (marker, frame) = self.split_marked(data.metadata, data.bytes())?;
        match marker {
            0 => {
                let content = self.with_inflater(|z| z.inflate(frame, data.metadata))?;
                Ok(Symbols::plain(content))
            }
            1 => {
                // The length is that of the symbols; packed they are never more than two longer.
                let most = data.metadata.saturating_add(2);
                let mut content = self.with_inflater(|z| z.inflate_within(frame, most))?;
                content.shrink_to_fit();
                let symbols = Symbols::tuples(content)?;
                if symbols.len() as u64 != data.metadata {
                    return Err(wrong(format!(
                        "a reference has {} bases where {} are said",
                        symbols.len(),
                        data.metadata
                    )));
                }
                Ok(symbols)
            }
            other => Err(wrong(format!("unknown marker {other} behind a reference"))),
        }
    }

    /// Takes the marker byte off a frame whose content is `length` bytes.
    fn split_marked<'d>(&self, length: u64, data: &'d [u8]) -> Result<(u8, &'d [u8])> {
        if length > self.memory.item() {
            return Err(too_large(length));
        }
        data.split_last()
            .map(|(&marker, frame)| (marker, frame))
            .ok_or_else(|| wrong("a part has no marker"))
    }

    /// A pack; `None` if it is too large to be held.
    fn pack(&self, entry: &Entry) -> Result<Option<Arc<Pack>>> {
        let parts = self.container.parts(entry.stream);
        let part = parts.get(entry.part as usize).copied();
        let part = part.ok_or_else(|| wrong("the group has no such entry"))?;
        let is_last = entry.part as usize + 1 == parts.len();
        let mut large = false;
        let content = self.cached(entry.stream, entry.part, || {
            let item = self.memory.item();
            let (length, _) = self.container.read_head(part)?;
            if length > item || part.size > item {
                large = true;
                return Err(too_large(length));
            }
            let pack = self.load_pack(part, is_last).map_err(|e| e.at_offset(part.offset))?;
            Ok(Content::Pack(Arc::new(pack)))
        });
        match content {
            Err(_) if large => Ok(None),
            Err(error) => Err(error),
            Ok(Content::Pack(pack)) => Ok(Some(pack)),
            Ok(_) => Err(Error::internal("a pack is not one")),
        }
    }

    pub(crate) fn load_pack(&self, part: Part, is_last: bool) -> Result<Pack> {
        let data = self.container.read(part, self.memory.item())?;
        let bytes = if data.metadata == 0 {
            data.bytes().to_vec()
        } else {
            let (marker, frame) = self.split_marked(data.metadata, data.bytes())?;
            if marker != 0 {
                return Err(wrong(format!("unknown marker {marker} behind a pack")));
            }
            self.with_inflater(|z| z.inflate(frame, data.metadata))?
        };
        if bytes.last().is_some_and(|&b| b != SEPARATOR) {
            return Err(wrong("the last entry of a pack has no end"));
        }
        let place = |i: usize| u32::try_from(i).map_err(|_| wrong("a pack is beyond 4 GiB"));
        let ends: Result<Vec<u32>> = memchr::memchr_iter(SEPARATOR, &bytes).map(place).collect();
        let ends = ends?;
        let size = self.parameters.pack_size as usize;
        if ends.len() > size || (!is_last && ends.len() < size) {
            return Err(wrong(format!("a pack has {} entries, not {size}", ends.len())));
        }
        Ok(Pack { bytes, ends })
    }

    /// A range of an entry of a pack that is too large to be held, and the length of the entry.
    fn stream_entry(&self, entry: &Entry, range: Range<usize>) -> Result<(Vec<u8>, usize)> {
        let parts = self.container.parts(entry.stream);
        let part = parts.get(entry.part as usize).copied();
        let part = part.ok_or_else(|| wrong("the group has no such entry"))?;
        let item = usize_of(self.memory.item());
        let mut reader = self.open_pack(part)?;
        let mut buffer = vec![0; STREAM_BYTES];
        let (mut at, mut length, mut taken) = (0, 0_usize, Vec::new());
        loop {
            let got = reader
                .read(&mut buffer)
                .map_err(|e| stream_error(&e, part.size).at_offset(part.offset))?;
            if got == 0 {
                return Err(wrong("a pack ends before the entry"));
            }
            let mut rest = buffer.get(..got).unwrap_or_default();
            while !rest.is_empty() {
                let end = memchr::memchr(SEPARATOR, rest);
                let piece = rest.get(..end.unwrap_or(rest.len())).unwrap_or_default();
                if at == entry.within {
                    let from = range.start.clamp(length, length + piece.len()) - length;
                    let to = range.end.clamp(length, length + piece.len()) - length;
                    taken.extend_from_slice(piece.get(from..to).unwrap_or_default());
                    length += piece.len();
                    if taken.len() > item && range.end == usize::MAX {
                        return Err(too_large(taken.len() as u64));
                    }
                    if end.is_some() {
                        return Ok((taken, length));
                    }
                }
                let Some(end) = end else { break };
                at += 1;
                rest = rest.get(end + 1..).unwrap_or_default();
            }
        }
    }

    /// The decoded bytes of a pack as a stream.
    pub(crate) fn open_pack(&self, part: Part) -> Result<Box<dyn Read + '_>> {
        let (metadata, start) = self.container.read_head(part)?;
        let marked = u64::from(metadata > 0);
        let end = start + part.size.saturating_sub(marked);
        let raw = PartReader { source: self.container.source().as_ref(), at: start, end };
        if metadata == 0 {
            Ok(Box::new(raw))
        } else {
            Ok(Box::new(stream(raw, self.memory.item())?))
        }
    }
}

/// The bytes of a part as a stream.
struct PartReader<'s> {
    source: &'s dyn Source,
    at: u64,
    end: u64,
}

impl Read for PartReader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let room = usize_of(self.end - self.at).min(buffer.len());
        let slots = buffer.get_mut(..room).unwrap_or_default();
        let got = self
            .source
            .read_at(slots, self.at)
            .map_err(|e| std::io::Error::other(e.to_string()))?;
        self.at += got as u64;
        Ok(got)
    }
}

fn no_entry(ends: &[u32]) -> Error {
    wrong(format!("the pack has only {} entries", ends.len()))
}

fn usize_of(n: u64) -> usize {
    usize::try_from(n).unwrap_or(usize::MAX)
}
