//! Header lines and what the specification asks of them (`SAMv1 §1.3`).

use crate::bam::{Header, Reference};
use hashbrown::HashMap;
use rustc_hash::FxBuildHasher;
use seqmill_base::{Error, FormatKind, Result};
use std::borrow::Cow;

/// Longest reference (`SAMv1 §1.3`, `LN`).
const LENGTH_MAX: u64 = i32::MAX as u64;

/// Platforms that `PL` may name.
const PLATFORMS: [&str; 12] = [
    "CAPILLARY",
    "DNBSEQ",
    "ELEMENT",
    "HELICOS",
    "ILLUMINA",
    "IONTORRENT",
    "LS454",
    "ONT",
    "PACBIO",
    "SINGULAR",
    "SOLID",
    "ULTIMA",
];

/// Values of `SO` and `GO`.
const ORDERS: [&str; 4] = ["unknown", "unsorted", "queryname", "coordinate"];
const GROUPS: [&str; 3] = ["none", "query", "reference"];

/// A header read from text.
#[derive(Debug, Default)]
pub struct SamHeader {
    /// Text and references.
    pub header: Header,
    /// Lines of the header.
    pub lines: u64,
    /// What breaks the specification but can be read all the same.
    pub warnings: Vec<String>,
}

/// Characters of a value that a message shows.
const SHOWN_CHARS: usize = 80;

type Names = HashMap<String, u64, FxBuildHasher>;

/// Whether a line that begins a file is one of a header: `@`, two letters, then TAB or the end.
pub fn is_header_line(line: &[u8]) -> bool {
    match line {
        [b'@', a, b] | [b'@', a, b, b'\t' | b'\r', ..] => {
            a.is_ascii_alphabetic() && b.is_ascii_alphanumeric()
        }
        _ => false,
    }
}

impl SamHeader {
    /// Reads the lines of a header. What breaks the specification is an error if `strict` or if
    /// the references cannot be known, otherwise a warning.
    pub fn parse(text: &[u8], strict: bool) -> Result<Self> {
        let mut reader = Reader { strict, ..Reader::default() };
        let mut kept = String::with_capacity(text.len());
        for line in text.split_inclusive(|b| *b == b'\n') {
            let line = line.strip_suffix(b"\n").unwrap_or(line);
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            let line = String::from_utf8_lossy(line);
            reader.number += 1;
            reader.line(&line)?;
            kept.push_str(&line);
            kept.push('\n');
        }
        reader.check_references_between_lines()?;
        let header = Header { text: kept, references: reader.references };
        Ok(Self { header, lines: reader.number, warnings: reader.warnings })
    }
}

#[derive(Default)]
struct Reader {
    strict: bool,
    /// Number of the line, from 1.
    number: u64,
    references: Vec<Reference>,
    names: Names,
    alternatives: Vec<(String, usize, u64)>,
    groups: Names,
    programs: Names,
    previous: Vec<(String, u64)>,
    warnings: Vec<String>,
}

/// The TAB-separated fields of a line: two characters and a value.
type Tags<'l> = Vec<(&'l str, &'l str)>;

impl Reader {
    fn hard(line: u64, what: &str) -> Error {
        Error::format(FormatKind::Header, what.to_owned()).at_line(line)
    }

    /// A fault that leaves the header readable.
    fn soft(&mut self, line: u64, what: &str) -> Result<()> {
        if self.strict {
            return Err(Self::hard(line, what));
        }
        // One broken file must not make a warning for each of a million lines.
        if self.warnings.len() < 20 {
            self.warnings.push(format!("line {line}: {what}"));
        }
        Ok(())
    }

