//! Tags to columns: one for each name, integers in 64 bits, as the table has them.

use crate::Result;
use crate::columns::{FIXED_BYTES, Text};

/// Values of one tag. Rows without it have an empty text, or 0.
pub enum Values {
    Integer(Vec<i64>),
    /// Text and arrays, without NUL and count; floats and characters as their bytes.
    Bytes(Text),
}

impl Values {
    fn new(kind: u8, data_bytes: usize) -> Self {
        let mut values = match kind {
            b'c' | b'C' | b's' | b'S' | b'i' | b'I' => Self::Integer(Vec::new()),
            _ => Self::Bytes(Text::default()),
        };
        values.reserve(data_bytes);
        values
    }

    fn reserve(&mut self, data_bytes: usize) {
        match self {
            Self::Integer(values) => values.reserve(data_bytes / FIXED_BYTES + 1),
            Self::Bytes(text) => text.reserve(data_bytes, 1),
        }
    }

    fn rows(&self) -> usize {
        match self {
            Self::Integer(values) => values.len(),
            Self::Bytes(text) => text.ends.len(),
        }
    }

    /// Fills the rows up to `rows`.
    fn pad(&mut self, rows: usize) {
        match self {
            Self::Integer(values) if values.len() < rows => values.resize(rows, 0),
            Self::Bytes(text) if text.ends.len() < rows => {
                text.ends.resize(rows, text.bytes.len() as u32);
            }
            _ => {}
        }
    }
}

/// Names that come up in these first rows have a column: a table's fields, too, are found at the
/// beginning, and a column for each rare tag would only be longer.
const SAMPLE_ROWS: usize = 10_000;

/// All tags of the rows that are not written yet.
pub struct Tags {
    pub columns: Vec<Values>,
    /// What has no place in a column: names that come up late, the second of its name, another
    /// type.
    pub others: Text,
    /// Column number plus one by the two bytes of the name.
    lookup: Box<[u16; 1 << 16]>,
    data_bytes: usize,
    rows: usize,
}

impl Default for Tags {
    fn default() -> Self {
        Self {
            columns: Vec::new(),
            others: Text::default(),
            lookup: Box::new([0; 1 << 16]),
            data_bytes: 0,
            rows: 0,
        }
    }
}

impl Tags {
    pub fn size(&self) -> usize {
        let size = |values: &Values| match values {
            Values::Integer(values) => 8 * values.len(),
            Values::Bytes(text) => text.size(),
        };
        self.columns.iter().map(size).sum::<usize>() + self.others.size()
    }

    /// Makes room for the tags of `data_bytes` of records.
    pub fn reserve(&mut self, data_bytes: usize) {
        self.data_bytes = data_bytes;
        self.others.reserve(data_bytes, 1);
        for column in &mut self.columns {
            column.reserve(data_bytes);
        }
    }

    pub fn pad(&mut self, rows: usize) {
        for column in &mut self.columns {
            column.pad(rows);
        }
    }

    pub fn clear(&mut self) {
        self.others.clear();
        for column in &mut self.columns {
            match column {
                Values::Integer(values) => values.clear(),
                Values::Bytes(text) => text.clear(),
            }
        }
    }

    /// Walks over the tags of a row and copies each to its column.
    #[inline(always)]
    pub fn take(&mut self, tags: &[u8], row: usize) -> Result<()> {
        let mut rest = tags;
        while let Some(([first, second, kind], after)) = rest.split_first_chunk::<3>() {
            let (skip, size, end) = match kind {
                b'A' | b'c' | b'C' => (0, 1, 0),
                b's' | b'S' => (0, 2, 0),
                b'i' | b'I' | b'f' => (0, 4, 0),
                b'Z' | b'H' => (0, memchr::memchr(0, after).ok_or("a tag is damaged")?, 1),
                b'B' => {
                    let head = after.first_chunk::<5>().ok_or("a tag is damaged")?;
                    let item = match head[0] {
                        b'c' | b'C' => 1,
                        b's' | b'S' => 2,
                        b'i' | b'I' | b'f' => 4,
                        _ => return Err("a tag is damaged".into()),
                    };
                    let count = u32::from_le_bytes([head[1], head[2], head[3], head[4]]);
                    (5, item * count as usize, 0)
                }
                _ => return Err("a tag is damaged".into()),
            };
            let value = after.get(skip..skip + size).ok_or("a tag is damaged")?;
            rest = after.get(skip + size + end..).ok_or("a tag is damaged")?;
            let name = usize::from(u16::from_le_bytes([*first, *second]));
            if self.lookup[name] == 0 && self.rows < SAMPLE_ROWS {
                self.new_column(name, *kind);
            }
            let column = self.columns.get_mut(usize::from(self.lookup[name]).wrapping_sub(1));
            let column = column.filter(|column| column.rows() <= row);
            match column {
                Some(Values::Integer(values)) => {
                    if values.len() < row {
                        values.resize(row, 0);
                    }
                    values.push(integer(*kind, value));
                }
                Some(Values::Bytes(text)) => {
                    if text.ends.len() < row {
                        text.ends.resize(row, text.bytes.len() as u32);
                    }
                    // SAFETY: `reserve` has made room for all tags of the unit, which lies within
                    // data that has slack behind it.
                    unsafe { text.append(value) };
                    text.end_entry();
                }
                None => {
                    // SAFETY: as above.
                    unsafe { self.others.append(value) };
                    self.others.end_entry();
                }
            }
        }
        self.rows += 1;
        if rest.is_empty() { Ok(()) } else { Err("a tag is damaged".into()) }
    }

    #[cold]
    fn new_column(&mut self, name: usize, kind: u8) {
        self.columns.push(Values::new(kind, self.data_bytes));
        self.lookup[name] = self.columns.len() as u16;
    }
}

/// An integer of any of the six types.
#[inline(always)]
fn integer(kind: u8, value: &[u8]) -> i64 {
    let byte = |at: usize| value.get(at).copied().unwrap_or(0);
    match kind {
        b'c' => i64::from(byte(0) as i8),
        b'C' => i64::from(byte(0)),
        b's' => i64::from(i16::from_le_bytes([byte(0), byte(1)])),
        b'S' => i64::from(u16::from_le_bytes([byte(0), byte(1)])),
        b'i' => i64::from(i32::from_le_bytes([0, 1, 2, 3].map(byte))),
        _ => i64::from(u32::from_le_bytes([0, 1, 2, 3].map(byte))),
    }
}
