//! Names of group streams: `x<base 64>d`, `x<base 64>r`, and those of old archives.

/// Digits of group numbers in names, least significant digit first.
const DIGITS: &[u8; 64] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz_#";

/// What the name of a group stream says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct GroupStream {
    pub(crate) id: u32,
    pub(crate) reference: bool,
}

/// The group of a stream name of any version; `None` for other streams.
pub(crate) fn parse_group_stream(name: &[u8]) -> Option<GroupStream> {
    if let Some(rest) = name.strip_prefix(b"seg-") {
        return parse_old(rest);
    }
    let (kind, digits) = name.strip_prefix(b"x")?.split_last()?;
    let reference = match kind {
        b'd' => false,
        b'r' => true,
        _ => return None,
    };
    // A leading zero would be a second name for the same number.
    if digits.is_empty() || (digits.len() > 1 && digits.last() == Some(&b'0')) {
        return None;
    }
    let mut id = 0_u32;
    for digit in digits.iter().rev() {
        let value = DIGITS.iter().position(|d| d == digit)?;
        id = id.checked_mul(64)?.checked_add(u32::try_from(value).ok()?)?;
    }
    Some(GroupStream { id, reference })
}

fn parse_old(rest: &[u8]) -> Option<GroupStream> {
    let (digits, reference) = match rest.strip_suffix(b"-ref") {
        Some(digits) => (digits, true),
        None => (rest.strip_suffix(b"-delta")?, false),
    };
    if digits.len() > 1 && digits.first() == Some(&b'0') {
        return None;
    }
    let text =
        std::str::from_utf8(digits).ok().filter(|t| t.bytes().all(|b| b.is_ascii_digit()))?;
    Some(GroupStream { id: text.parse().ok()?, reference })
}

/// Appends the name of a group's stream (version 3).
pub(crate) fn write_group_stream(stream: GroupStream, out: &mut Vec<u8>) {
    out.push(b'x');
    let mut rest = stream.id;
    loop {
        out.push(DIGITS.get((rest % 64) as usize).copied().unwrap_or(b'0'));
        rest /= 64;
        if rest == 0 {
            break;
        }
    }
    out.push(if stream.reference { b'r' } else { b'd' });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_make_the_round_trip() {
        for id in [0, 10, 36, 62, 63, 64, 100, 4095, 4096, u32::MAX] {
            let mut name = Vec::new();
            let stream = GroupStream { id, reference: id % 2 == 0 };
            write_group_stream(stream, &mut name);
            assert_eq!(parse_group_stream(&name), Some(stream));
        }
        assert_eq!(parse_group_stream(b"x01d"), Some(GroupStream { id: 64, reference: false }));
        assert_eq!(parse_group_stream(b"xa1d"), Some(GroupStream { id: 100, reference: false }));
        assert_eq!(parse_group_stream(b"x00d"), None);
        assert_eq!(parse_group_stream(b"x########r"), None);
        assert_eq!(
            parse_group_stream(b"seg-17-ref"),
            Some(GroupStream { id: 17, reference: true })
        );
    }
}
