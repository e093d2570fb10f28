//! Windows of mutated FASTA, with side files that are made, damaged or of another text.
//! `seqmill-fuzz --kind fetch`.

use crate::alone::{self, Case, Limits};
use crate::frame::{gzip, reframe_anyhow};
use crate::random::Random;
use crate::{mutate, text};
use seqmill_base::{Budget, CancelToken, Error, ErrorKind, Job, Result};
use seqmill_fetch::{Contig, Encoder, OpenOptions, OutOfRange, Pack, Place, Root, Store, Window};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// What opening and checking may use, and the blocks that are kept.
const MEMORY_BYTES: u64 = 32 << 20;
const CACHE_BYTES: usize = 1 << 20;
const LIMITS: Limits =
    Limits { memory: MEMORY_BYTES, slack: 8 << 20, longest: Duration::from_secs(20) };
/// Contigs that windows are taken of.
const CONTIGS_MAX: u32 = 12;
/// Windows are no longer, whatever an index claims.
const WINDOW_MAX: u64 = 1 << 20;
const PAD: u8 = b'N';

/// A name and its bases.
type Record = (Vec<u8>, Vec<u8>);

/// FASTA as it may have an index: of each record all lines but the last are of one length.
fn draw_fasta(random: &mut Random) -> Vec<u8> {
    let end: &[u8] = if random.once_in(4) { b"\r\n" } else { b"\n" };
    let mut file = Vec::new();
    for number in 0..random.below(7) {
        file.extend_from_slice(format!(">c{number}").as_bytes());
        file.extend_from_slice(random.pick::<&[u8]>(&[b"", b" described", b"\ttext"]));
        file.extend_from_slice(end);
        let width = *random.pick(&[1, 7, 60, 80, 4000]);
        let length = random.short(20_000).min(400 * width);
        let bases: Vec<u8> = (0..length).map(|_| *random.pick(b"ACGTacgtNnRY")).collect();
        for line in bases.chunks(width) {
            file.extend_from_slice(line);
            file.extend_from_slice(end);
        }
        if random.once_in(6) {
            file.extend_from_slice(end);
        }
    }
    if random.once_in(4) {
        file.truncate(file.len() - file.len().min(end.len()));
    }
    file
}

/// The records of a text in the plainest way: what cannot be seen is no base, and of two records with one
/// name the first counts. None where one has no bases: `samtools faidx`, which is followed, drops
/// some of these and keeps others.
fn read_plainly(file: &[u8]) -> Option<Vec<Record>> {
    let mut records: Vec<Record> = Vec::new();
    for line in file.split(|byte| *byte == b'\n') {
        if let Some(header) = line.strip_prefix(b">") {
            // samtools leaves out white space before the name.
            let mut words = header.split(|byte| is_space(*byte));
            let name = words.find(|word| !word.is_empty()).unwrap_or_default();
            records.push((name.to_vec(), Vec::new()));
        } else if let Some((_, bases)) = records.last_mut() {
            bases.extend(line.iter().filter(|byte| byte.is_ascii_graphic()));
        }
    }
    let mut names = BTreeSet::new();
    records.retain(|(name, _)| names.insert(name.clone()));
    records.iter().all(|(_, bases)| !bases.is_empty()).then_some(records)
}

/// C's `isspace`.
fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | 9..=13)
}

/// A case on its way.
struct Drawn {
    bytes: Vec<u8>,
    suffix: &'static str,
    story: Vec<String>,
    /// What must be read if the file can be opened with side files of its own.
    records: Option<Vec<Record>>,
}

fn draw(random: &mut Random) -> Drawn {
    let (mut file, other) = (draw_fasta(random), text::example_fasta(random));
    let mut story = Vec::new();
    if random.once_in(2) {
        story.push(if random.once_in(3) {
            mutate::bytes(&mut file, &other, random)
        } else {
            text::damage(&mut file, random)
        });
    }
    let mut records = read_plainly(&file);
    let suffix = match random.below(5) {
        0 | 1 => "fa",
        2 => {
            file = gzip(&file);
            "fa.gz"
        }
        _ => {
            let (framed, how) = reframe_anyhow(&file, random);
            file = framed;
            story.push(how);
            "fa.gz"
        }
    };
    if suffix == "fa.gz" && random.once_in(4) {
        records = None;
        story.push(if random.once_in(2) {
            mutate::blocks_of(&mut file, random)
        } else {
            mutate::bytes(&mut file, &other, random)
        });
    }
    Drawn { bytes: file, suffix, story, records }
}

