//! Sixteen unsigned 16-bit scores side by side, with and without wide instructions.

/// Copies in one vector.
pub(crate) const LANES: usize = 16;
/// Zero of the biased scores; the number 0 stands for minus infinity.
pub(crate) const BIAS: u16 = 30_000;

/// A vector in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C, align(32))]
pub(crate) struct Row(pub(crate) [u16; LANES]);

impl Row {
    pub(crate) const ZERO: Self = Self([0; LANES]);
}

/// Operations on a vector in registers.
///
/// # Safety
/// All functions need the instructions of the implementation; whoever calls them has asked the
/// processor.
pub(crate) trait Lanes: Copy {
    /// Sums of lanes.
    type Sum: Copy;
    unsafe fn load(row: &Row) -> Self;
    unsafe fn store(self, row: &mut Row);
    unsafe fn splat(value: u16) -> Self;
    /// Saturating.
    unsafe fn plus(self, other: Self) -> Self;
    /// Saturating.
    unsafe fn minus(self, other: Self) -> Self;
    unsafe fn max(self, other: Self) -> Self;
    unsafe fn and(self, other: Self) -> Self;
    /// `self & !mask`.
    unsafe fn without(self, mask: Self) -> Self;
    /// All bits of a lane where equal.
    unsafe fn equals(self, other: Self) -> Self;
    /// Whether any bit is set.
    unsafe fn any(self) -> bool;
    unsafe fn no_sum() -> Self::Sum;
    /// Adds what the lanes of `self` that `live` has are above the bias.
    unsafe fn add_to(self, live: Self, sum: Self::Sum) -> Self::Sum;
    /// Sums of the first and the last eight lanes.
    unsafe fn halves(sum: Self::Sum) -> [i32; 2];
}

/// Any processor.
#[derive(Clone, Copy)]
pub(crate) struct Portable([u16; LANES]);

impl Portable {
    #[inline(always)]
    fn zip(self, other: Self, f: impl Fn(u16, u16) -> u16) -> Self {
        let mut out = [0; LANES];
        for i in 0..LANES {
            out[i] = f(self.0[i], other.0[i]);
        }
        Self(out)
    }
}

impl Lanes for Portable {
    type Sum = [i32; LANES];

    #[inline(always)]
    unsafe fn load(row: &Row) -> Self {
        Self(row.0)
    }

    #[inline(always)]
    unsafe fn store(self, row: &mut Row) {
        row.0 = self.0;
    }

    #[inline(always)]
    unsafe fn splat(value: u16) -> Self {
        Self([value; LANES])
    }

    #[inline(always)]
    unsafe fn plus(self, other: Self) -> Self {
        self.zip(other, u16::saturating_add)
    }

    #[inline(always)]
    unsafe fn minus(self, other: Self) -> Self {
        self.zip(other, u16::saturating_sub)
    }

    #[inline(always)]
    unsafe fn max(self, other: Self) -> Self {
        self.zip(other, Ord::max)
    }

    #[inline(always)]
    unsafe fn and(self, other: Self) -> Self {
        self.zip(other, |a, b| a & b)
    }

    #[inline(always)]
    unsafe fn without(self, mask: Self) -> Self {
        self.zip(mask, |a, b| a & !b)
    }

    #[inline(always)]
    unsafe fn equals(self, other: Self) -> Self {
        self.zip(other, |a, b| if a == b { u16::MAX } else { 0 })
    }

    #[inline(always)]
    unsafe fn any(self) -> bool {
        self.0.iter().fold(0, |all, lane| all | lane) != 0
    }

    #[inline(always)]
    unsafe fn no_sum() -> Self::Sum {
        [0; LANES]
    }

    #[inline(always)]
    unsafe fn add_to(self, live: Self, mut sum: Self::Sum) -> Self::Sum {
        for i in 0..LANES {
            sum[i] += i32::from((self.0[i].wrapping_sub(BIAS) & live.0[i]).cast_signed());
        }
        sum
    }

    #[inline(always)]
    unsafe fn halves(sum: Self::Sum) -> [i32; 2] {
        [sum[..8].iter().sum(), sum[8..].iter().sum()]
    }
}

#[cfg(target_arch = "x86_64")]
pub(crate) use avx2::Avx2;

