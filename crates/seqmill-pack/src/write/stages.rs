//! The stages behind the feeder: coding, numbering, compressing, writing.

use super::compress::{Level, Packer};
use super::describe::{Describer, FullBatch, SampleEnd};
use super::encode::{Coder, Effort};
use super::feed::{Cut, Feeder, TASK_BASES};
use super::groups::{Placed, Target};
use super::ledger::Ledger;
use super::output::{CONTIGS, DETAILS, DIGESTS, Output, ReadyPart, StreamId};
use super::pending::{FullPack, Pending};
use super::place::{PlacedEvent, Placer, Task};
use super::reference::TableRoom;
use crate::archive::RAW_GROUPS;
use crate::batch::Segment;
use seqmill_base::budget::AccountId;
use seqmill_base::metrics::StageFigures;
use seqmill_base::pipeline::{Emit, Item, Pipeline, Threads};
use seqmill_base::{Error, Job, Lease, Progress, Result};
use std::sync::Arc;

/// Bytes of packs that one task of the last phase takes.
const PACKS_BYTES: u64 = 256 << 10;
/// Packs of one task of the last phase.
const PACKS: usize = 256;

/// What is shared by all stages.
pub(crate) struct Shop {
    pub(crate) level: Level,
    pub(crate) effort: Effort,
    pub(crate) room: Arc<TableRoom>,
    pub(crate) threads: usize,
}

/// What became of the text of a segment.
enum Coded {
    Reference(ReadyPart),
    Same,
    Entry(Vec<u8>),
}

enum CodedEvent {
    Contig(Vec<u8>),
    Segment { contig: u32, length: u32, reverse: bool, group: u32, coded: Coded },
    EndSample(SampleEnd),
}

struct CodedTask {
    events: Vec<CodedEvent>,
    bytes: u64,
    _lease: Lease,
}

impl Item for Cut {
    fn bytes(&self) -> u64 {
        self.bytes
    }
}

impl Item for Task {
    fn bytes(&self) -> u64 {
        self.bytes
    }
}

impl Item for CodedTask {
    fn bytes(&self) -> u64 {
        self.bytes
    }
}

/// What has to be compressed or only written.
enum Outgoing {
    Ready(StreamId, ReadyPart),
    Pack(u32, Vec<u8>),
    Batch(FullBatch),
}

struct Jobs {
    list: Vec<Outgoing>,
    bytes: u64,
    largest: u64,
    lease: Option<Lease>,
}

impl Item for Jobs {
    fn bytes(&self) -> u64 {
        self.bytes
    }
}

struct Parts {
    list: Vec<(StreamId, ReadyPart)>,
    bytes: u64,
    _lease: Lease,
}

impl Item for Parts {
    fn bytes(&self) -> u64 {
        self.bytes
    }
}

/// State of a thread that codes.
struct Worker {
    coder: Coder,
    packer: Packer,
}

impl Worker {
    fn code(&mut self, placed: &mut Placed, shop: &Shop) -> Result<(u32, Coded)> {
        let text = placed.codes.as_slice();
        Ok(match &mut placed.target {
            Target::Raw(group) => (*group, Coded::Entry(text.to_vec())),
            Target::New(group) => (*group, Coded::Reference(self.packer.reference(text)?)),
            Target::Known { group, reference, coded } => {
                if self.coder.is_same(reference, text) {
                    return Ok((*group, Coded::Same));
                }
                if let Some(entry) = coded.take() {
                    return Ok((*group, Coded::Entry(entry)));
                }
                let all = usize::MAX;
                self.coder.find_tokens(reference, text, shop.effort, &shop.room, all);
                let mut entry = Vec::new();
                self.coder.write(text, shop.effort, &mut entry);
                entry.shrink_to_fit();
                (*group, Coded::Entry(entry))
            }
        })
    }

