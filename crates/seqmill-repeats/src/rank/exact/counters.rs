//! How often k-mers occur, roughly: two-bit counters in a table that is addressed by hash.

use super::super::{Ranking, Search};
use super::{AHEAD, BUCKETS, HALVES, Histogram, half_of, piece, step_of};
use crate::crew;
use crate::kmer::{Window, scan, spread};
use seqmill_base::Result;
use seqmill_base::large_pages::Zeroes;
use seqmill_base::prefetch::prefetch;
use std::cell::Cell;
use std::sync::{Mutex, PoisonError};

/// Where counters stand in a table: the slot is the upper bits of the hash.
#[derive(Clone, Copy)]
pub(super) struct Layout {
    bits: u32,
}

impl Layout {
    /// A table of so many slots, a power of two.
    pub(super) fn new(slots: u64) -> Self {
        Self { bits: slots.trailing_zeros() }
    }

    #[inline(always)]
    fn slot(self, hash: u64) -> u64 {
        hash >> (64 - self.bits)
    }

    /// The bucket of all hashes of a slot.
    #[inline(always)]
    fn bucket(self, slot: u64) -> usize {
        (slot >> (self.bits - BUCKETS.trailing_zeros())) as usize & (BUCKETS - 1)
    }

    /// Counts, up to three. Which counters are full nobody can guess: no branch.
    #[inline(always)]
    fn add(table: &[Cell<u8>], slot: u64) {
        let (byte, shift) = (&table[(slot >> 2) as usize], (slot & 3) as u32 * 2);
        let value = byte.get();
        byte.set(value + (u8::from(value >> shift & 3 < 3) << shift));
    }

    #[inline(always)]
    fn get(table: &[u8], slot: u64) -> u8 {
        table[(slot >> 2) as usize] >> ((slot & 3) as u32 * 2) & 3
    }
}

/// Calls `ask` with every window of a piece and `settle` with what that gave, some windows later;
/// how many windows there are.
#[inline(always)]
fn scan_ahead<T: Copy + Default>(
    search: &Search<'_>,
    (from, to): (u32, u32),
    mut ask: impl FnMut(Window) -> T,
    mut settle: impl FnMut(T),
) -> usize {
    let mut ahead = [T::default(); AHEAD];
    let mut windows = 0;
    scan(search.text, search.k, from, to, |window| {
        let due = std::mem::replace(&mut ahead[windows % AHEAD], ask(window));
        if windows >= AHEAD {
            settle(due);
        }
        windows += 1;
    });
    ahead[..windows.min(AHEAD)].iter().for_each(|due| settle(*due));
    windows
}

/// Counts the windows, each thread in one of `tables`; gives their sum.
pub(super) fn count(
    search: &Search<'_>,
    layout: Layout,
    mut tables: Vec<Zeroes>,
    ranking: &mut Ranking,
) -> Result<Zeroes> {
    let step = step_of(search);
    let tasks = search.text.len().div_ceil(step) as usize;
    let windows = crew::each(&mut tables, tasks, |table, task| {
        if search.job.cancel.is_cancelled() {
            return 0;
        }
        let table = Cell::from_mut(&mut table[..]).as_slice_of_cells();
        scan_ahead(
            search,
            piece(search, step, task),
            |window| {
                let slot = layout.slot(spread(window.canonical()));
                prefetch(table, (slot >> 2) as usize);
                slot
            },
            |slot| Layout::add(table, slot),
        )
    });
    search.job.cancel.check()?;
    ranking.figures.windows = windows.into_iter().map(|n| n as u64).sum();
    Ok(add_up(search, tables))
}

/// Marks the windows that may be frequent; how many by piece and bucket.
pub(super) fn flag(
    search: &Search<'_>,
    layout: Layout,
    table: &[u8],
    marks: &mut [[u64; HALVES]],
) -> Result<Vec<Histogram>> {
    let step = step_of(search);
    let tasks = search.text.len().div_ceil(step) as usize;
    let mut threads = vec![(); search.threads];
    let least = u8::try_from(search.parameters.min_frequency.min(3)).unwrap_or(3);
    // A palindrome counts twice.
    let least = [least, least.div_ceil(2)];
    let slots: Vec<Mutex<&mut [[u64; HALVES]]>> =
        marks.chunks_mut(step as usize / 64).map(Mutex::new).collect();
    let histograms = crew::each(&mut threads, tasks, |(), task| {
        let mut histogram = [0; BUCKETS];
        if search.job.cancel.is_cancelled() {
            return histogram;
        }
        let (from, to) = piece(search, step, task);
        let mut own = slots[task].lock().unwrap_or_else(PoisonError::into_inner);
        // What a closure owns need not be fetched for every window.
        let (own, counts) = (&mut own[..], &mut histogram);
        scan_ahead(
            search,
            (from, to),
            move |window| {
                let slot = layout.slot(spread(window.canonical()));
                prefetch(table, (slot >> 2) as usize);
                // The lowest bit of the place says that it is a palindrome.
                (slot, (window.at - from) << 1 | u32::from(window.forward == window.reverse))
            },
            move |(slot, at)| {
                let admitted = Layout::get(table, slot) >= least[at as usize & 1];
                let (at, bucket) = (at >> 1, layout.bucket(slot));
                own[at as usize / 64][half_of(bucket)] |= u64::from(admitted) << (at % 64);
                counts[bucket] += u32::from(admitted);
            },
        );
        histogram
    });
    search.job.cancel.check()?;
    Ok(histograms)
}

/// Bytes of tables that are added up by one task.
const ADDED_TOGETHER: usize = 1 << 16;

/// Adds the counters of all tables up, each to at most three.
fn add_up(search: &Search<'_>, mut tables: Vec<Zeroes>) -> Zeroes {
    let mut sum = tables.swap_remove(0);
    if !tables.is_empty() {
        let slots: Vec<Mutex<&mut [u8]>> = sum.chunks_mut(ADDED_TOGETHER).map(Mutex::new).collect();
        let mut threads = vec![(); search.threads];
        crew::each(&mut threads, slots.len(), |(), task| {
            let mut own = slots[task].lock().unwrap_or_else(PoisonError::into_inner);
            let from = task * ADDED_TOGETHER;
            for other in &tables {
                for (a, b) in own.iter_mut().zip(&other[from..]) {
                    *a = added(*a, *b);
                }
            }
        });
    }
    sum
}

/// The sums of four two-bit counters, each at most three.
#[inline(always)]
fn added(a: u8, b: u8) -> u8 {
    const LOW: u8 = 0x55;
    let (a0, a1, b0, b1) = (a & LOW, a >> 1 & LOW, b & LOW, b >> 1 & LOW);
    let carry = a0 & b0;
    let high = a1 | b1;
    (high | carry) << 1 | (a0 ^ b0) | (a1 & b1) | (high & carry)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_add_up_to_three() {
        for a in 0..=255_u8 {
            for b in 0..=255_u8 {
                let one = |byte: u8, i: u32| byte >> (2 * i) & 3;
                let sum = added(a, b);
                for i in 0..4 {
                    assert_eq!(one(sum, i), 3.min(one(a, i) + one(b, i)), "{a} {b} {i}");
                }
            }
        }
    }

    #[test]
    fn a_slot_tells_the_bucket() {
        let layout = Layout::new(1 << 20);
        for i in 0..1000_u64 {
            let hash = crate::kmer::mix(i);
            assert_eq!(layout.bucket(layout.slot(hash)), super::super::bucket_of(hash));
        }
    }
}
