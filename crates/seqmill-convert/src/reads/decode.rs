//! Reads as Arrow columns.

use super::parse::Read;
use super::plan::ReadsPlan;
use crate::columns::{ColumnPlan, Decoded};
use crate::schema::Content;
use crate::setup::Setup;
use crate::unit::Batch;
use arrow_array::{
    ArrayRef, DictionaryArray, Float32Array, Int32Array, Int64Array, RecordBatch,
    RecordBatchOptions, StringArray, types,
};
use arrow_buffer::{BooleanBuffer, Buffer, NullBuffer, OffsetBuffer, ScalarBuffer};
use seqmill_base::{Error, Result};
use std::sync::Arc;

/// One row with what is told of it.
struct Row<'r> {
    read: Read<'r>,
    mate: Option<Read<'r>>,
    ordinal: u64,
    input: u32,
}

/// Text of several rows.
struct TextBuilder {
    ends: Vec<i32>,
    bytes: Vec<u8>,
}

impl TextBuilder {
    fn new(rows: usize, bytes: usize) -> Self {
        let mut ends = Vec::with_capacity(rows + 1);
        ends.push(0);
        Self { ends, bytes: Vec::with_capacity(bytes) }
    }

    fn end(&mut self) -> Result<()> {
        let end = i32::try_from(self.bytes.len()).map_err(|_| {
            let text = "one column of one batch exceeds 2 GiB; give smaller --batch-rows";
            Error::budget(text, 1 << 31)
        })?;
        self.ends.push(end);
        Ok(())
    }

    fn finish(self, nulls: Option<NullBuffer>) -> Result<ArrayRef> {
        let offsets = OffsetBuffer::new(ScalarBuffer::from(self.ends));
        let array = StringArray::try_new(offsets, Buffer::from_vec(self.bytes), nulls);
        array.map(|a| Arc::new(a) as ArrayRef).map_err(|e| internal(&e))
    }
}

fn internal(error: &arrow_schema::ArrowError) -> Error {
    Error::internal(error.to_string())
}

/// Decodes all columns of a batch of reads.
pub(super) fn decode(plan: &ReadsPlan, columns: &ColumnPlan, batch: &Batch) -> Result<Decoded> {
    let mut rows = Vec::with_capacity(batch.rows);
    for slice in &batch.slices {
        let Some(reads) = &slice.selected.reads else {
            return Err(Error::internal("alignments among reads"));
        };
        for row in slice.rows.clone() {
            // Rows were parsed when they were selected.
            let parse = |mate| Read::parse(plan.kind, reads.text(row, mate));
            let Ok(read) = parse(false) else {
                return Err(Error::internal("a selected read vanished"));
            };
            rows.push(Row {
                read,
                mate: plan.mate.then(|| parse(true).ok()).flatten(),
                ordinal: slice.selected.ordinal_of(row),
                input: slice.selected.unit.input,
            });
        }
    }
    let bases = |row: &Row<'_>| row.read.length + row.mate.map_or(0, |m| m.length);
    let total = rows.iter().map(|row| bases(row) as u64).sum();
    let mut arrays = Vec::with_capacity(columns.layout.columns.len());
    for column in &columns.layout.columns {
        arrays.push(array(column.content, &rows, columns)?);
    }
    let options = RecordBatchOptions::new().with_row_count(Some(rows.len()));
    let table = RecordBatch::try_new_with_options(Arc::clone(&columns.schema), arrays, &options);
    let batch = table.map_err(|e| internal(&e))?;
    Ok(Decoded { batch, overflow: Vec::new(), bases: total })
}

fn text<'r>(rows: &'r [Row<'r>], get: impl Fn(&Row<'r>) -> Option<&'r [u8]>) -> Result<ArrayRef> {
    let bytes = rows.iter().map(|row| get(row).map_or(0, <[u8]>::len)).sum();
    let mut builder = TextBuilder::new(rows.len(), bytes);
    for row in rows {
        builder.bytes.extend_from_slice(get(row).unwrap_or_default());
        builder.end()?;
    }
    let valid = BooleanBuffer::collect_bool(rows.len(), |i| {
        rows.get(i).is_some_and(|row| get(row).is_some())
    });
    let nulls = Some(NullBuffer::new(valid)).filter(|nulls| nulls.null_count() > 0);
    builder.finish(nulls)
}

fn sequences<'r>(
    rows: &'r [Row<'r>],
    get: impl Fn(&Row<'r>) -> Option<Read<'r>>,
) -> Result<ArrayRef> {
    let bytes = rows.iter().filter_map(&get).map(|read| read.length).sum();
    let mut builder = TextBuilder::new(rows.len(), bytes);
    for row in rows {
        if let Some(read) = get(row) {
            read.append_sequence(&mut builder.bytes);
        }
        builder.end()?;
    }
    builder.finish(None)
}

fn array(content: Content, rows: &[Row<'_>], columns: &ColumnPlan) -> Result<ArrayRef> {
    Ok(match content {
        Content::Qname => text(rows, |row| Some(row.read.name))?,
        Content::Description => text(rows, |row| row.read.description)?,
        Content::Seq => sequences(rows, |row| Some(row.read))?,
        Content::Qual => text(rows, |row| Some(row.read.quality))?,
        Content::MateSeq => sequences(rows, |row| row.mate)?,
        Content::MateQual => text(rows, |row| Some(row.mate.map_or(&[][..], |m| m.quality)))?,
        Content::SeqLen => {
            let length = |row: &Row<'_>| i32::try_from(row.read.length).unwrap_or(i32::MAX);
            Arc::new(Int32Array::from_iter_values(rows.iter().map(length)))
        }
        Content::Ordinal => {
            Arc::new(Int64Array::from_iter_values(rows.iter().map(|r| r.ordinal.cast_signed())))
        }
        Content::MeanQual => {
            let means = rows.iter().map(|row| mean_quality(row.read.quality));
            Arc::new(means.collect::<Float32Array>())
        }
        Content::Source => {
            let keys = Int32Array::from_iter_values(rows.iter().map(|row| row.input.cast_signed()));
            let names = Arc::clone(&columns.sources) as ArrayRef;
            let array = DictionaryArray::<types::Int32Type>::try_new(keys, names);
            Arc::new(array.map_err(|e| internal(&e))?)
        }
        _ => return Err(Error::internal("a column of alignments among reads")),
    })
}

/// Mean of the Phred values; none without bases.
fn mean_quality(quality: &[u8]) -> Option<f32> {
    let sum: u64 = quality.iter().map(|q| u64::from(q.saturating_sub(b'!'))).sum();
    #[expect(clippy::cast_possible_truncation, reason = "a mean of bytes fits in any float")]
    (!quality.is_empty()).then(|| (sum as f64 / quality.len() as f64) as f32)
}

/// A batch without rows that has the dictionaries.
pub(crate) fn empty_batch(plan: &ReadsPlan, setup: &Setup) -> Result<RecordBatch> {
    let batch = Batch {
        slices: Vec::new(),
        rows: 0,
        weight: 0,
        group_end: None,
        after: crate::unit::CutState::default(),
    };
    Ok(decode(plan, &setup.columns, &batch)?.batch)
}
