//! Opening: version, parameters, names of samples.

use super::{Archive, Memory, Process};
use crate::collection::{
    OldCollection, SampleNames, read_sample_names, read_version_1, read_version_2,
};
use crate::container::{Container, PartData, too_large};
use crate::delta::Grammar;
use crate::frame::Inflater;
use crate::vint::Reader;
use seqmill_base::{Error, FormatKind, Result};
use seqmill_io::{IoMode, Source, open_source};
use std::path::Path;
use std::sync::Arc;

/// First version that is not known.
const VERSION_END: u32 = 4000;
const VERSION_2: u32 = 2000;
const VERSION_3: u32 = 3000;
/// Longest k-mer: its code has 64 bits.
const KMER_LENGTH_MAX: u32 = 32;
/// Names of old archives grow by so much when they are laid out, at most.
const OLD_FACTOR: u64 = 12;

/// The sizes an archive was made with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Parameters {
    /// k: length of the k-mers at which contigs are cut.
    pub kmer_length: u32,
    /// L: shortest match of the delta code.
    pub min_match: u32,
    /// B: samples of a batch, entries of a pack.
    pub pack_size: u32,
    /// S: length that segments have at least; version 1 does not say it.
    pub segment_size: Option<u32>,
}

fn wrong(what: impl Into<String>) -> Error {
    Error::format(FormatKind::Other, what)
}

/// The streams that an archive has once, read whole.
struct Parts<'c> {
    container: &'c Container,
    limit: u64,
    inflater: Inflater,
}

impl Parts<'_> {
    fn stream(&self, name: &str) -> Result<u32> {
        self.container.find(name).ok_or_else(|| wrong(format!("there is no stream {name}")))
    }

    fn first(&self, name: &str) -> Result<PartData> {
        let part = self.container.parts(self.stream(name)?).first();
        let part = part.ok_or_else(|| wrong(format!("stream {name} is empty")))?;
        self.container.read(*part, self.limit)
    }

    /// The content of a part that is one frame of a stated length.
    fn inflate(&mut self, data: &PartData, name: &str) -> Result<Vec<u8>> {
        if data.metadata > self.limit {
            return Err(too_large(data.metadata));
        }
        let content = self.inflater.inflate(data.bytes(), data.metadata);
        content.map_err(|e| e.within(&format!("stream {name}")))
    }

    fn inflate_first(&mut self, name: &str) -> Result<Vec<u8>> {
        let data = self.first(name)?;
        self.inflate(&data, name)
    }
}

/// `key 00 value 00` repeated.
fn read_facts(data: &PartData) -> Result<Vec<(String, String)>> {
    let mut fields = data.bytes().split(|&b| b == 0);
    let mut facts = Vec::new();
    while let Some(key) = fields.next() {
        let Some(value) = fields.next() else {
            if key.is_empty() {
                break;
            }
            return Err(wrong("stream file_type_info is cut short"));
        };
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        facts.push((text(key), text(value)));
    }
    Ok(facts)
}

fn read_version(facts: &[(String, String)]) -> Result<u32> {
    let number = |key: &str| -> Result<u32> {
        let value = facts.iter().find(|(k, _)| k == key).map(|(_, v)| v.as_str());
        let value = value.ok_or_else(|| wrong(format!("the archive does not say {key}")))?;
        value.trim().parse().map_err(|_| wrong(format!("{key} is {value:?}, not a number")))
    };
    let version = number("file_version_major")?
        .checked_mul(1000)
        .and_then(|major| major.checked_add(number("file_version_minor").ok()?))
        .ok_or_else(|| wrong("the file version is beyond 32 bits"))?;
    if version >= VERSION_END {
        let what = format!(
            "file version {}.{} is newer than those that are known (1 to 3)",
            version / 1000,
            version % 1000
        );
        return Err(wrong(what));
    }
    if version < 1000 {
        return Err(wrong("file version 0 does not exist"));
    }
    Ok(version)
}

fn read_parameters(data: &PartData, version: u32) -> Result<Parameters> {
    let mut numbers = data.bytes().as_chunks::<4>().0.iter().map(|b| u32::from_le_bytes(*b));
    let mut next = || numbers.next().ok_or_else(|| wrong("stream params is cut short"));
    let parameters = Parameters {
        kmer_length: next()?,
        min_match: next()?,
        pack_size: next()?,
        segment_size: if version >= VERSION_2 { Some(next()?) } else { None },
    };
    if !(1..=KMER_LENGTH_MAX).contains(&parameters.kmer_length) {
        return Err(wrong(format!("a k-mer length of {} is not possible", parameters.kmer_length)));
    }
    if parameters.pack_size == 0 {
        return Err(wrong("packs of 0 entries are not possible"));
    }
    Ok(parameters)
}

