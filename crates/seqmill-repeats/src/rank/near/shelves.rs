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

/// Shelves for the seeds of one range.
const SHELVES: usize = 128;
/// Part of the bases of the genome, as bytes, that a range may fill in any case: with less it would
/// be looked through very many times.
const LEAST_PART: u64 = 2;
/// Occurrences in a box of a shelf.
const BOX_ITEMS: usize = 512;
const BOX_BYTES: u64 = BOX_ITEMS as u64 * 8;

/// Occurrences as `first place of the seed << 32 | place`, forward and reverse.
pub(super) type Found = [Vec<u64>; 2];

/// Boxes of occurrences, forward and reverse; all but the last of each are full.
#[derive(Debug, Default)]
pub(super) struct Shelf([Vec<Vec<u64>>; 2]);

impl Shelf {
    fn put(&mut self, strand: usize, item: u64) {
        let boxes = &mut self.0[strand];
        if boxes.last().is_none_or(|last| last.len() == BOX_ITEMS) {
            boxes.push(Vec::with_capacity(BOX_ITEMS));
        }
        if let Some(last) = boxes.last_mut() {
            last.push(item);
        }
    }

    fn items(&self) -> u64 {
        self.0.iter().flatten().map(|one| one.len() as u64).sum()
    }

    /// Moves all into two sorted lists.
    pub(super) fn empty_into(&mut self, lists: &mut Found) {
        for (list, boxes) in lists.iter_mut().zip(&mut self.0) {
            list.clear();
            list.reserve_exact(boxes.iter().map(Vec::len).sum());
            for one in boxes.drain(..) {
                list.extend_from_slice(&one);
            }
            list.sort_unstable();
        }
    }
}

struct State {
    shelves: Vec<Shelf>,
    /// Occurrences on the shelves.
    items: u64,
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
        let least = u64::from(search.text.len()) / LEAST_PART;
        let lease = super::reserve(search, least, "occurrences")?;
        let shelves = (0..SHELVES).map(|_| Shelf::default()).collect();
        let state = State { shelves, items: 0, lease, full: None };
        let limit = if splits { search.index_bytes } else { u64::MAX };
        let end = AtomicU32::new(range.end);
        let fewest = u64::from(search.parameters.min_frequency.max(1));
        let each = 8.max(4 + (size_of::<Candidate>() as u64).div_ceil(fewest));
        Ok(Self { state: Mutex::new(state), range, end, limit, least, each })
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
                            state.shelves[shelf].put(strand, *item);
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
            let bytes = self.bytes_for(state.items);
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
        (u64::from(first - self.range.start) * SHELVES as u64 / self.range.len() as u64) as usize
    }

    /// Bytes of so many occurrences, and of the boxes that may be begun.
    fn bytes_for(&self, items: u64) -> u64 {
        // The last box of each shelf and strand may be nearly empty.
        let bytes = items * self.each;
        (bytes + (bytes / 8).min(2 * SHELVES as u64 * BOX_BYTES)).max(self.least)
    }

    /// Gives up an eighth of what is held, from the last shelf on; false if that cannot be.
    fn give_up(&self, state: &mut State) -> bool {
        let wanted = (state.items - state.items / 8).saturating_sub(1);
        while state.items > wanted && state.shelves.len() > 1 {
            let items = state.shelves.pop().map_or(0, |shelf| shelf.items());
            state.items -= items;
        }
        let (kept, range) = (state.shelves.len() as u64, self.range.len() as u64);
        let length = (kept * range).div_ceil(SHELVES as u64) as u32;
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
        let bytes = self.bytes_for(state.items);
        state.lease.resize(bytes).is_ok() && bytes < before
    }

    /// Why there was no room, if there was none.
    pub(super) fn full(&self) -> Option<Error> {
        self.lock().full.take()
    }

    /// The shelves in the order of first places, and the reservation.
    pub(super) fn take(self) -> (Vec<Shelf>, Lease) {
        let state = self.state.into_inner().unwrap_or_else(PoisonError::into_inner);
        (state.shelves, state.lease)
    }
}
