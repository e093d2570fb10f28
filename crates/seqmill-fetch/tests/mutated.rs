//! Damaged files of every kind a store reads: an error or the right bases, never a panic, never a
//! large allocation, never bases of another place.
//!
//! `SEQMILL_MUTATIONS` sets how many damaged sets are read (default 800).
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::cast_possible_truncation)]

use seqmill_base::{CancelToken, ErrorKind};
use seqmill_fetch::{Content, Encoder, OpenOptions, OutOfRange, Pack, Root, Store, Window};
use seqmill_io::bgzf::{Compressor, EOF_MARKER};
use std::path::{Path, PathBuf};

const DEFAULT_MUTATIONS: u64 = 800;

/// `SplitMix64`.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut x = self.0;
        x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        x ^ (x >> 31)
    }

    fn below(&mut self, n: usize) -> usize {
        (self.next() % n.max(1) as u64) as usize
    }
}

fn damage(bytes: &mut Vec<u8>, random: &mut Random) {
    for _ in 0..=random.below(3) {
        let at = random.below(bytes.len());
        match random.below(8) {
            0 => bytes.truncate(at),
            1 => bytes.insert(at, random.next() as u8),
            2 => {
                let count = random.below(40).min(bytes.len() - at);
                bytes.drain(at..at + count);
            }
            3 => {
                let number = [0, 1, u64::MAX, 1 << 40, u64::from(u32::MAX)][random.below(5)];
                for (to, from) in bytes[at..].iter_mut().zip(number.to_le_bytes()) {
                    *to = from;
                }
            }
            4 => {
                let digits = b"0123456789\t\n>9-";
                let new = digits[random.below(digits.len())];
                if let Some(byte) = bytes.get_mut(at) {
                    *byte = new;
                }
            }
            _ => {
                if let Some(byte) = bytes.get_mut(at) {
                    *byte = random.next() as u8;
                }
            }
        }
        if bytes.is_empty() {
            bytes.push(0);
        }
    }
}

fn text(random: &mut Random) -> Vec<u8> {
    let mut text = Vec::new();
    for contig in 0..20 {
        text.extend(format!(">contig{contig} of a test\n").into_bytes());
        let length = 200 + random.below(9000);
        let bases: Vec<u8> = (0..length).map(|_| b"ACGTNacgt"[random.below(9)]).collect();
        for line in bases.chunks(60) {
            text.extend(line);
            text.push(b'\n');
        }
    }
    text
}

fn blocks(text: &[u8]) -> Vec<u8> {
    let mut compressor = Compressor::new(4).unwrap();
    let mut out = Vec::new();
    for part in text.chunks(9000) {
        compressor.append_block(part, &mut out).unwrap();
    }
    out.extend(EOF_MARKER);
    out
}

fn options(content: Content) -> OpenOptions {
    let suffixes = match content {
        Content::Sequence => vec![".fa".to_owned(), ".fa.gz".to_owned()],
        Content::Tracks => vec![".track.gz".to_owned()],
    };
    OpenOptions { suffixes, content, validate: false, cache_bytes: 0, ..OpenOptions::default() }
}

/// File, contig, and its bases if they could be read.
type Found = (Vec<u8>, Vec<u8>, Option<Vec<u8>>);

