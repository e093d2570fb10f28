//! Tag fields: their types and names (`bam.md` §3.2).

use super::{Column, list_type};
use arrow_schema::{DataType, Field};

/// Type of a tag field (`bam.md` §3.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TagType {
    /// `A`, `Z` or `H`, as text.
    Text(u8),
    /// Any integer, as int64.
    Integer,
    /// An integer that fits, as int32 (profile `bio`).
    NarrowInteger,
    /// `f`.
    Float,
    /// `B` of the subtype.
    Array(u8),
}

impl TagType {
    /// Bytes that a row without the tag takes in its column.
    pub(crate) fn row_bytes(self) -> u64 {
        match self {
            Self::Integer => 8,
            // Collected as int64.
            Self::NarrowInteger => 12,
            Self::Text(_) | Self::Float | Self::Array(_) => 4,
        }
    }

    /// The type with the SAM name `Z`, `i`, `f`, `B:C` …
    pub(crate) fn parse(text: &str) -> Option<Self> {
        Some(match text.as_bytes() {
            [kind @ (b'A' | b'Z' | b'H')] => Self::Text(*kind),
            [b'i' | b'c' | b'C' | b's' | b'S' | b'I'] => Self::Integer,
            [b'f'] => Self::Float,
            [b'B', b':', sub] | [b'B', sub] => {
                seqmill_io::bam::array_item_bytes(*sub)?;
                Self::Array(*sub)
            }
            _ => return None,
        })
    }

    /// The SAM name.
    pub(crate) fn sam_name(self) -> String {
        match self {
            Self::Text(kind) => char::from(kind).to_string(),
            Self::Integer | Self::NarrowInteger => "i".to_owned(),
            Self::Float => "f".to_owned(),
            Self::Array(sub) => format!("B:{}", char::from(sub)),
        }
    }

    /// The Arrow type.
    pub(crate) fn data_type(self) -> DataType {
        match self {
            Self::Text(_) => DataType::Utf8,
            Self::Integer => DataType::Int64,
            Self::NarrowInteger => DataType::Int32,
            Self::Float => DataType::Float32,
            Self::Array(sub) => list_type(array_type(sub)),
        }
    }
}

/// Arrow type of the items of an array.
pub(crate) fn array_type(sub: u8) -> DataType {
    match sub {
        b'c' => DataType::Int8,
        b'C' => DataType::UInt8,
        b's' => DataType::Int16,
        b'S' => DataType::UInt16,
        b'i' => DataType::Int32,
        b'I' => DataType::UInt32,
        _ => DataType::Float32,
    }
}

/// One tag with a field of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TagField {
    /// Two characters.
    pub name: [u8; 2],
    /// Type of the field.
    pub tag_type: TagType,
    /// Whether the values of the sample repeat enough for a dictionary in Parquet.
    pub repeats: bool,
}

impl TagField {
    /// The name as text.
    pub(crate) fn text(&self) -> String {
        self.name.iter().map(|b| char::from(*b)).collect()
    }

    /// The Arrow field; a name that collides with a column gets the prefix `tag_`.
    pub(crate) fn field(&self, taken: &[Column]) -> Field {
        let mut name = self.text();
        if taken.iter().any(|c| c.name == name) {
            name = format!("tag_{name}");
        }
        let field = Field::new(name, self.tag_type.data_type(), true);
        field.with_metadata([("sam_type", self.tag_type.sam_name())])
    }
}
