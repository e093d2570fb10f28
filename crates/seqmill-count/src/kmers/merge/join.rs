//! Sorted tables joined slab by slab: each slab holds the k-mers of all tables up to one key, and
//! is joined two runs at a time without a branch that depends on the k-mers. Sums are joined as
//! packed numbers, unless a slab is so sparse or its counts so great that these do not fit.

use super::SetOperation;
use super::cursor::{KeyRange, Strand};
use super::packed::Packed;
use crate::kmers::skm::{BLOCK_KMERS, SkmTable};
use crate::kmers::word::Word;
use seqmill_base::{Error, FormatKind, Result};
use std::hint::select_unpredictable;
use std::sync::{Mutex, PoisonError};

/// K-mers of a slab: they stay in the second-level cache.
const SLAB_KMERS: usize = 1 << 14;

/// Bytes that joining so many tables holds.
pub(super) fn claim_bytes(tables: usize, kmer_bytes: usize, threads: usize) -> u64 {
    let held = SLAB_KMERS + BLOCK_KMERS * tables;
    // What tables have decoded; for each thread packed numbers and room to merge them, and two
    // sets of runs.
    let of_a_thread = 2 * kmer_bytes + 2 * (kmer_bytes + 8);
    (held * (kmer_bytes + 8 + threads * of_a_thread)) as u64
}

/// Runs one behind the other: the keys of each ascend.
struct Runs<K> {
    kmers: Vec<K>,
    counts: Vec<u64>,
    /// Where each run ends.
    ends: Vec<usize>,
}

impl<K> Runs<K> {
    fn new() -> Self {
        Self { kmers: Vec::new(), counts: Vec::new(), ends: Vec::new() }
    }

    /// Makes room for so many and no more, where there are none.
    fn reserve(&mut self, kmers: usize) {
        self.kmers.reserve_exact(kmers);
        self.counts.reserve_exact(kmers);
    }

    fn clear(&mut self) {
        self.kmers.clear();
        self.counts.clear();
        self.ends.clear();
    }

    fn run(&self, number: usize) -> (&[K], &[u64]) {
        let begin = number.checked_sub(1).map_or(0, |before| self.ends[before]);
        let range = begin..self.ends[number];
        (&self.kmers[range.clone()], &self.counts[range])
    }
}

/// How two runs become one: which k-mers stay, and with which count. What is missing counts 0.
trait Rule {
    /// The count, and whether the k-mer stays.
    fn join(one: u64, in_one: bool, other: u64, in_other: bool) -> (u64, bool);
    /// Whether the counts may be beyond 64 bits.
    fn overflows(_: u64, _: u64) -> bool {
        false
    }
}

struct Sum;
struct Least;
struct Less;
struct Lacking;

impl Rule for Sum {
    #[inline(always)]
    fn join(one: u64, _: bool, other: u64, _: bool) -> (u64, bool) {
        (one.wrapping_add(other), true)
    }
    #[inline(always)]
    fn overflows(one: u64, other: u64) -> bool {
        one.checked_add(other).is_none()
    }
}

impl Rule for Least {
    #[inline(always)]
    fn join(one: u64, in_one: bool, other: u64, in_other: bool) -> (u64, bool) {
        (one.min(other), in_one && in_other)
    }
}

impl Rule for Less {
    #[inline(always)]
    fn join(one: u64, _: bool, other: u64, _: bool) -> (u64, bool) {
        let left = one.saturating_sub(other);
        (left, left > 0)
    }
}

impl Rule for Lacking {
    #[inline(always)]
    fn join(one: u64, in_one: bool, _: u64, in_other: bool) -> (u64, bool) {
        (one, in_one && !in_other)
    }
}

/// A run: its keys and their counts.
type Run<'r, K> = (&'r [K], &'r [u64]);

