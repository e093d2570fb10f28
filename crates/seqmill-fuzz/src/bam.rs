//! Damage to BAM data that leaves everything around the damage in order.

use crate::mutate::{put, value};
use crate::random::Random;
use std::ops::Range;

const TAG_TYPES: &[u8] = b"AcCsSiIfZHB";

fn u32_at(data: &[u8], at: usize) -> Option<usize> {
    data.get(at..)?.first_chunk::<4>().map(|b| u32::from_le_bytes(*b) as usize)
}

/// Where the references of a BAM header lie, and its end.
fn references(data: &[u8]) -> Option<(Vec<Range<usize>>, usize)> {
    let mut at = 8 + u32_at(data, 4)?;
    let count = u32_at(data, at)?;
    at += 4;
    let mut list = Vec::new();
    for _ in 0..count {
        let end = at + 8 + u32_at(data, at)?;
        if end > data.len() {
            return None;
        }
        list.push(at..end);
        at = end;
    }
    Some((list, at))
}

/// Names of the references of BAM or SAM data.
pub(crate) fn reference_names(data: &[u8]) -> Vec<String> {
    if data.starts_with(b"BAM\x01") {
        let Some((list, _)) = references(data) else { return Vec::new() };
        let name = |range: Range<usize>| {
            String::from_utf8_lossy(&data[range.start + 4..range.end - 5]).into_owned()
        };
        return list.into_iter().filter(|r| r.len() > 8).take(50).map(name).collect();
    }
    let text = String::from_utf8_lossy(&data[..data.len().min(1 << 16)]).into_owned();
    let lines = text.lines().filter(|line| line.starts_with("@SQ\t"));
    lines
        .filter_map(|line| Some(line.split("SN:").nth(1)?.split('\t').next()?.to_owned()))
        .collect()
}

/// Records of BAM data, as far as their sizes lead from one to the next.
fn records(data: &[u8]) -> Vec<Range<usize>> {
    let mut list = Vec::new();
    let Some((_, mut at)) = references(data) else { return list };
    while let Some(size) = u32_at(data, at) {
        let end = at + 4 + size;
        if size < 32 || end > data.len() {
            break;
        }
        list.push(at..end);
        at = end;
    }
    list
}

/// The part of a record behind its fixed fields in which the tags lie.
fn tags_of(record: &[u8]) -> Option<usize> {
    let name = usize::from(*record.get(12)?);
    let operations = usize::from(u16::from_le_bytes(*record.get(16..)?.first_chunk()?));
    let length = u32_at(record, 20)?;
    let at = 36 + name + 4 * operations + length.div_ceil(2) + length;
    (at <= record.len()).then_some(at)
}

/// Starts of the tags of a record.
fn tag_starts(record: &[u8]) -> Vec<usize> {
    let mut list = Vec::new();
    let Some(mut at) = tags_of(record) else { return list };
    while let Some(kind) = record.get(at + 2) {
        list.push(at);
        at += 3 + match kind {
            b'A' | b'c' | b'C' => 1,
            b's' | b'S' => 2,
            b'i' | b'I' | b'f' => 4,
            b'Z' | b'H' => match record[at + 3..].iter().position(|b| *b == 0) {
                Some(end) => end + 1,
                None => break,
            },
            b'B' => {
                let width = match record.get(at + 3) {
                    Some(b'c' | b'C') => 1,
                    Some(b's' | b'S') => 2,
                    _ => 4,
                };
                5 + width * u32_at(record, at + 4).unwrap_or(0)
            }
            _ => break,
        };
    }
    list
}

/// Replaces a part of a record and corrects `block_size`, so that the next record is found.
fn replace(data: &mut Vec<u8>, record: &Range<usize>, part: Range<usize>, new: &[u8]) {
    let size = record.len() - 4 - part.len() + new.len();
    data.splice(record.start + part.start..record.start + part.end, new.iter().copied());
    put(data, record.start, 4, size as u64);
}

