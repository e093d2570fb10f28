//! Writing a packed sidecar.

use super::{
    CONTIG_BYTES, HEADER_BYTES, HEADER_SUMMED, MAGIC, PAGE_BYTES, POSITION_BITS, Source, VERSION,
};
use crate::aside::Aside;
use crate::encode::Encoder;
use crate::spool::Spool;
use crate::store::{Contig, Store};
use crate::window::Place;
use seqmill_base::{CancelToken, Error, Result};
use std::fs::File;
use std::io::{BufWriter, Seek, SeekFrom, Write};
use std::path::Path;
use xxhash_rust::xxh3::{Xxh3, xxh3_64};

/// Bases that are read at a time, a multiple of four.
const STEP_BASES: u64 = 1 << 20;
/// Contigs begin at multiples of this.
const ALIGNMENT: u64 = 64;

/// Writes behind the header and notes the checksum of each page.
struct Pages<'f> {
    out: BufWriter<&'f File>,
    path: &'f Path,
    at: u64,
    hasher: Xxh3,
    in_page: usize,
    sums: Vec<u64>,
}

impl Pages<'_> {
    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        let mut rest = bytes;
        while !rest.is_empty() {
            let (part, behind) = rest.split_at(rest.len().min(PAGE_BYTES - self.in_page));
            self.hasher.update(part);
            self.in_page += part.len();
            if self.in_page == PAGE_BYTES {
                self.end_page();
            }
            rest = behind;
        }
        self.at += bytes.len() as u64;
        self.out.write_all(bytes).map_err(|e| Error::io(self.path, &e))
    }

    fn end_page(&mut self) {
        self.sums.push(self.hasher.digest());
        self.hasher.reset();
        self.in_page = 0;
    }

    fn align(&mut self) -> Result<()> {
        let gap = self.at.next_multiple_of(ALIGNMENT) - self.at;
        self.write(&vec![0; usize::try_from(gap).unwrap_or(0)])
    }
}

/// Stretches of bases of a kind, in the order of the contig.
#[derive(Default)]
struct Runs {
    /// The last one, which may grow.
    open: Option<(u64, u64)>,
    closed: Spool,
}

impl Runs {
    /// Notes that `position` belongs to a run: the last one grows, or another begins.
    fn extend(&mut self, position: u64, folder: &Path) -> Result<()> {
        if let Some((_, end)) = &mut self.open
            && *end == position
        {
            *end += 1;
            return Ok(());
        }
        self.close(folder)?;
        self.open = Some((position, position + 1));
        Ok(())
    }

    fn close(&mut self, folder: &Path) -> Result<()> {
        let Some((begin, end)) = self.open.take() else { return Ok(()) };
        self.closed.push(&begin.to_le_bytes(), folder)?;
        self.closed.push(&end.to_le_bytes(), folder)
    }
}

/// What two bits cannot say, in the order of the contig: however much there is of it, it takes
/// little memory.
struct Exceptions<'f> {
    folder: &'f Path,
    n: Runs,
    lower: Runs,
    u: Runs,
    others: Spool,
}

impl<'f> Exceptions<'f> {
    fn new(folder: &'f Path) -> Self {
        let [n, lower, u] = <[Runs; 3]>::default();
        Self { folder, n, lower, u, others: Spool::default() }
    }

    /// The two bits of a base.
    #[inline]
    fn code(&mut self, base: u8, position: u64) -> Result<u8> {
        if base.is_ascii_lowercase() {
            self.lower.extend(position, self.folder)?;
        }
        match base.to_ascii_uppercase() {
            b'A' => return Ok(0),
            b'C' => return Ok(1),
            b'G' => return Ok(2),
            b'T' => return Ok(3),
            b'N' => self.n.extend(position, self.folder)?,
            b'U' => {
                self.u.extend(position, self.folder)?;
                return Ok(3);
            }
            other => {
                let entry = position | (u64::from(other) << POSITION_BITS);
                self.others.push(&entry.to_le_bytes(), self.folder)?;
            }
        }
        Ok(0)
    }

    /// The lists in the order of the row, each with the bytes of an entry.
    fn lists(mut self) -> Result<[(Spool, u64); 4]> {
        for runs in [&mut self.n, &mut self.lower, &mut self.u] {
            runs.close(self.folder)?;
        }
        let Self { n, lower, u, others, .. } = self;
        Ok([(n.closed, 16), (lower.closed, 16), (u.closed, 16), (others, 8)])
    }
}

