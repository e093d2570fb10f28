//! The genome as the algorithm sees it: two bits a base, and the stretches that hold only bases.
//!
//! Records lie one behind the other without padding; a position is a place in that one line. What
//! is no base (N, IUPAC codes) takes a place but no stretch covers it, and no stretch crosses the
//! border of a record, so a window is valid exactly if one stretch holds all of it.

use seqmill_base::prefetch::prefetch;

/// Bases in one word.
const WORD_BASES: usize = 32;

/// One sequence of the input.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// The header line without `>`.
    pub header: Vec<u8>,
    /// Position of its first letter.
    pub start: u32,
    /// Letters.
    pub length: u32,
}

impl Record {
    /// The header up to the first white space.
    pub fn name(&self) -> &[u8] {
        self.header.split(u8::is_ascii_whitespace).next().unwrap_or_default()
    }

    /// Position behind its last letter.
    pub fn end(&self) -> u32 {
        self.start + self.length
    }
}

/// A stretch of bases.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Run {
    /// Its first position.
    pub start: u32,
    /// The position behind it.
    pub end: u32,
}

/// A genome in memory.
#[derive(Debug, Default, Clone)]
pub struct Text {
    words: Vec<u64>,
    runs: Vec<Run>,
    records: Vec<Record>,
    length: u32,
}

/// Two bits of a base; 4 for a letter that is none, 5 for what is no letter of a sequence.
const CODES: [u8; 256] = {
    let mut table = [5_u8; 256];
    let bases = *b"ACGT";
    let mut i = 0;
    while i < 4 {
        table[bases[i] as usize] = i as u8;
        table[bases[i].to_ascii_lowercase() as usize] = i as u8;
        i += 1;
    }
    let others = *b"NXRYMKWSBDHV";
    let mut i = 0;
    while i < others.len() {
        table[others[i] as usize] = 4;
        table[others[i].to_ascii_lowercase() as usize] = 4;
        i += 1;
    }
    table
};

/// The codes of eight letters, the first in the highest bits; `None` unless all are bases.
#[inline(always)]
fn pack_eight(letters: &[u8]) -> Option<u64> {
    /// The same byte eight times.
    const fn all(byte: u8) -> u64 {
        u64::from_ne_bytes([byte; 8])
    }
    let letters: [u8; 8] = letters.try_into().ok()?;
    // Upper case, the first letter in the highest byte.
    let upper = u64::from_be_bytes(letters) & all(!0x20);
    let (low, high) = ((upper >> 1 ^ upper >> 2) & all(1), (upper >> 2 ^ upper >> 3) & all(1));
    // A is 0x41; what C, G and T have more than that.
    let expected = all(b'A') + low * 2 + high * 6 + (low & high) * 11;
    let mut codes = high << 1 | low;
    codes = (codes | codes >> 6) & 0x000f_000f_000f_000f;
    codes = (codes | codes >> 12) & 0x0000_00ff_0000_00ff;
    (upper == expected).then_some((codes | codes >> 24) & 0xffff)
}

/// Letter of a code.
pub const LETTERS: [u8; 5] = *b"ACGTN";

/// The letters of four bases.
const FOUR_LETTERS: [[u8; 4]; 256] = {
    let mut table = [[0; 4]; 256];
    let mut i = 0;
    while i < 256 {
        let codes = [i >> 6, i >> 4 & 3, i >> 2 & 3, i & 3];
        let mut at = 0;
        while at < 4 {
            table[i][at] = LETTERS[codes[at]];
            at += 1;
        }
        i += 1;
    }
    table
};

/// Why letters were refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// The byte at this place of the piece is no letter of a sequence.
    Letter(usize),
    /// The genome has more letters than positions can tell apart.
    Full,
}

/// Takes letters in and makes a [`Text`] of them.
#[derive(Debug, Default)]
pub struct TextBuilder {
    text: Text,
    word: u64,
    /// Where the stretch at hand began.
    run: Option<u32>,
    header_bytes: u64,
}

impl TextBuilder {
    /// A builder with room for so many letters.
    pub fn with_capacity(letters: usize) -> Self {
        let mut builder = Self::default();
        builder.text.words.reserve_exact(letters / WORD_BASES + 3);
        builder
    }

    /// Bytes that are held now, by capacity.
    pub fn bytes(&self) -> u64 {
        self.text.bytes()
    }

    /// Bytes that may be held once so many more letters are taken.
    pub fn bytes_with(&self, letters: usize) -> u64 {
        let words = self.text.words.len() + letters / WORD_BASES + 3;
        let runs = self.text.runs.len() + letters / 2 + 1;
        let grown = |length: usize, capacity: usize| {
            if length > capacity { (2 * capacity).max(length) + capacity } else { capacity }
        };
        let words = grown(words, self.text.words.capacity()) * 8;
        // Only text with very many N has so many stretches; what is there is counted as it is.
        let runs = if runs > self.text.runs.capacity() + letters / 2 { 2 } else { 1 }
            * self.text.runs.capacity()
            * size_of::<Run>();
        (words + runs) as u64
            + self.text.records.capacity() as u64 * size_of::<Record>() as u64
            + self.header_bytes
    }

