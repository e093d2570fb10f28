//! FASTQ, one step at a time: strictly four lines a record.

use super::{Cursor, Fault, State, Step, all_graphic};
use memchr::memchr;
use std::ops::Range;

impl Cursor {
    /// The next step through a FASTQ file.
    pub(super) fn fastq_step(&mut self) -> Result<Step, Fault> {
        loop {
            match self.state {
                State::Complete => {
                    self.state = State::Between;
                    return Ok(Step::End(self.bases));
                }
                State::Between => match self.chunk.get(self.at) {
                    None => return Ok(Step::More),
                    Some(b'@') => self.begin_header(),
                    // Blank lines between records are passed over.
                    Some(b'\n') => {
                        self.line += 1;
                        self.at += 1;
                    }
                    Some(b'\r') => self.at += 1,
                    Some(_) => {
                        let reason = "is not on a line that begins with @";
                        return Err(self.fault(self.at, "name", reason));
                    }
                },
                State::Header => {
                    if !self.take_header()? {
                        return Ok(Step::More);
                    }
                    self.held_cr = false;
                    self.state = State::Line;
                    return Ok(Step::Start);
                }
                State::Line => {
                    let Some((range, ended)) = self.take_line("sequence")? else {
                        return Ok(Step::More);
                    };
                    self.bases += range.len() as u64;
                    if ended {
                        self.state = State::PlusStart;
                    }
                    if !range.is_empty() {
                        return Ok(Step::Bases(range));
                    }
                }
                State::PlusStart => match self.chunk.get(self.at) {
                    None => return Ok(Step::More),
                    Some(b'+') => {
                        self.at += 1;
                        self.state = State::Plus;
                    }
                    Some(_) => {
                        let name = String::from_utf8_lossy(self.name()).into_owned();
                        let reason = format!("of {name:?} is not a line that begins with +");
                        return Err(self.fault(self.at, "separator", reason));
                    }
                },
                State::Plus => {
                    if !self.pass_plus() {
                        return Ok(Step::More);
                    }
                    self.held_cr = false;
                    self.state = State::Quality;
                }
                _ => {
                    let Some((range, ended)) = self.take_line("quality")? else {
                        return Ok(Step::More);
                    };
                    self.quality_bytes += range.len() as u64;
                    if self.quality_bytes > self.bases || (ended && self.quality_bytes < self.bases)
                    {
                        return Err(self.wrong_length(range.start, ended));
                    }
                    if ended {
                        self.state = State::Complete;
                    }
                    if self.qualities && !range.is_empty() {
                        return Ok(Step::Qualities(range));
                    }
                }
            }
        }
    }

    /// Takes a line as far as the chunk has it: its characters, and whether it has ended.
    #[inline]
    fn take_line(&mut self, field: &'static str) -> Result<Option<(Range<usize>, bool)>, Fault> {
        let begin = self.at;
        let rest = self.chunk.get(begin..).unwrap_or_default();
        if rest.is_empty() {
            return Ok(None);
        }
        if std::mem::take(&mut self.held_cr) && rest.first() != Some(&b'\n') {
            return Err(self.fault(begin, field, "holds characters other than ! to ~"));
        }
        let newline = memchr(b'\n', rest);
        let line = rest.get(..newline.unwrap_or(rest.len())).unwrap_or_default();
        let kept = line.strip_suffix(b"\r").unwrap_or(line);
        if !all_graphic(kept) {
            let odd = kept.iter().position(|b| !b.is_ascii_graphic()).unwrap_or(0);
            return Err(self.fault(begin + odd, field, "holds characters other than ! to ~"));
        }
        let kept = kept.len();
        // A CR at the end of the chunk may be half of a line end.
        self.held_cr = newline.is_none() && kept < line.len();
        self.at = begin + line.len() + usize::from(newline.is_some());
        self.line += u64::from(newline.is_some());
        Ok(Some((begin..begin + kept, newline.is_some())))
    }

    /// Passes over the third line; true once it has ended. What it repeats is of no use.
    fn pass_plus(&mut self) -> bool {
        let rest = self.chunk.get(self.at..).unwrap_or_default();
        let newline = memchr(b'\n', rest);
        self.at += newline.map_or(rest.len(), |end| end + 1);
        self.line += u64::from(newline.is_some());
        newline.is_some()
    }

    fn wrong_length(&self, at: usize, ended: bool) -> Fault {
        let name = String::from_utf8_lossy(self.name()).into_owned();
        let mut fault = self.fault(
            at,
            "quality",
            format!("of {name:?} has another length than the sequence of {} bases", self.bases),
        );
        fault.line = self.line - u64::from(ended);
        fault
    }
}
