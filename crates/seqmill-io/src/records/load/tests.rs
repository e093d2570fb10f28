//! Tests of the stitcher: whatever the units, the records are the same.

use super::text::Breaks;
use super::*;
use crate::records::unit::TextRun;
use seqmill_base::Budget;
use seqmill_base::budget::AccountId;
use std::sync::Arc;

struct Bench {
    budget: Arc<Budget>,
    account: AccountId,
}

impl Bench {
    fn new(bytes: u64) -> Self {
        let budget = Budget::new(bytes, 0).unwrap();
        let account = budget.account("test", bytes);
        Self { budget, account }
    }

    fn lease(&self) -> Lease {
        self.budget.must_reserve(self.account, 0).unwrap()
    }

    /// A unit of a stream whose first byte has this offset.
    fn loaded(&self, kind: Kind, data: &[u8], offset: u64, first: Option<usize>) -> Loaded {
        let raw = RawUnit::Bytes {
            data: data.to_vec(),
            offset,
            first_record: first,
            file_end: offset + data.len() as u64,
            lease: self.lease(),
        };
        let what = LoadInput { kind, cram: None };
        load_unit(&mut Inflater::new(true), raw, 0, &what, self.lease()).unwrap()
    }

    fn stitcher(kind: Kind) -> Stitcher {
        let input = StitchInput { path: "x".into(), references: 1, kind, first_line: 1 };
        Stitcher::new(vec![input], 0, 0, None)
    }

    /// Cuts `data` at the given places, stitches, and gives what came out.
    fn run(&self, kind: Kind, data: &[u8], cuts: &[usize]) -> Result<Vec<Joined>> {
        let mut stitcher = Self::stitcher(kind);
        let mut out = Vec::new();
        let mut begin = 0;
        for end in cuts.iter().copied().chain([data.len()]) {
            let first = (begin == 0).then_some(0);
            let unit = self.loaded(kind, &data[begin..end], begin as u64, first);
            stitcher.stitch(Some(unit), &mut out)?;
            begin = end;
        }
        stitcher.stitch(None, &mut out)?;
        Ok(out)
    }
}

/// A record of `size` bytes behind its `block_size`.
fn record(size: usize, fill: u8) -> Vec<u8> {
    let mut bytes = u32::try_from(size).unwrap().to_le_bytes().to_vec();
    let mut fixed = [0_u8; 32];
    fixed[..4].copy_from_slice(&(-1_i32).to_le_bytes());
    fixed[4..8].copy_from_slice(&(-1_i32).to_le_bytes());
    fixed[8] = 2;
    fixed[20..24].copy_from_slice(&(-1_i32).to_le_bytes());
    fixed[24..28].copy_from_slice(&(-1_i32).to_le_bytes());
    bytes.extend_from_slice(&fixed);
    bytes.resize(4 + size, fill);
    bytes
}

/// Bodies and places of records, and whether their numbers follow each other.
fn records(joined: &[Joined]) -> Vec<(Vec<u8>, u64)> {
    let mut all = Vec::new();
    for item in joined {
        let Joined::Records(stitched) = item else { panic!("text among records") };
        assert_eq!(stitched.ordinal, all.len() as u64);
        for start in &stitched.starts {
            let body = crate::records::unit::record_body(&stitched.unit.data, *start as usize);
            all.push((body.to_vec(), stitched.unit.voffset(*start as usize).0));
        }
    }
    all
}

/// Places at which data are cut, from a number.
fn cuts(mut seed: u64, length: usize, most: usize) -> Vec<usize> {
    let mut cuts: Vec<usize> = (0..most)
        .map(|_| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            usize::try_from(seed >> 33).unwrap() % length
        })
        .filter(|cut| *cut > 0)
        .collect();
    cuts.sort_unstable();
    cuts.dedup();
    cuts
}

