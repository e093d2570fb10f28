//! BAI and CSI indices, read by noodles: which stretches of a file can hold records of a region.

mod check;
mod places;

pub use places::IndexedPlaces;

use crate::bgzf::VirtualOffset;
use crate::region::Interval;
use noodles_core::Position;
use noodles_csi::BinningIndex;
use seqmill_base::{Error, FormatKind, Result};
use std::path::{Path, PathBuf};

/// An index of a coordinate-sorted file.
pub struct AlignmentIndex {
    inner: Box<dyn BinningIndex + Send + Sync>,
    path: PathBuf,
}

/// First bytes of an uncompressed BAI.
const BAI_MAGIC: [u8; 4] = *b"BAI\x01";

impl AlignmentIndex {
    /// Reads the index at `path`; BAI or CSI by its content.
    pub fn open(path: &Path) -> Result<Self> {
        let failed = |e: std::io::Error| {
            // What the system did not say, a parser or the inflater said of the content.
            if e.raw_os_error().is_some() {
                return Error::io(path, &e);
            }
            let kind = FormatKind::IndexMismatch;
            Error::format(kind, format!("the index is damaged: {e}")).at_path(path)
        };
        let mut magic = [0; 4];
        let mut file = std::fs::File::open(path).map_err(failed)?;
        std::io::Read::read_exact(&mut file, &mut magic).map_err(failed)?;
        let whole = std::fs::File::open(path).map(std::io::BufReader::new).map_err(failed)?;
        let inner: Box<dyn BinningIndex + Send + Sync> = if magic == BAI_MAGIC {
            check::check_bai(whole).map_err(failed)?;
            Box::new(noodles_bam::bai::fs::read(path).map_err(failed)?)
        } else {
            check::check_csi(whole).map_err(failed)?;
            Box::new(noodles_csi::fs::read(path).map_err(failed)?)
        };
        Ok(Self { inner, path: path.to_path_buf() })
    }

    /// The index beside `data`, if there is one: `X.bam.bai`, `X.bai`, `X.bam.csi`, `X.csi`.
    pub fn beside(data: &Path) -> Option<PathBuf> {
        let appended = |suffix: &str| {
            let mut name = data.as_os_str().to_owned();
            name.push(suffix);
            PathBuf::from(name)
        };
        let candidates = [
            appended(".bai"),
            data.with_extension("bai"),
            appended(".csi"),
            data.with_extension("csi"),
        ];
        candidates.into_iter().find(|path| path.is_file())
    }

    /// Where the index was read from.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// References the index covers.
    pub fn reference_count(&self) -> usize {
        self.inner.reference_sequences().count()
    }

    /// The stretches that can hold records overlapping any of the intervals, in file order,
    /// those that touch or overlap merged.
    pub fn stretches(&self, intervals: &[Interval]) -> Result<Vec<(VirtualOffset, VirtualOffset)>> {
        let mismatch = |what: String| {
            let kind = FormatKind::IndexMismatch;
            Error::format(kind, format!("index does not match: {what}")).at_path(&self.path)
        };
        let bits = u32::from(self.inner.min_shift()) + 3 * u32::from(self.inner.depth());
        let last = 1_u64.checked_shl(bits).unwrap_or(u64::MAX) - 1;
        let mut stretches = Vec::new();
        for interval in intervals {
            let position = |p: u64| {
                Position::new(usize::try_from(p.clamp(1, last)).unwrap_or(usize::MAX))
                    .unwrap_or(Position::MIN)
            };
            let begin = position(interval.begin.saturating_add(1));
            let range = begin..=position(interval.end);
            let reference = interval.reference as usize;
            if reference >= self.reference_count() {
                return Err(mismatch(format!("it has no reference {reference}")));
            }
            let chunks =
                self.inner.query(reference, range.into()).map_err(|e| mismatch(e.to_string()))?;
            stretches.extend(chunks.into_iter().map(|chunk| {
                (VirtualOffset(u64::from(chunk.start())), VirtualOffset(u64::from(chunk.end())))
            }));
        }
        stretches.sort_unstable();
        let mut merged: Vec<(VirtualOffset, VirtualOffset)> = Vec::with_capacity(stretches.len());
        for (begin, end) in stretches {
            match merged.last_mut() {
                Some((_, last_end)) if begin <= *last_end => *last_end = (*last_end).max(end),
                _ => merged.push((begin, end)),
            }
        }
        Ok(merged)
    }

    /// From where on records without a reference may stand.
    pub fn unplaced_start(&self) -> Option<VirtualOffset> {
        self.inner.last_first_record_start_position().map(|v| VirtualOffset(u64::from(v)))
    }
}
