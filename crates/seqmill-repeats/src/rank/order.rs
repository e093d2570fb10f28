//! The order in which candidates claim their places.

use super::Candidate;
use crate::crew;
use seqmill_base::large_pages::of_large_pages;
use std::ops::Range;
use std::sync::{Mutex, PoisonError};

/// Bits of a digit.
const BITS: u32 = 12;
const DIGITS: usize = 1 << BITS;
/// Counts from here on share a digit.
const HIGH: u32 = DIGITS as u32 - 1;

const NONE: Candidate = Candidate { first: 0, offset: 0, forward: 0, reverse: 0 };

/// Sorts by count down, then first place up.
pub(super) fn key(candidate: &Candidate) -> u64 {
    u64::from(u32::MAX - candidate.count()) << 32 | u64::from(candidate.first)
}

/// Sorts digit by digit, each thread what lies between two keys. Needs as much memory again.
/// `length`: first places are below that.
pub(super) fn by_digits(candidates: &mut [Candidate], length: u32, threads: usize) {
    let borders = borders(candidates, threads);
    let mut workers = vec![(); threads];
    let parts = crew::each(&mut workers, borders.len() - 1, |(), i| {
        between(candidates, borders[i]..borders[i + 1])
    });
    let mut rest = candidates;
    let mut slots = Vec::with_capacity(parts.len());
    for part in parts {
        let (own, behind) = rest.split_at_mut(part.len());
        rest = behind;
        slots.push(Mutex::new((part, own)));
    }
    crew::each(&mut workers, slots.len(), |(), i| {
        let mut slot = slots[i].lock().unwrap_or_else(PoisonError::into_inner);
        let (part, own) = &mut *slot;
        sort_into(part, own, length);
    });
}

/// Candidates that are looked at to find keys with as many before as behind them.
const SAMPLED: usize = 1 << 12;

/// Keys that share the candidates out evenly, the first and the last one beyond all.
fn borders(candidates: &[Candidate], parts: usize) -> Vec<u64> {
    let every = (candidates.len() / SAMPLED).max(1);
    let mut sample: Vec<u64> = candidates.iter().step_by(every).map(key).collect();
    sample.sort_unstable();
    let middle = (1..parts).filter_map(|i| sample.get(sample.len() * i / parts).copied());
    std::iter::once(0).chain(middle).chain([u64::MAX]).collect()
}

/// The candidates with keys in a range, which does not reach the highest one.
fn between(candidates: &[Candidate], range: Range<u64>) -> Vec<Candidate> {
    if range == (0..u64::MAX) {
        let mut all = of_large_pages(Vec::with_capacity(candidates.len()));
        all.extend_from_slice(candidates);
        return all;
    }
    let is_own = |c: &Candidate| range.contains(&key(c));
    let count = candidates.iter().filter(|c| is_own(c)).count();
    let mut own = of_large_pages(Vec::with_capacity(count + 1));
    own.resize(count + 1, NONE);
    // Which ones are its own nobody can guess: no branch.
    let mut kept = 0;
    for candidate in candidates {
        own[kept] = *candidate;
        kept += usize::from(is_own(candidate));
    }
    own.truncate(count);
    own
}

/// Sorts a part into `to`, the last digit first; the order that it had is lost.
fn sort_into(part: &mut [Candidate], to: &mut [Candidate], length: u32) {
    let (mut from, mut other) = (part, to);
    let mut moved = 0;
    for shift in (0..u32::BITS - length.leading_zeros()).step_by(BITS as usize) {
        pass(from, other, |c| (c.first >> shift) as usize & (DIGITS - 1));
        std::mem::swap(&mut from, &mut other);
        moved += 1;
    }
    pass(from, other, |c| (HIGH - c.count().min(HIGH)) as usize);
    let high = other.partition_point(|c| c.count() >= HIGH);
    other[..high].sort_unstable_by_key(key);
    // An odd number of passes ends where it is wanted.
    if moved % 2 == 1 {
        from.copy_from_slice(other);
    }
}

/// Sorts by one digit into `other`; what has the same stays in its order.
fn pass(candidates: &[Candidate], other: &mut [Candidate], digit: impl Fn(&Candidate) -> usize) {
    let mut next = [0_u32; DIGITS];
    for candidate in candidates {
        next[digit(candidate)] += 1;
    }
    let mut at = 0;
    for slot in &mut next {
        at += std::mem::replace(slot, at);
    }
    for candidate in candidates {
        let slot = &mut next[digit(candidate)];
        other[*slot as usize] = *candidate;
        *slot += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kmer::mix;

    #[test]
    fn digits_give_what_comparing_gives() {
        for length in [1_u32, 5000, 1 << 24, u32::MAX] {
            let mut seen = std::collections::BTreeSet::new();
            let candidates: Vec<Candidate> = (0..20_000_u64)
                .map(|i| Candidate {
                    first: (mix(i) % u64::from(length)) as u32,
                    offset: i as u32,
                    forward: 1 + (mix(i + 7) >> (mix(i) % 64)) as u32 % 9000,
                    reverse: 0,
                })
                .filter(|c| seen.insert(c.first))
                .collect();
            let mut expected = candidates.clone();
            expected.sort_by_key(key);
            for threads in [1, 2, 3, 8] {
                let mut sorted = candidates.clone();
                by_digits(&mut sorted, length, threads);
                assert_eq!(sorted, expected, "{length} {threads}");
            }
        }
    }
}
