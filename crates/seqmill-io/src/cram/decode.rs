//! From a container to BAM records.

use super::container::RawContainer;
use super::encode::{RecordWriter, Reference};
use super::guard::{ContainerFacts, SliceFacts};
use super::reference::ReferenceStore;
use super::rewrite::{RecordReferences, rewritten};
use noodles_cram as cram;
use noodles_sam as sam;
use noodles_sam::header::record::value::Map;
use noodles_sam::header::record::value::map::ReferenceSequence;
use seqmill_base::{Error, FormatKind, Lease, Result};
use std::borrow::Cow;
use std::cell::Cell;
use std::num::NonZero;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Once};

/// Decodes containers of one file; may be used by several threads.
pub struct CramDecoder {
    header: sam::Header,
    references: Arc<ReferenceStore>,
}

/// The records of a container as BAM.
pub struct Decoded {
    /// Records with their `block_size`.
    pub data: Vec<u8>,
    /// Where each begins.
    pub starts: Vec<u32>,
    /// Holds them.
    pub lease: Lease,
}

/// Bases added to an embedded reference that is too short.
const PADDING_BYTES: usize = 16 << 20;

thread_local! {
    static QUIET: Cell<bool> = const { Cell::new(false) };
}

/// Runs code of noodles, which panics on some damage: a panic becomes `None` and is not printed.
fn fenced<T>(work: impl FnOnce() -> T) -> Option<T> {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            if !QUIET.get() {
                before(info);
            }
        }));
    });
    QUIET.set(true);
    let result = catch_unwind(AssertUnwindSafe(work)).ok();
    QUIET.set(false);
    result
}

impl CramDecoder {
    /// A decoder of a file with this header text.
    pub fn new(header: &crate::bam::Header, references: Arc<ReferenceStore>) -> Self {
        let mut builder = sam::Header::builder();
        for reference in &header.references {
            let length = usize::try_from(reference.length).ok().and_then(NonZero::new);
            let map = Map::<ReferenceSequence>::new(length.unwrap_or(NonZero::<usize>::MIN));
            builder = builder.add_reference_sequence(reference.name.as_str(), map);
        }
        for line in header.text.lines().filter(|line| line.starts_with("@RG\t")) {
            if let Some(id) = line.split('\t').find_map(|field| field.strip_prefix("ID:")) {
                builder = builder.add_read_group(id, Map::default());
            }
        }
        Self { header: builder.build(), references }
    }

    /// Where references are kept: `lease` tells the account they are charged to.
    pub fn charge_references_to(&self, lease: Lease) {
        self.references.charge_to(lease);
    }

    /// Decodes all records of a container.
    pub fn decode(&self, container: &RawContainer, lease: Lease) -> Result<Decoded> {
        let facts = ContainerFacts::of(container)?;
        let out = Decoded { data: Vec::new(), starts: Vec::new(), lease };
        let mut work = Work { decoder: self, container, facts: &facts, out, padding: 0 };
        let mut result = fenced(|| work.run());
        if result.is_none() && facts.slices.iter().any(|slice| slice.embedded.is_some()) {
            work.out.data.clear();
            work.out.starts.clear();
            work.padding = PADDING_BYTES;
            result = fenced(|| work.run());
        }
        match result {
            Some(Ok(())) => {}
            Some(Err(error)) => return Err(error.at_offset(container.offset)),
            None => return Err(work.damaged("its parts contradict each other")),
        }
        let mut decoded = work.out;
        let held = decoded.data.capacity() + 4 * decoded.starts.capacity();
        decoded.lease.resize(held as u64 + 8 * decoded.starts.len() as u64)?;
        Ok(decoded)
    }
}

struct Work<'w> {
    decoder: &'w CramDecoder,
    container: &'w RawContainer,
    facts: &'w ContainerFacts,
    out: Decoded,
    /// Bases added to embedded references.
    padding: usize,
}

