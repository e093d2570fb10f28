//! Many windows at once: sorted by place, blocks inflated once, threads side by side.

use crate::blocks::Stretch;
use crate::encode::{Encoder, Writer};
use crate::flat::{Format, REGULAR_BYTES};
use crate::read::{OpenView, STEP_BLOCKS, describe};
use crate::spaced::may_be_spaced;
use crate::store::{Contig, Process, Store};
use crate::window::{Lines, Place};
use seqmill_base::{CancelToken, Error, ErrorKind, Result};
use std::ops::Range;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Compressed bytes between two windows that are read rather than skipped.
const GAP_BYTES: u64 = 64 << 10;
/// Compressed bytes that are read at once at most, if one window does not need more.
const READ_BYTES: u64 = 1 << 20;
/// Pieces of the work for each thread: the last ones are short.
const PIECES: u64 = 8;
/// The same where a cut would inflate blocks twice.
const SHARED_PIECES: u64 = 2;

/// One window of a batch.
#[derive(Debug, Clone, Copy)]
pub struct Window {
    /// Index of the file.
    pub file: u32,
    /// Index of the contig within the file.
    pub contig: u32,
    /// Where it lies.
    pub place: Place,
    /// Whether the reverse complement is wanted.
    pub minus: bool,
}

/// A window with its order in the files and its part of the output.
struct Task {
    window: Window,
    /// Its first and last block; for plain files the place in the text.
    blocks: (u64, u64),
    /// Whether these are blocks that windows may share.
    in_blocks: bool,
    out: Range<usize>,
}

/// The output of a batch, of which each window has a part of its own.
struct Output {
    begin: *mut u8,
    length: usize,
}

// SAFETY: `part` gives each range to one task only, and ranges do not overlap.
unsafe impl Sync for Output {}

impl Output {
    /// # Safety
    /// No two ranges that are in use at one time may overlap.
    #[expect(clippy::mut_from_ref, reason = "disjoint parts, as the caller promises")]
    unsafe fn part(&self, range: &Range<usize>) -> Option<&mut [u8]> {
        if range.start > range.end || range.end > self.length {
            return None;
        }
        // SAFETY: the range lies within the buffer, and the caller promises that it is not shared.
        Some(unsafe { std::slice::from_raw_parts_mut(self.begin.add(range.start), range.len()) })
    }
}

