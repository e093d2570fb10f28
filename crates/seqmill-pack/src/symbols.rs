//! Symbols: the 16 letters as codes, and codes packed in tuples (`agc.md` §4.1, §5).

use seqmill_base::{Error, FormatKind, Result};

/// Letters by code.
pub(crate) const LETTERS: &[u8; 16] = b"ACGTNRYSWKMBDHVU";
/// Code of N.
pub(crate) const CODE_N: u8 = 4;
/// A byte that is no letter.
pub(crate) const NOT_A_LETTER: u8 = 0xff;
/// A byte within sequence that is skipped: blank, tab, line end.
pub(crate) const BLANK: u8 = 0xfe;
/// Marker byte behind tuples of one symbol a byte.
const SINGLE_MARKER: u8 = 0x10;

/// Codes by byte, both cases.
#[allow(
    clippy::cast_possible_truncation,
    clippy::indexing_slicing,
    reason = "evaluated when the program is built"
)]
pub(crate) const CODES: [u8; 256] = {
    let mut codes = [NOT_A_LETTER; 256];
    let mut i = 0;
    while i < LETTERS.len() {
        codes[LETTERS[i] as usize] = i as u8;
        codes[LETTERS[i].to_ascii_lowercase() as usize] = i as u8;
        i += 1;
    }
    codes[b' ' as usize] = BLANK;
    codes[b'\t' as usize] = BLANK;
    codes[b'\r' as usize] = BLANK;
    codes[b'\n' as usize] = BLANK;
    codes
};

/// Turns letters into those of the other strand. Only A, C, G and T have a complement, as the format
/// knows it.
pub(crate) fn reverse_complement_letters(letters: &mut [u8]) {
    // Bits in which A and T, and C and G, differ.
    const AT: u8 = b'A' ^ b'T';
    const CG: u8 = b'C' ^ b'G';
    letters.reverse();
    // Without a branch or a table the compiler makes wide instructions of it.
    for letter in letters {
        let c = *letter;
        let at = u8::from(c == b'A') | u8::from(c == b'T');
        let cg = u8::from(c == b'C') | u8::from(c == b'G');
        *letter = c ^ (at.wrapping_neg() & AT) ^ (cg.wrapping_neg() & CG);
    }
}

/// Codes of the other strand.
pub(crate) fn reverse_complement_codes(codes: &[u8], out: &mut Vec<u8>) {
    out.clear();
    out.extend(codes.iter().rev().map(|&c| if c < 4 { 3 - c } else { c }));
}

/// The letter of a code, or an error: other codes come from inputs that the program which wrote
/// the archive could not carry.
pub(crate) fn letter(code: u8) -> Result<u8> {
    LETTERS.get(usize::from(code)).copied().ok_or_else(|| bad_code(code))
}

fn bad_code(code: u8) -> Error {
    Error::format(FormatKind::Other, format!("symbol {code} stands for no letter"))
}

/// Letters that each tuple byte stands for, by symbols a byte.
type TupleLetters = [[u8; 4]; 256];

#[allow(
    clippy::cast_possible_truncation,
    clippy::indexing_slicing,
    reason = "evaluated when the program is built"
)]
const fn tuple_letters(per_byte: usize, base: usize) -> TupleLetters {
    let mut table = [[0; 4]; 256];
    let mut byte = 0;
    while byte < 256 {
        let mut rest = byte;
        let mut i = per_byte;
        while i > 0 {
            i -= 1;
            table[byte][i] = LETTERS[rest % base];
            rest /= base;
        }
        byte += 1;
    }
    table
}

static QUADS: TupleLetters = tuple_letters(4, 4);
static TRIPLES: TupleLetters = tuple_letters(3, 6);
static PAIRS: TupleLetters = tuple_letters(2, 16);

/// How the symbols of a reference lie in its bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Layout {
    /// One symbol a byte.
    Single,
    /// So many symbols a byte, in this base.
    Tuples { per_byte: usize, base: usize },
}

