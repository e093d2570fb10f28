//! Damage met exactly where an index pointed: the index is to blame, not the data.

use crate::inputs::Inputs;
use crate::setup::Setup;
use seqmill_io::bam::index::IndexedPlaces;

/// The places that the index gave of a run that uses one.
pub(crate) fn indexed_places(inputs: &Inputs, setup: &Setup) -> Option<IndexedPlaces> {
    setup.index_used?;
    let path = inputs.index().ok()??.path().to_path_buf();
    Some(IndexedPlaces::new(path, setup.stretches.first()?, inputs.total_bytes()?))
}
