//! Reading one window.

use crate::blocks::{BlockFile, Stretch};
use crate::cache::BlockCache;
use crate::encode::{Encoder, Writer};
use crate::files::OpenFile;
use crate::flat::Format;
use crate::probe::{HEADER_MAX_BYTES, Header, OTHER_LINES, judge_header, lines_fit, stale};
use crate::spaced::{SpacedLines, lines_span, may_be_spaced};
use crate::store::{Contig, Process, Store};
use crate::window::{Lines, Place};
use seqmill_base::{Error, ErrorKind, Result};
use std::sync::Arc;

/// Blocks that are inflated before their bases are taken: bounds the memory of long windows.
pub(crate) const STEP_BLOCKS: u32 = 16;
/// Bytes of a plain file that are read at once: they stay in the nearest cache.
const PLAIN_STEP_BYTES: u64 = 32 << 10;
/// Bytes behind the last block of a window that may belong to it: nothing in the index says
/// where the file's last block ends.
const LAST_BLOCK_BYTES: u64 = 1 << 16;

/// Inflated blocks that are kept while a contig is checked, where none are kept otherwise.
const CHECK_CACHE_BYTES: usize = 1 << 18;

/// A file of the store, ready to be read.
pub(crate) struct OpenView<'s> {
    pub(crate) id: u32,
    pub(crate) file: Arc<OpenFile>,
    pub(crate) format: Format,
    pub(crate) blocks: crate::index::Blocks<'s>,
}

impl OpenView<'_> {
    pub(crate) fn block_file(&self) -> BlockFile<'_> {
        BlockFile { file: &self.file, blocks: self.blocks }
    }

    /// Blocks of the text from `begin` to `end`, which is not empty.
    pub(crate) fn block_range(&self, begin: u64, end: u64) -> (u32, u32) {
        (self.blocks.find(begin), self.blocks.find(end - 1))
    }

    /// Where reading must end in the file so that block `last` is read.
    pub(crate) fn read_until(&self, last: u32) -> u64 {
        let end = self.blocks.compressed(last + 1);
        if last + 1 < self.blocks.count {
            return end;
        }
        end.min(self.blocks.compressed(last) + LAST_BLOCK_BYTES)
    }

    /// Gives the text from `begin` to `end` to `take`, piece by piece.
    pub(crate) fn read_text(
        &self,
        cache: &BlockCache,
        stretch: &mut Stretch,
        (begin, end): (u64, u64),
        mut take: impl FnMut(&[u8]) -> Result<()>,
    ) -> Result<()> {
        if begin >= end {
            return Ok(());
        }
        if self.format == Format::Plain {
            return self.read_plain(stretch, begin, end, take);
        }
        let (first, last) = self.block_range(begin, end);
        let file = self.block_file();
        stretch.clear();
        let mut at = first;
        while at <= last {
            let from = self.blocks.uncompressed(at).unwrap_or(0);
            if let Some(block) = cache.is_on().then(|| cache.get(self.id, at)).flatten() {
                let until = self.blocks.uncompressed(at + 1).unwrap_or(end).min(end);
                let skip = usize::try_from(begin.saturating_sub(from)).unwrap_or(usize::MAX);
                let stop = usize::try_from(until - from).unwrap_or(usize::MAX);
                // The last block may have been kept when less of it was needed.
                if let Some(text) = block.get(skip..stop) {
                    take(text)?;
                    at += 1;
                    continue;
                }
            }
            let step = if cache.is_on() { at } else { last.min(at + STEP_BLOCKS - 1) };
            let until = self.blocks.uncompressed(step + 1).unwrap_or(end).min(end);
            let ahead = self.read_until(last.min(at + STEP_BLOCKS - 1));
            stretch.load(&file, (at, step), until, ahead)?;
            take(stretch.text(begin.max(from), until))?;
            if cache.is_on() {
                let block = stretch.text(from, u64::MAX).to_vec();
                cache.insert(self.id, at, Arc::new(block));
            }
            at = step + 1;
        }
        Ok(())
    }

    /// Gives the bases of a contig whose lines may hold white space to `writer`.
    pub(crate) fn read_spaced(
        &self,
        cache: &BlockCache,
        stretch: &mut Stretch,
        contig: &Contig<'_>,
        (start, end): (u64, u64),
        writer: &mut Writer<'_>,
    ) -> Result<()> {
        let geometry = &contig.geometry;
        let mut lines = SpacedLines::new(geometry, contig.name, start, end);
        let (first, last) = lines_span(geometry, start, end);
        // Behind the last base no more than its line: there may be no block.
        let last = last.min(geometry.position(end - 1).saturating_add(geometry.line_width));
        let read = self.read_text(cache, stretch, (first, last), |text| lines.take(text, writer));
        read.and_then(|()| lines.finish(writer)).map_err(|e| e.at_path(self.file.path()))
    }

    fn read_plain(
        &self,
        stretch: &mut Stretch,
        begin: u64,
        end: u64,
        mut take: impl FnMut(&[u8]) -> Result<()>,
    ) -> Result<()> {
        if let Some(text) = self.file.mapped_text(begin, end) {
            return take(text?);
        }
        let step = (end - begin).min(PLAIN_STEP_BYTES);
        let buffer = stretch.buffer(usize::try_from(step).unwrap_or(0));
        let mut at = begin;
        while at < end {
            let wanted = usize::try_from((end - at).min(step)).unwrap_or(0);
            let buffer = buffer.get_mut(..wanted).unwrap_or_default();
            let got = self.file.read_at(buffer, at)?;
            if got == 0 {
                break;
            }
            take(buffer.get(..got).unwrap_or_default())?;
            at += got as u64;
        }
        Ok(())
    }
}

