//! Reads of BAM files as text.

use super::{Held, TextRules};
use seqmill_base::budget::AccountId;
use seqmill_base::{Error, FormatKind, Job, Lease, Progress, Result};
use seqmill_io::Source;
use seqmill_io::bam::{Header, HeaderProgress, MAGIC, Record, SEQ_ALPHABET};
use seqmill_io::bgzf::{Inflater, UnitScanner, VirtualOffset, is_bgzf};
use std::sync::Arc;

/// Bytes of inflated data at a time.
const UNIT_BYTES: usize = 1 << 18;
/// Bytes of the length before a record.
const LENGTH_BYTES: usize = 4;
/// Read on the reverse strand (`SAMv1 §1.4`).
const REVERSE: u16 = 0x10;

/// Which reads are counted, by their flags.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReadFlags {
    /// All of these are set.
    pub require: u16,
    /// None of these is set.
    pub exclude: u16,
}

impl Default for ReadFlags {
    /// Neither secondary nor supplementary, so that no read counts twice.
    fn default() -> Self {
        Self { require: 0, exclude: 0x900 }
    }
}

/// Whether a file is BAM.
pub fn is_bam(source: &dyn Source) -> Result<bool> {
    let mut head = vec![0; 1 << 16];
    let got = source.read_at(&mut head, 0)?;
    head.truncate(got);
    if !is_bgzf(&head) {
        return Ok(false);
    }
    let seqmill_io::bgzf::Framing::Block(frame) = seqmill_io::bgzf::frame_at(&head) else {
        return Ok(false);
    };
    let Some(block) = head.get(..frame.block_bytes) else { return Ok(false) };
    let Some(footer) = block.last_chunk::<4>() else { return Ok(false) };
    let size = u32::from_le_bytes(*footer) as usize;
    if size > 1 << 16 {
        return Ok(false);
    }
    let mut data = vec![0; size];
    // A damaged block is reported by whoever reads the file.
    let sound = Inflater::new(false).inflate_block(block, frame, &mut data, 0).is_ok();
    Ok(sound && data.starts_with(&MAGIC))
}

/// Reads of a BAM file one after the other.
pub(super) struct BamReads {
    scanner: UnitScanner,
    inflater: Inflater,
    data: Vec<u8>,
    unit: Vec<u8>,
    at: usize,
    ended: bool,
    source: Arc<dyn Source>,
    job: Job,
    account: AccountId,
    lease: Lease,
    rules: TextRules,
    references: usize,
    records: u64,
    told: u64,
    /// Offset of the block that was inflated last.
    block: u64,
    warnings: Vec<String>,
}

impl BamReads {
    pub(super) fn new(
        source: Arc<dyn Source>,
        rules: &TextRules,
        job: &Job,
        account: AccountId,
    ) -> Result<Self> {
        let whole = vec![(VirtualOffset(0), None)];
        let lease = job.budget.must_reserve(account, 2 * UNIT_BYTES as u64)?;
        let mut reads = Self {
            scanner: UnitScanner::new(Arc::clone(&source), whole, UNIT_BYTES),
            inflater: Inflater::new(true),
            data: Vec::new(),
            unit: Vec::new(),
            at: 0,
            ended: false,
            source,
            job: job.clone(),
            account,
            lease,
            rules: rules.clone(),
            references: 0,
            records: 0,
            told: 0,
            block: 0,
            warnings: Vec::new(),
        };
        reads.read_header()?;
        Ok(reads)
    }

    pub(super) fn into_warnings(self) -> Vec<String> {
        self.warnings
    }

    fn read_header(&mut self) -> Result<()> {
        loop {
            let more = self.more()?;
            match Header::parse(&self.data).map_err(|e| e.at_path(self.source.path()))? {
                HeaderProgress::Done(header, bytes) => {
                    self.references = header.references.len();
                    self.at = bytes;
                    return Ok(());
                }
                HeaderProgress::Need(_) if more => {}
                HeaderProgress::Need(_) => return Err(self.cut("header")),
            }
        }
    }

    fn cut(&self, what: &str) -> Error {
        let text = format!("the file ends inside its {what}");
        Error::format(FormatKind::Truncated, text)
            .at_path(self.source.path())
            .at_offset(self.block)
            .at_record(self.records)
    }

