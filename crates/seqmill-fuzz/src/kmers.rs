//! Mutated sequences counted, and mutated k-mer tables used. `seqmill-fuzz --kind kmers`.

use crate::alone::{self, Case, Limits};
use crate::frame::{gzip, reframe_anyhow};
use crate::random::Random;
use crate::{mutate, text};
use seqmill_base::{Budget, Error, ErrorKind, Job, Result};
use seqmill_count::kmers::skm::SkmTable;
use seqmill_count::kmers::{
    CountOptions, DumpOptions, MergeOptions, OutputRules, OutputSpec, TableFormat, TextRules,
    lookup_packed, profile_bases, run_count, run_merge, verify_table,
};
use std::path::{Path, PathBuf};
use std::time::Duration;
use xxhash_rust::xxh3::xxh3_64;

/// Budgets of a case.
const MEMORY_BYTES: [u64; 2] = [64 << 20, 24 << 20];
const LIMITS: Limits =
    Limits { memory: MEMORY_BYTES[0], slack: 8 << 20, longest: Duration::from_secs(20) };
/// Places of a table's header: offset of the index, offset of the footer, checksum.
const HEADER_INDEX: usize = 32;
const HEADER_FOOTER: usize = 40;
const HEADER_SUM: usize = 56;

/// What stands in the folder of a run.
struct Folder(PathBuf);

impl Folder {
    fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// Everything but the tables that are mutated.
    fn sweep(&self) -> std::io::Result<Vec<String>> {
        let mut left = Vec::new();
        for entry in std::fs::read_dir(&self.0)? {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            if name.starts_with("seed-") || name.starts_with("case") {
                continue;
            }
            if entry.file_type()?.is_dir() {
                std::fs::remove_dir_all(entry.path())?;
            } else {
                std::fs::remove_file(entry.path())?;
            }
            left.push(name);
        }
        Ok(left)
    }
}

fn job(memory: u64) -> Result<Job> {
    Ok(Job::new(Budget::new(memory, 0)?))
}

fn outputs(path: PathBuf, format: TableFormat, tmpdir: &Path) -> OutputRules {
    OutputRules {
        outputs: vec![OutputSpec { format, path }],
        dump: DumpOptions::default(),
        force: true,
        resume: false,
        tmpdir: tmpdir.to_path_buf(),
        is_unit: false,
    }
}

/// How a count is done.
#[derive(Clone, Copy)]
struct How {
    k: u32,
    canonical: bool,
    quality: u8,
    skip_lower: bool,
    unit_bases: u64,
}

impl How {
    fn draw(random: &mut Random) -> Self {
        let k = match random.below(3) {
            0 => *random.pick(&[1, 5, 12, 13, 21, 31, 32, 33, 51, 64, 65, 127, 128, 129, 255]),
            1 => 31,
            _ => 1 + random.below(255) as u32,
        };
        Self {
            k,
            canonical: random.once_in(2),
            quality: if random.once_in(4) { 20 } else { 0 },
            skip_lower: random.once_in(5),
            unit_bases: if random.once_in(5) { 100 } else { 1 << 31 },
        }
    }
}

fn count(input: &Path, output: PathBuf, how: How, threads: usize, memory: u64) -> Result<u64> {
    let tmpdir = output.parent().unwrap_or(Path::new(".")).to_path_buf();
    let options = CountOptions {
        inputs: vec![input.to_path_buf()],
        k: how.k,
        canonical: how.canonical,
        skip_lower: how.skip_lower,
        keep: (0, u64::MAX),
        text: TextRules { min_base_quality: how.quality, ..TextRules::default() },
        threads,
        tmpdir: tmpdir.clone(),
        unit_bases: how.unit_bases,
        footer: Vec::new(),
    };
    let rules = outputs(output, TableFormat::Skm, &tmpdir);
    Ok(run_count(&options, &rules, &job(memory)?)?.total)
}

