//! Pages from batches: steps 1 and 3, which any thread may run.

use super::bits::{copy_bits, hybrid, width_of};
use super::compress::{Compressor, Content};
use super::delta::{delta32, delta64};
use super::dictionary::Interner;
use super::levels::{LevelScratch, Shredded, shred};
use super::page::{
    AssignedBatch, AssignedPart, EncodedBatch, FinishedBatch, LocalPage, LocalValues, Numbers,
    Page, PageFacts, Part, bytes_at,
};
use super::plan::{Encoding, Leaf, Physical, Plan};
use super::stats::PageStats;
use super::values::{Bytes, Selection, values32, values64};
use arrow_array::cast::AsArray;
use arrow_array::{ArrayRef, BooleanArray, FixedSizeBinaryArray, RecordBatch};
use seqmill_base::{Error, Result};
use std::sync::Arc;

/// Scratch memory beyond this is given back after a batch.
pub const KEEP_BYTES: usize = 4 << 20;

/// Encodes and compresses pages. One per thread, used for batch after batch: it holds the
/// compressor and all scratch memory.
pub struct PageEncoder {
    plan: Arc<Plan>,
    work: Work,
}

struct Work {
    engine: Compressor,
    interner: Interner,
    levels: LevelScratch,
    body: Vec<u8>,
    four: Vec<i32>,
    eight: Vec<i64>,
    ids: Vec<u16>,
}

impl std::fmt::Debug for PageEncoder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PageEncoder").field("plan", &self.plan).finish_non_exhaustive()
    }
}

impl PageEncoder {
    /// Makes the compressor; `Input` if its level does not exist.
    pub fn new(plan: Arc<Plan>) -> Result<Self> {
        let work = Work {
            engine: Compressor::new(plan.codec)?,
            interner: Interner::default(),
            levels: LevelScratch::default(),
            body: Vec::new(),
            four: Vec::new(),
            eight: Vec::new(),
            ids: Vec::new(),
        };
        Ok(Self { plan, work })
    }

    /// Bytes of the scratch memory held between calls.
    pub fn scratch_bytes(&self) -> u64 {
        let work = &self.work;
        let bytes = work.engine.scratch_bytes()
            + work.interner.bytes()
            + work.levels.bytes()
            + work.body.capacity()
            + work.four.capacity() * 4
            + work.eight.capacity() * 8
            + work.ids.capacity() * 2;
        bytes as u64
    }

    /// Step 1: makes one page per leaf. Pages of dictionary leaves are completed by [`Self::finish`].
    pub fn encode(&mut self, batch: &RecordBatch) -> Result<EncodedBatch> {
        let rows = batch.num_rows();
        if rows == 0 {
            return Ok(EncodedBatch::empty());
        }
        if i32::try_from(rows).is_err() {
            return Err(Error::input("a batch cannot have 2^31 rows; give --batch-rows less"));
        }
        self.check(batch)?;
        let mut parts = Vec::with_capacity(self.plan.leaves.len());
        for leaf in &self.plan.leaves {
            parts.push(self.work.encode(leaf, batch.column(leaf.column), rows)?);
            self.work.trim();
        }
        Ok(EncodedBatch { rows, parts })
    }

    /// Step 3: completes the pages of dictionary leaves and makes the dictionary pages.
    pub fn finish(&mut self, batch: AssignedBatch) -> Result<FinishedBatch> {
        let rows = batch.rows;
        let mut pages = Vec::with_capacity(batch.parts.len());
        for (leaf, part) in self.plan.leaves.iter().zip(batch.parts) {
            pages.push(match part {
                AssignedPart::Page(page) => page,
                AssignedPart::Local(page, numbers) => {
                    self.work.finish(leaf, *page, &numbers, rows)?
                }
            });
        }
        let end = match batch.end {
            None => None,
            Some((end, dictionaries)) => {
                let engine = &mut self.work.engine;
                let pages = dictionaries.into_iter().map(|raw| {
                    raw.map(|raw| Page::dictionary(&raw.plain, raw.values, engine)).transpose()
                });
                Some((end, pages.collect::<Result<_>>()?))
            }
        };
        self.work.trim();
        Ok(FinishedBatch { rows, pages, end })
    }

