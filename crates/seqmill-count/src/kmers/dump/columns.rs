//! Tables as Arrow batches, and these as Arrow IPC and Parquet files.

use super::{DumpOptions, OutputSpec, TableFormat};
use crate::kmers::merge::TableCursor;
use crate::kmers::skm::{SkmTable, key_words};
use crate::kmers::word::{Word, append_text};
use crate::with_kmer;
use arrow_array::builder::{FixedSizeBinaryBuilder, StringBuilder};
use arrow_array::{ArrayRef, RecordBatch, UInt64Array};
use arrow_schema::{DataType, Field, Schema, SchemaRef};
use seqmill_base::{Error, Job, Result};
use seqmill_table::ipc::{IpcCompression, IpcEncoder, IpcWriter};
use seqmill_table::parquet::{
    Codec, EncodedBatch, GroupDictionaries, GroupEnd, LeafEncoding, LeafOptions, PageEncoder,
    ParquetFile, Plan,
};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Rows of a page.
const PAGE_ROWS: usize = 1 << 16;
/// Pages of a row group.
const GROUP_PAGES: usize = 16;
/// Pages of the open row group that are held in memory.
const OPEN_PAGE_BYTES: u64 = 1 << 20;

/// How k-mers stand in a column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum KmerColumn {
    Packed,
    Words(i32),
    Text,
}

fn kmer_column(k: u32, text: bool) -> KmerColumn {
    if text {
        KmerColumn::Text
    } else if k <= 32 {
        KmerColumn::Packed
    } else {
        KmerColumn::Words(8 * k.div_ceil(32).cast_signed())
    }
}

fn schema_of(table: &SkmTable, column: KmerColumn) -> SchemaRef {
    let kmer = match column {
        KmerColumn::Packed => DataType::UInt64,
        KmerColumn::Words(bytes) => DataType::FixedSizeBinary(bytes),
        KmerColumn::Text => DataType::Utf8,
    };
    let fields =
        vec![Field::new("kmer", kmer, false), Field::new("count", DataType::UInt64, false)];
    let metadata: std::collections::BTreeMap<String, String> =
        metadata(table).into_iter().collect();
    Arc::new(Schema::new_with_metadata(fields, metadata))
}

/// The schema of the batches of a table.
pub fn table_schema(table: &SkmTable, text: bool) -> SchemaRef {
    schema_of(table, kmer_column(table.facts().k, text))
}

fn metadata(table: &SkmTable) -> Vec<(String, String)> {
    let facts = table.facts();
    let strand = if facts.canonical { "canonical" } else { "forward" };
    [
        ("seqmill.k", facts.k.to_string()),
        ("seqmill.strand", strand.to_owned()),
        ("seqmill.packing", "2bit-ACGT-msb-right-aligned".to_owned()),
        ("seqmill.total", facts.total.to_string()),
        ("seqmill.distinct", facts.distinct.to_string()),
        ("seqmill.sorted", "true".to_owned()),
    ]
    .into_iter()
    .map(|(key, value)| (key.to_owned(), value))
    .collect()
}

/// Rows of a table as columns.
fn next_rows<K: Word>(
    cursor: &mut TableCursor<'_, K>,
    table: &SkmTable,
    column: KmerColumn,
    schema: &SchemaRef,
    rows: usize,
) -> Result<Option<RecordBatch>> {
    let mut kmers = Vec::with_capacity(rows);
    let mut counts = Vec::with_capacity(rows);
    while kmers.len() < rows {
        let Some((kmer, count)) = cursor.next()? else { break };
        kmers.push(kmer);
        counts.push(count);
    }
    if kmers.is_empty() {
        return Ok(None);
    }
    let k = table.facts().k;
    let broken = |e: arrow_schema::ArrowError| Error::internal(format!("table as columns: {e}"));
    let mut text = Vec::new();
    let words = key_words(k);
    let big_endian = |kmer: &K| -> Vec<u8> {
        (0..words).rev().flat_map(|i| kmer.word(i).to_be_bytes()).collect()
    };
    let first: ArrayRef = match column {
        KmerColumn::Packed => {
            Arc::new(UInt64Array::from(kmers.iter().map(|k| k.low()).collect::<Vec<_>>()))
        }
        KmerColumn::Words(bytes) => {
            let mut builder = FixedSizeBinaryBuilder::with_capacity(kmers.len(), bytes);
            for kmer in &kmers {
                builder.append_value(big_endian(kmer)).map_err(broken)?;
            }
            Arc::new(builder.finish())
        }
        KmerColumn::Text => {
            let mut builder = StringBuilder::with_capacity(kmers.len(), kmers.len() * k as usize);
            for kmer in &kmers {
                text.clear();
                append_text(*kmer, k, &mut text);
                builder.append_value(std::str::from_utf8(&text).unwrap_or_default());
            }
            Arc::new(builder.finish())
        }
    };
    let columns = vec![first, Arc::new(UInt64Array::from(counts)) as ArrayRef];
    RecordBatch::try_new(Arc::clone(schema), columns).map(Some).map_err(broken)
}

/// Batches of a table from its beginning, one at a time.
pub struct TableBatches {
    table: Arc<SkmTable>,
    schema: SchemaRef,
    column: KmerColumn,
    rows: usize,
    /// Block and place in it at which the next batch begins.
    at: u64,
}

