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

/// Appends a float as samtools prints it: `%g` with six significant digits.
pub(crate) fn write_float(value: f32, out: &mut Vec<u8>) {
    let value = f64::from(value);
    if value.is_nan() {
        out.extend_from_slice(b"nan");
        return;
    }
    if value.is_infinite() {
        out.extend_from_slice(if value > 0.0 { b"inf" } else { b"-inf" });
        return;
    }
    // The exponent after rounding to six digits decides between the two forms.
    let scientific = format!("{value:.5e}");
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    let trim = |text: &str| -> String {
        if text.contains('.') {
            text.trim_end_matches('0').trim_end_matches('.').to_owned()
        } else {
            text.to_owned()
        }
    };
    let text = if (-4..6).contains(&exponent) {
        let decimals = usize::try_from(5 - exponent).unwrap_or(0);
        trim(&format!("{value:.decimals$}"))
    } else {
        let sign = if exponent < 0 { '-' } else { '+' };
        format!("{}e{sign}{:02}", trim(mantissa), exponent.abs())
    };
    out.extend_from_slice(text.as_bytes());
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
    fn cigars_and_numbers() {
        let mut out = Vec::new();
        write_cigar(&[0x64 << 4 & 0xf0, 6, 0, 0, 0x12, 0, 0, 0], &mut out);
        assert_eq!(out, b"100M1D");
        out.clear();
        write_signed(i64::MIN, &mut out);
        assert_eq!(out, b"-9223372036854775808");
    }
}
