//! Writing BGZF blocks.

use super::block::BLOCK_MAX_BYTES;
use libdeflater::{CompressionLvl, crc32};
use seqmill_base::{Error, Result};

/// Payload of a full block, as `bgzip` fills it.
pub const PAYLOAD_BYTES: usize = 0xff00;

/// Gzip header with the `BC` subfield; the last two bytes become BSIZE.
const HEADER: [u8; 18] =
    [0x1f, 0x8b, 0x08, 0x04, 0, 0, 0, 0, 0, 0xff, 0x06, 0, 0x42, 0x43, 0x02, 0, 0, 0];

/// Compresses payloads into blocks; reused from block to block.
pub struct Compressor {
    inner: libdeflater::Compressor,
}

impl Compressor {
    /// A compressor of the given level, 0 (stored) to 12.
    pub fn new(level: i32) -> Result<Self> {
        let level = CompressionLvl::new(level)
            .map_err(|_| Error::input(format!("compression level {level} is not in 0..=12")))?;
        Ok(Self { inner: libdeflater::Compressor::new(level) })
    }

    /// Appends one block that holds `payload` (at most [`PAYLOAD_BYTES`]) to `out`.
    pub fn append_block(&mut self, payload: &[u8], out: &mut Vec<u8>) -> Result<()> {
        if payload.len() > PAYLOAD_BYTES {
            return Err(Error::internal("payload of a BGZF block is too long"));
        }
        let start = out.len();
        let data_start = start + HEADER.len();
        out.extend(HEADER);
        out.resize(start + BLOCK_MAX_BYTES - 8, 0);
        let room = out.get_mut(data_start..).unwrap_or_default();
        if let Ok(n) = self.inner.deflate_compress(payload, room) {
            out.truncate(data_start + n);
        } else {
            out.truncate(data_start);
            store(payload, out);
        }
        out.extend(crc32(payload).to_le_bytes());
        out.extend(u32::try_from(payload.len()).unwrap_or(0).to_le_bytes());
        let size = u16::try_from(out.len() - start - 1)
            .map_err(|_| Error::internal("BGZF block is too long"))?;
        if let Some(field) = out.get_mut(start + 16..start + 18) {
            field.copy_from_slice(&size.to_le_bytes());
        }
        Ok(())
    }
}

/// One stored deflate block (RFC 1951 §3.2.4), for payloads that do not shrink.
fn store(payload: &[u8], out: &mut Vec<u8>) {
    let length = u16::try_from(payload.len()).unwrap_or(0);
    out.push(1);
    out.extend(length.to_le_bytes());
    out.extend((!length).to_le_bytes());
    out.extend(payload);
}

/// Compresses `data` into blocks of [`PAYLOAD_BYTES`], without an end marker.
pub fn compress(data: &[u8], level: i32) -> Result<Vec<u8>> {
    let mut compressor = Compressor::new(level)?;
    let mut out = Vec::with_capacity(data.len() / 2);
    for payload in data.chunks(PAYLOAD_BYTES) {
        compressor.append_block(payload, &mut out)?;
    }
    Ok(out)
}