    fn line(&mut self, line: &str) -> Result<()> {
        let number = self.number;
        let (kind, rest) = line.split_once('\t').unwrap_or((line, ""));
        if kind == "@CO" {
            return Ok(());
        }
        let mut tags: Tags<'_> = Vec::new();
        for field in rest.split('\t').filter(|_| !rest.is_empty()) {
            match field.split_once(':') {
                Some((name, value)) if name.len() == 2 && !value.is_empty() => {
                    if tags.iter().any(|(n, _)| *n == name) {
                        self.soft(number, &format!("{} has {name} more than once", shown(kind)))?;
                    }
                    tags.push((name, value));
                }
                _ => self
                    .soft(number, &format!("{} has a field that is not TAG:VALUE", shown(kind)))?,
            }
        }
        match kind {
            "@HD" => self.first_line(&tags),
            "@SQ" => self.reference(&tags),
            "@RG" => self.read_group(&tags),
            "@PG" => self.program(&tags),
            // Lines of other kinds are for the use of programs.
            _ => Ok(()),
        }
    }

    fn first_line(&mut self, tags: &Tags<'_>) -> Result<()> {
        let number = self.number;
        if number != 1 {
            self.soft(number, "@HD is not the first line")?;
        }
        let version = get(tags, "VN").unwrap_or("");
        let numeric = |s: &str| !s.is_empty() && s.bytes().all(|b| b.is_ascii_digit());
        if !version.split_once('.').is_some_and(|(major, minor)| numeric(major) && numeric(minor)) {
            self.soft(number, "@HD has no VN of the form 1.6")?;
        }
        let order = get(tags, "SO").unwrap_or("unknown");
        if !ORDERS.contains(&order) {
            self.soft(
                number,
                &format!("@HD has SO:{}, not one of {}", shown(order), ORDERS.join(", ")),
            )?;
        }
        if let Some(group) = get(tags, "GO")
            && !GROUPS.contains(&group)
        {
            self.soft(
                number,
                &format!("@HD has GO:{}, not one of {}", shown(group), GROUPS.join(", ")),
            )?;
        }
        if let Some(sub) = get(tags, "SS") {
            let mut parts = sub.split(':');
            let known = parts.next().is_some_and(|p| p != "unknown" && ORDERS.contains(&p));
            let word = |p: &str| {
                !p.is_empty() && p.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-".contains(&b))
            };
            let rest: Vec<&str> = parts.collect();
            if !known || rest.is_empty() || !rest.into_iter().all(word) {
                self.soft(
                    number,
                    &format!("@HD has SS:{}, not an order and its sub-orders", shown(sub)),
                )?;
            }
        }
        Ok(())
    }

    fn reference(&mut self, tags: &Tags<'_>) -> Result<()> {
        let number = self.number;
        let name = get(tags, "SN").ok_or_else(|| Self::hard(number, "@SQ has no SN"))?;
        let length = get(tags, "LN").ok_or_else(|| Self::hard(number, "@SQ has no LN"))?;
        let length: u64 =
            length.parse().ok().filter(|n| *n <= LENGTH_MAX).ok_or_else(|| {
                Self::hard(number, "LN of @SQ is not a number from 1 to 2147483647")
            })?;
        if length == 0 {
            self.soft(number, "LN of @SQ is 0")?;
        }
        if self.names.insert(name.to_owned(), number).is_some() {
            return Err(Self::hard(number, &format!("reference {} is there twice", shown(name))));
        }
        if !is_reference_name(name) {
            self.soft(
                number,
                &format!("reference name {:?} has characters SAM does not allow", shown(name)),
            )?;
        }
        let own = self.references.len();
        self.references.push(Reference { name: name.to_owned(), length });
        for other in get(tags, "AN").into_iter().flat_map(|an| an.split(',')) {
            if !is_reference_name(other) {
                let what = format!(
                    "alternative name {:?} has characters SAM does not allow",
                    shown(other)
                );
                self.soft(number, &what)?;
            }
            self.alternatives.push((other.to_owned(), own, number));
        }
        if let Some(sum) = get(tags, "M5") {
            // Upper case is what some programs write; the specification asks for lower case.
            let digit = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
            if sum.len() != 32 || !sum.bytes().all(digit) {
                self.soft(number, "M5 of @SQ is not 32 hexadecimal digits in lower case")?;
            }
        }
        if let Some(topology) = get(tags, "TP")
            && !["linear", "circular"].contains(&topology)
        {
            self.soft(
                number,
                &format!("@SQ has TP:{}, neither linear nor circular", shown(topology)),
            )?;
        }
        if let Some(place) = get(tags, "AH")
            && place != "*"
            && !is_reference_name(place.split(':').next().unwrap_or(""))
        {
            self.soft(number, &format!("@SQ has AH:{}, neither * nor a place", shown(place)))?;
        }
        Ok(())
    }