impl Store {
    /// Writes windows into `out` one after the other in the order given. If `row_bases` is not
    /// zero, each window takes as many bases of the output, and what it lacks is padding.
    pub fn read_many(
        &self,
        windows: &[Window],
        row_bases: usize,
        (encoder, pad): (&Encoder, u8),
        out: &mut [u8],
        threads: usize,
        cancel: &CancelToken,
    ) -> Result<()> {
        let process = self.process();
        let mut tasks = self.plan(process, windows, row_bases, encoder, out.len())?;
        tasks.sort_unstable_by_key(|t| {
            (t.window.file, t.blocks, t.window.contig, t.window.place.start)
        });
        let pieces = cut(&tasks, threads);
        let output = Output { begin: out.as_mut_ptr(), length: out.len() };
        let next = AtomicUsize::new(0);
        let failure: Mutex<Option<Error>> = Mutex::new(None);
        let work = || {
            let mut stretch = process.take_stretch(self.verify_blocks());
            while let Some(piece) = pieces.get(next.fetch_add(1, Ordering::Relaxed)) {
                let tasks = tasks.get(piece.clone()).unwrap_or_default();
                if let Err(error) =
                    self.read_piece(process, tasks, (encoder, pad), &output, &mut stretch, cancel)
                {
                    next.fetch_add(pieces.len(), Ordering::Relaxed);
                    let mut failure =
                        failure.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                    failure.get_or_insert(error);
                }
            }
            process.give_stretch(stretch);
        };
        let threads = threads.min(pieces.len());
        if threads <= 1 {
            work();
        } else {
            // The caller only waits: a processor that falls idle takes a thread over at once, while
            // one that was idle before leaves two on the other for longer than a batch takes.
            std::thread::scope(|scope| {
                for _ in 0..threads {
                    scope.spawn(work);
                }
            });
        }
        failure.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner).map_or(Ok(()), Err)
    }

    fn plan(
        &self,
        process: &Process,
        windows: &[Window],
        row_bases: usize,
        encoder: &Encoder,
        room: usize,
    ) -> Result<Vec<Task>> {
        let mut tasks = Vec::with_capacity(windows.len());
        let mut at = 0_usize;
        let mut view: Option<OpenView<'_>> = None;
        for &window in windows {
            let bases = usize::try_from(window.place.bases())
                .map_err(|_| Error::out_of_range("a window is too long for this machine"))?;
            let mut window = window;
            if row_bases > 0 {
                let lacking = row_bases
                    .checked_sub(bases)
                    .ok_or_else(|| Error::input("a window is longer than its row"))?;
                // The padding stands behind the window, also where that is read backwards.
                let side =
                    if window.minus { &mut window.place.left } else { &mut window.place.right };
                *side += lacking as u64;
            }
            let bytes = encoder.output_bytes(row_bases.max(bases));
            let packed = self.packed(process, window.file)?.is_some();
            if !packed && view.as_ref().is_none_or(|view| view.id != window.file) {
                view = Some(self.open_view(process, window.file)?);
            }
            let contig = self.contig(window.file, window.contig)?;
            let Place { start, end, .. } = window.place;
            let blocks = match &view {
                _ if packed => (start, start),
                Some(view) if view.format == Format::Archive => (start, end),
                Some(view) if end > start => {
                    let span =
                        (contig.geometry.position(start), contig.geometry.position(end - 1) + 1);
                    if view.format == Format::Plain {
                        span
                    } else {
                        let (first, last) = view.block_range(span.0, span.1);
                        (u64::from(first), u64::from(last))
                    }
                }
                _ => (0, 0),
            };
            let in_blocks = !packed
                && view
                    .as_ref()
                    .is_some_and(|view| matches!(view.format, Format::Bgzf | Format::Gzip));
            let end = at.checked_add(bytes).ok_or_else(|| {
                Error::out_of_range("the windows together are too long for this machine")
            })?;
            tasks.push(Task { window, blocks, in_blocks, out: at..end });
            at = end;
        }
        if at != room {
            return Err(Error::input(format!(
                "the output has {room} bytes where the windows take {at}"
            )));
        }
        Ok(tasks)
    }

    fn read_piece(
        &self,
        process: &Process,
        tasks: &[Task],
        (encoder, pad): (&Encoder, u8),
        output: &Output,
        stretch: &mut Stretch,
        cancel: &CancelToken,
    ) -> Result<()> {
        stretch.clear();
        let mut view: Option<OpenView<'_>> = None;
        for (i, task) in tasks.iter().enumerate() {
            cancel.check()?;
            let Task { window, out, .. } = task;
            // SAFETY: tasks have parts that do not overlap, and each task is in one piece.
            let Some(out) = (unsafe { output.part(out) }) else {
                return Err(Error::internal("a window lies outside of the output"));
            };
            let contig = self.contig(window.file, window.contig)?;
            let total = usize::try_from(window.place.bases()).unwrap_or(0);
            let mut writer = Writer::new(encoder, out, total, window.minus)?;
            writer.pad(usize::try_from(window.place.left).unwrap_or(0), pad);
            let Place { start, end, .. } = window.place;
            if end > start
                && let Some(packed) = self.packed(process, window.file)?
            {
                packed.read(&contig, (start, end), &mut writer)?;
            } else if end > start {
                if view.as_ref().is_none_or(|view| view.id != window.file) {
                    stretch.clear();
                    view = Some(self.open_view(process, window.file)?);
                }
                if let Some(view) = &view {
                    let rest = tasks.get(i..).unwrap_or_default();
                    self.read_task(process, view, &contig, rest, stretch, &mut writer)
                        .map_err(|e| explain(e, view, &contig, &window.place))?;
                }
            }
            writer.pad(usize::try_from(window.place.right).unwrap_or(0), pad);
        }
        Ok(())
    }

    /// Reads the first of `tasks`, looking ahead to those that follow.
    fn read_task(
        &self,
        process: &Process,
        view: &OpenView<'_>,
        contig: &Contig<'_>,
        tasks: &[Task],
        stretch: &mut Stretch,
        writer: &mut Writer<'_>,
    ) -> Result<()> {
        let Some(task) = tasks.first() else { return Ok(()) };
        let place = task.window.place;
        if view.format == Format::Archive {
            return self.read_archive(process, &view.file, contig, &place, stretch, writer);
        }
        let Place { start, end, .. } = place;
        if !process.is_checked(contig.ordinal) && !self.is_raw() {
            let mut other = process.take_stretch(self.verify_blocks());
            let checked = self.check_contig(process, view, contig, &mut other);
            process.give_stretch(other);
            checked?;
        }
        let geometry = &contig.geometry;
        if may_be_spaced(geometry) && !self.is_raw() {
            return view.read_spaced(&process.cache, stretch, contig, (start, end), writer);
        }
        let span = (geometry.position(start), geometry.position(end - 1) + 1);
        let mut lines = Lines::new(geometry, contig.name, start, end, self.is_raw());
        let narrow = |block: u64| u32::try_from(block).unwrap_or(u32::MAX);
        let (first, last) = (narrow(task.blocks.0), narrow(task.blocks.1));
        if view.format == Format::Plain || last.saturating_sub(first) >= STEP_BLOCKS {
            view.read_text(&process.cache, stretch, span, |text| lines.take(text, writer))?;
        } else {
            let until = read_until(view, tasks, last);
            stretch.load(&view.block_file(), (first, last), span.1, until)?;
            lines.take(stretch.text(span.0, span.1), writer)?;
        }
        lines.finish()
    }
}

