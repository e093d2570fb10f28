//! FASTA and FASTQ from front to back: one reader for every way they come packed.
//!
//! Text is taken in chunks (plain, gzip of any number of members, BGZF, a pipe) and given out in
//! [`Piece`]s in file order. Nothing is held but the chunk at hand and the header of the record,
//! so memory does not depend on the length of a line or record.

mod archive;
mod fasta;
mod fastq;
mod part;
mod text;

pub use part::{TextPart, plan_parts, text_places};

use crate::fasta::{OpenArchive, STRAY_RETURN, trim_returns};
use crate::source::Source;
use seqmill_base::budget::AccountId;
use seqmill_base::{Error, FormatKind, Job, Lease, Progress, Result};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use text::Text;

pub use archive::{
    archive_claim, input_file, input_fingerprint, is_archive_input, open_sequence, split_sample,
};

/// What the text is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SequenceFormat {
    /// Headers that begin with `>`, and lines of sequence.
    Fasta,
    /// Records of four lines.
    Fastq,
}

/// The next thing in the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Piece<'a> {
    /// A record begins.
    Start {
        /// The whole header line without its first character and line end.
        header: &'a [u8],
        /// Where the header line begins in the (inflated) text.
        offset: u64,
    },
    /// Bases of the record at hand, case kept, without line ends and blanks; never empty.
    Bases(&'a [u8]),
    /// Qualities of the record at hand, behind all of its bases; only if asked for.
    Qualities(&'a [u8]),
    /// The record ends.
    End {
        /// Its bases.
        bases: u64,
    },
}

/// How to read.
#[derive(Debug, Clone, Copy, Default)]
pub struct SequenceOptions {
    /// Threads that read ahead and inflate; 0 does it on the calling thread.
    pub threads: usize,
    /// Give [`Piece::Qualities`].
    pub qualities: bool,
    /// A BGZF file without its end marker is an error rather than a warning.
    pub strict: bool,
    /// How archives are opened; without, there are none.
    pub archives: Option<OpenArchive>,
}

/// The text of a file as it is, in chunks: plain, gzip or BGZF inflated.
pub struct TextStream {
    text: Text,
    job: Job,
}

impl TextStream {
    /// Opens `path`; of the options only threads and archives count.
    pub fn open(
        path: &Path,
        options: SequenceOptions,
        job: &Job,
        account: AccountId,
    ) -> Result<Self> {
        let source = open_sequence(path, options.archives, job, account)?;
        let text = Text::new(source, None, options.threads, job, account)?;
        Ok(Self { text, job: job.clone() })
    }

    /// Puts the next chunk into `chunk`; false at the end.
    pub fn next_chunk(&mut self, chunk: &mut Vec<u8>) -> Result<bool> {
        self.job.cancel.check()?;
        self.text.next_chunk(chunk)
    }
}

/// What one step of a parser found, as places in the chunk.
enum Step {
    Start,
    Bases(Range<usize>),
    Qualities(Range<usize>),
    End(u64),
    /// The chunk is used up.
    More,
}

/// Where a parser is between two bytes of the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Before the first line, or where a FASTQ record may begin.
    Between,
    /// In the header line.
    Header,
    /// At the beginning of a line of a FASTA record.
    LineStart,
    /// Within a line of bases.
    Line,
    /// At the beginning of the third line of a FASTQ record.
    PlusStart,
    /// Within it.
    Plus,
    /// Within the fourth line.
    Quality,
    /// The record is complete but its end was not given out yet.
    Complete,
}

/// The chunk at hand and what is known of the record at hand.
struct Cursor {
    chunk: Vec<u8>,
    at: usize,
    /// Offset of the chunk in the text.
    base: u64,
    state: State,
    header: Vec<u8>,
    header_lease: Lease,
    header_offset: u64,
    bases: u64,
    quality_bytes: u64,
    /// The chunk before ended with a CR that may belong to a line end.
    held_cr: bool,
    /// Line of the next byte, from 1.
    line: u64,
    records: u64,
    qualities: bool,
}

/// A fault at a byte of the chunk.
struct Fault {
    kind: FormatKind,
    at: usize,
    line: u64,
    field: &'static str,
    reason: String,
}

/// Reads a sequence file piece by piece.
pub struct SequenceStream {
    text: Text,
    cursor: Cursor,
    format: Option<SequenceFormat>,
    ended: bool,
    path: PathBuf,
    job: Job,
    told: u64,
    /// Lines and records are counted from the beginning of the file.
    from_begin: bool,
    strict: bool,
    warnings: Vec<String>,
}

impl SequenceStream {
    /// Opens `path`, which [`open_sequence`] may do. Buffers are reserved in `account`.
    pub fn open(
        path: &Path,
        options: SequenceOptions,
        job: &Job,
        account: AccountId,
    ) -> Result<Self> {
        Self::new(open_sequence(path, options.archives, job, account)?, options, job, account)
    }

