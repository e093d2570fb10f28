//! Numbers of variable length (`CRAMv3 §2.3`), read from the front of a slice.

/// Bytes that are read from the front; `None` once they are used up.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bytes<'b>(pub &'b [u8]);

impl<'b> Bytes<'b> {
    pub(super) fn take(&mut self, n: usize) -> Option<&'b [u8]> {
        let (taken, rest) = self.0.split_at_checked(n)?;
        self.0 = rest;
        Some(taken)
    }

    pub(super) fn u8(&mut self) -> Option<u8> {
        self.take(1)?.first().copied()
    }

    pub(super) fn i32_le(&mut self) -> Option<i32> {
        Some(i32::from_le_bytes(*self.take(4)?.first_chunk()?))
    }

    /// ITF-8.
    pub(super) fn itf8(&mut self) -> Option<i32> {
        let first = self.u8()?;
        let more = first.leading_ones().min(4) as usize;
        let first = u32::from(first);
        let rest = self.take(more)?.iter().map(|b| u32::from(*b));
        let value = match more {
            0 => first,
            4 => {
                let rest: Vec<u32> = rest.collect();
                let (head, last) = rest.split_at_checked(3)?;
                let high = head.iter().fold(first & 0x0f, |n, b| n << 8 | b);
                high << 4 | last.first()? & 0x0f
            }
            _ => rest.fold(first & (0x7f >> more), |n, b| n << 8 | b),
        };
        Some(value.cast_signed())
    }

    /// ITF-8 as a length.
    pub(super) fn length(&mut self) -> Option<usize> {
        usize::try_from(self.itf8()?).ok()
    }

    /// LTF-8.
    pub(super) fn ltf8(&mut self) -> Option<u64> {
        let first = self.u8()?;
        let more = first.leading_ones();
        let head = if more < 7 { u64::from(first & (0x7f >> more)) } else { 0 };
        Some(self.take(more as usize)?.iter().fold(head, |n, b| n << 8 | u64::from(*b)))
    }

    /// A number of seven bits a byte, most significant first (`CRAMcodecs §1.1`).
    pub(super) fn uint7(&mut self) -> Option<u64> {
        let mut value = 0_u64;
        for _ in 0..9 {
            let byte = self.u8()?;
            value = value << 7 | u64::from(byte & 0x7f);
            if byte & 0x80 == 0 {
                return Some(value);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn itf8_of_all_lengths() {
        for (bytes, value) in [
            (&[0x00][..], 0),
            (&[0x87, 0x55], 1877),
            (&[0xc7, 0x55, 0x99], 480_665),
            (&[0xe7, 0x55, 0x99, 0x66], 123_050_342),
            (&[0xf7, 0x55, 0x99, 0x66, 0x02], 1_968_805_474),
            (&[0xff, 0xff, 0xff, 0xff, 0x0f], -1),
        ] {
            let mut reader = Bytes(bytes);
            assert_eq!(reader.itf8(), Some(value));
            assert!(reader.0.is_empty());
            assert_eq!(Bytes(&bytes[..bytes.len() - 1]).itf8(), None);
        }
        assert_eq!(Bytes(&[0x81, 0x00]).uint7(), Some(128));
        assert_eq!(Bytes(&[0x87, 0x55]).ltf8(), Some(1877));
        assert_eq!(Bytes(&[0xff, 0, 0, 0, 0, 0, 0, 1, 0]).ltf8(), Some(256));
    }
}
