//! Least and greatest values of pages and chunks, in the orders of `ColumnOrder.TYPE_ORDER`.

use super::plan::{Kind, Physical};
use super::thrift::Writer;

/// Text and binary bounds are cut to this many bytes.
const BOUND_BYTES: usize = 64;

/// Bound of byte strings; cut ones enclose the true value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Bound {
    bytes: Vec<u8>,
    exact: bool,
}

/// Least and greatest value.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Bounds {
    Boolean(bool, bool),
    Signed(i64, i64),
    Unsigned(u64, u64),
    Float(f64, f64),
    /// No upper bound: a cut value of nothing but greatest characters.
    Bytes(Bound, Option<Bound>),
}

/// What is known of the values of a page or a chunk.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct PageStats {
    /// `None` without values, or with nothing but NaN.
    pub(super) bounds: Option<Bounds>,
    pub(super) nulls: u64,
    pub(super) nans: u64,
}

fn extremes<T: Copy + Ord>(values: &[T]) -> Option<(T, T)> {
    let first = *values.first()?;
    Some(values.iter().fold((first, first), |(a, b), v| (a.min(*v), b.max(*v))))
}

impl PageStats {
    /// Of values of 4 physical bytes.
    pub(super) fn of32(values: &[i32], kind: Kind) -> Self {
        match kind {
            Kind::Float32 => {
                Self::of_floats(values.iter().map(|v| f32::from_bits(v.cast_unsigned()).into()))
            }
            Kind::UInt32 => {
                // Flipping the sign bit turns the unsigned order into the signed one.
                let first = values.first().map(|v| v ^ i32::MIN);
                let bounds = first.map(|first| {
                    let (a, b) = values.iter().fold((first, first), |(a, b), v| {
                        (a.min(v ^ i32::MIN), b.max(v ^ i32::MIN))
                    });
                    let flip = |v: i32| u64::from((v ^ i32::MIN).cast_unsigned());
                    Bounds::Unsigned(flip(a), flip(b))
                });
                Self { bounds, ..Self::default() }
            }
            _ => {
                let bounds = extremes(values).map(|(a, b)| Bounds::Signed(a.into(), b.into()));
                Self { bounds, ..Self::default() }
            }
        }
    }

    /// Of values of 8 physical bytes.
    pub(super) fn of64(values: &[i64], kind: Kind) -> Self {
        match kind {
            Kind::Float64 => {
                Self::of_floats(values.iter().map(|v| f64::from_bits(v.cast_unsigned())))
            }
            Kind::UInt64 => {
                let least = values.iter().map(|v| v.cast_unsigned()).min();
                let greatest = values.iter().map(|v| v.cast_unsigned()).max();
                let bounds = least.zip(greatest).map(|(a, b)| Bounds::Unsigned(a, b));
                Self { bounds, ..Self::default() }
            }
            _ => {
                let bounds = extremes(values).map(|(a, b)| Bounds::Signed(a, b));
                Self { bounds, ..Self::default() }
            }
        }
    }

    fn of_floats(values: impl Iterator<Item = f64>) -> Self {
        let (mut least, mut greatest) = (f64::INFINITY, f64::NEG_INFINITY);
        let (mut nans, mut count) = (0, 0u64);
        for value in values {
            nans += u64::from(value.is_nan());
            count += 1;
            least = least.min(value);
            greatest = greatest.max(value);
        }
        let bounds = (count > nans).then(|| {
            // Zeros of both signs are equal: the bounds must hold either.
            let least = if least == 0.0 { -0.0 } else { least };
            Bounds::Float(least, if greatest == 0.0 { 0.0 } else { greatest })
        });
        Self { bounds, nulls: 0, nans }
    }

    /// Of Booleans that hold `any_true` and `any_false`.
    pub(super) fn of_booleans(any_true: bool, any_false: bool) -> Self {
        let bounds = (any_true || any_false).then_some(Bounds::Boolean(!any_false, any_true));
        Self { bounds, ..Self::default() }
    }

