//! Writing one block, which [`super::block`] reads.

use super::block::ESCAPE;
use crate::kmers::lanes::Lanes;
use crate::kmers::word::Word;
use xxhash_rust::xxh3::xxh3_64;

/// Fewest low bits that reach behind the byte they begin in, wherever that is.
const LEAST_LOW_BITS: u32 = 7;

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
pub(super) fn encode_block<K: Word>(kmers: &[K], counts: &[u64], out: &mut Vec<u8>, lanes: Lanes) {
    let begin = out.len();
    lanes.run(
        (kmers, counts, &mut *out),
        #[inline(always)]
        |kmers, counts, out| encode_body(kmers, counts, out),
    );
    let sum = xxh3_64(&out[begin..]);
    out.extend_from_slice(&sum.to_le_bytes());
}

#[inline(always)]
fn encode_body<K: Word>(kmers: &[K], counts: &[u64], out: &mut Vec<u8>) {
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
    // Whole words, each written once it is full; then cut to what is needed.
    out.resize(low + low_bytes + K::BYTES, 0);
    if K::LOW_FIRST && (LEAST_LOW_BITS..=K::BITS - 8).contains(&l) {
        encode_native_lows(kmers, first, l, &mut out[low..]);
    } else {
        encode_lows(kmers, first, l, &mut out[low..]);
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
    if counts.iter().fold(0, |any, count| any | u32::from(*count >= ESCAPE)) > 0 {
        counts.iter().filter(|count| **count >= ESCAPE).for_each(|c| put_leb(*c - ESCAPE, out));
    }
}

/// Low bits of which each fits into a number wherever in its first byte it begins, and reaches
/// behind that byte: every one writes a whole number, with what of its first byte is of the one
/// before. No step needs the result of another.
#[inline(always)]
fn encode_native_lows<K: Word>(kmers: &[K], first: K, l: u32, out: &mut [u8]) {
    let mask = K::ones(l);
    let (mut at, mut before) = (0, K::default());
    for kmer in kmers {
        let low = kmer.minus(first).and(mask);
        let inside = at as u32 % 8;
        let number = low.up(inside).or(before.down(l - inside));
        if let Some(place) = out.get_mut(at / 8..at / 8 + K::BYTES) {
            for (i, word) in place.as_chunks_mut::<8>().0.iter_mut().enumerate() {
                *word = number.word(i).to_le_bytes();
            }
        }
        before = low;
        at += l as usize;
    }
}

#[inline(always)]
fn encode_lows<K: Word>(kmers: &[K], first: K, l: u32, out: &mut [u8]) {
    if l == 0 {
        return;
    }
    let words = out.as_chunks_mut::<8>().0.iter_mut();
    let mut bits = BitWriter { words, pending: 0, filled: 0 };
    let mask = K::ones(l);
    for kmer in kmers {
        let low = kmer.minus(first).and(mask);
        for word in 0..l.div_ceil(64) {
            bits.put(low.word(word as usize), (l - 64 * word).min(64));
        }
    }
    bits.flush();
}

fn put_leb(mut rest: u64, out: &mut Vec<u8>) {
    while rest >= 0x80 {
        out.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn low_bits_are_written_alike() {
        fn check<K: Word>(x: &mut u64) {
            for l in LEAST_LOW_BITS..=K::BITS - 8 {
                for n in [1, 2, 9, 512] {
                    let mut kmer = || {
                        let words = (0..K::BYTES / 8).fold(K::default(), |kmer, i| {
                            *x = x.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                            kmer.with_word(i, *x ^ (*x >> 31))
                        });
                        words.down(8)
                    };
                    let kmers: Vec<K> = (0..n).map(|_| kmer()).collect();
                    let bytes = (n * l as usize).div_ceil(8);
                    let (mut found, mut expected) =
                        (vec![0; bytes + K::BYTES], vec![0; bytes + K::BYTES]);
                    encode_native_lows(&kmers, K::from_low(5), l, &mut found);
                    encode_lows(&kmers, K::from_low(5), l, &mut expected);
                    assert_eq!(found[..bytes], expected[..bytes], "{l} {n}");
                }
            }
        }
        let mut x = 3;
        check::<u64>(&mut x);
        check::<u128>(&mut x);
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
