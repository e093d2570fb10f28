//! Decoding of a batch of records into Arrow columns.

mod arrays;
mod fixed;
mod rows;
mod tag_arrays;

use crate::bases::Kernel;
use crate::schema::{Content, Layout, TagMode, arrow_schema};
use crate::select::{PREFETCH_RECORDS, name_is_text, tags_are_text};
use crate::tags::{TagPlan, TagValues};
use crate::text::CIGAR_OPERATIONS;
use crate::unit::{Batch, Selected};
use arrays::{Optional, internal, optional};
use arrow_array::{ArrayRef, RecordBatch, StringArray, StructArray, types};
use arrow_schema::{DataType, Schema, SchemaRef};
use rows::{Hints, RowColumns};
use seqmill_base::prefetch::prefetch;
use seqmill_base::{Error, ErrorKind, FormatKind, Result};
use seqmill_io::bam::{Fault, Head};
use std::sync::Arc;
use tag_arrays::{field_array, others_array};

/// Everything that decoding needs to know, fixed for a run.
#[derive(Debug)]
pub(crate) struct ColumnPlan {
    pub layout: Layout,
    pub tags: TagPlan,
    pub schema: SchemaRef,
    /// All reference names, the dictionary of rname and rnext.
    pub references: Arc<StringArray>,
    /// Number in `references` of each input's references.
    pub reference_maps: Vec<Option<Vec<i32>>>,
    /// Names of the inputs, the dictionary of `source`.
    pub sources: Arc<StringArray>,
    pub kernel: Kernel,
    strands: Arc<StringArray>,
    operations: Arc<StringArray>,
}

impl ColumnPlan {
    pub(crate) fn new(
        layout: Layout,
        tags: TagPlan,
        metadata: Vec<(String, String)>,
        references: &[String],
        reference_maps: Vec<Option<Vec<i32>>>,
        sources: &[String],
    ) -> Self {
        let schema: Schema = arrow_schema(&layout, &tags.fields, metadata);
        let operations: Vec<String> =
            CIGAR_OPERATIONS[..9].iter().map(|op| char::from(*op).to_string()).collect();
        Self {
            layout,
            tags,
            schema: Arc::new(schema),
            references: Arc::new(StringArray::from_iter_values(references)),
            reference_maps,
            sources: Arc::new(StringArray::from_iter_values(sources)),
            kernel: Kernel::detect(),
            strands: Arc::new(StringArray::from_iter_values(["+", "-"])),
            operations: Arc::new(StringArray::from_iter_values(operations)),
        }
    }
}

/// Decodes batches; reused from batch to batch.
pub(crate) struct Decoder {
    plan: Arc<ColumnPlan>,
    hints: Hints,
}

/// What decoding gives beside the columns.
pub(crate) struct Decoded {
    pub batch: RecordBatch,
    /// Tags that went to `tags_other`, by name and reason.
    pub overflow: Vec<([u8; 2], [u64; 4])>,
    pub bases: u64,
}

/// Sums over the records of a batch: the room that columns need.
#[derive(Debug, Default)]
struct Sums {
    weight: u64,
    names: usize,
    operations: usize,
    bases: u64,
    /// Bytes of packed bases.
    packed: usize,
    tags: usize,
}

/// Tag fields and `tags_other`, while the columns before them are put together.
struct TagColumns {
    fields: Vec<ArrayRef>,
    others: Option<ArrayRef>,
}

impl Decoder {
    pub(crate) fn new(plan: Arc<ColumnPlan>) -> Self {
        Self { plan, hints: Hints::default() }
    }

    /// Decodes all selected columns of a batch.
    pub(crate) fn decode(&mut self, batch: &Batch) -> Result<Decoded> {
        self.decode_rows(batch).map_err(|error| locate_text(error, batch))
    }