/// How far the file is read for the first of `tasks`: over those that follow closely.
fn read_until(view: &OpenView<'_>, tasks: &[Task], last: u32) -> u64 {
    let begin = tasks.first().map_or(0, |t| compressed(view, t.blocks.0));
    let mut until = view.read_until(last);
    for next in tasks.iter().skip(1) {
        let close = next.window.file == view.id
            && compressed(view, next.blocks.0) <= until.saturating_add(GAP_BYTES);
        let end = view.read_until(u32::try_from(next.blocks.1).unwrap_or(u32::MAX - 1));
        if !close || end.saturating_sub(begin) > READ_BYTES {
            break;
        }
        until = until.max(end);
    }
    until
}

fn compressed(view: &OpenView<'_>, block: u64) -> u64 {
    view.blocks.compressed(u32::try_from(block).unwrap_or(u32::MAX))
}

fn explain(error: Error, view: &OpenView<'_>, contig: &Contig<'_>, place: &Place) -> Error {
    if !matches!(error.kind(), ErrorKind::Format(_)) {
        return error;
    }
    error.at_path(view.file.path()).within(&describe(contig, place))
}

/// Work of a piece of text that is as long as a block.
const BLOCK_WORK: u64 = 16;

/// What it takes to read `task` behind `previous`: blocks that the two share are inflated already.
fn work_of(task: &Task, shared_until: Option<u64>) -> u64 {
    if !task.in_blocks {
        let bases = task.window.place.end - task.window.place.start;
        return 1 + bases * BLOCK_WORK / REGULAR_BYTES;
    }
    let first = shared_until.map_or(task.blocks.0, |last| task.blocks.0.max(last + 1));
    // Bases of shared blocks are copied for each window: a sixteenth of inflating them.
    let copied = (task.window.place.end - task.window.place.start) / REGULAR_BYTES;
    1 + copied + BLOCK_WORK * (task.blocks.1 + 1).saturating_sub(first)
}

/// Cuts sorted tasks into pieces for so many threads. Where windows share blocks, a cut means that
/// these are inflated twice, so that there are few such cuts.
fn cut(tasks: &[Task], threads: usize) -> Vec<Range<usize>> {
    let mut last = None;
    let mut works = Vec::with_capacity(tasks.len());
    for (i, task) in tasks.iter().enumerate() {
        let previous = i.checked_sub(1).and_then(|i| tasks.get(i));
        if previous.is_none_or(|p| p.window.file != task.window.file) || !task.in_blocks {
            last = None;
        }
        let shares = last.is_some_and(|last| task.blocks.0 <= last);
        works.push((work_of(task, last), shares));
        last = Some(last.map_or(task.blocks.1, |last: u64| last.max(task.blocks.1)));
    }
    let total: u64 = works.iter().map(|(work, _)| work).sum();
    let threads = threads as u64;
    let (small, large) = (total / (threads * PIECES), total / (threads * SHARED_PIECES));
    let (mut pieces, mut begin, mut held) = (Vec::new(), 0, 0);
    for (i, &(work, shares)) in works.iter().enumerate() {
        let enough = if shares { large } else { small };
        if threads > 1 && i > begin && held > 0 && held >= enough {
            pieces.push(begin..i);
            (begin, held) = (i, 0);
        }
        held += work;
    }
    if begin < tasks.len() {
        pieces.push(begin..tasks.len());
    }
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;

    fn task(file: u32, blocks: (u64, u64)) -> Task {
        let place = Place { start: 0, end: 1000, left: 0, right: 0 };
        let window = Window { file, contig: 0, place, minus: false };
        Task { window, blocks, in_blocks: true, out: 0..0 }
    }

    #[test]
    fn pieces_hold_everything_once_and_rarely_share_blocks() {
        let chain: Vec<Task> = (0..300).map(|i| task(0, (i, i + 3))).collect();
        let apart: Vec<Task> =
            (0..300).map(|i| task(i / 100, (5 * u64::from(i), 5 * u64::from(i)))).collect();
        for (tasks, two) in [(&chain, 3..=4), (&apart, 12..=16)] {
            for threads in [1, 2, 8] {
                let pieces = cut(tasks, threads);
                let every: Vec<usize> = pieces.iter().cloned().flatten().collect();
                assert!(every.into_iter().eq(0..300));
                if threads == 1 {
                    assert_eq!(pieces.len(), 1);
                } else if threads == 2 {
                    assert!(two.contains(&pieces.len()), "{}", pieces.len());
                }
            }
        }
        assert!(cut(&[], 2).is_empty());
    }
}