impl Work<'_> {
    fn damaged(&self, what: &str) -> Error {
        let offset = self.container.offset;
        let text = format!("the CRAM container at byte {offset} is damaged: {what}");
        Error::format(FormatKind::Other, text).at_offset(offset)
    }

    fn explain(&self, error: &std::io::Error) -> Error {
        if let Some(error) = self.decoder.references.take_failure() {
            return error;
        }
        let text = error.to_string();
        let offset = self.container.offset;
        if text.contains("reference sequence checksum mismatch") {
            let text = format!(
                "the reference is not the one that the CRAM container at byte {offset} was made with: \
                 its MD5 differs"
            );
            return Error::format(FormatKind::SequenceReference, text).at_offset(offset);
        }
        self.damaged(&text)
    }

    fn hold(&mut self, more: u64) -> Result<()> {
        let own = self.out.data.capacity() + 12 * self.out.starts.capacity();
        // noodles has a copy of the container, and it may be a changed one.
        let bytes = own as u64 + 2 * self.container.bytes.len() as u64 + more;
        self.out.lease.resize(bytes).map_err(|e| {
            let text = format!(
                "the CRAM container at byte {} does not fit: {}",
                self.container.offset,
                e.message()
            );
            Error::budget(text, e.needed().unwrap_or(0))
        })
    }

    fn run(&mut self) -> Result<()> {
        self.hold(0)?;
        let (changed, one_reference) = match rewritten(self.container, self.facts) {
            Some((bytes, one_reference)) => (Some(bytes), one_reference),
            None => (None, false),
        };
        let bytes = changed.as_deref().unwrap_or(&self.container.bytes);
        let mut reader = cram::io::Reader::new(bytes);
        let mut copy = cram::io::reader::Container::default();
        reader.read_container(&mut copy).map_err(|e| self.explain(&e))?;
        let compression = copy.compression_header().map_err(|e| self.explain(&e))?;
        for (slice, facts) in copy.slices().zip(&self.facts.slices) {
            let slice = slice.map_err(|e| self.explain(&e))?;
            self.hold(facts.raw_bytes + facts.scratch_bytes + self.padding as u64)?;
            let (core, mut external) = slice.decode_blocks().map_err(|e| self.explain(&e))?;
            pad_reference(facts, &mut external, self.padding);
            let records = facts.records as u64;
            let encodings = &self.facts.encodings;
            let Some((bytes, bases)) = encodings.slice_bytes(records, &external) else {
                return Err(self.damaged("read lengths are encoded in a way that cannot be read"));
            };
            // Records, then their text: names and tags are in the blocks.
            let text = 2 * facts.raw_bytes + 2 * bases + 64 * records + self.padding as u64;
            self.hold(facts.raw_bytes.saturating_add(bytes).saturating_add(text))?;
            let references = &self.decoder.references;
            let repository = if self.facts.external_reference {
                references.repository()
            } else {
                references.let_go();
                references.stand_ins()
            };
            let header = &self.decoder.header;
            if self.facts.external_reference
                && let Ok(id) = usize::try_from(facts.reference)
                && let Some((name, _)) = header.reference_sequences().get_index(id)
            {
                references.prepare(name)?;
            }
            let decoded = slice
                .records(repository.clone(), header, &compression, &core, &external)
                .map_err(|e| self.explain(&e))?;
            let embedded = embedded_reference(facts, &external);
            let mut found = None;
            if one_reference && facts.reference == -2 {
                found = RecordReferences::of(encodings, &external, facts);
                if found.is_none() {
                    return Err(self.damaged("references and mates contradict each other"));
                }
            }
            let mut writer = RecordWriter {
                header,
                flags: encodings.flags(&external, facts.records),
                references: found,
                // Of records without a reference noodles takes the first position for a whole one.
                first_position: match facts.reference {
                    -1 if self.facts.deltas => facts.start.max(0),
                    _ => 0,
                },
                most: text.saturating_add(self.out.data.len() as u64),
            };
            for (number, record) in decoded.iter().enumerate() {
                let reference = if let Some((bases, start)) = embedded {
                    Reference::Part(bases, start)
                } else if self.facts.external_reference {
                    self.whole_reference(record, facts.reference == -2)?
                } else {
                    Reference::None
                };
                let start = u32::try_from(self.out.data.len())
                    .map_err(|_| self.damaged("it holds more than 4 GiB"))?;
                writer
                    .write(record, number, &reference, &mut self.out.data)
                    .map_err(|e| self.explain(&e))?;
                self.out.starts.push(start);
            }
        }
        Ok(())
    }

    fn whole_reference(
        &self,
        record: &cram::Record<'_>,
        verify: bool,
    ) -> Result<Reference<'static>> {
        use noodles_sam::alignment::Record as _;
        if record.flags().is_ok_and(sam::alignment::record::Flags::is_unmapped) {
            return Ok(Reference::None);
        }
        let header = &self.decoder.header;
        let Some(Ok((name, _))) = record.reference_sequence(header) else {
            return Ok(Reference::None);
        };
        let sequence = self.decoder.references.prepare(name)?;
        if verify {
            self.decoder.references.verify(name, &sequence)?;
        }
        Ok(Reference::Whole(sequence))
    }
}

/// Bases of the embedded reference and the position of the first one, 1-based.
fn embedded_reference<'e>(
    facts: &SliceFacts,
    external: &'e [(i32, Cow<'_, [u8]>)],
) -> Option<(&'e [u8], usize)> {
    let id = facts.embedded?;
    let (_, bases) = external.iter().find(|(own, _)| *own == id)?;
    Some((bases.as_ref(), usize::try_from(facts.start).ok()?))
}

/// Appends N to an embedded reference: some writers end it before the records do, where all bases
/// are in the records; noodles takes none of it but wants it to be there.
fn pad_reference(facts: &SliceFacts, external: &mut [(i32, Cow<'_, [u8]>)], padding: usize) {
    let found = external.iter_mut().find(|(own, _)| Some(*own) == facts.embedded);
    if let Some((_, bases)) = found.filter(|_| padding > 0) {
        let length = bases.len() + padding;
        bases.to_mut().resize(length, b'N');
    }
}
