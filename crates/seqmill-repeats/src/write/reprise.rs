//! The four files of the reference program, byte for byte (specification 10).

use crate::find::{Element, Family};
use crate::kmer;
use crate::mask::Mask;
use crate::options::PADDING;
use crate::rank::Seed;
use crate::text::{LETTERS, Text};
use std::io::{Result, Write};

/// Letters in a line of the library.
const LIBRARY_LINE: usize = 80;
/// Letters in a line of the masked text.
const MASKED_LINE: usize = 50;
/// Letters that are made at a time.
const MASKED_PART: u32 = 1 << 14;

/// `.freq`: seed, count and place in the padded text.
pub(crate) fn frequencies(out: &mut dyn Write, text: &Text, seeds: &[Seed], k: u32) -> Result<()> {
    for seed in seeds {
        out.write_all(&kmer::letters(seed.kmer, k))?;
        let record = text.record_of(seed.first) as u64;
        let place = PADDING * (record + 2) + u64::from(seed.first);
        writeln!(out, "\t{}\t{place}", seed.count)?;
    }
    Ok(())
}

/// `.reprof`: the library.
pub(crate) fn library(out: &mut dyn Write, families: &[Family], k: u32) -> Result<()> {
    for (i, family) in families.iter().enumerate() {
        write!(
            out,
            ">R={i}, seedfreq={}, elementfreq={}, length={}, Seed=",
            family.copies,
            family.elements,
            family.consensus.len()
        )?;
        out.write_all(&kmer::letters(family.seed, k))?;
        out.write_all(b"\n")?;
        let letters: Vec<u8> = family.consensus.iter().map(|c| LETTERS[*c as usize]).collect();
        for line in letters.chunks(LIBRARY_LINE) {
            out.write_all(line)?;
            out.write_all(b"\n")?;
        }
    }
    Ok(())
}

/// `.bed`: elements by family, ends inclusive.
pub(crate) fn elements(
    out: &mut dyn Write,
    text: &Text,
    families: &[Family],
    elements: &[Element],
) -> Result<()> {
    for (i, family) in families.iter().enumerate() {
        let from = usize::try_from(family.elements_from).unwrap_or(usize::MAX);
        for element in &elements[from..from + family.elements as usize] {
            let record = &text.records()[text.record_of(element.place)];
            let name: Vec<u8> = record
                .header
                .iter()
                .map(|b| if matches!(b, b' ' | b'\t') { b'_' } else { *b })
                .collect();
            out.write_all(&name)?;
            let first = element.first() - i64::from(record.start);
            let last = element.behind() - 1 - i64::from(record.start);
            let strand = if element.reverse { '-' } else { '+' };
            writeln!(out, "\t{first}\t{last}\tR={i}\t{}\t{strand}", element.length())?;
        }
    }
    Ok(())
}

/// `.masked`: the padded text with `X` for what elements cover.
pub(crate) fn masked(out: &mut dyn Write, text: &Text, covered: &Mask) -> Result<()> {
    let mut lines = Lines { out, column: 0, broken: Vec::new() };
    let mut letters = Vec::with_capacity(MASKED_PART as usize);
    for record in text.records() {
        letters.clear();
        letters.resize(PADDING as usize, b'N');
        lines.put(&letters)?;
        let mut from = record.start;
        while from < record.end() {
            let to = record.end().min(from.saturating_add(MASKED_PART));
            text.letters(from, to, &mut letters);
            for (at, part) in (from..).step_by(64).zip(letters.chunks_mut(64)) {
                let mut taken = covered.bits(at);
                while taken != 0 && (taken.trailing_zeros() as usize) < part.len() {
                    part[taken.trailing_zeros() as usize] = b'X';
                    taken &= taken - 1;
                }
            }
            lines.put(&letters)?;
            from = to;
        }
    }
    Ok(())
}

/// Breaks letters into lines.
struct Lines<'o> {
    out: &'o mut dyn Write,
    column: usize,
    broken: Vec<u8>,
}

impl Lines<'_> {
    fn put(&mut self, mut letters: &[u8]) -> Result<()> {
        self.broken.clear();
        while !letters.is_empty() {
            let (line, rest) = letters.split_at(letters.len().min(MASKED_LINE - self.column));
            self.broken.extend_from_slice(line);
            self.column += line.len();
            if self.column == MASKED_LINE {
                self.column = 0;
                self.broken.push(b'\n');
            }
            letters = rest;
        }
        self.out.write_all(&self.broken)
    }
}
