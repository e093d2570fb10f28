//! In steady state nothing is allocated for a window, a candidate, an extension or an alignment.
#![expect(clippy::unwrap_used, reason = "a test ends where its preparation fails")]

use seqmill_base::{Budget, Job};
use seqmill_repeats::options::Parameters;
use seqmill_repeats::{Options, run};
use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicU64, Ordering};

struct Counting;

static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);

// SAFETY: everything is left to the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller's.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller's.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller's.
        unsafe { System.realloc(block, layout, size) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: the caller's.
        unsafe { System.dealloc(block, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Random letters: many short seeds, hardly a family.
fn letters(count: usize) -> Vec<u8> {
    let mut state = 0x1234_5678_9abc_def1_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        b"ACGT"[(state >> 33) as usize % 4]
    };
    let mut text = b">random\n".to_vec();
    text.extend((0..count).map(|_| next()));
    text.push(b'\n');
    text
}

/// Allocations of a run, with the candidates it claimed for and the seeds it extended.
fn measure(bases: usize, k: u32, distance: u32, threads: usize) -> [u64; 3] {
    let name = format!("seqmill-allocations-{}-{bases}-{k}-{threads}", std::process::id());
    let path = std::env::temp_dir().join(name);
    std::fs::write(&path, letters(bases)).unwrap();
    let parameters = Parameters {
        seed_length: Some(k),
        distance,
        tandem_distance: 0,
        max_extend: 500,
        ..Parameters::default()
    };
    let options: Options = serde_json::from_value(serde_json::json!({
        "input": path, "output": null, "formats": [], "parameters": parameters,
        "resources": {"threads": threads, "memory": 1_u64 << 30},
        "hints": {}, "parallel": true,
        "pipeline": {
            "batch_size": 100, "channel_capacity": 64, "backpressure_threshold": 0.8,
        },
        "annotate": false, "cluster": null, "family_order": false, "reset_softmask": false,
        "repeatmasker_names": false, "force": false, "resume": false, "version": "0",
    }))
    .unwrap();
    let job = Job::new(Budget::new(1 << 30, 0).unwrap());
    let before = ALLOCATIONS.load(Ordering::Relaxed);
    let report = run(&options, &job, &|_, _, _, _| Ok(())).unwrap();
    let made = ALLOCATIONS.load(Ordering::Relaxed) - before;
    std::fs::remove_file(&path).unwrap();
    let detail = &report.document["detail"];
    let number = |value: &serde_json::Value| value.as_u64().unwrap();
    [made, number(&detail["counting"]["candidates"]), number(&detail["loop"]["extended"])]
}

#[test]
fn nothing_is_allocated_for_each_item() {
    // One test: the counter counts for the whole process.
    for (k, distance, threads) in [(9, 0, 1), (9, 0, 3), (10, 1, 1), (10, 1, 2)] {
        let [small, ..] = measure(50_000, k, distance, threads);
        let [large, candidates, extended] = measure(250_000, k, distance, threads);
        assert!(candidates > 30_000 && extended > 1_000, "{candidates} {extended}");
        let more = large.saturating_sub(small);
        // With a mismatch there are some millions of occurrences more, in boxes of some thousand.
        let most = if distance == 0 { extended / 8 } else { candidates / 20 };
        assert!(
            more < most,
            "distance {distance}, {threads} threads: {small} and {large} allocations for \
             {candidates} candidates and {extended} extensions"
        );
    }
    // Seeds of so many copies that all threads work on one, which they do not in a small text.
    for threads in [1, 2, 3] {
        let [small, ..] = measure(30_000, 7, 0, threads);
        let [large, _, extended] = measure(300_000, 7, 0, threads);
        assert!(extended > 1_000, "{extended}");
        let more = large.saturating_sub(small);
        assert!(
            more < extended / 8,
            "{threads} threads: {small} and {large} allocations for {extended} large extensions"
        );
    }
}
