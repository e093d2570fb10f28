//! Arrow arrays of tag fields and of `tags_other`.

use super::arrays::{aligned, internal, list, saturate, text, text_column};
use crate::schema::{TagType, array_type, tags_other_fields};
use crate::tags::{FieldValues, OtherValues};
use crate::wide::Validity;
use arrow_array::{ArrayRef, PrimitiveArray, StructArray, types};
use arrow_buffer::{Buffer, ScalarBuffer};
use arrow_schema::DataType;
use seqmill_base::Result;
use std::sync::Arc;

pub(super) fn field_array(
    tag_type: TagType,
    values: FieldValues,
    rows: usize,
    name: &str,
) -> Result<ArrayRef> {
    let FieldValues { offsets: ends, bytes, integers, validity } = values;
    let nulls = validity.finish();
    Ok(match tag_type {
        TagType::Text(_) => text(ends, bytes, nulls, &format!("tag {name}"))?,
        TagType::Integer => {
            let values = ScalarBuffer::from(integers);
            Arc::new(PrimitiveArray::<types::Int64Type>::new(values, nulls))
        }
        TagType::NarrowInteger => {
            let values: Vec<i32> = integers.into_iter().map(saturate).collect();
            let values = ScalarBuffer::from(values);
            Arc::new(PrimitiveArray::<types::Int32Type>::new(values, nulls))
        }
        TagType::Float => {
            let values = ScalarBuffer::new(aligned(bytes), 0, rows);
            Arc::new(PrimitiveArray::<types::Float32Type>::new(values, nulls))
        }
        TagType::Array(sub) => {
            let width = seqmill_io::bam::array_item_bytes(sub).unwrap_or(1);
            let items = bytes.len() / width;
            let data = arrow_array::ArrayRef::from(arrow_array::make_array(arrow_data(
                array_type(sub),
                items,
                aligned(bytes),
            )?));
            list(data, ends, nulls)?
        }
    })
}

fn arrow_data(data_type: DataType, items: usize, buffer: Buffer) -> Result<arrow_data::ArrayData> {
    let builder = arrow_data::ArrayData::builder(data_type).len(items).add_buffer(buffer);
    builder.build().map_err(|e| internal(&e))
}

pub(super) fn others_array(others: OtherValues) -> Result<ArrayRef> {
    let columns = vec![
        text_column(others.names, "tag name")?,
        text_column(others.types, "tag type")?,
        text_column(others.values, "tags_other")?,
    ];
    let items =
        StructArray::try_new(tags_other_fields(), columns, None).map_err(|e| internal(&e))?;
    let rows = others.row_ends.len();
    let mut present = Validity::new(rows);
    let mut ends = Vec::with_capacity(rows + 1);
    ends.push(0);
    let mut last = 0;
    for end in others.row_ends {
        present.push(end > last);
        ends.push(end);
        last = end;
    }
    list(Arc::new(items), ends, present.finish())
}
