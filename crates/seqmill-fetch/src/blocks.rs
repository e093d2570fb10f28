//! Inflating the blocks that windows need, each once.

use crate::files::OpenFile;
use crate::index::Blocks;
use libdeflater::{DecompressionError, Decompressor};
use seqmill_base::{Error, FormatKind, Result};
use seqmill_io::bgzf::{BLOCK_MAX_BYTES, Frame, Framing, Inflater, frame_at};

/// Longest match of deflate: with so much room behind them the bytes wanted are all written.
const MATCH_MAX_BYTES: usize = 258;

/// A file in blocks, as the index and the open file show it.
#[derive(Clone, Copy)]
pub(crate) struct BlockFile<'a> {
    pub(crate) file: &'a OpenFile,
    pub(crate) blocks: Blocks<'a>,
}

/// Neighbouring blocks of one file, inflated; blocks are added behind and dropped in front.
pub(crate) struct Stretch {
    inflater: Inflater,
    /// For beginnings of blocks, whose checksums cannot be compared.
    partial: Option<Decompressor>,
    /// Bytes of the file from `read_begin` on; only the first `read` count.
    compressed: Vec<u8>,
    read_begin: u64,
    read: usize,
    /// Text from `text_begin` on; only the first `filled` count.
    data: Vec<u8>,
    text_begin: u64,
    filled: usize,
    first: u32,
    next: u32,
    /// The last block is not whole: nothing can be added behind it.
    cut: bool,
}

impl Stretch {
    /// An empty stretch; without `verify`, checksums are not compared and blocks are inflated
    /// only as far as they are needed.
    pub(crate) fn new(verify: bool) -> Self {
        Self {
            inflater: Inflater::new(verify),
            partial: (!verify).then(Decompressor::new),
            compressed: Vec::new(),
            read_begin: 0,
            read: 0,
            data: Vec::new(),
            text_begin: 0,
            filled: 0,
            first: 0,
            next: 0,
            cut: false,
        }
    }

    /// Forgets everything, as before another file.
    pub(crate) fn clear(&mut self) {
        (self.read, self.filled, self.first, self.next) = (0, 0, 0, 0);
        self.cut = false;
    }

    /// Room for so many bytes of a file that is not in blocks; what was here is forgotten.
    pub(crate) fn buffer(&mut self, length: usize) -> &mut [u8] {
        self.clear();
        if self.data.len() < length {
            self.data.resize(length, 0);
        }
        self.data.get_mut(..length).unwrap_or_default()
    }

    /// The text from `begin` to `end`, as far as it is here.
    pub(crate) fn text(&self, begin: u64, end: u64) -> &[u8] {
        let within = |x: u64| {
            usize::try_from(x.saturating_sub(self.text_begin))
                .unwrap_or(usize::MAX)
                .min(self.filled)
        };
        self.data.get(within(begin)..within(end)).unwrap_or_default()
    }

    /// Makes the text from `begin` to `end` (within the blocks `first..=last`) be here. The file
    /// is read up to `read_until` where it must be read at all.
    pub(crate) fn load(
        &mut self,
        file: &BlockFile<'_>,
        (first, last): (u32, u32),
        end: u64,
        read_until: u64,
    ) -> Result<()> {
        let follows = first >= self.first && first < self.next;
        if follows && self.text_begin + self.filled as u64 >= end {
            return Ok(());
        }
        if follows && !self.cut {
            self.drop_before(file.blocks.uncompressed(first).unwrap_or(self.text_begin));
            self.first = first;
        } else {
            (self.first, self.next, self.filled) = (first, first, 0);
            self.cut = false;
            self.text_begin = file.blocks.uncompressed(first).unwrap_or(0);
        }
        while self.next <= last {
            self.add_block(file, end, read_until)?;
        }
        Ok(())
    }

    fn drop_before(&mut self, begin: u64) {
        let dropped = usize::try_from(begin.saturating_sub(self.text_begin)).unwrap_or(self.filled);
        let dropped = dropped.min(self.filled);
        if dropped > 0 {
            self.data.copy_within(dropped..self.filled, 0);
            self.filled -= dropped;
            self.text_begin += dropped as u64;
        }
    }

