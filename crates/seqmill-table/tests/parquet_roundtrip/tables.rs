//! Tables of every type, with nulls and slices where they hurt.

use arrow_array::types::Int32Type;
use arrow_array::{
    ArrayRef, BinaryArray, BooleanArray, DictionaryArray, Float32Array, Float64Array, Int8Array,
    Int16Array, Int32Array, Int64Array, ListArray, RecordBatch, StringArray, StructArray,
    UInt8Array, UInt16Array, UInt32Array, UInt64Array,
};
use arrow_buffer::{NullBuffer, OffsetBuffer};
use arrow_schema::{DataType, Field, Fields, Schema};
use std::sync::Arc;

/// Xorshift: the same numbers on every machine.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, n: usize) -> usize {
        (self.next() >> 11) as usize % n.max(1)
    }

    fn nulls(&mut self, n: usize, percent: usize) -> Option<NullBuffer> {
        (percent > 0).then(|| (0..n).map(|_| self.below(100) >= percent).collect())
    }
}

const WORDS: [&str; 6] = [
    "",
    "150M",
    "75M2I73M",
    "é",
    "a long value that goes on and on until it has passed sixty-four bytes",
    "10S140M",
];

/// An array of any of the types; `percent` of nulls on every nullable level.
fn array(field: &Field, n: usize, percent: usize, varied: bool, r: &mut Random) -> ArrayRef {
    let nulls = if field.is_nullable() { r.nulls(n, percent) } else { None };
    macro_rules! numbers {
        ($array:ident, $native:ty) => {{
            let values: Vec<$native> = (0..n)
                .map(|_| if varied { r.next() as $native } else { (r.below(9) * 5) as $native })
                .collect();
            Arc::new($array::new(values.into(), nulls))
        }};
    }
    let text = |r: &mut Random| {
        if varied { format!("q{:x}", r.next()) } else { WORDS[r.below(6)].to_owned() }
    };
    let valid = |i: usize| nulls.as_ref().is_none_or(|nulls| nulls.is_valid(i));
    match field.data_type() {
        DataType::Boolean => {
            Arc::new(BooleanArray::new((0..n).map(|_| r.below(3) == 0).collect(), nulls))
        }
        DataType::Int8 => numbers!(Int8Array, i8),
        DataType::Int16 => numbers!(Int16Array, i16),
        DataType::Int32 => numbers!(Int32Array, i32),
        DataType::Int64 => numbers!(Int64Array, i64),
        DataType::UInt8 => numbers!(UInt8Array, u8),
        DataType::UInt16 => numbers!(UInt16Array, u16),
        DataType::UInt32 => numbers!(UInt32Array, u32),
        DataType::UInt64 => numbers!(UInt64Array, u64),
        DataType::Float32 => {
            let values: Vec<f32> = (0..n)
                .map(|_| match r.below(8) {
                    0 => f32::NAN,
                    1 => -0.0,
                    2 => 0.0,
                    _ => r.below(1000) as f32 / 8.0 - 20.0,
                })
                .collect();
            Arc::new(Float32Array::new(values.into(), nulls))
        }
        DataType::Float64 => {
            let values: Vec<f64> = (0..n).map(|_| r.below(100) as f64 / 8.0).collect();
            Arc::new(Float64Array::new(values.into(), nulls))
        }
        DataType::Utf8 => {
            let values = (0..n).map(|i| valid(i).then(|| text(r)));
            Arc::new(values.collect::<StringArray>())
        }
        DataType::Binary => {
            // Nulls with bytes behind them are legal.
            let values: Vec<Vec<u8>> = (0..n).map(|_| text(r).into_bytes()).collect();
            let offsets = OffsetBuffer::from_lengths(values.iter().map(Vec::len));
            Arc::new(BinaryArray::new(offsets, values.concat().into(), nulls))
        }
        DataType::Dictionary(..) => {
            let keys: Vec<i32> = (0..n).map(|_| r.below(5) as i32).collect();
            // One text twice and one null among the values.
            let values = StringArray::from(vec![
                Some("chr1"),
                Some("chr2"),
                Some("chr1"),
                Some("*"),
                if field.is_nullable() { None } else { Some("x") },
            ]);
            Arc::new(DictionaryArray::<Int32Type>::new(
                Int32Array::new(keys.into(), nulls),
                Arc::new(values),
            ))
        }
        DataType::Struct(fields) => {
            let children = fields.iter().map(|f| array(f, n, percent, varied, r)).collect();
            Arc::new(StructArray::try_new_with_length(fields.clone(), children, nulls, n).unwrap())
        }
        DataType::List(item) => {
            let spans = r.below(2) == 0;
            let lengths: Vec<usize> = (0..n)
                .map(|i| if valid(i) || spans { [0, 1, 2, 30][r.below(4)] } else { 0 })
                .collect();
            let total = lengths.iter().sum();
            let values = array(item, total, percent, varied, r);
            Arc::new(ListArray::new(
                item.clone(),
                OffsetBuffer::from_lengths(lengths),
                values,
                nulls,
            ))
        }
        other => panic!("{other}"),
    }
}

fn list(item: Field) -> DataType {
    DataType::List(Arc::new(item))
}

fn leaf_types() -> Vec<DataType> {
    use DataType::{
        Binary, Boolean, Float32, Float64, Int8, Int16, Int32, Int64, UInt8, UInt16, UInt32,
        UInt64, Utf8,
    };
    let mut types = vec![
        Boolean, Int8, Int16, Int32, Int64, UInt8, UInt16, UInt32, UInt64, Float32, Float64, Utf8,
        Binary,
    ];
    types.push(DataType::Dictionary(Box::new(Int32), Box::new(Utf8)));
    types
}

pub(crate) fn flat_schema(nullable: bool) -> Schema {
    let fields = leaf_types().into_iter().enumerate();
    Schema::new(fields.map(|(i, t)| Field::new(format!("c{i}"), t, nullable)).collect::<Fields>())
}

pub(crate) fn nested_schema() -> Schema {
    let fields = |nullable: bool| -> Fields {
        let types = leaf_types().into_iter().enumerate();
        types.map(|(i, t)| Field::new(format!("f{i}"), t, nullable)).collect()
    };
    let mut all = vec![
        Field::new("tags", DataType::Struct(fields(true)), false),
        Field::new("maybe", DataType::Struct(fields(true)), true),
        Field::new("bare", DataType::Struct(fields(false)), true),
        Field::new("other", list(Field::new("item", DataType::Struct(fields(false)), false)), true),
        Field::new("wild", list(Field::new("item", DataType::Struct(fields(true)), true)), false),
    ];
    for (i, t) in leaf_types().into_iter().enumerate() {
        all.push(Field::new(format!("list{i}"), list(Field::new("item", t.clone(), false)), true));
        all.push(Field::new(format!("nulls{i}"), list(Field::new("item", t, true)), false));
    }
    let inner = list(Field::new("item", list(Field::new("item", DataType::UInt16, true)), true));
    let deep: Fields =
        vec![Field::new("a", inner, true), Field::new("b", DataType::Utf8, true)].into();
    all.push(Field::new("deep", list(Field::new("item", DataType::Struct(deep), true)), true));
    Schema::new(all)
}

pub(crate) fn batch(
    schema: &Schema,
    n: usize,
    percent: usize,
    varied: bool,
    r: &mut Random,
) -> RecordBatch {
    let columns: Vec<ArrayRef> =
        schema.fields().iter().map(|f| array(f, n, percent, varied, r)).collect();
    RecordBatch::try_new(Arc::new(schema.clone()), columns).unwrap()
}
