//! What is kept in memory between reads: the least recently used goes first.

use crate::batch::Batch;
use crate::symbols::Symbols;
use rustc_hash::FxBuildHasher;
use std::sync::Arc;

/// Bytes an entry costs besides its content.
const ENTRY_BYTES: u64 = 160;
const NOWHERE: usize = usize::MAX;

/// A pack: its entries, and where each ends.
#[derive(Debug)]
pub(crate) struct Pack {
    pub(crate) bytes: Vec<u8>,
    pub(crate) ends: Vec<u32>,
}

impl Pack {
    /// An entry without its separator.
    pub(crate) fn entry(&self, i: usize) -> Option<&[u8]> {
        let end = *self.ends.get(i)? as usize;
        let start = i.checked_sub(1).and_then(|i| self.ends.get(i)).map_or(0, |&e| e as usize + 1);
        self.bytes.get(start..end)
    }
}

/// Something decoded.
#[derive(Debug, Clone)]
pub(crate) enum Content {
    Batch(Arc<Batch>),
    Reference(Arc<Symbols>),
    Pack(Arc<Pack>),
}

impl Content {
    fn bytes(&self) -> u64 {
        ENTRY_BYTES
            + match self {
                Self::Batch(batch) => batch.bytes(),
                Self::Reference(symbols) => symbols.bytes(),
                Self::Pack(pack) => (pack.bytes.capacity() + 4 * pack.ends.capacity()) as u64,
            }
    }
}

/// A stream and the number of a part in it.
pub(crate) type Key = (u32, u32);

struct Slot {
    key: Key,
    content: Option<Content>,
    newer: usize,
    older: usize,
}

/// Decoded parts, up to so many bytes.
pub(crate) struct Cache {
    limit: u64,
    held: u64,
    index: hashbrown::HashMap<Key, usize, FxBuildHasher>,
    slots: Vec<Slot>,
    free: Vec<usize>,
    newest: usize,
    oldest: usize,
    /// The last batch that is beyond the limit: contigs are asked for one by one, and each would
    /// decode it again.
    large: Option<(Key, Content)>,
}

impl Cache {
    pub(crate) fn new(limit: u64) -> Self {
        Self {
            limit,
            held: 0,
            index: hashbrown::HashMap::default(),
            slots: Vec::new(),
            free: Vec::new(),
            newest: NOWHERE,
            oldest: NOWHERE,
            large: None,
        }
    }

    /// Finds a part and makes it the newest.
    pub(crate) fn get(&mut self, key: Key) -> Option<Content> {
        if let Some((_, content)) = self.large.as_ref().filter(|(own, _)| *own == key) {
            return Some(content.clone());
        }
        let at = *self.index.get(&key)?;
        self.unlink(at);
        self.link(at);
        self.slots.get(at)?.content.clone()
    }

    /// Keeps a part, at the cost of the oldest ones.
    pub(crate) fn put(&mut self, key: Key, content: Content) {
        let bytes = content.bytes();
        if bytes > self.limit && matches!(content, Content::Batch(_)) {
            self.large = Some((key, content));
            return;
        }
        if bytes > self.limit || self.index.contains_key(&key) {
            return;
        }
        self.held += bytes;
        while self.held > self.limit && self.oldest != NOWHERE {
            self.remove(self.oldest);
        }
        let slot = Slot { key, content: Some(content), newer: NOWHERE, older: NOWHERE };
        let at = if let Some(at) = self.free.pop() {
            if let Some(place) = self.slots.get_mut(at) {
                *place = slot;
            }
            at
        } else {
            self.slots.push(slot);
            self.slots.len() - 1
        };
        self.index.insert(key, at);
        self.link(at);
    }

    fn remove(&mut self, at: usize) {
        self.unlink(at);
        let Some(slot) = self.slots.get_mut(at) else { return };
        self.index.remove(&slot.key);
        if let Some(content) = slot.content.take() {
            self.held = self.held.saturating_sub(content.bytes());
        }
        self.free.push(at);
    }

    fn unlink(&mut self, at: usize) {
        let Some((newer, older)) = self.slots.get(at).map(|s| (s.newer, s.older)) else { return };
        match self.slots.get_mut(newer) {
            Some(slot) => slot.older = older,
            None => self.newest = older,
        }
        match self.slots.get_mut(older) {
            Some(slot) => slot.newer = newer,
            None => self.oldest = newer,
        }
    }

    fn link(&mut self, at: usize) {
        let before = self.newest;
        if let Some(slot) = self.slots.get_mut(at) {
            (slot.newer, slot.older) = (NOWHERE, before);
        }
        match self.slots.get_mut(before) {
            Some(slot) => slot.newer = at,
            None => self.oldest = at,
        }
        self.newest = at;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_goes_first() {
        let pack = |n: usize| Content::Pack(Arc::new(Pack { bytes: vec![0; n], ends: Vec::new() }));
        let mut cache = Cache::new(3 * (100 + ENTRY_BYTES));
        for i in 0..3 {
            cache.put((i, 0), pack(100));
        }
        assert!(cache.get((0, 0)).is_some());
        cache.put((3, 0), pack(100));
        assert!(cache.get((1, 0)).is_none());
        for i in [0, 2, 3] {
            assert!(cache.get((i, 0)).is_some(), "{i}");
        }
        cache.put((4, 0), pack(100_000));
        assert!(cache.get((4, 0)).is_none());
        cache.put((5, 0), pack(600));
        assert!(cache.get((5, 0)).is_some());
        assert_eq!(cache.index.len(), 1);
    }
}
