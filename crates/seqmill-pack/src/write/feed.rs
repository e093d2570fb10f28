//! The source of the pipeline: from input to contigs that are cut at splitters.

use super::describe::SampleEnd;
use super::input::{Input, Item};
use super::kmers::KmerScanner;
use super::segments::{Piece, Segmenter};
use super::splitters::{Chooser, Counters, Splitters};
use super::spool::{SpoolReader, Spooled};
use crate::digests::Summer;
use crate::symbols::LETTERS;
use seqmill_base::{Job, Lease, Progress, Result};

/// Bases of one task.
pub(crate) const TASK_BASES: u64 = 512 << 10;
/// Events of one task.
const TASK_EVENTS: usize = 4096;

/// What there is in the input, in order.
pub(crate) enum Event {
    Contig(Vec<u8>),
    Piece { contig: u32, piece: Piece },
    EndSample(SampleEnd),
}

/// Some events.
pub(crate) struct Cut {
    pub(crate) events: Vec<Event>,
    pub(crate) bytes: u64,
    pub(crate) lease: Lease,
}

/// A contig in which no splitter occurs, put aside until the end of the sample.
struct Aside {
    contig: u32,
    codes: Vec<u8>,
}

struct OpenSample {
    name: Vec<u8>,
    contigs: u32,
    bases: u64,
    summer: Summer,
    asides: Vec<Aside>,
    was_cut: bool,
}

/// What is known of k-mers of the reference, where new splitters are looked for.
pub(crate) struct Adaptive {
    pub(crate) known: Counters,
    pub(crate) kmer_length: u32,
    pub(crate) segment_size: u32,
}

/// Gives tasks.
pub(crate) struct Feeder {
    pub(crate) input: Input,
    /// The first sample, which was read before.
    pub(crate) first: Option<(Vec<u8>, SpoolReader<'static>)>,
    pub(crate) splitters: Splitters,
    pub(crate) adaptive: Option<Adaptive>,
    segmenter: Segmenter,
    sample: Option<OpenSample>,
    batch: Summer,
    samples: u64,
    batch_size: u64,
    letters: Vec<u8>,
    codes: Vec<u8>,
    pieces: Vec<Piece>,
    lease: Lease,
    job: Job,
    pub(crate) totals: Totals,
}

/// What went in.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Totals {
    pub(crate) samples: u64,
    pub(crate) contigs: u64,
    pub(crate) bases: u64,
}

/// How a feeder begins.
pub(crate) struct Setup {
    pub(crate) kmer_length: u32,
    pub(crate) batch_size: u32,
    /// Samples that are in the archive already.
    pub(crate) samples: u64,
}

impl Feeder {
    pub(crate) fn new(
        input: Input,
        splitters: Splitters,
        setup: &Setup,
        lease: Lease,
        job: &Job,
    ) -> Self {
        Self {
            input,
            first: None,
            splitters,
            adaptive: None,
            segmenter: Segmenter::new(setup.kmer_length),
            sample: None,
            batch: Summer::default(),
            samples: setup.samples,
            batch_size: u64::from(setup.batch_size),
            letters: Vec::new(),
            codes: Vec::new(),
            pieces: Vec::new(),
            lease,
            job: job.clone(),
            totals: Totals::default(),
        }
    }

    /// The next task; `None` when everything was given.
    pub(crate) fn next_task(&mut self, mut lease: Lease) -> Result<Option<Cut>> {
        let mut events = Vec::new();
        let mut bytes = 0;
        while bytes < TASK_BASES && events.len() < TASK_EVENTS {
            let before = events.len();
            if !self.step(&mut events)? {
                break;
            }
            let fresh = events.get(before..).unwrap_or_default();
            bytes += fresh.iter().map(event_bytes).sum::<u64>();
            if bytes > lease.bytes() {
                lease.resize(bytes)?;
            }
        }
        if events.is_empty() {
            return Ok(None);
        }
        lease.resize(bytes)?;
        Ok(Some(Cut { events, bytes, lease }))
    }

    /// Takes one item of the input; false at its end.
    fn step(&mut self, events: &mut Vec<Event>) -> Result<bool> {
        let mut codes = std::mem::take(&mut self.codes);
        codes.clear();
        let item = self.next_item(&mut codes)?;
        let more = item.is_some();
        match item {
            None => {}
            Some(Item::Sample(name)) => self.begin_sample(name),
            Some(Item::Contig(header)) => {
                if let Some(sample) = &mut self.sample {
                    sample.summer.header(&header);
                    sample.contigs += 1;
                    sample.was_cut = false;
                }
                self.batch.header(&header);
                events.push(Event::Contig(header));
            }
            Some(Item::Codes) => self.take_codes(&codes, events)?,
            Some(Item::EndContig) => self.end_contig(events)?,
            Some(Item::EndSample) => self.end_sample(events)?,
        }
        self.codes = codes;
        Ok(more)
    }

