//! Counts that come as text: two columns, or JSON of the forms that this and other tools write.

use super::skm::{SkmTable, SkmWriter, TableFacts};
use super::word::{Word, canonical as canonical_of, parse_kmer};
use crate::with_kmer;
use seqmill_base::sink::AtomicFile;
use seqmill_base::{Error, FormatKind, Job, Result};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

/// K-mers sorted at once.
const RUN_KMERS: usize = 1 << 18;
/// Longest line of columns, and longest string of JSON.
const TOKEN_MAX: usize = 4096;

/// Whether a file is text rather than a table.
pub(super) fn is_text(path: &Path) -> Result<bool> {
    let mut head = [0; 4];
    let mut file = std::fs::File::open(path).map_err(|e| Error::io(path, &e))?;
    let got = file.read(&mut head).map_err(|e| Error::io(path, &e))?;
    Ok(!SkmTable::is_table(&head[..got]))
}

/// What has been read and not written yet, and the runs that were.
struct Runs<'r, K> {
    k: u32,
    canonical: bool,
    found: Vec<(K, u64)>,
    tables: Vec<SkmTable>,
    prefix: &'r Path,
    /// What is read.
    text: &'r Path,
    job: &'r Job,
}

impl<K: Word> Runs<'_, K> {
    /// Reads the whole text; what it says of itself.
    fn read(&mut self) -> Result<TextFacts> {
        let mut parser = Parser::open(self.text)?;
        parser.run(&mut |text, count| {
            self.add(text, count).map_err(Fault::Format)?;
            if self.found.len() >= RUN_KMERS {
                self.flush(Some(json!([]))).map_err(Fault::Other)?;
            }
            Ok(())
        })?;
        let said = parser.facts;
        if let Some(k) = said.k.filter(|k| *k != self.k) {
            let text = format!("says k = {k}, but its k-mers have {} bases", self.k);
            return Err(damaged(self.text, None, &text));
        }
        self.flush(said.chunk.map(|id| json!([[id, id]])))?;
        Ok(said)
    }

    fn add(&mut self, text: &[u8], count: u64) -> std::result::Result<(), String> {
        if text.len() != self.k as usize {
            return Err(format!("a k-mer of {} bases among those of {}", text.len(), self.k));
        }
        let kmer: K = parse_kmer(text)
            .ok_or_else(|| format!("{:?} is no k-mer", String::from_utf8_lossy(text)))?;
        if self.canonical && kmer != canonical_of(kmer, self.k) {
            let text = String::from_utf8_lossy(text);
            return Err(format!(
                "{text:?} is not the lesser strand in counts said to be canonical"
            ));
        }
        if count > 0 {
            self.found.push((kmer, count));
        }
        Ok(())
    }

    /// Writes what was found; `chunks` is the footer's list of them, if the text has one.
    fn flush(&mut self, chunks: Option<Value>) -> Result<()> {
        self.job.cancel.check()?;
        self.found.sort_unstable();
        let mut kmers: Vec<K> = Vec::with_capacity(self.found.len());
        let mut counts: Vec<u64> = Vec::with_capacity(self.found.len());
        let beyond = || damaged(self.text, None, "the sum of counts is beyond 64 bits");
        for (kmer, count) in self.found.drain(..) {
            match counts.last_mut() {
                Some(sum) if kmers.last() == Some(&kmer) => {
                    *sum = sum.checked_add(count).ok_or_else(beyond)?;
                }
                _ => {
                    kmers.push(kmer);
                    counts.push(count);
                }
            }
        }
        let total = counts.iter().try_fold(0, |sum: u64, count| sum.checked_add(*count));
        let mut name = self.prefix.as_os_str().to_owned();
        name.push(format!("-{:05}.skm", self.tables.len()));
        let path = PathBuf::from(name);
        let file = AtomicFile::create(&path, true)?;
        let account = self.job.budget.account("import", u64::MAX);
        let lease = self.job.budget.must_reserve(account, 0)?;
        let mut writer = SkmWriter::<K>::new(file.file(), &path, self.k, lease);
        writer.put(&kmers, &counts)?;
        let facts = TableFacts {
            k: self.k,
            canonical: self.canonical,
            flags: 0,
            distinct: kmers.len() as u64,
            total: total.ok_or_else(beyond)?,
        };
        let mut footer = json!({ "inputs": [] });
        if let Some(chunks) = chunks {
            footer["chunks"] = chunks;
        }
        writer.finish(&facts, &footer)?;
        file.commit()?;
        self.tables.push(SkmTable::open(&path)?.shown_as(self.text));
        Ok(())
    }
}

/// The length of the k-mers of a text, if it says so or has any.
pub(super) fn length_of(path: &Path) -> Result<Option<u32>> {
    Ok(first_facts(path)?.k)
}

