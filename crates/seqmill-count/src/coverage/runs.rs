//! Where runs of equal depth go: to the regions, to the file of runs, to the picture.

use super::targets::Sequence;
use super::text::Text;
use super::tracker::Tracker;
use seqmill_base::Result;
use seqmill_io::region::Interval;
use std::sync::Arc;

/// Sequences shown in the picture, and points of each.
const SHOWN_SEQUENCES: usize = 24;
const SHOWN_POINTS: u64 = 200;

/// Takes the depth of all sequences, one after the other.
pub(super) struct Runs<'w> {
    pub tracker: Tracker<'w>,
    /// The file of runs.
    pub per_base: Option<Text>,
    sequences: Arc<[Sequence]>,
    /// What is asked about; none: everything.
    union: Option<Vec<Interval>>,
    /// First interval that is not behind.
    next: usize,
    pub profile: Profile,
}

impl<'w> Runs<'w> {
    pub(super) fn new(
        tracker: Tracker<'w>,
        per_base: Option<Text>,
        sequences: Arc<[Sequence]>,
        union: Option<Vec<Interval>>,
    ) -> Self {
        let profile = Profile::new(&sequences);
        Self { tracker, per_base, sequences, union, next: 0, profile }
    }

    /// Whether anything of the sequence is asked about.
    pub(super) fn wants(&mut self, reference: u32) -> bool {
        self.pass(reference, 0);
        match &self.union {
            None => true,
            Some(union) => union.get(self.next).is_some_and(|i| i.reference == reference),
        }
    }

    /// Leaves intervals behind that end at or before a place.
    fn pass(&mut self, reference: u32, begin: u64) {
        let Some(union) = &self.union else { return };
        while union.get(self.next).is_some_and(|i| (i.reference, i.end) <= (reference, begin)) {
            self.next += 1;
        }
    }

    /// A run of one depth.
    pub(super) fn give(&mut self, reference: u32, begin: u32, end: u32, depth: u64) -> Result<()> {
        let (begin, end) = (u64::from(begin), u64::from(end));
        if self.union.is_none() {
            return self.deliver(reference, begin, end, depth);
        }
        self.pass(reference, begin);
        let mut at = self.next;
        while let Some(interval) = self.union.as_ref().and_then(|u| u.get(at)).copied() {
            if interval.reference != reference || interval.begin >= end {
                break;
            }
            self.deliver(reference, begin.max(interval.begin), end.min(interval.end), depth)?;
            at += 1;
        }
        Ok(())
    }

    fn deliver(&mut self, reference: u32, begin: u64, end: u64, depth: u64) -> Result<()> {
        self.tracker.run(reference, begin, end, depth)?;
        self.profile.add(reference, begin, end, depth);
        let Some(text) = &mut self.per_base else { return Ok(()) };
        let name = self.sequences.get(reference as usize).map_or("", |s| s.name.as_str());
        text.push(name.as_bytes());
        for number in [begin, end, depth] {
            text.push(b"\t");
            text.number(number);
        }
        text.push(b"\n");
        text.flush_if_full()
    }
}

/// Depth along the longest sequences, for a picture.
pub(super) struct Profile {
    shown: Vec<(u32, u64, Vec<u64>)>,
}

impl Profile {
    fn new(sequences: &[Sequence]) -> Self {
        let numbered = sequences.iter().zip(0_u32..);
        let mut longest: Vec<(u64, u32)> = numbered.map(|(s, i)| (s.length, i)).collect();
        longest.sort_unstable_by_key(|(length, index)| (std::cmp::Reverse(*length), *index));
        longest.truncate(SHOWN_SEQUENCES);
        longest.sort_unstable_by_key(|(_, index)| *index);
        let points = |length: u64| usize::try_from(length.min(SHOWN_POINTS)).unwrap_or(0);
        let shown = longest.into_iter().filter(|(length, _)| *length > 0);
        Self { shown: shown.map(|(n, index)| (index, n, vec![0; points(n)])).collect() }
    }

    fn add(&mut self, reference: u32, begin: u64, end: u64, depth: u64) {
        if depth == 0 {
            return;
        }
        let found = self.shown.binary_search_by_key(&reference, |(index, ..)| *index);
        let Some((_, length, sums)) = found.ok().and_then(|at| self.shown.get_mut(at)) else {
            return;
        };
        let points = sums.len() as u64;
        let mut at = begin;
        while at < end {
            let point = at * points / *length;
            // The first position of the next point.
            let to = ((point + 1) * *length).div_ceil(points).min(end);
            if let Some(sum) = usize::try_from(point).ok().and_then(|p| sums.get_mut(p)) {
                *sum += depth * (to - at);
            }
            at = to;
        }
    }

    /// Name, length and sums of depth of each sequence shown.
    pub(super) fn to_json(&self, sequences: &[Sequence]) -> serde_json::Value {
        let shown = self.shown.iter().map(|(index, length, sums)| {
            let name = sequences.get(*index as usize).map_or("", |s| s.name.as_str());
            serde_json::json!({"name": name, "length": length, "sums": sums})
        });
        shown.collect::<Vec<_>>().into()
    }

    /// The sums, for a checkpoint.
    pub(super) fn sums(&self) -> Vec<Vec<u64>> {
        self.shown.iter().map(|(_, _, sums)| sums.clone()).collect()
    }

    /// Goes on from the sums of a checkpoint.
    pub(super) fn restore(&mut self, earlier: Vec<Vec<u64>>) {
        for ((_, _, sums), earlier) in self.shown.iter_mut().zip(earlier) {
            if sums.len() == earlier.len() {
                *sums = earlier;
            }
        }
    }
}
