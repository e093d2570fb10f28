//! Buckets that one thread has counted before it is their turn to be written.

use crate::kmers::skm::OrderedBlocks;
use crate::kmers::word::Word;
use seqmill_base::Result;
use std::collections::VecDeque;
use std::ops::Range;

/// Less room than this is better used for sorting.
const ROOM_LEAST: u64 = 1 << 19;

/// A part of a bucket that waits.
struct Part {
    bucket: usize,
    /// Where it is in the arrays.
    place: Range<usize>,
    /// Whether it ends the bucket.
    last: bool,
}

/// What one thread gives to a table: buckets differ in size, and a thread that is ahead goes on
/// with its next bucket instead of waiting for the others.
pub(super) struct Ahead<'t, 'f, K> {
    table: &'t OrderedBlocks<'f, K>,
    /// In order.
    parts: VecDeque<Part>,
    kmers: Vec<K>,
    counts: Vec<u64>,
    /// K-mers that may wait.
    most: usize,
}

/// How much of the room of a thread is for what waits.
pub(super) fn waiting_bytes(scratch: u64) -> u64 {
    if scratch / 4 < ROOM_LEAST { 0 } else { scratch / 4 }
}

impl<'t, 'f, K: Word> Ahead<'t, 'f, K> {
    /// Holds back what takes no more than `room` bytes.
    pub(super) fn new(table: &'t OrderedBlocks<'f, K>, room: u64) -> Self {
        // Arrays that grow may come to have twice the room.
        let most = room as usize / (2 * (K::BYTES + size_of::<u64>()));
        Self { table, parts: VecDeque::new(), kmers: Vec::new(), counts: Vec::new(), most }
    }

    /// Gives a part of a bucket.
    pub(super) fn give(&mut self, bucket: usize, kmers: &[K], counts: &[u64]) -> Result<()> {
        while let Some(part) = self.parts.front()
            && self.table.is_turn(part.bucket)
        {
            self.write_first()?;
        }
        let begin = self.kmers.len();
        if begin + kmers.len() > self.most || self.table.is_turn(bucket) {
            self.write_all()?;
            return self.table.put(bucket, kmers, counts, false);
        }
        self.kmers.extend_from_slice(kmers);
        self.counts.extend_from_slice(counts);
        self.parts.push_back(Part { bucket, place: begin..self.kmers.len(), last: false });
        Ok(())
    }

    /// Ends a bucket.
    pub(super) fn end(&mut self, bucket: usize) -> Result<()> {
        if let Some(part) = self.parts.back_mut()
            && part.bucket == bucket
        {
            part.last = true;
            return Ok(());
        }
        self.write_all()?;
        self.table.put(bucket, &[], &[], true)
    }

    /// Writes everything, in turn.
    pub(super) fn write_all(&mut self) -> Result<()> {
        while !self.parts.is_empty() {
            self.write_first()?;
        }
        Ok(())
    }

    fn write_first(&mut self) -> Result<()> {
        if let Some(Part { bucket, place, last }) = self.parts.pop_front() {
            self.table.put(bucket, &self.kmers[place.clone()], &self.counts[place], last)?;
        }
        if self.parts.is_empty() {
            self.kmers.clear();
            self.counts.clear();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kmers::skm::{SkmTable, SkmWriter, TableFacts};
    use seqmill_base::{Budget, sink::AtomicFile};

    /// A table of 40 buckets of very different sizes, written by some threads.
    fn write(threads: usize, room: u64) -> Vec<u8> {
        let folder = std::env::temp_dir();
        let name = format!("seqmill-ahead-{}-{threads}-{room}.skm", std::process::id());
        let path = folder.join(name);
        let budget = Budget::new(8 << 20, 0).unwrap();
        let index = budget.must_reserve(budget.account("index", u64::MAX), 0).unwrap();
        let file = AtomicFile::create(&path, true).unwrap();
        let table = OrderedBlocks::new(SkmWriter::<u64>::new(file.file(), &path, 20, index));
        let next = std::sync::atomic::AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for _ in 0..threads {
                scope.spawn(|| {
                    let mut ahead = Ahead::new(&table, room);
                    loop {
                        let bucket = next.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                        if bucket >= 40 {
                            break;
                        }
                        // One in seven takes long; some have two parts, some none.
                        let size = [9000, 20, 0, 700, 3, 1300, 64][bucket % 7];
                        std::thread::sleep(std::time::Duration::from_micros(size));
                        for part in 0..bucket as u64 % 3 {
                            let first = ((bucket as u64) << 20) + (part << 16);
                            let kmers: Vec<u64> = (first..first + size).collect();
                            ahead.give(bucket, &kmers, &vec![1 + part; kmers.len()]).unwrap();
                        }
                        ahead.end(bucket).unwrap();
                    }
                    ahead.write_all().unwrap();
                });
            }
        });
        let writer = table.into_writer().unwrap();
        let distinct = writer.distinct();
        let facts = TableFacts { k: 20, canonical: false, flags: 0, distinct, total: distinct };
        writer.finish(&facts, &serde_json::json!({})).unwrap();
        file.commit().unwrap();
        SkmTable::open(&path).unwrap();
        let bytes = std::fs::read(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        bytes
    }

    #[test]
    fn buckets_come_in_order() {
        let alone = write(1, 0);
        for threads in [2, 3, 8] {
            for room in [0, 1 << 12, 1 << 20] {
                assert_eq!(write(threads, room), alone, "{threads} {room}");
            }
        }
    }
}
