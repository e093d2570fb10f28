//! K-mer counts and coverage by region, exact and inside one memory budget.

pub mod coverage;
pub mod kmers;
