//! Decoding of a batch of records into Arrow columns.

mod arrays;
mod fixed;
mod tag_arrays;
mod text_columns;

use crate::bases::Kernel;
use crate::schema::{CigarMode, Content, Layout, TagMode, arrow_schema, cigar_fields};
use crate::select::{name_is_text, tags_are_text};
use crate::tags::{TagPlan, TagValues};
use crate::text::{CIGAR_OPERATIONS, write_cigar};
use crate::unit::{Batch, Selected};
use arrays::{
    Optional, ascii, binary, dictionary, internal, length_offset, list, optional, primitive,
    saturate, text, validity,
};
use arrow_array::{ArrayRef, RecordBatch, StringArray, StructArray, types};
use arrow_schema::{DataType, Schema, SchemaRef};
use fixed::is_fixed;
use seqmill_base::{Error, ErrorKind, FormatKind, Result};
use seqmill_io::bam::{Fault, Parts, Record, reference_span};
use std::sync::Arc;
use tag_arrays::{field_array, others_array};
use text_columns::{binary_tags, mean_quality, names, qualities};

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

/// One record of a batch with its parts at hand.
struct View<'a> {
    record: Record<'a>,
    parts: Parts<'a>,
    cigar: &'a [u8],
    long_cigar: bool,
}

/// Decodes batches; reused from batch to batch.
pub(crate) struct Decoder {
    plan: Arc<ColumnPlan>,
    /// Bytes that the text of each tag field took in the last batch.
    tag_hints: Vec<usize>,
    cigar_hint: usize,
}

/// What decoding gives beside the columns.
pub(crate) struct Decoded {
    pub batch: RecordBatch,
    /// Tags that went to `tags_other`, by name and reason.
    pub overflow: Vec<([u8; 2], [u64; 4])>,
    pub bases: u64,
}

impl Decoder {
    pub(crate) fn new(plan: Arc<ColumnPlan>) -> Self {
        Self { plan, tag_hints: Vec::new(), cigar_hint: 0 }
    }

    /// Decodes all selected columns of a batch.
    pub(crate) fn decode(&mut self, batch: &Batch) -> Result<Decoded> {
        self.decode_rows(batch).map_err(|error| locate_text(error, batch))
    }

    fn decode_rows(&mut self, batch: &Batch) -> Result<Decoded> {
        let plan = Arc::clone(&self.plan);
        // A projection to numbers alone needs no more of the records.
        let only_heads = plan.layout.columns.iter().all(|column| is_fixed(column.content));
        let mut heads = Vec::with_capacity(batch.rows);
        let mut views = Vec::with_capacity(if only_heads { 0 } else { batch.rows });
        for slice in &batch.slices {
            for row in slice.rows.clone() {
                let Some(record) = slice.selected.record(row) else {
                    return Err(Error::internal("a selected record vanished"));
                };
                heads.push(record.head());
                if only_heads {
                    continue;
                }
                let parts = record.parts();
                let (cigar, long_cigar) = record.cigar(&parts);
                views.push(View { record, parts, cigar, long_cigar });
            }
        }
        let bases = heads.iter().map(|head| u64::from(head.length())).sum();
        let mut columns: Vec<ArrayRef> = Vec::with_capacity(plan.schema.fields().len());
        let mut others = None;
        let mut overflow = Vec::new();
        for column in &plan.layout.columns {
            let data_type = &column.data_type;
            if let Some(array) = plan.fixed_column(column.content, data_type, &heads, batch) {
                columns.push(array);
                continue;
            }
            let array = match column.content {
                Content::Tags => match plan.layout.tags {
                    TagMode::Sam => Self::sam_tags(&views, batch)?,
                    TagMode::Binary => binary_tags(&views)?,
                    _ => {
                        let (fields, rest, counts) = self.tag_fields(&views, batch)?;
                        others = rest;
                        overflow = counts;
                        if plan.layout.tags == TagMode::Columns {
                            columns.extend(fields);
                            continue;
                        }
                        let rows = views.len();
                        let inner = match plan.schema.field(columns.len()).data_type() {
                            DataType::Struct(inner) => inner.clone(),
                            _ => return Err(Error::internal("tags are no struct")),
                        };
                        // A struct without fields has no child to tell its length.
                        let array = StructArray::try_new_with_length(inner, fields, None, rows);
                        Arc::new(array.map_err(|e| internal(&e))?)
                    }
                },
                Content::TagsOther => match others.take() {
                    Some(array) => array,
                    None => self.only_others(&views, batch, &mut overflow)?,
                },
                content => self.column(content, data_type, &views, batch)?,
            };
            columns.push(array);
        }
        let options = arrow_array::RecordBatchOptions::new().with_row_count(Some(heads.len()));
        let record_batch =
            RecordBatch::try_new_with_options(Arc::clone(&plan.schema), columns, &options)
                .map_err(|e| internal(&e))?;
        Ok(Decoded { batch: record_batch, overflow, bases })
    }

