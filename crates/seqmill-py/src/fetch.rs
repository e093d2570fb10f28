//! `seqmill.FastaStore`: windows of sequence into buffers that Python owns.

pub(crate) mod arguments;

use crate::attention::attentive;
use crate::error::to_python;
use crate::job::{new_job, run};
use crate::remote::{RemoteFiles, engine_side};
use arguments::{Name, Output, PlaceTuple, Windows, name_to_python, place_of, policy};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyBytes;
use seqmill_base::process::memory_figures;
use seqmill_base::{CancelToken, Error, Job};
use seqmill_convert::Resources;
use seqmill_fetch::{Content, Contig, Encoder, Layout, OpenOptions, Pack, Place, Root, Store};
use seqmill_io::Remote;
use std::path::PathBuf;
use std::sync::Arc;

/// Batches of so few windows are read on the calling thread.
const SHORT_BATCH: usize = 256;

/// A table of 256 entries and their layout.
#[pyclass(frozen, module = "seqmill._native", name = "FetchEncoder")]
pub(crate) struct FetchEncoder {
    encoder: Encoder,
}

#[pymethods]
impl FetchEncoder {
    #[new]
    fn new(py: Python<'_>, layout: &str, width: usize, table: Vec<u8>) -> PyResult<Self> {
        let layout = match layout {
            "rows" => Layout::Rows,
            "planes" => Layout::Planes,
            "2bit" => Layout::TwoBit,
            other => return Err(PyValueError::new_err(format!("no layout {other:?}"))),
        };
        let encoder = Encoder::new(layout, width, table).map_err(|e| to_python(py, &e))?;
        Ok(Self { encoder })
    }

    /// Bytes of a window of so many bases.
    fn output_bytes(&self, bases: usize) -> usize {
        self.encoder.output_bytes(bases)
    }
}

/// Many sequence files with one index.
#[pyclass(frozen, module = "seqmill._native", name = "FetchStore")]
pub(crate) struct FetchStore {
    store: Arc<Store>,
    remote: Option<Arc<Remote>>,
}

