//! From bases to what a caller asked for, in one pass: every encoding is a table of 256 entries.

mod kernels;

use kernels::{Nucleotides, Simd};
use seqmill_base::{Error, Result};

/// Bases that are reversed at a time.
const STAGE_BASES: usize = 2048;

/// How the entries of the table are laid out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    /// One entry after the other.
    Rows,
    /// The four quarters of the entries in four planes, each as long as the window.
    Planes,
    /// Two bits a base, four bases a byte from the low bits up, then one bit a base that is set
    /// where the base is none of A, C, G, T, U. Each part begins at a byte.
    TwoBit,
}

/// Tables that have a faster way than looking up each base.
#[derive(Debug, Clone)]
enum Shortcut {
    None,
    Identity,
    Upper,
    Lower,
    MaskLower,
    IsLower,
    Nucleotides(Nucleotides),
}

/// An encoding: a table of entries of equal width, and their layout.
#[derive(Debug, Clone)]
pub struct Encoder {
    layout: Layout,
    width: usize,
    table: Vec<u8>,
    shortcut: Shortcut,
    simd: Simd,
}

fn bytes_table(entry: impl Fn(u8) -> u8) -> Vec<u8> {
    (0..=255).map(entry).collect()
}

impl Encoder {
    /// An encoder from a table of 256 entries of `width` bytes (1, 2, 4, 8 or 16).
    pub fn new(layout: Layout, width: usize, table: Vec<u8>) -> Result<Self> {
        let divides = layout == Layout::Rows || width.is_multiple_of(4);
        if layout == Layout::TwoBit {
            return Ok(Self::two_bit());
        }
        if ![1, 2, 4, 8, 16].contains(&width) || table.len() != 256 * width || !divides {
            return Err(Error::internal("encoding table has the wrong size"));
        }
        let shortcut = if width == 1 { Self::find_shortcut(&table) } else { Shortcut::None };
        Ok(Self { layout, width, table, shortcut, simd: Simd::detect() })
    }

    /// The bytes as they are.
    pub fn identity() -> Self {
        Self {
            layout: Layout::Rows,
            width: 1,
            table: bytes_table(|b| b),
            shortcut: Shortcut::Identity,
            simd: Simd::detect(),
        }
    }

    fn two_bit() -> Self {
        let table = bytes_table(two_bit_code);
        let shortcut = Shortcut::None;
        Self { layout: Layout::TwoBit, width: 1, table, shortcut, simd: Simd::detect() }
    }

    /// The same encoding without wide instructions or shortcuts: the twin that tests compare.
    #[cfg(test)]
    pub(crate) fn scalar(&self) -> Self {
        Self { shortcut: Shortcut::None, simd: Simd::none(), ..self.clone() }
    }

    fn find_shortcut(table: &[u8]) -> Shortcut {
        let is = |entry: fn(u8) -> u8| table == bytes_table(entry);
        if is(|b| b) {
            Shortcut::Identity
        } else if is(|b| b.to_ascii_uppercase()) {
            Shortcut::Upper
        } else if is(|b| b.to_ascii_lowercase()) {
            Shortcut::Lower
        } else if is(|b| if b.is_ascii_lowercase() { b'N' } else { b }) {
            Shortcut::MaskLower
        } else if is(|b| u8::from(b.is_ascii_lowercase())) {
            Shortcut::IsLower
        } else {
            Nucleotides::new(table).map_or(Shortcut::None, Shortcut::Nucleotides)
        }
    }

    /// Bytes that a window of `n` bases takes.
    pub fn output_bytes(&self, n: usize) -> usize {
        match self.layout {
            Layout::Rows | Layout::Planes => n.saturating_mul(self.width),
            Layout::TwoBit => n.div_ceil(4) + n.div_ceil(8),
        }
    }

