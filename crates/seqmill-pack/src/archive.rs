//! An open archive: what it holds, and sequence by range.

mod content;
mod open;
mod sample;

pub(crate) use content::SEPARATOR;
pub use open::Parameters;
pub use sample::{ContigView, Sample};

use crate::batch::Batch;
use crate::cache::Cache;
use crate::collection::SampleNames;
use crate::container::Container;
use crate::delta::Grammar;
use crate::frame::Inflater;
use seqmill_base::{Error, Result};
use seqmill_io::region::distance;
use std::path::Path;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

/// The part of the memory that one item (a part and its content) may take.
pub(crate) const ITEM_SHARE: u64 = 4;
/// The part of the memory that the tables of the footer may take.
const TABLE_SHARE: u64 = 2;
/// The part of the memory that is kept between reads.
const CACHE_SHARE: u64 = 4;
/// More than this is not kept unless asked for: beyond it neighbours in a genome rarely meet.
pub const CACHE_USEFUL_BYTES: u64 = 16 << 20;
/// Names that are compared to find those that resemble one.
const COMPARED_NAMES: usize = 10_000;

/// Groups below this have no reference: their entries are plain symbols.
pub(crate) const RAW_GROUPS: u32 = 16;

/// How much memory an open archive may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Memory {
    /// Everything: tables, what is kept, what is being decoded.
    pub bytes: u64,
    /// What is kept between reads.
    pub cache: u64,
}

impl Memory {
    /// The usual split of so many bytes.
    pub fn of(bytes: u64) -> Self {
        Self { bytes, cache: (bytes / CACHE_SHARE).min(CACHE_USEFUL_BYTES) }
    }

    /// Bytes that one part or its content may have.
    pub(crate) fn item(self) -> u64 {
        self.bytes / ITEM_SHARE
    }

    pub(crate) fn tables(self) -> u64 {
        self.bytes / TABLE_SHARE
    }
}

/// What one process holds: a child that was forked starts with its own, so that no lock of a
/// thread that is gone is ever waited for.
struct Process {
    pid: u32,
    cache: Mutex<Cache>,
    inflaters: Mutex<Vec<Inflater>>,
    child: OnceLock<Box<Process>>,
}

impl Process {
    fn new(cache: u64) -> Self {
        Self {
            pid: std::process::id(),
            cache: Mutex::new(Cache::new(cache)),
            inflaters: Mutex::default(),
            child: OnceLock::new(),
        }
    }
}

/// A genome collection of any version, open for reading by several threads.
pub struct Archive {
    container: Container,
    version: u32,
    parameters: Parameters,
    grammar: Grammar,
    facts: Vec<(String, String)>,
    commands: Vec<String>,
    names: SampleNames,
    /// Everything there is, of versions 1 and 2.
    old: Option<Arc<Batch>>,
    /// Streams of contig names and of descriptions, of version 3.
    streams: (u32, u32),
    memory: Memory,
    process: Process,
}

impl Archive {
    /// The file, as the user named it.
    pub fn path(&self) -> &Path {
        self.container.path()
    }

    /// Version of the file: major times 1000 plus minor.
    pub fn version(&self) -> u32 {
        self.version
    }

    /// k-mer length and the other sizes.
    pub fn parameters(&self) -> Parameters {
        self.parameters
    }

    /// What the archive says of itself, as pairs.
    pub fn facts(&self) -> &[(String, String)] {
        &self.facts
    }

    /// Command lines that made it (versions 1 and 2).
    pub fn commands(&self) -> &[String] {
        &self.commands
    }

    /// Number of samples.
    pub fn sample_count(&self) -> usize {
        self.names.len()
    }

    /// Name of a sample.
    pub fn sample_name(&self, i: usize) -> Option<&[u8]> {
        self.names.get(i)
    }

    /// The number of a sample, or an error with names that resemble it.
    pub fn find_sample(&self, name: &[u8]) -> Result<usize> {
        self.names.find(name).ok_or_else(|| {
            let near = closest(self.names.iter(), name);
            let name = String::from_utf8_lossy(name);
            Error::name_not_found(format!("the archive has no sample {name:?}{near}"))
                .at_path(self.path())
        })
    }

    /// Bytes of the file.
    pub fn file_bytes(&self) -> u64 {
        self.container.source().len().unwrap_or(0)
    }

    pub(crate) fn container(&self) -> &Container {
        &self.container
    }

    pub(crate) fn memory(&self) -> Memory {
        self.memory
    }

    fn process(&self) -> &Process {
        let pid = std::process::id();
        let mut process = &self.process;
        while process.pid != pid {
            process = process.child.get_or_init(|| Box::new(Process::new(self.memory.cache)));
        }
        process
    }

    /// Lends a decompressor.
    fn with_inflater<T>(&self, work: impl FnOnce(&mut Inflater) -> Result<T>) -> Result<T> {
        let process = self.process();
        let free = lock(&process.inflaters).pop();
        let mut inflater = free.map_or_else(Inflater::new, Ok)?;
        let result = work(&mut inflater);
        lock(&process.inflaters).push(inflater);
        result
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The end of a message: names that resemble one that does not exist.
pub(crate) fn closest<'n>(all: impl Iterator<Item = &'n [u8]>, name: &[u8]) -> String {
    let name = String::from_utf8_lossy(name);
    let mut ranked: Vec<(usize, String)> = all
        .take(COMPARED_NAMES)
        .map(|other| {
            let other = String::from_utf8_lossy(other).into_owned();
            (distance(&other, &name), other)
        })
        .collect();
    ranked.sort_unstable();
    let near: Vec<String> = ranked.into_iter().take(3).map(|(_, name)| name).collect();
    if near.is_empty() { String::new() } else { format!("; closest: {}", near.join(", ")) }
}
