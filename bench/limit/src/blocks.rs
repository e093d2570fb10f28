//! BGZF blocks, read with `pread` of one MiB and inflated as wholes.

use crate::Result;
use libdeflater::{Decompressor, crc32};
use std::fs::File;
use std::os::unix::fs::FileExt;

const READ_BYTES: usize = 1 << 20;
const BLOCK_MAX_BYTES: usize = 1 << 16;
/// Space behind the data that wide loads may touch.
pub const SLACK: usize = 64;

/// The blocks of a file, in order.
pub struct Blocks {
    file: File,
    /// File offset behind `chunk`.
    offset: u64,
    chunk: Vec<u8>,
    at: usize,
    ended: bool,
    inflater: Decompressor,
    verify: bool,
}

impl Blocks {
    pub fn open(path: &str, verify: bool) -> Result<Self> {
        Ok(Self {
            file: File::open(path)?,
            offset: 0,
            chunk: Vec::with_capacity(READ_BYTES + BLOCK_MAX_BYTES),
            at: 0,
            ended: false,
            inflater: Decompressor::new(),
            verify,
        })
    }

    /// Appends at least `bytes` inflated bytes to `data`; false at the end of the file.
    pub fn append(&mut self, data: &mut Vec<u8>, bytes: usize) -> Result<bool> {
        let goal = data.len() + bytes;
        data.reserve(bytes + BLOCK_MAX_BYTES + SLACK);
        while data.len() < goal {
            let Some(size) = self.block_size()? else {
                if self.ended {
                    let rest = self.chunk.len() - self.at;
                    return if rest == 0 { Ok(false) } else { Err("the file is cut".into()) };
                }
                self.read()?;
                continue;
            };
            let block = self.chunk.get(self.at..self.at + size).ok_or("bad block size")?;
            self.at += size;
            inflate(&mut self.inflater, block, self.verify, data)?;
        }
        Ok(true)
    }

    /// Size of the next block, if all of it is there.
    fn block_size(&self) -> Result<Option<usize>> {
        let rest = &self.chunk[self.at..];
        let Some(head) = rest.first_chunk::<18>() else { return Ok(None) };
        // Common writers put the BC subfield first and alone; nothing else is read here.
        if head[..4] != [31, 139, 8, 4] || head[10..16] != [6, 0, b'B', b'C', 2, 0] {
            return Err("not a BGZF block".into());
        }
        let size = usize::from(u16::from_le_bytes([head[16], head[17]])) + 1;
        if size < 26 {
            return Err("bad block size".into());
        }
        Ok((size <= rest.len()).then_some(size))
    }

    fn read(&mut self) -> Result<()> {
        self.chunk.copy_within(self.at.., 0);
        let kept = self.chunk.len() - self.at;
        self.at = 0;
        self.chunk.resize(kept + READ_BYTES, 0);
        let got = self.file.read_at(&mut self.chunk[kept..], self.offset)?;
        self.offset += got as u64;
        self.ended = got == 0;
        self.chunk.truncate(kept + got);
        Ok(())
    }
}

fn inflate(
    inflater: &mut Decompressor,
    block: &[u8],
    verify: bool,
    data: &mut Vec<u8>,
) -> Result<()> {
    let (stream, footer) = block[18..].split_at(block.len() - 26);
    let word = |at: usize| u32::from_le_bytes([0, 1, 2, 3].map(|i| footer[at + i]));
    let size = word(4) as usize;
    if size > BLOCK_MAX_BYTES {
        return Err("bad ISIZE".into());
    }
    let begin = data.len();
    data.reserve(size + SLACK);
    // SAFETY: the space is reserved, and every byte of it is written before anyone reads it: the
    // call below is refused unless it fills exactly this slice.
    let out = unsafe {
        data.set_len(begin + size);
        &mut data[begin..]
    };
    if inflater.deflate_decompress(stream, out)? != size {
        return Err("a block inflates to another size than it states".into());
    }
    if verify && crc32(out) != word(0) {
        return Err("a checksum is wrong".into());
    }
    Ok(())
}
