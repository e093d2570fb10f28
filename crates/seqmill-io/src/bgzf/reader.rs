//! Reading BGZF: a scanner that cuts a file into units of whole blocks, and their inflation.

use super::block::{
    BLOCK_MAX_BYTES, EOF_MARKER, Frame, Framing, broken, checked_isize, cut_block, footer, frame_at,
};
use crate::source::Source;
use libdeflater::{Decompressor, crc32};
use seqmill_base::pipeline::Item;
use seqmill_base::{Error, FormatKind, Lease, Result};
use std::sync::Arc;

/// A place in a BGZF file: offset of a block and offset within its data (`SAMv1 §4.1.1`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct VirtualOffset(pub u64);

impl VirtualOffset {
    /// The place `within` bytes into the data of the block at `block`.
    pub fn new(block: u64, within: u32) -> Self {
        Self((block << 16) | u64::from(within & 0xffff))
    }

    /// Offset of the block in the file.
    pub fn block(self) -> u64 {
        self.0 >> 16
    }

    /// Offset within the data of the block.
    pub fn within(self) -> usize {
        (self.0 & 0xffff) as usize
    }
}

/// Bytes read at once; units refer to them.
pub struct Chunk {
    bytes: Vec<u8>,
    _lease: Lease,
}

/// One block within a chunk.
#[derive(Debug, Clone, Copy)]
pub struct BlockSpan {
    /// First byte in the chunk.
    start: usize,
    frame: Frame,
    /// First byte in the file.
    offset: u64,
    inflated: usize,
}

/// A run of blocks that is inflated as a whole.
pub struct CompressedUnit {
    chunk: Arc<Chunk>,
    spans: Vec<BlockSpan>,
    inflated_bytes: usize,
    /// The unit begins a new stretch, whose first record begins here.
    pub first_record: Option<usize>,
    /// Bytes of the last block that belong to the stretch, if not all.
    keep_of_last: Option<usize>,
    /// Bytes of the file up to the end of this unit, for the progress.
    pub file_end: u64,
}

impl CompressedUnit {
    /// Bytes after inflation.
    pub fn inflated_bytes(&self) -> usize {
        self.inflated_bytes
    }
}

impl Item for CompressedUnit {
    fn bytes(&self) -> u64 {
        self.spans.iter().map(|s| s.frame.block_bytes as u64).sum()
    }
}

/// Where the data of a block begin within the data of its unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BlockMark {
    /// Offset of the block in the file.
    pub offset: u64,
    /// Its first byte in the inflated unit.
    pub start: u32,
}

type Stretch = (VirtualOffset, Option<VirtualOffset>);

/// Walks the block headers of a file and cuts it into units.
///
/// The file may be read in stretches (for regions): pairs of virtual offsets, in file order.
pub struct UnitScanner {
    source: Arc<dyn Source>,
    stretches: std::vec::IntoIter<Stretch>,
    stretch: Option<Stretch>,
    stretch_begins: bool,
    chunk: Option<Arc<Chunk>>,
    /// Next unread byte within the chunk.
    at: usize,
    /// File offset of the first byte of the chunk.
    base: u64,
    /// Beginning of a block whose rest is not read yet.
    tail: Vec<u8>,
    source_ended: bool,
    unit_bytes: usize,
    ended_with_marker: bool,
    /// What is wrong behind the blocks that were given last.
    damage: Option<Error>,
}

/// Bytes asked of the source at once.
const READ_BYTES: usize = 1 << 20;

impl UnitScanner {
    /// Bytes to reserve before each call of [`Self::next_unit`].
    pub const CLAIM_BYTES: u64 = (READ_BYTES + BLOCK_MAX_BYTES) as u64;

    /// A scanner of the given stretches. An end of `None` is the end of the file.
    pub fn new(source: Arc<dyn Source>, stretches: Vec<Stretch>, unit_bytes: usize) -> Self {
        // An empty stretch would be read for nothing.
        let mut stretches = stretches;
        stretches.retain(|(begin, end)| end.is_none_or(|end| end > *begin));
        Self {
            source,
            stretches: stretches.into_iter(),
            stretch: None,
            stretch_begins: false,
            chunk: None,
            at: 0,
            base: 0,
            tail: Vec::new(),
            source_ended: false,
            unit_bytes,
            ended_with_marker: false,
            damage: None,
        }
    }

    /// Whether the last block seen was the end marker.
    pub fn ended_with_marker(&self) -> bool {
        self.ended_with_marker
    }

