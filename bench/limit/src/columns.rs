//! Records to columns: the plain loops, with loads and stores wider than the values.

use crate::Result;
use crate::blocks::SLACK;
use crate::tags::Tags;

const ALPHABET: [u8; 16] = *b"=ACMGRSVTWYHKDBN";
const OPERATIONS: [u8; 16] = *b"MIDNSHP=X???????";
/// Operations that take from the reference: M, D, N, = and X.
const CONSUMES: u32 = 0b1_1000_1101;
pub const FIXED_BYTES: usize = 36;

/// Text of varying length: bytes and 32-bit ends.
#[derive(Default)]
pub struct Text {
    pub bytes: Vec<u8>,
    pub ends: Vec<u32>,
}

impl Text {
    /// Room for what `data_bytes` of records can become, `times` as long at most.
    pub fn reserve(&mut self, data_bytes: usize, times: usize) {
        self.bytes.reserve(times * data_bytes + SLACK);
        self.ends.reserve(data_bytes / FIXED_BYTES + 1);
    }

    #[inline(always)]
    pub fn end_entry(&mut self) {
        self.ends.push(self.bytes.len() as u32);
    }

    pub fn size(&self) -> usize {
        self.bytes.len() + 4 * self.ends.len()
    }

    pub fn clear(&mut self) {
        self.bytes.clear();
        self.ends.clear();
    }

    /// Appends `from`, in steps of 32 bytes.
    ///
    /// # Safety
    /// There is room for `from` and [`SLACK`] more, and as much may be read behind `from`.
    #[inline(always)]
    pub unsafe fn append(&mut self, from: &[u8]) {
        // SAFETY: as the caller promises.
        unsafe {
            let to = self.bytes.as_mut_ptr().add(self.bytes.len());
            let mut at = 0;
            while at < from.len() {
                let part: [u8; 32] = from.as_ptr().add(at).cast::<[u8; 32]>().read();
                to.add(at).cast::<[u8; 32]>().write(part);
                at += 32;
            }
            self.bytes.set_len(self.bytes.len() + from.len());
        }
    }
}

/// All columns of the rows that are not written yet.
#[derive(Default)]
pub struct Columns {
    pub records: u64,
    pub flag: Vec<u16>,
    pub mapq: Vec<u8>,
    pub reference: Vec<i32>,
    pub pos: Vec<i32>,
    pub mate_reference: Vec<i32>,
    pub mate_pos: Vec<i32>,
    pub template_length: Vec<i32>,
    pub end: Vec<i32>,
    pub name: Text,
    pub cigar: Text,
    pub bases: Text,
    pub quality: Text,
    pub tags: Tags,
}

/// Bytes of the BAM header, if all of it is there.
pub fn header_bytes(data: &[u8]) -> Result<Option<usize>> {
    let word = |at: usize| -> Option<usize> {
        Some(u32::from_le_bytes(*data.get(at..)?.first_chunk::<4>()?) as usize)
    };
    let Some(magic) = data.get(..4) else { return Ok(None) };
    if magic != b"BAM\x01" {
        return Err("not a BAM file".into());
    }
    let Some(text) = word(4) else { return Ok(None) };
    let Some(references) = word(8 + text) else { return Ok(None) };
    let mut at = 12 + text;
    for _ in 0..references {
        let Some(name) = word(at) else { return Ok(None) };
        at += 8 + name;
    }
    Ok((at <= data.len()).then_some(at))
}

impl Columns {
    /// Bytes of all columns.
    pub fn bytes(&self) -> usize {
        let texts = [&self.name, &self.cigar, &self.bases, &self.quality];
        let numbers = (6 * 4 + 2 + 1) * self.pos.len();
        texts.iter().map(|t| t.size()).sum::<usize>() + numbers + self.tags.size()
    }

