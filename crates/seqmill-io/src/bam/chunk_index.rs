//! The chunk index `X.bam.smci` (`bam.md` §9): where stretches of records begin, what they span,
//! and every tag of the file. Little-endian throughout.

use crate::bgzf::VirtualOffset;
use libdeflater::crc32;
use seqmill_base::{Error, FormatKind, Result};
use std::fs::File;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use xxhash_rust::xxh3::Xxh3;

const MAGIC: [u8; 4] = *b"SMCI";
const VERSION: u32 = 1;
/// Bytes of the fixed part before the stretches.
const HEAD_BYTES: usize = 60;
/// Bytes of one stretch.
const STRETCH_BYTES: usize = 52;
/// Bytes of one tag.
const TAG_BYTES: usize = 16;
/// Bytes hashed at each end of the data file.
const PRINT_BYTES: u64 = 64 << 10;

/// Records of the file are in coordinate order.
pub const FLAG_COORDINATE: u32 = 1;
/// The file ends with the BGZF end marker.
pub const FLAG_END_MARKER: u32 = 4;

/// A run of records that begins at a known place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stretch {
    /// Offset of the block in which the first record begins.
    pub block: u64,
    /// Inflated offset of that block.
    pub inflated: u64,
    /// Bytes from there to the first record.
    pub first: u32,
    /// Records that begin in the stretch.
    pub records: u32,
    /// Number of the first one in the file.
    pub ordinal: u64,
    /// Lowest and highest reference; unplaced counts as `i32::MAX`.
    pub references: (i32, i32),
    /// Lowest position, 0-based.
    pub lowest: i32,
    /// Highest end, 0-based, exclusive.
    pub highest: i32,
    /// Flag bits set in any record, and in all.
    pub flags: (u16, u16),
}

impl Stretch {
    /// Where the first record begins.
    pub fn voffset(&self) -> VirtualOffset {
        VirtualOffset::new(self.block, self.first)
    }
}

/// One tag with one type.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct TagEntry {
    /// Name.
    pub name: [u8; 2],
    /// Type as in BAM.
    pub kind: u8,
    /// Subtype of an array, else 0.
    pub subtype: u8,
    /// Times it occurs.
    pub count: u64,
    /// Bytes of the longest value.
    pub longest: u32,
}

/// Identity of the data file when the index was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DataPrint {
    size: u64,
    mtime_ns: i64,
    hash: u64,
}

impl DataPrint {
    /// Takes the identity of a file.
    pub fn of(path: &Path) -> Result<Self> {
        let failed = |e: std::io::Error| Error::io(path, &e);
        let file = File::open(path).map_err(failed)?;
        let meta = file.metadata().map_err(failed)?;
        let size = meta.len();
        let mut hasher = Xxh3::new();
        let mut buffer = vec![0; usize::try_from(PRINT_BYTES.min(size)).unwrap_or(0)];
        for start in [0, size - PRINT_BYTES.min(size)] {
            file.read_exact_at(&mut buffer, start).map_err(failed)?;
            hasher.update(&buffer);
        }
        let mtime_ns = meta.mtime() * 1_000_000_000 + meta.mtime_nsec();
        Ok(Self { size, mtime_ns, hash: hasher.digest() })
    }
}

/// A whole index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChunkIndex {
    /// `FLAG_…` bits.
    pub flags: u32,
    /// The data file it belongs to.
    pub print: DataPrint,
    /// Records of the file.
    pub records: u64,
    /// Bytes of the inflated file.
    pub inflated: u64,
    /// Stretches in file order.
    pub stretches: Vec<Stretch>,
    /// Tags, sorted.
    pub tags: Vec<TagEntry>,
}

/// Reads numbers one after the other.
struct Cursor<'a>(&'a [u8]);

impl Cursor<'_> {
    fn take<const N: usize>(&mut self) -> [u8; N] {
        let Some((bytes, rest)) = self.0.split_first_chunk::<N>() else { return [0; N] };
        self.0 = rest;
        *bytes
    }

    fn u16(&mut self) -> u16 {
        u16::from_le_bytes(self.take())
    }

    fn u32(&mut self) -> u32 {
        u32::from_le_bytes(self.take())
    }

    fn i32(&mut self) -> i32 {
        i32::from_le_bytes(self.take())
    }

    fn u64(&mut self) -> u64 {
        u64::from_le_bytes(self.take())
    }

    fn i64(&mut self) -> i64 {
        i64::from_le_bytes(self.take())
    }
}

/// Name of the chunk index of a data file.
pub fn chunk_index_path(data: &Path) -> PathBuf {
    let mut name = data.as_os_str().to_owned();
    name.push(".smci");
    PathBuf::from(name)
}

