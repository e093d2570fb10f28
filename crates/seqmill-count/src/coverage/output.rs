//! The files of a job (`kmers.md` §6.4), written in the order of the list and published together.

use super::columns::Column;
use super::spool::Spool;
use super::stats::{Bins, Histogram};
use super::targets::{Sequence, Stretch, Targets};
use super::text::{Text, push_number};
use hashbrown::HashMap;
use rustc_hash::FxBuildHasher;
use seqmill_base::sink::{sync_directory_of, write_atomically};
use seqmill_base::{Error, Job, Lease, Progress, Result};
use seqmill_io::region_list::Target;
use serde::Serialize;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

/// Folder of the region files within the output.
const REGION_FOLDER: &str = "coverage";
/// The files beside it; the last one to appear says that the others are complete.
pub(super) const TABLE: &str = "coverage.tsv";
pub(super) const PARQUET: &str = "coverage.parquet";
const MERGED: &str = "merged_coverage.txt";
const SUMMARY: &str = "coverage_summary.json";
const FILES: [&str; 4] = [TABLE, PARQUET, MERGED, SUMMARY];
/// Longest part of a file name that comes from a sequence name.
const NAME_BYTES: usize = 180;
/// Bytes of the map of file names for each file, beside the name.
const NAME_ENTRY_BYTES: usize = 64;

/// What is written beside the results.
pub(super) struct Plan<'a> {
    pub sequences: &'a [Sequence],
    pub targets: &'a Targets,
    pub columns: Vec<Column>,
    /// Bins of a region.
    pub bins: u64,
    /// A file for each region.
    pub region_files: bool,
    /// The `details` of the summary.
    pub details: Value,
}

/// The keys of the summary in their order.
#[derive(Debug, Serialize)]
struct Summary {
    total_regions: u64,
    min_coverage: u64,
    max_coverage: u64,
    mean_coverage: Value,
    median_coverage: f64,
    details: Value,
}

/// Fails with `Exists` if the folder holds a result.
pub(super) fn refuse_results(output: &Path) -> Result<()> {
    let names = FILES.iter().chain([&REGION_FOLDER]);
    match names.map(|name| output.join(name)).find(|path| path.symlink_metadata().is_ok()) {
        Some(path) => Err(Error::exists(&path)),
        None if output.is_file() => Err(Error::exists(output)),
        None => Ok(()),
    }
}

/// Appends `NAME:START-END`, 1-based inclusive.
pub(super) fn push_region(out: &mut Vec<u8>, name: &str, begin: u64, end: u64) {
    out.extend_from_slice(name.as_bytes());
    out.push(b':');
    push_number(out, begin + 1);
    out.push(b'-');
    push_number(out, end);
}

/// Values of all lines of the merged file.
#[derive(Default)]
struct Tally {
    histogram: Histogram,
    sum: u128,
    n: u64,
}

impl Tally {
    fn add(&mut self, value: u64) {
        self.histogram.add(value, 1);
        self.sum += u128::from(value);
        self.n += 1;
    }

    fn summary(&self, details: Value) -> Summary {
        let mean = match self.sum.checked_rem(u128::from(self.n)) {
            None => json!(0),
            Some(0) => json!(u64::try_from(self.sum / u128::from(self.n)).unwrap_or(u64::MAX)),
            Some(_) => json!(self.sum as f64 / self.n as f64),
        };
        Summary {
            total_regions: self.n,
            min_coverage: self.histogram.min(),
            max_coverage: self.histogram.max(),
            mean_coverage: mean,
            median_coverage: self.histogram.median_twice(self.n) as f64 / 2.0,
            details,
        }
    }
}

/// Names of region files, which must differ.
struct FileNames {
    taken: HashMap<String, u32, FxBuildHasher>,
    lease: Lease,
}

impl FileNames {
    /// `coverage_<NAME>_<START>-<END>.txt`, or the same with `.2`, `.3` before the suffix.
    fn of(&mut self, name: &str, begin: u64, end: u64) -> Result<String> {
        let safe = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-' | '+');
        let name: String =
            name.chars().map(|c| if safe(c) { c } else { '_' }).take(NAME_BYTES).collect();
        let stem = format!("coverage_{name}_{}-{end}", begin + 1);
        loop {
            let count = self.taken.get(&stem).copied().unwrap_or(0) + 1;
            self.lease.resize(self.lease.bytes() + (stem.len() + NAME_ENTRY_BYTES) as u64)?;
            self.taken.insert(stem.clone(), count);
            if count == 1 {
                return Ok(format!("{stem}.txt"));
            }
            // A sequence may be called like the second file of another one.
            let other = format!("{stem}.{count}");
            if !self.taken.contains_key(&other) {
                self.taken.insert(other.clone(), 1);
                return Ok(format!("{other}.txt"));
            }
        }
    }
}

