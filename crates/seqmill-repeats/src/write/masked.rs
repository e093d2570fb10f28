//! The genome with its repeats masked, otherwise as it came: headers, line ends, case.

use crate::mask::Mask;
use seqmill_base::budget::AccountId;
use seqmill_base::{Error, Job, Result};
use seqmill_io::sequence::{SequenceOptions, TextStream};
use std::io::Write;
use std::path::Path;

/// How repeats are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Masking {
    /// In lower case; what was in lower case before stays so.
    Soft,
    /// In lower case, and everything else in upper case.
    SoftAnew,
    /// As N.
    Hard,
}

/// Copies the FASTA file at `path` to `out` with the covered letters masked.
pub(crate) fn masked(
    out: &mut dyn Write,
    path: &Path,
    covered: &Mask,
    length: u32,
    masking: Masking,
    (options, job, account): (SequenceOptions, &Job, AccountId),
) -> Result<()> {
    let mut stream = TextStream::open(path, options, job, account)?;
    let mut chunk = Vec::new();
    let mut at = 0_u32;
    let (mut line_start, mut header) = (true, false);
    while stream.next_chunk(&mut chunk)? {
        for byte in &mut chunk {
            if line_start {
                header = *byte == b'>';
            }
            line_start = *byte == b'\n';
            if header || !byte.is_ascii_graphic() {
                continue;
            }
            if at >= length {
                return Err(changed(path));
            }
            *byte = match (masking, covered.has(at)) {
                (Masking::Hard, true) => b'N',
                (Masking::Soft | Masking::SoftAnew, true) => byte.to_ascii_lowercase(),
                (Masking::SoftAnew, false) => byte.to_ascii_uppercase(),
                (_, false) => *byte,
            };
            at += 1;
        }
        out.write_all(&chunk).map_err(|e| Error::io(path, &e))?;
    }
    if at == length { Ok(()) } else { Err(changed(path)) }
}

fn changed(path: &Path) -> Error {
    let text = "the file changed while it was read";
    Error::format(seqmill_base::FormatKind::Changed, text).at_path(path)
}
