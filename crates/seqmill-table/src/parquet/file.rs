//! The file itself (step 4): pages in, row groups out.

use super::footer::{Chunk, FileFacts, GroupFigures, MAGIC, PageRecord, group_record, write_end};
use super::output::Output;
use super::page::{FinishedBatch, Page};
use super::plan::{Encoding, Plan};
use super::stats::PageStats;
use super::{Codec, GroupEnd};
use seqmill_base::{Error, Result};
use serde::{Deserialize, Serialize};
use std::path::Path;
use std::sync::Arc;

impl Codec {
    /// `CompressionCodec`.
    pub(super) fn number(self) -> i32 {
        match self {
            Self::None => 0,
            Self::Snappy => 1,
            Self::Gzip(_) => 2,
            Self::Zstd(_) => 6,
            Self::Lz4 => 7,
        }
    }
}

/// Totals of a leaf over all closed row groups.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct LeafTotals {
    pub(super) compressed_bytes: u64,
    pub(super) uncompressed_bytes: u64,
    pub(super) pages: u64,
    /// Bit n: encoding number n occurs.
    pub(super) encodings: u16,
}

/// What a checkpoint must remember of a file between two row groups.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileState {
    /// Length of the data file.
    pub data_bytes: u64,
    /// Length of the spool file.
    pub spool_bytes: u64,
    /// Closed row groups.
    pub groups: u64,
    /// Rows in them.
    pub rows: u64,
    leaves: Vec<LeafTotals>,
}

/// Figures of one leaf column.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LeafFigures {
    /// Dotted path.
    pub path: String,
    /// Bytes in the file, page headers included.
    pub compressed_bytes: u64,
    /// The same before compression.
    pub uncompressed_bytes: u64,
    /// Data pages.
    pub pages: u64,
    /// Names of the encodings of its data pages.
    pub encodings: Vec<&'static str>,
}

/// Figures of a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FileFigures {
    /// Length of the file.
    pub bytes: u64,
    /// Rows.
    pub rows: u64,
    /// Row groups.
    pub row_groups: u64,
    /// Bytes of pages that waited in the overflow file.
    pub overflow_bytes: u64,
    /// One entry per leaf column.
    pub leaves: Vec<LeafFigures>,
}

/// Where the bytes of a page of the open group are.
#[derive(Debug)]
enum Held {
    Memory(Vec<u8>),
    Overflow { at: u64, len: u64 },
}

#[derive(Debug)]
struct OpenPage {
    held: Held,
    uncompressed: u64,
    slots: u64,
    rows: u64,
    encoding: Encoding,
    stats: Option<PageStats>,
}

/// A Parquet file under construction.
#[derive(Debug)]
pub struct ParquetFile {
    plan: Arc<Plan>,
    data: Output,
    spool: Output,
    overflow: Output,
    open_page_bytes: u64,
    /// Pages of the open group, per leaf.
    open: Vec<Vec<OpenPage>>,
    open_rows: u64,
    held_bytes: u64,
    overflow_bytes: u64,
    groups: u64,
    rows: u64,
    totals: Vec<LeafTotals>,
    /// The file as it was when the last row group was closed.
    closed: FileState,
}

impl ParquetFile {
    /// Begins a file. `data` becomes the Parquet file; `spool` keeps what the footer needs and
    /// must be kept with `data` until the file is complete; `overflow` takes the pages of the open
    /// row group beyond `open_page_bytes`. The caller removes `spool` and `overflow`, and renames
    /// `data`, after [`Self::finish`].
    pub fn create(
        data: &Path,
        spool: &Path,
        overflow: &Path,
        plan: Arc<Plan>,
        open_page_bytes: u64,
    ) -> Result<Self> {
        let state = FileState {
            data_bytes: 0,
            spool_bytes: 0,
            groups: 0,
            rows: 0,
            leaves: vec![LeafTotals::default(); plan.leaves.len()],
        };
        let mut file = Self::resume(data, spool, overflow, plan, open_page_bytes, &state)?;
        file.data.write(MAGIC)?;
        Ok(file)
    }

    /// Goes on with a file at a checkpoint. What was written after it is cut off.
    pub fn resume(
        data: &Path,
        spool: &Path,
        overflow: &Path,
        plan: Arc<Plan>,
        open_page_bytes: u64,
        state: &FileState,
    ) -> Result<Self> {
        if state.leaves.len() != plan.leaves.len() {
            return Err(Error::internal("the checkpoint belongs to a file with other columns"));
        }
        Ok(Self {
            data: Output::open(data, state.data_bytes)?,
            spool: Output::open(spool, state.spool_bytes)?,
            overflow: Output::open(overflow, 0)?,
            open_page_bytes,
            open: plan.leaves.iter().map(|_| Vec::new()).collect(),
            open_rows: 0,
            held_bytes: 0,
            overflow_bytes: 0,
            groups: state.groups,
            rows: state.rows,
            totals: state.leaves.clone(),
            closed: state.clone(),
            plan,
        })
    }

