//! Opening the index of a store: find a valid one, or build it, alone among many processes.

use crate::aside::{Aside, is_unwritable, remove_abandoned};
use crate::build::{Builder, fill};
use crate::facts::{Notes, contig_list_suffix, digest_of, system_errno};
use crate::flat::{FileRecord, Format};
use crate::index::Index;
use crate::options::{Content, OpenOptions, Root};
use crate::place::Place;
use crate::walk::{Found, Walk, listing_digest, walk};
use seqmill_base::{Budget, Error, FormatKind, Job, Result};
use std::ffi::{CString, OsStr};
use std::fs::File;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use xxhash_rust::xxh3::{Xxh3, xxh3_64};

/// Name of the index file of the default suffixes.
const INDEX_NAME: &str = ".seqmill-fasta-index-v1";

/// The default suffixes of sequence files.
pub const DEFAULT_SUFFIXES: [&str; 16] = [
    ".agc",
    ".fa",
    ".fa.gz",
    ".fa.bgz",
    ".fna",
    ".fna.gz",
    ".fna.bgz",
    ".fasta",
    ".fasta.gz",
    ".fasta.bgz",
    ".ffn",
    ".ffn.gz",
    ".ffn.bgz",
    ".frn",
    ".frn.gz",
    ".frn.bgz",
];

/// An index in use and what there is to tell about it.
pub(crate) struct Loaded {
    pub(crate) index: Index,
    /// The descriptor of an index without a name, which other processes may open by way of `/proc`.
    pub(crate) unnamed: Option<File>,
    pub(crate) notes: Notes,
    /// The index was built in this call.
    pub(crate) was_built: bool,
}

/// Hash of what decides the content of an index besides the files.
pub(crate) fn options_hash(options: &OpenOptions) -> u64 {
    let mut suffixes: Vec<&str> = options.suffixes.iter().map(String::as_str).collect();
    suffixes.sort_unstable();
    let mut hasher = Xxh3::new();
    hasher.update(&[u8::from(options.content == Content::Tracks)]);
    for suffix in suffixes {
        hasher.update(suffix.as_bytes());
        hasher.update(&[0]);
    }
    hasher.digest()
}

fn index_name(options: &OpenOptions) -> String {
    let suffixes = DEFAULT_SUFFIXES.map(str::to_owned).into();
    let default = OpenOptions { suffixes, ..OpenOptions::default() };
    let hash = options_hash(options);
    if hash == options_hash(&default) {
        return INDEX_NAME.to_owned();
    }
    format!("{INDEX_NAME}-{:08x}", hash >> 32)
}

/// Loads the index of a store.
pub(crate) fn load(root: &Root, options: &OpenOptions) -> Result<Loaded> {
    let places = match root {
        _ if options.no_cache => Vec::new(),
        Root::Directory(base) => places(base, options)?,
        Root::Files(base, files) if options.remote.is_some() => remote_places(base, files, options),
        Root::Files(..) => Vec::new(),
    };
    let mut earlier = None;
    if !options.force_build {
        for place in &places {
            match usable(place, root, options)? {
                Usable::Valid(index) => return Ok(Loaded::found(index)),
                Usable::Outdated(index) => earlier = earlier.or(Some(index)),
                Usable::No => {}
            }
        }
    }
    for (i, place) in places.iter().enumerate() {
        match build_named(place, root, earlier.as_ref(), options) {
            Ok(mut loaded) => {
                if i > 0 && options.remote.is_none() {
                    loaded
                        .notes
                        .built
                        .push(format!("{} (the root is not writable)", place.display()));
                }
                return Ok(loaded);
            }
            Err(error) if is_unwritable(&error) && names(&error, place) => {}
            Err(error) => return Err(error),
        }
    }
    build_unnamed(root, earlier.as_ref(), options)
}

impl Loaded {
    /// An index that was there.
    pub(crate) fn found(index: Index) -> Self {
        Self { index, unnamed: None, notes: Notes::default(), was_built: false }
    }
}

/// Whether an error is about the folder of `place`, not about a file of the store.
fn names(error: &Error, place: &Path) -> bool {
    let folder = place.parent();
    error
        .place()
        .path
        .as_deref()
        .is_some_and(|path| path.parent() == folder || Some(path) == folder)
}

