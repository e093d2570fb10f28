//! Parts: references, packs and the collection as zstd frames.

use super::output::ReadyPart;
use crate::symbols::pack_tuples;
use crate::vint::write_vint;
use seqmill_base::{Error, Result};
use serde::{Deserialize, Serialize};
use zstd::bulk::Compressor;
use zstd::zstd_safe::CParameter;

/// Lags at which a reference is compared with itself.
const LAGS: std::ops::Range<usize> = 4..32;
/// Contents above this get smaller tables than their level would have.
const LARGE_BYTES: usize = 1 << 20;
/// Contents up to this leave a context that is small enough to be kept.
const KEEP_BYTES: usize = 128 << 10;
/// Sizes of window and tables for large contents, as powers of two.
const LARGE_WINDOW_LOG: u32 = 23;
const LARGE_TABLE_LOG: u32 = 20;

/// How much effort goes into size; never the format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// Little time.
    Fast,
    /// As the reference program.
    #[default]
    Default,
    /// Smallest.
    Max,
}

impl Level {
    fn tuples(self) -> i32 {
        match self {
            Self::Fast => 6,
            Self::Default => 13,
            Self::Max => 22,
        }
    }

    fn repeats(self) -> i32 {
        match self {
            Self::Fast => 9,
            Self::Default => 19,
            Self::Max => 22,
        }
    }

    fn packs(self) -> i32 {
        match self {
            Self::Fast => 9,
            Self::Default => 15,
            Self::Max => 22,
        }
    }

    fn collection(self) -> i32 {
        match self {
            Self::Fast => 9,
            Self::Default => 18,
            Self::Max => 22,
        }
    }
}

/// Compresses parts; reused from part to part.
pub(crate) struct Packer {
    inner: Compressor<'static>,
    level: Level,
    current: (i32, bool),
}

fn failed(e: &std::io::Error) -> Error {
    Error::internal(format!("zstd: {e}"))
}

impl Packer {
    pub(crate) fn new(level: Level) -> Result<Self> {
        let inner = Compressor::new(level.packs()).map_err(|e| failed(&e))?;
        Ok(Self { inner, level, current: (level.packs(), false) })
    }

    /// Bytes that compressing so much takes, tables included.
    pub(crate) fn bytes_for(content: u64) -> u64 {
        // Windows and tables are powers of two of up to twice the content.
        (content + (content >> 6) + 1024) + (content * 20).min(40 << 20) + (512 << 10)
    }

    fn frame(&mut self, content: &[u8], level: i32) -> Result<Vec<u8>> {
        let large = content.len() > LARGE_BYTES;
        if self.current != (level, large) {
            let (window, table) = if large { (LARGE_WINDOW_LOG, LARGE_TABLE_LOG) } else { (0, 0) };
            self.inner.set_compression_level(level).map_err(|e| failed(&e))?;
            for parameter in [
                CParameter::WindowLog(window),
                CParameter::HashLog(table),
                CParameter::ChainLog(if large { table + 1 } else { 0 }),
            ] {
                self.inner.set_parameter(parameter).map_err(|e| failed(&e))?;
            }
            self.current = (level, large);
        }
        let data = self.inner.compress(content).map_err(|e| failed(&e))?;
        if content.len() > KEEP_BYTES {
            // A context keeps the tables of its largest content, which nobody has reserved any more.
            *self = Self::new(self.level)?;
        }
        Ok(data)
    }

    /// A frame with its marker, or the content itself where that is not longer.
    fn marked(
        &mut self,
        content: &[u8],
        symbols: &[u8],
        level: i32,
        marker: u8,
    ) -> Result<ReadyPart> {
        let mut data = self.frame(content, level)?;
        data.push(marker);
        if data.len() >= symbols.len() {
            return Ok(ReadyPart { metadata: 0, data: symbols.to_vec() });
        }
        Ok(ReadyPart { metadata: symbols.len() as u64, data })
    }

    /// The part of a reference.
    pub(crate) fn reference(&mut self, codes: &[u8]) -> Result<ReadyPart> {
        if is_repetitive(codes) {
            return self.marked(codes, codes, self.level.repeats(), 0);
        }
        let tuples = pack_tuples(codes);
        self.marked(&tuples, codes, self.level.tuples(), 1)
    }

    /// The part of a pack.
    pub(crate) fn pack(&mut self, content: &[u8]) -> Result<ReadyPart> {
        self.marked(content, content, self.level.packs(), 0)
    }

    /// A part of the collection: a frame without a marker, with a checksum.
    pub(crate) fn collection(&mut self, content: &[u8]) -> Result<ReadyPart> {
        let set = |packer: &mut Self, on: bool| {
            packer.inner.set_parameter(CParameter::ChecksumFlag(on)).map_err(|e| failed(&e))
        };
        set(self, true)?;
        let data = self.frame(content, self.level.collection());
        set(self, false)?;
        Ok(ReadyPart { metadata: content.len() as u64, data: data? })
    }

    /// The part of the five arrays that describe segments.
    pub(crate) fn details(&mut self, arrays: &[Vec<u8>]) -> Result<ReadyPart> {
        let mut data = Vec::new();
        let mut frames = Vec::new();
        for array in arrays {
            let frame = self.collection(array)?.data;
            for size in [array.len(), frame.len()] {
                let size = u32::try_from(size)
                    .map_err(|_| Error::internal("a batch of samples is beyond 4 GiB"))?;
                write_vint(size, &mut data);
            }
            frames.extend(frame);
        }
        data.extend(frames);
        Ok(ReadyPart { metadata: 0, data })
    }
}

/// Whether a reference is made of short repeats, which tuples would hide from the compressor.
fn is_repetitive(codes: &[u8]) -> bool {
    let known = codes.iter().filter(|&&c| c < 4).count();
    if known == 0 {
        return true;
    }
    LAGS.into_iter().any(|lag| {
        let behind = codes.get(lag..).unwrap_or_default();
        // Sums of at most 255 bytes fit a byte: the compiler makes wide instructions of it.
        let same: usize = codes
            .chunks(255)
            .zip(behind.chunks(255))
            .map(|(a, b)| usize::from(a.iter().zip(b).map(|(x, y)| u8::from(x == y)).sum::<u8>()))
            .sum();
        2 * same >= known
    })
}

#[cfg(test)]
mod tests {
    use super::super::kmers::murmur64;
    use super::*;

    #[test]
    fn repeats_are_seen() {
        let random: Vec<u8> = (0..5000).map(|i| (murmur64(i) % 4) as u8).collect();
        assert!(!is_repetitive(&random));
        let repeats: Vec<u8> = random[..7].iter().copied().cycle().take(5000).collect();
        assert!(is_repetitive(&repeats));
    }

    #[test]
    fn what_does_not_shrink_is_kept() {
        let mut packer = Packer::new(Level::Default).unwrap();
        let part = packer.pack(&[1, 2, 3, 0xff]).unwrap();
        assert_eq!((part.metadata, part.data), (0, vec![1, 2, 3, 0xff]));
        let part = packer.reference(&[1; 4000]).unwrap();
        assert_eq!(part.metadata, 4000);
        assert!(part.data.len() < 40);
    }
}
