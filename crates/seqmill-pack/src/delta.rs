//! Decoding the delta code (`agc.md` §6) straight into letters, a range at a time.

use crate::symbols::{LETTERS, Symbols};
use seqmill_base::{Error, FormatKind, Result};
use std::ops::Range;

/// Byte of a literal with code 0; the others follow.
pub(crate) const LITERAL: u8 = b'A';
/// A literal equal to the reference.
pub(crate) const SAME: u8 = b'!';
/// Begins a run of N.
pub(crate) const RUN_BEGIN: u8 = 0x1e;
/// Ends a run of N.
pub(crate) const RUN_END: u8 = 0x04;
/// Shortest run of N that is written as one.
pub(crate) const RUN_LEAST: usize = 4;

/// Which tokens an archive may use, and its shortest match.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Grammar {
    /// Added to the length of a match.
    pub(crate) match_least: u32,
    /// Version 2 and later know the literal equal to the reference and the match to the end.
    pub(crate) extended: bool,
}

struct Tokens<'d> {
    delta: &'d [u8],
    at: usize,
}

impl Tokens<'_> {
    fn wrong(&self, what: &str) -> Error {
        let at = self.at;
        Error::format(FormatKind::Other, format!("{what} at byte {at} of a delta-coded segment"))
    }

    fn peek(&self) -> Option<u8> {
        self.delta.get(self.at).copied()
    }

    /// A decimal number of at most 32 bits, with its sign.
    fn number(&mut self) -> Result<i64> {
        let negative = self.peek() == Some(b'-');
        self.at += usize::from(negative);
        let first = self.at;
        let mut value = 0_i64;
        while let Some(digit) = self.peek().filter(u8::is_ascii_digit) {
            value = value * 10 + i64::from(digit - b'0');
            self.at += 1;
            if value > i64::from(u32::MAX) {
                return Err(self.wrong("a number is beyond 32 bits"));
            }
        }
        if self.at == first {
            return Err(self.wrong("no number where one must be"));
        }
        Ok(if negative { -value } else { value })
    }
}

/// Takes what is decoded and keeps the part of it that is wanted.
struct Window<'o> {
    out: &'o mut [u8],
    wanted: Range<usize>,
    /// Bases decoded so far.
    done: usize,
}

impl Window<'_> {
    /// The slots that the next `n` bases have in the window, and how many of them lie before.
    fn take(&mut self, n: usize) -> (usize, &mut [u8]) {
        let begin = self.done;
        let end = begin.saturating_add(n);
        self.done = end;
        let from = begin.max(self.wanted.start);
        let to = end.min(self.wanted.end);
        if from >= to {
            return (0, &mut []);
        }
        let place = from - self.wanted.start..to - self.wanted.start;
        (from - begin, self.out.get_mut(place).unwrap_or_default())
    }
}

/// Decodes the bases `wanted` of a segment into `out` as letters.
///
/// `length` is what the segment must have. Everything behind the wanted range is left unread,
/// unless the range reaches to the end: then the length is checked.
pub(crate) fn decode(
    delta: &[u8],
    reference: &Symbols,
    grammar: Grammar,
    length: usize,
    wanted: Range<usize>,
    out: &mut [u8],
) -> Result<()> {
    let mut tokens = Tokens { delta, at: 0 };
    let to_end = wanted.end >= length;
    let mut window = Window { out, wanted, done: 0 };
    let mut predicted = 0_usize;
    while let Some(byte) = tokens.peek() {
        if !to_end && window.done >= window.wanted.end {
            return Ok(());
        }
        match byte {
            LITERAL..=b'U' => {
                tokens.at += 1;
                let code = usize::from(byte - LITERAL);
                let letter = LETTERS
                    .get(code)
                    .ok_or_else(|| tokens.wrong("a literal stands for no letter"))?;
                if let (_, [slot]) = window.take(1) {
                    *slot = *letter;
                }
                predicted += 1;
            }
            SAME if grammar.extended => {
                if predicted >= reference.len() {
                    return Err(tokens.wrong("a literal lies beyond the reference"));
                }
                tokens.at += 1;
                let (_, slots) = window.take(1);
                reference.letters(predicted, slots)?;
                predicted += 1;
            }
            RUN_BEGIN => {
                tokens.at += 1;
                let run = tokens.number()?;
                if tokens.peek() != Some(RUN_END) {
                    return Err(tokens.wrong("a run of N has no end"));
                }
                tokens.at += 1;
                let run = usize::try_from(run).map_err(|_| tokens.wrong("a run is negative"))?;
                window.take(run + RUN_LEAST).1.fill(b'N');
            }
            b'-' | b'0'..=b'9' => {
                let (position, matched) =
                    read_match(&mut tokens, reference.len(), predicted, grammar)?;
                let (skipped, slots) = window.take(matched);
                reference.letters(position + skipped, slots)?;
                predicted = position + matched;
            }
            _ => return Err(tokens.wrong("an unknown token")),
        }
        if window.done > length {
            return Err(tokens.wrong(&format!("more than the {length} bases of the segment")));
        }
    }
    if window.done < length {
        let what = format!("{} bases where the segment has {length}", window.done);
        return Err(tokens.wrong(&what));
    }
    Ok(())
}

