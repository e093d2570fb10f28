//! The distinct values of one page, numbered in order of appearance.

use super::page::LocalValues;
use super::plan::Kind;
use super::values::{Bytes, Selection};
use hashbrown::HashTable;
use rustc_hash::FxHasher;
use std::hash::Hasher;

/// Numbers of distinct values fit 16 bits.
pub(super) const MAX_VALUES: usize = 1 << 16;
/// A page with fewer values than twice this is never found too varied.
const MIN_DISTINCT: usize = 512;
/// First size of the table of wide integers.
const SLOTS: usize = 1024;

/// Hash of a text or binary value.
pub(super) fn hash_bytes(value: &[u8]) -> u64 {
    let mut hasher = FxHasher::default();
    hasher.write(value);
    hasher.finish()
}

/// Hash of an integer whose high bits are good.
pub(super) fn hash_integer(value: i64) -> u64 {
    // 2^64 divided by the golden ratio (Knuth, The Art of Computer Programming 3, §6.4).
    let mixed =
        (value.cast_unsigned() ^ (value.cast_unsigned() >> 32)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed ^ (mixed >> 29)
}

/// Tables that number values; kept from page to page.
#[derive(Default)]
pub(super) struct Interner {
    /// One entry for each 16-bit value: its number and 1, or 0. All zero between pages.
    direct: Vec<u32>,
    /// Entries for the keys of an Arrow dictionary, likewise.
    keyed: Vec<u32>,
    /// Open addressing: number and 1, or 0.
    slots: Vec<u32>,
    texts: HashTable<(u64, u32)>,
}

/// Most distinct values a page of `count` values may have in dictionary encoding. A dictionary of
/// more than every second value saves no bytes, and costs more time than it does.
fn limit(count: usize) -> usize {
    (count / 2).clamp(MIN_DISTINCT, MAX_VALUES)
}

impl Interner {
    /// Bytes of the tables.
    pub(super) fn bytes(&self) -> usize {
        (self.direct.capacity() + self.keyed.capacity() + self.slots.capacity()) * 4
            + self.texts.capacity() * 16
    }

    /// Numbers values of 4 physical bytes. `None` if there are too many distinct ones.
    pub(super) fn number32(&mut self, values: &[i32], kind: Kind) -> Option<(Vec<u16>, Vec<i32>)> {
        match kind {
            Kind::Int8 | Kind::UInt8 | Kind::Int16 | Kind::UInt16 => self.narrow(values),
            _ => self.wide(values, |v| hash_integer(v.into())),
        }
    }

    /// Numbers values of 8 physical bytes. `None` if there are too many distinct ones.
    pub(super) fn number64(&mut self, values: &[i64]) -> Option<(Vec<u16>, Vec<i64>)> {
        self.wide(values, hash_integer)
    }

    fn narrow(&mut self, values: &[i32]) -> Option<(Vec<u16>, Vec<i32>)> {
        self.direct.resize(MAX_VALUES, 0);
        let most = limit(values.len());
        let mut ids = Vec::with_capacity(values.len());
        let mut distinct: Vec<i32> = Vec::new();
        for &value in values {
            let entry = &mut self.direct[usize::from(value as u16)];
            if *entry == 0 {
                if distinct.len() == most {
                    break;
                }
                distinct.push(value);
                *entry = distinct.len() as u32;
            }
            ids.push((*entry - 1) as u16);
        }
        for &value in &distinct {
            self.direct[usize::from(value as u16)] = 0;
        }
        (ids.len() == values.len()).then_some((ids, distinct))
    }

    fn wide<T: Copy + Eq>(
        &mut self,
        values: &[T],
        hash: impl Fn(T) -> u64,
    ) -> Option<(Vec<u16>, Vec<T>)> {
        let most = limit(values.len());
        let mut ids = Vec::with_capacity(values.len());
        let mut distinct: Vec<T> = Vec::new();
        self.slots.clear();
        self.slots.resize(SLOTS, 0);
        let mut last: Option<(T, u16)> = None;
        for &value in values {
            if let Some((before, id)) = last
                && before == value
            {
                ids.push(id);
                continue;
            }
            let mut mask = self.slots.len() - 1;
            let mut at = hash(value) as usize & mask;
            let id = loop {
                match self.slots[at] {
                    0 => break None,
                    entry if distinct[entry as usize - 1] == value => break Some(entry - 1),
                    _ => at = (at + 1) & mask,
                }
            };
            let id = match id {
                Some(id) => id as u16,
                None if distinct.len() == most => return None,
                None => {
                    let id = distinct.len() as u16;
                    distinct.push(value);
                    self.slots[at] = distinct.len() as u32;
                    // At most half full.
                    if distinct.len() * 2 > self.slots.len() {
                        let size = self.slots.len() * 4;
                        self.slots.clear();
                        self.slots.resize(size, 0);
                        mask = size - 1;
                        for (entry, &value) in (1..).zip(&distinct) {
                            let mut at = hash(value) as usize & mask;
                            while self.slots[at] != 0 {
                                at = (at + 1) & mask;
                            }
                            self.slots[at] = entry;
                        }
                    }
                    id
                }
            };
            last = Some((value, id));
            ids.push(id);
        }
        Some((ids, distinct))
    }

    /// Numbers texts or byte strings. `None` if there are too many distinct ones.
    pub(super) fn number_bytes(
        &mut self,
        bytes: &Bytes<'_>,
        selection: &Selection<'_>,
    ) -> Option<(Vec<u16>, LocalValues)> {
        // Items of the value array where a value was first seen.
        let (ids, firsts) = match bytes.keys {
            Some(keys) => self.number_keys(keys, bytes.offsets.len() - 1, selection)?,
            None => self.number_texts(bytes, selection)?,
        };
        let total: usize = firsts.iter().map(|item| bytes.item(*item as usize).len()).sum();
        let mut data = Vec::with_capacity(total);
        let mut ends = Vec::with_capacity(firsts.len());
        let mut hashes = Vec::with_capacity(firsts.len());
        for &item in &firsts {
            let value = bytes.item(item as usize);
            data.extend_from_slice(value);
            ends.push(data.len() as u32);
            hashes.push(hash_bytes(value));
        }
        Some((ids, LocalValues::Bytes { ends, hashes, data }))
    }

    fn number_keys(
        &mut self,
        keys: &[i32],
        items: usize,
        selection: &Selection<'_>,
    ) -> Option<(Vec<u16>, Vec<u32>)> {
        if self.keyed.len() < items {
            self.keyed.resize(items, 0);
        }
        let count = selection.len();
        let most = limit(count);
        let mut ids = Vec::with_capacity(count);
        let mut firsts: Vec<u32> = Vec::new();
        selection.for_each_while(|row| {
            let entry = &mut self.keyed[keys[row] as usize];
            if *entry == 0 {
                if firsts.len() == most {
                    return false;
                }
                firsts.push(keys[row].cast_unsigned());
                *entry = firsts.len() as u32;
            }
            ids.push((*entry - 1) as u16);
            true
        });
        for &item in &firsts {
            self.keyed[item as usize] = 0;
        }
        (ids.len() == count).then_some((ids, firsts))
    }

    fn number_texts(
        &mut self,
        bytes: &Bytes<'_>,
        selection: &Selection<'_>,
    ) -> Option<(Vec<u16>, Vec<u32>)> {
        let count = selection.len();
        let most = limit(count);
        let mut ids = Vec::with_capacity(count);
        let mut firsts: Vec<u32> = Vec::new();
        let texts = &mut self.texts;
        texts.clear();
        let mut last: Option<(&[u8], u16)> = None;
        selection.for_each_while(|row| {
            let value = bytes.item(row);
            if let Some((before, id)) = last
                && before == value
            {
                ids.push(id);
                return true;
            }
            let hash = hash_bytes(value);
            let same = |entry: &(u64, u32)| {
                entry.0 == hash && bytes.item(firsts[entry.1 as usize] as usize) == value
            };
            let id = if let Some(entry) = texts.find(hash, same) {
                entry.1
            } else {
                if firsts.len() == most {
                    return false;
                }
                let id = firsts.len() as u32;
                firsts.push(row as u32);
                texts.insert_unique(hash, (hash, id), |entry| entry.0);
                id
            };
            last = Some((value, id as u16));
            ids.push(id as u16);
            true
        });
        (ids.len() == count).then_some((ids, firsts))
    }
}
