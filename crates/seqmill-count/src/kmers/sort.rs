//! Elements (a k-mer shifted up, its weight in the low bits) to sorted k-mers and counts.

use super::lanes::Lanes;
use super::word::Word;

/// Sub-buckets by the leading bits are at least about this long: k-mers of genomes are not spread
/// evenly, and take a fifth less in many short ones than in some of 8.
const SUB_BUCKET: usize = 2;
/// More leading bits than these make the scatter miss the cache.
const SUB_BITS_MAX: u32 = 13;
/// Longer sub-buckets are sorted in the ordinary way before the passes.
const PASSES_LONGEST: usize = 20;
/// Passes over the whole array that bring neighbours in order.
const PASSES: usize = 10;
/// Elements that are looked at together for k-mers that are the same.
const GROUP: usize = 8;
/// Elements that go through all passes together: they stay in the first-level cache.
const STRIP: usize = 2048;
/// Exchanges the two numbers of each pair, or takes the first twice (parts of 32 bits).
#[cfg(target_arch = "x86_64")]
const SWAP: i32 = 0b01_00_11_10;
#[cfg(target_arch = "x86_64")]
const FIRST: i32 = 0b01_00_01_00;
/// How much earlier each pass ends than the one ahead of it.
const STEP: usize = 16;

/// What of an element is the k-mer.
#[derive(Debug, Clone, Copy)]
pub(super) struct Layout {
    /// Bits of the weight.
    pub free: u32,
    /// Leading bits that all elements share.
    pub depth: u32,
}

/// Room that sorting uses again and again.
pub(super) struct Scratch<K> {
    sorted: Vec<K>,
    /// For wide elements: their leading bits with their numbers, as they stand and sorted.
    heads: [Vec<u64>; 2],
}

impl<K> Default for Scratch<K> {
    fn default() -> Self {
        Self { sorted: Vec::new(), heads: [Vec::new(), Vec::new()] }
    }
}

/// Bytes of [`Scratch`] for an element.
pub(super) const fn scratch_bytes(kmer_bytes: usize) -> usize {
    if kmer_bytes > size_of::<u64>() { kmer_bytes + 2 * size_of::<u64>() } else { kmer_bytes }
}

/// Sorts `elements` and sums the weights of equal k-mers. They are then in `elements` (shifted
/// down by `free`), their counts in `counts`.
pub(super) fn sort_and_count<K: Word>(
    elements: &mut Vec<K>,
    scratch: &mut Scratch<K>,
    counts: &mut Vec<u64>,
    layout: Layout,
    lanes: Lanes,
) {
    lanes.run(
        (elements, scratch, counts),
        #[inline(always)]
        |elements, scratch, counts| sort_body(elements, scratch, counts, layout, lanes),
    );
}

#[inline(always)]
fn sort_body<K: Word>(
    elements: &mut Vec<K>,
    scratch: &mut Scratch<K>,
    counts: &mut Vec<u64>,
    layout: Layout,
    lanes: Lanes,
) {
    let n = elements.len();
    if n == 0 {
        counts.clear();
        return;
    }
    let sorted = &mut scratch.sorted;
    let sub_bits = (n / SUB_BUCKET).max(1).ilog2().min(SUB_BITS_MAX);
    let sub_bits = sub_bits.min(K::BITS - layout.depth - layout.free);
    if sub_bits == 0 {
        elements.sort_unstable();
        std::mem::swap(elements, sorted);
    } else if let (Some(words), Some(sorted)) = (K::as_words(elements), K::as_words(sorted)) {
        scatter(words, sorted, layout.depth, sub_bits, lanes);
    } else {
        let below = sort_heads(elements, &mut scratch.heads, layout.depth, sub_bits, lanes);
        let heads = Heads { sorted: &scratch.heads[1], below };
        fold_in_order(elements, heads, sorted, counts, layout);
        std::mem::swap(elements, sorted);
        return;
    }
    fold_equal(sorted, elements, counts, layout.free);
}