    /// The next unit, or `None` at the end of the last stretch.
    pub fn next_unit(&mut self, lease: Lease) -> Result<Option<CompressedUnit>> {
        if let Some(error) = self.damage.take() {
            return Err(error);
        }
        let mut lease = Some(lease);
        loop {
            if self.stretch.is_none() && !self.begin_stretch() {
                return Ok(None);
            }
            let chunk = match &self.chunk {
                Some(chunk) => Some(Arc::clone(chunk)),
                None => self.read_chunk(&mut lease)?,
            };
            let Some(chunk) = chunk else {
                self.stretch = None;
                continue;
            };
            if let Some(unit) = self.cut_unit(&chunk)? {
                return Ok(Some(unit));
            }
        }
    }

    fn begin_stretch(&mut self) -> bool {
        self.stretch = self.stretches.next();
        let Some((begin, _)) = self.stretch else { return false };
        self.stretch_begins = true;
        self.chunk = None;
        self.base = begin.block();
        self.tail.clear();
        self.source_ended = false;
        true
    }

    /// Collects blocks from the chunk until a unit is full, the stretch ends, or the chunk has no
    /// whole block left.
    fn cut_unit(&mut self, chunk: &Arc<Chunk>) -> Result<Option<CompressedUnit>> {
        let Some((begin, end)) = self.stretch else { return Ok(None) };
        let mut spans: Vec<BlockSpan> = Vec::with_capacity(32);
        let mut inflated_bytes = 0;
        let mut keep_of_last = None;
        while inflated_bytes < self.unit_bytes {
            let offset = self.base + self.at as u64;
            if end.is_some_and(|end| VirtualOffset::new(offset, 0) >= end) {
                self.end_stretch();
                break;
            }
            let rest = chunk.bytes.get(self.at..).unwrap_or_default();
            let span = match self.block(rest, offset) {
                Ok(Some(span)) => span,
                Ok(None) => {
                    self.leave_chunk(rest);
                    break;
                }
                Err(error) if spans.is_empty() => return Err(error),
                // The blocks before it are whole.
                Err(error) => {
                    self.damage = Some(error);
                    break;
                }
            };
            self.at += span.frame.block_bytes;
            inflated_bytes += span.inflated;
            spans.push(span);
            if let Some(end) = end.filter(|end| end.block() == offset) {
                keep_of_last = Some(end.within());
                self.end_stretch();
                break;
            }
        }
        let Some(last) = spans.last() else { return Ok(None) };
        let file_end = last.offset + last.frame.block_bytes as u64;
        self.source.done_until(file_end);
        let first_record = std::mem::take(&mut self.stretch_begins).then_some(begin.within());
        Ok(Some(CompressedUnit {
            chunk: Arc::clone(chunk),
            spans,
            inflated_bytes,
            first_record,
            keep_of_last,
            file_end,
        }))
    }

    /// The block at the beginning of `rest`, or `None` if its end is not read yet.
    fn block(&mut self, rest: &[u8], offset: u64) -> Result<Option<BlockSpan>> {
        if rest.is_empty() {
            return Ok(None);
        }
        let frame = match frame_at(rest) {
            Framing::Block(frame) => frame,
            Framing::Not(reason) => return Err(broken(reason, offset)),
            Framing::Incomplete if self.source_ended => return Err(cut_block(offset)),
            Framing::Incomplete => return Ok(None),
        };
        let Some(block) = rest.get(..frame.block_bytes) else {
            return if self.source_ended { Err(cut_block(offset)) } else { Ok(None) };
        };
        let (_, isize_field) = footer(block).unwrap_or((0, 0));
        self.ended_with_marker = block == EOF_MARKER;
        let inflated = checked_isize(isize_field, offset)?;
        Ok(Some(BlockSpan { start: self.at, frame, offset, inflated }))
    }

    fn end_stretch(&mut self) {
        self.stretch = None;
        self.chunk = None;
    }

    fn leave_chunk(&mut self, rest: &[u8]) {
        self.tail = rest.to_vec();
        self.base += self.at as u64;
        self.chunk = None;
    }

