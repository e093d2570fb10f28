//! The packed sidecars of a store: where they lie, which are used, and whether they are right.

use super::{ContigHash, Packed, SUFFIX, Source, write_packed};
use crate::aside::is_unwritable;
use crate::encode::{Encoder, Writer};
use crate::files::CHECKED_FOR;
use crate::flat::Format;
use crate::options::Pack;
use crate::store::{Process, Store};
use crate::window::Place;
use seqmill_base::{CancelToken, Error, FormatKind, Result};
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError};
use std::time::Instant;
use xxhash_rust::xxh3::xxh3_64;

/// Bases that are compared at a time.
const STEP_BASES: u64 = 1 << 20;

impl Store {
    /// Writes the packed sidecar of a file beside it, or into the cache directory where that
    /// cannot be written, and returns its path and size.
    pub fn pack(&self, file: u32, cancel: &CancelToken) -> Result<(PathBuf, u64)> {
        self.failure(file)?.map_or(Ok(()), Err)?;
        if self.index().file(file)?.format == Format::Archive {
            let what = "an archive is packed already; packed sidecars are for FASTA";
            return Err(Error::input(what).at_path(&self.path(file)?));
        }
        let mut last = None;
        for path in self.packed_paths(file)? {
            let in_cache = last.is_some() || self.options().remote.is_some();
            if let Some(folder) = path.parent().filter(|_| in_cache) {
                std::fs::create_dir_all(folder).map_err(|e| Error::io(folder, &e))?;
            }
            match write_packed(self, file, self.packed_source(file)?, &path, cancel) {
                Ok(()) => {
                    let size = std::fs::metadata(&path).map_err(|e| Error::io(&path, &e))?.len();
                    let packed = &self.process().packed;
                    packed.lock().unwrap_or_else(PoisonError::into_inner).remove(&file);
                    return Ok((path, size));
                }
                Err(error) if is_unwritable(&error) => last = Some(error),
                Err(error) => return Err(error),
            }
        }
        Err(last.unwrap_or_else(|| Error::internal("there is no place for a sidecar")))
    }

    /// Where the sidecar of a file may lie: beside it, or in the cache directory.
    fn packed_paths(&self, file: u32) -> Result<Vec<PathBuf>> {
        use std::os::unix::ffi::OsStrExt;
        let name = std::ffi::OsStr::from_bytes(self.name(file)?);
        let mut beside = self.root().base().join(name).into_os_string();
        beside.push(SUFFIX);
        let beside = PathBuf::from(beside);
        // Nothing is written beside what is remote.
        let mut paths = if self.options().remote.is_some() { Vec::new() } else { vec![beside] };
        if let Some(cache) = &self.options().cache_directory {
            let path = self.path(file)?;
            let whole = std::fs::canonicalize(&path).unwrap_or(path);
            let key = xxh3_64(whole.as_os_str().as_bytes());
            paths.push(cache.join(format!("{key:016x}{SUFFIX}")));
        }
        Ok(paths)
    }

    fn packed_source(&self, file: u32) -> Result<Source> {
        let index = self.index();
        let record = index.file(file)?;
        let mut hash = ContigHash::default();
        for id in 0..record.contigs {
            let contig = index.contig(&record, id)?;
            hash.add(index.contig_name(&contig)?, contig.length);
        }
        Ok(Source { size: record.size, mtime_ns: record.mtime_ns, contigs: hash.digest() })
    }

    /// The packed sidecar of a file, if there is one and it may be used.
    pub(crate) fn packed(&self, process: &Process, file: u32) -> Result<Option<Arc<Packed>>> {
        if self.options().pack == Pack::Never || self.is_raw() {
            return Ok(None);
        }
        let mut known = process.packed.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((packed, checked)) = known.get_mut(&file) {
            // The file itself is not opened, so that nothing else would tell.
            if packed.is_some() && checked.elapsed() > CHECKED_FOR {
                self.check_version(file)?;
                *checked = Instant::now();
            }
            return Ok(packed.clone());
        }
        let paths = self.packed_paths(file)?;
        let mut packed = None;
        if paths.iter().any(|path| path.exists()) {
            let source = self.packed_source(file)?;
            packed = paths
                .iter()
                .find_map(|path| Packed::open(path, source, self.verify_blocks()))
                .map(Arc::new);
        }
        if packed.is_none() && self.options().pack == Pack::Require {
            let what = "there is no packed sidecar of the file as it is; make one with --pack";
            let beside = paths.first().map_or(Path::new("."), PathBuf::as_path);
            return Err(Error::format(FormatKind::StaleIndex, what).at_path(beside));
        }
        if packed.is_some() {
            self.check_version(file)?;
        }
        known.insert(file, (packed.clone(), Instant::now()));
        Ok(packed)
    }

    /// Compares the sidecars of a file with its bases, page by page and base by base.
    pub(crate) fn check_packed(&self, file: u32, cancel: &CancelToken) -> Result<()> {
        for path in self.packed_paths(file)?.iter().filter(|path| path.exists()) {
            let Some(packed) = Packed::open(path, self.packed_source(file)?, true) else {
                let what = "packed sidecar is damaged or of another file; pack the file again";
                return Err(Error::format(FormatKind::StaleIndex, what).at_path(path));
            };
            for page in 0..packed.pages() {
                packed.check_page(page)?;
            }
            self.compare_packed(file, &packed, path, cancel)?;
        }
        Ok(())
    }

    fn compare_packed(
        &self,
        file: u32,
        packed: &Packed,
        path: &Path,
        cancel: &CancelToken,
    ) -> Result<()> {
        let encoder = Encoder::identity();
        for id in 0..self.contigs(file)? {
            let contig = self.contig(file, id)?;
            let mut start = 0;
            while start < contig.length() {
                cancel.check()?;
                let end = (start + STEP_BASES).min(contig.length());
                let bases = usize::try_from(end - start).unwrap_or(0);
                let (mut real, mut told) = (vec![0; bases], vec![0; bases]);
                let place = Place { start, end, left: 0, right: 0 };
                self.read_unpacked(&contig, &place, (&encoder, b'N'), &mut real)?;
                let mut writer = Writer::new(&encoder, &mut told, bases, false)?;
                packed.read(&contig, (start, end), &mut writer)?;
                if real != told {
                    let name = String::from_utf8_lossy(contig.name);
                    let what = format!("packed sidecar has other bases of contig {name:?}");
                    return Err(Error::format(FormatKind::StaleIndex, what).at_path(path));
                }
                start = end;
            }
        }
        Ok(())
    }
}
