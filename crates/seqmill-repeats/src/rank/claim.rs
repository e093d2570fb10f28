//! Greedy claiming: every seed counts only the places that no seed before it has taken.

use super::{Ranking, Seed};
use crate::mask::Mask;
use crate::options::Parameters;
use crate::text::Text;
use seqmill_base::{Job, Result};

/// Most seeds that the reference handles at a time; the rest behind the last full block is lost.
const REFERENCE_BLOCK: usize = 1000;
/// Seeds between two looks at the cancel flag.
const CHECK_EVERY: usize = 4096;

/// Counts the candidates of `ranking` anew, in their order, each without the places of those
/// before it. Those that are still frequent enough become seeds, by count down and first place up.
pub(crate) fn claim(
    ranking: &mut Ranking,
    text: &Text,
    mask: &mut Mask,
    k: u32,
    parameters: &Parameters,
    job: &Job,
) -> Result<()> {
    let candidates = std::mem::take(&mut ranking.candidates);
    let n = candidates.len();
    let block = n.min(REFERENCE_BLOCK);
    let handled = if parameters.reprise() && n > 0 { n / block * block } else { n };
    let mut taken = Vec::new();
    for (i, candidate) in candidates[..handled].iter().enumerate() {
        if i % CHECK_EVERY == 0 {
            job.cancel.check()?;
        }
        let from = candidate.offset as usize;
        let list = &ranking.positions[from..from + candidate.count() as usize];
        // Both lists are filtered before either claims.
        taken.clear();
        taken.extend(list.iter().copied().filter(|place| !mask.touches(*place, k)));
        for place in &taken {
            mask.set(*place, place.saturating_add(k));
        }
        let count = u32::try_from(taken.len()).unwrap_or(u32::MAX);
        if count >= parameters.min_frequency {
            ranking.seeds.push(Seed {
                kmer: text.kmer(candidate.first, k),
                first: candidate.first,
                count,
                offset: u64::from(candidate.offset),
                forward: candidate.forward,
                reverse: candidate.reverse,
            });
        }
    }
    ranking.seeds.sort_unstable_by_key(|seed| (u32::MAX - seed.count, seed.first));
    Ok(())
}
