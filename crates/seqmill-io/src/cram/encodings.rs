//! Encodings of the data series of a container, as far as allocations and mates depend on them
//! (`CRAMv3 §8.4, §13`).

use super::container::RECORD_BYTES;
use super::number::Bytes;

/// Bytes of a noodles feature, generously.
const FEATURE_BYTES: u64 = 64;

/// How the values of a data series are found, as far as it matters here.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Encoding {
    External(i32),
    /// The largest and the smallest value of a Huffman alphabet or a number of fixed bits.
    Bounded(i64, i64),
    /// Length and values.
    Array(Box<Encoding>, Box<Encoding>),
    Stop(i32),
    Other,
}

/// The encodings of a container.
#[derive(Debug)]
pub(super) struct Encodings {
    series: Vec<([u8; 2], Encoding)>,
    tags: Vec<Encoding>,
}

/// Whether the reference is needed, whether positions are differences, and the encodings.
pub(super) fn parse_compression_header(data: &[u8]) -> Option<(bool, bool, Encodings)> {
    let mut rest = Bytes(data);
    let map = |rest: &mut Bytes<'_>| {
        let length = rest.length()?;
        let mut map = Bytes(rest.take(length)?).0.to_vec();
        let mut inner = Bytes(&map);
        let count = inner.length()?;
        let used = map.len() - inner.0.len();
        map.drain(..used);
        Some((count, map))
    };
    let (count, preservation) = map(&mut rest)?;
    let (mut external_reference, mut deltas) = (true, true);
    let mut fields = Bytes(&preservation);
    for _ in 0..count {
        match fields.take(2)? {
            b"RR" => external_reference = fields.u8()? != 0,
            b"AP" => deltas = fields.u8()? != 0,
            b"RN" | b"QO" => drop(fields.u8()?),
            b"SM" => drop(fields.take(5)?),
            b"TD" => {
                let length = fields.length()?;
                fields.take(length)?;
            }
            _ => return None,
        }
    }
    let (count, series_map) = map(&mut rest)?;
    let mut fields = Bytes(&series_map);
    let mut series = Vec::new();
    for _ in 0..count {
        let name = *fields.take(2)?.first_chunk::<2>()?;
        series.push((name, parse_encoding(&mut fields)?));
    }
    let (count, tag_map) = map(&mut rest)?;
    let mut fields = Bytes(&tag_map);
    let mut tags = Vec::new();
    for _ in 0..count {
        fields.itf8()?;
        tags.push(parse_encoding(&mut fields)?);
    }
    Some((external_reference, deltas, Encodings { series, tags }))
}

/// Encodings by their numbers (`CRAMv3 §13`).
fn parse_encoding(rest: &mut Bytes<'_>) -> Option<Encoding> {
    let kind = rest.itf8()?;
    let length = rest.length()?;
    let mut parameters = Bytes(rest.take(length)?);
    Some(match kind {
        1 => Encoding::External(parameters.itf8()?),
        3 => {
            let count = parameters.length()?;
            let (mut highest, mut lowest) = (i64::MIN, i64::MAX);
            for _ in 0..count {
                let value = i64::from(parameters.itf8()?);
                highest = highest.max(value);
                lowest = lowest.min(value);
            }
            Encoding::Bounded(highest, lowest)
        }
        4 => {
            let length = parse_encoding(&mut parameters)?;
            Encoding::Array(Box::new(length), Box::new(parse_encoding(&mut parameters)?))
        }
        5 => {
            parameters.u8()?;
            Encoding::Stop(parameters.itf8()?)
        }
        6 => {
            let offset = i64::from(parameters.itf8()?);
            let bits = u32::try_from(parameters.itf8()?).ok().filter(|bits| *bits <= 32)?;
            Encoding::Bounded((1_i64 << bits) - 1 - offset, -offset)
        }
        _ => Encoding::Other,
    })
}

/// The decoded external blocks of a slice.
pub(super) type External<'e> = [(i32, std::borrow::Cow<'e, [u8]>)];

impl Encodings {
    fn get(&self, name: [u8; 2]) -> Option<&Encoding> {
        self.series.iter().find(|(n, _)| *n == name).map(|(_, e)| e)
    }

    /// How many encodings read from a block.
    fn users(&self, id: i32) -> usize {
        fn count(encoding: &Encoding, id: i32) -> usize {
            match encoding {
                Encoding::External(own) | Encoding::Stop(own) => usize::from(*own == id),
                // An array whose length and values share a block uses it once, mixed.
                Encoding::Array(length, value) => count(length, id) + count(value, id),
                Encoding::Bounded(..) | Encoding::Other => 0,
            }
        }
        let series = self.series.iter().map(|(_, e)| e);
        series.chain(&self.tags).map(|e| count(e, id)).sum()
    }

