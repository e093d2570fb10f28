//! Mutated archives: read whole, checked, added to. `seqmill-fuzz --kind archives`.

use crate::alone::{self, Attempt, Case, Limits};
use crate::mutate::{self, value};
use crate::random::Random;
use seqmill_base::{Budget, Error, ErrorKind, Job};
use seqmill_pack::{Archive, Memory, PackOptions, Verified};
use std::path::{Path, PathBuf};
use std::time::Duration;

const MEMORY_BYTES: u64 = 48 << 20;
/// Compressors and their tables are live beyond the budget.
const LIMITS: Limits =
    Limits { memory: MEMORY_BYTES, slack: 16 << 20, longest: Duration::from_secs(10) };
/// Bases that are read of one archive: damage may claim any number.
const BASES_MAX: u64 = 32 << 20;
const STEP_BASES: usize = 1 << 16;

/// An archive taken apart: streams with their parts, each metadata and data.
type Streams = Vec<(Vec<u8>, Vec<(u64, Vec<u8>)>)>;

fn cint(bytes: &[u8], at: &mut usize) -> Option<u64> {
    let n = usize::from(*bytes.get(*at)?);
    let digits = bytes.get(*at + 1..*at + 1 + n)?;
    *at += 1 + n;
    Some(digits.iter().fold(0, |sum, &b| (sum << 8) | u64::from(b)))
}

fn put_cint(value: u64, out: &mut Vec<u8>) {
    let bytes = value.to_be_bytes();
    let skipped = (value.leading_zeros() / 8) as usize;
    out.push((8 - skipped) as u8);
    out.extend_from_slice(&bytes[skipped..]);
}

fn take_apart(archive: &[u8]) -> Option<Streams> {
    let tail = archive.len().checked_sub(8)?;
    let length = u64::from_le_bytes(archive[tail..].try_into().ok()?);
    let footer = &archive[tail.checked_sub(usize::try_from(length).ok()?)?..tail];
    let mut at = 0;
    let mut streams = Streams::new();
    for _ in 0..cint(footer, &mut at)? {
        let end = at + footer[at..].iter().position(|&b| b == 0)?;
        let name = footer[at..end].to_vec();
        at = end + 1;
        let count = cint(footer, &mut at)?;
        cint(footer, &mut at)?;
        let mut parts = Vec::new();
        for _ in 0..count {
            let mut offset = usize::try_from(cint(footer, &mut at)?).ok()?;
            let size = usize::try_from(cint(footer, &mut at)?).ok()?;
            let metadata = cint(archive, &mut offset)?;
            parts.push((metadata, archive.get(offset..offset + size)?.to_vec()));
        }
        streams.push((name, parts));
    }
    Some(streams)
}

fn put_together(streams: &Streams) -> Vec<u8> {
    let (mut out, mut footer) = (Vec::new(), Vec::new());
    put_cint(streams.len() as u64, &mut footer);
    for (name, parts) in streams {
        footer.extend_from_slice(name);
        footer.push(0);
        put_cint(parts.len() as u64, &mut footer);
        put_cint(0, &mut footer);
        for (metadata, data) in parts {
            put_cint(out.len() as u64, &mut footer);
            put_cint(data.len() as u64, &mut footer);
            put_cint(*metadata, &mut out);
            out.extend_from_slice(data);
        }
    }
    out.extend_from_slice(&footer);
    out.extend((footer.len() as u64).to_le_bytes());
    out
}

/// Damages the content of one part behind its compression.
fn damage_inside(streams: &mut Streams, other: &[u8], random: &mut Random) -> String {
    let stream = random.below(streams.len());
    let (name, parts) = &mut streams[stream];
    let name = String::from_utf8_lossy(name).into_owned();
    if parts.is_empty() || random.once_in(12) {
        let (from, to) = (random.below(streams.len()), random.below(streams.len()));
        let copied = streams[from].1.clone();
        streams[to].1 = copied;
        return format!("parts of stream {from} also in {to}");
    }
    let part = random.below(parts.len());
    let (metadata, data) = &mut parts[part];
    if random.once_in(6) {
        *metadata = u64::from(value(random)) << if random.once_in(4) { 30 } else { 0 };
        return format!("metadata of {name} part {part} set to {metadata}");
    }
    let marked = name.starts_with('x') || name.starts_with("seg-");
    let marker = if marked && *metadata > 0 { data.pop() } else { None };
    let inner = zstd::bulk::decompress(data, 1 << 22).ok();
    let is_frame = inner.is_some();
    let mut content = inner.unwrap_or_else(|| data.clone());
    let story = mutate::bytes(&mut content, other, random);
    content.truncate(1 << 22);
    if is_frame {
        *data = zstd::bulk::compress(&content, 3).unwrap_or_default();
        // Mostly the lengths stay right, so that what lies behind them is reached.
        if *metadata > 0 && marker != Some(1) && !random.once_in(8) {
            *metadata = content.len() as u64;
        }
    } else {
        *data = content;
    }
    data.extend(marker);
    format!("{name} part {part}: {story}")
}