    /// Of byte strings, in unsigned byte order.
    pub(super) fn of_bytes<'a>(values: impl Iterator<Item = &'a [u8]>, kind: Kind) -> Self {
        let mut ends: Option<(&[u8], &[u8])> = None;
        for value in values {
            ends = Some(match ends {
                None => (value, value),
                Some((least, greatest)) => (least.min(value), greatest.max(value)),
            });
        }
        let text = !matches!(kind, Kind::Binary | Kind::Fixed(_));
        let bounds = ends.map(|(a, b)| Bounds::Bytes(lower_bound(a, text), upper_bound(b, text)));
        Self { bounds, ..Self::default() }
    }

    /// Takes in what is known of further values.
    pub(super) fn merge(&mut self, other: &Self) {
        self.nulls += other.nulls;
        self.nans += other.nans;
        let Some(more) = &other.bounds else { return };
        match (&mut self.bounds, more) {
            (None, _) => self.bounds = Some(more.clone()),
            (Some(Bounds::Boolean(a, b)), Bounds::Boolean(c, d)) => {
                (*a, *b) = (*a & c, *b | d);
            }
            (Some(Bounds::Signed(a, b)), Bounds::Signed(c, d)) => {
                (*a, *b) = ((*a).min(*c), (*b).max(*d));
            }
            (Some(Bounds::Unsigned(a, b)), Bounds::Unsigned(c, d)) => {
                (*a, *b) = ((*a).min(*c), (*b).max(*d));
            }
            (Some(Bounds::Float(a, b)), Bounds::Float(c, d)) => {
                (*a, *b) = (a.min(*c), b.max(*d));
            }
            (Some(Bounds::Bytes(a, b)), Bounds::Bytes(c, d)) => {
                // Of two equal bounds one that is exact makes both so.
                if (&c.bytes, !c.exact) < (&a.bytes, !a.exact) {
                    *a = c.clone();
                }
                match (&b, d) {
                    (None, _) => {}
                    (_, None) => *b = None,
                    (Some(b_now), Some(d)) => {
                        if (&d.bytes, d.exact) > (&b_now.bytes, b_now.exact) {
                            *b = Some(d.clone());
                        }
                    }
                }
            }
            // The values of a leaf have one type.
            (Some(_), _) => {}
        }
    }

    /// Writes the fields of `Statistics`.
    pub(super) fn write(&self, physical: Physical, writer: &mut Writer) {
        writer.i64(3, self.nulls.cast_signed());
        if let Some(bounds) = &self.bounds {
            let (least, greatest) = bounds.plain(physical);
            let exact = match bounds {
                Bounds::Bytes(a, b) => (a.exact, b.as_ref().is_some_and(|b| b.exact)),
                _ => (true, true),
            };
            if let Some(greatest) = &greatest {
                writer.binary(5, greatest);
            }
            writer.binary(6, &least);
            if greatest.is_some() {
                writer.bool(7, exact.1);
            }
            writer.bool(8, exact.0);
        }
        if matches!(physical, Physical::Float | Physical::Double) {
            writer.i64(9, self.nans.cast_signed());
        }
    }

    /// Bytes on the heap.
    pub(super) fn heap_bytes(&self) -> usize {
        match &self.bounds {
            Some(Bounds::Bytes(a, b)) => {
                a.bytes.capacity() + b.as_ref().map_or(0, |b| b.bytes.capacity())
            }
            _ => 0,
        }
    }
}

impl Bounds {
    /// Both bounds as `PLAIN` without a length.
    pub(super) fn plain(&self, physical: Physical) -> (Vec<u8>, Option<Vec<u8>>) {
        let narrow = matches!(physical, Physical::Int32);
        let integer = |v: [u8; 8]| if narrow { v[..4].to_vec() } else { v.to_vec() };
        match self {
            Self::Boolean(a, b) => (vec![u8::from(*a)], Some(vec![u8::from(*b)])),
            Self::Signed(a, b) => (integer(a.to_le_bytes()), Some(integer(b.to_le_bytes()))),
            Self::Unsigned(a, b) => (integer(a.to_le_bytes()), Some(integer(b.to_le_bytes()))),
            Self::Float(a, b) if physical == Physical::Float => {
                let bytes = |v: f64| (v as f32).to_le_bytes().to_vec();
                (bytes(*a), Some(bytes(*b)))
            }
            Self::Float(a, b) => (a.to_le_bytes().to_vec(), Some(b.to_le_bytes().to_vec())),
            Self::Bytes(a, b) => (a.bytes.clone(), b.as_ref().map(|b| b.bytes.clone())),
        }
    }

    /// How the bounds of one page compare with those of the next: least, greatest.
    pub(super) fn order(&self, next: &Self) -> (std::cmp::Ordering, std::cmp::Ordering) {
        use std::cmp::Ordering::Equal;
        match (self, next) {
            (Self::Boolean(a, b), Self::Boolean(c, d)) => (a.cmp(c), b.cmp(d)),
            (Self::Signed(a, b), Self::Signed(c, d)) => (a.cmp(c), b.cmp(d)),
            (Self::Unsigned(a, b), Self::Unsigned(c, d)) => (a.cmp(c), b.cmp(d)),
            (Self::Float(a, b), Self::Float(c, d)) => {
                (a.partial_cmp(c).unwrap_or(Equal), b.partial_cmp(d).unwrap_or(Equal))
            }
            (Self::Bytes(a, b), Self::Bytes(c, d)) => {
                let bytes = |b: &Option<Bound>| b.as_ref().map(|b| b.bytes.clone());
                (a.bytes.cmp(&c.bytes), bytes(b).cmp(&bytes(d)))
            }
            _ => (Equal, Equal),
        }
    }
}