/// A stretch of symbols that can be read anywhere without being unpacked.
#[derive(Debug)]
pub(crate) struct Symbols {
    bytes: Vec<u8>,
    layout: Layout,
    length: usize,
    /// Symbols that are in whole tuples.
    whole: usize,
}

impl Symbols {
    /// Symbols of one byte each.
    pub(crate) fn plain(bytes: Vec<u8>) -> Self {
        let length = bytes.len();
        Self { bytes, layout: Layout::Single, length, whole: length }
    }

    /// Symbols in tuples, as the content of a reference part with marker 1.
    pub(crate) fn tuples(mut bytes: Vec<u8>) -> Result<Self> {
        let wrong = |what: &str| Error::format(FormatKind::Other, what);
        let marker = bytes.pop().ok_or_else(|| wrong("a packed reference is empty"))?;
        if marker == SINGLE_MARKER {
            return Ok(Self::plain(bytes));
        }
        let per_byte = usize::from(marker >> 4);
        let base: usize = match per_byte {
            4 => 4,
            3 => 6,
            2 => 16,
            _ => return Err(wrong("a packed reference ends with an unknown marker")),
        };
        let over = usize::from(marker & 15);
        let Some(tuples) = bytes.len().checked_sub(1).filter(|_| over < per_byte) else {
            return Err(wrong("a packed reference ends with an unknown marker"));
        };
        let limit = base.pow(u32::try_from(per_byte).unwrap_or(1));
        if limit < 256 && bytes.iter().any(|&b| usize::from(b) >= limit) {
            return Err(wrong("a packed reference has a byte that is no tuple"));
        }
        let whole = tuples * per_byte;
        let layout = Layout::Tuples { per_byte, base };
        Ok(Self { bytes, layout, length: whole + over, whole })
    }

    /// Number of symbols.
    pub(crate) fn len(&self) -> usize {
        self.length
    }

    /// Bytes held.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes.len() as u64
    }

    /// Writes the letters from `position` on; the range must lie within.
    pub(crate) fn letters(&self, position: usize, out: &mut [u8]) -> Result<()> {
        let beyond = || Error::format(FormatKind::Other, "a match reaches beyond the reference");
        let end = position.checked_add(out.len()).filter(|&end| end <= self.length);
        let end = end.ok_or_else(beyond)?;
        match self.layout {
            Layout::Single => {
                let codes = self.bytes.get(position..end).ok_or_else(beyond)?;
                for (slot, &code) in out.iter_mut().zip(codes) {
                    *slot = letter(code)?;
                }
            }
            Layout::Tuples { per_byte: 4, .. } => self.tuple_letters::<4>(&QUADS, position, out),
            Layout::Tuples { per_byte: 3, .. } => self.tuple_letters::<3>(&TRIPLES, position, out),
            Layout::Tuples { .. } => self.tuple_letters::<2>(&PAIRS, position, out),
        }
        if end > self.whole && self.layout != Layout::Single {
            self.tail_letters(position, out);
        }
        Ok(())
    }

    /// The symbols behind the last whole tuple.
    fn tail_letters(&self, position: usize, out: &mut [u8]) {
        let Layout::Tuples { base, .. } = self.layout else { return };
        let mut rest = usize::from(self.bytes.last().copied().unwrap_or(0));
        for at in (self.whole..self.length).rev() {
            let code = rest % base;
            rest /= base;
            if let Some(slot) = at.checked_sub(position).and_then(|i| out.get_mut(i)) {
                *slot = LETTERS.get(code).copied().unwrap_or(b'N');
            }
        }
    }

    /// Letters of whole tuples of N symbols; N is known where this is compiled, so that each tuple
    /// is one store.
    fn tuple_letters<const N: usize>(&self, table: &TupleLetters, position: usize, out: &mut [u8]) {
        let bytes = self.bytes.get(position / N..).unwrap_or_default();
        let skip = position % N;
        let lookup = |byte: u8| -> [u8; N] {
            let letters = table.get(usize::from(byte)).copied().unwrap_or([b'N'; 4]);
            letters.first_chunk::<N>().copied().unwrap_or([b'N'; N])
        };
        let (mut bytes, mut out) = (bytes, out);
        if skip > 0 {
            let Some((&first, rest)) = bytes.split_first() else { return };
            let n = (N - skip).min(out.len());
            let (head, behind) = std::mem::take(&mut out).split_at_mut(n);
            head.copy_from_slice(lookup(first).get(skip..skip + n).unwrap_or_default());
            (bytes, out) = (rest, behind);
        }
        let (chunks, rest) = out.as_chunks_mut::<N>();
        let whole = chunks.len();
        for (chunk, &byte) in chunks.iter_mut().zip(bytes) {
            *chunk = lookup(byte);
        }
        if let Some(&byte) = bytes.get(whole) {
            let n = rest.len();
            rest.copy_from_slice(lookup(byte).get(..n).unwrap_or_default());
        }
    }
}