    /// Inflates the next block of the index: one block of the file, or several if the index does
    /// not list each.
    fn add_block(&mut self, file: &BlockFile<'_>, end: u64, read_until: u64) -> Result<()> {
        let mut at = file.blocks.compressed(self.next);
        let next_at = file.blocks.compressed(self.next + 1);
        let next_text = file.blocks.uncompressed(self.next + 1);
        let stop = next_text.unwrap_or(end);
        if at >= file.file.size {
            return Err(truncated(file, at));
        }
        loop {
            let here = self.text_begin + self.filled as u64;
            if at >= next_at || (next_text.is_none() && here >= stop) {
                break;
            }
            at += self.add_frame(file, at, end, read_until)?;
            if self.cut {
                break;
            }
        }
        let here = self.text_begin + self.filled as u64;
        self.next += 1;
        if !self.cut && next_text.is_some_and(|text| text != here) || (at > next_at) {
            return Err(Error::format(
                FormatKind::StaleIndex,
                format!("the block index does not fit the block before byte {at}; rebuild it"),
            )
            .at_path(file.file.path())
            .at_offset(at));
        }
        Ok(())
    }

    /// Inflates the block at `at` of the file behind what is here; returns its length.
    fn add_frame(
        &mut self,
        file: &BlockFile<'_>,
        at: u64,
        end: u64,
        read_until: u64,
    ) -> Result<u64> {
        let (start, frame) = self.frame(file, at, read_until)?;
        let placed = |e: Error| e.at_path(file.file.path());
        let block = self.compressed.get(start..start + frame.block_bytes).unwrap_or_default();
        let stated = block.last_chunk::<4>().map_or(0, |b| u32::from_le_bytes(*b));
        let size = usize::try_from(stated).unwrap_or(usize::MAX);
        if size > BLOCK_MAX_BYTES {
            let what =
                format!("the BGZF block at byte {at} claims {stated} bytes, more than 65536");
            return Err(placed(Error::format(FormatKind::Inflate, what).at_offset(at)));
        }
        if self.data.len() < self.filled + size {
            self.data.resize(self.filled + size, 0);
        }
        let here = self.text_begin + self.filled as u64;
        let needed = usize::try_from(end.saturating_sub(here)).unwrap_or(usize::MAX);
        if let Some(partial) = &mut self.partial
            && needed.saturating_add(MATCH_MAX_BYTES) < size
        {
            let room = self.filled..self.filled + needed + MATCH_MAX_BYTES;
            let out = self.data.get_mut(room).unwrap_or_default();
            let stream = block.get(frame.data_start..frame.data_end()).unwrap_or_default();
            if let Err(DecompressionError::InsufficientSpace) =
                partial.deflate_decompress(stream, out)
            {
                self.filled += needed;
                self.cut = true;
                return Ok(frame.block_bytes as u64);
            }
        }
        let out = self.data.get_mut(self.filled..self.filled + size).unwrap_or_default();
        self.inflater.inflate_block(block, frame, out, at).map_err(placed)?;
        self.filled += size;
        Ok(frame.block_bytes as u64)
    }

    /// Where the block at `at` of the file lies in `compressed`, read if it is not here.
    fn frame(&mut self, file: &BlockFile<'_>, at: u64, read_until: u64) -> Result<(usize, Frame)> {
        for reread in [false, true] {
            let known = at >= self.read_begin && at < self.read_begin + self.read as u64;
            if !known || reread {
                let until = read_until.max(at + 1);
                // A second reading means that the block is longer than the index says.
                let until = if reread { until.max(at + BLOCK_MAX_BYTES as u64) } else { until };
                self.read_file(file, at, until.min(file.file.size))?;
            }
            let start = usize::try_from(at - self.read_begin).unwrap_or(usize::MAX);
            let bytes = self.compressed.get(start..self.read).unwrap_or_default();
            match frame_at(bytes) {
                Framing::Block(frame) if frame.block_bytes <= bytes.len() => {
                    return Ok((start, frame));
                }
                Framing::Not(reason) if !bytes.is_empty() => {
                    let what = format!("no BGZF block at byte {at}: {reason}");
                    return Err(Error::format(FormatKind::Bgzf, what)
                        .at_offset(at)
                        .at_path(file.file.path()));
                }
                _ => {}
            }
        }
        Err(truncated(file, at))
    }

    fn read_file(&mut self, file: &BlockFile<'_>, at: u64, until: u64) -> Result<()> {
        let wanted = usize::try_from(until.saturating_sub(at)).unwrap_or(0);
        if self.compressed.len() < wanted {
            self.compressed.resize(wanted, 0);
        }
        self.read_begin = at;
        self.read = 0;
        let buffer = self.compressed.get_mut(..wanted).unwrap_or_default();
        self.read = file.file.read_at(buffer, at)?;
        Ok(())
    }
}

fn truncated(file: &BlockFile<'_>, at: u64) -> Error {
    let what = format!("the file ends inside the BGZF block at byte {at}");
    Error::format(FormatKind::Truncated, what).at_offset(at).at_path(file.file.path())
}
