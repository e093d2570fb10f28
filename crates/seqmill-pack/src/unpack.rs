//! From an archive to FASTA: chunks of sequence decoded in parallel, written in order.

mod blocks;

use crate::archive::{Archive, Memory, Sample};
use crate::checks::Checks;
use seqmill_base::metrics::StageFigures;
use seqmill_base::pipeline::{Item, Pipeline, Threads};
use seqmill_base::sink::AtomicFile;
use seqmill_base::{Error, Job, Lease, Progress, Result};
use seqmill_io::bgzf::{EOF_MARKER, GziIndex};
use seqmill_io::fasta::{FaiIndex, FaiRecord, SampleChecks};
use serde::Deserialize;
use std::collections::VecDeque;
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use blocks::compressed;

/// Bases of one task.
const CHUNK_BASES: u64 = 1 << 20;
/// Contigs of one task, at most.
const CHUNK_PIECES: usize = 4096;
/// The part of the memory that the open archive gets.
const ARCHIVE_SHARE: u64 = 2;
/// The part of it that there must be for each thread: letters, text, and text that waits.
const THREAD_BYTES: u64 = 4 * CHUNK_BASES;

/// What is wanted of an archive.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Selection {
    /// Every sample, in this order.
    Samples(Vec<usize>),
    /// Parts of contigs: sample, contig, start, end (0-based half-open), and what the header says.
    Pieces(Vec<(usize, usize, u64, u64, String)>),
}

/// What to write and how.
#[derive(Debug, Clone, Deserialize)]
pub struct UnpackOptions {
    /// What is wanted.
    pub selection: Selection,
    /// Where it goes; `-` is standard output.
    pub output: PathBuf,
    /// Bases of a line.
    pub line_width: u64,
    /// Compression level of BGZF; plain text without one.
    #[serde(default)]
    pub gzip: Option<i32>,
    /// Replace an output that exists.
    #[serde(default)]
    pub force: bool,
    /// Threads that decode.
    pub threads: usize,
    /// Compare the checksums of whole samples, where the archive has them.
    pub verify: bool,
}

/// What was written.
#[derive(Debug, Default)]
pub struct Unpacked {
    /// Contigs or regions.
    pub records: u64,
    /// Bases.
    pub bases: u64,
    /// Bytes of the output.
    pub bytes: u64,
    /// Figures of the pipeline.
    pub stages: Vec<StageFigures>,
}

/// A part of a record, within a chunk.
#[derive(Clone)]
struct Piece {
    /// Number of the sample in the archive.
    number: usize,
    sample: Sample,
    contig: usize,
    /// Where the record begins and ends in the contig.
    record: (u64, u64),
    start: u64,
    end: u64,
    /// Of the first piece of a record.
    header: Option<Vec<u8>>,
}

impl Piece {
    /// Bytes of its text.
    fn text_bytes(&self, width: u64) -> u64 {
        let header = self.header.as_ref().map_or(0, |h| h.len() as u64 + 2);
        let (from, to) = (self.start - self.record.0, self.end - self.record.0);
        let last = u64::from(self.end == self.record.1 && !to.is_multiple_of(width));
        header + to - from + to / width - from / width + last
    }
}

struct Chunk {
    pieces: Vec<Piece>,
    text_bytes: u64,
    _lease: Lease,
}

impl Item for Chunk {
    fn bytes(&self) -> u64 {
        (self.pieces.len() * size_of::<Piece>()) as u64
    }
}

struct Text {
    bytes: Vec<u8>,
    /// What it is of.
    chunk: Chunk,
    _lease: Lease,
}

impl Item for Text {
    fn bytes(&self) -> u64 {
        self.bytes.len() as u64
    }
}

/// Gives the records that are wanted one after the other.
struct Records<'a> {
    archive: &'a Archive,
    pieces: VecDeque<(usize, usize, u64, u64, String)>,
    samples: VecDeque<usize>,
    /// A sample, its number, and its next contig.
    open: Option<(usize, Sample, usize)>,
}

