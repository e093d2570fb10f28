//! Where batches and row groups end: a function of the records and the options alone.

use crate::chunk_index::IndexBuilder;
use crate::select::coordinate_key;
use crate::unit::{Batch, CutState, GroupFacts, NoteCounts, Selected, Slice};
use seqmill_base::Result;
use seqmill_base::pipeline::Emit;
use seqmill_base::progress::Progress;
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};

/// Most rows of a batch.
const BATCH_MAX_ROWS: usize = 1_000_000;
/// Most rows of a row group.
const GROUP_MAX_ROWS: u64 = 1 << 20;
/// Batch columns with 32-bit offsets stay far below their end.
const BATCH_MAX_WEIGHT: u64 = 1 << 30;

/// Sizes that the options ask for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sizes {
    /// Weight at which a batch ends.
    pub batch_bytes: u64,
    /// Exact rows of a batch instead.
    pub batch_rows: Option<u64>,
    /// Weight at which a row group ends; none without row groups.
    pub group_bytes: Option<u64>,
    /// First record given.
    pub offset: u64,
    /// Records given at most.
    pub limit: u64,
}

/// Cuts the stream of selected rows into batches.
pub(crate) struct Cutter {
    sizes: Sizes,
    state: CutState,
    slices: Vec<Slice>,
    rows: usize,
    weight: u64,
    group_weight: u64,
    group_rows: u64,
    /// Reference of the last row, also where a group begins within a unit (a resumed run sees the
    /// same), and whether the rows of the group are of one.
    group_reference: Option<i32>,
    group_one_reference: bool,
    group_sorted: bool,
    paths: Vec<PathBuf>,
    progress: Arc<Progress>,
    /// Collects what a chunk index is made of.
    pub(crate) index: Option<SharedIndex>,
    /// Only whole batches and row groups are given before an error.
    pub(crate) resumable: bool,
}

/// A chunk index under construction.
pub(crate) type SharedIndex = Arc<Mutex<IndexBuilder>>;

impl Cutter {
    pub(crate) fn new(
        sizes: Sizes,
        state: CutState,
        paths: Vec<PathBuf>,
        progress: Arc<Progress>,
    ) -> Self {
        Self {
            sizes,
            state,
            slices: Vec::new(),
            rows: 0,
            weight: 0,
            group_weight: 0,
            group_rows: 0,
            group_reference: None,
            group_one_reference: true,
            group_sorted: true,
            paths,
            progress,
            index: None,
            resumable: false,
        }
    }

    /// Takes the next unit, or the end.
    pub(crate) fn cut(
        &mut self,
        selected: Option<Selected>,
        emit: &mut Emit<'_, Batch>,
    ) -> Result<()> {
        let Some(mut selected) = selected else {
            if !(emit.is_failing() && self.resumable) {
                self.end_group(emit);
            }
            return Ok(());
        };
        let error = selected.error.take();
        Progress::add(&self.progress.records_in, u64::from(selected.looked_at));
        self.progress.bytes_in.store(selected.file_end, Ordering::Relaxed);
        self.progress.file_index.store(u64::from(selected.unit.input), Ordering::Relaxed);
        if let (Some(index), Some(summary)) = (&self.index, &selected.summary) {
            index.lock().unwrap_or_else(PoisonError::into_inner).add(summary);
        }
        let before = (self.state.looked_at, self.state.notes);
        let selected = Arc::new(selected);
        self.cut_rows(&selected, before, emit);
        self.count(&selected, before, selected.looked_at);
        if selected.behind || self.state.given + self.rows as u64 >= self.sizes.limit {
            self.end_group(emit);
            emit.end();
            return Ok(());
        }
        let Some(error) = error else { return Ok(()) };
        if !self.resumable {
            self.end_group(emit);
        }
        let path = self.paths.get(selected.unit.input as usize);
        Err(path.map_or(error.clone(), |path| error.at_path(path)))
    }

    fn cut_rows(
        &mut self,
        selected: &Arc<Selected>,
        before: (u64, NoteCounts),
        emit: &mut Emit<'_, Batch>,
    ) {
        let rows = selected.weights.len();
        let first = self.skip_offset(rows);
        let room = self.sizes.limit.saturating_sub(self.state.given + self.rows as u64);
        let last = usize::try_from(room).map_or(rows, |room| rows.min(first + room));
        let mut from = first;
        let mut runs = selected.runs.iter().peekable();
        let mut descents = selected.descents.iter().peekable();
        self.compare_first(selected);
        for row in first..last {
            while descents.next_if(|at| **at as usize <= row).is_some() {
                self.state.sorted = false;
                self.group_sorted = false;
            }
            let mut reference = None;
            while let Some((_, id)) = runs.next_if(|(start, _)| *start as usize <= row) {
                reference = Some(*id);
            }
            if let Some(reference) = reference
                && self.reference_changes(reference)
            {
                self.take_rows(selected, from..row, before);
                from = row;
                self.end_group(emit);
                self.group_reference = Some(reference);
            }
            self.weight += u64::from(selected.weights.get(row).copied().unwrap_or(0));
            let batch_rows = self.rows + row + 1 - from;
            let full = match self.sizes.batch_rows {
                Some(limit) => batch_rows as u64 >= limit || self.weight >= BATCH_MAX_WEIGHT,
                None => self.weight >= self.sizes.batch_bytes || batch_rows >= BATCH_MAX_ROWS,
            };
            if full {
                self.take_rows(selected, from..row + 1, before);
                from = row + 1;
                self.end_batch(emit);
            }
        }
        self.take_rows(selected, from..last, before);
        let Some(record) = selected.record(rows.wrapping_sub(1)) else { return };
        self.state.last_key = coordinate_key(record.ref_id(), record.pos());
    }