    fn task(&mut self, task: Task, shop: &Shop, mut lease: Lease, job: &Job) -> Result<CodedTask> {
        let mut events = Vec::with_capacity(task.events.len());
        let mut bytes = 0;
        for event in task.events {
            events.push(match event {
                PlacedEvent::Contig(header) => {
                    bytes += header.len() as u64;
                    CodedEvent::Contig(header)
                }
                PlacedEvent::EndSample(end) => CodedEvent::EndSample(end),
                PlacedEvent::Segment { contig, mut placed } => {
                    job.cancel.check()?;
                    let (group, coded) = self.code(&mut placed, shop)?;
                    bytes += match &coded {
                        Coded::Reference(part) => part.data.capacity() as u64,
                        Coded::Same => 0,
                        Coded::Entry(entry) => entry.capacity() as u64,
                    };
                    let length = u32::try_from(placed.codes.len())
                        .map_err(|_| Error::input("a segment is beyond 4 Gb"))?;
                    let reverse = placed.reverse;
                    CodedEvent::Segment { contig, length, reverse, group, coded }
                }
            });
            bytes += size_of::<CodedEvent>() as u64;
        }
        self.coder.trim();
        lease.resize(bytes)?;
        Ok(CodedTask { events, bytes, _lease: lease })
    }
}

/// Numbers entries and describes samples, in order.
pub(crate) struct Recorder {
    /// Packs of the entries that make raw groups exist, where packs have one entry.
    pub(crate) dummies: Vec<FullPack>,
    pub(crate) pending: Pending,
    pub(crate) describer: Describer,
    pub(crate) ledger: Ledger,
    pub(crate) lease: Lease,
}

impl Recorder {
    fn take(&mut self, task: CodedTask, out: &mut Emit<'_, Jobs>, job: &Job) -> Result<()> {
        let mut ready = Vec::new();
        let mut bytes = 0;
        for pack in self.dummies.drain(..) {
            let size = pack.bytes.len() as u64;
            let jobs = vec![Outgoing::Pack(pack.group, pack.bytes)];
            out.push(Jobs { list: jobs, bytes: size, largest: size, lease: None });
        }
        for event in task.events {
            match event {
                CodedEvent::Contig(header) => self.describer.contig(header),
                CodedEvent::EndSample(end) => {
                    self.describer.end_sample(&end.name, Some(&end));
                    self.ledger.end_sample(&end.name, end.bases);
                    if self.describer.is_full()
                        && let Some(batch) = self.describer.take_batch()
                    {
                        let size = batch_bytes(&batch);
                        out.push(Jobs {
                            list: vec![Outgoing::Batch(batch)],
                            bytes: size,
                            largest: size,
                            lease: None,
                        });
                    }
                }
                CodedEvent::Segment { contig, length, reverse, group, coded } => {
                    let share = &mut self.ledger.open;
                    share.segments += 1;
                    let id = match coded {
                        Coded::Same => {
                            share.known += 1;
                            0
                        }
                        Coded::Reference(part) => {
                            bytes += part.data.len() as u64;
                            share.groups += 1;
                            share.reference_bases += u64::from(length);
                            share.reference_bytes += part.data.len() as u64;
                            ready.push(Outgoing::Ready(StreamId::Reference(group), part));
                            0
                        }
                        Coded::Entry(entry) => {
                            let raw = group < RAW_GROUPS;
                            let (number, full) = self.pending.add(group, &entry, !raw, job)?;
                            share.delta_bytes += entry.len() as u64;
                            if let Some(pack) = full {
                                let size = pack.bytes.len() as u64;
                                out.push(Jobs {
                                    list: vec![Outgoing::Pack(pack.group, pack.bytes)],
                                    bytes: size,
                                    largest: size,
                                    lease: None,
                                });
                            }
                            if raw { number } else { number + 1 }
                        }
                    };
                    let segment = Segment { group, id, length, reverse };
                    self.describer.segment(contig, segment)?;
                }
            }
        }
        self.lease.resize(self.describer.bytes())?;
        if !ready.is_empty() {
            out.push(Jobs { list: ready, bytes, largest: 0, lease: None });
        }
        Ok(())
    }
}

fn batch_bytes(batch: &FullBatch) -> u64 {
    (batch.names.len() + batch.arrays.iter().map(Vec::len).sum::<usize>()) as u64
}

fn compress(packer: &mut Packer, jobs: Jobs, mut lease: Lease, cancel: &Job) -> Result<Parts> {
    let mut parts = Vec::with_capacity(jobs.list.len());
    for one in jobs.list {
        cancel.cancel.check()?;
        match one {
            Outgoing::Ready(stream, part) => parts.push((stream, part)),
            Outgoing::Pack(group, bytes) => {
                parts.push((StreamId::Delta(group), packer.pack(&bytes)?));
            }
            Outgoing::Batch(batch) => {
                parts.push((CONTIGS, packer.collection(&batch.names)?));
                parts.push((DETAILS, packer.details(&batch.arrays)?));
                if let Some(data) = batch.digests {
                    parts.push((DIGESTS, ReadyPart { metadata: 0, data }));
                }
            }
        }
    }
    let bytes = parts.iter().map(|(_, part)| part.data.capacity() as u64).sum();
    lease.resize(bytes)?;
    Ok(Parts { list: parts, bytes, _lease: lease })
}

