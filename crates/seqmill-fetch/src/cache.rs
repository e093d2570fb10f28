//! Inflated blocks of a process, kept for windows that follow.

use rustc_hash::FxBuildHasher;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

type Key = (u32, u32);

#[derive(Debug, Default)]
struct Entries {
    blocks: hashbrown::HashMap<Key, (Arc<Vec<u8>>, bool), FxBuildHasher>,
    /// In the order in which they came; one that was used since gets a second chance.
    order: VecDeque<Key>,
    bytes: usize,
}

/// A bounded number of bytes of blocks, by file and block.
#[derive(Debug)]
pub(crate) struct BlockCache {
    entries: Mutex<Entries>,
    limit: AtomicUsize,
}

impl BlockCache {
    pub(crate) fn new(limit: usize) -> Self {
        Self { entries: Mutex::default(), limit: AtomicUsize::new(limit) }
    }

    fn limit(&self) -> usize {
        self.limit.load(Ordering::Relaxed)
    }

    pub(crate) fn is_on(&self) -> bool {
        self.limit() > 0
    }

    /// Changes the limit; what is above it goes at once.
    pub(crate) fn set_limit(&self, limit: usize) {
        self.limit.store(limit, Ordering::Relaxed);
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        if entries.bytes > limit {
            *entries = Entries::default();
        }
    }

    pub(crate) fn get(&self, file: u32, block: u32) -> Option<Arc<Vec<u8>>> {
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        let (bytes, used) = entries.blocks.get_mut(&(file, block))?;
        *used = true;
        Some(Arc::clone(bytes))
    }

    pub(crate) fn insert(&self, file: u32, block: u32, bytes: Arc<Vec<u8>>) {
        let size = bytes.capacity();
        let limit = self.limit();
        if size > limit {
            return;
        }
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        let entries = &mut *entries;
        while entries.bytes + size > limit {
            let Some(oldest) = entries.order.pop_front() else { break };
            match entries.blocks.get_mut(&oldest) {
                Some((_, used)) if *used => {
                    *used = false;
                    entries.order.push_back(oldest);
                }
                Some((old, _)) => {
                    entries.bytes -= old.capacity();
                    entries.blocks.remove(&oldest);
                }
                None => {}
            }
        }
        if entries.blocks.insert((file, block), (bytes, false)).is_none() {
            entries.order.push_back((file, block));
            entries.bytes += size;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_holds_and_what_is_used_stays() {
        let cache = BlockCache::new(1000);
        for i in 0..100 {
            cache.insert(0, i, Arc::new(Vec::with_capacity(100)));
            assert!(cache.get(0, 0).is_some(), "{i}");
            assert!(cache.entries.lock().unwrap().bytes <= 1000);
        }
        assert!(cache.get(0, 1).is_none());
        cache.insert(0, 200, Arc::new(Vec::with_capacity(2000)));
        assert!(cache.get(0, 200).is_none());
        cache.set_limit(0);
        assert!(cache.get(0, 0).is_none() && !cache.is_on());
    }
}
