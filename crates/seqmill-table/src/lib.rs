//! Tables: record batches into files.

pub mod ipc;
pub mod parquet;
