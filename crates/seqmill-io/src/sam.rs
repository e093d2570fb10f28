//! SAM, the text form of alignments (`SAMv1 §1`): header checks, and lines to BAM records.
//!
//! noodles-sam reads header and records into typed values: it keeps neither the header's text nor
//! the line and field of a fault, lets pass what the grammar forbids (clips inside a CIGAR, tags
//! that occur twice, characters of names), and its values would have to be encoded once more.
//! Lines are therefore read here, straight into the bytes of a BAM record.

mod header;
mod line;
mod number;
mod tags;

pub use header::{SamHeader, is_header_line};
pub use line::{LineParser, NOTICES, Notices};
pub(crate) use line::{bin, write_packed};
