//! Elements (a k-mer shifted up, its weight in the low bits) to sorted k-mers and counts.

use super::minimizers::Lanes;
use super::word::Word;

/// Sub-buckets by the leading bits are about this long.
const SUB_BUCKET: usize = 8;
/// More leading bits than these make the scatter miss the cache.
const SUB_BITS_MAX: u32 = 13;
/// Longer sub-buckets are sorted in the ordinary way before the passes.
const PASSES_LONGEST: usize = 20;
/// Passes over the whole array that bring neighbours in order.
const PASSES: usize = 6;

/// What of an element is the k-mer.
#[derive(Debug, Clone, Copy)]
pub(super) struct Layout {
    /// Bits of the weight.
    pub free: u32,
    /// Leading bits that all elements share.
    pub depth: u32,
}

/// Sorts `elements` and sums the weights of equal k-mers. They are then in `elements` (shifted
/// down by `free`), their counts in `counts`.
pub(super) fn sort_and_count<K: Word>(
    elements: &mut Vec<K>,
    spare: &mut Vec<K>,
    counts: &mut Vec<u64>,
    layout: Layout,
    lanes: Lanes,
) {
    let n = elements.len();
    counts.clear();
    if n == 0 {
        return;
    }
    let sub_bits = (n / SUB_BUCKET).max(1).ilog2().min(SUB_BITS_MAX);
    let sub_bits = sub_bits.min(K::BITS - layout.depth - layout.free);
    if sub_bits == 0 {
        elements.sort_unstable();
        std::mem::swap(elements, spare);
    } else {
        scatter(elements, spare, layout.depth, sub_bits, lanes);
    }
    fold_equal(spare, elements, counts, layout.free);
}

/// Sorts `from` into `to`: by the leading bits first, then each sub-bucket.
fn scatter<K: Word>(from: &[K], to: &mut Vec<K>, depth: u32, sub_bits: u32, lanes: Lanes) {
    let down = K::BITS - depth - sub_bits;
    let mask = (1_u64 << sub_bits) - 1;
    let sub = |element: K| (element.down(down).low() & mask) as usize;
    let mut ends = vec![0_u32; 1 << sub_bits];
    for element in from {
        ends[sub(*element)] += 1;
    }
    let mut sum = 0;
    for end in &mut ends {
        let n = std::mem::replace(end, sum);
        sum += n;
    }
    to.clear();
    to.resize(from.len(), K::default());
    for element in from {
        let place = &mut ends[sub(*element)];
        to[*place as usize] = *element;
        *place += 1;
    }
    let mut begin = 0;
    let vector = K::BITS == 64;
    for end in ends {
        let end = end as usize;
        let part = &mut to[begin..end];
        if part.len() > PASSES_LONGEST {
            part.sort_unstable();
        } else if !vector {
            insert(part);
        }
        begin = end;
    }
    if vector {
        // SAFETY: `K` has 64 bits, so it is `u64`: the only such number.
        let words =
            unsafe { std::slice::from_raw_parts_mut(to.as_mut_ptr().cast::<u64>(), to.len()) };
        passes(words, lanes);
        insert(words);
    }
}

/// Insertion sort, for what is nearly sorted or short.
fn insert<K: Word>(part: &mut [K]) {
    for i in 1..part.len() {
        let element = part[i];
        let mut at = i;
        while at > 0 && element < part[at - 1] {
            part[at] = part[at - 1];
            at -= 1;
        }
        part[at] = element;
    }
}

fn passes(words: &mut [u64], lanes: Lanes) {
    match lanes {
        Lanes::Scalar => passes_body(words),
        #[cfg(target_arch = "x86_64")]
        // SAFETY: `detect` has found the instructions.
        Lanes::Avx2 => unsafe { passes_avx2(words) },
        #[cfg(target_arch = "x86_64")]
        // SAFETY: `detect` has found the instructions.
        Lanes::Avx512 => unsafe { passes_avx512(words) },
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,bmi2")]
fn passes_avx2(words: &mut [u64]) {
    passes_body(words);
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,bmi2")]
fn passes_avx512(words: &mut [u64]) {
    // A strip that stays in registers and cache goes through all passes before the next.
    passes_body(words);
}

/// Odd-even passes: neighbours in order, all even pairs, then all odd ones, and again.
#[inline(always)]
fn passes_body(words: &mut [u64]) {
    for pass in 0..PASSES {
        let pairs = &mut words[pass % 2..];
        let (blocks, rest) = pairs.as_chunks_mut::<16>();
        for block in blocks {
            let mut low = [0; 8];
            let mut high = [0; 8];
            for i in 0..8 {
                low[i] = block[2 * i].min(block[2 * i + 1]);
                high[i] = block[2 * i].max(block[2 * i + 1]);
            }
            for i in 0..8 {
                block[2 * i] = low[i];
                block[2 * i + 1] = high[i];
            }
        }
        for pair in rest.as_chunks_mut::<2>().0 {
            *pair = [pair[0].min(pair[1]), pair[0].max(pair[1])];
        }
    }
}

/// Sums the weights of neighbours that are the same k-mer.
fn fold_equal<K: Word>(sorted: &[K], kmers: &mut Vec<K>, counts: &mut Vec<u64>, free: u32) {
    let Some(first) = sorted.first() else { return };
    let weights = if free >= 64 { u64::MAX } else { (1 << free) - 1 };
    kmers.clear();
    kmers.resize(sorted.len(), K::default());
    counts.resize(sorted.len(), 0);
    let mut at = 0;
    let mut last = first.down(free);
    let mut sum = 0;
    for element in sorted {
        let kmer = element.down(free);
        let same = kmer == last;
        // No branch: every place is written until its k-mer is over.
        at += usize::from(!same);
        sum = if same { sum } else { 0 } + (element.low() & weights);
        kmers[at] = kmer;
        counts[at] = sum;
        last = kmer;
    }
    kmers.truncate(at + 1);
    counts.truncate(at + 1);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_kmers_are_summed() {
        let mut x = 1_u64;
        for n in [0_usize, 1, 2, 15, 200, 70_000] {
            for spread in [5_u64, 1 << 40] {
                let elements: Vec<u64> = (0..n)
                    .map(|_| {
                        x = x.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1442);
                        (((x >> 20) % spread) << 12) | (x >> 55) | 1
                    })
                    .collect();
                let mut expected = std::collections::BTreeMap::new();
                for e in &elements {
                    *expected.entry(e >> 12).or_insert(0) += e & 0xfff;
                }
                for lanes in [Lanes::Scalar, Lanes::detect()] {
                    let mut kmers = elements.clone();
                    let (mut spare, mut counts) = (Vec::new(), Vec::new());
                    let layout = Layout { free: 12, depth: 3 };
                    sort_and_count(&mut kmers, &mut spare, &mut counts, layout, lanes);
                    let found: Vec<_> = kmers.iter().copied().zip(counts.clone()).collect();
                    assert_eq!(found, expected.clone().into_iter().collect::<Vec<_>>());
                    let mut wide: Vec<u128> = elements.iter().map(|e| u128::from(*e)).collect();
                    let layout = Layout { free: 12, depth: 64 };
                    let mut spare = Vec::new();
                    sort_and_count(&mut wide, &mut spare, &mut counts, layout, lanes);
                    let found: Vec<_> =
                        wide.iter().map(|k| *k as u64).zip(counts.clone()).collect();
                    assert_eq!(found, expected.clone().into_iter().collect::<Vec<_>>());
                }
            }
        }
    }
}
