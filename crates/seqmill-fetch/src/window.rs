//! Where a window lies within its contig, and how its lines lie in the text.

use crate::encode::Writer;
use crate::probe::stale;
use seqmill_base::{Error, Result};
use seqmill_io::fasta::FaiRecord;

/// What happens to a window that reaches outside of its contig.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OutOfRange {
    /// It is refused.
    #[default]
    Error,
    /// What is missing is filled.
    Pad,
    /// It becomes shorter.
    Clip,
    /// It is moved inside.
    Shift,
}

/// A window that was placed within its contig, with the bases that are missing on either side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// First base.
    pub start: u64,
    /// First base behind.
    pub end: u64,
    /// Bases of padding before.
    pub left: u64,
    /// Bases of padding behind.
    pub right: u64,
}

impl Place {
    /// Bases of the result.
    pub fn bases(&self) -> u64 {
        self.left + (self.end - self.start) + self.right
    }
}

/// Places `[start, end)` in a contig of `length` bases. No end is the contig's end.
pub(crate) fn place(
    length: u64,
    start: i64,
    end: Option<i64>,
    policy: OutOfRange,
) -> Result<Place> {
    let whole = i64::try_from(length).unwrap_or(i64::MAX);
    let end = end.unwrap_or(whole.max(if policy == OutOfRange::Error { 0 } else { start }));
    let refused = |what: &str| {
        Err(Error::out_of_range(format!(
            "window {start}-{end} (0-based, half-open) {what} of a contig of {length} bases"
        )))
    };
    if end < start {
        return refused("has a negative length, out");
    }
    // What is left of a window that is clipped always fits.
    if policy != OutOfRange::Clip && end.checked_sub(start).is_none() {
        return refused("is longer than any contig, out");
    }
    let inside = |x: i64| x.clamp(0, whole).unsigned_abs();
    let (first, last) = (inside(start), inside(end));
    match policy {
        OutOfRange::Error if start < 0 || end > whole => refused("reaches out"),
        OutOfRange::Error | OutOfRange::Clip => {
            Ok(Place { start: first, end: last, left: 0, right: 0 })
        }
        OutOfRange::Pad if first >= last => {
            Ok(Place { start: first, end: first, left: end.abs_diff(start), right: 0 })
        }
        OutOfRange::Pad => Ok(Place {
            start: first,
            end: last,
            left: first.cast_signed().abs_diff(start),
            right: last.cast_signed().abs_diff(end),
        }),
        OutOfRange::Shift => {
            let bases = end.abs_diff(start);
            let Some(room) = length.checked_sub(bases) else {
                return refused("is longer than the whole");
            };
            let start = start.max(0).unsigned_abs().min(room);
            Ok(Place { start, end: start + bases, left: 0, right: 0 })
        }
    }
}

/// Takes the text of a window in pieces and gives its bases to a writer, line ends left out.
pub(crate) struct Lines<'g> {
    geometry: &'g FaiRecord,
    name: &'g [u8],
    /// Bases still to come.
    left: u64,
    /// Bases to the end of the line.
    line_left: u64,
    /// Bytes of the line end that come before the next base.
    gap_left: u64,
    raw: bool,
}

impl<'g> Lines<'g> {
    /// The lines of `[start, end)`, which lies within the contig. `raw` data have no line ends
    /// and may be any bytes.
    pub(crate) fn new(
        geometry: &'g FaiRecord,
        name: &'g [u8],
        start: u64,
        end: u64,
        raw: bool,
    ) -> Self {
        let column = start.checked_rem(geometry.line_bases).unwrap_or(0);
        Self {
            geometry,
            name,
            left: end - start,
            line_left: geometry.line_bases - column,
            gap_left: 0,
            raw,
        }
    }

