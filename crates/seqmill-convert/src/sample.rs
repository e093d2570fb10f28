//! The sample of records from which tag fields and record sizes are learnt (`bam.md` §3.2).
//!
//! It is a function of the file alone: the first 10,000 records and, of a regular BGZF file, some
//! records at 64 places spread over it.

mod places;

use crate::schema::{TagField, TagType};
use hashbrown::{HashMap, HashSet};
use rustc_hash::FxBuildHasher;
use seqmill_base::{Error, Result};
use seqmill_io::bam::{Record, Tag, TagKind, Tags};
use seqmill_io::bgzf::{BLOCK_MAX_BYTES, BlockReader, Framing, VirtualOffset, frame_at};
use seqmill_io::records::{Container, Input, Kind, record_body};
use std::sync::Arc;
use xxhash_rust::xxh3::xxh3_64;

/// Records taken from the beginning.
const FIRST_RECORDS: usize = 10_000;
/// Places at which further records are taken.
const PLACES: u64 = 64;
/// Bytes in which a block is looked for there.
const WINDOW_BYTES: usize = 4 * BLOCK_MAX_BYTES;
/// Inflated bytes after the first plausible record whose records are taken.
const PLACE_BYTES: usize = 64 << 10;
/// Records taken there at least, unless that many are long.
const PLACE_RECORDS: usize = 4;
/// Inflated bytes that are enough even if they hold fewer records.
const PLACE_LONG_BYTES: usize = 128 << 10;
/// Inflated bytes looked at there at most.
const PLACE_MAX_BYTES: usize = 4 << 20;
/// Blocks looked at there at most: empty ones would never fill the bytes.
const PLACE_MAX_BLOCKS: usize = 1024;
/// Bytes of a stream that may be kept back for the sample.
const STREAM_MAX_BYTES: u64 = 16 << 20;
/// Inflated bytes of the first records at most, and of one record.
const FIRST_MAX_BYTES: usize = 8 << 20;
/// Record sizes kept.
const SIZES_MAX: usize = 100_000;
/// Distinct values counted exactly.
const DISTINCT_MAX: usize = 4096;

/// Kinds of tag values in the order that wins ties.
const KINDS: usize = 6;

#[derive(Debug, Default, Clone)]
struct TagFacts {
    kinds: [u64; KINDS],
    /// Bits of `SUBTYPES` seen.
    subtypes: u8,
    lowest: i64,
    highest: i64,
    distinct: HashSet<u64, FxBuildHasher>,
    /// Values looked at; `kinds` may count those of a chunk index, too.
    sampled: u64,
}

const SUBTYPES: [u8; 7] = *b"cCsSiIf";

fn subtype_bit(subtype: u8) -> u8 {
    SUBTYPES.iter().position(|s| *s == subtype).map_or(0, |bit| 1 << bit)
}

/// What a sample showed.
#[derive(Debug, Default, Clone)]
pub(crate) struct Sample {
    tags: HashMap<[u8; 2], TagFacts, FxBuildHasher>,
    sizes: Vec<u32>,
}

impl Sample {
    /// Takes the sample of an input and adds it to this one; `memory` is the budget of the process.
    pub(crate) fn add_input(&mut self, input: &Input, memory: u64) -> Result<()> {
        if input.kind != Kind::Bam {
            return self.add_decoded(input, memory);
        }
        if input.container != Container::Bgzf {
            return self.add_stream(input);
        }
        let behind = self.add_first_blocks(input);
        let Some(size) = input.source.len() else { return Ok(()) };
        let offsets = (1..PLACES).map(|place| place_offset(size, place));
        let stretches: Vec<_> = offsets
            .clone()
            .filter(|offset| *offset > behind)
            .map(|offset| (offset, offset + WINDOW_BYTES as u64))
            .collect();
        input.source.expect(&stretches);
        let mut done_until = behind;
        for offset in offsets {
            if offset > done_until {
                done_until = self.add_place(input, offset)?.max(done_until);
            }
        }
        input.source.expect(&[]);
        Ok(())
    }

