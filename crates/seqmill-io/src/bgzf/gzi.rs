//! The `.gzi` block index that `bgzip -i` writes: pairs of offsets, the first block left out.

use seqmill_base::{Error, FormatKind, Result};
use std::path::Path;

/// Starts of the blocks of a BGZF file, the first one at (0, 0) included.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GziIndex {
    entries: Vec<(u64, u64)>,
}

impl Default for GziIndex {
    fn default() -> Self {
        Self { entries: vec![(0, 0)] }
    }
}

impl GziIndex {
    /// Notes that a block begins at these compressed and uncompressed offsets.
    pub fn push(&mut self, compressed: u64, uncompressed: u64) {
        if compressed > 0 {
            self.entries.push((compressed, uncompressed));
        }
    }

    /// The (compressed, uncompressed) starts.
    pub fn entries(&self) -> &[(u64, u64)] {
        &self.entries
    }

    /// The bytes of a `.gzi` file.
    pub fn to_bytes(&self) -> Vec<u8> {
        let stored = self.entries.get(1..).unwrap_or_default();
        let mut bytes = Vec::with_capacity(8 + 16 * stored.len());
        bytes.extend((stored.len() as u64).to_le_bytes());
        for (compressed, uncompressed) in stored {
            bytes.extend(compressed.to_le_bytes());
            bytes.extend(uncompressed.to_le_bytes());
        }
        bytes
    }

    /// Reads the bytes of a `.gzi` file.
    pub fn from_bytes(bytes: &[u8], path: &Path) -> Result<Self> {
        let wrong = |what: String| Error::format(FormatKind::Other, what).at_path(path);
        let number = |at: usize| -> Option<u64> {
            bytes.get(at..)?.first_chunk::<8>().map(|b| u64::from_le_bytes(*b))
        };
        let count =
            number(0).ok_or_else(|| wrong("block index is shorter than its header".into()))?;
        let expected = count.checked_mul(16).and_then(|n| n.checked_add(8));
        if expected != Some(bytes.len() as u64) {
            return Err(wrong(format!(
                "block index claims {count} entries but has {} bytes",
                bytes.len()
            )));
        }
        let mut index = Self::default();
        for at in (8..bytes.len()).step_by(16) {
            let (Some(compressed), Some(uncompressed)) = (number(at), number(at + 8)) else {
                break;
            };
            let (c, u) = index.entries.last().copied().unwrap_or_default();
            if compressed == 0 && uncompressed == 0 {
                continue;
            }
            if compressed <= c || uncompressed < u {
                return Err(wrong(format!("block index is not sorted at entry {}", (at - 8) / 16)));
            }
            if compressed.max(uncompressed) > i64::MAX as u64 {
                let entry = (at - 8) / 16;
                return Err(wrong(format!("block index is beyond any file at entry {entry}")));
            }
            index.entries.push((compressed, uncompressed));
        }
        Ok(index)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_make_the_round_trip() {
        let mut index = GziIndex::default();
        for i in 0..5 {
            index.push(i * 100, i * 65280);
        }
        let path = Path::new("x.gzi");
        let bytes = index.to_bytes();
        assert_eq!(bytes.len(), 8 + 4 * 16);
        assert_eq!(GziIndex::from_bytes(&bytes, path).unwrap(), index);
        assert!(GziIndex::from_bytes(&bytes[..20], path).is_err());
        assert!(GziIndex::from_bytes(&[0xff; 24], path).is_err());
        let far = GziIndex { entries: vec![(0, 0), (1 << 63, 65280)] };
        assert!(GziIndex::from_bytes(&far.to_bytes(), path).is_err());
    }
}
