//! Which instructions a machine has: the same code is compiled for what every machine has, for AVX2
//! and for AVX-512, and chosen when it runs. The few loops that permute bytes (AVX-512 VBMI) are
//! written by hand.

/// Instructions to use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lanes {
    Scalar,
    #[cfg(target_arch = "x86_64")]
    Avx2,
    #[cfg(target_arch = "x86_64")]
    Avx512,
    #[cfg(target_arch = "x86_64")]
    Avx512Vbmi,
}

impl Lanes {
    /// What this machine has.
    pub(super) fn detect() -> Self {
        #[cfg(target_arch = "x86_64")]
        if is_x86_feature_detected!("avx2")
            && is_x86_feature_detected!("bmi1")
            && is_x86_feature_detected!("bmi2")
            && is_x86_feature_detected!("popcnt")
        {
            let wide = is_x86_feature_detected!("avx512f")
                && is_x86_feature_detected!("avx512bw")
                && is_x86_feature_detected!("avx512vl")
                && is_x86_feature_detected!("avx512dq");
            return if !wide {
                Self::Avx2
            } else if is_x86_feature_detected!("avx512vbmi") {
                Self::Avx512Vbmi
            } else {
                Self::Avx512
            };
        }
        Self::Scalar
    }

    /// All that this machine has.
    #[cfg(test)]
    pub(super) fn all() -> Vec<Self> {
        #[cfg(target_arch = "x86_64")]
        let known = [Self::Scalar, Self::Avx2, Self::Avx512, Self::Avx512Vbmi];
        #[cfg(not(target_arch = "x86_64"))]
        let known = [Self::Scalar];
        let here = known.iter().position(|lanes| *lanes == Self::detect());
        known[..=here.unwrap()].to_vec()
    }

    /// Does `work` as it is compiled for these instructions, which reach what is inlined into it.
    /// What it writes comes as an argument: only of arguments the compiler takes for granted that
    /// they do not overlap, of what a closure has captured it does not.
    #[inline(always)]
    pub(super) fn run<A, B, C, R>(
        self,
        (a, b, c): (A, B, C),
        work: impl FnOnce(A, B, C) -> R,
    ) -> R {
        match self {
            Self::Scalar => work(a, b, c),
            #[cfg(target_arch = "x86_64")]
            // SAFETY: `detect` has found the instructions.
            Self::Avx2 => unsafe { with_avx2(work, a, b, c) },
            #[cfg(target_arch = "x86_64")]
            // SAFETY: `detect` has found the instructions.
            Self::Avx512 | Self::Avx512Vbmi => unsafe { with_avx512(work, a, b, c) },
        }
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,bmi1,bmi2,popcnt")]
fn with_avx2<A, B, C, R>(work: impl FnOnce(A, B, C) -> R, a: A, b: B, c: C) -> R {
    work(a, b, c)
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,bmi1,bmi2,popcnt")]
fn with_avx512<A, B, C, R>(work: impl FnOnce(A, B, C) -> R, a: A, b: B, c: C) -> R {
    work(a, b, c)
}
