//! A stretch of input text as codes, packed bases and the windows that hold nothing but bases.

use super::lanes::Lanes;
use super::word::Word;
#[cfg(target_arch = "x86_64")]
use std::arch::x86_64::_pext_u64;

/// Bytes of text in a batch.
pub(super) const BATCH_BYTES: usize = 1 << 17;

/// Bytes of one batch with all its arrays, for k-mers of any length.
pub(super) const BATCH_CLAIM: u64 = 10 * BATCH_BYTES as u64;

/// Bytes that are looked at together.
const PACKED: usize = 64;
/// The bits of a code in each byte.
#[cfg(target_arch = "x86_64")]
const TWO_BITS: u64 = 0x0303_0303_0303_0303;

/// Text whose windows are to be counted; anything but bases is a break.
#[derive(Default)]
pub(super) struct Batch {
    /// Bases and breaks.
    pub text: Vec<u8>,
    /// Bytes at the beginning that stood at the end of the batch before.
    pub again: usize,
    /// Which input it is from.
    pub input: usize,
    pub codes: Vec<u8>,
    /// A bit for each byte that is no base.
    breaks: Vec<u64>,
    /// 32 bases a word, the first in the highest bits.
    pub packed: Vec<u64>,
    /// First window and the end of each stretch of windows without a break.
    pub windows: Vec<(usize, usize)>,
    /// Symbols of the sequence that are no bases.
    pub skipped: u64,
}

/// A byte that is a break and no symbol of the sequence: between records.
pub(super) const RECORD_BREAK: u8 = b'\n';

impl Batch {
    /// Finds codes, packed bases and windows of length `k`.
    pub(super) fn prepare(&mut self, k: usize, skip_lower: bool, lanes: Lanes) {
        let n = self.text.len();
        let whole = n.next_multiple_of(PACKED) + PACKED;
        self.codes.clear();
        self.codes.resize(whole, 0);
        self.breaks.clear();
        self.breaks.resize(whole / PACKED, 0);
        self.packed.clear();
        // Records of any width may be read from the last base on.
        self.packed.resize(2 * whole / PACKED + 17, 0);
        let fold = if skip_lower { 0xff } else { 0xdf };
        match lanes {
            Lanes::Scalar => self.code_and_pack(fold, pack_eight),
            #[cfg(target_arch = "x86_64")]
            wide => wide.run(
                (&mut *self, fold, ()),
                #[inline(always)]
                |batch: &mut Self, fold, ()| {
                    // SAFETY: every machine with wide lanes has the instruction.
                    batch.code_and_pack(fold, |eight| unsafe { _pext_u64(eight, TWO_BITS) });
                },
            ),
        }
        self.find_windows(k);
        self.codes.truncate(n);
    }

    /// Codes, a bit for each byte that is no base, and packed bases; `pack` makes 16 bits of
    /// eight codes.
    #[inline(always)]
    fn code_and_pack(&mut self, fold: u8, pack: impl Fn(u64) -> u64) {
        let (text, rest) = self.text.as_chunks::<PACKED>();
        let mut last = [b'A'; PACKED];
        last[..rest.len()].copy_from_slice(rest);
        let blocks = text.iter().chain(std::iter::once(&last));
        let codes = self.codes.as_chunks_mut::<PACKED>().0;
        let packed = self.packed.as_chunks_mut::<2>().0;
        let outputs = codes.iter_mut().zip(&mut self.breaks).zip(packed);
        for (block, ((codes, breaks), packed)) in blocks.zip(outputs) {
            let mut flags = [0_u8; PACKED];
            let outputs = codes.iter_mut().zip(&mut flags);
            for (byte, (code, flag)) in block.iter().zip(outputs) {
                let upper = byte & fold;
                // Bytes rather than conditions: no branch, so that it goes many at a time.
                let is_base = u8::from(upper == b'A')
                    | u8::from(upper == b'C')
                    | u8::from(upper == b'G')
                    | u8::from(upper == b'T');
                *flag = is_base ^ 1;
                *code = ((byte >> 1) ^ (byte >> 2)) & 3;
            }
            if flags.iter().fold(0, |any, flag| any | flag) != 0 {
                *breaks = gather_bits(&flags);
            }
            for (word, codes) in packed.iter_mut().zip(codes.as_chunks::<32>().0) {
                *word = codes
                    .as_chunks::<8>()
                    .0
                    .iter()
                    .fold(0, |word, eight| (word << 16) | pack(u64::from_be_bytes(*eight)));
            }
        }
    }

