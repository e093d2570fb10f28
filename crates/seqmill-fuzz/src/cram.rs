//! Damage to CRAM that leaves lengths and checksums around it in order.

use crate::frame::gunzip;
use crate::mutate::{bytes, put, value};
use crate::random::Random;

/// Magic, version and file id.
const DEFINITION_BYTES: usize = 26;
/// Content type of the header of a slice.
const SLICE_HEADER: u8 = 2;
const RAW: u8 = 0;
const GZIP: u8 = 1;

#[derive(Clone)]
struct Block {
    method: u8,
    content_type: u8,
    content_id: u32,
    raw_bytes: u32,
    data: Vec<u8>,
}

#[derive(Clone)]
struct Container {
    /// Reference, start, span, records; as ITF8.
    place: [u32; 4],
    /// Record counter and bases; as LTF8, kept as they are.
    counts: Vec<u8>,
    blocks: Vec<Block>,
}

fn itf8(data: &[u8], at: &mut usize) -> Option<u32> {
    let first = *data.get(*at)?;
    let more = (first.leading_ones() as usize).min(4);
    let rest = data.get(*at + 1..*at + 1 + more)?;
    *at += 1 + more;
    let mut number = u32::from(first) & (0xff >> (more + usize::from(more < 4)));
    for (i, byte) in rest.iter().enumerate() {
        // The fifth byte holds four bits only.
        let bits = if i == 3 { 4 } else { 8 };
        number = number << bits | u32::from(*byte) & ((1 << bits) - 1);
    }
    Some(number)
}

fn put_itf8(out: &mut Vec<u8>, number: u32) {
    let all = number.to_be_bytes();
    match number {
        0..=0x7f => out.push(all[3]),
        0x80..=0x3fff => out.extend([0x80 | all[2], all[3]]),
        0x4000..=0x1f_ffff => out.extend([0xc0 | all[1], all[2], all[3]]),
        0x20_0000..=0xfff_ffff => out.extend([0xe0 | all[0], all[1], all[2], all[3]]),
        _ => {
            let five = [(number >> 28) as u8, (number >> 20) as u8, (number >> 12) as u8];
            out.extend([0xf0 | five[0], five[1], five[2], (number >> 4) as u8, number as u8 & 15]);
        }
    }
}

fn skip_ltf8(data: &[u8], at: &mut usize) -> Option<()> {
    let more = data.get(*at)?.leading_ones() as usize;
    *at += 1 + more;
    Some(())
}

fn parse_container(data: &[u8], at: &mut usize) -> Option<Container> {
    let length = u32::from_le_bytes(*data.get(*at..)?.first_chunk::<4>()?) as usize;
    *at += 4;
    let mut place = [0; 4];
    for field in &mut place {
        *field = itf8(data, at)?;
    }
    let counts_at = *at;
    skip_ltf8(data, at)?;
    skip_ltf8(data, at)?;
    let counts = data.get(counts_at..*at)?.to_vec();
    itf8(data, at)?;
    for _ in 0..itf8(data, at)? {
        itf8(data, at)?;
    }
    *at += 4;
    let body = data.get(*at..*at + length)?;
    *at += length;
    let (mut inside, mut blocks) = (0, Vec::new());
    while inside < body.len() {
        blocks.push(parse_block(body, &mut inside)?);
    }
    Some(Container { place, counts, blocks })
}

fn parse_block(body: &[u8], at: &mut usize) -> Option<Block> {
    let (method, content_type) = (*body.get(*at)?, *body.get(*at + 1)?);
    *at += 2;
    let content_id = itf8(body, at)?;
    let size = itf8(body, at)? as usize;
    let raw_bytes = itf8(body, at)?;
    let data = body.get(*at..*at + size)?.to_vec();
    *at += size + 4;
    Some(Block { method, content_type, content_id, raw_bytes, data })
}

fn checksum(out: &mut Vec<u8>, from: usize) {
    let mut crc = flate2::Crc::new();
    crc.update(&out[from..]);
    out.extend(crc.sum().to_le_bytes());
}

