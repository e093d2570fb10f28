//! The opened inputs of a job with what they have in common, kept while a scan is open.

use crate::chunk_index::complete_tags;
use crate::options::{Options, Semantic};
use crate::sample::Sample;
use seqmill_base::{Error, Result};
use seqmill_io::bam::Reference;
use seqmill_io::bam::chunk_index::{ChunkIndex, chunk_index_path};
use seqmill_io::bam::index::AlignmentIndex;
use seqmill_io::records::{Input, Kind, OpenOptions, open_input};
use seqmill_io::{IoMode, Remote, Source};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

/// Opened inputs.
pub struct Inputs {
    pub(crate) list: Vec<Input>,
    /// The file with the mates of the only input, of the same format.
    pub(crate) mate: Option<Input>,
    /// The memory budget of the process.
    pub(crate) memory: u64,
    /// References of all inputs in order of appearance.
    pub(crate) references: Vec<Reference>,
    /// Numbers in `references` of each input's references; none where they are the same.
    pub(crate) reference_maps: Vec<Option<Vec<i32>>>,
    sample: OnceLock<Sample>,
    index: OnceLock<Option<AlignmentIndex>>,
    chunk_indices: OnceLock<Vec<Option<ChunkIndex>>>,
    index_path: Option<PathBuf>,
    warnings: Mutex<Vec<String>>,
    remote: Option<Arc<Remote>>,
}

/// What a connection holds besides the range that it fills.
const CONNECTION_BYTES: u64 = 512 << 10;

/// The way to read that the options name.
pub(crate) fn io_mode(name: &str, queue_depth: usize) -> Result<IoMode> {
    match name {
        "read" | "auto" | "" => Ok(IoMode::Read),
        "map" => Ok(IoMode::Map),
        "direct" => Ok(IoMode::Direct(queue_depth)),
        _ => Err(Error::input(format!("io {name:?} does not exist; one of read, map, direct"))),
    }
}

impl Inputs {
    /// Opens the inputs of the options and reads their headers.
    pub fn open(options: &Options) -> Result<Self> {
        let mode = io_mode(&options.resources.io, options.resources.queue_depth)?;
        if options.inputs.is_empty() {
            return Err(Error::input("no input is given"));
        }
        let open_options = OpenOptions {
            mode,
            verify: options.semantic.verify,
            strict: options.semantic.strict,
            header_bytes: OpenOptions::header_bytes(options.resources.memory),
            reference: options.semantic.reference.clone(),
            remote: options.remote.clone(),
        };
        let open = |path: &PathBuf| open_input(path, &open_options);
        let list = options.inputs.iter().map(open).collect::<Result<Vec<Input>>>()?;
        let mate = options.semantic.mate.as_ref().map(open).transpose()?;
        check_mate(&list, mate.as_ref())?;
        let (references, reference_maps) = union(&list)?;
        let found = list.iter().chain(&mate).flat_map(|input| {
            input.warnings.iter().map(|text| format!("{}: {text}", input.path.display()))
        });
        let warnings = Mutex::new(found.collect());
        Ok(Self {
            list,
            mate,
            memory: options.resources.memory,
            references,
            reference_maps,
            sample: OnceLock::new(),
            index: OnceLock::new(),
            chunk_indices: OnceLock::new(),
            index_path: options.index.clone(),
            warnings,
            remote: options.remote.clone(),
        })
    }

    /// The format of the inputs if they are reads without alignments.
    pub(crate) fn reads(&self) -> Result<Option<Kind>> {
        let Some(first) = self.list.first().map(|i| i.kind) else { return Ok(None) };
        let other = |i: &&Input| i.kind != first && (i.kind.is_reads() || first.is_reads());
        if let Some(other) = self.list.iter().find(other) {
            let text = format!(
                "{} and {} have different columns and cannot go to one output",
                first.name(),
                other.kind.name()
            );
            return Err(Error::input(text).at_path(&other.path));
        }
        Ok(first.is_reads().then_some(first))
    }

    /// Header text of the first input.
    pub fn header(&self) -> &str {
        self.list.first().map_or("", |i| i.header.text.as_str())
    }

    /// Names and lengths of all references.
    pub fn references(&self) -> impl Iterator<Item = (&str, u64)> {
        self.references.iter().map(|r| (r.name.as_str(), r.length))
    }

