//! Checksums of samples in a stream that other programs pass over (`agc.md` §13).

use crate::archive::{Archive, ContigView};
use crate::vint::{Reader, write_vint};
use seqmill_base::{Error, FormatKind, Result};
use std::ops::Range;
use xxhash_rust::xxh3::Xxh3;

/// Name of the stream.
pub(crate) const STREAM: &str = "seqmill-digests";
/// Bytes of a digest.
const DIGEST_BYTES: usize = 8;

/// A digest and the samples it is of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Digest {
    pub(crate) samples: Range<usize>,
    pub(crate) value: u64,
}

impl Digest {
    /// Whether a sum of its samples is what it says.
    pub(crate) fn compare(&self, archive: &Archive, sum: &Summer) -> Result<()> {
        if sum.value() == self.value {
            return Ok(());
        }
        let name = |i: usize| {
            let name = archive.sample_name(i).unwrap_or_default();
            format!("{:?}", String::from_utf8_lossy(name))
        };
        let mut which = name(self.samples.start);
        if self.samples.len() > 1 {
            which = format!("{which} to {}", name(self.samples.end - 1));
        }
        let what = format!("sample {which}: the checksum of its sequence is wrong");
        Err(Error::format(FormatKind::Checksum, what).at_path(archive.path()))
    }
}

/// Sums up samples: header and letters of every contig.
#[derive(Clone, Default)]
pub(crate) struct Summer {
    inner: Xxh3,
}

impl Summer {
    pub(crate) fn header(&mut self, header: &[u8]) {
        self.inner.update(b">");
        self.inner.update(header);
        self.inner.update(b"\n");
    }

    pub(crate) fn letters(&mut self, letters: &[u8]) {
        self.inner.update(letters);
    }

    pub(crate) fn end_contig(&mut self) {
        self.inner.update(b"\n");
    }

    pub(crate) fn value(&self) -> u64 {
        self.inner.digest()
    }

    /// Sums up a contig of an archive; `buffer` bounds what is decoded at a time.
    pub(crate) fn contig(
        &mut self,
        archive: &Archive,
        contig: ContigView<'_>,
        buffer: &mut [u8],
    ) -> Result<()> {
        self.header(contig.header());
        let (mut at, length) = (0, contig.length());
        while at < length {
            let size = usize::try_from(length - at).unwrap_or(usize::MAX).min(buffer.len());
            let letters = buffer.get_mut(..size).unwrap_or_default();
            archive.read(contig, at, letters)?;
            self.letters(letters);
            at += size as u64;
        }
        self.end_contig();
        Ok(())
    }
}

/// The data of a part: digests of `samples` consecutive samples, or one of all of them.
pub(crate) fn write_part(first: u32, samples: u32, values: &[u64]) -> Vec<u8> {
    let mut out = Vec::with_capacity(15 + DIGEST_BYTES * values.len());
    write_vint(first, &mut out);
    write_vint(samples, &mut out);
    write_vint(u32::try_from(values.len()).unwrap_or(0), &mut out);
    for value in values {
        out.extend(value.to_le_bytes());
    }
    out
}

/// Reads a part.
pub(crate) fn read_part(bytes: &[u8], into: &mut Vec<Digest>) -> Result<()> {
    let mut reader = Reader::new(bytes, "checksums of samples");
    let (first, samples) = (reader.vint()? as usize, reader.vint()? as usize);
    let count = reader.count(DIGEST_BYTES)?;
    if reader.rest().len() != count * DIGEST_BYTES || (count != samples && count != 1) {
        return Err(reader.wrong("the numbers do not match"));
    }
    let (values, _) = reader.rest().as_chunks::<DIGEST_BYTES>();
    for (i, value) in values.iter().enumerate() {
        let value = u64::from_le_bytes(*value);
        let samples =
            if count == samples { first + i..first + i + 1 } else { first..first + samples };
        into.push(Digest { samples, value });
    }
    Ok(())
}

impl Archive {
    /// The digests there are, in the order of the samples; none of samples the archive lacks.
    pub(crate) fn digests(&self) -> Result<Vec<Digest>> {
        let mut digests = Vec::new();
        let Some(stream) = self.container().find(STREAM) else { return Ok(digests) };
        for part in self.container().parts(stream) {
            let data = self.container().read(*part, self.memory().item())?;
            read_part(data.bytes(), &mut digests).map_err(|e| e.at_offset(part.offset))?;
        }
        let mut at = 0;
        for digest in &digests {
            if digest.samples.start < at || digest.samples.end > self.sample_count() {
                let what = "checksums are of samples that the archive has not";
                return Err(Error::format(FormatKind::Other, what).at_path(self.path()));
            }
            at = digest.samples.end;
        }
        Ok(digests)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_make_the_round_trip() {
        let mut digests = Vec::new();
        read_part(&write_part(3, 2, &[7, u64::MAX]), &mut digests).unwrap();
        read_part(&write_part(5, 300, &[9]), &mut digests).unwrap();
        assert_eq!(digests[1], Digest { samples: 4..5, value: u64::MAX });
        assert_eq!(digests[2], Digest { samples: 5..305, value: 9 });
        assert!(read_part(&write_part(3, 3, &[7, 8]), &mut digests).is_err());
        assert!(read_part(&write_part(3, 2, &[7, 8])[..10], &mut digests).is_err());
    }
}
