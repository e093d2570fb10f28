//! Profiles of files as Parquet: a row for each record, or for each stretch of a long one.

use super::{FileProfile, ProfileStretch};
use crate::kmers::dump::Unfinished;
use crate::kmers::skm::SkmTable;
use arrow_array::builder::{ListBuilder, StringBuilder, UInt64Builder};
use arrow_array::{ArrayRef, RecordBatch};
use arrow_schema::{DataType, Field, Schema, SchemaRef};
use seqmill_base::{Error, Job, Result};
use seqmill_table::parquet::{
    Codec, GroupDictionaries, GroupEnd, LeafEncoding, LeafOptions, PageEncoder, ParquetFile, Plan,
    claim_bytes,
};
use std::path::Path;
use std::sync::Arc;

/// Windows of a row: a longer record has several.
const ROW_WINDOWS: u64 = 1 << 20;
/// A row group ends with the row with which it has so many windows.
const GROUP_WINDOWS: usize = 1 << 20;
/// What compression and encoders hold beside what is reserved for each batch.
const ENCODER_BYTES: u64 = 6 << 20;
/// Most that a full row group and its pages take.
const GROUP_BYTES_MOST: u64 = 96 << 20;
/// Rows of a row group.
const GROUP_ROWS: usize = 1 << 16;
/// Pages of the open row group that are held in memory.
const OPEN_PAGE_BYTES: u64 = 1 << 20;

/// Rows on their way into a row group.
struct Group {
    records: StringBuilder,
    starts: UInt64Builder,
    counts: ListBuilder<UInt64Builder>,
    /// Rows that have begun, and those that have ended.
    rows: usize,
    ended: usize,
    windows: usize,
}

impl Group {
    fn new() -> Self {
        let (records, starts) = (StringBuilder::new(), UInt64Builder::new());
        let counts = ListBuilder::new(UInt64Builder::new());
        Self { records, starts, counts, rows: 0, ended: 0, windows: 0 }
    }

    /// Bytes that it takes with another stretch.
    fn bytes_with(&self, stretch: &ProfileStretch) -> u64 {
        let windows = (self.windows + stretch.counts.len()).next_power_of_two();
        let text = self.records.values_slice().len() + 3 * stretch.name.len();
        (9 * windows + 2 * text + 48 * self.rows.next_power_of_two()) as u64
    }

    fn begin_row(&mut self, stretch: &ProfileStretch) {
        self.records.append_value(String::from_utf8_lossy(&stretch.name));
        self.starts.append_value(stretch.start);
        self.rows += 1;
    }

    fn end_row(&mut self) {
        if self.rows > self.ended {
            self.counts.append(true);
            self.ended = self.rows;
        }
    }

    fn add(&mut self, stretch: &ProfileStretch) {
        for (count, valid) in stretch.counts.iter().zip(&stretch.valid) {
            self.counts.values().append_option((*valid == 1).then_some(*count));
        }
        self.windows += stretch.counts.len();
    }

    fn is_full(&self) -> bool {
        self.rows >= GROUP_ROWS || self.windows >= GROUP_WINDOWS
    }

    fn take(&mut self, schema: &SchemaRef) -> Result<RecordBatch> {
        (self.rows, self.ended, self.windows) = (0, 0, 0);
        let columns: Vec<ArrayRef> = vec![
            Arc::new(self.records.finish()),
            Arc::new(self.starts.finish()),
            Arc::new(self.counts.finish()),
        ];
        RecordBatch::try_new(Arc::clone(schema), columns)
            .map_err(|e| Error::internal(format!("profile as columns: {e}")))
    }
}

fn schema() -> SchemaRef {
    let counts = DataType::List(Arc::new(Field::new("item", DataType::UInt64, true)));
    Arc::new(Schema::new(vec![
        Field::new("record", DataType::Utf8, false),
        Field::new("start", DataType::UInt64, false),
        Field::new("counts", counts, false),
    ]))
}

fn metadata(table: &SkmTable) -> Vec<(String, String)> {
    let facts = table.facts();
    let strand = if facts.canonical { "canonical" } else { "forward" };
    vec![
        ("seqmill.k".to_owned(), facts.k.to_string()),
        ("seqmill.strand".to_owned(), strand.to_owned()),
    ]
}

/// Memory that is left for the output: half of what is free, or as much as it can use.
pub fn profile_table_claim(job: &Job) -> u64 {
    let free = job.budget.pool().saturating_sub(job.budget.reserved());
    ENCODER_BYTES + (free.saturating_sub(ENCODER_BYTES) / 2).min(GROUP_BYTES_MOST)
}

/// Writes the profile of a file; gives the bytes of the output.
pub fn write_profile(
    profile: &mut FileProfile,
    path: &Path,
    force: bool,
    job: &Job,
) -> Result<u64> {
    seqmill_base::sink::refuse_existing(path, force)?;
    let unfinished = Unfinished::beside(path);
    let [data, spool, pages] = &unfinished.files;
    let schema = schema();
    let plan = Plan::new(&schema, Codec::Zstd(1), &|name, _| LeafOptions {
        encoding: match name {
            "record" => LeafEncoding::DeltaLength,
            _ => LeafEncoding::DeltaBinary,
        },
        statistics: true,
        plain_fallback: false,
    })?;
    let mut encoder = PageEncoder::new(Arc::clone(&plan))?;
    let mut dictionaries = GroupDictionaries::new(&plan);
    let mut file = ParquetFile::create(data, spool, pages, Arc::clone(&plan), OPEN_PAGE_BYTES)?;
    let mut group = Group::new();
    let account = job.budget.account("row group", u64::MAX);
    let _encoder_lease = job.budget.must_reserve(account, ENCODER_BYTES)?;
    let mut lease = job.budget.must_reserve(account, 0)?;
    loop {
        job.cancel.check()?;
        let stretch = profile.next_stretch()?;
        let begins = stretch.as_ref().is_none_or(|s| s.start.is_multiple_of(ROW_WINDOWS));
        if begins {
            group.end_row();
        }
        if begins && (group.is_full() || (stretch.is_none() && group.rows > 0)) {
            let batch = group.take(&schema)?;
            let _pages = job.budget.must_reserve(account, claim_bytes(&batch))?;
            let encoded = encoder.encode(&batch)?;
            drop(batch);
            let assigned = dictionaries.assign(encoded, Some(GroupEnd::default()));
            file.append(encoder.finish(assigned)?)?;
            lease.resize(0)?;
        }
        let Some(stretch) = stretch else { break };
        lease.resize(group.bytes_with(&stretch).max(lease.bytes()))?;
        if begins {
            group.begin_row(&stretch);
        }
        group.add(&stretch);
    }
    let created_by = concat!("seqmill version ", env!("CARGO_PKG_VERSION"));
    let bytes = file.finish(&metadata(&profile.table), created_by)?.bytes;
    seqmill_base::sink::publish(data, path)?;
    Ok(bytes)
}
