//! Packs that are not full yet; on disk beyond their share of the memory.

use super::spool::temporary_file;
use rustc_hash::FxBuildHasher;
use seqmill_base::budget::AccountId;
use seqmill_base::{Error, Job, Lease, Result};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use xxhash_rust::xxh3::xxh3_64;

use crate::archive::SEPARATOR;

/// Bytes an entry costs besides its text.
const ENTRY_BYTES: u64 = 20;
/// Bytes an open pack costs besides its entries.
const PACK_BYTES: u64 = 192;

#[derive(Debug, Default)]
struct OpenPack {
    /// Entries that are in the file: where they begin there, and their bytes.
    spilled: Vec<(u64, u32)>,
    spilled_bytes: u64,
    bytes: Vec<u8>,
    /// Of each entry its hash and where it ends, its separator included.
    entries: Vec<(u64, u64)>,
    /// Entries in packs before this one.
    before: u32,
}

impl OpenPack {
    fn held(&self) -> u64 {
        self.bytes.capacity() as u64 + ENTRY_BYTES * self.entries.capacity() as u64
    }
}

/// A pack that is complete.
pub(crate) struct FullPack {
    pub(crate) group: u32,
    pub(crate) bytes: Vec<u8>,
}

/// The open packs of all groups.
pub(crate) struct Pending {
    packs: hashbrown::HashMap<u32, OpenPack, FxBuildHasher>,
    size: usize,
    share: u64,
    lease: Lease,
    account: AccountId,
    file: Option<(File, u64)>,
    folder: PathBuf,
}

impl Pending {
    /// Packs of `size` entries, of which `share` bytes stay in memory.
    pub(crate) fn new(size: u32, share: u64, job: &Job, folder: &Path) -> Result<Self> {
        let account = job.budget.account("open packs", share);
        Ok(Self {
            packs: hashbrown::HashMap::default(),
            size: size as usize,
            share,
            lease: job.budget.must_reserve(account, 0)?,
            account,
            file: None,
            folder: folder.to_path_buf(),
        })
    }

    /// Continues a group: so many entries are in packs that were written.
    pub(crate) fn open_group(&mut self, group: u32, before: u32) {
        self.packs.entry(group).or_default().before = before;
    }

    /// Adds an entry, or finds it in the open pack if `reuse`; gives its number within the group,
    /// from 0, and the pack if that is full now.
    pub(crate) fn add(
        &mut self,
        group: u32,
        entry: &[u8],
        reuse: bool,
        job: &Job,
    ) -> Result<(u32, Option<FullPack>)> {
        let hash = xxh3_64(entry);
        if reuse && let Some(found) = self.find(group, hash, entry)? {
            return Ok((found, None));
        }
        let pack = self.packs.entry(group).or_default();
        let held = pack.held();
        let (index, fresh) = (pack.entries.len(), pack.entries.is_empty());
        pack.bytes.reserve_exact(entry.len() + 1 + pack.bytes.len() / 4);
        pack.bytes.extend_from_slice(entry);
        pack.bytes.push(SEPARATOR);
        pack.entries.push((hash, pack.spilled_bytes + pack.bytes.len() as u64));
        let number = pack.before + u32::try_from(index).unwrap_or(u32::MAX);
        let more = pack.held() - held + if fresh { PACK_BYTES } else { 0 };
        let full = pack.entries.len() >= self.size;
        if self.lease.bytes() + more > self.share
            && self.lease.resize(self.lease.bytes() + more).is_err()
        {
            self.spill(job)?;
            return self.finish_add(group, number, full);
        }
        self.lease.resize(self.lease.bytes() + more)?;
        if self.lease.bytes() > self.share {
            self.spill(job)?;
        }
        self.finish_add(group, number, full)
    }

    fn finish_add(
        &mut self,
        group: u32,
        number: u32,
        full: bool,
    ) -> Result<(u32, Option<FullPack>)> {
        if !full {
            return Ok((number, None));
        }
        let pack = self.take(group)?;
        let written = number + 1;
        self.packs.entry(group).or_default().before = written;
        Ok((number, pack))
    }

    fn find(&self, group: u32, hash: u64, entry: &[u8]) -> Result<Option<u32>> {
        let Some(pack) = self.packs.get(&group) else { return Ok(None) };
        let mut start = 0;
        for (i, &(other, end)) in pack.entries.iter().enumerate() {
            if other == hash
                && end - start == entry.len() as u64 + 1
                && self.entry_equals(pack, start, entry)?
            {
                return Ok(Some(pack.before + u32::try_from(i).unwrap_or(u32::MAX)));
            }
            start = end;
        }
        Ok(None)
    }

    fn entry_equals(&self, pack: &OpenPack, start: u64, entry: &[u8]) -> Result<bool> {
        if let Some(at) = start.checked_sub(pack.spilled_bytes) {
            let at = usize::try_from(at).unwrap_or(usize::MAX);
            return Ok(pack.bytes.get(at..at + entry.len()) == Some(entry));
        }
        let mut text = vec![0; entry.len()];
        self.read_spilled(pack, start, &mut text)?;
        Ok(text == entry)
    }

