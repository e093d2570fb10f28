//! Blocks of k-mers of one or two words, eight k-mers at a time: their low bits are whole bytes, and
//! one instruction brings bytes to where they are wanted (AVX-512 VBMI).

use super::encode::{HighBits, WINDOW_BYTES};
use std::arch::x86_64::{
    __m512i, _mm_cvtsi64_si128, _mm_loadu_epi16, _mm512_add_epi64, _mm512_and_si512,
    _mm512_cmplt_epu64_mask, _mm512_cvtepu16_epi64, _mm512_loadu_si512, _mm512_mask_sub_epi64,
    _mm512_maskz_permutex2var_epi8, _mm512_maskz_permutexvar_epi8, _mm512_or_si512,
    _mm512_permutex2var_epi64, _mm512_permutexvar_epi8, _mm512_reduce_or_epi64, _mm512_set1_epi64,
    _mm512_sll_epi64, _mm512_sllv_epi64, _mm512_srl_epi64, _mm512_srlv_epi64, _mm512_storeu_si512,
    _mm512_sub_epi64,
};

/// Low bits of a k-mer that this is for: no fewer than a byte, and found in eight bytes wherever
/// they begin in the first.
const BITS: std::ops::RangeInclusive<u32> = 8..=57;
/// The same of k-mers of two words: a whole one, and as many more.
const LONG_BITS: std::ops::RangeInclusive<u32> = 64..=64 + *BITS.end();
/// K-mers at a time.
const GROUP: usize = 8;

/// How bytes of k-mers come to 64 bytes of a block: those with even numbers and those with odd ones
/// do not meet.
#[derive(Clone, Copy)]
#[repr(align(64))]
struct Gather {
    /// For each byte of the block the one of a k-mer, and which bytes have one.
    even: [u8; WINDOW_BYTES],
    odd: [u8; WINDOW_BYTES],
    has_even: u64,
    has_odd: u64,
}

/// Where bytes go if there are so many low bits.
#[derive(Clone, Copy)]
#[repr(align(64))]
struct Way {
    gather: [Gather; 2],
    /// For each byte of the first words the one of the block.
    window: [u8; WINDOW_BYTES],
    /// Bits of the first byte that belong to the k-mer before.
    shifts: [u64; GROUP],
}

static WAYS: [Way; *LONG_BITS.end() as usize + 1] = {
    let bytes = [0; WINDOW_BYTES];
    let gather = Gather { even: bytes, odd: bytes, has_even: 0, has_odd: 0 };
    let none = Way { gather: [gather; 2], window: bytes, shifts: [0; GROUP] };
    let mut ways = [none; *LONG_BITS.end() as usize + 1];
    let mut bits = *BITS.start() as usize;
    while bits < ways.len() {
        let mut i = 0;
        while i < GROUP {
            let (begin, end) = (i * bits / 8, ((i + 1) * bits).div_ceil(8));
            let mut byte = 0;
            while begin + byte < end && byte < 16 {
                let (from, to) = (8 * i + byte % 8 + WINDOW_BYTES * (byte / 8), begin + byte);
                let gather = &mut ways[bits].gather[to / WINDOW_BYTES];
                let (places, has) = if i % 2 == 0 {
                    (&mut gather.even, &mut gather.has_even)
                } else {
                    (&mut gather.odd, &mut gather.has_odd)
                };
                places[to % WINDOW_BYTES] = from as u8;
                *has |= 1 << (to % WINDOW_BYTES);
                byte += 1;
            }
            byte = 0;
            while byte < 8 {
                ways[bits].window[8 * i + byte] = (begin + byte) as u8;
                byte += 1;
            }
            ways[bits].shifts[i] = (i * bits % 8) as u64;
            i += 1;
        }
        bits += 1;
    }
    ways
};

const NUMBERS: [u64; GROUP] = [0, 1, 2, 3, 4, 5, 6, 7];

