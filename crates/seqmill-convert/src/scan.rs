//! Batches for a consumer in the same process, and counting.

use crate::convert::warn_of;
use crate::inputs::Inputs;
use crate::options::{Resources, Semantic};
use crate::report::{Meter, Outcome, Totals, document};
use crate::run::{
    Accounts, Extras, Processed, WRITING, batches, process, reserve_headers, threads, with_record,
};
use crate::setup::Setup;
use crate::unit::{Batch, CutState};
use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;
use seqmill_base::{Error, Job, Result};
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;

/// Batches that wait for the consumer at most; the pipeline waits behind them.
const QUEUE_BATCHES: usize = 2;

type Delivery = Result<Processed>;

/// Batches of a scan, made by threads of its own until it is dropped.
pub struct Batches {
    schema: SchemaRef,
    receiver: Option<Receiver<Delivery>>,
    thread: Option<JoinHandle<Value>>,
    job: Job,
    document: Option<Value>,
}

impl Batches {
    /// Starts a scan.
    pub fn start(
        inputs: &Arc<Inputs>,
        semantic: &Semantic,
        resources: &Resources,
        job: Job,
    ) -> Result<Self> {
        let headers = reserve_headers(inputs, &job)?;
        let setup = Setup::new(inputs, semantic, false)?;
        let schema = Arc::clone(&setup.columns.schema);
        let (sender, receiver) = sync_channel(QUEUE_BATCHES);
        let (inputs, resources, own) = (Arc::clone(inputs), resources.clone(), job.clone());
        let run = move || {
            let _headers = headers;
            scan(&inputs, &setup, &resources, &own, &sender)
        };
        let builder = std::thread::Builder::new().name("seqmill-scan".to_owned());
        let thread = builder.spawn(run).map_err(|e| Error::internal(format!("no thread: {e}")))?;
        Ok(Self { schema, receiver: Some(receiver), thread: Some(thread), job, document: None })
    }

    /// Schema of the batches.
    pub fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    /// The next batch; `None` at the end.
    pub fn next_batch(&mut self) -> Result<Option<RecordBatch>> {
        let Some(receiver) = &self.receiver else { return Ok(None) };
        match receiver.recv() {
            Ok(Ok(processed)) => Ok(Some(processed.batch)),
            Ok(Err(error)) => {
                self.close();
                Err(error)
            }
            Err(_) => {
                self.close();
                Ok(None)
            }
        }
    }

    /// Stops the threads and waits for them.
    pub fn close(&mut self) {
        self.job.cancel.cancel();
        self.receiver = None;
        if let Some(thread) = self.thread.take() {
            self.document = thread.join().ok();
        }
    }

    /// The engine's part of the metrics document, once the scan has ended.
    pub fn document(&self) -> Option<&Value> {
        self.document.as_ref()
    }
}

impl Drop for Batches {
    fn drop(&mut self) {
        self.close();
    }
}

/// Runs the pipeline into the channel; an error is the last thing it delivers.
fn scan(
    inputs: &Arc<Inputs>,
    setup: &Setup,
    resources: &Resources,
    job: &Job,
    sender: &SyncSender<Delivery>,
) -> Value {
    let meter = Meter::start();
    let accounts = Accounts::new(job, resources);
    let mut totals = Totals::default();
    let mut last = CutState { sorted: true, ..CutState::default() };
    let result = batches(inputs, setup, job, accounts, None, Extras::default()).map(|pipeline| {
        let processed = process(pipeline, inputs, setup, job, accounts.process, false);
        let take = |processed: Processed| {
            totals.add(&processed.facts);
            last = processed.after;
            if processed.batch.num_rows() == 0 {
                return Ok(());
            }
            // The consumer has gone: nobody wants the rest.
            sender.send(Ok(processed)).map_err(|_| Error::cancelled())
        };
        match threads(resources, job, (0, 0)) {
            Ok((pool, _held)) => processed.run("deliver", WRITING, take, &pool, job),
            Err(error) => (Err(error), Vec::new()),
        }
    });
    let (result, stages) = match result {
        Ok((result, stages)) => (result, stages),
        Err(error) => (Err(error), Vec::new()),
    };
    if let Err(error) = result {
        let error = with_record(error, inputs, setup, job);
        let _ = sender.send(Err(error));
    }
    warn_of(inputs, &last);
    let outcome = Outcome {
        state: last,
        totals: &totals,
        stages,
        output_bytes: 0,
        format: json!({}),
        overview: None,
        resumed_from: None,
    };
    document(inputs, setup, job, &meter, &outcome)
}

/// Counts the records that pass the filters; nothing is decoded.
pub fn count(
    inputs: &Arc<Inputs>,
    semantic: &Semantic,
    resources: &Resources,
    job: &Job,
) -> Result<u64> {
    let _headers = reserve_headers(inputs, job)?;
    let setup = Setup::new(inputs, semantic, true)?;
    let accounts = Accounts::new(job, resources);
    let mut rows = 0;
    let take = |batch: Batch| {
        rows += batch.rows as u64;
        Ok(())
    };
    let pipeline = batches(inputs, &setup, job, accounts, None, Extras::default())?;
    let (pool, _held) = threads(resources, job, (0, 0))?;
    pipeline.run("count", WRITING, take, &pool, job).0?;
    warn_of(inputs, &CutState::default());
    Ok(rows)
}

/// The schema a scan would have.
pub fn schema(inputs: &Arc<Inputs>, semantic: &Semantic) -> Result<SchemaRef> {
    Ok(Arc::clone(&Setup::new(inputs, semantic, false)?.columns.schema))
}
