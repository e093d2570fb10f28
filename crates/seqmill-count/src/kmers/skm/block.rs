//! One block: k-mers as differences to the first in Elias-Fano form, and their counts.

use crate::kmers::lanes::Lanes;
use crate::kmers::word::Word;
#[cfg(target_arch = "x86_64")]
use std::arch::x86_64::_pdep_u64;
use xxhash_rust::xxh3::xxh3_64;

/// Bytes before the low bits: n, l and h.
const FIXED_BYTES: usize = 8;
/// A count byte of this value is followed up among the escapes.
const ESCAPE: u64 = 255;

/// Puts bits into words, the least significant first.
struct BitWriter<'o> {
    words: std::slice::IterMut<'o, [u8; 8]>,
    pending: u64,
    filled: u32,
}

impl BitWriter<'_> {
    /// Adds the low `bits` (1 to 64) of `value`, which has no others.
    #[inline(always)]
    fn put(&mut self, value: u64, bits: u32) {
        self.pending |= value << self.filled;
        self.filled += bits;
        if self.filled >= 64 {
            self.flush();
            self.filled -= 64;
            // Two shifts: one by 64 is none. `bits - filled` bits were written.
            self.pending = (value >> 1) >> (bits - self.filled - 1);
        }
    }

    #[inline(always)]
    fn flush(&mut self) {
        if let Some(word) = self.words.next() {
            *word = self.pending.to_le_bytes();
        }
    }
}

/// The low bits of each of `n` differences whose greatest is `last`.
fn low_bits<K: Word>(last: K, n: usize) -> u32 {
    // The logarithm of `last / n` without a division.
    let n = K::from_low(n as u64);
    let (long, short) = (K::BITS - last.zeros_above(), K::BITS - n.zeros_above());
    if last < n {
        return 0;
    }
    let places = long - short;
    if n.up(places) > last { places - 1 } else { places }
}

/// Appends a block of sorted k-mers, none twice.
pub(super) fn encode_block<K: Word>(kmers: &[K], counts: &[u64], out: &mut Vec<u8>) {
    let begin = out.len();
    let n = kmers.len();
    let (Some(first), Some(last)) = (kmers.first().copied(), kmers.last()) else { return };
    let span = last.minus(first);
    let l = low_bits(span, n);
    let high_bits = span.down_all(l).low() as usize + n;
    let h = high_bits.div_ceil(8);
    out.extend_from_slice(&(n as u16).to_le_bytes());
    out.extend_from_slice(&(l as u16).to_le_bytes());
    out.extend_from_slice(&(h as u32).to_le_bytes());
    let (low, low_bytes) = (out.len(), (n * l as usize).div_ceil(8));
    out.reserve(low_bytes + h + n + 64);
    // Whole words, each written once it is full; then cut to what is needed.
    out.resize(low + low_bytes.next_multiple_of(8), 0);
    if l > 0 {
        let words = out[low..].as_chunks_mut::<8>().0.iter_mut();
        let mut bits = BitWriter { words, pending: 0, filled: 0 };
        let mask = K::ones(l);
        for kmer in kmers {
            let low = kmer.minus(first).and(mask);
            if K::BITS == 64 {
                bits.put(low.low(), l);
                continue;
            }
            for word in 0..l.div_ceil(64) {
                bits.put(low.word(word as usize), (l - 64 * word).min(64));
            }
        }
        bits.flush();
    }
    out.truncate(low + low_bytes);
    let high = out.len();
    out.resize(high + h.next_multiple_of(8), 0);
    let words = out[high..].as_chunks_mut::<8>().0;
    let (mut word, mut bits) = (0, 0_u64);
    for (j, kmer) in kmers.iter().enumerate() {
        let at = kmer.minus(first).down_all(l).low() as usize + j;
        if at / 64 != word {
            words[word] = bits.to_le_bytes();
            (word, bits) = (at / 64, 0);
        }
        bits |= 1 << (at % 64);
    }
    words[word] = bits.to_le_bytes();
    out.truncate(high + h);
    out.extend(counts.iter().map(|count| (*count).min(ESCAPE) as u8));
    for count in counts.iter().filter(|count| **count >= ESCAPE) {
        let mut rest = count - ESCAPE;
        while rest >= 0x80 {
            out.push(rest as u8 | 0x80);
            rest >>= 7;
        }
        out.push(rest as u8);
    }
    let sum = xxh3_64(&out[begin..]);
    out.extend_from_slice(&sum.to_le_bytes());
}

