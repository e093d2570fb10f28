//! Asking for memory before it is looked at.
//!
//! Where look-ups are scattered over more than the caches hold, what takes time is waiting for one
//! after the other; those asked for ahead arrive side by side.
#![expect(clippy::inline_always, reason = "these are one instruction in loops over every item")]

/// Bytes that come at once.
const LINE_BYTES: usize = 64;

/// Asks for the memory of `items[i]`, if there is such an item.
#[inline(always)]
pub fn prefetch<T>(items: &[T], i: usize) {
    #[cfg(target_arch = "x86_64")]
    if i < items.len() {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: the item is there, and a prefetch changes nothing.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(items.as_ptr().add(i).cast()) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = (items, i);
}

/// Asks for all of `bytes`, which will be read here and there.
#[inline(always)]
pub fn prefetch_all(bytes: &[u8]) {
    for at in (0..bytes.len()).step_by(LINE_BYTES) {
        prefetch(bytes, at);
    }
}
