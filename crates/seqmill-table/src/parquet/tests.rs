//! The encodings against slow decoders written from `Encodings.md`.

use super::bits::{CHUNK, copy_bits, hybrid, pack_chunk, pack_wide, packed_header, run, width_of};
use super::delta::{delta32, delta64};
use super::group::GroupDictionaries;
use super::page::{AssignedPart, EncodedBatch, LocalPage, LocalValues, Numbers, Part};
use super::plan::Plan;
use super::thrift::{Type, Writer};
use super::{Codec, GroupEnd, LeafEncoding, LeafOptions};
use arrow_schema::{DataType, Field, Schema};
use std::sync::Arc;

struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn byte(&mut self) -> u8 {
        let (first, rest) = self.0.split_first().unwrap();
        self.0 = rest;
        *first
    }

    fn varint(&mut self) -> u64 {
        let (mut value, mut shift) = (0u64, 0);
        loop {
            let byte = self.byte();
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return value;
            }
            shift += 7;
        }
    }

    fn zigzag(&mut self) -> i64 {
        let value = self.varint();
        (value >> 1).cast_signed() ^ -((value & 1).cast_signed())
    }

    /// `count` values of `width` bits; consumes whole bytes.
    fn packed(&mut self, count: usize, width: u32) -> Vec<u64> {
        let bit = |at: usize| u64::from(self.0[at / 8] >> (at % 8) & 1);
        let width = width as usize;
        let value = |i: usize| (0..width).map(|b| bit(i * width + b) << b).sum();
        let values = (0..count).map(value).collect();
        self.0 = &self.0[(count * width).div_ceil(8)..];
        values
    }

    fn hybrid(&mut self, count: usize, width: u32) -> Vec<u64> {
        let mut values = Vec::new();
        while values.len() < count {
            let header = self.varint();
            let n = (header >> 1) as usize;
            assert!(n > 0);
            if header & 1 == 1 {
                values.extend(self.packed(n * 8, width));
                assert!(values.len() < count + 8);
            } else {
                let value = self.packed(1, width.next_multiple_of(8))[0];
                values.extend(std::iter::repeat_n(value, n));
                assert!(values.len() <= count);
            }
        }
        assert!(values[count..].iter().all(|v| *v == 0));
        values.truncate(count);
        values
    }

    /// `DELTA_BINARY_PACKED`, without cutting to 32 bits.
    fn delta(&mut self) -> Vec<i64> {
        let (block, minis, count) = (self.varint(), self.varint(), self.varint() as usize);
        assert_eq!((block, minis), (128, 4));
        let mut values = vec![self.zigzag()];
        while values.len() < count {
            let least = self.zigzag();
            let widths: Vec<u8> = (0..4).map(|_| self.byte()).collect();
            for width in widths {
                for delta in self.packed(32, width.into()) {
                    let last = *values.last().unwrap();
                    values.push(last.wrapping_add(least).wrapping_add(delta.cast_signed()));
                }
            }
        }
        values.truncate(count);
        values
    }
}

/// A fixed sequence of numbers.
fn numbers(count: usize) -> impl Iterator<Item = u64> {
    let mut x = 0x2545_f491_4f6c_dd1du64;
    std::iter::repeat_with(move || {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        x
    })
    .take(count)
}

fn mask(width: u32) -> u64 {
    u64::MAX.checked_shr(64 - width).unwrap_or(0)
}

#[test]
fn packing_of_every_width() {
    for width in 0..=64 {
        let values: Vec<u64> = numbers(71).map(|v| v & mask(width)).collect();
        let mut out = Vec::new();
        pack_wide(values.iter().copied(), width, &mut out);
        assert_eq!(out.len(), (71 * width as usize).div_ceil(8));
        assert_eq!(Reader(&out).packed(71, width), values, "width {width}");
    }
    for width in 0..=32 {
        let mut values = [0u32; CHUNK];
        values.iter_mut().zip(numbers(CHUNK)).for_each(|(t, v)| *t = (v & mask(width)) as u32);
        let mut out = vec![7];
        pack_chunk(&values, width, &mut out);
        assert_eq!(out.len(), 1 + 4 * width as usize);
        let read = Reader(&out[1..]).packed(CHUNK, width);
        assert!(read.iter().zip(values).all(|(a, b)| *a == u64::from(b)), "width {width}");
    }
    assert_eq!([0, 1, 2, 255, u64::MAX].map(width_of), [0, 1, 2, 8, 64]);
}

#[test]
fn bits_from_any_place() {
    let source: Vec<u8> = numbers(9).map(|v| v as u8).collect();
    for start in 0..20 {
        for len in 0..50 {
            let mut out = Vec::new();
            copy_bits(&source, start, len, &mut out);
            assert_eq!(out.len(), len.div_ceil(8));
            let mut all = Reader(&source).packed(72, 1);
            all.drain(..start);
            all.truncate(len);
            assert_eq!(Reader(&out).packed(len, 1), all);
            let used = len.div_ceil(8) * 8;
            assert!(Reader(&out).packed(used, 1)[len..].iter().all(|b| *b == 0));
        }
    }
}

