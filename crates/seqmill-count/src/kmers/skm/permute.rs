//! The low bits of eight k-mers of one word at a time: so many bits are whole bytes, and one
//! instruction brings bytes to where they are wanted (AVX-512 VBMI).

use super::encode::{HighBits, WINDOW_BYTES};
use std::arch::x86_64::{
    __m512i, _mm_cvtsi64_si128, _mm_loadu_epi16, _mm512_add_epi64, _mm512_and_si512,
    _mm512_cvtepu16_epi64, _mm512_loadu_si512, _mm512_maskz_permutexvar_epi8, _mm512_or_si512,
    _mm512_permutexvar_epi8, _mm512_reduce_or_epi64, _mm512_set1_epi64, _mm512_sll_epi64,
    _mm512_sllv_epi64, _mm512_srl_epi64, _mm512_srlv_epi64, _mm512_storeu_si512, _mm512_sub_epi64,
};

/// Low bits of a k-mer that this is for: no fewer than a byte, and found in eight bytes wherever
/// they begin in the first.
const BITS: std::ops::RangeInclusive<u32> = 8..=57;
/// K-mers at a time.
const GROUP: usize = 8;

/// Where bytes go if there are so many low bits.
#[derive(Clone, Copy)]
#[repr(align(64))]
struct Way {
    /// For each byte of the block the one of a k-mer with an even number, and which bytes have one.
    even: [u8; WINDOW_BYTES],
    odd: [u8; WINDOW_BYTES],
    has_even: u64,
    has_odd: u64,
    /// For each byte of a k-mer the one of the block.
    window: [u8; WINDOW_BYTES],
    /// Bits of the first byte that belong to the k-mer before.
    shifts: [u64; GROUP],
}

static WAYS: [Way; *BITS.end() as usize + 1] = {
    let (even, odd, window) = ([0; WINDOW_BYTES], [0; WINDOW_BYTES], [0; WINDOW_BYTES]);
    let none = Way { even, odd, has_even: 0, has_odd: 0, window, shifts: [0; GROUP] };
    let mut ways = [none; *BITS.end() as usize + 1];
    let mut bits = *BITS.start() as usize;
    while bits < ways.len() {
        let way = &mut ways[bits];
        let mut i = 0;
        while i < GROUP {
            let (begin, end) = (i * bits / 8, ((i + 1) * bits).div_ceil(8));
            let mut byte = 0;
            while byte < 8 {
                let (from, to) = (8 * i + byte, begin + byte);
                way.window[from] = to as u8;
                if to < end && i % 2 == 0 {
                    way.even[to] = from as u8;
                    way.has_even |= 1 << to;
                } else if to < end {
                    way.odd[to] = from as u8;
                    way.has_odd |= 1 << to;
                }
                byte += 1;
            }
            way.shifts[i] = (i * bits % 8) as u64;
            i += 1;
        }
        bits += 1;
    }
    ways
};

#[target_feature(enable = "avx512f")]
fn load<T>(from: &T) -> __m512i {
    const { assert!(size_of::<T>() == WINDOW_BYTES) };
    // SAFETY: so many bytes can be read.
    unsafe { _mm512_loadu_si512(std::ptr::from_ref(from).cast()) }
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
    let (even, odd, shifts) = (load(&way.even), load(&way.odd), load(&way.shifts));
    let origin = _mm512_set1_epi64(first.cast_signed());
    let mask = _mm512_set1_epi64((1 << bits) - 1);
    let (down, one) = (_mm_cvtsi64_si128(i64::from(bits)), _mm512_set1_epi64(1));
    let numbers = load(&[0_u64, 1, 2, 3, 4, 5, 6, 7]);
    let groups = kmers.as_chunks::<GROUP>().0;
    for (i, group) in groups.iter().enumerate() {
        let begin = i * bits as usize;
        let Some(place) = low.get_mut(begin..begin + WINDOW_BYTES) else { return GROUP * i };
        let differences = _mm512_sub_epi64(load(group), origin);
        let lows = _mm512_sllv_epi64(_mm512_and_si512(differences, mask), shifts);
        let bytes = _mm512_or_si512(
            _mm512_maskz_permutexvar_epi8(way.has_even, even, lows),
            _mm512_maskz_permutexvar_epi8(way.has_odd, odd, lows),
        );
        // SAFETY: a window can be written.
        unsafe { _mm512_storeu_si512(place.as_mut_ptr().cast(), bytes) };
        let above = |kmer: u64| (kmer - first) >> bits;
        let (least, greatest) = (above(group[0]), above(group[GROUP - 1]));
        // Relative to the first of the group; ones beyond a word vanish.
        let highs = _mm512_add_epi64(_mm512_srl_epi64(differences, down), numbers);
        let places = _mm512_sub_epi64(highs, _mm512_set1_epi64(least.cast_signed()));
        let ones = _mm512_reduce_or_epi64(_mm512_sllv_epi64(one, places)).cast_unsigned();
        let begin = least as usize + GROUP * i;
        if greatest - least < 64 - GROUP as u64 {
            high.add(begin, ones);
        } else {
            for (j, kmer) in group.iter().enumerate() {
                high.add(above(*kmer) as usize + GROUP * i + j, 1);
            }
        }
    }
    GROUP * groups.len()
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
    let first = _mm512_set1_epi64(first.cast_signed());
    let mask = _mm512_set1_epi64((1 << bits) - 1);
    let up = _mm_cvtsi64_si128(i64::from(bits));
    let (mut number, step) = (load(&[0_u64, 1, 2, 3, 4, 5, 6, 7]), load(&[GROUP as u64; GROUP]));
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
