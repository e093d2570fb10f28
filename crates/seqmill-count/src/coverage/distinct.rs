//! Exact numbers of different k-mers in bounded memory.
//!
//! Keys are gathered, sorted and made unique. A set that would take too much keeps only one class
//! of its keys by a hash; the other classes are counted when the sequence is read again. Classes
//! are disjoint, so their sizes add up.

use rustc_hash::FxHasher;
use seqmill_base::{Lease, Result};
use std::hash::Hasher;

/// Bits of a k-mer word.
const WORD_BASES: usize = 32;
/// Keys a set has room for at first.
const LEAST_KEYS: usize = 1 << 12;

/// The keys of one class: those whose hash is `class` modulo `classes`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Class {
    pub classes: u64,
    pub class: u64,
}

impl Class {
    /// All keys.
    pub(super) const ALL: Self = Self { classes: 1, class: 0 };

    /// The half that stays, and the one for another time.
    fn halve(self) -> (Self, Self) {
        let classes = 2 * self.classes;
        (Self { classes, ..self }, Self { classes, class: self.class + self.classes })
    }
}

/// What all sets together may hold.
#[derive(Debug)]
pub(super) struct Allowance {
    pub lease: Lease,
    pub most: u64,
}

impl Allowance {
    fn grow(&mut self, bytes: u64) -> bool {
        let wanted = self.lease.bytes() + bytes;
        wanted <= self.most && self.lease.resize(wanted).is_ok()
    }

    fn shrink(&mut self, bytes: u64) -> Result<()> {
        self.lease.resize(self.lease.bytes().saturating_sub(bytes))
    }
}

/// Counts the different k-mers of a stretch of sequence that is given piece by piece.
pub(super) trait CountDistinct: Send {
    /// Takes bases as codes 0–3; anything above is a break.
    fn take(&mut self, codes: &[u8], allowance: &mut Allowance, left: &mut Vec<Class>);

    /// The number of keys of the class.
    fn finish(&mut self, allowance: &mut Allowance) -> Result<u64>;
}

/// A counter for k-mers of length `k`.
pub(super) fn counter(k: usize, canonical: bool, class: Class) -> Box<dyn CountDistinct> {
    match k.div_ceil(WORD_BASES) {
        1 => Box::new(Keys::<1>::new(k, canonical, class)),
        2 => Box::new(Keys::<2>::new(k, canonical, class)),
        3 => Box::new(Keys::<3>::new(k, canonical, class)),
        4 => Box::new(Keys::<4>::new(k, canonical, class)),
        5 => Box::new(Keys::<5>::new(k, canonical, class)),
        6 => Box::new(Keys::<6>::new(k, canonical, class)),
        7 => Box::new(Keys::<7>::new(k, canonical, class)),
        _ => Box::new(Keys::<8>::new(k, canonical, class)),
    }
}

/// A k-mer in `W` words, the most significant first, right-aligned.
type Key<const W: usize> = [u64; W];

struct Keys<const W: usize> {
    k: usize,
    canonical: bool,
    class: Class,
    /// Valid bits of the first word.
    mask: u64,
    forward: Key<W>,
    reverse: Key<W>,
    /// Bases since the last break.
    run: usize,
    held: Vec<Key<W>>,
    /// Keys that are sorted and unique.
    unique: usize,
}

fn hash<const W: usize>(key: &Key<W>) -> u64 {
    let mut hasher = FxHasher::default();
    for word in key {
        hasher.write_u64(*word);
    }
    // The low bits of a product depend on the low bits of the key alone.
    hasher.finish() >> 16
}

impl<const W: usize> Keys<W> {
    fn new(k: usize, canonical: bool, class: Class) -> Self {
        let bits = 2 * (k - WORD_BASES * (W - 1));
        let mask = if bits == 64 { u64::MAX } else { (1 << bits) - 1 };
        Self {
            k,
            canonical,
            class,
            mask,
            forward: [0; W],
            reverse: [0; W],
            run: 0,
            held: Vec::new(),
            unique: 0,
        }
    }

    #[inline]
    fn shift_in(&mut self, code: u8) {
        let code = u64::from(code);
        let mut carry = code;
        for word in self.forward.iter_mut().rev() {
            let next = *word >> 62;
            *word = (*word << 2) | carry;
            carry = next;
        }
        if let Some(first) = self.forward.first_mut() {
            *first &= self.mask;
        }
        if self.canonical {
            let top = 2 * (self.k - 1 - WORD_BASES * (W - 1));
            let mut carry = 0;
            for word in &mut self.reverse {
                let next = *word << 62;
                *word = (*word >> 2) | carry;
                carry = next;
            }
            if let Some(first) = self.reverse.first_mut() {
                *first |= (3 - code) << top;
            }
        }
    }

