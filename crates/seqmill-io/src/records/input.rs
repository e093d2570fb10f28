//! Opening an input: what it is, its header, and where its records begin.

mod detect;
mod units;

use crate::bam::{Header, HeaderProgress};
use crate::bgzf::{BlockMark, BlockReader, VirtualOffset, is_bgzf};
use crate::cram::{CramDecoder, ReferenceStore, container_place, read_file_header};
use crate::gzip::GzipStream;
use crate::sam::{LineParser, SamHeader, is_header_line};
use crate::source::{IoMode, Remote, Source, open_source};
use detect::detect;
use seqmill_base::fingerprint::Fingerprint;
use seqmill_base::{Error, FormatKind, Result};
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

pub use units::{RawUnit, UnitSource};

/// How the bytes are wrapped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Container {
    /// Blocks that can be inflated by themselves.
    Bgzf,
    /// One deflate stream, or several.
    Gzip,
    /// Not at all.
    Plain,
}

/// What the unwrapped bytes are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Binary alignments.
    Bam,
    /// Alignments as text.
    Sam,
    /// Alignments against a reference, compressed.
    Cram,
    /// Sequences.
    Fasta,
    /// Sequences with qualities.
    Fastq,
}

impl Kind {
    /// Whether the records are reads without an alignment: a table of their own.
    pub fn is_reads(self) -> bool {
        matches!(self, Self::Fasta | Self::Fastq)
    }

    /// The name of the format.
    pub fn name(self) -> &'static str {
        match self {
            Self::Bam => "BAM",
            Self::Sam => "SAM",
            Self::Cram => "CRAM",
            Self::Fasta => "FASTA",
            Self::Fastq => "FASTQ",
        }
    }
}

/// An opened input.
pub struct Input {
    /// As the user named it.
    pub path: PathBuf,
    /// Its bytes.
    pub source: Arc<dyn Source>,
    /// How they are wrapped.
    pub container: Container,
    /// What they are.
    pub kind: Kind,
    /// Text and references; empty where reads have none.
    pub header: Header,
    /// Where the first record begins: a virtual offset in BGZF, else a stream offset (CRAM: the
    /// place of the first record of a container).
    pub first: u64,
    /// Number of the line on which the first record begins, in text.
    pub first_line: u64,
    /// Reads the lines of SAM.
    pub parser: Option<Arc<LineParser>>,
    /// Decodes the containers of CRAM.
    pub cram: Option<Arc<CramDecoder>>,
    /// What was noticed while the input was opened.
    pub warnings: Vec<String>,
    /// Identity of the file, once it was asked for.
    print: OnceLock<Fingerprint>,
}

impl Input {
    /// Identity of the file when it was first asked for: an open scan asks for every query.
    pub fn fingerprint(&self) -> Result<&Fingerprint> {
        if let Some(print) = self.print.get() {
            return Ok(print);
        }
        let print = self.source.fingerprint()?;
        Ok(self.print.get_or_init(|| print))
    }
}

/// How inputs are opened.
#[derive(Debug, Clone)]
pub struct OpenOptions {
    /// How the bytes are read.
    pub mode: IoMode,
    /// Compare checksums of blocks.
    pub verify: bool,
    /// What breaks a specification is an error.
    pub strict: bool,
    /// Longest header that may be read: it is held twice while it is read.
    pub header_bytes: usize,
    /// FASTA with the reference of a CRAM.
    pub reference: Option<PathBuf>,
    /// The inputs that are remote.
    pub remote: Option<Arc<Remote>>,
}

/// A header that claims more than this is damaged, whatever the budget.
const HEADER_CLAIM_BYTES: usize = 1 << 30;
/// Bytes of a header that are always read.
const HEADER_LEAST_BYTES: u64 = 1 << 20;

impl OpenOptions {
    /// The longest header for a budget: text, references and what is read ahead take no more than
    /// a quarter of it together.
    pub fn header_bytes(memory: u64) -> usize {
        usize::try_from((memory / 16).max(HEADER_LEAST_BYTES)).unwrap_or(HEADER_CLAIM_BYTES)
    }

