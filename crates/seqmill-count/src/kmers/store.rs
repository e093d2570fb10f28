//! Items sorted roughly into shards, in blocks of the arena and, when that is full, in one
//! temporary file without a name.

mod spill;
mod writer;

pub(super) use spill::SpillFile;
pub(super) use writer::Writer;

use super::arena::{Arena, BLOCK_BYTES};
use super::word::Word;
use seqmill_base::Result;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Blocks written at once.
const WRITE_BLOCKS: usize = 64;
/// Blocks read at once.
const READ_BLOCKS: usize = 16;

/// Blocks in the file.
#[derive(Clone, Copy)]
struct Spilled {
    /// Number of the first.
    at: u64,
    blocks: u32,
    /// Items of each.
    items: u32,
}

#[derive(Default)]
struct Content {
    full: Vec<u32>,
    /// Blocks that are not full, and their items.
    partial: Vec<(u32, u32)>,
    spilled: Vec<Spilled>,
}

#[derive(Default)]
struct Shard {
    content: Mutex<Content>,
    /// Full blocks in memory.
    held: AtomicU32,
    /// Those that were not merged yet.
    fresh: AtomicU32,
}

/// Shards of items.
pub(super) struct Store<T> {
    pub(super) arena: Arc<Arena>,
    file: Arc<SpillFile>,
    shards: Vec<Shard>,
    /// Bytes of an item in a block: the low ones.
    width: usize,
    /// Items in a block. The last is written and read whole.
    per_block: usize,
    kind: std::marker::PhantomData<fn(T)>,
}

