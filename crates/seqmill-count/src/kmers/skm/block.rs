//! Reading one block: k-mers as differences to the first in Elias-Fano form, and their counts.

use super::BLOCK_KMERS;
#[cfg(target_arch = "x86_64")]
use super::permute;
use crate::kmers::lanes::Lanes;
use crate::kmers::word::Word;
#[cfg(target_arch = "x86_64")]
use std::arch::x86_64::_pdep_u64;
use xxhash_rust::xxh3::xxh3_64;

/// Bytes before the low bits: n, l and h.
const FIXED_BYTES: usize = 8;
/// A count byte of this value is followed up among the escapes.
pub(super) const ESCAPE: u64 = 255;
/// Bits that are found in eight bytes wherever they begin in the first.
const WINDOW_BITS: u32 = 57;

/// The parts of a block.
struct Parts<'b> {
    n: usize,
    l: u32,
    low: &'b [u8],
    /// The low bits and what follows them up to the end of the block.
    low_on: &'b [u8],
    high: &'b [u8],
    counts: &'b [u8],
    escapes: &'b [u8],
}

fn parts(block: &[u8], bits: u32) -> Option<Parts<'_>> {
    let n = usize::from(u16::from_le_bytes(*block.first_chunk()?));
    let l = u32::from(u16::from_le_bytes(*block.get(2..)?.first_chunk()?));
    let h = u32::from_le_bytes(*block.get(4..)?.first_chunk()?) as usize;
    let body = block.get(FIXED_BYTES..block.len().checked_sub(8)?)?;
    let low_bytes = (n * l as usize).div_ceil(8);
    if n == 0 || n > BLOCK_KMERS || l >= bits {
        return None;
    }
    let low_on = block.get(FIXED_BYTES..)?;
    let (low, rest) = body.split_at_checked(low_bytes)?;
    let (high, rest) = rest.split_at_checked(h)?;
    let (counts, escapes) = rest.split_at_checked(n)?;
    Some(Parts { n, l, low, low_on, high, counts, escapes })
}

/// The bytes of the checksum at the end of a block.
pub(super) fn checksum_of(block: &[u8]) -> &[u8] {
    block.last_chunk::<8>().map_or(block, <[u8; 8]>::as_slice)
}

/// Whether the checksum at the end of a block is right.
pub(super) fn is_sound(block: &[u8]) -> bool {
    let Some((body, sum)) = block.split_last_chunk::<8>() else { return false };
    xxh3_64(body) == u64::from_le_bytes(*sum)
}

/// The `bits` (at most 64) at bit `at`.
#[inline(always)]
fn bits_at(bytes: &[u8], at: usize, bits: u32) -> u64 {
    let from = bytes.get(at / 8..).unwrap_or_default();
    if bits <= WINDOW_BITS
        && let Some(word) = from.first_chunk()
    {
        return (u64::from_le_bytes(*word) >> (at % 8)) & ((1 << bits) - 1);
    }
    let mut window = [0; 16];
    if let Some(whole) = from.first_chunk::<16>() {
        window = *whole;
    } else {
        window[..from.len()].copy_from_slice(from);
    }
    let value = (u128::from_le_bytes(window) >> (at % 8)) as u64;
    if bits == 64 { value } else { value & ((1 << bits) - 1) }
}

/// The low bits that begin at a place.
#[inline(always)]
fn low_at<K: Word>(parts: &Parts<'_>, at: usize) -> K {
    let mut low = K::default();
    for word in 0..parts.l.div_ceil(64) {
        let bits = (parts.l - 64 * word).min(64);
        low = low.with_word(word as usize, bits_at(parts.low, at + 64 * word as usize, bits));
    }
    low
}