    fn header_too_long(&self, claimed: Option<usize>) -> Error {
        let least = claimed.unwrap_or(2 * self.header_bytes);
        let text = match claimed {
            Some(bytes) => format!("the header claims {bytes} bytes"),
            None => format!("the header is longer than {} bytes", self.header_bytes),
        };
        let needed = 16 * least as u64;
        Error::budget(format!("{text}, too much for the memory budget; give more --memory"), needed)
    }
}

/// The inflated beginning of an input, as far as it was asked for.
pub struct Head {
    source: Arc<dyn Source>,
    container: Container,
    gzip: Option<GzipStream>,
    blocks: BlockReader,
    next_block: Option<u64>,
    /// Where the last block ends in the file.
    behind: u64,
    marks: Vec<BlockMark>,
    /// The inflated bytes so far.
    pub data: Vec<u8>,
    ended: bool,
}

impl Head {
    /// Looks at the first bytes of a source.
    pub fn open(source: &Arc<dyn Source>, verify: bool) -> Result<Self> {
        let mut magic = [0; 4096];
        let got = source.read_at(&mut magic, 0)?;
        let magic = magic.get(..got).unwrap_or_default();
        if magic.is_empty() {
            return Err(Error::format(FormatKind::EmptyInput, "the input is empty"));
        }
        let container = if magic.starts_with(&[0x1f, 0x8b]) {
            if is_bgzf(magic) { Container::Bgzf } else { Container::Gzip }
        } else {
            Container::Plain
        };
        Ok(Self {
            source: Arc::clone(source),
            container,
            gzip: (container == Container::Gzip).then(|| GzipStream::new(Arc::clone(source))),
            blocks: BlockReader::new(Arc::clone(source), verify),
            next_block: Some(0),
            behind: 0,
            marks: Vec::new(),
            data: Vec::new(),
            ended: false,
        })
    }

    /// Reads on until there are `n` bytes or the input ends; whether there are.
    pub fn fill(&mut self, n: usize) -> Result<bool> {
        while self.data.len() < n && !self.ended {
            let before = self.data.len();
            match (&mut self.gzip, self.container) {
                (Some(gzip), _) => self.ended = gzip.append(&mut self.data, 1 << 16)? == 0,
                (None, Container::Bgzf) => match self.next_block {
                    Some(offset) => {
                        let start = u32::try_from(before).unwrap_or(u32::MAX);
                        self.next_block = self.blocks.append_block(offset, &mut self.data)?;
                        // The end of the file is no block.
                        if let Some(behind) = self.next_block {
                            self.marks.push(BlockMark { offset, start });
                            self.behind = behind;
                        }
                    }
                    None => self.ended = true,
                },
                (None, _) => {
                    // A header may claim any length: no more is allocated than is there.
                    let step = (n - before).clamp(1 << 16, 1 << 20);
                    self.data.resize(before + step, 0);
                    let room = self.data.get_mut(before..).unwrap_or_default();
                    let got = self.source.read_at(room, before as u64)?;
                    self.data.truncate(before + got);
                    self.ended = got < step;
                }
            }
        }
        Ok(self.data.len() >= n)
    }

    /// The place of a byte of the inflated data.
    pub fn place(&self, at: usize) -> u64 {
        if self.container != Container::Bgzf {
            return at as u64;
        }
        // Of several blocks that begin there the first: empty ones count, the end marker too.
        let next = self.marks.partition_point(|m| (m.start as usize) < at);
        let begins = self.marks.get(next).is_some_and(|m| m.start as usize == at);
        let found = if begins { next } else { next.saturating_sub(1) };
        let Some(mark) = self.marks.get(found) else { return 0 };
        let within = at - mark.start as usize;
        // The end of a block's data is the beginning of the next block.
        if within > 0 && at >= self.data.len() && found + 1 == self.marks.len() {
            return VirtualOffset::new(self.behind, 0).0;
        }
        VirtualOffset::new(mark.offset, u32::try_from(within).unwrap_or(0)).0
    }
}

/// Opens an input and reads its header.
pub fn open_input(path: &Path, options: &OpenOptions) -> Result<Input> {
    let source = match &options.remote {
        Some(remote) if remote.object(path).is_some() => remote.open(path)?,
        _ => open_source(path, options.mode)?,
    };
    open_head(&source, options).map_err(|e| e.at_path(source.path())).map(|mut input| {
        input.path = source.path().to_path_buf();
        input
    })
}

