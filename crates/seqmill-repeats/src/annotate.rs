//! Copies without a seed: the finished library searched against what is not covered yet.
//!
//! K-mers of the consensus sequences are looked up in the genome; each hit is aligned to its
//! consensus as a copy would be, from the k-mer to both sides. What scores more than chance
//! allows is kept, the best first, as long as most of it is new.

use crate::crew;
use crate::extend::lanes::Kernel;
use crate::extend::{Aligner, Context, Copy_, Direction, Scoring, Side, Tasks};
use crate::find::{Element, Family, LoopState};
use crate::kmer::{Complexity, Window, mix, scan};
use crate::text::Text;
use seqmill_base::budget::AccountId;
use seqmill_base::{Job, Result};

/// Least and most length of the k-mers that are looked up.
const LENGTHS: [u32; 2] = [10, 16];
/// Letters of genome for each hit by chance.
const LETTERS_PER_CHANCE: u64 = 64;
/// Hits by chance that are expected in a whole genome above the least score.
const CHANCE: f64 = 0.01;
/// Constant of the statistics of local alignments (Karlin and Altschul), for equal bases.
const KARLIN_K: f64 = 0.3;
/// Positions that one task looks at; part of the result, so never a matter of threads.
const PIECE: u32 = 1 << 20;
/// Bits of the first look.
const FILTER_BITS: u32 = 22;
/// A hit on nearly the same diagonal as the one before it on the same family is not tried again
/// within so many letters.
const SAME_HIT: i64 = 64;

/// The k-mers of a library.
pub(crate) struct Library<'a> {
    pub(crate) k: u32,
    families: &'a [Family],
    /// K-mer, family and column.
    places: Vec<(u32, u32, u32)>,
    filter: Vec<u64>,
}

impl<'a> Library<'a> {
    /// Bytes for a library of so many letters.
    pub(crate) fn bytes_for(letters: u64) -> u64 {
        letters * 16 + (1 << (FILTER_BITS - 3))
    }

    /// The k-mers of these families, so long that so many letters are searched for each hit by
    /// chance.
    pub(crate) fn new(families: &'a [Family], letters_per_chance: u64) -> Self {
        let letters: u64 = families.iter().map(|f| f.consensus.len() as u64).sum();
        let [least, most] = LENGTHS;
        let k = (least..most)
            .find(|k| 2 * letters * letters_per_chance <= 1 << (2 * k))
            .unwrap_or(most);
        let complexity = Complexity::new(k);
        let mut places = Vec::new();
        for (number, family) in (0..).zip(families) {
            let mut kmer = 0_u64;
            for (i, code) in (1_u32..).zip(&family.consensus) {
                kmer = (kmer << 2 | u64::from(*code)) & crate::kmer::mask(k);
                if i >= k && complexity.is_complex(kmer) {
                    places.push((kmer as u32, number, i - k));
                }
            }
        }
        places.sort_unstable();
        let mut filter = vec![0; 1 << (FILTER_BITS - 6)];
        for place in &places {
            let bit = Self::bit(u64::from(place.0));
            filter[bit / 64] |= 1 << (bit % 64);
        }
        Self { k, families, places, filter }
    }

    fn bit(kmer: u64) -> usize {
        (mix(kmer) >> (64 - FILTER_BITS)) as usize
    }

    #[inline]
    fn of(&self, kmer: u64) -> &[(u32, u32, u32)] {
        let bit = Self::bit(kmer);
        if self.filter[bit / 64] >> (bit % 64) & 1 == 0 {
            return &[];
        }
        let kmer = kmer as u32;
        let from = self.places.partition_point(|p| p.0 < kmer);
        let length = self.places[from..].iter().take_while(|p| p.0 == kmer).count();
        &self.places[from..from + length]
    }
}

