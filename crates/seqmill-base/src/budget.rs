//! The memory budget of a job: bytes are reserved before they are allocated (`workflow.md` A.3).
//!
//! A budget is admitted, not policed. Every structure whose size follows the data holds a
//! [`Lease`]; work that would not fit does not begin. Reservations are taken per block of about a
//! MiB, so one lock is cheap enough and the figures are exact.

use crate::error::{Error, Result};
use serde::Serialize;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

/// Index of an account within its budget.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AccountId(usize);

/// The figures of one account (`memory.consumers` of the metrics document).
#[derive(Debug, Clone, Serialize)]
pub struct AccountFigures {
    /// Name of the account.
    pub name: String,
    /// Bytes it may hold before it has to wait.
    pub share: u64,
    /// Bytes it held at most.
    pub peak: u64,
    /// Times a reservation was put off.
    pub waits: u64,
    /// Bytes it moved to disk.
    pub spilled_bytes: u64,
    /// Reservations that went beyond the share because one item alone needed it.
    pub oversize_items: u64,
}

#[derive(Debug)]
struct Account {
    name: String,
    share: u64,
    reserved: u64,
    peak: u64,
    waits: u64,
    spilled: u64,
    oversize: u64,
}

#[derive(Debug, Default)]
struct State {
    reserved: u64,
    peak: u64,
    accounts: Vec<Account>,
}

/// The bytes one job may hold.
#[derive(Debug)]
pub struct Budget {
    limit: u64,
    overhead: u64,
    /// What the largest item so far needs on its whole way.
    largest_need: AtomicU64,
    /// What a larger budget takes for more threads: bytes of each, and bytes of budget for one.
    thread: OnceLock<(u64, u64)>,
    state: Mutex<State>,
}

/// Reserved for whole jobs at budgets that are large enough, in advice.
const STANDING_BYTES: u64 = 32 << 20;

/// A larger budget leaves more of itself to the program: a twentieth may go to fragments, which is
/// about this part of what is added.
const FRAGMENTS_PART: u64 = 18;
/// What the program itself takes differs from run to run: advice must not be in want of a page.
const VARIATION_BYTES: u64 = 512 << 10;

impl Budget {
    /// A budget of `limit` bytes for the whole process, of which `overhead` is taken already:
    /// interpreter, libraries, stacks, fragmentation.
    pub fn new(limit: u64, overhead: u64) -> Result<Arc<Self>> {
        if limit <= overhead {
            return Err(Error::budget(
                format!(
                    "memory budget of {} is used up by the program itself; at least {} is needed",
                    human_bytes(limit),
                    human_bytes(overhead + (overhead >> 2)),
                ),
                overhead + (overhead >> 2),
            ));
        }
        let state = Mutex::default();
        let (largest_need, thread) = (AtomicU64::new(0), OnceLock::new());
        Ok(Arc::new(Self { limit, overhead, largest_need, thread, state }))
    }

    /// The limit given by the user.
    pub fn limit(&self) -> u64 {
        self.limit
    }

    /// Bytes taken by the program itself.
    pub fn overhead(&self) -> u64 {
        self.overhead
    }

    /// Bytes that may be reserved.
    pub fn pool(&self) -> u64 {
        self.limit - self.overhead
    }

    /// Opens an account that may hold `share` bytes before it has to wait.
    pub fn account(&self, name: &str, share: u64) -> AccountId {
        let mut state = self.lock();
        state.accounts.push(Account {
            name: name.to_owned(),
            share: share.min(self.pool()),
            reserved: 0,
            peak: 0,
            waits: 0,
            spilled: 0,
            oversize: 0,
        });
        AccountId(state.accounts.len() - 1)
    }

