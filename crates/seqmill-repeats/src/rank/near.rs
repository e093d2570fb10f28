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
use super::{Candidate, Ranking, Search};
use crate::crew;
use crate::kmer::{Complexity, reverse_complement};
use forms::{Entry, FINEST_SLICE, Forms, Scratch};
use marks::Ranked;
use seqmill_base::budget::human_bytes;
use seqmill_base::prefetch::prefetch;
use seqmill_base::process::release_free_memory;
use seqmill_base::{Error, ErrorKind, Lease, Result};
use shelves::{Found, Shelf, Shelves};
use std::ops::Range;
use std::sync::atomic::{AtomicU8, AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};

/// Most that one form adds to the bound of its window, so that a byte can hold all.
const MOST_ADDED: u32 = 100;
/// What the lists of some shelves take while they are made, of which nobody knows beforehand.
const WORKING_BYTES: u64 = 2 << 20;
/// What the forms of a bucket take, and what is not known of the rest, for advice.
const SCRATCH_BYTES: u64 = 6 << 20;
/// A place that is no candidate.
const NONE: u32 = u32::MAX;

/// Candidates of distance 1.
pub(super) fn candidates(search: &Search<'_>) -> Result<Ranking> {
    let mut ranking = Ranking::default();
    let length = search.text.len();
    let mut forms = Forms::plan(search, &mut ranking)?;
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
    let working = WORKING_BYTES + u64::from(length) / 8;
    let _working = reserve(search, working, "lists of occurrences")?;
    let mut held = search.job.budget.must_reserve(search.accounts.positions, 0)?;
    let mut work = Vec::from([Range { start: 0, end: length }]);
    while let Some(range) = work.pop() {
        let out = (&mut ranking, &mut held);
        let shelved = collect(search, &forms, &marks, &owners, range.clone(), out);
        let shelved = match shelved {
            Err(error) if matches!(error.kind(), ErrorKind::Budget) => {
                // The lists are more than was thought: what else there is makes room for them.
                if let Some(finer) = forms.finer(search)? {
                    forms = finer;
                    ranking.figures.partitions = forms.slices() as u64;
                    work.push(range);
                    continue;
                }
                return Err(with_rest(search, error, &held, &owners, range.start));
            }
            other => other?,
        };
        let (Shelved::Listed(end) | Shelved::Full(end)) = shelved;
        if end < range.end {
            work.push(end..range.end);
            ranking.figures.splits += 1;
        }
        if matches!(shelved, Shelved::Full(_)) {
            work.push(range.start..end);
        }
    }
    ranking.lease = Some(held);
    Ok(ranking)
}

/// How far a range was worked on.
enum Shelved {
    /// The seeds before that place have their lists.
    Listed(u32),
    /// Not at all: those before that place are one shelf and too many for one round.
    Full(u32),
}

