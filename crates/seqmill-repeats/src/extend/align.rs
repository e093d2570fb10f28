//! Alignment of copies to a finished consensus, sixteen at a time (specification 9).

use super::grow::fill_ring;
use super::lanes::{BIAS, Kernel, LANES, Lanes, Portable, Row};
use super::{Context, Copy_, Direction, Lane, Scoring, wide};

/// Copies in half a vector.
const HALF: usize = LANES / 2;
/// Columns between two looks at the cancel flag.
const CHECK_EVERY: usize = 1024;

/// How far one side of a copy agrees with the consensus.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Side {
    /// The best score, 0 if it never rose.
    pub(crate) best: i32,
    /// The column of the best score, 0 if it never rose.
    pub(crate) column: i32,
    /// The offset of the best cell, the lowest one if it never rose.
    pub(crate) offset: i32,
}

/// The lanes of one vector.
#[derive(Debug, Clone)]
pub(crate) struct Task {
    /// Numbers of copies.
    members: [Option<u32>; LANES],
    halves: [Direction; 2],
    mirrored: bool,
}

/// The sides of copies by vectors.
#[derive(Debug, Default)]
pub(crate) struct Tasks {
    tasks: Vec<Task>,
    numbers: Vec<u32>,
}

impl Tasks {
    /// Splits the sides of copies into vectors.
    pub(crate) fn split(&mut self, copies: &[Copy_], scoring: &Scoring) -> &[Task] {
        self.tasks.clear();
        // The reference reads the letters of the reverse strand at mirrored offsets.
        let strands: &[Option<bool>] =
            if scoring.reprise { &[Some(false), Some(true)] } else { &[None] };
        for strand in strands {
            let wanted = |copy: &Copy_| strand.is_none_or(|reverse| copy.reverse == reverse);
            self.numbers.clear();
            let numbered = (0..).zip(copies).filter(|(_, copy)| wanted(copy));
            self.numbers.extend(numbered.map(|(i, _)| i));
            pack(&self.numbers, *strand == Some(true), &mut self.tasks);
        }
        &self.tasks
    }
}

fn pack(numbers: &[u32], mirrored: bool, tasks: &mut Vec<Task>) {
    let (right, left) = (Direction::Right, Direction::Left);
    let mut add = |numbers: [&[u32]; 2], halves| {
        let mut members = [None; LANES];
        for (half, numbers) in members.chunks_mut(HALF).zip(numbers) {
            for (member, number) in half.iter_mut().zip(numbers) {
                *member = Some(*number);
            }
        }
        tasks.push(Task { members, halves, mirrored });
    };
    if numbers.is_empty() {
        return;
    }
    if numbers.len() <= HALF {
        add([numbers, numbers], [right, left]);
        return;
    }
    for direction in [right, left] {
        for part in numbers.chunks(LANES) {
            let (first, second) = part.split_at(part.len().min(HALF));
            add([first, second], [direction; 2]);
        }
    }
}

/// Memory of one worker for alignments.
#[derive(Debug)]
pub(crate) struct Aligner {
    kernel: Kernel,
    lanes: Vec<Option<Lane>>,
    ring: Vec<Row>,
    high: Vec<Row>,
    insert: Vec<Row>,
}

/// The state of the sixteen best cells.
struct Bests {
    best: Row,
    column: Row,
    offset: Row,
}

impl Aligner {
    pub(crate) fn new(kernel: Kernel) -> Self {
        Self { kernel, lanes: Vec::new(), ring: Vec::new(), high: Vec::new(), insert: Vec::new() }
    }

