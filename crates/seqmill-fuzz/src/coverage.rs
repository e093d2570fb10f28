//! Coverage of mutated alignments and sequences in mutated lists of regions, in one piece and in
//! shares. `seqmill-fuzz --kind coverage`.

use crate::alone::{self, Case, Limits};
use crate::frame::{gzip, reframe_anyhow};
use crate::random::Random;
use crate::{bam, mutate, text};
use seqmill_base::fingerprint::hash_file;
use seqmill_base::{Budget, Error, ErrorKind, Job, Result};
use seqmill_count::coverage::{
    Mates, Options, Semantic, Share, Value, assemble, measure, measure_share, plan_shares,
};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

const MEMORY_BYTES: [u64; 2] = [64 << 20, 32 << 20];
const LIMITS: Limits =
    Limits { memory: MEMORY_BYTES[0], slack: 16 << 20, longest: Duration::from_secs(20) };
/// More shares than these say nothing new.
const SHARES_MAX: usize = 40;
const NAMES: [&str; 4] = ["chr1", "chr2", "odd:name", "c 3"];

/// Hashes of the files of a result, by name.
type Files = BTreeMap<PathBuf, String>;

/// Alignments or sequences, mostly damaged, and the end of their name.
fn draw_input(random: &mut Random) -> (Vec<u8>, &'static str, String) {
    let mut story = Vec::new();
    let kind = random.below(4);
    let (mut data, suffix) = match kind {
        0 => {
            let (mut data, records) = bam::example(random, &NAMES[..3], 30);
            data.extend(records.iter().flatten());
            (data, "bam")
        }
        1 => (text::example_sam(random).into_bytes(), "sam"),
        _ => (draw_fasta(random), "fa"),
    };
    for _ in 0..random.below(3) {
        story.push(match kind {
            0 => bam::damage(&mut data, random),
            _ => text::damage(&mut data, random),
        });
    }
    if kind == 0 || random.once_in(3) {
        let (framed, how) = reframe_anyhow(&data, random);
        data = framed;
        story.push(how);
    } else if random.once_in(5) {
        data = gzip(&data);
    }
    if random.once_in(5) {
        let other = text::example_fasta(random);
        story.push(mutate::bytes(&mut data, &other, random));
    }
    (data, suffix, story.join("; "))
}

fn draw_fasta(random: &mut Random) -> Vec<u8> {
    let mut file = Vec::new();
    for name in &NAMES[..random.below(NAMES.len() + 1)] {
        file.extend_from_slice(format!(">{name} text\n").as_bytes());
        let length = random.short(6000);
        let repeated = random.once_in(3);
        let bases: Vec<u8> =
            (0..length).map(|_| if repeated { b'A' } else { *random.pick(b"ACGTacgtN") }).collect();
        for line in bases.chunks(*random.pick(&[1000, 60, 7])) {
            file.extend_from_slice(line);
            file.push(b'\n');
        }
    }
    file
}

/// A list of regions, or BED, in which a line may be wrong.
fn draw_list(bed: bool, random: &mut Random) -> Vec<u8> {
    let mut list = String::new();
    for number in 0..random.below(9) {
        let name = *random.pick(&NAMES);
        let begin = random.short(4000);
        let end = begin + random.short(3000);
        let line = match random.below(6) {
            _ if bed => format!("{name}\t{begin}\t{end}\tname {number}\n"),
            0 => format!("{name}\n"),
            1 => format!("{name}:{begin}\n"),
            2 => format!("{{{name}}}:{begin}-{end}\tname {number}\r\n"),
            _ => format!("{name}:{begin}-{end}\n"),
        };
        list.push_str(&line);
    }
    let mut list = list.into_bytes();
    if random.once_in(3) {
        text::damage(&mut list, random);
    }
    if random.once_in(8) {
        mutate::bytes(&mut list, b"track\tbrowser #", random);
    }
    list
}