/// Packs a file of the store into `path`.
pub(crate) fn write_packed(
    store: &Store,
    file: u32,
    source: Source,
    path: &Path,
    cancel: &CancelToken,
) -> Result<()> {
    let aside = Aside::create(path)?;
    fill(aside.file(), store, file, source, path, cancel)?;
    aside.commit()
}

fn fill(
    mut handle: &File,
    store: &Store,
    file: u32,
    source: Source,
    path: &Path,
    cancel: &CancelToken,
) -> Result<()> {
    let failed = |e: std::io::Error| Error::io(path, &e);
    handle.write_all(&[0; HEADER_BYTES]).map_err(failed)?;
    let mut pages = Pages {
        out: BufWriter::with_capacity(1 << 18, handle),
        path,
        at: HEADER_BYTES as u64,
        hasher: Xxh3::new(),
        in_page: 0,
        sums: Vec::new(),
    };
    let mut table = Vec::new();
    let mut bases = 0;
    let count = store.contigs(file)?;
    for id in 0..count {
        let contig = store.contig(file, id)?;
        bases += contig.length();
        table.extend(write_contig(store, &contig, &mut pages, cancel)?);
    }
    pages.align()?;
    let table_at = pages.at;
    for number in &table {
        pages.write(&number.to_le_bytes())?;
    }
    debug_assert_eq!(table.len() * 8, count as usize * CONTIG_BYTES);
    if pages.in_page > 0 {
        pages.end_page();
    }
    let sums_at = pages.at;
    let Pages { mut out, sums, .. } = pages;
    for sum in &sums {
        out.write_all(&sum.to_le_bytes()).map_err(failed)?;
    }
    out.flush().map_err(failed)?;
    drop(out);
    let total = sums_at + 8 * sums.len() as u64;
    let mut header = Vec::with_capacity(HEADER_SUMMED + 8);
    header.extend(MAGIC);
    header.extend(VERSION.to_le_bytes());
    header.extend(crate::flat::BYTE_ORDER.to_le_bytes());
    for number in [total, source.size, source.mtime_ns.cast_unsigned(), source.contigs, bases] {
        header.extend(number.to_le_bytes());
    }
    for number in [u64::from(count), table_at, sums_at, sums.len() as u64] {
        header.extend(number.to_le_bytes());
    }
    header.extend(xxh3_64(&header).to_le_bytes());
    handle.seek(SeekFrom::Start(0)).map_err(failed)?;
    handle.write_all(&header).map_err(failed)
}

/// Writes one contig and returns its row of the table.
fn write_contig(
    store: &Store,
    contig: &Contig<'_>,
    pages: &mut Pages<'_>,
    cancel: &CancelToken,
) -> Result<[u64; CONTIG_BYTES / 8]> {
    pages.align()?;
    let mut row = [pages.at, contig.length(), 0, 0, 0, 0, 0, 0, 0, 0];
    let encoder = Encoder::identity();
    let folder = pages.path.parent().filter(|f| !f.as_os_str().is_empty());
    let folder = folder.unwrap_or(Path::new("."));
    let mut exceptions = Exceptions::new(folder);
    let mut text = Vec::new();
    let mut packed = Vec::new();
    let mut start = 0;
    while start < contig.length() {
        cancel.check()?;
        let end = (start + STEP_BASES).min(contig.length());
        text.resize(usize::try_from(end - start).unwrap_or(0), 0);
        let place = Place { start, end, left: 0, right: 0 };
        store.read_unpacked(contig, &place, (&encoder, b'N'), &mut text)?;
        packed.clear();
        for (four, position) in text.chunks(4).zip((start..).step_by(4)) {
            let mut byte = 0;
            for ((&base, position), shift) in four.iter().zip(position..).zip([0, 2, 4, 6]) {
                byte |= exceptions.code(base, position)? << shift;
            }
            packed.push(byte);
        }
        pages.write(&packed)?;
        start = end;
    }
    for ((list, entry_bytes), slot) in exceptions.lists()?.into_iter().zip([2, 4, 6, 8]) {
        if let Some([at, count]) = row.get_mut(slot..slot + 2) {
            (*at, *count) = (pages.at, list.length() / entry_bytes);
        }
        list.drain(folder, |bytes| pages.write(bytes))?;
    }
    Ok(row)
}
