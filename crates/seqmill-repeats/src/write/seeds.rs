//! The table of seeds.

use super::Content;
use crate::kmer;
use std::io::{Result, Write};

/// Writes seed, count, sequence and first place.
pub(crate) fn seeds(out: &mut dyn Write, content: &Content<'_>) -> Result<()> {
    for seed in &content.found.seeds {
        out.write_all(&kmer::letters(seed.kmer, content.found.k))?;
        write!(out, "\t{}\t", seed.count)?;
        let record = &content.text.records()[content.text.record_of(seed.first)];
        out.write_all(record.name())?;
        writeln!(out, "\t{}", seed.first - record.start)?;
    }
    Ok(())
}