    /// Reserves at once or not at all. An account that holds nothing is never refused for its
    /// share alone, so that one item of any size can always be on its way.
    pub fn try_reserve(self: &Arc<Self>, id: AccountId, bytes: u64) -> Option<Lease> {
        let mut state = self.lock();
        let fits_pool = state.reserved + bytes <= self.pool();
        let account = state.accounts.get_mut(id.0)?;
        let fits_share =
            account.reserved == 0 || bytes == 0 || account.reserved + bytes <= account.share;
        if !(fits_pool && fits_share) {
            account.waits += 1;
            return None;
        }
        Some(self.grant(&mut state, id, bytes))
    }

    /// Reserves beyond the share, but never beyond the budget: `Budget` if the pool has no room.
    pub fn must_reserve(self: &Arc<Self>, id: AccountId, bytes: u64) -> Result<Lease> {
        let mut state = self.lock();
        if state.reserved + bytes > self.pool() {
            let name = state.accounts.get(id.0).map_or("", |a| a.name.as_str());
            // The stage that fails knows only of its own. Twice what the largest item needs on its
            // way: what waits before the other stages has about as much.
            let item = self.largest_need.load(Ordering::Relaxed);
            let whole = if item > 0 { STANDING_BYTES + 2 * item } else { 0 };
            let needed = self.overhead + (state.reserved + bytes).max(whole);
            let more = needed.saturating_sub(self.limit);
            let threads = self.thread.get().map_or(0, |(bytes, every)| (more / every + 1) * bytes);
            let needed = needed + more / FRAGMENTS_PART + threads + VARIATION_BYTES;
            return Err(Error::budget(
                format!(
                    "{name} needs {} more than the {} that are free of a memory budget of {}; \
                     give at least --memory {}",
                    human_bytes(bytes),
                    human_bytes(self.pool().saturating_sub(state.reserved)),
                    human_bytes(self.limit),
                    human_bytes(needed),
                ),
                needed,
            ));
        }
        Ok(self.grant(&mut state, id, bytes))
    }

    /// Notes that an item on its way needs so many bytes at most until it is done: an error says a
    /// budget that has room for it.
    pub fn note_need(&self, bytes: u64) {
        self.largest_need.fetch_max(bytes, Ordering::Relaxed);
    }

    /// Notes that fewer threads run than were asked for, and that another one, which takes `bytes`,
    /// joins with each `every` bytes of budget more.
    pub fn note_thread(&self, bytes: u64, every: u64) {
        let _ = self.thread.set((bytes, every.max(1)));
    }

    /// Notes that an account moved bytes to disk.
    pub fn spilled(&self, id: AccountId, bytes: u64) {
        if let Some(account) = self.lock().accounts.get_mut(id.0) {
            account.spilled += bytes;
        }
    }

    /// Bytes reserved now.
    pub fn reserved(&self) -> u64 {
        self.lock().reserved
    }

    /// Bytes reserved at most.
    pub fn reserved_peak(&self) -> u64 {
        self.lock().peak
    }

    /// The figures of all accounts.
    pub fn accounts(&self) -> Vec<AccountFigures> {
        self.lock()
            .accounts
            .iter()
            .map(|a| AccountFigures {
                name: a.name.clone(),
                share: a.share,
                peak: a.peak,
                waits: a.waits,
                spilled_bytes: a.spilled,
                oversize_items: a.oversize,
            })
            .collect()
    }

    fn grant(self: &Arc<Self>, state: &mut State, id: AccountId, bytes: u64) -> Lease {
        state.reserved += bytes;
        state.peak = state.peak.max(state.reserved);
        if let Some(account) = state.accounts.get_mut(id.0) {
            account.reserved += bytes;
            account.peak = account.peak.max(account.reserved);
            account.oversize += u64::from(account.reserved > account.share);
        }
        Lease { budget: Arc::clone(self), account: id, bytes }
    }

