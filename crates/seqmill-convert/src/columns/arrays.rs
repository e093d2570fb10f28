//! Arrow arrays from plain vectors.

use crate::tags::TextColumn;
use crate::wide::Validity;
use arrow_array::{
    ArrayRef, BinaryArray, DictionaryArray, ListArray, PrimitiveArray, StringArray, types,
};
use arrow_buffer::{Buffer, MutableBuffer, NullBuffer, OffsetBuffer, ScalarBuffer};
use arrow_schema::{ArrowError, Field};
use seqmill_base::{Error, FormatKind, Result};
use std::sync::Arc;

/// Collects values and their validity.
pub(super) struct Optional<T> {
    pub(super) values: Vec<T>,
    pub(super) validity: Validity,
}

impl<T: Copy + Default> Optional<T> {
    pub(super) fn new(rows: usize) -> Self {
        Self { values: Vec::with_capacity(rows), validity: Validity::new(rows) }
    }

    #[inline]
    pub(super) fn push(&mut self, value: Option<T>) {
        self.values.push(value.unwrap_or_default());
        self.validity.push(value.is_some());
    }
}

pub(super) fn primitive<P: arrow_array::ArrowPrimitiveType>(values: Vec<P::Native>) -> ArrayRef {
    Arc::new(PrimitiveArray::<P>::new(ScalarBuffer::from(values), None))
}

pub(super) fn optional<P: arrow_array::ArrowPrimitiveType>(values: Optional<P::Native>) -> ArrayRef
where
    P::Native: Copy + Default,
{
    let Optional { values, validity } = values;
    Arc::new(PrimitiveArray::<P>::new(ScalarBuffer::from(values), validity.finish()))
}

/// A buffer that any Arrow type may view: bytes from a `Vec<u8>` are usually aligned already.
pub(super) fn aligned(bytes: Vec<u8>) -> Buffer {
    const ALIGN: usize = 8;
    if !bytes.is_empty() && bytes.as_ptr().align_offset(ALIGN) == 0 {
        return Buffer::from_vec(bytes);
    }
    let mut buffer = MutableBuffer::with_capacity(bytes.len());
    buffer.extend_from_slice(&bytes);
    buffer.into()
}

pub(super) fn offsets(values: Vec<i32>) -> OffsetBuffer<i32> {
    // SAFETY: every caller pushes lengths of a growing buffer, beginning with 0.
    unsafe { OffsetBuffer::new_unchecked(ScalarBuffer::from(values)) }
}

/// Text whose bytes are known to be ASCII.
pub(super) fn ascii(values: Vec<i32>, bytes: Vec<u8>, nulls: Option<NullBuffer>) -> ArrayRef {
    debug_assert!(bytes.is_ascii());
    // SAFETY: ASCII is UTF-8, and the offsets grow up to the length of the bytes.
    Arc::new(unsafe { StringArray::new_unchecked(offsets(values), Buffer::from_vec(bytes), nulls) })
}

/// Text from the file: UTF-8 is checked, because SAM allows ASCII only but BAM holds any byte.
pub(super) fn text(
    values: Vec<i32>,
    bytes: Vec<u8>,
    nulls: Option<NullBuffer>,
    what: &str,
) -> Result<ArrayRef> {
    if bytes.is_ascii() {
        return Ok(ascii(values, bytes, nulls));
    }
    let array = StringArray::try_new(offsets(values), Buffer::from_vec(bytes), nulls);
    array.map(|a| Arc::new(a) as ArrayRef).map_err(|_| {
        let error = |text: String| Error::format(FormatKind::Record, text);
        if what == "qname" {
            return error("the read name is not UTF-8".to_owned()).at_field("qname");
        }
        error(format!("{what} is not UTF-8; --tags binary keeps it")).at_field("tags")
    })
}

pub(super) fn text_column(column: TextColumn, what: &str) -> Result<ArrayRef> {
    text(column.offsets, column.bytes, None, what)
}

pub(super) fn dictionary(keys: Optional<i32>, values: &Arc<StringArray>) -> ArrayRef {
    let Optional { values: keys, validity } = keys;
    let nulls = validity.finish();
    let keys = PrimitiveArray::<types::Int32Type>::new(ScalarBuffer::from(keys), nulls);
    // SAFETY: keys are indices of references, which are compared with their number when a record
    // is selected.
    Arc::new(unsafe { DictionaryArray::new_unchecked(keys, Arc::clone(values) as ArrayRef) })
}

pub(super) fn length_offset(bytes: usize) -> Result<i32> {
    i32::try_from(bytes).map_err(|_| {
        Error::budget("one column of one batch exceeds 2 GiB; give smaller --batch-rows", 1 << 31)
    })
}

pub(super) fn internal(error: &ArrowError) -> Error {
    Error::internal(error.to_string())
}

pub(super) fn binary(ends: Vec<i32>, bytes: Vec<u8>, nulls: Option<NullBuffer>) -> ArrayRef {
    // SAFETY: the offsets grow up to the length of the bytes.
    Arc::new(unsafe { BinaryArray::new_unchecked(offsets(ends), Buffer::from_vec(bytes), nulls) })
}

pub(super) fn list(items: ArrayRef, ends: Vec<i32>, nulls: Option<NullBuffer>) -> Result<ArrayRef> {
    let field = Arc::new(Field::new("item", items.data_type().clone(), false));
    let array = ListArray::try_new(field, offsets(ends), items, nulls);
    Ok(Arc::new(array.map_err(|e| internal(&e))?))
}

/// The number, or the greatest there is.
pub(super) fn saturate(value: i64) -> i32 {
    i32::try_from(value).unwrap_or(i32::MAX)
}
