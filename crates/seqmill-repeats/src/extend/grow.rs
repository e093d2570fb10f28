//! Extension of a consensus, sixteen copies at a time (specification 8).

use super::lanes::{BIAS, Kernel, LANES, Lanes, Portable, Row};
use super::wide::{self, first_largest};
use super::{Context, Copy_, Direction, Lane, NO_BASE, Progress, Scoring};

/// Copies in half a vector: the unit that belongs to one direction.
const HALF: usize = LANES / 2;
/// Up to this many copies both directions share their vectors.
const TOGETHER: usize = 24;
/// Vectors whose sums fit 32-bit lanes.
const SUMMED: usize = 1 << 12;
/// Columns between two looks at the cancel flag.
const CHECK_EVERY: i64 = 256;

/// Memory of one worker for extensions.
#[derive(Debug)]
pub(crate) struct Grower {
    kernel: Kernel,
    lanes: Vec<Option<Lane>>,
    /// A ring of letters for each vector.
    codes: Vec<Row>,
    ring: usize,
    /// The largest cell of each offset, and the insert cells of the next column.
    high: Vec<Row>,
    insert: Vec<Row>,
    best: Vec<Row>,
    live: Vec<Row>,
    segments: Vec<Segment>,
    /// Codes of the columns that were found: right and left, or one direction alone.
    columns: [Vec<u8>; 2],
}

/// Vectors whose halves belong to the same directions.
#[derive(Debug, Clone, Copy)]
struct Segment {
    from: usize,
    to: usize,
    halves: [usize; 2],
}

/// What a column gives: sums for the bases of the next one, the total, and its bounds.
type Sums = [[i64; 7]; 2];

/// Scores as vectors want them.
#[derive(Clone, Copy)]
struct Scores {
    matching: u16,
    mismatch: u16,
    gap_open: u16,
    gap_extend: u16,
    cap: u16,
}

impl Scores {
    fn new(scoring: &Scoring) -> Self {
        let size = |score: i32| u16::try_from(score.unsigned_abs()).unwrap_or(u16::MAX);
        Self {
            matching: size(scoring.matching),
            mismatch: size(scoring.mismatch),
            gap_open: size(scoring.gap_open),
            gap_extend: size(scoring.gap_extend),
            cap: size(scoring.cap_penalty),
        }
    }
}

impl Grower {
    pub(crate) fn new(kernel: Kernel) -> Self {
        Self {
            kernel,
            lanes: Vec::new(),
            codes: Vec::new(),
            ring: 0,
            high: Vec::new(),
            insert: Vec::new(),
            best: Vec::new(),
            live: Vec::new(),
            segments: Vec::new(),
            columns: [Vec::new(), Vec::new()],
        }
    }

    /// Bytes for an extension of so many copies in both directions.
    pub(crate) fn bytes_for(scoring: &Scoring, copies: usize) -> u64 {
        let lane = size_of::<Option<Lane>>() * LANES;
        let ring = (scoring.band() + LANES).next_power_of_two();
        let vector = size_of::<Row>() * (ring + 2 * scoring.band() + 2) + lane;
        (copies.div_ceil(LANES) + 1) as u64 * vector as u64 + u64::from(scoring.max_extend) * 4
    }

    /// Extends both directions: the columns to the right and to the left.
    pub(crate) fn both(&mut self, context: &Context<'_>, copies: &[Copy_]) -> [&[u8]; 2] {
        if copies.len() <= TOGETHER && context.scoring.is_narrow() {
            self.prepare(context, copies, &[Direction::Right, Direction::Left]);
            self.run(context);
        } else {
            self.one(context, copies, Direction::Left);
            self.columns.swap(0, 1);
            self.one(context, copies, Direction::Right);
        }
        self.columns()
    }

    /// What the last extension of both directions gave.
    pub(crate) fn columns(&self) -> [&[u8]; 2] {
        self.columns.each_ref().map(Vec::as_slice)
    }

    /// Extends one direction.
    pub(crate) fn one(
        &mut self,
        context: &Context<'_>,
        copies: &[Copy_],
        direction: Direction,
    ) -> &[u8] {
        if context.scoring.is_narrow() {
            self.prepare(context, copies, &[direction]);
            self.run(context);
        } else {
            let lanes: Vec<Lane> =
                copies.iter().map(|copy| Lane::new(context, *copy, direction)).collect();
            self.columns[0] = wide::grow(context, &lanes).columns;
        }
        &self.columns[0]
    }

    /// Whether both directions of so many copies are worth a thread each.
    pub(crate) fn is_large(copies: usize) -> bool {
        copies > TOGETHER
    }

