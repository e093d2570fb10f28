use super::*;
use crate::bgzf::{EOF_MARKER, compress};
use crate::source::MemorySource;
use seqmill_base::{Budget, ErrorKind};

/// Records of a file: header, offset, bases, qualities.
type Records = Vec<(String, u64, String, String)>;

fn read(file: &[u8], threads: usize) -> Result<Records> {
    let job = Job::new(Budget::new(64 << 20, 0).unwrap());
    let account = job.budget.account("input", 64 << 20);
    let options = SequenceOptions { threads, qualities: true, ..SequenceOptions::default() };
    let source = Arc::new(MemorySource::new(file.to_vec()));
    let mut stream = SequenceStream::new(source, options, &job, account)?;
    let mut records = Records::new();
    let mut open = false;
    while let Some(piece) = stream.next_piece()? {
        match piece {
            Piece::Start { header, offset } => {
                assert!(!std::mem::replace(&mut open, true));
                let header = String::from_utf8_lossy(header).into_owned();
                records.push((header, offset, String::new(), String::new()));
            }
            Piece::Bases(bases) => {
                assert!(!bases.is_empty());
                records.last_mut().unwrap().2.push_str(std::str::from_utf8(bases).unwrap());
            }
            Piece::Qualities(text) => {
                records.last_mut().unwrap().3.push_str(std::str::from_utf8(text).unwrap());
            }
            Piece::End { bases } => {
                assert!(std::mem::take(&mut open));
                assert_eq!(records.last().unwrap().2.len() as u64, bases);
            }
        }
    }
    assert!(!open);
    drop(stream);
    assert_eq!(job.budget.reserved(), 0);
    Ok(records)
}

/// The same text plain, as gzip of two members and as BGZF with blocks cut at every place.
fn packings(text: &[u8]) -> Vec<Vec<u8>> {
    use std::io::Write;
    let mut gzip = Vec::new();
    for part in [&text[..text.len() / 2], &text[text.len() / 2..]] {
        let mut encoder = flate2::write::GzEncoder::new(&mut gzip, flate2::Compression::fast());
        encoder.write_all(part).unwrap();
        encoder.finish().unwrap();
    }
    let mut bgzf = Vec::new();
    for part in text.chunks(7) {
        bgzf.extend(compress(part, 1).unwrap());
    }
    bgzf.extend(EOF_MARKER);
    vec![text.to_vec(), gzip, bgzf]
}

fn same_in_all_packings(text: &[u8]) -> Records {
    let first = read(text, 0).unwrap();
    for file in packings(text) {
        for threads in [0, 1, 3] {
            assert_eq!(read(&file, threads).unwrap(), first);
        }
    }
    first
}

#[test]
fn fasta_is_read_as_it_is_written() {
    let records = same_in_all_packings(b"\n>a x\r\nAC\r\ngt N\r\n\r\n>b\n>c\nT>\n\nA\t*");
    let expected = [("a x", 1, "ACgtN"), ("b", 19, ""), ("c", 22, "T>A*")];
    let found: Vec<_> = records.iter().map(|r| (r.0.as_str(), r.1, r.2.as_str())).collect();
    assert_eq!(found, expected);
    assert_eq!(same_in_all_packings(b""), []);
    assert_eq!(same_in_all_packings(b"\n\r\n"), []);
    assert_eq!(same_in_all_packings(b">only").len(), 1);
}

