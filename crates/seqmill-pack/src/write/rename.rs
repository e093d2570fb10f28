//! An archive whose samples have other names: everything else is copied as it is.

use super::compress::{Level, Packer};
use super::input::check_sample_name;
use super::output::{
    CONTIGS, DETAILS, DIGESTS, NAMED, Output, SAMPLES, SEGMENT_SPLITTERS, SPLITTERS, StreamId,
};
use super::run::write_facts;
use crate::archive::{Archive, Memory};
use crate::vint::write_vint;
use seqmill_base::{Error, Job, Progress, Result};
use std::path::Path;

/// Copies an archive of version 3 with these names, one of each sample.
pub fn rename(
    from: &Archive,
    output: &Path,
    names: &[String],
    force: bool,
    job: &Job,
) -> Result<u64> {
    let share = job.budget.pool() / 2;
    let account = job.budget.account("archive", share);
    let _held = job.budget.must_reserve(account, share)?;
    let archive = from.open_again(Memory::of(share))?;
    if names.len() != archive.sample_count() {
        return Err(Error::internal("there must be a name for each sample"));
    }
    let mut raw = Vec::new();
    write_vint(u32::try_from(names.len()).unwrap_or(u32::MAX), &mut raw);
    for name in names {
        check_sample_name(name)?;
        raw.extend_from_slice(name.as_bytes());
        raw.push(0);
    }
    let mut out = Output::create(output, force)?;
    let container = archive.container();
    for id in [CONTIGS, DETAILS, SPLITTERS, SEGMENT_SPLITTERS, DIGESTS] {
        let StreamId::Named(i) = id else { continue };
        let Some(stream) = NAMED.get(i).and_then(|name| container.find(name)) else { continue };
        for part in container.parts(stream) {
            out.copy(container, *part, id)?;
        }
    }
    for group in container.groups() {
        job.cancel.check()?;
        let streams = [
            (group.reference, StreamId::Reference(group.id)),
            (group.delta, StreamId::Delta(group.id)),
        ];
        for (stream, id) in streams {
            for part in stream.map_or(&[][..], |s| container.parts(s)) {
                out.copy(container, *part, id)?;
                Progress::add(&job.progress.bytes_out, part.size);
            }
        }
    }
    out.part(SAMPLES, &Packer::new(Level::Default)?.collection(&raw)?)?;
    write_facts(&mut out, archive.parameters())?;
    Ok(out.finish()?.iter().map(|share| share.bytes).sum())
}
