//! Bases and qualities as text, several at a time.
#![expect(
    clippy::inline_always,
    reason = "these run for each record and become part of the loop over them"
)]

use seqmill_io::bam::{MAX_QUALITY, SEQ_ALPHABET};
use std::mem::MaybeUninit;

/// Text of the two bases of a byte.
const PAIRS: [[u8; 2]; 256] = {
    let mut pairs = [[0; 2]; 256];
    let mut i = 0;
    while i < 256 {
        pairs[i] = [SEQ_ALPHABET[i >> 4], SEQ_ALPHABET[i & 15]];
        i += 1;
    }
    pairs
};

/// How bases are unpacked on this machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kernel {
    /// A table of byte pairs.
    Scalar,
    /// 32 bases an instruction pair.
    #[cfg(target_arch = "x86_64")]
    Ssse3,
    /// 64 bases an instruction pair.
    #[cfg(target_arch = "x86_64")]
    Avx2,
    /// 32 bases an instruction pair.
    #[cfg(target_arch = "aarch64")]
    Neon,
}

impl Kernel {
    /// The widest one this machine has.
    pub fn detect() -> Self {
        #[cfg(target_arch = "x86_64")]
        {
            if is_x86_feature_detected!("avx2") {
                return Self::Avx2;
            }
            if is_x86_feature_detected!("ssse3") {
                return Self::Ssse3;
            }
            Self::Scalar
        }
        #[cfg(target_arch = "aarch64")]
        {
            Self::Neon
        }
        #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
        {
            Self::Scalar
        }
    }

    /// Name for the metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Scalar => "scalar",
            #[cfg(target_arch = "x86_64")]
            Self::Ssse3 => "ssse3",
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => "avx2",
            #[cfg(target_arch = "aarch64")]
            Self::Neon => "neon",
        }
    }

    /// Appends the first `bases` bases of `packed` (high nibble first) as text.
    #[inline]
    pub(crate) fn append(self, packed: &[u8], bases: usize, out: &mut Vec<u8>) {
        append_with(packed, bases, out, |packed, out| match self {
            #[cfg(target_arch = "x86_64")]
            // SAFETY: this kernel is only chosen where the machine has the instructions.
            Self::Ssse3 => unsafe { unpack_ssse3(packed, out) },
            #[cfg(target_arch = "x86_64")]
            // SAFETY: as above.
            Self::Avx2 => unsafe { unpack_avx2(packed, out) },
            #[cfg(target_arch = "aarch64")]
            // SAFETY: every AArch64 machine has NEON.
            Self::Neon => unsafe { unpack_neon(packed, out) },
            Self::Scalar => unpack_scalar(packed, out),
        });
    }
}

/// Room for text that is not written yet.
type Room = [MaybeUninit<u8>];

/// Appends bases by way of `unpack`, which writes two for each byte of `packed`.
#[inline(always)]
fn append_with(
    packed: &[u8],
    bases: usize,
    out: &mut Vec<u8>,
    unpack: impl FnOnce(&[u8], &mut Room),
) {
    let room = 2 * packed.len();
    out.reserve(room);
    unpack(packed, out.spare_capacity_mut().get_mut(..room).unwrap_or_default());
    // SAFETY: `unpack` has written all of the room.
    unsafe { out.set_len(out.len() + bases.min(room)) };
}

/// The same where AVX2 is known to be there, so that it becomes part of the caller's loop.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
#[inline]
pub(crate) fn append_avx2(packed: &[u8], bases: usize, out: &mut Vec<u8>) {
    append_with(packed, bases, out, |packed, out| unpack_avx2(packed, out));
}

fn unpack_scalar(packed: &[u8], out: &mut Room) {
    for (pair, byte) in out.as_chunks_mut::<2>().0.iter_mut().zip(packed) {
        let [first, second] = PAIRS[usize::from(*byte)];
        pair[0].write(first);
        pair[1].write(second);
    }
}

