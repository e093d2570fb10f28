//! Cutting the keys of many tables into ranges that hold about as many k-mers each.

use super::cursor::KeyRange;
use crate::kmers::skm::{SkmTable, key_words};
use crate::kmers::word::Word;
use crate::with_kmer;
use seqmill_base::{Error, Job, Result};
use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// Keys between ranges: quantiles of the first keys of all blocks, of which each stands for as
/// many k-mers as the others. Fewer than `ranges - 1` where tables have not so many blocks.
pub fn key_boundaries(tables: &[SkmTable], ranges: u64, job: &Job) -> Result<Vec<String>> {
    let k = tables.first().map_or(31, |table| table.facts().k);
    with_kmer!(k, K => boundaries::<K>(tables, ranges, job))
}

fn boundaries<K: Word>(tables: &[SkmTable], ranges: u64, job: &Job) -> Result<Vec<String>> {
    let all: u64 = tables.iter().map(|table| table.blocks() as u64).sum();
    let mut heap = BinaryHeap::with_capacity(tables.len());
    for (number, table) in tables.iter().enumerate() {
        if table.blocks() > 0 {
            heap.push(Reverse((table.first::<K>(0), number, 0)));
        }
    }
    let mut found: Vec<K> = Vec::new();
    let (mut seen, mut next) = (0_u64, 1_u64);
    while let Some(Reverse((key, number, block))) = heap.pop() {
        if seen.is_multiple_of(1 << 16) {
            job.cancel.check()?;
        }
        // The first range begins with whatever is least.
        while next < ranges && u128::from(seen) * u128::from(ranges) >= u128::from(next * all) {
            if seen > 0 && found.last().is_none_or(|last| *last < key) {
                found.push(key);
            }
            next += 1;
        }
        seen += 1;
        let (table, block) = (&tables[number], block + 1);
        if block < table.blocks() {
            heap.push(Reverse((table.first::<K>(block), number, block)));
        }
    }
    let words = tables.first().map_or(1, |table| key_words(table.facts().k));
    Ok(found.into_iter().map(|key| key_text(key, words)).collect())
}

/// A key as hexadecimal digits, all of them.
fn key_text<K: Word>(key: K, words: usize) -> String {
    let words: Vec<String> = (0..words).rev().map(|i| format!("{:016x}", key.word(i))).collect();
    words.concat()
}

fn parse_key<K: Word>(text: &str) -> Result<K> {
    let wrong = || Error::input(format!("{text:?} is no key of a table"));
    let mut key = K::default();
    if !text.is_ascii() || text.len() > 2 * K::BYTES || !text.len().is_multiple_of(16) {
        return Err(wrong());
    }
    for (word, digits) in text.as_bytes().rchunks(16).enumerate() {
        let digits = std::str::from_utf8(digits).map_err(|_| wrong())?;
        let value = u64::from_str_radix(digits, 16).map_err(|_| wrong())?;
        key = key.with_word(word, value);
    }
    Ok(key)
}

impl<K: Word> KeyRange<K> {
    /// The range between two keys of [`key_boundaries`].
    pub(in crate::kmers) fn parse(range: &(Option<String>, Option<String>)) -> Result<Self> {
        let key = |text: &Option<String>| text.as_deref().map(parse_key).transpose();
        Ok(Self { begin: key(&range.0)?, end: key(&range.1)? })
    }
}
