//! A store: the index, and what each process holds besides.

use crate::archives::Archives;
use crate::blocks::Stretch;
use crate::cache::BlockCache;
use crate::encode::Encoder;
use crate::facts::{split_failure, system_errno};
use crate::files::{OpenFile, OpenFiles, changed};
use crate::flat::{FileRecord, Format};
use crate::gzip::recompressed_path;
use crate::index::{Blocks, Index};
use crate::load::{Loaded, as_it_was, load, reopen};
use crate::options::{Content, OpenOptions, Root};
use crate::packed::Packed;
use crate::read::OpenView;
use crate::walk::suffix_of;
use crate::window::{OutOfRange, Place, place};
use rustc_hash::FxBuildHasher;
use seqmill_base::{Error, FormatKind, Result};
use seqmill_io::fasta::FaiRecord;
use seqmill_io::region::distance;
use std::ffi::OsStr;
use std::fs::File;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Instant;

/// Names that are compared to find those that resemble one.
const COMPARED_NAMES: u32 = 10_000;

/// Sidecars that were looked for, by file, and when the file was last seen to be as it was.
pub(crate) type PackedFiles =
    hashbrown::HashMap<u32, (Option<Arc<Packed>>, Instant), FxBuildHasher>;

/// What one process holds: a child that was forked starts with its own, so that no lock and no
/// memory of a thread that is gone is ever waited for.
pub(crate) struct Process {
    pid: u32,
    files: OpenFiles,
    pub(crate) cache: BlockCache,
    stretches: Mutex<Vec<Stretch>>,
    /// One bit a contig: its header was compared.
    checked: Vec<AtomicU64>,
    warnings: Mutex<Vec<String>>,
    pub(crate) packed: Mutex<PackedFiles>,
    pub(crate) archives: Archives,
    child: OnceLock<Box<Process>>,
}

impl Process {
    fn new(index: &Index, options: &OpenOptions) -> Self {
        let words = usize::try_from(index.contigs().div_ceil(64)).unwrap_or(0);
        // Without checksums only the beginnings of blocks are inflated: nothing worth keeping.
        let cache = if options.verify_blocks { options.cache_bytes } else { 0 };
        Self {
            pid: std::process::id(),
            files: OpenFiles::new(options.open_files),
            cache: BlockCache::new(cache),
            stretches: Mutex::default(),
            checked: (0..words).map(|_| AtomicU64::new(0)).collect(),
            warnings: Mutex::default(),
            packed: Mutex::default(),
            archives: Archives::default(),
            child: OnceLock::new(),
        }
    }

    pub(crate) fn take_stretch(&self, verify: bool) -> Stretch {
        let mut stretches = self.stretches.lock().unwrap_or_else(PoisonError::into_inner);
        stretches.pop().unwrap_or_else(|| Stretch::new(verify))
    }

    pub(crate) fn give_stretch(&self, stretch: Stretch) {
        self.stretches.lock().unwrap_or_else(PoisonError::into_inner).push(stretch);
    }

    pub(crate) fn is_checked(&self, ordinal: u64) -> bool {
        let word = usize::try_from(ordinal / 64).ok().and_then(|i| self.checked.get(i));
        word.is_none_or(|word| word.load(Ordering::Relaxed) >> (ordinal % 64) & 1 == 1)
    }

    pub(crate) fn set_checked(&self, ordinal: u64) {
        if let Some(word) = usize::try_from(ordinal / 64).ok().and_then(|i| self.checked.get(i)) {
            word.fetch_or(1 << (ordinal % 64), Ordering::Relaxed);
        }
    }
}

/// A contig of a file of the store.
pub struct Contig<'s> {
    /// Index of the file.
    pub file: u32,
    /// Index of the contig within its file.
    pub id: u32,
    pub(crate) ordinal: u64,
    /// Its name.
    pub name: &'s [u8],
    pub(crate) geometry: FaiRecord,
}

impl Contig<'_> {
    /// Its length in bases (in bytes, for a track).
    pub fn length(&self) -> u64 {
        self.geometry.length
    }
}

/// Many sequence files with one index.
pub struct Store {
    index: Index,
    unnamed: Option<File>,
    root: Root,
    options: OpenOptions,
    process: Process,
    built: Vec<String>,
    was_built: bool,
}