    /// Aligns what a task names; gives the sides to `each` by copy and direction.
    pub(crate) fn align(
        &mut self,
        context: &Context<'_>,
        copies: &[Copy_],
        [right, left]: [&[u8]; 2],
        task: &Task,
        mut each: impl FnMut(u32, Direction, Side),
    ) {
        let columns = task.halves.map(|direction| match direction {
            Direction::Right => right,
            Direction::Left => left,
        });
        let lane = |i: usize| {
            let number = task.members[i]?;
            Some(Lane::new(context, copies[number as usize], task.halves[i / HALF]))
        };
        self.lanes.clear();
        self.lanes.extend((0..LANES).map(lane));
        let narrow = context.scoring.is_narrow();
        let bests = if narrow { Some(self.run(context, columns, task.mirrored)) } else { None };
        for (i, member) in task.members.iter().enumerate() {
            let Some(number) = *member else { continue };
            let side = match (&bests, &self.lanes[i]) {
                (Some(bests), _) => Side {
                    best: i32::from(bests.best.0[i]) - i32::from(BIAS),
                    column: i32::from(bests.column.0[i]),
                    offset: i32::from(bests.offset.0[i]) - context.scoring.max_gap as i32,
                },
                (None, Some(lane)) => {
                    let columns = columns[i / HALF].iter().copied();
                    wide::align(context, lane, columns, task.mirrored)
                }
                (None, None) => continue,
            };
            each(number, task.halves[i / HALF], side);
        }
    }

    fn run(&mut self, context: &Context<'_>, columns: [&[u8]; 2], mirrored: bool) -> Bests {
        match self.kernel {
            #[cfg(target_arch = "x86_64")]
            // SAFETY: `Kernel::detect` has asked the processor.
            Kernel::Avx2 => unsafe { self.run_avx2(context, columns, mirrored) },
            // SAFETY: needs nothing.
            Kernel::Portable => unsafe { self.columns::<Portable>(context, columns, mirrored) },
        }
    }

    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx2,bmi1,bmi2")]
    unsafe fn run_avx2(
        &mut self,
        context: &Context<'_>,
        columns: [&[u8]; 2],
        mirrored: bool,
    ) -> Bests {
        // SAFETY: this function has what the vectors need.
        unsafe { self.columns::<super::lanes::Avx2>(context, columns, mirrored) }
    }

    fn start(&mut self, scoring: &Scoring, edge: u16) {
        let (band, middle) = (scoring.band(), scoring.max_gap as usize);
        let biased = |score: i32| Row([u16::try_from(i32::from(BIAS) + score).unwrap_or(0); LANES]);
        self.ring.resize((band + LANES).next_power_of_two(), Row::ZERO);
        self.high.clear();
        self.high.resize(band, Row::ZERO);
        self.high[middle] = biased(0);
        for (i, row) in (0..).zip(&mut self.high[middle + 1..]) {
            let score = scoring.gap_open.saturating_add(scoring.gap_extend.saturating_mul(i));
            *row = biased(score);
        }
        self.insert.clear();
        self.insert.resize(band, Row::ZERO);
        if middle > 0 {
            self.insert[middle - 1] = biased(scoring.gap_open);
        }
        self.insert[band - 1] = Row([edge; LANES]);
    }

    #[inline(always)]
    unsafe fn columns<L: Lanes>(
        &mut self,
        context: &Context<'_>,
        columns: [&[u8]; 2],
        mirrored: bool,
    ) -> Bests {
        let scoring = &context.scoring;
        let edge = if scoring.reprise { BIAS } else { 0 };
        self.start(scoring, edge);
        let band = scoring.band();
        let mut bests = Bests { best: Row([BIAS; LANES]), column: Row::ZERO, offset: Row::ZERO };
        let mut frozen = Row::ZERO;
        let lengths = columns.map(<[u8]>::len);
        let mut filled = 0;
        for (i, (cell, lane)) in frozen.0.iter_mut().zip(&self.lanes).enumerate() {
            *cell = if lane.is_none() || lengths[i / HALF] == 0 { u16::MAX } else { 0 };
        }
        for x in 0..lengths[0].max(lengths[1]) {
            while filled < x + band {
                let y = filled as i64 - i64::from(scoring.max_gap);
                fill_ring(context, &self.lanes, &mut self.ring, filled, y);
                filled += LANES;
            }
            let base = |half: usize| columns[half].get(x).map_or(u16::MAX, |b| u16::from(*b));
            let mut chosen = Row([base(0); LANES]);
            chosen.0[HALF..].fill(base(1));
            // SAFETY: the caller's.
            let all_frozen = unsafe {
                let score = self.step::<L>(scoring, x, &chosen, mirrored, edge);
                self.note::<L>(scoring, x, score, &mut bests, &mut frozen)
            };
            for half in 0..2 {
                if x + 1 == lengths[half] {
                    frozen.0[half * HALF..(half + 1) * HALF].fill(u16::MAX);
                }
            }
            if all_frozen || (x % CHECK_EVERY == 0 && context.cancel.is_cancelled()) {
                break;
            }
        }
        bests
    }

