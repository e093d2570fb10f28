//! The regions a run is about (`bam.md` §8).

use seqmill_io::bam::Record;
use seqmill_io::region::Interval;

/// The regions asked for.
#[derive(Debug, Clone, Default)]
pub(crate) struct RegionFilter {
    /// Sorted, disjoint intervals.
    pub intervals: Vec<Interval>,
    /// Records without a reference, too.
    pub unplaced: bool,
    /// All records of this reference instead, whether they have a position or not.
    pub whole: Option<u32>,
}

impl RegionFilter {
    /// Sorts and merges intervals.
    pub(crate) fn new(mut intervals: Vec<Interval>, unplaced: bool) -> Self {
        intervals.sort_unstable();
        let mut merged: Vec<Interval> = Vec::with_capacity(intervals.len());
        for interval in intervals {
            match merged.last_mut() {
                Some(last)
                    if last.reference == interval.reference && interval.begin <= last.end =>
                {
                    last.end = last.end.max(interval.end);
                }
                _ => merged.push(interval),
            }
        }
        Self { intervals: merged, unplaced, whole: None }
    }

    /// All records of a reference.
    pub(crate) fn of_reference(reference: u32) -> Self {
        let interval = Interval { reference, begin: 0, end: u64::MAX };
        Self { intervals: vec![interval], unplaced: false, whole: Some(reference) }
    }

    /// Whether the record overlaps a region.
    pub(crate) fn holds(&self, record: &Record<'_>) -> bool {
        let Ok(reference) = u32::try_from(record.ref_id()) else { return self.unplaced };
        if let Some(whole) = self.whole {
            return reference == whole;
        }
        let Ok(pos) = u64::try_from(record.pos()) else { return false };
        let end = u64::try_from(record.end()).unwrap_or(0);
        let behind = |i: &Interval| (i.reference, i.end) <= (reference, pos);
        let first = self.intervals.partition_point(behind);
        self.intervals.get(first).is_some_and(|i| i.reference == reference && i.begin < end)
    }

    /// Whether no record at or behind this place can be in a region.
    pub(crate) fn is_behind(&self, reference: i32, pos: i32) -> bool {
        if self.unplaced {
            return false;
        }
        let Ok(reference) = u32::try_from(reference) else { return true };
        let pos = u64::try_from(pos).unwrap_or(0);
        self.intervals.last().is_none_or(|i| (i.reference, i.end) <= (reference, pos))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals_are_joined_and_known_to_be_behind() {
        let interval = |reference, begin, end| Interval { reference, begin, end };
        let list = vec![interval(1, 5, 9), interval(0, 10, 20), interval(0, 15, 30)];
        let filter = RegionFilter::new(list, false);
        assert_eq!(filter.intervals, [interval(0, 10, 30), interval(1, 5, 9)]);
        assert!(!filter.is_behind(1, 8));
        assert!(filter.is_behind(1, 9) && filter.is_behind(2, 0) && filter.is_behind(-1, -1));
        assert!(!RegionFilter::new(Vec::new(), true).is_behind(5, 0));
    }
}
