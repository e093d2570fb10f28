//! Integers of the collection: `vint` and the predictions around it.

use seqmill_base::{Error, FormatKind, Result};

const TWO_BYTES_FROM: u32 = 128;
const THREE_BYTES_FROM: u32 = 16_512;
const FOUR_BYTES_FROM: u32 = 2_113_664;
const FIVE_BYTES_FROM: u32 = 270_549_120;

/// Appends a collection integer.
#[expect(clippy::cast_possible_truncation, reason = "bytes are cut out of the number on purpose")]
pub(crate) fn write_vint(value: u32, out: &mut Vec<u8>) {
    if value < TWO_BYTES_FROM {
        out.push(value as u8);
    } else if value < THREE_BYTES_FROM {
        let v = value - TWO_BYTES_FROM;
        out.extend([0x80 | (v >> 8) as u8, v as u8]);
    } else if value < FOUR_BYTES_FROM {
        let v = value - THREE_BYTES_FROM;
        out.extend([0xc0 | (v >> 16) as u8, (v >> 8) as u8, v as u8]);
    } else if value < FIVE_BYTES_FROM {
        let v = value - FOUR_BYTES_FROM;
        out.extend([0xe0 | (v >> 24) as u8, (v >> 16) as u8, (v >> 8) as u8, v as u8]);
    } else {
        out.push(0xf0);
        out.extend((value - FIVE_BYTES_FROM).to_be_bytes());
    }
}

/// Reads collection integers and texts out of a decoded array.
pub(crate) struct Reader<'b> {
    bytes: &'b [u8],
    at: usize,
    what: &'static str,
}

impl<'b> Reader<'b> {
    /// A reader of `bytes`, which messages call `what`.
    pub(crate) fn new(bytes: &'b [u8], what: &'static str) -> Self {
        Self { bytes, at: 0, what }
    }

    pub(crate) fn rest(&self) -> &'b [u8] {
        self.bytes.get(self.at..).unwrap_or_default()
    }

    pub(crate) fn wrong(&self, reason: &str) -> Error {
        let (what, at) = (self.what, self.at);
        Error::format(FormatKind::Other, format!("{what}: {reason} at decoded byte {at}"))
    }

    /// The next integer.
    pub(crate) fn vint(&mut self) -> Result<u32> {
        let rest = self.rest();
        let first = *rest.first().ok_or_else(|| self.wrong("ends before its last number"))?;
        let (length, base, bits) = match first {
            0..0x80 => {
                self.at += 1;
                return Ok(u32::from(first));
            }
            0x80..0xc0 => (2, TWO_BYTES_FROM, first & 0x3f),
            0xc0..0xe0 => (3, THREE_BYTES_FROM, first & 0x1f),
            0xe0..0xf0 => (4, FOUR_BYTES_FROM, first & 0x0f),
            _ => (5, FIVE_BYTES_FROM, 0),
        };
        let digits = rest.get(1..length).ok_or_else(|| self.wrong("ends within a number"))?;
        let value = digits.iter().fold(u32::from(bits), |v, &b| (v << 8) | u32::from(b));
        self.at += length;
        value.checked_add(base).ok_or_else(|| self.wrong("has a number beyond 32 bits"))
    }

    /// A count of things that take at least `least` bytes each of the rest.
    pub(crate) fn count(&mut self, least: usize) -> Result<usize> {
        let count = self.vint()? as usize;
        if count.saturating_mul(least) > self.rest().len() {
            return Err(self.wrong("claims more than it holds"));
        }
        Ok(count)
    }

    /// A text that a zero byte ends.
    pub(crate) fn text(&mut self) -> Result<&'b [u8]> {
        let rest = self.rest();
        let end = memchr::memchr(0, rest).ok_or_else(|| self.wrong("a name has no end"))?;
        self.at += end + 1;
        Ok(rest.get(..end).unwrap_or_default())
    }

    /// Nothing may follow.
    pub(crate) fn finish(self) -> Result<()> {
        if self.rest().is_empty() { Ok(()) } else { Err(self.wrong("bytes follow the last entry")) }
    }
}

/// `x` as it differs from its prediction `p`.
pub(crate) fn differ(x: u64, p: u64) -> u64 {
    if x < p {
        2 * (p - x) - 1
    } else if x < 2 * p {
        2 * (x - p)
    } else {
        x
    }
}

/// The inverse of [`differ`].
pub(crate) fn restore(v: u64, p: u64) -> u64 {
    if v >= 2 * p {
        v
    } else if v % 2 == 1 {
        (2 * p - v) / 2
    } else {
        p + v / 2
    }
}

/// Ordinary zigzag, of version 1: the difference to add to `before`.
pub(crate) fn unzigzag(v: u32, before: u32) -> Option<u32> {
    let half = i64::from(v / 2);
    let difference = if v.is_multiple_of(2) { half } else { -half - 1 };
    u32::try_from(i64::from(before) + difference).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_make_the_round_trip() {
        for value in
            [0, 127, 128, 16_511, 16_512, 2_113_663, 2_113_664, 270_549_119, 270_549_120, u32::MAX]
        {
            let mut out = Vec::new();
            write_vint(value, &mut out);
            let mut reader = Reader::new(&out, "test");
            assert_eq!(reader.vint().unwrap(), value);
            reader.finish().unwrap();
            assert!(Reader::new(&out[..out.len() - 1], "test").vint().is_err());
        }
        assert!(Reader::new(&[0xff; 5], "test").vint().is_err());
    }

    #[test]
    fn predictions_make_the_round_trip() {
        for p in [0, 1, 2, 7, 60_031] {
            for x in 0..300 {
                assert_eq!(restore(differ(x, p), p), x, "{x} {p}");
                assert_eq!(restore(differ(x + p, p), p), x + p, "{x} {p}");
            }
        }
        assert_eq!(unzigzag(3, 5), Some(3));
        assert_eq!(unzigzag(4, 5), Some(7));
        assert_eq!(unzigzag(3, 1), None);
    }
}
