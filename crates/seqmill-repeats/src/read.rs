//! From a FASTA file to a [`Text`].

use crate::text::{Refused, Text, TextBuilder};
use seqmill_base::budget::AccountId;
use seqmill_base::{Error, FormatKind, Job, Lease, Result};
use seqmill_io::sequence::{
    Piece, SequenceFormat, SequenceOptions, SequenceStream, TextStream, input_file,
    is_archive_input,
};
use std::os::unix::fs::MetadataExt;
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
pub(crate) fn load(
    path: &Path,
    options: SequenceOptions,
    job: &Job,
    account: AccountId,
) -> Result<Loaded> {
    let mut stream = SequenceStream::open(path, options, job, account)?;
    let mut lease = job.budget.must_reserve(account, GRAIN)?;
    let mut builder = TextBuilder::default();
    while let Some(piece) = stream.next_piece()? {
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
            let record = stream.records().saturating_sub(1);
            let before = builder.record_letters();
            drop(stream);
            return Err(explain(
                (path, options),
                refused,
                &letters,
                (record, before),
                job,
                account,
            ));
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

/// Fails where a place could not be told from another: records without a name or with one name.
pub(crate) fn check_names(text: &Text, path: &Path, job: &Job, account: AccountId) -> Result<()> {
    let records = text.records();
    let wrong = |what: String| Err(Error::format(FormatKind::Sequence, what).at_path(path));
    let _held = job.budget.must_reserve(account, 4 * records.len() as u64)?;
    let mut order: Vec<u32> = (0..records.len() as u32).collect();
    order.sort_unstable_by_key(|i| records[*i as usize].name());
    let name = |i: u32| records[i as usize].name();
    if let Some(first) = order.first().filter(|first| name(**first).is_empty()) {
        return wrong(format!("record {} has no name", u64::from(*first) + 1));
    }
    let Some(two) = order.windows(2).find(|two| name(two[0]) == name(two[1])) else {
        return Ok(());
    };
    let name = String::from_utf8_lossy(name(two[0])).into_owned();
    let advice = if input_file(path) == path && is_archive_input(path) {
        "name one sample, as ARCHIVE.agc:SAMPLE"
    } else {
        "their elements could not be told apart"
    };
    wrong(format!("several records are called {name:?}; {advice}"))
}

/// Whether both are one file that is there, whatever it is called.
pub(crate) fn is_same_file(a: &Path, b: &Path) -> bool {
    let identity = |path: &Path| std::fs::metadata(path).map(|m| (m.dev(), m.ino()));
    identity(a).is_ok_and(|own| identity(b).is_ok_and(|other| own == other))
}

fn reserve(lease: &mut Lease, bytes: u64) -> Result<()> {
    if bytes > lease.bytes() {
        lease.resize(bytes + GRAIN)?;
    }
    Ok(())
}

/// The error for what a builder refused; `before`: the record and its letters up to the piece.
fn explain(
    (path, options): (&Path, SequenceOptions),
    refused: Refused,
    letters: &[u8],
    (record, before): (u64, u64),
    job: &Job,
    account: AccountId,
) -> Error {
    let Refused::Letter(i) = refused else {
        return Error::input("genomes of more than 4 Gb are not supported").at_path(path);
    };
    let letter = char::from(letters.get(i).copied().unwrap_or_default());
    let number = before + i as u64;
    // The stream has taken lines apart; a second look at the file says where the letter stands.
    let place = find_letter((path, options), (record, number), job, account).ok().flatten();
    let column = place.map_or_else(
        || format!("letter {} of the record", number + 1),
        |(_, column)| format!("column {column}"),
    );
    let text = format!("{letter:?} is no letter of a nucleotide sequence ({column})");
    let error = Error::format(FormatKind::Sequence, text)
        .at_path(path)
        .at_record(record)
        .at_field("sequence");
    match place {
        Some((line, _)) => error.at_line(line),
        None => error,
    }
}

/// Line and column (from 1) of a letter of a record.
fn find_letter(
    (path, options): (&Path, SequenceOptions),
    (record, letter): (u64, u64),
    job: &Job,
    account: AccountId,
) -> Result<Option<(u64, u64)>> {
    if path.as_os_str() == "-" {
        return Ok(None);
    }
    let mut stream =
        TextStream::open(path, SequenceOptions { threads: 0, ..options }, job, account)?;
    let mut chunk = Vec::new();
    let (mut line, mut column, mut header) = (1_u64, 0_u64, false);
    let (mut records, mut letters) = (0_u64, 0_u64);
    while stream.next_chunk(&mut chunk)? {
        for byte in &chunk {
            if *byte == b'\n' {
                (line, column, header) = (line + 1, 0, false);
                continue;
            }
            column += 1;
            if column == 1 && *byte == b'>' {
                (header, letters) = (true, 0);
                records += 1;
            }
            if header || !byte.is_ascii_graphic() {
                continue;
            }
            if records == record + 1 && letters == letter {
                return Ok(Some((line, column)));
            }
            letters += 1;
        }
    }
    Ok(None)
}