/// The least score that chance hardly reaches.
pub(crate) fn least_score(scoring: &Scoring, letters: u64, library: u64, min_length: u32) -> i32 {
    // The positive root of Σ p·exp(λ·score) = 1, if alignments by chance do not grow forever.
    let sum = |lambda: f64| {
        0.25 * (lambda * f64::from(scoring.matching)).exp()
            + 0.75 * (lambda * f64::from(scoring.mismatch)).exp()
    };
    let (mut low, mut high) = (1e-6, 10.0);
    if sum(low) >= 1.0 {
        return scoring.matching * min_length as i32;
    }
    for _ in 0..100 {
        let middle = f64::midpoint(low, high);
        if sum(middle) < 1.0 {
            low = middle;
        } else {
            high = middle;
        }
    }
    let space = KARLIN_K * letters as f64 * 2.0 * library as f64 / CHANCE;
    (space.max(1.0).ln() / low).ceil() as i32
}

/// A hit that scores enough.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Hit {
    pub(crate) family: u32,
    pub(crate) element: Element,
}

/// Memory and kernels of one thread.
pub(crate) struct Worker {
    aligner: Aligner,
    tasks: Tasks,
    /// The columns to the left of a hit, from the hit on.
    left: Vec<u8>,
    /// For each family and strand the last hit: diagonal and the place up to which it counts.
    last: Vec<(i64, i64)>,
}

impl Worker {
    pub(crate) fn new(kernel: Kernel) -> Self {
        Self {
            aligner: Aligner::new(kernel),
            tasks: Tasks::default(),
            left: Vec::new(),
            last: Vec::new(),
        }
    }

    /// Forgets the hits of what was searched before in so many families.
    pub(crate) fn start(&mut self, families: usize) {
        self.last.clear();
        self.last.resize(families * 2, (i64::MIN, i64::MIN));
    }

    /// Aligns a hit from column `column` of a consensus to both sides.
    fn align(
        &mut self,
        context: &Context<'_>,
        copy: Copy_,
        consensus: &[u8],
        column: u32,
    ) -> Element {
        let (left, right) = consensus.split_at(column as usize);
        self.left.clear();
        self.left.extend(left.iter().rev());
        let columns = [right, self.left.as_slice()];
        let mut sides = [Side::default(); 2];
        for task in self.tasks.split(&[copy], &context.scoring) {
            self.aligner.align(context, &[copy], columns, task, |_, direction, side| {
                sides[usize::from(direction == Direction::Left)] = side;
            });
        }
        let mut element = crate::find::span(copy, sides, context.scoring.k as i32, false);
        element.anchor = column;
        element.annotated = true;
        element
    }
}

/// Adds to `state` the elements that the library finds in what is not covered; how many, and the
/// length of the k-mers that led to them.
pub(crate) fn annotate(
    context: &Context<'_>,
    state: &mut LoopState,
    min_length: u32,
    threads: usize,
    job: &Job,
    account: AccountId,
) -> Result<(u64, u32)> {
    if state.families.is_empty() {
        return Ok((0, 0));
    }
    let letters: u64 = state.families.iter().map(|f| f.consensus.len() as u64).sum();
    let families = state.families.len() as u64;
    let bytes = Library::bytes_for(letters) + threads as u64 * families * 32;
    let mut lease = job.budget.must_reserve(account, bytes).map_err(|e| e.within("annotation"))?;
    let library = Library::new(&state.families, LETTERS_PER_CHANCE);
    let scoring = Scoring { k: library.k, reprise: false, ..context.scoring };
    let context = Context { scoring, ..*context };
    let least = least_score(&scoring, u64::from(context.text.len()), letters, min_length);
    let kernel = Kernel::detect();
    let mut workers: Vec<Worker> = (0..threads).map(|_| Worker::new(kernel)).collect();
    let pieces = context.text.len().div_ceil(PIECE) as usize;
    let found = crew::each(&mut workers, pieces, |worker, task| {
        let from = task as u32 * PIECE;
        let to = context.text.len().min(from.saturating_add(PIECE));
        search(worker, &context, &library, state, (from, to), (least, min_length))
    });
    job.cancel.check()?;
    let mut hits: Vec<Hit> = found.into_iter().flatten().collect();
    lease.resize(bytes + (hits.capacity() * size_of::<Hit>()) as u64)?;
    hits.sort_by_key(|hit| {
        let element = &hit.element;
        (-element.score, element.place, hit.family, element.reverse)
    });
    let kept = select(context.text, state, hits);
    let count = kept.len() as u64;
    merge(state, kept);
    Ok((count, scoring.k))
}

