//! The BAM header (`SAMv1 §4.2`): text and the binary reference list.

use seqmill_base::{Error, FormatKind, Result};
use std::fmt::Write;

/// One reference sequence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reference {
    /// Name.
    pub name: String,
    /// Length in bases.
    pub length: u64,
}

/// Text and references of a file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Header {
    /// The SAM header text, cut at the first NUL, with `@SQ` lines made up if it had none.
    pub text: String,
    /// References in order; the binary list where there is one.
    pub references: Vec<Reference>,
}

/// What can be said after some of the header's bytes.
pub enum HeaderProgress {
    /// The header and the number of bytes it takes.
    Done(Header, usize),
    /// At least so many bytes are needed.
    Need(usize),
}

fn damaged(what: String) -> Error {
    Error::format(FormatKind::Header, what)
}

impl Header {
    /// Parses the header from the beginning of inflated data. Nothing is allocated by a claimed
    /// length: the caller supplies bytes until they are enough or the file ends.
    pub fn parse(data: &[u8]) -> Result<HeaderProgress> {
        let known = data.len().min(4);
        if data.get(..known) != super::MAGIC.get(..known) {
            return Err(Error::format(
                FormatKind::NotAlignments,
                "not alignments: the inflated data do not begin with the BAM magic",
            ));
        }
        let number = |at: usize| -> Option<i32> {
            data.get(at..)?.first_chunk::<4>().map(|b| i32::from_le_bytes(*b))
        };
        let Some(text_bytes) = number(4) else { return Ok(HeaderProgress::Need(8)) };
        let text_bytes = usize::try_from(text_bytes)
            .map_err(|_| damaged(format!("the header text claims a length of {text_bytes}")))?;
        let mut at = 8 + text_bytes;
        let Some(count) = number(at) else { return Ok(HeaderProgress::Need(at + 4)) };
        let count = usize::try_from(count)
            .map_err(|_| damaged(format!("the header claims {count} references")))?;
        at += 4;
        let mut references = Vec::new();
        for i in 0..count {
            let Some(name_bytes) = number(at) else {
                // Each reference takes 9 bytes at least.
                return Ok(HeaderProgress::Need(at + 9 * (count - i)));
            };
            let length = usize::try_from(name_bytes).ok().filter(|n| *n >= 1).ok_or_else(|| {
                damaged(format!("the name of reference {i} claims a length of {name_bytes}"))
            })?;
            let (name_at, size_at) = (at + 4, at + 4 + length);
            let Some(size) = number(size_at) else { return Ok(HeaderProgress::Need(size_at + 4)) };
            let size = u64::try_from(size)
                .map_err(|_| damaged(format!("reference {i} claims a length of {size}")))?;
            let name = data.get(name_at..size_at).unwrap_or_default();
            let Some((0, name)) = name.split_last() else {
                return Err(damaged(format!("the name of reference {i} does not end in NUL")));
            };
            let name = std::str::from_utf8(name)
                .map_err(|_| damaged(format!("the name of reference {i} is not UTF-8")))?;
            references.push(Reference { name: name.to_owned(), length: size });
            at = size_at + 4;
        }
        let text = data.get(8..8 + text_bytes).unwrap_or_default();
        let text = text.split(|b| *b == 0).next().unwrap_or_default();
        let text = String::from_utf8_lossy(text).into_owned();
        Ok(HeaderProgress::Done(Self::with_lines(text, references), at))
    }

    /// A header of the given text, to which `@SQ` lines are added if it has none.
    pub fn with_lines(mut text: String, references: Vec<Reference>) -> Self {
        if !text.lines().any(|line| line.starts_with("@SQ\t")) && !references.is_empty() {
            if !text.is_empty() && !text.ends_with('\n') {
                text.push('\n');
            }
            for reference in &references {
                let _ = writeln!(text, "@SQ\tSN:{}\tLN:{}", reference.name, reference.length);
            }
        }
        Self { text, references }
    }

    /// The header as BAM data, as the parser reads it.
    pub fn to_bytes(&self) -> Vec<u8> {
        let size = |n: usize| u32::try_from(n).unwrap_or(u32::MAX).to_le_bytes();
        let mut bytes = super::MAGIC.to_vec();
        bytes.extend(size(self.text.len()));
        bytes.extend(self.text.as_bytes());
        bytes.extend(size(self.references.len()));
        for reference in &self.references {
            bytes.extend(size(reference.name.len() + 1));
            bytes.extend(reference.name.as_bytes());
            bytes.push(0);
            bytes.extend(u32::try_from(reference.length).unwrap_or(u32::MAX).to_le_bytes());
        }
        bytes
    }

    /// Value of `SO` in the `@HD` line.
    pub fn sort_order(&self) -> Option<&str> {
        let line = self.text.lines().next().filter(|line| line.starts_with("@HD\t"))?;
        line.split('\t').find_map(|field| field.strip_prefix("SO:"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example() -> Header {
        let reference = |name: &str, length| Reference { name: name.into(), length };
        Header::with_lines(
            "@HD\tVN:1.6\tSO:coordinate\n".into(),
            vec![reference("a", 10), reference("bb", 20)],
        )
    }

    #[test]
    fn round_trip_and_every_prefix_asks_for_more() {
        let header = example();
        assert!(header.text.ends_with("@SQ\tSN:bb\tLN:20\n"));
        assert_eq!(header.sort_order(), Some("coordinate"));
        let bytes = header.to_bytes();
        for cut in 0..bytes.len() {
            match Header::parse(&bytes[..cut]).unwrap() {
                HeaderProgress::Need(n) => assert!(n > cut && n <= bytes.len()),
                HeaderProgress::Done(..) => panic!("done at {cut}"),
            }
        }
        match Header::parse(&bytes).unwrap() {
            HeaderProgress::Done(parsed, n) => assert_eq!((parsed, n), (header, bytes.len())),
            HeaderProgress::Need(_) => panic!(),
        }
    }

    #[test]
    fn impossible_lengths_are_refused() {
        let mut bytes = example().to_bytes();
        bytes[4..8].copy_from_slice(&(-1_i32).to_le_bytes());
        assert!(Header::parse(&bytes).is_err());
        assert!(Header::parse(b"CRAM").is_err());
    }
}
