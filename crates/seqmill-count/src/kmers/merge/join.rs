//! Sorted tables joined slab by slab: each slab holds the k-mers of all tables up to one key, and
//! is joined two runs at a time without a branch that depends on the k-mers.

use super::SetOperation;
use super::cursor::{KeyRange, Strand};
use crate::kmers::skm::{BLOCK_KMERS, SkmTable};
use crate::kmers::word::Word;
use seqmill_base::{Error, FormatKind, Result};
use std::hint::select_unpredictable;

/// K-mers of a slab: they stay in the second-level cache.
const SLAB_KMERS: usize = 1 << 14;

/// Bytes that joining so many tables holds.
pub(super) fn claim_bytes(tables: usize, kmer_bytes: usize) -> u64 {
    let held = SLAB_KMERS + 3 * BLOCK_KMERS * tables;
    // What tables have decoded, and two sets of runs.
    (3 * held * (kmer_bytes + 8)) as u64
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

/// Gives the k-mers of all tables that lie in `range`, joined, in ascending order.
pub(super) fn join<K: Word>(
    tables: &[SkmTable],
    operation: SetOperation,
    range: KeyRange<K>,
    mut give: impl FnMut(&[K], &[u64]) -> Result<()>,
) -> Result<()> {
    let mut strands: Vec<Strand<'_, K>> =
        tables.iter().enumerate().map(|(n, table)| Strand::new(table, n, range)).collect();
    let (mut runs, mut spare) = (Runs::new(), Runs::new());
    loop {
        let least = (SLAB_KMERS / strands.len().max(1)).max(1);
        let mut failure = Ok(());
        strands.retain_mut(|strand| match strand.fill(least) {
            Ok(some) => some,
            Err(error) => {
                failure = Err(error);
                false
            }
        });
        failure?;
        if strands.is_empty() {
            return Ok(());
        }
        // Up to here every table has given all that it has.
        let open = strands.iter().filter(|strand| !strand.is_last());
        let bound = open.filter_map(|strand| strand.kmers.last().copied()).min();
        if let ([only], SetOperation::UnionSum) = (strands.as_mut_slice(), operation) {
            give(&only.kmers[only.used..], &only.counts[only.used..])?;
            only.used = only.kmers.len();
            continue;
        }
        runs.clear();
        let mut next = 0;
        for strand in &mut strands {
            // A table that has ended is an empty run: operations go by the table's number.
            while next < strand.number && operation != SetOperation::UnionSum {
                runs.ends.push(runs.kmers.len());
                next += 1;
            }
            next = strand.number + 1;
            let left = &strand.kmers[strand.used..];
            let taken =
                bound.map_or(left.len(), |bound| left.partition_point(|kmer| *kmer <= bound));
            if taken == 0 && operation == SetOperation::UnionSum {
                continue;
            }
            runs.kmers.extend_from_slice(&left[..taken]);
            runs.counts.extend_from_slice(&strand.counts[strand.used..strand.used + taken]);
            runs.ends.push(runs.kmers.len());
            strand.used += taken;
        }
        while next < tables.len() && operation != SetOperation::UnionSum {
            runs.ends.push(runs.kmers.len());
            next += 1;
        }
        match operation {
            SetOperation::UnionSum => fold::<K, Sum>(&mut runs, 0, &mut spare)?,
            SetOperation::IntersectMin => fold::<K, Least>(&mut runs, 0, &mut spare)?,
            SetOperation::Subtract | SetOperation::Difference => {
                fold::<K, Sum>(&mut runs, 1, &mut spare)?;
                if runs.ends.len() > 1 {
                    spare.clear();
                    if operation == SetOperation::Subtract {
                        join_two::<K, Less>(runs.run(0), runs.run(1), &mut spare);
                    } else {
                        join_two::<K, Lacking>(runs.run(0), runs.run(1), &mut spare);
                    }
                    std::mem::swap(&mut runs, &mut spare);
                }
            }
        }
        give(&runs.kmers, &runs.counts)?;
    }
}
