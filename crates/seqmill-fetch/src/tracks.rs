//! The `.idx` file of a track: contigs and where their bytes begin.

use seqmill_base::{Error, FormatKind, Result};
use seqmill_io::fasta::FaiRecord;
use std::path::Path;

/// Reads `CONTIG<TAB>OFFSET` lines; the last has an empty name and the total size.
///
/// A track has no lines: each contig is one, as long as 64 bits allow.
pub(crate) fn parse_idx(text: &[u8], path: &Path) -> Result<Vec<FaiRecord>> {
    let wrong = |line: usize, what: &str| {
        Error::format(FormatKind::IndexFormat, what).at_path(path).at_line(line as u64 + 1)
    };
    let mut records: Vec<FaiRecord> = Vec::new();
    let mut ended = false;
    for (i, line) in text.split(|&b| b == b'\n').enumerate() {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if line.is_empty() {
            continue;
        }
        if ended {
            return Err(wrong(i, "a line follows the one with the total size"));
        }
        let tab = line.iter().rposition(|&b| b == b'\t');
        let (name, number) =
            tab.map(|at| line.split_at(at)).ok_or_else(|| wrong(i, "line has no tab"))?;
        let offset: u64 = std::str::from_utf8(number.get(1..).unwrap_or_default())
            .ok()
            .and_then(|n| n.parse().ok())
            .ok_or_else(|| wrong(i, "the offset is not a whole number"))?;
        if let Some(last) = records.last_mut() {
            last.length = offset
                .checked_sub(last.offset)
                .ok_or_else(|| wrong(i, "offsets are not in order"))?;
            last.line_bases = last.length.max(1);
            last.line_width = last.line_bases;
        }
        if name.is_empty() {
            ended = true;
        } else {
            records.push(FaiRecord { name: name.to_vec(), offset, ..FaiRecord::default() });
        }
    }
    if !ended {
        return Err(wrong(0, "the last line, with the total size, is missing"));
    }
    Ok(records)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_differences() {
        let read = parse_idx(b"a\t0\nb\t40\n\t100\n", Path::new("x")).unwrap();
        assert_eq!((read[0].length, read[1].length, read[1].offset), (40, 60, 40));
        for text in [&b"a\t0\nb\t40\n"[..], b"a\t5\nb\t4\n\t9\n", b"a 0\n\t1\n", b"\t1\na\t1\n"] {
            assert!(parse_idx(text, Path::new("x")).is_err());
        }
    }
}