impl<'a> Records<'a> {
    fn new(archive: &'a Archive, selection: Selection) -> Self {
        let (pieces, samples) = match selection {
            Selection::Samples(samples) => (VecDeque::new(), samples.into()),
            Selection::Pieces(pieces) => (pieces.into(), VecDeque::new()),
        };
        Self { archive, pieces, samples, open: None }
    }

    fn next(&mut self) -> Result<Option<Piece>> {
        if let Some((number, contig, start, end, header)) = self.pieces.pop_front() {
            let sample = self.archive.sample(number)?;
            let (record, header) = ((start, end), Some(header.into_bytes()));
            return Ok(Some(Piece { number, sample, contig, record, start, end, header }));
        }
        loop {
            if let Some((number, sample, next)) = &mut self.open
                && let Some(view) = sample.contig(*next)
            {
                let (end, header) = (view.length(), Some(view.header().to_vec()));
                let (number, sample, contig) = (*number, sample.clone(), *next);
                *next += 1;
                let record = (0, end);
                return Ok(Some(Piece { number, sample, contig, record, start: 0, end, header }));
            }
            let Some(next) = self.samples.pop_front() else { return Ok(None) };
            self.open = Some((next, self.archive.sample(next)?, 0));
        }
    }
}

/// Cuts records into chunks, and notes where each begins in the text.
struct Planner<'a> {
    records: Records<'a>,
    rest: Option<Piece>,
    width: u64,
    offset: u64,
    index: Option<Vec<FaiRecord>>,
    counts: (u64, u64),
}

impl Planner<'_> {
    fn next_chunk(&mut self, lease: Lease) -> Result<Option<Chunk>> {
        let mut chunk = Chunk { pieces: Vec::new(), text_bytes: 0, _lease: lease };
        let mut bases = 0;
        while bases < CHUNK_BASES && chunk.pieces.len() < CHUNK_PIECES {
            let mut piece = match self.rest.take() {
                Some(rest) => rest,
                None => match self.records.next()? {
                    Some(piece) => {
                        self.begin_record(&piece);
                        piece
                    }
                    None => break,
                },
            };
            let cut = piece.start + (CHUNK_BASES - bases);
            if piece.end > cut {
                self.rest = Some(Piece { start: cut, header: None, ..piece.clone() });
                piece.end = cut;
            }
            bases += piece.end - piece.start;
            let text = piece.text_bytes(self.width);
            chunk.text_bytes += text;
            self.offset += text;
            chunk.pieces.push(piece);
        }
        Ok((!chunk.pieces.is_empty()).then_some(chunk))
    }

    fn begin_record(&mut self, piece: &Piece) {
        let length = piece.end - piece.start;
        self.counts.0 += 1;
        self.counts.1 += length;
        if let (Some(index), Some(header)) = (&mut self.index, &piece.header) {
            let line_bases = self.width.min(length).max(1);
            index.push(FaiRecord {
                name: crate::batch::short_name(header).to_vec(),
                length,
                offset: self.offset + header.len() as u64 + 2,
                line_bases,
                line_width: line_bases + 1,
            });
        }
    }
}

/// Writes a piece as lines behind `text`; `letters` is reused.
fn write_piece(
    archive: &Archive,
    piece: &Piece,
    width: u64,
    letters: &mut Vec<u8>,
    text: &mut Vec<u8>,
) -> Result<()> {
    let view = piece.sample.contig(piece.contig);
    let view = view.ok_or_else(|| Error::internal("there is no such contig"))?;
    let size = usize::try_from(piece.end - piece.start).unwrap_or(usize::MAX);
    letters.resize(size, 0);
    archive.read(view, piece.start, letters)?;
    if let Some(header) = &piece.header {
        text.push(b'>');
        text.extend_from_slice(header);
        text.push(b'\n');
    }
    let line = usize::try_from(width).unwrap_or(usize::MAX);
    let within = usize::try_from((piece.start - piece.record.0) % width).unwrap_or(0);
    let (head, rest) = letters.split_at(size.min(line - within));
    text.extend_from_slice(head);
    if !head.is_empty() && within + head.len() == line {
        text.push(b'\n');
    }
    let lines = rest.chunks_exact(line);
    let last = lines.remainder();
    for full in lines {
        text.extend_from_slice(full);
        text.push(b'\n');
    }
    text.extend_from_slice(last);
    let is_end = piece.end == piece.record.1;
    if is_end && !(piece.end - piece.record.0).is_multiple_of(width) {
        text.push(b'\n');
    }
    Ok(())
}

