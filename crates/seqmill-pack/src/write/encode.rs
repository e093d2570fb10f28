//! Coding a segment by its differences to a reference (`agc.md` §6).

use super::reference::{Reference, TableRoom, window_code};
use crate::delta::{LITERAL, RUN_BEGIN, RUN_END, RUN_LEAST, SAME};
use crate::symbols::CODE_N;
use std::io::Write;

/// A match on the diagonal at hand that is taken without looking for a better one.
const SURE_MATCH: usize = 32;

/// Buffers that are larger than this are given back behind a segment.
pub(crate) const KEEP_BASES: usize = 256 << 10;
const KEEP_TOKENS: usize = 8 << 10;

/// Tokens, and the text they stand for. A segment has less than 2^32 bases, and where it resembles
/// its reference a token for each 20 of them: narrow numbers, or tokens outweigh the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Token {
    Literals { length: u32 },
    Run { length: u32 },
    Match { position: u32, length: u32, to_end: bool },
}

fn narrow(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}

/// Buffers of a coder, reused from segment to segment.
#[derive(Default)]
pub(crate) struct Coder {
    reference: Vec<u8>,
    pub(crate) tokens: Vec<Token>,
}

/// How hard matches are looked for, and the shortest one.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Effort {
    pub(crate) match_least: usize,
    pub(crate) step: usize,
}

impl Effort {
    /// Length of the k-mers in the tables.
    fn key(self) -> usize {
        self.match_least - (super::reference::USUAL_STEP - 1)
    }

    /// Whether every position of a reference is looked at: size is worth time.
    pub(crate) fn is_thorough(self) -> bool {
        self.step == 1
    }
}

#[inline]
fn common_prefix(a: &[u8], b: &[u8]) -> usize {
    let mut at = 0;
    let (mut left, mut right) = (a.chunks_exact(8), b.chunks_exact(8));
    for (x, y) in left.by_ref().zip(right.by_ref()) {
        let word = |c: &[u8]| c.first_chunk::<8>().map_or(0, |c| u64::from_le_bytes(*c));
        let difference = word(x) ^ word(y);
        if difference != 0 {
            return at + (difference.trailing_zeros() / 8) as usize;
        }
        at += 8;
    }
    let (a, b) = (a.get(at..).unwrap_or_default(), b.get(at..).unwrap_or_default());
    at + a.iter().zip(b).take_while(|(x, y)| x == y).count()
}

#[inline]
fn common_suffix(a: &[u8], b: &[u8], most: usize) -> usize {
    a.iter().rev().zip(b.iter().rev()).take(most).take_while(|(x, y)| x == y).count()
}

fn tail(codes: &[u8], at: usize) -> &[u8] {
    codes.get(at..).unwrap_or_default()
}

fn head(codes: &[u8], at: usize) -> &[u8] {
    codes.get(..at).unwrap_or_default()
}

impl Coder {
    /// Gives back what only a long segment needs.
    pub(crate) fn trim(&mut self) {
        if self.reference.capacity() > KEEP_BASES {
            self.reference = Vec::new();
        }
        if self.tokens.capacity() > KEEP_TOKENS {
            self.tokens = Vec::new();
        }
    }

    fn add_literal(&mut self) {
        match self.tokens.last_mut() {
            Some(Token::Literals { length }) => *length += 1,
            _ => self.tokens.push(Token::Literals { length: 1 }),
        }
    }

    /// Takes the last `n` literals back: a match covers them.
    fn take_literals(&mut self, n: usize) {
        if let Some(Token::Literals { length }) = self.tokens.last_mut() {
            *length = length.saturating_sub(narrow(n));
            if *length == 0 {
                self.tokens.pop();
            }
        }
    }

    /// Whether a text is the reference itself.
    pub(crate) fn is_same(&mut self, reference: &Reference, text: &[u8]) -> bool {
        if reference.len() != text.len() {
            return false;
        }
        reference.unpack(&mut self.reference);
        self.reference == text
    }

    /// Finds the tokens of a text; `false` if they cost more than `limit`.
    pub(crate) fn find_tokens(
        &mut self,
        reference: &Reference,
        text: &[u8],
        effort: Effort,
        room: &TableRoom,
        limit: usize,
    ) -> bool {
        reference.unpack(&mut self.reference);
        let codes = std::mem::take(&mut self.reference);
        let within = self.scan(reference, &codes, text, effort, room, limit);
        self.reference = codes;
        within
    }