    fn prepare(&mut self, context: &Context<'_>, copies: &[Copy_], directions: &[Direction]) {
        let scoring = &context.scoring;
        let halves = copies.len().div_ceil(HALF);
        let vectors = (halves * directions.len()).div_ceil(2);
        self.ring = (scoring.band() + LANES).next_power_of_two();
        self.lanes.clear();
        self.segments.clear();
        for direction in directions {
            self.lanes.extend(copies.iter().map(|c| Some(Lane::new(context, *c, *direction))));
            self.lanes.resize(self.lanes.len().next_multiple_of(HALF), None);
        }
        self.lanes.resize(vectors * LANES, None);
        let of = |half: usize| (half / halves.max(1)).min(directions.len() - 1);
        for vector in 0..vectors {
            let halves = [of(2 * vector), of(2 * vector + 1)];
            match self.segments.last_mut() {
                Some(last) if last.halves == halves && vector - last.from < SUMMED => {
                    last.to = vector + 1;
                }
                _ => self.segments.push(Segment { from: vector, to: vector + 1, halves }),
            }
        }
        self.start(scoring, vectors);
    }

    fn start(&mut self, scoring: &Scoring, vectors: usize) {
        let (band, middle) = (scoring.band(), scoring.max_gap as usize);
        let biased = |score: i32| Row([u16::try_from(i32::from(BIAS) + score).unwrap_or(0); LANES]);
        self.codes.resize(vectors * self.ring, Row::ZERO);
        self.high.clear();
        self.insert.clear();
        for _ in 0..vectors {
            self.high.resize(self.high.len() + middle, Row::ZERO);
            self.high.push(biased(0));
            for i in 0..middle as i32 {
                let score = scoring.gap_open.saturating_add(scoring.gap_extend.saturating_mul(i));
                self.high.push(biased(score));
            }
            let from = self.insert.len();
            self.insert.resize(from + band, Row::ZERO);
            if middle > 0 {
                self.insert[from + middle - 1] = biased(scoring.gap_open);
            }
        }
        self.best.clear();
        self.best.resize(vectors, biased(0));
        self.live.clear();
        self.live.extend(self.lanes.chunks(LANES).map(|lanes| {
            let mut row = Row::ZERO;
            for (cell, lane) in row.0.iter_mut().zip(lanes) {
                *cell = if lane.is_some() { u16::MAX } else { 0 };
            }
            row
        }));
    }

    fn run(&mut self, context: &Context<'_>) {
        match self.kernel {
            #[cfg(target_arch = "x86_64")]
            // SAFETY: `Kernel::detect` has asked the processor.
            Kernel::Avx2 => unsafe { self.run_avx2(context) },
            // SAFETY: needs nothing.
            Kernel::Portable => unsafe { self.extend::<Portable>(context) },
        }
    }

    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx2,bmi1,bmi2")]
    unsafe fn run_avx2(&mut self, context: &Context<'_>) {
        // SAFETY: this function has what the vectors need.
        unsafe { self.extend::<super::lanes::Avx2>(context) }
    }

    #[inline(always)]
    unsafe fn extend<L: Lanes>(&mut self, context: &Context<'_>) {
        let scoring = &context.scoring;
        let scores = Scores::new(scoring);
        let band = scoring.band();
        let count = self.segments.last().map_or(1, |s| s.halves[1] + 1);
        let mut progress = [Progress::new(), Progress::new()];
        self.columns[..count].iter_mut().for_each(Vec::clear);
        let mut filled = 0;
        self.fill(context, &mut filled, band);
        // SAFETY: the caller's.
        let mut sums = unsafe { self.trial::<L>(scores, band) };
        let mut x = 0_i64;
        loop {
            let mut bases = [NO_BASE; 2];
            for d in 0..count {
                if !progress[d].stopped {
                    let [a, c, g, t, ..] = sums[d];
                    bases[d] = first_largest([a, c, g, t]);
                    self.columns[d].push(bases[d]);
                }
            }
            self.fill(context, &mut filled, x as usize + 1 + band);
            let left = [0, 1].map(|d| progress[d].left(x, scoring).max(0));
            let going = [0, 1].map(|d| d < count && !progress[d].stopped);
            // SAFETY: the caller's.
            sums = unsafe { self.pass::<L>(scores, band, x as usize, bases, left, going) };
            for d in 0..count {
                if going[d] {
                    let [.., total, near, far] = sums[d];
                    progress[d].take(x, total, [near, far], scoring);
                }
            }
            x += 1;
            let cancelled = x % CHECK_EVERY == 0 && context.cancel.is_cancelled();
            if cancelled || progress[..count].iter().all(|p| p.stopped) {
                break;
            }
        }
        for (columns, progress) in self.columns[..count].iter_mut().zip(&progress) {
            columns.truncate(usize::try_from(progress.x_best + 1).unwrap_or(0));
        }
    }

