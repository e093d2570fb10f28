//! One line of SAM to the bytes of one BAM record (`SAMv1 §1.4`, §4.2).
#![expect(
    clippy::cast_possible_truncation,
    reason = "numbers have been compared with what their fields hold"
)]

use super::number::{signed, unsigned};
use super::tags::write_tags;
use crate::bam::{Fault, Header};
use hashbrown::HashMap;
use memchr::memchr;
use rustc_hash::FxBuildHasher;
use seqmill_base::FormatKind;

/// What was noticed of lines that can be read: bits in the order of [`NOTICES`].
pub type Notices = u32;

/// What may be noticed; the first [`STRICT_NOTICES`] are errors when reading strictly.
pub const NOTICES: [&str; 10] = [
    "qname holds characters that SAM does not allow",
    "flag has bits that SAM does not define",
    "cigar has clips that are not at its ends",
    "a tag's name is not a letter and a letter or digit",
    "a tag's text holds characters that SAM does not allow",
    "a tag of type H is not in upper case",
    "a tag of type f is not a finite number in the form that SAM asks for",
    "a tag occurs more than once",
    "letters of seq that BAM does not have are read as N, and U as T",
    "records without rname or cigar are flagged as unmapped",
];

/// Notices that break the grammar.
pub(super) const STRICT_NOTICES: u32 = 8;

pub(super) const QNAME: Notices = 1;
pub(super) const FLAG: Notices = 1 << 1;
pub(super) const CLIPS: Notices = 1 << 2;
pub(super) const TAG_NAME: Notices = 1 << 3;
pub(super) const TAG_TEXT: Notices = 1 << 4;
pub(super) const TAG_HEX: Notices = 1 << 5;
pub(super) const TAG_FLOAT: Notices = 1 << 6;
pub(super) const TAG_TWICE: Notices = 1 << 7;
const LETTERS: Notices = 1 << 8;
const UNMAPPED: Notices = 1 << 9;

/// Fields of [`NOTICES`] that are errors when reading strictly.
const NOTICE_FIELDS: [&str; STRICT_NOTICES as usize] =
    ["qname", "flag", "cigar", "tags", "tags", "tags", "tags", "tags"];

/// Bits of FLAG (`SAMv1 §1.4`).
const FLAG_BITS: u64 = 0xfff;
const FLAG_UNMAPPED: u16 = 0x4;
/// Most operations in the fixed place of a CIGAR (`SAMv1 §4.2.2`).
const OPERATIONS_MAX: usize = 0xffff;
/// Longest operation: 28 bits.
const OPERATION_MAX: u32 = (1 << 28) - 1;

/// A fault of a line.
pub(super) const fn fault(field: &'static str, reason: &'static str) -> Fault {
    Fault { kind: FormatKind::Sam, field, reason }
}

/// Turns lines into records.
#[derive(Debug)]
pub struct LineParser {
    references: HashMap<Vec<u8>, i32, FxBuildHasher>,
    strict: bool,
}

/// The fields of a line, tags not split.
struct Fields<'l> {
    fixed: [&'l [u8]; 11],
    tags: Option<&'l [u8]>,
}

impl LineParser {
    /// A parser of lines below `header`.
    pub fn new(header: &Header, strict: bool) -> Self {
        let numbered = header.references.iter().zip(0..);
        let references = numbered.map(|(r, i)| (r.name.clone().into_bytes(), i)).collect();
        Self { references, strict }
    }

    /// Appends the record of `line` (without its end) with its `block_size`; nothing is appended
    /// if there is a fault.
    pub fn parse(&self, line: &[u8], out: &mut Vec<u8>) -> Result<Notices, Fault> {
        let before = out.len();
        let result = self.record(line, out);
        let strict = match result {
            Ok(notices) if self.strict => (notices & ((1 << STRICT_NOTICES) - 1)).trailing_zeros(),
            _ => STRICT_NOTICES,
        };
        let result = match NOTICE_FIELDS.get(strict as usize) {
            Some(field) => {
                let text = NOTICES.get(strict as usize).copied().unwrap_or_default();
                // Of a fault the field is told by itself, unless that is one of the tags.
                let rest = text.split_once(' ').map_or(text, |(_, rest)| rest);
                Err(fault(field, if *field == "tags" { text } else { rest }))
            }
            None => result,
        };
        if result.is_err() {
            out.truncate(before);
        }
        result
    }

