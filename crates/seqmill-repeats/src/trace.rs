//! The alignment of an element to the consensus of its family, column by column.
//!
//! The loop only needs scores; whoever wants identities or alignments gets them here, for reported
//! elements alone. It is the recurrence of the default mode with the path kept.

use crate::extend::{Context, Copy_, Direction, Lane, NEG, Scoring};
use crate::find::{Element, Family};

/// What an alignment shows in one place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pair {
    /// A column of the consensus and a letter of the element.
    Both(u8),
    /// A column that the element lacks.
    Missing,
    /// A letter of the element between two columns.
    Extra(u8),
}

/// Bits of a cell: where its diagonal score came from (two), and whether its gaps were opened.
const FROM_INSERT: u8 = 1;
const FROM_DELETE: u8 = 2;
const INSERT_OPENED: u8 = 4;
const DELETE_OPENED: u8 = 8;

/// Memory for alignments.
#[derive(Debug, Default)]
pub(crate) struct Tracer {
    cells: Vec<u8>,
    rows: [Vec<i32>; 3],
    old: [Vec<i32>; 3],
    letters: Vec<u8>,
}

#[derive(Clone, Copy, PartialEq)]
enum Row {
    Diagonal,
    Insert,
    Delete,
}

fn highest(rows: &[Vec<i32>; 3], o: usize) -> (i32, Row) {
    let [diagonal, insert, delete] = [rows[0][o], rows[1][o], rows[2][o]];
    if diagonal >= insert && diagonal >= delete {
        (diagonal, Row::Diagonal)
    } else if insert >= delete {
        (insert, Row::Insert)
    } else {
        (delete, Row::Delete)
    }
}

impl Tracer {
    /// The pairs of an element from the first aligned column of the consensus to the last.
    pub(crate) fn align(
        &mut self,
        context: &Context<'_>,
        family: &Family,
        element: &Element,
    ) -> Vec<Pair> {
        let copy = Copy_ { place: element.place, reverse: element.reverse };
        let [left, right] = element.columns;
        let seed = (element.anchor as usize).min(family.consensus.len());
        let columns: Vec<u8> =
            family.consensus[..seed].iter().rev().take(left as usize).copied().collect();
        let mut pairs = self.side(context, copy, Direction::Left, &columns);
        pairs.reverse();
        let end = (seed + right as usize).min(family.consensus.len());
        pairs.extend(self.side(context, copy, Direction::Right, &family.consensus[seed..end]));
        pairs
    }

    /// The pairs of one side from the seed on, up to the best cell of the last column.
    fn side(
        &mut self,
        context: &Context<'_>,
        copy: Copy_,
        direction: Direction,
        columns: &[u8],
    ) -> Vec<Pair> {
        if columns.is_empty() {
            return Vec::new();
        }
        let scoring = &context.scoring;
        let (band, w) = (scoring.band(), i64::from(scoring.max_gap));
        let lane = Lane::new(context, copy, direction);
        self.letters.clear();
        let count = columns.len() as i64 + 2 * w;
        self.letters.extend((0..count).map(|i| lane.letter(context.text, i - w)));
        self.start(scoring);
        self.cells.clear();
        self.cells.reserve(columns.len() * band);
        for (x, base) in columns.iter().enumerate() {
            self.step(scoring, x, *base);
        }
        let mut o = 0;
        for other in 1..band {
            if highest(&self.rows, other).0 > highest(&self.rows, o).0 {
                o = other;
            }
        }
        self.walk(columns, band, o)
    }

    fn start(&mut self, scoring: &Scoring) {
        let (band, middle) = (scoring.band(), scoring.max_gap as usize);
        for row in &mut self.rows {
            row.clear();
            row.resize(band, NEG);
        }
        self.rows[0][middle] = 0;
        for (i, cell) in (0..).zip(&mut self.rows[2][middle + 1..]) {
            *cell = scoring.gap_open + scoring.gap_extend * i;
        }
    }

    fn step(&mut self, scoring: &Scoring, x: usize, base: u8) {
        let band = scoring.band();
        self.old.clone_from(&self.rows);
        for o in 0..band {
            let mut cell = 0;
            let (high, from) = highest(&self.old, o);
            cell |= match from {
                Row::Diagonal => 0,
                Row::Insert => FROM_INSERT,
                Row::Delete => FROM_DELETE,
            };
            let equal = self.letters[x + o] == base;
            self.rows[0][o] = high + if equal { scoring.matching } else { scoring.mismatch };
            self.rows[1][o] = NEG;
            if o + 1 < band {
                let opened = self.old[0][o + 1] + scoring.gap_open;
                let extended = self.old[1][o + 1] + scoring.gap_extend;
                self.rows[1][o] = opened.max(extended);
                cell |= if opened >= extended { INSERT_OPENED } else { 0 };
            }
            self.rows[2][o] = NEG;
            if o > 0 {
                let opened = self.rows[0][o - 1] + scoring.gap_open;
                let extended = self.rows[2][o - 1] + scoring.gap_extend;
                self.rows[2][o] = opened.max(extended);
                cell |= if opened >= extended { DELETE_OPENED } else { 0 };
            }
            self.cells.push(cell);
        }
    }

    fn walk(&self, columns: &[u8], band: usize, mut o: usize) -> Vec<Pair> {
        let mut pairs = Vec::with_capacity(columns.len() + band);
        let mut row = highest(&self.rows, o).1;
        let mut x = columns.len();
        let w = band / 2;
        while x > 0 {
            let cell = self.cells[(x - 1) * band + o];
            match row {
                Row::Diagonal => {
                    pairs.push(Pair::Both(self.letters[x - 1 + o]));
                    row = match cell & 3 {
                        FROM_INSERT => Row::Insert,
                        FROM_DELETE => Row::Delete,
                        _ => Row::Diagonal,
                    };
                    x -= 1;
                }
                Row::Insert if o + 1 < band => {
                    pairs.push(Pair::Missing);
                    row = if cell & INSERT_OPENED != 0 { Row::Diagonal } else { Row::Insert };
                    o += 1;
                    x -= 1;
                }
                Row::Delete if o > 0 => {
                    pairs.push(Pair::Extra(self.letters[x - 1 + o]));
                    row = if cell & DELETE_OPENED != 0 { Row::Diagonal } else { Row::Delete };
                    o -= 1;
                }
                // A cell that nothing leads to; no path of a real score comes here.
                _ => break,
            }
        }
        // What was skipped before the first column.
        pairs.extend((w..o).rev().map(|i| Pair::Extra(self.letters[i])));
        pairs.reverse();
        pairs
    }
}

/// The share of equal columns, gaps included, given the aligned part of the consensus.
pub(crate) fn identity(consensus: &[u8], pairs: &[Pair]) -> f32 {
    let mut columns = consensus.iter();
    let mut equal = 0_u32;
    for pair in pairs {
        match pair {
            Pair::Both(letter) => equal += u32::from(columns.next() == Some(letter)),
            Pair::Missing => {
                columns.next();
            }
            Pair::Extra(_) => {}
        }
    }
    if pairs.is_empty() { 0.0 } else { equal as f32 / pairs.len() as f32 }
}
