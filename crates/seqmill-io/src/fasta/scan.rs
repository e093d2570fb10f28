//! Finding the contigs of FASTA text, as `samtools faidx` finds them (htslib `faidx.c`): records
//! without lines are left out.

use super::fai::{FaiIndex, FaiRecord};
use super::{STRAY_RETURN, trim_returns};
use memchr::memchr;
use seqmill_base::{Error, FormatKind, Result};

/// Longest name; a file without line ends must not be taken in as one.
const NAME_MAX_BYTES: usize = 1 << 20;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// At the beginning of a line outside of sequence: blank lines and `>` may follow.
    Outside,
    /// Behind a carriage return of a blank line.
    BlankReturn,
    /// Within a name.
    Name,
    /// Behind a name.
    HeaderRest,
    /// At the beginning of a line of sequence.
    LineStart,
    /// Within a line of sequence.
    Line,
}

/// Takes FASTA text in pieces and gives the contigs.
#[derive(Debug)]
pub struct FaiScanner {
    state: State,
    records: Vec<FaiRecord>,
    current: FaiRecord,
    /// A record with lines of sequence is not stored yet.
    pending: bool,
    /// Bytes and bases of the line that is read now.
    line: (u64, u64),
    /// The piece before ended with a carriage return.
    held_return: bool,
    name: Vec<u8>,
    position: u64,
    line_number: u64,
}

impl Default for FaiScanner {
    fn default() -> Self {
        Self {
            state: State::Outside,
            records: Vec::new(),
            current: FaiRecord::default(),
            pending: false,
            line: (0, 0),
            held_return: false,
            name: Vec::new(),
            position: 0,
            line_number: 1,
        }
    }
}

/// C's `isspace`.
fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | 9..=13)
}

impl FaiScanner {
    /// Takes the next piece.
    pub fn push(&mut self, data: &[u8]) -> Result<()> {
        let mut rest = data;
        while let Some(&byte) = rest.first() {
            let used = match self.state {
                State::Outside => self.outside(byte)?,
                State::BlankReturn => self.blank_return(byte)?,
                State::Name => self.name(rest)?,
                State::HeaderRest => self.header_rest(rest)?,
                State::LineStart => self.line_start(byte),
                State::Line => self.line(rest)?,
            };
            self.position += used as u64;
            rest = rest.get(used..).unwrap_or_default();
        }
        Ok(())
    }

    /// The contigs, once all pieces were taken.
    pub fn finish(mut self) -> Result<FaiIndex> {
        match self.state {
            State::Line => self.end_line()?,
            State::Name | State::HeaderRest => {
                let name = String::from_utf8_lossy(&self.name).into_owned();
                return Err(self.wrong(format!("the last entry {name:?} has no sequence")));
            }
            State::Outside | State::BlankReturn | State::LineStart => {}
        }
        self.store();
        Ok(FaiIndex::new(self.records))
    }

    fn wrong(&self, what: impl Into<String>) -> Error {
        Error::format(FormatKind::Sequence, what).at_line(self.line_number)
    }

    fn outside(&mut self, byte: u8) -> Result<usize> {
        match byte {
            b'>' => self.begin_name(),
            b'\n' => self.line_number += 1,
            b'\r' => self.state = State::BlankReturn,
            b'@' => return Err(self.wrong("this is FASTQ where FASTA is needed")),
            // Behind the first header there is an offset.
            _ if self.records.is_empty() && self.current.offset == 0 => {
                return Err(self.wrong("text stands before the first >; this is not FASTA"));
            }
            _ => {
                let shown = char::from(byte).escape_default();
                return Err(self.wrong(format!(
                    "unexpected \"{shown}\" behind a short or blank line: all lines of a contig \
                     but its last must have one length",
                )));
            }
        }
        Ok(1)
    }

    fn blank_return(&mut self, byte: u8) -> Result<usize> {
        match byte {
            b'\n' => {
                self.line_number += 1;
                self.state = State::Outside;
            }
            b'\r' => {}
            _ => return Err(self.wrong(format!("text {STRAY_RETURN}"))),
        }
        Ok(1)
    }

