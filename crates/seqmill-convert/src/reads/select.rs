//! Grammar and filters of reads.

use super::pairs::{ReadRun, Records};
use super::parse::{Read, ReadFault, template_name};
use super::plan::ReadsPlan;
use crate::unit::{Note, Selected};
use seqmill_base::{Error, FormatKind, Lease, Result};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Rows of reads that were selected, by their numbers in the run.
pub(crate) struct ReadRows {
    pub first: Records,
    pub mate: Option<Records>,
    /// Number of each row's record in the run.
    pub numbers: Vec<u32>,
    /// Line of each row's record and of its mate, where they do not follow from the number.
    pub lines: Vec<(u64, u64)>,
}

impl ReadRows {
    /// Text of a row's record, or of its mate.
    pub(super) fn text(&self, row: usize, mate: bool) -> &[u8] {
        let number = self.numbers.get(row).copied().unwrap_or(u32::MAX) as usize;
        if mate {
            self.mate.as_ref().map_or(&[][..], |mate| mate.text(number))
        } else {
            self.first.text(number)
        }
    }

    /// Where a row's record and its mate begin, and their lines.
    pub(crate) fn places(&self, row: usize) -> (u64, u64, (u64, u64)) {
        let number = self.numbers.get(row).copied().unwrap_or(0) as usize;
        let place = |records: &Records| {
            records.unit.voffset(records.bounds.get(number).copied().unwrap_or(0) as usize).0
        };
        let lines = self.lines.get(row).copied().unwrap_or_default();
        (place(&self.first), self.mate.as_ref().map_or(0, place), lines)
    }
}

/// Checks and filters reads.
pub(super) struct ReadSelector {
    pub plan: Arc<ReadsPlan>,
    pub paths: Vec<PathBuf>,
    pub mate_path: PathBuf,
    /// Records up to this one (input, number) are left out: a resumed run has them.
    pub resume_after: Option<(u32, u64)>,
}

/// Counts the lines of records one after the other.
struct LineCounter<'r> {
    records: &'r Records,
    line: u64,
}

impl LineCounter<'_> {
    /// The line of the next record, whose text this is.
    fn next(&mut self, text: &[u8]) -> u64 {
        let line = self.line;
        self.line += memchr::memchr_iter(b'\n', text).count() as u64;
        line
    }

    fn parse(&self, kind: seqmill_io::records::Kind, number: usize) -> Result<Read<'_>, ReadFault> {
        Read::parse(kind, self.records.text(number))
    }
}

impl ReadSelector {
    fn error(fault: ReadFault, line: u64, record: u64, path: &Path) -> Error {
        Error::format(FormatKind::Sequence, format!("{} {}", fault.field, fault.reason))
            .at_path(path)
            .at_line(line + fault.line)
            .at_field(fault.field)
            .at_record(record)
    }

    fn refusal(&self, read: &Read<'_>) -> Option<Note> {
        let filter = &self.plan.filter;
        let length = read.length as u64;
        if length < filter.min_length || length > filter.max_length {
            return Some(Note::Length);
        }
        let name = read.name;
        let wanted = filter.name_in.as_ref().is_none_or(|set| set.contains(name));
        (!wanted).then_some(Note::Name)
    }

    /// Checks and filters the records of a run.
    pub(super) fn select(&self, run: ReadRun, mut lease: Lease) -> Result<Selected> {
        let kind = self.plan.kind;
        let ReadRun { first, mate, ordinal, file_end } = run;
        let input = first.unit.input;
        let path = self.paths.get(input as usize).cloned().unwrap_or_default();
        let skipped = match self.resume_after {
            Some((at, number)) if at == input && ordinal <= number => number + 1 - ordinal,
            _ => 0,
        };
        let (mut numbers, mut lines, mut weights) = (Vec::new(), Vec::new(), Vec::new());
        let mut notes = Vec::new();
        let mut error = None;
        let mut looked_at = first.count();
        let mut counter = LineCounter { records: &first, line: first.line };
        let mut mates = mate.as_ref().map(|m| LineCounter { records: m, line: m.line });
        for number in 0..first.count() {
            let line = counter.next(first.text(number));
            let mate_line = match (&mut mates, &mate) {
                (Some(counter), Some(mate)) => counter.next(mate.text(number)),
                _ => 0,
            };
            if (number as u64) < skipped {
                continue;
            }
            let record = ordinal + number as u64;
            let result = counter
                .parse(kind, number)
                .map_err(|fault| Self::error(fault, line, record, &path))
                .and_then(|read| {
                    let other = mates.as_ref().map(|m| m.parse(kind, number)).transpose();
                    let other =
                        other.map_err(|f| Self::error(f, mate_line, record, &self.mate_path))?;
                    if let Some(other) = &other {
                        self.compare_names(&read, other, record, mate_line)?;
                    }
                    Ok((read, other))
                });
            let number = u32::try_from(number).unwrap_or(u32::MAX);
            match result {
                Err(found) => {
                    error = Some(found);
                    looked_at = number as usize + 1;
                    break;
                }
                Ok((read, other)) => {
                    if let Some(note) = self.refusal(&read) {
                        notes.push((number, note));
                        continue;
                    }
                    numbers.push(number);
                    lines.push((line, mate_line));
                    weights.push(self.weight(&read, other.as_ref()));
                }
            }
        }
        let held = 4 * numbers.capacity() + 16 * lines.capacity() + 4 * weights.capacity();
        lease.resize(held as u64 + 16 * notes.capacity() as u64 + 4 * first.bounds.len() as u64)?;
        let starts =
            numbers.iter().filter_map(|n| first.bounds.get(*n as usize).copied()).collect();
        Ok(Selected {
            unit: Arc::clone(&first.unit),
            starts,
            voffsets: None,
            weights,
            numbers: Some(numbers.clone()),
            ordinal,
            runs: Vec::new(),
            descents: Vec::new(),
            notes,
            looked_at: u32::try_from(looked_at).unwrap_or(u32::MAX),
            file_end,
            summary: None,
            error,
            behind: false,
            reads: Some(Box::new(ReadRows { first, mate, numbers, lines })),
            _lease: lease,
        })
    }

    fn compare_names(
        &self,
        read: &Read<'_>,
        other: &Read<'_>,
        record: u64,
        line: u64,
    ) -> Result<()> {
        if template_name(read.name) == template_name(other.name) {
            return Ok(());
        }
        let show = |name: &[u8]| String::from_utf8_lossy(name).into_owned();
        let (one, two) = (show(read.name), show(other.name));
        Err(Error::format(FormatKind::Sequence, format!("name {two:?} is not the mate of {one:?}"))
            .at_path(&self.mate_path)
            .at_line(line)
            .at_field("name")
            .at_record(record))
    }

    /// About the Arrow bytes of a row.
    fn weight(&self, read: &Read<'_>, other: Option<&Read<'_>>) -> u32 {
        let bytes = |read: &Read<'_>| read.length + read.quality.len();
        let text = read.name.len() + read.description.map_or(0, <[u8]>::len);
        let sum = text + bytes(read) + other.map_or(0, bytes);
        u32::try_from(sum as u64 + self.plan.fixed).unwrap_or(u32::MAX)
    }
}
