//! What a run will need, before it needs it (specification 13).

use crate::options::Parameters;
use serde::{Deserialize, Serialize};

/// Share of windows that are distinct canonical k-mers at the default length.
const DISTINCT: f64 = 0.7;
/// Entries to slots of a table.
pub const LOAD_FACTOR: f64 = 0.70;
/// Share of distinct k-mers that occur twice, three times.
const KEPT: [f64; 2] = [0.15, 0.08];

/// What the caller knows better.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Hints {
    /// Distinct canonical k-mers.
    pub expected_unique_kmers: Option<u64>,
    /// Positions of kept seeds.
    pub expected_total_positions: Option<u64>,
    /// Reserve the whole index account at the start.
    pub aggressive_preallocation: bool,
}

/// Expected sizes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Estimate {
    /// Canonical k-mers that there can be.
    pub possible_kmers: u64,
    /// Distinct canonical k-mers of the genome.
    pub expected_unique_kmers: u64,
    /// Those that are frequent enough.
    pub expected_kept_kmers: u64,
    /// Positions in their lists.
    pub expected_total_positions: u64,
    /// Partitions of the counting table.
    pub partitions: u64,
    /// Slots of one partition's table at the load factor.
    pub slots: u64,
}

impl Estimate {
    /// Estimates for records of these lengths.
    pub fn new(
        lengths: impl Iterator<Item = u64>,
        k: u32,
        parameters: &Parameters,
        hints: &Hints,
        index_bytes: u64,
        threads: usize,
    ) -> Self {
        let possible = if k >= 32 { u64::MAX / 2 } else { 1_u64 << (2 * k - 1) };
        let share = |n: u64, share: f64| (n as f64 * share) as u64;
        let (mut bases, mut unique) = (0_u64, 0_u64);
        for length in lengths {
            bases += length;
            unique = unique.saturating_add(share(length, DISTINCT).min(possible));
        }
        let unique = hints.expected_unique_kmers.unwrap_or(unique).min(possible);
        let kept = share(unique, KEPT[usize::from(parameters.min_frequency >= 3)]);
        let kept = if parameters.min_frequency < 2 { unique } else { kept };
        let each = u64::from(parameters.min_frequency.max(4));
        let positions = kept.saturating_mul(each).min(2 * bases);
        // Two bits a slot of the first look, four bytes for each position that passes it.
        let slots = share(unique, 1.0 / LOAD_FACTOR).next_multiple_of(1 << 16);
        let bytes = slots / 4 + 4 * positions;
        let room = (index_bytes / threads.max(1) as u64).max(1);
        Self {
            possible_kmers: possible,
            expected_unique_kmers: unique,
            expected_kept_kmers: kept,
            expected_total_positions: hints.expected_total_positions.unwrap_or(positions),
            partitions: bytes.div_ceil(room).next_power_of_two(),
            slots,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn estimates_follow_the_rules() {
        let parameters = Parameters::default();
        let hints = Hints::default();
        let of = |lengths: &[u64], k, room| {
            Estimate::new(lengths.iter().copied(), k, &parameters, &hints, room, 1)
        };
        let one = of(&[1_000_000], 13, 1 << 30);
        assert_eq!(one.possible_kmers, 1 << 25);
        assert_eq!(one.expected_unique_kmers, 700_000);
        assert_eq!((one.expected_kept_kmers, one.expected_total_positions), (56_000, 224_000));
        assert_eq!(one.partitions, 1);
        assert!(of(&[1_000_000], 13, 1 << 18).partitions > 1);
        assert_eq!(of(&[1_000_000, 1_000_000], 4, 1 << 30).expected_unique_kmers, 128);
        assert_eq!(of(&[10], 32, 1).possible_kmers, u64::MAX / 2);
    }
}
