//! Reading an input on the calling thread, before the run begins: for samples and full passes.

use seqmill_base::budget::AccountId;
use seqmill_base::process::memory_figures;
use seqmill_base::{Budget, Error, Result};
use seqmill_io::Source;
use seqmill_io::bgzf::Inflater;
use seqmill_io::records::{
    Input, Joined, LineNumberer, LoadInput, Parsed, StitchInput, Stitched, Stitcher, UNIT_BYTES,
    UnitSource, load_unit, parse_lines,
};
use std::collections::VecDeque;
use std::path::Path;
use std::sync::Arc;

/// Bytes that are held at most.
const MEMORY_BYTES: u64 = 256 << 20;

/// Bytes that may be held: no more than the run itself may, which needs more for the same record, so
/// that what a sample shows does not depend on the budget of a run that succeeds.
fn memory_bytes(memory: u64) -> u64 {
    let taken = memory_figures().rss.unwrap_or(0).min(memory / 2);
    MEMORY_BYTES.min(memory - taken)
}

/// Records of one input, unit by unit.
pub(crate) struct Serial<'i> {
    input: &'i Input,
    units: UnitSource,
    inflater: Inflater,
    what: LoadInput,
    stitcher: Stitcher,
    numberer: LineNumberer,
    waiting: VecDeque<Joined>,
    budget: Arc<Budget>,
    account: AccountId,
    ended: bool,
}

impl<'i> Serial<'i> {
    /// Whether no budget would give more memory than is there.
    pub(crate) fn has_most(&self) -> bool {
        self.budget.pool() == MEMORY_BYTES
    }

    /// Reads from the first record on, at most `most` bytes of the input. A stream keeps what is
    /// read, so that the run can read it again.
    ///
    /// `memory` is the budget of the process.
    pub(crate) fn new(input: &'i Input, most: u64, memory: u64) -> Result<Self> {
        let source = Arc::new(Peek { source: Arc::clone(&input.source), end: most });
        let units = UnitSource::of(source, input, &[(input.first, None)], UNIT_BYTES);
        let bytes = memory_bytes(memory);
        let budget = Budget::new(bytes, 0)?;
        let account = budget.account("sample", bytes);
        let what = LoadInput::new(input);
        if let Some(cram) = &what.cram {
            cram.charge_references_to(budget.must_reserve(account, 0)?);
        }
        // Notices are told by the run itself.
        let silent = Box::new(|_| {});
        Ok(Self {
            input,
            units,
            inflater: Inflater::new(false),
            what,
            stitcher: Stitcher::new(vec![StitchInput::new(input)], 0, 0, None),
            numberer: LineNumberer::new(vec![input.path.clone()], 0, 0, silent),
            waiting: VecDeque::new(),
            budget,
            account,
            ended: false,
        })
    }

    /// The next records.
    pub(crate) fn next_records(&mut self) -> Result<Option<Stitched>> {
        loop {
            while let Some(joined) = self.waiting.pop_front() {
                let parsed = match joined {
                    Joined::Records(stitched) => Parsed::Records(stitched),
                    Joined::Text(run) => {
                        let Some(parser) = &self.input.parser else {
                            return Err(Error::internal("text without a parser"));
                        };
                        let lease = self.budget.must_reserve(self.account, 0)?;
                        Parsed::Lines(Box::new(parse_lines(parser, &run, true, lease)?))
                    }
                };
                if let Some(stitched) = self.numberer.number(parsed)? {
                    return Ok(Some(stitched));
                }
            }
            if self.ended {
                return Ok(None);
            }
            let lease = self.budget.must_reserve(self.account, self.units.claim())?;
            let loaded = match self.units.next_unit(lease)? {
                Some(raw) => {
                    let lease = self.budget.must_reserve(self.account, 0)?;
                    Some(load_unit(&mut self.inflater, raw, 0, &self.what, lease)?)
                }
                None => None,
            };
            self.ended = loaded.is_none();
            let mut joined = Vec::new();
            self.stitcher.stitch(loaded, &mut joined)?;
            self.waiting.extend(joined);
        }
    }
}

/// The beginning of a source, which is left as it was.
struct Peek {
    source: Arc<dyn Source>,
    end: u64,
}

impl Source for Peek {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> Result<usize> {
        let most = usize::try_from(self.end.saturating_sub(offset)).unwrap_or(usize::MAX);
        let most = most.min(buffer.len());
        self.source.read_at(buffer.get_mut(..most).unwrap_or_default(), offset)
    }

    fn len(&self) -> Option<u64> {
        self.source.len()
    }

    fn path(&self) -> &Path {
        self.source.path()
    }

    fn is_seekable(&self) -> bool {
        self.source.is_seekable()
    }
}