    /// Reads `source`.
    pub fn new(
        source: Arc<dyn Source>,
        options: SequenceOptions,
        job: &Job,
        account: AccountId,
    ) -> Result<Self> {
        Self::of_part(source, None, options, job, account)
    }

    /// Reads a part of a FASTA file, or all of it (`part` is none). A part begins with what its
    /// first line is, be it within a record; what follows the part is given out as well, so that
    /// the reader may look beyond its end (see [`Self::next_placed`]).
    pub fn of_part(
        source: Arc<dyn Source>,
        part: Option<TextPart>,
        options: SequenceOptions,
        job: &Job,
        account: AccountId,
    ) -> Result<Self> {
        let path = source.path().to_path_buf();
        let header_lease = job.budget.must_reserve(account, 0)?;
        let text = Text::new(source, part, options.threads, job, account)?;
        let from_begin = part.is_none_or(|part| part.begin == 0);
        let cursor = Cursor {
            chunk: Vec::new(),
            at: 0,
            base: text.base(),
            state: if from_begin { State::Between } else { State::LineStart },
            header: Vec::new(),
            header_lease,
            header_offset: 0,
            bases: 0,
            quality_bytes: 0,
            held_cr: false,
            line: 1,
            records: 0,
            qualities: options.qualities,
        };
        Ok(Self {
            text,
            cursor,
            format: (!from_begin).then_some(SequenceFormat::Fasta),
            ended: false,
            path,
            job: job.clone(),
            told: 0,
            from_begin,
            strict: options.strict,
            warnings: Vec::new(),
        })
    }

    /// Bytes that a stream with so many threads holds at most, long headers aside.
    pub fn claim_bytes(threads: usize) -> u64 {
        text::claim_bytes(threads)
    }

    /// What the text is, once the first piece was given; `None` in a file without records.
    pub fn format(&self) -> Option<SequenceFormat> {
        self.format
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Records that have begun.
    pub fn records(&self) -> u64 {
        self.cursor.records
    }

    /// Bytes of the file (as it is stored) that were taken in.
    pub fn consumed(&self) -> u64 {
        self.told
    }

    /// What is odd but no error.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// The next piece, or `None` at the end of the file.
    #[inline]
    pub fn next_piece(&mut self) -> Result<Option<Piece<'_>>> {
        Ok(self.next_placed()?.map(|(piece, _)| piece))
    }

    /// The next piece, and whether it lies behind the part that is read.
    #[inline]
    pub fn next_placed(&mut self) -> Result<Option<(Piece<'_>, bool)>> {
        let step = loop {
            let step = match self.format {
                Some(SequenceFormat::Fasta) => self.cursor.fasta_step(),
                Some(SequenceFormat::Fastq) => self.cursor.fastq_step(),
                None => self.cursor.detect(&mut self.format),
            };
            match step {
                Ok(Step::More) => {
                    if !self.refill()? {
                        match self.finish()? {
                            Some(step) => break step,
                            None => return Ok(None),
                        }
                    }
                }
                Ok(step) => break step,
                Err(fault) => return Err(self.explain(&fault)),
            }
        };
        let chunk = |range: Range<usize>| self.cursor.chunk.get(range).unwrap_or_default();
        let piece = match step {
            Step::Start => {
                Piece::Start { header: &self.cursor.header, offset: self.cursor.header_offset }
            }
            Step::Bases(range) => Piece::Bases(chunk(range)),
            Step::Qualities(range) => Piece::Qualities(chunk(range)),
            Step::End(bases) => Piece::End { bases },
            Step::More => return Ok(None),
        };
        Ok(Some((piece, self.text.is_beyond())))
    }

    /// Takes the next chunk; false at the end of the text.
    fn refill(&mut self) -> Result<bool> {
        if self.ended {
            return Ok(false);
        }
        self.job.cancel.check()?;
        let cursor = &mut self.cursor;
        if cursor.header.capacity() as u64 > cursor.header_lease.bytes() {
            let held = cursor.header.capacity() as u64;
            cursor.header_lease.resize(held).map_err(|e| e.at_path(&self.path))?;
        }
        cursor.base += cursor.chunk.len() as u64;
        cursor.at = 0;
        let more = self.text.next_chunk(&mut cursor.chunk)?;
        let consumed = self.text.consumed();
        Progress::add(&self.job.progress.bytes_in, consumed.saturating_sub(self.told));
        self.told = consumed.max(self.told);
        if !more {
            self.ended = true;
            cursor.chunk.clear();
            if self.text.lacks_end_marker() {
                let text = "the BGZF end marker is missing; the file may have been cut";
                if self.strict {
                    return Err(Error::format(FormatKind::Truncated, text).at_path(&self.path));
                }
                self.warnings.push(format!("{}: {text}", self.path.display()));
            }
        }
        Ok(more)
    }

