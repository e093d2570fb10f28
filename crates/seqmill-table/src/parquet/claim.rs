//! Bounds of the memory that encoding a batch takes, before it begins.

use super::KEEP_BYTES;
use arrow_array::cast::AsArray;
use arrow_array::types::Int32Type;
use arrow_array::{Array, RecordBatch};
use arrow_schema::DataType;

/// Beside the pages: levels of a few rows, headers, the lists of pages.
const FLOOR_BYTES: usize = 64 << 10;
/// Bytes of a dictionary value that count where a dictionary is given up; ours are names.
const NAME_BYTES: usize = 16;

/// What the leaves of a batch take.
#[derive(Default)]
struct Claim {
    /// All finished pages.
    pages: usize,
    /// Scratch memory in the work on the largest.
    work: usize,
}

impl Claim {
    fn add(&mut self, array: &dyn Array, lists: usize) {
        match array.data_type() {
            DataType::Struct(_) => {
                array.as_struct().columns().iter().for_each(|child| self.add(child, lists));
            }
            DataType::List(_) => self.add(array.as_list::<i32>().values(), lists + 1),
            DataType::Utf8 => self.add_texts(array, array.as_string::<i32>().value_data(), lists),
            DataType::Binary => self.add_texts(array, array.as_binary::<i32>().value_data(), lists),
            DataType::FixedSizeBinary(bytes) => {
                let bytes = usize::try_from(*bytes).unwrap_or(0);
                self.add_leaf(array.len(), bytes * (array.len() - array.null_count()), 0, lists);
            }
            DataType::Dictionary(..) => {
                let keys = array.as_dictionary::<Int32Type>().len();
                self.add_leaf(keys, (4 + NAME_BYTES) * keys, 2 * keys, lists);
            }
            other => {
                let width = other.primitive_width().unwrap_or(1);
                let physical = width.max(4);
                let values = physical * (array.len() - array.null_count());
                let scratch = if width < 4 || array.null_count() > 0 { values } else { 0 };
                self.add_leaf(array.len(), values, scratch, lists);
            }
        }
    }

    fn add_texts(&mut self, array: &dyn Array, data: &[u8], lists: usize) {
        let lengths = 4 * (array.len() - array.null_count());
        self.add_leaf(array.len(), data.len() + lengths, lengths, lists);
    }

    /// `values` bytes make the body of the page, `scratch` more are needed on the way.
    fn add_leaf(&mut self, slots: usize, values: usize, scratch: usize, lists: usize) {
        let levels = slots / 4 + 16;
        let body = values + levels;
        let page = body + body / 64 + 64;
        let slots = match lists {
            0 => 0,
            1 => 2 * slots,
            _ => 12 * slots,
        };
        self.pages += page;
        self.work = self.work.max(body + page + scratch + slots);
    }
}

/// Bytes that the pages of a batch take at most, with the scratch memory on the way to them beyond
/// what encoders keep.
pub fn claim_bytes(batch: &RecordBatch) -> u64 {
    let mut claim = Claim::default();
    batch.columns().iter().for_each(|column| claim.add(column, 0));
    (claim.pages + claim.work.saturating_sub(KEEP_BYTES) + FLOOR_BYTES) as u64
}
