//! The `.fai` index that `samtools faidx` writes: one line a contig, five columns.

use rustc_hash::FxBuildHasher;
use seqmill_base::{Error, FormatKind, Result};
use std::path::Path;

/// One contig of a FASTA file.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct FaiRecord {
    /// Name, empty for a bare `>`.
    pub name: Vec<u8>,
    /// Bases.
    pub length: u64,
    /// Offset of the first base in the uncompressed file.
    pub offset: u64,
    /// Bases of a full line.
    pub line_bases: u64,
    /// Bytes of a full line with its line end.
    pub line_width: u64,
}

impl FaiRecord {
    /// Uncompressed offset of base `x`; `x` must lie within the contig.
    pub fn position(&self, x: u64) -> u64 {
        let lines = x.checked_div(self.line_bases).unwrap_or(0);
        self.offset + lines * self.line_width + (x - lines * self.line_bases)
    }

    /// Offset behind the last base; `None` where there is none within 64 bits.
    pub fn checked_end(&self) -> Option<u64> {
        let Some(last) = self.length.checked_sub(1) else { return Some(self.offset) };
        let line = last.checked_div(self.line_bases)?;
        let within = last - line * self.line_bases + 1;
        line.checked_mul(self.line_width)?.checked_add(within)?.checked_add(self.offset)
    }
}

/// The contigs of a FASTA file, each name once.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct FaiIndex {
    /// In file order.
    pub records: Vec<FaiRecord>,
    /// Names that came again and were left out.
    pub duplicates: Vec<Vec<u8>>,
}

impl FaiIndex {
    /// Takes records in file order; of equal names the first stays, as in samtools.
    pub fn new(records: Vec<FaiRecord>) -> Self {
        let mut index = Self::default();
        let mut seen = hashbrown::HashSet::with_capacity_and_hasher(records.len(), FxBuildHasher);
        for record in records {
            if seen.insert(record.name.clone()) {
                index.records.push(record);
            } else {
                index.duplicates.push(record.name);
            }
        }
        index
    }

    /// The text of the `.fai` file.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut text = Vec::with_capacity(self.records.len() * 48);
        for record in &self.records {
            text.extend(&record.name);
            let FaiRecord { length, offset, line_bases, line_width, .. } = record;
            text.extend(format!("\t{length}\t{offset}\t{line_bases}\t{line_width}\n").into_bytes());
        }
        text
    }
}

/// Reads the text of a `.fai` file and checks that it can describe a file.
pub fn parse_fai(text: &[u8], path: &Path) -> Result<FaiIndex> {
    let mut records = Vec::with_capacity(text.len() / 48);
    for (i, line) in text.split(|&b| b == b'\n').enumerate() {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if line.is_empty() {
            continue;
        }
        let wrong = |what: &str| {
            Error::format(FormatKind::IndexFormat, what).at_path(path).at_line(i as u64 + 1)
        };
        records.push(parse_line(line).map_err(wrong)?);
    }
    check_order(&records, path)?;
    Ok(FaiIndex::new(records))
}

fn parse_line(line: &[u8]) -> Result<FaiRecord, &'static str> {
    let columns: Vec<&[u8]> = line.split(|&b| b == b'\t').collect();
    let (name, numbers) = match columns.as_slice() {
        // A sixth column is the offset of the qualities of FASTQ.
        [name, numbers @ ..] if numbers.len() == 4 || numbers.len() == 5 => (*name, numbers),
        _ => return Err("index line has not five columns separated by tabs"),
    };
    let mut values = [0_u64; 4];
    for (value, column) in values.iter_mut().zip(numbers) {
        *value = number(column).ok_or("index line has a column that is not a whole number")?;
    }
    let [length, offset, line_bases, line_width] = values;
    let record = FaiRecord { name: name.to_vec(), length, offset, line_bases, line_width };
    if length > 0 && line_bases == 0 {
        return Err("index line says 0 bases a line for a contig that has bases");
    }
    if line_width < line_bases {
        return Err("index line says fewer bytes than bases a line");
    }
    record.checked_end().ok_or("index line describes a contig beyond 64 bits")?;
    Ok(record)
}

fn number(text: &[u8]) -> Option<u64> {
    if text.is_empty() {
        return None;
    }
    text.iter().try_fold(0_u64, |sum, &b| {
        let digit = b.is_ascii_digit().then(|| u64::from(b - b'0'))?;
        sum.checked_mul(10)?.checked_add(digit)
    })
}

fn check_order(records: &[FaiRecord], path: &Path) -> Result<()> {
    let mut spans: Vec<(u64, u64, &FaiRecord)> = records
        .iter()
        .filter(|r| r.length > 0)
        .map(|r| (r.offset, r.checked_end().unwrap_or(u64::MAX), r))
        .collect();
    spans.sort_by_key(|span| (span.0, span.1));
    for pair in spans.windows(2) {
        if let [(begin, end, first), (next, next_end, second)] = pair
            && next < end
            // The same line twice is a repeated name, which is only left out.
            && !((begin, end) == (next, next_end) && first.name == second.name)
        {
            let (a, b) =
                (String::from_utf8_lossy(&first.name), String::from_utf8_lossy(&second.name));
            return Err(Error::format(
                FormatKind::IndexFormat,
                format!("index says that contigs {a:?} and {b:?} overlap"),
            )
            .at_path(path));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<FaiIndex> {
        parse_fai(text.as_bytes(), Path::new("x.fai"))
    }

    #[test]
    fn lines_make_the_round_trip() {
        let text = "a\t100\t3\t60\t61\n\t5\t200\t5\t7\n";
        let index = parse(text).unwrap();
        assert_eq!(index.records[0].position(60), 3 + 61);
        assert_eq!(index.records[1].name, b"");
        assert_eq!(index.to_bytes(), text.as_bytes());
        assert_eq!(parse(&text.replace('\n', "\r\n")).unwrap(), index);
        assert_eq!(parse("a\t5\t3\t5\t6\t20\n").unwrap().records.len(), 1);
    }

    #[test]
    fn damage_names_the_line() {
        for line in [
            "a 100\t3\t60\t61",
            "a\t100\t3\t0\t61",
            "a\t100\t3\t60\t59",
            "a\t1x\t3\t60\t61",
            "a\t\t3\t60\t61",
            "a\t18446744073709551615\t18446744073709551615\t60\t61",
            "a\t99999999999999999999\t3\t60\t61",
        ] {
            let error = parse(&format!("b\t1\t900\t1\t2\n{line}\n")).unwrap_err();
            assert_eq!(error.place().line, Some(2), "{line}");
        }
        assert!(parse("a\t100\t3\t60\t61\nb\t9\t50\t60\t61\n").is_err(), "overlap");
    }

    #[test]
    fn the_first_of_equal_names_stays() {
        let index = parse("a\t1\t3\t1\t2\nb\t1\t9\t1\t2\na\t1\t3\t1\t2\n").unwrap();
        assert_eq!((index.records.len(), index.duplicates.len()), (2, 1));
    }
}