impl TableBatches {
    /// Batches of so many rows.
    pub fn new(table: Arc<SkmTable>, text: bool, rows: usize) -> Self {
        let column = kmer_column(table.facts().k, text);
        let schema = schema_of(&table, column);
        Self { table, schema, column, rows: rows.max(1), at: 0 }
    }

    /// The schema.
    pub fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    /// The next batch.
    pub fn next_batch(&mut self) -> Result<Option<RecordBatch>> {
        with_kmer!(self.table.facts().k, K => {
            let mut cursor = TableCursor::<K>::at(&self.table, self.at)?;
            let (column, rows) = (self.column, self.rows);
            let batch = next_rows(&mut cursor, &self.table, column, &self.schema, rows)?;
            self.at += batch.as_ref().map_or(0, |b| b.num_rows() as u64);
            Ok(batch)
        })
    }
}

/// A name beside the output for a file that is not whole yet.
fn aside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = std::ffi::OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    name.push(suffix);
    path.with_file_name(name)
}

/// What a file of columns is made in; removed when the work ends early.
pub(in crate::kmers) struct Unfinished {
    /// The data, and what waits for the end of its row group.
    pub files: [PathBuf; 3],
}

impl Unfinished {
    /// Beside the file that it becomes.
    pub(in crate::kmers) fn beside(path: &Path) -> Self {
        Self { files: [".part", ".spool", ".pages"].map(|suffix| aside(path, suffix)) }
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        for path in &self.files {
            let _ = std::fs::remove_file(path);
        }
    }
}

/// Writes a table as Arrow IPC or Parquet.
pub(super) fn write(
    table: &SkmTable,
    output: &OutputSpec,
    options: DumpOptions,
    force: bool,
    job: &Job,
) -> Result<u64> {
    let path = &output.path;
    seqmill_base::sink::refuse_existing(path, force)?;
    let account = job.budget.account("columns", u64::MAX);
    let row_bytes = if options.kmer_text { 300 } else { 8 * key_words(table.facts().k) + 8 };
    let _rows = job.budget.must_reserve(account, (6 * PAGE_ROWS * row_bytes) as u64)?;
    let unfinished = Unfinished::beside(path);
    let [data, ..] = &unfinished.files;
    let bytes = with_kmer!(table.facts().k, K => match output.format {
        TableFormat::Parquet => write_parquet::<K>(table, &unfinished.files, options, job)?,
        _ => write_arrow::<K>(table, data, options, job)?,
    });
    seqmill_base::sink::publish(data, path)?;
    Ok(bytes)
}

fn write_arrow<K: Word>(
    table: &SkmTable,
    data: &Path,
    options: DumpOptions,
    job: &Job,
) -> Result<u64> {
    let column = kmer_column(table.facts().k, options.kmer_text);
    let schema = schema_of(table, column);
    let empty = RecordBatch::new_empty(Arc::clone(&schema));
    let mut writer = IpcWriter::create(data, &empty, IpcCompression::None, true)?;
    let mut encoder = IpcEncoder::new(&empty, IpcCompression::None)?;
    let mut cursor = TableCursor::<K>::new(table);
    while let Some(batch) = next_rows(&mut cursor, table, column, &schema, PAGE_ROWS)? {
        job.cancel.check()?;
        writer.append(&encoder.encode(&batch)?)?;
    }
    writer.finish(&metadata(table))
}

fn write_parquet<K: Word>(
    table: &SkmTable,
    [data, spool, pages]: &[PathBuf; 3],
    options: DumpOptions,
    job: &Job,
) -> Result<u64> {
    let column = kmer_column(table.facts().k, options.kmer_text);
    let schema = schema_of(table, column);
    let leaf = |encoding| LeafOptions { encoding, statistics: true, plain_fallback: false };
    let kmers = match column {
        KmerColumn::Packed => LeafEncoding::DeltaBinary,
        KmerColumn::Words(_) => LeafEncoding::Plain,
        KmerColumn::Text => LeafEncoding::DeltaLength,
    };
    let plan = Plan::new(&schema, Codec::Zstd(1), &|name, _| {
        leaf(if name == "kmer" { kmers } else { LeafEncoding::DeltaBinary })
    })?;
    let mut encoder = PageEncoder::new(Arc::clone(&plan))?;
    let mut dictionaries = GroupDictionaries::new(&plan);
    let mut file = ParquetFile::create(data, spool, pages, Arc::clone(&plan), OPEN_PAGE_BYTES)?;
    let mut cursor = TableCursor::<K>::new(table);
    let mut in_group = 0;
    while let Some(batch) = next_rows(&mut cursor, table, column, &schema, PAGE_ROWS)? {
        job.cancel.check()?;
        in_group += 1;
        let end = (in_group == GROUP_PAGES).then(GroupEnd::default);
        in_group %= GROUP_PAGES;
        let assigned = dictionaries.assign(encoder.encode(&batch)?, end);
        file.append(encoder.finish(assigned)?)?;
    }
    if in_group > 0 {
        let assigned = dictionaries.assign(EncodedBatch::empty(), Some(GroupEnd::default()));
        file.append(encoder.finish(assigned)?)?;
    }
    let created_by = concat!("seqmill version ", env!("CARGO_PKG_VERSION"));
    Ok(file.finish(&metadata(table), created_by)?.bytes)
}