    fn check(&self, batch: &RecordBatch) -> Result<()> {
        let (have, want) = (batch.schema_ref().fields(), self.plan.schema.fields());
        if std::ptr::eq(have.as_ref(), want.as_ref()) {
            return Ok(());
        }
        let same = |(a, b): (&Arc<arrow_schema::Field>, &Arc<arrow_schema::Field>)| {
            a.data_type().equals_datatype(b.data_type()) && a.is_nullable() <= b.is_nullable()
        };
        if have.len() == want.len() && have.iter().zip(want).all(same) {
            return Ok(());
        }
        Err(Error::internal("a batch does not have the schema of its file"))
    }
}

fn boolean_values(
    array: &BooleanArray,
    selection: &Selection<'_>,
    statistics: bool,
    out: &mut Vec<u8>,
) -> Option<PageStats> {
    let values = array.values();
    let (mut count, mut set) = (0, 0);
    if let Selection::Range { start, len } = *selection {
        copy_bits(values.values(), values.offset() + start, len, out);
        count = len;
        if statistics {
            set = values.slice(start, len).count_set_bits();
        }
    } else {
        let mut held = 0u8;
        selection.for_each_while(|row| {
            let bit = values.value(row);
            held |= u8::from(bit) << (count % 8);
            count += 1;
            set += usize::from(bit);
            if count % 8 == 0 {
                out.push(std::mem::take(&mut held));
            }
            true
        });
        if count % 8 != 0 {
            out.push(held);
        }
    }
    statistics.then(|| PageStats::of_booleans(set > 0, set < count))
}

/// Room for `count` values at the end of `out`; loops that fill it are copies, which `extend` is not.
fn little_endian<const N: usize>(count: usize, out: &mut Vec<u8>) -> &mut [[u8; N]] {
    let start = out.len();
    out.resize(start + N * count, 0);
    out[start..].as_chunks_mut().0
}

fn put32(values: &[i32], encoding: Encoding, out: &mut Vec<u8>) {
    if encoding == Encoding::DeltaBinary {
        delta32(values, out);
    } else {
        let bytes = little_endian::<4>(values.len(), out);
        bytes.iter_mut().zip(values).for_each(|(to, value)| *to = value.to_le_bytes());
    }
}

fn put64(values: &[i64], encoding: Encoding, out: &mut Vec<u8>) {
    if encoding == Encoding::DeltaBinary {
        delta64(values, out);
    } else {
        let bytes = little_endian::<8>(values.len(), out);
        bytes.iter_mut().zip(values).for_each(|(to, value)| *to = value.to_le_bytes());
    }
}

fn put_plain_bytes<'a>(values: impl Iterator<Item = &'a [u8]>, out: &mut Vec<u8>) {
    for value in values {
        out.extend_from_slice(&(value.len() as u32).to_le_bytes());
        out.extend_from_slice(value);
    }
}

fn put_bytes(
    bytes: &Bytes<'_>,
    selection: &Selection<'_>,
    encoding: Encoding,
    lengths: &mut Vec<i32>,
    out: &mut Vec<u8>,
) {
    if encoding == Encoding::DeltaLength {
        bytes.gather(selection, lengths, out, delta32);
    } else {
        selection.for_each_while(|row| {
            put_plain_bytes(std::iter::once(bytes.row(row)), out);
            true
        });
    }
}

fn put_fixed(values: &FixedSizeBinaryArray, selection: &Selection<'_>, out: &mut Vec<u8>) {
    let width = usize::try_from(values.value_length()).unwrap_or(0);
    selection.for_each_run(|start, len| {
        out.extend_from_slice(&values.value_data()[start * width..(start + len) * width]);
    });
}

