//! K-mers and records of several k-mers as numbers: two bits a base, A C G T = 0 1 2 3, the first
//! base in the highest bits.

use std::fmt::Debug;

/// Numbers that a machine has.
#[derive(Debug)]
pub enum Native<'n> {
    /// Of one word.
    One(&'n [u64]),
    /// Of two.
    Two(&'n [u128]),
    /// None.
    Other,
}

/// An unsigned number of fixed width.
pub trait Word: Copy + Ord + Default + Debug + Send + Sync + 'static {
    /// Bits.
    const BITS: u32;
    /// Bytes.
    const BYTES: usize = Self::BITS as usize / 8;
    /// Whether the low bytes come first in memory, so that high ones without a bit can be left out.
    const LOW_FIRST: bool = false;

    /// The number with the given low 64 bits.
    fn from_low(low: u64) -> Self;
    /// The low 64 bits.
    fn low(self) -> u64;
    /// Shifted up; the number of places is below [`Self::BITS`].
    #[must_use]
    fn up(self, places: u32) -> Self;
    /// Shifted down; the number of places is below [`Self::BITS`].
    #[must_use]
    fn down(self, places: u32) -> Self;
    /// Bits set in either.
    #[must_use]
    fn or(self, other: Self) -> Self;
    /// Bits set in both.
    #[must_use]
    fn and(self, other: Self) -> Self;
    /// The difference to a number that is not greater.
    #[must_use]
    fn minus(self, other: Self) -> Self;
    /// The sum, without what does not fit.
    #[must_use]
    fn plus(self, other: Self) -> Self;
    /// All pairs of bits in reverse order, each complemented.
    #[must_use]
    fn mirror(self) -> Self;
    /// Zeros above the highest set bit.
    fn zeros_above(self) -> u32;
    /// The 64 bits at word `i`, from the lowest.
    fn word(self, i: usize) -> u64;
    /// The number with word `i` replaced.
    #[must_use]
    fn with_word(self, i: usize, value: u64) -> Self;

    /// Shifted down by any number of places.
    #[must_use]
    #[inline]
    fn down_all(self, places: u32) -> Self {
        if places >= Self::BITS { Self::default() } else { self.down(places) }
    }

    /// Shifted up by any number of places.
    #[must_use]
    #[inline]
    fn up_all(self, places: u32) -> Self {
        if places >= Self::BITS { Self::default() } else { self.up(places) }
    }

    /// A number whose low `bits` are set.
    fn ones(bits: u32) -> Self {
        if bits == 0 {
            return Self::default();
        }
        let mut all = Self::default();
        for i in 0..Self::BYTES / 8 {
            all = all.with_word(i, u64::MAX);
        }
        all.down(Self::BITS - bits)
    }

    /// The same numbers as those of the machine that they are.
    fn as_native(_: &[Self]) -> Native<'_> {
        Native::Other
    }

    /// The same numbers, if one word is all they have.
    fn as_words(_: &mut Vec<Self>) -> Option<&mut Vec<u64>> {
        None
    }

    /// The reverse complement of the k-mer in the low `2 * k` bits.
    #[must_use]
    #[inline]
    fn reverse_complement(self, k: u32) -> Self {
        self.mirror().down(Self::BITS - 2 * k)
    }
}

#[inline]
fn mirror_word(word: u64) -> u64 {
    let x = !word.swap_bytes();
    let x = ((x >> 4) & 0x0f0f_0f0f_0f0f_0f0f) | ((x & 0x0f0f_0f0f_0f0f_0f0f) << 4);
    ((x >> 2) & 0x3333_3333_3333_3333) | ((x & 0x3333_3333_3333_3333) << 2)
}

macro_rules! native {
    ($type:ty $(, $more:item)*) => {
        impl Word for $type {
            const BITS: u32 = <$type>::BITS;
            const LOW_FIRST: bool = cfg!(target_endian = "little");
            #[inline]
            fn from_low(low: u64) -> Self {
                <$type>::from(low)
            }
            #[inline]
            fn low(self) -> u64 {
                self.word(0)
            }
            #[inline]
            fn up(self, places: u32) -> Self {
                self << places
            }
            #[inline]
            fn down(self, places: u32) -> Self {
                self >> places
            }
            #[inline]
            fn or(self, other: Self) -> Self {
                self | other
            }
            #[inline]
            fn and(self, other: Self) -> Self {
                self & other
            }
            #[inline]
            fn minus(self, other: Self) -> Self {
                self.wrapping_sub(other)
            }
            #[inline]
            fn plus(self, other: Self) -> Self {
                self.wrapping_add(other)
            }
            #[inline]
            fn mirror(self) -> Self {
                const WORDS: usize = <$type>::BITS as usize / 64;
                let mut out = Self::default();
                for i in 0..WORDS {
                    out = out.with_word(WORDS - 1 - i, mirror_word(self.word(i)));
                }
                out
            }
            #[inline]
            fn zeros_above(self) -> u32 {
                self.leading_zeros()
            }
            #[inline]
            fn word(self, i: usize) -> u64 {
                let bytes = self.to_le_bytes();
                bytes.as_chunks::<8>().0.get(i).map_or(0, |word| u64::from_le_bytes(*word))
            }
            #[inline]
            fn with_word(self, i: usize, value: u64) -> Self {
                let shift = 64 * i;
                (self & !(<$type>::from(u64::MAX) << shift)) | (<$type>::from(value) << shift)
            }
            $($more)*
        }
    };
}

