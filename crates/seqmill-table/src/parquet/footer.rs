//! What the end of the file needs: collected per row group in a spool file, then copied out.
//!
//! A record of the spool holds one row group: its figures, and for each leaf the finished
//! `ColumnIndex` (may be empty), `OffsetIndex` and `ColumnMetaData`. The end of the file is made
//! by reading the spool three times front to back, so it takes no memory that grows with the file.

use super::SortingColumn;
use super::file::LeafTotals;
use super::output::Output;
use super::page::{DATA_PAGE, DICTIONARY_PAGE};
use super::plan::{Encoding, Leaf, Plan};
use super::schema::arrow_schema_key;
use super::stats::{Bounds, PageStats};
use super::thrift::{Type, Writer};
use seqmill_base::{Error, Result};
use std::cmp::Ordering;

/// First and last bytes of a file.
pub(super) const MAGIC: &[u8; 4] = b"PAR1";

/// `FileMetaData.version`: writers should always say 1.
const FORMAT_VERSION: i32 = 1;

// `BoundaryOrder`.
const UNORDERED: i32 = 0;
const ASCENDING: i32 = 1;
const DESCENDING: i32 = 2;

/// Where a page went, and what is in it.
#[derive(Debug)]
pub(super) struct PageRecord {
    pub(super) offset: u64,
    /// Header included.
    pub(super) bytes: u64,
    pub(super) rows: u64,
    pub(super) encoding: Encoding,
    pub(super) stats: Option<PageStats>,
}

/// A column chunk that has been written.
#[derive(Debug, Default)]
pub(super) struct Chunk {
    pub(super) pages: Vec<PageRecord>,
    pub(super) slots: u64,
    pub(super) uncompressed: u64,
    pub(super) compressed: u64,
    pub(super) dictionary_offset: Option<u64>,
}

/// Figures of a row group.
#[derive(Debug, Default)]
pub(super) struct GroupFigures {
    pub(super) rows: u64,
    pub(super) offset: u64,
    pub(super) uncompressed: u64,
    pub(super) compressed: u64,
    pub(super) sorting: Vec<SortingColumn>,
}

/// The record of a row group.
pub(super) fn group_record(
    figures: &GroupFigures,
    leaves: &[Leaf],
    chunks: &[Chunk],
    plan: &Plan,
) -> Vec<u8> {
    let mut out = Vec::new();
    for figure in [figures.rows, figures.offset, figures.uncompressed, figures.compressed] {
        out.extend_from_slice(&figure.to_le_bytes());
    }
    out.extend_from_slice(&(figures.sorting.len() as u32).to_le_bytes());
    for column in &figures.sorting {
        out.extend_from_slice(&(column.leaf as u32).to_le_bytes());
        out.extend_from_slice(&[u8::from(column.descending), u8::from(column.nulls_first)]);
    }
    for (leaf, chunk) in leaves.iter().zip(chunks) {
        let parts =
            [column_index(leaf, chunk), offset_index(chunk), column_metadata(leaf, chunk, plan)];
        for part in &parts {
            out.extend_from_slice(&(part.len() as u32).to_le_bytes());
        }
        for part in &parts {
            out.extend_from_slice(part);
        }
    }
    out
}