    /// Encodes `run` as the bases from `at` on of a window of `total` bases.
    fn encode(&self, run: &[u8], out: &mut [u8], at: usize, total: usize) {
        match self.layout {
            Layout::Rows => {
                let begin = at * self.width;
                let Some(out) = out.get_mut(begin..begin + run.len() * self.width) else { return };
                self.encode_rows(run, out);
            }
            Layout::Planes => {
                let element = self.width / 4;
                for (plane, channel) in out.chunks_exact_mut((total * element).max(1)).zip(0..4) {
                    let begin = at * element;
                    if let Some(out) = plane.get_mut(begin..begin + run.len() * element) {
                        self.encode_plane(run, out, channel);
                    }
                }
            }
            Layout::TwoBit => self.encode_two_bit(run, out, at, total),
        }
    }

    fn encode_rows(&self, run: &[u8], out: &mut [u8]) {
        match &self.shortcut {
            Shortcut::None => match self.width {
                1 => kernels::rows::<1>(&self.table, run, out),
                2 => kernels::rows::<2>(&self.table, run, out),
                4 => kernels::rows::<4>(&self.table, run, out),
                8 => kernels::rows::<8>(&self.table, run, out),
                _ => kernels::rows::<16>(&self.table, run, out),
            },
            Shortcut::Identity => out.copy_from_slice(run),
            Shortcut::Upper => self.simd.upper(run, out),
            Shortcut::Lower => self.simd.lower(run, out),
            Shortcut::MaskLower => self.simd.mask_lower(run, out),
            Shortcut::IsLower => self.simd.is_lower(run, out),
            Shortcut::Nucleotides(classes) => self.simd.nucleotides(classes, run, out),
        }
    }

    fn encode_plane(&self, run: &[u8], out: &mut [u8], channel: usize) {
        match self.width / 4 {
            1 => kernels::plane::<1>(&self.table, run, out, channel),
            2 => kernels::plane::<2>(&self.table, run, out, channel),
            _ => kernels::plane::<4>(&self.table, run, out, channel),
        }
    }

    fn encode_two_bit(&self, run: &[u8], out: &mut [u8], at: usize, total: usize) {
        let (codes, mask) = out.split_at_mut(total.div_ceil(4).min(out.len()));
        for (&base, i) in run.iter().zip(at..) {
            let code = self.table.get(usize::from(base)).copied().unwrap_or(OTHER_CODE);
            if let Some(byte) = codes.get_mut(i / 4) {
                *byte |= (code & 3) << (2 * (i % 4));
            }
            if let Some(byte) = mask.get_mut(i / 8) {
                *byte |= (code >> 2) << (i % 8);
            }
        }
    }
}

/// Four numbers of four bytes.
const ONE_HOT_BYTES: usize = 16;
/// Code of a base that is none of A, C, G, T, U: 0 with the mask bit above.
const OTHER_CODE: u8 = 4;

fn two_bit_code(base: u8) -> u8 {
    match base.to_ascii_uppercase() {
        b'A' => 0,
        b'C' => 1,
        b'G' => 2,
        b'T' | b'U' => 3,
        _ => OTHER_CODE,
    }
}

/// The IUPAC complement, case kept; other bytes stay.
pub(crate) const fn complement(base: u8) -> u8 {
    let other = match base & !0x20 {
        b'A' => b'T',
        b'C' => b'G',
        b'G' => b'C',
        b'T' | b'U' => b'A',
        b'R' => b'Y',
        b'Y' => b'R',
        b'K' => b'M',
        b'M' => b'K',
        b'B' => b'V',
        b'V' => b'B',
        b'D' => b'H',
        b'H' => b'D',
        _ => return base,
    };
    // Only letters have the case bit: `!` and the like would become letters otherwise.
    if base.is_ascii_alphabetic() { other | (base & 0x20) } else { base }
}

