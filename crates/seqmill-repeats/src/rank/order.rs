//! The order in which candidates claim their places.

use super::Candidate;

/// Bits of a digit.
const BITS: u32 = 12;
const DIGITS: usize = 1 << BITS;
/// Counts from here on share a digit.
const HIGH: u32 = DIGITS as u32 - 1;

/// Sorts by count down, then first place up.
pub(super) fn key(candidate: &Candidate) -> u64 {
    u64::from(u32::MAX - candidate.count()) << 32 | u64::from(candidate.first)
}

/// Sorts digit by digit, the last one first; `length`: first places are below that. Needs as
/// much memory again.
pub(super) fn by_digits(candidates: &mut Vec<Candidate>, length: u32) {
    let mut other: Vec<Candidate> = Vec::with_capacity(candidates.len());
    for shift in (0..u32::BITS - length.leading_zeros()).step_by(BITS as usize) {
        pass(candidates, &mut other, |c| (c.first >> shift) as usize & (DIGITS - 1));
    }
    pass(candidates, &mut other, |c| (HIGH - c.count().min(HIGH)) as usize);
    let high = candidates.partition_point(|c| c.count() >= HIGH);
    candidates[..high].sort_unstable_by_key(key);
}

/// Sorts by one digit; what has the same stays in its order.
fn pass(
    candidates: &mut Vec<Candidate>,
    other: &mut Vec<Candidate>,
    digit: impl Fn(&Candidate) -> usize,
) {
    let mut next = [0_u32; DIGITS];
    for candidate in &*candidates {
        next[digit(candidate)] += 1;
    }
    let mut at = 0;
    for slot in &mut next {
        at += std::mem::replace(slot, at);
    }
    let empty = Candidate { first: 0, offset: 0, forward: 0, reverse: 0 };
    other.resize(candidates.len(), empty);
    for candidate in &*candidates {
        let slot = &mut next[digit(candidate)];
        other[*slot as usize] = *candidate;
        *slot += 1;
    }
    std::mem::swap(candidates, other);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kmer::mix;

    #[test]
    fn digits_give_what_comparing_gives() {
        for length in [1_u32, 5000, 1 << 24, u32::MAX] {
            let mut seen = std::collections::BTreeSet::new();
            let mut candidates: Vec<Candidate> = (0..20_000_u64)
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
            by_digits(&mut candidates, length);
            assert_eq!(candidates, expected, "{length}");
        }
    }
}