    fn decode_rows(&mut self, batch: &Batch) -> Result<Decoded> {
        let plan = Arc::clone(&self.plan);
        let (heads, sums) = read_heads(batch)?;
        let mut rows = RowColumns::new(&plan, heads.len(), &sums, &self.hints)?;
        if rows.any() {
            rows.fill(&plan, batch)?;
            self.hints = rows.hints(batch.weight);
        }
        let mut overflow = Vec::new();
        let mut tags = match rows.take_tag_values() {
            Some(values) => Some(tag_columns(&plan, values, heads.len(), &mut overflow)?),
            None => None,
        };
        let mut columns: Vec<ArrayRef> = Vec::with_capacity(plan.schema.fields().len());
        for column in &plan.layout.columns {
            let data_type = &column.data_type;
            if let Some(array) = plan.fixed_column(column.content, data_type, &heads, batch) {
                columns.push(array);
                continue;
            }
            match (column.content, &mut tags) {
                (Content::Tags, Some(tags)) if plan.layout.tags == TagMode::Columns => {
                    columns.append(&mut tags.fields);
                }
                (Content::Tags, Some(tags)) => {
                    let inner = match plan.schema.field(columns.len()).data_type() {
                        DataType::Struct(inner) => inner.clone(),
                        _ => return Err(Error::internal("tags are no struct")),
                    };
                    // A struct without fields has no child to tell its length.
                    let fields = std::mem::take(&mut tags.fields);
                    let array = StructArray::try_new_with_length(inner, fields, None, heads.len());
                    columns.push(Arc::new(array.map_err(|e| internal(&e))?));
                }
                (Content::TagsOther, Some(tags)) => columns.push(
                    tags.others.take().ok_or_else(|| Error::internal("tags_other is not kept"))?,
                ),
                (content, _) => columns.push(rows.take(&plan, content, data_type)?),
            }
        }
        let options = arrow_array::RecordBatchOptions::new().with_row_count(Some(heads.len()));
        let record_batch =
            RecordBatch::try_new_with_options(Arc::clone(&plan.schema), columns, &options)
                .map_err(|e| internal(&e))?;
        Ok(Decoded { batch: record_batch, overflow, bases: sums.bases })
    }
}

/// Copies the fields of fixed size of all records and adds up the lengths of the others.
fn read_heads(batch: &Batch) -> Result<(Vec<Head>, Sums)> {
    let mut heads = Vec::with_capacity(batch.rows);
    let mut sums = Sums { weight: batch.weight, ..Sums::default() };
    for slice in &batch.slices {
        let selected = &slice.selected;
        for row in slice.rows.clone() {
            if let Some(later) = selected.starts.get(row + PREFETCH_RECORDS) {
                prefetch(&selected.unit.data, *later as usize);
            }
            let Some(record) = selected.record(row) else {
                return Err(Error::internal("a selected record vanished"));
            };
            sums.names += record.name_bytes();
            sums.operations += record.operations();
            sums.bases += u64::from(record.length());
            sums.packed += (record.length() as usize).div_ceil(2);
            sums.tags += record.tag_bytes();
            heads.push(record.head());
        }
    }
    Ok((heads, sums))
}

/// Arrow columns of tags; adds what went to `tags_other` to `overflow`.
fn tag_columns(
    plan: &ColumnPlan,
    mut values: TagValues,
    rows: usize,
    overflow: &mut Vec<([u8; 2], [u64; 4])>,
) -> Result<TagColumns> {
    *overflow = std::mem::take(&mut values.others.counts);
    let others = plan.tags.keep_others.then(|| others_array(values.others)).transpose()?;
    let mut fields = Vec::with_capacity(values.fields.len());
    for (field, values) in plan.tags.fields.iter().zip(values.fields) {
        fields.push(field_array(field.tag_type, values, rows, &field.text())?);
    }
    Ok(TagColumns { fields, others })
}

/// The place of a fault found in row `row` of a batch.
fn place(fault: Fault, batch: &Batch, row: usize) -> Error {
    let mut before = row;
    for slice in &batch.slices {
        if before < slice.rows.len() {
            let row = slice.rows.start + before;
            let selected = &slice.selected;
            return fault.into_error(selected.ordinal_of(row), selected.voffset_of(row).0);
        }
        before -= slice.rows.len();
    }
    fault.into_error(0, 0)
}

/// Names the record whose text is not UTF-8: an array as a whole cannot tell.
fn locate_text(error: Error, batch: &Batch) -> Error {
    let place = error.place();
    if error.kind() != ErrorKind::Format(FormatKind::Record) || place.record.is_some() {
        return error;
    }
    let is_text = if place.field == Some("qname") { name_is_text } else { tags_are_text };
    let mut found = None;
    each_row(batch, |selected, row| {
        if found.is_none() && selected.record(row).is_some_and(|record| !is_text(&record)) {
            found = Some((selected.ordinal_of(row), selected.voffset_of(row).0));
        }
    });
    match found {
        Some((ordinal, voffset)) => error.at_record(ordinal).at_voffset(voffset),
        None => error,
    }
}

fn each_row(batch: &Batch, mut give: impl FnMut(&Selected, usize)) {
    for slice in &batch.slices {
        for row in slice.rows.clone() {
            give(&slice.selected, row);
        }
    }
}

/// Positions in the type that the profile wants.
fn positions(data_type: &DataType, values: Optional<i32>) -> ArrayRef {
    if *data_type == DataType::Int32 {
        return optional::<types::Int32Type>(values);
    }
    let Optional { values, validity } = values;
    let values = values.into_iter().map(i32::cast_unsigned).collect();
    optional::<types::UInt32Type>(Optional { values, validity })
}
