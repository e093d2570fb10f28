//! Depth of coverage by region, window and base.
