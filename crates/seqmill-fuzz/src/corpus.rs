//! What is mutated: the shared test data, where they are found, and small files made here.

use crate::frame::{gunzip, inflate, reframe};
use crate::random::Random;
use seqmill_io::bgzf::{VirtualOffset, is_bgzf};
use std::path::{Path, PathBuf};

/// Larger files would only make the run slower: the damage is the same.
const FILE_MAX_BYTES: u64 = 350 << 10;

/// Seeds that need no other file.
pub(crate) const MADE_COUNT: usize = 9;

/// How the bytes of a seed are wrapped, which decides what can be done to them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wrapping {
    Bgzf,
    Gzip,
    Plain,
}

/// A file to mutate.
#[derive(Debug, Clone)]
pub(crate) struct Seed {
    /// Where it comes from, for messages.
    pub name: String,
    /// Suffix of the file's name.
    pub suffix: String,
    pub bytes: Vec<u8>,
    pub wrapping: Wrapping,
    /// The data without the wrapping, if it could be taken off.
    pub inner: Option<Vec<u8>>,
    /// Suffix and bytes of an index.
    pub index: Option<(String, Vec<u8>)>,
    /// Names of references, for regions.
    pub references: Vec<String>,
}

impl Seed {
    fn new(name: &str, suffix: &str, bytes: Vec<u8>, index: Option<(String, Vec<u8>)>) -> Self {
        let wrapping = if is_bgzf(&bytes) {
            Wrapping::Bgzf
        } else if bytes.starts_with(&[0x1f, 0x8b]) {
            Wrapping::Gzip
        } else {
            Wrapping::Plain
        };
        let inner = match wrapping {
            Wrapping::Bgzf => inflate(&bytes),
            Wrapping::Gzip => gunzip(&bytes),
            Wrapping::Plain => None,
        };
        let data = inner.as_ref().unwrap_or(&bytes);
        let references = crate::bam::reference_names(data);
        let (name, suffix) = (name.to_owned(), suffix.to_owned());
        Self { name, suffix, bytes, wrapping, inner, index, references }
    }

    /// Whether the data are BAM.
    pub(crate) fn is_bam(&self) -> bool {
        self.inner.as_ref().unwrap_or(&self.bytes).starts_with(b"BAM\x01")
    }
}

/// The folder of the shared data.
fn shared_data() -> Option<PathBuf> {
    let told = std::env::var_os("SEQMILL_SHARED_DATA").map(PathBuf::from);
    // The crate lies two folders below the repository.
    let beside = || {
        let repository = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2)?;
        Some(repository.parent()?.join("shared").join("data"))
    };
    told.or_else(beside).filter(|folder| folder.is_dir())
}

/// All seeds: those made here, then those found, in the order of their names.
pub(crate) fn corpus() -> Vec<Seed> {
    let mut seeds = made().to_vec();
    let Some(folder) = shared_data() else { return seeds };
    for part in ["bam/edge", "bam/real", "bam/sam_bad", "bam/sam_ok"] {
        let Ok(entries) = folder.join(part).read_dir() else { continue };
        let mut paths: Vec<PathBuf> = entries.filter_map(|e| Some(e.ok()?.path())).collect();
        paths.sort();
        for path in paths {
            let suffix = path.extension().and_then(|s| s.to_str()).unwrap_or_default().to_owned();
            let small = path.metadata().is_ok_and(|m| m.len() <= FILE_MAX_BYTES);
            if !small || !["bam", "sam", "cram"].contains(&suffix.as_str()) {
                continue;
            }
            let Ok(bytes) = std::fs::read(&path) else { continue };
            let index = ["bai", "csi"].iter().find_map(|index| {
                let beside = path.with_extension(format!("{suffix}.{index}"));
                Some(((*index).to_owned(), std::fs::read(beside).ok()?))
            });
            let name = path.file_name().and_then(|s| s.to_str()).unwrap_or_default();
            seeds.push(Seed::new(&format!("{part}/{name}"), &suffix, bytes, index));
        }
    }
    seeds
}

/// Seeds that need no other file.
fn made() -> [Seed; MADE_COUNT] {
    let mut random = Random::of_case(20_261, 0);
    let names = ["chr1", "chr2", "odd:name"];
    let (header, records) = crate::bam::example(&mut random, &names, 60);
    let mut data = header.clone();
    let mut starts = Vec::new();
    for record in &records {
        starts.push((crate::bam::reference_of(record), data.len()));
        data.extend_from_slice(record);
    }
    let (bam, blocks) = reframe(&data, &mut || 700, true);
    let place = |at: usize| {
        let block = blocks.partition_point(|(start, _)| *start <= at).saturating_sub(1);
        blocks
            .get(block)
            .map_or(0, |(start, offset)| VirtualOffset::new(*offset, (at - start) as u32).0)
    };
    let chunks: Vec<Option<(u64, u64)>> = (0..names.len() as i32)
        .map(|reference| {
            let first = starts.iter().find(|(r, _)| *r == reference)?.1;
            let behind = starts.iter().find(|(r, at)| *r != reference && *at > first);
            let end = behind.map_or(data.len(), |(_, at)| *at);
            Some((
                place(first),
                if end == data.len() { (bam.len() as u64) << 16 } else { place(end) },
            ))
        })
        .collect();
    let sam = crate::text::example_sam(&mut random);
    let gzip = crate::frame::gzip(&data);
    let raw = data.clone();
    let (bgzf_sam, _) = reframe(sam.as_bytes(), &mut || 300, true);
    let long = crate::bam::example_long(&mut random);
    let (long, _) = reframe(&long, &mut || 4000, true);
    [
        Seed::new("made/bai", "bam", bam.clone(), Some(("bai".into(), crate::index::bai(&chunks)))),
        Seed::new("made/csi", "bam", bam, Some(("csi".into(), crate::index::csi(&chunks)))),
        Seed::new("made/gzip", "bam", gzip, None),
        Seed::new("made/raw", "bam", raw, None),
        Seed::new("made/long", "bam", long, None),
        Seed::new("made/sam", "sam", sam.into_bytes(), None),
        Seed::new("made/bgzf_sam", "sam.gz", bgzf_sam, None),
        Seed::new("made/fastq", "fastq", crate::text::example_fastq(&mut random), None),
        Seed::new("made/fasta", "fasta", crate::text::example_fasta(&mut random), None),
    ]
}