    /// Letters of the record at hand so far.
    pub fn record_letters(&self) -> u64 {
        let start = self.text.records.last().map_or(0, |record| record.start);
        u64::from(self.text.length - start)
    }

    /// Begins a record.
    pub fn start(&mut self, header: &[u8]) {
        self.finish_record();
        let start = self.text.length;
        self.header_bytes += header.len() as u64 + 16;
        self.text.records.push(Record { header: header.to_vec(), start, length: 0 });
    }

    /// Takes letters of the record at hand.
    pub fn push(&mut self, letters: &[u8]) -> Result<(), Refused> {
        if letters.len() >= (u32::MAX - self.text.length) as usize {
            return Err(Refused::Full);
        }
        let mut at = self.text.length;
        let mut word = self.word;
        let mut run = self.run;
        let mut done = 0;
        while done < letters.len() {
            // Eight bases at a time; whatever else there is, letter by letter.
            while let Some(packed) = letters.get(done..done + 8).and_then(pack_eight) {
                run.get_or_insert(at);
                let wanted = WORD_BASES as u32 - at % WORD_BASES as u32;
                if wanted <= 8 {
                    self.text.words.push(word << (2 * wanted) | packed >> (16 - 2 * wanted));
                    // What has gone already stands above, and is shifted out in time.
                    word = packed;
                } else {
                    word = word << 16 | packed;
                }
                at += 8;
                done += 8;
            }
            for (i, &letter) in letters.iter().enumerate().skip(done).take(8) {
                let code = CODES[letter as usize];
                if code >= 4 {
                    if code == 5 {
                        return Err(Refused::Letter(i));
                    }
                    if let Some(start) = run.take() {
                        self.text.runs.push(Run { start, end: at });
                    }
                    word <<= 2;
                } else {
                    run.get_or_insert(at);
                    word = word << 2 | u64::from(code);
                }
                at += 1;
                if at.is_multiple_of(WORD_BASES as u32) {
                    self.text.words.push(word);
                }
            }
            done = letters.len().min(done + 8);
        }
        (self.word, self.run, self.text.length) = (word, run, at);
        Ok(())
    }

    fn finish_record(&mut self) {
        let length = self.text.length;
        if let Some(start) = self.run.take() {
            self.text.runs.push(Run { start, end: length });
        }
        if let Some(record) = self.text.records.last_mut() {
            record.length = length - record.start;
        }
    }

    /// The finished text.
    pub fn finish(mut self) -> Text {
        self.finish_record();
        let rest = self.text.length as usize % WORD_BASES;
        if rest > 0 {
            self.text.words.push(self.word << (2 * (WORD_BASES - rest)));
        }
        // A window at the end reads one word further.
        self.text.words.push(0);
        self.text.words.push(0);
        self.text
    }
}

impl Text {
    /// Letters.
    pub fn len(&self) -> u32 {
        self.length
    }

    /// Whether there are no letters.
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// The sequences.
    pub fn records(&self) -> &[Record] {
        &self.records
    }

    /// The stretches of bases, in order.
    pub fn runs(&self) -> &[Run] {
        &self.runs
    }

    /// Bytes held, by capacity.
    pub fn bytes(&self) -> u64 {
        let headers: usize = self.records.iter().map(|r| r.header.capacity()).sum();
        let fixed = self.words.capacity() * 8
            + self.runs.capacity() * size_of::<Run>()
            + self.records.capacity() * size_of::<Record>();
        (fixed + headers) as u64
    }

    /// The 32 bases from `at` on, the first in the highest bits; what is no base reads as A.
    #[inline]
    pub fn bases(&self, at: u32) -> u64 {
        let (i, shift) = (at as usize / WORD_BASES, at % WORD_BASES as u32 * 2);
        self.words[i] << shift | (self.words[i + 1] >> 1) >> (63 - shift)
    }

    /// Asks for the memory of the bases at `at`.
    #[inline(always)]
    pub(crate) fn prefetch(&self, at: u32) {
        prefetch(&self.words, at as usize / WORD_BASES);
    }

    /// The k-mer at `at`, which must lie within one stretch.
    #[inline]
    pub fn kmer(&self, at: u32, k: u32) -> u64 {
        self.bases(at) >> (64 - 2 * k)
    }

    /// Index of the stretch that holds `at`.
    pub fn run_of(&self, at: u32) -> Option<usize> {
        let i = self.runs.partition_point(|run| run.end <= at);
        self.runs.get(i).filter(|run| run.start <= at).map(|_| i)
    }

