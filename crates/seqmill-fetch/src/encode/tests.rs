use super::*;

fn window(
    encoder: &Encoder,
    bases: &[u8],
    piece: usize,
    minus: bool,
    pads: (usize, usize),
) -> Vec<u8> {
    let total = pads.0 + bases.len() + pads.1;
    let mut out = vec![0xaa; encoder.output_bytes(total)];
    let mut writer = Writer::new(encoder, &mut out, total, minus).unwrap();
    writer.pad(pads.0, b'N');
    for run in bases.chunks(piece) {
        assert!(writer.push(run));
    }
    writer.pad(pads.1, b'N');
    out
}

/// What each encoding is, base by base.
fn naive(encoder: &Encoder, bases: &[u8], minus: bool, pads: (usize, usize)) -> Vec<u8> {
    let mut all = vec![b'N'; pads.0];
    all.extend(bases);
    all.extend(vec![b'N'; pads.1]);
    if minus {
        all = all.iter().rev().map(|&b| complement(b)).collect();
    }
    let entry = |b: &u8| &encoder.table[usize::from(*b) * encoder.width..][..encoder.width];
    match encoder.layout {
        Layout::Rows => all.iter().flat_map(|b| entry(b).to_vec()).collect(),
        Layout::Planes => {
            let element = encoder.width / 4;
            let plane = |c: usize| {
                all.iter().flat_map(move |b| entry(b)[c * element..][..element].to_vec())
            };
            (0..4).flat_map(plane).collect()
        }
        Layout::TwoBit => {
            let mut codes = vec![0; all.len().div_ceil(4)];
            let mut mask = vec![0; all.len().div_ceil(8)];
            for (i, &b) in all.iter().enumerate() {
                let code = two_bit_code(b);
                codes[i / 4] |= (code & 3) << (2 * (i % 4));
                mask[i / 8] |= (code >> 2) << (i % 8);
            }
            codes.extend(mask);
            codes
        }
    }
}

fn encoders() -> Vec<Encoder> {
    let mut encoders = vec![Encoder::identity(), Encoder::two_bit()];
    let rows: [fn(u8) -> u8; 6] = [
        |b| b.to_ascii_uppercase(),
        |b| b.to_ascii_lowercase(),
        |b| if b.is_ascii_lowercase() { b'N' } else { b },
        |b| u8::from(b.is_ascii_lowercase()),
        two_bit_code,
        |b| b.wrapping_mul(7),
    ];
    for entry in rows {
        encoders.push(Encoder::new(Layout::Rows, 1, bytes_table(entry)).unwrap());
    }
    for width in [2, 4, 8, 16] {
        let table: Vec<u8> = (0..256 * width).map(|i| (i * 31 % 251) as u8).collect();
        encoders.push(Encoder::new(Layout::Rows, width, table.clone()).unwrap());
        if width >= 4 {
            encoders.push(Encoder::new(Layout::Planes, width, table).unwrap());
        }
    }
    encoders
}

#[test]
fn every_encoding_equals_its_definition_with_and_without_wide_instructions() {
    let letters = b"ACGTNacgtnRYKMBVDHSWUu-*";
    for length in [0, 1, 5, 31, 32, 33, 80, 4099] {
        let bases: Vec<u8> =
            (0..length).map(|i: usize| letters[i * i * 7 % letters.len()]).collect();
        for encoder in encoders() {
            for (minus, pads) in [(false, (0, 0)), (true, (0, 0)), (false, (3, 70)), (true, (5, 1))]
            {
                let expected = naive(&encoder, &bases, minus, pads);
                for piece in [1, 60, 5000] {
                    assert!(window(&encoder, &bases, piece, minus, pads) == expected);
                    assert!(window(&encoder.scalar(), &bases, piece, minus, pads) == expected);
                }
            }
        }
    }
}

#[test]
fn bytes_that_are_no_bases_are_noticed_at_every_place() {
    for length in [1, 31, 32, 33, 64, 100] {
        for at in 0..length {
            for foreign in [b'\n', b'\r', b'>', b' '] {
                let mut run = vec![b'A'; length];
                run[at] = foreign;
                for encoder in
                    [Encoder::identity(), Encoder::identity().scalar(), Encoder::two_bit()]
                {
                    for minus in [false, true] {
                        let mut out = vec![0; encoder.output_bytes(length)];
                        let mut writer = Writer::new(&encoder, &mut out, length, minus).unwrap();
                        assert!(!writer.push(&run), "{length} {at} {foreign}");
                    }
                }
            }
        }
    }
}

#[test]
fn complement_keeps_case_and_other_bytes() {
    let forward = b"ACGTURYKMBVDHSWNacgturykmbvdhswn-*@!";
    let expected = b"TGCAAYRMKVBHDSWNtgcaayrmkvbhdswn-*@!";
    let got: Vec<u8> = forward.iter().map(|&b| complement(b)).collect();
    assert_eq!(got, expected);
}

#[test]
fn lines_at_once_are_as_one_by_one() {
    for mut encoder in encoders() {
        for simd in [Simd::detect(), Simd::none()] {
            encoder.simd = simd;
            for (line, gap) in [(1, "\n"), (7, "\r\n"), (60, "\n"), (80, " \n"), (100, "\n")] {
                let bases: Vec<u8> = (0..line * 5).map(|i| b"ACGTNacgtnRU"[i * 7 % 12]).collect();
                let text = |bases: &[u8]| -> Vec<u8> {
                    bases.chunks(line).flat_map(|l| [l, gap.as_bytes()].concat()).collect()
                };
                let good = text(&bases);
                let mut out = vec![0xaa; encoder.output_bytes(bases.len())];
                let mut writer = Writer::new(&encoder, &mut out, bases.len(), false).unwrap();
                let Some(taken) = writer.push_lines(&good, line, line + gap.len()) else {
                    continue;
                };
                assert!(taken);
                assert_eq!(out, naive(&encoder, &bases, false, (0, 0)));
                for at in 0..good.len() {
                    for foreign in [b'\n', b'>'] {
                        let mut bad = good.clone();
                        if bad[at] == foreign || (bad[at] <= b' ' && foreign == b'\n') {
                            continue;
                        }
                        bad[at] = foreign;
                        let mut writer =
                            Writer::new(&encoder, &mut out, bases.len(), false).unwrap();
                        assert_eq!(writer.push_lines(&bad, line, line + gap.len()), Some(false));
                    }
                }
            }
        }
    }
}
