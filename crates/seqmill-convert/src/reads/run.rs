//! The pipeline over reads up to decoded batches.

use super::decode::decode;
use super::pairs::{Pairing, ReadRun, alone};
use super::plan::ReadsPlan;
use super::select::ReadSelector;
use crate::cut::Cutter;
use crate::inputs::Inputs;
use crate::run::{
    Accounts, BatchFacts, LOADING, PROCESSING, Processed, batch_claim, stretches_from,
};
use crate::setup::{Setup, Stretches};
use crate::unit::{Batch, CutState, Position, Selected};
use seqmill_base::budget::AccountId;
use seqmill_base::pipeline::{Emit, Item, Pipeline};
use seqmill_base::{Error, FormatKind, Job, Lease, Result};
use seqmill_io::bgzf::Inflater;
use seqmill_io::records::{
    Input, Joined, LoadInput, Loaded, RawUnit, Scanned, StitchInput, Stitcher, UNIT_BYTES,
    UnitSource, load_unit,
};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// The side of the mate file.
const MATE: usize = 1;

/// A unit of one side.
struct Sided<T> {
    unit: T,
    side: usize,
}

impl<T: Item> Item for Sided<T> {
    fn bytes(&self) -> u64 {
        self.unit.bytes()
    }
}

/// What was read of a side: bytes given by the scanner, bytes and records stitched.
#[derive(Default)]
struct Flow {
    given: AtomicU64,
    bytes: AtomicU64,
    records: AtomicU64,
}

impl Flow {
    /// About the records that were given so far.
    fn records_given(&self) -> f64 {
        let get = |n: &AtomicU64| n.load(Ordering::Relaxed) as f64;
        let (bytes, records) = (get(&self.bytes), get(&self.records));
        if records == 0.0 { get(&self.given) / 1e9 } else { get(&self.given) * records / bytes }
    }
}

/// The inputs of one side.
struct Side {
    current: Option<UnitSource>,
    input: usize,
    before: u64,
    ended: bool,
}

/// Gives the units of the inputs in order; of mates those of the side that is behind.
struct Scanner {
    inputs: Arc<Inputs>,
    stretches: [Vec<Stretches>; 2],
    sides: [Side; 2],
    flow: Arc<[Flow; 2]>,
    strict: bool,
}

impl Scanner {
    fn next(&mut self, mut lease: Lease) -> Result<Option<Sided<Scanned>>> {
        loop {
            let open: Vec<usize> =
                (0..2).filter(|s| self.sides.get(*s).is_some_and(|s| !s.ended)).collect();
            let side = match open.as_slice() {
                [] => return Ok(None),
                [only] => *only,
                _ => {
                    let [first, mate] = self.flow.as_ref();
                    usize::from(mate.records_given() < first.records_given())
                }
            };
            let more = lease.sibling(0)?;
            if let Some(unit) = self.next_of(side, lease)? {
                return Ok(Some(Sided { unit, side }));
            }
            lease = more;
            lease.resize(UNIT_BYTES as u64)?;
        }
    }

    /// The next unit of a side; none where the side ends.
    fn next_of(&mut self, side: usize, lease: Lease) -> Result<Option<Scanned>> {
        let inputs = Arc::clone(&self.inputs);
        let number = self.sides.get(side).map_or(0, |s| s.input);
        let found = if side == MATE {
            inputs.mate.as_ref().filter(|_| number == 0)
        } else {
            inputs.list.get(number)
        };
        let stretches = self.stretches.get(side).and_then(|s| s.get(number)).cloned();
        let Some(state) = self.sides.get_mut(side) else { return Ok(None) };
        let Some(input) = found else {
            state.ended = true;
            return Ok(None);
        };
        let stretches = stretches.unwrap_or_else(|| vec![(input.first, None)]);
        let units =
            state.current.get_or_insert_with(|| UnitSource::new(input, &stretches, UNIT_BYTES));
        let next = units.next_unit(lease).map_err(|e| e.at_path(&input.path))?;
        let index = u32::try_from(number).unwrap_or(u32::MAX);
        if let Some(raw) = next {
            if let Some(flow) = self.flow.get(side) {
                flow.given.fetch_add(raw.text_bytes(), Ordering::Relaxed);
            }
            return Ok(Some(Scanned { raw, input: index, before: state.before }));
        }
        input.source.check_unchanged()?;
        if units.lacks_end_marker() {
            let text = "the end marker is missing: the file may be cut at the edge of a block";
            if self.strict {
                return Err(Error::format(FormatKind::Truncated, text).at_path(&input.path));
            }
            inputs.warn(format!("{}: missing_eof: {text}", input.path.display()));
        }
        state.before += input.source.len().unwrap_or(0);
        state.input += 1;
        state.current = None;
        let before = state.before;
        Ok(Some(Scanned { raw: RawUnit::Nothing, input: index, before }))
    }
}