/// Sorts what leads wide elements, which is one word with the number of the element in its low
/// bits: words are sorted many at a time, and each element is moved once. Returns the bits of the
/// numbers.
#[inline(always)]
fn sort_heads<K: Word>(
    elements: &[K],
    heads: &mut [Vec<u64>; 2],
    depth: u32,
    sub_bits: u32,
    lanes: Lanes,
) -> u64 {
    let numbers = usize::BITS - elements.len().leading_zeros();
    let below = (1_u64 << numbers) - 1;
    let [heads, sorted] = heads;
    heads.clear();
    heads.extend(elements.iter().zip(0..).map(|(element, number)| {
        (element.up(depth).word(K::BYTES / size_of::<u64>() - 1) & !below) | number
    }));
    scatter(heads, sorted, 0, sub_bits, lanes);
    below
}

/// What leads wide elements, sorted, with their numbers in the bits `below`.
#[derive(Clone, Copy)]
struct Heads<'h> {
    sorted: &'h [u64],
    below: u64,
}

/// Takes elements in the order of their heads and sums the weights of those that are the same
/// k-mer.
#[inline(always)]
fn fold_in_order<K: Word>(
    elements: &[K],
    heads: Heads<'_>,
    kmers: &mut Vec<K>,
    counts: &mut Vec<u64>,
    layout: Layout,
) {
    let Heads { sorted: heads, below } = heads;
    let free = layout.free;
    // Of a short k-mer the head has the weight as well, or a part of it.
    let behind_key = u64::MAX.checked_shr(K::BITS - layout.depth - free).unwrap_or(0);
    let ignored = below | behind_key;
    let same = |a: u64, b: u64| (a ^ b) & !ignored == 0;
    let weights = if free >= 64 { u64::MAX } else { (1 << free) - 1 };
    kmers.resize(heads.len(), K::default());
    counts.resize(heads.len(), 0);
    let mut run: Vec<K> = Vec::new();
    let (mut at, mut next) = (0, 0);
    while next < heads.len() {
        // Mostly all are led by other bits than the one behind: then they are in order.
        if let (Some(group), Some(behind)) =
            (heads[next..].first_chunk::<GROUP>(), heads[next + 1..].first_chunk::<GROUP>())
            && !group.iter().zip(behind).fold(false, |any, (a, b)| any | same(*a, *b))
        {
            let outputs = kmers[at..at + GROUP].iter_mut().zip(&mut counts[at..at + GROUP]);
            for (head, (kmer, count)) in group.iter().zip(outputs) {
                let element = elements[(head & below) as usize];
                *kmer = element.down(free);
                *count = element.low() & weights;
            }
            at += GROUP;
            next += GROUP;
            continue;
        }
        // Elements that are led by the same bits are still in any order.
        let first = heads[next];
        run.clear();
        while let Some(head) = heads.get(next).filter(|head| same(first, **head)) {
            run.push(elements[(head & below) as usize]);
            next += 1;
        }
        if run.len() > 1 {
            run.sort_unstable();
        }
        let begin = at;
        for element in &run {
            let kmer = element.down(free);
            if at == begin || kmers[at - 1] != kmer {
                (kmers[at], counts[at]) = (kmer, 0);
                at += 1;
            }
            counts[at - 1] += element.low() & weights;
        }
    }
    kmers.truncate(at);
    counts.truncate(at);
}

/// Sorts `from` into `to`: by the leading bits first, then each sub-bucket.
#[inline(always)]
fn scatter(from: &[u64], to: &mut Vec<u64>, depth: u32, sub_bits: u32, lanes: Lanes) {
    let down = u64::BITS - depth - sub_bits;
    let mask = (1_u64 << sub_bits) - 1;
    let sub = |element: u64| ((element >> down) & mask) as usize;
    let mut ends = vec![0_u32; 1 << sub_bits];
    for element in from {
        ends[sub(*element)] += 1;
    }
    let mut sum = 0;
    for end in &mut ends {
        let n = std::mem::replace(end, sum);
        sum += n;
    }
    // What was there before is overwritten.
    to.resize(from.len(), 0);
    for element in from {
        let place = &mut ends[sub(*element)];
        to[*place as usize] = *element;
        *place += 1;
    }
    let mut begin = 0;
    for end in ends {
        let end = end as usize;
        let part = &mut to[begin..end];
        if part.len() > PASSES_LONGEST {
            part.sort_unstable();
        }
        begin = end;
    }
    passes(to, lanes);
    insert(to);
}

