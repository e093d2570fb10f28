//! Look-ups in a table: single k-mers, arrays of them, windows along sequence.

use super::batch::Batch;
use super::skm::{SkmTable, key_words};
use super::word::{Word, canonical, parse_kmer};
use crate::with_kmer;
use seqmill_base::{Error, Job, Result};

/// Counts of packed k-mers of at most 32 bases, 0 where absent.
pub fn lookup_packed(table: &SkmTable, kmers: &[u64]) -> Result<Vec<u64>> {
    let facts = table.facts();
    if facts.k > 32 {
        return Err(Error::input(format!(
            "k-mers of {} bases do not fit 64 bits; give them as text",
            facts.k
        )));
    }
    let turn = |kmer: u64| if facts.canonical { canonical(kmer, facts.k) } else { kmer };
    let limit = u64::ones(2 * facts.k);
    kmers.iter().map(|kmer| if *kmer > limit { Ok(0) } else { table.find(turn(*kmer)) }).collect()
}

/// The count of a k-mer; `None` if the text is no k-mer of the table's length.
pub fn lookup_text(table: &SkmTable, text: &[u8]) -> Result<Option<u64>> {
    let facts = table.facts();
    if text.len() != facts.k as usize {
        return Ok(None);
    }
    with_kmer!(facts.k, K => {
        let Some(kmer) = parse_kmer::<K>(text) else { return Ok(None) };
        table.find(if facts.canonical { canonical(kmer, facts.k) } else { kmer }).map(Some)
    })
}

/// The count at the start of each window of `bases`, and a byte that is 1 where the window holds
/// nothing but bases.
pub fn profile_bases(table: &SkmTable, bases: &[u8]) -> Result<(Vec<u64>, Vec<u8>)> {
    let k = table.facts().k;
    with_kmer!(k, K => profile::<K>(table, bases))
}

fn profile<K: Word>(table: &SkmTable, bases: &[u8]) -> Result<(Vec<u64>, Vec<u8>)> {
    let facts = table.facts();
    let k = facts.k;
    let windows = (bases.len() + 1).saturating_sub(k as usize);
    let (mut counts, mut valid) = (vec![0; windows], vec![0; windows]);
    let mut batch = Batch { text: bases.to_vec(), ..Batch::default() };
    batch.prepare(k as usize, false);
    let (mask, top) = (K::ones(2 * k), 2 * (k - 1));
    // Look-ups in the order of the k-mers touch each block once.
    let mut wanted: Vec<(K, usize)> = Vec::with_capacity(windows);
    for (first, end) in &batch.windows {
        let (mut forward, mut back) = (K::default(), K::default());
        let codes = &batch.codes[*first..end + k as usize - 1];
        for (i, code) in codes.iter().enumerate() {
            let code = u64::from(*code);
            forward = forward.up_all(2).or(K::from_low(code)).and(mask);
            back = back.down(2).or(K::from_low(code ^ 3).up(top));
            if let Some(window) = (i + 1).checked_sub(k as usize) {
                let kmer = if facts.canonical { forward.min(back) } else { forward };
                wanted.push((kmer, first + window));
                valid[first + window] = 1;
            }
        }
    }
    wanted.sort_unstable();
    let (mut kmers, mut found): (Vec<K>, Vec<u64>) = (Vec::new(), Vec::new());
    let mut block = usize::MAX;
    let mut at = 0;
    for (kmer, window) in wanted {
        let Some(of) = table.block_of(kmer) else { continue };
        if of != block {
            (block, at) = (of, 0);
            kmers.clear();
            found.clear();
            table.decode(block, &mut kmers, &mut found)?;
        }
        while kmers.get(at).is_some_and(|k| *k < kmer) {
            at += 1;
        }
        if kmers.get(at) == Some(&kmer) {
            counts[window] = found[at];
        }
    }
    Ok((counts, valid))
}

/// All k-mers as words, the highest first, and their counts.
pub fn table_arrays(table: &SkmTable) -> Result<(Vec<u64>, Vec<u64>)> {
    let words = key_words(table.facts().k);
    with_kmer!(table.facts().k, K => {
        let (mut out, mut counts) = (Vec::new(), Vec::new());
        let mut kmers: Vec<K> = Vec::new();
        for block in 0..table.blocks() {
            kmers.clear();
            table.decode(block, &mut kmers, &mut counts)?;
            out.extend(kmers.iter().flat_map(|k| (0..words).rev().map(|i| k.word(i))));
        }
        Ok((out, counts))
    })
}

/// Checks every block of a table.
pub fn verify_table(table: &SkmTable, job: &Job) -> Result<()> {
    let total = table.blocks() as u64;
    job.progress.records_total.store(total, std::sync::atomic::Ordering::Relaxed);
    with_kmer!(table.facts().k, K => table.verify::<K>(|| job.cancel.check()))
}
