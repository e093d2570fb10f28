//! Does an index describe its file? The text before a contig must be its header.

use crate::spaced::may_be_spaced;
use seqmill_base::{Error, ErrorKind, FormatKind, Result};
use seqmill_io::Source;
use seqmill_io::bgzf::{BLOCK_MAX_BYTES, BlockReader, Framing, frame_at};
use seqmill_io::fasta::FaiRecord;
use std::sync::Arc;

/// Contigs that are looked at besides the first and the last.
const SAMPLED_CONTIGS: usize = 8;
/// A header line longer than this is not looked at.
pub(crate) const HEADER_MAX_BYTES: u64 = 1 << 20;
/// Of a longer line only the end is looked at.
const LINE_PART_BYTES: u64 = 1 << 16;
/// Bytes behind the last base of a contig among which the next header begins.
const BEHIND_BYTES: u64 = 64;

/// What the text before a contig says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Header {
    /// It is the header of the contig.
    Right,
    /// It is something else.
    Wrong,
    /// It begins before the text given.
    Longer,
}

/// Reads the header that ends with `text`; `from_start` if `text` begins with the file.
pub(crate) fn judge_header(text: &[u8], from_start: bool, name: &[u8]) -> Header {
    let Some(line) = text.strip_suffix(b"\n") else { return Header::Wrong };
    let begin = line.iter().rposition(|&b| b == b'\n').map(|at| at + 1);
    let begin = match begin {
        Some(at) => at,
        None if from_start => 0,
        None => return Header::Longer,
    };
    let Some(rest) = line.get(begin..).and_then(|line| line.strip_prefix(b">")) else {
        return Header::Wrong;
    };
    let is_space = |b: &&u8| matches!(b, b' ' | 9..=13);
    // samtools leaves out white space between `>` and the name.
    let skipped = rest.iter().take_while(is_space).count();
    let rest = rest.get(skipped..).unwrap_or_default();
    let length = rest.iter().position(|b| is_space(&b)).unwrap_or(rest.len());
    if rest.get(..length) == Some(name) { Header::Right } else { Header::Wrong }
}

/// Text that tells whether the lines of a contig are those of the index. Behind a header that
/// is right, lines of another width or bases that went would shift others without a trace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    /// The first line and its end.
    FirstLine,
    /// What stands behind the last base: the end of the file, or the next header.
    Behind,
}

impl Part {
    /// What stands behind comes first: a block that is read to its end serves the rest.
    const ALL: [Self; 2] = [Self::Behind, Self::FirstLine];

    /// Where it lies in the text; `None` where there is nothing to compare. Lines with white space
    /// among their bases are looked at whenever they are read.
    fn span(self, geometry: &FaiRecord) -> Option<(u64, u64)> {
        let FaiRecord { length, offset, line_bases, line_width, .. } = *geometry;
        if length == 0 || may_be_spaced(geometry) {
            return None;
        }
        match self {
            Self::FirstLine if length > line_bases && line_width > line_bases => {
                let begin = offset + line_bases.saturating_sub(LINE_PART_BYTES);
                // Whatever an index says stands between two lines.
                let gap = (line_width - line_bases).min(LINE_PART_BYTES);
                Some((begin, offset + line_bases + gap))
            }
            Self::FirstLine => None,
            Self::Behind => {
                let begin = geometry.position(length - 1) + 1;
                Some((begin, begin.saturating_add(BEHIND_BYTES)))
            }
        }
    }

    /// Whether `text`, which is of its span, is what the index says. The file may end before.
    fn fits(self, geometry: &FaiRecord, text: &[u8]) -> bool {
        match self {
            Self::FirstLine => {
                let FaiRecord { line_bases, line_width, .. } = *geometry;
                let bases = usize::try_from(line_bases.min(LINE_PART_BYTES)).unwrap_or(usize::MAX);
                let gap = usize::try_from(line_width - line_bases).unwrap_or(usize::MAX);
                let (line, end) = text.split_at(bases.min(text.len()));
                let is_end = end.iter().all(|&b| b <= b' ')
                    && (end.len() < gap || end.last() == Some(&b'\n'));
                is_end && !line.contains(&b'\n')
            }
            Self::Behind => match text.iter().position(|&b| b > b' ') {
                None => true,
                Some(at) => {
                    let before = at.checked_sub(1).and_then(|at| text.get(at));
                    text.get(at) == Some(&b'>') && before == Some(&b'\n')
                }
            },
        }
    }
}