fn lock(shard: &Shard) -> MutexGuard<'_, Content> {
    shard.content.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<T: Word> Store<T> {
    /// A store of items of which no more than the low `width` bytes are set.
    pub(super) fn new(
        arena: Arc<Arena>,
        file: Arc<SpillFile>,
        shards: usize,
        width: usize,
    ) -> Self {
        let shards = (0..shards).map(|_| Shard::default()).collect();
        let width = if T::LOW_FIRST { width.clamp(1, T::BYTES) } else { T::BYTES };
        let per_block = (BLOCK_BYTES - T::BYTES) / width + 1;
        Self { arena, file, shards, width, per_block, kind: std::marker::PhantomData }
    }

    pub(super) fn width(&self) -> usize {
        self.width
    }

    pub(super) fn shards(&self) -> usize {
        self.shards.len()
    }

    /// Items of a shard. Only once all writers have ended.
    pub(super) fn items(&self, shard: usize) -> u64 {
        let content = lock(&self.shards[shard]);
        let spilled = content.spilled.iter().map(|s| u64::from(s.blocks) * u64::from(s.items));
        let partial = content.partial.iter().map(|p| u64::from(p.1));
        let full = content.full.len() as u64 * self.per_block as u64;
        full + spilled.sum::<u64>() + partial.sum::<u64>()
    }

    fn add_full(&self, shard: usize, block: u32) {
        let shard = &self.shards[shard];
        let mut content = lock(shard);
        content.full.push(block);
        shard.held.fetch_add(1, Ordering::Relaxed);
        shard.fresh.fetch_add(1, Ordering::Relaxed);
    }

    /// The shard with the most blocks: of those not merged yet, or of all.
    pub(super) fn fullest(&self, fresh: bool) -> (usize, u32) {
        let blocks = self.shards.iter().map(|s| {
            if fresh { s.fresh.load(Ordering::Relaxed) } else { s.held.load(Ordering::Relaxed) }
        });
        blocks.enumerate().max_by_key(|(_, n)| *n).unwrap_or((0, 0))
    }

    /// Writes full blocks to the file, of the fullest shards, until so many are free or there are
    /// no more; returns how many.
    pub(super) fn spill_full(&self, wanted: usize) -> Result<usize> {
        let mut freed = 0;
        while freed < wanted {
            let (shard, held) = self.fullest(false);
            if held == 0 {
                break;
            }
            let shard = &self.shards[shard];
            // Whoever drains the shard waits: what is on its way would be missed.
            let mut content = lock(shard);
            let blocks = std::mem::take(&mut content.full);
            shard.held.fetch_sub(blocks.len() as u32, Ordering::Relaxed);
            shard.fresh.store(0, Ordering::Relaxed);
            for group in blocks.chunks(WRITE_BLOCKS) {
                self.write_blocks(group, self.per_block as u32, &mut content)?;
            }
            freed += blocks.len();
        }
        Ok(freed)
    }

    /// The same for blocks that are not full, but none that a writer still fills.
    pub(super) fn spill_partial(&self, wanted: usize) -> Result<usize> {
        let mut freed = 0;
        // From the end: the first shards are drained soon.
        for shard in self.shards.iter().rev() {
            if freed >= wanted {
                break;
            }
            let mut content = lock(shard);
            for (block, items) in std::mem::take(&mut content.partial) {
                self.write_blocks(&[block], items, &mut content)?;
                freed += 1;
            }
        }
        Ok(freed)
    }

    fn write_blocks(&self, blocks: &[u32], items: u32, content: &mut Content) -> Result<()> {
        let mut bytes = Vec::with_capacity(blocks.len() * BLOCK_BYTES);
        for block in blocks {
            // SAFETY: the block belongs to the caller since it was taken off the list.
            let block =
                unsafe { std::slice::from_raw_parts(self.arena.place(*block), BLOCK_BYTES) };
            bytes.extend_from_slice(block);
        }
        let at = self.file.write(&bytes, blocks.len() as u64)?;
        self.arena.give(blocks);
        content.spilled.push(Spilled { at, blocks: blocks.len() as u32, items });
        Ok(())
    }

    /// Appends the first `n` items of a block.
    fn unpack(&self, block: &[u8], n: usize, items: &mut Vec<T>) {
        debug_assert!(block.len() == BLOCK_BYTES && n <= self.per_block);
        items.reserve(n);
        let mask = T::ones(8 * self.width as u32);
        for (i, item) in items.spare_capacity_mut().iter_mut().take(n).enumerate() {
            // SAFETY: a block holds all bytes of its last item, and any bytes are a number.
            let found = unsafe { block.as_ptr().add(i * self.width).cast::<T>().read_unaligned() };
            item.write(found.and(mask));
        }
        // SAFETY: there was room for as many, and all were written.
        unsafe { items.set_len(items.len() + n) };
    }

    /// Takes the items out of a shard, about `limit` at a time.
    pub(super) fn drain(
        &self,
        shard: usize,
        items: &mut Vec<T>,
        limit: usize,
        mut take: impl FnMut(&mut Vec<T>) -> Result<()>,
    ) -> Result<()> {
        let state = &self.shards[shard];
        let content = {
            let mut content = lock(state);
            state.held.store(0, Ordering::Relaxed);
            state.fresh.store(0, Ordering::Relaxed);
            std::mem::take(&mut *content)
        };
        let limit = limit.max(self.per_block);
        items.clear();
        let whole = content.full.iter().map(|b| (*b, self.per_block as u32));
        for (block, n) in whole.chain(content.partial.iter().copied()) {
            if items.len() + n as usize > limit {
                take(items)?;
                items.clear();
            }
            // SAFETY: the block is of this shard alone.
            let bytes = unsafe { std::slice::from_raw_parts(self.arena.place(block), BLOCK_BYTES) };
            self.unpack(bytes, n as usize, items);
            self.arena.give(&[block]);
        }
        let mut read = Vec::new();
        for spilled in content.spilled {
            for first in (0..spilled.blocks).step_by(READ_BLOCKS) {
                let blocks = (spilled.blocks - first).min(READ_BLOCKS as u32);
                read.resize(blocks as usize * BLOCK_BYTES, 0);
                self.file.read(&mut read, spilled.at + u64::from(first))?;
                for block in read.chunks(BLOCK_BYTES) {
                    if items.len() + spilled.items as usize > limit {
                        take(items)?;
                        items.clear();
                    }
                    self.unpack(block, spilled.items as usize, items);
                }
            }
        }
        if items.is_empty() { Ok(()) } else { take(items) }
    }

    /// Replaces the blocks of a shard by fewer: `merge` gets about `limit` items at a time and
    /// leaves what is to be kept. Returns blocks before and behind.
    pub(super) fn compact(
        &self,
        shard: usize,
        items: &mut Vec<T>,
        limit: usize,
        mut merge: impl FnMut(&mut Vec<T>),
    ) -> (usize, usize) {
        let state = &self.shards[shard];
        let (full, mut blocks) = {
            let mut content = lock(state);
            state.held.store(0, Ordering::Relaxed);
            state.fresh.store(0, Ordering::Relaxed);
            (std::mem::take(&mut content.full), std::mem::take(&mut content.partial))
        };
        blocks.extend(full.iter().map(|block| (*block, self.per_block as u32)));
        let (mut kept, mut partial) = (Vec::new(), Vec::new());
        for group in blocks.chunks((limit / self.per_block).max(1)) {
            items.clear();
            for (block, n) in group {
                // SAFETY: the block belongs to this function since it was taken off the list.
                let bytes =
                    unsafe { std::slice::from_raw_parts(self.arena.place(*block), BLOCK_BYTES) };
                self.unpack(bytes, *n as usize, items);
            }
            merge(items);
            let mut free = group.iter().map(|(block, _)| *block);
            for part in items.chunks(self.per_block) {
                let Some(block) = free.next() else { break };
                for (at, item) in part.iter().enumerate() {
                    // SAFETY: as above; `part` has no more items than a block.
                    unsafe {
                        let to = self.arena.place(block).add(at * self.width);
                        to.cast::<T>().write_unaligned(*item);
                    }
                }
                if part.len() == self.per_block {
                    kept.push(block);
                } else {
                    partial.push((block, part.len() as u32));
                }
            }
            let free: Vec<u32> = free.collect();
            self.arena.give(&free);
        }
        let behind = kept.len() + partial.len();
        let mut content = lock(state);
        state.held.fetch_add(kept.len() as u32, Ordering::Relaxed);
        content.full.extend(kept);
        content.partial.extend(partial);
        (blocks.len(), behind)
    }
}