#[test]
fn carriage_returns_of_headers_stand_before_line_feeds() {
    for text in [&b">a x\r\r\nAC\r\r\n\r\r\nGT\r"[..], b">a x\r\nACGT\r\r\r", b">a x\nAC\rG\nT\r\n"]
    {
        let records = same_in_all_packings(text);
        assert_eq!((records[0].0.as_str(), records[0].2.as_str()), ("a x", "ACGT"), "{text:?}");
    }
    for (text, line, offset) in [
        (&b">a\rACGT\r>b\rAC\r"[..], 1, 2),
        (b">abcde\rA\nACGT\n", 1, 6),
        (b">abcdef\rA\nACGT\n", 1, 7),
        (b"@r\rA\r+\rI\r", 1, 2),
    ] {
        for file in packings(text) {
            for threads in [0, 1, 3] {
                let error = read(&file, threads).unwrap_err();
                assert!(error.message().ends_with(STRAY_RETURN), "{text:?}: {error}");
                assert_eq!(error.place().line, Some(line), "{text:?}");
            }
        }
        let place = read(text, 0).unwrap_err().place().offset;
        assert_eq!(place, Some(offset), "{text:?}");
    }
}

#[test]
fn fastq_has_four_lines_a_record() {
    let records =
        same_in_all_packings(b"@r1 d\r\nACN\r\n+qqqq\r\n@>+\r\n\n@r2\n\n+\n\n@r3\nA\n+\nI");
    assert_eq!(records[0], ("r1 d".into(), 0, "ACN".into(), "@>+".into()));
    assert_eq!(records[1].2, "");
    assert_eq!(records[2], ("r3".into(), 33, "A".into(), "I".into()));
}

#[test]
fn long_lines_pass_in_pieces() {
    let mut text = b">a\n".to_vec();
    text.extend(std::iter::repeat_n(b"ACGTN", 200_000).flatten());
    let first = read(&text, 0).unwrap();
    assert_eq!(first[0].2.len(), 1_000_000);
    let mut file = compress(&text, 1).unwrap();
    file.extend(EOF_MARKER);
    assert_eq!(read(&file, 2).unwrap(), first);
    assert_eq!(read(&file, 0).unwrap(), first);
}

#[test]
fn damage_is_told_with_its_place() {
    let kind = |text: &[u8]| {
        let errors: Vec<_> = packings(text).iter().map(|file| read(file, 1).unwrap_err()).collect();
        assert!(errors.windows(2).all(|e| e[0].kind() == e[1].kind()));
        assert!(errors.windows(2).all(|e| e[0].place().line == e[1].place().line));
        let ErrorKind::Format(kind) = errors[0].kind() else { panic!("{}", errors[0]) };
        (kind, errors[0].place().line, errors[0].place().offset)
    };
    assert_eq!(kind(b"ACGT\n>a\n"), (FormatKind::Sequence, Some(1), Some(0)));
    assert_eq!(kind(b">a\nAC\nG\x00T\n"), (FormatKind::Sequence, Some(3), Some(7)));
    assert_eq!(kind(b">a\nAC\xc3\n"), (FormatKind::Sequence, Some(2), Some(5)));
    assert_eq!(kind(b"@r\nAC\nII\n"), (FormatKind::Sequence, Some(3), Some(6)));
    assert_eq!(kind(b"@r\nAC\n+\nI\n"), (FormatKind::Sequence, Some(4), Some(8)));
    assert_eq!(kind(b"@r\nAC\n+\nIII\n").0, FormatKind::Sequence);
    for cut in ["@r\nAC\n+\nI", "@r\nAC\n+", "@r\nAC\n", "@r\nAC", "@r\n", "@r"] {
        assert_eq!(kind(cut.as_bytes()).0, FormatKind::Truncated, "{cut:?}");
    }
}

#[test]
fn cut_and_damaged_blocks_are_seen() {
    let text: Vec<u8> = b">a\n".iter().chain(b"ACGTTGCA".repeat(20_000).iter()).copied().collect();
    for (packing, file) in packings(&text).into_iter().enumerate().skip(1) {
        let error = read(&file[..file.len() / 2], 2).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Format(FormatKind::Truncated), "{packing}");
    }
    let mut file = compress(&text, 1).unwrap();
    let damaged = file.len() - 6;
    file[damaged] ^= 1;
    let error = read(&file, 0).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Format(FormatKind::Checksum));
}