fn write(container: &Container, out: &mut Vec<u8>) {
    let (mut body, mut landmarks) = (Vec::new(), Vec::new());
    for block in &container.blocks {
        if block.content_type == SLICE_HEADER {
            landmarks.push(body.len() as u32);
        }
        let from = body.len();
        body.extend([block.method, block.content_type]);
        put_itf8(&mut body, block.content_id);
        put_itf8(&mut body, block.data.len() as u32);
        put_itf8(&mut body, block.raw_bytes);
        body.extend(&block.data);
        checksum(&mut body, from);
    }
    let from = out.len();
    out.extend((body.len() as u32).to_le_bytes());
    for field in container.place {
        put_itf8(out, field);
    }
    out.extend(&container.counts);
    put_itf8(out, container.blocks.len() as u32);
    put_itf8(out, landmarks.len() as u32);
    for landmark in landmarks {
        put_itf8(out, landmark);
    }
    checksum(out, from);
    out.extend(body);
}

/// Damages a CRAM file inside its containers; `None` if it does not parse.
pub(crate) fn damage(file: &mut Vec<u8>, other: &[u8], random: &mut Random) -> Option<String> {
    let mut at = DEFINITION_BYTES;
    let mut containers = Vec::new();
    while at < file.len() {
        containers.push(parse_container(file, &mut at)?);
    }
    let number = random.below(containers.len());
    let what = damage_container(containers.get_mut(number)?, other, random);
    if random.once_in(12) {
        let copy = containers[number].clone();
        let to = random.below(containers.len());
        containers.insert(to, copy);
    }
    file.truncate(DEFINITION_BYTES);
    for container in &containers {
        write(container, file);
    }
    Some(format!("container {number}: {what}"))
}

fn damage_container(container: &mut Container, other: &[u8], random: &mut Random) -> String {
    if random.once_in(10) {
        let (field, value) = (random.below(4), value(random));
        container.place[field] = value;
        return format!("field {field} set to {value}");
    }
    if random.once_in(12) && container.blocks.len() > 1 {
        let (a, b) = (random.below(container.blocks.len()), random.below(container.blocks.len()));
        container.blocks.swap(a, b);
        return format!("blocks {a} and {b} exchanged");
    }
    let number = random.below(container.blocks.len());
    let Some(block) = container.blocks.get_mut(number) else { return "no blocks".to_owned() };
    let name = format!("block {number} of type {}, method {}", block.content_type, block.method);
    match random.below(8) {
        0 => {
            let value = value(random);
            block.raw_bytes = value;
            format!("{name}: raw size set to {value}")
        }
        1 => {
            block.method = random.below(10) as u8;
            format!("{name}: method set to {}", block.method)
        }
        2 => {
            block.content_id = value(random);
            format!("{name}: id set to {}", block.content_id)
        }
        3 => {
            let what = bytes(&mut block.data, other, random);
            format!("{name}: compressed {what}")
        }
        _ => {
            let inflated = if block.method == GZIP { gunzip(&block.data) } else { None };
            if let Some(inflated) = inflated {
                block.data = inflated;
                block.method = RAW;
            }
            let what = if random.once_in(2) {
                bytes(&mut block.data, other, random)
            } else {
                let (at, value) = (random.below(block.data.len()), value(random));
                let width = *random.pick(&[1, 1, 2, 4, 5]);
                put(&mut block.data, at, width, u64::from(value));
                format!("{width} bytes at {at} set to {value}")
            };
            if block.method == RAW {
                block.raw_bytes = block.data.len() as u32;
            }
            format!("{name}: {what}")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_make_the_round_trip() {
        for number in [0, 1, 0x7f, 0x80, 0x3fff, 0x4000, 0x1f_ffff, 0x20_0000, 1 << 28, u32::MAX] {
            let (mut bytes, mut at) = (Vec::new(), 0);
            put_itf8(&mut bytes, number);
            assert_eq!((itf8(&bytes, &mut at), at), (Some(number), bytes.len()), "{number}");
        }
    }
}