native!(
    u64,
    #[inline]
    fn as_native(numbers: &[Self]) -> Native<'_> {
        Native::One(numbers)
    },
    #[inline]
    fn as_words(numbers: &mut Vec<Self>) -> Option<&mut Vec<u64>> {
        Some(numbers)
    }
);
native!(
    u128,
    #[inline]
    fn as_native(numbers: &[Self]) -> Native<'_> {
        Native::Two(numbers)
    }
);

/// A number of `N` words, the highest first, so that it is ordered as its words are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Wide<const N: usize>([u64; N]);

impl<const N: usize> Default for Wide<N> {
    fn default() -> Self {
        Self([0; N])
    }
}

impl<const N: usize> Word for Wide<N> {
    const BITS: u32 = 64 * N as u32;

    #[inline]
    fn from_low(low: u64) -> Self {
        let mut words = [0; N];
        words[N - 1] = low;
        Self(words)
    }

    #[inline]
    fn low(self) -> u64 {
        self.0[N - 1]
    }

    #[inline]
    fn up(self, places: u32) -> Self {
        let (words, bits) = ((places / 64) as usize, places % 64);
        let mut out = [0; N];
        for (i, word) in out.iter_mut().enumerate().take(N - words) {
            let high = self.0[i + words] << bits;
            let low = if bits > 0 && i + words + 1 < N {
                self.0[i + words + 1] >> (64 - bits)
            } else {
                0
            };
            *word = high | low;
        }
        Self(out)
    }

    #[inline]
    fn down(self, places: u32) -> Self {
        let (words, bits) = ((places / 64) as usize, places % 64);
        let mut out = [0; N];
        for (i, word) in out.iter_mut().enumerate().skip(words) {
            let low = self.0[i - words] >> bits;
            let high = if bits > 0 && i > words { self.0[i - words - 1] << (64 - bits) } else { 0 };
            *word = low | high;
        }
        Self(out)
    }

    #[inline]
    fn or(mut self, other: Self) -> Self {
        for (a, b) in self.0.iter_mut().zip(other.0) {
            *a |= b;
        }
        self
    }

    #[inline]
    fn and(mut self, other: Self) -> Self {
        for (a, b) in self.0.iter_mut().zip(other.0) {
            *a &= b;
        }
        self
    }

    #[inline]
    fn minus(mut self, other: Self) -> Self {
        let mut borrow = false;
        for i in (0..N).rev() {
            let (first, a) = self.0[i].overflowing_sub(other.0[i]);
            let (second, b) = first.overflowing_sub(u64::from(borrow));
            self.0[i] = second;
            borrow = a || b;
        }
        self
    }

    #[inline]
    fn plus(mut self, other: Self) -> Self {
        let mut carry = false;
        for i in (0..N).rev() {
            let (first, a) = self.0[i].overflowing_add(other.0[i]);
            let (second, b) = first.overflowing_add(u64::from(carry));
            self.0[i] = second;
            carry = a || b;
        }
        self
    }

    #[inline]
    fn mirror(self) -> Self {
        let mut out = [0; N];
        for (to, from) in out.iter_mut().rev().zip(self.0) {
            *to = mirror_word(from);
        }
        Self(out)
    }

    #[inline]
    fn zeros_above(self) -> u32 {
        let empty = self.0.iter().take_while(|w| **w == 0).count();
        64 * empty as u32 + self.0.get(empty).map_or(0, |w| w.leading_zeros())
    }

    #[inline]
    fn word(self, i: usize) -> u64 {
        self.0[N - 1 - i]
    }

    #[inline]
    fn with_word(mut self, i: usize, value: u64) -> Self {
        self.0[N - 1 - i] = value;
        self
    }
}

/// A k-mer, and the record that holds a run of overlapping k-mers: twice as wide.
pub trait Kmer: Word {
    /// The record.
    type Record: Word;

    /// The low bits of a record.
    fn of_record(record: Self::Record) -> Self;

