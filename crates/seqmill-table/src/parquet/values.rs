//! From Arrow arrays to the values of a page.

use super::plan::Kind;
use arrow_array::cast::AsArray;
use arrow_array::types::{
    Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type, UInt8Type, UInt16Type,
    UInt32Type, UInt64Type,
};
use arrow_array::{Array, StringArray};
use arrow_buffer::NullBuffer;
use seqmill_base::{Error, Result};

/// Which items of an array are values of the page, in order. All of them are valid.
#[derive(Debug, Clone, Copy)]
pub(super) enum Selection<'a> {
    Range { start: usize, len: usize },
    Valid(&'a NullBuffer),
    Indices(&'a [u32]),
}

impl Selection<'_> {
    /// Number of values.
    pub(super) fn len(&self) -> usize {
        match self {
            Self::Range { len, .. } => *len,
            Self::Valid(nulls) => nulls.len() - nulls.null_count(),
            Self::Indices(indices) => indices.len(),
        }
    }

    /// Calls `each` with the start and length of stretches of neighbours.
    pub(super) fn for_each_run(&self, mut each: impl FnMut(usize, usize)) {
        match self {
            Self::Range { len: 0, .. } => {}
            Self::Range { start, len } => each(*start, *len),
            Self::Valid(nulls) => nulls.valid_slices().for_each(|(a, b)| each(a, b - a)),
            Self::Indices(indices) => {
                let mut rest = *indices;
                while let Some(&first) = rest.first() {
                    let run = rest.iter().zip(first..).take_while(|(a, b)| **a == *b).count();
                    each(first as usize, run);
                    rest = &rest[run..];
                }
            }
        }
    }

    /// Calls `each` with the index of every value until it returns false.
    pub(super) fn for_each_while(&self, mut each: impl FnMut(usize) -> bool) {
        match self {
            Self::Range { start, len } => {
                let _ = (*start..start + len).all(each);
            }
            Self::Valid(nulls) => {
                let _ = nulls.valid_indices().all(each);
            }
            Self::Indices(indices) => {
                let _ = indices.iter().all(|i| each(*i as usize));
            }
        }
    }
}

fn pick<'a, T: Copy>(all: &'a [T], selection: &Selection<'_>, out: &'a mut Vec<T>) -> &'a [T] {
    if let Selection::Range { start, len } = *selection {
        return &all[start..start + len];
    }
    out.clear();
    out.reserve(selection.len());
    selection.for_each_run(|start, len| out.extend_from_slice(&all[start..start + len]));
    out
}

fn widen<'a, T: Copy, U: Copy + From<T>>(
    all: &[T],
    selection: &Selection<'_>,
    out: &'a mut Vec<U>,
) -> &'a [U] {
    out.clear();
    out.reserve(selection.len());
    selection.for_each_run(|start, len| {
        out.extend(all[start..start + len].iter().map(|v| U::from(*v)));
    });
    out
}

/// The values of a leaf of 4 physical bytes, by their bits.
pub(super) fn values32<'a>(
    array: &'a dyn Array,
    kind: Kind,
    selection: &Selection<'_>,
    out: &'a mut Vec<i32>,
) -> Result<&'a [i32]> {
    Ok(match kind {
        Kind::Int8 => widen(array.as_primitive::<Int8Type>().values(), selection, out),
        Kind::UInt8 => widen(array.as_primitive::<UInt8Type>().values(), selection, out),
        Kind::Int16 => widen(array.as_primitive::<Int16Type>().values(), selection, out),
        Kind::UInt16 => widen(array.as_primitive::<UInt16Type>().values(), selection, out),
        Kind::Int32 => pick(array.as_primitive::<Int32Type>().values(), selection, out),
        Kind::UInt32 => {
            let buffer = array.as_primitive::<UInt32Type>().values().inner();
            pick(buffer.typed_data(), selection, out)
        }
        Kind::Float32 => {
            let buffer = array.as_primitive::<Float32Type>().values().inner();
            pick(buffer.typed_data(), selection, out)
        }
        _ => return Err(Error::internal("leaf does not have 4 physical bytes")),
    })
}

