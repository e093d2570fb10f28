//! Names of contigs, each told by its difference to the one before (`agc.md` §3.3).

use seqmill_base::{Error, FormatKind, Result};

/// A token equal to that of the previous name at the same place.
const SAME_TOKEN: u8 = 0x81;
/// Longest run of equal characters in one byte.
const RUN_MAX: usize = 100;

/// Encodes and decodes the names of one sample after another.
#[derive(Debug, Default)]
pub(crate) struct NameCoder {
    previous: Vec<u8>,
    has_previous: bool,
}

fn tokens(name: &[u8]) -> impl Iterator<Item = &[u8]> {
    name.split(|&b| b == b' ')
}

impl NameCoder {
    /// A sample begins: nothing comes before its first name.
    pub(crate) fn reset(&mut self) {
        self.has_previous = false;
    }

    /// Appends the encoded name.
    pub(crate) fn encode(&mut self, name: &[u8], out: &mut Vec<u8>) {
        let comparable =
            self.has_previous && tokens(name).count() == tokens(&self.previous).count();
        if comparable {
            for (i, (token, before)) in tokens(name).zip(tokens(&self.previous)).enumerate() {
                if i > 0 {
                    out.push(b' ');
                }
                encode_token(token, before, out);
            }
        } else {
            out.extend_from_slice(name);
        }
        self.previous.clear();
        self.previous.extend_from_slice(name);
        self.has_previous = true;
    }

    /// Decodes a name, which must not be longer than `limit`, into `out`.
    pub(crate) fn decode(&mut self, coded: &[u8], limit: usize, out: &mut Vec<u8>) -> Result<()> {
        out.clear();
        let comparable =
            self.has_previous && tokens(coded).count() == tokens(&self.previous).count();
        if comparable {
            for (i, (token, before)) in tokens(coded).zip(tokens(&self.previous)).enumerate() {
                if i > 0 {
                    out.push(b' ');
                }
                decode_token(token, before, out)?;
                if out.len() > limit {
                    let what = "the names of contigs do not fit into the memory budget";
                    return Err(Error::budget(what, (limit as u64).saturating_mul(4)));
                }
            }
        } else {
            out.extend_from_slice(coded);
        }
        self.previous.clear();
        self.previous.extend_from_slice(out);
        self.has_previous = true;
        Ok(())
    }
}

fn encode_token(token: &[u8], before: &[u8], out: &mut Vec<u8>) {
    if token == before {
        out.push(SAME_TOKEN);
        return;
    }
    if token.len() != before.len() {
        out.extend_from_slice(token);
        return;
    }
    let mut run = 0_usize;
    let end_run = |run: &mut usize, out: &mut Vec<u8>| {
        if *run > 0 {
            out.push(u8::try_from(256 - *run).unwrap_or(u8::MAX));
            *run = 0;
        }
    };
    for (a, b) in token.iter().zip(before) {
        if a == b {
            if run == RUN_MAX {
                end_run(&mut run, out);
            }
            run += 1;
        } else {
            end_run(&mut run, out);
            out.push(*a);
        }
    }
    end_run(&mut run, out);
}

fn decode_token(token: &[u8], before: &[u8], out: &mut Vec<u8>) -> Result<()> {
    if token == [SAME_TOKEN] {
        out.extend_from_slice(before);
        return Ok(());
    }
    let mut at = 0;
    for &byte in token {
        if byte < 128 {
            out.push(byte);
            at += 1;
        } else {
            let run = 256 - usize::from(byte);
            let copied = before.get(at..at + run).ok_or_else(|| {
                let what = "the name of a contig repeats more than the name before it has";
                Error::format(FormatKind::Other, what)
            })?;
            out.extend_from_slice(copied);
            at += run;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_make_the_round_trip() {
        let long = "x".repeat(250);
        let names = [
            "chr1 length=10 a".to_owned(),
            "chr2 length=10 b".to_owned(),
            "chr2 length=10 b".to_owned(),
            "chr10 length=10  b".to_owned(),
            "chr11 length=11  b".to_owned(),
            String::new(),
            format!("{long}1"),
            format!("{long}2"),
            format!("{}a{}1", &long[..100], &long[..149]),
            "a b".to_owned(),
        ];
        let (mut writer, mut reader) = (NameCoder::default(), NameCoder::default());
        let mut back = Vec::new();
        for name in &names {
            let mut coded = Vec::new();
            writer.encode(name.as_bytes(), &mut coded);
            reader.decode(&coded, 1 << 20, &mut back).unwrap();
            assert_eq!(back, name.as_bytes());
        }
    }

    #[test]
    fn a_single_equal_character_run_differs_from_an_equal_token() {
        let mut coder = NameCoder::default();
        let mut out = Vec::new();
        coder.encode(b"ab", &mut out);
        out.clear();
        coder.encode(b"ac", &mut out);
        assert_eq!(out, [255, b'c']);
    }
}
