//! Making chunk indices (`X.bam.smci`) of inputs.

use crate::cut::SharedIndex;
use crate::inputs::Inputs;
use crate::options::{Options, Semantic};
use crate::run::{Accounts, Extras, WRITING, batches, threads};
use crate::setup::Setup;
use crate::unit::{Batch, CutState};
use seqmill_base::{Error, Job, Result};
use seqmill_io::bam::chunk_index::chunk_index_path;
use seqmill_io::bgzf::{BlockReader, EOF_MARKER, VirtualOffset};
use seqmill_io::records::{Container, Kind};
use std::path::PathBuf;
use std::sync::{Arc, PoisonError};

/// Makes the chunk index of each input by a pass of its own.
pub fn index_only(options: &Options, job: &Job) -> Result<Vec<PathBuf>> {
    let mut written = Vec::new();
    for path in &options.inputs {
        let alone = Options {
            inputs: vec![path.clone()],
            semantic: Semantic { verify: options.semantic.verify, ..Semantic::default() },
            ..options.clone()
        };
        let inputs = Arc::new(Inputs::open(&alone)?);
        written.push(index_pass(&alone, job, &inputs)?);
    }
    Ok(written)
}

pub(crate) fn index_pass(options: &Options, job: &Job, inputs: &Arc<Inputs>) -> Result<PathBuf> {
    let setup = Setup::new(inputs, &options.semantic, true)?;
    let accounts = Accounts::new(job, &options.resources);
    let index = SharedIndex::default();
    let extras = Extras { index: Some(Arc::clone(&index)), ..Extras::default() };
    let mut last = CutState { sorted: true, ..CutState::default() };
    let take = |batch: Batch| {
        last = batch.after;
        Ok(())
    };
    let pipeline = batches(inputs, &setup, job, accounts, None, extras)?;
    let (pool, _) = threads(&options.resources, job, (0, 0))?;
    pipeline.run("index", WRITING, take, &pool, job).0?;
    write_chunk_index(inputs, &index, last.sorted)
}

/// Writes the collected index beside the only input.
pub(crate) fn write_chunk_index(
    inputs: &Inputs,
    index: &SharedIndex,
    sorted: bool,
) -> Result<PathBuf> {
    let [input] = inputs.list.as_slice() else {
        return Err(Error::input("a chunk index belongs to one input"));
    };
    if input.container != Container::Bgzf || input.kind != Kind::Bam || !input.source.is_seekable()
    {
        return Err(
            Error::input("a chunk index needs a BGZF-compressed BAM file").at_path(&input.path)
        );
    }
    let builder = std::mem::take(&mut *index.lock().unwrap_or_else(PoisonError::into_inner));
    let first = VirtualOffset(input.first);
    let mut header = Vec::new();
    let mut bytes = first.within() as u64;
    let mut reader = BlockReader::new(Arc::clone(&input.source), false);
    let mut next = Some(0);
    while let Some(offset) = next.filter(|offset| *offset < first.block()) {
        header.clear();
        next = reader.append_block(offset, &mut header)?;
        bytes += header.len() as u64;
    }
    let mut end = [0; EOF_MARKER.len()];
    let size = input.source.len().unwrap_or(0);
    let tail = size.saturating_sub(EOF_MARKER.len() as u64);
    input.source.read_at(&mut end, tail)?;
    let index = builder.finish(&input.path, bytes, sorted, end == EOF_MARKER)?;
    let path = chunk_index_path(&input.path);
    seqmill_base::sink::write_atomically(&path, &index.to_bytes())?;
    Ok(path)
}
