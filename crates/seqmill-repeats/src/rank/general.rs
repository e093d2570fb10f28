//! Seeds with any number of mismatches, by the pigeonhole principle: of `distance + 1` parts of a
//! seed at least one is equal in each of its occurrences. Right for every length and distance; the
//! whole index is held at once, and the work grows with the pairs that share a part.

use super::exact::BUCKETS;
use super::group::{Lists, Rules};
use super::{Ranking, Search};
use crate::crew;
use crate::kmer::{Complexity, distance, reverse_complement, scan};
use seqmill_base::Result;

/// A k-mer class: its smaller form and where its places begin.
#[derive(Debug, Clone, Copy)]
struct Class {
    kmer: u64,
    from: u32,
}

/// Classes, and an index for each part.
struct Index {
    k: u32,
    classes: Vec<Class>,
    places: Vec<u32>,
    parts: Vec<Part>,
}

/// The forms of all classes (`2 * class + reversed`), sorted by the bases of one part.
struct Part {
    shift: u32,
    mask: u64,
    forms: Vec<u32>,
}

impl Part {
    fn of(&self, kmer: u64) -> u64 {
        kmer >> self.shift & self.mask
    }
}

impl Index {
    fn form(&self, form: u32) -> u64 {
        let kmer = self.classes[form as usize / 2].kmer;
        if form & 1 == 0 { kmer } else { reverse_complement(kmer, self.k) }
    }

    fn places_of(&self, class: usize) -> &[u32] {
        let end = self.classes.get(class + 1).map_or(self.places.len(), |c| c.from as usize);
        &self.places[self.classes[class].from as usize..end]
    }

    fn build(search: &Search<'_>) -> Self {
        let (text, k) = (search.text, search.k);
        let mut pairs: Vec<(u64, u32)> = Vec::new();
        scan(text, k, 0, text.len(), |w| pairs.push((w.canonical(), w.at)));
        crew::sort(search.threads, &mut pairs);
        let mut classes = Vec::new();
        let places = pairs.iter().map(|p| p.1).collect();
        for (i, pair) in (0..).zip(&pairs) {
            if i == 0 || pairs[i as usize - 1].0 != pair.0 {
                classes.push(Class { kmer: pair.0, from: i });
            }
        }
        drop(pairs);
        let mut index = Self { k, classes, places, parts: Vec::new() };
        let count = (search.parameters.distance + 1).min(k);
        for part in 0..count {
            let (from, to) = (part * k / count, (part + 1) * k / count);
            let mut part =
                Part { shift: 2 * (k - to), mask: crate::kmer::mask(to - from), forms: Vec::new() };
            let forms = index.classes.len() as u32 * 2;
            let mut keys: Vec<(u64, u32)> =
                (0..forms).map(|form| (part.of(index.form(form)), form)).collect();
            crew::sort(search.threads, &mut keys);
            part.forms = keys.into_iter().map(|key| key.1).collect();
            index.parts.push(part);
        }
        index
    }

    /// Calls `each` with all forms within `limit` of `kmer`, each once.
    fn neighbours(&self, kmer: u64, limit: u32, mut each: impl FnMut(u32)) {
        for (i, part) in self.parts.iter().enumerate() {
            let key = part.of(kmer);
            let from = part.forms.partition_point(|form| part.of(self.form(*form)) < key);
            for &form in &part.forms[from..] {
                let other = self.form(form);
                if part.of(other) != key {
                    break;
                }
                let seen = self.parts[..i].iter().any(|p| p.of(other) == p.of(kmer));
                // A palindrome has one form only.
                let twin = form & 1 == 1 && self.classes[form as usize / 2].kmer == other;
                if !seen && !twin && distance(kmer, other) <= limit {
                    each(form);
                }
            }
        }
    }
}

/// Candidates of any distance.
pub(super) fn candidates(search: &Search<'_>) -> Result<Ranking> {
    let mut ranking = Ranking::default();
    let length = u64::from(search.text.len());
    let parts = u64::from(search.parameters.distance + 1);
    // Pairs while sorting, then classes and places; forms and their keys.
    let bytes = length * (16 + 20 + 8 * parts + 32) + (1 << 16);
    let _lease = search
        .job
        .budget
        .must_reserve(search.accounts.index, bytes)
        .map_err(|e| e.within("the index of k-mers with mismatches"))?;
    let index = Index::build(search);
    let complexity = Complexity::new(search.k);
    let rules = Rules::new(search.text, search.parameters);
    let tasks = BUCKETS.min(index.classes.len().max(1));
    let mut scratch = vec![[Vec::new(), Vec::new()]; search.threads];
    let results = crew::each(&mut scratch, tasks, |lists, task| {
        let n = index.classes.len();
        let mut out = Lists::default();
        for class in task * n / tasks..(task + 1) * n / tasks {
            if search.job.cancel.is_cancelled() {
                break;
            }
            one(search, &index, rules, &complexity, class, lists, &mut out);
        }
        out
    });
    search.job.cancel.check()?;
    let mut held = search.job.budget.must_reserve(search.accounts.positions, 0)?;
    Lists::append_all(results, &mut ranking, &mut held)?;
    ranking.figures.windows = index.places.len() as u64;
    ranking.figures.admitted = ranking.figures.windows;
    ranking.figures.partitions = 1;
    ranking.lease = Some(held);
    Ok(ranking)
}

fn one(
    search: &Search<'_>,
    index: &Index,
    rules: Rules<'_>,
    complexity: &Complexity,
    class: usize,
    lists: &mut [Vec<u32>; 2],
    out: &mut Lists,
) {
    let first = index.places_of(class)[0];
    let kmer = search.text.kmer(first, search.k);
    if !complexity.is_complex(kmer) {
        return;
    }
    let [forward, reverse] = lists;
    forward.clear();
    reverse.clear();
    index.neighbours(kmer, search.parameters.distance, |form| {
        let other = index.form(form);
        let palindrome = other == reverse_complement(other, search.k);
        for &place in index.places_of(form as usize / 2) {
            let written = search.text.kmer(place, search.k) == other;
            if written {
                forward.push(place);
            }
            if !written || palindrome {
                reverse.push(place);
            }
        }
    });
    forward.sort_unstable();
    reverse.sort_unstable();
    out.add(rules, first, forward.iter().copied(), reverse.iter().copied());
}