/// Appends the k-mers and counts of a block; `None` if it is malformed.
pub(super) fn decode_block<K: Word>(
    block: &[u8],
    first: K,
    kmers: &mut Vec<K>,
    counts: &mut Vec<u64>,
    lanes: Lanes,
) -> Option<()> {
    let parts = parts(block, K::BITS)?;
    lanes.run(
        (&parts, kmers, counts),
        #[inline(always)]
        |parts, kmers, counts| {
            let places = high_places(parts)?;
            let begin = kmers.len();
            kmers.resize(begin + parts.n, K::default());
            let done = decode_groups(parts, &places, first, kmers, begin, lanes);
            let kmers = kmers.get_mut(begin..)?;
            match parts.l / 64 {
                0 if parts.l <= WINDOW_BITS => {
                    fill(kmers, &places, done, first, |j, high| difference::<K, 0>(parts, j, high));
                }
                1 if parts.l % 64 <= WINDOW_BITS => {
                    fill(kmers, &places, done, first, |j, high| difference::<K, 1>(parts, j, high));
                }
                _ => fill(
                    kmers,
                    &places,
                    done,
                    first,
                    // Else it is made for what every machine has.
                    #[inline(always)]
                    |j, high| {
                        let low = low_at(parts, j * parts.l as usize);
                        K::from_low(high).up(parts.l).or(low)
                    },
                ),
            }
            decode_counts(parts, counts)
        },
    )
}

/// Makes k-mers from number `done` on of what `difference` makes of their numbers and high bits.
#[inline(always)]
fn fill<K: Word>(
    kmers: &mut [K],
    places: &[u16],
    done: usize,
    first: K,
    difference: impl Fn(usize, u64) -> K,
) {
    for (j, (kmer, place)) in kmers.iter_mut().zip(places).enumerate().skip(done) {
        *kmer = first.plus(difference(j, u64::from(*place) - j as u64));
    }
}

/// Makes many k-mers at a time, where the machine can; gives how many.
fn decode_groups<K: Word>(
    parts: &Parts<'_>,
    places: &[u16],
    first: K,
    kmers: &mut Vec<K>,
    begin: usize,
    lanes: Lanes,
) -> usize {
    #[cfg(target_arch = "x86_64")]
    if lanes == Lanes::Avx512Vbmi
        && let Some(words) = K::as_words(kmers).and_then(|words| words.get_mut(begin..))
    {
        // SAFETY: `detect` has found the instructions.
        return unsafe { permute::decode(parts.low_on, parts.l, places, first.low(), words) };
    }
    0
}

/// The places of the ones in each byte, the lowest first.
static ONES: [[u8; 8]; 256] = {
    let mut ones = [[0; 8]; 256];
    let mut byte = 0;
    while byte < 256 {
        let (mut bit, mut n) = (0, 0);
        while bit < 8 {
            if byte >> bit & 1 == 1 {
                ones[byte][n] = bit;
                n += 1;
            }
            bit += 1;
        }
        byte += 1;
    }
    ones
};

/// Where the ones of the high bits are, one for each k-mer: without a branch, as every byte writes
/// eight places, and those that it has not are written over.
#[inline(always)]
fn high_places(parts: &Parts<'_>) -> Option<[u16; BLOCK_KMERS + 8]> {
    let mut places = [0; BLOCK_KMERS + 8];
    let mut n = 0;
    // More bytes than there are numbers for are no high bits of a block.
    for (byte, before) in parts.high.iter().zip((0_u16..).step_by(8)) {
        let eight: &mut [u16; 8] = places.get_mut(n..)?.first_chunk_mut()?;
        for (place, bit) in eight.iter_mut().zip(ONES[usize::from(*byte)]) {
            *place = before + u16::from(bit);
        }
        n += byte.count_ones() as usize;
    }
    (n == parts.n && u16::try_from(8 * parts.high.len()).is_ok()).then_some(places)
}

/// The difference number `j`, which has these high bits: of its low bits `WORDS` are whole words,
/// and the others are found in eight bytes.
#[inline(always)]
fn difference<K: Word, const WORDS: usize>(parts: &Parts<'_>, j: usize, high: u64) -> K {
    let (at, rest) = (j * parts.l as usize, parts.l % 64);
    // Behind the low bits there is the rest of the block, no less than a window.
    let bytes = parts.low_on.get(at / 8..).unwrap_or_default();
    let word = |i: usize| {
        let word = bytes.get(8 * i..).and_then(<[u8]>::first_chunk);
        u64::from_le_bytes(*word.unwrap_or(&[0; 8]))
    };
    let shift = at as u32 % 8;
    let mut found = K::default();
    for i in 0..WORDS {
        found = found.with_word(i, (word(i) >> shift) | (word(i + 1) << 1 << (63 - shift)));
    }
    let low = (word(WORDS) >> shift) & ((1 << rest) - 1);
    found = found.with_word(WORDS, low | (high << rest));
    if K::BITS as usize > 64 * (WORDS + 1) {
        found = found.with_word(WORDS + 1, (high >> 1) >> (63 - rest));
    }
    found
}

