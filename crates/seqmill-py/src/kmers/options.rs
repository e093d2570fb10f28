//! Options of k-mer jobs from JSON.

use seqmill_base::{Error, Result};
use seqmill_count::kmers::{
    CountOptions, DumpOptions, MergeOptions, MergeRules, OutputRules, OutputSpec, ReadFlags,
    SetOperation, Stretches, TableFormat, TextRules,
};
use seqmill_io::sequence::TextPart;
use serde_json::Value;
use std::path::PathBuf;

fn paths(value: &Value) -> Vec<PathBuf> {
    let list = value.as_array().map(Vec::as_slice).unwrap_or_default();
    list.iter().filter_map(Value::as_str).map(decode_path).collect()
}

/// Paths travel as text in which bytes that are no UTF-8 are surrogates of Python; those are
/// given as hexadecimal digits behind `\0`.
fn decode_path(text: &str) -> PathBuf {
    use std::os::unix::ffi::OsStringExt;
    let Some(digits) = text.strip_prefix('\0') else { return PathBuf::from(text) };
    let bytes = digits.as_bytes().chunks(2).filter_map(|pair| {
        std::str::from_utf8(pair).ok().and_then(|p| u8::from_str_radix(p, 16).ok())
    });
    PathBuf::from(std::ffi::OsString::from_vec(bytes.collect()))
}

fn number(value: &Value, name: &str, default: u64) -> u64 {
    value[name].as_u64().unwrap_or(default)
}

fn flag(value: &Value, name: &str) -> bool {
    value[name].as_bool().unwrap_or(false)
}

fn keep(value: &Value) -> (u64, u64) {
    (number(value, "min_count", 0), number(value, "max_count", u64::MAX))
}

fn stretches(value: &Value) -> Option<Stretches> {
    let list = value["regions"].as_array()?;
    let mut found = Stretches::new();
    for region in list {
        let name = region[0].as_str().unwrap_or_default().as_bytes().to_vec();
        let (start, end) =
            (region[1].as_u64().unwrap_or(0), region[2].as_u64().unwrap_or(u64::MAX));
        found.entry(name).or_default().push((start, end));
    }
    for list in found.values_mut() {
        list.sort_unstable();
        let mut merged: Vec<(u64, u64)> = Vec::with_capacity(list.len());
        for (start, end) in list.drain(..) {
            match merged.last_mut() {
                // What only follows is no overlap: a k-mer across both lies in neither.
                Some(last) if start < last.1 => last.1 = last.1.max(end),
                _ => merged.push((start, end)),
            }
        }
        *list = merged;
    }
    Some(found)
}

/// Pairs of begin and end, or null for an input that is read as a whole.
fn parts(value: &Value) -> Vec<Option<TextPart>> {
    let list = value.as_array().map(Vec::as_slice).unwrap_or_default();
    let part = |pair: &Value| {
        let end = pair[1].as_u64();
        pair[0].as_u64().map(|begin| TextPart { begin, end })
    };
    list.iter().map(part).collect()
}

pub(super) fn count_options(value: &Value) -> CountOptions {
    let canonical = flag(value, "canonical");
    let bits = |name, default| u16::try_from(number(value, name, default)).unwrap_or(u16::MAX);
    let chunks = value["chunks"].as_array().cloned();
    let quality = u8::try_from(number(value, "min_base_quality", 0)).unwrap_or(93);
    CountOptions {
        inputs: paths(&value["inputs"]),
        k: u32::try_from(number(value, "k", 31)).unwrap_or(u32::MAX),
        canonical,
        skip_lower: flag(value, "skip_lower"),
        keep: keep(value),
        text: TextRules {
            min_base_quality: quality.min(93),
            flags: ReadFlags {
                require: bits("require_flags", 0),
                exclude: bits("exclude_flags", 0x900),
            },
            sequenced_strand: !canonical,
            regions: stretches(value),
            strict: flag(value, "strict"),
            parts: parts(&value["parts"]),
            skip_lower: flag(value, "skip_lower"),
            archives: crate::archive::ARCHIVES,
        },
        threads: threads(value),
        tmpdir: decode_path(value["tmpdir"].as_str().unwrap_or(".")),
        unit_bases: number(value, "unit_bases", 1 << 31).max(1),
        footer: chunks.map(|c| ("chunks".to_owned(), Value::Array(c))).into_iter().collect(),
    }
}

pub(super) fn dump_options(value: &Value) -> DumpOptions {
    DumpOptions {
        pretty: flag(value, "pretty"),
        kmer_text: flag(value, "kmer_text"),
        hist_max: value["hist_max"].as_u64(),
    }
}

pub(super) fn output_rules(value: &Value) -> Result<OutputRules> {
    let mut outputs = Vec::new();
    for output in value["outputs"].as_array().map(Vec::as_slice).unwrap_or_default() {
        let name = output[0].as_str().unwrap_or_default();
        let format = TableFormat::from_name(name)
            .ok_or_else(|| Error::input(format!("format {name:?} does not exist")))?;
        outputs
            .push(OutputSpec { format, path: decode_path(output[1].as_str().unwrap_or_default()) });
    }
    Ok(OutputRules {
        outputs,
        dump: dump_options(value),
        force: flag(value, "force"),
        resume: flag(value, "resume"),
        is_unit: flag(value, "is_unit"),
        tmpdir: decode_path(value["tmpdir"].as_str().unwrap_or(".")),
    })
}

fn threads(value: &Value) -> usize {
    usize::try_from(number(value, "threads", 1)).unwrap_or(1).max(1)
}

fn text(value: &Value) -> Option<String> {
    value.as_str().map(str::to_owned)
}

pub(super) fn merge_options(value: &Value) -> Result<MergeOptions> {
    let name = value["operation"].as_str().unwrap_or("union-sum");
    let operation = SetOperation::from_name(name)
        .ok_or_else(|| Error::input(format!("operation {name:?} does not exist")))?;
    Ok(MergeOptions {
        inputs: paths(&value["inputs"]),
        rules: MergeRules {
            operation,
            keep: keep(value),
            allow_filtered: flag(value, "allow_filtered"),
            threads: threads(value),
        },
        k: value["k"].as_u64().and_then(|k| u32::try_from(k).ok()),
        canonical: value["canonical"].as_bool(),
        chunks: value["plan_chunks"].as_u64(),
        range: (text(&value["range"][0]), text(&value["range"][1])),
        footer: serde_json::from_value(value["footer"].clone()).unwrap_or_default(),
    })
}
