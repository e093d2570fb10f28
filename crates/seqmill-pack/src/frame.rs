//! zstd frames of the archive: inflated to a length that is known, or in a stream.

use seqmill_base::{Error, FormatKind, Result};
use std::io::{BufReader, Read};
use zstd::bulk::Decompressor;

/// Most bytes that one byte of a frame can stand for: a block of one repeated byte.
const RATIO_MAX: u64 = 1 << 17;
/// Bounds of the window that a streamed frame may ask for, as powers of two.
const WINDOW_LOGS: (u32, u32) = (10, 27);

/// Inflates frames; reused from frame to frame.
pub(crate) struct Inflater {
    inner: Decompressor<'static>,
}

fn broken(what: impl Into<String>) -> Error {
    Error::format(FormatKind::Other, what)
}

impl Inflater {
    pub(crate) fn new() -> Result<Self> {
        let inner = Decompressor::new().map_err(|e| Error::internal(format!("zstd: {e}")))?;
        Ok(Self { inner })
    }

    /// Inflates a frame that must give exactly `length` bytes.
    pub(crate) fn inflate(&mut self, frame: &[u8], length: u64) -> Result<Vec<u8>> {
        let content = self.inflate_within(frame, length)?;
        if content.len() as u64 != length {
            let what = format!("a frame holds {} bytes where {length} are said", content.len());
            return Err(broken(what));
        }
        Ok(content)
    }

    /// Inflates a frame that gives at most `limit` bytes.
    pub(crate) fn inflate_within(&mut self, frame: &[u8], limit: u64) -> Result<Vec<u8>> {
        if limit > (frame.len() as u64).saturating_mul(RATIO_MAX) {
            return Err(broken(format!(
                "a frame of {} bytes cannot hold {limit} bytes",
                frame.len()
            )));
        }
        let limit = usize::try_from(limit).map_err(|_| broken("a part is beyond memory"))?;
        let mut content = Vec::with_capacity(limit);
        if limit == 0 && frame.is_empty() {
            return Ok(content);
        }
        self.inner
            .decompress_to_buffer(frame, &mut content)
            .map_err(|e| broken(format!("a zstd frame is damaged: {e}")))?;
        Ok(content)
    }
}

/// A frame that is inflated bit by bit, because its content is too large to be held; its window
/// must not be larger than `limit`.
pub(crate) fn stream<'r>(frame: impl Read + 'r, limit: u64) -> Result<impl Read + 'r> {
    let mut decoder = zstd::stream::read::Decoder::with_buffer(BufReader::new(frame))
        .map_err(|e| Error::internal(format!("zstd: {e}")))?
        .single_frame();
    let log = limit.checked_ilog2().unwrap_or(0).clamp(WINDOW_LOGS.0, WINDOW_LOGS.1);
    decoder.window_log_max(log).map_err(|e| Error::internal(format!("zstd: {e}")))?;
    Ok(decoder)
}

/// The error of a stream that cannot go on: damage, or a window beyond the limit.
pub(crate) fn stream_error(error: &std::io::Error, content: u64) -> Error {
    let text = error.to_string();
    // What zstd says of a window that is larger than it may be.
    if text.contains("too much memory") {
        return crate::container::too_large(content);
    }
    broken(format!("a zstd frame is damaged: {text}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_checked() {
        let frame = zstd::bulk::compress(&[7; 1000], 3).unwrap();
        let mut inflater = Inflater::new().unwrap();
        assert_eq!(inflater.inflate(&frame, 1000).unwrap(), [7; 1000]);
        for length in [0, 999, 1001, 1 << 40] {
            assert!(inflater.inflate(&frame, length).is_err(), "{length}");
        }
        assert!(inflater.inflate(&frame[..8], 1000).is_err());
        let mut all = Vec::new();
        stream(frame.as_slice(), 1 << 20).unwrap().read_to_end(&mut all).unwrap();
        assert_eq!(all.len(), 1000);
    }
}
