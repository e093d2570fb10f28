//! Lists of regions: one a line, or BED (`kmers.md` §6.1).
//!
//! Unlike a region string of an option, a line of a list must lie within its sequence: only an end
//! behind the sequence is taken back, with a warning.

use crate::gzip::GzipStream;
use crate::region::distance;
use crate::source::{IoMode, Source, open_source};
use hashbrown::HashMap;
use memchr::memchr;
use rustc_hash::FxBuildHasher;
use seqmill_base::{Error, FormatKind, Lease, Result};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Longest line of a list.
const LINE_MAX_BYTES: usize = 1 << 20;
/// Bytes read at once.
const STEP_BYTES: usize = 1 << 16;
/// Warnings of one kind that are told one by one.
const TOLD_WARNINGS: u64 = 10;
/// What a target takes beside its label.
const TARGET_BYTES: u64 = size_of::<Target>() as u64;

/// A region of a list, 0-based half-open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// Index of the sequence.
    pub reference: u32,
    /// First base.
    pub begin: u64,
    /// First base behind.
    pub end: u64,
    /// What the list says of it.
    pub label: Option<Box<str>>,
}

/// Why a region is none of the input.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reason {
    /// No sequence has its name.
    Unknown(String),
    /// Anything else.
    Other(String),
}

impl From<String> for Reason {
    fn from(text: String) -> Self {
        Self::Other(text)
    }
}

impl std::fmt::Display for Reason {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (Self::Unknown(text) | Self::Other(text)) = self;
        out.write_str(text)
    }
}

/// What a name stands for.
#[derive(Debug, Clone, Copy)]
struct Known {
    index: u32,
    length: u64,
    repeated: bool,
}

/// Names and lengths of the sequences that regions are of.
#[derive(Debug, Default)]
pub struct SequenceNames {
    known: HashMap<Box<str>, Known, FxBuildHasher>,
}

impl SequenceNames {
    /// The names in the order of the file.
    pub fn new<'n>(names: impl Iterator<Item = (&'n str, u64)>) -> Self {
        let mut known: HashMap<Box<str>, Known, FxBuildHasher> = HashMap::default();
        for (index, (name, length)) in names.enumerate() {
            let index = u32::try_from(index).unwrap_or(u32::MAX);
            let new = Known { index, length, repeated: false };
            known.entry(name.into()).and_modify(|k| k.repeated = true).or_insert(new);
        }
        Self { known }
    }

    fn get(&self, name: &str) -> Result<Option<Known>, Reason> {
        match self.known.get(name) {
            Some(known) if known.repeated => {
                Err(Reason::Other(format!("the name {name:?} is not unique")))
            }
            found => Ok(found.copied()),
        }
    }

    fn unknown(&self, name: &str) -> Reason {
        if name.is_empty() {
            return Reason::Other("the name is empty".to_owned());
        }
        if self.known.is_empty() {
            return Reason::Unknown(format!("unknown sequence {name:?}; the input has none"));
        }
        let mut near: Vec<(usize, u32, &str)> = Vec::new();
        // The order of the map does not matter: the result is sorted by distance and place.
        for (text, known) in &self.known {
            if known.index < 10_000 {
                near.push((distance(text, name), known.index, text));
            }
        }
        near.sort_unstable();
        let near: Vec<&str> = near.into_iter().take(3).map(|(_, _, name)| name).collect();
        Reason::Unknown(format!("unknown sequence {name:?}; closest: {}", near.join(", ")))
    }

    /// Reads `NAME`, `NAME:START`, `NAME:START-END` or `{NAME}:…`; 1-based, both ends included,
    /// commas in numbers allowed. The longest known name that matches wins. Tells whether the end
    /// was taken back to that of the sequence.
    pub fn parse(&self, text: &str) -> Result<(Target, bool), Reason> {
        if let Some((name, range)) = text.strip_prefix('{').and_then(|t| t.split_once('}')) {
            let known = self.get(name)?.ok_or_else(|| self.unknown(name))?;
            return match range.strip_prefix(':') {
                Some(range) => Ok(known.range(range)?),
                None if range.is_empty() => Ok(known.range("1-")?),
                None => Err(Reason::Other("a range begins with a colon".to_owned())),
            };
        }
        if let Some(known) = self.get(text)? {
            return Ok((known.whole(), false));
        }
        for (at, _) in text.rmatch_indices(':') {
            let (name, range) = text.split_at(at);
            if let Some(known) = self.get(name)? {
                return Ok(known.range(range.get(1..).unwrap_or_default())?);
            }
        }
        let name = text.rsplit_once(':').map_or(text, |(name, _)| name);
        Err(self.unknown(name))
    }

    /// Reads the columns of a line of BED.
    fn parse_bed(&self, line: &str) -> Result<(Target, bool), Reason> {
        let fields: Vec<&str> = if line.contains('\t') {
            line.split('\t').collect()
        } else {
            line.split_ascii_whitespace().collect()
        };
        let [name, begin, end, rest @ ..] = fields.as_slice() else {
            return Err(Reason::Other("a line of BED has three columns at least".to_owned()));
        };
        let known = self.get(name)?.ok_or_else(|| self.unknown(name))?;
        let (begin, end) = (number(begin.trim())?, number(end.trim())?);
        let (mut target, clipped) = known.stretch(begin, end)?;
        target.label = rest.first().map(|l| l.trim()).filter(|l| !l.is_empty()).map(Box::from);
        Ok((target, clipped))
    }
}

