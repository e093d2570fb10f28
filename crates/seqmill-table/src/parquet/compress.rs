//! One compressor per thread with its scratch memory.

use super::Codec;
use flate2::{Compression, write::GzEncoder};
use seqmill_base::{Error, Result};
use std::io::Write;
use zstd::zstd_safe::CParameter;

/// What a page holds, as far as it matters to the compressor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Content {
    /// Short texts or byte strings, one after the other, to be searched for matches with a table
    /// of two to the power of so many entries.
    ShortTexts(u32),
    Other,
}

/// Mean bytes up to which texts count as short.
const SHORT_BYTES: usize = 320;

/// Base 2 logarithm of the entries of the match table for short texts at level 1. Bases and
/// qualities have few letters: at the default of 2^13 or 2^14 entries nearly every place finds a
/// short match that costs more than the letters it stands for. A small table forgets those, yet
/// spans the few reads before that may overlap. Measured on real Illumina reads, with 2^10 entries:
/// qualities 6 % smaller in 15 % less time, bases 11 % in 6 %; with 2^11 names are smaller, too. Long
/// reads need the default: what they overlap with lies tens of thousands of bytes back.
const TEXT_TABLE: u32 = 11;

/// Letters up to which a text is bases, or qualities in bins; names and numbers have more. A letter
/// takes two bits or three then, and what is worth more begins within about one read before: with
/// about as many entries as a read has letters, bases of six real sets of short reads take 7 to
/// 16 % less than with [`TEXT_TABLE`], binned qualities of two 4 and 6 %, of a third 1 % more, while
/// qualities of forty values would take more.
const FEW_LETTERS: u32 = 8;
/// Mean bytes from which texts of few letters are reads; barcodes are shorter, and come again.
const READ_BYTES: usize = 32;
/// Bytes of a page whose letters are counted.
const SAMPLE_BYTES: usize = 4096;
/// Least base 2 logarithm of the entries of a table that zstd takes.
const TABLE_MIN: u32 = 6;

/// Least length of a match in short texts.
const TEXT_MATCH: u32 = 7;

/// Base 2 logarithm of the window of higher levels: bodies of pages have about 1 MiB, and the tables
/// of a context grow with the window, to 80 MiB at level 19.
const WINDOW: u32 = 20;
/// From this level on the window is set.
const WINDOW_LEVEL: i32 = 4;

/// Bytes that a zstd context takes at a level for bodies of [`WINDOW`], as zstd 1.5 tells them.
fn context_bytes(level: i32) -> u64 {
    let kib: u64 = match level {
        ..=2 => 768,
        3 => 1280,
        4..=6 => 3072,
        7 | 8 => 5632,
        9..=12 => 10752,
        _ => 17920,
    };
    kib << 10
}

impl Codec {
    /// Bytes that the state of one compressor takes between pages.
    pub fn state_bytes(self) -> u64 {
        match self {
            Self::Zstd(level) => context_bytes(level),
            Self::Gzip(_) => 512 << 10,
            Self::Snappy => 64 << 10,
            Self::Lz4 | Self::None => 0,
        }
    }
}

enum Engine {
    None,
    Zstd { engine: zstd::bulk::Compressor<'static>, tuned: bool, set_for: Content },
    Lz4,
    Snappy(Box<snap::raw::Encoder>),
    Gzip(Compression),
}

/// Compresses page bodies one after the other.
pub(super) struct Compressor {
    engine: Engine,
    scratch: Vec<u8>,
}

impl Content {
    /// Content of a page whose body ends with `count` texts.
    pub(super) fn texts(count: usize, body: &[u8]) -> Self {
        if body.len() > count * SHORT_BYTES {
            return Self::Other;
        }
        let mean = body.len() / count.max(1);
        let sample = &body[body.len().saturating_sub(SAMPLE_BYTES)..];
        let seen = sample.iter().fold([0u64; 4], |mut seen, &letter| {
            seen[usize::from(letter >> 6)] |= 1 << (letter & 63);
            seen
        });
        let letters = seen.iter().map(|word| word.count_ones()).sum::<u32>();
        if mean < READ_BYTES || letters > FEW_LETTERS {
            return Self::ShortTexts(TEXT_TABLE);
        }
        Self::ShortTexts(mean.ilog2().clamp(TABLE_MIN, TEXT_TABLE))
    }
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
                let mut engine = zstd::bulk::Compressor::new(level).map_err(|e| failed(&e))?;
                if level >= WINDOW_LEVEL {
                    let window = CParameter::WindowLog(WINDOW);
                    engine.set_parameter(window).map_err(|e| failed(&e))?;
                }
                Engine::Zstd { engine, tuned: level == 1, set_for: Content::Other }
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
    pub(super) fn compress<'a>(&'a mut self, body: &'a [u8], content: Content) -> Result<&'a [u8]> {
        let scratch = &mut self.scratch;
        scratch.clear();
        match &mut self.engine {
            Engine::None => return Ok(body),
            Engine::Zstd { engine, tuned, set_for } => {
                if *tuned && *set_for != content {
                    // 0 stands for the default.
                    let (table, least) = match content {
                        Content::ShortTexts(table) => (table, TEXT_MATCH),
                        Content::Other => (0, 0),
                    };
                    for parameter in [CParameter::HashLog(table), CParameter::MinMatch(least)] {
                        engine.set_parameter(parameter).map_err(|e| failed(&e))?;
                    }
                    *set_for = content;
                }
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
