//! The part of Thrift's compact protocol that Parquet structures need
//! (`thrift/doc/specs/thrift-compact-protocol.md`).

/// Type numbers of fields and list elements.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Type {
    /// Boolean as a list element; as a field the value is part of the type (1 or 2).
    Bool = 1,
    I32 = 5,
    I64 = 6,
    Binary = 8,
    Struct = 12,
}

const FIELD_TRUE: u8 = 1;
const FIELD_FALSE: u8 = 2;
const FIELD_BYTE: u8 = 3;
const FIELD_I16: u8 = 4;
const FIELD_LIST: u8 = 9;
/// Lists up to this many elements hold the count in the type byte.
const SHORT_LIST: usize = 14;
/// Field numbers up to this far above the last one are held in the type byte.
const SHORT_STEP: i16 = 15;

/// Appends `value` as a base-128 number, least significant group first.
pub(super) fn varint(mut value: u64, out: &mut Vec<u8>) {
    while value >= 0x80 {
        out.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Maps signed numbers of small size to small unsigned ones.
pub(super) fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)).cast_unsigned()
}

/// A writer of structs; fields must come in ascending order of their numbers.
#[derive(Debug, Default)]
pub(super) struct Writer {
    /// What has been written and not been taken yet.
    pub(super) out: Vec<u8>,
    last: i16,
    outer: Vec<i16>,
}

impl Writer {
    fn field(&mut self, id: i16, kind: u8) {
        let step = id - self.last;
        if (1..=SHORT_STEP).contains(&step) {
            self.out.push(((step as u8) << 4) | kind);
        } else {
            self.out.push(kind);
            varint(zigzag(i64::from(id)), &mut self.out);
        }
        self.last = id;
    }

    pub(super) fn bool(&mut self, id: i16, value: bool) {
        self.field(id, if value { FIELD_TRUE } else { FIELD_FALSE });
    }

    pub(super) fn byte(&mut self, id: i16, value: i8) {
        self.field(id, FIELD_BYTE);
        self.out.push(value.cast_unsigned());
    }

    pub(super) fn i16(&mut self, id: i16, value: i16) {
        self.field(id, FIELD_I16);
        self.element_i64(i64::from(value));
    }

    /// Also for enums.
    pub(super) fn i32(&mut self, id: i16, value: i32) {
        self.field(id, Type::I32 as u8);
        self.element_i64(i64::from(value));
    }

    pub(super) fn i64(&mut self, id: i16, value: i64) {
        self.field(id, Type::I64 as u8);
        self.element_i64(value);
    }

    pub(super) fn binary(&mut self, id: i16, value: &[u8]) {
        self.field(id, Type::Binary as u8);
        self.element_binary(value);
    }

    pub(super) fn list(&mut self, id: i16, element: Type, count: usize) {
        self.field(id, FIELD_LIST);
        if count <= SHORT_LIST {
            self.out.push(((count as u8) << 4) | element as u8);
        } else {
            self.out.push(0xf0 | element as u8);
            varint(count as u64, &mut self.out);
        }
    }

    /// Begins a struct that is a field.
    pub(super) fn begin(&mut self, id: i16) {
        self.field(id, Type::Struct as u8);
        self.begin_element();
    }

    /// Begins a struct that is an element of a list.
    pub(super) fn begin_element(&mut self) {
        self.outer.push(self.last);
        self.last = 0;
    }

    /// Ends a struct; also the outermost one.
    pub(super) fn end(&mut self) {
        self.out.push(0);
        self.last = self.outer.pop().unwrap_or(0);
    }

    /// A struct field that has been written already, its end included.
    pub(super) fn raw_struct(&mut self, id: i16, bytes: &[u8]) {
        self.field(id, Type::Struct as u8);
        self.out.extend_from_slice(bytes);
    }

    /// A field that is a struct without fields.
    pub(super) fn empty(&mut self, id: i16) {
        self.begin(id);
        self.end();
    }

    pub(super) fn element_i64(&mut self, value: i64) {
        varint(zigzag(value), &mut self.out);
    }

    pub(super) fn element_bool(&mut self, value: bool) {
        self.out.push(if value { FIELD_TRUE } else { FIELD_FALSE });
    }

    pub(super) fn element_binary(&mut self, value: &[u8]) {
        varint(value.len() as u64, &mut self.out);
        self.out.extend_from_slice(value);
    }
}