    /// The first records of a BGZF input; returns the file offset behind them.
    fn add_first_blocks(&mut self, input: &Input) -> u64 {
        let mut reader = BlockReader::new(Arc::clone(&input.source), false);
        let first = VirtualOffset(input.first);
        let mut next = Some(first.block());
        let mut skip = first.within();
        let (mut data, mut at, mut taken, mut total) = (Vec::new(), 0, 0, 0);
        while let Some(offset) = next {
            let stream = !input.source.is_seekable() && offset > STREAM_MAX_BYTES;
            if taken >= FIRST_RECORDS || total > FIRST_MAX_BYTES || stream {
                return offset;
            }
            let before = data.len();
            // Damage is reported by the run itself, with its place.
            let Ok(following) = reader.append_block(offset, &mut data) else { return offset };
            total += data.len() - before;
            next = following;
            if skip > 0 {
                at = skip.min(data.len());
                skip = 0;
            }
            at = self.take_records(&data, at, FIRST_RECORDS, &mut taken);
            if at > (1 << 20) {
                data.drain(..at);
                at = 0;
            }
        }
        u64::MAX
    }

    /// The first records of an input without blocks.
    fn add_stream(&mut self, input: &Input) -> Result<()> {
        let begin = usize::try_from(input.first).unwrap_or(usize::MAX);
        let mut head = seqmill_io::records::Head::open(&input.source, false)?;
        let (mut taken, mut at, mut want) = (0, begin, begin + (1 << 20));
        let limit = if input.source.is_seekable() {
            FIRST_MAX_BYTES
        } else {
            usize::try_from(STREAM_MAX_BYTES).unwrap_or(FIRST_MAX_BYTES)
        };
        while taken < FIRST_RECORDS && at < begin + limit {
            let Ok(more) = head.fill(want) else { return Ok(()) };
            at = self.take_records(&head.data, at, FIRST_RECORDS, &mut taken);
            if !more {
                break;
            }
            want += 1 << 20;
        }
        Ok(())
    }

    /// Takes whole records from `at` on; returns where the next one begins.
    fn take_records(
        &mut self,
        data: &[u8],
        mut at: usize,
        most: usize,
        taken: &mut usize,
    ) -> usize {
        while *taken < most {
            let body = record_body(data, at);
            let Ok(record) = Record::new(body) else { return at };
            self.take(&record);
            *taken += 1;
            at += 4 + body.len();
        }
        at
    }

    fn take(&mut self, record: &Record<'_>) {
        if self.sizes.len() < SIZES_MAX {
            self.sizes.push(arrow_size(record));
        }
        for tag in Tags::new(record.parts().tags) {
            let Ok(tag) = tag else { return };
            self.tags.entry(tag.name).or_default().add(&tag);
        }
    }

    /// Some records behind a place in the middle; returns the file offset behind them.
    fn add_place(&mut self, input: &Input, offset: u64) -> Result<u64> {
        let mut window = vec![0; WINDOW_BYTES];
        let got = input.source.read_at(&mut window, offset)?;
        window.truncate(got);
        let Some(start) = find_block(&window) else { return Ok(offset) };
        let mut reader = BlockReader::new(Arc::clone(&input.source), false);
        let mut next = Some(offset + start as u64);
        let mut data = Vec::new();
        let references = input.header.references.len();
        let (mut origin, mut search_at, mut blocks) = (None, PLACE_BYTES, 0);
        while let Some(block) = next {
            let Ok(following) = reader.append_block(block, &mut data) else { return Ok(block) };
            next = following;
            blocks += 1;
            if origin.is_none() && data.len() >= search_at {
                origin = find_records(&data, references);
                // Not again for every block: where there is none, that takes long.
                search_at = 2 * data.len();
            }
            if let Some(origin) = origin {
                let starts = records_from(&data, origin, references);
                let near = starts.iter().filter(|s| **s < origin + PLACE_BYTES).count();
                let behind = starts.last().is_some_and(|s| *s >= origin + PLACE_BYTES);
                let enough = starts.len() > PLACE_RECORDS
                    || (starts.len() > 1 && data.len() - origin >= PLACE_LONG_BYTES);
                if (behind && enough) || data.len() > PLACE_MAX_BYTES {
                    for start in starts.iter().take(near.max(PLACE_RECORDS)) {
                        if let Ok(record) = Record::new(record_body(&data, *start)) {
                            self.take(&record);
                        }
                    }
                    return Ok(next.unwrap_or(u64::MAX));
                }
            }
            if data.len() > PLACE_MAX_BYTES || blocks >= PLACE_MAX_BLOCKS {
                return Ok(next.unwrap_or(u64::MAX));
            }
        }
        if let Some(origin) = origin.or_else(|| find_records(&data, references)) {
            let mut taken = 0;
            self.take_records(&data, origin, usize::MAX, &mut taken);
        }
        Ok(u64::MAX)
    }

