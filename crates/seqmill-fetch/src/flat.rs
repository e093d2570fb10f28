//! The layout of the store index: fixed records in one flat, mapped file.
//!
//! Bytes of an index are data, not trusted: every read is checked against its section.

/// First bytes of an index.
pub(crate) const MAGIC: [u8; 8] = *b"SQMLFAI1";
/// Version of the layout.
pub(crate) const VERSION: u32 = 1;
/// Reads back as this only on a machine of the same byte order.
pub(crate) const BYTE_ORDER: u32 = 0x0102_0304;
/// Bytes of the header; sections follow it, wherever its numbers say. `fasta.md` §4 gives it a page,
/// which would be more than half of the index of a large genome.
pub(crate) const HEADER_BYTES: usize = 192;
/// Bytes of the header that its own checksum covers.
pub(crate) const HEADER_SUMMED: usize = 128;
/// Sections begin at multiples of this.
pub(crate) const ALIGNMENT: usize = 64;
/// Bytes of a file record.
pub(crate) const FILE_BYTES: usize = 96;
/// Bytes of a contig record.
pub(crate) const CONTIG_BYTES: usize = 48;
/// Bytes of a directory record.
pub(crate) const DIRECTORY_BYTES: usize = 32;
/// Files with more contigs than this have a hash table.
pub(crate) const SCAN_CONTIGS: u32 = 16;
/// Data bytes of every block but the last where [`FileRecord::REGULAR`] is set.
pub(crate) const REGULAR_BYTES: u64 = 0xff00;

/// The sections, in file order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Section {
    Files = 0,
    Contigs = 1,
    Hash = 2,
    Blocks = 3,
    Strings = 4,
    Directories = 5,
}

/// Number of sections.
pub(crate) const SECTIONS: usize = 6;

/// How a file is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Blocked gzip.
    Bgzf,
    /// Text.
    Plain,
    /// A sample of an archive, read through [`seqmill_io::fasta::SequenceArchive`].
    Archive,
    /// Gzip without blocks, read from a copy in blocks.
    Gzip,
}

impl Format {
    /// The number in a file record.
    pub(crate) fn code(self) -> u8 {
        match self {
            Self::Bgzf => 0,
            Self::Plain => 1,
            Self::Archive => 2,
            Self::Gzip => 3,
        }
    }

    fn from_code(code: u8) -> Option<Self> {
        match code {
            0 => Some(Self::Bgzf),
            1 => Some(Self::Plain),
            2 => Some(Self::Archive),
            3 => Some(Self::Gzip),
            _ => None,
        }
    }
}

/// One file of the store.
#[derive(Debug, Clone, Copy)]
pub(crate) struct FileRecord {
    pub(crate) name_offset: u64,
    pub(crate) name_length: u32,
    pub(crate) format: Format,
    pub(crate) flags: u8,
    /// Bytes of the suffix, which follows the name; for a sample of an archive, those of the whole
    /// path of the archive.
    pub(crate) suffix_length: u16,
    pub(crate) size: u64,
    pub(crate) mtime_ns: i64,
    pub(crate) gzi_digest: u64,
    pub(crate) fai_digest: u64,
    pub(crate) first_contig: u64,
    /// Index of the file's first number in the blocks section; for a sample of an archive, its
    /// number there.
    pub(crate) first_block: u64,
    pub(crate) contigs: u32,
    pub(crate) blocks: u32,
    pub(crate) bases: u64,
    /// Index of the file's first slot in the hash section.
    pub(crate) hash_offset: u64,
}

impl FileRecord {
    /// Blocks hold [`REGULAR_BYTES`] each: there is no column of uncompressed offsets.
    pub(crate) const REGULAR: u8 = 1;
    /// The file cannot be read: kind and text of the error follow the suffix.
    pub(crate) const UNREADABLE: u8 = 2;
    /// The empty block that ends a BGZF file is missing.
    pub(crate) const NO_EOF: u8 = 4;

    pub(crate) fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    pub(crate) fn to_bytes(self) -> [u8; FILE_BYTES] {
        let mut out = [0; FILE_BYTES];
        let mut put = Putter { out: &mut out, at: 0 };
        put.bytes(&self.name_offset.to_le_bytes());
        put.bytes(&self.name_length.to_le_bytes());
        put.bytes(&[self.format.code(), self.flags]);
        put.bytes(&self.suffix_length.to_le_bytes());
        put.bytes(&self.size.to_le_bytes());
        put.bytes(&self.mtime_ns.to_le_bytes());
        for value in [self.gzi_digest, self.fai_digest, self.first_contig, self.first_block] {
            put.bytes(&value.to_le_bytes());
        }
        put.bytes(&self.contigs.to_le_bytes());
        put.bytes(&self.blocks.to_le_bytes());
        put.bytes(&self.bases.to_le_bytes());
        put.bytes(&self.hash_offset.to_le_bytes());
        out
    }