    fn column(
        &mut self,
        content: Content,
        data_type: &DataType,
        views: &[View<'_>],
        batch: &Batch,
    ) -> Result<ArrayRef> {
        Ok(match content {
            Content::Qname => names(views)?,
            Content::End => positions(data_type, views, end_of),
            Content::Cigar => self.cigars(views)?,
            Content::Seq => self.sequences(views, data_type)?,
            Content::Qual => qualities(views, data_type, batch)?,
            Content::AlignedLen => primitive::<types::Int32Type>(
                views.iter().map(|v| saturate(reference_span(v.cigar))).collect(),
            ),
            Content::MeanQual => {
                let mut means = Optional::new(views.len());
                for view in views {
                    means.push(mean_quality(view.parts.qual));
                }
                optional::<types::Float32Type>(means)
            }
            Content::Tags | Content::TagsOther => {
                return Err(Error::internal("tags by themselves"));
            }
            _ => return Err(Error::internal("a column of heads among those of views")),
        })
    }

    fn cigars(&mut self, views: &[View<'_>]) -> Result<ArrayRef> {
        let mut bits = vec![0_u8; views.len().div_ceil(8)];
        let mut valid = 0;
        for (row, view) in views.iter().enumerate() {
            if !view.cigar.is_empty() {
                bits[row >> 3] |= 1 << (row & 7);
                valid += 1;
            }
        }
        let nulls = validity(bits, views.len(), valid);
        let mut ends = Vec::with_capacity(views.len() + 1);
        ends.push(0);
        if self.plan.layout.cigar == CigarMode::Text {
            let mut bytes = Vec::with_capacity(self.cigar_hint);
            for view in views {
                write_cigar(view.cigar, &mut bytes);
                ends.push(length_offset(bytes.len())?);
            }
            self.cigar_hint = bytes.len() + bytes.len() / 16;
            return Ok(ascii(ends, bytes, nulls));
        }
        let mut operations = Vec::new();
        for view in views {
            let ops = view.cigar.chunks_exact(4);
            operations
                .extend(ops.map(|op| op.first_chunk::<4>().map_or(0, |b| u32::from_le_bytes(*b))));
            ends.push(length_offset(operations.len())?);
        }
        let items: ArrayRef = if self.plan.layout.cigar == CigarMode::Ops {
            primitive::<types::UInt32Type>(operations)
        } else {
            let mut codes = Optional::new(operations.len());
            for op in &operations {
                codes.push(Some((op & 15).cast_signed()));
            }
            let lengths = operations.iter().map(|op| op >> 4).collect();
            let columns = vec![
                dictionary(codes, &self.plan.operations),
                primitive::<types::UInt32Type>(lengths),
            ];
            Arc::new(StructArray::try_new(cigar_fields(), columns, None).map_err(|e| internal(&e))?)
        };
        list(items, ends, nulls)
    }

    fn sequences(&self, views: &[View<'_>], data_type: &DataType) -> Result<ArrayRef> {
        let packed = *data_type == DataType::Binary;
        let bytes_of = |v: &View<'_>| if packed { v.parts.seq.len() } else { v.parts.qual.len() };
        let total: usize = views.iter().map(bytes_of).sum();
        length_offset(total)?;
        let mut bytes = vec![0; total];
        let mut ends = Vec::with_capacity(views.len() + 1);
        ends.push(0);
        let mut present = Optional::<u8>::new(views.len());
        let mut at = 0;
        for view in views {
            let end = at + bytes_of(view);
            let out = bytes.get_mut(at..end).unwrap_or_default();
            if packed {
                out.copy_from_slice(view.parts.seq);
            } else {
                self.plan.kernel.unpack(view.parts.seq, out);
            }
            at = end;
            ends.push(length_offset(at)?);
            present.push((view.record.length() > 0).then_some(1));
        }
        let nulls = present.nulls();
        Ok(if packed { binary(ends, bytes, nulls) } else { ascii(ends, bytes, nulls) })
    }

    fn sam_tags(views: &[View<'_>], batch: &Batch) -> Result<ArrayRef> {
        let mut bytes = Vec::new();
        let mut ends = vec![0];
        for (row, view) in views.iter().enumerate() {
            crate::tags::write_tags(view.parts.tags, view.long_cigar, &mut bytes)
                .map_err(|fault| place(fault, batch, row))?;
            ends.push(length_offset(bytes.len())?);
        }
        text(ends, bytes, None, "tags")
    }

    /// The tag fields, `tags_other` and what went there.
    #[expect(clippy::type_complexity, reason = "three parts of one result")]
    fn tag_fields(
        &mut self,
        views: &[View<'_>],
        batch: &Batch,
    ) -> Result<(Vec<ArrayRef>, Option<ArrayRef>, Vec<([u8; 2], [u64; 4])>)> {
        let plan = Arc::clone(&self.plan);
        let rows = views.len();
        let mut values = TagValues::new(&plan.tags, rows, &self.tag_hints);
        for (row, view) in views.iter().enumerate() {
            values
                .push_row(&plan.tags, row, view.parts.tags, view.long_cigar)
                .map_err(|fault| place(fault, batch, row))?;
        }
        values.finish(&plan.tags, rows);
        self.tag_hints = values.fields.iter().map(|f| f.bytes.len() + f.bytes.len() / 16).collect();
        let overflow = std::mem::take(&mut values.others.counts);
        let others = plan.tags.keep_others.then(|| others_array(values.others)).transpose()?;
        let mut fields = Vec::with_capacity(values.fields.len());
        for (field, values) in plan.tags.fields.iter().zip(values.fields) {
            fields.push(field_array(field.tag_type, values, rows, &field.text())?);
        }
        Ok((fields, others, overflow))
    }

    /// `tags_other` without `tags`: what would go there.
    fn only_others(
        &mut self,
        views: &[View<'_>],
        batch: &Batch,
        overflow: &mut Vec<([u8; 2], [u64; 4])>,
    ) -> Result<ArrayRef> {
        let (_, others, counts) = self.tag_fields(views, batch)?;
        *overflow = counts;
        others.ok_or_else(|| Error::internal("tags_other is not kept"))
    }
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

/// The end is the same number in both coordinate systems: last base, 1-based, or first base
/// behind, 0-based.
#[inline]
fn end_of(view: &View<'_>) -> Option<i32> {
    let pos = view.record.pos();
    (pos >= 0).then(|| saturate(i64::from(pos) + reference_span(view.cigar).max(1)))
}

fn positions<T>(data_type: &DataType, views: &[T], get: impl Fn(&T) -> Option<i32>) -> ArrayRef {
    if *data_type == DataType::Int32 {
        let mut values = Optional::new(views.len());
        for view in views {
            values.push(get(view));
        }
        return optional::<types::Int32Type>(values);
    }
    let mut values = Optional::new(views.len());
    for view in views {
        values.push(get(view).map(i32::cast_unsigned));
    }
    optional::<types::UInt32Type>(values)
}
