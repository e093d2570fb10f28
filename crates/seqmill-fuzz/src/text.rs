//! SAM, FASTA and FASTQ: small examples, and damage to lines and fields.

use crate::random::Random;
use std::fmt::Write;

const FIELDS: [&str; 30] = [
    "",
    "*",
    "=",
    "0",
    "-1",
    "255",
    "256",
    "65535",
    "65536",
    "2147483647",
    "2147483648",
    "-2147483648",
    "99999999999999999999",
    "1e9",
    "NaN",
    "\u{fffd}\u{e9}",
    "10M",
    "2147483647M",
    "0M",
    "M",
    "1M1I1D1N1S1H1P1=1X",
    "ACGTN=.acgtn",
    "!~",
    "XX:i:99999999999",
    "XX:B:c,1,2,300",
    "XX:B:f,nan,inf,1e999",
    "XX:A:",
    "XX:Z:",
    "XX:H:1",
    "@SQ",
];

/// A SAM text with header and a few tags.
pub(crate) fn example_sam(random: &mut Random) -> String {
    let mut text = "@HD\tVN:1.6\tSO:unsorted\n@SQ\tSN:chr1\tLN:100000\n@SQ\tSN:chr2\tLN:5000\n\
                    @RG\tID:one\tSM:s\n@CO\tfree text\n"
        .to_owned();
    for i in 0..40 {
        let bases: String = (0..20).map(|_| *random.pick(&['A', 'C', 'G', 'T', 'N'])).collect();
        let qual: String = (0..20).map(|_| char::from(33 + random.below(60) as u8)).collect();
        let tags = "NM:i:1\tRG:Z:one\tML:B:C,1,2,3\tXF:f:1.5\tXA:A:x\tXH:H:1AE3";
        let places = format!("99\tchr1\t{}\t60\t5S15M\t=\t100\t-7", 1 + i);
        let _ = writeln!(text, "r{i}\t{places}\t{bases}\t{qual}\t{tags}");
    }
    text
}

/// A few reads.
pub(crate) fn example_fastq(random: &mut Random) -> Vec<u8> {
    let mut text = String::new();
    for i in 0..50 {
        let bases: String = (0..30).map(|_| *random.pick(&['A', 'C', 'G', 'T', 'N'])).collect();
        let qual: String = (0..30).map(|_| char::from(33 + random.below(60) as u8)).collect();
        let _ = write!(text, "@read{i} described\n{bases}\n+\n{qual}\n");
    }
    text.into_bytes()
}

/// A few sequences of several lines.
pub(crate) fn example_fasta(random: &mut Random) -> Vec<u8> {
    let mut text = String::new();
    for i in 0..5 {
        let _ = writeln!(text, ">sequence{i} described");
        for _ in 0..=i {
            text.extend((0..60).map(|_| *random.pick(&['A', 'c', 'G', 't', 'N'])));
            text.push('\n');
        }
    }
    text.into_bytes()
}

/// Damages text in one place, keeping lines and fields apart; says how.
pub(crate) fn damage(data: &mut Vec<u8>, random: &mut Random) -> String {
    let mut lines: Vec<Vec<u8>> = data.split(|b| *b == b'\n').map(<[u8]>::to_vec).collect();
    let number = random.below(lines.len());
    let other = random.below(lines.len());
    let what = match random.below(9) {
        0 => {
            let line = lines[number].clone();
            let times = if random.once_in(10) { random.short(20_000) } else { 1 };
            let times = times.min(1 + (1 << 21) / (line.len() + 1));
            lines.splice(other..other, std::iter::repeat_n(line, times));
            format!("{times} copies at line {other}")
        }
        1 => {
            lines.swap(number, other);
            format!("exchanged with line {other}")
        }
        2 => {
            lines.remove(number);
            "taken out".to_owned()
        }
        3 => {
            let end = *random.pick(&[&b"\r"[..], b"\r\r", b"\0", b"\t", b" "]);
            lines[number].extend_from_slice(end);
            format!("{end:?} at its end")
        }
        4 => {
            let cut = random.below(lines[number].len());
            lines[number].truncate(cut);
            format!("cut at {cut}")
        }
        5 => {
            let at = random.below(lines[number].len() + 1).min(lines[number].len());
            let length = if random.once_in(5) { random.short(3 << 20) } else { random.short(100) };
            let byte = random.byte();
            lines[number].splice(at..at, std::iter::repeat_n(byte, length));
            format!("{length} bytes of {byte} at {at}")
        }
        _ => {
            let mut fields: Vec<Vec<u8>> =
                lines[number].split(|b| *b == b'\t').map(<[u8]>::to_vec).collect();
            let field = random.below(fields.len());
            let new = *random.pick(&FIELDS);
            fields[field] = new.as_bytes().to_vec();
            if random.once_in(6) {
                fields.remove(field);
            }
            lines[number] = fields.join(&b'\t');
            format!("field {field} set to {new:?}")
        }
    };
    *data = lines.join(&b'\n');
    format!("line {number}: {what}")
}