    /// Fills rings until the letters before `until` (counted from the lowest offset) are there.
    #[inline(always)]
    fn fill(&mut self, context: &Context<'_>, filled: &mut usize, until: usize) {
        while *filled < until {
            let y = *filled as i64 - i64::from(context.scoring.max_gap);
            for (lanes, ring) in
                self.lanes.chunks_exact(LANES).zip(self.codes.chunks_exact_mut(self.ring))
            {
                fill_ring(context, lanes, ring, *filled, y);
            }
            *filled += LANES;
        }
    }

    /// Sums for the bases of the first column.
    #[inline(always)]
    unsafe fn trial<L: Lanes>(&self, scores: Scores, band: usize) -> Sums {
        let mut sums = Sums::default();
        for segment in &self.segments {
            // SAFETY: the caller's.
            unsafe {
                let mut all = [L::no_sum(); 4];
                for v in segment.from..segment.to {
                    let mut trial = Trial::<L>::new();
                    let ring = &self.codes[v * self.ring..(v + 1) * self.ring];
                    let high = &self.high[v * band..(v + 1) * band];
                    let insert = &self.insert[v * band..(v + 1) * band];
                    for o in 0..band {
                        trial.take(L::load(&high[o]), L::load(&ring[o & (self.ring - 1)]));
                        trial.insert = trial.insert.max(L::load(&insert[o]));
                    }
                    let floor = L::splat(BIAS);
                    trial.sum(scores, floor, L::load(&self.live[v]), &mut all);
                }
                for (i, sum) in all.into_iter().enumerate() {
                    add_halves::<L>(&mut sums, segment, i, sum);
                }
            }
        }
        sums
    }

    /// Column `x` with the chosen bases, and in the same pass the sums for the next one.
    #[inline(always)]
    unsafe fn pass<L: Lanes>(
        &mut self,
        scores: Scores,
        band: usize,
        x: usize,
        bases: [u8; 2],
        left: [i64; 2],
        going: [bool; 2],
    ) -> Sums {
        let mut sums = Sums::default();
        for segment in &self.segments {
            if !segment.halves.iter().any(|d| going[*d]) {
                continue;
            }
            let mut chosen = Row([u16::from(bases[segment.halves[0]]); LANES]);
            chosen.0[HALF..].fill(u16::from(bases[segment.halves[1]]));
            let reach = |d: usize| {
                let most = left[d].saturating_mul(i64::from(scores.matching));
                u16::try_from(most).unwrap_or(u16::MAX)
            };
            let mut far = Row([reach(segment.halves[0]); LANES]);
            far.0[HALF..].fill(reach(segment.halves[1]));
            // SAFETY: the caller's.
            unsafe {
                let mut all = [L::no_sum(); 7];
                for v in segment.from..segment.to {
                    let vector = Vector {
                        ring: &self.codes[v * self.ring..(v + 1) * self.ring],
                        high: &mut self.high[v * band..(v + 1) * band],
                        insert: &mut self.insert[v * band..(v + 1) * band],
                        best: &mut self.best[v],
                        live: &self.live[v],
                    };
                    vector.step::<L>(scores, x, &chosen, &far, &mut all);
                }
                for (i, sum) in all.into_iter().enumerate() {
                    add_halves::<L>(&mut sums, segment, i, sum);
                }
            }
        }
        sums
    }
}

#[inline(always)]
unsafe fn add_halves<L: Lanes>(sums: &mut Sums, segment: &Segment, i: usize, sum: L::Sum) {
    // SAFETY: the caller's.
    let halves = unsafe { L::halves(sum) };
    for (d, half) in segment.halves.iter().zip(halves) {
        sums[*d][i] += i64::from(half);
    }
}

