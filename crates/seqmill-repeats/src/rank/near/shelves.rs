//! Occurrences of seeds, put on shelves by the first place of the seed.
//!
//! Workers bring what they found bucket by bucket; each shelf is sorted and emptied by itself, so
//! nothing but the occurrences themselves stands in memory for all seeds at once.

use super::super::Search;
use seqmill_base::{Error, Lease, Result};
use std::ops::Range;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Shelves for the seeds of one range.
const SHELVES: usize = 128;
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
    /// Bytes of items, and of the boxes that may be begun.
    bytes: u64,
    lease: Lease,
    /// There was no room for what came, and why.
    full: Option<Error>,
}

/// The shelves of one range of first places.
pub(super) struct Shelves {
    state: Mutex<State>,
    range: Range<u32>,
    limit: u64,
}

impl Shelves {
    /// Empty shelves; `limit` bytes at most unless the range cannot be split any more.
    pub(super) fn new(search: &Search<'_>, range: Range<u32>, splits: bool) -> Result<Self> {
        let lease = super::reserve(search, 0, "occurrences")?;
        let shelves = (0..SHELVES).map(|_| Shelf::default()).collect();
        let state = State { shelves, bytes: 0, lease, full: None };
        let limit = if splits { search.index_bytes } else { u64::MAX };
        Ok(Self { state: Mutex::new(state), range, limit })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes what was found and leaves the lists empty.
    pub(super) fn put(&self, found: &mut Found) {
        let items = found[0].len() + found[1].len();
        if items > 0 {
            let mut state = self.lock();
            state.bytes += items as u64 * 8;
            // The last box of each shelf and strand may be nearly empty.
            let bytes = state.bytes + (state.bytes / 8).min(2 * SHELVES as u64 * BOX_BYTES);
            if state.full.is_none() {
                let more = bytes.min(self.limit.saturating_add(1));
                state.full = if bytes > self.limit {
                    Some(Error::budget("occurrences need more than the index may take", more))
                } else {
                    state.lease.resize(bytes).err()
                };
            }
            if state.full.is_none() {
                let (start, length) = (self.range.start, self.range.len() as u64);
                for (strand, list) in found.iter().enumerate() {
                    for item in list {
                        let first = (item >> 32) as u32 - start;
                        let shelf = (u64::from(first) * SHELVES as u64 / length) as usize;
                        state.shelves[shelf].put(strand, *item);
                    }
                }
            }
        }
        found.iter_mut().for_each(Vec::clear);
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
