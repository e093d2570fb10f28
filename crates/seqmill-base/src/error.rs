//! One error type for the whole engine, with the place of the damage as data.

use std::fmt;
use std::path::{Path, PathBuf};

/// Result of every fallible function of the engine.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Which property of a format the input breaks; each is one Python class below `FormatError`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum FormatKind {
    /// Damage without a class of its own.
    Other,
    /// The input has no bytes.
    EmptyInput,
    /// The content is not of the kind the command reads.
    NotAlignments,
    /// A file header contradicts itself or the data.
    Header,
    /// The framing of a BGZF block is wrong.
    Bgzf,
    /// The checksum of a block is wrong.
    Checksum,
    /// A deflate stream is wrong or yields another length than stated.
    Inflate,
    /// The file ends inside a block, record or header.
    Truncated,
    /// A field of an alignment record is impossible.
    Record,
    /// An auxiliary tag is damaged.
    Tag,
    /// A line breaks the SAM grammar.
    Sam,
    /// A FASTA or FASTQ record breaks its format.
    Sequence,
    /// An index does not belong to the file.
    IndexMismatch,
    /// The input changed while it was read.
    Changed,
    /// The reference of a CRAM slice is missing or another one.
    SequenceReference,
    /// A side file of a sequence file is malformed.
    IndexFormat,
    /// A side file or the store index does not describe the sequence file as it is now.
    StaleIndex,
    /// A file is gzip without blocks where random access needs BGZF.
    NotBgzf,
}

impl FormatKind {
    /// Every kind.
    const ALL: [Self; 18] = [
        Self::Other,
        Self::EmptyInput,
        Self::NotAlignments,
        Self::Header,
        Self::Bgzf,
        Self::Checksum,
        Self::Inflate,
        Self::Truncated,
        Self::Record,
        Self::Tag,
        Self::Sam,
        Self::Sequence,
        Self::IndexMismatch,
        Self::Changed,
        Self::SequenceReference,
        Self::IndexFormat,
        Self::StaleIndex,
        Self::NotBgzf,
    ];

    /// The kind of a class name, as [`Self::class_name`] gives it.
    pub fn from_class_name(name: &[u8]) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.class_name().as_bytes() == name)
    }

    /// Name of the Python class that stands for this kind.
    pub fn class_name(self) -> &'static str {
        match self {
            Self::Other => "FormatError",
            Self::EmptyInput => "EmptyInputError",
            Self::NotAlignments => "NotAlignmentsError",
            Self::Header => "HeaderError",
            Self::Bgzf => "BgzfError",
            Self::Checksum => "ChecksumError",
            Self::Inflate => "InflateError",
            Self::Truncated => "TruncatedError",
            Self::Record => "RecordError",
            Self::Tag => "TagError",
            Self::Sam => "SamError",
            Self::Sequence => "SequenceFormatError",
            Self::IndexMismatch => "IndexMismatchError",
            Self::Changed => "ChangedError",
            Self::SequenceReference => "SequenceReferenceError",
            Self::IndexFormat => "IndexFormatError",
            Self::StaleIndex => "StaleIndexError",
            Self::NotBgzf => "NotBgzfError",
        }
    }
}

/// What went wrong, by the class a caller may want to catch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ErrorKind {
    /// An option is out of range or malformed.
    Input,
    /// A position is outside of a contig.
    OutOfRange,
    /// A name given by the user does not exist.
    NotFound,
    /// No file or contig of a store has this name.
    NameNotFound,
    /// The input breaks its format.
    Format(FormatKind),
    /// The least possible reservation exceeds the limit.
    Budget,
    /// The output exists and may not be replaced.
    Exists,
    /// The system said no.
    Io,
    /// The job was cancelled.
    Cancelled,
    /// A bug of this program.
    Internal,
}

/// Where in the input the damage lies; what is not known is `None`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Place {
    /// The file, as the user named it.
    pub path: Option<PathBuf>,
    /// Byte offset in the file (in the compressed stream for BGZF).
    pub offset: Option<u64>,
    /// BGZF virtual offset (`SAMv1 §4.1.1`).
    pub voffset: Option<u64>,
    /// Ordinal of the record, from 0.
    pub record: Option<u64>,
    /// Line number, from 1.
    pub line: Option<u64>,
    /// Name of the field.
    pub field: Option<&'static str>,
}

/// An error with its kind, its message and its place.
#[derive(Debug, Clone)]
pub struct Error {
    inner: Box<Inner>,
}

#[derive(Debug, Clone)]
struct Inner {
    kind: ErrorKind,
    message: String,
    place: Place,
    errno: Option<i32>,
    needed: Option<u64>,
}

