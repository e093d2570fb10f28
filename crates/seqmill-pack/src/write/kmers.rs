//! k-mers as 64-bit numbers (`agc.md` §8.1), and hashes of them.

/// Stands for "no splitter on this side".
pub(crate) const NO_KMER: u64 = u64::MAX;

/// A canonical k-mer, left-aligned, and whether its forward form is the canonical one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Kmer {
    pub(crate) code: u64,
    pub(crate) direct: bool,
}

/// Rolls over codes and gives the k-mer that ends at each.
#[derive(Debug, Clone)]
pub(crate) struct KmerScanner {
    forward: u64,
    reverse: u64,
    mask: u64,
    top: u32,
    align: u32,
    length: u32,
    filled: u32,
}

impl KmerScanner {
    pub(crate) fn new(length: u32) -> Self {
        let bits = 2 * length;
        Self {
            forward: 0,
            reverse: 0,
            mask: u64::MAX >> (64 - bits),
            top: bits - 2,
            align: 64 - bits,
            length,
            filled: 0,
        }
    }

    /// Begins with an empty window.
    pub(crate) fn restart(&mut self) {
        self.filled = 0;
    }

    /// Takes a code; true if the window is full.
    #[inline]
    pub(crate) fn push(&mut self, code: u8) -> bool {
        if code > 3 {
            self.filled = 0;
            return false;
        }
        let code = u64::from(code);
        self.forward = ((self.forward << 2) | code) & self.mask;
        self.reverse = (self.reverse >> 2) | ((3 - code) << self.top);
        self.filled += 1;
        self.filled >= self.length
    }

    /// The canonical k-mer of a full window.
    #[inline]
    pub(crate) fn canonical(&self) -> u64 {
        self.forward.min(self.reverse) << self.align
    }

    /// The k-mer of a full window.
    pub(crate) fn kmer(&self) -> Kmer {
        Kmer { code: self.canonical(), direct: self.forward <= self.reverse }
    }
}

/// The finalizer of `MurmurHash3` for 64 bits.
#[inline]
pub(crate) fn murmur64(mut h: u64) -> u64 {
    h ^= h >> 33;
    h = h.wrapping_mul(0xff51_afd7_ed55_8ccd);
    h ^= h >> 33;
    h = h.wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    h ^ (h >> 33)
}

/// A place below `n` for a hash.
#[inline]
pub(crate) fn reduce(hash: u64, n: u64) -> u64 {
    ((u128::from(hash) * u128::from(n)) >> 64) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_strands_have_one_canonical_kmer() {
        for k in [17, 21, 31, 32] {
            let codes: Vec<u8> = (0..k).map(|i| (murmur64(u64::from(i)) % 4) as u8).collect();
            let mut back = Vec::new();
            crate::symbols::reverse_complement_codes(&codes, &mut back);
            let kmers = [codes, back].map(|codes| {
                let mut scanner = KmerScanner::new(k);
                let full: Vec<bool> = codes.iter().map(|&c| scanner.push(c)).collect();
                assert!(full[..k as usize - 1].iter().all(|f| !f) && full[k as usize - 1]);
                scanner.kmer()
            });
            assert_eq!(kmers[0].code, kmers[1].code);
            assert_ne!(kmers[0].direct, kmers[1].direct);
        }
    }
}