    /// Adds all tags of a record: for a full pass over the file.
    pub(crate) fn add_record(&mut self, record: &Record<'_>) {
        self.take(record);
    }

    /// Adds what a chunk index knows of a tag.
    pub(crate) fn add_known_tag(&mut self, name: [u8; 2], kind: u8, subtype: u8, count: u64) {
        let facts = self.tags.entry(name).or_default();
        let number = match kind {
            b'A' => 0,
            b'Z' => 1,
            b'H' => 2,
            b'f' => 4,
            b'B' => 5,
            _ => 3,
        };
        if let Some(sum) = facts.kinds.get_mut(number) {
            *sum += count;
        }
        match kind {
            b'B' => facts.subtypes |= subtype_bit(subtype),
            // Values of this type may be beyond int32.
            b'I' => facts.highest = facts.highest.max(i64::from(u32::MAX)),
            _ => {}
        }
    }

    /// The fields, sorted by name: at most `most`, the most frequent first served.
    pub(crate) fn fields(&self, most: usize, narrow: bool) -> Vec<TagField> {
        let mut ranked: Vec<(&[u8; 2], &TagFacts)> = self.tags.iter().collect();
        ranked.sort_by_key(|(name, facts)| (std::cmp::Reverse(facts.total()), **name));
        ranked.truncate(most);
        let mut fields: Vec<TagField> = ranked
            .into_iter()
            .map(|(name, facts)| TagField {
                name: *name,
                tag_type: facts.tag_type(narrow),
                repeats: facts.repeats(),
            })
            .collect();
        fields.sort_by_key(|f| f.name);
        fields
    }

    /// Whether the sampled values of a tag repeat enough for a dictionary.
    pub(crate) fn repeats(&self, name: [u8; 2]) -> bool {
        self.tags.get(&name).is_some_and(TagFacts::repeats)
    }

    /// Mean, 95th percentile and maximum of the Arrow size of a record.
    pub(crate) fn record_sizes(&self) -> Option<[u64; 3]> {
        let mut sizes = self.sizes.clone();
        sizes.sort_unstable();
        let last = *sizes.last()?;
        let sum: u64 = sizes.iter().map(|s| u64::from(*s)).sum();
        let p95 = *sizes.get((sizes.len() * 95 / 100).min(sizes.len() - 1))?;
        Some([sum / sizes.len() as u64, u64::from(p95), u64::from(last)])
    }
}

/// Where the place number `place` begins.
fn place_offset(size: u64, place: u64) -> u64 {
    // Not size * place: that could overflow.
    size / PLACES * place + size % PLACES * place / PLACES
}

/// About the Arrow bytes of a record with all columns.
fn arrow_size(record: &Record<'_>) -> u32 {
    let bytes = 60 + record.name_bytes() + 3 * record.operations() + record.tag_bytes();
    u32::try_from(bytes).unwrap_or(u32::MAX).saturating_add(record.length().saturating_mul(2))
}

impl TagFacts {
    fn add(&mut self, tag: &Tag<'_>) {
        let kind = match tag.kind {
            TagKind::Character => 0,
            TagKind::Text => 1,
            TagKind::Hex => 2,
            TagKind::Integer(_) => 3,
            TagKind::Float => 4,
            TagKind::Array(_) => 5,
        };
        if let Some(count) = self.kinds.get_mut(kind) {
            *count += 1;
        }
        match tag.kind {
            TagKind::Integer(_) => {
                let n = tag.integer();
                self.lowest = self.lowest.min(n);
                self.highest = self.highest.max(n);
            }
            TagKind::Array(sub) => {
                self.subtypes |= subtype_bit(sub);
            }
            _ => {}
        }
        self.sampled += 1;
        if self.distinct.len() < DISTINCT_MAX {
            self.distinct.insert(xxh3_64(tag.value));
        }
    }

    fn total(&self) -> u64 {
        self.kinds.iter().sum()
    }

    fn repeats(&self) -> bool {
        self.distinct.len() < DISTINCT_MAX && 8 * self.distinct.len() as u64 <= self.sampled
    }