#[inline(always)]
fn decode_counts(parts: &Parts<'_>, counts: &mut Vec<u64>) -> Option<()> {
    let begin = counts.len();
    counts.extend(parts.counts.iter().map(|count| u64::from(*count)));
    let mut escapes = parts.escapes;
    let escaped =
        parts.counts.iter().fold(0, |n, count| n + u32::from(u64::from(*count) == ESCAPE));
    if escaped > 0 {
        for count in counts.get_mut(begin..)?.iter_mut().filter(|count| **count == ESCAPE) {
            *count += take_leb(&mut escapes)?;
        }
    }
    escapes.is_empty().then_some(())
}

fn take_leb(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0_u64;
    for shift in (0..64).step_by(7) {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

/// Looks sorted k-mers up in a block; their counts go to their places in `out`. `None` if the block
/// is malformed.
pub(super) fn find_all<K: Word>(
    block: &[u8],
    first: K,
    wanted: &[(K, u32)],
    out: &mut [u64],
    lanes: Lanes,
) -> Option<()> {
    let finder = Finder::new(block, first)?;
    match lanes {
        Lanes::Scalar => finder.find_all(wanted, out, select),
        #[cfg(target_arch = "x86_64")]
        wide => wide.run(
            (finder, wanted, out),
            #[inline(always)]
            |finder, wanted, out| {
                // SAFETY: every machine with wide lanes has the instruction.
                finder.find_all(wanted, out, |word, n| unsafe {
                    _pdep_u64(1 << n, word).trailing_zeros()
                })
            },
        ),
    }
}

/// The place of the set bit that has `n` set bits below it; there is one.
fn select(mut word: u64, n: u32) -> u32 {
    for _ in 0..n {
        word &= word.wrapping_sub(1);
    }
    word.trailing_zeros()
}

/// Goes through a block.
struct Finder<'b, K> {
    parts: Parts<'b>,
    first: K,
    /// The word of the high bits at hand: its number, its zeros, and how many zeros are before it.
    word: usize,
    free: u64,
    passed: usize,
}

impl<'b, K: Word> Finder<'b, K> {
    /// `None` if the block is malformed.
    fn new(block: &'b [u8], first: K) -> Option<Self> {
        let parts = parts(block, K::BITS)?;
        let free = zeros_of(parts.high, 0);
        Some(Self { parts, first, word: 0, free, passed: 0 })
    }

    #[inline(always)]
    fn find_all(
        mut self,
        wanted: &[(K, u32)],
        out: &mut [u64],
        select: impl Fn(u64, u32) -> u32,
    ) -> Option<()> {
        for (kmer, place) in wanted {
            out[*place as usize] = self.find(*kmer, &select)?;
        }
        Some(())
    }

    /// The count of a k-mer, no less than the one before; `None` if the block is malformed.
    #[inline(always)]
    fn find(&mut self, kmer: K, select: &impl Fn(u64, u32) -> u32) -> Option<u64> {
        if kmer < self.first {
            return Some(0);
        }
        let wanted = kmer.minus(self.first);
        let top = wanted.down_all(self.parts.l);
        if top > K::from_low(8 * self.parts.high.len() as u64) {
            return Some(0);
        }
        let group = top.low() as usize;
        let low = wanted.and(K::ones(self.parts.l));
        let mut at = self.behind_zeros(group, select);
        let parts = &self.parts;
        while parts.high.get(at / 8).is_some_and(|byte| byte >> (at % 8) & 1 == 1) {
            let j = at.checked_sub(group)?;
            if j >= parts.n {
                return None;
            }
            let found: K = low_at(parts, j * parts.l as usize);
            if found == low {
                return count_at(parts, j);
            }
            if found > low {
                break;
            }
            at += 1;
        }
        Some(0)
    }

    /// The place behind so many zeros; behind the end if there are not as many.
    #[inline(always)]
    fn behind_zeros(&mut self, zeros: usize, select: &impl Fn(u64, u32) -> u32) -> usize {
        if zeros == 0 {
            return 0;
        }
        loop {
            let here = self.free.count_ones() as usize;
            // Not less: k-mers ascend, and words are left only for zeros that are behind them.
            let left = zeros - self.passed;
            if left <= here {
                return 64 * self.word + select(self.free, left as u32 - 1) as usize + 1;
            }
            if 8 * (self.word + 1) >= self.parts.high.len() {
                return 8 * self.parts.high.len();
            }
            self.passed += here;
            self.word += 1;
            self.free = zeros_of(self.parts.high, self.word);
        }
    }
}

/// A bit for each zero of a word; behind the end there is none.
#[inline(always)]
fn zeros_of(bytes: &[u8], word: usize) -> u64 {
    let from = bytes.get(8 * word..).unwrap_or_default();
    if let Some(whole) = from.first_chunk() {
        return !u64::from_le_bytes(*whole);
    }
    let mut whole = [0xff; 8];
    whole[..from.len()].copy_from_slice(from);
    !u64::from_le_bytes(whole)
}

fn count_at(parts: &Parts<'_>, j: usize) -> Option<u64> {
    let count = u64::from(*parts.counts.get(j)?);
    if count < ESCAPE {
        return Some(count);
    }
    let before = parts.counts.get(..j)?.iter().filter(|c| u64::from(**c) == ESCAPE).count();
    let mut escapes = parts.escapes;
    for _ in 0..before {
        take_leb(&mut escapes)?;
    }
    Some(ESCAPE + take_leb(&mut escapes)?)
}

#[cfg(test)]
mod tests {
    use super::super::encode::encode_block;
    use super::*;
    use crate::kmers::word::Wide;

    /// Every `far`th k-mer is anywhere, the others are near the first.
    fn check<K: Word>(spread: u32, far: usize) {
        let mut x = 7_u64;
        let mut next = || {
            x = x.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(99);
            x
        };
        for n in [1, 2, 3, 64, 511, 512] {
            let mut kmers: Vec<K> = (0..n)
                .map(|j| {
                    let mut kmer = K::default();
                    for i in 0..K::BYTES / 8 {
                        kmer = kmer.with_word(i, next());
                    }
                    let bits = if j % far == 0 { spread } else { spread.div_ceil(2) };
                    kmer.down(K::BITS - bits)
                })
                .collect();
            kmers.sort_unstable();
            kmers.dedup();
            let counts: Vec<u64> =
                kmers.iter().map(|_| if next() % 9 == 0 { next() >> 8 } else { 254 }).collect();
            let mut block = Vec::new();
            encode_block(&kmers, &counts, &mut block, Lanes::Scalar);
            assert!(is_sound(&block));
            for lanes in Lanes::all() {
                let mut again = Vec::new();
                encode_block(&kmers, &counts, &mut again, lanes);
                assert_eq!(again, block, "{lanes:?}");
                let (mut found, mut found_counts) = (Vec::new(), Vec::new());
                decode_block(&block, kmers[0], &mut found, &mut found_counts, lanes).unwrap();
                assert_eq!((&found, &found_counts), (&kmers, &counts), "{lanes:?}");
            }
            let count_of = |kmer: &K| kmers.binary_search(kmer).map_or(0, |i| counts[i]);
            let mut wanted: Vec<K> = kmers.clone();
            wanted.extend(kmers.iter().map(|kmer| kmer.plus(K::from_low(1))));
            // Twice the same, below the first, and behind the last.
            wanted.extend([kmers[0], K::ones(spread), K::ones(K::BITS - 1), K::default()]);
            wanted.sort_unstable();
            let expected: Vec<u64> = wanted.iter().map(count_of).collect();
            let wanted: Vec<_> = wanted.into_iter().zip(0..).collect();
            for lanes in Lanes::all() {
                let mut out = vec![u64::MAX; wanted.len()];
                find_all(&block, kmers[0], &wanted, &mut out, lanes).unwrap();
                assert_eq!(out, expected, "{lanes:?}");
                for one in &wanted {
                    find_all(&block, kmers[0], &[*one], &mut out, lanes).unwrap();
                }
                assert_eq!(out, expected, "{lanes:?}");
            }
        }
    }

    #[test]
    fn blocks_come_back() {
        for spread in 1..=64 {
            check::<u64>(spread, 1);
        }
        for spread in 65..=128 {
            check::<u128>(spread, 1);
        }
        check::<u64>(62, 40);
        check::<u128>(66, 40);
        check::<u128>(126, 40);
        check::<Wide<4>>(256, 1);
        check::<Wide<4>>(200, 40);
        check::<Wide<8>>(510, 1);
    }
}