/// Damages BAM data in one place; says how.
pub(crate) fn damage(data: &mut Vec<u8>, random: &mut Random) -> String {
    if random.once_in(6) {
        return header(data, random);
    }
    let list = records(data);
    if list.is_empty() {
        return header(data, random);
    }
    let number = random.below(list.len());
    let record = list[number].clone();
    let what = match random.below(8) {
        0 | 1 => fixed_field(data, &record, random),
        2..=4 => tag(data, &record, random),
        5 => variable_part(data, &record, random),
        6 => order(data, &list, number, random),
        _ => many(data, &list, random),
    };
    format!("record {number}: {what}")
}

fn header(data: &mut Vec<u8>, random: &mut Random) -> String {
    let value = value(random);
    let found = references(data);
    match (random.below(6), found) {
        (0, _) => {
            put(data, 4, 4, u64::from(value));
            format!("l_text set to {value}")
        }
        (1, Some((list, end))) => {
            let at = list.first().map_or(end, |r| r.start) - 4;
            put(data, at, 4, u64::from(value));
            format!("n_ref set to {value}")
        }
        (2, Some((list, _))) if !list.is_empty() => {
            let at = random.pick(&list).start;
            put(data, at, 4, u64::from(value));
            format!("l_name at {at} set to {value}")
        }
        (3, Some((list, _))) if !list.is_empty() => {
            let at = random.pick(&list).end - 4;
            put(data, at, 4, u64::from(value));
            format!("l_ref at {at} set to {value}")
        }
        (4, Some((list, end))) => {
            // More references than any record names, to be kept in order by everybody.
            let count = random.short(20_000);
            let at = list.first().map_or(end, |r| r.start) - 4;
            put(data, at, 4, (list.len() + count) as u64);
            let more = (0..count).flat_map(|i| {
                let name = format!("x{i}\0");
                let mut bytes = (name.len() as u32).to_le_bytes().to_vec();
                bytes.extend(name.into_bytes());
                bytes.extend(1000_u32.to_le_bytes());
                bytes
            });
            let more: Vec<u8> = more.collect();
            data.splice(end..end, more);
            format!("{count} references added")
        }
        (_, found) => {
            let end = found.map_or(data.len(), |f| f.1).min(data.len());
            let at = random.below(end);
            if let Some(byte) = data.get_mut(at) {
                *byte = random.byte();
            }
            format!("byte {at} of the header changed")
        }
    }
}

fn fixed_field(data: &mut [u8], record: &Range<usize>, random: &mut Random) -> String {
    const FIELDS: [(&str, usize, usize); 13] = [
        ("block_size", 0, 4),
        ("refID", 4, 4),
        ("pos", 8, 4),
        ("l_read_name", 12, 1),
        ("mapq", 13, 1),
        ("bin", 14, 2),
        ("n_cigar_op", 16, 2),
        ("flag", 18, 2),
        ("l_seq", 20, 4),
        ("next_refID", 24, 4),
        ("next_pos", 28, 4),
        ("tlen", 32, 4),
        ("block_size", 0, 4),
    ];
    let (name, at, width) = *random.pick(&FIELDS);
    let old = u32_at(data, record.start + at).unwrap_or(0) as u64;
    let new = if random.once_in(3) {
        old.wrapping_add(random.below(9) as u64).wrapping_sub(4)
    } else {
        u64::from(value(random))
    };
    put(data, record.start + at, width, new);
    format!("{name} set to {new}")
}

