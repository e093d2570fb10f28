//! What an input is, by its content (`bam.md` §2).

use super::{Container, Head, Kind, OpenOptions};
use crate::bam;
use crate::cram;
use crate::fasta::{STRAY_RETURN, trim_returns};
use crate::sam::is_header_line;
use memchr::{memchr, memchr_iter};
use seqmill_base::{Error, FormatKind, Result};

/// Bytes looked at, unless the first line is longer.
const LOOK_BYTES: usize = 4096;
/// Fields of a SAM line before the tags, and those before the sequence, which may be long.
const SAM_FIELDS: usize = 11;
const SAM_FIELDS_BEFORE_SEQ: usize = 10;

/// Content that is known to be something else: its first bytes and its name.
const KNOWN: [(&[u8], &str); 24] = [
    (b"BCF\x02", "BCF (variants)"),
    (b"##fileformat=VCF", "VCF (variants)"),
    (b"##gff", "GFF (annotation)"),
    (b"BAI\x01", "an index of a BAM file"),
    (b"CSI\x01", "an index (CSI)"),
    (b"TBI\x01", "an index (tabix)"),
    (b"SMCI", "a chunk index"),
    (b"PAR1", "Parquet"),
    (b"ARROW1", "Arrow"),
    (b"PK\x03\x04", "a ZIP archive: unpack it first"),
    (b"BZh", "bzip2: decompress it first"),
    (b"\xfd7zXZ", "xz: decompress it first"),
    (b"\x28\xb5\x2f\xfd", "zstd: decompress it first"),
    (b"\x04\x22\x4d\x18", "lz4: decompress it first"),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive: unpack it first"),
    (b"\x89HDF", "HDF5 (fast5, h5ad or the like)"),
    (b"NCBI.sra", "an SRA archive: take it out with fasterq-dump"),
    (b"\x8bPOD", "POD5 (raw signal)"),
    (b"SQLite format 3", "an SQLite database"),
    (b"%PDF", "PDF"),
    (b"\x89PNG", "an image"),
    (b"\x7fELF", "a program"),
    (b"<!DOCTYPE", "a web page: was the download refused?"),
    (b"<html", "a web page: was the download refused?"),
];

/// Tells what the bytes are.
pub(super) fn detect(head: &mut Head, options: &OpenOptions) -> Result<Kind> {
    head.fill(LOOK_BYTES)?;
    let data = head.data.as_slice();
    if data.is_empty() {
        return Err(Error::format(FormatKind::EmptyInput, "the input is empty"));
    }
    if data.starts_with(&bam::MAGIC) || (data.len() < 4 && bam::MAGIC.starts_with(data)) {
        return Ok(Kind::Bam);
    }
    if data.starts_with(&cram::MAGIC) {
        if head.container != Container::Plain {
            return Err(Error::format(
                FormatKind::NotAlignments,
                "CRAM inside of gzip cannot be read: decompress it first",
            ));
        }
        return Ok(Kind::Cram);
    }
    if data.first() == Some(&b'>') {
        // Such a file is one line: it must not be gathered as one.
        if trim_returns(first_line(data)).contains(&b'\r') {
            let what = format!("header {STRAY_RETURN}");
            return Err(Error::format(FormatKind::Sequence, what).at_line(1).at_field("header"));
        }
        return Ok(Kind::Fasta);
    }
    let first = data.first().copied().unwrap_or(0);
    if first == b'@' && !is_fastq_lines(data) && begins_header(first_line(data)) {
        return Ok(Kind::Sam);
    }
    if could_be_text(data) {
        // A long read makes a long line: enough of it must be seen to count the fields.
        while memchr(b'\n', &head.data).is_none() && !looks_like_sam(&head.data) {
            let want = 2 * head.data.len();
            if want > options.header_bytes || !head.fill(want)? {
                break;
            }
        }
        if looks_like_sam(&head.data) {
            return Ok(Kind::Sam);
        }
        if first == b'@' {
            return Ok(Kind::Fastq);
        }
    }
    Err(Error::format(FormatKind::NotAlignments, describe(head)))
}