/// Packs codes into tuples with the two bytes that end them.
pub(crate) fn pack_tuples(codes: &[u8]) -> Vec<u8> {
    let largest = codes.iter().copied().max().unwrap_or(0);
    let (per_byte, base) = match largest {
        0..4 => (4, 4),
        4..6 => (3, 6),
        6..16 => (2, 16_u8),
        _ => {
            let mut out = codes.to_vec();
            out.push(SINGLE_MARKER);
            return out;
        }
    };
    let mut out = Vec::with_capacity(codes.len() / per_byte + 2);
    let join = |tuple: &[u8]| tuple.iter().fold(0_u8, |sum, &c| sum.wrapping_mul(base) + c);
    let chunks = codes.chunks_exact(per_byte);
    let rest = chunks.remainder();
    out.extend(chunks.map(join));
    out.push(join(rest));
    out.push(u8::try_from(per_byte * 16 + rest.len()).unwrap_or(SINGLE_MARKER));
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tuples_make_the_round_trip() {
        for (largest, per_byte) in [(3, 4), (5, 3), (15, 2)] {
            for n in 1..40_usize {
                let mut codes: Vec<u8> =
                    (0..n).map(|i| ((i * 7 + i / 3) % (largest + 1)) as u8).collect();
                codes[0] = largest as u8;
                let packed = pack_tuples(&codes);
                assert_eq!(packed.len(), n / per_byte + 2);
                let symbols = Symbols::tuples(packed).unwrap();
                assert_eq!(symbols.len(), n);
                let expected: Vec<u8> = codes.iter().map(|&c| LETTERS[c as usize]).collect();
                for from in 0..n {
                    for to in from..=n {
                        let mut out = vec![0; to - from];
                        symbols.letters(from, &mut out).unwrap();
                        assert_eq!(out, &expected[from..to], "{n} {from} {to}");
                    }
                }
                assert!(symbols.letters(1, &mut vec![0; n]).is_err());
            }
        }
    }

    #[test]
    fn damage_is_refused() {
        for bytes in [&[][..], &[0x40], &[1, 0x44], &[1, 0x50], &[1, 0x00], &[250, 0, 0x30]] {
            assert!(Symbols::tuples(bytes.to_vec()).is_err(), "{bytes:?}");
        }
        assert!(Symbols::plain(vec![30]).letters(0, &mut [0]).is_err());
    }

    #[test]
    fn letters_of_the_other_strand() {
        let mut letters = *b"ACGTRN";
        reverse_complement_letters(&mut letters);
        assert_eq!(&letters, b"NRACGT");
        let mut out = Vec::new();
        reverse_complement_codes(&[0, 1, 2, 3, 5, 4], &mut out);
        assert_eq!(out, [4, 5, 0, 1, 2, 3]);
    }
}
