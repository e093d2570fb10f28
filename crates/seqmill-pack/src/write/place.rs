//! Behind the source: pieces of contigs find their groups, one after the other.

use super::compress::Packer;
use super::describe::SampleEnd;
use super::feed::{Cut, Event};
use super::groups::{Groups, Placed, Target};
use super::segments::Piece;
use seqmill_base::{Job, Lease, Result};

/// Bytes that finding the group of a segment takes for each of its bases, at most.
const PLACE_FACTOR: u64 = 6;

/// What the writer gets to know, in order.
pub(crate) enum PlacedEvent {
    Contig(Vec<u8>),
    Segment { contig: u32, placed: Placed },
    EndSample(SampleEnd),
}

/// Some events.
pub(crate) struct Task {
    pub(crate) events: Vec<PlacedEvent>,
    pub(crate) bytes: u64,
    /// Bytes that coding the largest segment takes besides its text: the reference and tokens.
    pub(crate) scratch: u64,
    _lease: Lease,
}

/// Knows the groups, and makes new ones.
pub(crate) struct Placer {
    pub(crate) groups: Groups,
    pub(crate) segments: u64,
    placed: Vec<Placed>,
    lease: Lease,
    job: Job,
}

impl Placer {
    /// `lease` is of the account that pays for what finding a group takes.
    pub(crate) fn new(groups: Groups, lease: Lease, job: &Job) -> Self {
        Self { groups, segments: 0, placed: Vec::new(), lease, job: job.clone() }
    }

    /// Finds the groups of all pieces.
    pub(crate) fn task(&mut self, cut: Cut) -> Result<Task> {
        let Cut { events: found, mut lease, .. } = cut;
        let mut events = Vec::with_capacity(found.len());
        let mut bytes = 0;
        for event in found {
            let before = events.len();
            match event {
                Event::Contig(header) => events.push(PlacedEvent::Contig(header)),
                Event::Piece { contig, piece } => self.place(contig, piece, &mut events)?,
                Event::EndSample(end) => {
                    self.groups.end_sample();
                    events.push(PlacedEvent::EndSample(end));
                }
            }
            let fresh = events.get(before..).unwrap_or_default();
            bytes += fresh.iter().map(event_bytes).sum::<u64>();
            if bytes > lease.bytes() {
                lease.resize(bytes)?;
            }
        }
        lease.resize(bytes)?;
        let scratch = events.iter().map(event_scratch).max().unwrap_or(0);
        Ok(Task { events, bytes, scratch, _lease: lease })
    }

    fn place(&mut self, contig: u32, piece: Piece, events: &mut Vec<PlacedEvent>) -> Result<()> {
        self.job.cancel.check()?;
        // The other strand, a reference of about its length, tokens and costs, on both sides.
        let _scratch = self.lease.sibling(PLACE_FACTOR * piece.codes.len() as u64)?;
        self.groups.place(piece, &mut self.placed)?;
        self.segments += self.placed.len() as u64;
        let placed = self.placed.drain(..);
        events.extend(placed.map(|placed| PlacedEvent::Segment { contig, placed }));
        Ok(())
    }
}

fn event_scratch(event: &PlacedEvent) -> u64 {
    let PlacedEvent::Segment { placed, .. } = event else { return 0 };
    let text = placed.codes.len() as u64;
    match &placed.target {
        Target::Known { reference, .. } => reference.len() as u64 + text,
        // The tuples, and the tables of the compressor.
        Target::New(_) => Packer::bytes_for(text / 4),
        Target::Raw(_) => 0,
    }
}

fn event_bytes(event: &PlacedEvent) -> u64 {
    64 + match event {
        PlacedEvent::Contig(header) => header.len() as u64,
        PlacedEvent::Segment { placed, .. } => {
            let coded = match &placed.target {
                Target::Known { coded, .. } => coded.as_ref().map_or(0, Vec::capacity),
                _ => 0,
            };
            (placed.codes.capacity() + coded) as u64
        }
        PlacedEvent::EndSample(end) => end.name.len() as u64,
    }
}