    /// What the sample of all inputs shows; taken once.
    pub(crate) fn sample(&self) -> Result<&Sample> {
        if let Some(sample) = self.sample.get() {
            return Ok(sample);
        }
        let mut sample = Sample::default();
        for (input, index) in self.list.iter().zip(self.chunk_indices()?) {
            sample.add_input(input, self.memory)?;
            if let Some(index) = index {
                complete_tags(&mut sample, index);
            }
        }
        Ok(self.sample.get_or_init(|| sample))
    }

    /// The index of the only input, if there is one; read once.
    pub(crate) fn index(&self) -> Result<Option<&AlignmentIndex>> {
        if let Some(index) = self.index.get() {
            return Ok(index.as_ref());
        }
        let [input] = self.list.as_slice() else { return Ok(None) };
        let path = match &self.index_path {
            Some(path) => Some(path.clone()),
            None => AlignmentIndex::beside(&input.path),
        };
        let index = match path {
            Some(path) => {
                self.compare_times(&path, &input.path);
                Some(AlignmentIndex::open(&path)?)
            }
            None => None,
        };
        Ok(self.index.get_or_init(|| index).as_ref())
    }

    /// The chunk index of each input, where there is a fresh one; read once.
    pub(crate) fn chunk_indices(&self) -> Result<&[Option<ChunkIndex>]> {
        if let Some(indices) = self.chunk_indices.get() {
            return Ok(indices);
        }
        let mut indices = Vec::with_capacity(self.list.len());
        for input in &self.list {
            indices.push(self.fresh_chunk_index(input)?);
        }
        Ok(self.chunk_indices.get_or_init(|| indices))
    }

    fn fresh_chunk_index(&self, input: &Input) -> Result<Option<ChunkIndex>> {
        if !input.source.is_seekable() {
            return Ok(None);
        }
        let note = |text: String| {
            self.warn(format!("{}: {text}", chunk_index_path(&input.path).display()));
            Ok(None)
        };
        match ChunkIndex::beside(&input.path) {
            Ok(Some(index)) if index.is_fresh(&input.path)? => Ok(Some(index)),
            Ok(Some(_)) => note("the chunk index belongs to other data and is not used".to_owned()),
            Ok(None) => Ok(None),
            Err(error) => note(format!("{}; it is not used", error.message())),
        }
    }

    fn compare_times(&self, index: &Path, data: &Path) {
        let time = |path: &Path| path.metadata().and_then(|m| m.modified()).ok();
        if time(index).zip(time(data)).is_some_and(|(index, data)| index < data) {
            self.warn(format!("{}: the index is older than the data", index.display()));
        }
    }

    pub(crate) fn warn(&self, text: String) {
        let mut warnings = self.warnings.lock().unwrap_or_else(PoisonError::into_inner);
        if !warnings.contains(&text) {
            warnings.push(text);
        }
    }