    /// Finds stretches without breaks.
    fn find_windows(&mut self, k: usize) {
        self.windows.clear();
        self.skipped = 0;
        let n = self.text.len();
        let mut begin = 0;
        for (block, bits) in self.breaks.iter().enumerate() {
            let mut bits = *bits;
            while bits != 0 {
                let end = PACKED * block + bits.trailing_zeros() as usize;
                bits &= bits - 1;
                if end >= begin + k {
                    self.windows.push((begin, end - k + 1));
                }
                // What stands in both batches was counted with the first.
                self.skipped += u64::from(end >= self.again && self.text[end] != RECORD_BREAK);
                begin = end + 1;
            }
        }
        if n >= begin + k {
            self.windows.push((begin, n - k + 1));
        }
    }

    /// Windows that are counted.
    pub(super) fn occurrences(&self) -> u64 {
        self.windows.iter().map(|(a, b)| (b - a) as u64).sum()
    }

    /// The `n` bases from `at` on in the highest bits of a number, zeros behind them.
    #[inline(always)]
    pub(super) fn bases<R: Word>(&self, at: usize, n: u32) -> R {
        let (first, shift) = (at / 32, 2 * (at % 32) as u32);
        let count = R::BYTES / 8;
        let mut out = R::default();
        let mut left = 2 * n;
        for i in 0..count {
            let high = self.packed[first + i] << shift;
            // Two shifts: one by 64 is none.
            let low = (self.packed[first + i + 1] >> 1) >> (63 - shift);
            let behind = u64::MAX.checked_shr(left).unwrap_or(0);
            out = out.with_word(count - 1 - i, (high | low) & !behind);
            left = left.saturating_sub(u64::BITS);
        }
        out
    }
}

/// A bit for each flag of a byte.
#[inline(always)]
pub(super) fn gather_bits(flags: &[u8; 64]) -> u64 {
    let mut bits = 0;
    for (i, eight) in flags.as_chunks::<8>().0.iter().enumerate() {
        // Eight of them by one multiplication.
        let gathered = u64::from_le_bytes(*eight).wrapping_mul(0x0102_0408_1020_4080) >> 56;
        bits |= gathered << (8 * i);
    }
    bits
}

/// Packs eight codes, the first in the highest byte.
#[inline(always)]
fn pack_eight(codes: u64) -> u64 {
    let x = (codes | (codes >> 6)) & 0x000f_000f_000f_000f;
    let x = (x | (x >> 12)) & 0x0000_00ff_0000_00ff;
    (x | (x >> 24)) & 0xffff
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kmers::word::parse_kmer;

    #[test]
    fn breaks_split_windows() {
        for lanes in Lanes::all() {
            let text = b"ACGTNacgtt\nAC-GGGT".to_vec();
            let mut batch = Batch { text, ..Batch::default() };
            batch.prepare(3, false, lanes);
            assert_eq!(batch.windows, [(0, 2), (5, 8), (14, 16)]);
            assert_eq!((batch.skipped, batch.occurrences()), (2, 7));
            let bases: u128 = batch.bases(5, 5);
            assert_eq!(bases >> 118, parse_kmer::<u128>(b"ACGTT").unwrap());
            batch.prepare(3, true, lanes);
            assert_eq!(batch.windows, [(0, 2), (14, 16)]);
            assert_eq!(batch.skipped, 7);
        }
    }

    #[test]
    fn every_byte_is_a_base_or_a_break() {
        for lanes in Lanes::all() {
            for length in [0_u32, 1, 63, 64, 65, 128, 256, 300] {
                let text: Vec<u8> = (0..length).map(|i| i as u8).collect();
                let mut batch = Batch { text: text.clone(), ..Batch::default() };
                batch.prepare(1, false, lanes);
                let found: Vec<usize> = batch.windows.iter().flat_map(|w| w.0..w.1).collect();
                let is_base = |i: &usize| b"ACGTacgt".contains(&text[*i]);
                assert_eq!(found, (0..text.len()).filter(is_base).collect::<Vec<_>>());
                for at in found {
                    let base: u128 = batch.bases(at, 1);
                    let code = u64::from(crate::kmers::word::base_code(text[at]).unwrap());
                    assert_eq!((base >> 126) as u64, code);
                    assert_eq!(u64::from(batch.codes[at]), code);
                }
            }
        }
    }
}