    fn tag_type(&self, narrow: bool) -> TagType {
        let mut best = 0;
        for (kind, count) in self.kinds.iter().enumerate() {
            if *count > self.kinds.get(best).copied().unwrap_or(0) {
                best = kind;
            }
        }
        match best {
            0 => TagType::Text(b'A'),
            1 => TagType::Text(b'Z'),
            2 => TagType::Text(b'H'),
            3 => {
                let fits = |n: i64| i32::try_from(n).is_ok();
                if narrow && fits(self.lowest) && fits(self.highest) {
                    TagType::NarrowInteger
                } else {
                    TagType::Integer
                }
            }
            4 => TagType::Float,
            _ => TagType::Array(self.array_subtype()),
        }
    }

    /// The narrowest subtype that holds all that were seen; with mixed signs the next wider
    /// signed one. Floats lose against integers.
    fn array_subtype(&self) -> u8 {
        let has = |sub: u8| self.subtypes & subtype_bit(sub) != 0;
        let signed = [(b'c', 1), (b's', 2), (b'i', 4)];
        let unsigned = [(b'C', 1), (b'S', 2), (b'I', 4)];
        let widest = |list: [(u8, u32); 3]| {
            list.iter().filter(|(sub, _)| has(*sub)).map(|(_, width)| *width).max()
        };
        let by_width = |list: [(u8, u32); 3], width: u32| {
            list.iter().find(|(_, w)| *w >= width).map_or(b'i', |(sub, _)| *sub)
        };
        match (widest(signed), widest(unsigned)) {
            (None, None) => b'f',
            (Some(s), None) => by_width(signed, s),
            (None, Some(u)) => by_width(unsigned, u),
            (Some(s), Some(u)) => by_width(signed, s.max(2 * u)),
        }
    }
}

/// The first offset at which a block and its two successors parse.
fn find_block(window: &[u8]) -> Option<usize> {
    let follows = |at: usize| match window.get(at..).map(frame_at) {
        Some(Framing::Block(frame)) => Some(at + frame.block_bytes),
        _ => None,
    };
    memchr::memchr_iter(0x1f, window.get(..BLOCK_MAX_BYTES).unwrap_or(window))
        .find(|at| follows(*at).and_then(follows).and_then(follows).is_some())
}

/// Whether a record may stand at `at`, and where it ends.
fn plausible(data: &[u8], at: usize, references: usize) -> Option<usize> {
    let size = data.get(at..)?.first_chunk::<4>().map(|b| u32::from_le_bytes(*b) as usize)?;
    let fixed = data.get(at + 4..)?.first_chunk::<32>()?;
    Record::check_fixed(fixed, size as u64, references).ok()?;
    if let Some(body) = data.get(at + 4..at + 4 + size) {
        let record = Record::new(body).ok()?;
        let name = record.parts().name;
        if !record.name_is_terminated() || !name.iter().all(u8::is_ascii_graphic) {
            return None;
        }
    }
    Some(at + 4 + size)
}

/// The first offset from which [`PLACE_RECORDS`] records are plausible, or as many as `data` hold.
/// The first one must be whole: any four bytes are the length of one that is not.
fn find_records(data: &[u8], references: usize) -> Option<usize> {
    (0..data.len().min(2 * BLOCK_MAX_BYTES)).find(|at| {
        let mut next = *at;
        for number in 0..PLACE_RECORDS {
            match plausible(data, next, references) {
                Some(end) => next = end,
                None => return false,
            }
            if next >= data.len() {
                return number > 0 || next == data.len();
            }
        }
        true
    })
}

/// Starts of the whole records from `at` on.
fn records_from(data: &[u8], mut at: usize, references: usize) -> Vec<usize> {
    let mut starts = Vec::new();
    while let Some(end) = plausible(data, at, references) {
        if end > data.len() {
            break;
        }
        starts.push(at);
        at = end;
    }
    starts
}

/// Fields that the user listed.
pub(crate) fn listed_fields(list: &[(String, String)], sample: &Sample) -> Result<Vec<TagField>> {
    let mut fields: Vec<TagField> = Vec::with_capacity(list.len());
    for (name, tag_type) in list {
        let bytes: [u8; 2] = name
            .as_bytes()
            .try_into()
            .map_err(|_| Error::input(format!("tag {name:?} does not have two characters")))?;
        let parsed = TagType::parse(tag_type).ok_or_else(|| {
            Error::input(format!("tag {name}: type {tag_type:?} is none of A i f Z H B:c … B:f"))
        })?;
        if fields.iter().any(|f| f.name == bytes) {
            return Err(Error::input(format!("tag {name} is listed twice")));
        }
        fields.push(TagField { name: bytes, tag_type: parsed, repeats: sample.repeats(bytes) });
    }
    Ok(fields)
}
