//! The end of the pipeline: the file under construction, what was counted, checkpoints.

use crate::options::Options;
use crate::output::Meta;
use crate::overview::Overview;
use crate::report::Totals;
use crate::unit::CutState;
use seqmill_base::checkpoint::StateDirectory;
use seqmill_base::progress::Progress;
use seqmill_base::{Job, Result};
use seqmill_table::ipc::IpcWriter;
use seqmill_table::parquet::{FileState, ParquetFile};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// A checkpoint is taken after so many bytes of output.
const CHECKPOINT_BYTES: u64 = 1 << 30;
/// Or after so many seconds.
const CHECKPOINT_SECONDS: f64 = 30.0;

/// What `checkpoint.json` says.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Checkpoint {
    pub state: CutState,
    pub totals: Totals,
    pub file: FileCheckpoint,
}

/// How much of the file under construction counts.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum FileCheckpoint {
    Parquet(FileState),
    Ipc(u64),
}

/// Writer of one of the file formats.
pub(crate) enum Writer {
    Parquet(Box<ParquetFile>),
    Ipc(Box<IpcWriter>),
}

impl Writer {
    pub(crate) fn bytes(&self) -> u64 {
        match self {
            Self::Parquet(file) => file.position(),
            Self::Ipc(file) => file.bytes(),
        }
    }

    /// Makes what counts durable: closed row groups, or whole batches.
    fn checkpoint(&mut self) -> Result<FileCheckpoint> {
        Ok(match self {
            Self::Parquet(file) => FileCheckpoint::Parquet(file.state()?),
            Self::Ipc(file) => FileCheckpoint::Ipc(file.sync()?),
        })
    }
}

/// Everything the last stage holds.
pub(crate) struct Sink<'a> {
    pub writer: Option<Writer>,
    pub totals: Totals,
    /// The cutter behind the last batch that was written.
    pub last: CutState,
    pub overview: Option<Overview>,
    state: Option<&'a StateDirectory>,
    /// Cutter and counts where the file could be cut off: between row groups or batches.
    closed: (CutState, Totals),
    progress: Arc<Progress>,
    checkpoint_bytes: u64,
    checkpoint_every: Duration,
    checkpoint_at: u64,
    checkpoint_time: Instant,
}

impl<'a> Sink<'a> {
    pub(crate) fn new(
        options: &Options,
        job: &Job,
        overview: bool,
        writer: Writer,
        state: Option<&'a StateDirectory>,
        earlier: Option<&Checkpoint>,
    ) -> Self {
        let at = writer.bytes();
        let seconds = match (options.checkpoint_seconds, options.checkpoint_bytes) {
            (Some(seconds), _) => seconds,
            // A rule in bytes alone: the time does not count.
            (None, Some(_)) => f64::from(u32::MAX),
            (None, None) => CHECKPOINT_SECONDS,
        };
        let fresh = CutState { sorted: true, ..CutState::default() };
        let totals = earlier.map(|c| c.totals.clone()).unwrap_or_default();
        let last = earlier.map_or(fresh, |c| c.state);
        Self {
            writer: Some(writer),
            closed: (last, totals.clone()),
            totals,
            last,
            overview: overview.then(Overview::default),
            state,
            progress: Arc::clone(&job.progress),
            checkpoint_bytes: options.checkpoint_bytes.unwrap_or(
                match options.checkpoint_seconds {
                    Some(_) => u64::MAX,
                    None => CHECKPOINT_BYTES,
                },
            ),
            checkpoint_every: Duration::from_secs_f64(seconds.clamp(0.0, f64::from(u32::MAX))),
            checkpoint_at: at,
            checkpoint_time: Instant::now(),
        }
    }

    /// Takes the facts of a batch that was appended; `between`: no row group is open.
    pub(crate) fn appended(&mut self, meta: &Meta, between: bool) -> Result<()> {
        self.totals.add(&meta.facts);
        self.last = meta.after;
        if let (Some(sum), Some(part)) = (&mut self.overview, &meta.facts.overview) {
            sum.add(part);
        }
        let bytes = self.writer.as_ref().map_or(0, Writer::bytes);
        self.progress.bytes_out.store(bytes, Ordering::Relaxed);
        self.progress.records_out.store(meta.after.given, Ordering::Relaxed);
        if between {
            self.closed = (self.last, self.totals.clone());
            let due = bytes - self.checkpoint_at.min(bytes) >= self.checkpoint_bytes
                || self.checkpoint_time.elapsed() >= self.checkpoint_every;
            if due {
                self.checkpoint()?;
            }
        }
        Ok(())
    }

    /// Notes how far the file has come, so that a later run can go on from there.
    pub(crate) fn checkpoint(&mut self) -> Result<()> {
        let (Some(state), Some(writer)) = (self.state, &mut self.writer) else { return Ok(()) };
        let file = writer.checkpoint()?;
        let (cut, totals) = self.closed.clone();
        state.save_checkpoint(&Checkpoint { state: cut, totals, file })?;
        self.checkpoint_at = writer.bytes();
        self.checkpoint_time = Instant::now();
        Ok(())
    }
}
