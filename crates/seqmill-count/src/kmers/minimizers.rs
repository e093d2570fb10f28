//! Cutting sequence into runs of k-mers that share their minimizer.
//!
//! The minimizer of a k-mer is the least hash of the canonical m-mers in it, so a k-mer and its
//! reverse complement have the same. All steps go through arrays element by element, which the
//! compiler turns into wide instructions.

use super::batch::gather_bits;
use super::lanes::Lanes;

/// Hashes compared at once.
const BLOCK: usize = 16;
/// Windows worked on at once: the arrays stay in the first-level cache.
const TILE: usize = 4096;
/// Longest k-mer.
const K_MAX: usize = 255;
/// Bases in a tile.
const TILE_BASES: usize = TILE + K_MAX;

/// Length of the minimizers for a length of k-mers.
pub(super) fn minimizer_length(k: usize) -> usize {
    match k {
        0..=10 => 5,
        11..=17 => 7,
        18..=22 => 9,
        _ => 11,
    }
}

/// Arrays of a tile, reused.
pub(super) struct Minimizers {
    k: usize,
    m: usize,
    lanes: Lanes,
    pairs: Vec<u8>,
    fours: Vec<u8>,
    eights: Vec<u16>,
    back_pairs: Vec<u8>,
    back_fours: Vec<u8>,
    back_eights: Vec<u16>,
    hashes: Vec<u32>,
    /// Whether a window has another minimizer than the one before: a bit each.
    edges: Vec<u64>,
}

/// Makes the low half of the bits matter for the order as well; one to one.
#[inline(always)]
fn mix(code: u32) -> u32 {
    let x = code.wrapping_mul(0x9e37_79b1);
    (x ^ (x >> 15)).wrapping_mul(0x85eb_ca6b)
}

impl Minimizers {
    /// Cuts for k-mers of length `k`.
    pub(super) fn new(k: usize, lanes: Lanes) -> Self {
        let room = TILE_BASES + 32;
        Self {
            k,
            m: minimizer_length(k),
            lanes,
            pairs: vec![0; room],
            fours: vec![0; room],
            eights: vec![0; room],
            back_pairs: vec![0; room],
            back_fours: vec![0; room],
            back_eights: vec![0; room],
            hashes: vec![0; room],
            edges: vec![0; TILE / 64],
        }
    }

    /// Calls `run` with the minimizer's hash, the first window and the number of windows of each
    /// run within the windows `windows` of `codes`; `longest` bounds the number of windows.
    pub(super) fn runs(
        &mut self,
        codes: &[u8],
        windows: &[(usize, usize)],
        longest: usize,
        mut run: impl FnMut(u32, usize, usize),
    ) {
        let all = codes.len().saturating_sub(self.k - 1);
        let mut stretches = windows.iter().copied();
        let mut stretch = stretches.next();
        let mut tile = 0;
        while tile < all {
            let Some((first, _)) = stretch else { return };
            // Tiles begin where there is something to count.
            tile = tile.max(first);
            let end = (tile + TILE).min(all);
            self.scan(&codes[tile..end + self.k - 1], end - tile);
            while let Some((from, to)) = stretch {
                if from >= end {
                    break;
                }
                let stop = to.min(end);
                self.emit(from.max(tile) - tile, stop - tile, longest, |hash, at, n| {
                    run(hash, tile + at, n);
                });
                if to > end {
                    break;
                }
                stretch = stretches.next();
            }
            tile = end;
        }
    }

    /// The runs within windows `from` to `to` of the tile.
    #[inline(always)]
    fn emit(&self, from: usize, to: usize, longest: usize, mut run: impl FnMut(u32, usize, usize)) {
        let mut begin = from;
        while begin < to {
            let stop = self.next_edge(begin + 1, to);
            let hash = self.hashes[begin];
            while stop - begin > longest {
                run(hash, begin, longest);
                begin += longest;
            }
            run(hash, begin, stop - begin);
            begin = stop;
        }
    }

    /// The first window from `at` on that has another minimizer, or `to`.
    #[inline(always)]
    fn next_edge(&self, at: usize, to: usize) -> usize {
        let mut word = at / 64;
        let mut bits = self.edges.get(word).copied().unwrap_or(0) & (u64::MAX << (at % 64));
        loop {
            if bits != 0 {
                return (64 * word + bits.trailing_zeros() as usize).min(to);
            }
            word += 1;
            if 64 * word >= to {
                return to;
            }
            bits = self.edges[word];
        }
    }

    #[expect(clippy::redundant_closure_for_method_calls, reason = "a path is not inlined")]
    fn scan(&mut self, codes: &[u8], windows: usize) {
        self.lanes.run(
            (self, codes, windows),
            #[inline(always)]
            |scan, codes, windows| scan.scan_body(codes, windows),
        );
    }