    /// Inflates the next unit behind what is left; false at the end.
    fn more(&mut self) -> Result<bool> {
        if self.ended {
            return Ok(false);
        }
        self.job.cancel.check()?;
        self.data.drain(..self.at);
        self.at = 0;
        let path = self.source.path().to_path_buf();
        let claim = self.job.budget.must_reserve(self.account, UnitScanner::CLAIM_BYTES)?;
        let Some(unit) = self.scanner.next_unit(claim).map_err(|e| e.at_path(&path))? else {
            self.ended = true;
            self.source.check_unchanged()?;
            if !self.scanner.ended_with_marker() {
                let text = "the BGZF end marker is missing; the file may have been cut";
                if self.rules.strict {
                    return Err(Error::format(FormatKind::Truncated, text).at_path(&path));
                }
                self.warnings.push(format!("{}: {text}", path.display()));
            }
            return Ok(false);
        };
        let held = 2 * (self.data.len() + unit.inflated_bytes()) as u64 + UNIT_BYTES as u64;
        if held > self.lease.bytes() {
            self.lease.resize(held)?;
        }
        let mut marks = Vec::new();
        self.inflater
            .inflate_unit(&unit, &mut self.unit, &mut marks)
            .map_err(|e| e.at_path(&path))?;
        self.block = marks.first().map_or(self.block, |m| m.offset);
        self.data.extend_from_slice(&self.unit);
        let end = unit.file_end;
        Progress::add(&self.job.progress.bytes_in, end.saturating_sub(self.told));
        self.told = end.max(self.told);
        Ok(true)
    }

    /// Takes the bases of the next read that is counted into `held`; `None` at the end.
    pub(super) fn append_read(&mut self, held: &mut Held) -> Result<Option<u64>> {
        loop {
            let rest = &self.data[self.at..];
            if rest.is_empty() {
                if self.more()? {
                    continue;
                }
                return Ok(None);
            }
            let length =
                rest.first_chunk::<LENGTH_BYTES>().map(|b| u32::from_le_bytes(*b) as usize);
            let body = length.and_then(|n| rest.get(LENGTH_BYTES..LENGTH_BYTES + n));
            let (Some(body), Some(length)) = (body, length) else {
                if self.more()? {
                    continue;
                }
                return Err(self.cut("last record"));
            };
            let found = Record::new(body).and_then(|record| {
                record.check(self.references)?;
                Ok(record)
            });
            let record = found.map_err(|fault| {
                Error::format(fault.kind, format!("{} {}", fault.field, fault.reason))
                    .at_path(self.source.path())
                    .at_offset(self.block)
                    .at_record(self.records)
                    .at_field(fault.field)
            })?;
            let bases = take_bases(&record, &self.rules, held)?;
            self.at += LENGTH_BYTES + length;
            self.records += 1;
            if bases.is_some() {
                return Ok(bases);
            }
        }
    }
}

/// Takes a read if it is one that is counted.
fn take_bases(record: &Record<'_>, rules: &TextRules, held: &mut Held) -> Result<Option<u64>> {
    let flags = record.flag();
    if flags & rules.flags.require != rules.flags.require || flags & rules.flags.exclude != 0 {
        return Ok(None);
    }
    let parts = record.parts();
    let length = record.length() as usize;
    held.reserve(length)?;
    for i in 0..length {
        let pair = parts.seq[i / 2];
        let code = if i % 2 == 0 { pair >> 4 } else { pair & 0xf };
        held.bases.push(SEQ_ALPHABET[usize::from(code)]);
    }
    let read = &mut held.bases[..];
    // Qualities of 0xff stand for none (`SAMv1 §4.2.3`).
    if rules.min_base_quality > 0 && parts.qual.first() != Some(&0xff) {
        for (base, quality) in read.iter_mut().zip(parts.qual) {
            if *quality < rules.min_base_quality {
                *base = b'N';
            }
        }
    }
    if rules.sequenced_strand && flags & REVERSE != 0 {
        read.reverse();
        for base in read {
            *base = match *base {
                b'A' => b'T',
                b'C' => b'G',
                b'G' => b'C',
                b'T' => b'A',
                // What is no base breaks k-mers on either strand.
                other => other,
            };
        }
    }
    Ok(Some(length as u64))
}