    /// What the end of the text means where the parser is.
    fn finish(&mut self) -> Result<Option<Step>> {
        let cursor = &mut self.cursor;
        let fastq = self.format == Some(SequenceFormat::Fastq);
        match cursor.state {
            State::Between => Ok(None),
            State::Header if !fastq => {
                cursor.end_header();
                cursor.state = State::LineStart;
                Ok(Some(Step::Start))
            }
            State::LineStart | State::Line if !fastq => {
                cursor.state = State::Between;
                Ok(Some(Step::End(cursor.bases)))
            }
            // A last line without line end is complete.
            State::Quality if cursor.quality_bytes == cursor.bases => {
                cursor.state = State::Between;
                Ok(Some(Step::End(cursor.bases)))
            }
            _ => {
                let name = String::from_utf8_lossy(cursor.name()).into_owned();
                let fault = Fault {
                    kind: FormatKind::Truncated,
                    at: 0,
                    line: cursor.line,
                    field: "record",
                    reason: format!("{name:?} is truncated: the file ends inside it"),
                };
                Err(self.explain(&fault))
            }
        }
    }

    fn explain(&self, fault: &Fault) -> Error {
        let place = self.cursor.base + fault.at as u64;
        let record = self.cursor.records.saturating_sub(1);
        let error = Error::format(fault.kind, format!("{} {}", fault.field, fault.reason))
            .at_path(&self.path)
            .at_field(fault.field);
        // Within a part it is not known how many lines and records stand before.
        let error =
            if self.from_begin { error.at_line(fault.line).at_record(record) } else { error };
        self.text.locate(error, place)
    }
}

impl Cursor {
    /// Looks at the first character that is no line end.
    fn detect(&mut self, format: &mut Option<SequenceFormat>) -> std::result::Result<Step, Fault> {
        while let Some(byte) = self.chunk.get(self.at) {
            match byte {
                b'\n' => self.line += 1,
                b'\r' => {}
                b'>' => {
                    *format = Some(SequenceFormat::Fasta);
                    return self.fasta_step();
                }
                b'@' => {
                    *format = Some(SequenceFormat::Fastq);
                    return self.fastq_step();
                }
                _ => {
                    let reason = "stands before the first > or @; this is neither FASTA nor FASTQ";
                    return Err(self.fault(self.at, "text", reason));
                }
            }
            self.at += 1;
        }
        Ok(Step::More)
    }

    fn fault(&self, at: usize, field: &'static str, reason: impl Into<String>) -> Fault {
        let kind = FormatKind::Sequence;
        Fault { kind, at, line: self.line, field, reason: reason.into() }
    }

    /// The header up to the first white space.
    fn name(&self) -> &[u8] {
        self.header.split(u8::is_ascii_whitespace).next().unwrap_or_default()
    }

    /// Begins a header at the `>` or `@` at hand.
    fn begin_header(&mut self) {
        self.header.clear();
        self.header_offset = self.base + self.at as u64;
        self.records += 1;
        self.bases = 0;
        self.quality_bytes = 0;
        self.at += 1;
        self.state = State::Header;
    }

    /// Takes the header as far as the chunk has it; true once the line has ended.
    fn take_header(&mut self) -> std::result::Result<bool, Fault> {
        let rest = self.chunk.get(self.at..).unwrap_or_default();
        let end = memchr::memchr(b'\n', rest);
        let piece = rest.get(..end.unwrap_or(rest.len())).unwrap_or_default();
        // Returns are told at once: a text that has nothing else would be gathered as a whole.
        let text = trim_returns(piece);
        let held = self.header.last() == Some(&b'\r') && !text.is_empty();
        if let Some(place) = if held { Some(0) } else { memchr::memchr(b'\r', text) } {
            return Err(self.fault(self.at + place, "header", STRAY_RETURN));
        }
        self.header.extend_from_slice(piece);
        self.at += end.map_or(rest.len(), |end| end + 1);
        if end.is_none() {
            return Ok(false);
        }
        self.line += 1;
        self.end_header();
        Ok(true)
    }

    fn end_header(&mut self) {
        while self.header.last() == Some(&b'\r') {
            self.header.pop();
        }
    }
}

/// Whether all bytes are characters with a picture (`!` to `~`).
#[inline]
fn all_graphic(bytes: &[u8]) -> bool {
    // No early exit: the compiler makes wide instructions of it.
    bytes.iter().fold(0_u8, |bad, b| bad | u8::from(b.wrapping_sub(0x21) > 0x5d)) == 0
}

#[cfg(test)]
mod tests;
