//! BED6, half-open.

use super::Content;
use crate::tables::{owners, place};
use std::io::{Result, Write};

/// Highest score of BED.
const MOST_SCORE: u32 = 1000;

/// Writes the elements.
pub(crate) fn bed(out: &mut dyn Write, content: &Content<'_>) -> Result<()> {
    let state = &content.found.state;
    let owners = owners(&state.families);
    for i in content.order() {
        let element = &state.elements[i as usize];
        let place = place(content.text, element);
        out.write_all(content.text.records()[place.record].name())?;
        let score = element.length().min(MOST_SCORE);
        let strand = if element.reverse { '-' } else { '+' };
        let family = owners[i as usize];
        writeln!(out, "\t{}\t{}\tfam{family}\t{score}\t{strand}", place.start, place.end)?;
    }
    Ok(())
}