    /// Reads entries that are in the file; whole entries are spilled, so one lies in one stretch.
    fn read_spilled(&self, pack: &OpenPack, start: u64, into: &mut [u8]) -> Result<()> {
        let (file, _) = self.file.as_ref().ok_or_else(|| Error::internal("nothing was spilled"))?;
        let mut at = 0;
        for &(offset, bytes) in &pack.spilled {
            if start < at + u64::from(bytes) {
                let place = offset + (start - at);
                return file.read_exact_at(into, place).map_err(|e| Error::io(&self.folder, &e));
            }
            at += u64::from(bytes);
        }
        Err(Error::internal("an entry was not spilled"))
    }

    /// Moves the texts of all open packs to disk.
    fn spill(&mut self, job: &Job) -> Result<()> {
        if self.file.is_none() {
            self.file = Some((temporary_file(&self.folder)?, 0));
        }
        let Some((file, end)) = &mut self.file else { return Ok(()) };
        let mut buffer = Vec::new();
        let begin = *end;
        let mut groups: Vec<u32> = self.packs.keys().copied().collect();
        groups.sort_unstable();
        let mut held = 0;
        for group in groups {
            let Some(pack) = self.packs.get_mut(&group) else { continue };
            if !pack.bytes.is_empty() {
                let size = u32::try_from(pack.bytes.len())
                    .map_err(|_| Error::internal("an open pack is beyond 4 GiB"))?;
                pack.spilled.push((*end + buffer.len() as u64, size));
                pack.spilled_bytes += u64::from(size);
                buffer.extend_from_slice(&pack.bytes);
                pack.bytes = Vec::new();
            }
            held += pack.held() + PACK_BYTES + 16 * pack.spilled.capacity() as u64;
            if buffer.len() > 1 << 18 {
                file.write_all_at(&buffer, *end).map_err(|e| Error::io(&self.folder, &e))?;
                *end += buffer.len() as u64;
                buffer.clear();
            }
        }
        file.write_all_at(&buffer, *end).map_err(|e| Error::io(&self.folder, &e))?;
        *end += buffer.len() as u64;
        job.budget.spilled(self.account, *end - begin);
        self.lease.resize(held)
    }

    /// Takes a pack out, whole.
    fn take(&mut self, group: u32) -> Result<Option<FullPack>> {
        let Some(pack) = self.packs.remove(&group) else { return Ok(None) };
        let held = pack.held() + PACK_BYTES + 16 * pack.spilled.capacity() as u64;
        self.lease.resize(self.lease.bytes().saturating_sub(held))?;
        if pack.entries.is_empty() {
            return Ok(None);
        }
        let mut bytes = pack.bytes;
        if let Some((file, _)) = self.file.as_ref().filter(|_| !pack.spilled.is_empty()) {
            let tail = bytes;
            let size = usize::try_from(pack.spilled_bytes).unwrap_or(usize::MAX);
            bytes = vec![0; size];
            let mut at = 0;
            for &(offset, n) in &pack.spilled {
                let next = at + n as usize;
                let slots = bytes.get_mut(at..next).unwrap_or_default();
                file.read_exact_at(slots, offset).map_err(|e| Error::io(&self.folder, &e))?;
                at = next;
            }
            bytes.extend_from_slice(&tail);
        }
        Ok(Some(FullPack { group, bytes }))
    }

    /// Groups with open packs, in order, and the bytes of each.
    pub(crate) fn open(&self) -> Vec<(u32, u64)> {
        let mut open: Vec<(u32, u64)> = self
            .packs
            .iter()
            .filter(|(_, pack)| !pack.entries.is_empty())
            .map(|(&group, pack)| (group, pack.spilled_bytes + pack.bytes.len() as u64))
            .collect();
        open.sort_unstable();
        open
    }

    /// Takes the open pack of a group.
    pub(crate) fn close(&mut self, group: u32) -> Result<FullPack> {
        self.take(group)?.ok_or_else(|| Error::internal("there is no such pack"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use seqmill_base::Budget;

    #[test]
    fn entries_are_found_again_in_memory_and_on_disk() {
        for share in [0, 1 << 20] {
            let job = Job::new(Budget::new(1 << 20, 0).unwrap());
            let mut pending = Pending::new(4, share, &job, &std::env::temp_dir()).unwrap();
            let mut numbers = Vec::new();
            let mut full = Vec::new();
            for text in ["a", "bb", "a", "cc", "dd", "a", "bb", "bb"] {
                let (number, pack) = pending.add(17, text.as_bytes(), true, &job).unwrap();
                numbers.push(number);
                full.extend(pack.map(|p| p.bytes));
            }
            assert_eq!(numbers, [0, 1, 0, 2, 3, 4, 5, 5]);
            assert_eq!(full, [b"a\xffbb\xffcc\xffdd\xff".to_vec()]);
            assert_eq!(pending.open(), [(17, 5)]);
            assert_eq!(pending.close(17).unwrap().bytes, b"a\xffbb\xff");
        }
    }
}