/// Words for a window, for messages.
pub(crate) fn describe(contig: &Contig<'_>, place: &Place) -> String {
    let name = String::from_utf8_lossy(contig.name);
    format!("contig {name:?}, window {}-{}", place.start, place.end)
}

impl Store {
    /// Writes one window into `out`.
    pub(crate) fn read_placed(
        &self,
        process: &Process,
        contig: &Contig<'_>,
        place: &Place,
        (minus, may_be_packed): (bool, bool),
        (encoder, pad): (&Encoder, u8),
        out: &mut [u8],
    ) -> Result<()> {
        let total = usize::try_from(place.bases())
            .map_err(|_| Error::out_of_range("the window is too long for this machine"))?;
        let mut writer = Writer::new(encoder, out, total, minus)?;
        let pads = |n: u64| usize::try_from(n).unwrap_or(0);
        writer.pad(pads(place.left), pad);
        if place.end > place.start {
            if may_be_packed && let Some(packed) = self.packed(process, contig.file)? {
                packed.read(contig, (place.start, place.end), &mut writer)?;
                writer.pad(pads(place.right), pad);
                return Ok(());
            }
            let mut stretch = process.take_stretch(self.verify_blocks());
            let result =
                self.read_bases(process, contig, place, &mut stretch, &mut writer).map_err(|e| {
                    if matches!(e.kind(), ErrorKind::Format(_)) {
                        e.within(&describe(contig, place))
                    } else {
                        e
                    }
                });
            process.give_stretch(stretch);
            result?;
        }
        writer.pad(pads(place.right), pad);
        Ok(())
    }

    fn read_bases(
        &self,
        process: &Process,
        contig: &Contig<'_>,
        place: &Place,
        stretch: &mut Stretch,
        writer: &mut Writer<'_>,
    ) -> Result<()> {
        let view = self.open_view(process, contig.file)?;
        if view.format == Format::Archive {
            return self.read_archive(process, &view.file, contig, place, stretch, writer);
        }
        self.check_contig(process, &view, contig, stretch)?;
        let geometry = &contig.geometry;
        if may_be_spaced(geometry) && !self.is_raw() {
            let place = (place.start, place.end);
            return view.read_spaced(&process.cache, stretch, contig, place, writer);
        }
        let span = (geometry.position(place.start), geometry.position(place.end - 1) + 1);
        let mut lines = Lines::new(geometry, contig.name, place.start, place.end, self.is_raw());
        let read = view.read_text(&process.cache, stretch, span, |text| lines.take(text, writer));
        read.and_then(|()| lines.finish()).map_err(|e| e.at_path(view.file.path()))
    }

    /// The first time that this process reads a contig: compares the header that stands before it
    /// and where its lines begin and end.
    pub(crate) fn check_contig(
        &self,
        process: &Process,
        view: &OpenView<'_>,
        contig: &Contig<'_>,
        stretch: &mut Stretch,
    ) -> Result<()> {
        if self.is_raw() || process.is_checked(contig.ordinal) {
            return Ok(());
        }
        // Of a short contig all that is looked at is in one block.
        let own = (!process.cache.is_on()).then(|| BlockCache::new(CHECK_CACHE_BYTES));
        let cache = own.as_ref().unwrap_or(&process.cache);
        let mut read = |span| {
            let mut text = Vec::new();
            let read = view.read_text(cache, stretch, span, |piece| {
                text.extend_from_slice(piece);
                Ok(())
            });
            read.map(|()| text)
        };
        let fit = lines_fit(&contig.geometry, &mut read)?;
        if self.judge_header(view, contig, &mut read)? == Header::Wrong {
            let error = stale(contig.name, "its header does not stand before it");
            return Err(error.at_path(view.file.path()));
        }
        if !fit {
            return Err(stale(contig.name, OTHER_LINES).at_path(view.file.path()));
        }
        process.set_checked(contig.ordinal);
        Ok(())
    }

    fn judge_header(
        &self,
        view: &OpenView<'_>,
        contig: &Contig<'_>,
        read: &mut impl FnMut((u64, u64)) -> Result<Vec<u8>>,
    ) -> Result<Header> {
        let offset = contig.geometry.offset;
        let mut reach = contig.name.len() as u64 + 256;
        loop {
            let begin = offset.saturating_sub(reach);
            let text = match read((begin, offset)) {
                Ok(text) => text,
                Err(error) if !matches!(error.kind(), ErrorKind::Format(_)) || is_stale(&error) => {
                    return Err(error);
                }
                Err(error) => {
                    self.warn(format!(
                        "{}: contig {:?} is read unchecked: its header cannot be read ({})",
                        view.file.path().display(),
                        String::from_utf8_lossy(contig.name),
                        error.message()
                    ));
                    return Ok(Header::Right);
                }
            };
            match judge_header(&text, begin == 0, contig.name) {
                Header::Longer if reach < HEADER_MAX_BYTES => reach *= 16,
                judged => return Ok(judged),
            }
        }
    }
}

fn is_stale(error: &Error) -> bool {
    error.kind() == ErrorKind::Format(seqmill_base::FormatKind::StaleIndex)
}
