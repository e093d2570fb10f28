//! Auxiliary tags (`SAMv1 §4.2.4`).
#![expect(
    clippy::inline_always,
    reason = "a call gives each tag back through memory: a tenth of a scan's time was waiting for it"
)]

use super::record::Fault;

/// Type of a tag's value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TagKind {
    /// `A`: one character.
    Character,
    /// `c C s S i I`: an integer of the given type.
    Integer(u8),
    /// `f`: a 32-bit float.
    Float,
    /// `Z`: text.
    Text,
    /// `H`: bytes in hexadecimal.
    Hex,
    /// `B`: an array of the given subtype.
    Array(u8),
}

/// One tag; the value is without the NUL of `Z` and `H` and without the count of `B`.
#[derive(Debug, Clone, Copy)]
pub struct Tag<'a> {
    /// The two characters of the name.
    pub name: [u8; 2],
    /// Type of the value.
    pub kind: TagKind,
    /// Bytes of the value.
    pub value: &'a [u8],
}

impl Tag<'_> {
    /// Value of an integer tag.
    #[inline]
    pub fn integer(&self) -> i64 {
        let v = self.value;
        let two = || v.first_chunk::<2>().copied().unwrap_or_default();
        let four = || v.first_chunk::<4>().copied().unwrap_or_default();
        let one = v.first().copied().unwrap_or_default();
        match self.kind {
            TagKind::Integer(b'c') => i64::from(one.cast_signed()),
            TagKind::Integer(b'C') => i64::from(one),
            TagKind::Integer(b's') => i64::from(i16::from_le_bytes(two())),
            TagKind::Integer(b'S') => i64::from(u16::from_le_bytes(two())),
            TagKind::Integer(b'i') => i64::from(i32::from_le_bytes(four())),
            TagKind::Integer(_) => i64::from(u32::from_le_bytes(four())),
            _ => 0,
        }
    }

    /// Value of a float tag.
    #[inline]
    pub fn float(&self) -> f32 {
        f32::from_le_bytes(self.value.first_chunk::<4>().copied().unwrap_or_default())
    }
}

/// Bytes of one item of an array, if the subtype exists.
#[inline]
pub fn array_item_bytes(subtype: u8) -> Option<usize> {
    match subtype {
        b'c' | b'C' => Some(1),
        b's' | b'S' => Some(2),
        b'i' | b'I' | b'f' => Some(4),
        _ => None,
    }
}

/// Walks the tags of a record. After a fault it ends.
#[derive(Debug, Clone)]
pub struct Tags<'a> {
    rest: &'a [u8],
}

impl<'a> Tags<'a> {
    /// The tags in `bytes`.
    #[inline]
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    #[inline(always)]
    fn parse(&mut self) -> Result<Tag<'a>, Fault> {
        const CUT: Fault = Fault::tag("a tag does not fit in the record");
        let Some(([a, b, kind], rest)) = self.rest.split_first_chunk::<3>() else {
            return Err(CUT);
        };
        let name = [*a, *b];
        let fixed = |kind, n: usize| {
            rest.split_at_checked(n).map(|(value, rest)| (kind, value, rest)).ok_or(CUT)
        };
        let (kind, value, rest) = match *kind {
            b'A' => fixed(TagKind::Character, 1)?,
            b'c' | b'C' => fixed(TagKind::Integer(*kind), 1)?,
            b's' | b'S' => fixed(TagKind::Integer(*kind), 2)?,
            b'i' | b'I' => fixed(TagKind::Integer(*kind), 4)?,
            b'f' => fixed(TagKind::Float, 4)?,
            b'Z' | b'H' => {
                let Some(end) = memchr::memchr(0, rest) else {
                    return Err(Fault::tag("a text tag has no NUL at its end"));
                };
                let (value, rest) = rest.split_at_checked(end).ok_or(CUT)?;
                let kind = if *kind == b'Z' { TagKind::Text } else { TagKind::Hex };
                (kind, value, rest.get(1..).unwrap_or_default())
            }
            b'B' => {
                let Some(([subtype, n @ ..], rest)) = rest.split_first_chunk::<5>() else {
                    return Err(CUT);
                };
                let Some(item) = array_item_bytes(*subtype) else {
                    return Err(Fault::tag("an array tag has an unknown subtype"));
                };
                let count = u32::from_le_bytes(*n) as usize;
                let (value, rest) = rest.split_at_checked(count * item).ok_or(CUT)?;
                (TagKind::Array(*subtype), value, rest)
            }
            _ => return Err(Fault::tag("a tag has an unknown type")),
        };
        self.rest = rest;
        Ok(Tag { name, kind, value })
    }
}

impl<'a> Iterator for Tags<'a> {
    type Item = Result<Tag<'a>, Fault>;

    #[inline(always)]
    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let tag = self.parse();
        if tag.is_err() {
            self.rest = &[];
        }
        Some(tag)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_types_are_walked() {
        let bytes = b"XAAqXcc\xffXsS\x34\x12Xff\x00\x00\x80\x3fXZZhi\x00XBBs\x02\x00\x00\x00\x01\x00\x02\x00";
        let tags: Vec<Tag<'_>> = Tags::new(bytes).map(Result::unwrap).collect();
        assert_eq!(tags.len(), 6);
        assert_eq!(tags[1].integer(), -1);
        assert_eq!(tags[2].integer(), 0x1234);
        assert!((tags[3].float() - 1.0).abs() < 1e-9);
        assert_eq!(tags[4].value, b"hi");
        assert_eq!((tags[5].kind, tags[5].value), (TagKind::Array(b's'), &b"\x01\x00\x02\x00"[..]));
    }

    #[test]
    fn faults_end_the_walk() {
        for bad in [&b"X"[..], b"XAQ1", b"XZZabc", b"XBBc\xff\xff\xff\xff", b"XBBx\x00\x00\x00\x00"]
        {
            let mut tags = Tags::new(bad);
            assert!(tags.next().unwrap().is_err());
            assert!(tags.next().is_none());
        }
    }
}
