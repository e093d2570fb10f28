//! Items sorted roughly into shards, in blocks of the arena and, when that is full, in one
//! temporary file without a name.

use super::arena::{Arena, BLOCK_BYTES};
use super::word::Word;
use seqmill_base::{Error, Result};
use std::fs::{File, OpenOptions};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

/// Blocks written at once.
const WRITE_BLOCKS: usize = 64;

/// The temporary file, made when it is first needed.
pub(super) struct SpillFile {
    folder: PathBuf,
    file: OnceLock<File>,
    making: Mutex<()>,
    /// Blocks that were given a place.
    end: AtomicU64,
}

impl SpillFile {
    pub(super) fn new(folder: &Path) -> Self {
        Self {
            folder: folder.to_path_buf(),
            file: OnceLock::new(),
            making: Mutex::new(()),
            end: AtomicU64::new(0),
        }
    }

    /// Bytes that were written.
    pub(super) fn bytes(&self) -> u64 {
        self.end.load(Ordering::Relaxed) * BLOCK_BYTES as u64
    }

    fn file(&self) -> Result<&File> {
        let _making = self.making.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(file) = self.file.get() {
            return Ok(file);
        }
        let file = open_nameless(&self.folder)?;
        Ok(self.file.get_or_init(|| file))
    }

    fn write(&self, bytes: &[u8], blocks: u64) -> Result<u64> {
        let file = self.file()?;
        let at = self.end.fetch_add(blocks, Ordering::Relaxed);
        file.write_all_at(bytes, at * BLOCK_BYTES as u64).map_err(|e| self.failed(&e))?;
        Ok(at)
    }

    fn read(&self, bytes: &mut [u8], block: u64) -> Result<()> {
        let failed = |e: std::io::Error| self.failed(&e);
        self.file()?.read_exact_at(bytes, block * BLOCK_BYTES as u64).map_err(failed)
    }

    fn failed(&self, error: &std::io::Error) -> Error {
        Error::io(&self.folder, error)
    }
}

/// A file that is gone when the process is, however it ends.
fn open_nameless(folder: &Path) -> Result<File> {
    let failed = |e: std::io::Error| Error::io(folder, &e);
    let nameless =
        OpenOptions::new().read(true).write(true).custom_flags(libc::O_TMPFILE).open(folder);
    match nameless {
        Ok(file) => Ok(file),
        Err(e) if matches!(e.raw_os_error(), Some(libc::EOPNOTSUPP | libc::EISDIR)) => {
            let name = format!(".seqmill-{}.spill", std::process::id());
            let path = folder.join(name);
            let made = OpenOptions::new().read(true).write(true).create_new(true).open(&path);
            let file = made.map_err(failed)?;
            std::fs::remove_file(&path).map_err(failed)?;
            Ok(file)
        }
        Err(e) => Err(failed(e)),
    }
}

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
    kind: std::marker::PhantomData<fn(T)>,
}