fn draw_options(input: &Path, folder: &Path, random: &mut Random) -> std::io::Result<Options> {
    let bed = random.once_in(3);
    let list = folder.join(if bed { "list.bed" } else { "list.txt" });
    std::fs::write(&list, draw_list(bed, random))?;
    // References may claim to be as long as a number of 32 bits.
    let least = if input.extension().is_some_and(|suffix| suffix == "fa") { 1 } else { 1 << 19 };
    let windows = random.once_in(3).then(|| least + random.short(3000) as u64);
    let semantic = Semantic {
        regions_files: if windows.is_none() { vec![list] } else { Vec::new() },
        windows,
        skip_bad_regions: !random.once_in(4),
        bins: if random.once_in(3) { 1 + random.short(40) as u64 } else { 1 },
        value: *random.pick(&[Value::Mean, Value::Sum, Value::Max, Value::Min]),
        thresholds: (0..random.below(4)).map(|_| mutate::value(random)).collect(),
        mates: *random.pick(&[Mates::Both, Mates::Once, Mates::Proper]),
        count_deletions: random.once_in(3),
        min_mapq: if random.once_in(4) { random.byte() } else { 0 },
        min_baseq: if random.once_in(4) { 20 } else { 0 },
        exclude_flags: if random.once_in(4) { random.next() as u16 } else { 0x704 },
        require_flags: if random.once_in(8) { 1 << random.below(12) } else { 0 },
        k: *random.pick(&[1, 4, 21, 31, 33, 64, 128, 255]),
        canonical: random.once_in(2),
        skip_soft_masked: random.once_in(3),
        region_files: windows.is_none_or(|bases| bases > 500),
        parquet: random.once_in(6),
        strict: random.once_in(6),
        verify: !random.once_in(6),
        ..Semantic::default()
    };
    Ok(Options {
        input: input.to_path_buf(),
        semantic,
        per_base: random.once_in(8).then(|| folder.join("depth.bed")),
        force: true,
        version: "0".to_owned(),
        share_bases: 1 + random.short(4000) as u64,
        ..Options::default()
    })
}

/// The same options with other resources and another place.
fn with(options: &Options, output: PathBuf, number: usize) -> Options {
    let memory = MEMORY_BYTES[number % MEMORY_BYTES.len()];
    Options { output, threads: 1 + number % 3, memory, ..options.clone() }
}

fn job(options: &Options) -> Result<Job> {
    Ok(Job::new(Budget::new(options.memory, 0)?))
}

fn read_files(folder: &Path) -> Result<Files> {
    let mut files = Files::new();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(place) = folders.pop() {
        for entry in std::fs::read_dir(&place).map_err(|e| Error::io(&place, &e))? {
            let path = entry.map_err(|e| Error::io(&place, &e))?.path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let (_, hash) = hash_file(&path)?;
                files.insert(path.strip_prefix(folder).unwrap_or(&path).to_path_buf(), hash);
            }
        }
    }
    Ok(files)
}

fn measure_whole(options: &Options) -> Result<Files> {
    measure(options, &job(options)?).0?;
    let mut files = read_files(&options.output)?;
    if let Some(path) = &options.per_base {
        files.insert(PathBuf::from("per base"), hash_file(path)?.1);
        std::fs::remove_file(path).map_err(|e| Error::io(path, &e))?;
    }
    Ok(files)
}

/// What workers and a client of an engine do.
fn measure_in_shares(options: &Options, folder: &Path) -> Result<Option<Files>> {
    let notes = folder.join("sequences");
    let plan = Options { sequences_to: Some(notes.clone()), ..options.clone() };
    let shares: Vec<Share> = plan_shares(&plan, &job(&plan)?).0?;
    if shares.len() > SHARES_MAX {
        return Ok(None);
    }
    let mut parts = Vec::new();
    let sequences = notes.exists().then_some(notes);
    for (number, share) in shares.into_iter().enumerate() {
        let part = folder.join(format!("part{number}"));
        let mut semantic = options.semantic.clone();
        if !share.everything {
            // A share knows its regions by the numbers of the sequences.
            semantic = Semantic { regions_files: Vec::new(), windows: None, ..semantic };
        }
        let one = Options {
            semantic,
            share: Some(share),
            sequences: sequences.clone(),
            ..with(options, part.clone(), number)
        };
        measure_share(&one, &job(&one)?).0?;
        parts.push(part);
    }
    let work = folder.join("final");
    std::fs::create_dir_all(&work).map_err(|e| Error::io(&work, &e))?;
    let last = Options { parts, sequences, work, ..options.clone() };
    assemble(&last, &job(&last)?).0?;
    read_files(&options.output).map(Some)
}