#[test]
fn hybrids_of_runs_and_noise() {
    for width in 1..=32 {
        for shape in 0..6u64 {
            for count in [0, 1, 2, 7, 8, 9, 15, 16, 17, 31, 32, 33, 40, 64, 500] {
                let noise = numbers(count).enumerate();
                let values: Vec<u32> = noise
                    .map(|(i, v)| match shape {
                        0 => 0,
                        2 if i % 100 < 60 => 1,
                        3 if v % 20 > 0 => 1,
                        4 if i >= 11 => u64::MAX,
                        5 => i as u64 / 23,
                        _ => v,
                    })
                    .map(|v| (v & mask(width)) as u32)
                    .collect();
                let mut out = Vec::new();
                hybrid(&values, width, &mut out);
                let mut reader = Reader(&out);
                let read = reader.hybrid(count, width);
                assert!(reader.0.is_empty());
                let same = read.iter().zip(&values).all(|(a, b)| *a == u64::from(*b));
                assert!(same, "width {width} shape {shape} count {count}");
            }
        }
    }
    let mut out = Vec::new();
    run(300, 1000, 9, &mut out);
    packed_header(3, &mut out);
    out.push(0b101);
    assert_eq!(out, [0xd0, 0x0f, 0x2c, 0x01, 0x03, 0b101]);
}

#[test]
fn deltas_with_extremes() {
    let mut all: Vec<Vec<i64>> = vec![
        vec![],
        vec![5],
        vec![-5, i64::MAX],
        vec![i64::MAX, i64::MIN, i64::MAX, 0, i64::MIN],
        (0..1000).map(|i| i * 3 - 500).collect(),
        vec![150; 4097],
    ];
    for count in [2, 32, 33, 34, 128, 129, 130, 257, 1000] {
        for width in [1, 7, 20, 31, 32, 33, 50, 63, 64] {
            all.push(numbers(count).map(|v| (v & mask(width)).cast_signed()).collect());
            all.push(numbers(count).map(|v| -(v & mask(width - 1)).cast_signed()).collect());
        }
    }
    for values in all {
        let mut out = Vec::new();
        delta64(&values, &mut out);
        let mut reader = Reader(&out);
        assert_eq!(reader.delta(), if values.is_empty() { vec![] } else { values.clone() });
        assert!(reader.0.is_empty());
        let narrow: Vec<i32> = values.iter().map(|v| *v as i32).collect();
        out.clear();
        delta32(&narrow, &mut out);
        let mut reader = Reader(&out);
        let read: Vec<i32> = reader.delta().iter().map(|v| *v as i32).collect();
        assert_eq!(read, narrow);
        assert!(reader.0.is_empty());
    }
}

#[test]
fn compact_protocol() {
    let mut w = Writer::default();
    w.i32(1, -1);
    w.bool(2, true);
    w.begin(20);
    w.i64(1, 1 << 40);
    w.empty(4);
    w.end();
    w.binary(21, b"ab");
    w.list(36, Type::I32, 15);
    (0..15).for_each(|v| w.element_i64(v));
    w.list(37, Type::Struct, 1);
    w.begin_element();
    w.byte(2, -2);
    w.end();
    w.i16(300, 7);
    w.bool(301, false);
    w.end();
    let mut want = vec![0x15, 0x01, 0x11, 0x0c, 40, 0x16];
    // zigzag(2^40) = 2^41, in groups of 7 bits.
    want.extend([0x80, 0x80, 0x80, 0x80, 0x80, 0x40, 0x3c, 0x00, 0x00]);
    want.extend([0x18, 2, b'a', b'b', 0xf9, 0xf5, 15]);
    want.extend((0..15).map(|v| v * 2));
    want.extend([0x19, 0x1c, 0x23, 0xfe, 0x00]);
    want.extend([0x04, 0xd8, 0x04, 14, 0x12, 0x00]);
    assert_eq!(w.out, want);
}

fn one_leaf() -> Arc<Plan> {
    let schema = Schema::new(vec![Field::new("a", DataType::Int32, false)]);
    let options = LeafOptions {
        encoding: LeafEncoding::Dictionary,
        statistics: false,
        plain_fallback: false,
    };
    Plan::new(&schema, Codec::None, &|_, _| options).unwrap()
}

fn local(values: std::ops::Range<i32>) -> EncodedBatch {
    let page = LocalPage {
        levels: Vec::new(),
        ids: vec![0],
        values: LocalValues::Four(values.collect()),
        slots: 1,
        stats: None,
    };
    EncodedBatch { rows: 1, parts: vec![Part::Local(Box::new(page))] }
}

fn numbers_of(part: &AssignedPart) -> Option<&[u16]> {
    match part {
        AssignedPart::Local(_, Numbers::Dictionary(map)) => Some(map),
        _ => None,
    }
}

#[test]
fn a_dictionary_holds_65536_values_and_no_more() {
    let mut group = GroupDictionaries::new(&one_leaf());
    let first = group.assign(local(0..40_000), None);
    assert_eq!(numbers_of(&first.parts[0]).unwrap().last(), Some(&39_999));
    let second = group.assign(local(39_990..65_536), None);
    assert_eq!(numbers_of(&second.parts[0]).unwrap()[..2], [39_990, 39_991]);
    let third = group.assign(local(65_530..65_537), None);
    assert!(numbers_of(&third.parts[0]).is_none());
    // Closed: also what is known is not looked up any more.
    let last = group.assign(local(0..1), Some(GroupEnd::default()));
    assert!(numbers_of(&last.parts[0]).is_none());
    let (_, dictionaries) = last.end.unwrap();
    assert_eq!(dictionaries[0].as_ref().unwrap().plain.len(), 65_536 * 4);
    let anew = group.assign(local(7..9), None);
    assert_eq!(numbers_of(&anew.parts[0]).unwrap(), [0, 1]);
}
