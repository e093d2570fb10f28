//! The boundary to Python: `seqmill._native`. One file per capability; nothing here computes.
#![allow(
    clippy::needless_pass_by_value,
    reason = "arguments of Python functions arrive as values of their own"
)]

mod archive;
mod arrow;
mod attention;
mod convert;
mod coverage;
mod error;
mod fetch;
mod files;
mod job;
mod kmers;
mod remote;
mod repeats;

use pyo3::prelude::*;

/// Version of the engine.
#[pyfunction]
fn version() -> &'static str {
    env!("CARGO_PKG_VERSION")
}

/// Instruction sets the engine uses on this machine.
#[pyfunction]
fn features() -> Vec<&'static str> {
    vec![seqmill_convert::Kernel::detect().name()]
}

/// Whether the engine was built without optimisation.
#[pyfunction]
fn debug_build() -> bool {
    cfg!(debug_assertions)
}

#[pymodule(gil_used = false)]
fn _native(module: &Bound<'_, PyModule>) -> PyResult<()> {
    seqmill_base::process::tame_allocator();
    module.add_function(wrap_pyfunction!(version, module)?)?;
    module.add_function(wrap_pyfunction!(features, module)?)?;
    module.add_function(wrap_pyfunction!(debug_build, module)?)?;
    module.add_function(wrap_pyfunction!(files::fingerprint, module)?)?;
    module.add_function(wrap_pyfunction!(files::hash_file, module)?)?;
    module.add_function(wrap_pyfunction!(files::hash_bytes, module)?)?;
    module.add_function(wrap_pyfunction!(files::bgzf_compress, module)?)?;
    module.add_function(wrap_pyfunction!(files::bgzf_compress_file, module)?)?;
    module
        .add("BGZF_EOF", pyo3::types::PyBytes::new(module.py(), &seqmill_io::bgzf::EOF_MARKER))?;
    module.add_function(wrap_pyfunction!(convert::convert, module)?)?;
    module.add_function(wrap_pyfunction!(convert::make_chunk_index, module)?)?;
    module.add_class::<convert::AlignmentScan>()?;
    module.add_class::<convert::BatchStream>()?;
    module.add_function(wrap_pyfunction!(coverage::measure_coverage, module)?)?;
    module.add_function(wrap_pyfunction!(coverage::coverage_plan, module)?)?;
    module.add_function(wrap_pyfunction!(coverage::coverage_share, module)?)?;
    module.add_function(wrap_pyfunction!(coverage::coverage_assemble, module)?)?;
    module.add_class::<coverage::CoverageRows>()?;
    module.add_class::<remote::RemoteFiles>()?;
    module.add_class::<remote::RangeQueue>()?;
    module.add_class::<fetch::FetchStore>()?;
    module.add_class::<fetch::FetchEncoder>()?;
    module.add_class::<archive::ArchiveReader>()?;
    module.add_class::<archive::ArchiveTable>()?;
    module.add_function(wrap_pyfunction!(archive::is_archive, module)?)?;
    module.add_function(wrap_pyfunction!(archive::archive_unpack, module)?)?;
    module.add_function(wrap_pyfunction!(archive::archive_verify, module)?)?;
    module.add_function(wrap_pyfunction!(repeats::find_repeats, module)?)?;
    module.add_class::<repeats::RepeatRun>()?;
    module.add_function(wrap_pyfunction!(archive::archive_pack, module)?)?;
    module.add_function(wrap_pyfunction!(archive::archive_rename, module)?)?;
    module.add_function(wrap_pyfunction!(kmers::kmers_count, module)?)?;
    module.add_function(wrap_pyfunction!(kmers::kmers_merge, module)?)?;
    module.add_function(wrap_pyfunction!(kmers::kmers_boundaries, module)?)?;
    module.add_function(wrap_pyfunction!(kmers::kmers_digest, module)?)?;
    module.add_function(wrap_pyfunction!(kmers::sequence_parts, module)?)?;
    module.add_function(wrap_pyfunction!(kmers::kmers_dump, module)?)?;
    module.add_function(wrap_pyfunction!(kmers::kmers_records, module)?)?;
    module.add_function(wrap_pyfunction!(kmers::kmers_regions, module)?)?;
    module.add_function(wrap_pyfunction!(kmers::kmers_profile, module)?)?;
    module.add_function(wrap_pyfunction!(kmers::kmers_profile_lines, module)?)?;
    module.add_function(wrap_pyfunction!(kmers::kmers_profile_table, module)?)?;
    module.add_class::<kmers::KmerTable>()?;
    module.add_class::<kmers::KmerProfile>()?;
    module.add_class::<kmers::KmerProfileLines>()?;
    module.add_class::<kmers::KmerTableStream>()?;
    Ok(())
}
