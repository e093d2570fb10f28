//! K-mers of up to 32 bases in one word, the first base in the highest used bits.

use crate::text::{Run, Text};

/// Longest k-mer.
pub const MAX_K: u32 = 32;
/// Windows with Σ p·ln p above this are too simple to be seeds (the algorithm's constant).
const MAX_ENTROPY: f64 = -0.7;
/// Seeds of the mixing function: the same k-mer goes the same way in every run.
const MIX: [u64; 2] = [0x51f3_b5b8, 0x9e37_79b9];

/// Mask of the bits of a k-mer.
#[inline]
pub fn mask(k: u32) -> u64 {
    u64::MAX >> (64 - 2 * k)
}

/// The reverse complement of a k-mer.
#[inline]
pub fn reverse_complement(kmer: u64, k: u32) -> u64 {
    let mut x = !kmer;
    x = (x >> 2 & 0x3333_3333_3333_3333) | (x & 0x3333_3333_3333_3333) << 2;
    x = (x >> 4 & 0x0f0f_0f0f_0f0f_0f0f) | (x & 0x0f0f_0f0f_0f0f_0f0f) << 4;
    x.swap_bytes() >> (64 - 2 * k)
}

/// Spreads a k-mer over the upper ones of 64 bits, one to one.
#[inline(always)]
pub fn spread(kmer: u64) -> u64 {
    (kmer ^ MIX[0]).wrapping_mul(MIX[1] << 32 | 0x7f4a_7c15)
}

/// Spreads a k-mer over 64 bits.
#[inline]
pub fn mix(kmer: u64) -> u64 {
    let x = spread(kmer);
    let x = (x ^ x >> 29).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x ^ x >> 32
}

/// Number of places in which two k-mers differ.
#[inline]
pub fn distance(a: u64, b: u64) -> u32 {
    let x = a ^ b;
    ((x | x >> 1) & 0x5555_5555_5555_5555).count_ones()
}

/// The k-mer as letters.
pub fn letters(kmer: u64, k: u32) -> Vec<u8> {
    (0..k).rev().map(|i| b"ACGT"[(kmer >> (2 * i) & 3) as usize]).collect()
}

/// Tells which k-mers are complex enough to be seeds.
#[derive(Debug)]
pub struct Complexity {
    k: u32,
    /// By counts of A, C and G; that of T follows.
    simple: Vec<bool>,
}

impl Complexity {
    /// The table for k-mers of length `k`.
    pub fn new(k: u32) -> Self {
        let side = k as usize + 1;
        let mut simple = vec![false; side * side * side];
        for a in 0..=k {
            for c in 0..=k - a {
                for g in 0..=k - a - c {
                    let mut entropy = 0.0;
                    for count in [a, c, g, k - a - c - g] {
                        if count > 0 {
                            let share = f64::from(count) / f64::from(k);
                            entropy += share * share.ln();
                        }
                    }
                    simple[(a as usize * side + c as usize) * side + g as usize] =
                        entropy > MAX_ENTROPY;
                }
            }
        }
        Self { k, simple }
    }

    /// Whether the k-mer may be a seed.
    #[inline]
    pub fn is_complex(&self, kmer: u64) -> bool {
        let low = 0x5555_5555_5555_5555 & mask(self.k);
        let (one, two) = (kmer & low, kmer >> 1 & low);
        let t = (one & two).count_ones();
        let (c, g) = (one.count_ones() - t, two.count_ones() - t);
        let a = self.k - c - g - t;
        let side = self.k + 1;
        !self.simple[((a * side + c) * side + g) as usize]
    }
}

/// One window of a scan.
#[derive(Debug, Clone, Copy)]
pub struct Window {
    /// Where it starts.
    pub at: u32,
    /// Its bases as written.
    pub forward: u64,
    /// Its reverse complement.
    pub reverse: u64,
}

impl Window {
    /// The smaller of the two ways to write it.
    #[inline]
    pub fn canonical(&self) -> u64 {
        self.forward.min(self.reverse)
    }
}