impl FetchStore {
    fn contig(&self, py: Python<'_>, file: u32, contig: u32) -> PyResult<Contig<'_>> {
        self.store.contig(file, contig).map_err(|e| to_python(py, &e))
    }

    /// Reads a placed window; whoever waits for a server can be interrupted.
    fn read_window(
        &self,
        py: Python<'_>,
        contig: &Contig<'_>,
        place: &Place,
        minus: bool,
        encoding: (&Encoder, u8),
        out: &mut [u8],
    ) -> PyResult<()> {
        let work = |out: &mut [u8]| self.store.read(contig, place, minus, encoding, out);
        let read = if self.remote.is_some() {
            attentive(py, self.remote.as_ref(), &CancelToken::default(), || work(out))?
        } else {
            py.detach(|| work(out))
        };
        read.map_err(|e| to_python(py, &e))
    }
}

#[pymethods]
impl FetchStore {
    #[new]
    #[pyo3(signature = (base, files = None, *, suffixes, tracks = false, build_missing = true,
        rebuild_stale = false, strict_eof = false, recompress_gzip = false, validate = true,
        verify_index = false, no_cache = false, force_build = false, verify_blocks = true,
        cache_bytes = 16 << 20, open_files = 256, threads = 1, memory = 256 << 20,
        cache_directory = None, pack = "auto", map_plain = false, private = false,
        reopen = None, index = None, remote = None))]
    #[expect(clippy::too_many_arguments, clippy::fn_params_excessive_bools, reason = "keywords")]
    fn new(
        py: Python<'_>,
        base: PathBuf,
        files: Option<Vec<PathBuf>>,
        suffixes: Vec<String>,
        tracks: bool,
        build_missing: bool,
        rebuild_stale: bool,
        strict_eof: bool,
        recompress_gzip: bool,
        validate: bool,
        verify_index: bool,
        no_cache: bool,
        force_build: bool,
        verify_blocks: bool,
        cache_bytes: usize,
        open_files: usize,
        threads: usize,
        memory: u64,
        cache_directory: Option<PathBuf>,
        pack: &str,
        map_plain: bool,
        private: bool,
        reopen: Option<(PathBuf, u64, u32)>,
        index: Option<&[u8]>,
        remote: Option<Py<RemoteFiles>>,
    ) -> PyResult<Self> {
        let root = match files {
            Some(files) => Root::Files(base, files),
            None => Root::Directory(base),
        };
        let pack = match pack {
            "auto" => Pack::Auto,
            "require" => Pack::Require,
            "never" => Pack::Never,
            other => return Err(PyValueError::new_err(format!("no way to pack {other:?}"))),
        };
        let content = if tracks { Content::Tracks } else { Content::Sequence };
        let options = OpenOptions {
            suffixes,
            content,
            build_missing,
            rebuild_stale,
            strict_eof,
            recompress_gzip,
            validate,
            verify_index,
            no_cache,
            force_build,
            verify_blocks,
            cache_bytes,
            open_files,
            threads,
            memory,
            cache_directory,
            pack,
            map_plain,
            private,
            archives: crate::archive::ARCHIVES,
            remote: engine_side(remote.as_ref()),
        };
        let remote = options.remote.clone();
        let open = || match (index, reopen) {
            (Some(index), _) => Store::from_content(root, options, index),
            (None, Some((path, build_id, files))) => {
                Store::reopen(root, options, &path, (build_id, files))
            }
            (None, None) => Store::open(root, options),
        };
        let store = if remote.is_some() {
            attentive(py, remote.as_ref(), &CancelToken::default(), open)?
        } else {
            py.detach(open)
        };
        let store = store.map_err(|e| to_python(py, &e))?;
        Ok(Self { store: Arc::new(store), remote })
    }

    #[getter]
    fn build_id(&self) -> u64 {
        self.store.build_id()
    }

    #[getter]
    fn index_path(&self) -> PathBuf {
        self.store.index_path()
    }

    /// The whole index, for another process.
    fn index_content<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, self.store.index_content())
    }

    #[getter]
    fn index_bytes(&self) -> usize {
        self.store.index_bytes()
    }

    #[getter]
    fn was_built(&self) -> bool {
        self.store.was_built()
    }

    #[getter]
    fn built(&self) -> Vec<String> {
        self.store.built().to_vec()
    }

    fn __len__(&self) -> usize {
        self.store.files() as usize
    }

    /// Warnings since the last call.
    fn take_warnings(&self) -> Vec<String> {
        self.store.take_warnings()
    }

    /// Indices of the files that cannot be read.
    fn unreadable(&self, py: Python<'_>) -> PyResult<Vec<u32>> {
        let mut found = Vec::new();
        for file in 0..self.store.files() {
            if self.store.is_unreadable(file).map_err(|e| to_python(py, &e))? {
                found.push(file);
            }
        }
        Ok(found)
    }

    /// Name of a file.
    fn name<'py>(&self, py: Python<'py>, file: u32) -> PyResult<Bound<'py, PyAny>> {
        name_to_python(py, self.store.name(file).map_err(|e| to_python(py, &e))?)
    }

    /// Path of a file.
    fn path(&self, py: Python<'_>, file: u32) -> PyResult<PathBuf> {
        self.store.path(file).map_err(|e| to_python(py, &e))
    }

    /// The error of a file that cannot be read.
    fn failure<'py>(&self, py: Python<'py>, file: u32) -> PyResult<Option<Bound<'py, PyAny>>> {
        let failure = self.store.failure(file).map_err(|e| to_python(py, &e))?;
        Ok(failure.map(|e| to_python(py, &e).into_value(py).into_bound(py).into_any()))
    }

    /// Index of the file of a name.
    fn find_file(&self, py: Python<'_>, name: Name) -> PyResult<u32> {
        let Name(name) = name;
        self.store.find_file(&name).map_err(|e| to_python(py, &e))
    }

    /// Index and length of a contig of a file.
    fn find_contig(&self, py: Python<'_>, file: u32, name: Name) -> PyResult<(u32, u64)> {
        let Name(name) = name;
        let contig = self.store.find_contig(file, &name).map_err(|e| to_python(py, &e))?;
        Ok((contig.id, contig.length()))
    }

    /// The files that have a contig of this name and of so many bases at least.
    fn files_with_contig(&self, py: Python<'_>, name: Name, least: u64) -> PyResult<Vec<u32>> {
        let Name(name) = name;
        self.store.files_with_contig(&name, least).map_err(|e| to_python(py, &e))
    }

    /// Number of contigs of a file.
    fn contig_count(&self, py: Python<'_>, file: u32) -> PyResult<u32> {
        self.store.contigs(file).map_err(|e| to_python(py, &e))
    }

    /// Names and lengths of the contigs of a file.
    fn contigs<'py>(&self, py: Python<'py>, file: u32) -> PyResult<Vec<(Bound<'py, PyAny>, u64)>> {
        let count = self.store.contigs(file).map_err(|e| to_python(py, &e))?;
        (0..count)
            .map(|id| {
                let contig = self.contig(py, file, id)?;
                Ok((name_to_python(py, contig.name)?, contig.length()))
            })
            .collect()
    }

    /// Of all contigs of all files that can be read: file, number and length, as three columns of
    /// little-endian u32, u32 and u64.
    fn contig_table<'py>(&self, py: Python<'py>) -> PyResult<[Bound<'py, PyBytes>; 3]> {
        let table = py.detach(|| self.store.contig_table()).map_err(|e| to_python(py, &e))?;
        Ok(table.map(|column| PyBytes::new(py, &column)))
    }

    /// Sets how many bytes of inflated blocks this process keeps from now on.
    fn limit_cache(&self, size: usize) {
        self.store.limit_cache(size);
    }

    /// Places a window: first base, first base behind, padding before and behind.
    fn place(
        &self,
        py: Python<'_>,
        file: u32,
        contig: u32,
        start: i64,
        end: Option<i64>,
        out_of_range: &str,
    ) -> PyResult<PlaceTuple> {
        let contig = self.contig(py, file, contig)?;
        let place = self
            .store
            .place(&contig, start, end, policy(py, out_of_range)?)
            .map_err(|e| to_python(py, &e))?;
        Ok((place.start, place.end, place.left, place.right))
    }

    /// Reads a placed window into a buffer of bytes.
    #[expect(clippy::too_many_arguments, reason = "one call a window")]
    fn read(
        &self,
        py: Python<'_>,
        file: u32,
        contig: u32,
        place: PlaceTuple,
        minus: bool,
        encoder: &FetchEncoder,
        pad: u8,
        mut out: Output,
    ) -> PyResult<()> {
        let contig = self.contig(py, file, contig)?;
        let place = place_of(place, &contig)?;
        let encoding = (&encoder.encoder, pad);
        self.read_window(py, &contig, &place, minus, encoding, out.bytes())
    }

    /// Reads a placed window as bytes.
    #[expect(clippy::too_many_arguments, reason = "one call a window")]
    fn read_bytes<'py>(
        &self,
        py: Python<'py>,
        file: u32,
        contig: u32,
        place: PlaceTuple,
        minus: bool,
        encoder: &FetchEncoder,
        pad: u8,
    ) -> PyResult<Bound<'py, PyBytes>> {
        let contig = self.contig(py, file, contig)?;
        let place = place_of(place, &contig)?;
        let bases = usize::try_from(place.bases())?;
        let encoding = (&encoder.encoder, pad);
        PyBytes::new_with(py, encoder.encoder.output_bytes(bases), |out| {
            self.read_window(py, &contig, &place, minus, encoding, out)
        })
    }

    /// Fills `lengths` with the bases that each window has.
    fn measure_many(
        &self,
        py: Python<'_>,
        windows: &Bound<'_, PyAny>,
        out_of_range: &str,
    ) -> PyResult<Vec<u64>> {
        let windows = Windows::new(py, windows)?;
        let policy = policy(py, out_of_range)?;
        py.detach(|| {
            let placed = windows.place(&self.store, policy)?;
            Ok(placed.iter().map(|w| w.place.bases()).collect())
        })
        .map_err(|e: Error| to_python(py, &e))
    }

    /// Reads many windows into one buffer.
    #[expect(clippy::too_many_arguments, reason = "one call a batch")]
    fn read_many(
        &self,
        py: Python<'_>,
        windows: &Bound<'_, PyAny>,
        out_of_range: &str,
        row_bases: usize,
        encoder: &FetchEncoder,
        pad: u8,
        mut out: Output,
        threads: usize,
    ) -> PyResult<()> {
        let windows = Windows::new(py, windows)?;
        let policy = policy(py, out_of_range)?;
        let out = out.bytes();
        let encoding = (&encoder.encoder, pad);
        let store = &self.store;
        let cancel = CancelToken::default();
        let remote = self.remote.as_ref();
        // Who waits for a server needs no core: as many ranges are asked for as may be.
        let ranges = remote.map_or(0, |r| usize::try_from(r.ranges()).unwrap_or(0));
        let threads = threads.max(ranges);
        let short = windows.len() <= SHORT_BATCH && remote.is_none();
        let work = || {
            let placed = windows.place(store, policy)?;
            store.read_many(&placed, row_bases, encoding, out, threads, &cancel)
        };
        let done = if short { Ok(py.detach(work)) } else { attentive(py, remote, &cancel, work) };
        done?.map_err(|e| to_python(py, &e))
    }

    /// Compares the checksum of the index.
    fn check_index(&self, py: Python<'_>) -> PyResult<()> {
        py.detach(|| self.store.check_index()).map_err(|e| to_python(py, &e))
    }

    /// Writes the packed sidecar of a file; gives its path and size.
    fn pack(&self, py: Python<'_>, file: u32) -> PyResult<(PathBuf, u64)> {
        let job = new_job(py, &Resources { memory: 1 << 40, ..Resources::default() })?;
        let store = Arc::clone(&self.store);
        let _watch = self.remote.as_ref().map(|r| r.stop_with(job.cancel.clone()));
        run(py, &job, None, move |job: &Job| store.pack(file, &job.cancel))?
            .map_err(|e| to_python(py, &e))
    }

    /// Reads a whole file and compares everything that is known of it.
    fn check_file(&self, py: Python<'_>, file: u32, threads: usize, memory: u64) -> PyResult<()> {
        // The bytes are the check's own: what the process holds already comes on top.
        let held = memory_figures().rss.unwrap_or(0);
        let memory = memory.saturating_add(held).saturating_add(held / 16);
        let resources = Resources { threads, memory, ..Resources::default() };
        let job = new_job(py, &resources)?;
        let store = Arc::clone(&self.store);
        let _watch = self.remote.as_ref().map(|r| r.stop_with(job.cancel.clone()));
        run(py, &job, None, move |job: &Job| store.check_file(file, threads, job))?
            .map_err(|e| to_python(py, &e))
    }
}