impl Known {
    fn whole(self) -> Target {
        Target { reference: self.index, begin: 0, end: self.length, label: None }
    }

    /// `START`, `START-` or `START-END`, 1-based inclusive.
    fn range(self, range: &str) -> Result<(Target, bool), String> {
        let (begin, end) = match range.split_once('-') {
            None => (number(range)?, self.length),
            Some((begin, "")) => (number(begin)?, self.length),
            Some((begin, end)) => (number(begin)?, number(end)?),
        };
        if begin == 0 {
            return Err("position 0 stands before the first base, which is 1".to_owned());
        }
        // The whole of a sequence without bases.
        if begin == 1 && self.length == 0 {
            return Ok((self.whole(), end > 0));
        }
        if begin > end && end != self.length {
            return Err("end is before start".to_owned());
        }
        self.stretch(begin - 1, end)
    }

    fn stretch(self, begin: u64, end: u64) -> Result<(Target, bool), String> {
        if begin >= self.length {
            let length = self.length;
            return Err(format!("start is behind the end of the sequence of {length} bases"));
        }
        if begin >= end {
            return Err("end is before start".to_owned());
        }
        let clipped = end > self.length;
        let end = end.min(self.length);
        Ok((Target { reference: self.index, begin, end, label: None }, clipped))
    }
}

fn number(text: &str) -> Result<u64, String> {
    const WHOLE: &str = "positions are whole numbers, as in chr1:1,000-2,000";
    let digits: String = text.chars().filter(|c| *c != ',').collect();
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return Err(WHOLE.to_owned());
    }
    digits.parse().map_err(|_| "the number does not fit 64 bits".to_owned())
}

/// The regions of a job, in the order given, duplicates included.
#[derive(Debug)]
pub struct RegionList {
    /// The regions.
    pub targets: Vec<Target>,
    /// What was noticed.
    pub warnings: Vec<String>,
    /// Bad lines that were left out.
    pub skipped: u64,
    clipped: u64,
    lease: Lease,
    /// A bad line is left out instead of being an error.
    skip_bad: bool,
}

impl RegionList {
    /// A list without regions; what it holds is charged to `lease`.
    pub fn new(lease: Lease, skip_bad: bool) -> Self {
        let (targets, warnings) = (Vec::new(), Vec::new());
        Self { targets, warnings, skipped: 0, clipped: 0, lease, skip_bad }
    }

    /// Adds the region string of an option.
    pub fn add(&mut self, text: &str, names: &SequenceNames) -> Result<()> {
        match names.parse(text) {
            Ok(found) => self.push(found, text, ""),
            Err(reason) if self.skip_bad => {
                self.skip(format!("region {text:?} is left out: {reason}"));
                Ok(())
            }
            Err(Reason::Unknown(reason)) => {
                Err(Error::not_found(format!("region {text:?}: {reason}")))
            }
            Err(reason) => Err(Error::input(format!("region {text:?}: {reason}"))),
        }
    }

