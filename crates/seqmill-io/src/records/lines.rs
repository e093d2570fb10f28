//! SAM: lines to records, in parallel, and then their numbers, in order.

use super::unit::{Joined, Stitched, TextRun, Unit};
use crate::bam::Fault;
use crate::bgzf::BlockMark;
use crate::sam::{LineParser, NOTICES};
use memchr::memchr;
use seqmill_base::pipeline::Item;
use seqmill_base::{Error, FormatKind, Lease, Result};
use std::path::PathBuf;
use std::sync::Arc;

/// A damaged line stands as a record of this length without a name, so that numbers stay right.
const PLACEHOLDER: [u8; 36] = {
    let mut bytes = [0; 36];
    bytes[0] = 32;
    bytes
};

/// What was read from lines, with numbers counted from the first line.
pub struct ParsedLines {
    stitched: Stitched,
    /// Line of the first notice of each kind.
    notices: [Option<u64>; NOTICES.len()],
    /// The first of the empty lines at the end.
    blank: Option<u64>,
    /// Line of the first record.
    line: u64,
}

/// Records, or lines that were read.
pub enum Parsed {
    /// Records that needed no reading.
    Records(Stitched),
    /// Records read from lines.
    Lines(Box<ParsedLines>),
}

impl Item for Parsed {
    fn bytes(&self) -> u64 {
        match self {
            Self::Records(stitched) => stitched.bytes(),
            Self::Lines(parsed) => parsed.stitched.bytes(),
        }
    }
}

/// Bytes that reading lines takes.
pub(super) fn lines_claim(joined: &Joined) -> u64 {
    match joined {
        Joined::Records(_) => 0,
        // Records, their starts and places; short numbers in arrays take more than their text.
        Joined::Text(run) => 2 * run.range.len() as u64 + 4096,
    }
}

fn line_error(fault: Fault, line: u64, unit: &Unit, at: usize) -> Error {
    let text = match fault.field {
        "tags" => fault.reason.to_owned(),
        field => format!("{field} {}", fault.reason),
    };
    let error = Error::format(fault.kind, text).at_line(line).at_field(fault.field);
    let place = unit.voffset(at).0;
    if unit.plain { error.at_offset(place) } else { error.at_voffset(place) }
}

/// Reads the lines of a run. With `skip_bad` damaged lines are noted, else the first ends it.
pub fn parse_lines(
    parser: &LineParser,
    run: &TextRun,
    skip_bad: bool,
    mut lease: Lease,
) -> Result<ParsedLines> {
    const EMPTY: Fault =
        Fault { kind: FormatKind::Sam, field: "line", reason: "is empty, but not at the end" };
    let text = run.unit.data.get(run.range.clone()).unwrap_or_default();
    let mut data = Vec::with_capacity(text.len() + text.len() / 8);
    let (mut starts, mut places) = (Vec::new(), Vec::new());
    let mut faults = Vec::new();
    let mut notices = [None; NOTICES.len()];
    let (mut blank, mut line) = (None, run.line);
    let mut at = run.range.start;
    while at < run.range.end {
        let rest = run.unit.data.get(at..run.range.end).unwrap_or_default();
        let end = memchr(b'\n', rest);
        let content = end.map_or(rest, |end| rest.get(..end).unwrap_or_default());
        let content = content.strip_suffix(b"\r").unwrap_or(content);
        let begin = at;
        at += end.map_or(rest.len(), |end| end + 1);
        if content.is_empty() {
            blank.get_or_insert((line, begin));
            line += 1;
            continue;
        }
        let number = u32::try_from(starts.len()).unwrap_or(u32::MAX);
        let start = u32::try_from(data.len()).unwrap_or(u32::MAX);
        let fault = match blank.take() {
            Some((line, begin)) if !skip_bad => Some((EMPTY, line, begin)),
            _ => match parser.parse(content, &mut data) {
                Ok(0) => None,
                Ok(found) => {
                    for (bit, first) in notices.iter_mut().enumerate() {
                        if found >> bit & 1 == 1 {
                            first.get_or_insert(line);
                        }
                    }
                    None
                }
                Err(fault) => Some((fault, line, begin)),
            },
        };
        starts.push(start);
        places.push(run.unit.voffset(begin).0);
        line += 1;
        if let Some((fault, line, begin)) = fault {
            data.extend_from_slice(&PLACEHOLDER);
            faults.push((number, fault, line_error(fault, line, &run.unit, begin)));
            if !skip_bad {
                blank = None;
                break;
            }
        }
    }
    let held = data.capacity() + 4 * starts.capacity() + 8 * places.capacity();
    lease.resize(held as u64)?;
    let offset = places.first().copied().unwrap_or(0);
    let unit = Unit {
        data,
        marks: vec![BlockMark { offset, start: 0 }],
        skew: 0,
        input: run.unit.input,
        plain: run.unit.plain,
        lease,
    };
    let places = Some(places);
    let (unit, file_end) = (Arc::new(unit), run.file_end);
    let stitched = Stitched { unit, starts, places, ordinal: 0, file_end, faults };
    Ok(ParsedLines { stitched, notices, blank: blank.map(|(line, _)| line), line: run.line })
}

/// Tells a warning.
type Warn = Box<dyn FnMut(String) + Send>;

/// Gives the records of lines their numbers.
pub struct LineNumberer {
    paths: Vec<PathBuf>,
    input: u32,
    /// Number of the next record in its input.
    ordinal: u64,
    /// An empty line: no record may follow.
    blank: Option<u64>,
    /// Kinds of notices that were told of this input.
    told: [bool; NOTICES.len()],
    warn: Warn,
}

impl LineNumberer {
    /// A numberer whose first record has the number `ordinal` in the input `input`.
    pub fn new(paths: Vec<PathBuf>, input: u32, ordinal: u64, warn: Warn) -> Self {
        Self { paths, input, ordinal, blank: None, told: [false; NOTICES.len()], warn }
    }

    /// Takes the next unit.
    pub fn number(&mut self, parsed: Parsed) -> Result<Option<Stitched>> {
        let input = match &parsed {
            Parsed::Records(stitched) => stitched.unit.input,
            Parsed::Lines(parsed) => parsed.stitched.unit.input,
        };
        if input != self.input {
            self.input = input;
            self.ordinal = 0;
            self.blank = None;
            self.told = [false; NOTICES.len()];
        }
        let parsed = match parsed {
            Parsed::Records(stitched) => return Ok(Some(stitched)),
            Parsed::Lines(parsed) => *parsed,
        };
        let path = self.paths.get(input as usize).cloned().unwrap_or_default();
        let mut stitched = parsed.stitched;
        if let (Some(line), false) = (self.blank, stitched.starts.is_empty()) {
            return Err(Error::format(FormatKind::Sam, "line is empty, but not at the end")
                .at_path(&path)
                .at_line(line)
                .at_field("line"));
        }
        if let Some(line) = parsed.blank {
            self.blank.get_or_insert(line);
        }
        for ((text, told), line) in NOTICES.iter().zip(&mut self.told).zip(parsed.notices) {
            if let Some(line) = line.filter(|_| !*told) {
                *told = true;
                (self.warn)(format!("{}: line {line}: {text}", path.display()));
            }
        }
        debug_assert!(parsed.line > 0);
        stitched.ordinal = self.ordinal;
        self.ordinal += stitched.starts.len() as u64;
        for (number, _, error) in &mut stitched.faults {
            let place = stitched.ordinal + u64::from(*number);
            *error = error.clone().at_record(place);
        }
        Ok((!stitched.starts.is_empty()).then_some(stitched))
    }
}