impl Store {
    /// Opens a store; its index is built if there is no valid one.
    pub fn open(root: Root, options: OpenOptions) -> Result<Self> {
        let loaded = load(&root, &options)?;
        Ok(Self::new(root, options, loaded))
    }

    /// Opens the very index that another handle of so many files used, or builds one that is equal
    /// to it: files that came since are left out, so that numbers mean what they did.
    pub fn reopen(
        root: Root,
        options: OpenOptions,
        path: &Path,
        (build_id, files): (u64, u32),
    ) -> Result<Self> {
        if let Some(index) = reopen(path, build_id) {
            return Ok(Self::new(root, options, Loaded::found(index)));
        }
        let store = Self::open(root, options)?;
        if store.build_id() == build_id {
            return Ok(store);
        }
        if let Some(loaded) = as_it_was(&store.index, &store.root, &store.options, build_id, files)?
        {
            return Ok(Self::new(store.root.clone(), store.options.clone(), loaded));
        }
        let what = "files have changed since this store was opened in another process";
        Err(Error::format(FormatKind::StaleIndex, what).at_path(store.root.base()))
    }

    /// Opens a store from the content of the index of another handle.
    pub fn from_content(root: Root, options: OpenOptions, content: &[u8]) -> Result<Self> {
        let index = Index::private(content)?;
        index.verify()?;
        Ok(Self::new(root, options, Loaded::found(index)))
    }

    /// The whole index, for [`Self::from_content`].
    pub fn index_content(&self) -> &[u8] {
        self.index.content()
    }

    fn new(root: Root, options: OpenOptions, loaded: Loaded) -> Self {
        let Loaded { index, unnamed, notes, was_built } = loaded;
        let process = Process::new(&index, &options);
        let store = Self { index, unnamed, root, options, process, built: notes.built, was_built };
        for warning in notes.warnings {
            store.warn(warning);
        }
        store
    }

    /// What this process holds.
    pub(crate) fn process(&self) -> &Process {
        let pid = std::process::id();
        let mut process = &self.process;
        while process.pid != pid {
            process =
                process.child.get_or_init(|| Box::new(Process::new(&self.index, &self.options)));
        }
        process
    }

    pub(crate) fn root(&self) -> &Root {
        &self.root
    }

    pub(crate) fn index(&self) -> &Index {
        &self.index
    }

    pub(crate) fn options(&self) -> &OpenOptions {
        &self.options
    }

    pub(crate) fn is_raw(&self) -> bool {
        self.options.content == Content::Tracks
    }

    pub(crate) fn verify_blocks(&self) -> bool {
        self.options.verify_blocks
    }

    pub(crate) fn warn(&self, text: String) {
        let process = self.process();
        process.warnings.lock().unwrap_or_else(PoisonError::into_inner).push(text);
    }