/// Writes all files into `folder`.
pub(super) fn write_files(
    folder: &Path,
    plan: &Plan<'_>,
    rows: &mut Spool,
    values: &mut Spool,
    job: &Job,
) -> Result<()> {
    let region_folder = folder.join(REGION_FOLDER);
    let failed = |path: &Path, e: &std::io::Error| Error::io(path, e);
    if folder.exists() {
        std::fs::remove_dir_all(folder).map_err(|e| failed(folder, &e))?;
    }
    let made = if plan.region_files { &region_folder } else { folder };
    std::fs::create_dir_all(made).map_err(|e| failed(made, &e))?;
    let account = job.budget.account("output", job.budget.pool());
    let _buffers = job.budget.must_reserve(account, 3 * Text::BYTES)?;
    let mut names =
        FileNames { taken: HashMap::default(), lease: job.budget.must_reserve(account, 0)? };
    let mut table = Text::open(&folder.join(TABLE), 0)?;
    let mut merged = Text::open(&folder.join(MERGED), 0)?;
    table.push(b"region\tlabel");
    for column in &plan.columns {
        table.push(b"\t");
        table.push(column.name.as_bytes());
    }
    table.push(b"\n");
    let mut tally = Tally::default();
    let (mut row, mut bins) = (Vec::new(), Vec::new());
    let mut put = |index: u64, stretch: Stretch, label: Option<&str>| -> Result<()> {
        rows.get(index, &mut row)?;
        values.get(index, &mut bins)?;
        let name = plan.sequences.get(stretch.reference as usize).map_or("", |s| s.name.as_str());
        push_region(table.buffer(), name, stretch.begin, stretch.end);
        table.push(b"\t");
        table.push(label.unwrap_or_default().as_bytes());
        for column in &plan.columns {
            table.push(b"\t");
            column.write(&row, table.buffer());
        }
        table.push(b"\n");
        table.flush_if_full()?;
        let mut file = if plan.region_files {
            let file = names.of(name, stretch.begin, stretch.end)?;
            Some(Text::open(&region_folder.join(file), 0)?)
        } else {
            None
        };
        write_bins(name, stretch, plan.bins, &bins, &mut merged, file.as_mut(), &mut tally)?;
        file.map_or(Ok(0), Text::close)?;
        Progress::add(&job.progress.records_out, 1);
        job.cancel.check()
    };
    match plan.targets {
        Targets::List { regions, places, .. } => {
            for (Target { reference, begin, end, label }, place) in
                regions.targets.iter().zip(places)
            {
                let stretch = Stretch { reference: *reference, begin: *begin, end: *end };
                put(u64::from(*place), stretch, label.as_deref())?;
            }
        }
        Targets::Windows(_) | Targets::Share { .. } => {
            let mut walk = plan.targets.walk(plan.sequences);
            while let Some((index, stretch)) = walk.advance() {
                put(index, stretch, None)?;
            }
        }
    }
    let bytes = table.sync()? + merged.sync()?;
    Progress::add(&job.progress.bytes_out, bytes);
    let summary = tally.summary(plan.details.clone());
    let mut text = serde_json::to_vec_pretty(&summary)
        .map_err(|e| Error::internal(format!("cannot write the summary: {e}")))?;
    text.push(b'\n');
    write_atomically(&folder.join(SUMMARY), &text)
}

/// Writes a line for each bin of a region.
fn write_bins(
    name: &str,
    stretch: Stretch,
    bins: u64,
    values: &[u64],
    merged: &mut Text,
    mut file: Option<&mut Text>,
    tally: &mut Tally,
) -> Result<()> {
    let bins = Bins::new(stretch.end - stretch.begin, bins);
    for (bin, value) in (0..bins.count()).zip(values) {
        let (begin, end) = (stretch.begin + bins.edge(bin), stretch.begin + bins.edge(bin + 1));
        for text in [Some(&mut *merged), file.as_deref_mut()].into_iter().flatten() {
            push_region(text.buffer(), name, begin, end);
            text.push(b" ");
            text.number(*value);
            text.push(b"\n");
            text.flush_if_full()?;
        }
        tally.add(*value);
    }
    Ok(())
}

/// Moves the files to where the user wants them.
///
/// A folder that is not there appears whole. Into one that is there the files are renamed one by
/// one, the summary last; region files of an earlier job go.
pub(super) fn publish_files(folder: &Path, output: &Path) -> Result<()> {
    let failed = |path: &Path, e: &std::io::Error| Error::io(path, e);
    if let Some(parent) = output.parent().filter(|p| !p.as_os_str().is_empty()) {
        std::fs::create_dir_all(parent).map_err(|e| failed(parent, &e))?;
    }
    if !output.exists() && std::fs::rename(folder, output).is_ok() {
        return sync_directory_of(output);
    }
    std::fs::create_dir_all(output).map_err(|e| failed(output, &e))?;
    let (from, to) = (folder.join(REGION_FOLDER), output.join(REGION_FOLDER));
    remove_region_files(&to)?;
    if from.is_dir() {
        std::fs::create_dir_all(&to).map_err(|e| failed(&to, &e))?;
        for entry in std::fs::read_dir(&from).map_err(|e| failed(&from, &e))? {
            let entry = entry.map_err(|e| failed(&from, &e))?;
            let path = to.join(entry.file_name());
            std::fs::rename(entry.path(), &path).map_err(|e| failed(&path, &e))?;
        }
    }
    for name in FILES {
        let (from, to) = (folder.join(name), output.join(name));
        if from.exists() {
            std::fs::rename(&from, &to).map_err(|e| failed(&to, &e))?;
        } else if to.exists() {
            // The table of an earlier job does not belong to this one.
            std::fs::remove_file(&to).map_err(|e| failed(&to, &e))?;
        }
    }
    sync_directory_of(&output.join(SUMMARY))
}

fn remove_region_files(folder: &Path) -> Result<()> {
    if !folder.is_dir() {
        return Ok(());
    }
    let failed = |path: &Path, e: &std::io::Error| Error::io(path, e);
    for entry in std::fs::read_dir(folder).map_err(|e| failed(folder, &e))? {
        let path: PathBuf = entry.map_err(|e| failed(folder, &e))?.path();
        let name = path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
        if name.starts_with("coverage_") && path.extension().is_some_and(|e| e == "txt") {
            std::fs::remove_file(&path).map_err(|e| failed(&path, &e))?;
        }
    }
    Ok(())
}
