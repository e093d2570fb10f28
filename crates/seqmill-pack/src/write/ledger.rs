//! What each sample put into an archive, and what its bytes hold: for pictures of it.

use serde::Serialize;

/// Rows that are kept; of more samples neighbours share one.
const ROWS_MAX: usize = 256;

/// What some consecutive samples put in; nearly always one.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct SampleShare {
    /// Name of the first sample.
    pub name: String,
    /// Name of the last one.
    pub last: String,
    /// Samples.
    pub count: u64,
    /// Bases.
    pub bases: u64,
    /// Segments.
    pub segments: u64,
    /// Segments that were there already, base for base.
    pub known: u64,
    /// Groups that were opened.
    pub groups: u64,
    /// Bases of their references.
    pub reference_bases: u64,
    /// Bytes of them, compressed.
    pub reference_bytes: u64,
    /// Bytes of differences, before they were compressed.
    pub delta_bytes: u64,
}

impl SampleShare {
    fn add(&mut self, other: Self) {
        self.last = other.last;
        for (sum, more) in [
            (&mut self.count, other.count),
            (&mut self.bases, other.bases),
            (&mut self.segments, other.segments),
            (&mut self.known, other.known),
            (&mut self.groups, other.groups),
            (&mut self.reference_bases, other.reference_bases),
            (&mut self.reference_bytes, other.reference_bytes),
            (&mut self.delta_bytes, other.delta_bytes),
        ] {
            *sum += more;
        }
    }
}

/// The rows, and the sample at hand.
#[derive(Debug)]
pub(crate) struct Ledger {
    rows: Vec<SampleShare>,
    /// Samples of a row.
    step: u64,
    pub(crate) open: SampleShare,
}

impl Default for Ledger {
    fn default() -> Self {
        Self { rows: Vec::new(), step: 1, open: SampleShare::default() }
    }
}

impl Ledger {
    /// Ends the sample at hand.
    pub(crate) fn end_sample(&mut self, name: &[u8], bases: u64) {
        let mut row = std::mem::take(&mut self.open);
        row.name = String::from_utf8_lossy(name).into_owned();
        row.last.clone_from(&row.name);
        (row.count, row.bases) = (1, bases);
        match self.rows.last_mut() {
            Some(last) if last.count < self.step => last.add(row),
            _ => self.rows.push(row),
        }
        if self.rows.len() > ROWS_MAX {
            self.step *= 2;
            let mut halved: Vec<SampleShare> = Vec::with_capacity(ROWS_MAX);
            for row in self.rows.drain(..) {
                match halved.last_mut() {
                    Some(last) if last.count < self.step => last.add(row),
                    _ => halved.push(row),
                }
            }
            self.rows = halved;
        }
    }

    pub(crate) fn into_rows(self) -> Vec<SampleShare> {
        self.rows
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_share_a_row_where_there_are_many() {
        for samples in [1, 256, 257, 5000_u64] {
            let mut ledger = Ledger::default();
            for i in 0..samples {
                ledger.open.segments = 2;
                ledger.end_sample(format!("s{i}").as_bytes(), 10);
            }
            let rows = ledger.into_rows();
            assert!(rows.len() <= ROWS_MAX && (samples > 256 || rows.len() as u64 == samples));
            assert_eq!(rows.iter().map(|r| r.count).sum::<u64>(), samples);
            assert_eq!(rows.iter().map(|r| r.segments).sum::<u64>(), 2 * samples);
            assert_eq!((rows[0].name.as_str(), rows[0].bases), ("s0", 10 * rows[0].count));
            assert_eq!(rows[rows.len() - 1].last, format!("s{}", samples - 1));
        }
    }
}