fn search(
    worker: &mut Worker,
    context: &Context<'_>,
    library: &Library<'_>,
    state: &LoopState,
    (from, to): (u32, u32),
    (least, min_length): (i32, u32),
) -> Vec<Hit> {
    let mut hits = Vec::new();
    worker.start(library.families.len());
    scan(context.text, library.k, from, to, |window| {
        if !state.covered.touches(window.at, library.k) && !context.cancel.is_cancelled() {
            let good = |element: &Element| element.score >= least && element.length() >= min_length;
            try_hits(worker, context, library, &window, (|_| true, good), |hit| hits.push(hit));
        }
    });
    hits
}

/// Aligns what a window hits on both strands: the families that are wanted. Calls `each` with
/// hits that are good.
#[inline(always)]
pub(crate) fn try_hits(
    worker: &mut Worker,
    context: &Context<'_>,
    library: &Library<'_>,
    window: &Window,
    (wants, good): (impl Fn(u32) -> bool, impl Fn(&Element) -> bool),
    mut each: impl FnMut(Hit),
) {
    for (reverse, kmer) in [(false, window.forward), (true, window.reverse)] {
        for &(_, family, column) in library.of(kmer) {
            let at = i64::from(window.at);
            let diagonal = if reverse { at + i64::from(column) } else { at - i64::from(column) };
            let slot = family as usize * 2 + usize::from(reverse);
            let last = worker.last[slot];
            let near = (diagonal - last.0).abs() <= i64::from(context.scoring.max_gap);
            if !wants(family) || (at < last.1 && (near || last.0 == i64::MIN)) {
                continue;
            }
            let copy = Copy_ { place: window.at, reverse };
            let columns = &library.families[family as usize].consensus;
            let element = worker.align(context, copy, columns, column);
            let is_good = good(&element);
            // Within a good hit the family is not tried again, whatever the diagonal.
            worker.last[slot] =
                if is_good { (i64::MIN, element.behind()) } else { (diagonal, at + SAME_HIT) };
            if is_good {
                each(Hit { family, element });
            }
        }
    }
}

/// The hits of which most is new, the best first.
fn select(text: &Text, state: &mut LoopState, hits: Vec<Hit>) -> Vec<Hit> {
    let mut kept = Vec::new();
    for hit in hits {
        let record = &text.records()[text.record_of(hit.element.place)];
        let first = hit.element.first().max(i64::from(record.start)) as u32;
        let behind = hit.element.behind().min(i64::from(record.end())) as u32;
        if first >= behind {
            continue;
        }
        let old = state.covered.count_in(first, behind);
        if old * 2 > u64::from(behind - first) {
            continue;
        }
        state.covered.set(first, behind);
        kept.push(hit);
    }
    kept
}

/// Puts the new elements behind those of their families.
fn merge(state: &mut LoopState, mut kept: Vec<Hit>) {
    kept.sort_by_key(|hit| (hit.family, hit.element.place, hit.element.reverse));
    let old = std::mem::take(&mut state.elements);
    let mut elements = Vec::with_capacity(old.len() + kept.len());
    let mut hits = kept.iter().peekable();
    for (number, family) in (0_u32..).zip(&mut state.families) {
        let from = usize::try_from(family.elements_from).unwrap_or(usize::MAX);
        family.elements_from = elements.len() as u64;
        elements.extend_from_slice(&old[from..from + family.elements as usize]);
        while let Some(hit) = hits.next_if(|hit| hit.family == number) {
            elements.push(hit.element);
            family.elements += 1;
        }
    }
    state.elements = elements;
}