    fn release(&self, id: AccountId, bytes: u64) {
        let mut state = self.lock();
        state.reserved = state.reserved.saturating_sub(bytes);
        if let Some(account) = state.accounts.get_mut(id.0) {
            account.reserved = account.reserved.saturating_sub(bytes);
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A reservation; given back on drop.
#[derive(Debug)]
pub struct Lease {
    budget: Arc<Budget>,
    account: AccountId,
    bytes: u64,
}

impl Lease {
    /// Bytes held.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Corrects the lease to what was really allocated. Growing fails only when the pool is full.
    pub fn resize(&mut self, bytes: u64) -> Result<()> {
        if bytes < self.bytes {
            self.budget.release(self.account, self.bytes - bytes);
        } else if bytes > self.bytes {
            let more = self.budget.must_reserve(self.account, bytes - self.bytes)?;
            std::mem::forget(more);
        }
        self.bytes = bytes;
        Ok(())
    }

    /// [`Budget::note_need`] of the budget it is part of.
    pub fn note_need(&self, bytes: u64) {
        self.budget.note_need(bytes);
    }

    /// Another lease of the same account; fails only when the pool is full.
    pub fn sibling(&self, bytes: u64) -> Result<Self> {
        self.budget.must_reserve(self.account, bytes)
    }

    /// Takes over the bytes of another lease of the same account.
    pub fn absorb(&mut self, other: Self) {
        debug_assert_eq!(self.account, other.account);
        self.bytes += other.bytes;
        // The bytes live on in `self`; only the handle to the budget goes.
        let mut other = other;
        other.bytes = 0;
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if self.bytes > 0 {
            self.budget.release(self.account, self.bytes);
        }
    }
}

/// Bytes as a person reads them, for messages: `1.5GiB`, in a form that `--memory` accepts.
pub fn human_bytes(bytes: u64) -> String {
    const UNITS: [(&str, u64); 3] = [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];
    for (name, size) in UNITS {
        if bytes >= size {
            let tenths = (bytes * 10).div_ceil(size);
            return if tenths % 10 == 0 {
                format!("{}{name}", tenths / 10)
            } else {
                format!("{}.{}{name}", tenths / 10, tenths % 10)
            };
        }
    }
    format!("{bytes}B")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leases_come_back() {
        let budget = Budget::new(1000, 100).unwrap();
        let a = budget.account("a", 500);
        let mut first = budget.try_reserve(a, 400).unwrap();
        assert!(budget.try_reserve(a, 200).is_none(), "share");
        first.resize(100).unwrap();
        let second = budget.try_reserve(a, 200).unwrap();
        assert_eq!(budget.reserved(), 300);
        first.absorb(second);
        assert_eq!((first.bytes(), budget.reserved()), (300, 300));
        drop(first);
        assert_eq!(budget.reserved(), 0);
        assert_eq!(budget.reserved_peak(), 400);
    }

    #[test]
    fn one_item_of_any_size_fits_until_the_pool_is_full() {
        let budget = Budget::new(1000, 0).unwrap();
        let a = budget.account("a", 10);
        let lease = budget.try_reserve(a, 900).unwrap();
        let error = budget.must_reserve(a, 200).unwrap_err();
        assert_eq!(error.needed(), Some(1100 + 100 / FRAGMENTS_PART + VARIATION_BYTES));
        budget.note_need(700);
        let error = budget.must_reserve(a, 200).unwrap_err();
        let needed = STANDING_BYTES + 1400;
        let more = (needed - 1000) / FRAGMENTS_PART;
        assert_eq!(error.needed(), Some(needed + more + VARIATION_BYTES));
        budget.note_thread(300, 1 << 20);
        let error = budget.must_reserve(a, 200).unwrap_err();
        let threads = 300 * ((needed - 1000) / (1 << 20) + 1);
        assert_eq!(error.needed(), Some(needed + more + threads + VARIATION_BYTES));
        drop(lease);
        assert!(budget.must_reserve(a, 200).is_ok());
    }

    #[test]
    fn sizes_are_rounded_up() {
        assert_eq!(human_bytes(64 << 20), "64MiB");
        assert_eq!(human_bytes((64 << 20) + 1), "64.1MiB");
        assert_eq!(human_bytes(12), "12B");
    }
}