#[target_feature(enable = "avx512f")]
fn load<T>(from: &T) -> __m512i {
    const { assert!(size_of::<T>() == WINDOW_BYTES) };
    // SAFETY: so many bytes can be read.
    unsafe { _mm512_loadu_si512(std::ptr::from_ref(from).cast()) }
}

#[target_feature(enable = "avx512f")]
fn store(to: &mut [u8; WINDOW_BYTES], bytes: __m512i) {
    // SAFETY: so many bytes can be written.
    unsafe { _mm512_storeu_si512(to.as_mut_ptr().cast(), bytes) };
}

/// Writes the low bits of whole groups to `low`, which is longer than they are by a window, and
/// adds the ones of their high bits to `high`; gives how many k-mers these are.
#[target_feature(enable = "avx512f,avx512bw,avx512vbmi")]
pub(super) fn encode(
    kmers: &[u64],
    first: u64,
    bits: u32,
    low: &mut [u8],
    high: &mut HighBits,
) -> usize {
    if !BITS.contains(&bits) {
        return 0;
    }
    let way = &WAYS[bits as usize];
    let Gather { even, odd, has_even, has_odd } = &way.gather[0];
    let (even, odd, shifts) = (load(even), load(odd), load(&way.shifts));
    let (origin, mask) = (all(first), all((1 << bits) - 1));
    let mut done = 0;
    for group in kmers.as_chunks::<GROUP>().0 {
        let begin = done / GROUP * bits as usize;
        let Some(place) = low.get_mut(begin..).and_then(<[u8]>::first_chunk_mut) else { break };
        let differences = _mm512_sub_epi64(load(group), origin);
        let lows = _mm512_sllv_epi64(_mm512_and_si512(differences, mask), shifts);
        let bytes = _mm512_or_si512(
            _mm512_maskz_permutexvar_epi8(*has_even, even, lows),
            _mm512_maskz_permutexvar_epi8(*has_odd, odd, lows),
        );
        store(place, bytes);
        add_ones(high, done, differences, bits, |i| (group[i] - first) >> bits);
        done += GROUP;
    }
    done
}

/// The same for k-mers of two words; `low` is longer than their low bits are by two windows.
#[target_feature(enable = "avx512f,avx512bw,avx512vbmi")]
pub(super) fn encode_long(
    kmers: &[u128],
    first: u128,
    bits: u32,
    low: &mut [u8],
    high: &mut HighBits,
) -> usize {
    if !LONG_BITS.contains(&bits) {
        return 0;
    }
    let way = &WAYS[bits as usize];
    let (shifts, back) = (load(&way.shifts), load(&way.shifts.map(|shift| 64 - shift)));
    let (origin, origin_above) = (all(first as u64), all((first >> 64) as u64));
    let (mask, one) = (all((1 << (bits - 64)) - 1), all(1));
    let (firsts, seconds) = (load(&NUMBERS.map(|i| 2 * i)), load(&NUMBERS.map(|i| 2 * i + 1)));
    let mut done = 0;
    for group in kmers.as_chunks::<GROUP>().0 {
        let begin = done / GROUP * bits as usize;
        let Some(places) = low.get_mut(begin..begin + 2 * WINDOW_BYTES) else { break };
        let (four, others) = group.split_at(GROUP / 2);
        let (four, others) = (load_words(four), load_words(others));
        let word = _mm512_permutex2var_epi64(four, firsts, others);
        let above = _mm512_permutex2var_epi64(four, seconds, others);
        let borrowed = _mm512_cmplt_epu64_mask(word, origin);
        let word = _mm512_sub_epi64(word, origin);
        let above = _mm512_sub_epi64(above, origin_above);
        let above = _mm512_mask_sub_epi64(above, borrowed, above, one);
        let lows = _mm512_sllv_epi64(word, shifts);
        let more = _mm512_sllv_epi64(_mm512_and_si512(above, mask), shifts);
        let more = _mm512_or_si512(more, _mm512_srlv_epi64(word, back));
        for (place, gather) in places.as_chunks_mut().0.iter_mut().zip(&way.gather) {
            let (even, odd) = (load(&gather.even), load(&gather.odd));
            let bytes = _mm512_or_si512(
                _mm512_maskz_permutex2var_epi8(gather.has_even, lows, even, more),
                _mm512_maskz_permutex2var_epi8(gather.has_odd, lows, odd, more),
            );
            store(place, bytes);
        }
        add_ones(high, done, above, bits - 64, |i| ((group[i] - first) >> bits) as u64);
        done += GROUP;
    }
    done
}