    fn read_group(&mut self, tags: &Tags<'_>) -> Result<()> {
        let number = self.number;
        let Some(id) = get(tags, "ID") else { return self.soft(number, "@RG has no ID") };
        if self.groups.insert(id.to_owned(), number).is_some() {
            self.soft(number, &format!("read group {} is there twice", shown(id)))?;
        }
        if let Some(date) = get(tags, "DT")
            && !is_date(date)
        {
            self.soft(number, &format!("@RG has DT:{}, no date of ISO 8601", shown(date)))?;
        }
        if let Some(size) = get(tags, "PI")
            && !size.bytes().all(|b| b.is_ascii_digit())
        {
            self.soft(number, &format!("@RG has PI:{}, not a whole number", shown(size)))?;
        }
        // Every other real file names its platform in lower case: no reason for a warning.
        if let Some(platform) = get(tags, "PL")
            && self.strict
            && !PLATFORMS.contains(&platform)
        {
            self.soft(
                number,
                &format!("@RG has PL:{}, none of the known platforms", shown(platform)),
            )?;
        }
        Ok(())
    }

    fn program(&mut self, tags: &Tags<'_>) -> Result<()> {
        let number = self.number;
        let Some(id) = get(tags, "ID") else { return self.soft(number, "@PG has no ID") };
        if self.programs.insert(id.to_owned(), number).is_some() {
            self.soft(number, &format!("program {} is there twice", shown(id)))?;
        }
        if let Some(before) = get(tags, "PP") {
            self.previous.push((before.to_owned(), number));
        }
        Ok(())
    }

    /// What can only be checked when all lines are known.
    fn check_references_between_lines(&mut self) -> Result<()> {
        for (name, number) in std::mem::take(&mut self.previous) {
            if !self.programs.contains_key(&name) {
                self.soft(
                    number,
                    &format!("@PG has PP:{}, which is no program of the header", shown(&name)),
                )?;
            }
        }
        let mut seen: HashMap<String, usize, FxBuildHasher> = HashMap::default();
        for (number, reference) in self.references.iter().enumerate() {
            seen.insert(reference.name.clone(), number);
        }
        for (name, own, number) in std::mem::take(&mut self.alternatives) {
            if seen.insert(name.clone(), own).is_some_and(|other| other != own) {
                let what =
                    format!("alternative name {} belongs to another reference", shown(&name));
                self.soft(number, &what)?;
            }
        }
        Ok(())
    }
}

/// A value as messages show it: damage makes values of any length.
fn shown(value: &str) -> Cow<'_, str> {
    match value.char_indices().nth(SHOWN_CHARS) {
        Some((end, _)) => Cow::Owned(format!("{}…", value.get(..end).unwrap_or_default())),
        None => Cow::Borrowed(value),
    }
}

fn get<'l>(tags: &Tags<'l>, name: &str) -> Option<&'l str> {
    tags.iter().find(|(n, _)| *n == name).map(|(_, value)| *value)
}

/// `[0-9A-Za-z!#$%&+./:;?@^_|~-][0-9A-Za-z!#$%&*+./:;=?@^_|~-]*` (`SAMv1 §1.2.1`).
fn is_reference_name(name: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&*+./:;=?@^_|~-".contains(&b);
    let first = name.bytes().next().is_some_and(|b| b != b'*' && b != b'=');
    first && name.bytes().all(allowed)
}

