//! Definition and repetition levels (the record shredding of the Dremel paper, `Encodings.md`).
//!
//! Most leaves are flat or lie in structs that are never null: their definition levels are the
//! validity bitmap itself. One list without nulls inside is cut by its offsets. Everything else
//! goes through a general computation, one step of the path at a time.

use super::bits::{copy_bits, hybrid, packed_header, run, width_of};
use super::plan::{Leaf, Step};
use super::values::Selection;
use arrow_array::cast::AsArray;
use arrow_array::types::Int32Type;
use arrow_array::{Array, ArrayRef};
use arrow_schema::DataType;
use seqmill_base::{Error, Result};

/// Marks a slot that ends above the leaf.
const DEAD: u32 = u32::MAX;

/// Levels and positions of the slots of a leaf.
#[derive(Debug, Default)]
struct Slots {
    rep: Vec<u8>,
    def: Vec<u8>,
    index: Vec<u32>,
}

impl Slots {
    fn clear(&mut self) {
        self.rep.clear();
        self.def.clear();
        self.index.clear();
    }

    fn push(&mut self, rep: u8, def: u8, index: u32) {
        self.rep.push(rep);
        self.def.push(def);
        self.index.push(index);
    }
}

/// Scratch memory.
#[derive(Debug, Default)]
pub(super) struct LevelScratch {
    now: Slots,
    next: Slots,
}

impl LevelScratch {
    pub(super) fn bytes(&self) -> usize {
        [&self.now, &self.next]
            .map(|s| s.rep.capacity() + s.def.capacity() + s.index.capacity() * 4)
            .iter()
            .sum()
    }

    /// Gives back memory beyond `keep` bytes per vector.
    pub(super) fn trim(&mut self, keep: usize) {
        for slots in [&mut self.now, &mut self.next] {
            slots.clear();
            slots.rep.shrink_to(keep);
            slots.def.shrink_to(keep);
            slots.index.shrink_to(keep / 4);
        }
    }
}

/// The values of one leaf in one batch.
pub(super) struct Shredded<'a> {
    pub(super) array: &'a dyn Array,
    pub(super) selection: Selection<'a>,
    /// `num_values`: levels, nulls included.
    pub(super) slots: usize,
}

/// Finds the values of `leaf` below `column` and appends their encoded levels to `out`.
pub(super) fn shred<'a>(
    leaf: &Leaf,
    column: &'a ArrayRef,
    scratch: &'a mut LevelScratch,
    out: &mut Vec<u8>,
) -> Result<Shredded<'a>> {
    let shape = Shape::of(leaf, column)?;
    if shape.lists == 0
        && let Some(shredded) = flat(leaf, &shape, column.len(), out)
    {
        return Ok(shredded);
    }
    if shape.lists == 1 && shape.leaf_valid && one_list(leaf, &shape, scratch, out) {
        let (start, len) = shape.list_range();
        let slots = if scratch.now.rep.is_empty() { column.len() } else { scratch.now.rep.len() };
        let selection = Selection::Range { start, len };
        return Ok(Shredded { array: shape.array, selection, slots });
    }
    general(leaf, column, scratch);
    let LevelScratch { now, .. } = scratch;
    levels(out, |out| hybrid(&now.rep, width(leaf.max_rep), out), leaf.max_rep > 0);
    levels(out, |out| hybrid(&now.def, width(leaf.max_def), out), leaf.max_def > 0);
    let slots = now.index.len();
    now.index.retain(|i| *i != DEAD);
    Ok(Shredded { array: shape.array, selection: Selection::Indices(&now.index), slots })
}

fn width(max: u8) -> u32 {
    width_of(max.into())
}

/// Appends levels with their length in front, as pages of version 1 have them.
fn levels(out: &mut Vec<u8>, encode: impl FnOnce(&mut Vec<u8>), present: bool) {
    if present {
        let start = out.len();
        out.extend_from_slice(&[0; 4]);
        encode(out);
        let len = (out.len() - start - 4) as u32;
        out[start..start + 4].copy_from_slice(&len.to_le_bytes());
    }
}

/// What the arrays on the way to a leaf look like.
struct Shape<'a> {
    array: &'a dyn Array,
    lists: usize,
    /// The only list, if there is just one.
    list: Option<&'a arrow_array::ListArray>,
    /// Definition levels of a null and of an empty list.
    list_defs: (u8, u8),
    /// No struct on the way has a null.
    structs_valid: bool,
    /// No item of the leaf is null, nor the structs below the first list.
    leaf_valid: bool,
    /// An Arrow dictionary has null among its values.
    null_values: bool,
}

impl<'a> Shape<'a> {
    fn of(leaf: &Leaf, column: &'a ArrayRef) -> Result<Self> {
        let mut shape = Self {
            array: column,
            lists: 0,
            list: None,
            list_defs: (0, 0),
            structs_valid: true,
            leaf_valid: true,
            null_values: false,
        };
        let mut def = 0;
        let bad = |nullable: bool, array: &dyn Array| {
            if !nullable && array.null_count() > 0 {
                let path = leaf.path.join(".");
                return Err(Error::internal(format!("column {path:?} must not hold nulls")));
            }
            Ok(())
        };
        for step in &leaf.steps {
            match *step {
                Step::Struct { nullable, child } => {
                    bad(nullable, shape.array)?;
                    shape.structs_valid &= shape.array.null_count() == 0;
                    def += u8::from(nullable);
                    shape.array = shape.array.as_struct().column(child);
                }
                Step::List { nullable } => {
                    bad(nullable, shape.array)?;
                    let list = shape.array.as_list::<i32>();
                    shape.list = Some(list);
                    shape.list_defs = (def, def + u8::from(nullable));
                    shape.lists += 1;
                    def = shape.list_defs.1 + 1;
                    shape.array = list.values();
                }
            }
        }
        bad(leaf.nullable, shape.array)?;
        if let DataType::Dictionary(..) = shape.array.data_type() {
            let values = shape.array.as_dictionary::<Int32Type>().values();
            shape.null_values = values.null_count() > 0;
        }
        shape.leaf_valid =
            shape.structs_valid && shape.array.null_count() == 0 && !shape.null_values;
        Ok(shape)
    }

