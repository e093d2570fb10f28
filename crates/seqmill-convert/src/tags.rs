//! Decoding of tags into fields, overflow and text (`bam.md` §3.2).
#![expect(
    clippy::inline_always,
    reason = "a call gives each tag back through memory: a tenth of a scan's time was waiting for it"
)]

use crate::schema::{TagField, TagType};
use crate::text::{write_exact_float, write_float, write_signed};
use crate::wide::{Origin, Validity};
use seqmill_io::bam::{Fault, Tag, TagKind, Tags, array_item_bytes};

/// The fields and how to find them.
#[derive(Debug)]
pub(crate) struct TagPlan {
    /// Fields in the order of the output.
    pub fields: Vec<TagField>,
    /// Field number plus one by the two bytes of the name; 0: none.
    lookup: Box<[u16]>,
    /// Whether tags without a field are kept in `tags_other`.
    pub keep_others: bool,
}

fn name_index(name: [u8; 2]) -> usize {
    usize::from(u16::from_le_bytes(name))
}

impl TagPlan {
    /// A plan with the given fields.
    pub(crate) fn new(fields: Vec<TagField>, keep_others: bool) -> Self {
        let mut lookup = vec![0; 1 << 16].into_boxed_slice();
        for (number, field) in fields.iter().enumerate() {
            if let Some(entry) = lookup.get_mut(name_index(field.name)) {
                *entry = u16::try_from(number + 1).unwrap_or(0);
            }
        }
        Self { fields, lookup, keep_others }
    }

    #[inline]
    fn find(&self, name: [u8; 2]) -> Option<usize> {
        let entry = self.lookup.get(name_index(name)).copied().unwrap_or(0);
        (entry > 0).then(|| usize::from(entry) - 1)
    }
}

/// Why a tag went to `tags_other`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Overflow {
    /// It has no field.
    Unlisted,
    /// Its value is of another kind.
    Kind,
    /// Its value does not fit in the field.
    Range,
    /// It is not the first of its name in the record.
    Duplicate,
}

/// Names of the reasons, in their order.
pub(crate) const OVERFLOW_NAMES: [&str; 4] = ["unlisted", "kind", "range", "duplicate"];

/// Values of one field, filled row by row; rows that were passed over are null.
#[derive(Debug, Default)]
pub(crate) struct FieldValues {
    /// Offsets of text and arrays.
    pub offsets: Vec<i32>,
    /// Text, or the little-endian items of arrays, or values.
    pub bytes: Vec<u8>,
    /// Integers.
    pub integers: Vec<i64>,
    /// Rows filled so far, and which are null.
    pub validity: Validity,
}

impl FieldValues {
    fn new(tag_type: TagType, rows: usize, hint: usize) -> Self {
        let mut values = Self { validity: Validity::new(rows), ..Self::default() };
        match tag_type {
            TagType::Text(_) | TagType::Array(_) => {
                values.offsets.reserve_exact(rows + 1);
                values.offsets.push(0);
                values.bytes.reserve(hint);
            }
            TagType::Integer | TagType::NarrowInteger => values.integers.reserve_exact(rows),
            TagType::Float => values.bytes.reserve_exact(4 * rows),
        }
        values
    }

    /// Makes the rows before `row` null where they were not filled.
    #[inline(always)]
    fn pad(&mut self, tag_type: TagType, row: usize) {
        if self.validity.rows() < row {
            self.pad_nulls(tag_type, row);
        }
    }

    fn pad_nulls(&mut self, tag_type: TagType, row: usize) {
        match tag_type {
            TagType::Text(_) | TagType::Array(_) => {
                let last = self.offsets.last().copied().unwrap_or(0);
                self.offsets.resize(row + 1, last);
            }
            TagType::Integer | TagType::NarrowInteger => self.integers.resize(row, 0),
            TagType::Float => self.bytes.resize(4 * row, 0),
        }
        self.validity.push_nulls(row - self.validity.rows());
    }

    /// Makes the row null: the first tag of the name has no place here, and a later one is none of
    /// the field's, as filters see it.
    #[cold]
    fn leave_out(&mut self, tag_type: TagType, row: usize) {
        self.pad(tag_type, row);
        self.pad_nulls(tag_type, row + 1);
    }

    /// Closes an entry of variable length; false if the offsets are full.
    #[inline]
    fn end_entry(&mut self, item_bytes: usize) -> bool {
        match i32::try_from(self.bytes.len() / item_bytes) {
            Ok(end) => {
                self.offsets.push(end);
                true
            }
            Err(_) => false,
        }
    }
}

/// Values of `tags_other`.
#[derive(Debug, Default)]
pub(crate) struct OtherValues {
    /// Entries before each row's end.
    pub row_ends: Vec<i32>,
    /// Names, types and values, with their offsets.
    pub names: TextColumn,
    pub types: TextColumn,
    pub values: TextColumn,
    /// How often, by tag and reason.
    pub counts: Vec<([u8; 2], [u64; 4])>,
}