/// A date, or date and time, as ISO 8601 has them: `2020-06-23`, `2020-06-23T12:13:47+01:00`.
fn is_date(text: &str) -> bool {
    let text = text.trim_end();
    let (date, time) = text.split_once('T').map_or((text, None), |(d, t)| (d, Some(t)));
    let number = |s: &str, low: u32, high: u32| {
        s.bytes().all(|b| b.is_ascii_digit())
            && s.parse::<u32>().is_ok_and(|n| (low..=high).contains(&n))
    };
    let digits: String = date.chars().filter(|c| *c != '-').collect();
    let date_fits = match (digits.get(..4), digits.get(4..6), digits.get(6..)) {
        (Some(year), Some(month), Some(day)) => {
            (date.len() == 8 || date.len() == 10)
                && day.len() == 2
                && number(year, 0, 9999)
                && number(month, 1, 12)
                && number(day, 1, 31)
        }
        _ => false,
    };
    let clock = |b: u8| b.is_ascii_digit() || b"+-:.,Z".contains(&b);
    date_fits && time.is_none_or(|t| t.len() >= 2 && t.bytes().all(clock))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_show_the_beginning_of_long_values() {
        let text = format!("@SQ\tSN:{}\tLN:7\n", "\u{f}".repeat(100_000));
        let parsed = SamHeader::parse(text.as_bytes(), false).unwrap();
        assert_eq!(parsed.header.text, text);
        let [warning] = &parsed.warnings[..] else { panic!("{} warnings", parsed.warnings.len()) };
        assert!(warning.len() < 500 && warning.contains("…\" has"), "{warning}");
    }

    #[test]
    fn references_are_read_in_order() {
        let text = b"@HD\tVN:1.6\r\n@SQ\tSN:b\tLN:7\r\n@CO\tx\n@SQ\tLN:9\tSN:a";
        let parsed = SamHeader::parse(text, true).unwrap();
        assert_eq!(parsed.lines, 4);
        assert_eq!(parsed.header.text, "@HD\tVN:1.6\n@SQ\tSN:b\tLN:7\n@CO\tx\n@SQ\tLN:9\tSN:a\n");
        let names: Vec<_> = parsed.header.references.iter().map(|r| r.name.as_str()).collect();
        assert_eq!(names, ["b", "a"]);
    }

    #[test]
    fn what_can_be_read_is_a_warning_unless_strict() {
        for text in [
            "@HD\tVN:1",
            "@HD\tVN:1.6\tSO:query",
            "@HD\tVN:1.6\tSS:unknown:MI",
            "@SQ\tSN:<ctg>\tLN:1",
            "@SQ\tSN:a\tLN:0",
            "@SQ\tSN:a\tLN:1\tTP:unknown",
            "@SQ\tSN:a\tLN:1\tAN:b\n@SQ\tSN:b\tLN:1",
            "@RG\tID:1\tPI:123.456",
            "@RG\tID:1\tDT:Tuesday",
            "@PG\tID:x\tPP:missing",
            "@CO\n@HD\tVN:1.6",
        ] {
            assert_eq!(
                SamHeader::parse(text.as_bytes(), false).unwrap().warnings.len(),
                1,
                "{text}"
            );
            let error = SamHeader::parse(text.as_bytes(), true).unwrap_err();
            assert_eq!(error.kind(), seqmill_base::ErrorKind::Format(FormatKind::Header));
            assert!(error.place().line.is_some());
        }
    }

    #[test]
    fn without_certain_references_there_is_no_header() {
        for text in
            ["@SQ\tLN:9", "@SQ\tSN:a", "@SQ\tSN:a\tLN:x", "@SQ\tSN:a\tLN:1\n@SQ\tSN:a\tLN:1"]
        {
            assert!(SamHeader::parse(text.as_bytes(), false).is_err(), "{text}");
        }
    }

    #[test]
    fn header_lines_are_told_from_records() {
        assert!(
            is_header_line(b"@HD\tVN:1.6") && is_header_line(b"@CO") && is_header_line(b"@R1\t")
        );
        assert!(!is_header_line(b"@read1\t0") && !is_header_line(b"r\t0") && !is_header_line(b"@"));
    }
}
