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
/// Begin and end of a part of a file.
type Stretch = (VirtualOffset, VirtualOffset);

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
    pub fn stretches(&self, intervals: &[Interval]) -> Result<Vec<Stretch>> {
        let mut stretches = Vec::new();
        let count = self.reference_count();
        for interval in intervals {
            if interval.reference as usize >= count {
                return Err(self.mismatch(&format!("it has no reference {}", interval.reference)));
            }
            stretches.extend(self.query(interval)?);
        }
        stretches.sort_unstable();
        let mut merged: Vec<Stretch> = Vec::with_capacity(stretches.len());
        for (begin, end) in stretches {
            match merged.last_mut() {
                Some((_, last_end)) if begin <= *last_end => *last_end = (*last_end).max(end),
                _ => merged.push((begin, end)),
            }
        }
        Ok(merged)
    }

    /// Between which places all records of a reference stand, also those without a position, of
    /// which an index need not know: behind what is known of the references before it (none: the
    /// beginning of the records) and before that of those behind it (none: the end).
    pub fn reference_stretch(
        &self,
        reference: u32,
    ) -> Result<(Option<VirtualOffset>, Option<VirtualOffset>)> {
        let whole = |reference| Interval { reference, begin: 0, end: u64::MAX };
        let count = u32::try_from(self.reference_count()).unwrap_or(u32::MAX);
        let (mut begin, mut end) = (None, None);
        for before in (0..reference.min(count)).rev() {
            begin = self.query(&whole(before))?.into_iter().map(|(_, end)| end).max();
            if begin.is_some() {
                break;
            }
        }
        for behind in reference.saturating_add(1)..count {
            end = self.query(&whole(behind))?.into_iter().map(|(begin, _)| begin).min();
            if end.is_some() {
                break;
            }
        }
        Ok((begin, end))
    }

    /// The stretches of one interval, as they stand in the index.
    fn query(&self, interval: &Interval) -> Result<Vec<Stretch>> {
        let bits = u32::from(self.inner.min_shift()) + 3 * u32::from(self.inner.depth());
        let last = 1_u64.checked_shl(bits).unwrap_or(u64::MAX) - 1;
        let position = |p: u64| {
            Position::new(usize::try_from(p.clamp(1, last)).unwrap_or(usize::MAX))
                .unwrap_or(Position::MIN)
        };
        let begin = position(interval.begin.saturating_add(1));
        let range = begin..=position(interval.end);
        let found = self.inner.query(interval.reference as usize, range.into());
        let chunks = found.map_err(|e| self.mismatch(&e.to_string()))?;
        let place = |virtual_position| VirtualOffset(u64::from(virtual_position));
        Ok(chunks.into_iter().map(|chunk| (place(chunk.start()), place(chunk.end()))).collect())
    }

    fn mismatch(&self, what: &str) -> Error {
        let kind = FormatKind::IndexMismatch;
        Error::format(kind, format!("index does not match: {what}")).at_path(&self.path)
    }

    /// From where on records without a reference may stand.
    pub fn unplaced_start(&self) -> Option<VirtualOffset> {
        self.inner.last_first_record_start_position().map(|v| VirtualOffset(u64::from(v)))
    }
}
