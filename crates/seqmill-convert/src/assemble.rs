//! From scanned units to certain records: the stages load, stitch and, for SAM, parse and number.

use crate::input::{Kind, RawUnit};
use crate::inputs::Inputs;
use crate::lines::{LineNumberer, Parsed, lines_claim, parse_lines};
use crate::load::{LoadInput, StitchInput, Stitcher, load_unit};
use crate::run::LOADING;
use crate::unit::{Joined, Loaded, Stitched};
use seqmill_base::budget::AccountId;
use seqmill_base::pipeline::{Emit, Item, Pipeline};
use seqmill_base::{Error, Job, Result};
use seqmill_io::bgzf::Inflater;
use std::path::PathBuf;
use std::sync::Arc;

/// A unit on its way to be inflated.
pub(crate) struct Scanned {
    pub raw: RawUnit,
    pub input: u32,
    /// Bytes of the inputs before this one.
    pub before: u64,
}

impl Scanned {
    /// A unit without bytes, where one input ends and the next begins.
    pub(crate) fn nothing(input: usize, before: u64) -> Self {
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
pub(crate) struct Assembly {
    /// Compare checksums of blocks.
    pub verify: bool,
    /// A damaged line does not end the run.
    pub skip_bad: bool,
    /// Input and number of the first record.
    pub first: (u32, u64),
    /// Line of the first record, where it does not follow from the header.
    pub first_line: Option<u64>,
}

impl Assembly {
    /// Adds the stages. `blame` may change an error of the stitcher.
    pub(crate) fn add<'a>(
        self,
        scanned: Pipeline<'a, Scanned>,
        inputs: &Arc<Inputs>,
        job: &Job,
        account: AccountId,
        blame: impl Fn(Error) -> Error + Send + 'a,
    ) -> Result<Pipeline<'a, Stitched>> {
        let paths: Vec<PathBuf> = inputs.list.iter().map(|i| i.path.clone()).collect();
        let mut load_account = account;
        if inputs.list.iter().any(|i| i.kind == Kind::Cram) {
            // One container takes as much as all that is read ahead of another input.
            load_account = job.budget.account("containers", job.budget.pool() / 2);
            let references = job.budget.account("references", job.budget.pool());
            for cram in inputs.list.iter().filter_map(|i| i.cram.as_ref()) {
                cram.charge_references_to(job.budget.must_reserve(references, 0)?);
            }
        }
        let stitch_inputs = inputs.list.iter().map(StitchInput::new).collect();
        let (input, ordinal) = self.first;
        let mut stitcher = Stitcher::new(stitch_inputs, input, ordinal, self.first_line);
        let stitch_paths = paths.clone();
        let stitch = move |loaded: Option<Loaded>, joined: &mut Vec<Joined>| {
            stitcher.stitch(loaded, joined).map_err(|error| {
                let path = stitch_paths.get(stitcher.input());
                blame(match path {
                    Some(path) => error.at_path(path),
                    None => error,
                })
            })
        };
        let loaded = load(scanned, inputs, load_account, self.verify, paths.clone());
        if inputs.list.iter().any(|i| i.kind == Kind::Sam) {
            let warnings = Arc::clone(inputs);
            let warn = Box::new(move |text| warnings.warn(text));
            let numberer = LineNumberer::new(paths, input, ordinal, warn);
            return Ok(with_lines(loaded, inputs, account, self.skip_bad, stitch, numberer));
        }
        let mut stitch = stitch;
        Ok(loaded.ordered("stitch", LOADING, move |loaded, emit| {
            let mut joined = Vec::new();
            let result = stitch(loaded, &mut joined);
            for item in joined {
                match item {
                    Joined::Records(stitched) => emit.push(stitched),
                    Joined::Text(_) => return Err(Error::internal("text among records")),
                }
            }
            result
        }))
    }
}

fn load<'a>(
    scanned: Pipeline<'a, Scanned>,
    inputs: &Inputs,
    account: AccountId,
    verify: bool,
    paths: Vec<PathBuf>,
) -> Pipeline<'a, Loaded> {
    let load_inputs: Vec<LoadInput> = inputs.list.iter().map(LoadInput::new).collect();
    scanned.parallel(
        "load",
        LOADING,
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
    loaded: Pipeline<'a, Loaded>,
    inputs: &Inputs,
    account: AccountId,
    skip_bad: bool,
    mut stitch: impl FnMut(Option<Loaded>, &mut Vec<Joined>) -> Result<()> + Send + 'a,
    mut numberer: LineNumberer,
) -> Pipeline<'a, Stitched> {
    let parsers: Vec<_> = inputs.list.iter().map(|i| i.parser.clone()).collect();
    loaded
        .ordered("stitch", LOADING, move |loaded, emit: &mut Emit<'_, Joined>| {
            let mut joined = Vec::new();
            let result = stitch(loaded, &mut joined);
            for item in joined {
                emit.push(item);
            }
            result
        })
        .parallel(
            "parse",
            LOADING,
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
        .ordered("number", LOADING, move |parsed: Option<Parsed>, emit| {
            if let Some(stitched) = parsed.map_or(Ok(None), |parsed| numberer.number(parsed))? {
                emit.push(stitched);
            }
            Ok(())
        })
}
