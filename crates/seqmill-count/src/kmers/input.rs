//! Inputs of a counting job: what each gives as text, in units that a resumed job can skip.

mod bam;

use super::batch::{BATCH_BYTES, Batch, RECORD_BREAK};
use super::engine::BatchSource;
use bam::BamReads;
pub use bam::{ReadFlags, is_bam};
use seqmill_base::budget::AccountId;
use seqmill_base::{Error, Job, Lease, Progress, Result};
use seqmill_io::Source;
use seqmill_io::fasta::OpenArchive;
use seqmill_io::sequence::{
    Piece, SequenceFormat, SequenceOptions, SequenceStream, TextPart, is_archive_input,
    open_sequence,
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// First bytes of gzip and BGZF.
const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];

/// Stretches of records that alone are counted, merged and sorted: by name, 0-based half-open.
pub type Stretches = BTreeMap<Vec<u8>, Vec<(u64, u64)>>;

/// Which text is counted.
#[derive(Debug, Clone, Default)]
pub struct TextRules {
    /// FASTQ and BAM: bases of lower quality are breaks.
    pub min_base_quality: u8,
    /// BAM: which reads.
    pub flags: ReadFlags,
    /// BAM: reads are turned back to the strand that was sequenced.
    pub sequenced_strand: bool,
    /// FASTA: only these.
    pub regions: Option<Stretches>,
    /// A missing end marker is an error.
    pub strict: bool,
    /// FASTA: the part of each input whose k-mers are counted, those that begin in it; empty: all.
    pub parts: Vec<Option<TextPart>>,
    /// Lower case is no base: what ends the last windows of a part.
    pub skip_lower: bool,
    /// How archives are opened; without, there are none.
    pub archives: Option<OpenArchive>,
}

/// What was found in an input.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InputFacts {
    /// Base name.
    pub name: String,
    /// Bytes of the file, where it is one.
    pub size: Option<u64>,
    /// Records.
    pub records: u64,
    /// Symbols of the sequences.
    pub bases: u64,
    /// Those that are no bases, or were masked.
    pub skipped: u64,
}

enum Open {
    Text(Box<SequenceStream>),
    Bam(Box<BamReads>),
}

/// Reads all inputs one after the other.
pub(super) struct Inputs<'a> {
    paths: &'a [PathBuf],
    rules: &'a TextRules,
    job: Job,
    account: AccountId,
    threads: usize,
    k: usize,
    open: Option<Open>,
    /// The input at hand.
    at: usize,
    pub(super) facts: Vec<InputFacts>,
    pub(super) warnings: Vec<String>,
    /// A unit ends with the record in which its bases reach this.
    unit_bases: u64,
    in_unit: u64,
    unit_ended: bool,
    /// Units to read over.
    skip: u64,
    /// The end of the batch before, if its record goes on.
    carry: Vec<u8>,
    /// Position in the record at hand.
    position: u64,
    held: Held,
    /// Bases taken from behind the part at hand.
    beyond: usize,
    stretches: Vec<(u64, u64)>,
    seen: std::collections::BTreeSet<Vec<u8>>,
    /// Records that the progress does not know of yet.
    untold: u64,
}

/// The bases of a record that are given on only when the record is whole: a read of BAM, or one
/// whose qualities come behind all of its bases.
struct Held {
    bases: Vec<u8>,
    /// Those whose quality was looked at.
    masked: usize,
    /// Those that were given on.
    given: usize,
    whole: bool,
    lease: Lease,
}

impl Held {
    fn add(&mut self, bases: &[u8]) -> Result<()> {
        self.reserve(bases.len())?;
        self.bases.extend_from_slice(bases);
        Ok(())
    }

