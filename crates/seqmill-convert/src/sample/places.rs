//! Samples of inputs that are not BAM: SAM and CRAM.

use super::{
    FIRST_MAX_BYTES, FIRST_RECORDS, PLACE_BYTES, PLACE_MAX_BYTES, PLACE_RECORDS, PLACES,
    STREAM_MAX_BYTES, Sample, find_block, place_offset,
};
use crate::serial::Serial;
use memchr::memchr;
use seqmill_base::{ErrorKind, Result};
use seqmill_io::bam::Record;
use seqmill_io::bgzf::{BLOCK_MAX_BYTES, BlockReader};
use seqmill_io::records::{Container, Input, Kind, record_body};
use std::sync::Arc;

impl Sample {
    /// The first records, and of SAM that can be entered anywhere some lines at 64 places.
    pub(super) fn add_decoded(&mut self, input: &Input, memory: u64) -> Result<()> {
        let most = if input.source.is_seekable() { u64::MAX } else { STREAM_MAX_BYTES };
        let mut records = Serial::new(input, most, memory)?;
        let (mut taken, mut bytes, mut done_until) = (0, 0, 0);
        while taken < FIRST_RECORDS && bytes < FIRST_MAX_BYTES {
            let stitched = match records.next_records() {
                Ok(Some(stitched)) => stitched,
                // What a sample shows must not depend on the budget.
                Err(error) if error.kind() == ErrorKind::Budget && !records.has_most() => {
                    return Err(error);
                }
                // Damage is reported by the run itself, with its place.
                Ok(None) | Err(_) => return Ok(()),
            };
            for start in stitched.starts.iter().take(FIRST_RECORDS - taken) {
                if let Ok(record) = Record::new(record_body(&stitched.unit.data, *start as usize)) {
                    self.take(&record);
                }
            }
            taken += stitched.starts.len();
            bytes += stitched.unit.data.len();
            done_until = stitched.file_end;
        }
        if input.kind != Kind::Sam || input.container == Container::Gzip {
            return Ok(());
        }
        let Some(size) = input.source.len() else { return Ok(()) };
        for place in 1..PLACES {
            let offset = place_offset(size, place);
            if offset > done_until {
                done_until = self.add_lines_at(input, offset)?.max(done_until);
            }
        }
        Ok(())
    }

    /// Some lines behind a place in the middle; returns the file offset behind what was read.
    fn add_lines_at(&mut self, input: &Input, offset: u64) -> Result<u64> {
        let mut text = Vec::new();
        let mut next = Some(offset);
        let mut reader = BlockReader::new(Arc::clone(&input.source), false);
        if input.container == Container::Bgzf {
            let mut window = vec![0; 4 * BLOCK_MAX_BYTES];
            let got = input.source.read_at(&mut window, offset)?;
            window.truncate(got);
            let Some(start) = find_block(&window) else { return Ok(offset) };
            next = Some(offset + start as u64);
        }
        while let Some(at) = next {
            if input.container == Container::Bgzf {
                let Ok(following) = reader.append_block(at, &mut text) else { return Ok(at) };
                next = following;
            } else {
                let before = text.len();
                text.resize(before + BLOCK_MAX_BYTES, 0);
                let got = input.source.read_at(text.get_mut(before..).unwrap_or_default(), at)?;
                text.truncate(before + got);
                next = (got > 0).then_some(at + got as u64);
            }
            let lines = lines_of(&text, next.is_none());
            let origin = lines.first().map_or(0, |(begin, _)| *begin);
            let near = lines.iter().filter(|(begin, _)| *begin < origin + PLACE_BYTES).count();
            let enough = lines.len() > PLACE_RECORDS.max(near);
            if enough || next.is_none() || text.len() > PLACE_MAX_BYTES {
                self.take_lines(
                    input,
                    &text,
                    lines.get(..near.max(PLACE_RECORDS)).unwrap_or(&lines),
                );
                return Ok(next.unwrap_or(u64::MAX));
            }
        }
        Ok(u64::MAX)
    }

    fn take_lines(&mut self, input: &Input, text: &[u8], lines: &[(usize, usize)]) {
        let Some(parser) = &input.parser else { return };
        let mut data = Vec::new();
        for (begin, end) in lines {
            data.clear();
            let line = text.get(*begin..*end).unwrap_or_default();
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            if parser.parse(line, &mut data).is_ok()
                && let Ok(record) = Record::new(record_body(&data, 0))
            {
                self.take(&record);
            }
        }
    }
}

/// Begin and end of the whole lines behind the first end of a line.
fn lines_of(text: &[u8], ended: bool) -> Vec<(usize, usize)> {
    let mut lines = Vec::new();
    let Some(first) = memchr(b'\n', text) else { return lines };
    let mut at = first + 1;
    while let Some(length) = text.get(at..).and_then(|rest| memchr(b'\n', rest)) {
        lines.push((at, at + length));
        at += length + 1;
    }
    if ended && at < text.len() {
        lines.push((at, text.len()));
    }
    lines
}
