//! Asking for large pages.
//!
//! The first touch of a page costs more than what is done with most pages, and where several
//! threads touch new memory they wait for each other there; of large pages there are few.

use std::ops::{Deref, DerefMut};

/// Bytes of a page on most machines.
const PAGE_BYTES: usize = 4096;
/// Bytes of a large page on most machines.
pub const LARGE_PAGE_BYTES: usize = 1 << 21;

/// Gives `items` back, whose memory, used or not, is to be of large pages where it can.
///
/// For what will be touched wholly, before it is: a large page is taken whole at its first touch,
/// so that of memory that is only touched here and there more would be held than was reserved.
#[must_use]
pub fn of_large_pages<T>(mut items: Vec<T>) -> Vec<T> {
    prefer_large_pages(items.as_mut_ptr().cast(), items.capacity() * size_of::<T>());
    items
}

/// Asks for large pages from `base` on; a hint.
pub fn prefer_large_pages(base: *mut u8, length: usize) {
    if length < LARGE_PAGE_BYTES {
        return;
    }
    let begin = base.wrapping_add(base.align_offset(PAGE_BYTES));
    let length = (length - (begin as usize - base as usize)) / PAGE_BYTES * PAGE_BYTES;
    #[cfg(target_os = "linux")]
    // SAFETY: nothing of what the memory holds is changed, whoever it belongs to.
    unsafe {
        libc::madvise(begin.cast(), length, libc::MADV_HUGEPAGE);
    }
    #[cfg(not(target_os = "linux"))]
    let _ = (begin, length);
}

/// Zeroes of large pages, from the first page to the last where that can be.
#[derive(Debug)]
pub struct Zeroes {
    memory: Vec<u8>,
    from: usize,
    length: usize,
}

impl Zeroes {
    /// So many of them; none is touched yet.
    #[must_use]
    pub fn new(length: usize) -> Self {
        // With less than a large page there is nothing to be gained.
        let spare = if length < LARGE_PAGE_BYTES { 0 } else { LARGE_PAGE_BYTES };
        let memory = of_large_pages(vec![0; length + spare]);
        let from = memory.as_ptr().align_offset(LARGE_PAGE_BYTES).min(spare);
        Self { memory, from, length }
    }
}

impl Deref for Zeroes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.memory[self.from..self.from + self.length]
    }
}

impl DerefMut for Zeroes {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.memory[self.from..self.from + self.length]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_there_stays() {
        for length in [0, 1, 5000, 3 << 18] {
            let items: Vec<u64> = (0..length).collect();
            assert_eq!(of_large_pages(items), (0..length).collect::<Vec<u64>>());
        }
        for length in [0, 1, 3 << 21, (3 << 21) + 1] {
            let mut zeroes = Zeroes::new(length);
            assert!(zeroes.len() == length && zeroes.iter().all(|byte| *byte == 0));
            zeroes.fill(1);
        }
        let room = of_large_pages(Vec::<u8>::with_capacity(5 << 20));
        assert_eq!((room.len(), room.capacity()), (0, 5 << 20));
    }
}