/// Stitches both sides and brings them together.
struct Joiner {
    stitchers: [Stitcher; 2],
    /// Inputs of each side.
    paths: [Vec<PathBuf>; 2],
    pairing: Option<Pairing>,
    flow: Arc<[Flow; 2]>,
}

impl Joiner {
    fn join(&mut self, loaded: Option<Sided<Loaded>>, out: &mut Vec<ReadRun>) -> Result<()> {
        let mut joined = Vec::new();
        let Some(Sided { unit, side }) = loaded else {
            for side in 0..2 {
                let result = self.stitch(side, None, &mut joined);
                self.give(side, &mut joined, out);
                result?;
            }
            return self.pairing.as_ref().map_or(Ok(()), Pairing::end);
        };
        let bytes = unit.unit.data.len() as u64;
        let result = self.stitch(side, Some(unit), &mut joined);
        if let Some(flow) = self.flow.get(side) {
            flow.bytes.fetch_add(bytes, Ordering::Relaxed);
        }
        self.give(side, &mut joined, out);
        result
    }

    fn stitch(&mut self, side: usize, loaded: Option<Loaded>, out: &mut Vec<Joined>) -> Result<()> {
        let Some(stitcher) = self.stitchers.get_mut(side) else { return Ok(()) };
        stitcher.stitch(loaded, out).map_err(|error| {
            match self.paths.get(side).and_then(|paths| paths.get(stitcher.input())) {
                Some(path) => error.at_path(path),
                None => error,
            }
        })
    }

    fn give(&mut self, side: usize, joined: &mut Vec<Joined>, out: &mut Vec<ReadRun>) {
        for item in joined.drain(..) {
            let Joined::Text(run) = item else { continue };
            if let Some(flow) = self.flow.get(side) {
                flow.records.fetch_add(run.starts.len() as u64, Ordering::Relaxed);
            }
            match &mut self.pairing {
                Some(pairing) => pairing.add(side, &run, out),
                None => out.push(alone(&run)),
            }
        }
    }
}

