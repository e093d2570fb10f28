//! Genome collections in AGC archives: read, written, appended to, inside one memory budget.

#![cfg_attr(not(test), warn(clippy::indexing_slicing))]