/// Where the bytes go.
enum Target {
    File(AtomicFile),
    Stdout(File),
}

impl Target {
    fn open(path: &Path, force: bool) -> Result<Self> {
        if path != Path::new("-") {
            return Ok(Self::File(AtomicFile::create(path, force)?));
        }
        let stdout = std::os::fd::AsFd::as_fd(&std::io::stdout()).try_clone_to_owned();
        let stdout = stdout.map_err(|e| Error::io(Path::new("<stdout>"), &e))?;
        Ok(Self::Stdout(File::from(stdout)))
    }

    fn write(&self, bytes: &[u8], path: &Path) -> Result<()> {
        let mut file = match self {
            Self::File(aside) => aside.file(),
            Self::Stdout(file) => file,
        };
        file.write_all(bytes).map_err(|e| Error::io(path, &e))
    }

    fn finish(self) -> Result<()> {
        match self {
            Self::File(aside) => aside.commit(),
            Self::Stdout(_) => Ok(()),
        }
    }
}

fn side_file(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// Writes what is wanted of an archive as FASTA.
///
/// A compressed file gets its `.fai` and `.gzi` beside it.
pub fn unpack(from: &Archive, options: &UnpackOptions, job: &Job) -> Result<Unpacked> {
    if options.line_width == 0 {
        return Err(Error::input("a line has 1 base and more"));
    }
    let share = job.budget.pool() / ARCHIVE_SHARE;
    let account = job.budget.account("archive", share);
    let _held = job.budget.must_reserve(account, share)?;
    let archive = Arc::new(from.open_again(Memory::of(share))?);
    let room = usize::try_from(share / THREAD_BYTES).unwrap_or(usize::MAX);
    let threads = options.threads.min(room).max(1);
    // What a thread decodes into stays with it.
    let letters = job.budget.account("letters", threads as u64 * CHUNK_BASES);
    let _letters = job.budget.must_reserve(letters, threads as u64 * CHUNK_BASES)?;
    let target = Target::open(&options.output, options.force)?;
    let wants_index = options.gzip.is_some() && options.output != Path::new("-");
    let planner = std::sync::Mutex::new(Planner {
        records: Records::new(&archive, options.selection.clone()),
        rest: None,
        width: options.line_width,
        offset: 0,
        index: wants_index.then(Vec::new),
        counts: (0, 0),
    });
    let checks = match &options.selection {
        Selection::Samples(samples) if options.verify => Checks::new(&archive, samples)?,
        _ => None,
    };
    let lock = || planner.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let mut gzi = GziIndex::default();
    let mut written = 0_u64;
    let (result, stages) = {
        let write = |bytes: &[u8]| {
            Progress::add(&job.progress.bytes_out, bytes.len() as u64);
            target.write(bytes, &options.output)
        };
        run_stages(
            &archive,
            options,
            threads,
            |lease| lock().next_chunk(lease),
            checks,
            &mut gzi,
            &mut written,
            write,
            job,
        )
    };
    result?;
    target.finish()?;
    let planner = planner.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    if let Some(records) = planner.index {
        let fai = FaiIndex::new(records).to_bytes();
        seqmill_base::sink::write_atomically(&side_file(&options.output, ".fai"), &fai)?;
        let gzi = gzi.to_bytes();
        seqmill_base::sink::write_atomically(&side_file(&options.output, ".gzi"), &gzi)?;
    }
    let (records, bases) = planner.counts;
    Ok(Unpacked { records, bases, bytes: written, stages })
}

#[expect(clippy::too_many_arguments, reason = "the ends of one pipeline")]
fn run_stages(
    archive: &Archive,
    options: &UnpackOptions,
    threads: usize,
    next: impl FnMut(Lease) -> Result<Option<Chunk>> + Send,
    checks: Option<Checks>,
    gzi: &mut GziIndex,
    written: &mut u64,
    mut write: impl FnMut(&[u8]) -> Result<()> + Send,
    job: &Job,
) -> (Result<()>, Vec<StageFigures>) {
    let width = options.line_width;
    let room = (2 * threads as u64 + 2) * 2 * CHUNK_BASES;
    let plans = job.budget.account("plan", 1 << 20);
    let texts = job.budget.account("text", room);
    let plan_bytes = (CHUNK_PIECES / 16 * size_of::<Piece>()) as u64;
    let decoded = Pipeline::source("plan", 0, plans, plan_bytes, next).parallel(
        "decode",
        0,
        texts,
        |chunk: &Chunk| chunk.text_bytes,
        Vec::new,
        move |letters, chunk, mut lease| {
            let mut bytes = Vec::with_capacity(usize::try_from(chunk.text_bytes).unwrap_or(0));
            for piece in &chunk.pieces {
                write_piece(archive, piece, width, letters, &mut bytes)?;
                job.cancel.check()?;
            }
            lease.resize(bytes.capacity() as u64)?;
            Progress::add(&job.progress.records_out, chunk.pieces.len() as u64);
            Ok(Text { bytes, chunk, _lease: lease })
        },
    );
    let decoded = match checks {
        None => decoded,
        Some(checks) => checked(decoded, checks, width),
    };
    let threads = Threads::Shared(threads);
    let Some(level) = options.gzip else {
        let take = |text: Text| {
            *written += text.bytes.len() as u64;
            write(&text.bytes)
        };
        return decoded.run("write", 0, take, &threads, job);
    };
    let blocks = job.budget.account("blocks", room);
    let (result, stages) =
        compressed(decoded, blocks, level, gzi, written, &mut write, &threads, job);
    if result.is_err() {
        return (result, stages);
    }
    *written += EOF_MARKER.len() as u64;
    (write(&EOF_MARKER), stages)
}

/// Passes the text of pieces that follow each other to the checks.
fn check_text(checks: &mut Checks, text: &Text, width: u64) -> Result<()> {
    let mut rest = text.bytes.as_slice();
    for piece in &text.chunk.pieces {
        let size = usize::try_from(piece.text_bytes(width)).unwrap_or(usize::MAX);
        let (mut lines, behind) = rest.split_at(size.min(rest.len()));
        rest = behind;
        if let Some(header) = &piece.header {
            checks.record(piece.number, piece.contig, header)?;
            lines = lines.get(header.len() + 2..).unwrap_or_default();
        }
        lines = lines.strip_suffix(b"\n").unwrap_or(lines);
        let within = (piece.start - piece.record.0) % width;
        let line = usize::try_from(width - within).unwrap_or(usize::MAX);
        let (first, more) = lines.split_at(line.min(lines.len()));
        checks.letters(first);
        // Each of the others is behind the end of the line before it.
        for line in more.chunks(usize::try_from(width).unwrap_or(usize::MAX).saturating_add(1)) {
            checks.letters(line.get(1..).unwrap_or_default());
        }
        if piece.end == piece.record.1 {
            checks.end_record();
        }
    }
    Ok(())
}

/// Adds the stage that compares checksums.
fn checked(decoded: Pipeline<'_, Text>, mut checks: Checks, width: u64) -> Pipeline<'_, Text> {
    decoded.ordered("check", 0, move |text: Option<Text>, out| {
        let Some(text) = text else { return checks.finish() };
        check_text(&mut checks, &text, width)?;
        out.push(text);
        Ok(())
    })
}
