//! Writing a container front to back.

use crate::archive::RAW_GROUPS;
use crate::container::{Container, Part, read_exact, write_cint};
use crate::group_name::{GroupStream, write_group_stream};
use seqmill_base::sink::AtomicFile;
use seqmill_base::{Error, Result};
use serde::Serialize;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

/// Bytes copied at a time.
const COPY_BYTES: usize = 1 << 18;

/// A part that is ready to be written.
#[derive(Debug, Default)]
pub(crate) struct ReadyPart {
    pub(crate) metadata: u64,
    pub(crate) data: Vec<u8>,
}

/// A stream of the output; streams of groups come in pairs behind those with names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum StreamId {
    Named(usize),
    Delta(u32),
    Reference(u32),
}

/// Streams with names, in the order in which they are listed.
pub(crate) const NAMED: [&str; 8] = [
    "collection-samples",
    "collection-contigs",
    "collection-details",
    "params",
    "splitters",
    "segment-splitters",
    "file_type_info",
    crate::digests::STREAM,
];
pub(crate) const SAMPLES: StreamId = StreamId::Named(0);
pub(crate) const CONTIGS: StreamId = StreamId::Named(1);
pub(crate) const DETAILS: StreamId = StreamId::Named(2);
pub(crate) const PARAMS: StreamId = StreamId::Named(3);
pub(crate) const SPLITTERS: StreamId = StreamId::Named(4);
pub(crate) const SEGMENT_SPLITTERS: StreamId = StreamId::Named(5);
pub(crate) const FILE_TYPE_INFO: StreamId = StreamId::Named(6);
pub(crate) const DIGESTS: StreamId = StreamId::Named(7);

#[derive(Debug, Default)]
struct GroupParts {
    reference: Option<Part>,
    delta: Vec<Part>,
}

/// Bytes of an archive that hold one kind of thing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct StreamShare {
    /// What they hold.
    pub name: &'static str,
    /// How many there are.
    pub bytes: u64,
}

/// An archive that is being written; it appears under its name when it is complete.
pub(crate) struct Output {
    aside: AtomicFile,
    writer: BufWriter<std::fs::File>,
    path: PathBuf,
    at: u64,
    named: [Vec<Part>; NAMED.len()],
    groups: Vec<GroupParts>,
    /// Bytes of packs that were compressed here, before and after.
    deltas: (u64, u64),
}

impl Output {
    pub(crate) fn create(path: &Path, force: bool) -> Result<Self> {
        let aside = AtomicFile::create(path, force)?;
        let file = aside.file().try_clone().map_err(|e| Error::io(path, &e))?;
        let mut groups = Vec::new();
        groups.resize_with(RAW_GROUPS as usize, GroupParts::default);
        Ok(Self {
            aside,
            writer: BufWriter::with_capacity(COPY_BYTES, file),
            path: path.to_path_buf(),
            at: 0,
            named: Default::default(),
            groups,
            deltas: (0, 0),
        })
    }

