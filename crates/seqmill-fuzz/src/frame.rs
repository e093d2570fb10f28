//! Taking BGZF and gzip off and putting them on again.

use crate::random::Random;
use seqmill_io::bgzf::{Compressor, EOF_MARKER, Framing, PAYLOAD_BYTES, frame_at};
use std::io::{Read, Write};

/// The blocks of a BGZF file, as far as they parse.
pub(crate) fn blocks(bytes: &[u8]) -> Vec<std::ops::Range<usize>> {
    let mut list = Vec::new();
    let mut at = 0;
    while let Framing::Block(frame) = frame_at(&bytes[at..]) {
        let end = at + frame.block_bytes;
        if end > bytes.len() {
            break;
        }
        list.push(at..end);
        at = end;
    }
    list
}

/// The data of a gzip file (BGZF is one), if they inflate.
pub(crate) fn gunzip(bytes: &[u8]) -> Option<Vec<u8>> {
    let mut data = Vec::new();
    flate2::read::MultiGzDecoder::new(bytes).read_to_end(&mut data).ok()?;
    Some(data)
}

/// The data of all whole blocks of a BGZF file, if they inflate.
pub(crate) fn inflate(bytes: &[u8]) -> Option<Vec<u8>> {
    let end = blocks(bytes).last()?.end;
    gunzip(&bytes[..end])
}

/// Plain gzip.
pub(crate) fn gzip(data: &[u8]) -> Vec<u8> {
    let mut writer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    let _ = writer.write_all(data);
    writer.finish().unwrap_or_default()
}

/// BGZF with payloads of the given sizes. Returns the file and where each block's data and bytes
/// begin.
pub(crate) fn reframe(
    data: &[u8],
    payload: &mut dyn FnMut() -> usize,
    marker: bool,
) -> (Vec<u8>, Vec<(usize, u64)>) {
    let mut out = Vec::with_capacity(data.len() / 2 + 100);
    let mut starts = Vec::new();
    let Ok(mut compressor) = Compressor::new(1) else { return (out, starts) };
    let mut at = 0;
    while at < data.len() {
        let end = data.len().min(at + payload().clamp(1, PAYLOAD_BYTES));
        starts.push((at, out.len() as u64));
        if compressor.append_block(&data[at..end], &mut out).is_err() {
            break;
        }
        at = end;
    }
    if marker {
        out.extend(EOF_MARKER);
    }
    (out, starts)
}

/// BGZF with blocks as a case likes them: full, small, uneven, empty ones between.
pub(crate) fn reframe_anyhow(data: &[u8], random: &mut Random) -> (Vec<u8>, String) {
    let style = random.below(4);
    let marker = !random.once_in(10);
    let fixed = 1 + random.below(PAYLOAD_BYTES);
    // Very small blocks only for small files: each costs a compressor call.
    let least = (data.len() / 400).max(40);
    let mut own = random.clone();
    let mut payload = || match style {
        0 | 1 => PAYLOAD_BYTES,
        2 => fixed.max(least),
        _ => least + own.below(8 * least),
    };
    let (mut file, _) = reframe(data, &mut payload, marker);
    if random.once_in(8) {
        let list = blocks(&file);
        if let Some(range) = list.get(random.below(list.len())) {
            file.splice(range.start..range.start, EOF_MARKER);
        }
    }
    (file, format!("blocks of style {style}, marker {marker}"))
}
