//! What a store is made of and how it is opened.

use crate::place::Place;
use seqmill_io::Remote;
use seqmill_io::fasta::OpenArchive;
use std::path::PathBuf;
use std::sync::Arc;

/// The files of a store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Root {
    /// A directory, walked recursively.
    Directory(PathBuf),
    /// Files below a common directory, as paths relative to it.
    Files(PathBuf, Vec<PathBuf>),
}

impl Root {
    /// The directory that names are relative to.
    pub fn base(&self) -> &PathBuf {
        match self {
            Self::Directory(base) | Self::Files(base, _) => base,
        }
    }
}

/// What the files of a store hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Content {
    /// FASTA with `.fai` (and `.gzi`).
    #[default]
    Sequence,
    /// Raw numbers in BGZF with `.gzi` and `.idx`; lengths and positions are bytes.
    Tracks,
}

/// How a store is opened.
#[derive(Debug, Clone)]
#[expect(clippy::struct_excessive_bools, reason = "independent switches of one call")]
pub struct OpenOptions {
    /// Suffixes of sequence files, with their dots.
    pub suffixes: Vec<String>,
    /// What the files hold.
    pub content: Content,
    /// Build side files that are missing.
    pub build_missing: bool,
    /// Build side files anew that do not describe their file.
    pub rebuild_stale: bool,
    /// A BGZF file without its end marker is an error.
    pub strict_eof: bool,
    /// Rewrite gzip files as BGZF into the cache directory.
    pub recompress_gzip: bool,
    /// Compare the index with the files before it is used.
    pub validate: bool,
    /// Compare the checksum of the whole index.
    pub verify_index: bool,
    /// Neither look for an index file nor write one.
    pub no_cache: bool,
    /// With `no_cache`: the index is a copy of this handle's own, which no other process can open.
    pub private: bool,
    /// Build the index even if a valid one is there.
    pub force_build: bool,
    /// Compare the checksums of blocks.
    pub verify_blocks: bool,
    /// Bytes of inflated blocks that a process may keep.
    pub cache_bytes: usize,
    /// Most files a process keeps open.
    pub open_files: usize,
    /// Threads that build.
    pub threads: usize,
    /// Bytes that building side files may use.
    pub memory: u64,
    /// Where the index goes if the root cannot take it.
    pub cache_directory: Option<PathBuf>,
    /// Whether packed sidecars are used.
    pub pack: Pack,
    /// Whether plain files are mapped; nobody may write to them then.
    pub map_plain: bool,
    /// What opens archives; without it they cannot be read.
    pub archives: Option<OpenArchive>,
    /// The files, where they are remote: those of the store and their side files.
    pub remote: Option<Arc<Remote>>,
}

impl OpenOptions {
    /// Where the files of the store lie.
    pub(crate) fn place(&self) -> Place {
        Place::new(self.remote.clone())
    }
}

/// Whether packed sidecars are used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Pack {
    /// Where they are there and of the file as it is.
    #[default]
    Auto,
    /// Always; a file without one is an error.
    Require,
    /// Never.
    Never,
}

impl Default for OpenOptions {
    fn default() -> Self {
        Self {
            suffixes: Vec::new(),
            content: Content::Sequence,
            build_missing: true,
            rebuild_stale: false,
            strict_eof: false,
            recompress_gzip: false,
            validate: true,
            verify_index: false,
            no_cache: false,
            private: false,
            force_build: false,
            verify_blocks: true,
            cache_bytes: 16 << 20,
            open_files: 256,
            threads: 1,
            memory: 256 << 20,
            cache_directory: None,
            pack: Pack::Auto,
            map_plain: false,
            archives: None,
            remote: None,
        }
    }
}
