//! The library: a consensus for each family.

use super::Content;
use crate::kmer;
use crate::text::LETTERS;
use std::io::{Result, Write};

/// Letters in a line.
const LINE: usize = 60;

/// Writes the consensus sequences; `RepeatMasker` wants a class behind the name.
pub(crate) fn library(
    out: &mut dyn Write,
    content: &Content<'_>,
    repeatmasker_names: bool,
) -> Result<()> {
    let class = if repeatmasker_names { "#Unknown" } else { "" };
    for (i, family) in content.found.library() {
        write!(out, ">fam{i}{class} seed=")?;
        out.write_all(&kmer::letters(family.seed, content.found.k))?;
        writeln!(
            out,
            " copies={} elements={} length={}",
            family.copies,
            family.elements,
            family.consensus.len()
        )?;
        let letters: Vec<u8> = family.consensus.iter().map(|c| LETTERS[*c as usize]).collect();
        for line in letters.chunks(LINE) {
            out.write_all(line)?;
            out.write_all(b"\n")?;
        }
    }
    Ok(())
}