fn read_all(store: &Store) -> Vec<Found> {
    let encoder = Encoder::identity();
    let mut found = Vec::new();
    for file in 0..store.files() {
        if store.failure(file).map_or(true, |failure| failure.is_some()) {
            continue;
        }
        let mut windows = Vec::new();
        for id in 0..store.contigs(file).unwrap_or(0).min(64) {
            let Ok(contig) = store.contig(file, id) else { continue };
            // A damaged index may claim any length: nobody asks for so much.
            let end = i64::try_from(contig.length().min(1 << 20)).unwrap();
            let Ok(place) = store.place(&contig, 0, Some(end), OutOfRange::Error) else { continue };
            let mut out = vec![0; place.bases() as usize];
            let read = store.read(&contig, &place, false, (&encoder, b'N'), &mut out);
            if let Err(error) = &read {
                assert!(!matches!(error.kind(), ErrorKind::Internal), "{error}");
                assert!(!error.message().is_empty());
            }
            windows.push(Window { file, contig: id, place, minus: false });
            let name = store.name(file).unwrap_or_default().to_vec();
            found.push((name, contig.name.to_vec(), read.is_ok().then_some(out)));
        }
        let total: u64 = windows.iter().map(|w| w.place.bases()).sum();
        let mut out = vec![0; total as usize];
        let cancel = CancelToken::default();
        let _ = store.read_many(&windows, 0, (&encoder, b'N'), &mut out, 2, &cancel);
    }
    found
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap().flatten() {
        std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}

fn scratch(name: &str) -> PathBuf {
    let folder = std::env::temp_dir().join(format!("seqmill-{name}-{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder).unwrap();
    folder
}

fn mutations() -> u64 {
    let told = std::env::var("SEQMILL_MUTATIONS").ok();
    told.and_then(|n| n.parse().ok()).unwrap_or(DEFAULT_MUTATIONS)
}

/// A plain file and one in blocks, with side files, index and packed sidecars.
fn make_intact(folder: &Path) -> Vec<Found> {
    std::fs::create_dir_all(folder).unwrap();
    let mut random = Random(7);
    std::fs::write(folder.join("p.fa"), text(&mut random)).unwrap();
    std::fs::write(folder.join("z.fa.gz"), blocks(&text(&mut random))).unwrap();
    let root = Root::Directory(folder.to_path_buf());
    let store = Store::open(root, options(Content::Sequence)).unwrap();
    for file in 0..2 {
        store.pack(file, &CancelToken::default()).unwrap();
    }
    std::fs::remove_file(folder.join(".seqmill-fasta-index-v1.lock")).ok();
    read_all(&store)
}

#[test]
fn damaged_sequence_files_give_errors_or_the_right_bases() {
    let folder = scratch("mutated");
    let (intact, damaged) = (folder.join("intact"), folder.join("damaged"));
    let expected = make_intact(&intact);
    assert_eq!(expected.len(), 40);
    let entries = std::fs::read_dir(&intact).unwrap().flatten();
    let mut names: Vec<String> = entries
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .filter(|name| !name.contains(".lock"))
        .collect();
    names.sort();
    let index = names.iter().find(|name| name.contains("index")).unwrap().clone();
    assert_eq!(names.len(), 8);
    for round in 0..mutations() {
        let _ = std::fs::remove_dir_all(&damaged);
        copy(&intact, &damaged);
        let mut random = Random(round);
        let target = &names[random.below(names.len())];
        let mut bytes = std::fs::read(intact.join(target)).unwrap();
        damage(&mut bytes, &mut random);
        std::fs::write(damaged.join(target), bytes).unwrap();
        // Most of the time the index would hide what is wrong with a side file.
        if *target != index && random.below(4) > 0 {
            std::fs::remove_file(damaged.join(&index)).unwrap();
        }
        let pack = [Pack::Auto, Pack::Never][random.below(2)];
        let options = OpenOptions { pack, ..options(Content::Sequence) };
        let Ok(store) = Store::open(Root::Directory(damaged.clone()), options) else { continue };
        for (file, contig, bases) in read_all(&store) {
            let known = expected.iter().find(|known| known.0 == file && known.1 == contig);
            let (Some(bases), Some((.., Some(right)))) = (bases, known) else { continue };
            // Plain text has no checksum: other letters are other letters. An index that claims
            // less than there is may be believed.
            let text_itself = target == "p.fa" && file == b"p";
            let told_shorter = bases.len() < right.len() && target != "z.fa.gz";
            if !text_itself && *target != index && !told_shorter {
                let contig = String::from_utf8_lossy(&contig).into_owned();
                assert!(bases == *right, "round {round}: {target}: {contig} has other bases");
            }
        }
    }
    std::fs::remove_dir_all(folder).unwrap();
}

#[test]
fn damaged_tracks_give_errors_or_numbers() {
    let folder = scratch("mutated-tracks");
    let mut random = Random(8);
    let bytes: Vec<u8> = (0..50_000).map(|_| random.next() as u8).collect();
    let packed = blocks(&bytes);
    let mut entries = Vec::new();
    for (i, part) in (1..).zip(bytes.chunks(9000)) {
        let mut one = Vec::new();
        Compressor::new(4).unwrap().append_block(part, &mut one).unwrap();
        let at = entries.last().map_or(0, |&(at, _)| at) + one.len() as u64;
        entries.push((at, 9000 * i));
    }
    entries.pop();
    let mut gzi = (entries.len() as u64).to_le_bytes().to_vec();
    for (at, text) in entries {
        gzi.extend(at.to_le_bytes());
        gzi.extend(u64::to_le_bytes(text));
    }
    let files = [
        ("t.track.gz", packed),
        ("t.track.gz.gzi", gzi),
        ("t.track.gz.idx", b"a\t0\nb\t20000\n\t50000\n".to_vec()),
    ];
    for round in 0..mutations() / 4 {
        let mut random = Random(round);
        let target = random.below(files.len());
        for (i, (name, content)) in files.iter().enumerate() {
            let mut content = content.clone();
            if i == target && round > 0 {
                damage(&mut content, &mut random);
            }
            std::fs::write(folder.join(name), content).unwrap();
        }
        let options = OpenOptions { no_cache: true, ..options(Content::Tracks) };
        let Ok(store) = Store::open(Root::Directory(folder.clone()), options) else { continue };
        let found = read_all(&store);
        if round == 0 {
            assert_eq!(found[0].2.as_deref(), bytes.get(..20_000));
            assert_eq!(found[1].2.as_deref(), bytes.get(20_000..));
        }
    }
    std::fs::remove_dir_all(folder).unwrap();
}