/// Builds the pipeline up to the batches.
pub(crate) fn batches<'a>(
    inputs: &Arc<Inputs>,
    setup: &'a Setup,
    plan: &Arc<ReadsPlan>,
    job: &Job,
    accounts: Accounts,
    (resume, resumable): (Option<CutState>, bool),
) -> Pipeline<'a, Batch> {
    let position = resume.map(|state| state.position);
    let flow: Arc<[Flow; 2]> = Arc::default();
    let side =
        |input: usize, before: u64, ended: bool| Side { current: None, input, before, ended };
    let mate_from = position.map(|p| p.mate).or(inputs.mate.as_ref().map(|m| m.first));
    let mut scanner = Scanner {
        inputs: Arc::clone(inputs),
        stretches: [stretches_from(setup, position), vec![vec![(mate_from.unwrap_or(0), None)]]],
        sides: [
            side(position.map_or(0, |p| p.input as usize), 0, false),
            side(0, 0, inputs.mate.is_none()),
        ],
        flow: Arc::clone(&flow),
        strict: setup.semantic.strict,
    };
    let paths: Vec<PathBuf> = inputs.list.iter().map(|i| i.path.clone()).collect();
    let mate_path = inputs.mate.as_ref().map(|m| m.path.clone()).unwrap_or_default();
    let selector = ReadSelector {
        plan: Arc::clone(plan),
        paths: paths.clone(),
        mate_path: mate_path.clone(),
        resume_after: position.map(|p| (p.input, p.ordinal)),
    };
    let mut joiner = joiner(inputs, position, &flow, [paths.clone(), vec![mate_path]]);
    let mut state = resume.unwrap_or_default();
    state.looked_at -= u64::from(resume.is_some());
    let mut cutter = Cutter::new(setup.sizes, state, paths, Arc::clone(&job.progress));
    cutter.resumable = resumable;
    let verify = setup.semantic.verify;
    let all = inputs.list.iter().chain(&inputs.mate);
    let claims = all.map(|i| UnitSource::new(i, &[], UNIT_BYTES).claim());
    let claim = claims.max().unwrap_or(0);
    let load_inputs = load_inputs(inputs);
    Pipeline::source("scan", LOADING, accounts.read, claim, move |lease| scanner.next(lease))
        .parallel(
            "load",
            LOADING,
            accounts.read,
            |scanned: &Sided<Scanned>| scanned.unit.raw.claim(),
            move || Inflater::new(verify),
            move |inflater, Sided { unit, side }, lease| {
                let Scanned { raw, input, before } = unit;
                let found = load_inputs.get(side).and_then(|side| side.get(input as usize));
                let Some((what, path)) = found else {
                    return Err(Error::internal("a unit of no input"));
                };
                let mut loaded =
                    load_unit(inflater, raw, input, what, lease).map_err(|e| e.at_path(path))?;
                loaded.file_end += before;
                Ok(Sided { unit: loaded, side })
            },
        )
        .ordered("stitch", LOADING, move |loaded, emit: &mut Emit<'_, ReadRun>| {
            if loaded.is_none() && emit.is_failing() {
                return Ok(());
            }
            let mut out = Vec::new();
            let result = joiner.join(loaded, &mut out);
            for run in out {
                emit.push(run);
            }
            result
        })
        .parallel(
            "select",
            PROCESSING,
            accounts.read,
            |run: &ReadRun| 32 * run.first.count() as u64 + 256,
            || (),
            move |(), run, lease| selector.select(run, lease),
        )
        .ordered("cut", PROCESSING, move |selected: Option<Selected>, emit| {
            cutter.cut(selected, emit)
        })
}

fn load_inputs(inputs: &Inputs) -> [Vec<(LoadInput, PathBuf)>; 2] {
    let of = |input: &Input| (LoadInput::new(input), input.path.clone());
    [inputs.list.iter().map(of).collect(), inputs.mate.iter().map(of).collect()]
}

fn joiner(
    inputs: &Inputs,
    position: Option<Position>,
    flow: &Arc<[Flow; 2]>,
    paths: [Vec<PathBuf>; 2],
) -> Joiner {
    let (input, ordinal) = position.map_or((0, 0), |p| (p.input, p.ordinal));
    let line = |line: Option<u64>| line.filter(|line| *line > 0);
    let first = inputs.list.iter().map(StitchInput::new).collect();
    let mates = inputs.mate.iter().map(StitchInput::new).collect();
    let both = paths.clone().map(|side| side.first().cloned().unwrap_or_default());
    Joiner {
        stitchers: [
            Stitcher::new(first, input, ordinal, line(position.map(|p| p.line))),
            Stitcher::new(mates, 0, ordinal, line(position.map(|p| p.mate_line))),
        ],
        paths,
        pairing: inputs.mate.is_some().then(|| Pairing::new(both, ordinal)),
        flow: Arc::clone(flow),
    }
}

/// Adds the stage that decodes batches.
pub(crate) fn process<'a>(
    batches: Pipeline<'a, Batch>,
    setup: &'a Setup,
    plan: &Arc<ReadsPlan>,
    account: AccountId,
) -> Pipeline<'a, Processed> {
    let plan = Arc::clone(plan);
    batches.parallel(
        "process",
        PROCESSING,
        account,
        |batch: &Batch| batch_claim(batch, &[]),
        || (),
        move |(), batch, mut lease| {
            let decoded = decode(&plan, &setup.columns, &batch)?;
            let bytes = decoded.batch.get_array_memory_size() as u64;
            lease.resize(bytes)?;
            let facts = BatchFacts {
                rows: batch.rows as u64,
                arrow_bytes: batch.weight,
                bases: decoded.bases,
                overflow: Vec::new(),
                overview: None,
            };
            let Batch { group_end, after, .. } = batch;
            let batch = decoded.batch;
            Ok(Processed { batch, bytes, group_end, after, facts, lease, prepaid: false })
        },
    )
}