/// The values of a leaf of 8 physical bytes, by their bits.
pub(super) fn values64<'a>(
    array: &'a dyn Array,
    kind: Kind,
    selection: &Selection<'_>,
    out: &'a mut Vec<i64>,
) -> Result<&'a [i64]> {
    Ok(match kind {
        Kind::Int64 => pick(array.as_primitive::<Int64Type>().values(), selection, out),
        Kind::UInt64 => {
            let buffer = array.as_primitive::<UInt64Type>().values().inner();
            pick(buffer.typed_data(), selection, out)
        }
        Kind::Float64 => {
            let buffer = array.as_primitive::<Float64Type>().values().inner();
            pick(buffer.typed_data(), selection, out)
        }
        _ => return Err(Error::internal("leaf does not have 8 physical bytes")),
    })
}

/// Texts or byte strings of an array.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bytes<'a> {
    /// Item `i` is `data[offsets[i]..offsets[i + 1]]`.
    pub(super) offsets: &'a [i32],
    pub(super) data: &'a [u8],
    /// Keys by which the items are taken, for dictionary arrays.
    pub(super) keys: Option<&'a [i32]>,
}

impl<'a> Bytes<'a> {
    pub(super) fn of(array: &'a dyn Array, kind: Kind) -> Result<Self> {
        let text = |array: &'a StringArray| (array.value_offsets(), array.value_data());
        let ((offsets, data), keys) = match kind {
            Kind::Text => (text(array.as_string::<i32>()), None),
            Kind::Binary => {
                let array = array.as_binary::<i32>();
                ((array.value_offsets(), array.value_data()), None)
            }
            Kind::TextDictionary => {
                let array = array.as_dictionary::<Int32Type>();
                let values = array.values().as_string::<i32>();
                (text(values), Some(&array.keys().values()[..]))
            }
            _ => return Err(Error::internal("leaf is neither text nor binary")),
        };
        Ok(Self { offsets, data, keys })
    }

    /// The bytes of item `item` of the value array.
    pub(super) fn item(&self, item: usize) -> &'a [u8] {
        &self.data[self.offsets[item] as usize..self.offsets[item + 1] as usize]
    }

    /// The bytes of row `row`.
    pub(super) fn row(&self, row: usize) -> &'a [u8] {
        self.item(self.keys.map_or(row, |keys| keys[row] as usize))
    }

    /// Sets `lengths` to those of the selected rows, calls `between` with them, and appends the
    /// bytes of the rows to `out`.
    pub(super) fn gather(
        &self,
        selection: &Selection<'_>,
        lengths: &mut Vec<i32>,
        out: &mut Vec<u8>,
        between: impl FnOnce(&[i32], &mut Vec<u8>),
    ) {
        lengths.clear();
        lengths.reserve(selection.len());
        if self.keys.is_some() {
            selection.for_each_while(|row| {
                lengths.push(self.row(row).len() as i32);
                true
            });
            between(lengths, out);
            selection.for_each_while(|row| {
                out.extend_from_slice(self.row(row));
                true
            });
            return;
        }
        let offsets = self.offsets;
        let (mut first, mut last) = (usize::MAX, 0);
        selection.for_each_run(|start, len| {
            let ends = &offsets[start + 1..=start + len];
            lengths.extend(ends.iter().zip(&offsets[start..]).map(|(b, a)| b - a));
            first = first.min(start);
            last = start + len;
        });
        between(lengths, out);
        // Items that are left out are empty as a rule: then the bytes are one stretch.
        let total: usize = lengths.iter().map(|len| *len as usize).sum();
        if let (Some(&begin), Some(&end)) = (offsets.get(first), offsets.get(last))
            && (end - begin) as usize == total
        {
            out.extend_from_slice(&self.data[begin as usize..end as usize]);
            return;
        }
        selection.for_each_run(|start, len| {
            out.extend_from_slice(
                &self.data[offsets[start] as usize..offsets[start + len] as usize],
            );
        });
    }
}
