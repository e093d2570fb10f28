//! A stretch of input text as codes, packed bases and the windows that hold nothing but bases.

use super::word::Word;

/// Bytes of text in a batch.
pub(super) const BATCH_BYTES: usize = 1 << 17;

/// Bytes of one batch with all its arrays, for k-mers of any length.
pub(super) const BATCH_CLAIM: u64 = 10 * BATCH_BYTES as u64;

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
    pub(super) fn prepare(&mut self, k: usize, skip_lower: bool) {
        let n = self.text.len();
        self.codes.clear();
        self.codes.resize(n.next_multiple_of(32) + 32, 0);
        let fold = if skip_lower { 0xff } else { 0xdf };
        code_bases(&self.text, &mut self.codes, fold);
        self.find_windows(k);
        for code in &mut self.codes {
            *code &= 3;
        }
        self.packed.clear();
        self.packed.extend(self.codes.as_chunks::<32>().0.iter().map(pack_word));
        // Records of any width may be read from the last base on.
        self.packed.extend([0; 17]);
        self.codes.truncate(n);
    }

    /// Finds stretches without breaks, which still have a high bit.
    fn find_windows(&mut self, k: usize) {
        self.windows.clear();
        self.skipped = 0;
        let n = self.text.len();
        let mut begin = 0;
        let mut at = 0;
        while at < n {
            let eight = self.codes.get(at..).and_then(<[u8]>::first_chunk::<8>);
            let bits = eight.map_or(0, |e| u64::from_le_bytes(*e)) & 0x8080_8080_8080_8080;
            if bits == 0 {
                at += 8;
                continue;
            }
            let end = at + bits.trailing_zeros() as usize / 8;
            if end >= n {
                break;
            }
            if end >= begin + k {
                self.windows.push((begin, end - k + 1));
            }
            // What stands in both batches was counted with the first.
            self.skipped += u64::from(end >= self.again && self.text[end] != RECORD_BREAK);
            begin = end + 1;
            at = begin;
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
        for i in 0..count {
            let high = self.packed[first + i] << shift;
            // Two shifts: one by 64 is none.
            let low = (self.packed[first + i + 1] >> 1) >> (63 - shift);
            out = out.with_word(count - 1 - i, high | low);
        }
        out.and(R::ones(2 * n).up(R::BITS - 2 * n))
    }
}

/// Codes of bases in the low bits; the highest bit is set where there is none.
fn code_bases(text: &[u8], codes: &mut [u8], fold: u8) {
    for (code, byte) in codes.iter_mut().zip(text) {
        let upper = byte & fold;
        // Bytes rather than conditions: no branch, so that it goes many at a time.
        let is_base = u8::from(upper == b'A')
            | u8::from(upper == b'C')
            | u8::from(upper == b'G')
            | u8::from(upper == b'T');
        *code = (((byte >> 1) ^ (byte >> 2)) & 3) | ((is_base ^ 1) << 7);
    }
}

/// Packs 32 codes.
#[inline(always)]
fn pack_word(codes: &[u8; 32]) -> u64 {
    let mut word = 0;
    for eight in codes.as_chunks::<8>().0 {
        let x = u64::from_be_bytes(*eight);
        let x = (x | (x >> 6)) & 0x000f_000f_000f_000f;
        let x = (x | (x >> 12)) & 0x0000_00ff_0000_00ff;
        word = (word << 16) | ((x | (x >> 24)) & 0xffff);
    }
    word
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kmers::word::parse_kmer;

    #[test]
    fn breaks_split_windows() {
        let mut batch = Batch { text: b"ACGTNacgtt\nAC-GGGT".to_vec(), ..Batch::default() };
        batch.prepare(3, false);
        assert_eq!(batch.windows, [(0, 2), (5, 8), (14, 16)]);
        assert_eq!((batch.skipped, batch.occurrences()), (2, 7));
        let bases: u128 = batch.bases(5, 5);
        assert_eq!(bases >> 118, parse_kmer::<u128>(b"ACGTT").unwrap());
        batch.prepare(3, true);
        assert_eq!(batch.windows, [(0, 2), (14, 16)]);
        assert_eq!(batch.skipped, 7);
    }
}