    /// The next item, of the first sample or of the rest.
    fn next_item(&mut self, codes: &mut Vec<u8>) -> Result<Option<Item>> {
        if let Some((name, reader)) = &mut self.first {
            if self.sample.is_none() {
                return Ok(Some(Item::Sample(name.clone())));
            }
            let item = match reader.next()? {
                Some(Spooled::Contig(header)) => Item::Contig(header.to_vec()),
                Some(Spooled::Codes(spooled)) => {
                    codes.extend_from_slice(spooled);
                    Item::Codes
                }
                Some(Spooled::End) => Item::EndContig,
                None => {
                    self.first = None;
                    Item::EndSample
                }
            };
            return Ok(Some(item));
        }
        let item = self.input.next()?;
        if item == Some(Item::Codes) {
            codes.extend_from_slice(self.input.codes());
        }
        Ok(item)
    }

    fn begin_sample(&mut self, name: Vec<u8>) {
        if self.samples.is_multiple_of(self.batch_size) {
            self.batch = Summer::default();
        }
        self.sample = Some(OpenSample {
            name,
            contigs: 0,
            bases: 0,
            summer: Summer::default(),
            asides: Vec::new(),
            was_cut: false,
        });
    }

    fn take_codes(&mut self, codes: &[u8], events: &mut Vec<Event>) -> Result<()> {
        let Some(sample) = &mut self.sample else { return Ok(()) };
        let letter = |&c: &u8| LETTERS.get(usize::from(c)).copied().unwrap_or(b'N');
        self.letters.clear();
        self.letters.extend(codes.iter().map(letter));
        sample.summer.letters(&self.letters);
        self.batch.letters(&self.letters);
        sample.bases += codes.len() as u64;
        self.segmenter.push(codes, &self.splitters, &mut self.pieces);
        if !self.pieces.is_empty() {
            sample.was_cut = true;
        }
        if self.segmenter.bytes() > self.lease.bytes() {
            self.lease.resize(self.segmenter.bytes() + TASK_BASES)?;
        }
        self.give_pieces(events);
        Ok(())
    }

    fn give_pieces(&mut self, events: &mut Vec<Event>) {
        let contig = self.sample.as_ref().map_or(0, |s| s.contigs.saturating_sub(1));
        events.extend(self.pieces.drain(..).map(|piece| Event::Piece { contig, piece }));
    }

    fn end_contig(&mut self, events: &mut Vec<Event>) -> Result<()> {
        let last = self.segmenter.end();
        if let Some(sample) = &mut self.sample {
            sample.summer.end_contig();
            self.batch.end_contig();
            self.totals.contigs += 1;
            Progress::add(&self.job.progress.records_in, 1);
            if let Some(piece) = last {
                if self.adaptive.is_some() && !sample.was_cut {
                    let contig = sample.contigs.saturating_sub(1);
                    sample.asides.push(Aside { contig, codes: piece.codes });
                } else {
                    self.pieces.push(piece);
                }
            }
        }
        let asides = self
            .sample
            .as_ref()
            .map_or(0, |s| s.asides.iter().map(|a| a.codes.capacity() as u64).sum::<u64>());
        self.lease.resize(asides + self.segmenter.bytes() + TASK_BASES)?;
        self.give_pieces(events);
        Ok(())
    }

    fn end_sample(&mut self, events: &mut Vec<Event>) -> Result<()> {
        let Some(mut sample) = self.sample.take() else { return Ok(()) };
        let asides = std::mem::take(&mut sample.asides);
        if !asides.is_empty() {
            self.find_new_splitters(&asides)?;
            for aside in asides {
                self.segmenter.push(&aside.codes, &self.splitters, &mut self.pieces);
                self.pieces.extend(self.segmenter.end());
                let contig = aside.contig;
                events.extend(self.pieces.drain(..).map(|piece| Event::Piece { contig, piece }));
            }
            self.lease.resize(TASK_BASES)?;
        }
        self.samples += 1;
        self.totals.samples += 1;
        self.totals.bases += sample.bases;
        events.push(Event::EndSample(SampleEnd {
            name: sample.name,
            bases: sample.bases,
            digest: sample.summer.value(),
            batch_digest: self.batch.value(),
        }));
        Ok(())
    }

    /// New splitters in contigs that have none: k-mers single in their contig and not of the
    /// reference (`agc.md` §8.5).
    fn find_new_splitters(&mut self, asides: &[Aside]) -> Result<()> {
        let Some(adaptive) = &self.adaptive else { return Ok(()) };
        let long = |aside: &&Aside| aside.codes.len() >= adaptive.segment_size as usize;
        let mut found = false;
        for aside in asides.iter().filter(long) {
            let slots = aside.codes.len() as u64;
            let bytes = Counters::bytes_for(slots) + Chooser::bytes_for(adaptive.segment_size);
            let _held = self.lease.sibling(bytes)?;
            let mut counters = Counters::new(slots);
            counters.add_all(&mut KmerScanner::new(adaptive.kmer_length), &aside.codes);
            let mut chooser = Chooser::new(adaptive.kmer_length, adaptive.segment_size);
            let single = |kmer| counters.is_single(kmer) && !adaptive.known.may_hold(kmer);
            chooser.push(&aside.codes, single, &mut self.splitters);
            chooser.end(single, &mut self.splitters);
            found = true;
        }
        if found {
            self.splitters.build_filter();
        }
        Ok(())
    }
}

fn event_bytes(event: &Event) -> u64 {
    64 + match event {
        Event::Contig(header) => header.len() as u64,
        Event::Piece { piece, .. } => piece.codes.capacity() as u64,
        Event::EndSample(end) => end.name.len() as u64,
    }
}
