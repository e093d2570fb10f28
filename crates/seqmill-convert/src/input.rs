//! Opening an input: what it is, its header, and where its records begin.

use seqmill_base::{Error, FormatKind, Lease, Result};
use seqmill_io::bam::{self, Header, HeaderProgress};
use seqmill_io::bgzf::{
    BlockMark, BlockReader, CompressedUnit, UnitScanner, VirtualOffset, is_bgzf,
};
use seqmill_io::gzip::GzipStream;
use seqmill_io::{IoMode, Source, open_source};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// How the bytes are wrapped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Container {
    /// Blocks that can be inflated by themselves.
    Bgzf,
    /// One deflate stream, or several.
    Gzip,
    /// Not at all.
    Plain,
}

/// What the unwrapped bytes are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Bam,
    Sam,
    Cram,
    Fasta,
    Fastq,
}

/// An opened input.
pub(crate) struct Input {
    pub path: PathBuf,
    pub source: Arc<dyn Source>,
    pub container: Container,
    pub kind: Kind,
    pub header: Header,
    /// Where the first record begins: a virtual offset in BGZF, else a stream offset.
    pub first: u64,
}

/// A unit as the source gives it.
pub(crate) enum RawUnit {
    /// Nothing: one input has ended.
    Nothing,
    /// Blocks to inflate.
    Blocks(CompressedUnit),
    /// Bytes that need no inflation, with their offset in the stream.
    Bytes {
        data: Vec<u8>,
        offset: u64,
        /// The unit begins a stretch, whose first record begins here.
        first_record: Option<usize>,
        /// Bytes of the input consumed.
        file_end: u64,
        lease: Lease,
    },
}

impl seqmill_base::pipeline::Item for RawUnit {
    fn bytes(&self) -> u64 {
        match self {
            Self::Nothing => 0,
            Self::Blocks(unit) => unit.bytes(),
            Self::Bytes { data, .. } => data.len() as u64,
        }
    }
}

impl RawUnit {
    /// Bytes after inflation, if it has still to be inflated.
    pub(crate) fn inflated_bytes(&self) -> usize {
        match self {
            Self::Blocks(unit) => unit.inflated_bytes(),
            Self::Bytes { .. } | Self::Nothing => 0,
        }
    }
}

/// Most bytes of a header that may be read while looking for its end. The longest real headers
/// (a reference per contig of a fragmented assembly) have some tens of MiB.
const HEADER_MAX_BYTES: usize = 1 << 30;

/// The inflated beginning of an input, as far as it was asked for.
pub(crate) struct Head {
    source: Arc<dyn Source>,
    container: Container,
    gzip: Option<GzipStream>,
    blocks: BlockReader,
    next_block: Option<u64>,
    marks: Vec<BlockMark>,
    pub data: Vec<u8>,
    ended: bool,
}

