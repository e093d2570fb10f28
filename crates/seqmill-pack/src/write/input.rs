//! Samples as they arrive: records of files sorted into samples, letters into codes.

use super::options::{LetterRule, PackOptions, SampleInput, SampleRule};
use crate::archive::{Archive, Memory, Sample};
use crate::batch::short_name;
use crate::checks::Checks;
use crate::symbols::{CODE_N, CODES};
use rustc_hash::FxBuildHasher;
use seqmill_base::budget::AccountId;
use seqmill_base::{Error, FormatKind, Job, Result};
use seqmill_io::fasta::SampleChecks;
use seqmill_io::sequence::{Piece, SequenceFormat, SequenceOptions, SequenceStream};
use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use xxhash_rust::xxh3::xxh3_128;

/// Bases taken out of another archive at a time.
const ARCHIVE_STEP: usize = 1 << 16;
/// Warnings that are told one by one.
const WARNINGS_TOLD: u64 = 20;
/// Codes that are letters.
const LETTER_CODES: u8 = 16;

/// The next thing of the input.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Item {
    /// A sample begins.
    Sample(Vec<u8>),
    /// A contig begins.
    Contig(Vec<u8>),
    /// Bases, to be had from [`Input::codes`].
    Codes,
    /// The contig ends.
    EndContig,
    /// The sample ends.
    EndSample,
}

/// What was lost or left out.
#[derive(Debug, Clone, Default)]
pub(crate) struct Notes {
    pub(crate) warnings: Vec<String>,
    pub(crate) empty_records: u64,
    pub(crate) letters_changed: u64,
    /// Samples with changed letters and how many.
    pub(crate) changed_in: Vec<(String, u64)>,
    pub(crate) renamed: u64,
}

type Names = hashbrown::HashMap<u128, u32, FxBuildHasher>;

struct ArchiveWalk {
    archive: Arc<Archive>,
    samples: VecDeque<(usize, String)>,
    /// A sample, its number, the contig at hand, and how far it was read.
    open: Option<(Sample, usize, usize, u64)>,
    /// What is wrong must not get a checksum that says it is right.
    checks: Option<Checks>,
}

/// Everything that goes into an archive, in order.
pub(crate) struct Input {
    files: VecDeque<(Option<String>, PathBuf, bool)>,
    stream: Option<SequenceStream>,
    archive: Option<ArchiveWalk>,
    rule: SampleRule,
    letters: LetterRule,
    refuse_empty: bool,
    rename: bool,
    items: VecDeque<Item>,
    codes: Vec<u8>,
    letter_buffer: Vec<u8>,
    header: Option<Vec<u8>>,
    /// The sample at hand, and whether the file at hand says so.
    sample: Option<String>,
    file_sample: Option<String>,
    /// No more files of the sample follow.
    file_is_last: bool,
    sample_names: Names,
    contig_names: Names,
    /// Symbols that were changed in the sample, and in the record since they were counted there.
    changed: u64,
    record_changed: u64,
    record_bases: u64,
    job: Job,
    account: AccountId,
    read_ahead: usize,
    pub(crate) notes: Notes,
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

impl Input {
    /// The files of the options, or samples of the archive `from`.
    pub(crate) fn new(
        options: &PackOptions,
        from: Option<&Archive>,
        job: &Job,
        account: AccountId,
    ) -> Result<Self> {
        let files = options
            .inputs
            .iter()
            .flat_map(|SampleInput { name, paths }| {
                let last = paths.len().saturating_sub(1);
                let one =
                    move |(i, path): (usize, &PathBuf)| (name.clone(), path.clone(), i == last);
                paths.iter().enumerate().map(one)
            })
            .collect();
        let archive = match from {
            Some(from) => {
                let share = job.budget.pool() / 4;
                let held = job.budget.account("source archive", share);
                std::mem::forget(job.budget.must_reserve(held, share)?);
                let archive = Arc::new(from.open_again(Memory::of(share))?);
                let samples = options.archive_samples.clone();
                let numbers: Vec<usize> = samples.iter().map(|(number, _)| *number).collect();
                let checks = Checks::new(&archive, &numbers)?;
                Some(ArchiveWalk { archive, samples: samples.into(), open: None, checks })
            }
            None => None,
        };
        Ok(Self {
            files,
            stream: None,
            archive,
            rule: options.samples,
            letters: options.letters,
            refuse_empty: options.refuse_empty,
            rename: options.rename_duplicates,
            items: VecDeque::new(),
            codes: Vec::new(),
            letter_buffer: Vec::new(),
            header: None,
            sample: None,
            file_sample: None,
            file_is_last: false,
            sample_names: Names::default(),
            contig_names: Names::default(),
            changed: 0,
            record_changed: 0,
            record_bases: 0,
            job: job.clone(),
            account,
            read_ahead: usize::from(options.threads > 1),
            notes: Notes::default(),
        })
    }

