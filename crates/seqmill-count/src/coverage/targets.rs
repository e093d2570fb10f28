//! What is measured: the regions of a list, windows, or whole sequences; and the order in which
//! they are come across.

use super::options::{Semantic, Share};
use seqmill_base::{Error, Job, Lease, Result};
use seqmill_io::region::Interval;
use seqmill_io::region_list::{RegionList, SequenceNames, Target};

/// Name and length of a sequence.
#[derive(Debug, Clone)]
pub(super) struct Sequence {
    pub name: String,
    pub length: u64,
}

/// A stretch that is measured once, however often it was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Stretch {
    pub reference: u32,
    pub begin: u64,
    pub end: u64,
}

/// What is measured.
pub(super) enum Targets {
    /// Regions in the order given, the different ones of them sorted, and which of these each is.
    List { regions: RegionList, distinct: Vec<Stretch>, places: Vec<u32>, _lease: Lease },
    /// Windows of all sequences, the last one of each shorter.
    Windows(u64),
    /// Some of the different stretches, sorted.
    Share { distinct: Vec<Stretch>, _lease: Lease },
}

impl Targets {
    /// Decides what is measured.
    pub(super) fn new(semantic: &Semantic, sequences: &[Sequence], job: &Job) -> Result<Self> {
        let listed = !semantic.regions.is_empty() || !semantic.regions_files.is_empty();
        if let Some(windows) = semantic.windows {
            if listed {
                return Err(Error::input("regions and windows cannot be asked for together"));
            }
            if windows == 0 {
                return Err(Error::input("windows 0 is not in 1 and more"));
            }
            return Ok(Self::Windows(windows));
        }
        let account = job.budget.account("regions", job.budget.pool());
        if !listed {
            return Ok(Self::Windows(u64::MAX));
        }
        let mut lease = job.budget.must_reserve(account, 0)?;
        let regions = read_list(semantic, sequences, &lease)?;
        let n = regions.targets.len();
        lease.resize(((size_of::<Stretch>() + 4) * n) as u64)?;
        let mut distinct: Vec<Stretch> = regions.targets.iter().map(stretch_of).collect();
        distinct.sort_unstable();
        distinct.dedup();
        let place = |target: &Target| distinct.binary_search(&stretch_of(target)).unwrap_or(0);
        let places = regions.targets.iter().map(place);
        let places = places.map(|at| u32::try_from(at).unwrap_or(u32::MAX)).collect();
        Ok(Self::List { regions, distinct, places, _lease: lease })
    }

    /// What of a divided job is measured.
    pub(super) fn of_share(share: &Share, job: &Job) -> Result<Self> {
        let account = job.budget.account("regions", job.budget.pool());
        let count = |(_, begin, end, step): &(u32, u64, u64, Option<u64>)| {
            (end - begin).div_ceil(step.unwrap_or(u64::MAX).max(1)).max(1)
        };
        let n: u64 = share.stretches.iter().map(count).sum();
        let lease = job.budget.must_reserve(account, n * size_of::<Stretch>() as u64)?;
        let mut distinct = Vec::with_capacity(usize::try_from(n).unwrap_or(0));
        for &(reference, begin, end, step) in &share.stretches {
            let mut at = begin;
            loop {
                let to = at.saturating_add(step.unwrap_or(u64::MAX)).min(end);
                distinct.push(Stretch { reference, begin: at, end: to });
                at = to;
                if at >= end {
                    break;
                }
            }
        }
        Ok(Self::Share { distinct, _lease: lease })
    }

    /// Results there will be, one for each different stretch.
    pub(super) fn distinct(&self, sequences: &[Sequence]) -> u64 {
        match self {
            Self::List { distinct, .. } | Self::Share { distinct, .. } => distinct.len() as u64,
            Self::Windows(w) => sequences.iter().map(|s| windows_of(s, *w)).sum(),
        }
    }

