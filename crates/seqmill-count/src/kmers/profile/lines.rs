//! Profiles of files as lines of text.

use super::{FileProfile, ProfileStretch};
use crate::kmers::dump::append_number;
use seqmill_base::Result;

/// Text that is given at once, about.
const TEXT_BYTES: usize = 1 << 18;

/// Consecutive windows of one count.
struct Run {
    name: Vec<u8>,
    begin: u64,
    end: u64,
    count: u64,
}

/// The lines of a profile: one for each window, or for each run of equal counts.
pub struct ProfileLines {
    profile: FileProfile,
    /// Gives bedGraph.
    runs: bool,
    stretch: Option<ProfileStretch>,
    /// Windows of the stretch that were given.
    at: usize,
    run: Option<Run>,
}

impl ProfileLines {
    /// Memory of the text at hand, and of what Python makes of it.
    pub const OUTPUT_BYTES: u64 = 16 * TEXT_BYTES as u64;

    /// The lines of `profile`.
    pub fn new(profile: FileProfile, runs: bool) -> Self {
        Self { profile, runs, stretch: None, at: 0, run: None }
    }

    /// The next lines, whole ones, or none at the end.
    pub fn next_lines(&mut self) -> Result<Option<Vec<u8>>> {
        let mut text = Vec::with_capacity(TEXT_BYTES + 256);
        while text.len() < TEXT_BYTES {
            let left = self.stretch.as_ref().is_some_and(|s| self.at < s.counts.len());
            if !left {
                // Before the next is made: there is room for one.
                self.stretch = None;
                self.stretch = self.profile.next_stretch()?;
                self.at = 0;
            }
            let Some(stretch) = self.stretch.take() else {
                self.end_run(&mut text);
                break;
            };
            let append = if self.runs { Self::append_runs } else { Self::append_windows };
            append(self, &stretch, &mut text);
            self.stretch = Some(stretch);
        }
        Ok((!text.is_empty()).then_some(text))
    }

    /// Record, first base (0-based), count or `NA`.
    fn append_windows(&mut self, stretch: &ProfileStretch, text: &mut Vec<u8>) {
        while text.len() < TEXT_BYTES && self.at < stretch.counts.len() {
            text.extend_from_slice(&stretch.name);
            text.push(b'\t');
            append_number(stretch.start + self.at as u64, text);
            text.push(b'\t');
            match stretch.valid[self.at] {
                0 => text.extend_from_slice(b"NA"),
                _ => append_number(stretch.counts[self.at], text),
            }
            text.push(b'\n');
            self.at += 1;
        }
    }

    /// Record, first base and the one behind the last (0-based), count; none across breaks.
    fn append_runs(&mut self, stretch: &ProfileStretch, text: &mut Vec<u8>) {
        if stretch.start == 0 && self.at == 0 {
            self.end_run(text);
        }
        while text.len() < TEXT_BYTES && self.at < stretch.counts.len() {
            let (begin, count) = (stretch.start + self.at as u64, stretch.counts[self.at]);
            let known = stretch.valid[self.at] == 1;
            let goes_on = self.run.as_ref().is_some_and(|run| known && run.count == count);
            if !goes_on {
                self.end_run(text);
                let name = stretch.name.clone();
                self.run = known.then_some(Run { name, begin, end: begin, count });
            }
            if let Some(run) = &mut self.run {
                run.end = begin + 1;
            }
            self.at += 1;
        }
    }

    fn end_run(&mut self, text: &mut Vec<u8>) {
        let Some(run) = self.run.take() else { return };
        text.extend_from_slice(&run.name);
        for number in [run.begin, run.end, run.count] {
            text.push(b'\t');
            append_number(number, text);
        }
        text.push(b'\n');
    }
}