    fn scan(
        &mut self,
        reference: &Reference,
        codes: &[u8],
        text: &[u8],
        effort: Effort,
        room: &TableRoom,
        limit: usize,
    ) -> bool {
        self.tokens.clear();
        let key = effort.key();
        let mut table = None;
        let (mut at, mut predicted, mut literals, mut cost) = (0, 0, 0_usize, 0);
        while at < text.len() {
            if cost > limit {
                return false;
            }
            let rest = tail(text, at);
            // Most differences are single bases: the match goes on behind them.
            let on = common_prefix(rest, tail(codes, predicted));
            let sure = on >= SURE_MATCH || (on > 0 && on == rest.len() && on >= effort.match_least);
            let mut best = (sure && on >= effort.match_least).then_some((predicted, 0, on));
            if best.is_none() {
                let window = rest.get(..key).and_then(window_code);
                if window.is_none() {
                    let run = rest.iter().take_while(|&&c| c == CODE_N).count();
                    if run >= RUN_LEAST {
                        self.tokens.push(Token::Run { length: narrow(run) });
                        cost += 2 + digits(run - RUN_LEAST);
                        at += run;
                        literals = 0;
                        continue;
                    }
                }
                if let Some(code) = window {
                    let table =
                        table.get_or_insert_with(|| reference.table(codes, key, effort.step, room));
                    let mut longest = effort.match_least;
                    for position in table.positions(code) {
                        let forward = common_prefix(rest, tail(codes, position));
                        if forward < key {
                            continue;
                        }
                        let most = literals.min(position);
                        let back = common_suffix(head(text, at), head(codes, position), most);
                        if forward + back > longest {
                            longest = forward + back;
                            best = Some((position, back, forward));
                        }
                    }
                }
                if best.is_none_or(|(_, back, forward)| back + forward < on)
                    && on > effort.match_least
                {
                    best = Some((predicted, 0, on));
                }
            }
            let Some((position, back, forward)) = best else {
                self.add_literal();
                cost += 1;
                at += 1;
                predicted += 1;
                literals += 1;
                continue;
            };
            self.take_literals(back);
            at -= back;
            cost -= back;
            predicted = predicted.wrapping_sub(back);
            let (start, length) = (position - back, back + forward);
            let to_end = start + length == codes.len() && at + length == text.len();
            cost += match_cost(start, predicted, length, effort.match_least, to_end);
            let (position, narrowed) = (narrow(start), narrow(length));
            self.tokens.push(Token::Match { position, length: narrowed, to_end });
            predicted = start + length;
            at += length;
            literals = 0;
        }
        cost <= limit
    }

    /// Bytes that the tokens found last take.
    pub(crate) fn cost(&self, effort: Effort) -> usize {
        let (mut cost, mut predicted) = (0, 0);
        for token in &self.tokens {
            match *token {
                Token::Literals { length } => {
                    cost += length as usize;
                    predicted += length as usize;
                }
                Token::Run { length } => cost += 2 + digits(length as usize - RUN_LEAST),
                Token::Match { position, length, to_end } => {
                    let (position, length) = (position as usize, length as usize);
                    cost += match_cost(position, predicted, length, effort.match_least, to_end);
                    predicted = position + length;
                }
            }
        }
        cost
    }

    /// About the bytes that the tokens found last take in a compressed pack: a literal is one of
    /// four letters, numbers are digits.
    pub(crate) fn packed_cost(&self, effort: Effort) -> usize {
        let literals = self.tokens.iter().map(|token| match token {
            Token::Literals { length } => *length as usize,
            _ => 0,
        });
        let literals: usize = literals.sum();
        (27 * literals + 55 * (self.cost(effort) - literals)) / 100
    }

