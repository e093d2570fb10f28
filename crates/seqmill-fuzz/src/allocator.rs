//! The system allocator with a count of live bytes and a limit nobody may pass.

use std::alloc::{GlobalAlloc, Layout, System};
use std::backtrace::Backtrace;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

static LIVE: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);
static LARGEST: AtomicUsize = AtomicUsize::new(0);
/// Beyond this an allocation fails, which ends the process.
static HARD_LIMIT: AtomicUsize = AtomicUsize::new(usize::MAX);
/// Beyond this the place is noted once, if anybody wants to know it.
static SOFT_LIMIT: AtomicUsize = AtomicUsize::new(usize::MAX);
static NOTING: AtomicBool = AtomicBool::new(false);
static NOTED: Mutex<Option<String>> = Mutex::new(None);

/// Beyond this nobody waits for the end of a case.
const HARD_BYTES: usize = 1 << 30;

/// Counts what the Rust side allocates; the C compressors have bounded states of their own.
pub(crate) struct Counting;

/// What a case allocated.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Figures {
    /// Most bytes live at once, beyond those live before.
    pub peak: usize,
    /// Largest single allocation.
    pub largest: usize,
}

/// Begins to measure; from now on there is a limit of live bytes beyond those live now.
pub(crate) fn begin() -> usize {
    let base = LIVE.load(Ordering::Relaxed);
    PEAK.store(base, Ordering::Relaxed);
    LARGEST.store(0, Ordering::Relaxed);
    HARD_LIMIT.store(base.saturating_add(HARD_BYTES), Ordering::Relaxed);
    base
}

/// Notes where the live bytes first pass `soft` beyond `base`.
pub(crate) fn note_beyond(base: usize, soft: usize) {
    SOFT_LIMIT.store(base.saturating_add(soft), Ordering::Relaxed);
    NOTING.store(true, Ordering::Relaxed);
}

/// The figures since [`begin`] returned `base`; the limits no longer hold.
pub(crate) fn end(base: usize) -> Figures {
    HARD_LIMIT.store(usize::MAX, Ordering::Relaxed);
    SOFT_LIMIT.store(usize::MAX, Ordering::Relaxed);
    Figures {
        peak: PEAK.load(Ordering::Relaxed).saturating_sub(base),
        largest: LARGEST.load(Ordering::Relaxed),
    }
}

/// Where the soft limit was passed.
pub(crate) fn noted() -> Option<String> {
    NOTED.lock().unwrap_or_else(PoisonError::into_inner).take()
}

fn grown(bytes: usize) -> bool {
    let live = LIVE.fetch_add(bytes, Ordering::Relaxed) + bytes;
    if live > HARD_LIMIT.load(Ordering::Relaxed) {
        LIVE.fetch_sub(bytes, Ordering::Relaxed);
        return false;
    }
    PEAK.fetch_max(live, Ordering::Relaxed);
    LARGEST.fetch_max(bytes, Ordering::Relaxed);
    if live > SOFT_LIMIT.load(Ordering::Relaxed) && NOTING.swap(false, Ordering::Relaxed) {
        let trace = format!("{live} bytes live with {bytes} more\n{}", Backtrace::force_capture());
        *NOTED.lock().unwrap_or_else(PoisonError::into_inner) = Some(trace);
    }
    true
}

// SAFETY: every call goes to the system allocator with the layout it was given; counting does not
// touch the memory. A null pointer is what the trait asks for when there is no memory.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if !grown(layout.size()) {
            return std::ptr::null_mut();
        }
        // SAFETY: passed on from the caller.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        if !grown(layout.size()) {
            return std::ptr::null_mut();
        }
        // SAFETY: passed on from the caller.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        LIVE.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: passed on from the caller.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        if size > layout.size() && !grown(size - layout.size()) {
            return std::ptr::null_mut();
        }
        if size < layout.size() {
            LIVE.fetch_sub(layout.size() - size, Ordering::Relaxed);
        }
        // SAFETY: passed on from the caller.
        unsafe { System.realloc(pointer, layout, size) }
    }
}
