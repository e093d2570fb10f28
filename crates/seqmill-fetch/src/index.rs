//! A store index in use: a read-only map with checked access.

use crate::flat::{
    BYTE_ORDER, CONTIG_BYTES, ContigRecord, DIRECTORY_BYTES, DirectoryRecord, FILE_BYTES,
    FileRecord, Format, HEADER_BYTES, HEADER_SUMMED, MAGIC, REGULAR_BYTES, SECTIONS, Section,
    VERSION, hash_slots, name_hash, u32_at, u64_at,
};
use memmap2::{Mmap, MmapMut};
use seqmill_base::{Error, FormatKind, Result};
use seqmill_io::fasta::FaiRecord;
use std::fs::File;
use std::path::{Path, PathBuf};
use xxhash_rust::xxh3::xxh3_64;

/// A mapped index.
#[derive(Debug)]
pub(crate) struct Index {
    map: Mmap,
    path: PathBuf,
    sections: [(usize, usize); SECTIONS],
    files: u32,
    contigs: u64,
    options: u64,
    build_id: u64,
}

/// Why an index cannot be used; it is built anew then.
pub(crate) type Unusable = &'static str;

impl Index {
    /// Maps an index file and checks its header. `None` for a file that is no usable index.
    pub(crate) fn map(file: &File, path: &Path) -> Result<Result<Self, Unusable>> {
        // SAFETY: index files are only ever replaced by rename, never rewritten in place, so the
        // mapped inode keeps its length and content.
        let map = match unsafe { Mmap::map(file) } {
            Ok(map) => map,
            Err(e) if e.kind() == std::io::ErrorKind::InvalidInput => {
                return Ok(Err("it is empty"));
            }
            Err(e) => return Err(Error::io(path, &e)),
        };
        Ok(Self::read(map, path))
    }

    fn read(map: Mmap, path: &Path) -> Result<Self, Unusable> {
        let head = map.get(..HEADER_BYTES).ok_or("it is shorter than its header")?;
        if head.get(..8) != Some(&MAGIC) {
            return Err("it is no store index");
        }
        let summed = head.get(..HEADER_SUMMED).unwrap_or_default();
        if u64_at(head, HEADER_SUMMED) != Some(xxh3_64(summed)) {
            return Err("the checksum of its header is wrong");
        }
        if u32_at(head, 8) != Some(VERSION) || u32_at(head, 12) != Some(BYTE_ORDER) {
            return Err("it has another version or byte order");
        }
        let number = |at: usize| u64_at(head, at).unwrap_or(0);
        if number(16) != map.len() as u64 {
            return Err("its length is not what its header says");
        }
        let mut sections = [(0, 0); SECTIONS];
        let border = |i: usize| usize::try_from(number(64 + 8 * i)).unwrap_or(usize::MAX);
        for (i, section) in sections.iter_mut().enumerate() {
            *section = (border(i), border(i + 1));
            if section.0 < HEADER_BYTES || section.1 < section.0 || section.1 > map.len() {
                return Err("its sections do not fit into it");
            }
        }
        let files = u32::try_from(number(40)).map_err(|_| "it claims too many files")?;
        let (options, build_id, contigs) = (number(24), number(32), number(48));
        let room = |s: Section| sections.get(s as usize).map_or(0, |(begin, end)| end - begin);
        if files as usize > room(Section::Files) / FILE_BYTES
            || contigs > (room(Section::Contigs) / CONTIG_BYTES) as u64
        {
            return Err("its sections are shorter than its header says");
        }
        Ok(Self { map, path: path.to_path_buf(), sections, files, contigs, options, build_id })
    }

    /// An index in memory of this process alone.
    pub(crate) fn private(content: &[u8]) -> Result<Self> {
        let path = Path::new("index in memory");
        let failed = |e: std::io::Error| Error::io(path, &e);
        let mut map = MmapMut::map_anon(content.len().max(1)).map_err(failed)?;
        if let Some(whole) = map.get_mut(..content.len()) {
            whole.copy_from_slice(content);
        }
        let map = map.make_read_only().map_err(failed)?;
        Self::read(map, path).map_err(|what| {
            Error::format(FormatKind::IndexFormat, format!("store index is damaged: {what}"))
        })
    }

    /// The whole index.
    pub(crate) fn content(&self) -> &[u8] {
        &self.map
    }

    /// Compares the checksum of everything behind the header.
    pub(crate) fn verify(&self) -> Result<()> {
        let begin = self.sections.first().map_or(HEADER_BYTES, |section| section.0);
        let body = self.map.get(begin..).unwrap_or_default();
        if u64_at(&self.map, 120) == Some(xxh3_64(body)) {
            return Ok(());
        }
        Err(self.damaged("its checksum is wrong"))
    }