fn tag(data: &mut Vec<u8>, record: &Range<usize>, random: &mut Random) -> String {
    let bytes = data[record.clone()].to_vec();
    let starts = tag_starts(&bytes);
    let (Some(tags), Some(first)) = (tags_of(&bytes), starts.get(random.below(starts.len())))
    else {
        let new = fresh_tag(random);
        let at = tags_of(&bytes).unwrap_or(bytes.len());
        replace(data, record, at..at, &new);
        return "a tag added".to_owned();
    };
    let at = record.start + first;
    match random.below(9) {
        0 => {
            let kind = if random.once_in(4) { random.byte() } else { *random.pick(TAG_TYPES) };
            put(data, at + 2, 1, u64::from(kind));
            format!("type of the tag at {first} set to {:?}", char::from(kind))
        }
        1 => {
            let kind = if random.once_in(4) { random.byte() } else { *random.pick(TAG_TYPES) };
            put(data, at + 3, 1, u64::from(kind));
            format!("first byte of the value at {first} set to {kind}")
        }
        2 => {
            let count = value(random);
            put(data, at + 4, 4, u64::from(count));
            format!("count of the array at {first} set to {count}")
        }
        3 => {
            let name = [random.byte(), random.byte()];
            data[at] = name[0];
            data[at + 1] = name[1];
            format!("name of the tag at {first} set to {name:?}")
        }
        4 => {
            let new = fresh_tag(random);
            replace(data, record, *first..*first, &new);
            format!("a tag put in at {first}")
        }
        5 => {
            let end = *starts.iter().find(|s| *s > first).unwrap_or(&bytes.len());
            let part = bytes[*first..end].to_vec();
            let times = random.short(300);
            let many = part.repeat(times.min(1 + (1 << 16) / part.len().max(1)));
            replace(data, record, end..end, &many);
            format!("the tag at {first} repeated")
        }
        6 => {
            let end = *starts.iter().find(|s| *s > first).unwrap_or(&bytes.len());
            replace(data, record, *first..end, &[]);
            format!("the tag at {first} taken out")
        }
        7 => {
            let cut = tags + random.below(bytes.len() - tags);
            replace(data, record, cut..bytes.len(), &[]);
            format!("the tags cut at {cut}")
        }
        _ => {
            let at = record.start + tags + random.below(bytes.len() - tags);
            if let Some(byte) = data.get_mut(at) {
                *byte = if random.once_in(2) { 0 } else { random.byte() };
            }
            "a byte of the tags changed".to_owned()
        }
    }
}

/// A tag of any type, sometimes long, sometimes with text that is not ASCII.
fn fresh_tag(random: &mut Random) -> Vec<u8> {
    let mut tag = vec![b'A' + (random.byte() % 26), b'0' + (random.byte() % 10)];
    let kind = *random.pick(TAG_TYPES);
    tag.push(kind);
    match kind {
        b'Z' | b'H' => {
            let length = if random.once_in(20) { random.short(200_000) } else { random.short(30) };
            let odd = random.once_in(4);
            let digit = |random: &mut Random| {
                if odd { random.byte().max(1) } else { b'0' + random.byte() % 10 }
            };
            tag.extend((0..length).map(|_| digit(random)));
            tag.push(0);
        }
        b'B' => {
            let subtype = *random.pick(b"cCsSiIf");
            let width = match subtype {
                b'c' | b'C' => 1,
                b's' | b'S' => 2,
                _ => 4,
            };
            let count = if random.once_in(20) { random.short(50_000) } else { random.below(20) };
            tag.push(subtype);
            tag.extend((count as u32).to_le_bytes());
            tag.extend((0..count * width).map(|_| random.byte()));
        }
        _ => {
            let width = match kind {
                b'A' | b'c' | b'C' => 1,
                b's' | b'S' => 2,
                _ => 4,
            };
            tag.extend((0..width).map(|_| random.byte()));
        }
    }
    tag
}