    /// Carriage returns of a header may stand before a line feed only. `piece` is a part of it, the
    /// line feed left out.
    fn check_returns(&mut self, piece: &[u8], ended: bool) -> Result<()> {
        let text = trim_returns(piece);
        if (self.held_return && !text.is_empty()) || memchr(b'\r', text).is_some() {
            return Err(self.wrong(format!("text {STRAY_RETURN}")));
        }
        self.held_return = !ended && (self.held_return || text.len() < piece.len());
        Ok(())
    }

    fn begin_name(&mut self) {
        self.state = State::Name;
        self.name.clear();
    }

    fn name(&mut self, rest: &[u8]) -> Result<usize> {
        for (i, &byte) in rest.iter().enumerate() {
            if byte == b'\n' {
                self.begin_sequence(i + 1);
                return Ok(i + 1);
            }
            if !is_space(byte) {
                self.name.push(byte);
                if self.name.len() > NAME_MAX_BYTES {
                    return Err(self.wrong("the name of a contig is longer than 1 MiB"));
                }
            } else if !self.name.is_empty() || byte == b'\r' {
                self.state = State::HeaderRest;
                return Ok(i);
            }
        }
        Ok(rest.len())
    }

    fn header_rest(&mut self, rest: &[u8]) -> Result<usize> {
        let end = memchr(b'\n', rest);
        let length = end.unwrap_or(rest.len());
        self.check_returns(rest.get(..length).unwrap_or_default(), end.is_some())?;
        let used = end.map_or(length, |end| end + 1);
        if end.is_some() {
            self.begin_sequence(used);
        }
        Ok(used)
    }

    /// A header ended; its sequence begins behind `used` bytes of the rest.
    fn begin_sequence(&mut self, used: usize) {
        self.store();
        self.state = State::LineStart;
        self.line_number += 1;
        self.current = FaiRecord {
            name: std::mem::take(&mut self.name),
            offset: self.position + used as u64,
            ..FaiRecord::default()
        };
    }

    fn line_start(&mut self, byte: u8) -> usize {
        match byte {
            b'\n' => {
                self.state = State::Outside;
                self.line_number += 1;
                1
            }
            b'>' => {
                self.begin_name();
                1
            }
            _ => {
                self.state = State::Line;
                self.pending = true;
                self.line = (0, 0);
                0
            }
        }
    }

    fn line(&mut self, rest: &[u8]) -> Result<usize> {
        let end = memchr(b'\n', rest);
        let piece = rest.get(..end.unwrap_or(rest.len())).unwrap_or_default();
        let bases = count_graphic(piece);
        if bases < piece.len() as u64
            && let Some(byte) =
                piece.iter().find(|byte| !byte.is_ascii_graphic() && !is_space(**byte))
        {
            return Err(self.wrong(format!("byte {byte:#04x} is neither a base nor white space")));
        }
        self.line.0 += piece.len() as u64;
        self.line.1 += bases;
        if end.is_some() {
            self.end_line()?;
        }
        Ok(piece.len() + usize::from(end.is_some()))
    }

    /// The line end counts, also where the file ends without one.
    fn end_line(&mut self) -> Result<()> {
        let (width, bases) = (self.line.0 + 1, self.line.1);
        self.current.length += bases;
        self.state = State::LineStart;
        if self.current.line_width == 0 {
            self.current.line_width = width;
            self.current.line_bases = bases;
        } else if self.current.line_width < width || self.current.line_bases < bases {
            let name = String::from_utf8_lossy(&self.current.name).into_owned();
            return Err(self.wrong(format!("different line lengths in contig {name:?}")));
        } else if self.current.line_width > width || self.current.line_bases > bases {
            // Behind a line with fewer bases, be it as long as the others, no base is where the
            // index says.
            self.state = State::Outside;
        }
        self.line_number += 1;
        Ok(())
    }

    fn store(&mut self) {
        if std::mem::take(&mut self.pending) {
            self.records.push(std::mem::take(&mut self.current));
        }
    }
}

