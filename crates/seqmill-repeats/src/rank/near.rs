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
mod shelves;

use super::exact::{self, BUCKETS};
use super::group::{Lists, Rules};
use super::{Ranking, Search};
use crate::crew;
use crate::kmer::{Complexity, reverse_complement};
use forms::{Entry, Forms, Scratch};
use marks::Ranked;
use seqmill_base::process::release_free_memory;
use seqmill_base::{ErrorKind, Lease, Result};
use shelves::{Found, Shelf, Shelves};
use std::ops::Range;
use std::sync::atomic::{AtomicU8, AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};

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
            let add = |scratch: &mut Scratch, group: &[Entry], (): &mut ()| {
                add_bounds(&forms, scratch, group, &bounds, shared);
            };
            forms.each_group(search, slice, add, |()| {})?;
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
    let mut lease = reserve(search, total * 8, "classes of candidates")?;
    let owners: Vec<AtomicU32> = (0..total).map(|_| AtomicU32::new(NONE)).collect();
    let buckets = exact::sort_marked(search, marks.words());
    let complexity = Complexity::new(search.k);
    let mut scratch = vec![exact::Grouping::default(); search.threads];
    crew::each(&mut scratch, BUCKETS, |grouping, task| {
        grouping.classes(search, buckets.bucket(task), |class| {
            let first = class[0].1;
            if complexity.is_complex(search.text.kmer(first, search.k)) {
                for (_, place) in class {
                    owners[marks.rank(*place)].store(first, Ordering::Relaxed);
                }
            }
        });
    });
    search.job.cancel.check()?;
    drop(buckets);
    lease.resize(total * 4)?;
    Ok((lease, owners))
}

/// Items that the exact occurrences wait for before they are put away.
const PUT_TOGETHER: usize = 1 << 12;
/// Rounds of shelves between two times that free memory is given back.
const RELEASE_EVERY: usize = 16;
/// A range of so few first places is not split any more.
const LEAST_RANGE: usize = 64;

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
    let splits = range.len() > LEAST_RANGE;
    let shelves = Shelves::new(search, range.clone(), splits)?;
    own_places(search, marks, owner, &shelves);
    for slice in 0..forms.slices() {
        let find = |scratch: &mut Scratch, group: &[Entry], found: &mut Found| {
            neighbours(search, forms, scratch, group, marks, &owner, found);
        };
        let done = forms.each_group(search, slice, find, |found| shelves.put(found));
        // Either there was no room for occurrences, or they left none for the forms of a slice.
        let error = match (shelves.full(), done) {
            (Some(error), _) => error.within("occurrences"),
            (None, Err(error)) => error,
            (None, Ok(())) => continue,
        };
        let fits_in_parts = splits && matches!(error.kind(), ErrorKind::Budget);
        return if fits_in_parts { Ok(false) } else { Err(error) };
    }
    build_lists(search, shelves, out)?;
    Ok(true)
}

/// The exact occurrences of each seed.
fn own_places(
    search: &Search<'_>,
    marks: &Ranked,
    owner: impl Fn(u32) -> Option<u32>,
    shelves: &Shelves,
) {
    let (text, k) = (search.text, search.k);
    let mut found = Found::default();
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
        if found[0].len() + found[1].len() >= PUT_TOGETHER {
            shelves.put(&mut found);
        }
    });
    shelves.put(&mut found);
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

/// From occurrences to seeds with lists, some shelves at a time.
fn build_lists(
    search: &Search<'_>,
    shelves: Shelves,
    (ranking, held): (&mut Ranking, &mut Lease),
) -> Result<()> {
    let (mut shelves, mut lease) = shelves.take();
    let mut sorted = vec![Found::default(); search.threads];
    let bytes = lease.bytes();
    let (count, together) = (shelves.len(), 2 * search.threads);
    for (i, part) in shelves.chunks_mut(together).enumerate() {
        search.job.cancel.check()?;
        let slots: Vec<Mutex<&mut Shelf>> = part.iter_mut().map(Mutex::new).collect();
        let results = crew::each(&mut sorted, slots.len(), |found, task| {
            slots[task].lock().unwrap_or_else(PoisonError::into_inner).empty_into(found);
            lists_of(search, found)
        });
        // What was on the shelves is gone; the seeds reserve their own.
        lease.resize(bytes - bytes / count as u64 * ((i + 1) * together).min(count) as u64)?;
        Lists::append_all(results, ranking, held)?;
        // Small blocks that are free in the middle of the heap would otherwise stay.
        if i % RELEASE_EVERY == RELEASE_EVERY - 1 {
            release_free_memory();
        }
    }
    Ok(())
}

/// The seeds of sorted occurrences.
fn lists_of(search: &Search<'_>, found: &Found) -> Lists {
    let rules = Rules::new(search.text, search.parameters);
    let [mut f, mut r] = found.each_ref().map(Vec::as_slice);
    let mut lists = Lists::default();
    // The first place of a seed is one of its own forward occurrences.
    while let Some(item) = f.first() {
        let first = item >> 32;
        let ends = [f, r].map(|list| list.partition_point_near(|i| i >> 32 <= first));
        let (own_f, rest_f) = f.split_at(ends[0]);
        let (own_r, rest_r) = r.split_at(ends[1]);
        (f, r) = (rest_f, rest_r);
        let place = |item: &u64| *item as u32;
        if own_f.len() + own_r.len() >= rules.min_frequency as usize {
            let places = [own_f, own_r].map(|own| own.iter().map(place));
            let [own_f, own_r] = places;
            lists.add(rules, first as u32, own_f, own_r);
        }
    }
    lists
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