    /// Rows of the table.
    pub(super) fn rows(&self, sequences: &[Sequence]) -> u64 {
        match self {
            Self::List { regions, .. } => regions.targets.len() as u64,
            Self::Windows(_) | Self::Share { .. } => self.distinct(sequences),
        }
    }

    /// The different stretches in the order of the sequences.
    pub(super) fn walk<'a>(&'a self, sequences: &'a [Sequence]) -> Walk<'a> {
        Walk { targets: self, sequences, reference: 0, at: 0, index: 0 }
    }

    /// What the stretches cover together, sorted and disjoint; none: everything.
    pub(super) fn union(&self) -> Option<Vec<Interval>> {
        let (Self::List { distinct, .. } | Self::Share { distinct, .. }) = self else {
            return None;
        };
        let mut union: Vec<Interval> = Vec::new();
        for stretch in distinct.iter().filter(|s| s.begin < s.end) {
            match union.last_mut() {
                Some(last) if last.reference == stretch.reference && stretch.begin <= last.end => {
                    last.end = last.end.max(stretch.end);
                }
                _ => {
                    let Stretch { reference, begin, end } = *stretch;
                    union.push(Interval { reference, begin, end });
                }
            }
        }
        Some(union)
    }

    /// What was noticed in the list.
    pub(super) fn warnings(&self) -> &[String] {
        match self {
            Self::List { regions, .. } => &regions.warnings,
            Self::Windows(_) | Self::Share { .. } => &[],
        }
    }
}

fn read_list(semantic: &Semantic, sequences: &[Sequence], lease: &Lease) -> Result<RegionList> {
    let bytes: usize = sequences.iter().map(|s| 2 * s.name.len() + 96).sum();
    let _held = lease.sibling(bytes as u64)?;
    let names = SequenceNames::new(sequences.iter().map(|s| (s.name.as_str(), s.length)));
    let mut regions = RegionList::new(lease.sibling(0)?, semantic.skip_bad_regions);
    for text in &semantic.regions {
        regions.add(text, &names)?;
    }
    for path in &semantic.regions_files {
        regions.add_file(path, semantic.bed, &names)?;
    }
    regions.close_warnings();
    Ok(regions)
}

fn stretch_of(target: &Target) -> Stretch {
    Stretch { reference: target.reference, begin: target.begin, end: target.end }
}

/// Windows of a sequence; one without bases has one, too.
fn windows_of(sequence: &Sequence, windows: u64) -> u64 {
    sequence.length.div_ceil(windows).max(1)
}

/// Stretches in the order of the sequences, with their numbers.
pub(super) struct Walk<'a> {
    targets: &'a Targets,
    sequences: &'a [Sequence],
    reference: usize,
    at: u64,
    index: u64,
}

impl Walk<'_> {
    /// The next stretch, without taking it.
    #[inline]
    pub(super) fn peek(&self) -> Option<Stretch> {
        match self.targets {
            Targets::List { distinct, .. } | Targets::Share { distinct, .. } => {
                distinct.get(usize::try_from(self.index).ok()?).copied()
            }
            Targets::Windows(windows) => {
                let sequence = self.sequences.get(self.reference)?;
                let end = self.at.saturating_add(*windows).min(sequence.length);
                let reference = u32::try_from(self.reference).ok()?;
                Some(Stretch { reference, begin: self.at, end })
            }
        }
    }

    /// Takes the next stretch.
    #[inline]
    pub(super) fn advance(&mut self) -> Option<(u64, Stretch)> {
        let stretch = self.peek()?;
        let index = self.index;
        self.index += 1;
        if matches!(self.targets, Targets::Windows(_)) {
            self.at = stretch.end;
            if self.sequences.get(self.reference).is_none_or(|s| self.at >= s.length) {
                self.reference += 1;
                self.at = 0;
            }
        }
        Some((index, stretch))
    }

    /// Passes over the stretches of the sequences before `reference`.
    pub(super) fn skip_to(&mut self, reference: u32) {
        while self.peek().is_some_and(|s| s.reference < reference) {
            self.advance();
        }
    }
}
