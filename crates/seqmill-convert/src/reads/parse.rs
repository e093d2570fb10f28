//! One record of FASTA or FASTQ as its parts.

use memchr::{memchr, memchr_iter};
use seqmill_io::fasta::{STRAY_RETURN, trim_returns};
use seqmill_io::records::Kind;

/// A fault: how many lines behind the first of the record, which field, and what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ReadFault {
    pub line: u64,
    pub field: &'static str,
    pub reason: &'static str,
}

/// The parts of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Read<'r> {
    /// Up to the first white space.
    pub name: &'r [u8],
    /// What follows, without white space at its ends.
    pub description: Option<&'r [u8]>,
    /// FASTQ: the bases. FASTA: all lines with their ends.
    pub sequence: &'r [u8],
    /// Empty in FASTA.
    pub quality: &'r [u8],
    /// Bases.
    pub length: usize,
}

const fn fault(line: u64, field: &'static str, reason: &'static str) -> ReadFault {
    ReadFault { line, field, reason }
}

fn split_line(text: &[u8]) -> (&[u8], &[u8]) {
    let (line, rest) = match memchr(b'\n', text) {
        Some(end) => (text.get(..end).unwrap_or_default(), text.get(end + 1..).unwrap_or_default()),
        None => (text, &[][..]),
    };
    (line.strip_suffix(b"\r").unwrap_or(line), rest)
}

fn split_name(line: &[u8]) -> (&[u8], Option<&[u8]>) {
    let end = line.iter().position(u8::is_ascii_whitespace).unwrap_or(line.len());
    let (name, rest) = line.split_at(end);
    let description = rest.trim_ascii();
    (name, (!description.is_empty()).then_some(description))
}

impl<'r> Read<'r> {
    /// Reads the text of one record: four lines of FASTQ, or a FASTA record up to the next one.
    pub(super) fn parse(kind: Kind, text: &'r [u8]) -> Result<Self, ReadFault> {
        if kind == Kind::Fastq { Self::fastq(text) } else { Self::fasta(text) }
    }

    fn fastq(text: &'r [u8]) -> Result<Self, ReadFault> {
        let (first, rest) = split_line(text);
        let Some(head) = first.strip_prefix(b"@") else {
            return Err(fault(0, "name", "is not on a line that begins with @"));
        };
        if memchr(b'\r', head).is_some() {
            return Err(fault(0, "header", STRAY_RETURN));
        }
        let (sequence, rest) = split_line(rest);
        let (plus, rest) = split_line(rest);
        let Some(again) = plus.strip_prefix(b"+") else {
            return Err(fault(2, "separator", "is not a line that begins with +"));
        };
        if !again.is_empty() && again != head {
            return Err(fault(2, "separator", "repeats another name than that of the record"));
        }
        let (quality, _) = split_line(rest);
        if !sequence.iter().all(u8::is_ascii_graphic) {
            return Err(fault(1, "sequence", "holds characters other than ! to ~"));
        }
        if !quality.iter().all(u8::is_ascii_graphic) {
            return Err(fault(3, "quality", "holds characters other than ! to ~"));
        }
        if quality.len() != sequence.len() {
            return Err(fault(3, "quality", "has another length than the sequence"));
        }
        let (name, description) = split_name(head);
        check_text(name, description)?;
        Ok(Self { name, description, sequence, quality, length: sequence.len() })
    }

    fn fasta(text: &'r [u8]) -> Result<Self, ReadFault> {
        let (first, sequence) = split_line(text);
        let Some(head) = first.strip_prefix(b">") else {
            return Err(fault(0, "name", "is not on a line that begins with >"));
        };
        let head = trim_returns(head);
        if memchr(b'\r', head).is_some() {
            return Err(fault(0, "header", STRAY_RETURN));
        }
        let (name, description) = split_name(head);
        check_text(name, description)?;
        let length = sequence.iter().filter(|b| b.is_ascii_graphic()).count();
        // White space within and behind lines is passed over, as samtools does.
        let white = |b: &u8| matches!(b, b' ' | b'\t' | b'\r' | b'\n' | 0x0b | 0x0c);
        if length + sequence.iter().filter(|b| white(b)).count() != sequence.len() {
            let odd = sequence.iter().position(|b| !b.is_ascii_graphic() && !white(b)).unwrap_or(0);
            let before = sequence.get(..odd).unwrap_or_default();
            let line = 1 + memchr_iter(b'\n', before).count() as u64;
            return Err(fault(line, "sequence", "holds characters other than ! to ~"));
        }
        Ok(Self { name, description, sequence, quality: &[], length })
    }