    /// The warnings so far.
    pub fn warnings(&self) -> Vec<String> {
        self.warnings.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Bytes of the texts of all headers, of the list of references as JSON, and of the references:
    /// those of each input, and those of all together.
    pub(crate) fn header_bytes(&self) -> [u64; 3] {
        let texts: usize = self.list.iter().map(|input| input.header.text.len()).sum();
        let lists: usize = self.references.iter().map(|r| json_bytes(&r.name)).sum();
        let own = self.list.iter().flat_map(|input| &input.header.references);
        let all = own.chain(&self.references);
        let references: usize = all.map(|r| r.name.len() + size_of::<Reference>()).sum();
        [texts, lists, references].map(|bytes| bytes as u64)
    }

    /// Bytes that ranges of remote inputs may take, with what their connections hold.
    pub(crate) fn ahead_bytes(&self) -> u64 {
        self.remote.as_ref().map_or(0, |r| r.ahead_bytes() + r.ranges() * CONNECTION_BYTES)
    }

    /// Bytes of all inputs, if they are known.
    pub(crate) fn total_bytes(&self) -> Option<u64> {
        self.sources().map(|s| s.len()).sum()
    }

    pub(crate) fn sources(&self) -> impl Iterator<Item = &Arc<dyn Source>> {
        self.list.iter().chain(&self.mate).map(|i| &i.source)
    }

    /// Identity of the inputs for the metadata (`seqmill.source`) and for resuming.
    pub(crate) fn identities(
        &self,
        with_time: bool,
        full_paths: bool,
    ) -> Result<serde_json::Value> {
        let mut list = Vec::with_capacity(self.list.len());
        for input in self.list.iter().chain(&self.mate) {
            let name = source_name(&input.path, full_paths);
            if !input.source.is_seekable() {
                list.push(serde_json::json!({"name": name}));
                continue;
            }
            let print = input.fingerprint()?;
            let mut entry =
                serde_json::json!({"name": name, "size": print.size, "xxh3": print.hash});
            if with_time && let Some(entry) = entry.as_object_mut() {
                entry.insert("mtime_ns".to_owned(), print.mtime_ns.into());
            }
            list.push(entry);
        }
        Ok(serde_json::Value::Array(list))
    }
}

/// About the bytes of a name and its length in JSON.
fn json_bytes(name: &str) -> usize {
    let bytes = |byte| match byte {
        b'"' | b'\\' => 2,
        0..0x20 => 6,
        _ => 1,
    };
    name.bytes().map(bytes).sum::<usize>() + 14
}

/// A mate file belongs to one input of the same format.
fn check_mate(list: &[Input], mate: Option<&Input>) -> Result<()> {
    let Some(mate) = mate else { return Ok(()) };
    match list {
        [one] if one.kind.is_reads() && one.kind == mate.kind => Ok(()),
        [one] if one.kind.is_reads() => {
            let text =
                format!("the mate file is {}, the input {}", mate.kind.name(), one.kind.name());
            Err(Error::input(text).at_path(&mate.path))
        }
        [one] => Err(Error::input(format!("mate does not apply to {} input", one.kind.name()))),
        _ => Err(Error::input("mate needs exactly one input")),
    }
}

/// How an input is called in the output.
pub(crate) fn source_name(path: &Path, full: bool) -> String {
    let base = path.file_name().map_or(path.as_os_str(), |name| name);
    if full { path.display().to_string() } else { base.to_string_lossy().into_owned() }
}

/// References of all inputs in order of appearance, and each input's numbers in them.
#[expect(clippy::type_complexity, reason = "two parts of one result")]
fn union(inputs: &[Input]) -> Result<(Vec<Reference>, Vec<Option<Vec<i32>>>)> {
    let first = inputs.first().map(|i| i.header.references.clone()).unwrap_or_default();
    let mut all = first.clone();
    let mut maps = Vec::with_capacity(inputs.len());
    let mut numbers: hashbrown::HashMap<String, usize, rustc_hash::FxBuildHasher> =
        all.iter().enumerate().map(|(i, r)| (r.name.clone(), i)).collect();
    for input in inputs {
        if input.header.references == first {
            maps.push(None);
            continue;
        }
        let mut map = Vec::with_capacity(input.header.references.len());
        for reference in &input.header.references {
            let number = *numbers.entry(reference.name.clone()).or_insert_with(|| {
                all.push(reference.clone());
                all.len() - 1
            });
            let known = all.get(number).map_or(0, |r| r.length);
            if known != reference.length {
                return Err(Error::input(format!(
                    "reference {} has length {} here and {known} in an input before",
                    reference.name, reference.length
                ))
                .at_path(&input.path));
            }
            map.push(i32::try_from(number).unwrap_or(i32::MAX));
        }
        maps.push(Some(map));
    }
    Ok((all, maps))
}

/// Options that only make sense together, checked before anything is opened.
pub(crate) fn check_options(semantic: &Semantic) -> Result<()> {
    let one_of = |name: &str, value: &str, allowed: &[&str]| {
        if allowed.contains(&value) {
            return Ok(());
        }
        let list = allowed.join(", ");
        Err(Error::input(format!("{name} {value:?} does not exist; one of {list}")))
    };
    one_of("tags-from", &semantic.tags_from, &["all", "listed"])?;
    one_of("discover", &semantic.discover, &["sample", "full"])?;
    one_of("on-bad-record", &semantic.on_bad_record, &["error", "skip"])?;
    if semantic.batch_rows == Some(0) {
        return Err(Error::input("batch-rows 0 is not in 1 and more"));
    }
    if semantic.batch_bytes == 0 || semantic.row_group_bytes == 0 {
        return Err(Error::input("batch-bytes and row-group-bytes are 1 and more"));
    }
    Ok(())
}
