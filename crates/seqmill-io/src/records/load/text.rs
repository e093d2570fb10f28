//! Stitching of text: SAM by lines, FASTQ by four lines, FASTA by lines that begin with `>`.

use super::{Stitcher, UNIT_BYTES};
use crate::bgzf::BlockMark;
use crate::records::input::Kind;
use crate::records::unit::{Joined, Loaded, TextRun, Unit};
use memchr::{memchr, memchr_iter, memrchr};
use seqmill_base::{Error, FormatKind, Result};
use std::ops::Range;
use std::sync::Arc;

/// Lines of a FASTQ record.
const FASTQ_LINES: usize = 4;

/// Where text may be cut.
#[derive(Debug, Default)]
pub struct Breaks {
    /// FASTQ: every `\n`. FASTA: every `>` at the beginning of a line, the first byte of the unit
    /// taken for one. SAM: nothing, one look from each end is enough.
    pub list: Vec<u32>,
}

impl Breaks {
    pub(super) fn find(kind: Kind, data: &[u8]) -> Self {
        let at = |i: usize| u32::try_from(i).unwrap_or(u32::MAX);
        let list = match kind {
            Kind::Fastq => memchr_iter(b'\n', data).map(at).collect(),
            Kind::Fasta => {
                let begins = |i: &usize| *i == 0 || data.get(i - 1) == Some(&b'\n');
                memchr_iter(b'>', data).filter(begins).map(at).collect()
            }
            Kind::Bam | Kind::Cram | Kind::Sam => Vec::new(),
        };
        Self { list }
    }
}

/// Where the text is.
#[derive(Debug)]
pub(super) struct Lines {
    /// Number of the line on which the pending text, or else the next byte, begins.
    line: u64,
    /// Ends of lines in the pending text.
    pending: usize,
    /// A FASTQ record began with an empty line: nothing but empty lines may follow.
    blank: bool,
}

impl Lines {
    pub(super) fn new(line: u64) -> Self {
        Self { line, pending: 0, blank: false }
    }
}

fn count_lines(data: &[u8]) -> usize {
    memchr_iter(b'\n', data).count()
}

fn is_blank(data: &[u8]) -> bool {
    data.iter().all(|b| matches!(b, b'\n' | b'\r'))
}

impl Stitcher {
    pub(super) fn stitch_text(
        &mut self,
        kind: Kind,
        loaded: Loaded,
        out: &mut Vec<Joined>,
    ) -> Result<()> {
        let Loaded { unit, first_record, breaks, file_end, .. } = loaded;
        let from = first_record.unwrap_or(0).min(unit.data.len());
        if first_record.is_some() {
            self.end_text(out)?;
        }
        if unit.data.len() == from {
            return Ok(());
        }
        if self.lines.blank {
            return self.only_blank(&unit, from);
        }
        match kind {
            Kind::Sam => self.stitch_lines(unit, from, file_end, out),
            Kind::Fastq => self.stitch_fastq(unit, from, &breaks.list, file_end, out),
            _ => self.stitch_fasta(unit, from, &breaks.list, file_end, out),
        }
    }

    /// SAM: every line is a record.
    fn stitch_lines(
        &mut self,
        unit: Unit,
        mut from: usize,
        file_end: u64,
        out: &mut Vec<Joined>,
    ) -> Result<()> {
        if let Some(pending) = self.pending.take() {
            let rest = unit.data.get(from..).unwrap_or_default();
            let Some(end) = memchr(b'\n', rest) else {
                self.pending = Some(self.extend(pending, rest)?);
                return Ok(());
            };
            let line = self.extend(pending, rest.get(..=end).unwrap_or_default())?;
            from += end + 1;
            self.give_pending(line, 1, file_end, out);
        }
        let rest = unit.data.get(from..).unwrap_or_default();
        let end = memrchr(b'\n', rest).map_or(from, |at| from + at + 1);
        let whole = unit.data.get(from..end).unwrap_or_default();
        let (line, lines) = (self.lines.line, count_lines(whole));
        self.lines.line += lines as u64;
        self.pending = Self::beginning(&unit, end)?;
        if end > from {
            self.give_run(unit, from..end, Vec::new(), line, file_end, out);
        }
        Ok(())
    }

