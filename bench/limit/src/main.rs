//! The least work that converting a BAM file can take on one thread: a yardstick, not a tool.
//!
//! `seqmill-limit MODE IN [OUT]`. Every mode does what the one before it does, and more:
//!
//! * `inflate`: read the file, inflate its blocks with libdeflate;
//! * `crc`: compare the checksum of each block;
//! * `decode`: walk the records and decode every column into plain buffers: names, numbers, end,
//!   CIGAR as text, bases, qualities as text, tags (each name a buffer, integers in 64 bits);
//! * `write`: write these buffers, uncompressed;
//! * `zstd`: instead, compress each buffer with zstd level 1 for every 4 MB of them, and write.
//!
//! There is no table format, no schema, no null, no statistics, no check of a field beyond what
//! keeps the program inside its buffers. It prints what it did as JSON.

mod blocks;
mod columns;
mod output;
mod tags;

use blocks::Blocks;
use columns::Columns;
use output::Output;
use std::process::ExitCode;

/// Bytes inflated before the records in them are decoded: both fit in a second-level cache.
const UNIT_BYTES: usize = 256 << 10;

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("seqmill-limit: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (mode, input, path) = match arguments.as_slice() {
        [mode, input] => (mode.as_str(), input, None),
        [mode, input, path] => (mode.as_str(), input, Some(path)),
        _ => return Err("usage: seqmill-limit inflate|crc|decode|write|zstd IN [OUT]".into()),
    };
    let (verify, decode) = match mode {
        "inflate" => (false, false),
        "crc" => (true, false),
        "decode" | "write" | "zstd" => (true, true),
        _ => return Err(format!("unknown mode {mode}").into()),
    };
    let mut output = match (mode, path) {
        ("write", Some(path)) => Output::plain(path)?,
        ("zstd", Some(path)) => Output::zstd(path)?,
        ("write" | "zstd", None) => return Err("this mode needs OUT".into()),
        _ => Output::none(),
    };
    let mut blocks = Blocks::open(input, verify)?;
    let mut columns = Columns::default();
    // Inflated bytes that no record has been made of yet.
    let mut data = Vec::new();
    let mut header_left = true;
    let mut inflated = 0;
    loop {
        let before = data.len();
        let more = blocks.append(&mut data, UNIT_BYTES)?;
        inflated += data.len() - before;
        if !decode {
            data.clear();
        } else {
            let mut used = 0;
            if header_left && let Some(bytes) = columns::header_bytes(&data)? {
                header_left = false;
                used = bytes;
            }
            if !header_left {
                used += columns.decode(&data[used..])?;
                data.copy_within(used.., 0);
                data.truncate(data.len() - used);
                if columns.bytes() >= output.group_bytes() {
                    output.put(&mut columns)?;
                }
            }
        }
        if !more {
            break;
        }
    }
    if decode {
        if header_left || !data.is_empty() {
            return Err("the file ends inside its header or a record".into());
        }
        output.put(&mut columns)?;
    }
    println!(
        "{{\"mode\": \"{mode}\", \"inflated\": {inflated}, \"records\": {}, \"column_bytes\": {}, \
         \"output_bytes\": {}}}",
        columns.records, output.column_bytes, output.written
    );
    Ok(())
}