    fn record(&self, line: &[u8], out: &mut Vec<u8>) -> Result<Notices, Fault> {
        let Fields { fixed, tags } = split(line)?;
        let [qname, flag, rname, pos, mapq, cigar, rnext, pnext, tlen, seq, qual] = fixed;
        let mut notices = check_name(qname)?;
        let flag = unsigned(flag, 0xffff)
            .ok_or(fault("flag", "is not a number from 0 to 4095 without leading zeros"))?;
        if flag > FLAG_BITS {
            notices |= FLAG;
        }
        let mut flag = flag as u16;
        let reference = self.reference(rname, "rname")?;
        let pos = position(pos, "pos")?;
        let mapq =
            unsigned(mapq, 0xff).ok_or(fault("mapq", "is not a number from 0 to 255"))? as u8;
        let mate = if rnext == b"=" { reference } else { self.reference(rnext, "rnext")? };
        let mate_pos = position(pnext, "pnext")?;
        let tlen = signed(tlen)
            .and_then(|n| i32::try_from(n).ok())
            .ok_or(fault("tlen", "is not a number from -2147483648 to 2147483647"))?;
        if flag & FLAG_UNMAPPED == 0 && (reference < 0 || cigar == b"*") {
            // As samtools: such a record cannot be an alignment.
            flag |= FLAG_UNMAPPED;
            notices |= UNMAPPED;
        }
        let start = out.len();
        out.extend_from_slice(&[0; 36]);
        out.extend_from_slice(qname);
        out.push(0);
        let cigar_at = out.len();
        let spans = write_cigar(cigar, out, &mut notices)?;
        let l_seq = if seq == b"*" { 0 } else { seq.len() };
        if cigar != b"*" && seq != b"*" && spans.query != seq.len() as u64 {
            return Err(fault("cigar", "covers another number of bases than seq has"));
        }
        let l_seq_field = u32::try_from(l_seq)
            .ok()
            .filter(|n| i32::try_from(*n).is_ok())
            .ok_or(fault("seq", "is too long"))?;
        let long = (spans.operations > OPERATIONS_MAX)
            .then(|| move_long_cigar(out, cigar_at, l_seq_field, spans.reference));
        write_sequence(seq, out, &mut notices)?;
        write_qualities(qual, seq, out)?;
        if let Some(tags) = tags {
            write_tags(tags, out, &mut notices)?;
        }
        let operations = if let Some(long) = long {
            append_long_cigar(&long, out);
            2
        } else {
            spans.operations
        };
        let size =
            u32::try_from(out.len() - start - 4).map_err(|_| fault("line", "is too long"))?;
        let end = i64::from(pos) + i64::try_from(spans.reference.max(1)).unwrap_or(i64::MAX);
        let mut fixed = [0_u8; 36];
        let mut put = |at: usize, bytes: &[u8]| {
            if let Some(place) = fixed.get_mut(at..at + bytes.len()) {
                place.copy_from_slice(bytes);
            }
        };
        put(0, &size.to_le_bytes());
        put(4, &reference.to_le_bytes());
        put(8, &pos.to_le_bytes());
        put(12, &[qname.len() as u8 + 1, mapq]);
        put(14, &bin(i64::from(pos), end).to_le_bytes());
        put(16, &(operations as u16).to_le_bytes());
        put(18, &flag.to_le_bytes());
        put(20, &l_seq_field.to_le_bytes());
        put(24, &mate.to_le_bytes());
        put(28, &mate_pos.to_le_bytes());
        put(32, &tlen.to_le_bytes());
        if let Some(place) = out.get_mut(start..start + 36) {
            place.copy_from_slice(&fixed);
        }
        Ok(notices)
    }

    fn reference(&self, name: &[u8], field: &'static str) -> Result<i32, Fault> {
        if name == b"*" {
            return Ok(-1);
        }
        let found = self.references.get(name).copied();
        found.ok_or(if self.references.is_empty() {
            fault(field, "names a reference, but the header has no @SQ lines")
        } else {
            fault(field, "is not a reference of the header")
        })
    }
}