/// Bytes that C's `isgraph` accepts.
fn count_graphic(bytes: &[u8]) -> u64 {
    // Sums of at most 255 bytes fit a byte: the compiler makes wide instructions of it.
    bytes
        .chunks(255)
        .map(|chunk| {
            let sum: u8 = chunk.iter().map(|b| u8::from((0x21..=0x7e).contains(b))).sum();
            u64::from(sum)
        })
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scan(text: &[u8], piece: usize) -> Result<String> {
        let mut scanner = FaiScanner::default();
        for part in text.chunks(piece) {
            scanner.push(part)?;
        }
        Ok(String::from_utf8(scanner.finish()?.to_bytes()).unwrap())
    }

    #[test]
    fn lines_of_one_length_have_as_many_bases() {
        for (text, lines) in [
            (&b">a\r\nACGT\r\nAC T\r\nACGT\r\n"[..], "unexpected"),
            (b">a\nACGT\nA\xfdT\n", "byte 0xfd"),
            (b">a\nACGT\nA\0T\n", "byte 0x00"),
            (b">a\nACGT\nAC T\nACGT\n", "unexpected"),
            (b">a\nAC T\nACGT\n", "different line lengths"),
            (b">a\nA C G\nACGT\n", "different line lengths"),
        ] {
            assert!(scan(text, 100).unwrap_err().to_string().contains(lines), "{text:?}");
        }
        // The last line may have fewer.
        assert_eq!(scan(b">a\nACGT\nAC T\n>b\nA\n", 3).unwrap(), "a\t7\t3\t4\t5\nb\t1\t16\t1\t2\n");
    }

    /// What samtools 1.16 wrote for these texts.
    #[test]
    fn contigs_are_found_as_samtools_finds_them() {
        for (text, expected) in [
            (">a x\nACGT\nAC\n>b\nA", "a\t6\t5\t4\t5\nb\t1\t16\t1\t2\n"),
            (">a\r\nACGT\r\nAC\r\n", "a\t6\t4\t4\t6\n"),
            (">s1\nA\n>s2\n>s3\nC\n>\n", "s1\t1\t4\t1\t2\ns3\t1\t14\t1\t2\n"),
            (">\nN\n> s10\nC\n", "\t1\t2\t1\t2\ns10\t1\t10\t1\t2\n"),
            (">a\nACGT \nAC\n\n\n>b\nG\n", "a\t6\t3\t4\t6\nb\t1\t17\t1\t2\n"),
            ("", ""),
        ] {
            for piece in [1, 2, 3, 1000] {
                assert_eq!(scan(text.as_bytes(), piece).unwrap(), expected, "{text:?} {piece}");
            }
        }
    }

    #[test]
    fn carriage_returns_of_headers_stand_before_line_feeds() {
        for (text, line) in [
            (">a\rACGT\r>b\rAC\r", 1),
            (">a x\ry\nACGT\n", 1),
            (">\ra\nACGT\n", 1),
            (">a\nAC\n\n\r>b\n", 4),
        ] {
            for piece in [1, 2, 3, 1000] {
                let error = scan(text.as_bytes(), piece).unwrap_err();
                assert!(error.message().ends_with(STRAY_RETURN), "{text:?} {piece}");
                assert_eq!(error.place().line, Some(line), "{text:?} {piece}");
            }
        }
        for text in [">a x\r\r\nAC\r\r\n\r\r\n", ">a\r\nAC\r", ">a\nAC\n\n\r", ">a\nAC\rGT\n"] {
            for piece in [1, 2, 3, 1000] {
                assert!(scan(text.as_bytes(), piece).is_ok(), "{text:?} {piece}");
            }
        }
    }

    #[test]
    fn lines_of_different_lengths_are_refused() {
        for text in [
            ">a\nAC\nACGT\n",
            ">a\nACGT\nAC\nACGT\n",
            ">a\nAC\n\nAC\n",
            "ACGT\n",
            "@r\nA\n+\nI\n",
            ">a",
        ] {
            for piece in [1, 1000] {
                let error = scan(text.as_bytes(), piece).unwrap_err();
                assert_eq!(
                    error.kind(),
                    seqmill_base::ErrorKind::Format(FormatKind::Sequence),
                    "{text:?}"
                );
            }
        }
    }

    #[test]
    fn what_is_no_fasta_is_told_as_such() {
        for text in ["ACGT\n", "\n\nACGT\n>a\nA\n", "\u{fffd}\0"] {
            assert!(scan(text.as_bytes(), 1).unwrap_err().to_string().contains("not FASTA"));
        }
        let error = scan(b">a\n\nACGT\n", 1).unwrap_err().to_string();
        assert!(error.contains("behind a short or blank line"), "{error}");
    }

    #[test]
    fn graphic_bytes_are_counted() {
        let all: Vec<u8> = (0..=255).cycle().take(2560).collect();
        assert_eq!(count_graphic(&all), 94 * 10);
    }
}