impl Work {
    fn encode(&mut self, leaf: &Leaf, column: &ArrayRef, rows: usize) -> Result<Part> {
        self.body.clear();
        let Shredded { array, selection, slots } =
            shred(leaf, column, &mut self.levels, &mut self.body)?;
        let nulls = (slots - selection.len()) as u64;
        let with_nulls = |stats: PageStats| PageStats { nulls, ..stats };
        let wants_dictionary = leaf.encoding == Encoding::RleDictionary;
        let encoding = leaf.fallback;
        let local = |ids, values, stats, levels: &[u8]| {
            let levels = levels.to_vec();
            Part::Local(Box::new(LocalPage { levels, ids, values, slots, stats }))
        };
        let stats = match leaf.kind.physical() {
            Physical::Boolean => {
                boolean_values(array.as_boolean(), &selection, leaf.statistics, &mut self.body)
            }
            Physical::Int32 | Physical::Float => {
                let values = values32(array, leaf.kind, &selection, &mut self.four)?;
                let of = |values: &[i32]| {
                    leaf.statistics.then(|| with_nulls(PageStats::of32(values, leaf.kind)))
                };
                if wants_dictionary && let Some((ids, distinct)) = self.interner.number(values) {
                    let stats = of(counted(&distinct, values, leaf));
                    return Ok(local(ids, LocalValues::Four(distinct), stats, &self.body));
                }
                put32(values, encoding, &mut self.body);
                of(values)
            }
            Physical::Int64 | Physical::Double => {
                let values = values64(array, leaf.kind, &selection, &mut self.eight)?;
                let of = |values: &[i64]| {
                    leaf.statistics.then(|| with_nulls(PageStats::of64(values, leaf.kind)))
                };
                if wants_dictionary && let Some((ids, distinct)) = self.interner.number(values) {
                    let stats = of(counted(&distinct, values, leaf));
                    return Ok(local(ids, LocalValues::Eight(distinct), stats, &self.body));
                }
                put64(values, encoding, &mut self.body);
                of(values)
            }
            Physical::ByteArray => {
                let bytes = Bytes::of(array, leaf.kind)?;
                if wants_dictionary
                    && let Some((ids, values)) = self.interner.number_bytes(&bytes, &selection)
                {
                    let stats = leaf.statistics.then(|| {
                        let LocalValues::Bytes { ends, data, .. } = &values else {
                            return PageStats::default();
                        };
                        let all = (0..ends.len()).map(|at| bytes_at(ends, data, at));
                        PageStats::of_bytes(all, leaf.kind)
                    });
                    return Ok(local(ids, values, stats.map(with_nulls), &self.body));
                }
                put_bytes(&bytes, &selection, encoding, &mut self.four, &mut self.body);
                leaf.statistics.then(|| text_stats(&bytes, &selection, leaf))
            }
            Physical::FixedByteArray => {
                let values = array.as_fixed_size_binary();
                put_fixed(values, &selection, &mut self.body);
                leaf.statistics.then(|| fixed_stats(values, &selection, leaf))
            }
        };
        let facts = PageFacts {
            slots,
            rows,
            encoding,
            content: content(leaf, encoding, selection.len(), &self.body),
            stats: stats.map(with_nulls),
        };
        let page = Page::data(&self.body, facts, &mut self.engine)?;
        Ok(if wants_dictionary { Part::Overflow(page) } else { Part::Page(page) })
    }

