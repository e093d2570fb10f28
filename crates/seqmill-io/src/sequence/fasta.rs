//! FASTA, one step at a time.

use super::{Cursor, Fault, State, Step, all_graphic};

/// White space that is passed over within lines.
fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\r' | 0x0b | 0x0c)
}

impl Cursor {
    /// The next step through a FASTA file.
    pub(super) fn fasta_step(&mut self) -> Result<Step, Fault> {
        loop {
            match self.state {
                State::Between => {
                    let Some(byte) = self.chunk.get(self.at) else { return Ok(Step::More) };
                    debug_assert_eq!(*byte, b'>');
                    self.begin_header();
                }
                State::Header => {
                    if !self.take_header()? {
                        return Ok(Step::More);
                    }
                    self.state = State::LineStart;
                    return Ok(Step::Start);
                }
                _ => {
                    if self.state == State::LineStart && self.chunk.get(self.at) == Some(&b'>') {
                        self.state = State::Between;
                        return Ok(Step::End(self.bases));
                    }
                    if self.at >= self.chunk.len() {
                        return Ok(Step::More);
                    }
                    let begin = self.at;
                    let end = self.compact()?;
                    if end > begin {
                        self.bases += (end - begin) as u64;
                        return Ok(Step::Bases(begin..end));
                    }
                }
            }
        }
    }

    /// Moves the bases of the lines from here to the next header, or to the end of the chunk,
    /// together. Returns where they end.
    fn compact(&mut self) -> Result<usize, Fault> {
        let mut to = self.at;
        loop {
            if self.state == State::LineStart && self.chunk.get(self.at) == Some(&b'>') {
                return Ok(to);
            }
            let rest = self.chunk.get(self.at..).unwrap_or_default();
            if rest.is_empty() {
                return Ok(to);
            }
            let newline = memchr::memchr(b'\n', rest);
            let length = newline.unwrap_or(rest.len());
            let line = rest.get(..length).unwrap_or_default();
            let kept = line.strip_suffix(b"\r").unwrap_or(line);
            if all_graphic(kept) {
                let kept = kept.len();
                if to != self.at {
                    self.chunk.copy_within(self.at..self.at + kept, to);
                }
                to += kept;
            } else {
                to = self.filter(length, to)?;
            }
            self.at += length + usize::from(newline.is_some());
            if newline.is_some() {
                self.line += 1;
                self.state = State::LineStart;
            } else {
                self.state = State::Line;
            }
        }
    }

    /// Moves the bases of a line that also has other characters.
    fn filter(&mut self, length: usize, mut to: usize) -> Result<usize, Fault> {
        for from in self.at..self.at + length {
            let Some(byte) = self.chunk.get(from).copied() else { break };
            if byte.is_ascii_graphic() {
                if let Some(place) = self.chunk.get_mut(to) {
                    *place = byte;
                }
                to += 1;
            } else if !is_blank(byte) {
                return Err(self.fault(from, "sequence", "holds characters other than ! to ~"));
            }
        }
        Ok(to)
    }
}