/// Calls `step` for every `N` bytes, and once more for the last ones where some are left, so that
/// all are done; `rest` takes what is shorter than a step.
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
#[inline(always)]
fn in_steps<const N: usize, const TWICE: usize>(
    packed: &[u8],
    out: &mut Room,
    step: impl Fn(&[u8; N], &mut [MaybeUninit<u8>; TWICE]),
    rest: impl FnOnce(&[u8], &mut Room),
) {
    let (steps, left) = packed.as_chunks::<N>();
    for (from, to) in steps.iter().zip(out.as_chunks_mut::<TWICE>().0) {
        step(from, to);
    }
    if left.is_empty() {
        return;
    }
    match (packed.last_chunk::<N>(), out.last_chunk_mut::<TWICE>()) {
        (Some(from), Some(to)) => step(from, to),
        _ => rest(packed, out),
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "ssse3")]
#[inline]
fn unpack_ssse3(packed: &[u8], out: &mut Room) {
    use std::arch::x86_64::{
        __m128i, _mm_and_si128, _mm_loadu_si128, _mm_set1_epi8, _mm_shuffle_epi8, _mm_srli_epi16,
        _mm_storeu_si128, _mm_unpackhi_epi8, _mm_unpacklo_epi8,
    };
    // SAFETY: 16 bytes are read from an array of 16.
    let table = unsafe { _mm_loadu_si128(SEQ_ALPHABET.as_ptr().cast()) };
    let low = _mm_set1_epi8(15);
    let step = |from: &[u8; 16], to: &mut [MaybeUninit<u8>; 32]| {
        // SAFETY: 16 bytes are read and 32 written, as many as there are.
        unsafe {
            let bytes = _mm_loadu_si128(from.as_ptr().cast());
            let second = _mm_shuffle_epi8(table, _mm_and_si128(bytes, low));
            let first = _mm_and_si128(_mm_srli_epi16::<4>(bytes), low);
            let first = _mm_shuffle_epi8(table, first);
            let to: *mut __m128i = to.as_mut_ptr().cast();
            _mm_storeu_si128(to, _mm_unpacklo_epi8(first, second));
            _mm_storeu_si128(to.add(1), _mm_unpackhi_epi8(first, second));
        }
    };
    in_steps(packed, out, step, unpack_scalar);
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
#[inline]
fn unpack_avx2(packed: &[u8], out: &mut Room) {
    use std::arch::x86_64::{
        __m256i, _mm_loadu_si128, _mm256_and_si256, _mm256_broadcastsi128_si256,
        _mm256_loadu_si256, _mm256_permute2x128_si256, _mm256_set1_epi8, _mm256_shuffle_epi8,
        _mm256_srli_epi16, _mm256_storeu_si256, _mm256_unpackhi_epi8, _mm256_unpacklo_epi8,
    };
    // SAFETY: 16 bytes are read from an array of 16.
    let table =
        unsafe { _mm256_broadcastsi128_si256(_mm_loadu_si128(SEQ_ALPHABET.as_ptr().cast())) };
    let low = _mm256_set1_epi8(15);
    let step = |from: &[u8; 32], to: &mut [MaybeUninit<u8>; 64]| {
        // SAFETY: 32 bytes are read and 64 written, as many as there are.
        unsafe {
            let bytes = _mm256_loadu_si256(from.as_ptr().cast());
            let second = _mm256_shuffle_epi8(table, _mm256_and_si256(bytes, low));
            let first = _mm256_and_si256(_mm256_srli_epi16::<4>(bytes), low);
            let first = _mm256_shuffle_epi8(table, first);
            // Interleaving works within halves of 128 bits: put the halves in order.
            let even = _mm256_unpacklo_epi8(first, second);
            let odd = _mm256_unpackhi_epi8(first, second);
            let to: *mut __m256i = to.as_mut_ptr().cast();
            _mm256_storeu_si256(to, _mm256_permute2x128_si256::<0x20>(even, odd));
            _mm256_storeu_si256(to.add(1), _mm256_permute2x128_si256::<0x31>(even, odd));
        }
    };
    in_steps(packed, out, step, |packed, out| unpack_ssse3(packed, out));
}

#[cfg(target_arch = "aarch64")]
#[target_feature(enable = "neon")]
fn unpack_neon(packed: &[u8], out: &mut Room) {
    use std::arch::aarch64::{
        uint8x16x2_t, vandq_u8, vdupq_n_u8, vld1q_u8, vqtbl1q_u8, vshrq_n_u8, vst2q_u8,
    };
    // SAFETY: 16 bytes are read from an array of 16.
    let table = unsafe { vld1q_u8(SEQ_ALPHABET.as_ptr()) };
    let low = vdupq_n_u8(15);
    let step = |from: &[u8; 16], to: &mut [MaybeUninit<u8>; 32]| {
        // SAFETY: 16 bytes are read and 32 written, as many as there are.
        unsafe {
            let bytes = vld1q_u8(from.as_ptr());
            let first = vqtbl1q_u8(table, vshrq_n_u8::<4>(bytes));
            let second = vqtbl1q_u8(table, vandq_u8(bytes, low));
            vst2q_u8(to.as_mut_ptr().cast(), uint8x16x2_t(first, second));
        }
    };
    in_steps(packed, out, step, unpack_scalar);
}

/// Qualities shifted at once; the loops over so many vectorise.
const QUALITY_STEP: usize = 32;

/// Appends qualities as text (`q + 33`); false if one cannot be shown.
#[inline(always)]
pub(crate) fn append_quality_text(qual: &[u8], out: &mut Vec<u8>) -> bool {
    let mut highest = [0; QUALITY_STEP];
    let mut step = |from: &[u8; QUALITY_STEP], to: &mut [MaybeUninit<u8>; QUALITY_STEP]| {
        for at in 0..QUALITY_STEP {
            highest[at] = from[at].max(highest[at]);
            to[at].write(from[at].wrapping_add(33));
        }
    };
    out.reserve(qual.len());
    let room = out.spare_capacity_mut().get_mut(..qual.len()).unwrap_or_default();
    let (steps, left) = qual.as_chunks();
    for (from, to) in steps.iter().zip(room.as_chunks_mut().0) {
        step(from, to);
    }
    if !left.is_empty() {
        // The last ones are done once more where there are enough of them.
        if let (Some(from), Some(to)) = (qual.last_chunk(), room.last_chunk_mut()) {
            step(from, to);
        } else {
            for (q, to) in left.iter().zip(room) {
                highest[0] = highest[0].max(*q);
                to.write(q.wrapping_add(33));
            }
        }
    }
    // SAFETY: the loops have written as many bytes as there are qualities.
    unsafe { out.set_len(out.len() + qual.len()) };
    highest.iter().fold(0, |most, q| most.max(*q)) <= MAX_QUALITY
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_kernels_give_the_bytes_of_the_scalar_one() {
        let packed: Vec<u8> = (0..600_u32).map(|i| (i * 37 + i / 7).to_le_bytes()[0]).collect();
        let mut kernels = vec![Kernel::Scalar, Kernel::detect()];
        #[cfg(target_arch = "x86_64")]
        if is_x86_feature_detected!("ssse3") {
            kernels.push(Kernel::Ssse3);
        }
        for length in (0..200).chain([511, 512, 513, 1000, 1200]) {
            let expected: Vec<u8> = (0..length)
                .map(|i| SEQ_ALPHABET[usize::from(packed[i / 2] >> (4 * (1 - i % 2)) & 15)])
                .collect();
            for kernel in &kernels {
                let mut out = b"before".to_vec();
                kernel.append(&packed[..length.div_ceil(2)], length, &mut out);
                assert_eq!(out.split_at(6), (&b"before"[..], &expected[..]), "{}", kernel.name());
            }
        }
    }

    #[test]
    fn qualities_beyond_the_text_are_noticed() {
        let mut out = Vec::new();
        assert!(append_quality_text(&[0, 40, 93], &mut out));
        assert_eq!(&out, b"!I~");
        assert!(!append_quality_text(&[0, 94, 1], &mut out));
        for length in 1..100 {
            let mut qual: Vec<u8> = (0..length).map(|i| i % 94).collect();
            out.clear();
            assert!(append_quality_text(&qual, &mut out));
            assert_eq!(out, qual.iter().map(|q| q + 33).collect::<Vec<u8>>());
            for at in 0..usize::from(length) {
                let good = std::mem::replace(&mut qual[at], 255);
                assert!(!append_quality_text(&qual, &mut Vec::new()), "{at} of {length}");
                qual[at] = good;
            }
        }
    }
}