#[target_feature(enable = "avx512f")]
fn all(word: u64) -> __m512i {
    _mm512_set1_epi64(word.cast_signed())
}

#[target_feature(enable = "avx512f")]
fn load_words(kmers: &[u128]) -> __m512i {
    assert_eq!(size_of_val(kmers), WINDOW_BYTES, "four k-mers");
    // SAFETY: so many bytes can be read.
    unsafe { _mm512_loadu_si512(kmers.as_ptr().cast()) }
}

/// Adds the ones of a group: high bits lie in `words` above so many others, and those of one k-mer
/// are what `above` tells.
#[inline]
#[target_feature(enable = "avx512f")]
fn add_ones(
    high: &mut HighBits,
    done: usize,
    words: __m512i,
    bits: u32,
    above: impl Fn(usize) -> u64,
) {
    let (least, greatest) = (above(0), above(GROUP - 1));
    // Mostly all are near each other: then they are set at once.
    if greatest - least < 64 - GROUP as u64 {
        let highs = _mm512_srl_epi64(words, _mm_cvtsi64_si128(i64::from(bits)));
        let places = _mm512_sub_epi64(_mm512_add_epi64(highs, load(&NUMBERS)), all(least));
        let ones = _mm512_reduce_or_epi64(_mm512_sllv_epi64(all(1), places)).cast_unsigned();
        high.add(least as usize + done, ones);
    } else {
        for i in 0..GROUP {
            high.add(above(i) as usize + done + i, 1);
        }
    }
}

/// Makes k-mers of whole groups, as far as windows of low bits can be read; gives how many.
/// `places` are those of their ones among the high bits.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vbmi")]
pub(super) fn decode(
    low: &[u8],
    bits: u32,
    places: &[u16],
    first: u64,
    kmers: &mut [u64],
) -> usize {
    if !BITS.contains(&bits) {
        return 0;
    }
    let way = &WAYS[bits as usize];
    let (window, shifts) = (load(&way.window), load(&way.shifts));
    let (first, mask) = (all(first), all((1 << bits) - 1));
    let up = _mm_cvtsi64_si128(i64::from(bits));
    let (mut number, step) = (load(&NUMBERS), all(GROUP as u64));
    let mut done = 0;
    let groups = kmers.as_chunks_mut::<GROUP>().0.iter_mut();
    for (group, places) in groups.zip(places.as_chunks::<GROUP>().0) {
        let bytes = low.get(done / GROUP * bits as usize..).and_then(<[u8]>::first_chunk);
        let Some(bytes) = bytes else { break };
        let low = _mm512_permutexvar_epi8(window, load::<[u8; WINDOW_BYTES]>(bytes));
        let low = _mm512_and_si512(_mm512_srlv_epi64(low, shifts), mask);
        // SAFETY: eight places can be read.
        let ones = unsafe { _mm_loadu_epi16(places.as_ptr().cast()) };
        let high = _mm512_sub_epi64(_mm512_cvtepu16_epi64(ones), number);
        let difference = _mm512_or_si512(_mm512_sll_epi64(high, up), low);
        let found = _mm512_add_epi64(first, difference);
        // SAFETY: eight k-mers can be written.
        unsafe { _mm512_storeu_si512(group.as_mut_ptr().cast(), found) };
        number = _mm512_add_epi64(number, step);
        done += GROUP;
    }
    done
}
