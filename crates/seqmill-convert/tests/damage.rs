//! Damage that mutated inputs brought to light, in the smallest form that shows it.
#![expect(clippy::unwrap_used, reason = "a test ends where its preparation fails")]

use seqmill_base::{Budget, Error, ErrorKind, FormatKind, Job};
use seqmill_convert::{Expression, Inputs, Options, Scalar};
use seqmill_io::bam::{Header, Reference};
use seqmill_io::bgzf::{EOF_MARKER, compress};
use std::path::PathBuf;
use std::sync::Arc;

/// A folder that goes with the test.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("seqmill-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn file(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.0.join(name);
        std::fs::write(&path, bytes).unwrap();
        path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// What a record of the tests is made of.
#[derive(Clone, Copy)]
struct Parts<'a> {
    name: &'a [u8],
    mapq: u8,
    cigar: &'a [u32],
    bases: u32,
    tags: &'a [u8],
}

const PLAIN: Parts<'_> = Parts { name: b"r\0", mapq: 60, cigar: &[4 << 4], bases: 4, tags: b"" };

fn record(parts: Parts<'_>) -> Vec<u8> {
    let mut body = Vec::new();
    body.extend(0_i32.to_le_bytes());
    body.extend(100_i32.to_le_bytes());
    body.extend([u8::try_from(parts.name.len()).unwrap(), parts.mapq, 0, 0]);
    body.extend(u16::try_from(parts.cigar.len()).unwrap().to_le_bytes());
    body.extend(0_u16.to_le_bytes());
    body.extend(parts.bases.to_le_bytes());
    body.extend([0xff; 8]);
    body.extend(0_i32.to_le_bytes());
    body.extend(parts.name);
    body.extend(parts.cigar.iter().flat_map(|op| op.to_le_bytes()));
    body.extend(vec![0x11; parts.bases.div_ceil(2) as usize]);
    body.extend(vec![20; parts.bases as usize]);
    body.extend(parts.tags);
    let mut whole = u32::try_from(body.len()).unwrap().to_le_bytes().to_vec();
    whole.extend(body);
    whole
}

fn bam(records: &[Parts<'_>]) -> Vec<u8> {
    let reference = Reference { name: "chr1".to_owned(), length: 10_000 };
    let mut data = Header::with_lines(String::new(), vec![reference]).to_bytes();
    for parts in records {
        data.extend(record(*parts));
    }
    let mut file = compress(&data, 6).unwrap();
    file.extend(EOF_MARKER);
    file
}

fn options(input: PathBuf, format: &str) -> Options {
    let mut options = Options { force: true, version: "0".to_owned(), ..Options::default() };
    options.output = Some(input.with_extension("out"));
    options.inputs = vec![input];
    format.clone_into(&mut options.semantic.format);
    options
}

fn job() -> Job {
    Job::new(Budget::new(64 << 20, 0).unwrap())
}

fn convert(options: &Options) -> Result<u64, Error> {
    let output = options.output.clone().unwrap();
    let _ = std::fs::remove_file(&output);
    let ended = seqmill_convert::convert(options, &job(), false).0.map(|report| report.records);
    if ended.is_err() {
        let mut state = output.clone().into_os_string();
        state.push(".seqmill");
        assert!(!output.exists() && !PathBuf::from(state).exists(), "something stays");
    }
    ended
}

fn count(options: &Options) -> Result<u64, Error> {
    let inputs = Arc::new(Inputs::open(options)?);
    seqmill_convert::count(&inputs, &options.semantic, &options.resources, &job())
}

#[test]
fn operations_of_a_long_cigar_are_checked() {
    let folder = Folder::new("long-cigar");
    let tags = b"CGBI\x02\x00\x00\x00\x40\x00\x00\x00\x4d\x00\x00\x00";
    let mark = [4 << 4 | 4, 4 << 4 | 3];
    let file = folder.file("x.bam", &bam(&[Parts { cigar: &mark, tags, ..PLAIN }]));
    for (format, cigar) in [("parquet", "struct"), ("parquet", "text"), ("arrow", "ops")] {
        let mut options = options(file.clone(), format);
        cigar.clone_into(&mut options.semantic.cigar);
        let error = convert(&options).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Format(FormatKind::Record));
        assert_eq!((error.place().record, error.place().field), (Some(0), Some("cigar")));
    }
}

#[test]
fn tags_of_records_that_are_left_out_are_walked() {
    let folder = Folder::new("left-out");
    let bad = Parts { mapq: 0, tags: b"XXZno end", ..PLAIN };
    let mut options = options(folder.file("x.bam", &bam(&[PLAIN, bad, PLAIN])), "parquet");
    let is_tag = |error: Error| {
        assert_eq!(error.kind(), ErrorKind::Format(FormatKind::Tag));
        assert_eq!(error.place().record, Some(1));
        assert_eq!(error.place().path, options.inputs.first().cloned());
    };
    is_tag(convert(&options).unwrap_err());
    options.semantic.min_mapq = 1;
    for ended in [convert(&options), count(&options)] {
        assert_eq!(ended.unwrap_err().kind(), ErrorKind::Format(FormatKind::Tag));
    }
    options.semantic.min_mapq = 0;
    options.semantic.filter =
        Some(Expression::Compare("mapq".to_owned(), ">".to_owned(), Scalar::Int(5)));
    assert!(convert(&options).is_err());
    options.semantic.filter = None;
    options.semantic.offset = 2;
    assert!(convert(&options).is_err());
    options.semantic.on_bad_record = "skip".to_owned();
    options.semantic.offset = 0;
    assert_eq!((convert(&options).unwrap(), count(&options).unwrap()), (2, 2));
}

