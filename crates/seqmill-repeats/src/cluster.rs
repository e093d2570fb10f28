//! Redundant sequences of a library: those that a longer one covers.
//!
//! The consensus sequences are made a text of their own, each a record, and every one is searched
//! in those that are longer, the way copies without a seed are searched in a genome.

use crate::annotate::{Hit, Library, least_score};
use crate::annotate::{Worker, try_hits};
use crate::crew;
use crate::extend::lanes::Kernel;
use crate::extend::{Context, Scoring};
use crate::find::Family;
use crate::kmer::scan;
use crate::tables::consensus_range;
use crate::text::{LETTERS, Text, TextBuilder};
use crate::trace::{Tracer, identity};
use seqmill_base::budget::AccountId;
use seqmill_base::{Error, Job, Result};
use serde::Serialize;

/// Part of a sequence that has to be covered: so many of so many.
const COVERED: [u64; 2] = [4, 5];
/// Letters of the library for each hit by chance: few, because there is little to search.
const LETTERS_PER_CHANCE: u64 = 1;
/// Least and most identity that may be asked for.
const IDENTITIES: [f64; 2] = [0.5, 1.0];

/// A sequence that is left out of the library.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Dropped {
    /// Number of its family.
    pub family: u32,
    /// Number of the family that stands for it.
    pub by: u32,
    /// The share of its letters that is covered.
    pub coverage: f64,
    /// The share of equal columns in that part.
    pub identity: f64,
}

/// A part of a sequence that is found in a longer one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Part {
    family: u32,
    by: u32,
    from: u32,
    to: u32,
    equal: u32,
    columns: u32,
}

/// Refuses an identity that makes no sense.
pub(crate) fn check(wanted: Option<f64>) -> Result<()> {
    let [least, most] = IDENTITIES;
    match wanted {
        Some(value) if !(least..=most).contains(&value) => Err(Error::input(format!(
            "cluster {value} is out of range; it must be {least} to {most}"
        ))),
        _ => Ok(()),
    }
}

/// Finds the sequences that are covered by a longer one (or one as long that was found earlier)
/// at `wanted` identity, in the order of the families. What is left out stands for nothing itself.
pub(crate) fn redundant(
    families: &[Family],
    scoring: &Scoring,
    wanted: f64,
    threads: usize,
    job: &Job,
    account: AccountId,
) -> Result<Vec<Dropped>> {
    let letters: u64 = families.iter().map(|f| f.consensus.len() as u64).sum();
    if letters == 0 {
        return Ok(Vec::new());
    }
    let bytes = Library::bytes_for(letters) + letters + threads as u64 * families.len() as u64 * 32;
    let reserved = job.budget.must_reserve(account, bytes);
    let mut lease = reserved.map_err(|e| e.within("redundant sequences"))?;
    let text = text_of(families)?;
    let library = Library::new(families, LETTERS_PER_CHANCE);
    let scoring = Scoring { k: library.k, reprise: false, ..*scoring };
    let context = Context { text: &text, scoring, cancel: &job.cancel };
    let least = least_score(&scoring, letters, letters, library.k);
    let kernel = Kernel::detect();
    let mut workers: Vec<(Worker, Tracer)> =
        (0..threads).map(|_| (Worker::new(kernel), Tracer::default())).collect();
    let ranks = ranks(families);
    let found = crew::each(&mut workers, families.len(), |(worker, tracer), by| {
        let record = &text.records()[by];
        let mut parts = Vec::new();
        worker.start(families.len());
        scan(&text, library.k, record.start, record.end(), |window| {
            if context.cancel.is_cancelled() {
                return;
            }
            let wants = |family: u32| ranks[family as usize] > ranks[by];
            let good = |element: &crate::find::Element| element.score >= least;
            try_hits(worker, &context, &library, &window, (wants, good), |hit| {
                parts.extend(part_of(&context, families, tracer, hit, (by, wanted)));
            });
        });
        parts
    });
    job.cancel.check()?;
    let mut parts = found.concat();
    lease.resize(bytes + (parts.capacity() * 2 * size_of::<Part>()) as u64)?;
    parts
        .sort_unstable_by_key(|part| (ranks[part.family as usize], ranks[part.by as usize], *part));
    Ok(choose(families, &parts))
}

/// A text with a record for each consensus.
fn text_of(families: &[Family]) -> Result<Text> {
    let mut builder = TextBuilder::default();
    let mut letters = Vec::new();
    for family in families {
        builder.start(b"");
        letters.clear();
        letters.extend(family.consensus.iter().map(|code| LETTERS[*code as usize]));
        let taken = builder.push(&letters);
        taken.map_err(|_| Error::input("the library is too large to be clustered"))?;
    }
    Ok(builder.finish())
}

/// For each family its place among all by length, the longest first.
fn ranks(families: &[Family]) -> Vec<u32> {
    let mut order: Vec<u32> = (0..families.len() as u32).collect();
    order.sort_by_key(|i| std::cmp::Reverse(families[*i as usize].consensus.len()));
    let mut ranks = vec![0; families.len()];
    for (rank, family) in (0..).zip(order) {
        ranks[family as usize] = rank;
    }
    ranks
}