    /// Takes the pages of a batch; true if that closed a row group, which is then written.
    pub fn append(&mut self, batch: FinishedBatch) -> Result<bool> {
        self.open_rows += batch.rows as u64;
        for (page, leaf) in batch.pages.into_iter().zip(&mut self.open) {
            let Page { bytes, uncompressed, slots, rows, encoding, stats } = page;
            let len = bytes.len() as u64;
            let held = if self.held_bytes + len > self.open_page_bytes {
                let at = self.overflow.position();
                self.overflow.write(&bytes)?;
                self.overflow_bytes += len;
                Held::Overflow { at, len }
            } else {
                self.held_bytes += len;
                Held::Memory(bytes)
            };
            leaf.push(OpenPage { held, uncompressed, slots, rows, encoding, stats });
        }
        let Some((end, dictionaries)) = batch.end else { return Ok(false) };
        if self.open_rows == 0 {
            return Ok(false);
        }
        self.close_group(&end, &dictionaries)?;
        Ok(true)
    }

    fn close_group(&mut self, end: &GroupEnd, dictionaries: &[Option<Page>]) -> Result<()> {
        self.overflow.flush()?;
        let mut group = GroupFigures {
            rows: self.open_rows,
            offset: self.data.position(),
            sorting: end.sorting.clone().unwrap_or_default(),
            ..GroupFigures::default()
        };
        let mut chunks = Vec::with_capacity(self.open.len());
        for (leaf, dictionary) in self.open.iter_mut().zip(dictionaries) {
            let mut chunk = Chunk::default();
            if let Some(page) = dictionary {
                chunk.dictionary_offset = Some(self.data.position());
                chunk.compressed += page.bytes.len() as u64;
                chunk.uncompressed += page.uncompressed;
                self.data.write(&page.bytes)?;
            }
            for page in leaf.drain(..) {
                let offset = self.data.position();
                match &page.held {
                    Held::Memory(bytes) => self.data.write(bytes)?,
                    Held::Overflow { at, len } => self.data.copy(&self.overflow, *at, *len)?,
                }
                let bytes = self.data.position() - offset;
                chunk.compressed += bytes;
                chunk.uncompressed += page.uncompressed;
                chunk.slots += page.slots;
                chunk.pages.push(PageRecord {
                    offset,
                    bytes,
                    rows: page.rows,
                    encoding: page.encoding,
                    stats: page.stats,
                });
            }
            group.compressed += chunk.compressed;
            group.uncompressed += chunk.uncompressed;
            chunks.push(chunk);
        }
        chunks.iter().zip(&mut self.totals).for_each(|(chunk, totals)| chunk.total(totals));
        self.spool.write(&group_record(&group, &self.plan.leaves, &chunks, &self.plan))?;
        if self.overflow.position() > 0 {
            self.overflow.clear()?;
        }
        self.groups += 1;
        self.rows += self.open_rows;
        self.open_rows = 0;
        self.held_bytes = 0;
        self.closed = FileState {
            data_bytes: self.data.position(),
            spool_bytes: self.spool.position(),
            groups: self.groups,
            rows: self.rows,
            leaves: self.totals.clone(),
        };
        Ok(())
    }

    /// Makes all closed row groups durable and says how to go on from there; what was written
    /// behind the last one does not count, also after a write that failed halfway.
    pub fn state(&mut self) -> Result<FileState> {
        self.data.sync_until(self.closed.data_bytes)?;
        self.spool.sync_until(self.closed.spool_bytes)?;
        Ok(self.closed.clone())
    }

    /// Writes page indexes and footer and makes the file durable. The last row group must have
    /// been closed; [`super::EncodedBatch::empty`] does so without further rows.
    pub fn finish(
        mut self,
        key_values: &[(String, String)],
        created_by: &str,
    ) -> Result<FileFigures> {
        self.check_closed()?;
        let facts = FileFacts { rows: self.rows, groups: self.groups, key_values, created_by };
        write_end(&mut self.data, &mut self.spool, &self.plan, &facts)?;
        self.data.sync()?;
        Ok(self.figures())
    }

    fn check_closed(&self) -> Result<()> {
        if self.open_rows > 0 {
            return Err(Error::internal("a row group of the Parquet file is still open"));
        }
        Ok(())
    }

    /// Figures of what has been written so far.
    pub fn figures(&self) -> FileFigures {
        let leaves = self.plan.leaves.iter().zip(&self.totals).map(|(leaf, totals)| {
            let used =
                Encoding::OF_VALUES.iter().filter(|e| totals.encodings >> **e as u8 & 1 == 1);
            LeafFigures {
                path: leaf.path.join("."),
                compressed_bytes: totals.compressed_bytes,
                uncompressed_bytes: totals.uncompressed_bytes,
                pages: totals.pages,
                encodings: used.map(|e| e.name()).collect(),
            }
        });
        FileFigures {
            bytes: self.data.position(),
            rows: self.rows,
            row_groups: self.groups,
            overflow_bytes: self.overflow_bytes,
            leaves: leaves.collect(),
        }
    }

    /// Length of the data file so far, without the open row group.
    pub fn position(&self) -> u64 {
        self.data.position()
    }

    /// Bytes of the pages of the open row group that are held in memory; never more than
    /// `open_page_bytes`.
    pub fn held_bytes(&self) -> u64 {
        self.held_bytes
    }

    /// Bytes of the write buffers.
    pub fn buffer_bytes(&self) -> u64 {
        let buffers = [&self.data, &self.spool, &self.overflow].map(Output::buffer_bytes);
        buffers.iter().sum::<usize>() as u64
    }
}
