//! The schema in the footer: `SchemaElement` of `parquet.thrift`, and the key `ARROW:schema` by
//! which Arrow readers restore dictionaries, narrow integers and field metadata.

use super::plan::{Kind, Physical};
use super::thrift::Writer;
use arrow_ipc::writer::{DictionaryTracker, IpcDataGenerator, IpcWriteOptions};
use arrow_schema::{DataType, Field, FieldRef, Fields, Metadata, Schema};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use seqmill_base::{Error, Result};

// Fields of `SchemaElement`.
const TYPE: i16 = 1;
const TYPE_LENGTH: i16 = 2;
const REPETITION_TYPE: i16 = 3;
const NAME: i16 = 4;
const NUM_CHILDREN: i16 = 5;
const CONVERTED_TYPE: i16 = 6;
const LOGICAL_TYPE: i16 = 10;

// `FieldRepetitionType`.
const REQUIRED: i32 = 0;
const OPTIONAL: i32 = 1;
const REPEATED: i32 = 2;

// `ConvertedType`.
const CONVERTED_UTF8: i32 = 0;
const CONVERTED_LIST: i32 = 3;

// Fields of the union `LogicalType`.
const LOGICAL_STRING: i16 = 1;
const LOGICAL_LIST: i16 = 3;
const LOGICAL_INTEGER: i16 = 10;

/// What begins an encapsulated message of the Arrow IPC format.
const IPC_CONTINUATION: [u8; 4] = [0xff; 4];

/// The elements of the schema, depth first, and their number.
pub(super) fn schema_elements(schema: &Schema) -> Result<(Vec<u8>, usize)> {
    let mut elements = Elements { writer: Writer::default(), count: 0 };
    elements.group("schema", None, schema.fields().len(), None)?;
    for field in schema.fields() {
        elements.field(field, field.name())?;
    }
    Ok((elements.writer.out, elements.count))
}

struct Elements {
    writer: Writer,
    count: usize,
}

impl Elements {
    fn field(&mut self, field: &Field, name: &str) -> Result<()> {
        let repetition = if field.is_nullable() { OPTIONAL } else { REQUIRED };
        match field.data_type() {
            DataType::Struct(fields) => {
                self.group(name, Some(repetition), fields.len(), None)?;
                for child in fields {
                    self.field(child, child.name())?;
                }
                Ok(())
            }
            DataType::List(item) => {
                let list = Some((CONVERTED_LIST, LOGICAL_LIST));
                self.group(name, Some(repetition), 1, list)?;
                self.group("list", Some(REPEATED), 1, None)?;
                self.field(item, "element")
            }
            data_type => {
                let kind = Kind::of(data_type).ok_or_else(|| {
                    Error::internal(format!("type {data_type} has no Parquet form here"))
                })?;
                self.leaf(name, repetition, kind);
                Ok(())
            }
        }
    }

    fn group(
        &mut self,
        name: &str,
        repetition: Option<i32>,
        children: usize,
        annotation: Option<(i32, i16)>,
    ) -> Result<()> {
        let children = i32::try_from(children)
            .map_err(|_| Error::input("a table cannot have that many columns"))?;
        let w = &mut self.writer;
        w.begin_element();
        if let Some(repetition) = repetition {
            w.i32(REPETITION_TYPE, repetition);
        }
        w.binary(NAME, name.as_bytes());
        w.i32(NUM_CHILDREN, children);
        if let Some((converted, logical)) = annotation {
            w.i32(CONVERTED_TYPE, converted);
            w.begin(LOGICAL_TYPE);
            w.empty(logical);
            w.end();
        }
        w.end();
        self.count += 1;
        Ok(())
    }

    fn leaf(&mut self, name: &str, repetition: i32, kind: Kind) {
        let w = &mut self.writer;
        w.begin_element();
        w.i32(TYPE, kind.physical() as i32);
        if let Kind::Fixed(bytes) = kind {
            w.i32(TYPE_LENGTH, bytes);
        }
        w.i32(REPETITION_TYPE, repetition);
        w.binary(NAME, name.as_bytes());
        if kind.physical() == Physical::ByteArray && kind != Kind::Binary {
            w.i32(CONVERTED_TYPE, CONVERTED_UTF8);
            w.begin(LOGICAL_TYPE);
            w.empty(LOGICAL_STRING);
            w.end();
        } else if let Some((converted, bits, signed)) = integer(kind) {
            w.i32(CONVERTED_TYPE, converted);
            w.begin(LOGICAL_TYPE);
            w.begin(LOGICAL_INTEGER);
            w.byte(1, bits);
            w.bool(2, signed);
            w.end();
            w.end();
        }
        w.end();
        self.count += 1;
    }
}

/// `ConvertedType`, bits and sign of the integers that are not plain `INT32` or `INT64`.
fn integer(kind: Kind) -> Option<(i32, i8, bool)> {
    Some(match kind {
        Kind::UInt8 => (11, 8, false),
        Kind::UInt16 => (12, 16, false),
        Kind::UInt32 => (13, 32, false),
        Kind::UInt64 => (14, 64, false),
        Kind::Int8 => (15, 8, true),
        Kind::Int16 => (16, 16, true),
        _ => return None,
    })
}

/// Metadata with more bytes are in the key-value metadata of the file alone: they would be held three
/// times more while the footer is written.
const SCHEMA_METADATA_BYTES: usize = 1 << 20;

/// The schema as base64 of an encapsulated IPC message, with the metadata, which pyarrow takes from
/// here alone.
pub(super) fn arrow_schema_key(schema: &Schema, metadata: &[(String, String)]) -> String {
    let fields = schema.fields().iter().map(|field| match field.data_type() {
        DataType::Dictionary(..) => field.clone(),
        _ => without_dictionaries(field),
    });
    let bytes: usize = metadata.iter().map(|(key, value)| key.len() + value.len()).sum();
    let own = if bytes <= SCHEMA_METADATA_BYTES { metadata } else { &[] };
    let own: Metadata = own.iter().cloned().collect();
    let schema = Schema::new_with_metadata(fields.collect::<Fields>(), own);
    let message = IpcDataGenerator::default()
        .schema_to_bytes_with_dictionary_tracker(
            &schema,
            &mut DictionaryTracker::new(false),
            &IpcWriteOptions::default(),
        )
        .ipc_message;
    let mut bytes = IPC_CONTINUATION.to_vec();
    bytes.extend_from_slice(&(message.len() as u32).to_le_bytes());
    bytes.extend_from_slice(&message);
    STANDARD.encode(bytes)
}

/// Nested dictionaries become text: pyarrow 26 cannot read them from several row groups.
fn without_dictionaries(field: &FieldRef) -> FieldRef {
    let data_type = match field.data_type() {
        DataType::Dictionary(_, value) => value.as_ref().clone(),
        DataType::Struct(fields) => {
            DataType::Struct(fields.iter().map(without_dictionaries).collect())
        }
        DataType::List(item) => DataType::List(without_dictionaries(item)),
        other => other.clone(),
    };
    FieldRef::new(field.as_ref().clone().with_data_type(data_type))
}