/// `ColumnIndex`; empty if there is none.
fn column_index(leaf: &Leaf, chunk: &Chunk) -> Vec<u8> {
    let physical = leaf.kind.physical();
    let mut bounds = Vec::with_capacity(chunk.pages.len());
    for page in &chunk.pages {
        let Some(stats) = &page.stats else { return Vec::new() };
        let plain = match &stats.bounds {
            // Values, but all NaN: then a column index must not be written.
            None if stats.nans > 0 => return Vec::new(),
            None => (Vec::new(), Vec::new()),
            Some(bounds) => match bounds.plain(physical) {
                (least, Some(greatest)) => (least, greatest),
                (_, None) => return Vec::new(),
            },
        };
        bounds.push((stats, plain));
    }
    let mut w = Writer::default();
    w.list(1, Type::Bool, bounds.len());
    for (stats, _) in &bounds {
        w.element_bool(stats.bounds.is_none());
    }
    w.list(2, Type::Binary, bounds.len());
    for (_, (least, _)) in &bounds {
        w.element_binary(least);
    }
    w.list(3, Type::Binary, bounds.len());
    for (_, (_, greatest)) in &bounds {
        w.element_binary(greatest);
    }
    w.i32(4, boundary_order(bounds.iter().filter_map(|(stats, _)| stats.bounds.as_ref())));
    w.list(5, Type::I64, bounds.len());
    for (stats, _) in &bounds {
        w.element_i64(stats.nulls.cast_signed());
    }
    w.end();
    w.out
}

fn boundary_order<'a>(mut pages: impl Iterator<Item = &'a Bounds>) -> i32 {
    let (mut ascending, mut descending) = (true, true);
    let mut before = pages.next();
    for page in pages {
        if let Some(before) = before {
            let (least, greatest) = before.order(page);
            ascending &= least != Ordering::Greater && greatest != Ordering::Greater;
            descending &= least != Ordering::Less && greatest != Ordering::Less;
        }
        before = Some(page);
    }
    match (ascending, descending) {
        (true, _) => ASCENDING,
        (_, true) => DESCENDING,
        _ => UNORDERED,
    }
}

fn offset_index(chunk: &Chunk) -> Vec<u8> {
    let mut w = Writer::default();
    w.list(1, Type::Struct, chunk.pages.len());
    let mut row = 0;
    for page in &chunk.pages {
        w.begin_element();
        w.i64(1, page.offset.cast_signed());
        w.i32(2, page.bytes as i32);
        w.i64(3, row);
        w.end();
        row += page.rows.cast_signed();
    }
    w.end();
    w.out
}

fn column_metadata(leaf: &Leaf, chunk: &Chunk, plan: &Plan) -> Vec<u8> {
    let count = |encoding| chunk.pages.iter().filter(|p| p.encoding == encoding).count();
    let counts = Encoding::OF_VALUES.map(|encoding| (encoding, count(encoding)));
    let used = counts.iter().filter(|(_, n)| *n > 0);
    let has_dictionary = chunk.dictionary_offset.is_some();
    let mut encodings: Vec<Encoding> = used.clone().map(|(encoding, _)| *encoding).collect();
    if has_dictionary && !encodings.contains(&Encoding::Plain) {
        encodings.push(Encoding::Plain);
    }
    encodings.push(Encoding::Rle);
    encodings.sort_by_key(|e| *e as u8);

    let mut w = Writer::default();
    w.i32(1, leaf.kind.physical() as i32);
    w.list(2, Type::I32, encodings.len());
    for encoding in &encodings {
        w.element_i64(*encoding as i64);
    }
    w.list(3, Type::Binary, leaf.path.len());
    for part in &leaf.path {
        w.element_binary(part.as_bytes());
    }
    w.i32(4, plan.codec.number());
    w.i64(5, chunk.slots.cast_signed());
    w.i64(6, chunk.uncompressed.cast_signed());
    w.i64(7, chunk.compressed.cast_signed());
    w.i64(9, chunk.pages.first().map_or(0, |page| page.offset.cast_signed()));
    if let Some(offset) = chunk.dictionary_offset {
        w.i64(11, offset.cast_signed());
    }
    if leaf.statistics {
        let mut whole = PageStats::default();
        chunk.pages.iter().filter_map(|p| p.stats.as_ref()).for_each(|s| whole.merge(s));
        w.begin(12);
        whole.write(leaf.kind.physical(), &mut w);
        w.end();
    }
    w.list(13, Type::Struct, used.clone().count() + usize::from(has_dictionary));
    let mut page_encoding = |page_type, encoding: Encoding, count: usize| {
        w.begin_element();
        w.i32(1, page_type);
        w.i32(2, encoding as i32);
        w.i32(3, count as i32);
        w.end();
    };
    if has_dictionary {
        page_encoding(DICTIONARY_PAGE, Encoding::Plain, 1);
    }
    used.for_each(|(encoding, count)| page_encoding(DATA_PAGE, *encoding, *count));
    w.end();
    w.out
}