    /// Groups up to this number exist.
    pub(crate) fn register_groups(&mut self, count: u32) {
        if self.groups.len() < count as usize {
            self.groups.resize_with(count as usize, GroupParts::default);
        }
    }

    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.writer.write_all(bytes).map_err(|e| Error::io(&self.path, &e))?;
        self.at += bytes.len() as u64;
        Ok(())
    }

    fn list(&mut self, stream: StreamId, part: Part) -> Result<()> {
        match stream {
            StreamId::Named(i) => {
                let parts = self.named.get_mut(i);
                parts.ok_or_else(|| Error::internal("no such stream"))?.push(part);
            }
            StreamId::Delta(group) => {
                self.register_groups(group + 1);
                if let Some(parts) = self.groups.get_mut(group as usize) {
                    parts.delta.push(part);
                }
            }
            StreamId::Reference(group) => {
                self.register_groups(group + 1);
                if let Some(parts) = self.groups.get_mut(group as usize) {
                    parts.reference = Some(part);
                }
            }
        }
        Ok(())
    }

    /// Appends a part to a stream.
    pub(crate) fn part(&mut self, stream: StreamId, part: &ReadyPart) -> Result<()> {
        let listed = Part { offset: self.at, size: part.data.len() as u64 };
        let mut head = Vec::with_capacity(9);
        write_cint(part.metadata, &mut head);
        self.write(&head)?;
        self.write(&part.data)?;
        if matches!(stream, StreamId::Delta(_)) {
            let raw = if part.metadata > 0 { part.metadata } else { listed.size };
            self.deltas = (self.deltas.0 + raw, self.deltas.1 + listed.size);
        }
        self.list(stream, listed)
    }

    /// To which part packs were compressed, of a million.
    pub(crate) fn delta_ppm(&self) -> u64 {
        (1_000_000 * self.deltas.1).checked_div(self.deltas.0).unwrap_or(0)
    }

    /// Copies a part of another archive as it is.
    pub(crate) fn copy(&mut self, from: &Container, part: Part, stream: StreamId) -> Result<()> {
        let (metadata, mut at) = from.read_head(part)?;
        let listed = Part { offset: self.at, size: part.size };
        let mut head = Vec::with_capacity(9);
        write_cint(metadata, &mut head);
        self.write(&head)?;
        let end = at + part.size;
        let mut buffer = vec![0; COPY_BYTES.min(usize::try_from(part.size).unwrap_or(COPY_BYTES))];
        while at < end && !buffer.is_empty() {
            let size = buffer.len().min(usize::try_from(end - at).unwrap_or(usize::MAX));
            let piece = buffer.get_mut(..size).unwrap_or_default();
            read_exact(from.source().as_ref(), piece, at)?;
            self.write(piece)?;
            at += size as u64;
        }
        self.list(stream, listed)
    }

    /// Bytes by what they hold, all but the footer; numbers before parts count with it.
    fn shares(&self) -> Vec<StreamShare> {
        let sum = |parts: &[Part]| parts.iter().map(|part| part.size).sum::<u64>();
        let named = |stream: StreamId| match stream {
            StreamId::Named(i) => self.named.get(i).map_or(0, |parts| sum(parts)),
            _ => 0,
        };
        let groups = |of: fn(&GroupParts) -> &[Part]| self.groups.iter().map(|g| sum(of(g))).sum();
        let share = |name, bytes| StreamShare { name, bytes };
        vec![
            share("references", groups(|g| g.reference.as_slice())),
            share("deltas", groups(|g| &g.delta)),
            share("names", named(SAMPLES) + named(CONTIGS)),
            share("descriptions", named(DETAILS)),
            share("splitters", named(SPLITTERS) + named(SEGMENT_SPLITTERS)),
            share("digests", named(DIGESTS)),
        ]
    }

    /// Writes the footer and gives the file its name; gives the bytes by what they hold.
    pub(crate) fn finish(mut self) -> Result<Vec<StreamShare>> {
        let mut shares = self.shares();
        let streams = NAMED
            .iter()
            .zip(&self.named)
            .filter(|(name, parts)| !parts.is_empty() || **name != crate::digests::STREAM);
        let count = streams.clone().count() as u64
            + self
                .groups
                .iter()
                .enumerate()
                .map(|(i, _)| if i < RAW_GROUPS as usize { 1 } else { 2 })
                .sum::<u64>();
        let mut footer = Vec::new();
        write_cint(count, &mut footer);
        for (name, parts) in streams {
            write_stream(name.as_bytes(), parts, &mut footer);
        }
        let mut name = Vec::new();
        let groups = std::mem::take(&mut self.groups);
        let mut length = 0;
        for (i, group) in groups.iter().enumerate() {
            let id = u32::try_from(i).unwrap_or(u32::MAX);
            // The raw groups must have no stream of references, not even an empty one.
            if id >= RAW_GROUPS {
                name.clear();
                write_group_stream(GroupStream { id, reference: true }, &mut name);
                write_stream(&name, group.reference.as_slice(), &mut footer);
            }
            name.clear();
            write_group_stream(GroupStream { id, reference: false }, &mut name);
            write_stream(&name, &group.delta, &mut footer);
            if footer.len() > COPY_BYTES {
                length += footer.len() as u64;
                self.write(&footer)?;
                footer.clear();
            }
        }
        length += footer.len() as u64;
        footer.extend(length.to_le_bytes());
        self.write(&footer)?;
        self.writer.flush().map_err(|e| Error::io(&self.path, &e))?;
        let held: u64 = shares.iter().map(|share| share.bytes).sum();
        shares.push(StreamShare { name: "footer", bytes: self.at.saturating_sub(held) });
        drop(self.writer);
        self.aside.commit()?;
        Ok(shares)
    }
}

fn write_stream(name: &[u8], parts: &[Part], footer: &mut Vec<u8>) {
    footer.extend_from_slice(name);
    footer.push(0);
    write_cint(parts.len() as u64, footer);
    write_cint(0, footer);
    for part in parts {
        write_cint(part.offset, footer);
        write_cint(part.size, footer);
    }
}