    /// Adds the lines of a file, which may be compressed; `bed` decides what its name does not.
    pub fn add_file(
        &mut self,
        path: &Path,
        bed: Option<bool>,
        names: &SequenceNames,
    ) -> Result<()> {
        let bed = bed.unwrap_or_else(|| is_bed(path));
        let mut lines = Lines::open(path)?;
        while let Some((line, number)) = lines.next_line()? {
            let text = line.trim();
            if text.is_empty() || text.starts_with('#') {
                continue;
            }
            let found = if bed {
                names.parse_bed(text)
            } else {
                let (region, label) = text.split_once('\t').unwrap_or((text, ""));
                names.parse(region.trim()).map(|(mut target, clipped)| {
                    let label = label.split('\t').next().unwrap_or_default().trim();
                    target.label = Some(label).filter(|l| !l.is_empty()).map(Box::from);
                    (target, clipped)
                })
            };
            // A sequence may be called like that, and even begin so.
            if bed && found.is_err() && matches!(first_word(text), "track" | "browser") {
                continue;
            }
            let place = format!("{}: line {number}: ", path.display());
            match found {
                Ok(found) => self.push(found, text, &place)?,
                Err(reason) if self.skip_bad => {
                    self.skip(format!("{place}{text:?} is left out: {reason}"));
                }
                Err(reason) => {
                    let shown: String = text.chars().take(200).collect();
                    let text = format!("{shown:?}: {reason}");
                    return Err(Error::format(FormatKind::Other, text)
                        .at_path(path)
                        .at_line(number));
                }
            }
        }
        Ok(())
    }

    fn push(&mut self, found: (Target, bool), text: &str, place: &str) -> Result<()> {
        let (target, clipped) = found;
        if clipped {
            self.clipped += 1;
            if self.clipped <= TOLD_WARNINGS {
                let end = target.end;
                self.warnings.push(format!(
                    "{place}{text:?} ends behind its sequence and is taken to end at {end}"
                ));
            }
        }
        if self.targets.len() == self.targets.capacity() {
            let more = self.targets.capacity().max(64);
            self.lease.resize(self.lease.bytes() + TARGET_BYTES * more as u64)?;
            self.targets.reserve_exact(more);
        }
        let label = target.label.as_ref().map_or(0, |l| l.len() as u64);
        if label > 0 {
            self.lease.resize(self.lease.bytes() + label + 16)?;
        }
        self.targets.push(target);
        Ok(())
    }

    fn skip(&mut self, text: String) {
        self.skipped += 1;
        if self.skipped <= TOLD_WARNINGS {
            self.warnings.push(text);
        }
    }

    /// Says how many warnings were not told one by one.
    pub fn close_warnings(&mut self) {
        for (count, what) in
            [(self.clipped, "regions end behind their sequence"), (self.skipped, "bad regions")]
        {
            if count > TOLD_WARNINGS {
                self.warnings.push(format!("{count} {what} in all"));
            }
        }
    }
}

fn first_word(text: &str) -> &str {
    text.split([' ', '\t']).next().unwrap_or_default()
}

/// Whether the name of a file says that it is BED.
pub fn is_bed(path: &Path) -> bool {
    let has = |path: &Path, suffix: &str| {
        path.extension().is_some_and(|own| own.eq_ignore_ascii_case(suffix))
    };
    let packed = has(path, "gz") || has(path, "bgz");
    has(path, "bed") || (packed && has(&path.with_extension(""), "bed"))
}

/// The lines of a small text file, plain or gzip.
struct Lines {
    source: Arc<dyn Source>,
    gzip: Option<GzipStream>,
    path: PathBuf,
    read: u64,
    data: Vec<u8>,
    at: usize,
    number: u64,
    ended: bool,
}

impl Lines {
    fn open(path: &Path) -> Result<Self> {
        let source = open_source(path, IoMode::Read)?;
        let mut magic = [0; 2];
        let got = source.read_at(&mut magic, 0)?;
        let gzip =
            (got == 2 && magic == [0x1f, 0x8b]).then(|| GzipStream::new(Arc::clone(&source)));
        Ok(Self {
            path: source.path().to_path_buf(),
            source,
            gzip,
            read: 0,
            data: Vec::new(),
            at: 0,
            number: 0,
            ended: false,
        })
    }

