//! Tests of the line parser.

use super::*;
use crate::bam::{Record, Reference, TagKind, Tags};

fn parser(strict: bool) -> LineParser {
    let references =
        ["chr1", "chr2"].map(|name| Reference { name: name.to_owned(), length: 1000 }).to_vec();
    LineParser::new(&Header { text: String::new(), references }, strict)
}

fn parse(line: &str) -> Result<(Vec<u8>, Notices), Fault> {
    let mut out = Vec::new();
    parser(false).parse(line.as_bytes(), &mut out).map(|notices| (out, notices))
}

fn strictly(line: &str) -> Result<Notices, Fault> {
    parser(true).parse(line.as_bytes(), &mut Vec::new())
}

const LINE: &str = "r1\t99\tchr2\t7\t30\t2S3M1D1M\t=\t40\t-9\tacGTN=\t!\"#$%&\tNM:i:-300\tXX:Z:a b";

#[test]
fn all_fields_arrive() {
    let (bytes, notices) = parse(LINE).unwrap();
    assert_eq!(notices, 0);
    assert_eq!(u32::from_le_bytes(bytes[..4].try_into().unwrap()) as usize, bytes.len() - 4);
    let record = Record::new(&bytes[4..]).unwrap();
    record.check(2).unwrap();
    assert_eq!((record.flag(), record.ref_id(), record.pos(), record.mapq()), (99, 1, 6, 30));
    assert_eq!((record.mate_ref_id(), record.mate_pos(), record.template_length()), (1, 39, -9));
    assert_eq!((record.length(), record.operations(), record.end()), (6, 4, 11));
    assert_eq!(record.bin(), 4681);
    let parts = record.parts();
    assert_eq!(parts.name, b"r1");
    assert_eq!(parts.seq, [0x12, 0x48, 0xf0]);
    assert_eq!(parts.qual, [0, 1, 2, 3, 4, 5]);
    let tags: Vec<_> = Tags::new(parts.tags).map(Result::unwrap).collect();
    assert_eq!((tags[0].kind, tags[0].integer()), (TagKind::Integer(b's'), -300));
    assert_eq!(tags[1].value, b"a b");
}

#[test]
fn missing_values_are_those_of_bam() {
    let (bytes, notices) = parse("*\t4\t*\t0\t255\t*\t*\t0\t0\t*\t*").unwrap();
    let record = Record::new(&bytes[4..]).unwrap();
    assert_eq!((record.ref_id(), record.pos(), record.mapq(), record.bin()), (-1, -1, 255, 4680));
    assert_eq!((record.length(), record.operations(), notices), (0, 0, 0));
    let (bytes, _) = parse("r\t4\t*\t0\t0\t*\t*\t0\t0\tACG\t*").unwrap();
    assert_eq!(Record::new(&bytes[4..]).unwrap().parts().qual, [0xff; 3]);
}

fn with(field: usize, value: &str) -> String {
    let mut fields: Vec<&str> = LINE.split('\t').collect();
    fields[field] = value;
    fields.join("\t")
}

#[test]
fn faults_name_their_field() {
    let names =
        ["qname", "flag", "rname", "pos", "mapq", "cigar", "rnext", "pnext", "tlen", "seq", "qual"];
    let long = "x".repeat(255);
    let cases: [(usize, &[&str]); 11] = [
        (0, &["", &long]),
        (1, &["", "-1", "099", "0x20", "65536", "*"]),
        (2, &["", "chr3", "CHR1"]),
        (3, &["", "-1", "088", "2147483648", "1.0"]),
        (4, &["", "256", "-1"]),
        (5, &["", "6", "6Y", "M", "5M", "7M", "6M2", "268435456M"]),
        (6, &["", "chr3"]),
        (7, &["", "-1", "1.9", "*"]),
        (8, &["", "1.0", "*", "2147483648"]),
        (9, &["", "ACGT A", "ACGT*A", "ACGT0A"]),
        (10, &["", "!!!!!", "!!!!!!!", "!!! !!", "!!!\u{7f}!!"]),
    ];
    for (field, values) in cases {
        for value in values {
            let fault = parse(&with(field, value)).unwrap_err();
            // An operation too much shows where the lengths are compared.
            let expected =
                if field == 9 && fault.field == "cigar" { "cigar" } else { names[field] };
            assert_eq!(fault.field, expected, "{value:?}: {}", fault.reason);
            assert_eq!(fault.kind, FormatKind::Sam);
        }
    }
    assert_eq!(parse("r\t4\t*").unwrap_err().field, "line");
    assert_eq!(parse("").unwrap_err().field, "line");
    assert_eq!(parse(&with(9, "*")).unwrap_err().field, "qual");
}

