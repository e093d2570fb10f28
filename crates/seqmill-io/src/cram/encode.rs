//! One record of noodles as the bytes of a BAM record.

use super::encodings::RecordFlags;
use super::matches::describe_matches;
use super::rewrite::RecordReferences;
use crate::sam::{bin, write_packed};
use noodles_cram::Record;
use noodles_fasta::record::Sequence;
use noodles_sam as sam;
use noodles_sam::alignment::Record as _;
use noodles_sam::alignment::record::cigar::op::Kind;
use noodles_sam::alignment::record::data::field::Value;
use noodles_sam::alignment::record::data::field::value::Array;
use std::io;
use std::sync::Arc;

/// Most operations in the fixed place of a CIGAR (`SAMv1 §4.2.2`).
const OPERATIONS_MAX: usize = 0xffff;
/// Longest operation: 28 bits.
const OPERATION_MAX: usize = (1 << 28) - 1;
const FLAG_UNMAPPED: u16 = 0x4;
const FLAG_FIRST: u16 = 0x40;

/// The reference of a record, where there is one.
pub(super) enum Reference<'r> {
    /// Unknown: bases are in the file.
    None,
    /// Bases from a position on, 1-based.
    Part(&'r [u8], usize),
    /// All bases.
    Whole(Arc<Sequence>),
}

impl Reference<'_> {
    fn bases(&self) -> Option<(&[u8], usize)> {
        match self {
            Self::None => None,
            Self::Part(bases, start) => Some((bases, *start)),
            Self::Whole(sequence) => Some(((**sequence).as_ref(), 1)),
        }
    }
}

fn wrong(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.to_owned())
}

/// Writes records.
pub(super) struct RecordWriter<'w> {
    pub header: &'w sam::Header,
    /// CRAM flags of the records of the slice.
    pub flags: RecordFlags,
    /// References of the records, where noodles does not know them.
    pub references: Option<RecordReferences>,
    /// Where differences of positions begin, of which noodles does not know.
    pub first_position: i32,
    /// Bytes that were reserved for all records.
    pub most: u64,
}

