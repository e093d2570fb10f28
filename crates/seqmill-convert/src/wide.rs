//! Values copied out of a unit in steps that are wider than most of them, and which rows have one.
#![expect(
    clippy::inline_always,
    reason = "these run for each value of each record: a call costs more than the copy"
)]

use arrow_buffer::{BooleanBuffer, Buffer, NullBuffer};

/// Bytes copied at once.
const STEP_BYTES: usize = 32;
/// Columns with more grow slowly.
const LARGE_BYTES: usize = 1 << 20;
/// Longer values are left to the copy of the C library.
const LONG_BYTES: usize = 256;

/// The data of a unit, which the values of its records are parts of.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Origin<'a>(pub &'a [u8]);

impl Origin<'_> {
    /// Appends a part of the data to `out`.
    #[inline(always)]
    pub(crate) fn append(self, part: &[u8], out: &mut Vec<u8>) {
        let need = part.len() + STEP_BYTES;
        if out.capacity() - out.len() < need {
            grow(out, need);
        }
        let data = self.0;
        let at = part.as_ptr().addr().wrapping_sub(data.as_ptr().addr());
        let readable = data.len().saturating_sub(at);
        if part.len() > LONG_BYTES || readable < part.len() + STEP_BYTES {
            out.extend_from_slice(part);
            return;
        }
        let before = out.len();
        // SAFETY: `at` and the bytes up to a step behind the part were just seen to be in `data`;
        // as much room was made in `out`, and the length covers only what was written.
        unsafe {
            let from = data.as_ptr().add(at);
            let to = out.as_mut_ptr().add(before);
            let mut done = 0;
            while done < part.len() {
                let step: [u8; STEP_BYTES] = from.add(done).cast::<[u8; STEP_BYTES]>().read();
                to.add(done).cast::<[u8; STEP_BYTES]>().write(step);
                done += STEP_BYTES;
            }
            out.set_len(before + part.len());
        }
    }
}

/// Makes room for `need` bytes: twice as much as there is, but of long columns a quarter more, since
/// what is reserved for a batch is not twice what it holds.
#[cold]
fn grow(out: &mut Vec<u8>, need: usize) {
    let have = out.len();
    out.reserve_exact(need.max(if have < LARGE_BYTES { have } else { have / 4 }));
}

/// Which rows are not null. Nothing is written down before the first that is.
#[derive(Debug, Default)]
pub(crate) struct Validity {
    bits: Vec<u8>,
    /// Rows so far.
    rows: usize,
    nulls: usize,
    /// Rows there will be.
    expected: usize,
}

impl Validity {
    /// For `expected` rows.
    pub(crate) fn new(expected: usize) -> Self {
        Self { bits: Vec::new(), rows: 0, nulls: 0, expected }
    }

    /// Rows so far.
    #[inline(always)]
    pub(crate) fn rows(&self) -> usize {
        self.rows
    }

    /// Whether a row that was noted is not null.
    pub(crate) fn is_valid(&self, row: usize) -> bool {
        self.nulls == 0 || self.bits.get(row >> 3).is_some_and(|byte| byte >> (row & 7) & 1 == 1)
    }

    /// Notes the next row.
    #[inline(always)]
    pub(crate) fn push(&mut self, valid: bool) {
        if !valid {
            self.push_nulls(1);
            return;
        }
        if self.nulls > 0
            && let Some(byte) = self.bits.get_mut(self.rows >> 3)
        {
            *byte |= 1 << (self.rows & 7);
        }
        self.rows += 1;
    }

    /// Notes that the next rows are null.
    pub(crate) fn push_nulls(&mut self, count: usize) {
        if self.nulls == 0 {
            self.bits = vec![0; self.expected.max(self.rows + count).div_ceil(8)];
            let (whole, rest) = (self.rows >> 3, self.rows & 7);
            self.bits.iter_mut().take(whole).for_each(|byte| *byte = 0xff);
            if let Some(byte) = self.bits.get_mut(whole) {
                *byte = !(0xff << rest);
            }
        }
        self.nulls += count;
        self.rows += count;
    }

    /// For Arrow: none where nothing is null.
    pub(crate) fn finish(self) -> Option<NullBuffer> {
        if self.nulls == 0 {
            return None;
        }
        let bits = BooleanBuffer::new(Buffer::from_vec(self.bits), 0, self.rows);
        // SAFETY: `nulls` counts the bits that were left at 0.
        Some(unsafe { NullBuffer::new_unchecked(bits, self.nulls) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_copied_wherever_they_lie() {
        let data: Vec<u8> = (0..600_u32).map(|i| (i * 7).to_le_bytes()[0]).collect();
        for (start, length) in [(0, 0), (3, 1), (5, 31), (64, 32), (100, 33), (200, 300), (580, 20)]
        {
            let mut out = vec![9];
            let part = &data[start..start + length];
            Origin(&data).append(part, &mut out);
            Origin(&[1; 40]).append(part, &mut out);
            assert_eq!(out, [&[9], part, part].concat(), "{start} {length}");
        }
    }

    #[test]
    fn nulls_are_noted_from_the_first_one_on() {
        for first in 0..20 {
            let expected: Vec<bool> = (0..40).map(|row| row < first || row % 3 == 1).collect();
            let mut validity = Validity::new(expected.len());
            for valid in &expected {
                validity.push(*valid);
            }
            assert_eq!((validity.rows(), validity.is_valid(0)), (40, expected[0]));
            let nulls = validity.finish().unwrap();
            assert_eq!(nulls.iter().collect::<Vec<_>>(), expected);
            assert_eq!(nulls.null_count(), expected.iter().filter(|v| !**v).count());
        }
        let mut validity = Validity::new(3);
        (0..3).for_each(|_| validity.push(true));
        assert!(validity.finish().is_none());
    }
}
