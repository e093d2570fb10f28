//! The inner loops. Each has one body; where the processor can do more than the baseline it is
//! compiled once more with wider instructions, and the narrow build is the twin of the tests.

/// What the processor can do.
#[derive(Debug, Clone, Copy)]
pub(super) struct Simd {
    #[cfg(target_arch = "x86_64")]
    avx2: bool,
}

/// One body as a plain function and as one with AVX2.
macro_rules! twice {
    ($name:ident($($argument:ident: $type:ty),*) $(-> $result:ty)? $body:block) => {
        pub(super) fn $name(self, $($argument: $type),*) $(-> $result)? {
            #[inline(always)]
            fn body($($argument: $type),*) $(-> $result)? $body
            #[cfg(target_arch = "x86_64")]
            {
                #[target_feature(enable = "avx2")]
                fn wide($($argument: $type),*) $(-> $result)? {
                    body($($argument),*)
                }
                if self.avx2 {
                    // SAFETY: the processor was asked for AVX2.
                    return unsafe { wide($($argument),*) };
                }
            }
            body($($argument),*)
        }
    };
}

/// Bytes that one step of a loop takes: a register of AVX2.
const LANES: usize = 32;

/// No sequence: control characters, space and `>`, which begins a header.
#[inline(always)]
#[expect(clippy::inline_always, reason = "part of two loops")]
fn is_foreign(byte: u8) -> u8 {
    u8::from(byte <= b' ') | u8::from(byte == b'>')
}

impl Simd {
    pub(super) fn detect() -> Self {
        Self {
            #[cfg(target_arch = "x86_64")]
            avx2: std::arch::is_x86_feature_detected!("avx2"),
        }
    }

    #[cfg(test)]
    pub(super) fn none() -> Self {
        Self {
            #[cfg(target_arch = "x86_64")]
            avx2: false,
        }
    }

    twice! { is_clean(run: &[u8]) -> bool {
        let mut foreign = 0;
        let (chunks, rest) = run.as_chunks::<LANES>();
        let mut lanes = [0_u8; LANES];
        for chunk in chunks {
            for (lane, &byte) in lanes.iter_mut().zip(chunk) {
                *lane |= is_foreign(byte);
            }
        }
        for lane in lanes {
            foreign |= lane;
        }
        // The last bytes once more, together with those before them: no short loop.
        if let Some(last) = run.last_chunk::<LANES>() {
            let mut lanes = [0_u8; LANES];
            for (lane, &byte) in lanes.iter_mut().zip(last) {
                *lane = is_foreign(byte);
            }
            for lane in lanes {
                foreign |= lane;
            }
        } else {
            for &byte in rest {
                foreign |= is_foreign(byte);
            }
        }
        foreign == 0
    } }

    twice! { copy_checked(run: &[u8], out: &mut [u8]) -> bool {
        let mut lanes = [0_u8; LANES];
        let mut foreign = 0;
        let (chunks, rest) = run.as_chunks::<LANES>();
        for (chunk, to) in chunks.iter().zip(out.as_chunks_mut::<LANES>().0) {
            *to = *chunk;
            for (lane, &byte) in lanes.iter_mut().zip(chunk) {
                *lane |= is_foreign(byte);
            }
        }
        if let (Some(last), Some(to)) = (run.last_chunk::<LANES>(), out.last_chunk_mut::<LANES>()) {
            *to = *last;
            for (lane, &byte) in lanes.iter_mut().zip(last) {
                *lane |= is_foreign(byte);
            }
        } else {
            for (&byte, to) in rest.iter().zip(out) {
                *to = byte;
                foreign |= is_foreign(byte);
            }
        }
        for lane in lanes {
            foreign |= lane;
        }
        foreign == 0
    } }

    twice! { copy_lines(text: &[u8], out: &mut [u8], line: usize, width: usize) -> bool {
        let mut lanes = [0_u8; LANES];
        let mut foreign = 0;
        for (row, to) in text.chunks_exact(width).zip(out.chunks_exact_mut(line)) {
            let (Some(run), Some(gap)) = (row.get(..line), row.get(line..)) else { return false };
            foreign |= u8::from(gap.last() != Some(&b'\n'));
            for &byte in gap {
                foreign |= u8::from(byte > b' ');
            }
            let (chunks, rest) = run.as_chunks::<LANES>();
            for (chunk, to) in chunks.iter().zip(to.as_chunks_mut::<LANES>().0) {
                *to = *chunk;
                for (lane, &byte) in lanes.iter_mut().zip(chunk) {
                    *lane |= is_foreign(byte);
                }
            }
            if rest.is_empty() {
                continue;
            }
            // The last bytes once more, together with those before them: no short loop.
            if let (Some(last), Some(to)) =
                (run.last_chunk::<LANES>(), to.last_chunk_mut::<LANES>())
            {
                *to = *last;
                for (lane, &byte) in lanes.iter_mut().zip(last) {
                    *lane |= is_foreign(byte);
                }
            } else {
                for (&byte, to) in rest.iter().zip(to) {
                    *to = byte;
                    foreign |= is_foreign(byte);
                }
            }
        }
        for lane in lanes {
            foreign |= lane;
        }
        foreign == 0
    } }