/// Accounts of the stages.
#[derive(Clone, Copy)]
pub(crate) struct Accounts {
    pub(crate) segments: AccountId,
    pub(crate) coded: AccountId,
    pub(crate) parts: AccountId,
}

/// Runs everything from the input to the last sample.
pub(crate) fn run(
    feeder: &mut Feeder,
    placer: &mut Placer,
    recorder: &mut Recorder,
    output: &mut Output,
    shop: &Shop,
    accounts: Accounts,
    job: &Job,
) -> (Result<()>, Vec<StageFigures>) {
    let fresh = || Packer::new(shop.level).map(|packer| Worker { coder: Coder::default(), packer });
    Pipeline::source("segment", 0, accounts.segments, TASK_BASES, |lease| feeder.next_task(lease))
        .ordered("place", 0, |cut: Option<Cut>, out| {
            if let Some(cut) = cut {
                out.push(placer.task(cut)?);
            }
            Ok(())
        })
        .parallel(
            "code",
            0,
            accounts.coded,
            |task: &Task| task.bytes + task.scratch + (64 << 10),
            fresh,
            |worker, task, lease| {
                let worker = worker.as_mut().map_err(|e| e.clone())?;
                worker.task(task, shop, lease, job)
            },
        )
        .ordered("number", 0, |task: Option<CodedTask>, out| match task {
            Some(task) => recorder.take(task, out, job),
            None => Ok(()),
        })
        .parallel(
            "compress",
            0,
            accounts.parts,
            |jobs: &Jobs| {
                jobs.bytes + if jobs.largest > 0 { Packer::bytes_for(jobs.largest) } else { 0 }
            },
            || Packer::new(shop.level),
            |packer, jobs, lease| {
                let packer = packer.as_mut().map_err(|e| e.clone())?;
                compress(packer, jobs, lease, job)
            },
        )
        .run(
            "write",
            0,
            |parts: Parts| write(output, &parts, job),
            &Threads::Shared(shop.threads),
            job,
        )
}

fn write(output: &mut Output, parts: &Parts, job: &Job) -> Result<()> {
    for (stream, part) in &parts.list {
        output.part(*stream, part)?;
    }
    Progress::add(&job.progress.bytes_out, parts.bytes);
    Ok(())
}

/// Compresses and writes the packs that are open at the end.
pub(crate) fn close(
    recorder: &mut Recorder,
    output: &mut Output,
    shop: &Shop,
    accounts: Accounts,
    job: &Job,
) -> (Result<()>, Vec<StageFigures>) {
    let mut open = recorder.pending.open().into_iter().peekable();
    let pending = &mut recorder.pending;
    Pipeline::source("open packs", 0, accounts.coded, PACKS_BYTES, |mut lease| {
        let mut jobs = Jobs { list: Vec::new(), bytes: 0, largest: 0, lease: None };
        while jobs.bytes < PACKS_BYTES && jobs.list.len() < PACKS {
            let Some((group, bytes)) = open.next() else { break };
            if jobs.bytes + bytes > lease.bytes() {
                lease.resize(jobs.bytes + bytes)?;
            }
            jobs.bytes += bytes;
            jobs.largest = jobs.largest.max(bytes);
            jobs.list.push(Outgoing::Pack(group, pending.close(group)?.bytes));
        }
        jobs.lease = Some(lease);
        Ok((!jobs.list.is_empty()).then_some(jobs))
    })
    .parallel(
        "compress",
        0,
        accounts.parts,
        |jobs: &Jobs| jobs.bytes + Packer::bytes_for(jobs.largest),
        || Packer::new(shop.level),
        |packer, jobs, lease| {
            let packer = packer.as_mut().map_err(|e| e.clone())?;
            compress(packer, jobs, lease, job)
        },
    )
    .run(
        "write",
        0,
        |parts: Parts| write(output, &parts, job),
        &Threads::Shared(shop.threads),
        job,
    )
}
