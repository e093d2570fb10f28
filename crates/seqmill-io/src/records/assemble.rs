//! From scanned units to certain records: the stages load, stitch and, for SAM, parse and number.

use super::input::{Input, Kind, RawUnit};
use super::lines::{LineNumberer, Parsed, lines_claim, parse_lines};
use super::load::{LoadInput, StitchInput, Stitcher, load_unit};
use super::unit::{Joined, Loaded, Stitched};
use crate::bgzf::Inflater;
use seqmill_base::budget::AccountId;
use seqmill_base::pipeline::{Emit, Item, Pipeline};
use seqmill_base::{Error, Job, Lease, Result};
use std::path::PathBuf;

/// Bytes of a record that goes on behind a unit: what is behind its last whole record, as far as the
/// loader knows; all of the unit at most.
fn pending_claim(loaded: &Loaded) -> u64 {
    loaded.unit.data.len().saturating_sub(loaded.assumed.end) as u64
}

/// A unit on its way to be inflated.
pub struct Scanned {
    /// The bytes.
    pub raw: RawUnit,
    /// Index of the input.
    pub input: u32,
    /// Bytes of the inputs before this one.
    pub before: u64,
}

impl Scanned {
    /// A unit without bytes, where one input ends and the next begins.
    pub fn nothing(input: usize, before: u64) -> Self {
        let input = u32::try_from(input).unwrap_or(u32::MAX);
        Self { raw: RawUnit::Nothing, input, before }
    }
}

impl Item for Scanned {
    fn bytes(&self) -> u64 {
        self.raw.bytes()
    }
}

/// Where records are counted from, and how.
pub struct Assembly {
    /// Compare checksums of blocks.
    pub verify: bool,
    /// A damaged line does not end the run.
    pub skip_bad: bool,
    /// Input and number of the first record.
    pub first: (u32, u64),
    /// Line of the first record, where it does not follow from the header.
    pub first_line: Option<u64>,
    /// Group of stages, for pools of their own.
    pub group: usize,
}

impl Assembly {
    /// Adds the stages. `warn` is told of notices, `blame` may change an error of the stitcher.
    pub fn add<'a>(
        self,
        scanned: Pipeline<'a, Scanned>,
        inputs: &[Input],
        job: &Job,
        account: AccountId,
        warn: impl FnMut(String) + Send + 'static,
        blame: impl Fn(Error) -> Error + Send + 'a,
    ) -> Result<Pipeline<'a, Stitched>> {
        let group = self.group;
        let paths: Vec<PathBuf> = inputs.iter().map(|i| i.path.clone()).collect();
        let mut load_account = account;
        if inputs.iter().any(|i| i.kind == Kind::Cram) {
            // One container takes as much as all that is read ahead of another input.
            load_account = job.budget.account("containers", job.budget.pool() / 2);
            let references = job.budget.account("references", job.budget.pool());
            for cram in inputs.iter().filter_map(|i| i.cram.as_ref()) {
                cram.charge_references_to(job.budget.must_reserve(references, 0)?);
            }
        }
        let stitch_inputs = inputs.iter().map(StitchInput::new).collect();
        let (input, ordinal) = self.first;
        let mut stitcher = Stitcher::new(stitch_inputs, input, ordinal, self.first_line);
        let stitch_paths = paths.clone();
        let stitch =
            move |loaded: Option<Loaded>, lease: Option<Lease>, joined: &mut Vec<Joined>| {
                stitcher.hold(lease);
                stitcher.stitch(loaded, joined).map_err(|error| {
                    let path = stitch_paths.get(stitcher.input());
                    blame(match path {
                        Some(path) => error.at_path(path),
                        None => error,
                    })
                })
            };
        let loaded = self.load(scanned, inputs, load_account, paths.clone());
        if inputs.iter().any(|i| i.kind == Kind::Sam) {
            let numberer = LineNumberer::new(paths, input, ordinal, Box::new(warn));
            let accounts = (load_account, account);
            return Ok(self.with_lines(loaded, inputs, accounts, stitch, numberer));
        }
        let mut stitch = stitch;
        let work = move |loaded: Option<Loaded>, lease, emit: &mut Emit<'_, Stitched>| {
            if loaded.is_none() && emit.is_failing() {
                return Ok(());
            }
            let mut joined = Vec::new();
            let result = stitch(loaded, lease, &mut joined);
            for item in joined {
                match item {
                    Joined::Records(stitched) => emit.push(stitched),
                    Joined::Text(_) => return Err(Error::internal("text among records")),
                }
            }
            result
        };
        Ok(loaded.ordered_holding("stitch", group, load_account, pending_claim, work))
    }

    fn load<'a>(
        &self,
        scanned: Pipeline<'a, Scanned>,
        inputs: &[Input],
        account: AccountId,
        paths: Vec<PathBuf>,
    ) -> Pipeline<'a, Loaded> {
        let (group, verify) = (self.group, self.verify);
        let load_inputs: Vec<LoadInput> = inputs.iter().map(LoadInput::new).collect();
        scanned.parallel(
            "load",
            group,
            account,
            |scanned: &Scanned| scanned.raw.claim(),
            move || Inflater::new(verify),
            move |inflater, Scanned { raw, input, before }, lease| {
                let found = load_inputs.get(input as usize).zip(paths.get(input as usize));
                let Some((what, path)) = found else {
                    return Err(Error::internal("a unit of no input"));
                };
                let mut loaded =
                    load_unit(inflater, raw, input, what, lease).map_err(|e| e.at_path(path))?;
                loaded.file_end += before;
                Ok(loaded)
            },
        )
    }

    /// The stages of runs with SAM among the inputs: lines are read in parallel behind the stitcher.
    fn with_lines<'a>(
        &self,
        loaded: Pipeline<'a, Loaded>,
        inputs: &[Input],
        (load_account, account): (AccountId, AccountId),
        mut stitch: impl FnMut(Option<Loaded>, Option<Lease>, &mut Vec<Joined>) -> Result<()>
        + Send
        + 'a,
        mut numberer: LineNumberer,
    ) -> Pipeline<'a, Stitched> {
        let (group, skip_bad) = (self.group, self.skip_bad);
        let parsers: Vec<_> = inputs.iter().map(|i| i.parser.clone()).collect();
        let work = move |loaded: Option<Loaded>, lease, emit: &mut Emit<'_, Joined>| {
            if loaded.is_none() && emit.is_failing() {
                return Ok(());
            }
            let mut joined = Vec::new();
            let result = stitch(loaded, lease, &mut joined);
            for item in joined {
                emit.push(item);
            }
            result
        };
        loaded
            .ordered_holding("stitch", group, load_account, pending_claim, work)
            .parallel(
                "parse",
                group,
                account,
                lines_claim,
                || (),
                move |(), joined, lease| {
                    let run = match joined {
                        Joined::Records(stitched) => return Ok(Parsed::Records(stitched)),
                        Joined::Text(run) => run,
                    };
                    let parser = parsers.get(run.unit.input as usize).and_then(Option::as_ref);
                    let parser = parser.ok_or_else(|| Error::internal("text without a parser"))?;
                    Ok(Parsed::Lines(Box::new(parse_lines(parser, &run, skip_bad, lease)?)))
                },
            )
            .ordered("number", group, move |parsed: Option<Parsed>, emit| {
                if let Some(stitched) = parsed.map_or(Ok(None), |parsed| numberer.number(parsed))? {
                    emit.push(stitched);
                }
                Ok(())
            })
    }
}