/// Where the index of a directory may lie: in it, or in the cache directory.
fn places(base: &Path, options: &OpenOptions) -> Result<Vec<PathBuf>> {
    let name = index_name(options);
    let meta = std::fs::metadata(base).map_err(|e| Error::io(base, &e))?;
    if !meta.is_dir() {
        return Err(Error::io(base, &std::io::Error::from_raw_os_error(libc::ENOTDIR)));
    }
    let mut places = vec![base.join(&name)];
    if let Some(cache) = &options.cache_directory {
        let whole = std::fs::canonicalize(base).unwrap_or_else(|_| base.to_path_buf());
        let mut key = whole.as_os_str().as_bytes().to_vec();
        key.extend(meta.dev().to_le_bytes());
        key.extend(meta.ino().to_le_bytes());
        places.push(cache.join(format!("{:016x}{name}", xxh3_64(&key))));
    }
    Ok(places)
}

/// Where the index of remote files may lie: in the cache directory.
fn remote_places(base: &Path, files: &[PathBuf], options: &OpenOptions) -> Vec<PathBuf> {
    let mut hasher = Xxh3::new();
    for path in std::iter::once(base).chain(files.iter().map(PathBuf::as_path)) {
        hasher.update(path.as_os_str().as_bytes());
        hasher.update(&[0]);
    }
    let name = format!("{:016x}{}", hasher.digest(), index_name(options));
    options.cache_directory.iter().map(|cache| cache.join(&name)).collect()
}

enum Usable {
    Valid(Index),
    /// Of the right kind, but files have changed.
    Outdated(Index),
    No,
}

fn usable(place: &Path, root: &Root, options: &OpenOptions) -> Result<Usable> {
    let Ok(file) = File::open(place) else { return Ok(Usable::No) };
    let Ok(index) = Index::map(&file, place)? else { return Ok(Usable::No) };
    if index.options() != options_hash(options) {
        return Ok(Usable::No);
    }
    if options.verify_index && index.verify().is_err() {
        return Ok(Usable::No);
    }
    if !options.validate || is_valid(&index, root.base(), options) {
        return Ok(Usable::Valid(index));
    }
    Ok(Usable::Outdated(index))
}

/// Whether directories and files are what the index says. A damaged index is not valid.
pub(crate) fn is_valid(index: &Index, base: &Path, options: &OpenOptions) -> bool {
    let check = || -> Result<bool> {
        for entry in index.directories() {
            let (path, record) = entry?;
            let path = base.join(OsStr::from_bytes(path));
            let Ok(meta) = std::fs::metadata(&path) else { return Ok(false) };
            if crate::walk::mtime_ns(&meta) != record.mtime_ns
                && listing_digest(&path, &options.suffixes)? != record.listing
            {
                return Ok(false);
            }
        }
        let files = Files::open(base, options)?;
        for id in 0..index.files() {
            let record = index.file(id)?;
            if !unchanged(&files, index, &record, options)?
                || may_be_readable_now(index, &record, options)?
            {
                return Ok(false);
            }
        }
        Ok(true)
    };
    check().unwrap_or(false)
}

/// Whether a file that could not be read may be readable with these options.
fn may_be_readable_now(index: &Index, record: &FileRecord, options: &OpenOptions) -> Result<bool> {
    if !record.has(FileRecord::UNREADABLE) {
        return Ok(false);
    }
    let (kind, _) = index.failure(record)?;
    // What the system has refused it may allow now, and nothing else would tell.
    if system_errno(kind).is_some() {
        return Ok(true);
    }
    Ok(match FormatKind::from_class_name(kind) {
        Some(FormatKind::NotBgzf) => options.recompress_gzip,
        Some(FormatKind::IndexFormat | FormatKind::StaleIndex) => {
            let missing =
                record.fai_digest == 0 || (record.format == Format::Bgzf && record.gzi_digest == 0);
            options.build_missing && (options.rebuild_stale || missing)
        }
        Some(FormatKind::Truncated) => !options.strict_eof,
        _ => false,
    })
}

/// Whether one file and its side files are what the index says.
pub(crate) fn is_unchanged(
    base: &Path,
    index: &Index,
    record: &FileRecord,
    options: &OpenOptions,
) -> Result<bool> {
    unchanged(&Files::open(base, options)?, index, record, options)
}

