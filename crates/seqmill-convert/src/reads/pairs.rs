//! Records of one file, or of two side by side.

use seqmill_base::pipeline::Item;
use seqmill_base::{Error, FormatKind, Result};
use seqmill_io::records::{TextRun, Unit};
use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::Arc;

/// Consecutive records of one file: record `i` lies between `bounds[i]` and `bounds[i + 1]`.
pub(crate) struct Records {
    pub unit: Arc<Unit>,
    pub bounds: Vec<u32>,
    /// Number of the line on which the first begins.
    pub line: u64,
}

impl Records {
    fn of(run: &TextRun) -> Self {
        let mut bounds = run.starts.clone();
        bounds.push(u32::try_from(run.range.end).unwrap_or(u32::MAX));
        Self { unit: Arc::clone(&run.unit), bounds, line: run.line }
    }

    pub(crate) fn count(&self) -> usize {
        self.bounds.len().saturating_sub(1)
    }

    /// Text of a record.
    pub(crate) fn text(&self, number: usize) -> &[u8] {
        let (Some(begin), Some(end)) = (self.bounds.get(number), self.bounds.get(number + 1))
        else {
            return &[];
        };
        self.unit.data.get(*begin as usize..*end as usize).unwrap_or_default()
    }

    /// Takes the first `count` records.
    fn split_front(&mut self, count: usize) -> Self {
        let rest = self.bounds.get(count..).unwrap_or_default().to_vec();
        let begin = self.bounds.first().copied().unwrap_or(0) as usize;
        let mut bounds = std::mem::replace(&mut self.bounds, rest);
        bounds.truncate(count + 1);
        let end = bounds.last().copied().unwrap_or(0) as usize;
        let line = self.line;
        let taken = self.unit.data.get(begin..end).unwrap_or_default();
        self.line += memchr::memchr_iter(b'\n', taken).count() as u64;
        Self { unit: Arc::clone(&self.unit), bounds, line }
    }
}

/// Records with their mates, if there are mates.
pub(crate) struct ReadRun {
    pub first: Records,
    pub mate: Option<Records>,
    /// Number of the first record in its input.
    pub ordinal: u64,
    /// Bytes of the inputs consumed when this run is done.
    pub file_end: u64,
}

impl Item for ReadRun {
    fn bytes(&self) -> u64 {
        let bytes = |r: &Records| {
            u64::from(
                r.bounds.last().copied().unwrap_or(0) - r.bounds.first().copied().unwrap_or(0),
            )
        };
        bytes(&self.first) + self.mate.as_ref().map_or(0, bytes)
    }
}

/// Brings records and mates together.
pub(super) struct Pairing {
    waiting: [VecDeque<Records>; 2],
    paths: [PathBuf; 2],
    ordinal: u64,
    ends: [u64; 2],
}

impl Pairing {
    pub(super) fn new(paths: [PathBuf; 2], ordinal: u64) -> Self {
        Self { waiting: [VecDeque::new(), VecDeque::new()], paths, ordinal, ends: [0; 2] }
    }

    /// Takes records of one side and gives what has both.
    pub(super) fn add(&mut self, side: usize, run: &TextRun, out: &mut Vec<ReadRun>) {
        if let (Some(queue), Some(end)) = (self.waiting.get_mut(side), self.ends.get_mut(side)) {
            queue.push_back(Records::of(run));
            *end = run.file_end;
        }
        let [first, second] = &mut self.waiting;
        while let (Some(one), Some(two)) = (first.front_mut(), second.front_mut()) {
            let count = one.count().min(two.count());
            let take = |records: &mut Records| records.split_front(count);
            let (taken, mate) = (take(one), take(two));
            let left = (one.count(), two.count());
            if left.0 == 0 {
                first.pop_front();
            }
            if left.1 == 0 {
                second.pop_front();
            }
            let ordinal = self.ordinal;
            self.ordinal += count as u64;
            let file_end = self.ends.iter().sum();
            out.push(ReadRun { first: taken, mate: Some(mate), ordinal, file_end });
        }
    }

    /// Both files have ended: no record may be left.
    pub(super) fn end(&self) -> Result<()> {
        for (side, queue) in self.waiting.iter().enumerate() {
            if queue.is_empty() {
                continue;
            }
            let (longer, shorter) = (self.paths.get(side), self.paths.get(1 - side));
            let (Some(longer), Some(shorter)) = (longer, shorter) else { continue };
            let text = format!(
                "record {} has no mate: {} ends before it",
                self.ordinal,
                shorter.display()
            );
            let line = queue.front().map_or(0, |records| records.line);
            return Err(Error::format(FormatKind::Sequence, text)
                .at_path(longer)
                .at_record(self.ordinal)
                .at_line(line));
        }
        Ok(())
    }
}

/// The records of a run without mates.
pub(super) fn alone(run: &TextRun) -> ReadRun {
    ReadRun { first: Records::of(run), mate: None, ordinal: run.ordinal, file_end: run.file_end }
}
