//! Records whose mate may still come, so that a template counts a position once.

use super::spans::Block;
use hashbrown::HashMap;
use rustc_hash::FxBuildHasher;
use seqmill_base::{Lease, Result};

/// A record that reaches behind the place of the records to come.
struct Open {
    end: u32,
    first: Block,
    /// Blocks behind the first one.
    more: Option<Box<[Block]>>,
}

/// Bytes of a record in the table, the table's own included.
const OPEN_BYTES: u64 = 2 * size_of::<(u128, Open)>() as u64;
const LEAST_ROOM: usize = 1024;

/// The open records of one sequence, by the hash of their names.
pub(super) struct Mates {
    open: HashMap<u128, Open, FxBuildHasher>,
    room: usize,
    /// Bytes of the blocks that are held apart.
    block_bytes: u64,
    lease: Lease,
}

impl Mates {
    pub(super) fn new(lease: Lease) -> Self {
        Self { open: HashMap::default(), room: 0, block_bytes: 0, lease }
    }

    /// All records of a sequence have been seen.
    pub(super) fn clear(&mut self) {
        self.open.clear();
        self.block_bytes = 0;
    }

    /// Takes the next record of a template; calls `overlap` for each stretch that its mate, seen
    /// before, covers as well. `pos` is where the records to come begin at least.
    pub(super) fn meet(
        &mut self,
        name: u128,
        pos: u32,
        blocks: &[Block],
        mut overlap: impl FnMut(Block),
    ) -> Result<()> {
        let (Some(first), Some(last)) = (blocks.first(), blocks.last()) else { return Ok(()) };
        if let Some(mate) = self.open.remove(&name) {
            self.block_bytes -= held(&mate);
            let mut own = blocks.iter().copied().peekable();
            for (begin, end) in std::iter::once(mate.first).chain(mate.more.into_iter().flatten()) {
                while own.next_if(|block| block.1 <= begin).is_some() {}
                let mut ahead = own.clone();
                while let Some(block) = ahead.next_if(|block| block.0 < end) {
                    overlap((block.0.max(begin), block.1.min(end)));
                }
            }
            return Ok(());
        }
        if self.open.len() >= self.room {
            self.make_room(pos)?;
        }
        let more = blocks.get(1..).filter(|more| !more.is_empty()).map(Box::from);
        let open = Open { end: last.1, first: *first, more };
        if open.more.is_some() {
            self.block_bytes += held(&open);
            self.charge()?;
        }
        self.open.insert(name, open);
        Ok(())
    }

    /// Forgets records that nothing to come can overlap; what is left may grow.
    fn make_room(&mut self, pos: u32) -> Result<()> {
        let mut freed = 0;
        self.open.retain(|_, open| {
            let stays = open.end > pos;
            if !stays {
                freed += held(open);
            }
            stays
        });
        self.block_bytes -= freed;
        self.room = (2 * self.open.len()).max(LEAST_ROOM);
        self.charge()?;
        self.open.reserve(self.room - self.open.len());
        Ok(())
    }

    fn charge(&mut self) -> Result<()> {
        let wanted = self.room as u64 * OPEN_BYTES + self.block_bytes;
        if wanted > self.lease.bytes() {
            self.lease.resize(wanted + wanted / 8)?;
        }
        Ok(())
    }
}

fn held(open: &Open) -> u64 {
    open.more.as_ref().map_or(0, |more| (more.len() * size_of::<Block>() + 16) as u64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use seqmill_base::Budget;

    #[test]
    fn what_both_mates_cover_is_told() {
        let budget = Budget::new(1 << 20, 0).unwrap();
        let account = budget.account("mates", 1 << 20);
        let mut mates = Mates::new(budget.must_reserve(account, 0).unwrap());
        let mut found = Vec::new();
        mates.meet(1, 0, &[(0, 10), (20, 30), (35, 36)], |b| found.push(b)).unwrap();
        mates.meet(2, 0, &[(0, 10)], |b| found.push(b)).unwrap();
        mates.meet(1, 5, &[(5, 8), (9, 22), (24, 40)], |b| found.push(b)).unwrap();
        assert_eq!(found, [(5, 8), (9, 10), (20, 22), (24, 30), (35, 36)]);
        mates.meet(1, 6, &[(6, 7)], |_| panic!("a template has two mates")).unwrap();
    }

    #[test]
    fn records_that_have_ended_are_forgotten() {
        let budget = Budget::new(1 << 20, 0).unwrap();
        let account = budget.account("mates", 1 << 20);
        let mut mates = Mates::new(budget.must_reserve(account, 0).unwrap());
        for i in 0..100_000_u32 {
            mates.meet(u128::from(i), i, &[(i, i + 100)], |_| ()).unwrap();
        }
        assert!(mates.open.len() <= 2 * LEAST_ROOM);
    }
}
