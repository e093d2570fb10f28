//! One case: a damaged input with the options it is converted with, all from seed and number.

use crate::corpus::{Seed, Wrapping};
use crate::frame::{gzip, reframe_anyhow};
use crate::random::Random;
use crate::{bam, cram, index, mutate, text};
use seqmill_convert::{Expression, Options, Resources, Scalar, Semantic};

/// What is done with the input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Into a file.
    Convert,
    /// Batch by batch into this process.
    Stream,
    /// Only counted.
    Count,
    /// Its coverage is measured.
    Coverage,
}

/// One case.
pub(crate) struct Case {
    pub number: u64,
    pub seed: String,
    pub suffix: String,
    pub bytes: Vec<u8>,
    pub index: Option<(String, Vec<u8>)>,
    /// The seed was not damaged before.
    pub whole: bool,
    /// What was done to the bytes.
    pub story: Vec<String>,
    pub mode: Mode,
    /// Options without the paths.
    pub options: Options,
    /// The same is done once more with other resources, and must end in the same way.
    pub again: Option<Resources>,
}

/// Data beyond this say nothing new and take long.
const INNER_MAX_BYTES: usize = 12 << 20;

/// Makes case `number`.
pub(crate) fn make(corpus: &[Seed], seed: u64, number: u64) -> Case {
    let mut random = Random::of_case(seed, number);
    // The seeds made here come first and are small: each of them is worth many cases.
    let among = if random.once_in(4) { crate::corpus::MADE_COUNT } else { corpus.len() };
    let crams: Vec<&Seed> = corpus.iter().filter(|seed| seed.suffix == "cram").collect();
    let from = match crams.get(random.below(12 * crams.len())) {
        Some(cram) => cram,
        None => &corpus[random.below(among)],
    };
    let other = &corpus[random.below(corpus.len())];
    let mut story = Vec::new();
    let mut bytes = from.bytes.clone();
    let mut index = from.index.clone();
    let only_index = index.is_some() && random.once_in(4);
    if !only_index {
        bytes = damaged(from, other, &mut random, &mut story);
    }
    if let Some((_, index)) = &mut index
        && (only_index || random.once_in(4))
    {
        for _ in 0..=random.below(2) {
            story.push(index::damage(index, &other.bytes, &mut random));
        }
    }
    let mode = match random.below(10) {
        0..=4 => Mode::Convert,
        5 | 6 => Mode::Stream,
        7 => Mode::Count,
        _ => Mode::Coverage,
    };
    let indexed = index.is_some() && (only_index || random.once_in(2));
    let options = Options {
        semantic: semantic(from, mode, indexed, &mut random),
        resources: resources(&mut random),
        force: true,
        version: "0".to_owned(),
        checkpoint_bytes: random.once_in(3).then(|| 1 + random.next() % (1 << 18)),
        ..Options::default()
    };
    let again = random.once_in(3).then(|| resources(&mut random));
    let (seed, suffix) = (from.name.clone(), from.suffix.clone());
    let whole = !seed.contains("/bad_");
    Case { number, seed, suffix, bytes, index, whole, story, mode, options, again }
}

/// The bytes of a seed, damaged inside its wrapping or outside, once or a few times.
fn damaged(from: &Seed, other: &Seed, random: &mut Random, story: &mut Vec<String>) -> Vec<u8> {
    let times = if random.once_in(3) { 1 + random.below(4) } else { 1 };
    let inside = from.inner.as_ref().filter(|_| !random.once_in(4));
    let Some(inner) = inside else {
        let mut bytes = from.bytes.clone();
        for _ in 0..times {
            story.push(match from.wrapping {
                Wrapping::Bgzf if random.once_in(2) => mutate::blocks_of(&mut bytes, random),
                Wrapping::Plain if !random.once_in(4) => plain(from, other, &mut bytes, random),
                _ => mutate::bytes(&mut bytes, &other.bytes, random),
            });
        }
        return bytes;
    };
    let mut data = inner.clone();
    for _ in 0..times {
        story.push(plain(from, other, &mut data, random));
        data.truncate(INNER_MAX_BYTES);
    }
    if from.wrapping == Wrapping::Gzip || random.once_in(20) {
        return gzip(&data);
    }
    let (bytes, how) = reframe_anyhow(&data, random);
    story.push(how);
    bytes
}

/// Damages data without wrapping.
fn plain(from: &Seed, other: &Seed, data: &mut Vec<u8>, random: &mut Random) -> String {
    if random.once_in(5) {
        return mutate::bytes(data, other.inner.as_ref().unwrap_or(&other.bytes), random);
    }
    if from.is_bam() {
        bam::damage(data, random)
    } else if from.suffix == "cram" {
        let inside = cram::damage(data, &other.bytes, random);
        inside.unwrap_or_else(|| mutate::bytes(data, &other.bytes, random))
    } else {
        text::damage(data, random)
    }
}