impl Head {
    pub(crate) fn open(source: &Arc<dyn Source>, verify: bool) -> Result<Self> {
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
            marks: Vec::new(),
            data: Vec::new(),
            ended: false,
        })
    }

    /// Reads on until there are `n` bytes or the input ends; whether there are.
    pub(crate) fn fill(&mut self, n: usize) -> Result<bool> {
        while self.data.len() < n && !self.ended {
            let before = self.data.len();
            match (&mut self.gzip, self.container) {
                (Some(gzip), _) => self.ended = gzip.append(&mut self.data, 1 << 16)? == 0,
                (None, Container::Bgzf) => match self.next_block {
                    Some(offset) => {
                        let start = u32::try_from(before).unwrap_or(u32::MAX);
                        self.marks.push(BlockMark { offset, start });
                        self.next_block = self.blocks.append_block(offset, &mut self.data)?;
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
    pub(crate) fn place(&self, at: usize) -> u64 {
        if self.container != Container::Bgzf {
            return at as u64;
        }
        let found = self.marks.partition_point(|m| m.start as usize <= at).saturating_sub(1);
        let Some(mark) = self.marks.get(found) else { return 0 };
        let within = at - mark.start as usize;
        // The end of a block's data is the beginning of the next block.
        if within > 0 && at >= self.data.len() && found + 1 == self.marks.len() {
            return VirtualOffset::new(self.next_block.unwrap_or(mark.offset), 0).0;
        }
        VirtualOffset::new(mark.offset, u32::try_from(within).unwrap_or(0)).0
    }
}

/// Opens an input and reads its header.
pub(crate) fn open_input(path: &Path, mode: IoMode, verify: bool) -> Result<Input> {
    let source = open_source(path, mode)?;
    open_head(&source, verify).map_err(|e| e.at_path(source.path())).map(|mut input| {
        input.path = source.path().to_path_buf();
        input
    })
}

fn open_head(source: &Arc<dyn Source>, verify: bool) -> Result<Input> {
    let mut head = Head::open(source, verify)?;
    head.fill(4096)?;
    let kind = detect(&head)?;
    let (header, end) = match kind {
        Kind::Bam => read_bam_header(&mut head)?,
        Kind::Sam | Kind::Cram | Kind::Fasta | Kind::Fastq => {
            return Err(Error::input(format!("{kind:?} input is not supported yet")));
        }
    };
    Ok(Input {
        path: PathBuf::new(),
        source: Arc::clone(source),
        container: head.container,
        kind,
        header,
        first: head.place(end),
    })
}

fn detect(head: &Head) -> Result<Kind> {
    let data = head.data.as_slice();
    if data.starts_with(&bam::MAGIC) || (data.len() < 4 && bam::MAGIC.starts_with(data)) {
        return Ok(Kind::Bam);
    }
    if head.container == Container::Plain && data.starts_with(b"CRAM") {
        return Ok(Kind::Cram);
    }
    Err(Error::format(
        FormatKind::NotAlignments,
        "not alignments: neither BAM, SAM, CRAM, FASTA nor FASTQ",
    ))
}

fn read_bam_header(head: &mut Head) -> Result<(Header, usize)> {
    let mut need = 8;
    loop {
        if need > HEADER_MAX_BYTES {
            return Err(Error::format(
                FormatKind::Header,
                format!("the header claims to be longer than {HEADER_MAX_BYTES} bytes"),
            ));
        }
        // Ask for more than is claimed: references come one by one.
        let enough = head.fill(need)?;
        if enough {
            let more = head.data.len().max(need).saturating_mul(2).min(need + (1 << 20));
            head.fill(more.min(HEADER_MAX_BYTES))?;
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

/// Units of an input, one after the other.
pub(crate) enum UnitSource {
    Blocks(UnitScanner),
    Bytes(ByteUnits),
}

impl UnitSource {
    /// Units from the places given: pairs of begin and end (none: to the end of the input).
    pub(crate) fn new(input: &Input, stretches: &[(u64, Option<u64>)], unit_bytes: usize) -> Self {
        if input.container == Container::Bgzf {
            let stretches = stretches
                .iter()
                .map(|(begin, end)| (VirtualOffset(*begin), end.map(VirtualOffset)))
                .collect();
            return Self::Blocks(UnitScanner::new(
                Arc::clone(&input.source),
                stretches,
                unit_bytes,
            ));
        }
        let begin = stretches.first().map_or(0, |s| s.0);
        let gzip = (input.container == Container::Gzip)
            .then(|| GzipStream::new(Arc::clone(&input.source)));
        Self::Bytes(ByteUnits {
            source: Arc::clone(&input.source),
            gzip,
            at: 0,
            begin,
            unit_bytes,
            began: false,
        })
    }

    /// Bytes to reserve before the next unit is asked for.
    pub(crate) fn claim(&self) -> u64 {
        match self {
            Self::Blocks(_) => UnitScanner::CLAIM_BYTES,
            Self::Bytes(units) => units.unit_bytes as u64,
        }
    }

    pub(crate) fn next_unit(&mut self, lease: Lease) -> Result<Option<RawUnit>> {
        match self {
            Self::Blocks(scanner) => Ok(scanner.next_unit(lease)?.map(RawUnit::Blocks)),
            Self::Bytes(units) => units.next_unit(lease),
        }
    }

    /// Whether a complete file's end marker was missing (always false where there is none).
    pub(crate) fn lacks_end_marker(&self) -> bool {
        match self {
            Self::Blocks(scanner) => !scanner.ended_with_marker(),
            Self::Bytes(_) => false,
        }
    }
}

/// Pieces of a stream without blocks.
pub(crate) struct ByteUnits {
    source: Arc<dyn Source>,
    gzip: Option<GzipStream>,
    /// Next byte of the stream.
    at: u64,
    /// Where the first record begins; what lies before is passed over.
    begin: u64,
    unit_bytes: usize,
    began: bool,
}

impl ByteUnits {
    fn next_unit(&mut self, lease: Lease) -> Result<Option<RawUnit>> {
        let mut data = Vec::with_capacity(self.unit_bytes);
        if self.gzip.is_none() {
            self.at = self.at.max(self.begin);
        }
        loop {
            let offset = self.at;
            data.clear();
            let file_end = match &mut self.gzip {
                Some(gzip) => {
                    let got = gzip.append(&mut data, self.unit_bytes)?;
                    self.at += got as u64;
                    gzip.consumed()
                }
                None => {
                    data.resize(self.unit_bytes, 0);
                    let got = self.source.read_at(&mut data, self.at)?;
                    data.truncate(got);
                    self.at += got as u64;
                    self.at
                }
            };
            if data.is_empty() {
                return Ok(None);
            }
            self.source.done_until(file_end);
            if self.at <= self.begin {
                continue;
            }
            let skip = usize::try_from(self.begin.saturating_sub(offset)).unwrap_or(0);
            let first_record = (!std::mem::replace(&mut self.began, true)).then_some(skip);
            return Ok(Some(RawUnit::Bytes { data, offset, first_record, file_end, lease }));
        }
    }
}