impl<T> Drop for Store<T> {
    fn drop(&mut self) {
        for shard in &self.shards {
            let content = std::mem::take(&mut *lock(shard));
            self.arena.give(&content.full);
            let partial: Vec<u32> = content.partial.iter().map(|p| p.0).collect();
            self.arena.give(&partial);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kmers::word::Wide;
    use seqmill_base::Budget;

    #[test]
    fn what_goes_to_the_file_comes_back() {
        check::<u64>(8);
        check::<u64>(5);
        check::<u64>(3);
        check::<u128>(16);
        check::<u128>(12);
        check::<Wide<4>>(32);
        // Whose low bytes come last.
        check::<Wide<4>>(12);
    }

    fn check<T: Word>(width: usize) {
        let budget = Budget::new(8 << 20, 0).unwrap();
        let lease = budget.must_reserve(budget.account("blocks", 0), 1 << 20).unwrap();
        let arena = Arc::new(Arena::new(lease).unwrap());
        let file = Arc::new(SpillFile::new(&std::env::temp_dir()));
        let store = Store::<T>::new(Arc::clone(&arena), file, 16, width);
        let mut expected = vec![Vec::new(); 16];
        for writers in 0..3 {
            let mut writer = Writer::new(&store);
            for item in 0..50_000_u64 {
                let shard = (item % 15) as usize;
                let mut relieve = || store.spill_full(8).map(|_| ());
                // The highest byte that is kept is set as well.
                let high = T::from_low(item & 0xff).up(8 * width as u32 - 8);
                let item = T::from_low(3 * item + writers).or(high);
                writer.push(shard, item, &mut relieve).unwrap();
                expected[shard].push(item);
            }
        }
        assert!(store.spill_partial(3).unwrap() >= 3);
        // One thread spills what another drains.
        let found: Vec<Vec<T>> = std::thread::scope(|scope| {
            scope.spawn(|| {
                while store.spill_full(1).unwrap() + store.spill_partial(1).unwrap() > 0 {}
            });
            let drain = |shard| {
                let (mut items, mut all) = (Vec::new(), Vec::new());
                assert_eq!(store.items(shard), expected[shard].len() as u64);
                let take = |items: &mut Vec<T>| {
                    all.extend_from_slice(items);
                    Ok(())
                };
                store.drain(shard, &mut items, 700, take).unwrap();
                all.sort_unstable();
                all
            };
            (0..16).map(drain).collect()
        });
        for (found, expected) in found.iter().zip(&mut expected) {
            expected.sort_unstable();
            assert_eq!(found, expected);
        }
        assert_eq!(arena.used(), 0);
    }
}