/// Makes sorted tables `PREFIX-NNNNN.skm` of a text file; `k` and `canonical` are of one that says
/// neither.
pub(super) fn text_to_tables(
    path: &Path,
    k: Option<u32>,
    canonical: Option<bool>,
    prefix: &Path,
    job: &Job,
) -> Result<Vec<SkmTable>> {
    let facts = first_facts(path)?;
    let k = facts
        .k
        .or(k)
        .ok_or_else(|| damaged(path, None, "holds no k-mer: tell by -k how long they would be"))?;
    if !(1..=255).contains(&k) {
        return Err(damaged(path, None, "a k-mer has 1 to 255 bases"));
    }
    let canonical = facts.canonical.or(canonical).unwrap_or(false);
    with_kmer!(k, K => {
        let account = job.budget.account("text", u64::MAX);
        let held = RUN_KMERS * (2 * size_of::<(K, u64)>() + size_of::<K>());
        let _lease = job.budget.must_reserve(account, held as u64)?;
        let (found, text) = (Vec::new(), path);
        let mut runs = Runs::<K> { k, canonical, found, tables: Vec::new(), prefix, text, job };
        let said = runs.read()?;
        if let Some(canonical) = said.canonical.filter(|said| *said != canonical) {
            // It says so only behind its k-mers.
            runs.tables.clear();
            runs.canonical = canonical;
            runs.read()?;
        }
        Ok(runs.tables)
    })
}

fn damaged(path: &Path, line: Option<u64>, what: &str) -> Error {
    let error = Error::format(FormatKind::Other, what).at_path(path);
    match line {
        Some(line) => error.at_line(line),
        None => error,
    }
}

/// What went wrong with a k-mer that was read.
enum Fault {
    Format(String),
    Other(Error),
}

type Take<'t> = dyn FnMut(&[u8], u64) -> std::result::Result<(), Fault> + 't;

/// What a text says of itself, as far as it was read.
#[derive(Debug, Clone, Copy, Default)]
struct TextFacts {
    k: Option<u32>,
    canonical: Option<bool>,
    /// The chunk of a plan that it is.
    chunk: Option<u64>,
}

/// The length of the first k-mer, and what the text says before.
fn first_facts(path: &Path) -> Result<TextFacts> {
    let mut first = None;
    let mut parser = Parser::open(path)?;
    let result = parser.run(&mut |text, _| {
        first = Some(text.len() as u32);
        // Enough is known.
        Err(Fault::Other(Error::cancelled()))
    });
    match result {
        Err(error) if first.is_none() => Err(error),
        _ => Ok(TextFacts { k: first.or(parser.facts.k), ..parser.facts }),
    }
}

/// Reads columns or JSON as a stream.
struct Parser {
    path: PathBuf,
    reader: BufReader<Box<dyn Read>>,
    line: u64,
    token: Vec<u8>,
    facts: TextFacts,
}

impl Parser {
    fn open(path: &Path) -> Result<Self> {
        let source = seqmill_io::open_source(path, seqmill_io::IoMode::Read)?;
        let mut magic = [0; 2];
        let got = source.read_at(&mut magic, 0)?;
        let inner: Box<dyn Read> = if magic[..got] == [0x1f, 0x8b] {
            Box::new(seqmill_io::gzip::GzipReader::new(source))
        } else {
            Box::new(std::fs::File::open(path).map_err(|e| Error::io(path, &e))?)
        };
        Ok(Self {
            path: path.to_path_buf(),
            reader: BufReader::with_capacity(1 << 16, inner),
            line: 1,
            token: Vec::new(),
            facts: TextFacts::default(),
        })
    }

    fn fail<T>(&self, what: &str) -> Result<T> {
        Err(damaged(&self.path, Some(self.line), what))
    }

    fn peek(&mut self) -> Result<Option<u8>> {
        let buffer = self.reader.fill_buf();
        Ok(buffer.map_err(|e| explain(&self.path, &e))?.first().copied())
    }

    /// The next byte that is no white space.
    fn peek_solid(&mut self) -> Result<Option<u8>> {
        while let Some(byte) = self.peek()? {
            if !byte.is_ascii_whitespace() {
                return Ok(Some(byte));
            }
            self.line += u64::from(byte == b'\n');
            self.reader.consume(1);
        }
        Ok(None)
    }

    fn run(&mut self, take: &mut Take<'_>) -> Result<()> {
        match self.peek_solid()? {
            Some(b'{') => {
                self.object(0, take)?;
                match self.peek_solid()? {
                    None => Ok(()),
                    Some(_) => self.fail("text stands behind the JSON object"),
                }
            }
            Some(_) => self.columns(take),
            None => Ok(()),
        }
    }

    fn give(&mut self, count: u64, take: &mut Take<'_>) -> Result<()> {
        match take(&self.token, count) {
            Ok(()) => Ok(()),
            Err(Fault::Format(text)) => self.fail(&text),
            Err(Fault::Other(error)) => Err(error),
        }
    }

