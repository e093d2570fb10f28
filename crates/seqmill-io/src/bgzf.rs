//! BGZF, the blocked gzip format (`SAMv1 §4.1`).

mod block;
mod gzi;
mod reader;
mod stream;
mod writer;

pub use block::{BLOCK_MAX_BYTES, EOF_MARKER, Frame, Framing, frame_at, is_bgzf};
pub use gzi::GziIndex;
pub use reader::{
    BlockMark, BlockReader, BlockSpan, Chunk, CompressedUnit, Inflater, UnitScanner, VirtualOffset,
};
pub use stream::compress_source;
pub use writer::{Compressor, PAYLOAD_BYTES, compress};
