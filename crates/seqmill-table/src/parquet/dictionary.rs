//! The distinct values of one page, numbered in order of appearance.

use super::page::LocalValues;
use super::values::{Bytes, Selection};
use hashbrown::HashTable;
use rustc_hash::FxHasher;
use std::hash::Hasher;

/// Numbers of distinct values fit 16 bits.
pub(super) const MAX_VALUES: usize = 1 << 16;
/// A page with fewer values than twice this is never found too varied.
const MIN_DISTINCT: usize = 512;
/// Values from 0 up to here are found by a table look-up: flags, qualities, edit distances.
const DIRECT: usize = 1 << 12;
/// First size of the table of other integers; a power of two.
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
    /// One entry for each of the values 0, 1, 2, …: its number and 1, or 0. All zero between
    /// pages.
    direct: Vec<u32>,
    /// Entries for the keys of an Arrow dictionary, likewise.
    keyed: Vec<u32>,
    /// Open addressing for all other values: number and 1, or 0.
    slots: Vec<u32>,
    texts: HashTable<(u64, u32)>,
}

/// Most distinct values a page of `count` values may have in dictionary encoding. A dictionary of
/// more than every second value saves no bytes, and costs more time than it does.
fn limit(count: usize) -> usize {
    (count / 2).clamp(MIN_DISTINCT, MAX_VALUES)
}

/// The slot of `value`, zero if it is new. Grows the table to be at most half full.
fn probe<'a, T: Copy + Eq + Into<i64>>(
    slots: &'a mut Vec<u32>,
    distinct: &[T],
    value: T,
) -> &'a mut u32 {
    let find = |slots: &[u32], value: T| {
        let mask = slots.len() - 1;
        let mut at = hash_integer(value.into()) as usize & mask;
        while slots[at] != 0 && distinct[slots[at] as usize - 1] != value {
            at = (at + 1) & mask;
        }
        at
    };
    if slots.len() <= distinct.len() * 2 {
        let size = (slots.len() * 4).max(SLOTS).max((distinct.len() * 2 + 1).next_power_of_two());
        slots.clear();
        slots.resize(size, 0);
        // Also values that are found directly: few, and it does no harm.
        for (entry, &value) in (1..).zip(distinct) {
            let at = find(slots, value);
            slots[at] = entry;
        }
    }
    let at = find(slots, value);
    &mut slots[at]
}

impl Interner {
    /// Bytes of the tables.
    pub(super) fn bytes(&self) -> usize {
        (self.direct.capacity() + self.keyed.capacity() + self.slots.capacity()) * 4
            + self.texts.capacity() * 16
    }

    /// Numbers integers, or floating point values by their bits. `None` if there are too many
    /// distinct ones.
    pub(super) fn number<T: Copy + Eq + Into<i64>>(
        &mut self,
        values: &[T],
    ) -> Option<(Vec<u16>, Vec<T>)> {
        self.direct.resize(DIRECT, 0);
        self.slots.clear();
        let most = limit(values.len());
        let mut ids = Vec::with_capacity(values.len());
        let mut distinct: Vec<T> = Vec::new();
        for &value in values {
            let wide: i64 = value.into();
            let entry = match self.direct.get_mut(wide.cast_unsigned() as usize) {
                Some(entry) => entry,
                None => probe(&mut self.slots, &distinct, value),
            };
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
            let wide: i64 = value.into();
            if let Some(entry) = self.direct.get_mut(wide.cast_unsigned() as usize) {
                *entry = 0;
            }
        }
        (ids.len() == values.len()).then_some((ids, distinct))
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
