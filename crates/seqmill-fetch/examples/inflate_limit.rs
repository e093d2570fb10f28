//! The least work of random windows: `pread`, libdeflate, CRC32, copy. Nothing of the engine.
//!
//! `inflate_limit FILE.fa.gz LENGTH WINDOWS SEED`: needs `.gzi` and `.fai` beside the file; prints
//! CPU microseconds a window.
#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::cast_possible_truncation,
    reason = "a measuring program that may stop at anything unexpected"
)]

use std::fs::File;
use std::os::unix::fs::FileExt;

fn cpu_seconds() -> f64 {
    let mut t = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the pointer is to a live, writable timespec.
    unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &raw mut t) };
    t.tv_sec as f64 + t.tv_nsec as f64 * 1e-9
}

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let path = &arguments[1];
    let [length, windows, mut seed] = [2, 3, 4].map(|i| arguments[i].parse::<u64>().unwrap());
    let gzi = std::fs::read(format!("{path}.gzi")).unwrap();
    let mut blocks = vec![(0, 0)];
    for entry in gzi[8..].chunks_exact(16) {
        let number = |at: usize| u64::from_le_bytes(entry[at..at + 8].try_into().unwrap());
        blocks.push((number(8), number(0)));
    }
    let fai = std::fs::read_to_string(format!("{path}.fai")).unwrap();
    let contigs: Vec<[u64; 4]> = fai
        .lines()
        .map(|line| {
            let mut columns = line.split('\t').skip(1).map(|c| c.parse().unwrap());
            [(); 4].map(|()| columns.next().unwrap())
        })
        .filter(|c: &[u64; 4]| c[0] > length)
        .collect();
    let total: u64 = contigs.iter().map(|c| c[0] - length).sum();
    let file = File::open(path).unwrap();
    let size = file.metadata().unwrap().len();
    let mut inflater = libdeflater::Decompressor::new();
    let mut compressed = vec![0_u8; 1 << 20];
    let mut data = vec![0_u8; 1 << 21];
    let mut out = vec![0_u8; length as usize];
    let mut sum = 0_u64;
    let start = cpu_seconds();
    for _ in 0..windows {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let mut x = (seed >> 20) % total;
        let mut i = 0;
        while x >= contigs[i][0] - length {
            x -= contigs[i][0] - length;
            i += 1;
        }
        let [_, offset, bases, width] = contigs[i];
        let position = |x: u64| offset + x / bases * width + x % bases;
        let (first, last) = (position(x), position(x + length - 1));
        let i = blocks.partition_point(|b| b.0 <= first) - 1;
        let j = blocks.partition_point(|b| b.0 <= last) - 1;
        let end = blocks.get(j + 1).map_or(size, |b| b.1).min(blocks[j].1 + 65_536);
        let read = &mut compressed[..(end - blocks[i].1) as usize];
        file.read_exact_at(read, blocks[i].1).unwrap();
        let (mut at, mut filled) = (0, 0);
        for _ in i..=j {
            let block = usize::from(u16::from_le_bytes([read[at + 16], read[at + 17]])) + 1;
            let footer = at + block - 8;
            let number =
                |at: usize| u32::from_le_bytes(read[at..at + 4].try_into().unwrap()) as usize;
            let target = &mut data[filled..filled + number(footer + 4)];
            inflater.deflate_decompress(&read[at + 18..footer], target).unwrap();
            assert_eq!(libdeflater::crc32(target) as usize, number(footer));
            filled += target.len();
            at += block;
        }
        let mut from = (first - blocks[i].0) as usize;
        let mut left = (bases - x % bases) as usize;
        let mut to = 0;
        while to < out.len() {
            let n = left.min(out.len() - to);
            out[to..to + n].copy_from_slice(&data[from..from + n]);
            from += n + (width - bases) as usize;
            to += n;
            left = bases as usize;
        }
        sum += u64::from(out[0]);
    }
    let spent = cpu_seconds() - start;
    println!("{:.3} us of CPU a window (sum {sum})", spent * 1e6 / windows as f64);
}