    /// FASTQ: every four lines are a record.
    fn stitch_fastq(
        &mut self,
        unit: Unit,
        mut from: usize,
        ends: &[u32],
        file_end: u64,
        out: &mut Vec<Joined>,
    ) -> Result<()> {
        let first = from;
        let mut ends = ends.iter().map(|e| *e as usize).skip_while(|e| *e < first);
        if let Some(pending) = self.pending.take() {
            let missing = FASTQ_LINES - self.lines.pending;
            let (mut got, mut last) = (0, None);
            while got < missing
                && let Some(end) = ends.next()
            {
                got += 1;
                last = Some(end);
            }
            let Some(end) = last.filter(|_| got == missing) else {
                let rest = unit.data.get(from..).unwrap_or_default();
                self.pending = Some(self.extend(pending, rest)?);
                self.lines.pending += got;
                return Ok(());
            };
            let part = unit.data.get(from..=end).unwrap_or_default();
            let record = self.extend(pending, part)?;
            from = end + 1;
            if matches!(record.data.first(), Some(b'\n' | b'\r')) {
                self.lines.blank = true;
                self.only_blank(&record, 0)?;
                return self.only_blank(&unit, from);
            }
            self.give_pending(record, FASTQ_LINES, file_end, out);
        }
        let begin = from;
        let line = self.lines.line;
        let mut starts = Vec::with_capacity(ends.size_hint().0 / FASTQ_LINES + 1);
        let mut open = 0;
        for end in ends {
            open += 1;
            if open == FASTQ_LINES {
                if matches!(unit.data.get(from), Some(b'\n' | b'\r')) {
                    break;
                }
                starts.push(u32::try_from(from).unwrap_or(u32::MAX));
                from = end + 1;
                open = 0;
            }
        }
        self.lines.line += (FASTQ_LINES * starts.len()) as u64;
        if open == FASTQ_LINES {
            self.lines.blank = true;
            let blank = self.only_blank(&unit, from);
            self.give_run(unit, begin..from, starts, line, file_end, out);
            return blank;
        }
        self.pending = Self::beginning(&unit, from)?;
        self.lines.pending = open;
        if !starts.is_empty() {
            self.give_run(unit, begin..from, starts, line, file_end, out);
        }
        Ok(())
    }

    /// FASTA: a record goes on up to the next line that begins with `>`.
    fn stitch_fasta(
        &mut self,
        unit: Unit,
        from: usize,
        starts: &[u32],
        file_end: u64,
        out: &mut Vec<Joined>,
    ) -> Result<()> {
        // A `>` at the first byte begins a line only if the text before ended one.
        let after_line = self.pending.as_ref().is_none_or(|p| p.data.last() == Some(&b'\n'));
        let starts: Vec<u32> = starts
            .iter()
            .copied()
            .filter(|s| *s as usize >= from && (*s > 0 || after_line))
            .collect();
        let first = starts.first().map(|s| *s as usize);
        if let Some(pending) = self.pending.take() {
            let part = unit.data.get(from..first.unwrap_or(unit.data.len())).unwrap_or_default();
            let lines = self.lines.pending + count_lines(part);
            let record = self.extend(pending, part)?;
            self.lines.pending = lines;
            if first.is_none() {
                self.pending = Some(record);
                return Ok(());
            }
            self.give_pending(record, lines, file_end, out);
        } else if first != Some(from) {
            return Err(self.text_fault("does not begin with >", self.lines.line));
        }
        let begin = first.unwrap_or(from);
        let last = starts.last().map_or(begin, |s| *s as usize);
        let line = self.lines.line;
        let count = |range: Range<usize>| count_lines(unit.data.get(range).unwrap_or_default());
        self.lines.line += count(begin..last) as u64;
        self.lines.pending = count(last..unit.data.len());
        self.pending = Self::beginning(&unit, last)?;
        let whole: Vec<u32> = starts.iter().copied().filter(|s| (*s as usize) < last).collect();
        if !whole.is_empty() {
            self.give_run(unit, begin..last, whole, line, file_end, out);
        }
        Ok(())
    }

