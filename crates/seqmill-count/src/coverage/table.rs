//! The table of regions as Arrow: read from `coverage.tsv`, so that it is one and the same thing
//! in every form.

use arrow_array::builder::{Float64Builder, StringBuilder, UInt64Builder};
use arrow_array::{ArrayRef, RecordBatch};
use arrow_schema::{DataType, Field, Schema, SchemaRef};
use memchr::{memchr, memchr_iter};
use seqmill_base::{Error, FormatKind, Job, Result};
use seqmill_io::{IoMode, Source, open_source};
use seqmill_table::parquet::{
    Codec, EncodedBatch, GroupDictionaries, GroupEnd, LeafEncoding, LeafOptions, PageEncoder,
    ParquetFile, Plan,
};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Rows of a batch.
const BATCH_ROWS: usize = 1 << 14;
/// Bytes read at once.
const STEP_BYTES: usize = 1 << 18;
/// Longest line.
const LINE_MAX_BYTES: usize = 4 << 20;
/// Batches of a row group.
const GROUP_BATCHES: usize = 64;
/// Bytes of pages of the open row group held in memory.
const OPEN_PAGES: u64 = 4 << 20;
/// Bytes that writing Parquet takes beside them: a batch, its pages, the codec.
const PARQUET_BYTES: u64 = 16 << 20;
/// Columns that are no whole numbers.
const FRACTIONS: [&str; 7] =
    ["mean", "median", "breadth", "gc_fraction", "coverage", "mean_count", "median_count"];
const TEXTS: [&str; 2] = ["region", "label"];

/// A table of coverage that is read batch by batch.
pub struct TableReader {
    source: Arc<dyn Source>,
    path: PathBuf,
    schema: SchemaRef,
    data: Vec<u8>,
    at: usize,
    read: u64,
    line: u64,
    ended: bool,
}

/// Values of one column on their way.
enum Builder {
    Text(StringBuilder),
    Whole(UInt64Builder),
    Fraction(Float64Builder),
}

fn data_type(name: &str) -> DataType {
    if TEXTS.contains(&name) {
        DataType::Utf8
    } else if FRACTIONS.contains(&name) {
        DataType::Float64
    } else {
        DataType::UInt64
    }
}

impl TableReader {
    /// Opens a `coverage.tsv`.
    pub fn open(path: &Path) -> Result<Self> {
        let source = open_source(path, IoMode::Read)?;
        let path = source.path().to_path_buf();
        let schema = Arc::new(Schema::empty());
        let data = Vec::new();
        let mut reader = Self { source, path, schema, data, at: 0, read: 0, line: 0, ended: false };
        let Some(header) = reader.next_line()? else {
            let text = "the table is empty; a table of coverage begins with its columns";
            return Err(reader.fault(FormatKind::EmptyInput, text));
        };
        let header = reader.data.get(header).unwrap_or_default();
        let Ok(header) = std::str::from_utf8(header) else {
            return Err(reader.fault(FormatKind::Other, "the heading is not UTF-8"));
        };
        let names: Vec<String> = header.split('\t').map(str::to_owned).collect();
        let known = names.first().is_some_and(|n| n == "region")
            && names.get(1).is_some_and(|n| n == "label")
            && names.get(2).is_some_and(|n| n == "length");
        if !known {
            let text = "no table of coverage: its columns do not begin region, label, length";
            return Err(reader.fault(FormatKind::Other, text));
        }
        let field = |name: String| {
            let data_type = data_type(&name);
            let nullable = data_type == DataType::Float64
                || ["label", "min_count", "max_count"].contains(&name.as_str());
            Field::new(name, data_type, nullable)
        };
        reader.schema = Arc::new(Schema::new(names.into_iter().map(field).collect::<Vec<_>>()));
        Ok(reader)
    }

    /// Schema of the batches.
    pub fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn fault(&self, kind: FormatKind, text: &str) -> Error {
        Error::format(kind, text).at_path(&self.path).at_line(self.line.max(1))
    }

    /// Place of the next line in the data at hand.
    fn next_line(&mut self) -> Result<Option<std::ops::Range<usize>>> {
        loop {
            let rest = self.data.get(self.at..).unwrap_or_default();
            let end = memchr(b'\n', rest);
            if end.is_none() && !self.ended {
                if rest.len() > LINE_MAX_BYTES {
                    self.line += 1;
                    return Err(self.fault(FormatKind::Other, "the line is longer than 4 MiB"));
                }
                self.fill()?;
                continue;
            }
            if rest.is_empty() {
                return Ok(None);
            }
            let length = end.unwrap_or(rest.len());
            let begin = self.at;
            self.at += length + usize::from(end.is_some());
            self.line += 1;
            let returned = usize::from(rest.get(..length).is_some_and(|l| l.ends_with(b"\r")));
            return Ok(Some(begin..begin + length - returned));
        }
    }

