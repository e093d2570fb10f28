//! One compressor per thread with its scratch memory.

use super::Codec;
use flate2::{Compression, write::GzEncoder};
use seqmill_base::{Error, Result};
use std::io::Write;

enum Engine {
    None,
    Zstd(zstd::bulk::Compressor<'static>),
    Lz4,
    Snappy(Box<snap::raw::Encoder>),
    Gzip(Compression),
}

/// Compresses page bodies one after the other.
pub(super) struct Compressor {
    engine: Engine,
    scratch: Vec<u8>,
}

impl Compressor {
    pub(super) fn new(codec: Codec) -> Result<Self> {
        let engine = match codec {
            Codec::None => Engine::None,
            Codec::Zstd(level) => {
                let range = zstd::compression_level_range();
                if !range.contains(&level) {
                    return Err(Error::input(format!(
                        "zstd level {level} does not exist; give one from {} to {}",
                        range.start(),
                        range.end()
                    )));
                }
                Engine::Zstd(zstd::bulk::Compressor::new(level).map_err(|e| failed(&e))?)
            }
            Codec::Lz4 => Engine::Lz4,
            Codec::Snappy => Engine::Snappy(Box::new(snap::raw::Encoder::new())),
            Codec::Gzip(level) if level <= 9 => Engine::Gzip(Compression::new(level)),
            Codec::Gzip(level) => {
                return Err(Error::input(format!(
                    "gzip level {level} does not exist; give one from 0 to 9"
                )));
            }
        };
        Ok(Self { engine, scratch: Vec::new() })
    }

    /// The compressed form of `body`, valid until the next call.
    pub(super) fn compress<'a>(&'a mut self, body: &'a [u8]) -> Result<&'a [u8]> {
        let scratch = &mut self.scratch;
        scratch.clear();
        match &mut self.engine {
            Engine::None => return Ok(body),
            Engine::Zstd(engine) => {
                scratch.reserve(zstd::zstd_safe::compress_bound(body.len()));
                engine.compress_to_buffer(body, scratch).map_err(|e| failed(&e))?;
            }
            Engine::Lz4 => {
                scratch.resize(lz4_flex::block::get_maximum_output_size(body.len()), 0);
                let size = lz4_flex::block::compress_into(body, scratch).map_err(|e| failed(&e))?;
                scratch.truncate(size);
            }
            Engine::Snappy(engine) => {
                scratch.resize(snap::raw::max_compress_len(body.len()), 0);
                let size = engine.compress(body, scratch).map_err(|e| failed(&e))?;
                scratch.truncate(size);
            }
            Engine::Gzip(level) => {
                let mut engine = GzEncoder::new(&mut *scratch, *level);
                engine.write_all(body).map_err(|e| failed(&e))?;
                engine.finish().map_err(|e| failed(&e))?;
            }
        }
        Ok(scratch)
    }

    /// Bytes of the scratch memory.
    pub(super) fn scratch_bytes(&self) -> usize {
        self.scratch.capacity()
    }

    /// Gives back scratch memory beyond `keep` bytes.
    pub(super) fn trim(&mut self, keep: usize) {
        self.scratch.clear();
        self.scratch.shrink_to(keep);
    }
}

fn failed(error: &dyn std::error::Error) -> Error {
    Error::internal(format!("page does not compress: {error}"))
}