    /// Largest value and sum of a series of numbers over `records` records; `None` if its
    /// encoding does not tell.
    fn extent(
        &self,
        encoding: &Encoding,
        external: &External<'_>,
        records: u64,
    ) -> Option<(u64, u64)> {
        match encoding {
            Encoding::Bounded(highest, _) => {
                let highest = u64::try_from(*highest).unwrap_or(0);
                Some((highest, highest.saturating_mul(records)))
            }
            Encoding::External(id) if self.users(*id) == 1 => {
                let Some((_, data)) = external.iter().find(|(own, _)| own == id) else {
                    return Some((0, 0));
                };
                let (mut highest, mut sum) = (0, 0_u64);
                let mut rest = Bytes(data);
                while !rest.0.is_empty() {
                    let value = u64::try_from(rest.itf8()?).unwrap_or(0);
                    highest = highest.max(value);
                    sum += value;
                }
                Some((highest, sum))
            }
            _ => None,
        }
    }

    /// Bytes that records and their features take at most when they are decoded, and the sum of
    /// the read lengths; `None` if the encodings do not tell.
    pub(super) fn slice_bytes(&self, records: u64, external: &External<'_>) -> Option<(u64, u64)> {
        let none = Encoding::Bounded(0, 0);
        let lengths = self.get(*b"RL").unwrap_or(&none);
        let (_, bases) = self.extent(lengths, external, records)?;
        let features = self.get(*b"FN").unwrap_or(&none);
        let (most, sum) = self.extent(features, external, records)?;
        // An alphabet only bounds each list, not all of which are the longest; but each feature
        // has a code, usually a byte in a block.
        let codes = match self.get(*b"FC") {
            Some(Encoding::External(id)) => {
                external.iter().find(|(own, _)| own == id).map_or(0, |(_, data)| data.len() as u64)
            }
            _ => u64::MAX,
        };
        let features = sum.min(codes.saturating_add(most));
        let mut arrays = 0_u64;
        for (_, encoding) in &self.series {
            if let Encoding::Array(length, value) = encoding
                && !matches!(**value, Encoding::External(_))
            {
                arrays = arrays.saturating_add(self.extent(length, external, records)?.1);
            }
        }
        for encoding in &self.tags {
            if let Encoding::Array(length, value) = encoding
                && !matches!(**value, Encoding::External(_))
            {
                arrays = arrays.saturating_add(self.extent(length, external, records)?.1);
            }
        }
        let bytes = (RECORD_BYTES * records)
            .saturating_add(features.saturating_mul(FEATURE_BYTES))
            .saturating_add(arrays)
            .saturating_add(bases);
        Some((bytes, bases))
    }

    /// Whether the values of a series of numbers can be read without decoding records.
    pub(super) fn are_told(&self, name: [u8; 2]) -> bool {
        match self.get(name) {
            Some(Encoding::External(id)) => self.users(*id) == 1,
            Some(Encoding::Bounded(highest, lowest)) => highest == lowest,
            Some(_) => false,
            None => true,
        }
    }

    /// The first `count` values of such a series; fewer are `None`.
    pub(super) fn values(
        &self,
        name: [u8; 2],
        external: &External<'_>,
        count: usize,
    ) -> Option<Vec<i32>> {
        if !self.are_told(name) {
            return None;
        }
        match self.get(name)? {
            Encoding::External(id) => {
                let (_, data) = external.iter().find(|(own, _)| own == id)?;
                let mut rest = Bytes(data);
                // No more values than bytes, whatever the count claims.
                let mut values = Vec::with_capacity(count.min(data.len()));
                for _ in 0..count {
                    values.push(rest.itf8()?);
                }
                Some(values)
            }
            Encoding::Bounded(value, _) => Some(vec![i32::try_from(*value).ok()?; count]),
            _ => None,
        }
    }

    /// The CRAM flags (`CF`) of all records, if their encoding tells.
    pub(super) fn flags(&self, external: &External<'_>, records: usize) -> RecordFlags {
        RecordFlags(self.values(*b"CF", external, records))
    }
}

/// CRAM flags of records (`CRAMv3 §10.2`), which noodles does not show.
#[derive(Debug)]
pub(super) struct RecordFlags(Option<Vec<i32>>);

impl RecordFlags {
    const QUALITIES: i32 = 1;
    const DETACHED: i32 = 2;

    fn get(&self, number: usize) -> Option<i32> {
        self.0.as_ref()?.get(number).copied()
    }

    /// Whether a record may lack stored qualities.
    pub(super) fn may_lack_qualities(&self, number: usize) -> bool {
        self.get(number).is_none_or(|flags| flags & Self::QUALITIES == 0)
    }

    /// Whether the mate's fields were found by looking at the mate, not stored.
    pub(super) fn is_attached(&self, number: usize) -> bool {
        self.get(number).is_some_and(|flags| flags & Self::DETACHED == 0)
    }
}