    /// Names that are taken already.
    pub(crate) fn keep_names<'n>(&mut self, names: impl Iterator<Item = &'n [u8]>) {
        self.sample_names.extend(names.map(|name| (xxh3_128(name), 1)));
    }

    /// The bases of [`Item::Codes`].
    pub(crate) fn codes(&self) -> &[u8] {
        &self.codes
    }

    pub(crate) fn next(&mut self) -> Result<Option<Item>> {
        loop {
            if let Some(item) = self.items.pop_front() {
                return Ok(Some(item));
            }
            let more =
                if self.archive.is_some() { self.step_archive()? } else { self.step_files()? };
            if !more && self.items.is_empty() {
                return Ok(None);
            }
        }
    }

    /// Takes the next piece of the files; false at the end of the last one.
    fn step_files(&mut self) -> Result<bool> {
        let Some(mut stream) = self.stream.take() else {
            let Some((name, path, last)) = self.files.pop_front() else {
                self.close_sample();
                return Ok(false);
            };
            self.file_sample = name;
            self.file_is_last = last;
            let options = SequenceOptions { threads: self.read_ahead, ..Default::default() };
            self.stream = Some(SequenceStream::open(&path, options, &self.job, self.account)?);
            return Ok(true);
        };
        let done = self.take_piece(&mut stream)?;
        if done {
            for warning in stream.warnings() {
                self.warn(warning.clone());
            }
            if self.file_is_last {
                if let Some(name) = self.file_sample.clone().filter(|_| self.sample.is_none()) {
                    self.warn(format!("sample {name:?} has no sequence; it is left out"));
                }
                self.close_sample();
            }
        } else {
            self.stream = Some(stream);
        }
        Ok(true)
    }

    /// One piece of the stream; true at its end.
    fn take_piece(&mut self, stream: &mut SequenceStream) -> Result<bool> {
        let (path, record) = (stream.path().to_path_buf(), stream.records().saturating_sub(1));
        let piece = stream.next_piece()?;
        match piece {
            None => return Ok(true),
            Some(Piece::Start { header, .. }) => {
                let header = header.to_vec();
                if stream.format() == Some(SequenceFormat::Fastq) {
                    let what = "this is FASTQ, and an archive holds no qualities; give FASTA";
                    return Err(Error::format(FormatKind::Sequence, what).at_path(&path));
                }
                (self.record_bases, self.record_changed) = (0, 0);
                self.header = Some(header);
            }
            Some(Piece::Bases(bases)) => {
                translate(bases, &mut self.codes);
                if self.codes.iter().fold(0, |all, &c| all | c) >= LETTER_CODES {
                    self.treat_letters(bases.to_vec().as_slice(), &path, record)?;
                }
                self.record_bases += bases.len() as u64;
                if !self.codes.is_empty() {
                    if let Some(header) = self.header.take() {
                        self.begin_contig(header, &path, record)?;
                    }
                    self.changed += std::mem::take(&mut self.record_changed);
                    self.items.push_back(Item::Codes);
                }
            }
            Some(Piece::Qualities(_)) => {}
            Some(Piece::End { .. }) => self.end_record(&path, record)?,
        }
        Ok(false)
    }

    fn end_record(&mut self, path: &Path, record: u64) -> Result<()> {
        if let Some(header) = self.header.take() {
            self.notes.empty_records += 1;
            let what = format!("record {:?} has no sequence", text(short_name(&header)));
            if self.refuse_empty {
                return Err(Error::format(FormatKind::Sequence, what)
                    .at_path(path)
                    .at_record(record));
            }
            if self.notes.empty_records <= WARNINGS_TOLD {
                self.warn(format!("{}: {what}; it is left out", path.display()));
            }
            return Ok(());
        }
        self.changed += std::mem::take(&mut self.record_changed);
        self.items.push_back(Item::EndContig);
        if self.file_sample.is_none() && self.rule == SampleRule::Record {
            self.close_sample();
        }
        Ok(())
    }