/// Puts the letters `y` to `y + 15` of sixteen lanes into the ring, from slot `slot` on.
#[inline(always)]
pub(super) fn fill_ring(
    context: &Context<'_>,
    lanes: &[Option<Lane>],
    ring: &mut [Row],
    slot: usize,
    y: i64,
) {
    let mut bases = [0_u32; LANES];
    let mut slow = 0_u32;
    for (i, (lane, bases)) in lanes.iter().zip(&mut bases).enumerate() {
        match lane.as_ref().and_then(|lane| lane.sixteen(context.text, y)) {
            Some(found) => *bases = found,
            None => slow |= 1 << i,
        }
    }
    let last = ring.len() - 1;
    for j in 0..LANES {
        let row = &mut ring[(slot + j) & last].0;
        for (cell, bases) in row.iter_mut().zip(&mut bases) {
            *cell = (*bases & 3) as u16;
            *bases >>= 2;
        }
    }
    while slow != 0 {
        let i = slow.trailing_zeros() as usize;
        slow &= slow - 1;
        for j in 0..LANES {
            let letter = |lane: &Lane| lane.letter(context.text, y + j as i64);
            let code = lanes[i].as_ref().map_or(NO_BASE, letter);
            ring[(slot + j) & last].0[i] = u16::from(code);
        }
    }
}

/// What the bases of the next column would give.
struct Trial<L> {
    /// The largest cell above a letter, for each base.
    by_base: [L; 4],
    all: L,
    insert: L,
}

impl<L: Lanes> Trial<L> {
    #[inline(always)]
    unsafe fn new() -> Self {
        // SAFETY: the caller's.
        let zero = unsafe { L::splat(0) };
        Self { by_base: [zero; 4], all: zero, insert: zero }
    }

    #[inline(always)]
    unsafe fn take(&mut self, high: L, code: L) {
        // SAFETY: the caller's.
        unsafe {
            self.all = self.all.max(high);
            for (base, best) in (0..).zip(&mut self.by_base) {
                *best = best.max(high.and(code.equals(L::splat(base))));
            }
        }
    }

    #[inline(always)]
    unsafe fn sum(&self, scores: Scores, floor: L, live: L, sums: &mut [L::Sum; 4]) {
        // SAFETY: the caller's.
        unsafe {
            let rest = self.all.minus(L::splat(scores.mismatch)).max(self.insert).max(floor);
            for (best, sum) in self.by_base.iter().zip(sums) {
                *sum = best.plus(L::splat(scores.matching)).max(rest).add_to(live, *sum);
            }
        }
    }
}

/// One vector's state.
struct Vector<'a> {
    ring: &'a [Row],
    high: &'a mut [Row],
    insert: &'a mut [Row],
    best: &'a mut Row,
    live: &'a Row,
}

impl Vector<'_> {
    #[inline(always)]
    unsafe fn step<L: Lanes>(
        self,
        scores: Scores,
        x: usize,
        chosen: &Row,
        far: &Row,
        sums: &mut [L::Sum; 7],
    ) {
        let last = self.ring.len() - 1;
        let band = self.high.len();
        // SAFETY: the caller's.
        unsafe {
            let (open, more) = (L::splat(scores.gap_open), L::splat(scores.gap_extend));
            let (matching, mismatch) = (L::splat(scores.matching), L::splat(scores.mismatch));
            let chosen = L::load(chosen);
            let mut trial = Trial::<L>::new();
            let (mut delete, mut score) = (L::splat(0), L::splat(0));
            let mut code = L::load(&self.ring[x & last]);
            for o in 0..band {
                let (high, insert) = (L::load(&self.high[o]), L::load(&self.insert[o]));
                let hit = high.plus(matching).and(code.equals(chosen));
                let diagonal = hit.max(high.minus(mismatch));
                let cell = diagonal.max(insert);
                score = score.max(cell);
                let high = cell.max(delete);
                high.store(&mut self.high[o]);
                let opened = diagonal.minus(open);
                if o > 0 {
                    let next = opened.max(insert.minus(more));
                    next.store(&mut self.insert[o - 1]);
                    trial.insert = trial.insert.max(next);
                }
                delete = opened.max(delete.minus(more));
                // The letter of the next offset now is that of this offset in the next column.
                code = L::load(&self.ring[(x + o + 1) & last]);
                trial.take(high, code);
            }
            L::splat(0).store(&mut self.insert[band - 1]);
            let best = L::load(self.best).max(score);
            best.store(self.best);
            let live = L::load(self.live);
            let floor = best.minus(L::splat(scores.cap));
            let [a, c, g, t, total, near, distant] = sums;
            *total = score.max(floor).add_to(live, *total);
            *near = score.plus(matching).max(floor).add_to(live, *near);
            *distant = score.plus(L::load(far)).max(floor).add_to(live, *distant);
            let mut own = [*a, *c, *g, *t];
            trial.sum(scores, floor.max(L::splat(BIAS)), live, &mut own);
            [*a, *c, *g, *t] = own;
        }
    }
}
