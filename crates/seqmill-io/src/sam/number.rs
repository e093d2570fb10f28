//! Numbers as SAM writes them.

/// A decimal number without sign and without leading zeros, at most `highest`.
pub(super) fn unsigned(text: &[u8], highest: u64) -> Option<u64> {
    match text {
        [b'0'] => return Some(0),
        [] | [b'0', ..] => return None,
        _ => {}
    }
    digits(text).filter(|n| *n <= highest)
}

/// Digits, any number of leading zeros.
fn digits(text: &[u8]) -> Option<u64> {
    if text.is_empty() {
        return None;
    }
    text.iter().try_fold(0_u64, |sum, b| {
        let digit = b.wrapping_sub(b'0');
        (digit < 10).then(|| sum.checked_mul(10)?.checked_add(u64::from(digit))).flatten()
    })
}

/// `[-+]?[0-9]+`.
pub(super) fn signed(text: &[u8]) -> Option<i64> {
    let (negative, rest) = match text {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        _ => (false, text),
    };
    let value = i64::try_from(digits(rest)?).ok()?;
    Some(if negative { -value } else { value })
}

/// A float, and whether it has the form and the range that SAM asks for:
/// `[-+]?[0-9]*\.?[0-9]+([eE][-+]?[0-9]+)?`.
pub(super) fn float(text: &[u8]) -> Option<(f32, bool)> {
    let unsigned = text.strip_prefix(b"-").or_else(|| text.strip_prefix(b"+")).unwrap_or(text);
    // Names of what is not finite are the only words; Rust would read others, too.
    let first = unsigned.first()?;
    let word = first.is_ascii_alphabetic();
    if word && ![&b"nan"[..], b"inf", b"infinity"].iter().any(|w| unsigned.eq_ignore_ascii_case(w))
    {
        return None;
    }
    let wide: f64 = std::str::from_utf8(text).ok()?.parse().ok()?;
    #[expect(clippy::cast_possible_truncation, reason = "SAM floats are of 32 bits")]
    let value = wide as f32;
    let mantissa = unsigned.split(|b| *b == b'e' || *b == b'E').next().unwrap_or_default();
    let form = !word && mantissa.last().is_some_and(u8::is_ascii_digit);
    let fits = value.is_finite() && (value != 0.0 || wide == 0.0);
    Some((value, form && fits))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_numbers() {
        assert_eq!(unsigned(b"0", 9), Some(0));
        assert_eq!(unsigned(b"2147483647", 2_147_483_647), Some(2_147_483_647));
        for bad in
            [&b""[..], b"00", b"099", b"-1", b"+1", b"1.9", b"*", b"10", b"99999999999999999999"]
        {
            assert_eq!(unsigned(bad, 9), None, "{bad:?}");
        }
        assert_eq!(signed(b"-00012"), Some(-12));
        assert_eq!(signed(b"+7"), Some(7));
        for bad in [&b""[..], b"-", b"+", b"--1", b"1a", b"9223372036854775808"] {
            assert_eq!(signed(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn floats() {
        for good in ["0", "-0", "+0", "09", "-009e+0", "+00009e-0", ".1", "-00.1", "9.9E19"] {
            assert!(float(good.as_bytes()).is_some_and(|(_, ok)| ok), "{good}");
        }
        for odd in ["10.", "9.", "nan", "-inf", "1E-46", "3.502823466E+38"] {
            assert!(float(odd.as_bytes()).is_some_and(|(_, ok)| !ok), "{odd}");
        }
        for bad in ["", "e", "E", "+", "0x1p3", "1e", "x", "1 "] {
            assert!(float(bad.as_bytes()).is_none(), "{bad}");
        }
    }
}