/// Whether the lines of a contig are those of the index, as far as `read` can give their text.
pub(crate) fn lines_fit(
    geometry: &FaiRecord,
    read: &mut impl FnMut((u64, u64)) -> Result<Vec<u8>>,
) -> Result<bool> {
    for part in Part::ALL {
        let Some(span) = part.span(geometry) else { continue };
        match read(span) {
            Ok(text) if !part.fits(geometry, &text) => return Ok(false),
            // A block that is damaged says nothing of the index, and others may be read.
            Err(error) if !matches!(error.kind(), ErrorKind::Format(_)) => return Err(error),
            _ => {}
        }
    }
    Ok(true)
}

/// What is wrong with lines that are not those of the index.
pub(crate) const OTHER_LINES: &str = "its lines do not begin and end where they should";

/// The error for a contig that is not where the index says.
pub(crate) fn stale(name: &[u8], what: &str) -> Error {
    let name = String::from_utf8_lossy(name);
    Error::format(
        FormatKind::StaleIndex,
        format!("contig {name:?} is not where the index says: {what}; rebuild its side files"),
    )
}

/// Checks side files that are older than their file: the last block, and headers and lines of some
/// contigs. Blocks that are damaged tell nothing about the index and are left out.
pub(crate) fn check_side_files(
    source: &Arc<dyn Source>,
    blocks: &[(u64, u64)],
    contigs: &[FaiRecord],
) -> Result<()> {
    check_last_block(source, blocks)?;
    let step = (contigs.len() / (SAMPLED_CONTIGS + 1)).max(1);
    let sampled = contigs.iter().step_by(step).chain(contigs.last());
    for contig in sampled {
        match check_header(source, blocks, contig) {
            Ok(Header::Right | Header::Longer) => {
                let mut read = |(begin, end)| text_between(source, blocks, begin, end);
                if !lines_fit(contig, &mut read)? {
                    return Err(stale(&contig.name, OTHER_LINES));
                }
            }
            Ok(Header::Wrong) => {
                return Err(stale(&contig.name, "its header does not stand before it"));
            }
            Err(error) if matches!(error.kind(), ErrorKind::Format(_)) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn check_last_block(source: &Arc<dyn Source>, blocks: &[(u64, u64)]) -> Result<()> {
    let Some(&(offset, _)) = blocks.last() else { return Ok(()) };
    let mut head = vec![0; BLOCK_MAX_BYTES];
    let got = source.read_at(&mut head, offset)?;
    // A truncated file is told when its missing part is asked for.
    if got == 0 || matches!(frame_at(head.get(..got).unwrap_or_default()), Framing::Block(_)) {
        return Ok(());
    }
    Err(Error::format(
        FormatKind::StaleIndex,
        format!(
            "the index names a block at byte {offset}, but there is none; rebuild its side files"
        ),
    ))
}

fn check_header(
    source: &Arc<dyn Source>,
    blocks: &[(u64, u64)],
    contig: &FaiRecord,
) -> Result<Header> {
    let mut reach = 1024;
    loop {
        let begin = contig.offset.saturating_sub(reach);
        let text = text_between(source, blocks, begin, contig.offset)?;
        if text.len() as u64 != contig.offset - begin {
            // A file in blocks that ends before is truncated, which is told when it is read.
            return Ok(if blocks.is_empty() { Header::Wrong } else { Header::Longer });
        }
        match judge_header(&text, begin == 0, &contig.name) {
            Header::Longer if reach < HEADER_MAX_BYTES => reach *= 8,
            judged => return Ok(judged),
        }
    }
}

/// The text from `begin` to `end`, shorter where the file ends before.
fn text_between(
    source: &Arc<dyn Source>,
    blocks: &[(u64, u64)],
    begin: u64,
    end: u64,
) -> Result<Vec<u8>> {
    let length = usize::try_from(end - begin).unwrap_or(0);
    if blocks.is_empty() {
        let mut text = vec![0; length];
        let got = source.read_at(&mut text, begin)?;
        text.truncate(got);
        return Ok(text);
    }
    let block = blocks.partition_point(|b| b.1 <= begin).saturating_sub(1);
    let &(mut at, from) = blocks.get(block).unwrap_or(&(0, 0));
    let skip = usize::try_from(begin - from).unwrap_or(usize::MAX);
    let mut reader = BlockReader::new(Arc::clone(source), true);
    let mut text = Vec::new();
    while text.len() < skip.saturating_add(length) {
        let Some(next) = reader.append_block(at, &mut text)? else { break };
        at = next;
    }
    let mut text = text.split_off(skip.min(text.len()));
    text.truncate(length);
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_judged() {
        for (text, start, name, expected) in [
            (&b">a b\n"[..], true, &b"a"[..], Header::Right),
            (b"ACGT\n>a\r\n", false, b"a", Header::Right),
            (b">\n", true, b"", Header::Right),
            (b"> a\n", true, b"a", Header::Right),
            (b">ab\n", true, b"a", Header::Wrong),
            (b"a\n", false, b"a", Header::Longer),
            (b"ACGT\nACGT\n", true, b"a", Header::Wrong),
            (b">a\nAC", true, b"a", Header::Wrong),
        ] {
            assert_eq!(judge_header(text, start, name), expected, "{text:?}");
        }
    }

    #[test]
    fn what_is_looked_at_is_bounded() {
        for (line_bases, line_width) in [(1 << 20, 1 << 40), (1 << 20, (1 << 20) + 1), (60, 61)] {
            let length = 3 * line_bases;
            let geometry = FaiRecord { length, line_bases, line_width, ..FaiRecord::default() };
            for part in Part::ALL {
                let (begin, end) = part.span(&geometry).unwrap();
                assert!(end - begin <= 2 * LINE_PART_BYTES, "{part:?} {line_width}");
            }
        }
    }

    #[test]
    fn lines_are_judged() {
        let of = |length, line_bases, line_width| FaiRecord {
            length,
            offset: 3,
            line_bases,
            line_width,
            ..FaiRecord::default()
        };
        let fits = |text: &[u8], geometry: &FaiRecord| {
            Part::ALL.iter().all(|part| {
                part.span(geometry).is_none_or(|(begin, end)| {
                    let at = |x: u64| usize::try_from(x).unwrap().min(text.len());
                    part.fits(geometry, &text[at(begin)..at(end)])
                })
            })
        };
        for (text, geometry, expected) in [
            (&b">c\nACG\nTTA\nC\n>d\nA\n"[..], of(7, 3, 4), true),
            (b">c\nACG\nTTA\nC\n\n\n", of(7, 3, 4), true),
            (b">c\nACG\nTTA\nC", of(7, 3, 4), true),
            (b">c\nACG\nTT", of(7, 3, 4), true),
            (b">c\nACGTTAC\n>d\nA\n", of(7, 7, 8), true),
            // Lines of four bases, of one, of all, with carriage returns; a base fewer, one more.
            (b">c\nACGT\nTAC\n", of(7, 3, 4), false),
            (b">c\nA\nC\nG\nT\nT\nA\nC\n", of(7, 3, 4), false),
            (b">c\nACGTTAC\n", of(7, 3, 4), false),
            (b">c\nACG\r\nTTA\r\nC\r\n", of(7, 3, 4), false),
            (b">c\nACG\nTTA\n>d\nA\n", of(7, 3, 4), false),
            (b">c\nACG\nTTA\nCC\n", of(7, 3, 4), false),
            (b">c\nACG\nTTA\nC\n", of(7, 7, 8), false),
        ] {
            assert_eq!(fits(text, &geometry), expected, "{text:?}");
        }
    }
}