/// Insertion sort, for what is nearly sorted or short.
#[inline(always)]
fn insert(part: &mut [u64]) {
    let mut next = 1;
    while next < part.len() {
        let end = (next + GROUP).min(part.len());
        if !any_pair(part, next, |before, element| before > element) {
            next = end;
            continue;
        }
        for i in next..end {
            let element = part[i];
            let mut at = i;
            while at > 0 && element < part[at - 1] {
                part[at] = part[at - 1];
                at -= 1;
            }
            part[at] = element;
        }
        next = end;
    }
}

/// Whether any of a group of elements from `next` on and the one before it are so, many looked at
/// together; true as well at the end, where there is no whole group.
#[inline(always)]
fn any_pair<T>(elements: &[T], next: usize, are_so: impl Fn(&T, &T) -> bool) -> bool {
    let before = &elements[next - 1..];
    let (Some(before), Some(group)) =
        (before.first_chunk::<GROUP>(), before[1..].first_chunk::<GROUP>())
    else {
        return true;
    };
    let mut any = false;
    for (element, before) in group.iter().zip(before) {
        any |= are_so(before, element);
    }
    any
}

/// Odd-even passes: neighbours in order, all even pairs, then all odd ones, and again. A strip goes
/// through all passes before the next: each pass ends a place before the pass ahead of it, whose
/// work behind that place is still to come.
#[inline(always)]
fn passes(words: &mut [u64], lanes: Lanes) {
    let mut begins: [usize; PASSES] = std::array::from_fn(|pass| pass % 2);
    let mut end = 0;
    while end < words.len() {
        end = (end + STRIP).min(words.len());
        let last = end == words.len();
        for (pass, begin) in begins.iter_mut().enumerate() {
            let stop = if last { end } else { end - STEP * pass };
            let pairs = stop.saturating_sub(*begin) / 2;
            order_pairs(&mut words[*begin..*begin + 2 * pairs], lanes);
            *begin += 2 * pairs;
        }
    }
}

/// Brings each pair in order.
fn order_pairs(pairs: &mut [u64], lanes: Lanes) {
    match lanes {
        Lanes::Scalar => order_pairs_scalar(pairs),
        #[cfg(target_arch = "x86_64")]
        // SAFETY: `detect` has found the instructions.
        Lanes::Avx2 => unsafe { order_pairs_avx2(pairs) },
        #[cfg(target_arch = "x86_64")]
        // SAFETY: `detect` has found the instructions.
        Lanes::Avx512 | Lanes::Avx512Vbmi => unsafe { order_pairs_avx512(pairs) },
    }
}

fn order_pairs_scalar(pairs: &mut [u64]) {
    for pair in pairs.as_chunks_mut::<2>().0 {
        *pair = [pair[0].min(pair[1]), pair[0].max(pair[1])];
    }
}

// By hand: the compiler makes gathers and scatters of it, which take ten times as long.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn order_pairs_avx2(pairs: &mut [u64]) {
    use std::arch::x86_64::{
        _mm256_blendv_epi8, _mm256_cmpgt_epi64, _mm256_loadu_si256, _mm256_set1_epi64x,
        _mm256_shuffle_epi32, _mm256_storeu_si256, _mm256_xor_si256,
    };
    let (blocks, rest) = pairs.as_chunks_mut::<4>();
    let sign = _mm256_set1_epi64x(i64::MIN);
    for block in blocks {
        // SAFETY: the block has the 32 bytes that are read and written.
        unsafe {
            let found = _mm256_loadu_si256(block.as_ptr().cast());
            let swapped = _mm256_shuffle_epi32::<SWAP>(found);
            let (a, b) = (_mm256_xor_si256(found, sign), _mm256_xor_si256(swapped, sign));
            // What the first of a pair says goes for both.
            let wrong = _mm256_shuffle_epi32::<FIRST>(_mm256_cmpgt_epi64(a, b));
            let ordered = _mm256_blendv_epi8(found, swapped, wrong);
            _mm256_storeu_si256(block.as_mut_ptr().cast(), ordered);
        }
    }
    order_pairs_scalar(rest);
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f")]
fn order_pairs_avx512(pairs: &mut [u64]) {
    use std::arch::x86_64::{
        _mm512_loadu_si512, _mm512_mask_blend_epi64, _mm512_max_epu64, _mm512_min_epu64,
        _mm512_shuffle_epi32, _mm512_storeu_si512,
    };
    let (blocks, rest) = pairs.as_chunks_mut::<8>();
    for block in blocks {
        // SAFETY: the block has the 64 bytes that are read and written.
        unsafe {
            let found = _mm512_loadu_si512(block.as_ptr().cast());
            let swapped = _mm512_shuffle_epi32::<SWAP>(found);
            let (low, high) = (_mm512_min_epu64(found, swapped), _mm512_max_epu64(found, swapped));
            let ordered = _mm512_mask_blend_epi64(0b1010_1010, low, high);
            _mm512_storeu_si512(block.as_mut_ptr().cast(), ordered);
        }
    }
    order_pairs_scalar(rest);
}