/// An error for want of memory while the seeds from `start` on have no lists yet: these need room
/// too, about as much for each occurrence as those before.
fn with_rest(
    search: &Search<'_>,
    error: Error,
    held: &Lease,
    owners: &[AtomicU32],
    start: u32,
) -> Error {
    let Some(needed) = error.needed() else { return error };
    let (mut before, mut behind) = (0_u64, 0_u64);
    for owner in owners {
        let first = owner.load(Ordering::Relaxed);
        before += u64::from(first < start);
        behind += u64::from(first >= start && first != NONE);
    }
    // Early seeds have many exact occurrences, later ones more that differ.
    let least = size_of::<Candidate>() as u64 + 4 * u64::from(search.parameters.min_frequency);
    let each = held.bytes().checked_div(before).unwrap_or(0).max(least);
    let budget = &search.job.budget;
    let limit = budget.limit();
    // Beside the lists there are at least the shelves of a range and the forms of a slice.
    let unknown = SCRATCH_BYTES + u64::from(search.text.len()) / 4;
    let working = shelves::least_bytes(search) + 2 * FINEST_SLICE + unknown;
    let whole = budget.reserved() + each * behind + working;
    let more = (needed - needed.min(limit)).max(whole.saturating_sub(budget.pool()));
    // A part of a larger budget goes to what the program takes beside its accounts.
    let needed = limit + more + more / 16;
    Error::budget(
        format!(
            "seeds with a mismatch need about {} more than a memory budget of {}; \
             give at least --memory {}",
            human_bytes(needed - limit),
            human_bytes(limit),
            human_bytes(needed),
        ),
        needed,
    )
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
    for entry in group {
        prefetch(bounds, entry.place as usize);
    }
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
        grouping.classes(search, &complexity, buckets.bucket(task), |class| {
            let first = class[0].place;
            if complexity.is_complex(search.text.kmer(first, search.k)) {
                for member in class {
                    owners[marks.rank(member.place)].store(first, Ordering::Relaxed);
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
/// Occurrences that a worker holds at most, those of one more form aside.
const MOST_FOUND: usize = 1 << 15;
/// Rounds of shelves between two times that free memory is given back.
const RELEASE_EVERY: usize = 4;
/// A range of so few first places is not split any more.
const LEAST_RANGE: usize = 64;

/// Adds the seeds whose first place lies in `range`, or in the beginning of it that there is room
/// for.
fn collect(
    search: &Search<'_>,
    forms: &Forms,
    marks: &Ranked,
    owners: &[AtomicU32],
    range: Range<u32>,
    out: (&mut Ranking, &mut Lease),
) -> Result<Shelved> {
    let splits = range.len() > LEAST_RANGE;
    let shelves = Shelves::new(search, range.clone(), splits)?;
    let owners = Owners { marks, firsts: owners, shelves: &shelves, start: range.start };
    own_places(search, &owners, &shelves);
    for slice in 0..forms.slices() {
        let find = |scratch: &mut Scratch, group: &[Entry], found: &mut Found| {
            neighbours(search, forms, scratch, group, &owners, found, &|found| shelves.put(found));
        };
        loop {
            match forms.each_group(search, slice, find, |found| shelves.put(found)) {
                Ok(()) => break,
                // Occurrences left no room for the forms of a slice.
                Err(error) if !matches!(error.kind(), ErrorKind::Budget) => return Err(error),
                Err(_) if shelves.shrink() => {}
                Err(_) if splits && shelves.is_shrinkable() => {
                    return Ok(Shelved::Full(shelves.end()));
                }
                Err(error) => return Err(error),
            }
        }
        if let Some(error) = shelves.full() {
            return if splits { Ok(Shelved::Full(shelves.end())) } else { Err(error) };
        }
    }
    // Where the seeds of few shelves have most of what there is, sorting those takes more than is
    // held for it.
    let known = WORKING_BYTES + u64::from(search.text.len()) / 8;
    let _sorting = loop {
        let more = shelves.sorting_bytes(search.threads).saturating_sub(known);
        match reserve(search, more, "lists of occurrences") {
            Ok(lease) => break lease,
            Err(error) if !matches!(error.kind(), ErrorKind::Budget) => return Err(error),
            Err(_) if shelves.shrink() => {}
            Err(_) if splits && shelves.is_shrinkable() => {
                return Ok(Shelved::Full(shelves.end()));
            }
            Err(error) => return Err(error),
        }
    };
    let end = shelves.end();
    build_lists(search, shelves, out)?;
    Ok(Shelved::Listed(end))
}

/// The first places of classes that are worked on.
struct Owners<'o> {
    marks: &'o Ranked,
    firsts: &'o [AtomicU32],
    shelves: &'o Shelves,
    start: u32,
}

impl Owners<'_> {
    /// The first place of the class of a marked place.
    fn of(&self, place: u32) -> Option<u32> {
        Some(self.at(self.marks.rank(place))).filter(|first| *first != NONE)
    }

    /// That of the marked place with so many before it; `NONE` if it is not worked on.
    fn at(&self, rank: usize) -> u32 {
        let first = self.firsts[rank].load(Ordering::Relaxed);
        if first >= self.start && first < self.shelves.end() { first } else { NONE }
    }

    /// Those of the entries of a group, `NONE` for what is not marked; whether there is any.
    fn of_group(&self, group: &[Entry], firsts: &mut Vec<u32>) -> bool {
        for entry in group {
            self.marks.prefetch(entry.place);
        }
        firsts.clear();
        firsts.extend(group.iter().map(|entry| {
            if !self.marks.has(entry.place) {
                return NONE;
            }
            let rank = self.marks.rank(entry.place);
            prefetch(self.firsts, rank);
            rank as u32
        }));
        let mut any = false;
        for first in firsts.iter_mut().filter(|first| **first != NONE) {
            *first = self.at(*first as usize);
            any |= *first != NONE;
        }
        any
    }
}

/// The exact occurrences of each seed.
fn own_places(search: &Search<'_>, owners: &Owners<'_>, shelves: &Shelves) {
    let (text, k) = (search.text, search.k);
    let mut found = Found::default();
    owners.marks.each(|place| {
        let Some(first) = owners.of(place) else { return };
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

/// The occurrences that differ in the varied half of a form of a group; `full` takes them when
/// there are many.
fn neighbours(
    search: &Search<'_>,
    forms: &Forms,
    scratch: &mut Scratch,
    group: &[Entry],
    owners: &Owners<'_>,
    found: &mut Found,
    full: &dyn Fn(&mut Found),
) {
    if group.len() < 2 || !owners.of_group(group, &mut scratch.firsts) {
        return;
    }
    scratch.fill(forms, group);
    scratch.sort(group);
    let mut last = None;
    for i in 0..scratch.sorted.len() {
        let (suffix, number) = scratch.sorted_entry(i);
        // All entries of a form are windows of one class; one of them speaks for it. The two
        // entries of a palindrome are the same form, which is also its own twin.
        if last == Some(suffix) {
            continue;
        }
        last = Some(suffix);
        let (first, entry) = (scratch.firsts[number], &group[number]);
        if first == NONE {
            continue;
        }
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
        if found[0].len() + found[1].len() >= MOST_FOUND {
            full(found);
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
    let (mut shelves, items, mut lease) = shelves.take();
    // Room for the most there can be: pages that are never touched cost nothing, and lists that
    // grow in place leave no holes. What is touched is reserved.
    ranking.positions.reserve_exact(items);
    ranking.candidates.reserve_exact(items / search.parameters.min_frequency.max(1) as usize);
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
    let mut lists = Lists::with_room_for(f.len() + r.len(), rules);
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