    /// Warnings since the last call.
    pub fn take_warnings(&self) -> Vec<String> {
        let warnings = &self.process().warnings;
        std::mem::take(&mut *warnings.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Files that opening the store has written.
    pub fn built(&self) -> &[String] {
        &self.built
    }

    /// Whether the index was built by this handle.
    pub fn was_built(&self) -> bool {
        self.was_built
    }

    /// Id of the index: equal files, equal id.
    pub fn build_id(&self) -> u64 {
        self.index.build_id()
    }

    /// Size of the index.
    pub fn index_bytes(&self) -> usize {
        self.index.bytes()
    }

    /// A path at which other processes can open the index, as long as this one lives.
    pub fn index_path(&self) -> PathBuf {
        match &self.unnamed {
            Some(file) => format!("/proc/{}/fd/{}", std::process::id(), file.as_raw_fd()).into(),
            None => self.index.path().to_path_buf(),
        }
    }

    /// Number of files, unreadable ones included.
    pub fn files(&self) -> u32 {
        self.index.files()
    }

    /// The record of a file, whose number a caller may have made up.
    fn record(&self, file: u32) -> Result<FileRecord> {
        if file >= self.files() {
            return Err(Error::input(format!("there is no file number {file}")));
        }
        self.index.file(file)
    }

    /// Name of a file.
    pub fn name(&self, file: u32) -> Result<&[u8]> {
        self.index.name(&self.record(file)?)
    }

    /// Path of a file.
    pub fn path(&self, file: u32) -> Result<PathBuf> {
        let relative = self.index.relative_path(&self.record(file)?)?;
        Ok(self.root.base().join(OsStr::from_bytes(relative)))
    }

    /// Whether a file cannot be read.
    pub fn is_unreadable(&self, file: u32) -> Result<bool> {
        let record = self.index.file(file)?;
        let cut = self.options.strict_eof && record.has(FileRecord::NO_EOF);
        Ok(cut || record.has(FileRecord::UNREADABLE))
    }

    /// Why a file cannot be read, if so.
    pub fn failure(&self, file: u32) -> Result<Option<Error>> {
        let record = self.record(file)?;
        if !record.has(FileRecord::UNREADABLE) {
            if self.options.strict_eof && record.has(FileRecord::NO_EOF) {
                let what = "the BGZF end marker is missing; the file may be truncated";
                let error = Error::format(FormatKind::Truncated, what);
                return Ok(Some(error.at_path(&self.path(file)?)));
            }
            return Ok(None);
        }
        let (kind, text) = self.index.failure(&record)?;
        let text = String::from_utf8_lossy(text);
        let (place, told) = split_failure(&text);
        let path = self.root.base().join(place);
        if let Some(errno) = system_errno(kind) {
            return Ok(Some(Error::io(&path, &std::io::Error::from_raw_os_error(errno))));
        }
        let kind = FormatKind::from_class_name(kind).unwrap_or(FormatKind::Other);
        Ok(Some(Error::format(kind, told).at_path(&path)))
    }

    /// The file of a name, which may carry its suffix.
    pub fn find_file(&self, name: &[u8]) -> Result<u32> {
        let mut found = self.index.find_file(name)?;
        if found.is_none()
            && let Some(suffix) = suffix_of(name, &self.options.suffixes)
            && let Some(bare) = name.strip_suffix(suffix.as_bytes())
        {
            found = self.index.find_file(bare)?;
        }
        let found = found.ok_or_else(|| {
            let all = (0..self.files().min(COMPARED_NAMES)).map(|id| self.name(id));
            let near = closest(all, name);
            let name = String::from_utf8_lossy(name);
            Error::name_not_found(format!("no file of the store has the name {name:?}{near}"))
                .at_path(self.root.base())
        })?;
        self.failure(found)?.map_or(Ok(found), Err)
    }

    /// A contig by its index within a file.
    pub fn contig(&self, file: u32, id: u32) -> Result<Contig<'_>> {
        let record = self.record(file)?;
        if id >= record.contigs {
            return Err(Error::input(format!("file number {file} has no contig number {id}")));
        }
        let contig = self.index.contig(&record, id)?;
        Ok(Contig {
            file,
            id,
            ordinal: record.first_contig + u64::from(id),
            name: self.index.contig_name(&contig)?,
            geometry: self.index.geometry(&contig)?,
        })
    }

    /// Number of contigs of a file.
    pub fn contigs(&self, file: u32) -> Result<u32> {
        Ok(self.record(file)?.contigs)
    }

    /// Of all contigs of the files that can be read: file, number and length, each a column of
    /// little-endian u32, u32 and u64.
    pub fn contig_table(&self) -> Result<[Vec<u8>; 3]> {
        let mut columns = [Vec::new(), Vec::new(), Vec::new()];
        let [files, contigs, lengths] = &mut columns;
        for file in 0..self.files() {
            if self.is_unreadable(file)? {
                continue;
            }
            let record = self.index.file(file)?;
            for id in 0..record.contigs {
                files.extend(file.to_le_bytes());
                contigs.extend(id.to_le_bytes());
                lengths.extend(self.index.contig(&record, id)?.length.to_le_bytes());
            }
        }
        Ok(columns)
    }

    /// Sets how many bytes of inflated blocks this process keeps from now on.
    pub fn limit_cache(&self, bytes: usize) {
        let bytes = if self.options.verify_blocks { bytes } else { 0 };
        self.process().cache.set_limit(bytes);
    }

    /// A contig by its name within a file.
    pub fn find_contig(&self, file: u32, name: &[u8]) -> Result<Contig<'_>> {
        let record = self.record(file)?;
        let id = self.index.find_contig(&record, name)?.ok_or_else(|| {
            let all = (0..record.contigs.min(COMPARED_NAMES))
                .map(|id| self.index.contig_name(&self.index.contig(&record, id)?));
            let near = closest(all, name);
            let name = String::from_utf8_lossy(name);
            let error = Error::name_not_found(format!("no contig has the name {name:?}{near}"));
            self.path(file).map_or(error.clone(), |path| error.at_path(&path))
        })?;
        self.contig(file, id)
    }