/// Reads the spool front to back.
struct SpoolReader<'a> {
    spool: &'a Output,
    at: u64,
    end: u64,
    window: Vec<u8>,
    used: usize,
}

/// Bytes read from the spool at once.
const WINDOW_BYTES: usize = 64 << 10;

impl<'a> SpoolReader<'a> {
    fn new(spool: &'a Output) -> Self {
        Self { spool, at: 0, end: spool.position(), window: Vec::new(), used: 0 }
    }

    /// The next `count` bytes.
    fn take(&mut self, count: usize) -> Result<&[u8]> {
        if self.window.len() - self.used < count {
            self.window.drain(..self.used);
            self.used = 0;
            let have = self.window.len();
            let want = count.max(WINDOW_BYTES) - have;
            let more = (want as u64).min(self.end - self.at) as usize;
            self.window.resize(have + more, 0);
            self.spool.read_at(&mut self.window[have..], self.at)?;
            self.at += more as u64;
        }
        let start = self.used;
        self.used += count;
        self.window
            .get(start..start + count)
            .ok_or_else(|| Error::internal("the spooled footer ends early"))
    }

    fn u32(&mut self) -> Result<u32> {
        Ok(self.take(4)?.iter().rev().fold(0, |all, b| all << 8 | u32::from(*b)))
    }

    fn u64(&mut self) -> Result<u64> {
        Ok(self.take(8)?.iter().rev().fold(0, |all, b| all << 8 | u64::from(*b)))
    }

    fn group(&mut self) -> Result<GroupFigures> {
        let mut figures = GroupFigures {
            rows: self.u64()?,
            offset: self.u64()?,
            uncompressed: self.u64()?,
            compressed: self.u64()?,
            sorting: Vec::new(),
        };
        for _ in 0..self.u32()? {
            let leaf = self.u32()? as usize;
            let flags = self.take(2)?;
            let (descending, nulls_first) = (flags[0] != 0, flags[1] != 0);
            figures.sorting.push(SortingColumn { leaf, descending, nulls_first });
        }
        Ok(figures)
    }

    /// Lengths of the column index, the offset index and the metadata of the next leaf.
    fn lengths(&mut self) -> Result<[usize; 3]> {
        Ok([self.u32()? as usize, self.u32()? as usize, self.u32()? as usize])
    }
}

/// What the footer says of the whole file.
pub(super) struct FileFacts<'a> {
    pub(super) rows: u64,
    pub(super) groups: u64,
    pub(super) key_values: &'a [(String, String)],
    pub(super) created_by: &'a str,
}