const COMPLEMENT: [u8; 256] = {
    let mut table = [0; 256];
    let mut i = 0;
    while i < 256 {
        #[expect(clippy::cast_possible_truncation, reason = "counts to 255")]
        let base = i as u8;
        table[i] = complement(base);
        i += 1;
    }
    table
};

/// Writes one window: takes runs of bases in the order of the file.
pub(crate) struct Writer<'w> {
    encoder: &'w Encoder,
    out: &'w mut [u8],
    /// Bases of the whole window, padding included.
    total: usize,
    /// Bases that were taken.
    done: usize,
    minus: bool,
}

impl<'w> Writer<'w> {
    /// A writer into `out`, which must have [`Encoder::output_bytes`] of `total` bytes.
    pub(crate) fn new(
        encoder: &'w Encoder,
        out: &'w mut [u8],
        total: usize,
        minus: bool,
    ) -> Result<Self> {
        if out.len() != encoder.output_bytes(total) {
            return Err(Error::internal("output has another size than the window"));
        }
        if encoder.layout == Layout::TwoBit {
            out.fill(0);
        }
        Ok(Self { encoder, out, total, done: 0, minus })
    }

    /// Takes a run of bases; `false` if it holds a byte that is no base: white space or `>`.
    #[must_use]
    pub(crate) fn push(&mut self, run: &[u8]) -> bool {
        let simd = self.encoder.simd;
        if !self.minus {
            let at = self.done;
            self.done += run.len();
            if matches!(self.encoder.shortcut, Shortcut::Identity)
                && let Some(out) = self.out.get_mut(at..at + run.len())
            {
                return simd.copy_checked(run, out);
            }
            let clean = simd.is_clean(run);
            self.encoder.encode(run, self.out, at, self.total);
            return clean;
        }
        let clean = simd.is_clean(run);
        let mut stage = [0; STAGE_BASES];
        for part in run.chunks(STAGE_BASES) {
            let staged = stage.get_mut(..part.len()).unwrap_or_default();
            for (to, from) in staged.iter_mut().zip(part.iter().rev()) {
                *to = COMPLEMENT.get(usize::from(*from)).copied().unwrap_or(*from);
            }
            self.done += part.len();
            let at = self.total.saturating_sub(self.done);
            self.encoder.encode(staged, self.out, at, self.total);
        }
        clean
    }

    /// Takes whole lines, of `line` bases and `width` bytes each: `None` if that has no faster way
    /// than taking them one by one, `false` if there is a byte that should not be there.
    #[must_use]
    pub(crate) fn push_lines(&mut self, text: &[u8], line: usize, width: usize) -> Option<bool> {
        if self.minus || line == 0 {
            return None;
        }
        let Encoder { layout, width: element, ref table, ref shortcut, simd } = *self.encoder;
        let bases = text.len() / width * line;
        match (layout, shortcut) {
            (Layout::Rows, Shortcut::Identity) => {
                let out = self.out.get_mut(self.done..self.done + bases)?;
                self.done += bases;
                Some(simd.copy_lines(text, out, line, width))
            }
            // The bulk of what is written for training.
            (Layout::Rows, Shortcut::None) if element == ONE_HOT_BYTES => {
                let begin = self.done * element;
                let out = self.out.get_mut(begin..begin + bases * element)?;
                self.done += bases;
                Some(kernels::lines::<ONE_HOT_BYTES>(simd, table, text, out, (line, width)))
            }
            _ => None,
        }
    }

    /// Takes `n` bases outside of the contig, which are `pad` on either strand.
    pub(crate) fn pad(&mut self, n: usize, pad: u8) {
        let stage = [pad; STAGE_BASES];
        let mut left = n;
        while left > 0 {
            let count = left.min(STAGE_BASES);
            let part = stage.get(..count).unwrap_or_default();
            left -= count;
            let at = if self.minus { self.total - self.done - count } else { self.done };
            self.done += count;
            self.encoder.encode(part, self.out, at, self.total);
        }
    }
}

#[cfg(test)]
mod tests;