fn first_line(data: &[u8]) -> &[u8] {
    let line = memchr(b'\n', data).and_then(|end| data.get(..end)).unwrap_or(data);
    line.strip_suffix(b"\r").unwrap_or(line)
}

/// Whether a file that begins with this line begins with a header: not where it may be the name of
/// a read whose other lines are missing.
fn begins_header(line: &[u8]) -> bool {
    let bare = matches!(line, b"@HD" | b"@SQ" | b"@RG" | b"@PG" | b"@CO");
    let letters = line.get(1..3).is_some_and(|code| code.iter().all(u8::is_ascii_alphabetic));
    bare || (is_header_line(line) && letters && line.contains(&b'\t'))
}

/// Whether the third line begins with `+` and the second one can be a sequence.
fn is_fastq_lines(data: &[u8]) -> bool {
    let mut ends = memchr_iter(b'\n', data);
    let (Some(first), Some(second)) = (ends.next(), ends.next()) else { return false };
    data.get(second + 1) == Some(&b'+')
        && !data.get(first + 1..second).unwrap_or_default().contains(&b'\t')
}

fn could_be_text(data: &[u8]) -> bool {
    let start = data.get(..data.len().min(LOOK_BYTES)).unwrap_or_default();
    !start.iter().any(|b| matches!(b, 0..=8 | 14..=31))
}

/// A line of at least 11 TAB-separated fields, the second of them a number.
fn looks_like_sam(data: &[u8]) -> bool {
    let complete = memchr(b'\n', data).is_some();
    let line = first_line(data);
    let mut fields = line.split(|b| *b == b'\t');
    let number = fields.nth(1).is_some_and(|f| !f.is_empty() && f.iter().all(u8::is_ascii_digit));
    let least = if complete { SAM_FIELDS } else { SAM_FIELDS_BEFORE_SEQ };
    number && 2 + fields.take(SAM_FIELDS).count() >= least
}

fn describe(head: &Head) -> String {
    const WANTED: &str = "not alignments or reads (BAM, SAM, CRAM, FASTA, FASTQ)";
    let data = head.data.as_slice();
    let start = data.get(..16).unwrap_or(data).to_ascii_uppercase();
    let known = KNOWN.iter().find(|(magic, _)| {
        data.starts_with(magic) || start.starts_with(&magic.to_ascii_uppercase())
    });
    let inside = if head.container == Container::Plain { "" } else { " inside of gzip" };
    if let Some((_, name)) = known {
        return format!("{WANTED}: it looks like {name}{inside}");
    }
    if data.iter().all(|b| *b == 0) {
        return format!("{WANTED}: nothing but zero bytes{inside}");
    }
    if could_be_text(data) {
        let line: String = String::from_utf8_lossy(first_line(data)).chars().take(40).collect();
        return format!("{WANTED}: text that begins {line:?}{inside}");
    }
    let bytes: Vec<String> = data.iter().take(8).map(|b| format!("{b:02x}")).collect();
    format!("{WANTED}: bytes that begin {}{inside}", bytes.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_sam_are_told_from_other_text() {
        assert!(looks_like_sam(b"r\t0\t*\t0\t0\t*\t*\t0\t0\t*\t*\n"));
        assert!(looks_like_sam(b"r\t0\t*\t0\t0\t*\t*\t0\t0\tACGT"), "cut inside the sequence");
        assert!(!looks_like_sam(b"r\tx\t*\t0\t0\t*\t*\t0\t0\t*\t*\n"));
        assert!(!looks_like_sam(b"chr1\t0\t100\n"));
    }

    #[test]
    fn a_name_alone_is_no_header() {
        for line in [&b"@HD\tVN:1.6"[..], b"@CO", b"@CO\thi", b"@xy\tz"] {
            assert!(begins_header(line));
        }
        for line in [&b"@r1"[..], b"@ab", b"@r1\tx", b"@abc\tx", b"@"] {
            assert!(!begins_header(line));
        }
    }

    #[test]
    fn fastq_may_look_like_a_header() {
        assert!(is_fastq_lines(b"@AB\nACGT\n+\nIIII\n"));
        assert!(!is_fastq_lines(b"@HD\tVN:1\n@SQ\tSN:a\n+r\t0\n"));
    }
}