fn open(path: &Path, random: &mut Random) -> Result<Store> {
    let folder = path.parent().unwrap_or(Path::new(".")).to_path_buf();
    let name = PathBuf::from(path.file_name().unwrap_or_default());
    let options = OpenOptions {
        suffixes: vec![".fa".to_owned(), ".fa.gz".to_owned()],
        rebuild_stale: random.once_in(2),
        strict_eof: random.once_in(6),
        recompress_gzip: random.once_in(2),
        validate: !random.once_in(4),
        verify_index: random.once_in(2),
        no_cache: random.once_in(3),
        verify_blocks: !random.once_in(4),
        map_plain: random.once_in(4),
        cache_bytes: CACHE_BYTES,
        threads: 1 + random.below(3),
        memory: MEMORY_BYTES,
        cache_directory: Some(folder.join("cache")),
        pack: *random.pick(&[Pack::Auto, Pack::Auto, Pack::Never]),
        ..OpenOptions::default()
    };
    Store::open(Root::Files(folder, vec![name]), options)
}

/// What is beside the input in the folder of the run.
fn beside(path: &Path) -> std::io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(path.parent().unwrap_or(Path::new(".")))? {
        let entry = entry?.path();
        if entry != path {
            found.push(entry);
        }
    }
    found.sort();
    Ok(found)
}

fn sweep(path: &Path) -> std::io::Result<()> {
    for entry in beside(path)? {
        if entry.is_dir() { std::fs::remove_dir_all(entry)? } else { std::fs::remove_file(entry)? }
    }
    Ok(())
}

/// Lets side files be made, then damages one or exchanges the file that they are of.
fn damage_beside(case: &Case, random: &mut Random) -> std::io::Result<String> {
    if random.once_in(6) {
        let was = random.clone();
        std::fs::write(&case.path, draw_fasta(random))?;
        let _ = open(&case.path, &mut was.clone());
        std::fs::write(&case.path, &case.bytes)?;
        return Ok("side files of another text".to_owned());
    }
    if let Ok(store) = open(&case.path, random)
        && random.once_in(3)
    {
        let _ = store.pack(0, &CancelToken::default());
    }
    let files: Vec<PathBuf> = beside(&case.path)?.into_iter().filter(|p| p.is_file()).collect();
    if files.is_empty() {
        return Ok("no side files".to_owned());
    }
    let file = random.pick(&files);
    let mut bytes = std::fs::read(file)?;
    let other = std::fs::read(random.pick(&files))?;
    let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let how = if is_list(file) && !random.once_in(3) {
        text::damage(&mut bytes, random)
    } else {
        mutate::bytes(&mut bytes, &other, random)
    };
    std::fs::write(file, bytes)?;
    // The index of the store would spare the side files a look.
    for index in files.iter().filter(|path| *path != file && is_index(path)) {
        if random.once_in(2) {
            std::fs::remove_file(index)?;
        }
    }
    Ok(format!("{name}: {how}"))
}

fn is_list(path: &Path) -> bool {
    path.extension().is_some_and(|suffix| suffix == "fai")
}

fn is_index(path: &Path) -> bool {
    !is_list(path) && path.extension().is_none_or(|suffix| suffix != "gzi")
}

/// A window within a contig, or reaching out of it.
fn draw_place(store: &Store, contig: &Contig<'_>, random: &mut Random) -> Result<Place> {
    let length = i64::try_from(contig.length().min(WINDOW_MAX)).unwrap_or(i64::MAX);
    let start = random.below(length as usize + 1) as i64;
    let end = start + random.short(length as usize + 1) as i64;
    let policy = *random.pick(&[OutOfRange::Clip, OutOfRange::Pad, OutOfRange::Clip]);
    store.place(contig, start - i64::from(random.once_in(5)), Some(end), policy)
}

fn reverse(bases: &mut [u8]) {
    bases.reverse();
    for base in bases {
        let place = b"ACGTURYKMBVDHacgturykmbvdh".iter().position(|known| known == base);
        *base = place.map_or(*base, |place| b"TGCAAYRMKVBHDtgcaayrmkvbhd"[place]);
    }
}

