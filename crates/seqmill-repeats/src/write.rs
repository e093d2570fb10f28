//! What a run writes.

pub(crate) mod reprise;
