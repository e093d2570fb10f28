//! A walk over an index before noodles parses it.
//!
//! Its parsers reserve memory by claimed counts, and a query panics on a bin that the depth does
//! not have: damage would end the process. The walk reads every count's items, and so knows that
//! they exist, without keeping anything.

use std::io::{Error, ErrorKind, Read, Result};

/// More than any real index has after inflation: a compressed one could claim anything.
const INDEX_MAX_BYTES: u64 = 1 << 30;
/// Depth and size of the smallest bins of every BAI (`SAMv1 §5.1.1`).
const BAI_DEPTH: u32 = 5;
/// Deepest tree that noodles reads.
const DEPTH_MAX: u32 = 9;
/// Begin and end of a chunk.
const CHUNK_BYTES: u64 = 16;

fn damaged(what: String) -> Error {
    Error::new(ErrorKind::InvalidData, what)
}

/// Reads an index to its end and checks that what it claims is there.
struct Walk<R> {
    reader: R,
}

impl<R: Read> Walk<R> {
    fn u32(&mut self) -> Result<u32> {
        let mut bytes = [0; 4];
        self.reader.read_exact(&mut bytes)?;
        Ok(u32::from_le_bytes(bytes))
    }

    /// A number that is never negative in a whole index.
    fn count(&mut self, of: &str) -> Result<u32> {
        let n = self.u32()?;
        if i32::try_from(n).is_err() {
            return Err(damaged(format!("it claims {n} {of}")));
        }
        Ok(n)
    }

    fn skip(&mut self, bytes: u64) -> Result<()> {
        let skipped = std::io::copy(&mut self.reader.by_ref().take(bytes), &mut std::io::sink())?;
        if skipped < bytes {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        Ok(())
    }

    fn bins(&mut self, depth: u32, bytes_before_chunks: u64) -> Result<()> {
        let bins = bin_count(depth);
        for _ in 0..self.count("bins")? {
            let bin = self.u32()?;
            // The one behind the next holds counts instead of chunks.
            if u64::from(bin) >= bins && u64::from(bin) != bins + 1 {
                return Err(damaged(format!("bin {bin} is none of the {bins} of its tree")));
            }
            self.skip(bytes_before_chunks)?;
            let chunks = self.count("chunks")?;
            self.skip(CHUNK_BYTES * u64::from(chunks))?;
        }
        Ok(())
    }
}

/// Bins of a tree (`SAMv1 §5.3`).
fn bin_count(depth: u32) -> u64 {
    ((1_u64 << (3 * (depth + 1))) - 1) / 7
}

/// Walks a BAI.
pub(super) fn check_bai(reader: impl Read) -> Result<()> {
    let mut walk = Walk { reader: reader.take(INDEX_MAX_BYTES) };
    walk.skip(4)?;
    for _ in 0..walk.count("references")? {
        walk.bins(BAI_DEPTH, 0)?;
        let intervals = walk.count("intervals")?;
        walk.skip(8 * u64::from(intervals))?;
    }
    Ok(())
}

/// Walks a CSI.
pub(super) fn check_csi(compressed: impl Read) -> Result<()> {
    let inflated = flate2::read::MultiGzDecoder::new(compressed);
    let mut walk = Walk { reader: std::io::BufReader::new(inflated.take(INDEX_MAX_BYTES)) };
    walk.skip(4)?;
    let (min_shift, depth) = (walk.count("bits of a bin")?, walk.count("levels")?);
    if depth > DEPTH_MAX || !(1..=62).contains(&(min_shift + 3 * depth)) {
        return Err(damaged(format!("no tree has {depth} levels of bins of 2^{min_shift} bases")));
    }
    let aux = walk.count("bytes of a header")?;
    walk.skip(u64::from(aux))?;
    for _ in 0..walk.count("references")? {
        walk.bins(depth, 8)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bgzf::compress;

    fn words(list: &[u32]) -> Vec<u8> {
        list.iter().flat_map(|n| n.to_le_bytes()).collect()
    }

    const BAI: u32 = u32::from_le_bytes(*b"BAI\x01");
    const CSI: u32 = u32::from_le_bytes(*b"CSI\x01");

    #[test]
    fn claims_without_data_are_refused() {
        let whole = [BAI, 1, 1, 37_450, 1, 0, 0, 9, 9, 1, 5, 5];
        check_bai(words(&whole).as_slice()).unwrap();
        for (at, value) in [(1, 2), (2, 1 << 30), (2, u32::MAX), (4, 1 << 27), (9, 0x7fff_ffff)] {
            let mut bad = whole;
            bad[at] = value;
            assert!(check_bai(words(&bad).as_slice()).is_err(), "{at}");
        }
        let mut bad = whole;
        for bin in [37_449, 37_451] {
            bad[3] = bin;
            assert!(check_bai(words(&bad).as_slice()).is_err(), "a bin that does not exist");
        }
    }

    #[test]
    fn trees_of_impossible_size_are_refused() {
        let csi = |min_shift, depth, bin| {
            let plain = words(&[CSI, min_shift, depth, 0, 1, 1, bin, 0, 0, 1, 0, 0, 9, 9]);
            check_csi(compress(&plain, 1).unwrap().as_slice())
        };
        csi(14, 5, 37_448).unwrap();
        csi(14, 6, 299_594).unwrap();
        for (min_shift, depth, bin) in [(0, 0, 0), (14, 10, 0), (63, 0, 0), (14, 5, 40_000)] {
            assert!(csi(min_shift, depth, bin).is_err(), "{min_shift} {depth} {bin}");
        }
    }
}
