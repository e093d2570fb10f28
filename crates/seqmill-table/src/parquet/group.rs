//! The dictionaries of the open row group (step 2).

use super::GroupEnd;
use super::dictionary::{MAX_VALUES, hash_bytes, hash_integer};
use super::page::{
    AssignedBatch, AssignedPart, EncodedBatch, LocalPage, LocalValues, Numbers, Part,
    RawDictionary, bytes_at,
};
use super::plan::Plan;
use hashbrown::HashTable;
use std::sync::Arc;

/// Most `PLAIN` bytes of one dictionary: what readers and writers elsewhere use as the size of a
/// page, and about what stays in a cache while a chunk is decoded.
const MAX_DICTIONARY_BYTES: usize = 1 << 20;
/// Most bytes of all dictionaries of a row group together, since a file may have hundreds of
/// tags. A constant, not a share of the memory budget: the output must not depend on that.
const MAX_TOTAL_BYTES: usize = 8 << 20;

/// The dictionary of one leaf.
#[derive(Debug, Default)]
struct LeafDictionary {
    plain: Vec<u8>,
    /// End of each value in `plain`; of byte strings only.
    ends: Vec<u32>,
    values: usize,
    /// Hash and number of each value.
    index: HashTable<(u64, u32)>,
    /// The rest of the group goes without.
    closed: bool,
}

/// Gives the values of dictionary leaves their numbers in the open row group.
///
/// A dictionary is closed for the rest of its group, and further pages of the leaf are stored by
/// the fallback encoding, when it would pass 65,536 values (numbers then fit 16 bits; more could
/// not pay in a group of at most a million rows) or 1 MiB, when all dictionaries together would
/// pass 8 MiB, or when in one page more than half of the values are distinct (and more than 512).
#[derive(Debug)]
pub struct GroupDictionaries {
    leaves: Vec<LeafDictionary>,
    total: usize,
}

impl GroupDictionaries {
    /// Begins a row group.
    pub fn new(plan: &Arc<Plan>) -> Self {
        let leaves = plan.leaves.iter().map(|_| LeafDictionary::default()).collect();
        Self { leaves, total: 0 }
    }

    /// Bytes the dictionaries hold now. They never pass about four times 8 MiB, as a rule they
    /// stay far below.
    pub fn bytes(&self) -> u64 {
        let bytes = self.leaves.iter().map(|leaf| {
            leaf.plain.capacity() + leaf.ends.capacity() * 4 + leaf.index.capacity() * 18
        });
        bytes.sum::<usize>() as u64
    }

    /// Numbers the values of the next batch; `end` closes the row group behind it.
    pub fn assign(&mut self, batch: EncodedBatch, end: Option<GroupEnd>) -> AssignedBatch {
        let rows = batch.rows;
        let mut parts = Vec::with_capacity(batch.parts.len());
        for (part, leaf) in batch.parts.into_iter().zip(&mut self.leaves) {
            parts.push(match part {
                Part::Page(page) => AssignedPart::Page(page),
                Part::Overflow(page) => {
                    leaf.close();
                    AssignedPart::Page(page)
                }
                Part::Local(page) => {
                    let numbers = leaf.number(&page, &mut self.total);
                    AssignedPart::Local(page, numbers)
                }
            });
        }
        let end = end.map(|end| (end, self.take()));
        AssignedBatch { rows, parts, end }
    }

    fn take(&mut self) -> Vec<Option<RawDictionary>> {
        self.total = 0;
        let leaves = self.leaves.iter_mut().map(|leaf| {
            let LeafDictionary { plain, values, .. } = std::mem::take(leaf);
            (values > 0).then_some(RawDictionary { plain, values })
        });
        leaves.collect()
    }
}

impl LeafDictionary {
    /// The values stay, as pages refer to them; no more are taken in.
    fn close(&mut self) {
        self.closed = true;
        self.index = HashTable::new();
        self.ends = Vec::new();
    }

    fn number(&mut self, page: &LocalPage, total: &mut usize) -> Numbers {
        if self.closed {
            return Numbers::Fallback;
        }
        let count = page.values.len();
        if count == 0 && self.values == 0 {
            return Numbers::Nothing;
        }
        let mut map = Vec::with_capacity(count);
        let mut missing = Vec::new();
        let mut more = 0;
        for at in 0..count {
            let known = match &page.values {
                LocalValues::Four(values) => self.find(&values[at].to_le_bytes(), None),
                LocalValues::Eight(values) => self.find(&values[at].to_le_bytes(), None),
                LocalValues::Bytes { ends, hashes, data } => {
                    self.find(bytes_at(ends, data, at), Some(hashes[at]))
                }
            };
            if known.is_none() {
                missing.push(at);
                more += match &page.values {
                    LocalValues::Four(_) => 4,
                    LocalValues::Eight(_) => 8,
                    LocalValues::Bytes { ends, data, .. } => 4 + bytes_at(ends, data, at).len(),
                };
            }
            map.push(known.unwrap_or(0) as u16);
        }
        if self.values + missing.len() > MAX_VALUES
            || self.plain.len() + more > MAX_DICTIONARY_BYTES
            || *total + more > MAX_TOTAL_BYTES
        {
            self.close();
            return Numbers::Fallback;
        }
        let before = self.plain.len();
        for at in missing {
            map[at] = match &page.values {
                LocalValues::Four(values) => self.add(&values[at].to_le_bytes(), None),
                LocalValues::Eight(values) => self.add(&values[at].to_le_bytes(), None),
                LocalValues::Bytes { ends, hashes, data } => {
                    self.add(bytes_at(ends, data, at), Some(hashes[at]))
                }
            };
        }
        *total += self.plain.len() - before;
        Numbers::Dictionary(map)
    }

    /// Number of a value; `hash` is given for byte strings and absent for fixed-width values.
    fn find(&self, value: &[u8], hash: Option<u64>) -> Option<u32> {
        let wanted = hash.unwrap_or_else(|| hash_fixed(value));
        let found = self.index.find(wanted, |(held, id)| {
            *held == wanted && self.value(*id as usize, hash.is_none(), value.len()) == value
        });
        found.map(|(_, id)| *id)
    }

    fn value(&self, id: usize, fixed: bool, width: usize) -> &[u8] {
        if fixed {
            &self.plain[id * width..(id + 1) * width]
        } else {
            // Each value has its length of 4 bytes in front.
            let start = id.checked_sub(1).map_or(0, |before| self.ends[before] as usize);
            &self.plain[start + 4..self.ends[id] as usize]
        }
    }

    fn add(&mut self, value: &[u8], hash: Option<u64>) -> u16 {
        // An Arrow dictionary may hold a text twice.
        if hash.is_some()
            && let Some(id) = self.find(value, hash)
        {
            return id as u16;
        }
        let id = self.values as u32;
        if hash.is_some() {
            self.plain.extend_from_slice(&(value.len() as u32).to_le_bytes());
        }
        self.plain.extend_from_slice(value);
        if hash.is_some() {
            self.ends.push(self.plain.len() as u32);
        }
        self.values += 1;
        let hash = hash.unwrap_or_else(|| hash_fixed(value));
        self.index.insert_unique(hash, (hash, id), |entry| entry.0);
        id as u16
    }
}

fn hash_fixed(value: &[u8]) -> u64 {
    let mut wide = [0; 8];
    match wide.get_mut(..value.len()) {
        Some(low) => {
            low.copy_from_slice(value);
            hash_integer(i64::from_le_bytes(wide))
        }
        None => hash_bytes(value),
    }
}
