//! Occurrences of seeds, put on shelves by the first place of the seed.
//!
//! Workers bring what they found bucket by bucket; each shelf is sorted and emptied by itself, so
//! nothing but the occurrences themselves stands in memory for all seeds at once.

use super::super::{Candidate, Search};
use seqmill_base::process::release_free_memory;
use seqmill_base::{Error, Lease, Result};
use std::ops::Range;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Least shelves for the seeds of one range.
const SHELVES: u32 = 128;
/// Most bits of the number of first places of a shelf.
const SHELF_BITS: u32 = u16::BITS;
/// Part of the bases of the genome, as bytes, that a range may fill in any case: with less it would
/// be looked through very many times.
const LEAST_PART: u64 = 2;
/// Occurrences in a box of a shelf: some pages full, so that a box leaves free pages behind while
/// those around it, which are of other shelves, are still in use.
const BOX_ITEMS: usize = ((16 << 10) - 16) / size_of::<Item>();
const BOX_BYTES: u64 = (BOX_ITEMS * size_of::<Item>()) as u64;

/// Bytes that a range may fill in any case.
pub(super) fn least_bytes(search: &Search<'_>) -> u64 {
    u64::from(search.text.len()) / LEAST_PART
}

/// Occurrences as `first place of the seed << 32 | place`, forward and reverse.
pub(super) type Found = [Vec<u64>; 2];

/// An occurrence on a shelf: its seed, counted from the first of the shelf, then the two halves
/// of its place. There are more of these than of anything else.
type Item = [u16; 3];

/// Boxes of occurrences, forward and reverse; all but the last of each are full.
#[derive(Debug, Default)]
pub(super) struct Shelf {
    boxes: [Vec<Vec<Item>>; 2],
    /// The first place of the first seed.
    base: u32,
}

impl Shelf {
    /// Takes an occurrence; whether a box was begun for it.
    fn put(&mut self, strand: usize, item: u64) -> bool {
        let boxes = &mut self.boxes[strand];
        let begun = boxes.last().is_none_or(|last| last.len() == BOX_ITEMS);
        if begun {
            boxes.push(Vec::with_capacity(BOX_ITEMS));
        }
        let seed = (item >> 32) as u32 - self.base;
        if let Some(last) = boxes.last_mut() {
            last.push([seed as u16, (item >> 16) as u16, item as u16]);
        }
        begun
    }

    fn items(&self) -> u64 {
        self.boxes.iter().flatten().map(|one| one.len() as u64).sum()
    }

    fn boxes(&self) -> u64 {
        self.boxes.iter().map(|boxes| boxes.len() as u64).sum()
    }

    /// Moves all into two sorted lists.
    pub(super) fn empty_into(&mut self, lists: &mut Found) {
        let base = u64::from(self.base);
        for (list, boxes) in lists.iter_mut().zip(&mut self.boxes) {
            list.clear();
            list.reserve_exact(boxes.iter().map(Vec::len).sum());
            for one in boxes.drain(..) {
                list.extend(one.iter().map(|[seed, high, low]| {
                    let place = u64::from(*high) << 16 | u64::from(*low);
                    (base + u64::from(*seed)) << 32 | place
                }));
            }
            list.sort_unstable();
        }
    }
}

struct State {
    shelves: Vec<Shelf>,
    /// Occurrences on the shelves, and the boxes that hold them.
    items: u64,
    boxes: u64,
    lease: Lease,
    /// There was no room for what came, and why.
    full: Option<Error>,
}

/// The shelves of one range of first places.
///
/// Where there is no room for all, the last shelves are given up and the range ends before them;
/// what has been done for the others is not done again.
pub(super) struct Shelves {
    state: Mutex<State>,
    range: Range<u32>,
    /// Bits of the number of first places of each.
    bits: u32,
    /// Where the shelves end that are left.
    end: AtomicU32,
    /// Most bytes; they are given up down to the least bytes only.
    limit: u64,
    least: u64,
    /// Bytes of an occurrence: on its shelf, or in the list that is made of it.
    each: u64,
}