fn lock(shard: &Shard) -> MutexGuard<'_, Content> {
    shard.content.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<T: Word> Store<T> {
    /// Items in a block.
    pub(super) const PER_BLOCK: usize = BLOCK_BYTES / T::BYTES;

    pub(super) fn new(arena: Arc<Arena>, file: Arc<SpillFile>, shards: usize) -> Self {
        let shards = (0..shards).map(|_| Shard::default()).collect();
        Self { arena, file, shards, kind: std::marker::PhantomData }
    }

    pub(super) fn shards(&self) -> usize {
        self.shards.len()
    }

    /// Items of a shard. Only once all writers have ended.
    pub(super) fn items(&self, shard: usize) -> u64 {
        let content = lock(&self.shards[shard]);
        let spilled = content.spilled.iter().map(|s| u64::from(s.blocks) * u64::from(s.items));
        let partial = content.partial.iter().map(|p| u64::from(p.1));
        let full = content.full.len() as u64 * Self::PER_BLOCK as u64;
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
                self.write_blocks(group, Self::PER_BLOCK as u32, &mut content)?;
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
        let limit = limit.max(Self::PER_BLOCK);
        items.clear();
        let whole = content.full.iter().map(|b| (*b, Self::PER_BLOCK as u32));
        for (block, n) in whole.chain(content.partial.iter().copied()) {
            if items.len() + n as usize > limit {
                take(items)?;
                items.clear();
            }
            // SAFETY: the block is of this shard alone, and its first `n` items were written.
            let found = unsafe {
                std::slice::from_raw_parts(self.arena.place(block).cast::<T>(), n as usize)
            };
            items.extend_from_slice(found);
            self.arena.give(&[block]);
        }
        for spilled in content.spilled {
            for i in 0..spilled.blocks {
                if items.len() + spilled.items as usize > limit {
                    take(items)?;
                    items.clear();
                }
                let start = items.len();
                items.resize(start + spilled.items as usize, T::default());
                // SAFETY: items are plain numbers: any bytes are one.
                let bytes = unsafe {
                    std::slice::from_raw_parts_mut(
                        items.as_mut_ptr().add(start).cast::<u8>(),
                        spilled.items as usize * T::BYTES,
                    )
                };
                self.file.read(bytes, spilled.at + u64::from(i))?;
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
        blocks.extend(full.iter().map(|block| (*block, Self::PER_BLOCK as u32)));
        let (mut kept, mut partial) = (Vec::new(), Vec::new());
        for group in blocks.chunks((limit / Self::PER_BLOCK).max(1)) {
            items.clear();
            for (block, n) in group {
                // SAFETY: the block belongs to this function since it was taken off the list, and
                // its first `n` items were written.
                let found = unsafe {
                    std::slice::from_raw_parts(self.arena.place(*block).cast(), *n as usize)
                };
                items.extend_from_slice(found);
            }
            merge(items);
            let mut free = group.iter().map(|(block, _)| *block);
            for part in items.chunks(Self::PER_BLOCK) {
                let Some(block) = free.next() else { break };
                // SAFETY: as above; `part` is no longer than a block.
                unsafe {
                    let to = self.arena.place(block).cast();
                    std::ptr::copy_nonoverlapping(part.as_ptr(), to, part.len());
                }
                if part.len() == Self::PER_BLOCK {
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

/// One thread's open block of each shard.
pub(super) struct Writer<'s, T: Word> {
    store: &'s Store<T>,
    /// Where the next item goes. A place at the edge of a block: it is full, or there is none.
    next: Vec<*mut T>,
}

impl<'s, T: Word> Writer<'s, T> {
    pub(super) fn new(store: &'s Store<T>) -> Self {
        Self { store, next: vec![std::ptr::null_mut(); store.shards()] }
    }

    /// Adds an item. `relieve` makes room when the arena is full.
    #[inline(always)]
    pub(super) fn push(
        &mut self,
        shard: usize,
        item: T,
        relieve: &mut impl FnMut() -> Result<()>,
    ) -> Result<()> {
        let place = self.next[shard];
        if (place as usize).is_multiple_of(BLOCK_BYTES) {
            return self.push_in_new_block(shard, item, relieve);
        }
        // SAFETY: the place is inside of a block of this writer, behind its last item.
        unsafe {
            place.write(item);
            self.next[shard] = place.add(1);
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
            let last = full.wrapping_sub(1).cast::<u8>();
            self.store.add_full(shard, arena.block_at(last));
        }
        let block = loop {
            if let Some(block) = arena.take() {
                break block;
            }
            relieve()?;
        };
        let place = arena.place(block).cast::<T>();
        // SAFETY: a new block has room for an item.
        unsafe {
            place.write(item);
            self.next[shard] = place.add(1);
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
            let last = place.wrapping_sub(1).cast::<u8>();
            let block = self.store.arena.block_at(last);
            let items = (last as usize % BLOCK_BYTES) / T::BYTES + 1;
            if items == Store::<T>::PER_BLOCK {
                self.store.add_full(shard, block);
            } else {
                lock(&self.store.shards[shard]).partial.push((block, items as u32));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use seqmill_base::Budget;

    #[test]
    fn what_goes_to_the_file_comes_back() {
        let budget = Budget::new(8 << 20, 0).unwrap();
        let lease = budget.must_reserve(budget.account("blocks", 0), 1 << 20).unwrap();
        let arena = Arc::new(Arena::new(lease).unwrap());
        let file = Arc::new(SpillFile::new(&std::env::temp_dir()));
        let store = Store::<u64>::new(Arc::clone(&arena), file, 16);
        let mut expected = vec![Vec::new(); 16];
        for writers in 0..3 {
            let mut writer = Writer::new(&store);
            for item in 0..50_000_u64 {
                let shard = (item % 15) as usize;
                let mut relieve = || store.spill_full(8).map(|_| ());
                writer.push(shard, 3 * item + writers, &mut relieve).unwrap();
                expected[shard].push(3 * item + writers);
            }
        }
        assert!(store.spill_partial(3).unwrap() >= 3);
        // One thread spills what another drains.
        let found: Vec<Vec<u64>> = std::thread::scope(|scope| {
            scope.spawn(|| {
                while store.spill_full(1).unwrap() + store.spill_partial(1).unwrap() > 0 {}
            });
            let drain = |shard| {
                let (mut items, mut all) = (Vec::new(), Vec::new());
                assert_eq!(store.items(shard), expected[shard].len() as u64);
                let take = |items: &mut Vec<u64>| {
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
