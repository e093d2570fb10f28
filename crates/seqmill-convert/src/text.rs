//! Numbers and CIGARs as SAM text.

/// Appends a number in decimal.
#[inline]
pub(crate) fn write_unsigned(mut n: u64, out: &mut Vec<u8>) {
    if n < 10 {
        out.push(b'0' + (n % 10) as u8);
        return;
    }
    let mut digits = [0_u8; 20];
    let mut at = digits.len();
    while n > 0 {
        at -= 1;
        if let Some(digit) = digits.get_mut(at) {
            *digit = b'0' + (n % 10) as u8;
        }
        n /= 10;
    }
    out.extend_from_slice(digits.get(at..).unwrap_or_default());
}

/// Appends a signed number in decimal.
#[inline]
pub(crate) fn write_signed(n: i64, out: &mut Vec<u8>) {
    if n < 0 {
        out.push(b'-');
    }
    write_unsigned(n.unsigned_abs(), out);
}

/// Digits of a float as samtools prints it.
const SAM_DIGITS: i32 = 6;
/// Digits that tell every float of 32 bits from all others.
const EXACT_DIGITS: i32 = 9;

/// Appends a float as samtools prints it: `%g` with six significant digits.
pub(crate) fn write_float(value: f32, out: &mut Vec<u8>) {
    out.extend_from_slice(float_text(value, SAM_DIGITS).as_bytes());
}

/// Appends a float in the same form, but with as many digits as it takes to read it back: what has
/// no field of its own must not lose any.
pub(crate) fn write_exact_float(value: f32, out: &mut Vec<u8>) {
    let reads_back = |text: &String| text.parse() == Ok(value);
    let mut texts = (SAM_DIGITS..EXACT_DIGITS).map(|digits| float_text(value, digits));
    let text = if value.is_nan() { texts.next() } else { texts.find(reads_back) };
    let text = text.unwrap_or_else(|| float_text(value, EXACT_DIGITS));
    out.extend_from_slice(text.as_bytes());
}

/// A float as `%g` with so many significant digits.
fn float_text(value: f32, digits: i32) -> String {
    let value = f64::from(value);
    if value.is_nan() {
        return "nan".to_owned();
    }
    if value.is_infinite() {
        return if value > 0.0 { "inf" } else { "-inf" }.to_owned();
    }
    let decimals = |n: i32| usize::try_from(n).unwrap_or(0);
    // The exponent after rounding decides between the two forms.
    let scientific = format!("{value:.*e}", decimals(digits - 1));
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    let trim = |text: &str| -> String {
        if text.contains('.') {
            text.trim_end_matches('0').trim_end_matches('.').to_owned()
        } else {
            text.to_owned()
        }
    };
    if (-4..digits).contains(&exponent) {
        return trim(&format!("{value:.*}", decimals(digits - 1 - exponent)));
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{}e{sign}{:02}", trim(mantissa), exponent.abs())
}

/// Operations by their codes (`SAMv1 §4.2`).
pub(crate) const CIGAR_OPERATIONS: [u8; 16] = *b"MIDNSHP=X???????";

/// Appends a CIGAR as text.
#[inline]
pub(crate) fn write_cigar(cigar: &[u8], out: &mut Vec<u8>) {
    for op in cigar.chunks_exact(4) {
        let op = op.first_chunk::<4>().map_or(0, |b| u32::from_le_bytes(*b));
        write_unsigned(u64::from(op >> 4), out);
        out.push(CIGAR_OPERATIONS[(op & 15) as usize]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn float(value: f32) -> String {
        let mut out = Vec::new();
        write_float(value, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn floats_look_as_printf_makes_them() {
        let pairs = [
            (0.0, "0"),
            (1.0, "1"),
            (-0.5, "-0.5"),
            (0.0001, "0.0001"),
            (0.00001, "1e-05"),
            (123_456.0, "123456"),
            (1_234_567.0, "1.23457e+06"),
            (999_999.94, "1e+06"),
            (2.345_678_9, "2.34568"),
            (1e30, "1e+30"),
        ];
        for (value, text) in pairs {
            assert_eq!(float(value), text);
        }
    }

    #[test]
    fn exact_floats_are_read_back_and_no_longer_than_they_must_be() {
        let exact = |value: f32| {
            let mut out = Vec::new();
            write_exact_float(value, &mut out);
            String::from_utf8(out).unwrap()
        };
        for value in [0.0, -0.5, 1e-5, 123_456.0, 0.1, f32::INFINITY, f32::NAN] {
            assert_eq!(exact(value), float(value));
        }
        assert_eq!(exact(343.402_92), "343.40292");
        assert_eq!(exact(16_777_216.0), "16777216");
        assert_eq!(exact(f32::from_bits(1)), "1.4013e-45");
        for bits in (0..0x7f80_0000_u32).step_by(65_521) {
            let value = f32::from_bits(bits);
            assert_eq!(exact(value).parse::<f32>().map(f32::to_bits), Ok(bits));
        }
    }

    #[test]
    fn cigars_and_numbers() {
        let mut out = Vec::new();
        write_cigar(&[0x64 << 4 & 0xf0, 6, 0, 0, 0x12, 0, 0, 0], &mut out);
        assert_eq!(out, b"100M1D");
        out.clear();
        write_signed(i64::MIN, &mut out);
        assert_eq!(out, b"-9223372036854775808");
    }
}
