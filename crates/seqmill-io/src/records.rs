//! From an input of any kind to its records, in parallel and in order: what it is, its header,
//! units of its bytes, and where in them records begin.
//!
//! ```text
//! scan ─▶ load ─▶ stitch (─▶ parse ─▶ number, for SAM)
//! blocks  inflate  records    lines    in order
//! ```

mod assemble;
mod input;
mod lines;
mod load;
mod unit;

pub use assemble::{Assembly, Scanned};
pub use input::{Container, Head, Input, Kind, OpenOptions, RawUnit, UnitSource, open_input};
pub use lines::{LineNumberer, Parsed, parse_lines};
pub use load::{
    Breaks, LoadInput, STRETCH_UNIT_BYTES, StitchInput, Stitcher, UNIT_BYTES, load_unit,
};
pub use unit::{Hop, Joined, Loaded, Stitched, TextRun, Unit, record_body, record_need, row_need};