fn cut_alike<K>(run: Run<'_, K>) -> Run<'_, K> {
    let length = run.0.len().min(run.1.len());
    (&run.0[..length], &run.1[..length])
}

/// Joins two runs and appends the result; false if a count is beyond 64 bits.
fn join_two<K: Word, R: Rule>(left: Run<'_, K>, right: Run<'_, K>, to: &mut Runs<K>) -> bool {
    let begin = to.kmers.len();
    let most = left.0.len() + right.0.len();
    to.reserve(most);
    to.kmers.resize(begin + most, K::default());
    to.counts.resize(begin + most, 0);
    let (kmers, counts) = (&mut to.kmers[begin..], &mut to.counts[begin..]);
    // As long as the keys, so that one test of the bounds does for both.
    let (left, right) = (cut_alike(left), cut_alike(right));
    let (mut at_left, mut at_right, mut filled) = (0, 0, 0);
    let mut overflow = false;
    while at_left < left.0.len() && at_right < right.0.len() {
        let (one, other) = (left.0[at_left], right.0[at_right]);
        let (in_left, in_right) = (one <= other, other <= one);
        kmers[filled] = select_unpredictable(in_left, one, other);
        // Without the hint a branch passes over the load of a count that is not wanted, and is
        // wrong every other time.
        let one = select_unpredictable(in_left, left.1[at_left], 0);
        let other = select_unpredictable(in_right, right.1[at_right], 0);
        let (count, stays) = R::join(one, in_left, other, in_right);
        overflow |= R::overflows(one, other);
        counts[filled] = count;
        filled += usize::from(stays);
        at_left += usize::from(in_left);
        at_right += usize::from(in_right);
    }
    for (kmer, count) in left.0[at_left..].iter().zip(&left.1[at_left..]) {
        let (count, stays) = R::join(*count, true, 0, false);
        (kmers[filled], counts[filled]) = (*kmer, count);
        filled += usize::from(stays);
    }
    for (kmer, count) in right.0[at_right..].iter().zip(&right.1[at_right..]) {
        let (count, stays) = R::join(0, false, *count, true);
        (kmers[filled], counts[filled]) = (*kmer, count);
        filled += usize::from(stays);
    }
    to.kmers.truncate(begin + filled);
    to.counts.truncate(begin + filled);
    to.ends.push(begin + filled);
    !overflow
}

/// Joins runs from number `first` on to one, two at a time; `spare` is scratch.
fn fold<K: Word, R: Rule>(runs: &mut Runs<K>, first: usize, spare: &mut Runs<K>) -> Result<()> {
    while runs.ends.len() > first + 1 {
        spare.clear();
        spare.reserve(runs.kmers.len());
        for number in 0..first {
            let (kmers, counts) = runs.run(number);
            spare.kmers.extend_from_slice(kmers);
            spare.counts.extend_from_slice(counts);
            spare.ends.push(spare.kmers.len());
        }
        let mut number = first;
        while number < runs.ends.len() {
            let sound = if number + 1 < runs.ends.len() {
                join_two::<K, R>(runs.run(number), runs.run(number + 1), spare)
            } else {
                let (kmers, counts) = runs.run(number);
                spare.kmers.extend_from_slice(kmers);
                spare.counts.extend_from_slice(counts);
                spare.ends.push(spare.kmers.len());
                true
            };
            if !sound {
                let text = "the sum of counts is beyond 64 bits";
                return Err(Error::format(FormatKind::Other, text));
            }
            number += 2;
        }
        std::mem::swap(runs, spare);
    }
    Ok(())
}

/// The slabs of tables, one by one.
struct Slabs<'t, K> {
    strands: Vec<Strand<'t, K>>,
    tables: usize,
    /// How many of each strand, from the first that it holds on, belong to the slab.
    taken: Vec<usize>,
    /// How many slabs there were.
    made: usize,
}

impl<'t, K: Word> Slabs<'t, K> {
    fn new(tables: &'t [SkmTable], range: KeyRange<K>) -> Self {
        let strands = tables.iter().enumerate().map(|(n, table)| Strand::new(table, n, range));
        Self { strands: strands.collect(), tables: tables.len(), taken: Vec::new(), made: 0 }
    }

    /// Goes on to the next slab and gives its number, or nothing if there is none.
    fn next(&mut self) -> Result<Option<usize>> {
        for (strand, taken) in self.strands.iter_mut().zip(self.taken.drain(..)) {
            strand.used += taken;
        }
        let least = (SLAB_KMERS / self.strands.len().max(1)).max(1);
        let mut failure = Ok(());
        self.strands.retain_mut(|strand| match strand.fill(least) {
            Ok(some) => some,
            Err(error) => {
                failure = Err(error);
                false
            }
        });
        failure?;
        // Up to here every table has given all that it has.
        let open = self.strands.iter().filter(|strand| !strand.is_last());
        let bound = open.filter_map(|strand| strand.kmers.last().copied()).min();
        self.taken.extend(self.strands.iter().map(|strand| {
            let left = &strand.kmers[strand.used..];
            bound.map_or(left.len(), |bound| left.partition_point(|kmer| *kmer <= bound))
        }));
        self.made += 1;
        Ok((!self.strands.is_empty()).then_some(self.made - 1))
    }