    /// Gives the k-mers of a record whose bases begin in its highest bits, in the order of their
    /// starts and in the highest bits of a number; of each the lesser strand if `canonical`.
    #[inline(always)]
    fn expand(
        record: Self::Record,
        k: u32,
        kmers: u32,
        canonical: bool,
        mut give: impl FnMut(Self),
    ) {
        let rest = Self::BITS - 2 * k;
        let mask = Self::ones(2 * k).up(rest);
        let top = Self::BITS - 2;
        let words = Self::Record::BYTES / 8;
        let first = Self::of_record(record.down(Self::Record::BITS - Self::BITS));
        let mut forward = first.and(mask);
        let mut back = first.mirror().up(rest);
        for at in k.. {
            give(if canonical { forward.min(back) } else { forward });
            if at + 1 - k == kmers {
                return;
            }
            let base = (record.word(words - 1 - at as usize / 32) >> (62 - 2 * (at % 32))) & 3;
            forward = forward.up(2).or(Self::from_low(base).up(rest));
            back = back.down(2).and(mask).or(Self::from_low(base ^ 3).up(top));
        }
    }
}

/// No record of 128 bits has more k-mers.
const EXPAND_MOST: usize = 32;

/// [`Kmer::expand`] of words: each k-mer from the record by shifts, many at a time.
#[inline(always)]
fn expand_words(record: u128, k: u32, kmers: u32, canonical: bool, out: &mut [u64; EXPAND_MOST]) {
    let mask = u64::MAX << (64 - 2 * k);
    let (high, low) = ((record >> 64) as u64, record as u64);
    // The mirrored record ends with the other strand of its first k bases.
    let turned = record.mirror() << (64 - 2 * k);
    let (turned_high, turned_low) = ((turned >> 64) as u64, turned as u64);
    for eight in 0..(kmers as usize).div_ceil(8) {
        for lane in 0..8 {
            let i = 8 * eight + lane;
            let shift = 2 * i as u32;
            // Two shifts: one by 64 is none.
            let forward = ((high << shift) | (low >> 1 >> (63 - shift))) & mask;
            let back = ((turned_low >> shift) | (turned_high << 1 << (63 - shift))) & mask;
            out[i] = if canonical { forward.min(back) } else { forward };
        }
    }
}

impl Kmer for u64 {
    type Record = u128;

    #[inline]
    fn of_record(record: u128) -> Self {
        record as Self
    }

    #[inline(always)]
    fn expand(record: u128, k: u32, kmers: u32, canonical: bool, mut give: impl FnMut(Self)) {
        let mut out = [0; EXPAND_MOST];
        expand_words(record, k, kmers, canonical, &mut out);
        for kmer in out.iter().take(kmers as usize) {
            give(*kmer);
        }
    }
}

impl Kmer for u128 {
    type Record = Wide<4>;

    #[inline]
    fn of_record(record: Wide<4>) -> Self {
        (Self::from(record.0[2]) << 64) | Self::from(record.0[3])
    }
}

impl Kmer for Wide<4> {
    type Record = Wide<8>;

    #[inline]
    fn of_record(record: Wide<8>) -> Self {
        let mut words = [0; 4];
        words.copy_from_slice(&record.0[4..]);
        Self(words)
    }
}

impl Kmer for Wide<8> {
    type Record = Wide<16>;

    #[inline]
    fn of_record(record: Wide<16>) -> Self {
        let mut words = [0; 8];
        words.copy_from_slice(&record.0[8..]);
        Self(words)
    }
}

/// Code of a base, or `None` for what is none.
#[inline]
pub fn base_code(base: u8) -> Option<u8> {
    match base {
        b'A' | b'a' => Some(0),
        b'C' | b'c' => Some(1),
        b'G' | b'g' => Some(2),
        b'T' | b't' => Some(3),
        _ => None,
    }
}

/// The k-mer that `text` spells, or `None` if it holds anything but bases.
pub fn parse_kmer<K: Word>(text: &[u8]) -> Option<K> {
    text.iter().try_fold(K::default(), |kmer, base| {
        Some(kmer.up(2).or(K::from_low(u64::from(base_code(*base)?))))
    })
}

/// Appends the text of a k-mer.
#[inline]
pub fn append_text<K: Word>(kmer: K, k: u32, out: &mut Vec<u8>) {
    for i in (0..k).rev() {
        out.push(b"ACGT"[(kmer.down(2 * i).low() & 3) as usize]);
    }
}

/// The lesser of a k-mer and its reverse complement.
#[inline]
pub fn canonical<K: Word>(kmer: K, k: u32) -> K {
    kmer.min(kmer.reverse_complement(k))
}

#[cfg(test)]
mod tests;