#[test]
fn records_do_not_depend_on_units() {
    let sizes = [34, 36, 400, 34, 5000, 40, 34];
    let parts: Vec<Vec<u8>> = sizes.iter().zip(1..).map(|(size, i)| record(*size, i)).collect();
    let data = parts.concat();
    let mut at = 0;
    let expected: Vec<(Vec<u8>, u64)> = parts
        .iter()
        .map(|part| {
            at += part.len() as u64;
            (part[4..].to_vec(), at - part.len() as u64)
        })
        .collect();
    let bench = Bench::new(1 << 24);
    for cut in 1..data.len() {
        assert_eq!(records(&bench.run(Kind::Bam, &data, &[cut]).unwrap()), expected, "{cut}");
    }
    for seed in 0..300 {
        let cuts = cuts(seed, data.len(), 40);
        assert_eq!(records(&bench.run(Kind::Bam, &data, &cuts).unwrap()), expected, "{cuts:?}");
    }
    assert_eq!(bench.budget.reserved(), 0, "every lease came back");
}

#[test]
fn a_record_may_span_many_units() {
    let data = [record(34, 1), record(100_000, 2), record(34, 3)].concat();
    let cuts: Vec<usize> = (1..data.len()).step_by(997).collect();
    let found = records(&Bench::new(1 << 24).run(Kind::Bam, &data, &cuts).unwrap());
    assert_eq!(found.iter().map(|(body, _)| body.len()).collect::<Vec<_>>(), [34, 100_000, 34]);
}

#[test]
fn a_record_beyond_the_budget_names_itself() {
    let data = [record(34, 1), record(100_000, 2)].concat();
    let cuts: Vec<usize> = (1..data.len()).step_by(997).collect();
    let error = Bench::new(50_000).run(Kind::Bam, &data, &cuts).err().unwrap();
    assert_eq!(error.kind(), seqmill_base::ErrorKind::Budget);
    assert!(error.to_string().contains("record 1 alone does not fit"), "{error}");
}

#[test]
fn damage_is_found_where_it_is() {
    let bench = Bench::new(1 << 24);
    let kind = |error: &Error| match error.kind() {
        seqmill_base::ErrorKind::Format(kind) => kind,
        other => panic!("{other:?}"),
    };
    let whole = [record(34, 1), record(60, 2)].concat();
    for cut in [1, 3, 4, 20, 39, 60, 64, 90] {
        let error = bench.run(Kind::Bam, &whole[..whole.len() - cut], &[1]).err();
        let Some(error) = error else {
            assert_eq!(cut, 64, "only a whole record less is no damage");
            continue;
        };
        assert_eq!(kind(&error), FormatKind::Truncated, "{cut}");
    }
    // A size below 32, first in a unit, within one, and across two.
    for cuts in [vec![], vec![38], vec![40], vec![39, 41]] {
        let mut data = [record(34, 1), record(60, 2)].concat();
        data[38] = 31;
        let error = bench.run(Kind::Bam, &data, &cuts).err().unwrap();
        assert_eq!(kind(&error), FormatKind::Record);
        assert_eq!((error.place().record, error.place().voffset), (Some(1), Some(38)), "{cuts:?}");
    }
    // A size that is far too large is told from a long record by the fields behind it.
    let mut data = [record(34, 1), record(60, 2)].concat();
    data[41] = 0x70;
    data[42] = 5;
    let error = bench.run(Kind::Bam, &data, &[]).err().unwrap();
    assert_eq!((kind(&error), error.place().field), (FormatKind::Record, Some("refID")));
}

fn runs(joined: Vec<Joined>) -> Vec<TextRun> {
    let text = joined.into_iter().map(|item| match item {
        Joined::Text(run) => run,
        Joined::Records(_) => panic!("records among text"),
    });
    text.collect()
}