    pub(crate) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        Some(Self {
            name_offset: u64_at(bytes, 0)?,
            name_length: u32_at(bytes, 8)?,
            format: Format::from_code(*bytes.get(12)?)?,
            flags: *bytes.get(13)?,
            suffix_length: u16_at(bytes, 14)?,
            size: u64_at(bytes, 16)?,
            mtime_ns: u64_at(bytes, 24)?.cast_signed(),
            gzi_digest: u64_at(bytes, 32)?,
            fai_digest: u64_at(bytes, 40)?,
            first_contig: u64_at(bytes, 48)?,
            first_block: u64_at(bytes, 56)?,
            contigs: u32_at(bytes, 64)?,
            blocks: u32_at(bytes, 68)?,
            bases: u64_at(bytes, 72)?,
            hash_offset: u64_at(bytes, 80)?,
        })
    }
}

/// One contig.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ContigRecord {
    pub(crate) name_offset: u64,
    pub(crate) name_length: u32,
    /// Bases and bytes of a full line; with [`ContigRecord::WIDE`] the offset of both as u64 in
    /// the strings section.
    pub(crate) line_bases: u32,
    pub(crate) line_width: u32,
    pub(crate) flags: u32,
    pub(crate) length: u64,
    pub(crate) offset: u64,
    pub(crate) name_hash: u64,
}

impl ContigRecord {
    /// Lines are longer than 2^32 - 1 bytes.
    pub(crate) const WIDE: u32 = 1;

    pub(crate) fn to_bytes(self) -> [u8; CONTIG_BYTES] {
        let mut out = [0; CONTIG_BYTES];
        let mut put = Putter { out: &mut out, at: 0 };
        put.bytes(&self.name_offset.to_le_bytes());
        for value in [self.name_length, self.line_bases, self.line_width, self.flags] {
            put.bytes(&value.to_le_bytes());
        }
        for value in [self.length, self.offset, self.name_hash] {
            put.bytes(&value.to_le_bytes());
        }
        out
    }

    pub(crate) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        Some(Self {
            name_offset: u64_at(bytes, 0)?,
            name_length: u32_at(bytes, 8)?,
            line_bases: u32_at(bytes, 12)?,
            line_width: u32_at(bytes, 16)?,
            flags: u32_at(bytes, 20)?,
            length: u64_at(bytes, 24)?,
            offset: u64_at(bytes, 32)?,
            name_hash: u64_at(bytes, 40)?,
        })
    }
}

/// One directory that was walked.
#[derive(Debug, Clone, Copy)]
pub(crate) struct DirectoryRecord {
    pub(crate) path_offset: u64,
    pub(crate) path_length: u32,
    pub(crate) mtime_ns: i64,
    pub(crate) listing: u64,
}

impl DirectoryRecord {
    pub(crate) fn to_bytes(self) -> [u8; DIRECTORY_BYTES] {
        let mut out = [0; DIRECTORY_BYTES];
        let mut put = Putter { out: &mut out, at: 0 };
        put.bytes(&self.path_offset.to_le_bytes());
        put.bytes(&u64::from(self.path_length).to_le_bytes());
        put.bytes(&self.mtime_ns.to_le_bytes());
        put.bytes(&self.listing.to_le_bytes());
        out
    }

    pub(crate) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        Some(Self {
            path_offset: u64_at(bytes, 0)?,
            path_length: u32_at(bytes, 8)?,
            mtime_ns: u64_at(bytes, 16)?.cast_signed(),
            listing: u64_at(bytes, 24)?,
        })
    }
}

/// Fills a record field by field.
struct Putter<'o> {
    out: &'o mut [u8],
    at: usize,
}

impl Putter<'_> {
    fn bytes(&mut self, bytes: &[u8]) {
        let end = self.at + bytes.len();
        if let Some(room) = self.out.get_mut(self.at..end) {
            room.copy_from_slice(bytes);
        }
        self.at = end;
    }
}

pub(crate) fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..)?.first_chunk().map(|b| u16::from_le_bytes(*b))
}

pub(crate) fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().map(|b| u32::from_le_bytes(*b))
}

pub(crate) fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    bytes.get(at..)?.first_chunk().map(|b| u64::from_le_bytes(*b))
}

/// Hash of a name, as contig records and tables hold it.
pub(crate) fn name_hash(name: &[u8]) -> u64 {
    xxhash_rust::xxh3::xxh3_64(name)
}

/// Slots of the hash table of so many contigs: at least half of them stay free.
pub(crate) fn hash_slots(contigs: u32) -> usize {
    if contigs > SCAN_CONTIGS { (2 * contigs as usize).next_power_of_two() } else { 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_make_the_round_trip() {
        let file = FileRecord {
            name_offset: 1,
            name_length: 2,
            format: Format::Gzip,
            flags: FileRecord::NO_EOF,
            suffix_length: 4,
            size: 5,
            mtime_ns: -6,
            gzi_digest: 7,
            fai_digest: 8,
            first_contig: 9,
            first_block: 10,
            contigs: 11,
            blocks: 12,
            bases: 13,
            hash_offset: 14,
        };
        let read = FileRecord::from_bytes(&file.to_bytes()).unwrap();
        assert_eq!(format!("{file:?}"), format!("{read:?}"));
        let contig = ContigRecord {
            name_offset: 1,
            name_length: 2,
            line_bases: 3,
            line_width: 4,
            flags: 5,
            length: 6,
            offset: 7,
            name_hash: 8,
        };
        let read = ContigRecord::from_bytes(&contig.to_bytes()).unwrap();
        assert_eq!(format!("{contig:?}"), format!("{read:?}"));
    }
}