    /// Writes the tokens that were found last for `text`.
    pub(crate) fn write(&self, text: &[u8], effort: Effort, out: &mut Vec<u8>) {
        let codes = &self.reference;
        let (mut at, mut predicted) = (0, 0_usize);
        for token in &self.tokens {
            match *token {
                Token::Literals { length } => {
                    let end = at + length as usize;
                    let literals = text.get(at..end).unwrap_or_default();
                    out.extend(literals.iter().map(|code| LITERAL + code));
                    at = end;
                    predicted += length as usize;
                }
                Token::Run { length } => {
                    let length = length as usize;
                    out.push(RUN_BEGIN);
                    let _ = write!(out, "{}", length - RUN_LEAST);
                    out.push(RUN_END);
                    at += length;
                }
                Token::Match { position, length, to_end } => {
                    let (position, length) = (position as usize, length as usize);
                    let offset = signed(position) - signed(predicted);
                    if offset == 0 {
                        mark_same(codes, position, out);
                    }
                    let _ = if to_end {
                        write!(out, "{offset}.")
                    } else {
                        write!(out, "{offset},{}.", length - effort.match_least)
                    };
                    predicted = position + length;
                    at += length;
                }
            }
        }
    }
}

/// Literals before a match on their own diagonal that equal the reference.
fn mark_same(codes: &[u8], position: usize, out: &mut [u8]) {
    let mut at = position;
    for byte in out.iter_mut().rev() {
        if at < 2 || !byte.is_ascii_uppercase() {
            break;
        }
        at -= 1;
        if codes.get(at) == Some(&(*byte - LITERAL)) {
            *byte = SAME;
        }
    }
}

fn signed(n: usize) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

fn digits(n: usize) -> usize {
    n.checked_ilog10().unwrap_or(0) as usize + 1
}

/// Bytes of a match token.
pub(crate) fn match_cost(
    position: usize,
    predicted: usize,
    length: usize,
    least: usize,
    to_end: bool,
) -> usize {
    let sign = usize::from(position < predicted);
    let number = digits(position.abs_diff(predicted)) + sign;
    if to_end { number + 1 } else { number + 2 + digits(length.saturating_sub(least)) }
}

#[cfg(test)]
mod tests {
    use super::super::kmers::murmur64;
    use super::*;
    use crate::delta::{Grammar, decode};
    use crate::symbols::{LETTERS, Symbols};

    fn random(n: u64, seed: u64) -> Vec<u8> {
        (0..n).map(|i| (murmur64(i ^ (seed << 32)) % 4) as u8).collect()
    }

    fn round_trip(reference: &[u8], text: &[u8], step: usize) -> usize {
        let effort = Effort { match_least: 20, step };
        let packed = Reference::new(reference);
        let mut coder = Coder::default();
        assert!(coder.find_tokens(&packed, text, effort, &TableRoom::new(1 << 20), usize::MAX));
        let mut delta = Vec::new();
        coder.write(text, effort, &mut delta);
        let grammar = Grammar { match_least: 20, extended: true };
        let mut out = vec![0; text.len()];
        let symbols = Symbols::plain(reference.to_vec());
        decode(&delta, &symbols, grammar, text.len(), 0..text.len(), &mut out).unwrap();
        let expected: Vec<u8> = text.iter().map(|&c| LETTERS[c as usize]).collect();
        assert_eq!(out, expected, "{}", String::from_utf8_lossy(&delta));
        delta.len()
    }

    #[test]
    fn edited_texts_come_back() {
        for seed in 0..300 {
            let reference = random(40 + murmur64(seed) % 3000, seed);
            let mut text = reference.clone();
            for edit in 0..murmur64(seed + 1) % 30 {
                let r = murmur64(seed * 100 + edit);
                let place = (r >> 8) as usize % text.len().max(1);
                let size = ((r >> 40) % 60) as usize;
                match r % 7 {
                    0..3 => text[place] = (r >> 60) as u8,
                    3 => drop(text.drain(place..(place + size).min(text.len()))),
                    4 => drop(text.splice(place..place, random(size as u64, r))),
                    5 => drop(text.splice(place..place, vec![4; size])),
                    _ => {
                        let copy = text[place..(place + size).min(text.len())].to_vec();
                        text.splice(0..0, copy);
                    }
                }
                if text.is_empty() {
                    text.push(3);
                }
            }
            for step in [1, 4] {
                round_trip(&reference, &text, step);
            }
        }
    }

    #[test]
    fn close_texts_are_short() {
        let reference = random(60_000, 7);
        let mut text = reference.clone();
        text[30_000] = (text[30_000] + 1) % 4;
        assert!(round_trip(&reference, &text, 4) < 16);
        assert!(round_trip(&reference, &reference[100..50_000], 4) < 16);
        assert!(round_trip(&[4; 50], &[4; 500], 4) < 12);
    }
}