impl RecordWriter<'_> {
    /// Appends the record of this number in its slice, with its `block_size`.
    pub(super) fn write(
        &mut self,
        record: &Record<'_>,
        number: usize,
        reference: &Reference<'_>,
        out: &mut Vec<u8>,
    ) -> io::Result<()> {
        let at = out.len();
        let flags = u16::from(record.flags()?);
        let mut name: &[u8] = record.name().map_or(&b"*"[..], |name| name.as_ref());
        if name.is_empty() {
            name = b"*";
        }
        if name.len() > 254 || name.contains(&0) {
            return Err(wrong("a read name is too long or holds NUL"));
        }
        let id = |id: Option<io::Result<usize>>| match id.transpose()? {
            None => Ok(-1_i32),
            Some(id) => i32::try_from(id).map_err(|_| wrong("a reference does not exist")),
        };
        let mut reference_id = id(record.reference_sequence_id(self.header))?;
        let mut mate_id = id(record.mate_reference_sequence_id(self.header))?;
        if let Some(references) = &self.references {
            reference_id = references.own(number).unwrap_or(reference_id);
            mate_id = references.mate(number).unwrap_or(mate_id);
        }
        let position = |p: Option<io::Result<noodles_core::Position>>| match p.transpose()? {
            None => Ok(-1_i32),
            Some(p) => {
                i32::try_from(usize::from(p) - 1).map_err(|_| wrong("a position is too large"))
            }
        };
        let pos = position(record.alignment_start())?.saturating_add(self.first_position).max(-1);
        let mate_pos = position(record.mate_alignment_start())?;
        // Records that are not aligned have no quality in a CRAM.
        let mapq = match record.mapping_quality().transpose()? {
            Some(quality) => quality.get(),
            None if flags & FLAG_UNMAPPED != 0 => 0,
            None => 255,
        };
        out.extend_from_slice(&[0; 36]);
        out.extend_from_slice(name);
        out.push(0);
        let cigar_at = out.len();
        let (operations, span) = write_cigar(record, out)?;
        let sequence = record.sequence();
        let l_seq = sequence.len();
        if (out.len() + 2 * l_seq) as u64 > self.most.saturating_add(1 << 16) {
            return Err(wrong("records are longer than what their blocks can hold"));
        }
        let bases: Vec<u8> = sequence.iter().collect();
        if bases.len() != l_seq {
            return Err(wrong("a record has another number of bases than it states"));
        }
        let long = (operations > OPERATIONS_MAX).then(|| out.split_off(cigar_at));
        if long.is_some() {
            let operation = |length: usize, code: u32| {
                u32::try_from(length.min(OPERATION_MAX)).unwrap_or(0) << 4 | code
            };
            out.extend_from_slice(&operation(l_seq, 4).to_le_bytes());
            out.extend_from_slice(&operation(span, 3).to_le_bytes());
        }
        write_packed(&bases, out);
        write_qualities(record, l_seq, self.flags.may_lack_qualities(number), out)?;
        self.write_tags(record, flags, pos, &bases, reference, out)?;
        let mut fixed_operations = operations;
        if let Some(long) = long {
            fixed_operations = 2;
            out.extend_from_slice(b"CGBI");
            out.extend_from_slice(&u32::try_from(operations).unwrap_or(u32::MAX).to_le_bytes());
            out.extend_from_slice(&long);
        }
        let size = u32::try_from(out.len() - at - 4).map_err(|_| wrong("a record is too long"))?;
        let end = i64::from(pos) + i64::try_from(span.max(1)).unwrap_or(i64::MAX >> 1);
        let l_seq = u32::try_from(l_seq).map_err(|_| wrong("a sequence is too long"))?;
        let mut fixed = Vec::with_capacity(36);
        fixed.extend_from_slice(&size.to_le_bytes());
        fixed.extend_from_slice(&reference_id.to_le_bytes());
        fixed.extend_from_slice(&pos.to_le_bytes());
        fixed.extend_from_slice(&[u8::try_from(name.len() + 1).unwrap_or(255), mapq]);
        fixed.extend_from_slice(&bin(i64::from(pos), end).to_le_bytes());
        fixed.extend_from_slice(&u16::try_from(fixed_operations).unwrap_or(0).to_le_bytes());
        fixed.extend_from_slice(&flags.to_le_bytes());
        fixed.extend_from_slice(&l_seq.to_le_bytes());
        fixed.extend_from_slice(&mate_id.to_le_bytes());
        fixed.extend_from_slice(&mate_pos.to_le_bytes());
        let mut length = record.template_length()?;
        if self.flags.is_attached(number) {
            let mates = (reference_id, pos) == (mate_id, mate_pos);
            length = attached_length(length, flags, reference_id == mate_id, mates);
        }
        fixed.extend_from_slice(&length.to_le_bytes());
        if let Some(place) = out.get_mut(at..at + 36) {
            place.copy_from_slice(&fixed);
        }
        Ok(())
    }

    /// Tags as stored; `MD` and `NM`, which a CRAM leaves out, are made up before `RG`, as samtools
    /// does.
    fn write_tags(
        &self,
        record: &Record<'_>,
        flags: u16,
        pos: i32,
        bases: &[u8],
        reference: &Reference<'_>,
        out: &mut Vec<u8>,
    ) -> io::Result<()> {
        let data = record.data();
        let (mut has_md, mut has_nm) = (false, false);
        let mut group = None;
        for field in data.iter() {
            let (tag, value) = field?;
            let name: &[u8; 2] = tag.as_ref();
            has_md |= name == b"MD";
            has_nm |= name == b"NM";
            match (name, &value) {
                // A group of the header is a number in the record; any other is a tag like others.
                (b"RG", Value::String(id)) if self.is_group(id.as_ref()) => {
                    group = Some(value);
                    continue;
                }
                // A mark of htslib: which of the two were not there when the CRAM was written.
                (b"cF", Value::UInt8(absent)) => {
                    has_md |= absent & 1 != 0;
                    has_nm |= absent & 2 != 0;
                    continue;
                }
                _ => {}
            }
            out.extend_from_slice(name);
            write_value(&value, out)?;
        }
        if let (Some((reference, start)), Ok(pos)) = (reference.bases(), usize::try_from(pos))
            && flags & FLAG_UNMAPPED == 0
            && !bases.is_empty()
            && !(has_md && has_nm)
        {
            let cigar = record.cigar();
            let operations = cigar.iter().map(|op| op.map(|op| (op.kind(), op.len())));
            let (text, distance) = describe_matches(operations, bases, reference, pos + 1, start)?;
            if !has_md {
                out.extend_from_slice(b"MDZ");
                out.extend_from_slice(&text);
                out.push(0);
            }
            if !has_nm {
                out.extend_from_slice(b"NM");
                write_count(distance, out);
            }
        }
        if let Some(value) = group {
            out.extend_from_slice(b"RG");
            write_value(&value, out)?;
        }
        Ok(())
    }

    fn is_group(&self, id: &[u8]) -> bool {
        self.header.read_groups().contains_key(id)
    }
}

/// Qualities; noodles gives zeros where none are stored.
fn write_qualities(
    record: &Record<'_>,
    l_seq: usize,
    may_lack: bool,
    out: &mut Vec<u8>,
) -> io::Result<()> {
    let begin = out.len();
    if l_seq == 0 {
        return Ok(());
    }
    for score in record.quality_scores().iter().take(l_seq + 1) {
        out.push(score?);
    }
    let scores = out.get(begin..).unwrap_or_default();
    if scores.is_empty() || (may_lack && scores.iter().all(|q| *q == 0)) {
        out.truncate(begin);
        out.resize(begin + l_seq, 0xff);
    } else if scores.len() != l_seq {
        return Err(wrong("a record has another number of qualities than of bases"));
    }
    Ok(())
}