/// Name, CIGAR, bases or qualities with other lengths, the record otherwise whole.
fn variable_part(data: &mut Vec<u8>, record: &Range<usize>, random: &mut Random) -> String {
    let bytes = data[record.clone()].to_vec();
    let (Some(tags), Some(length)) = (tags_of(&bytes), u32_at(&bytes, 20)) else {
        return "nothing".to_owned();
    };
    let name = usize::from(bytes[12]);
    let operations = usize::from(u16::from_le_bytes([bytes[16], bytes[17]]));
    let cigar_at = 36 + name;
    let seq_at = cigar_at + 4 * operations;
    match random.below(6) {
        0 => {
            let new: Vec<u8> = (0..random.below(255)).map(|_| random.byte()).collect();
            let new = [new.as_slice(), if random.once_in(4) { b"x" } else { b"\0" }].concat();
            replace(data, record, 36..cigar_at, &new);
            data[record.start + 12] = new.len() as u8;
            format!("a name of {} bytes", new.len())
        }
        1 => {
            let count = if random.once_in(4) { 65_535 } else { random.below(100) };
            let codes = if random.once_in(4) { 16 } else { 9 };
            let lengths = if random.once_in(3) { 1 << 28 } else { 100 };
            let one = |random: &mut Random| {
                ((random.below(lengths) << 4 | random.below(codes)) as u32).to_le_bytes()
            };
            let new: Vec<u8> = (0..count).flat_map(|_| one(random)).collect();
            replace(data, record, cigar_at..seq_at, &new);
            put(data, record.start + 16, 2, count as u64);
            format!("{count} CIGAR operations")
        }
        2 => {
            let bases = if random.once_in(10) { random.short(1 << 19) } else { random.below(500) };
            let limit = if random.once_in(4) { 256 } else { 94 };
            let mut new: Vec<u8> = (0..bases.div_ceil(2)).map(|_| random.byte()).collect();
            new.extend((0..bases).map(|_| random.below(limit) as u8));
            replace(data, record, seq_at..tags, &new);
            put(data, record.start + 20, 4, bases as u64);
            format!("{bases} bases instead of {length}")
        }
        3 => {
            let qual = record.start + tags - length;
            let filled = random.once_in(2);
            data[qual..record.start + tags].fill(if filled { 0xff } else { random.byte() });
            "all qualities the same".to_owned()
        }
        4 => {
            // The long CIGAR: a placeholder and a CG tag, which may be wrong.
            let span = if random.once_in(3) { value(random) } else { length as u32 };
            let placeholder = [(span << 4 | 4).to_le_bytes(), (1000_u32 << 4 | 3).to_le_bytes()];
            let count = random.below(300);
            let mut tag = b"CGBI".to_vec();
            tag.extend(if random.once_in(4) { value(random) } else { count as u32 }.to_le_bytes());
            for _ in 0..count {
                tag.extend(((random.below(50) << 4 | random.below(10)) as u32).to_le_bytes());
            }
            let end = bytes.len();
            let mut new = bytes[36..cigar_at].to_vec();
            new.extend(placeholder.concat());
            new.extend_from_slice(&bytes[seq_at..end]);
            new.extend(tag);
            replace(data, record, 36..end, &new);
            put(data, record.start + 16, 2, 2);
            "a long CIGAR in a tag".to_owned()
        }
        _ => {
            let at = 36 + random.below(tags - 36);
            let byte = random.byte();
            data[record.start + at] = byte;
            format!("byte {at} set to {byte}")
        }
    }
}

fn order(data: &mut Vec<u8>, list: &[Range<usize>], number: usize, random: &mut Random) -> String {
    let record = list[number].clone();
    let bytes = data[record.clone()].to_vec();
    if random.once_in(3) {
        data.drain(record);
        return "taken out".to_owned();
    }
    let to = random.pick(list).start;
    let times = if random.once_in(10) { random.short(3000) } else { 1 };
    let times = times.min(1 + (1 << 21) / bytes.len());
    data.splice(to..to, bytes.repeat(times));
    format!("{times} copies put in at {to}")
}