fn open_head(source: &Arc<dyn Source>, options: &OpenOptions) -> Result<Input> {
    let mut head = Head::open(source, options.verify)?;
    let kind = detect(&mut head, options)?;
    let mut input = Input {
        path: PathBuf::new(),
        source: Arc::clone(source),
        container: head.container,
        kind,
        header: Header::default(),
        first: 0,
        first_line: 1,
        parser: None,
        cram: None,
        warnings: Vec::new(),
        print: OnceLock::new(),
    };
    if head.container == Container::Gzip {
        let text = "gzip without blocks is inflated by one thread; bgzip makes blocks";
        input.warnings.push(text.to_owned());
    }
    match kind {
        Kind::Bam => {
            let (header, end) = read_bam_header(&mut head, options)?;
            (input.header, input.first) = (header, head.place(end));
        }
        Kind::Sam => {
            let end = find_header_end(&mut head, options)?;
            let text = head.data.get(..end).unwrap_or_default();
            let parsed = SamHeader::parse(text, options.strict)?;
            input.parser = Some(Arc::new(LineParser::new(&parsed.header, options.strict)));
            input.first_line = parsed.lines + 1;
            (input.header, input.first) = (parsed.header, head.place(end));
            input.warnings.extend(parsed.warnings);
        }
        Kind::Cram => {
            let (text, first) = read_file_header(source.as_ref(), options.header_bytes)?;
            let parsed = SamHeader::parse(&text, options.strict)?;
            let references = ReferenceStore::new(&parsed.header.text, options.reference.as_deref());
            let decoder = CramDecoder::new(&parsed.header, Arc::new(references));
            input.cram = Some(Arc::new(decoder));
            (input.header, input.first) = (parsed.header, container_place(first, 0));
            input.warnings.extend(parsed.warnings);
        }
        Kind::Fasta | Kind::Fastq => input.first = head.place(0),
    }
    Ok(input)
}

/// The end of the header lines of SAM.
fn find_header_end(head: &mut Head, options: &OpenOptions) -> Result<usize> {
    let mut at = 0;
    loop {
        let rest = head.data.get(at..).unwrap_or_default();
        let end = memchr::memchr(b'\n', rest);
        let line = end.map_or(rest, |end| rest.get(..end).unwrap_or_default());
        let complete = end.is_some() || head.ended;
        // Three bytes and the next one tell whether a line belongs to the header.
        if (complete || line.len() > 3) && !is_header_line(line) {
            return Ok(at);
        }
        if complete {
            at += line.len() + usize::from(end.is_some());
            if at == head.data.len() && head.ended {
                return Ok(at);
            }
        }
        if !complete || at == head.data.len() {
            if head.data.len() > options.header_bytes {
                return Err(options.header_too_long(None));
            }
            let want = head.data.len() + (head.data.len() / 2).max(1 << 16);
            head.fill(want)?;
        }
    }
}

fn read_bam_header(head: &mut Head, options: &OpenOptions) -> Result<(Header, usize)> {
    let mut need = 8;
    loop {
        if need > HEADER_CLAIM_BYTES {
            return Err(Error::format(
                FormatKind::Header,
                format!("the header claims to be longer than {HEADER_CLAIM_BYTES} bytes"),
            ));
        }
        let enough = head.fill(need.min(options.header_bytes))?;
        if enough && need > options.header_bytes {
            return Err(options.header_too_long(Some(need)));
        }
        // Ask for more than is claimed: references come one by one.
        if enough {
            let more = head.data.len().max(need).saturating_mul(2).min(need + (1 << 20));
            head.fill(more.min(options.header_bytes))?;
        }
        match Header::parse(&head.data)? {
            HeaderProgress::Done(header, end) => return Ok((header, end)),
            HeaderProgress::Need(n) if enough || head.data.len() >= n => need = n,
            HeaderProgress::Need(n) => {
                return Err(Error::format(
                    FormatKind::Truncated,
                    format!("the file ends inside the header: {} of {n} bytes", head.data.len()),
                ));
            }
        }
    }
}