    /// The files that have a contig of this name and of so many bases at least.
    pub fn files_with_contig(&self, name: &[u8], least: u64) -> Result<Vec<u32>> {
        let mut found = Vec::new();
        for file in 0..self.files() {
            let record = self.index.file(file)?;
            if let Some(id) = self.index.find_contig(&record, name)?
                && self.index.contig(&record, id)?.length >= least
                && !self.is_unreadable(file)?
            {
                found.push(file);
            }
        }
        Ok(found)
    }

    /// Places a window within a contig.
    pub fn place(
        &self,
        contig: &Contig<'_>,
        start: i64,
        end: Option<i64>,
        policy: OutOfRange,
    ) -> Result<Place> {
        place(contig.length(), start, end, policy).map_err(|error| {
            let error = error.within(&format!("contig {:?}", String::from_utf8_lossy(contig.name)));
            self.path(contig.file).map_or(error.clone(), |path| error.at_path(&path))
        })
    }

    /// Like [`Self::read`], but never from a sidecar.
    pub(crate) fn read_unpacked(
        &self,
        contig: &Contig<'_>,
        place: &Place,
        encoding: (&Encoder, u8),
        out: &mut [u8],
    ) -> Result<()> {
        self.read_placed(self.process(), contig, place, (false, false), encoding, out)
    }

    /// Writes a window into `out`, which has [`Encoder::output_bytes`] of its bases.
    pub fn read(
        &self,
        contig: &Contig<'_>,
        place: &Place,
        minus: bool,
        encoding: (&Encoder, u8),
        out: &mut [u8],
    ) -> Result<()> {
        self.read_placed(self.process(), contig, place, (minus, true), encoding, out)
    }

    pub(crate) fn open_view(&self, process: &Process, id: u32) -> Result<OpenView<'_>> {
        let record = self.index.file(id)?;
        let file = process.files.get(id, || self.open_file(&record))?;
        if record.format == Format::Archive {
            let blocks = Blocks::none();
            return Ok(OpenView { id, file, format: record.format, blocks });
        }
        let mut blocks: Blocks<'_> = self.index.blocks(&record)?;
        // Of a gzip file the index knows the size, but what is read is its copy.
        blocks.size = file.size;
        Ok(OpenView { id, file, format: record.format, blocks })
    }

    /// Fails if a file is not the one that the index describes.
    pub(crate) fn check_version(&self, file: u32) -> Result<()> {
        let (record, path) = (self.index.file(file)?, self.path(file)?);
        if self.options.place().version(&path)? == (record.size, record.mtime_ns) {
            return Ok(());
        }
        Err(changed(&path))
    }

    fn open_file(&self, record: &FileRecord) -> Result<OpenFile> {
        let relative = self.index.relative_path(record)?;
        let path = self.root.base().join(OsStr::from_bytes(relative));
        if let Some(remote) = &self.options.remote
            && record.format != Format::Gzip
        {
            return OpenFile::open_remote(remote, path, record.size, record.mtime_ns);
        }
        if record.format != Format::Gzip {
            let file = OpenFile::open(path, record.size, record.mtime_ns)?;
            let is_mapped = record.format == Format::Plain && self.options.map_plain;
            return Ok(if is_mapped { file.mapped() } else { file });
        }
        // The gzip file must be as it was, then its copy is right: its name is made of both.
        if self.options.place().version(&path)? != (record.size, record.mtime_ns) {
            return Err(changed(&path));
        }
        let folder = self.options.cache_directory.as_deref().unwrap_or(Path::new("."));
        OpenFile::open_any(recompressed_path(folder, &path, record.size, record.mtime_ns))
    }
}

/// `; closest: a, b, c`, or nothing.
fn closest<'n>(names: impl Iterator<Item = Result<&'n [u8]>>, wanted: &[u8]) -> String {
    let wanted = String::from_utf8_lossy(wanted);
    let mut ranked: Vec<(usize, String)> = names
        .filter_map(Result::ok)
        .map(|name| String::from_utf8_lossy(name).into_owned())
        .map(|name| (distance(&name, &wanted), name))
        .collect();
    ranked.sort_unstable();
    let near: Vec<String> = ranked.into_iter().take(3).map(|(_, name)| name).collect();
    if near.is_empty() { String::new() } else { format!("; closest: {}", near.join(", ")) }
}