/// The same field of every record: what the first records promise is not what comes later.
fn many(data: &mut [u8], list: &[Range<usize>], random: &mut Random) -> String {
    let from = random.below(list.len());
    match random.below(3) {
        0 => {
            for record in &list[from..] {
                put(data, record.start + 8, 4, random.next() >> 33);
            }
            "random positions from here on".to_owned()
        }
        1 => {
            let reference = value(random);
            for record in &list[from..] {
                put(data, record.start + 4, 4, u64::from(reference));
            }
            format!("reference {reference} from here on")
        }
        _ => {
            let kind = *random.pick(b"cCAiIf");
            for record in &list[from..] {
                let bytes = data[record.clone()].to_vec();
                for start in tag_starts(&bytes) {
                    if b"cCA".contains(&bytes[start + 2]) || b"iIf".contains(&bytes[start + 2]) {
                        data[record.start + start + 2] =
                            if b"cCA".contains(&bytes[start + 2]) == b"cCA".contains(&kind) {
                                kind
                            } else {
                                bytes[start + 2]
                            };
                    }
                }
            }
            format!("small tags of type {kind} from here on")
        }
    }
}

/// `refID` of a record with its `block_size`.
pub(crate) fn reference_of(record: &[u8]) -> i32 {
    record.get(4..).and_then(<[u8]>::first_chunk::<4>).map_or(-1, |b| i32::from_le_bytes(*b))
}

fn record(random: &mut Random, reference: i32, pos: i32, bases: usize) -> Vec<u8> {
    let name = format!("read/{}\0", random.below(10_000));
    let operations: Vec<u32> = match random.below(3) {
        0 => vec![(bases as u32) << 4],
        1 if bases > 20 => vec![10 << 4 | 4, (bases as u32 - 10) << 4 | 7, 5 << 4 | 2],
        _ => Vec::new(),
    };
    let mut body = Vec::new();
    body.extend(reference.to_le_bytes());
    body.extend(pos.to_le_bytes());
    body.extend([name.len() as u8, random.byte()]);
    body.extend(4680_u16.to_le_bytes());
    body.extend((operations.len() as u16).to_le_bytes());
    body.extend((random.next() as u16 & 0xfff).to_le_bytes());
    body.extend((bases as u32).to_le_bytes());
    body.extend((-1_i32).to_le_bytes());
    body.extend((-1_i32).to_le_bytes());
    body.extend(0_i32.to_le_bytes());
    body.extend(name.as_bytes());
    body.extend(operations.iter().flat_map(|o| o.to_le_bytes()));
    body.extend((0..bases.div_ceil(2)).map(|_| *random.pick(&[0x11, 0x24, 0x88, 0x42, 0x1f])));
    body.extend((0..bases).map(|_| (random.below(42)) as u8));
    body.extend(b"NMC\x03RGZone\0MDZ10A5\0ASi\xff\xff\x00\x00");
    if random.once_in(3) {
        body.extend(b"MLBC\x03\x00\x00\x00\x01\x02\xffXFf\x00\x00\x80\x3fXAA!");
    }
    let mut record = (body.len() as u32).to_le_bytes().to_vec();
    record.extend(body);
    record
}

fn example_header(names: &[&str]) -> Vec<u8> {
    let reference =
        |name: &&str| seqmill_io::bam::Reference { name: (*name).to_owned(), length: 1_000_000 };
    let text = "@HD\tVN:1.6\tSO:coordinate\n@RG\tID:one\tSM:s\n".to_owned();
    seqmill_io::bam::Header::with_lines(text, names.iter().map(reference).collect()).to_bytes()
}

/// A header and sorted records with all common tag types.
pub(crate) fn example(
    random: &mut Random,
    names: &[&str],
    count: usize,
) -> (Vec<u8>, Vec<Vec<u8>>) {
    let mut records = Vec::new();
    for (reference, _) in (0_i32..).zip(names) {
        for i in 0..count / names.len() {
            records.push(record(random, reference, 100 * i as i32, 20 + i));
        }
    }
    for _ in 0..3 {
        records.push(record(random, -1, -1, 30));
    }
    (example_header(names), records)
}

/// BAM data whose records straddle units.
pub(crate) fn example_long(random: &mut Random) -> Vec<u8> {
    let mut data = example_header(&["chr1"]);
    for (i, bases) in [50, 300_000, 0, 700_000, 10].into_iter().enumerate() {
        data.extend(record(random, 0, 10 * i as i32, bases));
    }
    data
}