#[test]
fn text_that_is_no_text_is_named_or_skipped() {
    let folder = Folder::new("no-text");
    let name = Parts { name: b"r\xff\0", ..PLAIN };
    let tag = Parts { tags: b"XXZ\xe9t\xe9\0", ..PLAIN };
    for (bad, field) in [(name, "qname"), (tag, "tags")] {
        let mut options = options(folder.file("x.bam", &bam(&[PLAIN, PLAIN, bad])), "arrow");
        let error = convert(&options).unwrap_err();
        let place = error.place();
        assert_eq!((place.record, place.field), (Some(2), Some(field)), "{error}");
        assert!(place.voffset.is_some());
        options.semantic.on_bad_record = "skip".to_owned();
        assert_eq!(convert(&options).unwrap(), 2);
    }
    let mut options = options(folder.file("x.bam", &bam(&[tag])), "arrow");
    options.semantic.tags = "binary".to_owned();
    assert_eq!(convert(&options).unwrap(), 1);
}

#[test]
fn a_sample_shows_the_same_tags_or_refuses_the_budget() {
    let folder = Folder::new("sample");
    let mut refused = 0;
    for mib in 1..8_u32 {
        let line = |tags: &str| format!("r\t0\tchr1\t5\t60\t4M\t*\t0\t0\tACGT\tIIII{tags}\n");
        let array = ",7".repeat((mib << 20) as usize);
        let lines = [line(""), line(&format!("\tXB:B:C{array}")), line("")].concat();
        let file = folder.file("x.sam", format!("@SQ\tSN:chr1\tLN:99\n{lines}").as_bytes());
        let mut options = options(file, "arrow");
        options.semantic.columns = Some(vec!["pos".to_owned(), "tags".to_owned()]);
        let output = options.output.clone().unwrap();
        assert_eq!(convert(&options).unwrap(), 3);
        let all = std::fs::read(&output).unwrap();
        assert!(all.len() > (mib << 20) as usize, "the tag is not there");
        options.resources.memory = 16 << 20;
        match convert(&options) {
            Ok(_) => assert!(std::fs::read(&output).unwrap() == all, "{mib} MiB: other bytes"),
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::Budget);
                refused += 1;
            }
        }
    }
    assert!((1..7).contains(&refused), "{refused} refused");
}

#[test]
fn a_record_that_is_cut_names_the_input_and_not_the_output() {
    let folder = Folder::new("cut");
    let reference = Reference { name: "chr1".to_owned(), length: 10_000 };
    let mut data = Header::with_lines(String::new(), vec![reference]).to_bytes();
    let whole = record(PLAIN);
    data.extend(&whole);
    data.extend(&whole[..whole.len() - 1]);
    let options = options(folder.file("x.bam", &data), "parquet");
    let error = convert(&options).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Format(FormatKind::Truncated));
    assert_eq!(error.place().path, options.inputs.first().cloned());
}

/// A BAI whose only chunk goes from one virtual offset to another.
fn bai(begin: u64, end: u64) -> Vec<u8> {
    let words = |list: &[u32]| -> Vec<u8> { list.iter().flat_map(|n| n.to_le_bytes()).collect() };
    let mut bytes = b"BAI\x01".to_vec();
    bytes.extend(words(&[1, 1, 0, 1]));
    bytes.extend([begin, end].iter().flat_map(|n| n.to_le_bytes()));
    bytes.extend(words(&[0]));
    bytes
}

#[test]
fn a_damaged_index_is_not_taken_for_damaged_data() {
    let folder = Folder::new("index");
    let options = {
        let mut options = options(folder.file("x.bam", &bam(&[PLAIN, PLAIN])), "parquet");
        options.semantic.regions = vec!["chr1:1-500".to_owned()];
        options
    };
    // Header: magic, text, one reference. Then two records of 4 + 32 + 2 + 4 + 2 + 4 bytes.
    let first = Header::with_lines(
        String::new(),
        vec![Reference { name: "chr1".to_owned(), length: 10_000 }],
    )
    .to_bytes()
    .len() as u64;
    let behind = first + 2 * 48;
    folder.file("x.bam.bai", &bai(first, behind));
    assert_eq!(convert(&options).unwrap(), 2);
    let places =
        [(first + 1, behind), (first, behind - 5), (3 << 16, 4 << 16), (behind + 1, 60_000)];
    for (begin, end) in places {
        folder.file("x.bam.bai", &bai(begin, end));
        let error = convert(&options).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Format(FormatKind::IndexMismatch), "{error}");
        assert!(error.message().contains("index does not match"), "{error}");
    }
    for bytes in [&b"BAI\x01\xff\xff\xff\x7f"[..], b"BAJ\x01", b"", b"\x1f\x8b\x08\x04nonsense"] {
        folder.file("x.bam.bai", bytes);
        let error = convert(&options).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Format(FormatKind::IndexMismatch), "{error}");
    }
}
