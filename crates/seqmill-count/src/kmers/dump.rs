//! Tables in the formats of others: JSON, columns of text, FASTA, histograms, Arrow and Parquet.

mod columns;

pub(super) use columns::Unfinished;
pub use columns::{TableBatches, table_schema};

use super::merge::TableCursor;
use super::skm::SkmTable;
use super::word::{Word, append_text};
use crate::with_kmer;
use seqmill_base::sink::AtomicFile;
use seqmill_base::{Error, Job, Result};
use seqmill_io::bgzf::{Compressor, EOF_MARKER, PAYLOAD_BYTES};
use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};

/// Text is handed on in portions of about this size.
const PORTION_BYTES: usize = 1 << 17;
/// Compression of text that is packed as BGZF.
const BGZF_LEVEL: i32 = 6;

/// A format of a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TableFormat {
    /// Our own.
    Skm,
    /// One object, k-mers as keys.
    Json,
    /// Two columns.
    Tsv,
    /// Counts as names.
    Fasta,
    /// Number of k-mers by count.
    Hist,
    /// Arrow IPC file.
    Arrow,
    /// Parquet.
    Parquet,
}

impl TableFormat {
    /// The format of a name.
    pub fn from_name(name: &str) -> Option<Self> {
        Some(match name {
            "skm" => Self::Skm,
            "json" => Self::Json,
            "tsv" => Self::Tsv,
            "fasta" => Self::Fasta,
            "hist" => Self::Hist,
            "arrow" => Self::Arrow,
            "parquet" => Self::Parquet,
            _ => return None,
        })
    }

    fn is_text(self) -> bool {
        matches!(self, Self::Json | Self::Tsv | Self::Fasta | Self::Hist)
    }
}

/// What is written where.
#[derive(Debug, Clone)]
pub struct OutputSpec {
    /// Format.
    pub format: TableFormat,
    /// File; `-` is standard output.
    pub path: PathBuf,
}

/// How tables are written.
#[derive(Debug, Clone, Copy, Default)]
pub struct DumpOptions {
    /// JSON with a line for each k-mer.
    pub pretty: bool,
    /// K-mers as text in Arrow and Parquet.
    pub kmer_text: bool,
    /// Counts above are folded into this one.
    pub hist_max: Option<u64>,
}

/// Text on its way to a file, packed as BGZF if its name says so.
struct TextSink<'w> {
    out: Box<dyn Write + 'w>,
    path: PathBuf,
    packer: Option<(Compressor, Vec<u8>)>,
    bytes: u64,
}

impl<'w> TextSink<'w> {
    fn new(out: Box<dyn Write + 'w>, path: &Path) -> Result<Self> {
        let packed = path.extension().is_some_and(|e| e == "gz");
        let packer = if packed { Some((Compressor::new(BGZF_LEVEL)?, Vec::new())) } else { None };
        Ok(Self { out, path: path.to_path_buf(), packer, bytes: 0 })
    }

    fn write(&mut self, text: &mut Vec<u8>, whole: bool) -> Result<()> {
        let path = &self.path;
        let failed = |e: std::io::Error| Error::io(path, &e);
        let Some((packer, packed)) = &mut self.packer else {
            self.out.write_all(text).map_err(failed)?;
            self.bytes += text.len() as u64;
            text.clear();
            return Ok(());
        };
        packed.clear();
        let end = if whole { text.len() } else { text.len() / PAYLOAD_BYTES * PAYLOAD_BYTES };
        for payload in text[..end].chunks(PAYLOAD_BYTES) {
            packer.append_block(payload, packed)?;
        }
        if whole {
            packed.extend_from_slice(&EOF_MARKER);
        }
        self.out.write_all(packed).map_err(failed)?;
        self.bytes += packed.len() as u64;
        text.drain(..end);
        Ok(())
    }
}

/// Writes a table; returns the bytes of the output.
pub fn dump_table(
    table: &SkmTable,
    output: &OutputSpec,
    options: DumpOptions,
    force: bool,
    job: &Job,
) -> Result<u64> {
    let account = job.budget.account("output", u64::MAX);
    let _buffers = job.budget.must_reserve(account, 1 << 20)?;
    let path = &output.path;
    if path == Path::new("-") {
        if !output.format.is_text() {
            return Err(Error::input("only text goes to stdout: json, tsv, fasta or hist"));
        }
        let out = Box::new(std::io::stdout().lock());
        return dump_text(table, output, options, out, job);
    }
    match output.format {
        TableFormat::Skm => copy_table(table, path, force),
        TableFormat::Arrow | TableFormat::Parquet => {
            columns::write(table, output, options, force, job)
        }
        _ => {
            let aside = AtomicFile::create(path, force)?;
            let bytes = dump_text(table, output, options, Box::new(aside.file()), job)?;
            aside.commit()?;
            Ok(bytes)
        }
    }
}

