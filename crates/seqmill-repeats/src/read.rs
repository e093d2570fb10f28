//! From a FASTA file to a [`Text`].

use crate::text::{Refused, Text, TextBuilder};
use seqmill_base::budget::AccountId;
use seqmill_base::{Error, FormatKind, Job, Lease, Result};
use seqmill_io::sequence::{Piece, SequenceFormat, SequenceOptions, SequenceStream};
use std::path::Path;

/// A text, its reservation, and what was odd.
pub(crate) struct Loaded {
    pub(crate) text: Text,
    pub(crate) lease: Lease,
    pub(crate) warnings: Vec<String>,
    /// Bytes of the file.
    pub(crate) bytes: u64,
}

/// Bytes by which the reservation grows.
const GRAIN: u64 = 1 << 20;

/// Reads all records of `path`.
pub(crate) fn load(path: &Path, threads: usize, job: &Job, account: AccountId) -> Result<Loaded> {
    let options = SequenceOptions { threads, ..SequenceOptions::default() };
    let mut stream = SequenceStream::open(path, options, job, account)?;
    let mut lease = job.budget.must_reserve(account, GRAIN)?;
    let mut builder = TextBuilder::default();
    loop {
        let Some(piece) = stream.next_piece()? else { break };
        let refused = match piece {
            Piece::Start { header, .. } => {
                builder.start(header);
                None
            }
            Piece::Bases(letters) => {
                // Two bits a base, twice where the vector grows.
                reserve(&mut lease, builder.bytes_with(letters.len()))
                    .map_err(|e| e.within("the sequence").at_path(path))?;
                builder.push(letters).err().map(|refused| (refused, letters.to_vec()))
            }
            _ => None,
        };
        if let Some((refused, letters)) = refused {
            return Err(explain(&stream, path, refused, &letters, builder.record_letters()));
        }
    }
    if stream.format() == Some(SequenceFormat::Fastq) {
        let text = "is FASTQ; repeats are looked for in the FASTA file of an assembly";
        return Err(Error::format(FormatKind::Sequence, text).at_path(path));
    }
    if stream.format().is_none() {
        let text = "the file holds no sequence; a FASTA file begins with a > line";
        return Err(Error::format(FormatKind::EmptyInput, text).at_path(path));
    }
    let (warnings, bytes) = (stream.warnings().to_vec(), stream.consumed());
    drop(stream);
    let text = builder.finish();
    lease.resize(text.bytes())?;
    Ok(Loaded { text, lease, warnings, bytes })
}

fn reserve(lease: &mut Lease, bytes: u64) -> Result<()> {
    if bytes > lease.bytes() {
        lease.resize(bytes + GRAIN)?;
    }
    Ok(())
}

fn explain(
    stream: &SequenceStream,
    path: &Path,
    refused: Refused,
    letters: &[u8],
    before: u64,
) -> Error {
    let record = stream.records().saturating_sub(1);
    match refused {
        Refused::Full => Error::input("genomes of more than 4 Gb are not supported").at_path(path),
        Refused::Letter(i) => {
            let letter = letters.get(i).copied().unwrap_or_default();
            let text = format!(
                "{:?} is no letter of a nucleotide sequence (letter {} of the record)",
                char::from(letter),
                before + i as u64 + 1,
            );
            Error::format(FormatKind::Sequence, text).at_path(path).at_record(record)
        }
    }
}
