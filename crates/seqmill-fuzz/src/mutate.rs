//! Damage to bytes that knows nothing of their meaning.

use crate::frame::blocks;
use crate::random::Random;
use seqmill_io::bgzf::EOF_MARKER;

/// Values at which lengths, offsets and counts go wrong.
pub(crate) const INTERESTING: [u32; 22] = [
    0,
    1,
    2,
    3,
    31,
    32,
    33,
    127,
    128,
    255,
    256,
    0x7fff,
    0xffff,
    0x1_0000,
    0x1_0001,
    1 << 24,
    1 << 29,
    1 << 30,
    0x7fff_fffe,
    0x7fff_ffff,
    0x8000_0000,
    0xffff_ffff,
];

/// An interesting value, one near it, or any.
pub(crate) fn value(random: &mut Random) -> u32 {
    match random.below(4) {
        0 | 1 => *random.pick(&INTERESTING),
        2 => random.pick(&INTERESTING).wrapping_add(random.below(5) as u32).wrapping_sub(2),
        _ => random.next() as u32,
    }
}

/// Writes a number of 1, 2, 4 or 8 bytes over `at`.
pub(crate) fn put(bytes: &mut [u8], at: usize, width: usize, value: u64) {
    for (i, byte) in bytes.iter_mut().skip(at).take(width).enumerate() {
        *byte = (value >> (8 * i)) as u8;
    }
}

/// Changes bytes anywhere; says what was done. `other` is a file to take bytes from.
pub(crate) fn bytes(data: &mut Vec<u8>, other: &[u8], random: &mut Random) -> String {
    let n = data.len();
    let at = random.below(n);
    match random.below(12) {
        0 | 1 => {
            let count = random.short(8);
            for _ in 0..count {
                let at = random.below(n);
                if let Some(byte) = data.get_mut(at) {
                    *byte ^= 1 << random.below(8);
                }
            }
            format!("{count} bit flips, the last of them near {at}")
        }
        2 => {
            let byte = random.byte();
            if let Some(old) = data.get_mut(at) {
                *old = byte;
            }
            format!("byte {at} set to {byte}")
        }
        3 => {
            data.truncate(at);
            format!("cut at {at}")
        }
        4 => {
            let length = random.short(n - at).min(n - at);
            data.drain(at..at + length);
            format!("{length} bytes taken out at {at}")
        }
        5 => {
            let length = random.short(4096);
            let byte = random.byte();
            let noise = random.once_in(2);
            let fill: Vec<u8> =
                (0..length).map(|_| if noise { random.byte() } else { byte }).collect();
            data.splice(at..at, fill);
            format!("{length} bytes put in at {at}")
        }
        6 => {
            let length = random.short(n - at).min(n - at).min(1 << 14);
            let part = data[at..at + length].to_vec();
            let to = random.below(n);
            data.splice(to..to, part);
            format!("{length} bytes of {at} repeated at {to}")
        }
        7 => {
            let from = random.below(other.len());
            let length = random.short(other.len() - from).min(other.len() - from).min(1 << 14);
            let part = other[from..from + length].iter().copied();
            let end = if random.once_in(2) { at } else { n.min(at + length) };
            data.splice(at..end, part);
            format!("{length} bytes of another file put in at {at}")
        }
        8 => {
            let length = random.short(64).min(n - at);
            let byte = random.byte();
            data[at..at + length].fill(byte);
            format!("{length} bytes at {at} set to {byte}")
        }
        9 | 10 => {
            let width = *random.pick(&[1, 2, 4, 4, 8]);
            let value = u64::from(value(random));
            put(data, at, width, if random.once_in(2) { value } else { value << 16 });
            format!("{width} bytes at {at} set to the number {value}")
        }
        _ => {
            let length = random.short(1 << 17);
            let byte = random.byte();
            data.extend((0..length).map(|_| byte));
            format!("{length} bytes of {byte} appended")
        }
    }
}

/// Changes the order and the frames of BGZF blocks.
pub(crate) fn blocks_of(file: &mut Vec<u8>, random: &mut Random) -> String {
    let list = blocks(file);
    if list.is_empty() {
        return "no blocks".to_owned();
    }
    let (one, two) = (random.below(list.len()), random.below(list.len()));
    let (a, b) = (list[one.min(two)].clone(), list[one.max(two)].clone());
    match random.below(8) {
        0 if a != b => {
            let mut new = file[..a.start].to_vec();
            new.extend_from_slice(&file[b.clone()]);
            new.extend_from_slice(&file[a.end..b.start]);
            new.extend_from_slice(&file[a.clone()]);
            new.extend_from_slice(&file[b.end..]);
            *file = new;
            format!("blocks {one} and {two} exchanged")
        }
        1 => {
            let part = file[a].to_vec();
            file.splice(b.start..b.start, part);
            format!("block {one} or {two} repeated")
        }
        2 => {
            file.drain(a);
            "a block taken out".to_owned()
        }
        3 => {
            file.splice(a.start..a.start, EOF_MARKER);
            format!("an empty block put in at {}", a.start)
        }
        4 => {
            // BSIZE of a block as everybody writes it.
            let value = value(random);
            put(file, a.start + 16, 2, u64::from(value));
            format!("BSIZE at {} set to {value}", a.start)
        }
        5 => {
            let value = value(random);
            put(file, a.end - 4, 4, u64::from(value));
            format!("ISIZE of the block at {} set to {value}", a.start)
        }
        6 => {
            let value = value(random);
            put(file, a.start + 10, 2, u64::from(value));
            format!("XLEN of the block at {} set to {value}", a.start)
        }
        _ => {
            let cut = a.start + random.below(a.len());
            file.truncate(cut);
            format!("cut within a block at {cut}")
        }
    }
}