    /// Leaves out the rows before `offset` and returns the first one that counts.
    fn skip_offset(&mut self, rows: usize) -> usize {
        let missing = self.sizes.offset.saturating_sub(self.state.passed);
        self.state.passed += rows as u64;
        usize::try_from(missing).unwrap_or(usize::MAX).min(rows)
    }

    /// Compares the first row with the last one of the unit before.
    fn compare_first(&mut self, selected: &Selected) {
        let Some(first) = selected.record(0) else { return };
        if self.state.looked_at > 0 && selected.unit.input != self.state.position.input {
            // References of another input are counted by another header.
            self.state.sorted = false;
            self.group_sorted = false;
            self.group_one_reference = false;
        }
        if coordinate_key(first.ref_id(), first.pos()) < self.state.last_key {
            self.state.sorted = false;
            self.group_sorted = false;
        }
    }

    /// Notes the reference of the next row; whether the row group ends before it, as it does in
    /// sorted input once it has some size.
    fn reference_changes(&mut self, reference: i32) -> bool {
        let Some(group_bytes) = self.sizes.group_bytes else { return false };
        let before = self.group_reference.replace(reference);
        let weight = self.group_weight + self.weight;
        if weight == 0 || before.is_none_or(|before| before == reference) {
            return false;
        }
        let large = weight >= group_bytes / 8;
        let ends = self.state.sorted && large && self.sizes.batch_rows.is_none();
        self.group_one_reference &= ends;
        ends
    }

    /// Sets the counters to those behind the first `number` records of the unit.
    fn count(&mut self, selected: &Selected, before: (u64, NoteCounts), number: u32) {
        self.state.looked_at = before.0 + u64::from(number);
        self.state.notes = before.1;
        for (_, note) in selected.notes.iter().take_while(|(at, _)| *at < number) {
            if let Some(count) = self.state.notes.get_mut(*note as usize) {
                *count += 1;
            }
        }
    }

    fn take_rows(
        &mut self,
        selected: &Arc<Selected>,
        rows: std::ops::Range<usize>,
        before: (u64, NoteCounts),
    ) {
        if rows.is_empty() {
            return;
        }
        let last = rows.end - 1;
        let ordinal = selected.ordinal_of(last);
        self.state.position = selected.position(last);
        let number = ordinal + 1 - selected.ordinal;
        self.count(selected, before, u32::try_from(number).unwrap_or(u32::MAX));
        if let Some(record) = selected.record(last) {
            self.state.last_key = coordinate_key(record.ref_id(), record.pos());
        }
        self.rows += rows.len();
        self.slices.push(Slice { selected: Arc::clone(selected), rows });
    }

    fn end_batch(&mut self, emit: &mut Emit<'_, Batch>) {
        self.group_weight += self.weight;
        self.group_rows += self.rows as u64;
        let full = |bytes: u64| self.group_weight >= bytes || self.group_rows >= GROUP_MAX_ROWS;
        let group_end = self.sizes.group_bytes.is_some_and(full);
        self.give(group_end, emit);
    }

    /// Ends the open batch and the open row group.
    fn end_group(&mut self, emit: &mut Emit<'_, Batch>) {
        if self.rows > 0 || self.group_rows > 0 {
            self.give(self.sizes.group_bytes.is_some(), emit);
        }
    }

    fn give(&mut self, group_end: bool, emit: &mut Emit<'_, Batch>) {
        self.state.given += self.rows as u64;
        let facts = GroupFacts {
            sorted_by_pos: self.group_sorted && self.group_one_reference,
            sorted_by_coordinate: self.group_sorted,
        };
        emit.push(Batch {
            slices: std::mem::take(&mut self.slices),
            rows: std::mem::take(&mut self.rows),
            weight: std::mem::take(&mut self.weight),
            group_end: group_end.then_some(facts),
            after: self.state,
        });
        if group_end {
            self.group_weight = 0;
            self.group_rows = 0;
            self.group_one_reference = true;
            self.group_sorted = true;
        }
    }
}