/// The parts of a block.
struct Parts<'b> {
    n: usize,
    l: u32,
    low: &'b [u8],
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
    if n == 0 || n > super::BLOCK_KMERS || l >= bits {
        return None;
    }
    let (low, rest) = body.split_at_checked(low_bytes)?;
    let (high, rest) = rest.split_at_checked(h)?;
    let (counts, escapes) = rest.split_at_checked(n)?;
    Some(Parts { n, l, low, high, counts, escapes })
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
    if bits <= 57
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

#[inline(always)]
fn low_of<K: Word>(parts: &Parts<'_>, j: usize) -> K {
    let begin = j * parts.l as usize;
    if K::BITS == 64 {
        return if parts.l == 0 {
            K::default()
        } else {
            K::from_low(bits_at(parts.low, begin, parts.l))
        };
    }
    let mut low = K::default();
    for word in 0..parts.l.div_ceil(64) {
        let bits = (parts.l - 64 * word).min(64);
        low = low.with_word(word as usize, bits_at(parts.low, begin + 64 * word as usize, bits));
    }
    low
}

/// Appends the k-mers and counts of a block; `None` if it is malformed.
pub fn decode_block<K: Word>(
    block: &[u8],
    first: K,
    kmers: &mut Vec<K>,
    counts: &mut Vec<u64>,
) -> Option<()> {
    let parts = parts(block, K::BITS)?;
    let mut j = 0;
    for (i, eight) in parts.high.chunks(8).enumerate() {
        let mut bytes = [0; 8];
        bytes[..eight.len()].copy_from_slice(eight);
        let mut bits = u64::from_le_bytes(bytes);
        while bits != 0 {
            let at = 64 * i + bits.trailing_zeros() as usize;
            bits &= bits - 1;
            if j == parts.n {
                return None;
            }
            let high = K::from_low((at - j) as u64).up(parts.l);
            kmers.push(first.plus(high.or(low_of(&parts, j))));
            j += 1;
        }
    }
    if j != parts.n {
        return None;
    }
    let mut escapes = parts.escapes;
    for count in parts.counts {
        let count = u64::from(*count);
        counts.push(if count == ESCAPE { ESCAPE + take_leb(&mut escapes)? } else { count });
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
            let found: K = low_of(parts, j);
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
    use super::*;
    use crate::kmers::word::Wide;

    fn check<K: Word>(spread: u32) {
        let mut x = 7_u64;
        let mut next = || {
            x = x.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(99);
            x
        };
        for n in [1, 2, 3, 64, 511, 512] {
            let mut kmers: Vec<K> = (0..n)
                .map(|_| {
                    let mut kmer = K::default();
                    for i in 0..K::BYTES / 8 {
                        kmer = kmer.with_word(i, next());
                    }
                    kmer.down(K::BITS - spread)
                })
                .collect();
            kmers.sort_unstable();
            kmers.dedup();
            let counts: Vec<u64> =
                kmers.iter().map(|_| if next() % 9 == 0 { next() >> 8 } else { 254 }).collect();
            let mut block = Vec::new();
            encode_block(&kmers, &counts, &mut block);
            assert!(is_sound(&block));
            let (mut found, mut found_counts) = (Vec::new(), Vec::new());
            decode_block(&block, kmers[0], &mut found, &mut found_counts).unwrap();
            assert_eq!((&found, &found_counts), (&kmers, &counts));
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
        check::<u64>(62);
        check::<u64>(64);
        check::<u64>(10);
        check::<u128>(66);
        check::<u128>(126);
        check::<Wide<4>>(256);
        check::<Wide<8>>(510);
    }

    #[test]
    fn low_bits_are_the_logarithm() {
        for last in [0_u64, 1, 4, 5, 511, 512, 513, 1 << 40, u64::MAX] {
            for n in [1, 2, 5, 512] {
                let expected = (last / n as u64).checked_ilog2().unwrap_or(0);
                assert_eq!(low_bits(last, n), expected, "{last} {n}");
            }
        }
    }
}
