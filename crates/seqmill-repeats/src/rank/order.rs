//! The order in which candidates claim their places.

use super::Candidate;
use crate::crew;
use seqmill_base::large_pages::of_large_pages;
use std::sync::{Mutex, PoisonError};

/// Bits of a digit.
const BITS: u32 = 12;
const DIGITS: usize = 1 << BITS;
/// Counts from here on share a digit.
const HIGH: u32 = DIGITS as u32 - 1;

/// Sorts by count down, then first place up.
pub(super) fn key(candidate: &Candidate) -> u64 {
    u64::from(u32::MAX - candidate.count()) << 32 | u64::from(candidate.first)
}

/// Sorts digit by digit: each thread a part, then the parts are merged. Needs as much memory
/// again. `length`: first places are below that.
pub(super) fn by_digits(candidates: &mut Vec<Candidate>, length: u32, threads: usize) {
    let size = candidates.len().div_ceil(threads).max(1);
    let parts: Vec<Mutex<&mut [Candidate]>> = candidates.chunks_mut(size).map(Mutex::new).collect();
    let mut workers = vec![(); threads];
    let mut sorted = crew::each(&mut workers, parts.len(), |(), i| {
        sorted_part(&mut parts[i].lock().unwrap_or_else(PoisonError::into_inner), length)
    });
    drop(parts);
    match &mut sorted[..] {
        [] => {}
        [one] => std::mem::swap(candidates, one),
        parts => merge(parts, candidates, &mut workers),
    }
}

/// A part by itself, the last digit first; what was there before is lost.
fn sorted_part(part: &mut [Candidate], length: u32) -> Vec<Candidate> {
    let empty = Candidate { first: 0, offset: 0, forward: 0, reverse: 0 };
    let mut memory = of_large_pages(Vec::with_capacity(part.len()));
    memory.resize(part.len(), empty);
    let (mut from, mut to, mut moved) = (part, &mut memory[..], false);
    for shift in (0..u32::BITS - length.leading_zeros()).step_by(BITS as usize) {
        pass(from, to, |c| (c.first >> shift) as usize & (DIGITS - 1));
        std::mem::swap(&mut from, &mut to);
        moved = !moved;
    }
    pass(from, to, |c| (HIGH - c.count().min(HIGH)) as usize);
    let high = to.partition_point(|c| c.count() >= HIGH);
    to[..high].sort_unstable_by_key(key);
    if moved {
        from.copy_from_slice(to);
    }
    memory
}

/// Merges sorted parts: each thread what lies between two keys.
fn merge(parts: &[Vec<Candidate>], to: &mut [Candidate], workers: &mut [()]) {
    let tasks = workers.len();
    // Parts are alike: what cuts the first one evenly cuts all of them nearly so.
    let cuts: Vec<Vec<usize>> = (0..=tasks)
        .map(|task| {
            let cut = parts[0].get(parts[0].len() * task / tasks).map_or(u64::MAX, key);
            parts.iter().map(|part| part.partition_point(|c| key(c) < cut)).collect()
        })
        .collect();
    let mut rest = to;
    let mut slots = Vec::with_capacity(tasks);
    for task in 0..tasks {
        let begins = if task == 0 { &vec![0; parts.len()] } else { &cuts[task] };
        let own = parts.iter().zip(begins.iter().zip(&cuts[task + 1]));
        let own: Vec<&[Candidate]> = own.map(|(part, (begin, end))| &part[*begin..*end]).collect();
        let (out, behind) = rest.split_at_mut(own.iter().map(|part| part.len()).sum());
        rest = behind;
        slots.push(Mutex::new((own, out)));
    }
    crew::each(workers, tasks, |(), task| {
        let mut slot = slots[task].lock().unwrap_or_else(PoisonError::into_inner);
        let (own, out) = &mut *slot;
        let head = |part: &[Candidate]| part.first().map_or(u64::MAX, key);
        let mut heads: Vec<u64> = own.iter().map(|part| head(part)).collect();
        for place in out.iter_mut() {
            let mut best = 0;
            for i in 1..heads.len() {
                best = if heads[i] < heads[best] { i } else { best };
            }
            *place = own[best][0];
            own[best] = &own[best][1..];
            heads[best] = head(own[best]);
        }
    });
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
