//! One stock of blocks of 4 KiB for everything that waits to be counted.

use seqmill_base::large_pages::{LARGE_PAGE_BYTES, prefer_large_pages};
use seqmill_base::{Error, Lease, Result};
use std::ops::Range;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};

/// Bytes of a block; blocks are aligned to it.
pub(super) const BLOCK_BYTES: usize = 4096;

/// Blocks that are free: those given back, the latest first, then those never used, so that as
/// little memory as possible is ever touched.
struct Free {
    returned: Vec<u32>,
    /// Blocks never used, of one large page for each thread: two that touch a page for the first
    /// time at once would both clear one.
    pages: Vec<Range<u32>>,
    /// The first of those behind these pages.
    untouched: u32,
}

impl Free {
    /// A block for a thread; `blocks` is the number of all, `offset` what the first is behind the
    /// begin of a large page.
    fn take(&mut self, thread: usize, blocks: u32, offset: u32) -> Option<u32> {
        if let Some(block) = self.returned.pop() {
            return Some(block);
        }
        if self.pages.len() <= thread {
            self.pages.resize(thread + 1, 0..0);
        }
        if self.pages[thread].is_empty() && self.untouched < blocks {
            let begin = self.untouched;
            let per_page = (LARGE_PAGE_BYTES / BLOCK_BYTES) as u32;
            let left = per_page - (begin + offset) % per_page;
            self.untouched = begin.saturating_add(left).min(blocks);
            self.pages[thread] = begin..self.untouched;
        }
        // At the end what the others have not used yet.
        self.pages[thread].next().or_else(|| self.pages.iter_mut().find_map(Iterator::next))
    }
}

/// The stock.
pub(super) struct Arena {
    base: *mut u8,
    blocks: u32,
    free: Mutex<Free>,
    /// Blocks that may be in use for now.
    soft: AtomicU32,
    used: AtomicU32,
    _lease: Lease,
}

// SAFETY: blocks are handed out to one owner at a time; the base address never changes.
unsafe impl Send for Arena {}
// SAFETY: as above.
unsafe impl Sync for Arena {}

impl Arena {
    /// A stock of as many blocks as the lease has room for.
    pub(super) fn new(lease: Lease) -> Result<Self> {
        let per_block = BLOCK_BYTES as u64 + 8;
        let blocks = u32::try_from(lease.bytes() / per_block).unwrap_or(u32::MAX);
        let length = blocks.max(1) as usize * BLOCK_BYTES;
        // SAFETY: a new private mapping; the kernel chooses its place. Pages are touched later.
        let base = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                length,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE,
                -1,
                0,
            )
        };
        if base == libc::MAP_FAILED {
            return Err(Error::budget("the system refuses the memory of the budget", 0));
        }
        // Blocks are first touched in order: large pages are wholly used.
        prefer_large_pages(base.cast(), length);
        Ok(Self {
            base: base.cast(),
            blocks,
            free: Mutex::new(Free { returned: Vec::new(), pages: Vec::new(), untouched: 0 }),
            soft: AtomicU32::new(blocks),
            used: AtomicU32::new(0),
            _lease: lease,
        })
    }

    /// All blocks.
    pub(super) fn blocks(&self) -> u32 {
        self.blocks
    }

    /// Blocks in use.
    pub(super) fn used(&self) -> u32 {
        self.used.load(Ordering::Relaxed)
    }

    /// How many blocks may be in use before the stock says no.
    pub(super) fn soft_limit(&self) -> u32 {
        self.soft.load(Ordering::Relaxed)
    }

    /// Sets that number, at most to all blocks.
    pub(super) fn set_soft_limit(&self, blocks: u32) {
        self.soft.store(blocks.min(self.blocks), Ordering::Relaxed);
    }

    /// Takes a block for a thread, if the limit allows.
    pub(super) fn take(&self, thread: usize) -> Option<u32> {
        let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        if self.used() >= self.soft_limit() {
            return None;
        }
        let offset = (self.base as usize % LARGE_PAGE_BYTES / BLOCK_BYTES) as u32;
        let block = free.take(thread, self.blocks, offset)?;
        self.used.fetch_add(1, Ordering::Relaxed);
        Some(block)
    }

    /// Gives blocks back.
    pub(super) fn give(&self, blocks: &[u32]) {
        let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        free.returned.extend_from_slice(blocks);
        self.used.fetch_sub(blocks.len() as u32, Ordering::Relaxed);
    }

    /// Where a block lies.
    #[inline]
    pub(super) fn place(&self, block: u32) -> *mut u8 {
        debug_assert!(block < self.blocks);
        // SAFETY: blocks have numbers below `blocks`, so the place is within the mapping.
        unsafe { self.base.add(block as usize * BLOCK_BYTES) }
    }

    /// Which block begins at a place.
    #[inline]
    pub(super) fn block_at(&self, place: *const u8) -> u32 {
        ((place as usize - self.base as usize) / BLOCK_BYTES) as u32
    }
}

impl Drop for Arena {
    fn drop(&mut self) {
        let length = self.blocks.max(1) as usize * BLOCK_BYTES;
        // SAFETY: the mapping was made by `new` with this length and nobody uses it any more.
        unsafe { libc::munmap(self.base.cast(), length) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use seqmill_base::Budget;

    #[test]
    fn all_blocks_are_given_once() {
        let budget = Budget::new(16 << 20, 0).unwrap();
        let lease = budget.must_reserve(budget.account("blocks", 0), 11 << 20).unwrap();
        let arena = Arena::new(lease).unwrap();
        let mut first: Vec<u32> = (0..3).map(|thread| arena.take(thread).unwrap()).collect();
        let page = |block: u32| arena.place(block) as usize / LARGE_PAGE_BYTES;
        assert!(page(first[0]) != page(first[1]) && page(first[1]) != page(first[2]));
        // One thread gets all, also what the others have begun.
        while let Some(block) = arena.take(1) {
            first.push(block);
        }
        first.sort_unstable();
        assert_eq!(first, (0..arena.blocks()).collect::<Vec<_>>());
        arena.give(&[7, 5]);
        assert_eq!([arena.take(0), arena.take(2), arena.take(0)], [Some(5), Some(7), None]);
        assert_eq!(arena.used(), arena.blocks());
    }
}