    fn warn(&mut self, warning: String) {
        self.notes.warnings.push(warning);
    }

    /// Symbols that are no letters.
    fn treat_letters(&mut self, bases: &[u8], path: &Path, record: u64) -> Result<()> {
        let bad = |c: u8| c >= LETTER_CODES;
        let count = self.codes.iter().filter(|&&c| bad(c)).count() as u64;
        match self.letters {
            LetterRule::Refuse => {
                let at = self.codes.iter().position(|&c| bad(c)).unwrap_or(0);
                let symbol = char::from(bases.get(at).copied().unwrap_or(b'?')).escape_default();
                let position = self.record_bases + at as u64 + 1;
                let what = format!(
                    "'{symbol}' at base {position} is no letter of sequence; letters n makes N of \
                     such symbols, letters drop leaves them out"
                );
                return Err(Error::format(FormatKind::Sequence, what)
                    .at_path(path)
                    .at_record(record));
            }
            LetterRule::N => {
                for code in self.codes.iter_mut().filter(|c| bad(**c)) {
                    *code = CODE_N;
                }
            }
            LetterRule::Drop => self.codes.retain(|&c| !bad(c)),
        }
        self.record_changed += count;
        self.notes.letters_changed += count;
        Ok(())
    }

    /// The first bases of a record have come: its contig begins, and perhaps its sample.
    fn begin_contig(&mut self, mut header: Vec<u8>, path: &Path, record: u64) -> Result<()> {
        let wrong = |what: String| {
            Err(Error::format(FormatKind::Sequence, what).at_path(path).at_record(record))
        };
        if short_name(&header).is_empty() {
            return wrong("a record has no name".to_owned());
        }
        if let Some(byte) = header.iter().find(|b| !b.is_ascii() || **b == 0) {
            return wrong(format!(
                "the name {:?} has the byte {byte}; an archive holds ASCII names only",
                text(&header)
            ));
        }
        let sample = match (&self.file_sample, self.rule) {
            (Some(name), _) => name.clone(),
            (None, SampleRule::Pansn) => {
                let name = short_name(&header);
                let Some(prefix) = pansn_sample(name) else {
                    return wrong(format!("the name {:?} does not begin with SAMPLE#", text(name)));
                };
                text(prefix)
            }
            (None, _) => text(short_name(&header)),
        };
        if self.sample.as_deref() != Some(&sample) {
            self.close_sample();
            self.open_sample(sample).map_err(|e| e.at_path(path).at_record(record))?;
        }
        let name = short_name(&header).to_vec();
        if let Some(new) = number_name(&mut self.contig_names, &name) {
            if !self.rename {
                return wrong(format!(
                    "the sample has two contigs {:?}; duplicates rename tells them apart",
                    text(&name)
                ));
            }
            let rest = header.split_off(name.len());
            header = new;
            header.extend(rest);
            self.notes.renamed += 1;
        }
        self.items.push_back(Item::Contig(header));
        Ok(())
    }

    fn open_sample(&mut self, name: String) -> Result<()> {
        check_sample_name(&name)?;
        let mut stored = name.clone().into_bytes();
        if let Some(new) = number_name(&mut self.sample_names, name.as_bytes()) {
            let again = self.file_sample.is_none() && self.rule == SampleRule::Pansn;
            if !self.rename || again {
                let why = if again { "; its records must be adjacent" } else { "" };
                let what = format!("the archive has a sample {name:?} already{why}");
                return Err(if self.file_sample.is_some() {
                    Error::input(what)
                } else {
                    Error::format(FormatKind::Sequence, what)
                });
            }
            stored = new;
            self.notes.renamed += 1;
        }
        self.contig_names.clear();
        self.changed = 0;
        self.sample = Some(name);
        self.items.push_back(Item::Sample(stored));
        Ok(())
    }

