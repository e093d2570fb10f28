//! Reading tables through a map: nothing is loaded that is not asked for.

use super::block::{checksum_of, decode_block, find_all, is_sound};
use super::write::{TableFacts, TableFile};
use super::{BLOCK_KMERS, END_MAGIC, HEADER_BYTES, MAGIC, VERSION, key_words};
use crate::kmers::lanes::Lanes;
use crate::kmers::word::Word;
use memmap2::Mmap;
use seqmill_base::prefetch::prefetch_all;
use seqmill_base::{Error, FormatKind, Result};
use std::fs::File;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use xxhash_rust::xxh3::{Xxh3, xxh3_64};

/// Bytes of the length and the magic at the end.
const TAIL_BYTES: usize = 8;

/// Read memory that is given back together: what a table read in order holds at most, besides the
/// blocks around it.
const FORGET_BYTES: u64 = 1 << 20;

/// An open table.
pub struct SkmTable {
    map: Mmap,
    path: PathBuf,
    facts: TableFacts,
    blocks: usize,
    index_at: usize,
    footer_at: usize,
    /// A bit for each block whose checksum was found right.
    sound: Vec<AtomicU64>,
    lanes: Lanes,
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

impl SkmTable {
    /// Whether these first bytes of a file are those of a table.
    pub fn is_table(head: &[u8]) -> bool {
        head.starts_with(&MAGIC)
    }

    /// Maps a table. Header, index and end are checked; blocks when they are first touched.
    pub fn open(path: &Path) -> Result<Self> {
        let failed = |e: std::io::Error| Error::io(path, &e);
        let file = File::open(path).map_err(failed)?;
        if file.metadata().map_err(failed)?.is_dir() {
            return Err(failed(std::io::Error::from_raw_os_error(libc::EISDIR)));
        }
        // SAFETY: the map is private and read only; tables are replaced by renaming, not in place.
        let map = unsafe { Mmap::map(&file) }.map_err(failed)?;
        let bad = |what: &str, at: usize| {
            Error::format(FormatKind::Other, what).at_path(path).at_offset(at as u64)
        };
        if !map.starts_with(&MAGIC) {
            return Err(bad("is not a k-mer table (the magic SKM1 is missing)", 0));
        }
        let cut = || {
            Error::format(FormatKind::Truncated, "the table is cut: its end magic is missing")
                .at_path(path)
                .at_offset(map.len() as u64)
        };
        if map.len() < HEADER_BYTES + TAIL_BYTES || !map.ends_with(&END_MAGIC) {
            return Err(cut());
        }
        let header = &map[..HEADER_BYTES];
        if u64_at(header, 56) != Some(xxh3_64(&header[..56])) {
            let text = "checksum of the table's header is wrong";
            return Err(Error::format(FormatKind::Checksum, text).at_path(path).at_offset(56));
        }
        let version = u16::from_le_bytes([header[4], header[5]]);
        let k = u32::from(u16::from_le_bytes([header[6], header[7]]));
        if version != VERSION {
            return Err(bad(&format!("version {version} of k-mer tables is not known"), 4));
        }
        if !(1..=255).contains(&k) || usize::from(header[9]) != key_words(k) || header[8] > 1 {
            return Err(bad("the table's header contradicts itself", 6));
        }
        let number = |at| u64_at(header, at).unwrap_or(0);
        let facts = TableFacts {
            k,
            canonical: header[8] == 1,
            flags: header[10],
            distinct: number(16),
            total: number(24),
        };
        let place = |at| usize::try_from(number(at)).unwrap_or(usize::MAX);
        let (index_at, footer_at) = (place(32), place(40));
        let blocks = usize::try_from(facts.distinct.div_ceil(BLOCK_KMERS as u64));
        let index_bytes = blocks
            .ok()
            .and_then(|blocks| blocks.checked_mul(8 * (key_words(k) + 1))?.checked_add(16));
        let fits = index_bytes.and_then(|n| index_at.checked_add(n)) == Some(footer_at)
            && index_at >= HEADER_BYTES
            && footer_at <= map.len() - TAIL_BYTES;
        if !fits {
            return Err(bad("the table's index is not where the header says", 32));
        }
        let index = index_at..footer_at - 8;
        if u64_at(&map, index.end) != Some(sum_once(&map, index)) {
            let text = "checksum of the table's index is wrong";
            return Err(Error::format(FormatKind::Checksum, text)
                .at_path(path)
                .at_offset(index_at as u64));
        }
        let blocks = blocks.unwrap_or(0);
        let sound = (0..blocks.div_ceil(64)).map(|_| AtomicU64::new(0)).collect();
        let (path, lanes) = (path.to_path_buf(), Lanes::detect());
        let table = Self { map, path, facts, blocks, index_at, footer_at, sound, lanes };
        table.footer()?;
        Ok(table)
    }

