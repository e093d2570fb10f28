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
};
use std::path::Path;
use std::sync::Arc;

/// Windows of a row group, the last row's included that passes over it.
const GROUP_WINDOWS: usize = 1 << 20;
/// Rows of a row group.
const GROUP_ROWS: usize = 1 << 16;
/// Pages of the open row group that are held in memory.
const OPEN_PAGE_BYTES: u64 = 1 << 20;

/// Rows on their way into a row group.
struct Group {
    records: StringBuilder,
    starts: UInt64Builder,
    counts: ListBuilder<UInt64Builder>,
    rows: usize,
    windows: usize,
}

impl Group {
    fn new() -> Self {
        let (records, starts) = (StringBuilder::new(), UInt64Builder::new());
        let counts = ListBuilder::new(UInt64Builder::new());
        Self { records, starts, counts, rows: 0, windows: 0 }
    }

    fn add(&mut self, stretch: &ProfileStretch) {
        self.records.append_value(String::from_utf8_lossy(&stretch.name));
        self.starts.append_value(stretch.start);
        for (count, valid) in stretch.counts.iter().zip(&stretch.valid) {
            self.counts.values().append_option((*valid == 1).then_some(*count));
        }
        self.counts.append(true);
        self.rows += 1;
        self.windows += stretch.counts.len();
    }

    fn is_full(&self) -> bool {
        self.rows >= GROUP_ROWS || self.windows >= GROUP_WINDOWS
    }

    fn take(&mut self, schema: &SchemaRef) -> Result<RecordBatch> {
        (self.rows, self.windows) = (0, 0);
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
    loop {
        job.cancel.check()?;
        let stretch = profile.next_stretch()?;
        if let Some(stretch) = &stretch {
            group.add(stretch);
        }
        if group.is_full() || (stretch.is_none() && group.rows > 0) {
            let encoded = encoder.encode(&group.take(&schema)?)?;
            let assigned = dictionaries.assign(encoded, Some(GroupEnd::default()));
            file.append(encoder.finish(assigned)?)?;
        }
        if stretch.is_none() {
            break;
        }
    }
    let created_by = concat!("seqmill version ", env!("CARGO_PKG_VERSION"));
    let bytes = file.finish(&metadata(&profile.table), created_by)?.bytes;
    seqmill_base::sink::publish(data, path)?;
    Ok(bytes)
}
