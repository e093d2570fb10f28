//! Work on many numbered tasks with the threads of one job.

use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Does the tasks `0..tasks`, each on whichever worker is free, and gives the results in order.
///
/// Every worker keeps its scratch memory (`W`) from task to task. With one worker, or one task,
/// everything happens on the calling thread.
pub fn each<W: Send, R: Send>(
    workers: &mut [W],
    tasks: usize,
    work: impl Fn(&mut W, usize) -> R + Sync,
) -> Vec<R> {
    let threads = workers.len().min(tasks);
    if threads <= 1 {
        return workers
            .first_mut()
            .map_or_else(Vec::new, |worker| (0..tasks).map(|task| work(worker, task)).collect());
    }
    let next = AtomicUsize::new(0);
    let done: Mutex<Vec<(usize, R)>> = Mutex::new(Vec::with_capacity(tasks));
    let run = |worker: &mut W| {
        let mut own = Vec::new();
        loop {
            let task = next.fetch_add(1, Ordering::Relaxed);
            if task >= tasks {
                break;
            }
            own.push((task, work(worker, task)));
        }
        done.lock().unwrap_or_else(PoisonError::into_inner).append(&mut own);
    };
    std::thread::scope(|scope| {
        let (own, others) = workers.split_at_mut(1);
        for worker in &mut others[..threads - 1] {
            scope.spawn(|| run(worker));
        }
        run(&mut own[0]);
    });
    let mut done = done.into_inner().unwrap_or_else(PoisonError::into_inner);
    done.sort_unstable_by_key(|(task, _)| *task);
    done.into_iter().map(|(_, result)| result).collect()
}

/// Fewer items are sorted by one thread: to start another and to merge takes longer.
const LEAST_SORTED: usize = 1 << 17;

/// Sorts with several threads; equal items keep no order.
pub fn sort<T: Copy + Ord + Send + Sync>(threads: usize, items: &mut [T]) {
    sort_by_key(threads, items, |item| *item);
}

/// Sorts with several threads: parts of their own, then merged two by two.
pub fn sort_by_key<T: Send + Sync, K: Ord>(
    threads: usize,
    items: &mut [T],
    key: impl Fn(&T) -> K + Copy + Send + Sync,
) {
    if threads <= 1 || items.len() < LEAST_SORTED {
        items.sort_unstable_by_key(key);
        return;
    }
    let (left, right) = items.split_at_mut(items.len() / 2);
    std::thread::scope(|scope| {
        scope.spawn(move || sort_by_key(threads / 2, left, key));
        sort_by_key(threads - threads / 2, right, key);
    });
    // Two sorted runs: the stable sort merges them in one pass.
    items.sort_by_key(key);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_are_in_order() {
        for threads in 1..4 {
            let mut workers = vec![0_u64; threads];
            let results = each(&mut workers, 100, |count, task| {
                *count += 1;
                task * task
            });
            assert_eq!(results, (0..100).map(|i| i * i).collect::<Vec<_>>());
            assert_eq!(workers.iter().sum::<u64>(), 100);
        }
    }

    #[test]
    fn sorts_like_one_thread() {
        let mut items: Vec<u64> = (0..300_000).map(crate::kmer::mix).collect();
        let mut expected = items.clone();
        expected.sort_unstable();
        sort(3, &mut items);
        assert_eq!(items, expected);
    }
}