    fn reserve(&mut self, bases: usize) -> Result<()> {
        let (held, needed) = (self.bases.capacity(), self.bases.len() + bases);
        if needed > held {
            // Both are there while it grows.
            let more = (needed + needed / 4).max(BATCH_BYTES);
            self.lease.note_need(2 * (held + more) as u64);
            self.lease.resize((held + more) as u64)?;
            self.bases.reserve_exact(more - self.bases.len());
        }
        Ok(())
    }

    /// Makes breaks of the next bases whose quality is too low.
    fn mask(&mut self, qualities: &[u8], least: u8) {
        for (base, quality) in self.bases[self.masked..].iter_mut().zip(qualities) {
            if *quality < least {
                *base = b'N';
            }
        }
        self.masked += qualities.len();
    }

    /// The next bases of a whole record, as many as a batch has room for, and where they stand in
    /// it; nothing when all were given.
    fn next(&mut self, room: usize) -> Option<(u64, &[u8])> {
        let begin = self.given;
        self.given = (begin + room.max(1)).min(self.bases.len());
        (begin < self.given).then(|| (begin as u64, &self.bases[begin..self.given]))
    }

    fn clear(&mut self) {
        self.bases.clear();
        (self.masked, self.given, self.whole) = (0, 0, false);
    }
}

impl<'a> Inputs<'a> {
    pub(super) fn new(
        paths: &'a [PathBuf],
        rules: &'a TextRules,
        k: usize,
        threads: usize,
        unit_bases: u64,
        job: &Job,
    ) -> Result<Self> {
        let account = job.budget.account("input", u64::MAX);
        let lease = job.budget.must_reserve(account, 0)?;
        let mut facts = Vec::with_capacity(paths.len());
        for path in paths {
            // How much text an archive holds is not known before it was read.
            let size = if path == Path::new("-") || is_archive_input(path) {
                None
            } else {
                let meta = std::fs::metadata(path).map_err(|e| Error::io(path, &e))?;
                meta.is_file().then_some(meta.len())
            };
            let name = path.file_name().unwrap_or(path.as_os_str());
            let name = name.to_string_lossy().into_owned();
            facts.push(InputFacts { name, size, records: 0, bases: 0, skipped: 0 });
        }
        if facts.iter().all(|f| f.size.is_some()) {
            let total = facts.iter().filter_map(|f| f.size).sum();
            job.progress.bytes_total.store(total, std::sync::atomic::Ordering::Relaxed);
        }
        Ok(Self {
            paths,
            rules,
            job: job.clone(),
            account,
            threads,
            k,
            open: None,
            at: 0,
            facts,
            warnings: Vec::new(),
            unit_bases,
            in_unit: 0,
            unit_ended: false,
            skip: 0,
            carry: Vec::new(),
            position: 0,
            held: Held { bases: Vec::new(), masked: 0, given: 0, whole: false, lease },
            beyond: 0,
            stretches: Vec::new(),
            seen: std::collections::BTreeSet::new(),
            untold: 0,
        })
    }

    /// Reads over so many units.
    pub(super) fn skip_units(&mut self, units: u64, facts: Vec<InputFacts>) -> Result<()> {
        if units == 0 {
            return Ok(());
        }
        self.skip = units;
        let mut batch = Batch::default();
        while self.next(&mut batch)? {
            batch.text.clear();
        }
        // What was skipped was counted by the run before.
        self.facts = facts;
        Ok(())
    }

    /// Goes on with the next unit; false if there is nothing left.
    pub(super) fn next_unit(&mut self) -> bool {
        self.in_unit = 0;
        self.unit_ended = false;
        self.at < self.paths.len()
    }

    /// Regions must name records that exist.
    pub(super) fn check_regions(&self) -> Result<()> {
        let Some(regions) = &self.rules.regions else { return Ok(()) };
        for name in regions.keys() {
            if !self.seen.contains(name) {
                let name = String::from_utf8_lossy(name);
                return Err(Error::not_found(format!("no record is named {name:?}")));
            }
        }
        Ok(())
    }