    #[inline]
    fn key(&self) -> Key<W> {
        if self.canonical { self.forward.min(self.reverse) } else { self.forward }
    }

    fn holds(&self, key: &Key<W>) -> bool {
        self.class.classes == 1 || hash(key) % self.class.classes == self.class.class
    }

    fn make_unique(&mut self) {
        self.held.sort_unstable();
        self.held.dedup();
        self.unique = self.held.len();
    }

    /// Makes room for more keys: fewer of the same, more memory, or fewer classes.
    fn make_room(&mut self, allowance: &mut Allowance, left: &mut Vec<Class>) {
        self.make_unique();
        let room = self.held.capacity();
        if self.held.len() <= room / 2 && room > 0 {
            return;
        }
        let more = room.max(LEAST_KEYS);
        if room == 0 || allowance.grow((more * size_of::<Key<W>>()) as u64) {
            if room == 0 {
                // The first keys of a set are a matter of a few KiB.
                let _ = allowance.grow((more * size_of::<Key<W>>()) as u64);
            }
            self.held.reserve_exact(more);
            return;
        }
        while self.held.len() > room - room / 4 {
            let (stays, goes) = self.class.halve();
            self.class = stays;
            left.push(goes);
            let Class { classes, class } = stays;
            self.held.retain(|key| hash(key) % classes == class);
            self.unique = self.held.len();
        }
    }
}

impl<const W: usize> CountDistinct for Keys<W> {
    fn take(&mut self, codes: &[u8], allowance: &mut Allowance, left: &mut Vec<Class>) {
        for code in codes {
            if *code > 3 {
                self.run = 0;
                continue;
            }
            self.shift_in(*code);
            self.run += 1;
            if self.run < self.k {
                continue;
            }
            let key = self.key();
            if !self.holds(&key) {
                continue;
            }
            if self.held.len() == self.held.capacity() {
                self.make_room(allowance, left);
                if !self.holds(&key) {
                    continue;
                }
            }
            self.held.push(key);
        }
    }

    fn finish(&mut self, allowance: &mut Allowance) -> Result<u64> {
        self.make_unique();
        let bytes = (self.held.capacity() * size_of::<Key<W>>()) as u64;
        self.held = Vec::new();
        allowance.shrink(bytes)?;
        Ok(self.unique as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use seqmill_base::Budget;
    use std::collections::BTreeSet;

    fn slow(codes: &[u8], k: usize, canonical: bool) -> u64 {
        let windows = codes.windows(k).filter(|w| w.iter().all(|c| *c < 4));
        let keys: BTreeSet<Vec<u8>> = windows
            .map(|w| {
                let turned: Vec<u8> = w.iter().rev().map(|c| 3 - c).collect();
                if canonical { turned.min(w.to_vec()) } else { w.to_vec() }
            })
            .collect();
        keys.len() as u64
    }

    #[test]
    fn numbers_are_exact_for_every_width_and_allowance() {
        let mut seed = 11_u64;
        let codes: Vec<u8> = (0..30_000)
            .map(|i| {
                seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                if i % 977 == 0 { 4 } else { (seed >> 61) as u8 & 3 }
            })
            .collect();
        let budget = Budget::new(1 << 30, 0).unwrap();
        let account = budget.account("kmers", 1 << 30);
        for k in [1, 5, 31, 32, 33, 64, 65, 255] {
            for canonical in [false, true] {
                for most in [1 << 15, 1 << 28] {
                    let lease = budget.must_reserve(account, 0).unwrap();
                    let mut allowance = Allowance { lease, most };
                    let (mut waiting, mut sum) = (vec![Class::ALL], 0);
                    while let Some(class) = waiting.pop() {
                        let mut keys = counter(k, canonical, class);
                        for piece in codes.chunks(1013) {
                            keys.take(piece, &mut allowance, &mut waiting);
                        }
                        sum += keys.finish(&mut allowance).unwrap();
                    }
                    assert_eq!(sum, slow(&codes, k, canonical), "{k} {canonical} {most}");
                }
            }
        }
    }
}