    /// Takes column `x`; the largest cell of each lane.
    #[inline(always)]
    unsafe fn step<L: Lanes>(
        &mut self,
        scoring: &Scoring,
        x: usize,
        chosen: &Row,
        mirrored: bool,
        edge: u16,
    ) -> L {
        let size = |score: i32| u16::try_from(score.unsigned_abs()).unwrap_or(u16::MAX);
        let last = self.ring.len() - 1;
        let band = self.high.len();
        // SAFETY: the caller's.
        unsafe {
            let matching = L::splat(size(scoring.matching));
            let mismatch = L::splat(size(scoring.mismatch));
            let (open, more) =
                (L::splat(size(scoring.gap_open)), L::splat(size(scoring.gap_extend)));
            let chosen = L::load(chosen);
            let mut delete = L::splat(edge);
            let mut score = L::splat(0);
            for o in 0..band {
                let slot = if mirrored { x + band - 1 - o } else { x + o };
                let code = L::load(&self.ring[slot & last]);
                let (high, insert) = (L::load(&self.high[o]), L::load(&self.insert[o]));
                let hit = high.plus(matching).and(code.equals(chosen));
                let diagonal = hit.max(high.minus(mismatch));
                let cell = diagonal.max(insert).max(delete);
                score = score.max(cell);
                cell.store(&mut self.high[o]);
                let opened = diagonal.minus(open);
                if o > 0 {
                    opened.max(insert.minus(more)).store(&mut self.insert[o - 1]);
                }
                delete = opened.max(delete.minus(more));
            }
            // The cell beyond the band is the same for every column.
            L::splat(edge).store(&mut self.insert[band - 1]);
            score
        }
    }

    /// Keeps what is better; true once no lane goes on.
    #[inline(always)]
    unsafe fn note<L: Lanes>(
        &self,
        scoring: &Scoring,
        x: usize,
        score: L,
        bests: &mut Bests,
        frozen: &mut Row,
    ) -> bool {
        // SAFETY: the caller's.
        unsafe {
            let ones = L::splat(u16::MAX);
            let best = L::load(&bests.best);
            let mut stopped = L::load(frozen);
            let better = ones.without(score.max(best).equals(best)).without(stopped);
            let pick = |old: L, new: L, mask: L| old.without(mask).max(new.and(mask));
            let now = L::splat(x as u16);
            let mut column = L::load(&bests.column);
            if better.any() {
                column = pick(column, now, better);
                column.store(&mut bests.column);
                pick(best, score, better).store(&mut bests.best);
                let mut offset = L::load(&bests.offset);
                for (o, high) in self.high.iter().enumerate().rev() {
                    let here = L::load(high).equals(score).and(better);
                    offset = pick(offset, L::splat(o as u16), here);
                }
                offset.store(&mut bests.offset);
            }
            let since = now.minus(column);
            let limit = L::splat(u16::try_from(scoring.stop_after).unwrap_or(u16::MAX));
            let late = since.max(limit).equals(since);
            stopped = stopped.max(late);
            stopped.store(frozen);
            !ones.without(stopped).any()
        }
    }
}