/// Writes page indexes and footer.
pub(super) fn write_end(
    data: &mut Output,
    spool: &mut Output,
    plan: &Plan,
    facts: &FileFacts<'_>,
) -> Result<()> {
    spool.flush()?;
    let indexes_at = data.position();
    // All column indexes, then all offset indexes: a reader of either gets it in one read.
    for which in 0..2 {
        let mut reader = SpoolReader::new(spool);
        for _ in 0..facts.groups {
            reader.group()?;
            for _ in &plan.leaves {
                let lengths = reader.lengths()?;
                for (part, &len) in lengths.iter().enumerate() {
                    let bytes = reader.take(len)?;
                    if part == which {
                        data.write(bytes)?;
                    }
                }
            }
        }
    }
    let footer_at = data.position();
    let mut w = Writer::default();
    w.i32(1, FORMAT_VERSION);
    w.list(2, Type::Struct, plan.elements.1);
    w.out.extend_from_slice(&plan.elements.0);
    w.i64(3, facts.rows.cast_signed());
    w.list(4, Type::Struct, facts.groups as usize);
    row_groups(data, spool, plan, facts, indexes_at, footer_at, &mut w)?;
    w.list(5, Type::Struct, facts.key_values.len() + 1);
    let arrow_schema = arrow_schema_key(&plan.schema, facts.key_values);
    let arrow = ("ARROW:schema", arrow_schema.as_str());
    let given = facts.key_values.iter().map(|(key, value)| (key.as_str(), value.as_str()));
    for (key, value) in given.chain([arrow]) {
        w.begin_element();
        w.binary(1, key.as_bytes());
        w.binary(2, value.as_bytes());
        w.end();
        drain(&mut w, data)?;
    }
    w.binary(6, facts.created_by.as_bytes());
    w.list(7, Type::Struct, plan.leaves.len());
    for _ in &plan.leaves {
        w.begin_element();
        w.empty(1);
        w.end();
    }
    w.end();
    drain(&mut w, data)?;
    let len = i32::try_from(data.position() - footer_at).map_err(|_| {
        Error::input("the footer would pass 2 GiB; use larger row groups (--row-group-bytes)")
    })?;
    data.write(&len.to_le_bytes())?;
    data.write(MAGIC)
}

fn drain(w: &mut Writer, data: &mut Output) -> Result<()> {
    data.write(&w.out)?;
    w.out.clear();
    Ok(())
}

fn row_groups(
    data: &mut Output,
    spool: &Output,
    plan: &Plan,
    facts: &FileFacts<'_>,
    indexes_at: u64,
    footer_at: u64,
    w: &mut Writer,
) -> Result<()> {
    let mut column_index_at = indexes_at;
    // Offset indexes end where the footer begins; their start follows from the sum of the others.
    let mut offset_index_at = footer_at;
    let mut reader = SpoolReader::new(spool);
    for _ in 0..facts.groups {
        reader.group()?;
        for _ in &plan.leaves {
            let lengths = reader.lengths()?;
            offset_index_at -= lengths[1] as u64;
            lengths.iter().try_for_each(|len| reader.take(*len).map(|_| ()))?;
        }
    }
    let mut reader = SpoolReader::new(spool);
    for ordinal in 0..facts.groups {
        let group = reader.group()?;
        w.begin_element();
        w.list(1, Type::Struct, plan.leaves.len());
        for _ in &plan.leaves {
            let [column_index, offset_index, metadata] = reader.lengths()?;
            reader.take(column_index)?;
            reader.take(offset_index)?;
            w.begin_element();
            w.i64(2, 0);
            w.raw_struct(3, reader.take(metadata)?);
            w.i64(4, offset_index_at.cast_signed());
            w.i32(5, offset_index as i32);
            if column_index > 0 {
                w.i64(6, column_index_at.cast_signed());
                w.i32(7, column_index as i32);
            }
            w.end();
            column_index_at += column_index as u64;
            offset_index_at += offset_index as u64;
        }
        w.i64(2, group.uncompressed.cast_signed());
        w.i64(3, group.rows.cast_signed());
        if !group.sorting.is_empty() {
            w.list(4, Type::Struct, group.sorting.len());
            for column in &group.sorting {
                w.begin_element();
                w.i32(1, column.leaf as i32);
                w.bool(2, column.descending);
                w.bool(3, column.nulls_first);
                w.end();
            }
        }
        w.i64(5, group.offset.cast_signed());
        w.i64(6, group.compressed.cast_signed());
        if let Ok(ordinal) = i16::try_from(ordinal) {
            w.i16(7, ordinal);
        }
        w.end();
        drain(w, data)?;
    }
    Ok(())
}

impl Chunk {
    /// Adds the chunk to the totals of its leaf.
    pub(super) fn total(&self, totals: &mut LeafTotals) {
        totals.compressed_bytes += self.compressed;
        totals.uncompressed_bytes += self.uncompressed;
        for page in &self.pages {
            totals.encodings |= 1 << page.encoding as u8;
            totals.pages += 1;
        }
    }
}