/// Counts twice with other resources: the tables must be sound and the same.
fn count_twice(folder: &Folder, input: &Path, how: How) -> Result<()> {
    let (one, two) = (folder.file("one.skm"), folder.file("two.skm"));
    let first = count(input, one.clone(), how, 1, MEMORY_BYTES[0])?;
    let second = count(input, two.clone(), how, 2, MEMORY_BYTES[1])?;
    verify_table(&SkmTable::open(&one)?, &job(MEMORY_BYTES[0])?)?;
    let read = |path: &Path| std::fs::read(path).map_err(|e| Error::io(path, &e));
    if first != second || read(&one)? != read(&two)? {
        return Err(Error::internal("tables differ with other resources"));
    }
    Ok(())
}

/// Everything that reads a table.
fn use_table(folder: &Folder, path: &Path, whole: &Path, random: &mut Random) -> Result<()> {
    match random.below(4) {
        0 => verify_table(&SkmTable::open(path)?, &job(MEMORY_BYTES[0])?),
        1 => {
            let table = SkmTable::open(path)?;
            let kmers: Vec<u64> = (0..300).map(|_| random.next() >> random.below(64)).collect();
            if table.facts().k <= 32 {
                lookup_packed(&table, &kmers)?;
            }
            profile_bases(&table, &text::example_fasta(random)).map(|_| ())
        }
        2 => {
            let inputs = vec![path.to_path_buf(), whole.to_path_buf()];
            let options = MergeOptions { inputs, ..MergeOptions::default() };
            let rules = outputs(folder.file("merged.skm"), TableFormat::Skm, &folder.0);
            run_merge(&options, &rules, &job(MEMORY_BYTES[0])?).map(|_| ())
        }
        _ => {
            let formats = [TableFormat::Tsv, TableFormat::Json, TableFormat::Parquet];
            let options =
                MergeOptions { inputs: vec![path.to_path_buf()], ..MergeOptions::default() };
            let rules = outputs(folder.file("dumped"), *random.pick(&formats), &folder.0);
            run_merge(&options, &rules, &job(MEMORY_BYTES[0])?).map(|_| ())
        }
    }
}

fn number(bytes: &[u8], at: usize) -> Option<usize> {
    let word = bytes.get(at..)?.first_chunk::<8>()?;
    usize::try_from(u64::from_le_bytes(*word)).ok()
}

/// Puts the checksum of `from..at` at `at`.
fn seal(bytes: &mut [u8], from: usize, at: usize) {
    let Some(sum) = bytes.get(from..at).map(xxh3_64) else { return };
    if let Some(place) = bytes.get_mut(at..).and_then(|rest| rest.get_mut(..8)) {
        place.copy_from_slice(&sum.to_le_bytes());
    }
}

/// Damages a table, often with checksums that are right.
fn damage_table(bytes: &mut Vec<u8>, other: &[u8], random: &mut Random) -> String {
    let (index, footer) = (number(bytes, HEADER_INDEX), number(bytes, HEADER_FOOTER));
    let (Some(index), Some(footer)) = (index, footer) else {
        return mutate::bytes(bytes, other, random);
    };
    let part = random.below(5);
    let range = match part {
        0 => 0..HEADER_SUM,
        1 => index..footer.saturating_sub(8),
        2 | 3 => HEADER_SUM + 8..index,
        _ => return mutate::bytes(bytes, other, random),
    };
    if range.is_empty() || range.end > bytes.len() {
        return mutate::bytes(bytes, other, random);
    }
    let at = range.start + random.below(range.len());
    let width = *random.pick(&[1, 2, 4, 8]);
    let value = u64::from(mutate::value(random)) << (8 * random.below(5));
    if at + width <= range.end {
        mutate::put(bytes, at, width, value);
    } else if let Some(byte) = bytes.get_mut(at) {
        *byte ^= 1 << random.below(8);
    }
    match part {
        0 => seal(bytes, 0, HEADER_SUM),
        1 => seal(bytes, index, footer - 8),
        // The only block of a small table.
        _ => seal(bytes, HEADER_SUM + 8, index - 8),
    }
    format!("part {part}: {width} bytes at {at} set to {value:#x}, checksum right")
}