    /// Hashes of all m-mers, then the least of each window, then where they change.
    #[inline(always)]
    fn scan_body(&mut self, codes: &[u8], windows: usize) {
        let n = codes.len();
        let Self { pairs, fours, eights, back_pairs, back_fours, back_eights, hashes, .. } = self;
        // Runs of 2, 4 and 8 bases; `back` is the reverse complement of the same bases.
        for i in 0..n - 1 {
            pairs[i] = (codes[i] << 2) | codes[i + 1];
            back_pairs[i] = (codes[i] | (codes[i + 1] << 2)) ^ 0xf;
        }
        for i in 0..n.saturating_sub(3) {
            fours[i] = (pairs[i] << 4) | pairs[i + 2];
            back_fours[i] = back_pairs[i] | (back_pairs[i + 2] << 4);
        }
        let mers = n + 1 - self.m;
        match self.m {
            5 => {
                for i in 0..mers {
                    let forward = (u32::from(fours[i]) << 2) | u32::from(codes[i + 4]);
                    let back = u32::from(back_fours[i]) | (u32::from(codes[i + 4] ^ 3) << 8);
                    hashes[i] = mix(forward.min(back));
                }
            }
            7 => {
                for i in 0..mers {
                    let forward = (u32::from(fours[i]) << 6) | u32::from(fours[i + 3] & 0x3f);
                    let back = u32::from(back_fours[i]) | (u32::from(back_fours[i + 3] >> 2) << 8);
                    hashes[i] = mix(forward.min(back));
                }
            }
            9 => {
                for i in 0..mers {
                    let tail = u32::from(codes[i + 8]);
                    let forward =
                        (u32::from(fours[i]) << 10) | (u32::from(fours[i + 4]) << 2) | tail;
                    let back = u32::from(back_fours[i])
                        | (u32::from(back_fours[i + 4]) << 8)
                        | ((tail ^ 3) << 16);
                    hashes[i] = mix(forward.min(back));
                }
            }
            _ => {
                for i in 0..n.saturating_sub(7) {
                    eights[i] = (u16::from(fours[i]) << 8) | u16::from(fours[i + 4]);
                    back_eights[i] = u16::from(back_fours[i]) | (u16::from(back_fours[i + 4]) << 8);
                }
                for i in 0..mers {
                    let forward = (u32::from(eights[i]) << 6) | u32::from(eights[i + 3] & 0x3f);
                    let back =
                        u32::from(back_eights[i]) | (u32::from(back_eights[i + 3] >> 10) << 16);
                    hashes[i] = mix(forward.min(back));
                }
            }
        }
        // Least of 1, 2, 4, … m-mers, then of the whole window as two that overlap.
        let width = self.k - self.m + 1;
        let mut span = 1;
        while 2 * span <= width {
            least_of_two(hashes, mers - span, span);
            span *= 2;
        }
        if span < width {
            least_of_two(hashes, windows, width - span);
        }
        // Flags of a byte each, then bits.
        let flags = &mut self.pairs[..TILE];
        flags[0] = 0;
        let changes = hashes[..windows].windows(2).map(|pair| u8::from(pair[0] != pair[1]));
        for (flag, change) in flags[1..].iter_mut().zip(changes) {
            *flag = change;
        }
        flags[windows..].fill(0);
        for (word, flags) in self.edges.iter_mut().zip(flags.as_chunks::<64>().0) {
            *word = gather_bits(flags);
        }
    }
}

/// The lesser of each hash and the one `apart` behind it.
#[inline(always)]
fn least_of_two(hashes: &mut [u32], n: usize, apart: usize) {
    // In place: a block is written when the blocks behind it were not yet. Indices ascend, and a
    // value is read at its own place or further on.
    let hashes = &mut hashes[..n + apart];
    let mut at = 0;
    while at + BLOCK <= n {
        let mut first = [0_u32; BLOCK];
        let mut second = [0_u32; BLOCK];
        first.copy_from_slice(&hashes[at..at + BLOCK]);
        second.copy_from_slice(&hashes[at + apart..at + apart + BLOCK]);
        for (a, b) in first.iter_mut().zip(second) {
            *a = (*a).min(b);
        }
        hashes[at..at + BLOCK].copy_from_slice(&first);
        at += BLOCK;
    }
    for i in at..n {
        hashes[i] = hashes[i].min(hashes[i + apart]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slow(codes: &[u8], k: usize) -> u32 {
        let m = minimizer_length(k);
        let least = |mer: &[u8]| {
            let forward = mer.iter().fold(0_u32, |x, c| (x << 2) | u32::from(*c));
            let back = mer.iter().rev().fold(0_u32, |x, c| (x << 2) | u32::from(3 - c));
            mix(forward.min(back))
        };
        codes.windows(m).map(least).min().unwrap()
    }

    #[test]
    fn runs_are_those_of_the_definition() {
        for k in [7, 10, 11, 12, 13, 17, 18, 21, 31, 32, 33, 64, 255] {
            let mut x = k as u64;
            let codes: Vec<u8> = (0..9000)
                .map(|i| {
                    x = x.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                    if (i / 700) % 3 == 0 { 0 } else { (x >> 62) as u8 }
                })
                .collect();
            let windows = [(0, 1), (3, 5000), (5001, codes.len() + 1 - k)];
            let hashes: Vec<u32> = codes.windows(k).map(|w| slow(w, k)).collect();
            for lanes in Lanes::all() {
                let mut covered = vec![0; hashes.len()];
                Minimizers::new(k, lanes).runs(&codes, &windows, 40, |hash, at, n| {
                    assert!((1..=40).contains(&n));
                    for i in at..at + n {
                        assert_eq!(hashes[i], hash, "{k} {lanes:?} {i}");
                        covered[i] += 1;
                    }
                });
                for (i, times) in covered.iter().enumerate() {
                    let wanted = windows.iter().any(|(a, b)| (*a..*b).contains(&i));
                    assert_eq!(*times, u32::from(wanted), "{k} {i}");
                }
            }
        }
    }
}