/// How a run ended: its files, or the class of the error.
type End = std::result::Result<Files, String>;

fn attempt(
    case: &mut Case,
    what: &str,
    work: impl FnOnce() -> Result<Option<Files>>,
) -> Option<End> {
    let in_order =
        |kind| matches!(kind, ErrorKind::Input | ErrorKind::NotFound | ErrorKind::Budget);
    let done = alone::attempt(&LIMITS, in_order, work);
    let end = match &done.done {
        Some(Some(files)) => Some(Ok(files.clone())),
        Some(None) => None,
        None => Some(Err(done.outcome.clone())),
    };
    case.note(what, done);
    end.filter(|end| !matches!(end, Err(class) if class == "Budget"))
}

/// Everything but the input.
fn sweep(folder: &Path, input: &Path) -> std::io::Result<Vec<String>> {
    let mut left = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path == input {
            continue;
        }
        left.push(path.file_name().unwrap_or_default().to_string_lossy().into_owned());
        if path.is_dir() { std::fs::remove_dir_all(path)? } else { std::fs::remove_file(path)? }
    }
    Ok(left)
}

/// One case.
fn one(folder: &Path, random: &mut Random) -> std::io::Result<Case> {
    let (bytes, suffix, story) = draw_input(random);
    let mut case = Case::new(folder, bytes, suffix, story)?;
    let options = draw_options(&case.path, folder, random)?;
    let (one, two) = (with(&options, folder.join("one"), 0), with(&options, folder.join("two"), 1));
    let first = attempt(&mut case, "whole", || measure_whole(&one).map(Some));
    let second = attempt(&mut case, "again", || measure_whole(&two).map(Some));
    compare(&mut case, "other resources", first.as_ref(), second.as_ref());
    if options.per_base.is_none() && random.once_in(2) {
        let shared = with(&options, folder.join("three"), 0);
        let work = folder.join("state");
        std::fs::create_dir_all(&work)?;
        let third = attempt(&mut case, "shares", || measure_in_shares(&shared, &work));
        compare(&mut case, "shares", first.as_ref(), third.as_ref());
    }
    let left = sweep(folder, &case.path)?;
    let failed = matches!(first, Some(Err(_)));
    if failed && left.iter().any(|name| name.starts_with("one") || name == "depth.bed") {
        case.blame(Some(format!("left behind: {left:?}")));
    }
    Ok(case)
}

fn compare(case: &mut Case, what: &str, one: Option<&End>, other: Option<&End>) {
    let (Some(one), Some(other)) = (one, other) else { return };
    case.blame(match (one, other) {
        (Ok(one), Ok(other)) if one == other => None,
        (Ok(one), Ok(other)) => {
            let differ = |name: &&PathBuf| one.get(*name) != other.get(*name);
            let names: Vec<_> = one.keys().chain(other.keys()).filter(differ).collect();
            Some(format!("{what}: {names:?} differ"))
        }
        (Err(one), Err(other)) if one == other => None,
        (one, other) => {
            let (one, other) = (one.as_ref().err(), other.as_ref().err());
            Some(format!("{what}: one ends with {one:?}, the other with {other:?}"))
        }
    });
}

/// Runs cases; says what came of them.
pub(crate) fn run(arguments: &crate::Arguments) -> std::io::Result<bool> {
    alone::run(arguments, "coverage", |folder| {
        let folder = folder.to_path_buf();
        Ok(move |random: &mut Random| one(&folder, random))
    })
}
