//! Containers written in another way than noodles reads them.
//!
//! Of slices of several references whose bases are all in the file noodles asks for the reference of
//! every record, though it takes nothing from it: for a human genome that would be hundreds of MiB
//! of stand-ins. Such a slice is shown to it as one of a single reference, and the references of its
//! records are read here.

use super::container::{Block, RawContainer};
use super::encodings::{Encodings, External};
use super::guard::{ContainerFacts, PACKED, SliceFacts, mispacked_head};
use super::number::Bytes;
use libdeflater::crc32;

/// The number that says "several references", and 0 in as many bytes.
const SEVERAL: [u8; 5] = [0xff, 0xff, 0xff, 0xff, 0x0e];
const FIRST: [u8; 5] = [0xf0, 0, 0, 0, 0];
/// CRAM flag: the mate comes later in the slice (`CRAMv3 §10.2`).
const MATE_BEHIND: i32 = 0x4;
const DETACHED: i32 = 0x2;

/// References of the records of a slice, and of their mates where those are in the slice.
#[derive(Debug, Default)]
pub(super) struct RecordReferences {
    own: Vec<i32>,
    mates: Vec<Option<i32>>,
}

impl RecordReferences {
    /// Reads the references of all records; `None` if the values contradict each other.
    pub(super) fn of(
        encodings: &Encodings,
        external: &External<'_>,
        facts: &SliceFacts,
    ) -> Option<Self> {
        let count = facts.records;
        let own = encodings.values(*b"RI", external, count)?;
        let flags = encodings.values(*b"CF", external, count)?;
        let behind = |flags: &i32| flags & MATE_BEHIND != 0 && flags & DETACHED == 0;
        let pairs = flags.iter().filter(|f| behind(f)).count();
        let distances =
            if pairs > 0 { encodings.values(*b"NF", external, pairs)? } else { Vec::new() };
        let mut distances = distances.into_iter();
        let mut next = vec![None; count];
        let mut is_first = vec![true; count];
        for (number, flags) in flags.iter().enumerate() {
            if behind(flags) {
                let distance = usize::try_from(distances.next()?).ok()?;
                let mate = number.checked_add(distance)?.checked_add(1)?;
                *is_first.get_mut(mate)? = false;
                *next.get_mut(number)? = Some(mate);
            }
        }
        let mut mates = vec![None; count];
        for first in 0..count {
            if !*is_first.get(first)? || next.get(first)?.is_none() {
                continue;
            }
            // Mates come later, so the chain ends; its last record points to its first.
            let mut at = first;
            while let Some(mate) = *next.get(at)? {
                *mates.get_mut(at)? = Some(*own.get(mate)?);
                at = mate;
            }
            *mates.get_mut(at)? = Some(*own.get(first)?);
        }
        Some(Self { own, mates })
    }

    /// Reference of a record.
    pub(super) fn own(&self, number: usize) -> Option<i32> {
        self.own.get(number).copied()
    }

    /// Reference of a record's mate, if that is in the slice.
    pub(super) fn mate(&self, number: usize) -> Option<i32> {
        self.mates.get(number).copied().flatten()
    }
}

/// The container in the form in which noodles reads it, where that is another one, and whether its
/// slices of several references are shown as slices of one.
pub(super) fn rewritten(
    container: &RawContainer,
    facts: &ContainerFacts,
) -> Option<(Vec<u8>, bool)> {
    let one_reference = can_be_one_reference(facts);
    if !one_reference && !facts.mispacked {
        return None;
    }
    let mut bytes = container.bytes.clone();
    if facts.mispacked {
        repair_packing(&mut bytes, container.header_bytes)?;
    }
    if one_reference {
        for (landmark, slice) in container.landmarks.iter().zip(&facts.slices) {
            if slice.reference == -2 {
                patch(&mut bytes, container.header_bytes + landmark)?;
            }
        }
    }
    Some((bytes, one_reference))
}

/// Whether all can be read that noodles would not find out then.
fn can_be_one_reference(facts: &ContainerFacts) -> bool {
    let needed = facts.slices.iter().any(|slice| slice.reference == -2);
    let own_bases = !facts.external_reference && facts.slices.iter().all(|s| s.embedded.is_none());
    let told = [*b"RI", *b"CF", *b"NF"].iter().all(|name| facts.encodings.are_told(*name));
    needed && own_bases && told && !facts.deltas
}

/// Writes another reference into the slice header at `at`: same length, new checksum.
fn patch(bytes: &mut [u8], at: usize) -> Option<()> {
    let mut rest = Bytes(bytes.get(at..)?);
    let before = rest.0.len();
    let block = Block::read(&mut rest, 0).ok()?;
    let covered = before - rest.0.len() - 4;
    let data = at + covered - block.data.len();
    if block.method != 0 {
        return None;
    }
    // Start and span of several references are 0; one reference has a place.
    let fields = bytes.get_mut(data..data + 7)?;
    let (reference, place) = fields.split_at_mut(5);
    if reference != SEVERAL || place != [0, 0] {
        return None;
    }
    reference.copy_from_slice(&FIRST);
    place.copy_from_slice(&[1, 1]);
    seal(bytes, at, covered)
}

/// Writes the checksum of the block that takes `covered` bytes from `at` on.
fn seal(bytes: &mut [u8], at: usize, covered: usize) -> Option<()> {
    let sum = crc32(bytes.get(at..at + covered)?).to_le_bytes();
    bytes.get_mut(at + covered..at + covered + 4)?.copy_from_slice(&sum);
    Some(())
}

/// htscodecs before 1.4 marks data of 256 symbols as packed, in a way that means "as they are"
/// (htscodecs issue 65), which noodles refuses: the mark is taken away. What the stream gets
/// shorter by is filled with zeros at its end, which no decoder reads.
fn repair_packing(bytes: &mut [u8], begin: usize) -> Option<()> {
    let mut at = begin;
    while at < bytes.len() {
        let mut rest = Bytes(bytes.get(at..)?);
        let before = rest.0.len();
        let block = Block::read(&mut rest, 0).ok()?;
        let (whole, length) = (before - rest.0.len(), block.data.len());
        let covered = whole - 4;
        if let Some(head) = mispacked_head(&block) {
            let data = at + covered - length;
            let stream = bytes.get_mut(data..data + length)?;
            *stream.first_mut()? &= !PACKED;
            stream.copy_within(head.mark_end.., head.mark_begin);
            let end = length - (head.mark_end - head.mark_begin);
            stream.get_mut(end..)?.fill(0);
            seal(bytes, at, covered)?;
        }
        at += whole;
    }
    Some(())
}
