use super::*;
use crate::kmer::{Complexity, distance, mix, reverse_complement};
use crate::text::TextBuilder;
use seqmill_base::Budget;

/// Letters with copies of one another, N and several records.
fn genome(seed: u64, length: usize) -> Text {
    let mut state = seed;
    let mut next = |n: usize| {
        state = state.wrapping_add(1);
        (mix(state) % n as u64) as usize
    };
    let mut letters: Vec<u8> = (0..length).map(|_| b"ACGT"[next(4)]).collect();
    for _ in 0..length / 40 {
        let size = 5 + next(60);
        let (from, to) = (next(length - size), next(length - size));
        let mut piece = letters[from..from + size].to_vec();
        if next(2) == 0 {
            piece.reverse();
            for letter in &mut piece {
                *letter = match *letter {
                    b'A' => b'T',
                    b'C' => b'G',
                    b'G' => b'C',
                    b'T' => b'A',
                    other => other,
                };
            }
        }
        for _ in 0..next(3) {
            let at = next(size);
            piece[at] = b"ACGTN"[next(5)];
        }
        letters[to..to + size].copy_from_slice(&piece);
    }
    let mut builder = TextBuilder::default();
    for (i, record) in letters.chunks(length / 3 + 1).enumerate() {
        builder.start(format!("r{i}").as_bytes());
        builder.push(record).unwrap();
    }
    builder.finish()
}

type Plain = Vec<(u32, u32, u64, Vec<u32>, Vec<u32>)>;

/// The definition, word by word.
fn plain(text: &Text, k: u32, parameters: &Parameters) -> Plain {
    let valid: Vec<u32> = (0..text.len())
        .filter(|at| text.run_of(*at).is_some_and(|run| text.runs()[run].end - at >= k))
        .collect();
    let complexity = Complexity::new(k);
    let mut seeds = Vec::new();
    for (i, &at) in valid.iter().enumerate() {
        let kmer = text.kmer(at, k);
        let twin = reverse_complement(kmer, k);
        let seen = valid[..i].iter().any(|b| [kmer, twin].contains(&text.kmer(*b, k)));
        if seen || !complexity.is_complex(kmer) {
            continue;
        }
        let list = |q: u64| {
            let all: Vec<u32> = valid
                .iter()
                .copied()
                .filter(|b| distance(text.kmer(*b, k), q) <= parameters.distance)
                .collect();
            let keep = |i: usize| {
                i == 0
                    || all[i] - all[i - 1] >= parameters.tandem_distance
                    || text.record_of(all[i]) != text.record_of(all[i - 1])
            };
            (0..all.len()).filter(|i| keep(*i)).map(|i| all[i]).collect::<Vec<_>>()
        };
        let (forward, reverse) = (list(kmer), list(twin));
        let count = (forward.len() + reverse.len()) as u32;
        if count >= parameters.min_frequency {
            seeds.push((u32::MAX - count, at, kmer, forward, reverse));
        }
    }
    seeds.sort();
    seeds
}

fn listed(ranking: &Ranking, text: &Text, k: u32) -> Plain {
    let one = |seed: &Candidate| {
        let from = seed.offset as usize;
        let (f, r) = (seed.forward as usize, seed.reverse as usize);
        let list = &ranking.positions[from..from + f + r];
        let kmer = text.kmer(seed.first, k);
        (u32::MAX - seed.count(), seed.first, kmer, list[..f].to_vec(), list[f..].to_vec())
    };
    ranking.candidates.iter().map(one).collect()
}

#[test]
fn all_ways_to_count_agree_with_the_definition() {
    for round in 0..12 {
        let text = genome(round * 1000, 600 + 150 * round as usize);
        for (distance, k) in
            [(0, 6), (0, 7), (1, 6), (1, 8), (1, 9), (1, 13), (1, 22), (1, 31), (2, 8), (3, 9)]
        {
            let parameters = Parameters {
                distance,
                tandem_distance: [0, 30, 500][round as usize % 3],
                min_frequency: 1 + (round % 4) as u32,
                ..Parameters::default()
            };
            let expected = plain(&text, k, &parameters);
            for (threads, index_bytes) in [(1, 1 << 20), (3, 1 << 12), (2, 1 << 30)] {
                let job = Job::new(Budget::new(1 << 30, 0).unwrap());
                let account = |name: &str| job.budget.account(name, u64::MAX);
                let accounts = Accounts { index: account("index"), positions: account("p") };
                let parameters = &parameters;
                let text = &text;
                let search =
                    Search { text, k, parameters, threads, job: &job, accounts, index_bytes };
                let found = search.candidates().unwrap();
                assert_eq!(listed(&found, text, k), expected, "{round} {distance} {k} {threads}");
                if distance == 1 {
                    let mut other = general::candidates(&search).unwrap();
                    search.order(&mut other.candidates);
                    assert_eq!(listed(&other, text, k), expected, "general {round} {k}");
                }
                drop((found, accounts));
            }
        }
    }
}
