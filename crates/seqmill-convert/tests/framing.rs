//! How a file is cut into blocks and units, and who works on them, must not show in the batches.
#![expect(clippy::unwrap_used, reason = "a test ends where its preparation fails")]

use arrow_array::Array;
use arrow_data::ArrayData;
use seqmill_base::{Budget, Job};
use seqmill_convert::{Batches, Inputs, Options};
use seqmill_io::bam::{Header, Reference};
use seqmill_io::bgzf::{Compressor, EOF_MARKER, PAYLOAD_BYTES};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// `SplitMix64`.
struct Random(u64);

impl Random {
    fn below(&mut self, n: u32) -> u32 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        u32::try_from((z ^ (z >> 31)) % u64::from(n)).unwrap()
    }
}

fn record(random: &mut Random, number: u32, bases: u32) -> Vec<u8> {
    let name = format!("r{number}\0");
    let mut body = Vec::new();
    body.extend((number / 1000).to_le_bytes());
    body.extend(random.below(1000).to_le_bytes());
    body.extend([u8::try_from(name.len()).unwrap(), 60, 0, 0]);
    body.extend(1_u16.to_le_bytes());
    body.extend(0_u16.to_le_bytes());
    body.extend(bases.to_le_bytes());
    body.extend([0xff; 8]);
    body.extend(0_i32.to_le_bytes());
    body.extend(name.as_bytes());
    body.extend((bases << 4).to_le_bytes());
    let noise = random.below(256).to_le_bytes()[0];
    body.resize(body.len() + bases.div_ceil(2) as usize, noise);
    body.resize(body.len() + bases as usize, noise % 90);
    body.extend(b"NMC\x01");
    let mut whole = u32::try_from(body.len()).unwrap().to_le_bytes().to_vec();
    whole.extend(body);
    whole
}

/// A header and short records, with three between them that span several units.
fn data() -> Vec<u8> {
    let reference = |n: u32| Reference { name: format!("chr{n}"), length: 100_000 };
    let mut data = Header::with_lines(String::new(), (0..4).map(reference).collect()).to_bytes();
    let mut random = Random(20_261);
    for number in 0..3500 {
        let bases = match number {
            0 | 1700 | 3499 => 900_000 + random.below(900_000),
            _ if random.below(50) == 0 => random.below(30_000),
            _ => random.below(200),
        };
        data.extend(record(&mut random, number, bases));
    }
    data
}

/// BGZF with payloads of the sizes that `next` gives.
fn framed(data: &[u8], mut next: impl FnMut() -> usize) -> Vec<u8> {
    let mut compressor = Compressor::new(1).unwrap();
    let (mut out, mut rest) = (Vec::new(), data);
    while !rest.is_empty() {
        let (payload, behind) = rest.split_at(next().clamp(1, PAYLOAD_BYTES).min(rest.len()));
        compressor.append_block(payload, &mut out).unwrap();
        rest = behind;
    }
    out.extend(EOF_MARKER);
    out
}

/// Rows of every batch and all bytes of its columns.
fn batches(path: &Path, threads: usize, pools: bool) -> Vec<(usize, Vec<ArrayData>)> {
    let mut options = Options { inputs: vec![path.to_path_buf()], ..Options::default() };
    options.resources.threads = threads;
    options.resources.stage_threads = pools.then_some([2, 1, 1]);
    options.semantic.batch_bytes = 100_000;
    let inputs = Arc::new(Inputs::open(&options).unwrap());
    let job = Job::new(Budget::new(128 << 20, 0).unwrap());
    let mut batches = Batches::start(&inputs, &options.semantic, &options.resources, job).unwrap();
    let mut list = Vec::new();
    while let Some(batch) = batches.next_batch().unwrap() {
        let columns = batch.columns().iter().map(Array::to_data).collect();
        list.push((batch.num_rows(), columns));
    }
    list
}

#[test]
fn blocks_units_and_threads_do_not_show() {
    let folder = std::env::temp_dir().join(format!("seqmill-framing-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let file = |name: &str, bytes: &[u8]| -> PathBuf {
        let path = folder.join(name);
        std::fs::write(&path, bytes).unwrap();
        path
    };
    let data = data();
    let mut random = Random(1);
    let files = [
        file("raw.bam", &data),
        file("full.bam", &framed(&data, || PAYLOAD_BYTES)),
        file("small.bam", &framed(&data, || 700)),
        file("odd.bam", &framed(&data, || 65_279 / 2)),
        file("uneven.bam", &framed(&data, || random.below(65_280) as usize)),
    ];
    let expected = batches(&files[0], 1, false);
    assert_eq!(expected.iter().map(|(rows, _)| rows).sum::<usize>(), 3500);
    assert!(expected.len() > 20);
    for path in &files {
        for (threads, pools) in [(1, false), (2, false), (8, false), (1, true)] {
            let found = batches(path, threads, pools);
            assert!(found == expected, "{} with {threads} threads", path.display());
        }
    }
    std::fs::remove_dir_all(&folder).unwrap();
}
