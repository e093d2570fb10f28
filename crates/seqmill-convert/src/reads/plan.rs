//! Columns and settings of a run over reads.

use crate::columns::ColumnPlan;
use crate::cut::Sizes;
use crate::inputs::{Inputs, source_name};
use crate::options::Semantic;
use crate::schema::{CigarMode, Column, Content, Layout, TagMode, choose, column, dictionary_type};
use crate::select::{Names, Weights, names};
use crate::setup::{Setup, differing_options, filters};
use crate::tags::TagPlan;
use arrow_schema::DataType;
use seqmill_base::{Error, Result};
use seqmill_io::records::Kind;
use std::sync::Arc;

/// What a run over reads does.
#[derive(Debug)]
pub(crate) struct ReadsPlan {
    pub kind: Kind,
    pub mate: bool,
    pub filter: ReadFilter,
    /// Bytes of fixed size that count for a row.
    pub fixed: u64,
}

/// Conditions on reads.
#[derive(Debug, Default)]
pub(crate) struct ReadFilter {
    pub min_length: u64,
    pub max_length: u64,
    pub name_in: Option<Names>,
}

/// A row counts for so much at least, so that millions of empty reads make no batch of them all.
const ROW_LEAST_BYTES: u64 = 32;

/// Options that have a meaning for reads; the others are refused.
const OPTIONS: [&str; 19] = [
    "format",
    "columns",
    "exclude_columns",
    "limit",
    "offset",
    "batch_bytes",
    "batch_rows",
    "compression",
    "compression_level",
    "row_group_bytes",
    "compat",
    "strict",
    "verify",
    "record_paths",
    "mate",
    "min_length",
    "max_length",
    "name_in",
    "discover",
];

fn default_columns(kind: Kind, mate: bool) -> Vec<Column> {
    let mut columns = vec![
        column("name", Content::Qname, DataType::Utf8, false),
        column("description", Content::Description, DataType::Utf8, true),
        column("sequence", Content::Seq, DataType::Utf8, false),
    ];
    if kind == Kind::Fastq {
        columns.push(column("quality", Content::Qual, DataType::Utf8, false));
    }
    if mate {
        columns.push(column("sequence2", Content::MateSeq, DataType::Utf8, false));
        if kind == Kind::Fastq {
            columns.push(column("quality2", Content::MateQual, DataType::Utf8, false));
        }
    }
    columns
}

fn layout(kind: Kind, mate: bool, several: bool, semantic: &Semantic) -> Result<Layout> {
    let mut defaults = default_columns(kind, mate);
    if several {
        defaults.push(column("source", Content::Source, dictionary_type(), false));
    }
    let mut known = defaults.clone();
    known.push(column("length", Content::SeqLen, DataType::Int32, false));
    known.push(column("ordinal", Content::Ordinal, DataType::Int64, false));
    if kind == Kind::Fastq {
        known.push(column("mean_qual", Content::MeanQual, DataType::Float32, true));
    }
    if !several {
        known.push(column("source", Content::Source, dictionary_type(), false));
    }
    Ok(Layout {
        columns: choose(&defaults, &known, semantic)?,
        tags: TagMode::None,
        cigar: CigarMode::Text,
        packed_seq: false,
        raw_qual: false,
        pos_shift: 0,
        narrow_tags: false,
    })
}

/// Decides a run over reads.
pub(crate) fn setup(
    inputs: &Inputs,
    kind: Kind,
    semantic: &Semantic,
    count_only: bool,
) -> Result<Setup> {
    for name in differing_options(semantic).keys() {
        if !OPTIONS.contains(&name.as_str()) {
            let name = name.replace('_', "-");
            return Err(Error::input(format!("{name} does not apply to {} input", kind.name())));
        }
    }
    let mate = inputs.mate.is_some();
    let layout = layout(kind, mate, inputs.list.len() > 1, semantic)?;
    let fixed = layout.columns.iter().map(|c| if c.content == Content::Ordinal { 8 } else { 4 });
    let plan = ReadsPlan {
        kind,
        mate,
        filter: ReadFilter {
            min_length: semantic.min_length.unwrap_or(0),
            max_length: semantic.max_length.unwrap_or(u64::MAX),
            name_in: semantic.name_in.as_deref().map(names),
        },
        fixed: fixed.sum::<u64>().max(ROW_LEAST_BYTES),
    };
    let metadata = [
        ("seqmill.schema", "reads/1".to_owned()),
        ("seqmill.source", inputs.identities(false, semantic.record_paths)?.to_string()),
        ("seqmill.filters", filters(semantic).to_string()),
    ];
    let metadata = metadata.into_iter().map(|(k, v)| (k.to_owned(), v)).collect();
    let sources: Vec<String> =
        inputs.list.iter().map(|i| source_name(&i.path, semantic.record_paths)).collect();
    let tags = TagPlan::new(Vec::new(), false);
    let columns = ColumnPlan::new(layout, tags, metadata, &[], Vec::new(), &sources);
    Ok(Setup {
        semantic: semantic.clone(),
        columns: Arc::new(columns),
        regions: None,
        stretches: inputs.list.iter().map(|i| vec![(i.first, None)]).collect(),
        sizes: Sizes {
            batch_bytes: semantic.batch_bytes,
            batch_rows: semantic.batch_rows,
            group_bytes: (semantic.format == "parquet").then_some(semantic.row_group_bytes),
            offset: semantic.offset,
            limit: semantic.limit.unwrap_or(u64::MAX),
        },
        weights: Weights::default(),
        index_used: None,
        part: None,
        first_ordinal: 0,
        count_only,
        tag_fields: Vec::new(),
        record_sizes: None,
        reads: Some(Arc::new(plan)),
    })
}
