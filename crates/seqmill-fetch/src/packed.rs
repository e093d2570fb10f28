//! The packed sidecar: two bits a base and lists of what two bits cannot say, mapped and shared.
//!
//! A header page; then for each contig, on a boundary of 64 bytes, its bases (base `i` in bits
//! `2 * (i % 4)` of byte `i / 4`, A0 C1 G2 T3) and four lists sorted by position: runs of N, of
//! lower case and of U as pairs (begin, end), and single other bytes (position in the low 56 bits,
//! the byte above). Then the table of contigs, then a checksum of each MiB behind the header.

mod sidecar;
mod write;

use write::write_packed;

use crate::encode::Writer;
use crate::flat::{u32_at, u64_at};
use crate::store::Contig;
use memmap2::Mmap;
use seqmill_base::{Error, FormatKind, Result};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use xxhash_rust::xxh3::{Xxh3, xxh3_64};

const MAGIC: [u8; 8] = *b"SQML2BT1";
const VERSION: u32 = 1;
const HEADER_BYTES: usize = 4096;
const HEADER_SUMMED: usize = 88;
const CONTIG_BYTES: usize = 80;
const PAGE_BYTES: usize = 1 << 20;
/// Bases that are unpacked at a time.
const STEP_BASES: usize = 2048;
const POSITION_BITS: u32 = 56;

/// The suffix of a packed sidecar.
pub(crate) const SUFFIX: &str = ".sqm2";

/// Four letters for each byte of bases.
const LETTERS: [[u8; 4]; 256] = {
    let mut table = [[0; 4]; 256];
    let mut i = 0;
    while i < 256 {
        let mut j = 0;
        while j < 4 {
            table[i][j] = b"ACGT"[(i >> (2 * j)) & 3];
            j += 1;
        }
        i += 1;
    }
    table
};

/// What a packed sidecar must belong to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Source {
    pub(crate) size: u64,
    pub(crate) mtime_ns: i64,
    /// Hash of names and lengths of the contigs.
    pub(crate) contigs: u64,
}

/// Hash of a contig table.
#[derive(Default)]
pub(crate) struct ContigHash(Xxh3);

impl ContigHash {
    pub(crate) fn add(&mut self, name: &[u8], length: u64) {
        self.0.update(&(name.len() as u64).to_le_bytes());
        self.0.update(name);
        self.0.update(&length.to_le_bytes());
    }

    pub(crate) fn digest(&self) -> u64 {
        self.0.digest()
    }
}

/// A mapped sidecar.
#[derive(Debug)]
pub(crate) struct Packed {
    map: Mmap,
    path: PathBuf,
    table: usize,
    sums: usize,
    /// One bit a page: its checksum was compared.
    checked: Vec<AtomicU64>,
    verify: bool,
}

impl Packed {
    /// Maps the sidecar at `path`; `None` if there is none, or it is of another file.
    pub(crate) fn open(path: &Path, source: Source, verify: bool) -> Option<Self> {
        let file = File::open(path).ok()?;
        // SAFETY: sidecars are only ever replaced by rename, never rewritten in place.
        let map = unsafe { Mmap::map(&file) }.ok()?;
        let head = map.get(..HEADER_BYTES)?;
        let number = |at: usize| u64_at(head, at).unwrap_or(0);
        let summed = head.get(..HEADER_SUMMED).unwrap_or_default();
        let told =
            Source { size: number(24), mtime_ns: number(32).cast_signed(), contigs: number(40) };
        let fits = head.starts_with(&MAGIC)
            && u32_at(head, 8) == Some(VERSION)
            && u32_at(head, 12) == Some(crate::flat::BYTE_ORDER)
            && number(16) == map.len() as u64
            && number(HEADER_SUMMED) == xxh3_64(summed)
            && told == source;
        if !fits {
            return None;
        }
        let place = |at: usize| usize::try_from(number(at)).unwrap_or(usize::MAX);
        let (table, sums) = (place(64), place(72));
        let pages = (sums.saturating_sub(HEADER_BYTES)).div_ceil(PAGE_BYTES);
        if table > sums || sums > map.len() || (map.len() - sums) / 8 != pages {
            return None;
        }
        let _ = map.advise(memmap2::Advice::Random);
        let checked = (0..pages.div_ceil(64)).map(|_| AtomicU64::new(0)).collect();
        Some(Self { map, path: path.to_path_buf(), table, sums, checked, verify })
    }

    fn damaged(&self, kind: FormatKind, what: &str, at: usize) -> Error {
        Error::format(kind, format!("packed sidecar is damaged: {what}; pack the file again"))
            .at_path(&self.path)
            .at_offset(at as u64)
    }

    /// Bytes of the sidecar, whose pages are compared with their checksums at first use.
    fn bytes(&self, at: u64, length: u64) -> Result<&[u8]> {
        let outside = || self.damaged(FormatKind::Other, "a list lies outside of it", 0);
        let begin = usize::try_from(at).map_err(|_| outside())?;
        let length = usize::try_from(length).map_err(|_| outside())?;
        let end =
            begin.checked_add(length).filter(|end| *end <= self.sums && begin >= HEADER_BYTES);
        let end = end.ok_or_else(outside)?;
        if self.verify && length > 0 {
            let page = |at: usize| (at - HEADER_BYTES) / PAGE_BYTES;
            for page in page(begin)..=page(end - 1) {
                self.check_page(page)?;
            }
        }
        self.map.get(begin..end).ok_or_else(outside)
    }