fn split(line: &[u8]) -> Result<Fields<'_>, Fault> {
    let mut fixed: [&[u8]; 11] = [&[]; 11];
    let mut rest = Some(line);
    for field in &mut fixed {
        let Some(text) = rest else {
            return Err(fault("line", "has less than 11 fields"));
        };
        (*field, rest) = next_field(text);
    }
    Ok(Fields { fixed, tags: rest })
}

/// The text up to the next TAB, and what follows it.
pub(super) fn next_field(text: &[u8]) -> (&[u8], Option<&[u8]>) {
    let end = memchr(b'\t', text).unwrap_or(text.len());
    (text.get(..end).unwrap_or_default(), text.get(end + 1..))
}

fn check_name(name: &[u8]) -> Result<Notices, Fault> {
    if name.is_empty() || name.len() > 254 {
        return Err(fault("qname", "does not have 1 to 254 characters"));
    }
    if name.contains(&0) {
        return Err(fault("qname", "holds NUL"));
    }
    // `[!-?A-~]{1,254}`
    let odd = name.iter().any(|b| !b.is_ascii_graphic() || *b == b'@');
    Ok(if odd { QNAME } else { 0 })
}

/// A position: 1-based in the text, 0-based in the record.
fn position(text: &[u8], field: &'static str) -> Result<i32, Fault> {
    match unsigned(text, i32::MAX as u64).map(|n| n as i32) {
        Some(n) => Ok(n - 1),
        None => Err(fault(field, "is not a number from 0 to 2147483647 without leading zeros")),
    }
}

struct Spans {
    operations: usize,
    /// Bases of the read: M, I, S, = and X.
    query: u64,
    /// Bases of the reference: M, D, N, = and X.
    reference: u64,
}

fn write_cigar(text: &[u8], out: &mut Vec<u8>, notices: &mut Notices) -> Result<Spans, Fault> {
    const SHAPE: Fault = fault("cigar", "is neither * nor numbers below 2^28 with MIDNSHP=X");
    let mut spans = Spans { operations: 0, query: 0, reference: 0 };
    if text == b"*" {
        return Ok(spans);
    }
    if text.is_empty() {
        return Err(SHAPE);
    }
    let (mut length, mut digits) = (0_u32, 0);
    // Hard clips only at the ends, soft clips with nothing but hard clips outside them.
    let (mut inside, mut closed, mut hard_closed) = (false, false, false);
    for byte in text {
        let digit = byte.wrapping_sub(b'0');
        if digit < 10 {
            length = length
                .checked_mul(10)
                .and_then(|n| n.checked_add(u32::from(digit)))
                .ok_or(SHAPE)?;
            digits += 1;
            continue;
        }
        let code = b"MIDNSHP=X".iter().position(|c| c == byte).ok_or(SHAPE)? as u32;
        if digits == 0 || length > OPERATION_MAX {
            return Err(SHAPE);
        }
        match byte {
            b'H' => {
                if spans.operations > 0 && !hard_closed {
                    // The first operation may be H without closing anything.
                    hard_closed = true;
                } else if hard_closed {
                    *notices |= CLIPS;
                }
            }
            b'S' => {
                if hard_closed || closed {
                    *notices |= CLIPS;
                }
                closed |= inside;
            }
            _ => {
                if closed || hard_closed {
                    *notices |= CLIPS;
                }
                inside = true;
            }
        }
        let bases = u64::from(length);
        if matches!(byte, b'M' | b'I' | b'S' | b'=' | b'X') {
            spans.query += bases;
        }
        if matches!(byte, b'M' | b'D' | b'N' | b'=' | b'X') {
            spans.reference += bases;
        }
        out.extend_from_slice(&(length << 4 | code).to_le_bytes());
        spans.operations += 1;
        (length, digits) = (0, 0);
    }
    if digits > 0 { Err(SHAPE) } else { Ok(spans) }
}

