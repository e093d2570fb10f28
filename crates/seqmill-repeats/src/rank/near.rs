//! Seeds with one mismatch (distance 1) by halves.
//!
//! Two k-mers that differ in one place agree in one half. Every window stands for two forms, its
//! own and its reverse complement; forms are grouped by their left half (and the middle base), and
//! in each group only the right half is varied. What differs in the left half of one form differs
//! in the right half of the other, so one kind of group finds all. The middle base of an odd
//! length is in the varied part of both forms; only the smaller of the two varies it.
//!
//! The first phase adds up how often the neighbours of each window occur, an upper bound of what
//! it can count. Only classes that pass get lists, in the second phase.

mod forms;
mod marks;

use super::exact::{self, BUCKETS};
use super::group::{Lists, Rules};
use super::{Ranking, Search};
use crate::crew;
use crate::kmer::{Complexity, reverse_complement};
use forms::{Entry, Forms, Scratch};
use marks::Ranked;
use seqmill_base::{Lease, Result};
use std::ops::Range;
use std::sync::atomic::{AtomicU8, AtomicU32, Ordering};

/// Most that one form adds to the bound of its window, so that a byte can hold all.
const MOST_ADDED: u32 = 100;
/// A place that is no candidate.
const NONE: u32 = u32::MAX;

/// Candidates of distance 1.
pub(super) fn candidates(search: &Search<'_>) -> Result<Ranking> {
    let mut ranking = Ranking::default();
    let length = search.text.len();
    let forms = Forms::plan(search, &mut ranking)?;
    let marks = {
        let _bounds = reserve(search, u64::from(length), "bounds of frequencies")?;
        let bounds: Vec<AtomicU8> = (0..length).map(|_| AtomicU8::new(0)).collect();
        let shared = search.threads > 1;
        for slice in 0..forms.slices() {
            forms.each_group(search, slice, |scratch, group, (): &mut ()| {
                add_bounds(&forms, scratch, group, &bounds, shared);
            })?;
        }
        let least = u8::try_from(search.parameters.min_frequency.min(3)).unwrap_or(3);
        Ranked::new(search, |at| bounds[at as usize].load(Ordering::Relaxed) >= least)?
    };
    ranking.figures.partitions = forms.slices() as u64;
    ranking.figures.admitted = marks.count();
    let (_owners_lease, owners) = owners(search, &marks)?;
    let mut held = search.job.budget.must_reserve(search.accounts.positions, 0)?;
    let mut work = Vec::from([Range { start: 0, end: length }]);
    while let Some(range) = work.pop() {
        if collect(search, &forms, &marks, &owners, range.clone(), (&mut ranking, &mut held))? {
            continue;
        }
        ranking.figures.splits += 1;
        let middle = range.start + (range.end - range.start) / 2;
        work.extend([middle..range.end, range.start..middle]);
    }
    ranking.lease = Some(held);
    Ok(ranking)
}

fn reserve(search: &Search<'_>, bytes: u64, what: &str) -> Result<Lease> {
    let reserved = search.job.budget.must_reserve(search.accounts.index, bytes);
    reserved.map_err(|e| e.within(what))
}

/// Adds to each window of a group how often its neighbours occur, stopping at three for each.
fn add_bounds(
    forms: &Forms,
    scratch: &mut Scratch,
    group: &[Entry],
    bounds: &[AtomicU8],
    shared: bool,
) {
    let add = |entry: &Entry, sum: u32| {
        let bound = &bounds[entry.place as usize];
        let more = sum.min(MOST_ADDED) as u8;
        if shared {
            bound.fetch_add(more, Ordering::Relaxed);
        } else {
            bound.store(bound.load(Ordering::Relaxed) + more, Ordering::Relaxed);
        }
    };
    if group.len() <= forms::FEW {
        for entry in group {
            add(entry, forms.few(group, entry));
        }
        return;
    }
    scratch.fill(forms, group);
    for entry in group {
        add(entry, scratch.sum(forms, entry));
    }
    scratch.empty(forms, group);
}

/// For every marked window the first place of its class, or `NONE` if that is no seed.
fn owners(search: &Search<'_>, marks: &Ranked) -> Result<(Lease, Vec<AtomicU32>)> {
    let total = marks.count();
    let lease = reserve(search, total * 8, "classes of candidates")?;
    let owners: Vec<AtomicU32> = (0..total).map(|_| AtomicU32::new(NONE)).collect();
    let buckets = exact::sort_marked(search, marks.words());
    let complexity = Complexity::new(search.k);
    let mut scratch: Vec<Vec<(u64, u32)>> = vec![Vec::new(); search.threads];
    crew::each(&mut scratch, BUCKETS, |pairs, task| {
        exact::classes(search, buckets.bucket(task), pairs, |class| {
            let first = class[0].1;
            if complexity.is_complex(search.text.kmer(first, search.k)) {
                for (_, place) in class {
                    owners[marks.rank(*place)].store(first, Ordering::Relaxed);
                }
            }
        });
    });
    search.job.cancel.check()?;
    Ok((lease, owners))
}

/// Occurrences as `first place of the seed << 32 | place`, forward and reverse.
type Found = [Vec<u64>; 2];