impl Error {
    fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        let inner = Inner {
            kind,
            message: message.into(),
            place: Place::default(),
            errno: None,
            needed: None,
        };
        Self { inner: Box::new(inner) }
    }

    /// An option with a value that is not allowed.
    pub fn input(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Input, message)
    }

    /// A name that does not exist.
    pub fn not_found(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::NotFound, message)
    }

    /// A position outside of a contig.
    pub fn out_of_range(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::OutOfRange, message)
    }

    /// A file or contig that a store does not have.
    pub fn name_not_found(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::NameNotFound, message)
    }

    /// Input that breaks its format.
    pub fn format(kind: FormatKind, message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Format(kind), message)
    }

    /// A budget below the least that works; `needed` is the least budget in bytes.
    pub fn budget(message: impl Into<String>, needed: u64) -> Self {
        let mut error = Self::new(ErrorKind::Budget, message);
        error.inner.needed = Some(needed);
        error
    }

    /// An output that exists.
    pub fn exists(path: &Path) -> Self {
        Self::new(ErrorKind::Exists, "output exists; use --force to replace it").at_path(path)
    }

    /// A failed system call on `path`.
    pub fn io(path: &Path, source: &std::io::Error) -> Self {
        let mut error = Self::new(ErrorKind::Io, source.to_string()).at_path(path);
        error.inner.errno = source.raw_os_error();
        error
    }

    /// What a system call would have said of `path`, in better words.
    pub fn system(path: &Path, errno: i32, message: impl Into<String>) -> Self {
        let mut error = Self::new(ErrorKind::Io, message).at_path(path);
        error.inner.errno = Some(errno);
        error
    }

    /// The job's cancel flag was seen.
    pub fn cancelled() -> Self {
        Self::new(ErrorKind::Cancelled, "cancelled")
    }

    /// A bug of this program.
    pub fn internal(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Internal, message)
    }

    /// Puts what was asked for in front of the message.
    #[must_use]
    pub fn within(mut self, what: &str) -> Self {
        self.inner.message = format!("{what}: {}", self.inner.message);
        self
    }

    /// Names the file, unless one is named already.
    #[must_use]
    pub fn at_path(mut self, path: &Path) -> Self {
        self.inner.place.path.get_or_insert_with(|| path.to_path_buf());
        self
    }

    /// Names the byte offset, unless one is named already.
    #[must_use]
    pub fn at_offset(mut self, offset: u64) -> Self {
        self.inner.place.offset.get_or_insert(offset);
        self
    }

    /// Names the virtual offset, unless one is named already.
    #[must_use]
    pub fn at_voffset(mut self, voffset: u64) -> Self {
        self.inner.place.voffset.get_or_insert(voffset);
        self
    }

    /// Names the record, unless one is named already.
    #[must_use]
    pub fn at_record(mut self, record: u64) -> Self {
        self.inner.place.record.get_or_insert(record);
        self
    }

    /// Names the line, unless one is named already.
    #[must_use]
    pub fn at_line(mut self, line: u64) -> Self {
        self.inner.place.line.get_or_insert(line);
        self
    }

    /// Names the field, unless one is named already.
    #[must_use]
    pub fn at_field(mut self, field: &'static str) -> Self {
        self.inner.place.field.get_or_insert(field);
        self
    }

    /// Kind of the error.
    pub fn kind(&self) -> ErrorKind {
        self.inner.kind
    }

    /// The message without its place.
    pub fn message(&self) -> &str {
        &self.inner.message
    }

    /// Where the damage lies.
    pub fn place(&self) -> &Place {
        &self.inner.place
    }

    /// `errno` of the failed system call.
    pub fn errno(&self) -> Option<i32> {
        self.inner.errno
    }

    /// The least budget in bytes that would work.
    pub fn needed(&self) -> Option<u64> {
        self.inner.needed
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let place = &self.inner.place;
        if let Some(path) = &place.path {
            write!(f, "{}: ", path.display())?;
        }
        if let Some(line) = place.line {
            write!(f, "line {line}: ")?;
        }
        f.write_str(&self.inner.message)?;
        let mut details = Vec::new();
        if let Some(record) = place.record {
            details.push(format!("record {record}"));
        }
        if let Some(field) = place.field {
            details.push(format!("field {field}"));
        }
        if let Some(voffset) = place.voffset {
            details.push(format!("virtual offset {}:{}", voffset >> 16, voffset & 0xffff));
        } else if let Some(offset) = place.offset
            && !self.inner.message.contains(&format!("byte {offset}"))
        {
            details.push(format!("byte {offset}"));
        }
        if !details.is_empty() {
            write!(f, " ({})", details.join(", "))?;
        }
        Ok(())
    }
}

impl std::error::Error for Error {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn message_names_file_record_and_place() {
        let error = Error::format(FormatKind::Record, "CIGAR operation 12 does not exist")
            .at_record(7)
            .at_field("cigar")
            .at_voffset((100 << 16) | 5)
            .at_path(Path::new("x.bam"));
        assert_eq!(
            error.to_string(),
            "x.bam: CIGAR operation 12 does not exist (record 7, field cigar, virtual offset 100:5)"
        );
    }

    #[test]
    fn the_first_place_wins() {
        let error = Error::input("x").at_record(1).at_record(2);
        assert_eq!(error.place().record, Some(1));
    }
}