    /// The table under the name of what it was made of, for messages.
    pub(in crate::kmers) fn shown_as(self, path: &Path) -> Self {
        Self { path: path.to_path_buf(), ..self }
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What the table says of itself.
    pub fn facts(&self) -> &TableFacts {
        &self.facts
    }

    /// Number of blocks.
    pub fn blocks(&self) -> usize {
        self.blocks
    }

    /// Bytes of the file.
    pub fn bytes(&self) -> u64 {
        self.map.len() as u64
    }

    /// Bytes beside the blocks that looking up needs.
    pub fn index_bytes(&self) -> u64 {
        (self.footer_at - self.index_at + 8 * self.sound.len()) as u64
    }

    /// Gives back the memory of all blocks that were read; a hint.
    pub fn forget_blocks(&self) {
        forget(&self.map, 0..self.index_at);
    }

    /// What was counted.
    pub fn footer(&self) -> Result<serde_json::Value> {
        let end = self.map.len() - TAIL_BYTES;
        let length = self.map[end..].first_chunk::<4>().map_or(0, |b| u32::from_le_bytes(*b));
        let text = &self.map[self.footer_at..end];
        let value = (text.len() == length as usize).then(|| serde_json::from_slice(text).ok());
        value.flatten().ok_or_else(|| {
            Error::format(FormatKind::Other, "the table's footer is damaged")
                .at_path(&self.path)
                .at_offset(self.footer_at as u64)
        })
    }

    /// The first k-mer of a block.
    #[inline]
    pub fn first<K: Word>(&self, block: usize) -> K {
        let words = key_words(self.facts.k);
        let at = self.index_at + 8 * words * block;
        let mut kmer = K::default();
        for i in 0..words {
            kmer = kmer.with_word(i, u64_at(&self.map, at + 8 * i).unwrap_or(0));
        }
        kmer
    }

    fn damaged(&self, block: usize, kind: FormatKind, what: &str) -> Error {
        let at = self.offset(block);
        Error::format(kind, format!("block {block} of the table {what}"))
            .at_path(&self.path)
            .at_offset(at)
    }

    fn offset(&self, block: usize) -> u64 {
        let words = key_words(self.facts.k);
        let at = self.index_at + 8 * (words * self.blocks + block);
        u64_at(&self.map, at).unwrap_or(0)
    }

    /// The bytes of a block, whose checksum is right.
    fn block(&self, block: usize) -> Result<&[u8]> {
        let place = |at: u64| usize::try_from(at).unwrap_or(usize::MAX);
        let range = place(self.offset(block))..place(self.offset(block + 1));
        let bytes = self
            .map
            .get(range)
            .ok_or_else(|| self.damaged(block, FormatKind::Other, "is not where the index says"))?;
        let (word, bit) = (&self.sound[block / 64], 1 << (block % 64));
        if word.load(Ordering::Relaxed) & bit == 0 {
            if !is_sound(bytes) {
                return Err(self.damaged(block, FormatKind::Checksum, "has a wrong checksum"));
            }
            word.fetch_or(bit, Ordering::Relaxed);
        }
        Ok(bytes)
    }

    /// Appends the k-mers and counts of a block.
    pub fn decode<K: Word>(
        &self,
        block: usize,
        kmers: &mut Vec<K>,
        counts: &mut Vec<u64>,
    ) -> Result<()> {
        let before = kmers.len();
        let bytes = self.block(block)?;
        decode_block(bytes, self.first(block), kmers, counts, self.lanes)
            .ok_or_else(|| self.damaged(block, FormatKind::Other, "is malformed"))?;
        let expected = (self.facts.distinct - (block * BLOCK_KMERS) as u64).min(BLOCK_KMERS as u64);
        if (kmers.len() - before) as u64 != expected {
            return Err(self.damaged(block, FormatKind::Other, "has another number of k-mers"));
        }
        // A first k-mer that is too large makes the others wrap around.
        let (read, limit) = (kmers.get(before..).unwrap_or_default(), K::ones(2 * self.facts.k));
        // All pairs are looked at, many at a time: nearly always all are in order.
        let pairs = read.iter().zip(read.get(1..).unwrap_or_default());
        let wrong = pairs.fold(0, |wrong, (one, next)| wrong | u32::from(one >= next));
        if wrong > 0 || read.last().is_some_and(|k| *k > limit) {
            return Err(self.damaged(block, FormatKind::Other, "is not in order"));
        }
        Ok(())
    }

    /// The count of a k-mer as it is stored, 0 where it is absent.
    pub fn find<K: Word>(&self, kmer: K) -> Result<u64> {
        let behind = self.blocks_until(kmer, 0, self.blocks);
        let Some(block) = behind.checked_sub(1) else { return Ok(0) };
        let mut count = [0];
        self.find_in(block, &[(kmer, 0)], &mut count)?;
        Ok(count[0])
    }

    /// Looks up sorted k-mers that no block but this may hold; their counts go to their places.
    pub(in crate::kmers) fn find_in<K: Word>(
        &self,
        block: usize,
        wanted: &[(K, u32)],
        out: &mut [u64],
    ) -> Result<()> {
        let malformed = || self.damaged(block, FormatKind::Other, "is malformed");
        let bytes = self.block(block)?;
        find_all(bytes, self.first::<K>(block), wanted, out, self.lanes).ok_or_else(malformed)
    }

    /// Asks for the memory of a block that is looked into next.
    pub(in crate::kmers) fn prefetch(&self, block: usize) {
        let place = |block| usize::try_from(self.offset(block)).unwrap_or(usize::MAX);
        if block < self.blocks
            && let Some(bytes) = self.map.get(place(block)..place(block + 1))
        {
            prefetch_all(bytes);
        }
    }

    /// The only block that may hold a k-mer that is in no block before `from`.
    pub(in crate::kmers) fn block_from<K: Word>(&self, kmer: K, from: usize) -> Option<usize> {
        // In steps that grow: k-mers that are looked up in order are near.
        let (mut low, mut step) = (from, 1);
        while low + step < self.blocks && self.first::<K>(low + step) <= kmer {
            low += step;
            step *= 2;
        }
        let high = (low + step).min(self.blocks);
        self.blocks_until(kmer, low, high - low).checked_sub(1)
    }

    /// Blocks whose first k-mer is not greater than `kmer`, where it is known that so are the first
    /// `low`, and that no more than `low + size` are.
    fn blocks_until<K: Word>(&self, kmer: K, mut low: usize, mut size: usize) -> usize {
        // Without a branch that depends on the k-mer: look-ups are random.
        while size > 0 {
            let half = size / 2;
            let middle = low + half;
            let right = self.first::<K>(middle) <= kmer;
            low = if right { middle + 1 } else { low };
            size = if right { size - half - 1 } else { half };
        }
        low
    }

    /// Checks every block: checksum, form, order and the sums of the header.
    pub fn verify<K: Word>(&self, mut step: impl FnMut() -> Result<()>) -> Result<()> {
        let (mut kmers, mut counts) = (Vec::new(), Vec::new());
        let mut last: Option<K> = None;
        let mut sum = 0_u64;
        for block in 0..self.blocks {
            step()?;
            kmers.clear();
            counts.clear();
            self.decode(block, &mut kmers, &mut counts)?;
            let before = last.into_iter().chain(kmers.iter().copied());
            if before.zip(kmers.iter().skip(usize::from(last.is_none()))).any(|(a, b)| a >= *b) {
                return Err(self.damaged(block, FormatKind::Other, "is not in order"));
            }
            let limit = K::ones(2 * self.facts.k);
            if kmers.iter().any(|kmer| *kmer > limit) || counts.contains(&0) {
                return Err(self.damaged(block, FormatKind::Other, "holds what is no k-mer"));
            }
            last = kmers.last().copied();
            sum = counts.iter().fold(sum, |sum, count| sum.saturating_add(*count));
        }
        if self.facts.flags == 0 && sum != self.facts.total {
            let text = format!(
                "the counts of the table add up to {sum}, its header says {}",
                self.facts.total
            );
            return Err(Error::format(FormatKind::Other, text).at_path(&self.path));
        }
        Ok(())
    }

    /// Checks the checksums of all blocks; gives what [`super::TableFile`] says of the file.
    pub fn digest(&self, mut step: impl FnMut() -> Result<()>) -> Result<TableFile> {
        let mut digest = Xxh3::new();
        for block in 0..self.blocks {
            step()?;
            digest.update(checksum_of(self.block(block)?));
            self.done_with(block);
        }
        // As they are written: the header last.
        digest.update(&self.map[self.index_at..]);
        digest.update(&self.map[..HEADER_BYTES]);
        Ok(TableFile { bytes: self.bytes(), digest: digest.digest() })
    }

    /// Says that blocks are read in order, and that this one is done with: what was read is given
    /// back in pieces of [`FORGET_BYTES`]. A hint.
    pub fn done_with(&self, block: usize) {
        let piece = |at: u64| at / FORGET_BYTES * FORGET_BYTES;
        let (begin, end) = (piece(self.offset(block)), piece(self.offset(block + 1)));
        if begin == end {
            return;
        }
        // From the piece before the one at hand on: a block may have begun in it.
        let place = |at| usize::try_from(at).unwrap_or(usize::MAX);
        forget(&self.map, place(begin.saturating_sub(FORGET_BYTES))..place(end));
    }
}

/// Gives back memory that was read; a hint.
fn forget(map: &Mmap, range: Range<usize>) {
    if range.start < range.end && range.end <= map.len() {
        let dont_need = memmap2::UncheckedAdvice::DontNeed;
        // SAFETY: the pages of a private read-only map of a file can be read in again.
        let _ = unsafe { map.unchecked_advise_range(dont_need, range.start, range.len()) };
    }
}

/// The checksum of a part of the file, whose memory is given back.
fn sum_once(map: &Mmap, range: Range<usize>) -> u64 {
    let mut sum = Xxh3::new();
    for begin in range.clone().step_by(FORGET_BYTES as usize) {
        let piece = begin..(begin + FORGET_BYTES as usize).min(range.end);
        sum.update(&map[piece.clone()]);
        forget(map, piece);
    }
    sum.digest()
}