impl ChunkIndex {
    /// The bytes of the index file.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(HEAD_BYTES + STRETCH_BYTES * self.stretches.len() + 1024);
        out.extend(MAGIC);
        out.extend(VERSION.to_le_bytes());
        out.extend(self.flags.to_le_bytes());
        out.extend(self.print.size.to_le_bytes());
        out.extend(self.print.mtime_ns.to_le_bytes());
        out.extend(self.print.hash.to_le_bytes());
        out.extend(self.records.to_le_bytes());
        out.extend(self.inflated.to_le_bytes());
        out.extend((self.stretches.len() as u64).to_le_bytes());
        for s in &self.stretches {
            out.extend(s.block.to_le_bytes());
            out.extend(s.inflated.to_le_bytes());
            out.extend(s.first.to_le_bytes());
            out.extend(s.records.to_le_bytes());
            out.extend(s.ordinal.to_le_bytes());
            for number in [s.references.0, s.references.1, s.lowest, s.highest] {
                out.extend(number.to_le_bytes());
            }
            out.extend(s.flags.0.to_le_bytes());
            out.extend(s.flags.1.to_le_bytes());
        }
        out.extend(u32::try_from(self.tags.len()).unwrap_or(u32::MAX).to_le_bytes());
        for t in &self.tags {
            out.extend([t.name[0], t.name[1], t.kind, t.subtype]);
            out.extend(t.count.to_le_bytes());
            out.extend(t.longest.to_le_bytes());
        }
        out.extend(crc32(&out).to_le_bytes());
        out
    }

    /// Reads the bytes of an index file.
    pub fn from_bytes(bytes: &[u8], path: &Path) -> Result<Self> {
        let damaged = |what: &str| {
            let text = format!("the chunk index is damaged: {what}");
            Error::format(FormatKind::IndexMismatch, text).at_path(path)
        };
        let Some((content, stored)) = bytes.split_last_chunk::<4>() else {
            return Err(damaged("it is too short"));
        };
        if !content.starts_with(&MAGIC) {
            return Err(damaged("its magic is missing"));
        }
        if crc32(content) != u32::from_le_bytes(*stored) {
            return Err(damaged("its checksum is wrong"));
        }
        let mut at = Cursor(content.get(4..).unwrap_or_default());
        let version = at.u32();
        if version != VERSION {
            return Err(damaged(&format!("version {version} is not known")));
        }
        let flags = at.u32();
        let print = DataPrint { size: at.u64(), mtime_ns: at.i64(), hash: at.u64() };
        let (records, inflated, count) = (at.u64(), at.u64(), at.u64());
        let room = (at.0.len() / STRETCH_BYTES) as u64;
        if count > room {
            return Err(damaged("it claims more stretches than it has"));
        }
        let mut stretches = Vec::with_capacity(usize::try_from(count).unwrap_or(0));
        for _ in 0..count {
            stretches.push(Stretch {
                block: at.u64(),
                inflated: at.u64(),
                first: at.u32(),
                records: at.u32(),
                ordinal: at.u64(),
                references: (at.i32(), at.i32()),
                lowest: at.i32(),
                highest: at.i32(),
                flags: (at.u16(), at.u16()),
            });
        }
        let count = at.u32() as usize;
        if count != at.0.len() / TAG_BYTES {
            return Err(damaged("its tag table has another size than it claims"));
        }
        let mut tags = Vec::with_capacity(count);
        for _ in 0..count {
            let [a, b, kind, subtype] = at.take::<4>();
            let (count, longest) = (at.u64(), at.u32());
            tags.push(TagEntry { name: [a, b], kind, subtype, count, longest });
        }
        Ok(Self { flags, print, records, inflated, stretches, tags })
    }

    /// The index beside `data`, if there is one.
    pub fn beside(data: &Path) -> Result<Option<Self>> {
        let path = chunk_index_path(data);
        match std::fs::read(&path) {
            Ok(bytes) => Self::from_bytes(&bytes, &path).map(Some),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(Error::io(&path, &e)),
        }
    }

    /// Whether the index belongs to `data` as it is now.
    pub fn is_fresh(&self, data: &Path) -> Result<bool> {
        Ok(self.print == DataPrint::of(data)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example() -> ChunkIndex {
        let stretch = Stretch {
            block: 7,
            inflated: 65280,
            first: 3,
            records: 100,
            ordinal: 12,
            references: (0, i32::MAX),
            lowest: -1,
            highest: 500,
            flags: (0xfff, 1),
        };
        let tag = TagEntry { name: *b"ML", kind: b'B', subtype: b'C', count: 9, longest: 4000 };
        ChunkIndex {
            flags: FLAG_COORDINATE,
            print: DataPrint { size: 1, mtime_ns: -2, hash: 3 },
            records: 112,
            inflated: 70_000,
            stretches: vec![stretch, Stretch { ordinal: 112, ..stretch }],
            tags: vec![tag],
        }
    }

    #[test]
    fn bytes_make_the_round_trip() {
        let (index, path) = (example(), Path::new("x.smci"));
        let bytes = index.to_bytes();
        assert_eq!(bytes.len(), HEAD_BYTES + 2 * STRETCH_BYTES + 4 + TAG_BYTES + 4);
        assert_eq!(ChunkIndex::from_bytes(&bytes, path).unwrap(), index);
        for cut in 0..bytes.len() {
            assert!(ChunkIndex::from_bytes(&bytes[..cut], path).is_err());
        }
        for at in 0..bytes.len() {
            let mut wrong = bytes.clone();
            wrong[at] ^= 1;
            assert!(ChunkIndex::from_bytes(&wrong, path).is_err(), "{at}");
        }
    }
}