    /// What of the slab each table has that has any: its number and the run.
    fn runs(&self) -> impl Iterator<Item = (usize, Run<'_, K>)> {
        let strands = self.strands.iter().zip(&self.taken).filter(|(_, taken)| **taken > 0);
        strands.map(|(strand, taken)| {
            let places = strand.used..strand.used + taken;
            (strand.number, (&strand.kmers[places.clone()], &strand.counts[places]))
        })
    }

    /// Copies a run of every table; those without any are empty.
    fn copy(&self, to: &mut Runs<K>) {
        to.clear();
        to.reserve(self.taken.iter().sum());
        for (number, (kmers, counts)) in self.runs() {
            to.ends.resize(number, to.kmers.len());
            to.kmers.extend_from_slice(kmers);
            to.counts.extend_from_slice(counts);
            to.ends.push(to.kmers.len());
        }
        to.ends.resize(self.tables, to.kmers.len());
    }

    /// Packs the slab; false if it does not fit.
    fn pack(&self, packed: &mut Packed<K>) -> bool {
        let least = self.runs().filter_map(|(_, (kmers, _))| kmers.first()).min();
        let greatest = self.runs().filter_map(|(_, (kmers, _))| kmers.last()).max();
        let (Some(least), Some(greatest)) = (least, greatest) else { return false };
        packed.begin(*least, *greatest, self.taken.iter().sum())
            && self.runs().all(|(_, (kmers, counts))| packed.push(kmers, counts))
    }
}

/// The k-mers of all tables that lie in a range, joined by any number of threads.
pub(super) struct Join<'t, K> {
    slabs: Mutex<Slabs<'t, K>>,
    operation: SetOperation,
}

impl<'t, K: Word> Join<'t, K> {
    pub(super) fn new(tables: &'t [SkmTable], operation: SetOperation, range: KeyRange<K>) -> Self {
        Self { slabs: Mutex::new(Slabs::new(tables, range)), operation }
    }

    /// Joins slabs until there are no more and gives each with its number: slabs ascend, and so do
    /// k-mers within.
    pub(super) fn work(
        &self,
        mut give: impl FnMut(usize, &mut Vec<K>, &mut Vec<u64>) -> Result<()>,
    ) -> Result<()> {
        let (mut runs, mut spare, mut packed) = (Runs::new(), Runs::new(), Packed::new());
        loop {
            let (number, is_packed) = {
                let mut slabs = self.slabs.lock().unwrap_or_else(PoisonError::into_inner);
                let Some(number) = slabs.next()? else { return Ok(()) };
                let is_packed = self.operation == SetOperation::UnionSum
                    && slabs.runs().nth(1).is_some()
                    && slabs.pack(&mut packed);
                if !is_packed {
                    slabs.copy(&mut runs);
                }
                (number, is_packed)
            };
            if is_packed {
                packed.sum(&mut runs.kmers, &mut runs.counts);
            } else {
                self.fold_runs(&mut runs, &mut spare)?;
            }
            give(number, &mut runs.kmers, &mut runs.counts)?;
        }
    }

    fn fold_runs(&self, runs: &mut Runs<K>, spare: &mut Runs<K>) -> Result<()> {
        match self.operation {
            SetOperation::UnionSum => fold::<K, Sum>(runs, 0, spare),
            SetOperation::IntersectMin => fold::<K, Least>(runs, 0, spare),
            SetOperation::Subtract | SetOperation::Difference => {
                fold::<K, Sum>(runs, 1, spare)?;
                if runs.ends.len() > 1 {
                    spare.clear();
                    if self.operation == SetOperation::Subtract {
                        join_two::<K, Less>(runs.run(0), runs.run(1), spare);
                    } else {
                        join_two::<K, Lacking>(runs.run(0), runs.run(1), spare);
                    }
                    std::mem::swap(runs, spare);
                }
                Ok(())
            }
        }
    }
}