fn unchanged(
    files: &Files,
    index: &Index,
    record: &FileRecord,
    options: &OpenOptions,
) -> Result<bool> {
    let path = index.relative_path(record)?;
    let side = |suffix: &str| {
        files.stat(path, suffix).map_or(0, |(size, mtime_ns)| digest_of(size, mtime_ns))
    };
    Ok(files.stat(path, "") == Some((record.size, record.mtime_ns))
        && side(contig_list_suffix(options.content)) == record.fai_digest
        && (record.gzi_digest == 0 && record.blocks == 0 || side(".gzi") == record.gzi_digest))
}

/// A directory whose files are asked for their size and time: names are resolved from there.
enum Files {
    Here(OwnedFd),
    Remote(PathBuf, Place),
}

impl Files {
    fn open(base: &Path, options: &OpenOptions) -> Result<Self> {
        if options.remote.is_some() {
            return Ok(Self::Remote(base.to_path_buf(), options.place()));
        }
        let file = File::open(if base.as_os_str().is_empty() { Path::new(".") } else { base });
        Ok(Self::Here(file.map_err(|e| Error::io(base, &e))?.into()))
    }

    /// Size and time of the last change.
    fn stat(&self, path: &[u8], suffix: &str) -> Option<(u64, i64)> {
        let mut name = path.to_vec();
        name.extend(suffix.as_bytes());
        let base = match self {
            Self::Here(base) => base,
            Self::Remote(base, place) => {
                return place.version(&base.join(OsStr::from_bytes(&name))).ok();
            }
        };
        let name = CString::new(name).ok()?;
        // SAFETY: an all-zero stat is a valid value of this plain C struct.
        let mut stat: libc::stat = unsafe { std::mem::zeroed() };
        // SAFETY: the name ends with a zero byte and the struct is live and writable.
        let status = unsafe { libc::fstatat(base.as_raw_fd(), name.as_ptr(), &raw mut stat, 0) };
        if status != 0 {
            return None;
        }
        let mtime_ns = stat.st_mtime.wrapping_mul(1_000_000_000).wrapping_add(stat.st_mtime_nsec);
        Some((stat.st_size.unsigned_abs(), mtime_ns))
    }
}

/// A lock that all builders of one index take; `None` where locks do not work.
fn lock(place: &Path) -> Result<Option<File>> {
    let mut name = place.as_os_str().to_owned();
    name.push(".lock");
    let path = PathBuf::from(name);
    let file = std::fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .open(&path)
        .map_err(|e| Error::io(&path, &e))?;
    loop {
        // SAFETY: the descriptor is open; the call only waits.
        if unsafe { libc::flock(file.as_raw_fd(), libc::LOCK_EX) } == 0 {
            return Ok(Some(file));
        }
        let error = std::io::Error::last_os_error();
        if error.kind() != std::io::ErrorKind::Interrupted {
            return Ok(None);
        }
    }
}

fn new_job(options: &OpenOptions) -> Result<Job> {
    Ok(Job::new(Budget::new(options.memory, 0)?))
}

fn build_named(
    place: &Path,
    root: &Root,
    earlier: Option<&Index>,
    options: &OpenOptions,
) -> Result<Loaded> {
    let folder = place.parent().unwrap_or(Path::new("."));
    if !folder.as_os_str().is_empty() && options.cache_directory.as_deref() == Some(folder) {
        std::fs::create_dir_all(folder).map_err(|e| Error::io(folder, &e))?;
    }
    let _lock = lock(place)?;
    // Somebody else may have built it while we waited.
    if !options.force_build
        && let Usable::Valid(index) = usable(place, root, options)?
    {
        return Ok(Loaded::found(index));
    }
    remove_abandoned(place);
    let aside = Aside::create(place)?;
    let mut builder = Builder::new(folder);
    let notes = read_files(&mut builder, root, earlier, options)?;
    builder.finish(aside.file(), place, options_hash(options))?;
    let index = Index::map(aside.file(), place)?
        .map_err(|what| Error::internal(format!("a new index cannot be used: {what}")))?;
    aside.commit()?;
    Ok(Loaded { index, unnamed: None, notes, was_built: true })
}

fn read_files(
    builder: &mut Builder<'_>,
    root: &Root,
    earlier: Option<&Index>,
    options: &OpenOptions,
) -> Result<Notes> {
    let walk = walk(root, options)?;
    fill(builder, root.base(), &walk, earlier, options, &new_job(options)?)
}

