//! One run: read, rank, find.

use crate::extend::lanes::Kernel;
use crate::extend::{Context, Scoring};
use crate::find::{Finder, LoopState, Worker};
use crate::mask::Mask;
use crate::options::Parameters;
use crate::rank::{Accounts, Ranking, Search, claim};
use crate::text::Text;
use seqmill_base::{Job, Result};

/// What a run found.
pub struct Found {
    /// Seed length.
    pub k: u32,
    /// The kept seeds, as they were before the loop.
    pub ranking: Ranking,
    /// Families and elements.
    pub state: LoopState,
}

/// Finds the families of a text.
pub fn discover(
    text: &Text,
    parameters: &Parameters,
    threads: usize,
    job: &Job,
    index_bytes: u64,
    mut ranked: impl FnMut(&Ranking, u32) -> Result<()>,
) -> Result<Found> {
    let k = parameters.seed_length_for(u64::from(text.len()), text.records().len() as u64)?;
    let accounts = Accounts {
        index: job.budget.account("index", u64::MAX),
        positions: job.budget.account("positions", u64::MAX),
    };
    let search = Search { text, k, parameters, threads, job, accounts, index_bytes };
    let mut ranking = search.candidates()?;
    let mut mask = Mask::new(text.len());
    claim(&mut ranking, &mut mask, k, parameters, job)?;
    ranked(&ranking, k)?;
    mask.clear();
    let scoring = Scoring::new(parameters, k);
    let context = Context { text, scoring, cancel: &job.cancel };
    let kernel = Kernel::detect();
    let mut workers: Vec<Worker> = (0..threads).map(|_| Worker::new(kernel)).collect();
    let state =
        LoopState { masked: mask, covered: Mask::new(text.len()), ..LoopState::default() };
    let mut finder = Finder::new(context, parameters, &mut ranking, &mut workers, state, true);
    while finder.step(job)? {}
    let state = finder.finish();
    Ok(Found { k, ranking, state })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::options::Compat;
    use crate::write::reprise;
    use seqmill_base::Budget;
    use std::path::Path;
    use std::time::Instant;

    /// REPRISE_RUN=path,options-as-json,threads,out-prefix
    #[test]
    fn reprise_run() {
        let Ok(spec) = std::env::var("REPRISE_RUN") else { return };
        let parts: Vec<&str> = spec.split('|').collect();
        let job = Job::new(Budget::new(4 << 30, 0).unwrap());
        let account = job.budget.account("text", u64::MAX);
        let clock = Instant::now();
        let loaded = crate::read::load(Path::new(parts[0]), 0, &job, account).unwrap();
        eprintln!("read {:?}", clock.elapsed());
        let mut parameters: Parameters = Parameters::default();
        let given: serde_json::Value = serde_json::from_str(parts[1]).unwrap();
        let mut all = serde_json::to_value(&parameters).unwrap();
        for (name, value) in given.as_object().unwrap() {
            all[name] = value.clone();
        }
        parameters = serde_json::from_value(all).unwrap();
        parameters.compat = Compat::Reprise;
        let threads = parts[2].parse().unwrap();
        let text = &loaded.text;
        let mut freq = Vec::new();
        let found = discover(text, &parameters, threads, &job, 1 << 30, |ranking, k| {
            eprintln!("ranked {:?} {:?}", clock.elapsed(), ranking.figures);
            reprise::frequencies(&mut freq, text, &ranking.seeds, k).unwrap();
            Ok(())
        })
        .unwrap();
        eprintln!("found {:?} {:?}", clock.elapsed(), found.state.figures);
        let write = |name: &str, bytes: Vec<u8>| {
            std::fs::write(format!("{}.{name}", parts[3]), bytes).unwrap();
        };
        write("freq", freq);
        let mut out = Vec::new();
        reprise::library(&mut out, &found.state.families, found.k).unwrap();
        write("reprof", out);
        let mut out = Vec::new();
        let state = &found.state;
        reprise::elements(&mut out, text, &state.families, &state.elements).unwrap();
        write("bed", out);
        let mut out = Vec::new();
        reprise::masked(&mut out, text, &state.covered).unwrap();
        write("masked", out);
    }
}
