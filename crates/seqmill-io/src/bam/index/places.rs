//! Damage met exactly where an index pointed: the index is to blame, not the data.

use crate::bgzf::VirtualOffset;
use seqmill_base::{Error, ErrorKind, FormatKind};
use std::path::PathBuf;

/// The places that an index gave.
#[derive(Debug, Clone)]
pub struct IndexedPlaces {
    path: PathBuf,
    begins: Vec<VirtualOffset>,
    /// Those within the file: at its end, data may be cut.
    ends: Vec<VirtualOffset>,
}

impl IndexedPlaces {
    /// The stretches that the index at `path` gave for a file of `size` bytes: begin and end as
    /// virtual offsets (none: to the end).
    pub fn new(path: PathBuf, stretches: &[(u64, Option<u64>)], size: u64) -> Self {
        let ends = stretches.iter().filter_map(|(_, end)| end.map(VirtualOffset));
        Self {
            path,
            begins: stretches.iter().map(|(begin, _)| VirtualOffset(*begin)).collect(),
            ends: ends.filter(|end| end.block() < size).collect(),
        }
    }

    /// The error, or an `IndexMismatch` in its place (`bam.md` §8).
    pub fn blame(&self, error: Error) -> Error {
        let ErrorKind::Format(kind) = error.kind() else { return error };
        let place = error.place();
        let at_block = place.offset.is_some_and(|at| self.begins.iter().any(|b| b.block() == at));
        let at_record = place.voffset.is_some_and(|at| self.begins.iter().any(|b| b.0 == at));
        let before_end = place.voffset.is_some_and(|at| self.ends.iter().any(|end| end.0 > at));
        let mismatch = match kind {
            FormatKind::Bgzf => at_block,
            FormatKind::Record => at_record,
            FormatKind::Truncated => at_block || at_record || before_end,
            _ => false,
        };
        if !mismatch {
            return error;
        }
        let what = format!("index does not match: {}", error.message());
        let mut blamed = Error::format(FormatKind::IndexMismatch, what).at_path(&self.path);
        if let Some(voffset) = place.voffset {
            blamed = blamed.at_voffset(voffset);
        }
        if let Some(offset) = place.offset {
            blamed = blamed.at_offset(offset);
        }
        blamed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_places_of_the_index_are_its_fault() {
        let places = IndexedPlaces {
            path: PathBuf::from("x.bai"),
            begins: vec![VirtualOffset::new(100, 7)],
            ends: vec![VirtualOffset::new(300, 0)],
        };
        let kind = |kind, at: fn(Error) -> Error| {
            places.blame(at(Error::format(kind, "bad"))).kind() == ErrorKind::Format(kind)
        };
        assert!(!kind(FormatKind::Bgzf, |e| e.at_offset(100)));
        assert!(kind(FormatKind::Bgzf, |e| e.at_offset(200)));
        assert!(kind(FormatKind::Checksum, |e| e.at_offset(100)));
        assert!(!kind(FormatKind::Record, |e| e.at_voffset(VirtualOffset::new(100, 7).0)));
        assert!(kind(FormatKind::Record, |e| e.at_voffset(VirtualOffset::new(100, 9).0)));
        assert!(!kind(FormatKind::Truncated, |e| e.at_voffset(VirtualOffset::new(250, 3).0)));
        assert!(kind(FormatKind::Truncated, |e| e.at_voffset(VirtualOffset::new(400, 3).0)));
    }
}