    /// The next line with its number, from 1, without its end.
    fn next_line(&mut self) -> Result<Option<(String, u64)>> {
        loop {
            let rest = self.data.get(self.at..).unwrap_or_default();
            let end = memchr(b'\n', rest);
            if end.is_none() && !self.ended {
                if rest.len() > LINE_MAX_BYTES {
                    return Err(self.fault("the line is longer than 1 MiB"));
                }
                self.fill()?;
                continue;
            }
            if rest.is_empty() {
                return Ok(None);
            }
            let line = end.map_or(rest, |end| rest.get(..end).unwrap_or_default());
            self.number += 1;
            let line = std::str::from_utf8(line).map(str::to_owned);
            self.at += end.map_or(rest.len(), |end| end + 1);
            return match line {
                Ok(line) if line.contains('\0') => {
                    self.number -= 1;
                    Err(self.fault("the line holds a NUL byte"))
                }
                Ok(line) => Ok(Some((line, self.number))),
                Err(_) => {
                    self.number -= 1;
                    Err(self.fault("the line is not UTF-8"))
                }
            };
        }
    }

    fn fault(&self, text: &str) -> Error {
        Error::format(FormatKind::Other, text).at_path(&self.path).at_line(self.number + 1)
    }

    fn fill(&mut self) -> Result<()> {
        self.data.drain(..self.at);
        self.at = 0;
        let got = if let Some(gzip) = &mut self.gzip {
            gzip.append(&mut self.data, STEP_BYTES)?
        } else {
            let kept = self.data.len();
            self.data.resize(kept + STEP_BYTES, 0);
            let room = self.data.get_mut(kept..).unwrap_or_default();
            let got = self.source.read_at(room, self.read)?;
            self.data.truncate(kept + got);
            self.read += got as u64;
            got
        };
        self.ended = got == 0;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names() -> SequenceNames {
        SequenceNames::new(
            [("chr1", 35), ("a", 100), ("a:1-5", 10), ("empty", 0), ("x", 1), ("x", 2)].into_iter(),
        )
    }

    fn read(text: &str) -> Result<(u32, u64, u64, bool), String> {
        let found = names().parse(text).map_err(|reason| reason.to_string());
        found.map(|(t, clipped)| (t.reference, t.begin, t.end, clipped))
    }

    #[test]
    fn every_form_is_read() {
        assert_eq!(read("chr1"), Ok((0, 0, 35, false)));
        assert_eq!(read("chr1:1-35"), Ok((0, 0, 35, false)));
        assert_eq!(read("chr1:1,0-2,0"), Ok((0, 9, 20, false)));
        assert_eq!(read("chr1:35"), Ok((0, 34, 35, false)));
        assert_eq!(read("chr1:3-"), Ok((0, 2, 35, false)));
        assert_eq!(read("chr1:30-99"), Ok((0, 29, 35, true)));
        assert_eq!(read("a:1-5"), Ok((2, 0, 10, false)));
        assert_eq!(read("{a}:1-5"), Ok((1, 0, 5, false)));
        assert_eq!(read("a:1-5:2-3"), Ok((2, 1, 3, false)));
        assert_eq!(read("empty"), Ok((3, 0, 0, false)));
    }

    #[test]
    fn wrong_ones_say_why() {
        for (text, reason) in [
            ("chr1:0-35", "position 0 stands before"),
            ("chr1:36-35", "behind the end"),
            ("chr1:9-5", "end is before start"),
            ("chr1:-5-10", "whole numbers"),
            ("chr1:1-2-3", "whole numbers"),
            ("chr1:a-b", "whole numbers"),
            ("chr1:", "whole numbers"),
            (":1-35", "empty"),
            ("nosuch:1-10", "unknown sequence \"nosuch\""),
            ("chr1:36-40", "behind the end"),
            ("chr1:1-99999999999999999999", "64 bits"),
            ("x:1-1", "not unique"),
        ] {
            let error = read(text).unwrap_err();
            assert!(error.contains(reason), "{text}: {error}");
        }
    }
}