    twice! { upper(run: &[u8], out: &mut [u8]) {
        for (to, &byte) in out.iter_mut().zip(run) {
            *to = byte.to_ascii_uppercase();
        }
    } }

    twice! { lower(run: &[u8], out: &mut [u8]) {
        for (to, &byte) in out.iter_mut().zip(run) {
            *to = byte.to_ascii_lowercase();
        }
    } }

    twice! { mask_lower(run: &[u8], out: &mut [u8]) {
        for (to, &byte) in out.iter_mut().zip(run) {
            *to = if byte.is_ascii_lowercase() { b'N' } else { byte };
        }
    } }

    twice! { is_lower(run: &[u8], out: &mut [u8]) {
        for (to, &byte) in out.iter_mut().zip(run) {
            *to = u8::from(byte.is_ascii_lowercase());
        }
    } }

    twice! { nucleotides(classes: &Nucleotides, run: &[u8], out: &mut [u8]) {
        let Nucleotides { bases: [a, c, g, t], other } = *classes;
        for (to, &byte) in out.iter_mut().zip(run) {
            let letter = byte & !0x20;
            let mut code = other;
            code = if letter == b'A' { a } else { code };
            code = if letter == b'C' { c } else { code };
            code = if letter == b'G' { g } else { code };
            code = if letter == b'T' || letter == b'U' { t } else { code };
            *to = code;
        }
    } }
}

/// A table that only tells A, C, G and T (or U) in either case from all other bytes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Nucleotides {
    bases: [u8; 4],
    other: u8,
}

impl Nucleotides {
    /// The table as one of this kind, if it is.
    pub(super) fn new(table: &[u8]) -> Option<Self> {
        let entry = |byte: u8| table.get(usize::from(byte)).copied();
        let bases = [entry(b'A')?, entry(b'C')?, entry(b'G')?, entry(b'T')?];
        let other = entry(b'N')?;
        let expected = |byte: u8| match byte & !0x20 {
            b'A' => bases.first().copied(),
            b'C' => bases.get(1).copied(),
            b'G' => bases.get(2).copied(),
            b'T' | b'U' => bases.get(3).copied(),
            _ => Some(other),
        };
        (0..=255).all(|byte| entry(byte) == expected(byte)).then_some(Self { bases, other })
    }
}

/// Entries of `WIDTH` bytes, one after the other.
pub(super) fn rows<const WIDTH: usize>(table: &[u8], run: &[u8], out: &mut [u8]) {
    let Some(entries) = table.as_chunks::<WIDTH>().0.first_chunk::<256>() else { return };
    for (to, &byte) in out.as_chunks_mut::<WIDTH>().0.iter_mut().zip(run) {
        *to = entries[usize::from(byte)];
    }
}

/// The same of whole lines, of so many bases and bytes; `false` if there is a byte that should not be
/// there.
pub(super) fn lines<const WIDTH: usize>(
    simd: Simd,
    table: &[u8],
    text: &[u8],
    out: &mut [u8],
    (line, width): (usize, usize),
) -> bool {
    let Some(entries) = table.as_chunks::<WIDTH>().0.first_chunk::<256>() else { return false };
    let mut is_clean = true;
    for (row, to) in text.chunks_exact(width).zip(out.chunks_exact_mut(line * WIDTH)) {
        let (Some(run), Some(gap)) = (row.get(..line), row.get(line..)) else { return false };
        is_clean &= gap.last() == Some(&b'\n') && gap.iter().all(|&byte| byte <= b' ');
        is_clean &= simd.is_clean(run);
        for (to, &byte) in to.as_chunks_mut::<WIDTH>().0.iter_mut().zip(run) {
            *to = entries[usize::from(byte)];
        }
    }
    is_clean
}

/// One of the four elements of `WIDTH` bytes of each entry.
pub(super) fn plane<const WIDTH: usize>(table: &[u8], run: &[u8], out: &mut [u8], channel: usize) {
    let mut column = [[0; WIDTH]; 256];
    for (to, entry) in column.iter_mut().zip(table.as_chunks::<WIDTH>().0.chunks_exact(4)) {
        *to = entry.get(channel).copied().unwrap_or([0; WIDTH]);
    }
    for (to, &byte) in out.as_chunks_mut::<WIDTH>().0.iter_mut().zip(run) {
        *to = column[usize::from(byte)];
    }
}