    fn open_next(&mut self, path: &Path) -> Result<Open> {
        let source = open_sequence(path, self.rules.archives, &self.job, self.account)?;
        if is_bam(source.as_ref())? {
            let reads = BamReads::new(source, self.rules, &self.job, self.account)?;
            return Ok(Open::Bam(Box::new(reads)));
        }
        let options = SequenceOptions {
            threads: if worth_threads(source.as_ref())? { self.threads } else { 0 },
            qualities: self.rules.min_base_quality > 0,
            strict: self.rules.strict,
            ..SequenceOptions::default()
        };
        let part = self.rules.parts.get(self.at).copied().flatten();
        self.beyond = 0;
        let stream = SequenceStream::of_part(source, part, options, &self.job, self.account)?;
        Ok(Open::Text(Box::new(stream)))
    }

    /// Gives what is left of a whole record to the batch.
    fn give_held(&mut self, batch: &mut Batch) {
        let room = BATCH_BYTES.saturating_sub(batch.text.len());
        if let Some((position, bases)) = self.held.next(room) {
            if self.rules.regions.is_none() {
                batch.text.extend_from_slice(bases);
            } else {
                append_inside(&self.stretches, position, bases, &mut batch.text);
            }
            return;
        }
        self.held.clear();
        self.end_record(batch);
    }

    fn end_record(&mut self, batch: &mut Batch) {
        batch.text.push(RECORD_BREAK);
        self.position = 0;
        self.unit_ended = self.in_unit >= self.unit_bases;
    }

    /// Adds pieces to the batch; false when the input has ended.
    fn fill(&mut self, batch: &mut Batch) -> Result<bool> {
        if self.held.whole {
            self.give_held(batch);
            return Ok(true);
        }
        let Some(open) = &mut self.open else { return Ok(false) };
        let facts = &mut self.facts[self.at];
        match open {
            Open::Bam(reads) => {
                let Some(bases) = reads.append_read(&mut self.held)? else { return Ok(false) };
                self.held.whole = true;
                facts.records += 1;
                self.untold += 1;
                facts.bases += bases;
                self.in_unit += bases;
            }
            Open::Text(stream) => {
                // Known from the first record on.
                let has_qualities = stream.format() == Some(SequenceFormat::Fastq);
                let held = has_qualities && self.rules.min_base_quality > 0;
                match stream.next_placed()? {
                    Some((Piece::Bases(bases), true)) => {
                        // Windows of this part reach into the next one, up to its first break.
                        let wanted = self.k - 1 - self.beyond;
                        let skip_lower = self.rules.skip_lower;
                        let run =
                            bases.iter().take(wanted).take_while(|b| is_base(**b, skip_lower));
                        let before = batch.text.len();
                        batch.text.extend(run);
                        let taken = batch.text.len() - before;
                        self.beyond += taken;
                        return Ok(taken == bases.len() && self.beyond + 1 < self.k);
                    }
                    // Behind the part another record begins.
                    None | Some((_, true)) => return Ok(false),
                    Some((Piece::Start { header, .. }, _)) => {
                        facts.records += 1;
                        self.untold += 1;
                        self.position = 0;
                        if let Some(regions) = &self.rules.regions {
                            let name =
                                header.split(u8::is_ascii_whitespace).next().unwrap_or_default();
                            self.stretches = regions.get(name).cloned().unwrap_or_default();
                            if regions.contains_key(name) && !self.seen.insert(name.to_vec()) {
                                let name = String::from_utf8_lossy(name).into_owned();
                                let text =
                                    format!("two records are named {name:?}, a region's name");
                                let kind = seqmill_base::FormatKind::Sequence;
                                return Err(Error::format(kind, text).at_path(stream.path()));
                            }
                        }
                    }
                    Some((Piece::Bases(bases), _)) => {
                        facts.bases += bases.len() as u64;
                        self.in_unit += bases.len() as u64;
                        if held {
                            self.held.add(bases)?;
                        } else if self.rules.regions.is_none() {
                            batch.text.extend_from_slice(bases);
                        } else {
                            append_inside(&self.stretches, self.position, bases, &mut batch.text);
                        }
                        self.position += bases.len() as u64;
                    }
                    Some((Piece::Qualities(qualities), _)) => {
                        self.held.mask(qualities, self.rules.min_base_quality + b'!');
                    }
                    Some((Piece::End { .. }, _)) => {
                        if held {
                            self.held.whole = true;
                        } else {
                            self.end_record(batch);
                        }
                    }
                }
            }
        }
        Ok(true)
    }
}

