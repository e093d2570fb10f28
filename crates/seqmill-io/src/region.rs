//! Region strings and intervals.

use crate::bam::Reference;
use seqmill_base::{Error, Result};

/// A stretch of one reference, 0-based half-open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Interval {
    /// Index of the reference.
    pub reference: u32,
    /// First base.
    pub begin: u64,
    /// First base behind.
    pub end: u64,
}

/// What a region string means for a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Region {
    /// A stretch of a reference.
    Interval(Interval),
    /// `*`: records without a reference.
    Unplaced,
}

/// The result of reading a region string.
pub struct ParsedRegion {
    /// The region.
    pub region: Region,
    /// A warning where the string could be read in two ways.
    pub warning: Option<String>,
}

fn position(reference: &[Reference], name: &str) -> Option<u32> {
    reference.iter().position(|r| r.name == name).and_then(|i| u32::try_from(i).ok())
}

/// Names that resemble `name`, for the message.
fn closest<'r>(references: &'r [Reference], name: &str) -> Vec<&'r str> {
    let mut ranked: Vec<(usize, &str)> = references
        .iter()
        .take(10_000)
        .map(|r| (distance(&r.name, name), r.name.as_str()))
        .collect();
    ranked.sort_unstable();
    ranked.into_iter().take(3).map(|(_, name)| name).collect()
}

/// Edit distance between two short names.
pub fn distance(a: &str, b: &str) -> usize {
    let b: Vec<u8> = b.bytes().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.bytes().enumerate() {
        let mut diagonal = i;
        let mut left = i + 1;
        if let Some(first) = row.first_mut() {
            *first = left;
        }
        for (y, cell) in b.iter().zip(row.iter_mut().skip(1)) {
            let value = (diagonal + usize::from(x != *y)).min(*cell + 1).min(left + 1);
            diagonal = *cell;
            *cell = value;
            left = value;
        }
    }
    row.last().copied().unwrap_or(0)
}

/// The index of a reference by its name, or an error with names that resemble it.
pub fn find_reference(references: &[Reference], name: &str) -> Result<u32> {
    position(references, name).ok_or_else(|| {
        let near = closest(references, name);
        let hint = if near.is_empty() {
            "the file has no references".to_owned()
        } else {
            format!("closest: {}", near.join(", "))
        };
        Error::not_found(format!("reference {name:?} is not in the file; {hint}"))
    })
}

/// Reads `name`, `name:begin`, `name:begin-end`, `name:-end`, `{name}:…` or `*`; 1-based, ends
/// included, commas in numbers ignored. A name that exists as a whole wins over a parse.
pub fn parse_region(text: &str, references: &[Reference]) -> Result<ParsedRegion> {
    if text == "*" {
        return Ok(ParsedRegion { region: Region::Unplaced, warning: None });
    }
    let whole = |reference: u32| Interval { reference, begin: 0, end: u64::MAX };
    let split = match text.strip_prefix('{').and_then(|t| t.split_once('}')) {
        Some((name, "")) => return Ok(interval(whole(find_reference(references, name)?))),
        Some((name, range)) => Some((name, range.strip_prefix(':').unwrap_or(range))),
        None => text.rsplit_once(':'),
    };
    if let Some(reference) = position(references, text) {
        let ambiguous = split
            .filter(|(name, range)| position(references, name).is_some() && bounds(range).is_ok());
        let warning = ambiguous.map(|(name, _)| {
            format!("region {text:?} is read as a reference name; write {{{name}}}:… for a range")
        });
        let region = Region::Interval(whole(reference));
        return Ok(ParsedRegion { region, warning });
    }
    let Some((name, range)) = split else {
        return Ok(interval(whole(find_reference(references, text)?)));
    };
    let (begin, end) = match bounds(range) {
        Ok(bounds) => bounds,
        // `a:b` that is no range may be a misspelt name with a colon.
        Err(_) if position(references, name).is_none() => {
            return Ok(interval(whole(find_reference(references, text)?)));
        }
        Err(reason) => return Err(Error::input(format!("region {text:?}: {reason}"))),
    };
    let reference = find_reference(references, name)?;
    Ok(interval(Interval { reference, begin, end }))
}

fn interval(interval: Interval) -> ParsedRegion {
    ParsedRegion { region: Region::Interval(interval), warning: None }
}

/// `begin`, `begin-end`, `begin-` or `-end` as 0-based half-open.
fn bounds(range: &str) -> Result<(u64, u64), &'static str> {
    let number = |text: &str| -> Result<u64, &'static str> {
        let digits: String = text.chars().filter(|c| *c != ',').collect();
        if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
            return Err("positions are whole numbers, 1-based, as in chr1:1,000-2,000");
        }
        digits.parse().map_err(|_| "position is too large")
    };
    let (begin, end) = match range.split_once('-') {
        None => (number(range)?, u64::MAX),
        Some(("", end)) => (1, number(end)?),
        Some((begin, "")) => (number(begin)?, u64::MAX),
        Some((begin, end)) => (number(begin)?, number(end)?),
    };
    // samtools view takes it for 1, samtools faidx for no base at all.
    let begin =
        begin.checked_sub(1).ok_or("position 0 stands before the first base, which is 1")?;
    if begin >= end {
        return Err("begin is behind end");
    }
    Ok((begin, end))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Region> {
        let names = ["chr1", "chr2", "HLA:1", "a:1-5", "a"];
        let references: Vec<Reference> =
            names.iter().map(|n| Reference { name: (*n).into(), length: 1000 }).collect();
        parse_region(text, &references).map(|p| p.region)
    }

    fn stretch(reference: u32, begin: u64, end: u64) -> Region {
        Region::Interval(Interval { reference, begin, end })
    }

    #[test]
    fn all_forms_are_read() {
        assert_eq!(read("chr1").unwrap(), stretch(0, 0, u64::MAX));
        assert_eq!(read("chr1:1,000-2,000").unwrap(), stretch(0, 999, 2000));
        assert_eq!(read("chr2:500").unwrap(), stretch(1, 499, u64::MAX));
        assert_eq!(read("chr2:-7").unwrap(), stretch(1, 0, 7));
        assert_eq!(read("HLA:1").unwrap(), stretch(2, 0, u64::MAX));
        assert_eq!(read("{HLA:1}:3-4").unwrap(), stretch(2, 2, 4));
        assert_eq!(read("a:1-5").unwrap(), stretch(3, 0, u64::MAX));
        assert_eq!(read("{a}:1-5").unwrap(), stretch(4, 0, 5));
        assert_eq!(read("*").unwrap(), Region::Unplaced);
    }

    #[test]
    fn wrong_ones_say_what_is_wrong() {
        assert!(read("chr1:9-3").unwrap_err().to_string().contains("begin is behind end"));
        assert!(read("chr3").unwrap_err().to_string().contains("closest: chr1, chr2"));
        assert!(read("chr1:x-3").is_err());
        for text in ["chr1:0-5", "chr1:0", "chr1:0-", "chr1:0-0", "{a}:0-5", "chr1:00,0-5"] {
            assert!(read(text).unwrap_err().to_string().contains("position 0 stands"), "{text}");
        }
    }
}
