//! Lines with white space besides their line feed: with carriage returns, or with spaces anywhere.
//!
//! An index tells how many bytes of a line are bases, not which. Where that may be in doubt whole
//! lines are looked at, so that each base is the one that its position means.

use crate::encode::Writer;
use crate::probe::stale;
use seqmill_base::Result;
use seqmill_io::fasta::FaiRecord;

/// Longer lines are not looked at as a whole.
const LINE_MAX_BYTES: u64 = 1 << 16;

/// Whether lines of a contig may hold white space among their bases.
pub(crate) fn may_be_spaced(geometry: &FaiRecord) -> bool {
    geometry.line_width.saturating_sub(geometry.line_bases) > 1
        && geometry.line_width <= LINE_MAX_BYTES
}

/// The text of the lines that hold the bases `[start, end)`; the last line may end before.
pub(crate) fn lines_span(geometry: &FaiRecord, start: u64, end: u64) -> (u64, u64) {
    let first = start / geometry.line_bases;
    let last = (end - 1) / geometry.line_bases;
    let at = |line: u64| geometry.offset + line * geometry.line_width;
    (at(first), at(last + 1))
}

/// Takes whole lines and gives the bases of a window to a writer.
pub(crate) struct SpacedLines<'g> {
    geometry: &'g FaiRecord,
    name: &'g [u8],
    /// The next base that is wanted, and the one behind the last.
    next: u64,
    end: u64,
    /// The beginning of a line whose end has not come yet.
    begun: Vec<u8>,
}

impl<'g> SpacedLines<'g> {
    pub(crate) fn new(geometry: &'g FaiRecord, name: &'g [u8], start: u64, end: u64) -> Self {
        Self { geometry, name, next: start, end, begun: Vec::new() }
    }

    /// Takes the next piece of the text that [`lines_span`] names.
    pub(crate) fn take(&mut self, text: &[u8], writer: &mut Writer<'_>) -> Result<()> {
        let width = usize::try_from(self.geometry.line_width).unwrap_or(usize::MAX);
        let mut rest = text;
        while !rest.is_empty() && self.next < self.end {
            let (piece, behind) = rest.split_at((width - self.begun.len()).min(rest.len()));
            self.begun.extend_from_slice(piece);
            rest = behind;
            if self.begun.len() == width {
                self.end_line(writer)?;
            }
        }
        Ok(())
    }

    /// The text has ended; fails if bases are missing.
    pub(crate) fn finish(mut self, writer: &mut Writer<'_>) -> Result<()> {
        if self.next < self.end {
            self.end_line(writer)?;
        }
        if self.next < self.end {
            return Err(stale(self.name, "the file ends before the contig does"));
        }
        Ok(())
    }

    fn end_line(&mut self, writer: &mut Writer<'_>) -> Result<()> {
        let FaiRecord { length, line_bases, .. } = *self.geometry;
        let line = self.next / line_bases;
        let (first, behind) = (line * line_bases, ((line + 1) * line_bases).min(length));
        let mut begun = std::mem::take(&mut self.begun);
        // The last line may be shorter; what follows it does not count.
        if behind == length
            && let Some(end) = begun.iter().position(|&b| b == b'\n')
        {
            begun.truncate(end + 1);
        }
        let count = usize::try_from(behind - first).unwrap_or(usize::MAX);
        let tail = begun.get(count..).unwrap_or_default();
        if tail.iter().any(|&b| b > b' ') {
            begun.retain(|&b| b > b' ');
            if begun.len() != count {
                return Err(stale(self.name, "a line does not end where it should"));
            }
        }
        let within = |base: u64| usize::try_from(base - first).unwrap_or(usize::MAX);
        let end = self.end.min(behind);
        let run = begun
            .get(within(self.next)..within(end))
            .ok_or_else(|| stale(self.name, "a line has fewer bases than it should"))?;
        if !writer.push(run) {
            return Err(stale(self.name, "there is a line end or a header among its bases"));
        }
        self.next = end;
        begun.clear();
        self.begun = begun;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::encode::Encoder;

    fn read(
        text: &[u8],
        geometry: &FaiRecord,
        (start, end): (u64, u64),
        step: usize,
    ) -> Option<Vec<u8>> {
        let encoder = Encoder::identity();
        let mut out = vec![0; usize::try_from(end - start).unwrap()];
        let total = out.len();
        let mut writer = Writer::new(&encoder, &mut out, total, false).unwrap();
        let mut lines = SpacedLines::new(geometry, b"x", start, end);
        let (first, last) = lines_span(geometry, start, end);
        let last = usize::try_from(last).unwrap().min(text.len());
        for piece in text[usize::try_from(first).unwrap()..last].chunks(step) {
            lines.take(piece, &mut writer).ok()?;
        }
        lines.finish(&mut writer).ok()?;
        Some(out)
    }

    #[test]
    fn bases_are_found_wherever_the_white_space_is() {
        let geometry = |length, line_bases, line_width| FaiRecord {
            length,
            line_bases,
            line_width,
            ..FaiRecord::default()
        };
        for (text, geometry) in [
            (&b"ACG\r\nTTA\r\nC\r\n"[..], geometry(7, 3, 5)),
            (b" ACG\nT TA\nC\n>x\n", geometry(7, 3, 5)),
            (b"A C G\n T TA\n  C", geometry(7, 3, 6)),
            (b"ACGTTAC\r\n", geometry(7, 7, 9)),
        ] {
            for start in 0..7 {
                for end in start + 1..=7 {
                    for step in [1, 2, 100] {
                        let from = usize::try_from(start).unwrap()..usize::try_from(end).unwrap();
                        let expected = b"ACGTTAC"[from].to_vec();
                        assert_eq!(read(text, &geometry, (start, end), step), Some(expected));
                    }
                }
            }
        }
        for text in
            [&b"ACGT\nTTA\r\nC\r\n"[..], b"AC\r\n>TTA\r\nC", b"ACG\r\nTT", b"A G\r\nTTA\r\nC"]
        {
            assert_eq!(read(text, &geometry(7, 3, 5), (0, 7), 100), None);
        }
    }
}
