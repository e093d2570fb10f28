//! `MD` and `NM` from bases, CIGAR and reference (`SAMtags`, MD and NM).

use noodles_sam::alignment::record::cigar::op::Kind;
use std::io::{self, Write};

/// The text of `MD` and the value of `NM` of a record at `pos`; `reference` begins at `start`,
/// both 1-based.
pub(super) fn describe_matches(
    operations: impl Iterator<Item = io::Result<(Kind, usize)>>,
    bases: &[u8],
    reference: &[u8],
    pos: usize,
    start: usize,
) -> io::Result<(Vec<u8>, u32)> {
    let mut text = Vec::new();
    let (mut matching, mut distance) = (0_usize, 0_usize);
    let mut read_at = 0;
    let mut at = pos.checked_sub(start);
    let base_at = |at: Option<usize>, i: usize| {
        let found = at.and_then(|at| reference.get(at + i));
        found.map_or(b'N', u8::to_ascii_uppercase)
    };
    for operation in operations {
        let (kind, length) = operation?;
        match kind {
            Kind::Match | Kind::SequenceMatch | Kind::SequenceMismatch => {
                let part = bases.get(read_at..read_at + length).unwrap_or_default();
                for (i, base) in part.iter().enumerate() {
                    let expected = base_at(at, i);
                    if base.eq_ignore_ascii_case(&expected) {
                        matching += 1;
                    } else {
                        write!(text, "{matching}")?;
                        text.push(expected);
                        matching = 0;
                        distance += 1;
                    }
                }
                read_at += length;
                at = at.map(|at| at + length);
            }
            Kind::Deletion => {
                write!(text, "{matching}^")?;
                matching = 0;
                // What a deletion claims beyond the reference is not written out.
                let known = reference.len().saturating_sub(at.unwrap_or(usize::MAX)).min(length);
                text.extend((0..known).map(|i| base_at(at, i)));
                distance += length;
                at = at.map(|at| at + length);
            }
            Kind::Insertion => {
                distance += length;
                read_at += length;
            }
            Kind::Skip => at = at.map(|at| at + length),
            Kind::SoftClip => read_at += length,
            Kind::HardClip | Kind::Pad => {}
        }
    }
    write!(text, "{matching}")?;
    Ok((text, u32::try_from(distance).unwrap_or(u32::MAX)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn describe(
        operations: &[(Kind, usize)],
        bases: &str,
        reference: &str,
        pos: usize,
    ) -> (String, u32) {
        let operations = operations.iter().copied().map(Ok);
        let (text, distance) =
            describe_matches(operations, bases.as_bytes(), reference.as_bytes(), pos, 1).unwrap();
        (String::from_utf8(text).unwrap(), distance)
    }

    #[test]
    fn matches_mismatches_and_gaps() {
        use Kind::{Deletion, Insertion, Match, Skip, SoftClip};
        let reference = "ACGTacgtACGT";
        assert_eq!(describe(&[(Match, 4)], "ACGT", reference, 1), ("4".into(), 0));
        assert_eq!(describe(&[(Match, 4)], "TCGA", reference, 5), ("0A2T0".into(), 2));
        let operations =
            [(SoftClip, 1), (Match, 2), (Deletion, 2), (Match, 1), (Insertion, 2), (Match, 1)];
        assert_eq!(describe(&operations, "NACAGGC", reference, 1), ("2^GT2".into(), 4));
        assert_eq!(
            describe(&[(Match, 1), (Skip, 3), (Match, 1)], "AA", reference, 1),
            ("2".into(), 0)
        );
        assert_eq!(describe(&[(Match, 3)], "GTA", reference, 11), ("2N0".into(), 1));
    }
}
