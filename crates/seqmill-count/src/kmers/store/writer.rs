//! Items on their way into a store.

use super::{Store, lock};
use crate::kmers::arena::BLOCK_BYTES;
use crate::kmers::word::Word;
use seqmill_base::Result;

/// One thread's open block of each shard.
pub(in crate::kmers) struct Writer<'s, T: Word> {
    store: &'s Store<T>,
    /// Where the next item goes. It has no room there: the block is full, or there is none.
    next: Vec<*mut u8>,
}

/// Whether an item does not fit into the block at a place behind another item, or there is no
/// block.
#[inline(always)]
fn is_full<T: Word>(place: *mut u8) -> bool {
    // At the edge of a block all bits are set, so that one comparison tells both.
    (place as usize % BLOCK_BYTES).wrapping_sub(1) >= BLOCK_BYTES - T::BYTES
}

impl<'s, T: Word> Writer<'s, T> {
    pub(in crate::kmers) fn new(store: &'s Store<T>) -> Self {
        Self { store, next: vec![std::ptr::null_mut(); store.shards()] }
    }

    /// Adds an item. `relieve` makes room when the arena is full.
    #[inline(always)]
    pub(in crate::kmers) fn push(
        &mut self,
        shard: usize,
        item: T,
        relieve: &mut impl FnMut() -> Result<()>,
    ) -> Result<()> {
        let place = self.next[shard];
        if is_full::<T>(place) {
            return self.push_in_new_block(shard, item, relieve);
        }
        // SAFETY: the place is inside of a block of this writer, behind its last item, and a whole
        // item fits in; what it has beyond the width of the store the next one overwrites.
        unsafe {
            place.cast::<T>().write_unaligned(item);
            self.next[shard] = place.add(self.store.width);
        }
        Ok(())
    }

    #[cold]
    fn push_in_new_block(
        &mut self,
        shard: usize,
        item: T,
        relieve: &mut impl FnMut() -> Result<()>,
    ) -> Result<()> {
        let arena = &self.store.arena;
        let full = std::mem::replace(&mut self.next[shard], std::ptr::null_mut());
        if !full.is_null() {
            let last = full.wrapping_sub(1);
            self.store.add_full(shard, arena.block_at(last));
        }
        let block = loop {
            if let Some(block) = arena.take() {
                break block;
            }
            relieve()?;
        };
        let place = arena.place(block);
        // SAFETY: a new block has room for an item.
        unsafe {
            place.cast::<T>().write_unaligned(item);
            self.next[shard] = place.add(self.store.width);
        }
        Ok(())
    }
}

impl<T: Word> Drop for Writer<'_, T> {
    /// Hands over the open blocks.
    fn drop(&mut self) {
        for (shard, place) in self.next.iter().enumerate() {
            if place.is_null() {
                continue;
            }
            let last = place.wrapping_sub(1);
            let block = self.store.arena.block_at(last);
            let items = (last as usize % BLOCK_BYTES + 1) / self.store.width;
            if items == self.store.per_block {
                self.store.add_full(shard, block);
            } else {
                lock(&self.store.shards[shard]).partial.push((block, items as u32));
            }
        }
    }
}