    /// Reads on: the tail of the last chunk and up to a MiB more. `None` at the end of the file.
    fn read_chunk(&mut self, lease: &mut Option<Lease>) -> Result<Option<Arc<Chunk>>> {
        let begin = self.base + self.tail.len() as u64;
        let want = match self.stretch {
            Some((_, Some(end))) => {
                let rest = (end.block() + BLOCK_MAX_BYTES as u64).saturating_sub(begin);
                usize::try_from(rest).unwrap_or(READ_BYTES).min(READ_BYTES)
            }
            _ => READ_BYTES,
        };
        let mut bytes = std::mem::take(&mut self.tail);
        let kept = bytes.len();
        bytes.resize(kept + want, 0);
        let got = self.source.read_at(bytes.get_mut(kept..).unwrap_or_default(), begin)?;
        bytes.truncate(kept + got);
        self.source_ended = got < want;
        if bytes.is_empty() {
            return Ok(None);
        }
        let Some(lease) = lease.take() else {
            return Err(Error::internal("one unit took more than one read"));
        };
        let chunk = Arc::new(Chunk { bytes, _lease: lease });
        self.at = 0;
        self.chunk = Some(Arc::clone(&chunk));
        Ok(Some(chunk))
    }
}

/// Inflates blocks; reused from unit to unit.
pub struct Inflater {
    inner: Decompressor,
    verify: bool,
}

impl Inflater {
    /// An inflater that compares the checksums of blocks if `verify`.
    pub fn new(verify: bool) -> Self {
        Self { inner: Decompressor::new(), verify }
    }

    /// Inflates all blocks of a unit into `data` (cleared first) and notes where each begins.
    pub fn inflate_unit(
        &mut self,
        unit: &CompressedUnit,
        data: &mut Vec<u8>,
        marks: &mut Vec<BlockMark>,
    ) -> Result<()> {
        self.inflate_blocks(unit, data, marks, |_| ())
    }

    /// The same; `look` sees the data after each block, while the block is still in the cache. At
    /// the end of a stretch the data may become shorter once more. Where it fails, `data` are those
    /// of the blocks before.
    pub fn inflate_blocks(
        &mut self,
        unit: &CompressedUnit,
        data: &mut Vec<u8>,
        marks: &mut Vec<BlockMark>,
        mut look: impl FnMut(&[u8]),
    ) -> Result<()> {
        data.clear();
        data.reserve_exact(unit.inflated_bytes);
        marks.clear();
        let mut at = 0;
        for span in &unit.spans {
            let whole = span.start..span.start + span.frame.block_bytes;
            let block = unit.chunk.bytes.get(whole).unwrap_or_default();
            let room = data.spare_capacity_mut().get_mut(..span.inflated).unwrap_or_default();
            // SAFETY: any byte is a valid u8, and nothing reads the room before `inflate_block` has
            // written all of it; where it fails, the room stays outside `data`.
            unsafe {
                let out = std::ptr::from_mut(room) as *mut [u8];
                self.inflate_block(block, span.frame, &mut *out, span.offset)?;
                data.set_len(at + span.inflated);
            }
            marks.push(BlockMark { offset: span.offset, start: u32::try_from(at).unwrap_or(0) });
            at += span.inflated;
            look(data);
        }
        if let (Some(keep), Some(last)) = (unit.keep_of_last, unit.spans.last()) {
            data.truncate(at - last.inflated + keep.min(last.inflated));
        }
        Ok(())
    }

    /// Inflates one block into `out`, whose length must be the block's ISIZE.
    pub fn inflate_block(
        &mut self,
        block: &[u8],
        frame: Frame,
        out: &mut [u8],
        offset: u64,
    ) -> Result<()> {
        let stream = block.get(frame.data_start..frame.data_end()).unwrap_or_default();
        let wrong = |what: String| Error::format(FormatKind::Inflate, what).at_offset(offset);
        let n = self.inner.deflate_decompress(stream, out).map_err(|e| {
            let reason = match e {
                libdeflater::DecompressionError::BadData => "its deflate stream is damaged",
                libdeflater::DecompressionError::InsufficientSpace => {
                    "it inflates to more bytes than it states"
                }
            };
            wrong(format!("the BGZF block at byte {offset} does not inflate: {reason}"))
        })?;
        if n != out.len() {
            return Err(wrong(format!(
                "the BGZF block at byte {offset} inflates to {n} bytes but states {}",
                out.len()
            )));
        }
        if self.verify {
            let stored = footer(block).unwrap_or((0, 0)).0;
            let computed = crc32(out);
            if stored != computed {
                return Err(Error::format(
                    FormatKind::Checksum,
                    format!(
                        "checksum of the BGZF block at byte {offset} is wrong \
                         (stored {stored:08x}, computed {computed:08x})"
                    ),
                )
                .at_offset(offset));
            }
        }
        Ok(())
    }
}

