//! What a run writes.

mod bed;
mod gff3;
mod library;
mod masked;
pub(crate) mod reprise;
mod seeds;
mod stockholm;

pub(crate) use bed::bed;
pub(crate) use gff3::gff3;
pub(crate) use library::library;
pub(crate) use masked::{Masking, masked};
pub(crate) use seeds::seeds;
pub(crate) use stockholm::stockholm;

use crate::run::Found;
use crate::text::Text;

/// What is written about.
#[derive(Clone, Copy)]
pub(crate) struct Content<'a> {
    pub(crate) text: &'a Text,
    pub(crate) found: &'a Found,
    /// Elements in the order of the genome rather than of the families.
    pub(crate) by_place: bool,
}

impl Content<'_> {
    /// Numbers of the elements in the order asked for.
    fn order(&self) -> Vec<u32> {
        let elements = &self.found.state.elements;
        if self.by_place {
            crate::tables::by_place(self.text, elements)
        } else {
            (0..elements.len() as u32).collect()
        }
    }
}