/// Text values one after the other.
#[derive(Debug)]
pub(crate) struct TextColumn {
    pub offsets: Vec<i32>,
    pub bytes: Vec<u8>,
}

impl Default for TextColumn {
    fn default() -> Self {
        Self { offsets: vec![0], bytes: Vec::new() }
    }
}

impl TextColumn {
    fn end_entry(&mut self) {
        self.offsets.push(i32::try_from(self.bytes.len()).unwrap_or(i32::MAX));
    }
}

impl OtherValues {
    fn entries(&self) -> i32 {
        i32::try_from(self.names.offsets.len() - 1).unwrap_or(i32::MAX)
    }

    fn push(&mut self, tag: &Tag<'_>, reason: Overflow) {
        self.names.bytes.extend_from_slice(&tag.name);
        self.names.end_entry();
        write_type(tag.kind, &mut self.types.bytes);
        self.types.end_entry();
        write_value(tag, write_exact_float, &mut self.values.bytes);
        self.values.end_entry();
        let found = self.counts.iter().position(|(name, _)| *name == tag.name);
        let at = found.unwrap_or_else(|| {
            self.counts.push((tag.name, [0; 4]));
            self.counts.len() - 1
        });
        if let Some((_, counts)) = self.counts.get_mut(at) {
            counts[reason as usize] += 1;
        }
    }
}

/// All tags of a batch.
#[derive(Debug, Default)]
pub(crate) struct TagValues {
    pub fields: Vec<FieldValues>,
    pub others: OtherValues,
}

impl TagValues {
    /// Room for `rows` rows; `hints` are the bytes that the text fields may take.
    pub(crate) fn new(plan: &TagPlan, rows: usize, hints: impl Iterator<Item = usize>) -> Self {
        let hints = hints.chain(std::iter::repeat(0));
        let fields = plan.fields.iter().zip(hints);
        Self {
            fields: fields.map(|(f, hint)| FieldValues::new(f.tag_type, rows, hint)).collect(),
            others: OtherValues::default(),
        }
    }

    /// Takes the tags of one row, parts of `origin`; `long_cigar`: its `CG` tag is the CIGAR and no
    /// tag.
    #[inline(always)]
    pub(crate) fn push_row(
        &mut self,
        plan: &TagPlan,
        row: usize,
        tags: &[u8],
        long_cigar: bool,
        origin: Origin<'_>,
    ) -> Result<(), Fault> {
        let mut cigar_seen = !long_cigar;
        for tag in Tags::new(tags) {
            let tag = tag?;
            if !cigar_seen && tag.name == *b"CG" && tag.kind == TagKind::Array(b'I') {
                cigar_seen = true;
                continue;
            }
            if let Err(reason) = self.place(plan, row, &tag, origin)?
                && plan.keep_others
            {
                self.others.push(&tag, reason);
            }
        }
        if plan.keep_others {
            self.others.row_ends.push(self.others.entries());
        }
        Ok(())
    }

    /// Puts a tag in its field, or says why it has no place there.
    #[inline(always)]
    fn place(
        &mut self,
        plan: &TagPlan,
        row: usize,
        tag: &Tag<'_>,
        origin: Origin<'_>,
    ) -> Result<Result<(), Overflow>, Fault> {
        const TOO_LONG: Fault = Fault::tag("the values of one batch exceed 2 GiB");
        let Some(number) = plan.find(tag.name) else { return Ok(Err(Overflow::Unlisted)) };
        let (Some(field), Some(values)) = (plan.fields.get(number), self.fields.get_mut(number))
        else {
            return Ok(Err(Overflow::Unlisted));
        };
        if values.validity.rows() > row {
            return Ok(Err(Overflow::Duplicate));
        }
        match (field.tag_type, tag.kind) {
            (TagType::Text(b'Z'), TagKind::Text)
            | (TagType::Text(b'H'), TagKind::Hex)
            | (TagType::Text(b'A'), TagKind::Character) => {
                values.pad(field.tag_type, row);
                origin.append(tag.value, &mut values.bytes);
                if !values.end_entry(1) {
                    return Err(TOO_LONG);
                }
            }
            (TagType::Integer, TagKind::Integer(_)) => {
                values.pad(field.tag_type, row);
                values.integers.push(tag.integer());
            }
            (TagType::NarrowInteger, TagKind::Integer(_)) => {
                if i32::try_from(tag.integer()).is_err() {
                    values.leave_out(field.tag_type, row);
                    return Ok(Err(Overflow::Range));
                }
                values.pad(field.tag_type, row);
                values.integers.push(tag.integer());
            }
            (TagType::Float, TagKind::Float) => {
                values.pad(field.tag_type, row);
                values.bytes.extend_from_slice(tag.value);
            }
            (TagType::Array(wanted), TagKind::Array(found)) => {
                values.pad(field.tag_type, row);
                let before = values.bytes.len();
                if wanted == found {
                    origin.append(tag.value, &mut values.bytes);
                } else if !append_items(wanted, found, tag.value, &mut values.bytes) {
                    values.bytes.truncate(before);
                    values.leave_out(field.tag_type, row);
                    let same_kind = (wanted == b'f') == (found == b'f');
                    return Ok(Err(if same_kind { Overflow::Range } else { Overflow::Kind }));
                }
                if !values.end_entry(array_item_bytes(wanted).unwrap_or(1)) {
                    return Err(TOO_LONG);
                }
            }
            _ => {
                values.leave_out(field.tag_type, row);
                return Ok(Err(Overflow::Kind));
            }
        }
        values.validity.push(true);
        Ok(Ok(()))
    }

