//! One alignment record as a view over its bytes (`SAMv1 §4.2`).

use super::tag::{Tag, TagKind, Tags};
use seqmill_base::{Error, FormatKind};

/// Bytes of the fields of fixed size behind `block_size`.
const FIXED_BYTES: usize = 32;

/// Highest quality that text can show (`~`).
pub const MAX_QUALITY: u8 = 93;

/// Bases by their 4-bit codes.
pub const SEQ_ALPHABET: [u8; 16] = *b"=ACMGRSVTWYHKDBN";

/// What is wrong with a record, without its place: cheap enough for the hot path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fault {
    /// `Record` or `Tag`.
    pub kind: FormatKind,
    /// Name of the field.
    pub field: &'static str,
    /// What is wrong with it.
    pub reason: &'static str,
}

impl Fault {
    /// A fault of a record field.
    pub const fn record(field: &'static str, reason: &'static str) -> Self {
        Self { kind: FormatKind::Record, field, reason }
    }

    /// A fault of a tag.
    pub const fn tag(reason: &'static str) -> Self {
        Self { kind: FormatKind::Tag, field: "tags", reason }
    }

    /// The fault with its place.
    pub fn into_error(self, record: u64, voffset: u64) -> Error {
        let message = if self.kind == FormatKind::Tag {
            self.reason.to_owned()
        } else {
            format!("{} {}", self.field, self.reason)
        };
        Error::format(self.kind, message).at_record(record).at_field(self.field).at_voffset(voffset)
    }
}

/// A record whose parts are known to fit.
#[derive(Debug, Clone, Copy)]
pub struct Record<'a> {
    fixed: &'a [u8; FIXED_BYTES],
    rest: &'a [u8],
}

/// The parts of variable size.
#[derive(Debug, Clone, Copy)]
pub struct Parts<'a> {
    /// Read name without its NUL.
    pub name: &'a [u8],
    /// CIGAR operations, four bytes each.
    pub cigar: &'a [u8],
    /// Bases, two a byte.
    pub seq: &'a [u8],
    /// Qualities, one a byte.
    pub qual: &'a [u8],
    /// Tags.
    pub tags: &'a [u8],
}

/// The fields of fixed size, copied: one after the other they are read faster than in the records.
#[derive(Debug, Clone, Copy)]
pub struct Head([u8; FIXED_BYTES]);