/// A file without a name: in memory on Linux, elsewhere a temporary one.
fn unnamed_file() -> Result<File> {
    #[cfg(target_os = "linux")]
    {
        // SAFETY: the name is a constant that ends with a zero byte.
        let fd = unsafe { libc::memfd_create(c"seqmill-fasta-index".as_ptr(), libc::MFD_CLOEXEC) };
        if fd >= 0 {
            // SAFETY: the descriptor is new and nobody else owns it.
            return Ok(unsafe { File::from_raw_fd(fd) });
        }
    }
    let aside = Aside::create(&std::env::temp_dir().join("seqmill-fasta-index"))?;
    aside.file().try_clone().map_err(|e| Error::io(Path::new("temporary index"), &e))
}

fn build_unnamed(root: &Root, earlier: Option<&Index>, options: &OpenOptions) -> Result<Loaded> {
    let file = unnamed_file()?;
    let path = Path::new("index in memory");
    let folder = std::env::temp_dir();
    let mut builder = Builder::new(&folder);
    let notes = read_files(&mut builder, root, earlier, options)?;
    match builder.finish(&file, path, options_hash(options)) {
        Ok(()) => use_unnamed(file, path, notes, options),
        // A limit on the size of files counts for those in memory too.
        Err(error) if is_unwritable(&error) => build_private(root, earlier, options),
        Err(error) => Err(error),
    }
}

/// An index of this handle's own, where nothing can be written at all.
fn build_private(root: &Root, earlier: Option<&Index>, options: &OpenOptions) -> Result<Loaded> {
    let mut content = std::io::Cursor::new(Vec::new());
    let folder = std::env::temp_dir();
    let mut builder = Builder::new(&folder);
    let notes = read_files(&mut builder, root, earlier, options)?;
    builder.finish(&mut content, Path::new("index in memory"), options_hash(options))?;
    let index = Index::private(content.get_ref())?;
    Ok(Loaded { index, unnamed: None, notes, was_built: true })
}

fn use_unnamed(file: File, path: &Path, notes: Notes, options: &OpenOptions) -> Result<Loaded> {
    let index = Index::map(&file, path)?
        .map_err(|what| Error::internal(format!("a new index cannot be used: {what}")))?;
    if options.private {
        let index = Index::private(index.content())?;
        return Ok(Loaded { index, unnamed: None, notes, was_built: true });
    }
    Ok(Loaded { index, unnamed: Some(file), notes, was_built: true })
}

/// The index as it was with fewer files: those that changed last are left out. `None` if that is
/// not the index of this id, so that a file it knew has changed.
pub(crate) fn as_it_was(
    index: &Index,
    root: &Root,
    options: &OpenOptions,
    build_id: u64,
    files: u32,
) -> Result<Option<Loaded>> {
    if index.files() <= files {
        return Ok(None);
    }
    let mut found = Vec::with_capacity(index.files() as usize);
    for id in 0..index.files() {
        let record = index.file(id)?;
        let relative = index.relative_path(&record)?;
        let name = index.name(&record)?.to_vec();
        let Ok(meta) = std::fs::metadata(root.base().join(OsStr::from_bytes(relative))) else {
            return Ok(None);
        };
        let sample = (record.format == Format::Archive).then_some(record.first_block);
        let suffix = match sample {
            Some(_) => relative.to_vec(),
            None => relative.get(name.len()..).unwrap_or_default().to_vec(),
        };
        found.push(((meta.ctime(), meta.ctime_nsec()), Found { name, suffix, sample }));
    }
    found.sort_unstable();
    found.truncate(files as usize);
    let mut walk = Walk { found: found.into_iter().map(|(_, f)| f).collect(), ..Walk::default() };
    walk.found.sort_unstable();
    let (file, path, folder) =
        (unnamed_file()?, Path::new("index in memory"), std::env::temp_dir());
    let mut builder = Builder::new(&folder);
    let notes = fill(&mut builder, root.base(), &walk, Some(index), options, &new_job(options)?)?;
    builder.finish(&file, path, options_hash(options))?;
    let loaded = use_unnamed(file, path, notes, options)?;
    Ok((loaded.index.build_id() == build_id).then_some(loaded))
}

/// Maps the index that an earlier handle used: by its path, or by a descriptor of another process.
pub(crate) fn reopen(path: &Path, build_id: u64) -> Option<Index> {
    let file = File::open(path).ok()?;
    Index::map(&file, path).ok()?.ok().filter(|index| index.build_id() == build_id)
}
