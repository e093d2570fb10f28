//! Bases and qualities as text, several at a time.

use seqmill_io::bam::{MAX_QUALITY, SEQ_ALPHABET};

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

    /// Writes `out.len()` bases of `packed` (high nibble first) as text.
    #[inline]
    pub fn unpack(self, packed: &[u8], out: &mut [u8]) {
        let done = match self {
            Self::Scalar => 0,
            #[cfg(target_arch = "x86_64")]
            // SAFETY: this kernel is only chosen where the machine has the instructions.
            Self::Ssse3 => unsafe { unpack_ssse3(packed, out) },
            #[cfg(target_arch = "x86_64")]
            // SAFETY: as above.
            Self::Avx2 => unsafe { unpack_avx2(packed, out) },
            #[cfg(target_arch = "aarch64")]
            // SAFETY: every AArch64 machine has NEON.
            Self::Neon => unsafe { unpack_neon(packed, out) },
        };
        let packed = packed.get(done..).unwrap_or_default();
        unpack_scalar(packed, out.get_mut(2 * done..).unwrap_or_default());
    }
}

fn unpack_scalar(packed: &[u8], out: &mut [u8]) {
    let mut pairs = out.chunks_exact_mut(2);
    let mut bytes = packed.iter();
    for (pair, byte) in pairs.by_ref().zip(bytes.by_ref()) {
        pair.copy_from_slice(&PAIRS[usize::from(*byte)]);
    }
    if let ([last], Some(byte)) = (pairs.into_remainder(), packed.last()) {
        *last = SEQ_ALPHABET[usize::from(byte >> 4)];
    }
}

/// Returns the packed bytes it has done.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "ssse3")]
fn unpack_ssse3(packed: &[u8], out: &mut [u8]) -> usize {
    use std::arch::x86_64::{
        __m128i, _mm_and_si128, _mm_loadu_si128, _mm_set1_epi8, _mm_shuffle_epi8, _mm_srli_epi16,
        _mm_storeu_si128, _mm_unpackhi_epi8, _mm_unpacklo_epi8,
    };
    // SAFETY: 16 bytes are read from an array of 16.
    let table = unsafe { _mm_loadu_si128(SEQ_ALPHABET.as_ptr().cast()) };
    let low = _mm_set1_epi8(15);
    let mut done = 0;
    for (from, to) in packed.chunks_exact(16).zip(out.chunks_exact_mut(32)) {
        // SAFETY: the chunks have exactly 16 and 32 bytes.
        unsafe {
            let bytes = _mm_loadu_si128(from.as_ptr().cast());
            let second = _mm_shuffle_epi8(table, _mm_and_si128(bytes, low));
            let first = _mm_and_si128(_mm_srli_epi16::<4>(bytes), low);
            let first = _mm_shuffle_epi8(table, first);
            let to: *mut __m128i = to.as_mut_ptr().cast();
            _mm_storeu_si128(to, _mm_unpacklo_epi8(first, second));
            _mm_storeu_si128(to.add(1), _mm_unpackhi_epi8(first, second));
        }
        done += 16;
    }
    done
}

/// Returns the packed bytes it has done.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn unpack_avx2(packed: &[u8], out: &mut [u8]) -> usize {
    use std::arch::x86_64::{
        __m256i, _mm_loadu_si128, _mm256_and_si256, _mm256_broadcastsi128_si256,
        _mm256_loadu_si256, _mm256_permute2x128_si256, _mm256_set1_epi8, _mm256_shuffle_epi8,
        _mm256_srli_epi16, _mm256_storeu_si256, _mm256_unpackhi_epi8, _mm256_unpacklo_epi8,
    };
    // SAFETY: 16 bytes are read from an array of 16.
    let table =
        unsafe { _mm256_broadcastsi128_si256(_mm_loadu_si128(SEQ_ALPHABET.as_ptr().cast())) };
    let low = _mm256_set1_epi8(15);
    let mut done = 0;
    for (from, to) in packed.chunks_exact(32).zip(out.chunks_exact_mut(64)) {
        // SAFETY: the chunks have exactly 32 and 64 bytes.
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
        done += 32;
    }
    done
}

/// Returns the packed bytes it has done.
#[cfg(target_arch = "aarch64")]
#[target_feature(enable = "neon")]
fn unpack_neon(packed: &[u8], out: &mut [u8]) -> usize {
    use std::arch::aarch64::{
        uint8x16x2_t, vandq_u8, vdupq_n_u8, vld1q_u8, vqtbl1q_u8, vshrq_n_u8, vst2q_u8,
    };
    // SAFETY: 16 bytes are read from an array of 16.
    let table = unsafe { vld1q_u8(SEQ_ALPHABET.as_ptr()) };
    let low = vdupq_n_u8(15);
    let mut done = 0;
    for (from, to) in packed.chunks_exact(16).zip(out.chunks_exact_mut(32)) {
        // SAFETY: the chunks have exactly 16 and 32 bytes.
        unsafe {
            let bytes = vld1q_u8(from.as_ptr());
            let first = vqtbl1q_u8(table, vshrq_n_u8::<4>(bytes));
            let second = vqtbl1q_u8(table, vandq_u8(bytes, low));
            vst2q_u8(to.as_mut_ptr(), uint8x16x2_t(first, second));
        }
        done += 16;
    }
    done
}

/// Writes qualities as text (`q + 33`); false if one cannot be shown. The loop vectorises.
#[inline]
pub(crate) fn quality_text(qual: &[u8], out: &mut [u8]) -> bool {
    let mut highest = 0;
    for (q, to) in qual.iter().zip(out) {
        highest = highest.max(*q);
        *to = q.wrapping_add(33);
    }
    highest <= MAX_QUALITY
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
                let mut out = vec![0; length];
                kernel.unpack(&packed[..length.div_ceil(2)], &mut out);
                assert_eq!(out, expected, "{} {length}", kernel.name());
            }
        }
    }

    #[test]
    fn qualities_beyond_the_text_are_noticed() {
        let mut out = [0; 3];
        assert!(quality_text(&[0, 40, 93], &mut out));
        assert_eq!(&out, b"!I~");
        assert!(!quality_text(&[0, 94, 1], &mut out));
    }
}