    fn fill(&mut self) -> Result<()> {
        self.data.drain(..self.at);
        self.at = 0;
        let kept = self.data.len();
        self.data.resize(kept + STEP_BYTES, 0);
        let got = self.source.read_at(self.data.get_mut(kept..).unwrap_or_default(), self.read)?;
        self.data.truncate(kept + got);
        self.read += got as u64;
        self.ended = got == 0;
        Ok(())
    }

    /// The next rows; none at the end.
    pub fn next_batch(&mut self) -> Result<Option<RecordBatch>> {
        let mut builders: Vec<Builder> = self
            .schema
            .fields()
            .iter()
            .map(|field| match field.data_type() {
                DataType::Utf8 => Builder::Text(StringBuilder::new()),
                DataType::Float64 => Builder::Fraction(Float64Builder::new()),
                _ => Builder::Whole(UInt64Builder::new()),
            })
            .collect();
        let mut rows = 0;
        while rows < BATCH_ROWS {
            let Some(range) = self.next_line()? else { break };
            let line = self.data.get(range).unwrap_or_default();
            let read = read_line(line, &mut builders, &self.schema);
            if let Err(text) = read {
                return Err(self.fault(FormatKind::Other, &text));
            }
            rows += 1;
        }
        if rows == 0 {
            return Ok(None);
        }
        let columns = builders.into_iter().map(|builder| -> ArrayRef {
            match builder {
                Builder::Text(mut builder) => Arc::new(builder.finish()),
                Builder::Whole(mut builder) => Arc::new(builder.finish()),
                Builder::Fraction(mut builder) => Arc::new(builder.finish()),
            }
        });
        let batch = RecordBatch::try_new(self.schema(), columns.collect());
        batch.map(Some).map_err(|e| Error::internal(format!("table of coverage: {e}")))
    }
}

fn read_line(line: &[u8], builders: &mut [Builder], schema: &Schema) -> Result<(), String> {
    let text = std::str::from_utf8(line).map_err(|_| "the line is not UTF-8".to_owned())?;
    let found = memchr_iter(b'\t', line).count() + 1;
    if found != builders.len() {
        return Err(format!("the line has {found} columns, not {}", builders.len()));
    }
    for ((value, builder), field) in text.split('\t').zip(builders).zip(schema.fields()) {
        let wrong = || format!("{value:?} is no value of {}", field.name());
        match builder {
            Builder::Text(builder) if value.is_empty() && field.is_nullable() => {
                builder.append_null();
            }
            Builder::Text(builder) => builder.append_value(value),
            Builder::Whole(builder) if value == "NA" && field.is_nullable() => {
                builder.append_null();
            }
            Builder::Whole(builder) => builder.append_value(value.parse().map_err(|_| wrong())?),
            Builder::Fraction(builder) if value == "NA" => builder.append_null(),
            Builder::Fraction(builder) => {
                builder.append_value(value.parse().map_err(|_| wrong())?);
            }
        }
    }
    Ok(())
}

/// Writes the table as Parquet.
pub(super) fn write_parquet(table: &Path, parquet: &Path, facts: &Value, job: &Job) -> Result<()> {
    let account = job.budget.account("parquet", job.budget.pool());
    let _held = job.budget.must_reserve(account, OPEN_PAGES + PARQUET_BYTES)?;
    let mut reader = TableReader::open(table)?;
    let leaf = |path: &str, data_type: &DataType| LeafOptions {
        encoding: match data_type {
            DataType::Utf8 if path == "region" => LeafEncoding::DeltaLength,
            DataType::UInt64 => LeafEncoding::DeltaBinary,
            DataType::Float64 => LeafEncoding::Plain,
            _ => LeafEncoding::Dictionary,
        },
        statistics: true,
        plain_fallback: false,
    };
    let plan = Plan::new(&reader.schema(), Codec::Zstd(1), &leaf)?;
    let beside = |suffix: &str| parquet.with_extension(suffix);
    let (spool, overflow) = (beside("spool"), beside("overflow"));
    let mut file = ParquetFile::create(parquet, &spool, &overflow, Arc::clone(&plan), OPEN_PAGES)?;
    let mut encoder = PageEncoder::new(Arc::clone(&plan))?;
    let mut dictionaries = GroupDictionaries::new(&plan);
    let mut batches = 0;
    loop {
        job.cancel.check()?;
        let batch = reader.next_batch()?;
        let encoded = match &batch {
            Some(batch) => encoder.encode(batch)?,
            None => EncodedBatch::empty(),
        };
        batches += 1;
        let ends = batch.is_none() || batches % GROUP_BATCHES == 0;
        let assigned = dictionaries.assign(encoded, ends.then(GroupEnd::default));
        file.append(encoder.finish(assigned)?)?;
        if batch.is_none() {
            break;
        }
    }
    let facts = facts.as_object().into_iter().flatten().filter(|(_, value)| !value.is_null());
    let keys: Vec<(String, String)> = facts
        .map(|(key, value)| {
            let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            (format!("seqmill.{key}"), text)
        })
        .collect();
    file.finish(&keys, "seqmill")?;
    for path in [spool, overflow] {
        match std::fs::remove_file(&path) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(Error::io(&path, &e)),
            _ => {}
        }
    }
    Ok(())
}