    fn close_sample(&mut self) {
        if let Some(name) = self.sample.take() {
            if self.changed > 0 {
                self.notes.changed_in.push((name, std::mem::take(&mut self.changed)));
            }
            self.items.push_back(Item::EndSample);
        }
    }

    /// Takes the next piece of another archive.
    fn step_archive(&mut self) -> Result<bool> {
        let Some(mut walk) = self.archive.take() else { return Ok(false) };
        let more = self.walk_archive(&mut walk);
        self.archive = Some(walk);
        more
    }

    fn walk_archive(&mut self, walk: &mut ArchiveWalk) -> Result<bool> {
        let Some((sample, number, contig, at)) = walk.open.take() else {
            let Some((number, name)) = walk.samples.pop_front() else {
                walk.checks.take().map_or(Ok(()), |mut checks| checks.finish())?;
                return Ok(false);
            };
            self.file_sample = Some(name.clone());
            self.open_sample(name)?;
            walk.open = Some((walk.archive.sample(number)?, number, 0, 0));
            return Ok(true);
        };
        let Some(view) = sample.contig(contig) else {
            self.close_sample();
            return Ok(true);
        };
        if at == 0 {
            if let Some(checks) = &mut walk.checks {
                checks.record(number, contig, view.header())?;
            }
            self.items.push_back(Item::Contig(view.header().to_vec()));
        }
        let left = usize::try_from(view.length() - at).unwrap_or(usize::MAX);
        self.letter_buffer.resize(left.min(ARCHIVE_STEP), 0);
        walk.archive.read(view, at, &mut self.letter_buffer)?;
        translate(&self.letter_buffer, &mut self.codes);
        self.items.push_back(Item::Codes);
        let next = at + self.letter_buffer.len() as u64;
        let is_end = next == view.length();
        if let Some(checks) = &mut walk.checks {
            checks.letters(&self.letter_buffer);
            if is_end {
                checks.end_record();
            }
        }
        if is_end {
            self.items.push_back(Item::EndContig);
            walk.open = Some((sample, number, contig + 1, 0));
        } else {
            walk.open = Some((sample, number, contig, next));
        }
        Ok(true)
    }
}

/// Fails for a name that no sample can have: ASCII in one line, which is how names are listed.
pub(crate) fn check_sample_name(name: &str) -> Result<()> {
    if name.is_empty() || !name.is_ascii() || name.contains(['\0', '\n', '\r']) {
        let what = format!("the sample name {name:?} is not possible: ASCII in one line only");
        return Err(Error::input(what));
    }
    Ok(())
}

fn translate(letters: &[u8], codes: &mut Vec<u8>) {
    codes.clear();
    codes.extend(letters.iter().map(|&b| CODES.get(usize::from(b)).copied().unwrap_or(0xff)));
}

/// `sample#haplotype` of `sample#haplotype#contig`, `sample` of `sample#contig`.
fn pansn_sample(name: &[u8]) -> Option<&[u8]> {
    let mut marks = memchr::memchr_iter(b'#', name);
    let first = marks.next()?;
    name.get(..marks.next().unwrap_or(first)).filter(|prefix| !prefix.is_empty())
}

/// Notes a name; if it was there already, gives it with a number.
fn number_name(names: &mut Names, name: &[u8]) -> Option<Vec<u8>> {
    let times = names.entry(xxh3_128(name)).and_modify(|n| *n += 1).or_insert(1);
    if *times == 1 {
        return None;
    }
    let mut number = *times;
    loop {
        let new = [name, b".", number.to_string().as_bytes()].concat();
        if names.insert(xxh3_128(&new), 1).is_none() {
            return Some(new);
        }
        number += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_come_again_get_a_number() {
        let mut names = Names::default();
        assert_eq!(number_name(&mut names, b"a"), None);
        assert_eq!(number_name(&mut names, b"a.2"), None);
        assert_eq!(number_name(&mut names, b"a"), Some(b"a.3".to_vec()));
        assert_eq!(number_name(&mut names, b"a"), Some(b"a.4".to_vec()));
    }

    #[test]
    fn samples_of_names() {
        assert_eq!(pansn_sample(b"HG002#1#chr1"), Some(&b"HG002#1"[..]));
        assert_eq!(pansn_sample(b"chm13#chr1"), Some(&b"chm13"[..]));
        assert_eq!(pansn_sample(b"chr1"), None);
    }
}
