//! What records cover: flags, CIGAR and qualities to blocks of positions.

use super::options::{Mates, Semantic};
use seqmill_base::pipeline::Item;
use seqmill_base::{Lease, Result};
use seqmill_io::bam::{Fault, Record};
use seqmill_io::records::{Stitched, record_body};
use xxhash_rust::xxh3::xxh3_128;

/// Covered positions, 0-based half-open.
pub(super) type Block = (u32, u32);

const PAIRED: u16 = 0x1;
const PROPER_PAIR: u16 = 0x2;
const SECONDARY_OR_SUPPLEMENTARY: u16 = 0x900;

/// CIGAR operations (`SAMv1 §4.2`).
const MATCH: u32 = 0;
const INSERTION: u32 = 1;
const DELETION: u32 = 2;
const SKIP: u32 = 3;
const SOFT_CLIP: u32 = 4;
const EQUAL: u32 = 7;
const DIFFERENT: u32 = 8;

/// A record that counts.
#[derive(Debug, Clone, Copy)]
pub(super) struct SpanRead {
    /// Where it begins.
    pub pos: u32,
    /// End of its blocks in those of the unit.
    pub blocks: u32,
}

/// Records of one sequence.
#[derive(Debug, Clone, Copy)]
pub(super) struct Turn {
    /// The sequence.
    pub reference: u32,
    /// First of its records that count, within the unit.
    pub read: u32,
    /// Number of its first record, counted or not.
    pub ordinal: u64,
    /// Where that record begins in the input.
    pub voffset: u64,
}

/// A record: its number, and where it begins in the input.
pub(super) type Spot = (u64, u64);

/// Order of a record: sequence and position, records without a place last.
pub(super) type Key = (u32, u32);

/// What a unit covers.
pub(super) struct Spans {
    pub turns: Vec<Turn>,
    pub reads: Vec<SpanRead>,
    /// Hash of the name of each read that may have a mate, else 0; empty where mates do not matter.
    pub names: Vec<u128>,
    pub blocks: Vec<Block>,
    /// Order of the first record, and where it is.
    pub first: Option<(Key, Spot)>,
    /// Order of the last record.
    pub last: Key,
    /// The first record that stands before its predecessor.
    pub disorder: Option<Spot>,
    /// Records looked at.
    pub looked_at: u64,
    pub file_end: u64,
    /// Held as long as the spans.
    pub lease: Lease,
}

impl Item for Spans {
    fn bytes(&self) -> u64 {
        let reads = self.reads.len() * size_of::<SpanRead>() + self.names.len() * 16;
        (reads + self.blocks.len() * size_of::<Block>()) as u64
    }
}

/// Bytes that the spans of a unit take at most.
pub(super) fn spans_claim(stitched: &Stitched, by_quality: bool) -> u64 {
    // A record takes 36 bytes and two operations for each block; with qualities every other base
    // may end a block. Vectors grow by doubling.
    let data = stitched.unit.data.len() as u64;
    if by_quality { 8 * data } else { 3 * data }
}

/// Tells which records count, and what they cover.
#[derive(Debug, Clone)]
pub(super) struct Spanner {
    require_flags: u16,
    exclude_flags: u16,
    min_mapq: u8,
    min_baseq: u8,
    count_deletions: bool,
    once: bool,
    /// Flags of a record whose template has two.
    pair_flags: u16,
    lengths: Vec<u32>,
}

impl Spanner {
    pub(super) fn new(semantic: &Semantic, lengths: Vec<u32>) -> Self {
        Self {
            require_flags: semantic.require_flags,
            exclude_flags: semantic.exclude_flags,
            min_mapq: semantic.min_mapq,
            min_baseq: semantic.min_baseq,
            count_deletions: semantic.count_deletions,
            once: semantic.mates != Mates::Both,
            pair_flags: if semantic.mates == Mates::Proper { PROPER_PAIR | PAIRED } else { PAIRED },
            lengths,
        }
    }