#[cfg(target_arch = "x86_64")]
mod avx2 {
    use super::{BIAS, Lanes, Row};
    use std::arch::x86_64::{
        __m256i, _mm_add_epi32, _mm_cvtsi128_si32, _mm_shuffle_epi32, _mm256_add_epi32,
        _mm256_adds_epu16, _mm256_and_si256, _mm256_andnot_si256, _mm256_castsi256_si128,
        _mm256_cmpeq_epi16, _mm256_extracti128_si256, _mm256_load_si256, _mm256_madd_epi16,
        _mm256_max_epu16, _mm256_set1_epi16, _mm256_setzero_si256, _mm256_store_si256,
        _mm256_sub_epi16, _mm256_subs_epu16, _mm256_testz_si256,
    };

    /// Processors with AVX2.
    #[derive(Clone, Copy)]
    pub(crate) struct Avx2(__m256i);

    // SAFETY (all of it): the trait's callers have made sure of AVX2; a `Row` is aligned to 32.
    #[allow(clippy::undocumented_unsafe_blocks, reason = "said once, above")]
    impl Lanes for Avx2 {
        type Sum = __m256i;

        #[inline(always)]
        unsafe fn load(row: &Row) -> Self {
            Self(unsafe { _mm256_load_si256(std::ptr::from_ref(row).cast()) })
        }

        #[inline(always)]
        unsafe fn store(self, row: &mut Row) {
            unsafe { _mm256_store_si256(std::ptr::from_mut(row).cast(), self.0) }
        }

        #[inline(always)]
        unsafe fn splat(value: u16) -> Self {
            Self(unsafe { _mm256_set1_epi16(value.cast_signed()) })
        }

        #[inline(always)]
        unsafe fn plus(self, other: Self) -> Self {
            Self(unsafe { _mm256_adds_epu16(self.0, other.0) })
        }

        #[inline(always)]
        unsafe fn minus(self, other: Self) -> Self {
            Self(unsafe { _mm256_subs_epu16(self.0, other.0) })
        }

        #[inline(always)]
        unsafe fn max(self, other: Self) -> Self {
            Self(unsafe { _mm256_max_epu16(self.0, other.0) })
        }

        #[inline(always)]
        unsafe fn and(self, other: Self) -> Self {
            Self(unsafe { _mm256_and_si256(self.0, other.0) })
        }

        #[inline(always)]
        unsafe fn without(self, mask: Self) -> Self {
            Self(unsafe { _mm256_andnot_si256(mask.0, self.0) })
        }

        #[inline(always)]
        unsafe fn equals(self, other: Self) -> Self {
            Self(unsafe { _mm256_cmpeq_epi16(self.0, other.0) })
        }

        #[inline(always)]
        unsafe fn any(self) -> bool {
            unsafe { _mm256_testz_si256(self.0, self.0) == 0 }
        }

        #[inline(always)]
        unsafe fn no_sum() -> Self::Sum {
            unsafe { _mm256_setzero_si256() }
        }

        #[inline(always)]
        unsafe fn add_to(self, live: Self, sum: Self::Sum) -> Self::Sum {
            unsafe {
                let bias = _mm256_set1_epi16(BIAS.cast_signed());
                let scores = _mm256_and_si256(_mm256_sub_epi16(self.0, bias), live.0);
                _mm256_add_epi32(sum, _mm256_madd_epi16(scores, _mm256_set1_epi16(1)))
            }
        }

        #[inline(always)]
        unsafe fn halves(sum: Self::Sum) -> [i32; 2] {
            unsafe {
                let fold = |half| {
                    let half = _mm_add_epi32(half, _mm_shuffle_epi32(half, 0b01_00_11_10));
                    _mm_cvtsi128_si32(_mm_add_epi32(half, _mm_shuffle_epi32(half, 0b10_11_00_01)))
                };
                [fold(_mm256_castsi256_si128(sum)), fold(_mm256_extracti128_si256(sum, 1))]
            }
        }
    }
}

/// The instructions that are used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kernel {
    /// 256-bit vectors.
    #[cfg(target_arch = "x86_64")]
    Avx2,
    /// What every processor has.
    Portable,
}

impl Kernel {
    /// The best this processor has.
    pub(crate) fn detect() -> Self {
        #[cfg(target_arch = "x86_64")]
        if std::arch::is_x86_feature_detected!("avx2") {
            return Self::Avx2;
        }
        Self::Portable
    }
}