    /// Fills every field up to `rows`.
    pub(crate) fn finish(&mut self, plan: &TagPlan, rows: usize) {
        for (field, values) in plan.fields.iter().zip(&mut self.fields) {
            values.pad(field.tag_type, rows);
        }
    }
}

/// Appends array items as the wanted subtype, which is another; false if one does not fit.
fn append_items(wanted: u8, found: u8, value: &[u8], out: &mut Vec<u8>) -> bool {
    if wanted == b'f' || found == b'f' {
        return false;
    }
    let (low, high, width): (i64, i64, usize) = match wanted {
        b'c' => (i8::MIN.into(), i8::MAX.into(), 1),
        b'C' => (0, u8::MAX.into(), 1),
        b's' => (i16::MIN.into(), i16::MAX.into(), 2),
        b'S' => (0, u16::MAX.into(), 2),
        b'i' => (i32::MIN.into(), i32::MAX.into(), 4),
        _ => (0, u32::MAX.into(), 4),
    };
    for item in value.chunks_exact(array_item_bytes(found).unwrap_or(1)) {
        let tag = Tag { name: [0; 2], kind: TagKind::Integer(found), value: item };
        let n = tag.integer();
        if n < low || n > high {
            return false;
        }
        out.extend_from_slice(n.to_le_bytes().get(..width).unwrap_or_default());
    }
    true
}

/// Appends the SAM type of a value, arrays with their subtype: `B:C`.
pub(crate) fn write_type(kind: TagKind, out: &mut Vec<u8>) {
    match kind {
        TagKind::Character => out.push(b'A'),
        TagKind::Integer(_) => out.push(b'i'),
        TagKind::Float => out.push(b'f'),
        TagKind::Text => out.push(b'Z'),
        TagKind::Hex => out.push(b'H'),
        TagKind::Array(sub) => out.extend_from_slice(&[b'B', b':', sub]),
    }
}

/// Appends a float in one of the forms of its text.
type WriteFloat = fn(f32, &mut Vec<u8>);

/// Appends the value of a tag as samtools prints it.
pub(crate) fn write_sam_value(tag: &Tag<'_>, out: &mut Vec<u8>) {
    write_value(tag, write_float, out);
}

/// Appends the value of a tag as SAM text; an array with its subtype, as in SAM.
fn write_value(tag: &Tag<'_>, write_float: WriteFloat, out: &mut Vec<u8>) {
    match tag.kind {
        TagKind::Character | TagKind::Text | TagKind::Hex => out.extend_from_slice(tag.value),
        TagKind::Integer(_) => write_signed(tag.integer(), out),
        TagKind::Float => write_float(tag.float(), out),
        TagKind::Array(sub) => {
            out.push(sub);
            for item in tag.value.chunks_exact(array_item_bytes(sub).unwrap_or(1)) {
                out.push(b',');
                if sub == b'f' {
                    let bytes = item.first_chunk::<4>().copied().unwrap_or_default();
                    write_float(f32::from_le_bytes(bytes), out);
                } else {
                    let tag = Tag { name: [0; 2], kind: TagKind::Integer(sub), value: item };
                    write_signed(tag.integer(), out);
                }
            }
        }
    }
}

/// Appends all tags as SAM text, TAB-separated.
pub(crate) fn write_tags(tags: &[u8], long_cigar: bool, out: &mut Vec<u8>) -> Result<(), Fault> {
    let mut first = true;
    let mut cigar_seen = !long_cigar;
    for tag in Tags::new(tags) {
        let tag = tag?;
        if !cigar_seen && tag.name == *b"CG" && tag.kind == TagKind::Array(b'I') {
            cigar_seen = true;
            continue;
        }
        if !first {
            out.push(b'\t');
        }
        first = false;
        out.extend_from_slice(&tag.name);
        out.push(b':');
        match tag.kind {
            TagKind::Array(_) => out.push(b'B'),
            kind => write_type(kind, out),
        }
        out.push(b':');
        write_sam_value(&tag, out);
    }
    Ok(())
}