    /// Pages that have a checksum.
    fn pages(&self) -> usize {
        (self.sums.saturating_sub(HEADER_BYTES)).div_ceil(PAGE_BYTES)
    }

    fn check_page(&self, page: usize) -> Result<()> {
        let Some(word) = self.checked.get(page / 64) else { return Ok(()) };
        let bit = 1 << (page % 64);
        if word.load(Ordering::Relaxed) & bit != 0 {
            return Ok(());
        }
        let begin = HEADER_BYTES + page * PAGE_BYTES;
        let end = (begin + PAGE_BYTES).min(self.sums);
        let sum = xxh3_64(self.map.get(begin..end).unwrap_or_default());
        if u64_at(&self.map, self.sums + 8 * page) != Some(sum) {
            return Err(self.damaged(
                FormatKind::Checksum,
                "the checksum of a page is wrong",
                begin,
            ));
        }
        word.fetch_or(bit, Ordering::Relaxed);
        Ok(())
    }

    /// Writes the bases `[start, end)` of a contig.
    pub(crate) fn read(
        &self,
        contig: &Contig<'_>,
        (start, end): (u64, u64),
        writer: &mut Writer<'_>,
    ) -> Result<()> {
        let row = (self.table + contig.id as usize * CONTIG_BYTES) as u64;
        let row = self.bytes(row, CONTIG_BYTES as u64)?;
        let number = |i: usize| u64_at(row, 8 * i).unwrap_or(0);
        if number(1) != contig.length() {
            return Err(self.damaged(FormatKind::Other, "a contig has another length", 0));
        }
        let bases = self.bytes(number(0).saturating_add(start / 4), end.div_ceil(4) - start / 4)?;
        let list = |i: usize, width: u64| {
            self.bytes(number(i), number(i + 1).saturating_mul(width)).map(List)
        };
        let (n, lower, u) = (list(2, 16)?, list(4, 16)?, list(6, 16)?);
        let others = list(8, 8)?;
        let mut stage = [[0; 4]; STEP_BASES / 4 + 1];
        let mut at = start;
        while at < end {
            let skip = usize::try_from(at % 4).unwrap_or(0);
            let count = usize::try_from(end - at).unwrap_or(STEP_BASES).min(STEP_BASES);
            let from = usize::try_from(at / 4 - start / 4).unwrap_or(0);
            let packed = bases.get(from..from + (skip + count).div_ceil(4)).unwrap_or_default();
            for (letters, &byte) in stage.iter_mut().zip(packed) {
                *letters = LETTERS[usize::from(byte)];
            }
            let run = stage.as_flattened_mut().get_mut(skip..skip + count).unwrap_or_default();
            n.each_run(at, run, |part| part.fill(b'N'));
            u.each_run(at, run, |part| part.fill(b'U'));
            others.each_byte(at, run);
            lower.each_run(at, run, <[u8]>::make_ascii_lowercase);
            if !writer.push(run) {
                return Err(self.damaged(FormatKind::Other, "it holds bytes that are no bases", 0));
            }
            at += count as u64;
        }
        Ok(())
    }
}

/// A sorted list of the exceptions of a contig.
struct List<'m>(&'m [u8]);

impl List<'_> {
    /// The first of `count` entries for which `is_behind` holds.
    fn search(count: usize, is_behind: impl Fn(usize) -> bool) -> usize {
        let (mut low, mut high) = (0, count);
        while low < high {
            let middle = low + (high - low) / 2;
            if is_behind(middle) { high = middle } else { low = middle + 1 }
        }
        low
    }

    /// Calls `change` with each part of `run`, the bases from `at` on, that lies in a run.
    fn each_run(&self, at: u64, run: &mut [u8], change: impl Fn(&mut [u8])) {
        let count = self.0.len() / 16;
        let border = |i: usize| u64_at(self.0, 8 * i).unwrap_or(u64::MAX);
        let end = at + run.len() as u64;
        let mut i = Self::search(count, |i| border(2 * i + 1) > at);
        while i < count && border(2 * i) < end {
            let within = |x: u64| usize::try_from(x.clamp(at, end) - at).unwrap_or(0);
            if let Some(part) = run.get_mut(within(border(2 * i))..within(border(2 * i + 1))) {
                change(part);
            }
            i += 1;
        }
    }

    /// Puts the single bytes that lie in `run`, the bases from `at` on.
    fn each_byte(&self, at: u64, run: &mut [u8]) {
        let count = self.0.len() / 8;
        let entry = |i: usize| u64_at(self.0, 8 * i).unwrap_or(u64::MAX);
        let position = |i: usize| entry(i) & ((1 << POSITION_BITS) - 1);
        let mut i = Self::search(count, |i| position(i) >= at);
        while i < count {
            let place = usize::try_from(position(i) - at).unwrap_or(usize::MAX);
            let Some(base) = run.get_mut(place) else { break };
            *base = entry(i).to_be_bytes()[0];
            i += 1;
        }
    }
}