#[test]
fn broken_tags_are_faults() {
    for tag in [
        "",
        "X",
        "XX",
        "XX:Z",
        "X:Z:a",
        "XXX:Z:a",
        "XX:A:",
        "XX:A:ab",
        "XX:i:",
        "XX:i:1.5",
        "XX:i:4294967296",
        "XX:i:-2147483649",
        "XX:f:",
        "XX:f:e",
        "XX:H:9",
        "XX:H:GG",
        "XX:B:",
        "XX:B:F,1",
        "XX:B:c,128",
        "XX:B:C,-1",
        "XX:B:I,4294967296",
        "XX:B:i1",
        "XX:B:i,",
        "XX:z:a",
        "XX:I:1",
    ] {
        assert_eq!(parse(&with(11, tag)).unwrap_err().field, "tags", "{tag:?}");
    }
}

#[test]
fn what_breaks_only_the_grammar_is_a_notice_and_strictly_a_fault() {
    for (line, notice) in [
        (with(0, "a@b"), QNAME),
        (with(1, "4099"), FLAG),
        (with(5, "3M2S1M"), CLIPS),
        (with(5, "3M1H3M"), CLIPS),
        (with(5, "1S1H5M"), CLIPS),
        (with(11, "9a:Z:x"), TAG_NAME),
        (with(11, "XX:Z:x\u{7f}"), TAG_TEXT),
        (with(11, "XX:A: "), TAG_TEXT | TAG_TWICE),
        (with(11, "XY:H:ab"), TAG_HEX),
        (with(11, "XY:f:nan"), TAG_FLOAT),
        (with(12, "NM:i:1"), TAG_TWICE),
    ] {
        let found = parse(&line).map(|(_, n)| n & ((1 << STRICT_NOTICES) - 1));
        let expected = if line.contains("x\u{7f}") { TAG_TEXT | TAG_TWICE } else { notice };
        assert_eq!(found, Ok(expected), "{line}");
        assert!(strictly(&line).is_err(), "{line}");
    }
    for cigar in ["6M", "1H6M1H", "1H1S4M1S1H", "6S", "1S5M", "2I4M", "0H0S6M0S0H"] {
        assert_eq!(strictly(&with(5, cigar)), Ok(0), "{cigar}");
    }
    assert_eq!(strictly(&with(9, "ACGUEx")), Ok(LETTERS));
    assert_eq!(strictly("r\t0\t*\t0\t0\t*\t*\t0\t0\t*\t*"), Ok(UNMAPPED));
}

#[test]
fn integers_take_the_narrowest_type() {
    for (value, kind) in [
        (0, b'C'),
        (255, b'C'),
        (256, b'S'),
        (65_536, b'I'),
        (4_294_967_295_i64, b'I'),
        (-1, b'c'),
        (-129, b's'),
        (-32_769, b'i'),
    ] {
        let (bytes, _) = parse(&with(11, &format!("XY:i:{value}"))).unwrap();
        let tags = Record::new(&bytes[4..]).unwrap().parts().tags;
        let tag = Tags::new(tags).next().unwrap().unwrap();
        assert_eq!((tag.kind, tag.integer()), (TagKind::Integer(kind), value));
    }
}

#[test]
fn a_cigar_of_many_operations_goes_to_its_tag() {
    let n = 70_000;
    let line = with(5, &"1M1D".repeat(n)).replace("acGTN=", &"A".repeat(n));
    let line = line.replace("!\"#$%&", "*");
    let (bytes, _) = parse(&line).unwrap();
    let record = Record::new(&bytes[4..]).unwrap();
    assert_eq!(record.operations(), 2);
    let (cigar, long) = record.cigar(&record.parts());
    assert!(long);
    assert_eq!(cigar.len(), 4 * 2 * n);
    assert_eq!(record.end(), 6 + 140_000);
}

#[test]
fn no_bytes_make_it_panic() {
    let parser = parser(false);
    let mut state = 7_u64;
    for _ in 0..20_000 {
        let mut line = LINE.as_bytes().to_vec();
        for _ in 0..3 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let at = (state >> 33) as usize % line.len();
            line[at] = (state >> 20) as u8;
        }
        let mut out = Vec::new();
        if parser.parse(&line, &mut out).is_ok() {
            let record = Record::new(&out[4..]).unwrap();
            record.check(2).unwrap();
            assert!(Tags::new(record.parts().tags).all(|t| t.is_ok()));
            Record::check_quality(record.parts().qual).unwrap();
        }
    }
}