impl Archive {
    /// Opens an archive.
    ///
    /// # Errors
    ///
    /// `Format` for a file that is no archive or a damaged one, `Budget` if its tables do not fit
    /// into the memory.
    pub fn open(path: &Path, memory: Memory) -> Result<Self> {
        Self::open_source(open_source(path, IoMode::Read)?, memory)
    }

    /// Opens the same file once more, also if another one has its name by now.
    ///
    /// # Errors
    ///
    /// As [`Archive::open`].
    pub fn open_again(&self, memory: Memory) -> Result<Self> {
        Self::open_source(Arc::clone(self.container.source()), memory)
    }

    /// Opens an archive of bytes that can be read anywhere.
    pub fn open_source(source: Arc<dyn Source>, memory: Memory) -> Result<Self> {
        let container = Container::open(source, memory.tables())?;
        let path = container.path().to_path_buf();
        Self::open_container(container, memory).map_err(|e| e.at_path(&path))
    }

    fn open_container(container: Container, memory: Memory) -> Result<Self> {
        let limit = memory.item();
        let mut parts = Parts { container: &container, limit, inflater: Inflater::new()? };
        if container.find("file_type_info").is_none() {
            return Err(wrong("not an AGC archive: there is no stream file_type_info"));
        }
        let facts = read_facts(&parts.first("file_type_info")?)?;
        let version = read_version(&facts)?;
        let parameters = read_parameters(&parts.first("params")?, version)?;
        let mut names = SampleNames::default();
        let (mut old, mut streams, mut commands) = (None, (0, 0), Vec::new());
        if version >= VERSION_3 {
            streams = (parts.stream("collection-contigs")?, parts.stream("collection-details")?);
            names = read_sample_names(&parts.inflate_first("collection-samples")?)?;
            check_batches(&mut parts, streams, names.len(), parameters.pack_size)?;
        } else {
            let collection = read_old(&mut parts, version)?;
            names = std::iter::once(collection.names).next().unwrap_or(names);
            old = Some(Arc::new(collection.batch));
            commands = collection.commands;
        }
        drop(parts);
        let grammar = Grammar { match_least: parameters.min_match, extended: version >= VERSION_2 };
        let process = Process::new(memory.cache);
        Ok(Self {
            container,
            version,
            parameters,
            grammar,
            facts,
            commands,
            names,
            old,
            streams,
            memory,
            process,
        })
    }

    /// Bytes that the open archive holds for itself.
    pub fn table_bytes(&self) -> u64 {
        let old = self.old.as_ref().map_or(0, |batch| batch.bytes());
        self.container.table_bytes() + self.names.bytes() + old
    }
}

/// There must be a part of names and one of descriptions for each batch. Where records are samples
/// and fill the last batch, the reference program adds one whose samples have no contigs.
fn check_batches(
    parts: &mut Parts<'_>,
    streams: (u32, u32),
    samples: usize,
    pack_size: u32,
) -> Result<()> {
    let batches = samples.div_ceil(pack_size as usize);
    for (stream, name) in [(streams.0, "collection-contigs"), (streams.1, "collection-details")] {
        let found = parts.container.parts(stream).len();
        if found != batches && found != batches + 1 {
            return Err(wrong(format!(
                "stream {name} has {found} parts where {samples} samples make {batches}"
            )));
        }
    }
    let Some(part) = parts.container.parts(streams.0).get(batches).copied() else { return Ok(()) };
    let data = parts.container.read(part, parts.limit)?;
    let raw = parts.inflate(&data, "collection-contigs")?;
    let mut counts = Reader::new(&raw, "stream collection-contigs");
    // How many samples it has does not matter: none of them is named.
    counts.vint()?;
    if counts.rest().iter().any(|&contigs| contigs != 0) {
        return Err(wrong(format!("there are contigs of more than the {samples} samples")));
    }
    Ok(())
}

fn read_old(parts: &mut Parts<'_>, version: u32) -> Result<OldCollection> {
    parts.limit /= OLD_FACTOR;
    if version < VERSION_2 {
        return read_version_1(&parts.inflate_first("collection-desc")?);
    }
    let main = parts.inflate_first("collection-main")?;
    let stream = parts.stream("collection-details")?;
    read_version_2(&main, |i| {
        let part = parts.container.parts(stream).get(i).copied();
        let part = part.ok_or_else(|| wrong("stream collection-details has too few parts"))?;
        let data = parts.container.read(part, parts.limit)?;
        parts.inflate(&data, "collection-details")
    })
}
