//! The leaves of a schema and how each is stored.

use super::schema::schema_elements;
use super::{Codec, LeafEncoding, LeafOptions};
use arrow_schema::{DataType, Field, Schema};
use seqmill_base::{Error, Result};
use std::sync::Arc;

/// Type of the values of a leaf.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Boolean,
    Int8,
    Int16,
    Int32,
    Int64,
    UInt8,
    UInt16,
    UInt32,
    UInt64,
    Float32,
    Float64,
    Text,
    Binary,
    /// Byte strings of one length.
    Fixed(i32),
    /// Text by Arrow dictionary with 32-bit keys.
    TextDictionary,
}

/// `Type` of `parquet.thrift`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Physical {
    Boolean = 0,
    Int32 = 1,
    Int64 = 2,
    Float = 4,
    Double = 5,
    ByteArray = 6,
    FixedByteArray = 7,
}

/// `Encoding` of `parquet.thrift`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Encoding {
    Plain = 0,
    Rle = 3,
    DeltaBinary = 5,
    DeltaLength = 6,
    RleDictionary = 8,
}

impl Encoding {
    /// Every encoding of values, in the order of their numbers.
    pub(super) const OF_VALUES: [Self; 4] =
        [Self::Plain, Self::DeltaBinary, Self::DeltaLength, Self::RleDictionary];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Plain => "PLAIN",
            Self::Rle => "RLE",
            Self::DeltaBinary => "DELTA_BINARY_PACKED",
            Self::DeltaLength => "DELTA_LENGTH_BYTE_ARRAY",
            Self::RleDictionary => "RLE_DICTIONARY",
        }
    }
}

impl Kind {
    pub(super) fn of(data_type: &DataType) -> Option<Self> {
        Some(match data_type {
            DataType::Boolean => Self::Boolean,
            DataType::Int8 => Self::Int8,
            DataType::Int16 => Self::Int16,
            DataType::Int32 => Self::Int32,
            DataType::Int64 => Self::Int64,
            DataType::UInt8 => Self::UInt8,
            DataType::UInt16 => Self::UInt16,
            DataType::UInt32 => Self::UInt32,
            DataType::UInt64 => Self::UInt64,
            DataType::Float32 => Self::Float32,
            DataType::Float64 => Self::Float64,
            DataType::Utf8 => Self::Text,
            DataType::Binary => Self::Binary,
            DataType::FixedSizeBinary(bytes) => Self::Fixed(*bytes),
            DataType::Dictionary(key, value)
                if **key == DataType::Int32 && **value == DataType::Utf8 =>
            {
                Self::TextDictionary
            }
            _ => return None,
        })
    }

    pub(super) fn physical(self) -> Physical {
        match self {
            Self::Boolean => Physical::Boolean,
            Self::Int8 | Self::Int16 | Self::Int32 | Self::UInt8 | Self::UInt16 | Self::UInt32 => {
                Physical::Int32
            }
            Self::Int64 | Self::UInt64 => Physical::Int64,
            Self::Float32 => Physical::Float,
            Self::Float64 => Physical::Double,
            Self::Text | Self::Binary | Self::TextDictionary => Physical::ByteArray,
            Self::Fixed(_) => Physical::FixedByteArray,
        }
    }
}

/// One step from a column down to a leaf.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    Struct { nullable: bool, child: usize },
    List { nullable: bool },
}

/// One leaf column of the file.
#[derive(Debug, Clone)]
pub(super) struct Leaf {
    /// `path_in_schema`.
    pub(super) path: Vec<String>,
    /// Number of the column of the batch it lies in.
    pub(super) column: usize,
    pub(super) steps: Vec<Step>,
    pub(super) nullable: bool,
    pub(super) max_def: u8,
    pub(super) max_rep: u8,
    pub(super) kind: Kind,
    pub(super) encoding: Encoding,
    /// Where a dictionary falls back to; equal to `encoding` for other leaves.
    pub(super) fallback: Encoding,
    pub(super) statistics: bool,
}

/// How the batches of one schema are stored. Immutable and shared by all threads.
#[derive(Debug)]
pub struct Plan {
    pub(super) schema: Schema,
    pub(super) leaves: Vec<Leaf>,
    pub(super) codec: Codec,
    /// `FileMetaData.schema`: the elements without the list header, and their number.
    pub(super) elements: (Vec<u8>, usize),
}

impl Plan {
    /// Plans the leaves of `schema`. `leaf` is asked once for each leaf column, by its dotted path
    /// as Parquet tools print it (`tags.NM`, `tags.ML.list.element`) and its Arrow type.
    pub fn new(
        schema: &Schema,
        codec: Codec,
        leaf: &dyn Fn(&str, &DataType) -> LeafOptions,
    ) -> Result<Arc<Self>> {
        let mut walk = Walk { leaves: Vec::new(), options: leaf };
        for (column, field) in schema.fields().iter().enumerate() {
            let root = Place { column, ..Place::default() };
            walk.field(field, field.name(), root)?;
        }
        Ok(Arc::new(Self {
            schema: schema.clone(),
            leaves: walk.leaves,
            codec,
            elements: schema_elements(schema)?,
        }))
    }

