//! Greedy claiming: every seed counts only the places that no seed before it has taken.

use super::{Ranking, Seed, key};
use crate::mask::Mask;
use crate::options::Parameters;
use seqmill_base::{Job, Result};

/// Most seeds that the reference handles at a time; the rest behind the last full block is lost.
const REFERENCE_BLOCK: usize = 1000;
/// Seeds between two looks at the cancel flag.
const CHECK_EVERY: usize = 4096;

/// Counts the seeds of `ranking` anew, in their order, each without the places of those before it,
/// and keeps those that are still frequent enough, by count down and first place up.
pub(crate) fn claim(
    ranking: &mut Ranking,
    mask: &mut Mask,
    k: u32,
    parameters: &Parameters,
    job: &Job,
) -> Result<()> {
    let n = ranking.seeds.len();
    let block = n.min(REFERENCE_BLOCK);
    let handled = if parameters.reprise() && n > 0 { n / block * block } else { n };
    ranking.seeds.truncate(handled);
    let positions = &ranking.positions;
    let mut taken = Vec::new();
    let mut count = 0;
    let mut step = |seed: &mut Seed| -> Result<bool> {
        count += 1;
        if count % CHECK_EVERY == 0 {
            job.cancel.check()?;
        }
        let from = usize::try_from(seed.offset).unwrap_or(usize::MAX);
        let list = &positions[from..from + seed.forward as usize + seed.reverse as usize];
        // Both lists are filtered before either claims.
        taken.clear();
        taken.extend(list.iter().copied().filter(|place| !mask.touches(*place, k)));
        for place in &taken {
            mask.set(*place, place.saturating_add(k));
        }
        seed.count = u32::try_from(taken.len()).unwrap_or(u32::MAX);
        Ok(seed.count >= parameters.min_frequency)
    };
    let mut failure = None;
    ranking.seeds.retain_mut(|seed| {
        failure.is_none() && step(seed).unwrap_or_else(|error| failure.replace(error).is_some())
    });
    if let Some(error) = failure {
        return Err(error);
    }
    ranking.seeds.sort_unstable_by_key(key);
    Ok(())
}