    /// Decodes the whole records at the beginning of `data` and returns the bytes they took.
    pub fn decode(&mut self, data: &[u8]) -> Result<usize> {
        let rows = data.len() / FIXED_BYTES + 1;
        self.flag.reserve(rows);
        self.mapq.reserve(rows);
        for column in [
            &mut self.reference,
            &mut self.pos,
            &mut self.mate_reference,
            &mut self.mate_pos,
            &mut self.template_length,
            &mut self.end,
        ] {
            column.reserve(rows);
        }
        // An operation of four bytes has ten digits at most; a byte holds two bases.
        self.cigar.reserve(data.len(), 3);
        self.bases.reserve(data.len(), 2);
        for text in [&mut self.name, &mut self.quality] {
            text.reserve(data.len(), 1);
        }
        self.tags.reserve(data.len());
        #[cfg(target_arch = "x86_64")]
        if is_x86_feature_detected!("avx2") {
            // SAFETY: the machine has the instructions.
            return unsafe { self.decode_avx2(data) };
        }
        self.decode_records(data, scalar_bases)
    }

    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx2")]
    fn decode_avx2(&mut self, data: &[u8]) -> Result<usize> {
        // SAFETY: called where the machine has the instructions.
        self.decode_records(data, |packed, to| unsafe { avx2_bases(packed, to) })
    }

    #[inline(always)]
    fn decode_records(&mut self, data: &[u8], unpack: impl Fn(&[u8], *mut u8)) -> Result<usize> {
        let mut at = 0;
        while let Some(fixed) = data.get(at..).and_then(|d| d.first_chunk::<FIXED_BYTES>()) {
            let word = |i: usize| i32::from_le_bytes([0, 1, 2, 3].map(|k| fixed[i + k]));
            let half = |i: usize| u16::from_le_bytes([fixed[i], fixed[i + 1]]);
            let Some(record) = data[at + 4..].get(..word(0) as u32 as usize) else { break };
            let (name_bytes, bases) = (usize::from(fixed[12]), word(20) as u32 as usize);
            let operations = usize::from(half(16));
            let packed = bases.div_ceil(2);
            if 32 + name_bytes + 4 * operations + packed + bases > record.len() || name_bytes == 0 {
                return Err("a record is damaged".into());
            }
            at += 4 + record.len();
            let (name, rest) = record[32..].split_at(name_bytes);
            let (cigar, rest) = rest.split_at(4 * operations);
            let (seq, rest) = rest.split_at(packed);
            let (qual, tags) = rest.split_at(bases);
            self.reference.push(word(4));
            self.pos.push(word(8) + 1);
            self.mapq.push(fixed[13]);
            self.flag.push(half(18));
            self.mate_reference.push(word(24));
            self.mate_pos.push(word(28) + 1);
            self.template_length.push(word(32));
            // SAFETY: `decode` has made room for all of `data`, and `data` has slack behind it.
            unsafe { self.name.append(&name[..name_bytes - 1]) };
            self.name.end_entry();
            let span = self.cigar_text(cigar);
            self.cigar.end_entry();
            self.end.push(word(8) + span.max(1));
            // SAFETY: as above; the loops write less than the slack too much.
            unsafe {
                let to = &mut self.bases.bytes;
                unpack(seq, to.as_mut_ptr().add(to.len()));
                to.set_len(to.len() + bases);
                self.bases.end_entry();
                if qual.first().is_some_and(|q| *q != 0xff) {
                    let to = &mut self.quality.bytes;
                    add_33(qual, to.as_mut_ptr().add(to.len()));
                    to.set_len(to.len() + bases);
                }
                self.quality.end_entry();
            }
            let row = self.pos.len() - 1;
            self.tags.take(tags, row)?;
            self.records += 1;
        }
        self.tags.pad(self.pos.len());
        Ok(at)
    }