/// Reads windows one by one and together: the same, and what stands in the text.
fn read_windows(store: &Store, expected: Option<&[Record]>, random: &mut Random) -> Result<()> {
    store.failure(0)?.map_or(Ok(()), Err)?;
    let encoder = Encoder::identity();
    let contigs = store.contigs(0)?;
    if let Some(records) = expected
        && records.len() != contigs as usize
    {
        return Err(Error::internal(format!("{contigs} contigs of {}", records.len())));
    }
    let (mut windows, mut single) = (Vec::new(), Vec::new());
    for id in 0..contigs.min(CONTIGS_MAX) {
        let contig = store.contig(0, id)?;
        store.find_contig(0, contig.name)?;
        for _ in 0..3 {
            let (place, minus) = (draw_place(store, &contig, random)?, random.once_in(3));
            let mut out = vec![0; encoder.output_bytes(place.bases() as usize)];
            store.read(&contig, &place, minus, (&encoder, PAD), &mut out)?;
            if let Some((name, bases)) = expected.and_then(|records| records.get(id as usize)) {
                compare(contig.name, name, bases, (&place, minus), &out)?;
            }
            single.extend_from_slice(&out);
            windows.push(Window { file: 0, contig: id, place, minus });
        }
    }
    let mut many = vec![0; single.len()];
    let threads = 1 + random.below(3);
    store.read_many(&windows, 0, (&encoder, PAD), &mut many, threads, &CancelToken::default())?;
    if many != single {
        return Err(Error::internal("windows read together differ from windows read one by one"));
    }
    let job = Job::new(Budget::new(MEMORY_BYTES, 0)?);
    if random.once_in(4) { store.check_file(0, threads, &job) } else { Ok(()) }
}

fn compare(
    own: &[u8],
    name: &[u8],
    bases: &[u8],
    (place, minus): (&Place, bool),
    out: &[u8],
) -> Result<()> {
    let inside = bases.get(place.start as usize..place.end as usize);
    let Some(inside) = inside.filter(|_| own == name) else {
        return Err(Error::internal(format!("{place:?} of {:?}", String::from_utf8_lossy(own))));
    };
    let mut wanted = vec![PAD; place.left as usize];
    wanted.extend_from_slice(inside);
    wanted.resize(wanted.len() + place.right as usize, PAD);
    if minus {
        reverse(&mut wanted);
    }
    if wanted == out {
        return Ok(());
    }
    let text = |bases: &[u8]| String::from_utf8_lossy(&bases[..bases.len().min(99)]).into_owned();
    let place = format!("{place:?} of {}", String::from_utf8_lossy(own));
    Err(Error::internal(format!("{place}: {:?} instead of {:?}", text(out), text(&wanted))))
}

/// One case.
fn one(folder: &Path, random: &mut Random) -> std::io::Result<Case> {
    let Drawn { bytes, suffix, mut story, records } = draw(random);
    let with_side_files = random.once_in(2);
    let mut case = Case::new(folder, bytes, suffix, story.join("; "))?;
    let (mut expected, mut what) = (records, "made");
    if with_side_files {
        let made = alone::attempt(
            &LIMITS,
            |_| true,
            || damage_beside(&case, random).map_err(|e| Error::internal(e.to_string())),
        );
        story.push(made.done.unwrap_or_default());
        case.blame(made.fault);
        case.tell(story.join("; "));
        // Side files are believed where they fit the file.
        (expected, what) = (None, "given");
    }
    let in_order = |kind| matches!(kind, ErrorKind::Input | ErrorKind::Budget);
    let done = alone::attempt(&LIMITS, in_order, || {
        let store = open(&case.path, random)?;
        read_windows(&store, expected.as_deref(), random)
    });
    case.note(what, done);
    sweep(&case.path)?;
    Ok(case)
}

/// Runs cases; says what came of them.
pub(crate) fn run(arguments: &crate::Arguments) -> std::io::Result<bool> {
    alone::run(arguments, "fetch", |folder| {
        let folder = folder.to_path_buf();
        Ok(move |random: &mut Random| one(&folder, random))
    })
}