    /// First item and number of items of the only list.
    fn list_range(&self) -> (usize, usize) {
        let offsets = self.list.map_or(&[][..], |list| list.value_offsets());
        match (offsets.first(), offsets.last()) {
            (Some(first), Some(last)) => (*first as usize, (last - first) as usize),
            _ => (0, 0),
        }
    }
}

/// A leaf without lists above it.
fn flat<'a>(
    leaf: &Leaf,
    shape: &Shape<'a>,
    rows: usize,
    out: &mut Vec<u8>,
) -> Option<Shredded<'a>> {
    let array = shape.array;
    if shape.leaf_valid {
        let max = leaf.max_def;
        levels(out, |out| run(max.into(), rows, width(max), out), max > 0);
        let selection = Selection::Range { start: 0, len: rows };
        return Some(Shredded { array, selection, slots: rows });
    }
    if !shape.structs_valid || shape.null_values {
        return None;
    }
    let nulls = array.nulls()?;
    let max = leaf.max_def;
    if nulls.null_count() == rows {
        levels(out, |out| run((max - 1).into(), rows, width(max), out), true);
        let selection = Selection::Range { start: 0, len: 0 };
        return Some(Shredded { array, selection, slots: rows });
    }
    if max != 1 {
        return None;
    }
    levels(
        out,
        |out| {
            packed_header(rows, out);
            copy_bits(nulls.validity(), nulls.offset(), rows, out);
        },
        true,
    );
    Some(Shredded { array, selection: Selection::Valid(nulls), slots: rows })
}

/// One list, nothing null but the list itself. False if its items are not one stretch. Leaves
/// `scratch` empty if the levels did not have to be spelled out.
fn one_list(leaf: &Leaf, shape: &Shape<'_>, scratch: &mut LevelScratch, out: &mut Vec<u8>) -> bool {
    let Some(list) = shape.list else { return false };
    let (rep_width, def_width) = (width(leaf.max_rep), width(leaf.max_def));
    let slots = &mut scratch.now;
    slots.clear();
    let (null_def, empty_def) = shape.list_defs;
    if shape.list_range().1 == 0 && (list.null_count() == 0 || list.null_count() == list.len()) {
        let def = if list.null_count() == 0 { empty_def } else { null_def };
        levels(out, |out| run(0, list.len(), rep_width, out), true);
        levels(out, |out| run(def.into(), list.len(), def_width, out), true);
        return true;
    }
    let offsets = list.value_offsets();
    for (row, pair) in offsets.windows(2).enumerate() {
        let len = (pair[1] - pair[0]) as usize;
        if list.is_null(row) {
            if len > 0 {
                return false;
            }
            slots.def.push(null_def);
        } else if len == 0 {
            slots.def.push(empty_def);
        } else {
            slots.def.resize(slots.def.len() + len, leaf.max_def);
        }
        slots.rep.push(0);
        slots.rep.resize(slots.def.len(), 1);
    }
    levels(out, |out| hybrid(&slots.rep, rep_width, out), true);
    levels(out, |out| hybrid(&slots.def, def_width, out), true);
    true
}

/// Any nesting: fills `scratch.now`.
fn general(leaf: &Leaf, column: &ArrayRef, scratch: &mut LevelScratch) {
    let LevelScratch { now, next } = scratch;
    now.clear();
    now.rep.resize(column.len(), 0);
    now.def.resize(column.len(), 0);
    now.index.extend(0..column.len() as u32);
    let mut array: &dyn Array = column;
    let mut list_rep = 0;
    for step in &leaf.steps {
        match *step {
            Step::Struct { nullable, child } => {
                if nullable {
                    descend(now, |i| array.is_valid(i));
                }
                array = array.as_struct().column(child);
            }
            Step::List { nullable } => {
                list_rep += 1;
                let list = array.as_list::<i32>();
                if nullable {
                    descend(now, |i| list.is_valid(i));
                }
                let offsets = list.value_offsets();
                next.clear();
                for ((&rep, &def), &index) in now.rep.iter().zip(&now.def).zip(&now.index) {
                    let (start, end) = match index {
                        DEAD => (0, 0),
                        i => (offsets[i as usize] as u32, offsets[i as usize + 1] as u32),
                    };
                    if start == end {
                        next.push(rep, def, DEAD);
                    } else {
                        next.push(rep, def + 1, start);
                        for item in start + 1..end {
                            next.push(list_rep, def + 1, item);
                        }
                    }
                }
                std::mem::swap(now, next);
                array = list.values();
            }
        }
    }
    if leaf.nullable {
        if let DataType::Dictionary(..) = array.data_type() {
            let array = array.as_dictionary::<Int32Type>();
            let (keys, values) = (array.keys(), array.values());
            descend(now, |i| keys.is_valid(i) && values.is_valid(keys.value(i) as usize));
        } else {
            descend(now, |i| array.is_valid(i));
        }
    }
}

/// Raises the level of the slots that are valid here and ends the others.
fn descend(slots: &mut Slots, valid: impl Fn(usize) -> bool) {
    for (def, index) in slots.def.iter_mut().zip(&mut slots.index) {
        if *index != DEAD {
            if valid(*index as usize) {
                *def += 1;
            } else {
                *index = DEAD;
            }
        }
    }
}