fn job() -> Result<Job, Error> {
    Ok(Job::new(Budget::new(MEMORY_BYTES, 0)?))
}

fn read_all(path: &Path) -> Result<u64, Error> {
    let archive = Archive::open(path, Memory::of(MEMORY_BYTES))?;
    let mut letters = vec![0; STEP_BASES];
    let mut bases = 0;
    for i in 0..archive.sample_count() {
        let sample = archive.sample(i)?;
        for contig in sample.contigs() {
            let mut at = 0;
            while at < contig.length() && bases < BASES_MAX {
                let size = STEP_BASES.min((contig.length() - at) as usize);
                archive.read(contig, at, &mut letters[..size])?;
                at += size as u64;
                bases += size as u64;
            }
        }
    }
    Ok(bases)
}

fn check(path: &Path) -> Result<Verified, Error> {
    let archive = Archive::open(path, Memory::of(MEMORY_BYTES))?;
    seqmill_pack::verify(&archive, 1, &job()?)
}

fn add(path: &Path, sample: &Path) -> Result<u64, Error> {
    let options: PackOptions = serde_json::from_value(serde_json::json!({
        "output": path, "append": true, "kmer_length": 31, "segment_size": 60000,
        "min_match": 20, "threads": 1, "adaptive": true,
        "inputs": [{"name": "added sample", "paths": [sample]}],
    }))
    .map_err(|e| Error::internal(e.to_string()))?;
    Ok(seqmill_pack::pack(&options, None, &job()?)?.samples)
}

/// One way to use the archive.
fn attempt<T>(work: impl FnOnce() -> Result<T, Error>) -> Attempt<T> {
    let in_order =
        |kind| matches!(kind, ErrorKind::Budget | ErrorKind::Input | ErrorKind::OutOfRange);
    alone::attempt(&LIMITS, in_order, work)
}

fn corpus() -> std::io::Result<Vec<Vec<u8>>> {
    let told = std::env::var_os("SEQMILL_SHARED_DATA").map(PathBuf::from);
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(3);
    let folder = told.or_else(|| root.map(|r| r.join("shared").join("data"))).unwrap_or_default();
    let mut paths: Vec<PathBuf> = std::fs::read_dir(folder.join("agc"))?
        .filter_map(|entry| entry.ok().map(|e| e.path()))
        .filter(|path| path.extension().is_some_and(|s| s == "agc"))
        .collect();
    paths.sort();
    let small =
        paths.iter().map(std::fs::read).filter(|b| b.as_ref().is_ok_and(|b| b.len() < 100_000));
    small.collect()
}

/// Runs cases; says what came of them.
pub(crate) fn run(arguments: &crate::Arguments) -> std::io::Result<bool> {
    alone::run(arguments, "archives", |folder| {
        let (folder, corpus) = (folder.to_path_buf(), corpus()?);
        let sample = folder.join("added.fa");
        let bases: String =
            (0..3000_u32).map(|i| char::from(b"ACGT"[(i * i / 7 % 4) as usize])).collect();
        std::fs::write(&sample, format!(">added\n{bases}\n"))?;
        Ok(move |random: &mut Random| one(&folder, &corpus, &sample, random))
    })
}

/// One case.
fn one(
    folder: &Path,
    corpus: &[Vec<u8>],
    sample: &Path,
    random: &mut Random,
) -> std::io::Result<Case> {
    let from = random.pick(corpus);
    let other = random.pick(corpus);
    let mut bytes = from.clone();
    let story = match take_apart(from).filter(|_| !random.once_in(4)) {
        Some(mut streams) => {
            let story = damage_inside(&mut streams, other, random);
            bytes = put_together(&streams);
            story
        }
        None => mutate::bytes(&mut bytes, other, random),
    };
    let mut case = Case::new(folder, bytes, "agc", story)?;
    case.note("read", attempt(|| read_all(&case.path)));
    case.note("verify", attempt(|| check(&case.path)));
    if random.once_in(3) {
        let added = case.note("add", attempt(|| add(&case.path, sample)));
        if !added && case.is_good() && std::fs::read(&case.path)? != case.bytes {
            case.blame(Some("a failed job has changed the archive".to_owned()));
        }
    }
    Ok(case)
}