    fn columns(&mut self, take: &mut Take<'_>) -> Result<()> {
        let mut line = Vec::new();
        loop {
            line.clear();
            let limited = &mut (&mut self.reader).take(TOKEN_MAX as u64);
            let got = limited.read_until(b'\n', &mut line).map_err(|e| explain(&self.path, &e))?;
            if got == 0 {
                return Ok(());
            }
            if line.last() != Some(&b'\n') && got == TOKEN_MAX {
                return self.fail("a line is too long for a k-mer and its count");
            }
            let mut words = line.split(u8::is_ascii_whitespace).filter(|w| !w.is_empty());
            match (words.next(), words.next(), words.next()) {
                (None, ..) => {}
                (Some(kmer), Some(count), None) => {
                    let Some(count) = parse_count(count) else {
                        return self.fail("the second column is no count");
                    };
                    self.token.clear();
                    self.token.extend_from_slice(kmer);
                    self.give(count, take)?;
                }
                _ => return self.fail("a line has other than two columns"),
            }
            self.line += 1;
        }
    }

    fn expect(&mut self, wanted: u8) -> Result<()> {
        if self.peek_solid()? != Some(wanted) {
            return self.fail(&format!("JSON is malformed: no {:?}", wanted as char));
        }
        self.reader.consume(1);
        Ok(())
    }

    /// A string without escapes into the token.
    fn string(&mut self) -> Result<()> {
        self.expect(b'"')?;
        self.token.clear();
        loop {
            match self.peek()? {
                Some(b'"') => {
                    self.reader.consume(1);
                    return Ok(());
                }
                Some(b'\\' | 0..=0x1f) | None => {
                    return self.fail("JSON has a string that is no name");
                }
                Some(byte) if self.token.len() < TOKEN_MAX => {
                    self.token.push(byte);
                    self.reader.consume(1);
                }
                Some(_) => return self.fail("JSON has a string that is too long"),
            }
        }
    }

    /// A number, as its text, into the token.
    fn number(&mut self) -> Result<Vec<u8>> {
        let mut text = Vec::new();
        self.peek_solid()?;
        while let Some(byte) = self.peek()? {
            if !(byte.is_ascii_alphanumeric() || b"+-.".contains(&byte)) || text.len() > 64 {
                break;
            }
            text.push(byte);
            self.reader.consume(1);
        }
        Ok(text)
    }

    /// An object of k-mers and counts, or an envelope around one.
    fn object(&mut self, depth: u32, take: &mut Take<'_>) -> Result<()> {
        self.expect(b'{')?;
        if self.peek_solid()? == Some(b'}') {
            self.reader.consume(1);
            return Ok(());
        }
        loop {
            self.string()?;
            let name = self.token.clone();
            self.expect(b':')?;
            match self.peek_solid()? {
                Some(b'{') if depth == 0 && (name == b"kmers" || name == b"kmer_map") => {
                    self.object(1, take)?;
                }
                Some(b'{') if depth == 0 => self.object(2, &mut |_, _| Ok(()))?,
                Some(b'"') if depth != 1 => {
                    self.string()?;
                    if name == b"strand" {
                        self.facts.canonical = match self.token.as_slice() {
                            b"canonical" => Some(true),
                            b"forward" => Some(false),
                            _ => return self.fail("strand is forward or canonical"),
                        };
                    }
                }
                _ => {
                    let number = self.number()?;
                    let Some(count) = parse_count(&number) else {
                        return self.fail("JSON has a value that is no count");
                    };
                    // A k-mer holds only A, C, G and T: no other name can be taken for one.
                    let is_kmer = name.iter().all(|b| b"ACGTacgt".contains(b)) && !name.is_empty();
                    match name.as_slice() {
                        b"k" if depth != 1 => {
                            self.facts.k = Some(u32::try_from(count).unwrap_or(u32::MAX));
                        }
                        b"chunk_id" if depth == 0 => self.facts.chunk = Some(count),
                        _ => {}
                    }
                    self.token = name;
                    if depth == 1 || (depth == 0 && is_kmer) {
                        self.give(count, take)?;
                    }
                }
            }
            match self.peek_solid()? {
                Some(b',') => self.reader.consume(1),
                _ => return self.expect(b'}'),
            }
        }
    }
}

fn parse_count(text: &[u8]) -> Option<u64> {
    std::str::from_utf8(text).ok()?.parse().ok()
}

fn explain(path: &Path, error: &std::io::Error) -> Error {
    if error.raw_os_error().is_some() {
        return Error::io(path, error);
    }
    let kind = match error.kind() {
        std::io::ErrorKind::UnexpectedEof => FormatKind::Truncated,
        _ => FormatKind::Inflate,
    };
    Error::format(kind, format!("the text cannot be inflated: {error}")).at_path(path)
}
