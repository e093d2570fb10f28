//! GFF3: 1-based, inclusive.

use super::Content;
use crate::tables::{consensus_range, owners, place};
use std::io::{Result, Write};

/// Percent-encodes what column 1 must not hold (GFF3 specification, "Column 1").
fn escape(name: &[u8]) -> String {
    use std::fmt::Write;
    let mut out = String::with_capacity(name.len());
    for (i, &byte) in name.iter().enumerate() {
        let plain = byte.is_ascii_alphanumeric() || b".:^*$@!+_?-|".contains(&byte);
        if plain && !(i == 0 && byte == b'>') {
            out.push(char::from(byte));
        } else {
            let _ = write!(out, "%{byte:02X}");
        }
    }
    out
}

/// Writes the elements.
pub(crate) fn gff3(out: &mut dyn Write, content: &Content<'_>) -> Result<()> {
    let state = &content.found.state;
    let owners = owners(&state.families);
    out.write_all(b"##gff-version 3\n")?;
    for record in content.text.records().iter().filter(|r| r.length > 0) {
        writeln!(out, "##sequence-region {} 1 {}", escape(record.name()), record.length)?;
    }
    for (number, i) in content.order().into_iter().enumerate() {
        let element = &state.elements[i as usize];
        let number_of_family = owners[i as usize];
        let family = &state.families[number_of_family as usize];
        let place = place(content.text, element);
        let (from, to) = consensus_range(family, element);
        let strand = if element.reverse { '-' } else { '+' };
        writeln!(
            out,
            "{}\tseqmill\tdispersed_repeat\t{}\t{}\t{}\t{strand}\t.\t\
             ID=repeat{number};Name=fam{number_of_family};\
             Target=fam{number_of_family} {} {to} {strand}",
            escape(content.text.records()[place.record].name()),
            place.start + 1,
            place.end,
            element.score,
            from + 1,
        )?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #[test]
    fn reserved_characters_are_escaped() {
        assert_eq!(super::escape(b"chr1;a b=%"), "chr1%3Ba%20b%3D%25");
        assert_eq!(super::escape(b">x|y"), "%3Ex|y");
    }
}