/// Where a match lies in the reference, and its length.
fn read_match(
    tokens: &mut Tokens<'_>,
    reference: usize,
    predicted: usize,
    grammar: Grammar,
) -> Result<(usize, usize)> {
    let offset = tokens.number()?;
    let position = i64::try_from(predicted).ok().and_then(|p| p.checked_add(offset));
    let position = position.and_then(|p| usize::try_from(p).ok()).filter(|&p| p <= reference);
    let position = position.ok_or_else(|| tokens.wrong("a match lies outside of the reference"))?;
    let length = match tokens.peek() {
        Some(b'.') if grammar.extended => reference - position,
        Some(b',') => {
            tokens.at += 1;
            let over = usize::try_from(tokens.number()?);
            let over = over.map_err(|_| tokens.wrong("a match has a negative length"))?;
            over + grammar.match_least as usize
        }
        _ => return Err(tokens.wrong("a match has no length")),
    };
    if tokens.peek() != Some(b'.') {
        return Err(tokens.wrong("a match has no end"));
    }
    tokens.at += 1;
    if length > reference - position {
        return Err(tokens.wrong("a match reaches beyond the reference"));
    }
    Ok((position, length))
}

#[cfg(test)]
mod tests {
    use super::*;

    const GRAMMAR: Grammar = Grammar { match_least: 4, extended: true };

    fn text(delta: &[u8], length: usize, range: Range<usize>) -> Result<String> {
        let reference = Symbols::plain(vec![0, 1, 2, 3, 0, 0, 1, 1, 2, 2, 3, 3]);
        let mut out = vec![0; range.len()];
        decode(delta, &reference, GRAMMAR, length, range, &mut out)?;
        Ok(String::from_utf8(out).unwrap())
    }

    #[test]
    fn every_token_is_understood() {
        let delta = b"B!\x1e1\x042,1.F0.";
        let whole = "CCNNNNNAACCGRTT";
        // pp: B -> 1, ! at 1 -> 2, match at 4 of 5 -> 9, literal -> 10, to the end: 2.
        assert_eq!(text(delta, whole.len(), 0..whole.len()).unwrap(), whole);
        for from in 0..whole.len() {
            for to in from..=whole.len() {
                assert_eq!(text(delta, whole.len(), from..to).unwrap(), &whole[from..to]);
            }
        }
    }

    #[test]
    fn damage_is_refused() {
        for delta in [
            &b"0,9."[..],
            b"-1,0.",
            b"13.",
            b"0,0",
            b"0",
            b"\x1e3",
            b"\x1e-9\x04",
            b"Z",
            b"a",
            b"0,99999999999.",
            b"A",
            b"0,8.A",
            b"0,8.!",
            b",",
            b"--1.",
            b"0,-5.",
        ] {
            assert!(text(delta, 12, 0..12).is_err(), "{delta:?}");
        }
        let old = Grammar { match_least: 4, extended: false };
        let reference = Symbols::plain(vec![0; 12]);
        for delta in [&b"0."[..], b"!"] {
            let n = if delta.len() == 1 { 1 } else { 12 };
            assert!(decode(delta, &reference, old, n, 0..n, &mut vec![0; n]).is_err());
        }
    }
}