/// Calls `each` for all windows of `k` bases that start in `from..to`, in order.
#[inline(always)]
pub fn scan(text: &Text, k: u32, from: u32, to: u32, mut each: impl FnMut(Window)) {
    let first = text.runs().partition_point(|run| run.end <= from);
    for run in &text.runs()[first..] {
        if run.start >= to {
            break;
        }
        scan_run(text, k, *run, from, to, &mut each);
    }
}

#[inline(always)]
fn scan_run(text: &Text, k: u32, run: Run, from: u32, to: u32, each: &mut impl FnMut(Window)) {
    let begin = run.start.max(from);
    // Both borders are below 2^32 together with k, because a text is.
    let end = run.end.min(to.saturating_add(k - 1));
    if end - begin < k {
        return;
    }
    let (mask, high) = (mask(k), 2 * (k - 1));
    let head = if k > 1 { text.kmer(begin, k - 1) } else { 0 };
    let mut forward = head;
    let mut reverse = if k > 1 { reverse_complement(head, k - 1) << 2 } else { 0 };
    let (mut at, mut next) = (begin, begin + k - 1);
    while next < end {
        let mut bases = text.bases(next);
        let stop = end.min(next + 32);
        for _ in next..stop {
            let base = bases >> 62;
            bases <<= 2;
            forward = (forward << 2 | base) & mask;
            reverse = reverse >> 2 | (3 - base) << high;
            each(Window { at, forward, reverse });
            at += 1;
        }
        next = stop;
    }
}

/// The default seed length (the algorithm's rule on the padded length).
pub fn default_length(padded: u64, distance: u32) -> Option<u32> {
    (2..=40)
        .find(|&l| {
            let mut sum = 0.0;
            let mut choose = 1.0;
            let mut power = 1.0;
            for i in 0..=distance.min(l) {
                sum += choose * power;
                choose = choose * f64::from(l - i) / f64::from(i + 1);
                power *= 3.0;
            }
            padded as f64 * sum / 4_f64.powi(l as i32) < 1.0
        })
        .map(|l| l + 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::TextBuilder;

    #[test]
    fn windows_are_those_of_the_letters() {
        let mut builder = TextBuilder::default();
        builder.start(b"a");
        let letters: Vec<u8> = (0..500_u64).map(|i| b"ACGTTGCAN"[(mix(i) % 9) as usize]).collect();
        builder.push(&letters).unwrap();
        let text = builder.finish();
        for k in [1, 2, 5, 8] {
            for (from, to) in [(0, 500), (100, 137), (499, 500)] {
                let mut seen = Vec::new();
                scan(&text, k, from, to, |w| seen.push((w.at, w.forward, w.reverse)));
                let mut expected = Vec::new();
                for at in from..to {
                    let Some(window) = letters.get(at as usize..(at + k) as usize) else {
                        continue;
                    };
                    if window.contains(&b'N') {
                        continue;
                    }
                    let forward = text.kmer(at, k);
                    assert_eq!(super::letters(forward, k), window);
                    expected.push((at, forward, reverse_complement(forward, k)));
                }
                assert_eq!(seen, expected, "{k} {from} {to}");
            }
        }
    }

    #[test]
    fn lengths_of_the_specification() {
        let lengths: Vec<_> = (0..3).map(|d| default_length(46_000, d)).collect();
        assert_eq!(lengths, [Some(9), Some(12), Some(14)]);
        assert_eq!(default_length(12_370_000, 0), Some(13));
        assert_eq!(default_length(12_370_000, 1), Some(16));
    }

    #[test]
    fn simple_windows_are_no_seeds() {
        let table = Complexity::new(4);
        let kmer = |s: &[u8]| {
            s.iter().fold(0, |k, l| k << 2 | b"ACGT".iter().position(|b| b == l).unwrap() as u64)
        };
        assert!(!table.is_complex(kmer(b"AAAC")));
        assert!(!table.is_complex(kmer(b"ACAC")));
        assert!(table.is_complex(kmer(b"ACGC")));
        assert!(table.is_complex(kmer(b"TTGA")));
    }

    #[test]
    fn distances_count_places() {
        assert_eq!(distance(0b11_00_01, 0b00_00_10), 2);
        assert_eq!(reverse_complement(0b00_01_10, 3), 0b01_10_11);
    }
}
