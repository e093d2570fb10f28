//! References of groups in memory: packed, with a table of their k-mers made on demand.

use super::kmers::murmur64;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// Distance of the positions in the table.
const STEP: usize = 4;
/// Slots looked at, at most.
const PROBES: usize = 64;
const EMPTY: u32 = u32::MAX;
const EMPTY_NARROW: u16 = u16::MAX;

/// The symbols of a reference at 2 bits each, or 4 if there are others than A, C, G and T.
#[derive(Debug)]
pub(crate) struct Reference {
    bytes: Box<[u8]>,
    length: usize,
    wide: bool,
    table: Mutex<Option<Arc<Table>>>,
}

/// Where k-mers of a reference are.
#[derive(Debug)]
pub(crate) struct Table {
    slots: Slots,
    mask: usize,
    step: usize,
}

/// Positions, counted in steps: of most references they are short numbers.
#[derive(Debug)]
enum Slots {
    Narrow(Vec<u16>),
    Wide(Vec<u32>),
}

impl Slots {
    fn bytes(&self) -> u64 {
        match self {
            Self::Narrow(slots) => 2 * slots.len() as u64,
            Self::Wide(slots) => 4 * slots.len() as u64,
        }
    }

    #[inline]
    fn get(&self, at: usize) -> Option<usize> {
        match self {
            Self::Narrow(slots) => {
                slots.get(at).filter(|&&s| s != EMPTY_NARROW).map(|&s| usize::from(s))
            }
            Self::Wide(slots) => slots.get(at).filter(|&&s| s != EMPTY).map(|&s| s as usize),
        }
    }

    fn set(&mut self, at: usize, value: usize) {
        match self {
            Self::Narrow(slots) => {
                if let Some(slot) = slots.get_mut(at) {
                    *slot = u16::try_from(value).unwrap_or(EMPTY_NARROW);
                }
            }
            Self::Wide(slots) => {
                if let Some(slot) = slots.get_mut(at) {
                    *slot = u32::try_from(value).unwrap_or(EMPTY);
                }
            }
        }
    }
}

/// How many bytes all tables may take together.
#[derive(Debug, Default)]
pub(crate) struct TableRoom {
    limit: u64,
    held: AtomicU64,
}

impl TableRoom {
    pub(crate) fn new(limit: u64) -> Self {
        Self { limit, held: AtomicU64::new(0) }
    }
}

impl Reference {
    pub(crate) fn new(codes: &[u8]) -> Self {
        let wide = codes.iter().any(|&c| c > 3);
        let bytes: Box<[u8]> = if wide {
            codes
                .chunks(2)
                .map(|c| c.iter().enumerate().fold(0, |b, (i, &c)| b | ((c & 15) << (4 * i))))
                .collect()
        } else {
            codes
                .chunks(4)
                .map(|c| c.iter().enumerate().fold(0, |b, (i, &c)| b | (c << (2 * i))))
                .collect()
        };
        Self { bytes, length: codes.len(), wide, table: Mutex::default() }
    }

    pub(crate) fn len(&self) -> usize {
        self.length
    }

    /// Bytes that a reference of these codes takes, at most.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes.len() as u64 + 160
    }

    /// Writes the codes into `out`.
    pub(crate) fn unpack(&self, out: &mut Vec<u8>) {
        out.clear();
        out.resize(self.length, 0);
        if self.wide {
            for (pair, &byte) in out.chunks_mut(2).zip(&self.bytes) {
                for (i, slot) in pair.iter_mut().enumerate() {
                    *slot = (byte >> (4 * i)) & 15;
                }
            }
            return;
        }
        let mut quads = out.chunks_exact_mut(4);
        for (quad, &byte) in quads.by_ref().zip(&self.bytes) {
            quad.copy_from_slice(&spread(byte));
        }
        if let Some(&byte) = self.bytes.last() {
            for (i, slot) in quads.into_remainder().iter_mut().enumerate() {
                *slot = (byte >> (2 * i)) & 3;
            }
        }
    }

    /// The table of k-mers; kept if there is room.
    pub(crate) fn table(
        &self,
        codes: &[u8],
        key: usize,
        step: usize,
        room: &TableRoom,
    ) -> Arc<Table> {
        let mut kept = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(table) = kept.as_ref() {
            return Arc::clone(table);
        }
        let table = Arc::new(Table::new(codes, key, step));
        let bytes = table.slots.bytes();
        if room.held.fetch_add(bytes, Ordering::Relaxed) + bytes <= room.limit {
            *kept = Some(Arc::clone(&table));
        } else {
            room.held.fetch_sub(bytes, Ordering::Relaxed);
        }
        table
    }
}

/// Four codes of a byte.
#[inline]
fn spread(byte: u8) -> [u8; 4] {
    let b = u32::from(byte);
    ((b & 3) | ((b & 0x0c) << 6) | ((b & 0x30) << 12) | ((b & 0xc0) << 18)).to_le_bytes()
}

/// Codes of `key` symbols as a number; `None` if one of them is above 3.
#[inline]
pub(crate) fn window_code(codes: &[u8]) -> Option<u64> {
    let (mut code, mut all) = (0_u64, 0_u8);
    for &c in codes {
        all |= c;
        code = (code << 2) | u64::from(c & 3);
    }
    (all < 4).then_some(code)
}

impl Table {
    fn new(codes: &[u8], key: usize, step: usize) -> Self {
        let count = codes.len() / step;
        let size = (count * 10 / 7).next_power_of_two().max(8);
        let mut slots = if count < usize::from(EMPTY_NARROW) {
            Slots::Narrow(vec![EMPTY_NARROW; size])
        } else {
            Slots::Wide(vec![EMPTY; size])
        };
        let mask = size - 1;
        let mut at = 0;
        while let Some(window) = codes.get(at..at + key) {
            if let Some(code) = window_code(window) {
                let mut slot = hash(code) & mask;
                for _ in 0..PROBES {
                    if slots.get(slot).is_none() {
                        slots.set(slot, at / step);
                        break;
                    }
                    slot = (slot + 1) & mask;
                }
            }
            at += step;
        }
        Self { slots, mask, step }
    }

    /// Positions that may begin with a k-mer.
    #[inline]
    pub(crate) fn positions(&self, code: u64) -> impl Iterator<Item = usize> {
        let first = hash(code) & self.mask;
        (0..PROBES)
            .map_while(move |i| self.slots.get((first + i) & self.mask))
            .map(|position| position * self.step)
    }
}

#[expect(clippy::cast_possible_truncation, reason = "only the low bits are used")]
fn hash(code: u64) -> usize {
    murmur64(code) as usize
}

/// Distance of positions in tables at the usual effort.
pub(crate) const USUAL_STEP: usize = STEP;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_come_back() {
        for largest in [4, 16] {
            for n in 1..70_u64 {
                let codes: Vec<u8> = (0..n).map(|i| (murmur64(i + n) % largest) as u8).collect();
                let reference = Reference::new(&codes);
                let mut back = Vec::new();
                reference.unpack(&mut back);
                assert_eq!(back, codes);
            }
        }
    }

    #[test]
    fn tables_find_what_they_hold() {
        let codes: Vec<u8> = (0..1000).map(|i| (murmur64(i) % 4) as u8).collect();
        let reference = Reference::new(&codes);
        let table = reference.table(&codes, 17, 4, &TableRoom::new(0));
        for at in (0..980).step_by(4) {
            let code = window_code(&codes[at..at + 17]).unwrap();
            assert!(table.positions(code).any(|p| p == at));
        }
    }
}