    fn finish(
        &mut self,
        leaf: &Leaf,
        page: LocalPage,
        numbers: &Numbers,
        rows: usize,
    ) -> Result<Page> {
        let LocalPage { levels, ids, values, slots, stats } = page;
        self.body.clear();
        self.body.extend_from_slice(&levels);
        let encoding = match numbers {
            Numbers::Nothing => Encoding::Plain,
            Numbers::Dictionary(map) => {
                let greatest = map.iter().copied().max().unwrap_or(0);
                // Some readers do not expect a width of 0.
                let width = width_of(greatest.into()).max(1);
                self.body.push(width as u8);
                self.ids.clear();
                self.ids.extend(ids.iter().map(|id| map[usize::from(*id)]));
                hybrid(&self.ids, width, &mut self.body);
                Encoding::RleDictionary
            }
            Numbers::Fallback => {
                self.put_expanded(&ids, &values, leaf.fallback);
                leaf.fallback
            }
        };
        let content = content(leaf, encoding, ids.len(), &self.body);
        let facts = PageFacts { slots, rows, encoding, content, stats };
        Page::data(&self.body, facts, &mut self.engine)
    }

    /// The values themselves, where the dictionary of the group is closed.
    fn put_expanded(&mut self, ids: &[u16], values: &LocalValues, encoding: Encoding) {
        let ids = ids.iter().map(|id| usize::from(*id));
        match values {
            LocalValues::Four(values) => {
                self.four.clear();
                self.four.extend(ids.map(|id| values[id]));
                put32(&self.four, encoding, &mut self.body);
            }
            LocalValues::Eight(values) => {
                self.eight.clear();
                self.eight.extend(ids.map(|id| values[id]));
                put64(&self.eight, encoding, &mut self.body);
            }
            LocalValues::Bytes { ends, data, .. } => {
                let values = ids.map(|id| bytes_at(ends, data, id));
                if encoding == Encoding::DeltaLength {
                    self.four.clear();
                    self.four.extend(values.clone().map(|v| v.len() as i32));
                    delta32(&self.four, &mut self.body);
                    values.for_each(|v| self.body.extend_from_slice(v));
                } else {
                    put_plain_bytes(values, &mut self.body);
                }
            }
        }
    }

    fn trim(&mut self) {
        self.engine.trim(KEEP_BYTES);
        self.body.clear();
        self.body.shrink_to(KEEP_BYTES);
        self.four.clear();
        self.four.shrink_to(KEEP_BYTES / 4);
        self.eight.clear();
        self.eight.shrink_to(KEEP_BYTES / 8);
        self.ids.clear();
        self.ids.shrink_to(KEEP_BYTES / 2);
        self.levels.trim(KEEP_BYTES);
    }
}

fn content(leaf: &Leaf, encoding: Encoding, count: usize, body: &[u8]) -> Content {
    let texts = leaf.kind.physical() == Physical::ByteArray;
    if texts && encoding != Encoding::RleDictionary {
        Content::texts(count, body)
    } else {
        Content::Other
    }
}

/// What statistics are computed from: the distinct values, or all where NaN must be counted.
fn counted<'a, T>(distinct: &'a [T], values: &'a [T], leaf: &Leaf) -> &'a [T] {
    match leaf.kind.physical() {
        Physical::Float | Physical::Double => values,
        _ => distinct,
    }
}

fn fixed_stats(values: &FixedSizeBinaryArray, selection: &Selection<'_>, leaf: &Leaf) -> PageStats {
    let mut ends: Option<(&[u8], &[u8])> = None;
    selection.for_each_while(|row| {
        let value = values.value(row);
        ends = Some(ends.map_or((value, value), |(a, b)| (a.min(value), b.max(value))));
        true
    });
    PageStats::of_bytes(ends.into_iter().flat_map(|(a, b)| [a, b]), leaf.kind)
}

fn text_stats(bytes: &Bytes<'_>, selection: &Selection<'_>, leaf: &Leaf) -> PageStats {
    let mut ends: Option<(&[u8], &[u8])> = None;
    selection.for_each_while(|row| {
        let value = bytes.row(row);
        ends = Some(ends.map_or((value, value), |(a, b)| (a.min(value), b.max(value))));
        true
    });
    PageStats::of_bytes(ends.into_iter().flat_map(|(a, b)| [a, b]), leaf.kind)
}
