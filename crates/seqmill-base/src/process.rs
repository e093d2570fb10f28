//! What the kernel says of this process and its threads.

use serde::Serialize;
use std::time::Duration;

/// Memory figures of `/proc/self/status`, in bytes; absent where the kernel does not say.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub struct MemoryFigures {
    /// `VmHWM`, the high-water mark of the resident set.
    pub rss_peak: Option<u64>,
    /// `VmRSS`.
    pub rss: Option<u64>,
    /// `RssAnon` + `RssShmem`.
    pub anon: Option<u64>,
    /// `RssFile`.
    pub mapped: Option<u64>,
}

/// Reads the memory figures of this process.
pub fn memory_figures() -> MemoryFigures {
    let Ok(text) = std::fs::read_to_string("/proc/self/status") else {
        return MemoryFigures::default();
    };
    let field = |name: &str| -> Option<u64> {
        let line = text.lines().find(|line| line.starts_with(name))?;
        let kib: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
        Some(kib * 1024)
    };
    MemoryFigures {
        rss_peak: field("VmHWM:"),
        rss: field("VmRSS:"),
        anon: field("RssAnon:").map(|anon| anon + field("RssShmem:").unwrap_or(0)),
        mapped: field("RssFile:"),
    }
}

/// CPU time, faults and context switches of this process (`getrusage`).
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub struct UsageFigures {
    /// CPU seconds in user mode.
    pub cpu_user_s: f64,
    /// CPU seconds in the kernel.
    pub cpu_sys_s: f64,
    /// Page faults that needed a device.
    pub major_faults: i64,
    /// Page faults that did not.
    pub minor_faults: i64,
    /// Times a thread gave up the processor.
    pub vol_ctx: i64,
    /// Times a thread was taken off the processor.
    pub invol_ctx: i64,
}

/// Reads the usage of this process.
pub fn usage_figures() -> UsageFigures {
    // SAFETY: an all-zero rusage is a valid value of this plain C struct.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    // SAFETY: the pointer is to a live, writable rusage.
    let status = unsafe { libc::getrusage(libc::RUSAGE_SELF, &raw mut usage) };
    if status != 0 {
        return UsageFigures::default();
    }
    let seconds = |t: libc::timeval| t.tv_sec as f64 + t.tv_usec as f64 * 1e-6;
    UsageFigures {
        cpu_user_s: seconds(usage.ru_utime),
        cpu_sys_s: seconds(usage.ru_stime),
        major_faults: usage.ru_majflt,
        minor_faults: usage.ru_minflt,
        vol_ctx: usage.ru_nvcsw,
        invol_ctx: usage.ru_nivcsw,
    }
}

/// CPU time the calling thread has used.
pub fn thread_cpu_time() -> Duration {
    let mut t = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the pointer is to a live, writable timespec.
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut t) };
    Duration::new(t.tv_sec.unsigned_abs(), u32::try_from(t.tv_nsec).unwrap_or(0))
}

/// Bytes that went to and came from storage (`/proc/self/io`), where readable.
pub fn storage_bytes() -> (Option<u64>, Option<u64>) {
    let Ok(text) = std::fs::read_to_string("/proc/self/io") else { return (None, None) };
    let field =
        |name: &str| text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok());
    (field("read_bytes:"), field("write_bytes:"))
}

/// Gives free pages of the allocator back to the system, so that the budget's peak is not raised
/// by what an earlier phase has already released.
pub fn release_free_memory() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: malloc_trim has no preconditions.
    unsafe {
        libc::malloc_trim(0);
    }
}

/// Bounds what the C allocator keeps aside, so that released memory really is released: two
/// arenas at most, and free memory above a few MiB at the top of the heap goes back.
///
/// Big buffers of equal size come and go all the time in a pipeline; left alone, the allocator
/// keeps one heap per thread and its peak is no longer the job's. What is larger than the buffers
/// of an ordinary batch (very long records) is mapped by itself, so that it leaves no holes: with
/// reads of 5 Mb that made 36 MiB of 155, at no cost for short ones.
pub fn tame_allocator() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: mallopt only sets parameters of the allocator.
    unsafe {
        libc::mallopt(libc::M_ARENA_MAX, 2);
        libc::mallopt(libc::M_MMAP_THRESHOLD, 4 << 20);
    }
    keep_free_memory(KEPT_BYTES);
}

/// Free memory at the top of the heap beyond which it goes back: less makes a pipeline of large
/// buffers fault its pages in again and again (conversion: ten times the faults with 1 MiB).
const KEPT_BYTES: u64 = 8 << 20;
/// What a job in a small budget lets the allocator keep at least.
const KEPT_LEAST_BYTES: u64 = 1 << 20;

/// While it lives, the allocator keeps no more free memory than fits a small budget.
#[derive(Debug)]
pub struct LeanAllocator(());

impl LeanAllocator {
    /// For a job with a budget of `limit` bytes.
    #[must_use]
    pub fn within(limit: u64) -> Self {
        keep_free_memory((limit / 64).clamp(KEPT_LEAST_BYTES, KEPT_BYTES));
        Self(())
    }
}

impl Drop for LeanAllocator {
    fn drop(&mut self) {
        keep_free_memory(KEPT_BYTES);
    }
}

fn keep_free_memory(bytes: u64) {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: mallopt only sets parameters of the allocator.
    unsafe {
        libc::mallopt(libc::M_TRIM_THRESHOLD, i32::try_from(bytes).unwrap_or(i32::MAX));
    }
    #[cfg(not(all(target_os = "linux", target_env = "gnu")))]
    let _ = bytes;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_answers() {
        let memory = memory_figures();
        assert!(memory.rss_peak >= memory.rss);
        assert!(usage_figures().minor_faults > 0);
        assert!(thread_cpu_time() > Duration::ZERO);
    }
}