/// Adds the seeds whose first place lies in `range`; false if their lists do not fit.
fn collect(
    search: &Search<'_>,
    forms: &Forms,
    marks: &Ranked,
    owners: &[AtomicU32],
    range: Range<u32>,
    out: (&mut Ranking, &mut Lease),
) -> Result<bool> {
    let owner = |place: u32| {
        let owner = owners[marks.rank(place)].load(Ordering::Relaxed);
        (owner != NONE && range.contains(&owner)).then_some(owner)
    };
    let mut lease = reserve(search, 0, "occurrences")?;
    let mut found = Found::default();
    own_places(search, marks, owner, &mut found);
    for slice in 0..forms.slices() {
        let parts = forms.each_group(search, slice, |scratch, group, found: &mut Found| {
            neighbours(search, forms, scratch, group, marks, &owner, found);
        })?;
        for (strand, all) in found.iter_mut().enumerate() {
            // Exactly: doubling would take what nobody has reserved.
            all.reserve_exact(parts.iter().map(|part| part[strand].len()).sum());
        }
        for mut part in parts {
            for (all, own) in found.iter_mut().zip(&mut part) {
                all.append(own);
            }
        }
        let bytes = found.iter().map(|f| f.capacity() as u64 * 8).sum::<u64>();
        let fits = bytes <= search.index_bytes || range.len() <= 64;
        if !fits || lease.resize(bytes).is_err() {
            if range.len() > 64 {
                return Ok(false);
            }
            lease.resize(bytes).map_err(|e| e.within("occurrences"))?;
        }
    }
    for list in &mut found {
        crew::sort(search.threads, list);
    }
    build_lists(search, &found, out)?;
    Ok(true)
}

/// The exact occurrences of each seed.
fn own_places(
    search: &Search<'_>,
    marks: &Ranked,
    owner: impl Fn(u32) -> Option<u32>,
    found: &mut Found,
) {
    let (text, k) = (search.text, search.k);
    marks.each(|place| {
        let Some(first) = owner(place) else { return };
        let (kmer, own) = (text.kmer(first, k), text.kmer(place, k));
        let item = u64::from(first) << 32 | u64::from(place);
        if own == kmer {
            found[0].push(item);
        }
        if own == reverse_complement(kmer, k) {
            found[1].push(item);
        }
    });
}

/// The occurrences that differ in the varied half of a form of a group.
fn neighbours(
    search: &Search<'_>,
    forms: &Forms,
    scratch: &mut Scratch,
    group: &[Entry],
    marks: &Ranked,
    owner: &impl Fn(u32) -> Option<u32>,
    found: &mut Found,
) {
    if group.len() < 2 || !group.iter().any(|e| marks.has(e.place) && owner(e.place).is_some()) {
        return;
    }
    scratch.fill(forms, group);
    scratch.sort(group);
    let mut last = None;
    for i in 0..scratch.sorted.len() {
        let (suffix, entry) = scratch.sorted_entry(i, group);
        // All entries of a form are windows of one class; one of them speaks for it. The two
        // entries of a palindrome are the same form, which is also its own twin.
        if last == Some(suffix) {
            continue;
        }
        last = Some(suffix);
        if !marks.has(entry.place) {
            continue;
        }
        let Some(first) = owner(entry.place) else { continue };
        let seed = search.text.kmer(first, search.k);
        let form = forms.form_of(search, entry);
        let twin = reverse_complement(seed, search.k);
        let mut put = |other: &Entry, flipped: bool| {
            let strand = usize::from(other.is_reverse() != flipped);
            found[strand].push(u64::from(first) << 32 | u64::from(other.place));
        };
        for delta in forms.deltas(entry) {
            if !scratch.holds(forms, suffix ^ delta) {
                continue;
            }
            scratch.run(suffix ^ delta, group, |other| {
                if form == seed {
                    put(other, false);
                }
                if form == twin {
                    put(other, true);
                }
            });
        }
    }
    scratch.empty(forms, group);
}

/// From sorted occurrences to seeds with lists.
fn build_lists(
    search: &Search<'_>,
    found: &Found,
    (ranking, held): (&mut Ranking, &mut Lease),
) -> Result<()> {
    let [forward, reverse] = found;
    let rules = Rules::new(search.text, search.parameters);
    let tasks = 64_usize;
    let length = u64::from(search.text.len()) + 1;
    let border = |list: &[u64], task: usize| {
        let first = length * task as u64 / tasks as u64;
        list.partition_point(|item| item >> 32 < first)
    };
    let mut threads = vec![(); search.threads];
    let results = crew::each(&mut threads, tasks, |(), task| {
        let part = |list: &'_ [u64]| border(list, task)..border(list, task + 1);
        let (mut f, mut r) = (&forward[part(forward)], &reverse[part(reverse)]);
        let mut lists = Lists::default();
        // The first place of a seed is one of its own forward occurrences.
        while let Some(item) = f.first() {
            let first = item >> 32;
            let ends = [f, r].map(|list| list.partition_point_near(|i| i >> 32 <= first));
            let (own_f, rest_f) = f.split_at(ends[0]);
            let (own_r, rest_r) = r.split_at(ends[1]);
            (f, r) = (rest_f, rest_r);
            let first = first as u32;
            let places = |list: &'_ [u64]| list.iter().map(|i| *i as u32).collect::<Vec<_>>();
            if own_f.len() + own_r.len() >= rules.min_frequency as usize {
                let (own_f, own_r) = (places(own_f), places(own_r));
                lists.add(rules, first, own_f.into_iter(), own_r.into_iter());
            }
        }
        lists
    });
    search.job.cancel.check()?;
    Lists::append_all(results, ranking, held)
}

/// Searching from the front, because what is looked for is near.
trait Near {
    fn partition_point_near(&self, before: impl Fn(&u64) -> bool) -> usize;
}

impl Near for [u64] {
    fn partition_point_near(&self, before: impl Fn(&u64) -> bool) -> usize {
        let mut step = 1;
        while step < self.len() && before(&self[step]) {
            step *= 2;
        }
        let from = step / 2;
        from + self[from..self.len().min(step + 1)].partition_point(before)
    }
}
