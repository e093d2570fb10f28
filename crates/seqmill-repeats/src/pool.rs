//! Buffers that are used again: what one batch leaves, the next one takes.

use serde::Serialize;
use std::ops::{Deref, DerefMut};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Buffers that a pool keeps at most.
const MOST_KEPT: usize = 64;
/// Bytes of the largest buffer that is kept.
const MOST_BYTES: usize = 1 << 20;

/// How a pool was used.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct PoolFigures {
    /// Buffers taken.
    pub taken: u64,
    /// Those of them that were there already and large enough.
    pub reused: u64,
    /// Allocations: buffers that were not there, and those that had to grow.
    pub allocated: u64,
    /// Buffers given back.
    pub returned: u64,
    /// Bytes of the buffers that are kept.
    pub held_bytes: u64,
}

#[derive(Debug)]
struct Inner<T> {
    free: Mutex<Vec<Vec<T>>>,
    taken: AtomicU64,
    reused: AtomicU64,
    allocated: AtomicU64,
    returned: AtomicU64,
}

impl<T> Inner<T> {
    fn lock(&self) -> MutexGuard<'_, Vec<Vec<T>>> {
        self.free.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Buffers of one kind of item.
#[derive(Debug)]
pub(crate) struct Pool<T>(Arc<Inner<T>>);

impl<T> Default for Pool<T> {
    fn default() -> Self {
        let zero = || AtomicU64::new(0);
        Self(Arc::new(Inner {
            free: Mutex::default(),
            taken: zero(),
            reused: zero(),
            allocated: zero(),
            returned: zero(),
        }))
    }
}

impl<T> Pool<T> {
    /// An empty buffer with room for so many items.
    pub(crate) fn take(&self, capacity: usize) -> Pooled<T> {
        let inner = &self.0;
        let found = {
            let mut free = inner.lock();
            // The last one that is large enough; else the largest, which grows once.
            let fits = free.iter().rposition(|buffer| buffer.capacity() >= capacity);
            fits.map(|i| free.swap_remove(i))
        };
        inner.taken.fetch_add(1, Ordering::Relaxed);
        let count = if found.is_some() { &inner.reused } else { &inner.allocated };
        count.fetch_add(1, Ordering::Relaxed);
        let buffer = found.unwrap_or_else(|| Vec::with_capacity(capacity));
        Pooled { capacity: buffer.capacity(), buffer, home: Arc::clone(inner) }
    }

    pub(crate) fn figures(&self) -> PoolFigures {
        let held: usize = self.0.lock().iter().map(|b| b.capacity() * size_of::<T>()).sum();
        let read = |figure: &AtomicU64| figure.load(Ordering::Relaxed);
        PoolFigures {
            taken: read(&self.0.taken),
            reused: read(&self.0.reused),
            allocated: read(&self.0.allocated),
            returned: read(&self.0.returned),
            held_bytes: held as u64,
        }
    }
}

/// A buffer that goes back to its pool.
#[derive(Debug)]
pub(crate) struct Pooled<T> {
    buffer: Vec<T>,
    /// Its capacity when it was taken.
    capacity: usize,
    home: Arc<Inner<T>>,
}

impl<T> Deref for Pooled<T> {
    type Target = Vec<T>;

    fn deref(&self) -> &Vec<T> {
        &self.buffer
    }
}

impl<T> DerefMut for Pooled<T> {
    fn deref_mut(&mut self) -> &mut Vec<T> {
        &mut self.buffer
    }
}

impl<T> Drop for Pooled<T> {
    fn drop(&mut self) {
        let mut buffer = std::mem::take(&mut self.buffer);
        buffer.clear();
        if buffer.capacity() > self.capacity {
            self.home.allocated.fetch_add(1, Ordering::Relaxed);
        }
        self.home.returned.fetch_add(1, Ordering::Relaxed);
        let mut free = self.home.lock();
        if free.len() < MOST_KEPT && buffer.capacity() * size_of::<T>() <= MOST_BYTES {
            if free.capacity() == 0 {
                free.reserve_exact(MOST_KEPT);
            }
            free.push(buffer);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_come_back() {
        let pool = Pool::<u32>::default();
        {
            let mut one = pool.take(10);
            one.extend(0..10);
            let _two = pool.take(100);
        }
        for _ in 0..100 {
            let buffer = pool.take(50);
            assert!(buffer.is_empty() && buffer.capacity() >= 50);
        }
        let figures = pool.figures();
        assert_eq!((figures.taken, figures.reused, figures.allocated), (102, 100, 2));
        assert_eq!((figures.returned, figures.held_bytes), (102, 440));
    }

    #[test]
    fn few_and_small_ones_are_kept() {
        let pool = Pool::<u64>::default();
        drop(pool.take(MOST_BYTES / 8 + 1));
        assert_eq!(pool.figures().held_bytes, 0);
        drop((0..100).map(|_| pool.take(1)).collect::<Vec<_>>());
        assert_eq!(pool.figures().held_bytes, 64 * 8);
        // One that grows was allocated again.
        let mut small = pool.take(1);
        small.extend(0..1000);
        drop(small);
        assert_eq!(pool.figures().allocated, 102);
    }
}