/// Takes a CIGAR of too many operations out of its place and puts the mark of a long one there.
fn move_long_cigar(out: &mut Vec<u8>, at: usize, l_seq: u32, reference: u64) -> Vec<u8> {
    let long = out.split_off(at);
    let skip = u32::try_from(reference).unwrap_or(OPERATION_MAX).min(OPERATION_MAX);
    out.extend_from_slice(&(l_seq.min(OPERATION_MAX) << 4 | 4).to_le_bytes());
    out.extend_from_slice(&(skip << 4 | 3).to_le_bytes());
    long
}

fn append_long_cigar(cigar: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(b"CGBI");
    out.extend_from_slice(&u32::try_from(cigar.len() / 4).unwrap_or(u32::MAX).to_le_bytes());
    out.extend_from_slice(cigar);
}

/// Code of each letter; 16 for letters read as N (and U as T) with a notice, 255 for what is no
/// letter. The top bit of 16 marks the notice: `code & 15` is the base.
#[expect(clippy::indexing_slicing, reason = "evaluated when compiled")]
const BASES: [u8; 256] = {
    let mut table = [255_u8; 256];
    let mut letter = b'A';
    while letter <= b'Z' {
        table[letter as usize] = 16 | 15;
        table[(letter + 32) as usize] = 16 | 15;
        letter += 1;
    }
    table[b'.' as usize] = 16 | 15;
    let alphabet = crate::bam::SEQ_ALPHABET;
    let mut code = 0;
    while code < 16 {
        table[alphabet[code as usize] as usize] = code;
        if alphabet[code as usize].is_ascii_uppercase() {
            table[(alphabet[code as usize] + 32) as usize] = code;
        }
        code += 1;
    }
    table[b'U' as usize] = 16 | 8;
    table[b'u' as usize] = 16 | 8;
    table
};

/// Appends bases as BAM holds them; the result has bit 7 set if one was no letter, and bit 4 if one
/// was read as another.
#[expect(clippy::indexing_slicing, reason = "the table has an entry for each byte")]
pub(crate) fn write_packed(bases: &[u8], out: &mut Vec<u8>) -> u8 {
    let mut seen = 0;
    out.extend(bases.chunks(2).map(|pair| {
        let code = |at: usize| pair.get(at).map_or(0, |b| BASES[usize::from(*b)]);
        let (high, low) = (code(0), code(1));
        seen |= high | low;
        high << 4 | low & 15
    }));
    seen
}

fn write_sequence(seq: &[u8], out: &mut Vec<u8>, notices: &mut Notices) -> Result<(), Fault> {
    const SHAPE: Fault = fault("seq", "is neither * nor letters, = and .");
    if seq == b"*" {
        return Ok(());
    }
    if seq.is_empty() {
        return Err(SHAPE);
    }
    let seen = write_packed(seq, out);
    if seen & 0x80 != 0 {
        return Err(SHAPE);
    }
    if seen & 16 != 0 {
        *notices |= LETTERS;
    }
    Ok(())
}

fn write_qualities(qual: &[u8], seq: &[u8], out: &mut Vec<u8>) -> Result<(), Fault> {
    if qual == b"*" {
        let l_seq = if seq == b"*" { 0 } else { seq.len() };
        out.resize(out.len() + l_seq, 0xff);
        return Ok(());
    }
    if seq == b"*" {
        return Err(fault("qual", "is there without a seq"));
    }
    if qual.len() != seq.len() {
        return Err(fault("qual", "has another length than seq"));
    }
    if qual.iter().any(|b| !b.is_ascii_graphic()) {
        return Err(fault("qual", "holds characters other than ! to ~"));
    }
    out.extend(qual.iter().map(|b| b - b'!'));
    Ok(())
}

/// Bin of the BAI scheme (`SAMv1 §5.3`); beyond 2^29 the number is cut, as samtools does.
pub(crate) fn bin(begin: i64, end: i64) -> u16 {
    let last = end - 1;
    for (shift, offset) in [(14, 4681), (17, 585), (20, 73), (23, 9), (26, 1)] {
        if begin >> shift == last >> shift {
            return ((offset + (begin >> shift)) & 0xffff).cast_unsigned() as u16;
        }
    }
    0
}

#[cfg(test)]
mod tests;