/// The template length of a record whose mate was found in the slice: 0 on different references;
/// of mates that begin at the same place the first read has the positive one, as in htslib.
fn attached_length(length: i32, flags: u16, same_reference: bool, same_place: bool) -> i32 {
    if !same_reference {
        return 0;
    }
    if !same_place {
        return length;
    }
    let positive = flags & FLAG_FIRST != 0;
    if positive { length.saturating_abs() } else { -length.saturating_abs() }
}

fn write_count(count: u32, out: &mut Vec<u8>) {
    if let Ok(n) = u8::try_from(count) {
        out.extend_from_slice(&[b'C', n]);
    } else if let Ok(n) = u16::try_from(count) {
        out.push(b'S');
        out.extend_from_slice(&n.to_le_bytes());
    } else {
        out.push(b'I');
        out.extend_from_slice(&count.to_le_bytes());
    }
}

/// Number of operations and bases of the reference they cover.
fn write_cigar(record: &Record<'_>, out: &mut Vec<u8>) -> io::Result<(usize, usize)> {
    let (mut count, mut span) = (0, 0_usize);
    for operation in record.cigar().iter() {
        let operation = operation?;
        let code: u32 = match operation.kind() {
            Kind::Match => 0,
            Kind::Insertion => 1,
            Kind::Deletion => 2,
            Kind::Skip => 3,
            Kind::SoftClip => 4,
            Kind::HardClip => 5,
            Kind::Pad => 6,
            Kind::SequenceMatch => 7,
            Kind::SequenceMismatch => 8,
        };
        if operation.len() > OPERATION_MAX {
            return Err(wrong("an operation of a CIGAR is too long"));
        }
        if matches!(code, 0 | 2 | 3 | 7 | 8) {
            span += operation.len();
        }
        let length = u32::try_from(operation.len()).unwrap_or(0);
        out.extend_from_slice(&(length << 4 | code).to_le_bytes());
        count += 1;
    }
    Ok((count, span))
}

fn write_value(value: &Value<'_>, out: &mut Vec<u8>) -> io::Result<()> {
    match value {
        Value::Character(c) => out.extend_from_slice(&[b'A', *c]),
        Value::Int8(n) => out.extend_from_slice(&[b'c', n.cast_unsigned()]),
        Value::UInt8(n) => out.extend_from_slice(&[b'C', *n]),
        Value::Int16(n) => write_number(b's', &n.to_le_bytes(), out),
        Value::UInt16(n) => write_number(b'S', &n.to_le_bytes(), out),
        Value::Int32(n) => write_number(b'i', &n.to_le_bytes(), out),
        Value::UInt32(n) => write_number(b'I', &n.to_le_bytes(), out),
        Value::Float(n) => write_number(b'f', &n.to_le_bytes(), out),
        Value::String(text) => write_text(b'Z', text.as_ref(), out)?,
        Value::Hex(text) => write_text(b'H', text.as_ref(), out)?,
        Value::Array(array) => write_array(array, out)?,
    }
    Ok(())
}

fn write_number(kind: u8, bytes: &[u8], out: &mut Vec<u8>) {
    out.push(kind);
    out.extend_from_slice(bytes);
}

fn write_text(kind: u8, text: &[u8], out: &mut Vec<u8>) -> io::Result<()> {
    if text.contains(&0) {
        return Err(wrong("a text tag holds NUL"));
    }
    out.push(kind);
    out.extend_from_slice(text);
    out.push(0);
    Ok(())
}

fn write_array(array: &Array<'_>, out: &mut Vec<u8>) -> io::Result<()> {
    macro_rules! items {
        ($subtype:literal, $values:expr) => {{
            out.extend_from_slice(&[b'B', $subtype]);
            let count_at = out.len();
            out.extend_from_slice(&[0; 4]);
            let mut count = 0_u32;
            for item in $values.iter() {
                out.extend_from_slice(&item?.to_le_bytes());
                count = count.checked_add(1).ok_or_else(|| wrong("an array is too long"))?;
            }
            if let Some(place) = out.get_mut(count_at..count_at + 4) {
                place.copy_from_slice(&count.to_le_bytes());
            }
        }};
    }
    match array {
        Array::Int8(values) => items!(b'c', values),
        Array::UInt8(values) => items!(b'C', values),
        Array::Int16(values) => items!(b's', values),
        Array::UInt16(values) => items!(b'S', values),
        Array::Int32(values) => items!(b'i', values),
        Array::UInt32(values) => items!(b'I', values),
        Array::Float(values) => items!(b'f', values),
    }
    Ok(())
}
