//! What a run is asked to do.

use seqmill_base::{Error, Result};
use serde::{Deserialize, Serialize};

/// Which result is wanted where the reference program has quirks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Compat {
    /// The corrected algorithm.
    #[default]
    None,
    /// `REPrise` 1.0.1 with one block of parallelism, byte for byte.
    Reprise,
}

/// The parameters of the algorithm; every one of them can show in the result.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Parameters {
    /// Seed length; `None` follows from the length of the genome.
    pub seed_length: Option<u32>,
    /// Mismatches between a seed and its occurrences.
    pub distance: u32,
    /// Score of a match.
    #[serde(rename = "match")]
    pub matching: i32,
    /// Score of a mismatch.
    pub mismatch: i32,
    /// Score of the first column of a gap.
    pub gap_open: i32,
    /// Score of every further column of a gap.
    pub gap_extend: i32,
    /// Least that a copy contributes below its own best.
    pub cap_penalty: i32,
    /// Most columns in each direction.
    pub max_extend: u32,
    /// Most families.
    pub max_families: u64,
    /// Half width of the band.
    pub max_gap: u32,
    /// Columns without progress before an extension stops.
    pub stop_after: u32,
    /// Least length of a family and of an element.
    pub min_length: u32,
    /// Least number of occurrences of a seed.
    pub min_frequency: u32,
    /// Score that every added column must earn.
    pub min_improvement: i32,
    /// Occurrences of one seed closer than this count once.
    pub tandem_distance: u32,
    /// Seeds that occur more often are not used.
    pub max_frequency: Option<u32>,
    /// Only so many occurrences of a seed are used on each strand.
    pub max_positions_per_kmer: Option<u32>,
    /// Report families with fewer elements than `min_frequency`.
    pub keep_rare: bool,
    /// Quirks of the reference.
    pub compat: Compat,
}

impl Default for Parameters {
    fn default() -> Self {
        Self {
            seed_length: None,
            distance: 0,
            matching: 1,
            mismatch: -1,
            gap_open: -5,
            gap_extend: -1,
            cap_penalty: -20,
            max_extend: 10_000,
            max_families: 100_000,
            max_gap: 5,
            stop_after: 100,
            min_length: 50,
            min_frequency: 3,
            min_improvement: 3,
            tandem_distance: 500,
            max_frequency: None,
            max_positions_per_kmer: None,
            keep_rare: false,
            compat: Compat::None,
        }
    }
}

/// Letters of padding that the reference puts before, between and behind records.
pub(crate) const PADDING: u64 = 11_000;

impl Parameters {
    /// Whether quirks are reproduced.
    pub fn reprise(&self) -> bool {
        self.compat == Compat::Reprise
    }

    /// Fails if a value is out of its range.
    pub fn check(&self) -> Result<()> {
        let bounds = [
            ("match", i64::from(self.matching), 1, 1000),
            ("mismatch", i64::from(self.mismatch), -100_000, 0),
            ("gap_open", i64::from(self.gap_open), -100_000, 0),
            ("gap_extend", i64::from(self.gap_extend), -100_000, 0),
            ("cap_penalty", i64::from(self.cap_penalty), -1_000_000, 0),
            ("max_extend", i64::from(self.max_extend), 1, 1_000_000),
            ("max_gap", i64::from(self.max_gap), 0, 1000),
            ("stop_after", i64::from(self.stop_after), 1, 1_000_000),
            ("min_length", i64::from(self.min_length), 1, 1_000_000),
            ("min_frequency", i64::from(self.min_frequency), 1, 1_000_000_000),
            ("min_improvement", i64::from(self.min_improvement), 0, 1_000_000),
            ("tandem_distance", i64::from(self.tandem_distance), 0, 1_000_000_000),
        ];
        for (name, value, low, high) in bounds {
            if value < low || value > high {
                return Err(Error::input(format!(
                    "{name} {value} is out of range; it must be {low} to {high}"
                )));
            }
        }
        if let Some(k) = self.seed_length {
            check_seed_length(k)?;
        }
        Ok(())
    }

    /// The seed length for a genome of so many letters in so many records.
    pub fn seed_length_for(&self, letters: u64, records: u64) -> Result<u32> {
        if let Some(k) = self.seed_length {
            return Ok(k);
        }
        let padded = letters + PADDING * (2 + records);
        crate::kmer::default_length(padded, self.distance)
            .filter(|k| *k <= crate::kmer::MAX_K)
            .ok_or_else(|| {
                Error::input(format!(
                    "distance {} needs seeds longer than {}; lower it or give a seed_length",
                    self.distance,
                    crate::kmer::MAX_K
                ))
            })
    }
}

fn check_seed_length(k: u32) -> Result<()> {
    if (2..=crate::kmer::MAX_K).contains(&k) {
        return Ok(());
    }
    let most = crate::kmer::MAX_K;
    Err(Error::input(format!("seed_length {k} is out of range; it must be 2 to {most}")))
}
