//! Stockholm 1.0: the elements of each family aligned to its consensus.

use super::Content;
use crate::extend::Context;
use crate::tables::{consensus_range, place};
use crate::text::LETTERS;
use crate::trace::{Pair, Tracer};
use std::io::{Result, Write};

/// Writes one alignment for each family. Letters between two columns of the consensus stand in
/// columns of their own, where the reference line has a dot.
pub(crate) fn stockholm(
    out: &mut dyn Write,
    content: &Content<'_>,
    context: &Context<'_>,
) -> Result<()> {
    let state = &content.found.state;
    let mut tracer = Tracer::default();
    for (number, family) in content.found.library() {
        let from = usize::try_from(family.elements_from).unwrap_or(usize::MAX);
        let elements = &state.elements[from..from + family.elements as usize];
        let length = family.consensus.len();
        // The most letters that any element has before each column.
        let mut extra = vec![0_usize; length + 1];
        for element in elements {
            let context = content.found.context_of(element, context);
            let pairs = tracer.align(&context, family, element);
            let mut run = 0;
            let mut column = consensus_range(family, element).0 as usize;
            for pair in pairs {
                if let Pair::Extra(_) = pair {
                    run += 1;
                    extra[column] = extra[column].max(run);
                } else {
                    run = 0;
                    column += 1;
                }
            }
        }
        writeln!(out, "# STOCKHOLM 1.0\n#=GF ID fam{number}\n#=GF SQ {}", elements.len())?;
        for element in elements {
            let place = place(content.text, element);
            let record = &content.text.records()[place.record];
            out.write_all(record.name())?;
            let (first, last) = if element.reverse {
                (place.end, place.start + 1)
            } else {
                (place.start + 1, place.end)
            };
            write!(out, "/{first}-{last} ")?;
            let start = consensus_range(family, element).0 as usize;
            let context = content.found.context_of(element, context);
            let row = row(&tracer.align(&context, family, element), start, &extra);
            out.write_all(&row)?;
            out.write_all(b"\n")?;
        }
        out.write_all(b"#=GC RF ")?;
        for (column, code) in family.consensus.iter().enumerate() {
            out.write_all(&b".".repeat(extra[column]))?;
            out.write_all(&[LETTERS[*code as usize]])?;
        }
        out.write_all(&b".".repeat(extra[length]))?;
        out.write_all(b"\n//\n")?;
    }
    Ok(())
}

/// One line of the alignment.
fn row(pairs: &[Pair], start: usize, extra: &[usize]) -> Vec<u8> {
    let mut line = Vec::new();
    for room in &extra[..start] {
        line.resize(line.len() + room + 1, b'.');
    }
    let mut column = start;
    let mut used = 0;
    for pair in pairs {
        let letter = match pair {
            Pair::Extra(code) => {
                line.push(LETTERS[*code as usize].to_ascii_lowercase());
                used += 1;
                continue;
            }
            Pair::Both(code) => LETTERS[*code as usize],
            Pair::Missing => b'-',
        };
        line.resize(line.len() + extra[column] - used, b'.');
        line.push(letter);
        column += 1;
        used = 0;
    }
    line.resize(line.len() + extra[column] - used, b'.');
    for room in &extra[column + 1..] {
        line.resize(line.len() + room + 1, b'.');
    }
    line
}