/// Sums the weights of neighbours that are the same k-mer.
#[inline(always)]
pub(super) fn fold_equal<K: Word>(
    sorted: &[K],
    kmers: &mut Vec<K>,
    counts: &mut Vec<u64>,
    free: u32,
) {
    let Some(first) = sorted.first() else {
        kmers.clear();
        counts.clear();
        return;
    };
    let weights = if free >= 64 { u64::MAX } else { (1 << free) - 1 };
    let keys = K::ones(K::BITS).minus(K::ones(free));
    kmers.resize(sorted.len(), K::default());
    counts.resize(sorted.len(), 0);
    (kmers[0], counts[0]) = (first.down(free), first.low() & weights);
    // The place of the last k-mer, and the next element.
    let (mut at, mut next) = (0, 1);
    while next < sorted.len() {
        let end = (next + GROUP).min(sorted.len());
        // Mostly all are different: then they go as they are, many at a time.
        if !any_pair(sorted, next, |before, element| before.and(keys) == element.and(keys)) {
            let (group, to) = (&sorted[next..end], at + 1..at + 1 + end - next);
            for (kmer, element) in kmers[to.clone()].iter_mut().zip(group) {
                *kmer = element.down(free);
            }
            for (count, element) in counts[to].iter_mut().zip(group) {
                *count = element.low() & weights;
            }
            at += end - next;
            next = end;
            continue;
        }
        let mut last = kmers[at];
        let mut sum = counts[at];
        for element in &sorted[next..end] {
            let kmer = element.down(free);
            let same = kmer == last;
            // No branch: every place is written until its k-mer is over.
            at += usize::from(!same);
            sum = if same { sum } else { 0 } + (element.low() & weights);
            kmers[at] = kmer;
            counts[at] = sum;
            last = kmer;
        }
        next = end;
    }
    kmers.truncate(at + 1);
    counts.truncate(at + 1);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_are_put_in_order() {
        let mut x = 7_u64;
        let mut numbers: Vec<u64> = (0..5000)
            .map(|_| {
                x = x.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                x
            })
            .collect();
        numbers.extend([u64::MAX, 0, 1 << 63, (1 << 63) - 1, 5, 5, 0, u64::MAX, 1]);
        let mut expected = numbers.clone();
        order_pairs_scalar(&mut expected);
        for lanes in Lanes::all() {
            let mut found = numbers.clone();
            order_pairs(&mut found, lanes);
            assert_eq!(found, expected, "{lanes:?}");
            // Many passes sort what is nearly sorted.
            let mut near: Vec<u64> = (0..5000).map(|i| i ^ 3).collect();
            passes(&mut near, lanes);
            assert!(near.is_sorted(), "{lanes:?}");
        }
    }

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
                for lanes in Lanes::all() {
                    let mut kmers = elements.clone();
                    let (mut scratch, mut counts) = (Scratch::default(), Vec::new());
                    let layout = Layout { free: 12, depth: 3 };
                    sort_and_count(&mut kmers, &mut scratch, &mut counts, layout, lanes);
                    let found: Vec<_> = kmers.iter().copied().zip(counts.clone()).collect();
                    assert_eq!(found, expected.clone().into_iter().collect::<Vec<_>>());
                    let mut wide: Vec<u128> = elements.iter().map(|e| u128::from(*e)).collect();
                    let layout = Layout { free: 12, depth: 64 };
                    let mut scratch = Scratch::default();
                    sort_and_count(&mut wide, &mut scratch, &mut counts, layout, lanes);
                    let found: Vec<_> =
                        wide.iter().map(|k| *k as u64).zip(counts.clone()).collect();
                    assert_eq!(found, expected.clone().into_iter().collect::<Vec<_>>());
                }
            }
        }
    }
}
