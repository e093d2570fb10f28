use super::lanes::Kernel;
use super::*;
use crate::kmer::mix;
use crate::options::Compat;
use crate::text::TextBuilder;

fn numbers(seed: u64) -> impl FnMut(usize) -> usize {
    let mut state = seed;
    move |n| {
        state = state.wrapping_add(0x1234_5671);
        (mix(state) % n as u64) as usize
    }
}

/// Copies of one sequence with changes, between random letters.
fn family(seed: u64, copies: usize) -> (Text, Vec<Copy_>, u32) {
    let mut next = numbers(seed);
    let k = 8;
    let mut letter = |n: usize| -> Vec<u8> { (0..n).map(|_| b"ACGT"[next(4)]).collect() };
    let consensus = letter(150);
    let fillers: Vec<Vec<u8>> = (0..=copies).map(|_| letter(30)).collect();
    let mut next = numbers(seed + 1);
    let mut builder = TextBuilder::default();
    let mut found = Vec::new();
    builder.start(b"a");
    let mut length = 0;
    let mut push = |builder: &mut TextBuilder, letters: &[u8]| {
        builder.push(letters).unwrap();
        length += letters.len();
        length
    };
    for filler in &fillers[..copies] {
        let end = push(&mut builder, &filler[..next(30)]);
        if next(4) == 0 {
            builder.start(b"b");
        }
        let mut piece = Vec::new();
        let mut seed_at = 0;
        for (i, base) in consensus.iter().enumerate() {
            if i == 70 {
                seed_at = piece.len();
            }
            match if (70..78).contains(&i) { 99 } else { next(30) } {
                0 => {}
                1 => piece.extend([*base, b"ACGT"[next(4)]]),
                2 => piece.push(b"ACGTN"[next(5)]),
                _ => piece.push(*base),
            }
        }
        let reverse = next(2) == 0;
        let mut place = end + seed_at;
        if reverse {
            place = end + piece.len() - seed_at - k;
            piece.reverse();
            for base in &mut piece {
                *base = match *base {
                    b'A' => b'T',
                    b'C' => b'G',
                    b'G' => b'C',
                    b'T' => b'A',
                    other => other,
                };
            }
        }
        found.push(Copy_ { place: place as u32, reverse });
        push(&mut builder, &piece);
    }
    push(&mut builder, &fillers[copies]);
    (builder.finish(), found, k as u32)
}

fn parameters(round: usize) -> Parameters {
    let mut all = Parameters::default();
    match round % 4 {
        1 => (all.max_gap, all.stop_after, all.min_improvement) = (7, 20, 1),
        2 => {
            (all.matching, all.mismatch, all.gap_open, all.gap_extend) = (2, -3, -6, -2);
            all.cap_penalty = -25;
        }
        3 => (all.max_gap, all.gap_open, all.mismatch, all.max_extend) = (0, -1, -4, 60),
        _ => {}
    }
    if round / 4 % 2 == 1 {
        all.compat = Compat::Reprise;
    }
    all
}

#[test]
fn vectors_give_what_single_copies_give() {
    let mut grown = 0;
    for round in 0..48 {
        let count = [1, 2, 3, 7, 8, 9, 17, 24, 25, 40][round % 10];
        let (text, copies, k) = family(round as u64 * 17, count);
        let cancel = CancelToken::default();
        let scoring = Scoring::new(&parameters(round), k);
        let context = Context { text: &text, scoring, cancel: &cancel };
        assert!(scoring.is_narrow());
        let both = [Direction::Right, Direction::Left];
        let expected = both.map(|direction| {
            let lanes: Vec<Lane> =
                copies.iter().map(|copy| Lane::new(&context, *copy, direction)).collect();
            wide::grow(&context, &lanes)
        });
        grown += expected[1].columns.len();
        for kernel in [Kernel::Portable, Kernel::detect()] {
            let mut grower = Grower::new(kernel);
            let columns = expected.each_ref().map(|extension| extension.columns.as_slice());
            assert_eq!(grower.both(&context, &copies), columns, "{round}");
            for (direction, columns) in both.iter().zip(columns) {
                assert_eq!(grower.one(&context, &copies, *direction), columns, "{round}");
            }
            let mut aligner = Aligner::new(kernel);
            let mut sides = vec![[None; 2]; copies.len()];
            for task in Tasks::default().split(&copies, &scoring) {
                aligner.align(&context, &copies, columns, task, |i, direction, side| {
                    sides[i as usize][usize::from(direction == Direction::Left)] = Some(side);
                });
            }
            for (copy, sides) in copies.iter().zip(&sides) {
                for (direction, (side, extension)) in both.iter().zip(sides.iter().zip(&expected)) {
                    let lane = Lane::new(&context, *copy, *direction);
                    let mirrored = scoring.reprise && copy.reverse;
                    let columns = extension.columns.iter().copied();
                    let plain = wide::align(&context, &lane, columns, mirrored);
                    assert_eq!(*side, Some(plain), "{round} {copy:?} {direction:?}");
                }
            }
        }
    }
    assert!(grown > 1000, "{grown}");
}

#[test]
fn stopping_early_changes_nothing() {
    // The same extension with bounds that never stop it.
    for round in 0..12 {
        let (text, copies, k) = family(round as u64 * 31 + 5, 5);
        let cancel = CancelToken::default();
        let scoring = Scoring::new(&parameters(round), k);
        let context = Context { text: &text, scoring, cancel: &cancel };
        let mut patient = Progress::new();
        let mut hasty = Progress::new();
        let lanes: Vec<Lane> =
            copies.iter().map(|copy| Lane::new(&context, *copy, Direction::Right)).collect();
        let found = wide::grow(&context, &lanes);
        // Totals that fall from column 40 on: both end with the same best column.
        for x in 0..200 {
            let total = if x < 40 { x * 20 } else { 800 - x };
            if !patient.stopped {
                patient.take(x, total, [i64::MAX; 2], &scoring);
            }
            if !hasty.stopped {
                hasty.take(x, total, [total + 5, total + 500], &scoring);
            }
        }
        assert_eq!(patient.x_best, hasty.x_best);
        assert!(found.columns.len() <= scoring.max_extend as usize);
    }
}