macro_rules! fields {
    ($($(#[$doc:meta])* $name:ident: $type:ty = $($at:literal),+;)+) => {
        impl Record<'_> {
            $($(#[$doc])*
            #[inline]
            pub fn $name(&self) -> $type {
                <$type>::from_le_bytes([$(self.fixed[$at]),+])
            })+

            /// A copy of the fields of fixed size.
            #[inline]
            pub fn head(&self) -> Head {
                Head(*self.fixed)
            }
        }

        impl Head {
            $($(#[$doc])*
            #[inline]
            pub fn $name(&self) -> $type {
                <$type>::from_le_bytes([$(self.0[$at]),+])
            })+
        }
    };
}

fields! {
    /// Reference, -1 for none.
    ref_id: i32 = 0, 1, 2, 3;
    /// Leftmost base, 0-based, -1 for none.
    pos: i32 = 4, 5, 6, 7;
    /// Mapping quality.
    mapq: u8 = 9;
    /// Bin of the BAI scheme.
    bin: u16 = 10, 11;
    /// FLAG.
    flag: u16 = 14, 15;
    /// Length of the sequence.
    length: u32 = 16, 17, 18, 19;
    /// Reference of the mate, -1 for none.
    mate_ref_id: i32 = 20, 21, 22, 23;
    /// Position of the mate, 0-based, -1 for none.
    mate_pos: i32 = 24, 25, 26, 27;
    /// Template length.
    template_length: i32 = 28, 29, 30, 31;
}

impl<'a> Record<'a> {
    /// The record in `body` (the bytes behind `block_size`), if its parts fit in it.
    #[inline]
    pub fn new(body: &'a [u8]) -> Result<Self, Fault> {
        let Some((fixed, rest)) = body.split_first_chunk::<FIXED_BYTES>() else {
            return Err(Fault::record("block_size", "is less than 32"));
        };
        let record = Self { fixed, rest };
        if record.name_bytes() == 0 {
            return Err(Fault::record("l_read_name", "is 0"));
        }
        if record.length() > i32::MAX as u32 {
            return Err(Fault::record("l_seq", "is negative"));
        }
        let l_seq = record.length() as usize;
        let name_and_cigar = record.name_bytes() + 4 * record.operations();
        if name_and_cigar > rest.len() {
            return Err(Fault::record("n_cigar_op", "does not fit in the record"));
        }
        if name_and_cigar + l_seq.div_ceil(2) + l_seq > rest.len() {
            return Err(Fault::record("l_seq", "does not fit in the record"));
        }
        Ok(record)
    }

    /// Looks at the fixed fields of a record of `block_size` bytes whose rest is not there yet:
    /// whether its parts could fit and its references exist.
    pub fn check_fixed(
        fixed: &[u8; FIXED_BYTES],
        block_size: u64,
        references: usize,
    ) -> Result<(), Fault> {
        let record = Record { fixed, rest: &[] };
        if record.name_bytes() == 0 {
            return Err(Fault::record("l_read_name", "is 0"));
        }
        let l_seq = u64::from(record.length());
        if l_seq > i32::MAX as u64 {
            return Err(Fault::record("l_seq", "is negative"));
        }
        let before = (FIXED_BYTES + record.name_bytes() + 4 * record.operations()) as u64;
        if before > block_size {
            return Err(Fault::record("n_cigar_op", "does not fit in the record"));
        }
        if before + l_seq.div_ceil(2) + l_seq > block_size {
            return Err(Fault::record("l_seq", "does not fit in the record"));
        }
        record.check_places(references)
    }

    /// Checks what `new` does not need to look at: references, positions, CIGAR operations.
    #[inline]
    pub fn check(&self, references: usize) -> Result<(), Fault> {
        self.check_places(references)?;
        let (cigar, _) = self.cigar(&self.parts());
        let mut codes = cigar.chunks_exact(4);
        if codes.any(|op| op.first().is_some_and(|b| b & 15 > 8)) {
            return Err(Fault::record("cigar", "has an operation code above 8"));
        }
        Ok(())
    }

    #[inline]
    fn check_places(&self, references: usize) -> Result<(), Fault> {
        let known = |id: i32| id == -1 || usize::try_from(id).is_ok_and(|id| id < references);
        if !known(self.ref_id()) {
            return Err(Fault::record("refID", "is not a reference of the header"));
        }
        if !known(self.mate_ref_id()) {
            return Err(Fault::record("next_refID", "is not a reference of the header"));
        }
        if self.pos() < -1 {
            return Err(Fault::record("pos", "is less than -1"));
        }
        if self.mate_pos() < -1 {
            return Err(Fault::record("next_pos", "is less than -1"));
        }
        // 1-based, as in SAM, it must fit 31 bits (SAMv1 §1.4).
        if self.pos() == i32::MAX {
            return Err(Fault::record("pos", "is above 2147483646"));
        }
        if self.mate_pos() == i32::MAX {
            return Err(Fault::record("next_pos", "is above 2147483646"));
        }
        Ok(())
    }

    /// Checks that the alignment ends where positions do.
    #[inline]
    pub fn check_end(pos: i32, cigar: &[u8]) -> Result<i32, Fault> {
        i32::try_from(i64::from(pos) + reference_span(cigar).max(1))
            .map_err(|_| Fault::record("cigar", "reaches behind position 2147483647"))
    }

    /// Checks that every quality can be shown as text.
    #[inline]
    pub fn check_quality(qual: &[u8]) -> Result<(), Fault> {
        if qual.first() == Some(&0xff) || qual.iter().fold(0, |m, q| m.max(*q)) <= MAX_QUALITY {
            return Ok(());
        }
        Err(Fault::record("qual", "has a value above 93"))
    }

    /// Bytes of the name, NUL included.
    #[inline]
    pub fn name_bytes(&self) -> usize {
        usize::from(self.fixed[8])
    }

    /// CIGAR operations in the fixed place.
    #[inline]
    pub fn operations(&self) -> usize {
        usize::from(u16::from_le_bytes([self.fixed[12], self.fixed[13]]))
    }

    /// Bytes of the whole record.
    #[inline]
    pub fn bytes(&self) -> usize {
        FIXED_BYTES + self.rest.len()
    }

    /// Bytes of the tags.
    #[inline]
    pub fn tag_bytes(&self) -> usize {
        let l_seq = self.length() as usize;
        self.rest.len() - self.name_bytes() - 4 * self.operations() - l_seq.div_ceil(2) - l_seq
    }

    /// The parts of variable size.
    #[inline]
    pub fn parts(&self) -> Parts<'a> {
        let l_seq = self.length() as usize;
        // `new` has compared the sum of these lengths with the bytes there are.
        let (name, rest) = self.rest.split_at(self.name_bytes());
        let (cigar, rest) = rest.split_at(4 * self.operations());
        let (seq, rest) = rest.split_at(l_seq.div_ceil(2));
        let (qual, tags) = rest.split_at(l_seq);
        let name = match name.split_last() {
            Some((0, name)) => name,
            _ => name,
        };
        Parts { name, cigar, seq, qual, tags }
    }

    /// Whether the name ends in NUL, as it should.
    #[inline]
    pub fn name_is_terminated(&self) -> bool {
        self.rest.get(self.name_bytes() - 1) == Some(&0)
    }

    /// The real CIGAR: that of the `CG` tag if the fixed place holds only the long-CIGAR mark
    /// (`SAMv1 §4.2.2`), and whether it was taken from there.
    #[inline]
    pub fn cigar(&self, parts: &Parts<'a>) -> (&'a [u8], bool) {
        if self.operations() == 2
            && let Some(long) = self.long_cigar(parts)
        {
            return (long, true);
        }
        (parts.cigar, false)
    }

    fn long_cigar(&self, parts: &Parts<'a>) -> Option<&'a [u8]> {
        let (first, second) = parts.cigar.split_first_chunk::<4>()?;
        let first = u32::from_le_bytes(*first);
        let second = u32::from_le_bytes(*second.first_chunk::<4>()?);
        if first & 15 != 4 || first >> 4 != self.length() || second & 15 != 3 {
            return None;
        }
        let is_cigar = |tag: &Tag<'_>| tag.name == *b"CG" && tag.kind == TagKind::Array(b'I');
        Tags::new(parts.tags).map_while(Result::ok).find(is_cigar).map(|tag| tag.value)
    }

    /// First base behind the record, 0-based: it covers one base at least (`bam.md` §3.1).
    #[inline]
    pub fn end(&self) -> i64 {
        let parts = self.parts();
        let (cigar, _) = self.cigar(&parts);
        i64::from(self.pos()) + reference_span(cigar).max(1)
    }
}

/// Bases of the reference that a CIGAR covers: M, D, N, = and X.
#[inline]
pub fn reference_span(cigar: &[u8]) -> i64 {
    /// Bit `i`: operation `i` consumes the reference.
    const CONSUMES: u32 = 0b1_1000_1101;
    cigar
        .chunks_exact(4)
        .map(|op| {
            let op = op.first_chunk::<4>().map_or(0, |b| u32::from_le_bytes(*b));
            i64::from(op >> 4) * i64::from((CONSUMES >> (op & 15)) & 1)
        })
        .sum()
}