/// Whether a symbol is a base.
fn is_base(symbol: u8, skip_lower: bool) -> bool {
    let upper = if skip_lower { symbol } else { symbol.to_ascii_uppercase() };
    matches!(upper, b'A' | b'C' | b'G' | b'T')
}

/// Threads that read ahead cost more than they bring for small files, and where there is nothing to
/// inflate.
fn worth_threads(source: &dyn Source) -> Result<bool> {
    let mut head = [0; 2];
    let Some(bytes) = source.len() else { return Ok(true) };
    Ok(bytes >= 1 << 21 && source.read_at(&mut head, 0)? == 2 && head == GZIP_MAGIC)
}

/// Appends what of the bases at `position` lies in a stretch, with a break behind each stretch.
fn append_inside(stretches: &[(u64, u64)], position: u64, bases: &[u8], text: &mut Vec<u8>) {
    let end = position + bases.len() as u64;
    for (from, to) in stretches {
        let (begin, stop) = ((*from).max(position), (*to).min(end));
        if begin < stop {
            let range = (begin - position) as usize..(stop - position) as usize;
            text.extend_from_slice(&bases[range]);
        }
        if *to > position && *to <= end && begin <= stop {
            text.push(RECORD_BREAK);
        }
    }
}

impl BatchSource for Inputs<'_> {
    fn next(&mut self, batch: &mut Batch) -> Result<bool> {
        batch.text.clear();
        batch.again = self.carry.len();
        batch.text.append(&mut self.carry);
        loop {
            if self.unit_ended {
                if self.skip > 0 {
                    self.skip -= 1;
                    self.next_unit();
                    batch.text.clear();
                    if self.skip == 0 {
                        return Ok(false);
                    }
                    continue;
                }
                break;
            }
            if self.open.is_none() {
                let Some(path) = self.paths.get(self.at) else { break };
                if batch.text.len() > batch.again {
                    break;
                }
                let path = path.clone();
                self.open = Some(self.open_next(&path)?);
            }
            batch.input = self.at;
            if !self.fill(batch)? {
                // A part may end within a record.
                if batch.text.last().is_some_and(|last| *last != RECORD_BREAK) {
                    batch.text.push(RECORD_BREAK);
                }
                match self.open.take() {
                    Some(Open::Text(stream)) => self.warnings.extend_from_slice(stream.warnings()),
                    Some(Open::Bam(reads)) => self.warnings.extend(reads.into_warnings()),
                    None => {}
                }
                self.at += 1;
                let index = &self.job.progress.file_index;
                index.store(self.at as u64, std::sync::atomic::Ordering::Relaxed);
                continue;
            }
            if self.skip > 0 {
                batch.text.clear();
                batch.again = 0;
            }
            if batch.text.len() >= BATCH_BYTES {
                break;
            }
        }
        Progress::add(&self.job.progress.records_in, std::mem::take(&mut self.untold));
        if batch.text.last() != Some(&RECORD_BREAK) {
            let from = batch.text.len().saturating_sub(self.k - 1);
            self.carry.clear();
            self.carry.extend_from_slice(&batch.text[from..]);
        }
        Ok(batch.text.len() > batch.again)
    }

    fn skipped(&mut self, input: usize, symbols: u64) {
        if let Some(facts) = self.facts.get_mut(input) {
            facts.skipped += symbols;
        }
    }
}