    /// The text has ended: what is pending is the last record.
    pub(super) fn end_text(&mut self, out: &mut Vec<Joined>) -> Result<()> {
        let Some(pending) = self.pending.take() else { return Ok(()) };
        if self.kind() == Kind::Fastq {
            if is_blank(&pending.data) {
                return Ok(());
            }
            if self.lines.pending + 1 < FASTQ_LINES {
                let line = self.lines.line + self.lines.pending as u64;
                let what = format!("the file ends inside record {}", self.ordinal);
                let mut error = Error::format(FormatKind::Truncated, what)
                    .at_record(self.ordinal)
                    .at_line(line);
                if let Some(input) = self.inputs.get(self.input as usize) {
                    error = error.at_path(&input.path);
                }
                return Err(error);
            }
        }
        let end = pending.voffset(pending.data.len()).0;
        let file_end = if pending.plain { end } else { end >> 16 };
        self.give_pending(pending, 1, file_end, out);
        Ok(())
    }

    /// After a record that is an empty line there may only be empty lines.
    fn only_blank(&self, unit: &Unit, from: usize) -> Result<()> {
        if is_blank(unit.data.get(from..).unwrap_or_default()) {
            return Ok(());
        }
        Err(self.text_fault("is empty, but not the end of the file", self.lines.line))
    }

    fn text_fault(&self, what: &str, line: u64) -> Error {
        let mut error = Error::format(FormatKind::Sequence, format!("the line {what}"))
            .at_record(self.ordinal)
            .at_line(line);
        if let Some(input) = self.inputs.get(self.input as usize) {
            error = error.at_path(&input.path);
        }
        error
    }

    fn extend(&self, mut pending: Unit, part: &[u8]) -> Result<Unit> {
        let wanted = pending.data.len() + part.len();
        if wanted > pending.data.capacity() {
            // Long lines and records grow by halves, as the budget is told before.
            let room = (wanted + wanted / 2).max(4096);
            let lease = pending.lease.resize(room as u64);
            lease
                .or_else(|_| pending.lease.resize(wanted as u64))
                .map_err(|e| self.too_long(&e))?;
            let room = usize::try_from(pending.lease.bytes()).unwrap_or(wanted);
            pending.data.reserve_exact(room - pending.data.len());
        }
        pending.data.extend_from_slice(part);
        Ok(pending)
    }

    /// The text from `at` on as the beginning of a record whose end is not there yet.
    fn beginning(unit: &Unit, at: usize) -> Result<Option<Unit>> {
        let rest = unit.data.get(at..).unwrap_or_default();
        if rest.is_empty() {
            return Ok(None);
        }
        let place = unit.voffset(at);
        let (offset, skew) =
            if unit.plain { (place.0, 0) } else { (place.block(), place.within()) };
        let held = rest.len().next_multiple_of(64).min(UNIT_BYTES);
        Ok(Some(Unit {
            data: rest.to_vec(),
            marks: vec![BlockMark { offset, start: 0 }],
            skew: u32::try_from(skew).unwrap_or(0),
            input: unit.input,
            plain: unit.plain,
            lease: unit.lease.sibling(held as u64)?,
        }))
    }

    fn give_pending(&mut self, unit: Unit, lines: usize, file_end: u64, out: &mut Vec<Joined>) {
        let line = self.lines.line;
        self.lines.line += lines as u64;
        self.lines.pending = 0;
        let range = 0..unit.data.len();
        let starts = if self.kind() == Kind::Sam { Vec::new() } else { vec![0] };
        self.give_run(unit, range, starts, line, file_end, out);
    }

    fn give_run(
        &mut self,
        unit: Unit,
        range: Range<usize>,
        starts: Vec<u32>,
        line: u64,
        file_end: u64,
        out: &mut Vec<Joined>,
    ) {
        let ordinal = self.ordinal;
        self.ordinal += starts.len() as u64;
        let unit = Arc::new(unit);
        out.push(Joined::Text(TextRun { unit, range, starts, line, ordinal, file_end }));
    }
}
