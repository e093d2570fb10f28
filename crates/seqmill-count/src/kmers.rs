//! K-mers counted exactly: extraction, counting, spill, merge, sorted tables.
