//! Optional fields of a line (`SAMv1 §1.5`).

use super::line::{Notices, TAG_FLOAT, TAG_HEX, TAG_NAME, TAG_TEXT, TAG_TWICE, fault, next_field};
use super::number::{float, signed};
use crate::bam::Fault;

const fn tag(reason: &'static str) -> Fault {
    fault("tags", reason)
}

const INTEGER: Fault = tag("an i is not a number from -2147483648 to 4294967295");

/// Names seen in a line, to find those that occur twice.
#[derive(Default)]
struct Seen {
    /// One bit for each pair of 6-bit codes would be 512 bytes; lines have few tags.
    names: [[u8; 2]; 32],
    count: usize,
    more: Vec<[u8; 2]>,
}

impl Seen {
    fn add(&mut self, name: [u8; 2]) -> bool {
        let known = self.names.get(..self.count).unwrap_or_default();
        if known.contains(&name) || self.more.contains(&name) {
            return true;
        }
        match self.names.get_mut(self.count) {
            Some(place) => {
                *place = name;
                self.count += 1;
            }
            // A line of thousands of tags must not take time squared.
            None if self.more.len() < 4096 => self.more.push(name),
            None => {}
        }
        false
    }
}

/// Appends the optional fields as BAM tags.
pub(super) fn write_tags(
    text: &[u8],
    out: &mut Vec<u8>,
    notices: &mut Notices,
) -> Result<(), Fault> {
    let mut seen = Seen::default();
    let mut rest = Some(text);
    while let Some(text) = rest {
        let (field, more) = next_field(text);
        rest = more;
        let Some((&[a, b, b':', kind, b':'], value)) = field.split_first_chunk::<5>() else {
            return Err(tag("a field is not TAG:TYPE:VALUE"));
        };
        if !(a.is_ascii_alphabetic() && b.is_ascii_alphanumeric()) {
            *notices |= TAG_NAME;
        }
        if seen.add([a, b]) {
            *notices |= TAG_TWICE;
        }
        out.extend_from_slice(&[a, b]);
        write_value(kind, value, out, notices)?;
    }
    Ok(())
}

fn write_value(
    kind: u8,
    value: &[u8],
    out: &mut Vec<u8>,
    notices: &mut Notices,
) -> Result<(), Fault> {
    match kind {
        b'A' => {
            let [character] = value else { return Err(tag("an A is not one character")) };
            if !character.is_ascii_graphic() {
                *notices |= TAG_TEXT;
            }
            out.extend_from_slice(&[b'A', *character]);
        }
        b'i' => write_integer(signed(value).ok_or(INTEGER)?, out)?,
        b'f' => {
            out.push(b'f');
            write_float(value, out, notices)?;
        }
        b'Z' => {
            if value.contains(&0) {
                return Err(tag("a Z holds NUL"));
            }
            // `[ !-~]*`
            if value.iter().any(|b| !(b' '..=b'~').contains(b)) {
                *notices |= TAG_TEXT;
            }
            out.push(b'Z');
            out.extend_from_slice(value);
            out.push(0);
        }
        b'H' => {
            if value.len() % 2 == 1 || !value.iter().all(u8::is_ascii_hexdigit) {
                return Err(tag("an H is not pairs of hexadecimal digits"));
            }
            if value.iter().any(u8::is_ascii_lowercase) {
                *notices |= TAG_HEX;
            }
            out.push(b'H');
            out.extend_from_slice(value);
            out.push(0);
        }
        b'B' => write_array(value, out, notices)?,
        _ => return Err(tag("a tag has a type other than A, i, f, Z, H and B")),
    }
    Ok(())
}

/// The narrowest type that holds the value, as samtools chooses it.
fn write_integer(value: i64, out: &mut Vec<u8>) -> Result<(), Fault> {
    if let Ok(n) = u8::try_from(value) {
        out.extend_from_slice(&[b'C', n]);
    } else if let Ok(n) = i8::try_from(value) {
        out.extend_from_slice(&[b'c', n.cast_unsigned()]);
    } else if let Ok(n) = u16::try_from(value) {
        out.push(b'S');
        out.extend_from_slice(&n.to_le_bytes());
    } else if let Ok(n) = i16::try_from(value) {
        out.push(b's');
        out.extend_from_slice(&n.to_le_bytes());
    } else if let Ok(n) = u32::try_from(value) {
        out.push(b'I');
        out.extend_from_slice(&n.to_le_bytes());
    } else if let Ok(n) = i32::try_from(value) {
        out.push(b'i');
        out.extend_from_slice(&n.to_le_bytes());
    } else {
        return Err(INTEGER);
    }
    Ok(())
}

fn write_float(text: &[u8], out: &mut Vec<u8>, notices: &mut Notices) -> Result<(), Fault> {
    let (value, as_asked) = float(text).ok_or(tag("an f is not a number"))?;
    if !as_asked {
        *notices |= TAG_FLOAT;
    }
    out.extend_from_slice(&value.to_le_bytes());
    Ok(())
}

fn write_array(value: &[u8], out: &mut Vec<u8>, notices: &mut Notices) -> Result<(), Fault> {
    const RANGE: Fault = tag("a B has an item that its subtype does not hold");
    let Some((subtype, items)) = value.split_first() else {
        return Err(tag("a B has no subtype"));
    };
    if !b"cCsSiIf".contains(subtype) {
        return Err(tag("a B has a subtype other than c, C, s, S, i, I and f"));
    }
    out.extend_from_slice(&[b'B', *subtype]);
    let count_at = out.len();
    out.extend_from_slice(&[0; 4]);
    let mut count = 0_u32;
    if !items.is_empty() {
        let Some(items) = items.strip_prefix(b",") else {
            return Err(tag("the items of a B do not begin with a comma"));
        };
        for item in items.split(|b| *b == b',') {
            count = count.checked_add(1).ok_or(RANGE)?;
            if *subtype == b'f' {
                write_float(item, out, notices)?;
                continue;
            }
            let n = signed(item).ok_or(RANGE)?;
            match subtype {
                b'c' => out.push(i8::try_from(n).map_err(|_| RANGE)?.cast_unsigned()),
                b'C' => out.push(u8::try_from(n).map_err(|_| RANGE)?),
                b's' => out.extend_from_slice(&i16::try_from(n).map_err(|_| RANGE)?.to_le_bytes()),
                b'S' => out.extend_from_slice(&u16::try_from(n).map_err(|_| RANGE)?.to_le_bytes()),
                b'i' => out.extend_from_slice(&i32::try_from(n).map_err(|_| RANGE)?.to_le_bytes()),
                _ => out.extend_from_slice(&u32::try_from(n).map_err(|_| RANGE)?.to_le_bytes()),
            }
        }
    }
    if let Some(place) = out.get_mut(count_at..count_at + 4) {
        place.copy_from_slice(&count.to_le_bytes());
    }
    Ok(())
}