/// Tables of the examples, with one block each.
fn make_tables(folder: &Folder) -> Result<Vec<PathBuf>> {
    let mut random = Random::of_case(6, 0);
    let input = folder.file("seed-input.fa");
    let failed = |e: std::io::Error| Error::io(&input, &e);
    let mut tables = Vec::new();
    for (number, k) in [5, 21, 31, 51, 70, 200].into_iter().enumerate() {
        let mut bases = b">seed\n".to_vec();
        bases.extend((0..400).map(|_| *random.pick(b"ACGT")));
        bases.extend_from_slice(b"\n");
        // One k-mer is so frequent that its count does not fit a byte.
        bases.extend(std::iter::repeat_n(b'A', 700));
        std::fs::write(&input, &bases).map_err(failed)?;
        let how = How { k, canonical: true, quality: 0, skip_lower: false, unit_bases: 1 << 31 };
        let table = folder.file(&format!("seed-{number}.skm"));
        count(&input, table.clone(), how, 1, MEMORY_BYTES[0])?;
        tables.push(table);
    }
    Ok(tables)
}

/// A damaged input of text; says what was done.
fn draw_text(random: &mut Random) -> (Vec<u8>, String) {
    let fastq = random.once_in(2);
    let make = if fastq { text::example_fastq } else { text::example_fasta };
    let (mut bytes, other) = (make(random), make(random));
    let mut story = Vec::new();
    for _ in 0..random.below(4) {
        story.push(if random.once_in(3) {
            mutate::bytes(&mut bytes, &other, random)
        } else {
            text::damage(&mut bytes, random)
        });
    }
    match random.below(4) {
        0 => bytes = gzip(&bytes),
        1 => {
            let (framed, cut) = reframe_anyhow(&bytes, random);
            bytes = framed;
            story.push(cut);
        }
        _ => {}
    }
    if random.once_in(6) {
        story.push(mutate::bytes(&mut bytes, &other, random));
    }
    (bytes, story.join("; "))
}

/// Runs cases; says what came of them.
pub(crate) fn run(arguments: &crate::Arguments) -> std::io::Result<bool> {
    alone::run(arguments, "kmers", |folder| {
        let folder = Folder(folder.to_path_buf());
        let tables = make_tables(&folder).map_err(|e| std::io::Error::other(e.to_string()))?;
        Ok(move |random: &mut Random| one(&folder, &tables, random))
    })
}

/// One case.
fn one(folder: &Folder, tables: &[PathBuf], random: &mut Random) -> std::io::Result<Case> {
    let in_order = |kind| kind == ErrorKind::Input;
    let (mut case, done);
    if random.once_in(2) {
        let (bytes, story) = draw_text(random);
        case = Case::new(&folder.0, bytes, "fa", story)?;
        let how = How::draw(random);
        let work = || count_twice(folder, &case.path, how);
        done = case.note("count", alone::attempt(&LIMITS, in_order, work));
    } else {
        let whole = random.pick(tables);
        let mut table = std::fs::read(whole)?;
        let other = std::fs::read(random.pick(tables))?;
        let story = damage_table(&mut table, &other, random);
        case = Case::new(&folder.0, table, "skm", story)?;
        let work = || use_table(folder, &case.path, whole, random);
        done = case.note("table", alone::attempt(&LIMITS, in_order, work));
    }
    let left = folder.sweep()?;
    if !done && case.is_good() && !left.iter().all(|name| name == "one.skm") {
        case.blame(Some(format!("left behind: {left:?}")));
    }
    Ok(case)
}