    /// Number of leaf columns.
    pub fn leaf_count(&self) -> usize {
        self.leaves.len()
    }

    /// Number of the leaf with this dotted path.
    pub fn leaf_index(&self, path: &str) -> Option<usize> {
        self.leaves.iter().position(|leaf| {
            let mut rest = Some(path);
            for (i, part) in leaf.path.iter().enumerate() {
                rest = rest.and_then(|r| if i == 0 { Some(r) } else { r.strip_prefix('.') });
                rest = rest.and_then(|r| r.strip_prefix(part.as_str()));
            }
            rest == Some("")
        })
    }

    /// The schema the batches must have.
    pub fn schema(&self) -> &Schema {
        &self.schema
    }

    /// Compression of all pages.
    pub fn codec(&self) -> Codec {
        self.codec
    }
}

/// Where the walk through the schema is.
#[derive(Debug, Clone, Default)]
struct Place {
    column: usize,
    path: Vec<String>,
    steps: Vec<Step>,
    max_def: u8,
    max_rep: u8,
}

struct Walk<'a> {
    leaves: Vec<Leaf>,
    options: &'a dyn Fn(&str, &DataType) -> LeafOptions,
}

impl Walk<'_> {
    fn field(&mut self, field: &Field, name: &str, mut place: Place) -> Result<()> {
        let too_deep = || Error::input(format!("column {name:?} is nested too deeply for Parquet"));
        let nullable = field.is_nullable();
        place.path.push(name.to_owned());
        place.max_def = place.max_def.checked_add(nullable.into()).ok_or_else(too_deep)?;
        match field.data_type() {
            DataType::Struct(fields) => {
                for (child, field) in fields.iter().enumerate() {
                    let mut inner = place.clone();
                    inner.steps.push(Step::Struct { nullable, child });
                    self.field(field, field.name(), inner)?;
                }
                Ok(())
            }
            DataType::List(item) => {
                place.path.push("list".to_owned());
                place.steps.push(Step::List { nullable });
                place.max_def = place.max_def.checked_add(1).ok_or_else(too_deep)?;
                place.max_rep = place.max_rep.checked_add(1).ok_or_else(too_deep)?;
                self.field(item, "element", place)
            }
            data_type => {
                let dotted = place.path.join(".");
                let kind = Kind::of(data_type).ok_or_else(|| {
                    Error::input(format!(
                        "column {dotted:?} has a type without a Parquet form here: {data_type}"
                    ))
                })?;
                let options = (self.options)(&dotted, data_type);
                let (encoding, fallback) = encodings(kind, options).ok_or_else(|| {
                    Error::internal(format!(
                        "column {dotted:?} of type {data_type} cannot have encoding {:?}",
                        options.encoding
                    ))
                })?;
                self.leaves.push(Leaf {
                    path: place.path,
                    column: place.column,
                    steps: place.steps,
                    nullable,
                    max_def: place.max_def,
                    max_rep: place.max_rep,
                    kind,
                    encoding,
                    fallback,
                    statistics: options.statistics,
                });
                Ok(())
            }
        }
    }
}

/// The encoding of a leaf and what its dictionary falls back to; `None` if they do not fit.
fn encodings(kind: Kind, options: LeafOptions) -> Option<(Encoding, Encoding)> {
    let delta = match kind.physical() {
        Physical::Int32 | Physical::Int64 => Encoding::DeltaBinary,
        // pyarrow 26 cannot read DELTA_LENGTH_BYTE_ARRAY into a dictionary, which is what
        // `ARROW:schema` asks it to do.
        Physical::ByteArray if kind != Kind::TextDictionary => Encoding::DeltaLength,
        _ => Encoding::Plain,
    };
    let encoding = match options.encoding {
        LeafEncoding::Dictionary if matches!(kind, Kind::Boolean | Kind::Fixed(_)) => {
            Encoding::Plain
        }
        LeafEncoding::Dictionary => {
            let fallback = if options.plain_fallback { Encoding::Plain } else { delta };
            return Some((Encoding::RleDictionary, fallback));
        }
        LeafEncoding::DeltaLength if kind == Kind::TextDictionary => Encoding::Plain,
        LeafEncoding::Plain => Encoding::Plain,
        LeafEncoding::DeltaBinary if delta == Encoding::DeltaBinary => delta,
        LeafEncoding::DeltaLength if delta == Encoding::DeltaLength => delta,
        LeafEncoding::DeltaBinary | LeafEncoding::DeltaLength => return None,
    };
    Some((encoding, encoding))
}