    /// Appends a CIGAR as text and returns the bases of the reference it covers.
    #[inline(always)]
    fn cigar_text(&mut self, cigar: &[u8]) -> i32 {
        let out = &mut self.cigar.bytes;
        let mut span = 0;
        for op in cigar.chunks_exact(4) {
            let op = u32::from_le_bytes([op[0], op[1], op[2], op[3]]);
            let (mut length, code) = (op >> 4, op & 15);
            span += (length * (CONSUMES >> code & 1)) as i32;
            let digits = length.checked_ilog10().unwrap_or(0) as usize + 1;
            let begin = out.len();
            // SAFETY: `decode` has reserved three bytes for each byte of CIGAR.
            unsafe {
                let to = out.as_mut_ptr().add(begin);
                for at in (0..digits).rev() {
                    to.add(at).write(b'0' + (length % 10) as u8);
                    length /= 10;
                }
                to.add(digits).write(OPERATIONS[code as usize]);
                out.set_len(begin + digits + 1);
            }
        }
        span
    }

    /// Forgets the rows.
    pub fn clear(&mut self) {
        self.flag.clear();
        self.mapq.clear();
        for column in [
            &mut self.reference,
            &mut self.pos,
            &mut self.mate_reference,
            &mut self.mate_pos,
            &mut self.template_length,
            &mut self.end,
        ] {
            column.clear();
        }
        for text in [&mut self.name, &mut self.cigar, &mut self.bases, &mut self.quality] {
            text.clear();
        }
        self.tags.clear();
    }
}

/// Writes qualities as text.
///
/// # Safety
/// There is room for `qual` and [`SLACK`] more at `to`, and as much may be read behind `qual`.
#[inline(always)]
unsafe fn add_33(qual: &[u8], to: *mut u8) {
    let mut at = 0;
    while at < qual.len() {
        // SAFETY: as the caller promises.
        unsafe {
            let part: [u8; 32] = qual.as_ptr().add(at).cast::<[u8; 32]>().read();
            to.add(at).cast::<[u8; 32]>().write(part.map(|q| q.wrapping_add(33)));
        }
        at += 32;
    }
}

/// Writes two bases for each byte of `packed`; there is room for them at `to`.
fn scalar_bases(packed: &[u8], to: *mut u8) {
    for (i, byte) in packed.iter().enumerate() {
        // SAFETY: as above.
        unsafe {
            to.add(2 * i).write(ALPHABET[usize::from(byte >> 4)]);
            to.add(2 * i + 1).write(ALPHABET[usize::from(byte & 15)]);
        }
    }
}

/// The same, 64 bases at a time.
///
/// # Safety
/// There is room for the bases and [`SLACK`] more at `to`, and as much may be read behind
/// `packed`.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
#[inline]
unsafe fn avx2_bases(packed: &[u8], to: *mut u8) {
    use std::arch::x86_64::{
        __m256i, _mm_loadu_si128, _mm256_and_si256, _mm256_broadcastsi128_si256,
        _mm256_loadu_si256, _mm256_permute2x128_si256, _mm256_set1_epi8, _mm256_shuffle_epi8,
        _mm256_srli_epi16, _mm256_storeu_si256, _mm256_unpackhi_epi8, _mm256_unpacklo_epi8,
    };
    let low = _mm256_set1_epi8(15);
    let mut at = 0;
    while at < packed.len() {
        // SAFETY: as the caller promises.
        unsafe {
            let table = _mm256_broadcastsi128_si256(_mm_loadu_si128(ALPHABET.as_ptr().cast()));
            let bytes = _mm256_loadu_si256(packed.as_ptr().add(at).cast());
            let second = _mm256_shuffle_epi8(table, _mm256_and_si256(bytes, low));
            let first = _mm256_and_si256(_mm256_srli_epi16::<4>(bytes), low);
            let first = _mm256_shuffle_epi8(table, first);
            // Interleaving works within halves of 128 bits: put the halves in order.
            let even = _mm256_unpacklo_epi8(first, second);
            let odd = _mm256_unpackhi_epi8(first, second);
            let to: *mut __m256i = to.add(2 * at).cast();
            _mm256_storeu_si256(to, _mm256_permute2x128_si256::<0x20>(even, odd));
            _mm256_storeu_si256(to.add(1), _mm256_permute2x128_si256::<0x31>(even, odd));
        }
        at += 32;
    }
}