    /// Takes the next piece of the text.
    pub(crate) fn take(&mut self, text: &[u8], writer: &mut Writer<'_>) -> Result<()> {
        let mut rest = text;
        while self.left > 0 && !rest.is_empty() {
            if self.gap_left > 0 {
                rest = self.skip_line_end(rest)?;
                continue;
            }
            if let Some(behind) = self.take_whole_lines(rest, writer)? {
                rest = behind;
                continue;
            }
            let wanted = usize::try_from(self.line_left.min(self.left)).unwrap_or(usize::MAX);
            let (run, behind) = rest.split_at(wanted.min(rest.len()));
            if !writer.push(run) && !self.raw {
                return Err(stale(self.name, "there is a line end or a header among its bases"));
            }
            rest = behind;
            self.left -= run.len() as u64;
            self.line_left -= run.len() as u64;
            if self.line_left == 0 {
                self.line_left = self.geometry.line_bases;
                self.gap_left = self.geometry.line_width - self.geometry.line_bases;
            }
        }
        Ok(())
    }

    /// Takes as many whole lines with their ends as there are, and returns what follows them.
    fn take_whole_lines<'t>(
        &mut self,
        rest: &'t [u8],
        writer: &mut Writer<'_>,
    ) -> Result<Option<&'t [u8]>> {
        let FaiRecord { line_bases, line_width, .. } = *self.geometry;
        if self.raw || self.line_left != line_bases || line_width == line_bases {
            return Ok(None);
        }
        let lines = (rest.len() as u64 / line_width).min(self.left / line_bases);
        let Some(bytes) = usize::try_from(lines * line_width).ok().filter(|_| lines > 1) else {
            return Ok(None);
        };
        let (text, behind) = rest.split_at(bytes.min(rest.len()));
        let narrow = |n: u64| usize::try_from(n).unwrap_or(usize::MAX);
        match writer.push_lines(text, narrow(line_bases), narrow(line_width)) {
            None => Ok(None),
            Some(true) => {
                self.left -= lines * line_bases;
                Ok(Some(behind))
            }
            Some(false) => Err(stale(self.name, "lines do not begin and end where they should")),
        }
    }

    /// A line end is white space that ends with a line feed.
    fn skip_line_end<'t>(&mut self, rest: &'t [u8]) -> Result<&'t [u8]> {
        let wanted = usize::try_from(self.gap_left).unwrap_or(usize::MAX);
        let (gap, behind) = rest.split_at(wanted.min(rest.len()));
        self.gap_left -= gap.len() as u64;
        let ends = self.gap_left > 0 || gap.last() == Some(&b'\n');
        if ends && gap.iter().all(|&b| b <= b' ') {
            return Ok(behind);
        }
        Err(stale(self.name, "a line does not end where it should"))
    }

    /// Fails if bases are missing.
    pub(crate) fn finish(&self) -> Result<()> {
        if self.left == 0 {
            return Ok(());
        }
        Err(stale(self.name, "the file ends before the contig does"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(start: i64, end: i64, policy: OutOfRange) -> Option<(u64, u64, u64, u64)> {
        let p = place(100, start, Some(end), policy).ok()?;
        Some((p.start, p.end, p.left, p.right))
    }

    #[test]
    fn windows_are_placed() {
        use OutOfRange::{Clip, Error, Pad, Shift};
        assert_eq!(at(0, 100, Error), Some((0, 100, 0, 0)));
        for (start, end) in [(-1, 5), (5, 101), (6, 5), (101, 101), (i64::MIN, i64::MAX)] {
            assert_eq!(at(start, end, Error), None, "{start} {end}");
        }
        assert_eq!(at(-5, 110, Pad), Some((0, 100, 5, 10)));
        assert_eq!(at(-9, -4, Pad), Some((0, 0, 5, 0)));
        assert_eq!(at(100, 107, Pad), Some((100, 100, 7, 0)));
        assert_eq!(at(-5, 110, Clip), Some((0, 100, 0, 0)));
        assert_eq!(at(200, 300, Clip), Some((100, 100, 0, 0)));
        assert_eq!(at(i64::MIN, i64::MAX, Clip), Some((0, 100, 0, 0)));
        assert_eq!(at(-5, 20, Shift), Some((0, 25, 0, 0)));
        assert_eq!(at(90, 120, Shift), Some((70, 100, 0, 0)));
        assert_eq!(at(0, 101, Shift), None);
        assert_eq!(place(100, 7, None, Error).unwrap().bases(), 93);
        assert!(place(100, 101, None, Error).is_err());
        assert_eq!(place(100, 101, None, Clip).unwrap().bases(), 0);
    }
}