    fn damaged(&self, what: &str) -> Error {
        Error::format(FormatKind::IndexFormat, format!("store index is damaged: {what}"))
            .at_path(&self.path)
    }

    fn section(&self, section: Section) -> &[u8] {
        let (begin, end) = self.sections.get(section as usize).copied().unwrap_or_default();
        self.map.get(begin..end).unwrap_or_default()
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn bytes(&self) -> usize {
        self.map.len()
    }

    pub(crate) fn files(&self) -> u32 {
        self.files
    }

    pub(crate) fn contigs(&self) -> u64 {
        self.contigs
    }

    pub(crate) fn options(&self) -> u64 {
        self.options
    }

    pub(crate) fn build_id(&self) -> u64 {
        self.build_id
    }

    /// The record of a file.
    pub(crate) fn file(&self, id: u32) -> Result<FileRecord> {
        let at = id as usize * FILE_BYTES;
        self.section(Section::Files)
            .get(at..at + FILE_BYTES)
            .and_then(FileRecord::from_bytes)
            .ok_or_else(|| self.damaged("a file record cannot be read"))
    }

    /// Bytes of the strings section.
    pub(crate) fn string(&self, offset: u64, length: u64) -> Result<&[u8]> {
        let strings = self.section(Section::Strings);
        usize::try_from(offset)
            .ok()
            .zip(usize::try_from(length).ok())
            .and_then(|(at, n)| strings.get(at..at.checked_add(n)?))
            .ok_or_else(|| self.damaged("a name lies outside of it"))
    }

    /// The name of a file.
    pub(crate) fn name(&self, file: &FileRecord) -> Result<&[u8]> {
        self.string(file.name_offset, u64::from(file.name_length))
    }

    /// The path of a file: its name with the suffix.
    pub(crate) fn relative_path(&self, file: &FileRecord) -> Result<&[u8]> {
        let (name, suffix) = (u64::from(file.name_length), u64::from(file.suffix_length));
        if file.format == Format::Archive {
            return self.string(file.name_offset.saturating_add(name), suffix);
        }
        self.string(file.name_offset, name + suffix)
    }

    /// Kind and text of the error of an unreadable file.
    pub(crate) fn failure(&self, file: &FileRecord) -> Result<(&[u8], &[u8])> {
        let at = file.name_offset + u64::from(file.name_length) + u64::from(file.suffix_length);
        let head = self.string(at, 8)?;
        let kind = u64::from(u32_at(head, 0).unwrap_or(0));
        let text = u64::from(u32_at(head, 4).unwrap_or(0));
        Ok((self.string(at + 8, kind)?, self.string(at + 8 + kind, text)?))
    }

    /// The file of a name, by binary search.
    pub(crate) fn find_file(&self, name: &[u8]) -> Result<Option<u32>> {
        let (mut low, mut high) = (0, self.files);
        while low < high {
            let middle = low + (high - low) / 2;
            let found = self.name(&self.file(middle)?)?;
            match found.cmp(name) {
                std::cmp::Ordering::Equal => return Ok(Some(middle)),
                std::cmp::Ordering::Less => low = middle + 1,
                std::cmp::Ordering::Greater => high = middle,
            }
        }
        Ok(None)
    }

    /// The record of a contig of a file.
    pub(crate) fn contig(&self, file: &FileRecord, id: u32) -> Result<ContigRecord> {
        let record = (id < file.contigs)
            .then(|| usize::try_from(file.first_contig).ok()?.checked_add(id as usize))
            .flatten()
            .and_then(|i| i.checked_mul(CONTIG_BYTES))
            .and_then(|at| self.section(Section::Contigs).get(at..at.checked_add(CONTIG_BYTES)?))
            .and_then(ContigRecord::from_bytes);
        record.ok_or_else(|| self.damaged("a contig record cannot be read"))
    }

    pub(crate) fn contig_name(&self, contig: &ContigRecord) -> Result<&[u8]> {
        self.string(contig.name_offset, u64::from(contig.name_length))
    }

    /// The geometry of a contig, its name left out.
    pub(crate) fn geometry(&self, contig: &ContigRecord) -> Result<FaiRecord> {
        let (mut bases, mut width) = (u64::from(contig.line_bases), u64::from(contig.line_width));
        if contig.flags & ContigRecord::WIDE != 0 {
            let at = bases | (width << 32);
            let wide = self.string(at, 16)?;
            (bases, width) = (u64_at(wide, 0).unwrap_or(0), u64_at(wide, 8).unwrap_or(0));
        }
        let ContigRecord { length, offset, .. } = *contig;
        let record =
            FaiRecord { name: Vec::new(), length, offset, line_bases: bases, line_width: width };
        if width < bases || record.checked_end().is_none() {
            return Err(self.damaged("the geometry of a contig is impossible"));
        }
        Ok(record)
    }

    /// The contig of a name within a file.
    pub(crate) fn find_contig(&self, file: &FileRecord, name: &[u8]) -> Result<Option<u32>> {
        let hash = name_hash(name);
        let slots = hash_slots(file.contigs);
        if slots == 0 {
            for id in 0..file.contigs {
                let contig = self.contig(file, id)?;
                if contig.name_hash == hash && self.contig_name(&contig)? == name {
                    return Ok(Some(id));
                }
            }
            return Ok(None);
        }
        let table = usize::try_from(file.hash_offset)
            .ok()
            .and_then(|at| at.checked_mul(4))
            .and_then(|at| self.section(Section::Hash).get(at..at.checked_add(4 * slots)?))
            .ok_or_else(|| self.damaged("a hash table lies outside of it"))?;
        let mut slot = usize::try_from(hash & (slots as u64 - 1)).unwrap_or(0);
        for _ in 0..slots {
            let id = u32_at(table, 4 * slot).unwrap_or(0);
            let Some(id) = id.checked_sub(1) else { return Ok(None) };
            let contig = self.contig(file, id)?;
            if contig.name_hash == hash && self.contig_name(&contig)? == name {
                return Ok(Some(id));
            }
            slot = (slot + 1) & (slots - 1);
        }
        Ok(None)
    }

    /// The blocks of a file.
    pub(crate) fn blocks(&self, file: &FileRecord) -> Result<Blocks<'_>> {
        let columns = if file.has(FileRecord::REGULAR) { 1 } else { 2 };
        let bytes = usize::try_from(file.first_block)
            .ok()
            .and_then(|i| i.checked_mul(8))
            .and_then(|at| {
                let end = at.checked_add(file.blocks as usize * 8 * columns)?;
                self.section(Section::Blocks).get(at..end)
            })
            .ok_or_else(|| self.damaged("the blocks of a file lie outside of it"))?;
        let (compressed, uncompressed) = bytes.split_at(file.blocks as usize * 8);
        Ok(Blocks { compressed, uncompressed, count: file.blocks, size: file.size })
    }