/// The start of `value` of at most `BOUND_BYTES`, whole characters of text.
fn prefix(value: &[u8], text: bool) -> &[u8] {
    let mut end = BOUND_BYTES.min(value.len());
    // The first byte left out must begin a character (not 10xxxxxx).
    while text && end > 0 && value.get(end).is_some_and(|b| b & 0xc0 == 0x80) {
        end -= 1;
    }
    &value[..end]
}

fn lower_bound(value: &[u8], text: bool) -> Bound {
    let exact = value.len() <= BOUND_BYTES;
    let bytes = if exact { value } else { prefix(value, text) };
    Bound { bytes: bytes.to_vec(), exact }
}

/// The least short string that is not below any string with this start.
fn upper_bound(value: &[u8], text: bool) -> Option<Bound> {
    if value.len() <= BOUND_BYTES {
        return Some(Bound { bytes: value.to_vec(), exact: true });
    }
    let start = prefix(value, text);
    let bytes = if text { next_text(start) } else { next_bytes(start) };
    bytes.map(|bytes| Bound { bytes, exact: false })
}

fn next_bytes(start: &[u8]) -> Option<Vec<u8>> {
    let last = start.iter().rposition(|b| *b != u8::MAX)?;
    let mut bytes = start[..=last].to_vec();
    bytes[last] += 1;
    Some(bytes)
}

fn next_text(start: &[u8]) -> Option<Vec<u8>> {
    let text = std::str::from_utf8(start).ok()?;
    text.char_indices().rev().find_map(|(at, last)| {
        let next = match last {
            char::MAX => return None,
            // Surrogates are no characters.
            '\u{d7ff}' => '\u{e000}',
            c => char::from_u32(u32::from(c) + 1)?,
        };
        Some(format!("{}{next}", &text[..at]).into_bytes())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn upper_bounds_are_above_and_valid() {
        let upper =
            |s: &str| upper_bound(s.as_bytes(), true).map(|b| String::from_utf8(b.bytes).unwrap());
        assert_eq!(upper(&"a".repeat(64)), Some("a".repeat(64)));
        assert_eq!(upper(&"a".repeat(65)), Some("a".repeat(63) + "b"));
        assert_eq!(upper(&("a".repeat(63) + "éx")), Some("a".repeat(62) + "b"));
        assert_eq!(upper(&("a".repeat(63) + "\u{7f}x")), Some("a".repeat(63) + "\u{80}"));
        assert_eq!(upper(&("a".repeat(61) + "\u{d7ff}x")), Some("a".repeat(61) + "\u{e000}"));
        let greatest = char::MAX.to_string();
        assert_eq!(upper(&(String::from("a") + &greatest.repeat(30))), Some("b".to_owned()));
        assert_eq!(upper(&greatest.repeat(30)), None);
        let bytes = [vec![1u8], vec![0xff; 80]].concat();
        assert_eq!(upper_bound(&bytes, false).map(|b| b.bytes), Some(vec![2]));
        assert_eq!(upper_bound(&[0xff; 80], false), None);
        let lower = lower_bound(("a".repeat(63) + "éx").as_bytes(), true);
        assert_eq!((lower.bytes.len(), lower.exact), (63, false));
    }

    #[test]
    fn floats_leave_out_nan_and_widen_zero() {
        let bits =
            |v: &[f32]| -> Vec<i32> { v.iter().map(|v| v.to_bits().cast_signed()).collect() };
        let stats = PageStats::of32(&bits(&[0.0, f32::NAN, 3.0]), Kind::Float32);
        let (least, greatest) = stats.bounds.as_ref().unwrap().plain(Physical::Float);
        assert_eq!(least, (-0.0f32).to_le_bytes());
        assert_eq!(greatest, Some(3.0f32.to_le_bytes().to_vec()));
        assert_eq!(stats.nans, 1);
        let stats = PageStats::of32(&bits(&[-1.0, -0.0]), Kind::Float32);
        let (_, greatest) = stats.bounds.as_ref().unwrap().plain(Physical::Float);
        assert_eq!(greatest, Some(0.0f32.to_le_bytes().to_vec()));
        assert_eq!(PageStats::of32(&bits(&[f32::NAN]), Kind::Float32).bounds, None);
    }

    #[test]
    fn unsigned_order_is_unsigned() {
        let stats = PageStats::of32(&[-1, 5, 1], Kind::UInt32);
        assert_eq!(stats.bounds, Some(Bounds::Unsigned(1, u32::MAX.into())));
        let mut stats = PageStats::of64(&[-1], Kind::UInt64);
        stats.merge(&PageStats::of64(&[3], Kind::UInt64));
        assert_eq!(stats.bounds, Some(Bounds::Unsigned(3, u64::MAX)));
    }
}