/// Texts of records with their lines and places; records of SAM are lines.
fn texts(kind: Kind, joined: Vec<Joined>) -> Vec<(String, u64, u64)> {
    let mut all = Vec::new();
    for run in runs(joined) {
        let mut bounds: Vec<usize> = run.starts.iter().map(|s| *s as usize).collect();
        if kind == Kind::Sam {
            let ends = memchr::memchr_iter(b'\n', &run.unit.data[run.range.clone()]);
            bounds = std::iter::once(run.range.start)
                .chain(ends.map(|end| run.range.start + end + 1))
                .filter(|at| *at < run.range.end)
                .collect();
        } else {
            assert_eq!(run.ordinal, all.len() as u64);
        }
        bounds.push(run.range.end);
        let mut line = run.line;
        for pair in bounds.windows(2) {
            let text = String::from_utf8(run.unit.data[pair[0]..pair[1]].to_vec()).unwrap();
            let lines = text.matches('\n').count() as u64;
            all.push((text, line, run.unit.voffset(pair[0]).0));
            line += lines;
        }
    }
    all
}

fn check_text(kind: Kind, parts: &[&str]) {
    let data = parts.concat();
    let (mut line, mut place) = (1, 0);
    let mut expected = Vec::new();
    for part in parts {
        expected.push(((*part).to_owned(), line, place));
        line += part.matches('\n').count() as u64;
        place += part.len() as u64;
    }
    let bench = Bench::new(1 << 24);
    for cut in 1..data.len() {
        let found = texts(kind, bench.run(kind, data.as_bytes(), &[cut]).unwrap());
        assert_eq!(found, expected, "{kind:?} {cut}");
    }
    for seed in 0..200 {
        let cuts = cuts(seed, data.len(), 12);
        let found = texts(kind, bench.run(kind, data.as_bytes(), &cuts).unwrap());
        assert_eq!(found, expected, "{kind:?} {cuts:?}");
    }
    assert_eq!(bench.budget.reserved(), 0);
}

#[test]
fn lines_do_not_depend_on_units() {
    check_text(Kind::Sam, &["first\n", "second\r\n", "\n", "a longer third line\n", "last"]);
    check_text(Kind::Sam, &["one\n"]);
}

#[test]
fn reads_do_not_depend_on_units() {
    check_text(
        Kind::Fastq,
        &["@a x\nACGT\n+\nIIII\n", "@b\r\n\r\n+\r\n\r\n", "@c\nA\n+\n@\n", "@d\n>\n+d\n+"],
    );
    check_text(
        Kind::Fasta,
        &[">a\nACGT\nAC\n", ">\n", ">c x>y\nA>\nG\r\n\r\n", ">d\n", ">\n", ">\nAC"],
    );
}

#[test]
fn empty_lines_may_only_end_a_fastq() {
    let bench = Bench::new(1 << 24);
    let good = "@a\nA\n+\nI\n\n\r\n\n\n\n\n";
    let bad = "@a\nA\n+\nI\n\n\n\n\n\n@b\nA\n+\nI\n";
    for cut in 1..good.len() {
        let found = texts(Kind::Fastq, bench.run(Kind::Fastq, good.as_bytes(), &[cut]).unwrap());
        assert_eq!(found.len(), 1, "{cut}");
    }
    for cut in 1..bad.len() {
        let error = bench.run(Kind::Fastq, bad.as_bytes(), &[cut]).err().unwrap();
        assert_eq!(error.place().line, Some(5), "{cut}: {error}");
    }
    for cut in [2, 4, 6] {
        let error = bench.run(Kind::Fastq, &good.as_bytes()[..cut], &[1]).err().unwrap();
        assert_eq!(error.kind(), seqmill_base::ErrorKind::Format(FormatKind::Truncated));
    }
}

#[test]
fn breaks_are_found_at_lines_only() {
    assert_eq!(Breaks::find(Kind::Fasta, b">a>b\n>c\n \n>").list, [0, 5, 10]);
    assert_eq!(Breaks::find(Kind::Fastq, b"\na\n").list, [0, 2]);
    assert!(Breaks::find(Kind::Sam, b"a\nb").list.is_empty());
}