    /// The directories that were walked.
    pub(crate) fn directories(&self) -> impl Iterator<Item = Result<(&[u8], DirectoryRecord)>> {
        self.section(Section::Directories).chunks_exact(DIRECTORY_BYTES).map(|bytes| {
            let record = DirectoryRecord::from_bytes(bytes)
                .ok_or_else(|| self.damaged("a directory record cannot be read"))?;
            Ok((self.string(record.path_offset, u64::from(record.path_length))?, record))
        })
    }
}

/// The blocks of one BGZF file: where each begins, in the file and in the text.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Blocks<'m> {
    compressed: &'m [u8],
    /// Empty where blocks are regular.
    uncompressed: &'m [u8],
    pub(crate) count: u32,
    /// Size of the file.
    pub(crate) size: u64,
}

impl Blocks<'_> {
    /// The blocks of what has none.
    pub(crate) fn none() -> Self {
        Self { compressed: &[], uncompressed: &[], count: 0, size: 0 }
    }

    /// Where block `i` begins in the file; behind the last one, the file's size.
    pub(crate) fn compressed(&self, i: u32) -> u64 {
        u64_at(self.compressed, i as usize * 8).unwrap_or(self.size)
    }

    /// Where block `i` begins in the text, `None` behind the last one.
    pub(crate) fn uncompressed(&self, i: u32) -> Option<u64> {
        if i >= self.count {
            None
        } else if self.uncompressed.is_empty() {
            Some(u64::from(i) * REGULAR_BYTES)
        } else {
            u64_at(self.uncompressed, i as usize * 8)
        }
    }

    /// The block that holds the byte at `position` of the text.
    pub(crate) fn find(&self, position: u64) -> u32 {
        let last = self.count.saturating_sub(1);
        if self.uncompressed.is_empty() {
            return u32::try_from(position / REGULAR_BYTES).unwrap_or(last).min(last);
        }
        // The last block that begins at or before the position.
        let (mut low, mut high) = (0, self.count);
        while low < high {
            let middle = low + (high - low) / 2;
            if self.uncompressed(middle).is_some_and(|u| u <= position) {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        low.saturating_sub(1)
    }
}