impl Shelves {
    /// Empty shelves; as many bytes as the index may take unless the range cannot be split any
    /// more.
    pub(super) fn new(search: &Search<'_>, range: Range<u32>, splits: bool) -> Result<Self> {
        let least = least_bytes(search);
        let lease = super::reserve(search, least, "occurrences")?;
        let each = (range.len() as u32).div_ceil(SHELVES).max(1);
        let bits = (u32::BITS - (each - 1).leading_zeros()).min(SHELF_BITS);
        let bases = range.clone().step_by(1 << bits);
        let shelves = bases.map(|base| Shelf { base, ..Shelf::default() }).collect();
        let state = State { shelves, items: 0, boxes: 0, lease, full: None };
        let limit = if splits { search.index_bytes } else { u64::MAX };
        let end = AtomicU32::new(range.end);
        let fewest = u64::from(search.parameters.min_frequency.max(1));
        let each =
            (size_of::<Item>() as u64).max(4 + (size_of::<Candidate>() as u64).div_ceil(fewest));
        Ok(Self { state: Mutex::new(state), range, bits, end, limit, least, each })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The position behind the first places that have a shelf.
    pub(super) fn end(&self) -> u32 {
        self.end.load(Ordering::Relaxed)
    }

    /// Takes what was found and leaves the lists empty.
    pub(super) fn put(&self, found: &mut Found) {
        if found.iter().any(|list| !list.is_empty()) {
            let mut state = self.lock();
            if state.full.is_none() {
                for (strand, list) in found.iter().enumerate() {
                    for item in list {
                        let shelf = self.shelf_of((item >> 32) as u32);
                        if shelf < state.shelves.len() {
                            state.boxes += u64::from(state.shelves[shelf].put(strand, *item));
                            state.items += 1;
                        }
                    }
                }
                state.full = self.settle(&mut state).err();
            }
        }
        found.iter_mut().for_each(Vec::clear);
    }

    /// Reserves what is on the shelves, or gives up so many that there is room.
    fn settle(&self, state: &mut State) -> Result<()> {
        loop {
            let bytes = self.bytes_for(state);
            let room = if bytes <= state.lease.bytes() {
                return Ok(());
            } else if bytes > self.limit {
                Err(Error::budget("occurrences need more than the index may take", bytes))
            } else {
                state.lease.resize(bytes)
            };
            if room.is_ok() || !self.give_up(state) {
                return room;
            }
        }
    }

    fn shelf_of(&self, first: u32) -> usize {
        ((first - self.range.start) >> self.bits) as usize
    }

    /// Bytes of what is on the shelves: as it is there, or as lists.
    fn bytes_for(&self, state: &State) -> u64 {
        (state.items * self.each).max(state.boxes * BOX_BYTES).max(self.least)
    }

    /// Gives up an eighth of what is held, from the last shelf on; false if that cannot be.
    fn give_up(&self, state: &mut State) -> bool {
        let wanted = (state.items - state.items / 8).saturating_sub(1);
        while state.items > wanted && state.shelves.len() > 1 {
            if let Some(shelf) = state.shelves.pop() {
                state.items -= shelf.items();
                state.boxes -= shelf.boxes();
            }
        }
        let kept = (state.shelves.len() as u64) << self.bits;
        let length = kept.min(self.range.len() as u64) as u32;
        self.end.store(self.range.start + length, Ordering::Relaxed);
        state.items <= wanted
    }

    /// Whether a shorter range would need less.
    pub(super) fn is_shrinkable(&self) -> bool {
        self.lock().lease.bytes() > self.least
    }

    /// Makes room for something else; false if there is nothing that can be given up.
    pub(super) fn shrink(&self) -> bool {
        let mut state = self.lock();
        let before = state.lease.bytes();
        if before <= self.least || !self.give_up(&mut state) {
            return false;
        }
        // The boxes lie scattered: they are free memory only once the system has it back.
        release_free_memory();
        let bytes = self.bytes_for(&state);
        state.lease.resize(bytes).is_ok() && bytes < before
    }

    /// Bytes that the largest shelf takes while it is sorted, on each of so many threads: the
    /// occurrences as one list beside the boxes that they came from.
    pub(super) fn sorting_bytes(&self, threads: usize) -> u64 {
        let state = self.lock();
        let most = state.shelves.iter().map(Shelf::items).max().unwrap_or(0);
        most * (size_of::<u64>() + size_of::<Item>()) as u64 * threads as u64
    }

    /// Why there was no room, if there was none.
    pub(super) fn full(&self) -> Option<Error> {
        self.lock().full.take()
    }

    /// The shelves in the order of first places, how much there is on them, and the reservation.
    pub(super) fn take(self) -> (Vec<Shelf>, usize, Lease) {
        let state = self.state.into_inner().unwrap_or_else(PoisonError::into_inner);
        (state.shelves, usize::try_from(state.items).unwrap_or(usize::MAX), state.lease)
    }
}
