use super::*;

fn turn(text: &[u8]) -> Vec<u8> {
    let pair = |b: &u8| match b {
        b'A' => b'T',
        b'C' => b'G',
        b'G' => b'C',
        _ => b'A',
    };
    text.iter().rev().map(pair).collect()
}

fn check<K: Word>(most: u32) {
    for k in 1..=most {
        let text: Vec<u8> = (0..k).map(|i| b"ACGT"[(i * i + i / 3 + 3 * k) as usize % 4]).collect();
        let kmer: K = parse_kmer(&text).unwrap();
        let mut out = Vec::new();
        append_text(kmer, k, &mut out);
        assert_eq!(out, text);
        assert_eq!(kmer.reverse_complement(k), parse_kmer(&turn(&text)).unwrap());
        assert_eq!(kmer.and(K::ones(2 * k)), kmer);
        let one = K::from_low(1);
        if kmer > one {
            assert_eq!(kmer.minus(one).plus(one), kmer);
            assert!(kmer.minus(one) < kmer);
        }
        let top = K::BITS - kmer.zeros_above();
        assert!(top == 0 || kmer.down(top - 1) == one, "{k}");
        let mut again = K::default();
        for i in 0..K::BYTES / 8 {
            again = again.with_word(i, kmer.word(i));
        }
        assert_eq!(again, kmer);
        assert_eq!(kmer.down(2 * k - 1).down(1 % K::BITS), K::default());
    }
}

#[test]
fn all_widths_agree() {
    check::<u64>(32);
    check::<u128>(64);
    check::<Wide<4>>(128);
    check::<Wide<8>>(255);
}

fn check_expansion<K: Kmer>(k: u32, kmers: u32) {
    let bases = k + kmers - 1;
    let text: Vec<u8> = (0..bases).map(|i| b"ACGT"[(i * i + i / 5) as usize % 4]).collect();
    let record: K::Record = parse_kmer(&text).unwrap();
    // What stands behind the bases is not looked at.
    let noise = K::Record::ones(3);
    let record = record.up(K::Record::BITS - 2 * bases).or(noise);
    for both in [false, true] {
        let mut found = Vec::new();
        K::expand(record, k, kmers, both, |kmer| found.push(kmer.down(K::BITS - 2 * k)));
        let expected = text.windows(k as usize).map(|w| {
            let kmer = parse_kmer(w).unwrap();
            if both { canonical(kmer, k) } else { kmer }
        });
        assert_eq!(found, expected.collect::<Vec<K>>(), "{k} {kmers}");
    }
}

#[test]
fn records_are_expanded() {
    for kmers in 1..=21 {
        for k in [7, 13, 21, 30, 31, 32] {
            check_expansion::<u64>(k, kmers);
        }
        for k in [33, 51, 64] {
            check_expansion::<u128>(k, kmers);
        }
    }
    check_expansion::<Wide<4>>(101, 91);
    check_expansion::<Wide<8>>(255, 245);
}

#[test]
fn carries_pass_words() {
    let high = Wide::<4>::from_low(1).up(128);
    let below = high.minus(Wide::from_low(1));
    assert_eq!((below.word(0), below.word(1), below.word(2)), (u64::MAX, u64::MAX, 0));
    assert_eq!(below.plus(Wide::from_low(1)), high);
}