    /// Appends the bases without ends of lines.
    pub(super) fn append_sequence(&self, out: &mut Vec<u8>) {
        if self.sequence.len() == self.length {
            out.extend_from_slice(self.sequence);
            return;
        }
        for line in self.sequence.split(|b| *b == b'\n') {
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            if line.iter().all(u8::is_ascii_graphic) {
                out.extend_from_slice(line);
            } else {
                out.extend(line.iter().copied().filter(u8::is_ascii_graphic));
            }
        }
    }
}

fn check_text(name: &[u8], description: Option<&[u8]>) -> Result<(), ReadFault> {
    if std::str::from_utf8(name).is_err() {
        return Err(fault(0, "name", "is not UTF-8"));
    }
    if description.is_some_and(|d| std::str::from_utf8(d).is_err()) {
        return Err(fault(0, "description", "is not UTF-8"));
    }
    Ok(())
}

/// The name without `/1` or `/2`, which old mates have.
pub(super) fn template_name(name: &[u8]) -> &[u8] {
    name.strip_suffix(b"/1").or_else(|| name.strip_suffix(b"/2")).unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fastq_has_four_lines() {
        let read = Read::parse(Kind::Fastq, b"@r1 a b\r\nACGT\r\n+\r\nIII!\r\n").unwrap();
        assert_eq!((read.name, read.description), (&b"r1"[..], Some(&b"a b"[..])));
        assert_eq!((read.sequence, read.quality), (&b"ACGT"[..], &b"III!"[..]));
        assert!(Read::parse(Kind::Fastq, b"@r\nA\n+r\nI").is_ok(), "no end of line at the end");
        assert!(Read::parse(Kind::Fastq, b"@r\n\n+\n\n").is_ok(), "an empty read");
        for (text, line, field) in [
            (&b"r\nA\n+\nI\n"[..], 0, "name"),
            (b"@r\nA\nI\n+\n", 2, "separator"),
            (b"@r\nA\n+q\nI\n", 2, "separator"),
            (b"@r\nA C\n+\nIII\n", 1, "sequence"),
            (b"@r\nAC\n+\nI\n", 3, "quality"),
            (b"@r\nA\n+\n\x7f\n", 3, "quality"),
            (b"@\xff\nA\n+\nI\n", 0, "name"),
            (b"@r\rx\nA\n+\nI\n", 0, "header"),
        ] {
            let fault = Read::parse(Kind::Fastq, text).unwrap_err();
            assert_eq!((fault.line, fault.field), (line, field));
        }
    }

    #[test]
    fn fasta_has_any_number_of_lines() {
        let read = Read::parse(Kind::Fasta, b">s x\nAC\r\nGT \n\n \tN").unwrap();
        assert_eq!((read.name, read.description, read.length), (&b"s"[..], Some(&b"x"[..]), 5));
        let mut out = Vec::new();
        read.append_sequence(&mut out);
        assert_eq!(out, b"ACGTN");
        let empty = Read::parse(Kind::Fasta, b">").unwrap();
        assert_eq!((empty.name, empty.length), (&b""[..], 0));
        let fault = Read::parse(Kind::Fasta, b">a\rACGT\r>b\rAC\r").unwrap_err();
        assert_eq!((fault.line, fault.field, fault.reason), (0, "header", STRAY_RETURN));
        let read = Read::parse(Kind::Fasta, b">s x\r\r\nA\rC\r\r\n\r\nG\r").unwrap();
        assert_eq!((read.description, read.length), (Some(&b"x"[..]), 3));
        let fault = Read::parse(Kind::Fasta, b">s\nAC\nG\x00\n").unwrap_err();
        assert_eq!((fault.line, fault.field), (2, "sequence"));
    }

    #[test]
    fn mates_may_be_numbered() {
        assert_eq!(template_name(b"r/1"), template_name(b"r/2"));
        assert_ne!(template_name(b"r/1"), template_name(b"q/1"));
    }
}
