//! Writing one block, which [`super::block`] reads.

use super::BLOCK_KMERS;
use super::block::ESCAPE;
#[cfg(target_arch = "x86_64")]
use super::permute;
use crate::kmers::lanes::Lanes;
use crate::kmers::word::{Native, Word};
use xxhash_rust::xxh3::xxh3_64;

/// Bits beside whole words for which eight bytes are enough wherever they begin in the first, with
/// some left, and that are no fewer than a byte may lack.
const WINDOW_BITS: std::ops::RangeInclusive<u32> = 7..=56;
/// Bytes that are written at a time.
pub(super) const WINDOW_BYTES: usize = 64;
/// Words of all high bits: what lies above the low bits is below two for each k-mer, and each has
/// one more.
const HIGH_WORDS: usize = (3 * BLOCK_KMERS).div_ceil(64);
/// K-mers whose high bits are found together.
const GROUP: usize = 8;

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
        |kmers, counts, out| encode_body(kmers, counts, out, lanes),
    );
    let sum = xxh3_64(&out[begin..]);
    out.extend_from_slice(&sum.to_le_bytes());
}

#[inline(always)]
fn encode_body<K: Word>(kmers: &[K], counts: &[u64], out: &mut Vec<u8>, lanes: Lanes) {
    let n = kmers.len();
    let (Some(first), Some(last)) = (kmers.first().copied(), kmers.last()) else { return };
    let span = last.minus(first);
    let l = low_bits(span, n);
    let places = span.down_all(l).low() as usize + n;
    let h = places.div_ceil(8);
    out.extend_from_slice(&(n as u16).to_le_bytes());
    out.extend_from_slice(&(l as u16).to_le_bytes());
    out.extend_from_slice(&(h as u32).to_le_bytes());
    let (low, low_bytes) = (out.len(), (n * l as usize).div_ceil(8));
    // Whole windows are written, and then cut to what is needed.
    out.resize(low + low_bytes + 2 * WINDOW_BYTES, 0);
    let mut high = HighBits::default();
    let done = encode_groups(kmers, first, l, &mut out[low..], &mut high, lanes);
    let (left, places) = (&kmers[done..], &mut out[low + done / 8 * l as usize..]);
    let rest = l % 64;
    match l / 64 {
        0 if WINDOW_BITS.contains(&rest) => encode_windows::<K, 0>(left, first, l, places),
        1 if WINDOW_BITS.contains(&rest) => encode_windows::<K, 1>(left, first, l, places),
        _ => encode_lows(left, first, l, places),
    }
    let above = |low: u64, high: u64| (low >> rest) | (high << 1 << (63 - rest));
    match l / 64 {
        0 => high.add_all(kmers, done, first, |kmer| above(kmer.word(0), kmer.word(1))),
        1 => high.add_all(kmers, done, first, |kmer| above(kmer.word(1), kmer.word(2))),
        _ => high.add_all(kmers, done, first, |kmer| kmer.down_all(l).low()),
    }
    out.truncate(low + low_bytes);
    out.extend_from_slice(&high.0.map(u64::to_le_bytes).as_flattened()[..h]);
    out.extend(counts.iter().map(|count| (*count).min(ESCAPE) as u8));
    if counts.iter().fold(0, |any, count| any | u32::from(*count >= ESCAPE)) > 0 {
        counts.iter().filter(|count| **count >= ESCAPE).for_each(|c| put_leb(*c - ESCAPE, out));
    }
}

/// Encodes many k-mers at a time, where the machine can; gives how many, whose low bits fill whole
/// bytes.
fn encode_groups<K: Word>(
    kmers: &[K],
    first: K,
    l: u32,
    low: &mut [u8],
    high: &mut HighBits,
    lanes: Lanes,
) -> usize {
    #[cfg(target_arch = "x86_64")]
    if lanes == Lanes::Avx512Vbmi {
        return match K::as_native(kmers) {
            // SAFETY: `detect` has found the instructions.
            Native::One(words) => unsafe { permute::encode(words, first.low(), l, low, high) },
            Native::Two(pairs) => {
                let first = u128::from(first.word(1)) << 64 | u128::from(first.low());
                // SAFETY: as above.
                unsafe { permute::encode_long(pairs, first, l, low, high) }
            }
            Native::Other => 0,
        };
    }
    0
}

/// Low bits of which `WORDS` are whole words, and the others fit into eight bytes with what the
/// first of these has of the k-mer before: without a branch, as each writes all eight.
#[inline(always)]
fn encode_windows<K: Word, const WORDS: usize>(kmers: &[K], first: K, l: u32, out: &mut [u8]) {
    let mask = (1 << (l % 64)) - 1;
    // What of the byte at hand was there before.
    let (mut at, mut before) = (0, 0);
    for kmer in kmers {
        let difference = kmer.minus(first);
        let (byte, shift) = (at / 8, at % 8);
        let mut places = out.get_mut(byte..).unwrap_or_default().as_chunks_mut().0.iter_mut();
        let mut put = |word: u64| {
            if let Some(place) = places.next() {
                *place = word.to_le_bytes();
            }
        };
        for i in 0..WORDS {
            let word = difference.word(i);
            put((word << shift) | before);
            before = (word >> 1) >> (63 - shift);
        }
        let window = ((difference.word(WORDS) & mask) << shift) | before;
        put(window);
        at += l as usize;
        before = window >> (8 * (at / 8 - byte - 8 * WORDS));
    }
}

/// Any number of low bits.
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

/// The high bits in unary: for each k-mer a one, and before it as many zeros as they grow.
#[derive(Default)]
pub(super) struct HighBits([u64; HIGH_WORDS + 1]);

impl HighBits {
    /// Adds ones from a place on.
    #[inline(always)]
    pub(super) fn add(&mut self, place: usize, ones: u64) {
        self.0[place / 64] |= ones << (place % 64);
        self.0[place / 64 + 1] |= (ones >> 1) >> (63 - place % 64);
    }

    /// Adds the ones of k-mers from number `begin` on, of which `high` tells the high bits.
    #[inline(always)]
    fn add_all<K: Word>(&mut self, kmers: &[K], begin: usize, first: K, high: impl Fn(K) -> u64) {
        let high = |kmer: &K| high(kmer.minus(first)) as usize;
        let (groups, rest) = kmers[begin..].as_chunks::<GROUP>();
        let mut j = begin;
        for group in groups {
            let mut places = [0; GROUP];
            for (i, (place, kmer)) in places.iter_mut().zip(group).enumerate() {
                *place = high(kmer) + j + i;
            }
            j += GROUP;
            let (begin, end) = (places[0], places[GROUP - 1]);
            // Mostly all are near each other: then they are set at once.
            if end - begin < 64 {
                self.add(begin, places.iter().fold(0, |ones, place| ones | 1 << (place - begin)));
            } else {
                for place in places {
                    self.add(place, 1);
                }
            }
        }
        for (i, kmer) in rest.iter().enumerate() {
            self.add(high(kmer) + j + i, 1);
        }
    }
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
    fn low_bits_are_the_logarithm() {
        for last in [0_u64, 1, 4, 5, 511, 512, 513, 1 << 40, u64::MAX] {
            for n in [1, 2, 5, 512] {
                let expected = (last / n as u64).checked_ilog2().unwrap_or(0);
                assert_eq!(low_bits(last, n), expected, "{last} {n}");
            }
        }
    }
}