/// What a hit covers, if it is alike enough.
fn part_of(
    context: &Context<'_>,
    families: &[Family],
    tracer: &mut Tracer,
    hit: Hit,
    (by, wanted): (usize, f64),
) -> Option<Part> {
    let family = &families[hit.family as usize];
    let pairs = tracer.align(context, family, &hit.element);
    let (from, to) = consensus_range(family, &hit.element);
    let share = f64::from(identity(&family.consensus[from as usize..to as usize], &pairs));
    let columns = pairs.len() as u32;
    let equal = (share * f64::from(columns)).round() as u32;
    // In whole columns: what is written as 0.9 is no more than nine of ten.
    let enough = f64::from(equal) + 1e-6 >= wanted * f64::from(columns);
    enough.then_some(Part { family: hit.family, by: by as u32, from, to, equal, columns })
}

/// Goes from the longest sequence to the shortest; each is left out if one that stays covers it.
fn choose(families: &[Family], parts: &[Part]) -> Vec<Dropped> {
    let mut stays = vec![true; families.len()];
    let mut dropped = Vec::new();
    for of_family in parts.chunk_by(|a, b| a.family == b.family) {
        let family = of_family[0].family;
        let length = families[family as usize].consensus.len() as u64;
        let cover = of_family.chunk_by(|a, b| a.by == b.by).find_map(|own| {
            let (mut covered, mut until) = (0, 0);
            for part in own {
                covered += u64::from(part.to.saturating_sub(part.from.max(until)));
                until = until.max(part.to);
            }
            let enough = covered * COVERED[1] >= length * COVERED[0];
            (enough && stays[own[0].by as usize]).then_some((own, covered))
        });
        if let Some((own, covered)) = cover {
            stays[family as usize] = false;
            let sum = |of: fn(&Part) -> u32| own.iter().map(|p| f64::from(of(p))).sum::<f64>();
            dropped.push(Dropped {
                family,
                by: own[0].by,
                coverage: covered as f64 / length as f64,
                identity: sum(|p| p.equal) / sum(|p| p.columns),
            });
        }
    }
    dropped.sort_unstable_by_key(|one| one.family);
    dropped
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kmer::mix;
    use crate::options::Parameters;
    use seqmill_base::Budget;

    fn random(seed: u64, length: u64) -> Vec<u8> {
        (0..length).map(|i| (mix(seed << 32 | i) % 4) as u8).collect()
    }

    fn twin(codes: &[u8]) -> Vec<u8> {
        codes.iter().rev().map(|code| 3 - code).collect()
    }

    /// Changes every `each`th letter.
    fn mutated(codes: &[u8], each: usize) -> Vec<u8> {
        let change = |(i, code): (usize, &u8)| if i % each == 3 { (code + 1) % 4 } else { *code };
        codes.iter().enumerate().map(change).collect()
    }

    fn clustered(sequences: &[Vec<u8>], wanted: f64, threads: usize) -> Vec<Dropped> {
        let families: Vec<Family> = sequences
            .iter()
            .map(|consensus| Family {
                seed: 0,
                copies: 3,
                consensus: consensus.clone(),
                left: 0,
                elements_from: 0,
                elements: 0,
            })
            .collect();
        let job = Job::new(Budget::new(1 << 30, 0).unwrap());
        let account = job.budget.account("index", u64::MAX);
        let scoring = Scoring::new(&Parameters::default(), 12);
        redundant(&families, &scoring, wanted, threads, &job, account).unwrap()
    }

    #[test]
    fn covered_sequences_are_left_out() {
        let long = random(1, 1200);
        let part = mutated(&twin(&long[300..700]), 20);
        // Two thirds of it lie in the long one, and a tenth has its own letters.
        let most = [&long[100..500], &random(2, 200)[..]].concat();
        let nearly = [&long[700..1060], &random(3, 40)[..]].concat();
        // A part in two pieces, with an insertion between that no band bridges.
        let torn = [&long[20..170], &long[400..550]].concat();
        let sequences =
            [part.clone(), long.clone(), random(4, 500), most, long.clone(), nearly, torn];
        let names = |dropped: &[Dropped]| -> Vec<(u32, u32)> {
            dropped.iter().map(|one| (one.family, one.by)).collect()
        };
        let found = clustered(&sequences, 0.9, 1);
        assert_eq!(names(&found), [(0, 1), (4, 1), (5, 1), (6, 1)]);
        assert!((found[0].identity - 0.95).abs() < 0.01 && found[0].coverage > 0.97);
        assert!((found[1].identity - 1.0).abs() < 1e-9 && (found[1].coverage - 1.0).abs() < 1e-9);
        assert!((found[2].coverage - 0.9).abs() < 0.03);
        // The first is not alike enough for that.
        assert_eq!(names(&clustered(&sequences, 0.97, 1)), [(4, 1), (5, 1), (6, 1)]);
        for threads in [2, 3, 8] {
            assert_eq!(clustered(&sequences, 0.9, threads), found);
        }
        assert_eq!(clustered(&[], 0.9, 1), []);
    }

    #[test]
    fn what_is_left_out_stands_for_nothing() {
        // The second lies in the first, the third in the end of the second that the first lacks.
        let first = random(5, 1000);
        let second = [&first[100..800], &random(6, 150)[..]].concat();
        let third = [&first[740..800], &random(6, 150)[..]].concat();
        let found = clustered(&[first, second, third], 0.9, 1);
        assert_eq!(found.iter().map(|one| (one.family, one.by)).collect::<Vec<_>>(), [(1, 0)]);
    }

    #[test]
    fn identities_have_a_range() {
        assert!(check(None).is_ok() && check(Some(0.5)).is_ok() && check(Some(1.0)).is_ok());
        for wrong in [0.49, 1.01, -1.0, f64::NAN, f64::INFINITY] {
            assert!(check(Some(wrong)).is_err(), "{wrong}");
        }
    }
}