fn copy_table(table: &SkmTable, path: &Path, force: bool) -> Result<u64> {
    let aside = AtomicFile::create(path, force)?;
    let mut from = std::fs::File::open(table.path()).map_err(|e| Error::io(table.path(), &e))?;
    let bytes = std::io::copy(&mut from, &mut aside.file()).map_err(|e| Error::io(path, &e))?;
    aside.commit()?;
    Ok(bytes)
}

/// A text as a file of this name holds it: compressed if the name says so.
pub(super) fn packed_for(path: &Path, mut text: Vec<u8>) -> Result<Vec<u8>> {
    let mut packed = Vec::new();
    TextSink::new(Box::new(&mut packed), path)?.write(&mut text, true)?;
    Ok(packed)
}

fn dump_text(
    table: &SkmTable,
    output: &OutputSpec,
    options: DumpOptions,
    out: Box<dyn Write + '_>,
    job: &Job,
) -> Result<u64> {
    let mut sink = TextSink::new(out, &output.path)?;
    if output.format == TableFormat::Hist {
        let mut text = Vec::new();
        for (count, number) in stored_histogram(table, options.hist_max, job)? {
            text.extend_from_slice(format!("{count}\t{number}\n").as_bytes());
        }
        sink.write(&mut text, true)?;
    } else {
        with_kmer!(table.facts().k, K => dump_lines::<K>(table, output.format, options, &mut sink, job))?;
    }
    sink.out.flush().map_err(|e| Error::io(&output.path, &e))?;
    Ok(sink.bytes)
}

/// How many k-mers of a table have each count.
pub fn stored_histogram(
    table: &SkmTable,
    most: Option<u64>,
    job: &Job,
) -> Result<BTreeMap<u64, u64>> {
    with_kmer!(table.facts().k, K => histogram_of::<K>(table, most, job))
}

fn histogram_of<K: Word>(
    table: &SkmTable,
    most: Option<u64>,
    job: &Job,
) -> Result<BTreeMap<u64, u64>> {
    let mut sums = super::histogram::Histogram::default();
    let (mut kmers, mut counts): (Vec<K>, _) = (Vec::new(), Vec::new());
    for block in 0..table.blocks() {
        if block % 1024 == 0 {
            job.cancel.check()?;
        }
        kmers.clear();
        counts.clear();
        table.decode(block, &mut kmers, &mut counts)?;
        table.done_with(block);
        sums.add(&counts);
    }
    let mut folded = BTreeMap::new();
    for (count, number) in sums.iter() {
        *folded.entry(most.map_or(count, |most| count.min(most))).or_insert(0) += number;
    }
    Ok(folded)
}

fn dump_lines<K: Word>(
    table: &SkmTable,
    format: TableFormat,
    options: DumpOptions,
    sink: &mut TextSink<'_>,
    job: &Job,
) -> Result<()> {
    let k = table.facts().k;
    let mut cursor = TableCursor::<K>::new(table);
    let mut text = Vec::with_capacity(PORTION_BYTES + 4096);
    if format == TableFormat::Json {
        text.push(b'{');
    }
    let mut first = true;
    while let Some((kmer, count)) = cursor.next()? {
        match format {
            TableFormat::Json => {
                let comma: &[u8] = if first { b"" } else { b"," };
                text.extend_from_slice(comma);
                text.extend_from_slice(if options.pretty { b"\n  \"" } else { b"\"" });
                append_text(kmer, k, &mut text);
                text.extend_from_slice(if options.pretty { b"\": " } else { b"\":" });
                append_number(count, &mut text);
            }
            TableFormat::Fasta => {
                text.push(b'>');
                append_number(count, &mut text);
                text.push(b'\n');
                append_text(kmer, k, &mut text);
                text.push(b'\n');
            }
            _ => {
                append_text(kmer, k, &mut text);
                text.push(b'\t');
                append_number(count, &mut text);
                text.push(b'\n');
            }
        }
        first = false;
        if text.len() >= PORTION_BYTES {
            job.cancel.check()?;
            sink.write(&mut text, false)?;
        }
    }
    if format == TableFormat::Json {
        text.extend_from_slice(if options.pretty && !first { b"\n}\n" } else { b"}\n" });
    }
    sink.write(&mut text, true)
}

/// Appends a number in decimal digits.
pub(super) fn append_number(mut number: u64, text: &mut Vec<u8>) {
    let mut digits = [0; 20];
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            break;
        }
    }
    text.extend_from_slice(&digits[at..]);
}