/// Threads, memory and ways to read: nothing of it may show in the result.
fn resources(random: &mut Random) -> Resources {
    let threads = *random.pick(&[1, 1, 2, 3]);
    Resources {
        threads,
        stage_threads: random.once_in(6).then_some([1, 1, 1]),
        memory: *random.pick(&[24 << 20, 48 << 20, 128 << 20]),
        io: (*random.pick(&["read", "read", "read", "map", "map", "direct"])).to_owned(),
        queue_depth: 2,
        ..Resources::default()
    }
}

fn semantic(from: &Seed, mode: Mode, indexed: bool, random: &mut Random) -> Semantic {
    let text = |list: &[&str], random: &mut Random| (*random.pick(list)).to_owned();
    let mut semantic = Semantic {
        verify: !random.once_in(4),
        strict: random.once_in(6),
        batch_bytes: *random.pick(&[1, 500, 1 << 14, 2 << 20]),
        row_group_bytes: *random.pick(&[1000, 1 << 16, 64 << 20]),
        ..Semantic::default()
    };
    if from.bytes.len() > 20_000 {
        // A batch a record takes long where there are many.
        semantic.batch_bytes = semantic.batch_bytes.max(1 << 14);
        semantic.row_group_bytes = semantic.row_group_bytes.max(1 << 16);
    }
    if mode == Mode::Convert {
        semantic.format = text(&["parquet", "parquet", "arrow", "arrows"], random);
        let compressions: &[&str] = if semantic.format == "parquet" {
            &["", "", "lz4", "snappy", "gzip", "none"]
        } else {
            &["", "", "lz4", "zstd"]
        };
        semantic.compression = text(compressions, random);
        semantic.compat = random.once_in(8);
    }
    if random.once_in(2) {
        semantic.tags = text(&["struct", "columns", "sam", "binary", "none"], random);
    }
    if random.once_in(4) {
        semantic.cigar = text(&["text", "ops", "struct"], random);
        semantic.seq = text(&["text", "packed"], random);
        semantic.qual = text(&["text", "phred"], random);
    }
    if random.once_in(6) {
        semantic.profile = text(&["bio", "basic"], random);
        "struct".clone_into(&mut semantic.tags);
    }
    if random.once_in(6) {
        "01".clone_into(&mut semantic.coords);
    }
    if random.once_in(8) {
        "full".clone_into(&mut semantic.discover);
    }
    if random.once_in(8) {
        semantic.max_tags = random.below(4);
    }
    if random.once_in(6) {
        "skip".clone_into(&mut semantic.on_bad_record);
    }
    if random.once_in(8) {
        semantic.batch_rows = Some(1 + random.next() % 50);
    }
    if random.once_in(8) {
        let more = ["+ordinal", "+voffset", "+mean_qual", "+seq_len", "+strand", "+is_paired"];
        semantic.columns = Some(more.iter().map(|s| (*s).to_owned()).collect());
    } else if random.once_in(7) {
        semantic.columns = Some(["pos", "flag", "mapq"].map(str::to_owned).to_vec());
    }
    filters(&mut semantic, from, indexed, random);
    semantic
}

fn filters(semantic: &mut Semantic, from: &Seed, indexed: bool, random: &mut Random) {
    if indexed || random.once_in(20) {
        for _ in 0..=random.below(3) {
            let name = match random.below(8) {
                0 => "*".to_owned(),
                _ if from.references.is_empty() => "chr1".to_owned(),
                _ => random.pick(&from.references).clone(),
            };
            let begin = random.short(1 << 20);
            let region = match random.below(4) {
                _ if name == "*" => name,
                0 => name,
                1 => format!("{{{name}}}:{begin}"),
                _ => format!("{{{name}}}:{begin}-{}", begin + random.short(1 << 29)),
            };
            semantic.regions.push(region);
        }
    }
    if random.once_in(6) {
        semantic.min_mapq = random.byte();
        semantic.exclude_flags = 4;
    }
    if random.once_in(8) {
        semantic.limit = Some(random.next() % 100);
        semantic.offset = random.next() % 20;
    }
    if random.once_in(10) {
        semantic.read_groups = Some(vec!["one".to_owned()]);
    }
    if random.once_in(10) {
        semantic.tag_in = vec![("NM".to_owned(), vec!["0".to_owned(), "3".to_owned()])];
    }
    if random.once_in(10) {
        semantic.filter = Some(Expression::Or(vec![
            Expression::Compare("tags.NM".to_owned(), "<=".to_owned(), Scalar::Int(3)),
            Expression::Compare("mapq".to_owned(), ">=".to_owned(), Scalar::Int(30)),
            Expression::Flag(16),
        ]));
    }
}