/// Reads single blocks at given places, and their data in sequence.
pub struct BlockReader {
    source: Arc<dyn Source>,
    inflater: Inflater,
    compressed: Vec<u8>,
}

impl BlockReader {
    /// A reader of `source`.
    pub fn new(source: Arc<dyn Source>, verify: bool) -> Self {
        Self { source, inflater: Inflater::new(verify), compressed: Vec::new() }
    }

    /// Appends the data of the block at `offset` to `data` and returns the offset of the next
    /// block, or `None` at the end of the file.
    pub fn append_block(&mut self, offset: u64, data: &mut Vec<u8>) -> Result<Option<u64>> {
        self.compressed.resize(BLOCK_MAX_BYTES, 0);
        let got = self.source.read_at(&mut self.compressed, offset)?;
        let bytes = self.compressed.get(..got).unwrap_or_default();
        if bytes.is_empty() {
            return Ok(None);
        }
        let frame = match frame_at(bytes) {
            Framing::Block(frame) => frame,
            Framing::Not(reason) => return Err(broken(reason, offset)),
            Framing::Incomplete => return Err(cut_block(offset)),
        };
        let block = bytes.get(..frame.block_bytes).ok_or_else(|| cut_block(offset))?;
        let inflated = checked_isize(footer(block).unwrap_or((0, 0)).1, offset)?;
        let start = data.len();
        data.resize(start + inflated, 0);
        let out = data.get_mut(start..).unwrap_or_default();
        self.inflater.inflate_block(block, frame, out, offset)?;
        Ok(Some(offset + frame.block_bytes as u64))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bgzf::compress;
    use crate::source::MemorySource;
    use seqmill_base::Budget;

    fn read_all(file: Vec<u8>, stretches: Vec<Stretch>) -> Result<Vec<u8>> {
        let budget = Budget::new(1 << 30, 0).unwrap();
        let account = budget.account("a", 1 << 30);
        let source = Arc::new(MemorySource::new(file));
        let mut scanner = UnitScanner::new(source, stretches, 1 << 20);
        let mut inflater = Inflater::new(true);
        let (mut all, mut data, mut marks) = (Vec::new(), Vec::new(), Vec::new());
        while let Some(unit) = scanner.next_unit(budget.try_reserve(account, 1).unwrap())? {
            inflater.inflate_unit(&unit, &mut data, &mut marks)?;
            let skip = unit.first_record.unwrap_or(0);
            all.extend_from_slice(&data[skip..]);
        }
        Ok(all)
    }

    fn whole() -> Vec<Stretch> {
        vec![(VirtualOffset(0), None)]
    }

    fn sample(n: usize) -> Vec<u8> {
        (0..n).map(|i| (i.wrapping_mul(i) >> 7) as u8).collect()
    }

    #[test]
    fn what_was_written_is_read() {
        for n in [0, 1, 65_280, 65_281, 3_000_000] {
            let data = sample(n);
            let mut file = compress(&data, 6).unwrap();
            file.extend(EOF_MARKER);
            assert_eq!(read_all(file, whole()).unwrap(), data, "{n}");
        }
    }

    #[test]
    fn stretches_begin_and_end_within_blocks() {
        let data = sample(200_000);
        let file = compress(&data, 1).unwrap();
        let second = match frame_at(&file) {
            Framing::Block(f) => f.block_bytes as u64,
            _ => unreachable!(),
        };
        let at = |block, within| VirtualOffset::new(block, within);
        let read = read_all(
            file,
            vec![(at(0, 10), Some(at(0, 20))), (at(0, 65_000), Some(at(second, 7)))],
        )
        .unwrap();
        let expected = [&data[10..20], &data[65_000..65_287]].concat();
        assert_eq!(read, expected);
    }

    #[test]
    fn every_cut_is_noticed() {
        let mut file = compress(&sample(100_000), 6).unwrap();
        let last = file.len();
        file.extend(EOF_MARKER);
        for cut in [1, 10, 17, 18, 500, last - 1, last + 1, last + 27] {
            let error = read_all(file[..cut].to_vec(), whole()).unwrap_err();
            assert_eq!(
                error.kind(),
                seqmill_base::ErrorKind::Format(FormatKind::Truncated),
                "{cut}: {error}"
            );
        }
    }
}