    /// Index of the record that holds `at`.
    pub fn record_of(&self, at: u32) -> usize {
        // Empty records share their start with the next one; the last of equals holds the letter.
        self.records.partition_point(|record| record.start <= at).saturating_sub(1)
    }

    /// The code of the letter at `at`: 0 to 3, or 4 for what is no base.
    pub fn code(&self, at: u32) -> u8 {
        if self.run_of(at).is_none() {
            return 4;
        }
        (self.bases(at) >> 62) as u8
    }

    /// Puts the letters of `from..to` into `out`, in upper case, N for what is no base.
    pub fn letters(&self, from: u32, to: u32, out: &mut Vec<u8>) {
        out.clear();
        out.resize((to - from) as usize, LETTERS[4]);
        let first = self.runs.partition_point(|run| run.end <= from);
        for run in self.runs[first..].iter().take_while(|run| run.start < to) {
            let (begin, end) = (run.start.max(from), run.end.min(to));
            let own = &mut out[(begin - from) as usize..(end - from) as usize];
            let mut words = own.chunks_exact_mut(WORD_BASES);
            let mut at = begin;
            for word in &mut words {
                for (four, byte) in word.chunks_exact_mut(4).zip(self.bases(at).to_be_bytes()) {
                    four.copy_from_slice(&FOUR_LETTERS[usize::from(byte)]);
                }
                at += WORD_BASES as u32;
            }
            let mut bases = if at < end { self.bases(at) } else { 0 };
            for letter in words.into_remainder() {
                *letter = LETTERS[(bases >> 62) as usize];
                bases <<= 2;
            }
        }
    }

    /// Whether two positions `a <= b` lie in different records.
    pub fn crosses_records(&self, a: u32, b: u32) -> bool {
        self.record_of(a) != self.record_of(b)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_of_any_length_give_the_same_words() {
        let mut letters: Vec<u8> =
            (0..3000_u64).map(|i| b"ACGTacgt"[(crate::kmer::mix(i) % 8) as usize]).collect();
        letters[700..703].copy_from_slice(b"NrN");
        let packed = |size: usize| {
            let mut builder = TextBuilder::default();
            builder.start(b"a");
            letters.chunks(size).for_each(|piece| builder.push(piece).unwrap());
            builder.finish()
        };
        let whole = packed(3000);
        for (at, letter) in (0..).zip(&letters) {
            assert_eq!(whole.code(at), CODES[*letter as usize], "{at}");
        }
        for size in [1, 7, 8, 9, 31, 60, 64, 100] {
            let text = packed(size);
            assert_eq!((&text.words, &text.runs), (&whole.words, &whole.runs), "{size}");
        }
        for byte in 0..=255_u8 {
            for i in 0..8 {
                let mut eight = *b"ACGTTGCA";
                eight[i] = byte;
                let one = eight.iter().map(|l| u64::from(CODES[*l as usize]));
                let bases = one.clone().all(|code| code < 4);
                let expected = bases.then(|| one.fold(0, |word, code| word << 2 | code));
                assert_eq!(pack_eight(&eight), expected, "{byte} {i}");
            }
        }
    }

    #[test]
    fn letters_come_back() {
        let mut builder = TextBuilder::default();
        builder.start(b"a one");
        let letters: Vec<u8> = (0..100).map(|i| b"ACGTnacgtRT"[i % 11]).collect();
        builder.push(&letters[..33]).unwrap();
        builder.push(&letters[33..]).unwrap();
        builder.start(b"empty");
        builder.start(b"b");
        builder.push(b"GATTACA").unwrap();
        assert_eq!(builder.push(b"GA-"), Err(Refused::Letter(2)));
        let text = builder.finish();
        let codes: Vec<u8> = (0..100).map(|i| text.code(i)).collect();
        let expected: Vec<u8> = letters.iter().map(|&l| CODES[l as usize]).collect();
        assert_eq!(codes, expected);
        let mut part = Vec::new();
        for (from, to) in [(0, 100), (7, 93), (40, 41), (13, 13)] {
            text.letters(from, to, &mut part);
            let own = &codes[from as usize..to as usize];
            assert_eq!(part, own.iter().map(|c| LETTERS[*c as usize]).collect::<Vec<_>>());
        }
        assert_eq!(text.records()[0].name(), b"a");
        assert_eq!((text.records()[1].length, text.records()[2].start), (0, 100));
        assert_eq!(text.record_of(100), 2);
        assert_eq!(text.kmer(100, 7), 0b10_00_11_11_00_01_00);
        assert_eq!(text.run_of(99), text.run_of(98));
        assert_eq!(text.run_of(97), None);
        assert_ne!(text.run_of(100), text.run_of(99));
    }
}