    /// The spans of a unit.
    pub(super) fn span(&self, stitched: &Stitched, mut lease: Lease) -> Result<Spans> {
        let mut spans = Spans {
            turns: Vec::new(),
            reads: Vec::with_capacity(stitched.starts.len()),
            names: Vec::with_capacity(if self.once { stitched.starts.len() } else { 0 }),
            blocks: Vec::with_capacity(stitched.starts.len()),
            first: None,
            last: (0, 0),
            disorder: None,
            looked_at: stitched.starts.len() as u64,
            file_end: stitched.file_end,
            lease: lease.sibling(0)?,
        };
        if let Some((_, _, error)) = stitched.faults.first() {
            return Err(error.clone());
        }
        for (number, start) in stitched.starts.iter().enumerate() {
            let ordinal = stitched.ordinal + number as u64;
            let place = || {
                let own = stitched.places.as_ref().and_then(|p| p.get(number)).copied();
                own.unwrap_or_else(|| stitched.unit.voffset(*start as usize).0)
            };
            let record = self
                .check(record_body(&stitched.unit.data, *start as usize))
                .map_err(|fault: Fault| fault.into_error(ordinal, place()))?;
            self.take(&record, ordinal, place, &mut spans);
        }
        let held = 12 * spans.reads.capacity()
            + 16 * spans.names.capacity()
            + 8 * spans.blocks.capacity()
            + 32 * spans.turns.capacity();
        lease.resize(held as u64)?;
        spans.lease = lease;
        Ok(spans)
    }

    fn check<'r>(&self, body: &'r [u8]) -> Result<Record<'r>, Fault> {
        let record = Record::new(body)?;
        record.check(self.lengths.len())?;
        Ok(record)
    }

    #[inline]
    fn take(&self, record: &Record<'_>, ordinal: u64, place: impl Fn() -> u64, spans: &mut Spans) {
        let placed = u32::try_from(record.ref_id()).ok();
        let key = match placed {
            Some(reference) => (reference, u32::try_from(record.pos()).unwrap_or(0)),
            None => (u32::MAX, 0),
        };
        if spans.first.is_none() {
            spans.first = Some((key, (ordinal, place())));
        } else if key < spans.last && spans.disorder.is_none() {
            spans.disorder = Some((ordinal, place()));
        }
        spans.last = key;
        let Some(reference) = placed else { return };
        if spans.turns.last().is_none_or(|turn| turn.reference != reference) {
            let read = index(spans.reads.len());
            spans.turns.push(Turn { reference, read, ordinal, voffset: place() });
        }
        let flag = record.flag();
        let counts = flag & self.exclude_flags == 0
            && flag & self.require_flags == self.require_flags
            && record.mapq() >= self.min_mapq
            && record.pos() >= 0;
        if !counts {
            return;
        }
        let length = self.lengths.get(reference as usize).copied().unwrap_or(0);
        let before = spans.blocks.len();
        self.cover(record, key.1, length, &mut spans.blocks);
        if spans.blocks.len() == before {
            return;
        }
        spans.reads.push(SpanRead { pos: key.1, blocks: index(spans.blocks.len()) });
        if self.once {
            let paired =
                flag & self.pair_flags == self.pair_flags && flag & SECONDARY_OR_SUPPLEMENTARY == 0;
            let name = record.parts().name;
            // The hash is as good as the name: 128 bits, among the records of one place.
            spans.names.push(if paired { xxh3_128(name).max(1) } else { 0 });
        }
    }

    /// Appends the covered blocks of a record, joined where they touch, cut at `length`.
    #[inline]
    fn cover(&self, record: &Record<'_>, pos: u32, length: u32, blocks: &mut Vec<Block>) {
        let parts = record.parts();
        let (cigar, _) = record.cigar(&parts);
        let first = blocks.len();
        let (mut at, mut query) = (u64::from(pos), 0_usize);
        let cut = |at: u64| u32::try_from(at).unwrap_or(u32::MAX).min(length);
        for operation in cigar.chunks_exact(4) {
            let operation = operation.first_chunk().map_or(0, |b| u32::from_le_bytes(*b));
            let (code, n) = (operation & 15, operation >> 4);
            let next = at + u64::from(n);
            match code {
                MATCH | EQUAL | DIFFERENT => {
                    if self.min_baseq == 0 {
                        join(blocks, first, cut(at), cut(next));
                    } else {
                        let qualities = parts.qual.get(query..).unwrap_or_default();
                        let passing = |q: &u8| *q >= self.min_baseq;
                        for (base, _) in
                            (at..next).zip(qualities).filter(|(_, quality)| passing(quality))
                        {
                            join(blocks, first, cut(base), cut(base + 1));
                        }
                    }
                    at = next;
                    query += n as usize;
                }
                DELETION => {
                    if self.count_deletions {
                        join(blocks, first, cut(at), cut(next));
                    }
                    at = next;
                }
                SKIP => at = next,
                INSERTION | SOFT_CLIP => query += n as usize,
                _ => {}
            }
        }
    }
}

/// Appends a block, or makes the last one longer.
#[inline]
fn join(blocks: &mut Vec<Block>, first: usize, begin: u32, end: u32) {
    if begin >= end {
        return;
    }
    let many = blocks.len() > first;
    match blocks.last_mut() {
        Some(last) if many && last.1 == begin => last.1 = end,
        _ => blocks.push((begin, end)),
    }
}

fn index(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}
