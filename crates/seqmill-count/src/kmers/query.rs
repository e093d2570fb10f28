//! Look-ups in a table: single k-mers, arrays of them, windows along sequence.

use super::batch::Batch;
use super::lanes::Lanes;
use super::skm::{SkmTable, key_words};
use super::word::{Word, canonical, parse_kmer};
use crate::with_kmer;
use seqmill_base::large_pages::prefer_large_pages;
use seqmill_base::{Error, Job, Result};

/// Look-ups that are put in order together.
const BATCH: usize = 1 << 20;
/// Fewer than these are not worth an order.
const FEW: usize = 64;
/// A block is asked for as a whole where so many k-mers are wanted of the one before.
const PREFETCH_FROM: usize = 8;
/// K-mers of a part that is sorted by itself.
const PART: usize = 1 << 10;
/// K-mers that are put in order by insertion.
const FEW_SORTED: usize = 4;
/// Blocks of a table that are looked into before its memory is given back, in a small budget.
const TOUCHED_BLOCKS: usize = 64;
/// What these take at most: the kernel maps the pages around one that is asked for.
pub(super) const TOUCHED_BYTES: u64 = TOUCHED_BLOCKS as u64 * (128 << 10);
/// Most leading bits that make parts: more would miss the cache.
const PART_BITS_MAX: u32 = 11;

/// Counts of packed k-mers of at most 32 bases, 0 where absent.
pub fn lookup_packed(table: &SkmTable, kmers: &[u64]) -> Result<Vec<u64>> {
    let facts = table.facts();
    if facts.k > 32 {
        return Err(Error::input(format!(
            "k-mers of {} bases do not fit 64 bits; give them as text",
            facts.k
        )));
    }
    let limit = u64::ones(2 * facts.k);
    let mut counts = vec![0; kmers.len()];
    let mut search = Search::new(table);
    search.reserve(kmers.len());
    for (kmers, counts) in kmers.chunks(BATCH).zip(counts.chunks_mut(BATCH)) {
        let known = kmers.iter().enumerate().filter(|(_, kmer)| **kmer <= limit);
        search.wanted.extend(known.map(|(number, kmer)| {
            let kmer = if facts.canonical { canonical(*kmer, facts.k) } else { *kmer };
            (kmer, number as u32)
        }));
        search.run(counts)?;
    }
    Ok(counts)
}

/// Many look-ups in the order of the k-mers: each block is touched once.
struct Search<'t, K> {
    table: &'t SkmTable,
    /// K-mers, and where their count goes.
    wanted: Vec<(K, u32)>,
    spare: Vec<(K, u32)>,
    /// Blocks that were looked into since memory was given back; none: it is kept.
    touched: Option<usize>,
}

impl<'t, K: Word> Search<'t, K> {
    fn new(table: &'t SkmTable) -> Self {
        Self { table, wanted: Vec::new(), spare: Vec::new(), touched: None }
    }

    /// Notes that a block was looked into.
    fn touch(&mut self) {
        if let Some(touched) = &mut self.touched {
            *touched += 1;
            if *touched >= TOUCHED_BLOCKS {
                *touched = 0;
                self.table.forget_blocks();
            }
        }
    }

    /// Makes room for `n` k-mers, at most a batch.
    fn reserve(&mut self, n: usize) {
        for room in [&mut self.wanted, &mut self.spare] {
            if room.capacity() < n.min(BATCH) {
                room.reserve_exact(n.min(BATCH));
                let bytes = room.capacity() * size_of::<(K, u32)>();
                prefer_large_pages(room.as_mut_ptr().cast(), bytes);
            }
        }
    }

    /// Puts the counts of all wanted k-mers that the table has in their places.
    fn run(&mut self, out: &mut [u64]) -> Result<()> {
        let wanted = std::mem::take(&mut self.wanted);
        if wanted.len() < FEW {
            for (kmer, number) in wanted {
                out[number as usize] = self.table.find(kmer)?;
                self.touch();
            }
            return Ok(());
        }
        let mut spare = std::mem::take(&mut self.spare);
        let key_bits = 2 * self.table.facts().k;
        let bits = (wanted.len() / PART).max(1).ilog2().min(PART_BITS_MAX).min(key_bits);
        let mut ends = Vec::new();
        partition(&wanted, &mut spare, key_bits - bits, bits, &mut ends);
        let (mut begin, mut block) = (0, 0);
        let mut sorter = Sorter { key_bits: key_bits - bits, ..Sorter::default() };
        for end in ends {
            let part = sorter.sort(&spare[begin..end as usize]);
            self.find_sorted(part, &mut block, out)?;
            begin = end as usize;
        }
        (self.wanted, self.spare) = (wanted, spare);
        self.wanted.clear();
        Ok(())
    }

    /// Looks sorted k-mers up; none is before block `block`.
    fn find_sorted(
        &mut self,
        wanted: &[(K, u32)],
        block: &mut usize,
        out: &mut [u64],
    ) -> Result<()> {
        let mut rest = wanted;
        while let Some((kmer, _)) = rest.first() {
            let Some(of) = self.table.block_from(*kmer, *block) else {
                rest = &rest[1..];
                continue;
            };
            *block = of;
            let next = (of + 1 < self.table.blocks()).then(|| self.table.first::<K>(of + 1));
            let here = match next {
                Some(next) => rest.iter().take_while(|(kmer, _)| *kmer < next).count(),
                None => rest.len(),
            };
            let (in_block, others) = rest.split_at(here);
            if here >= PREFETCH_FROM {
                // As many are wanted of the next.
                self.table.prefetch(of + 1);
            }
            self.table.find_in(of, in_block, out)?;
            self.touch();
            rest = others;
        }
        Ok(())
    }
}

/// Puts k-mers in order by the `bits` bits above `down`; leaves where each part ends in `ends`.
fn partition<K: Word>(
    from: &[(K, u32)],
    to: &mut Vec<(K, u32)>,
    down: u32,
    bits: u32,
    ends: &mut Vec<u32>,
) {
    let part = |kmer: K| (kmer.down_all(down).low() & ((1 << bits) - 1)) as usize;
    ends.clear();
    ends.resize(1 << bits, 0);
    for (kmer, _) in from {
        ends[part(*kmer)] += 1;
    }
    let mut sum = 0;
    for end in ends.iter_mut() {
        sum += std::mem::replace(end, sum);
    }
    // What was there before is overwritten.
    to.resize(from.len(), (K::default(), 0));
    for wanted in from {
        let place = &mut ends[part(wanted.0)];
        to[*place as usize] = *wanted;
        *place += 1;
    }
}

/// Sorts k-mers that share all but the last bits.
#[derive(Default)]
struct Sorter<K> {
    key_bits: u32,
    sorted: Vec<(K, u32)>,
    ends: Vec<u32>,
}

impl<K: Word> Sorter<K> {
    fn sort(&mut self, part: &[(K, u32)]) -> &[(K, u32)] {
        let bits = (part.len() / FEW_SORTED).max(1).ilog2().min(PART_BITS_MAX).min(self.key_bits);
        partition(part, &mut self.sorted, self.key_bits - bits, bits, &mut self.ends);
        let mut begin = 0;
        for end in &self.ends {
            let few = &mut self.sorted[begin..*end as usize];
            begin = *end as usize;
            if few.len() > 5 * FEW_SORTED {
                few.sort_unstable_by_key(|(kmer, _)| *kmer);
                continue;
            }
            for i in 1..few.len() {
                let (wanted, mut at) = (few[i], i);
                while at > 0 && wanted.0 < few[at - 1].0 {
                    few[at] = few[at - 1];
                    at -= 1;
                }
                few[at] = wanted;
            }
        }
        &self.sorted
    }
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
    let windows = (bases.len() + 1).saturating_sub(table.facts().k as usize);
    let (mut counts, mut valid) = (vec![0; windows], vec![0; windows]);
    profile_into(table, bases, &mut counts, &mut valid)?;
    Ok((counts, valid))
}

/// [`profile_bases`]; holds no more than [`TOUCHED_BYTES`] of the table's blocks in memory.
pub(super) fn profile_sparingly(table: &SkmTable, bases: &[u8]) -> Result<(Vec<u64>, Vec<u8>)> {
    let k = table.facts().k;
    let windows = (bases.len() + 1).saturating_sub(k as usize);
    let (mut counts, mut valid) = (vec![0; windows], vec![0; windows]);
    with_kmer!(k, K => profile::<K>(table, bases, (&mut counts, &mut valid), Some(0)))?;
    table.forget_blocks();
    Ok((counts, valid))
}

/// Bytes that a profile of so many windows takes at most, its arrays included.
pub(super) fn profile_bytes(k: u32, windows: usize) -> u64 {
    let item = with_kmer!(k, K => size_of::<(K, u32)>());
    // K-mers as they come, in parts and in order; counts and marks; text, codes and packed bases;
    // stretches without a break, as a list that grows.
    let each = 3 * item + 9 + 3 + (24 / (k as usize + 1) + 1);
    (each * windows + 8 * k as usize) as u64
}

/// [`profile_bases`] into arrays with a place for each window, all of them 0.
pub fn profile_into(
    table: &SkmTable,
    bases: &[u8],
    counts: &mut [u64],
    valid: &mut [u8],
) -> Result<()> {
    with_kmer!(table.facts().k, K => profile::<K>(table, bases, (counts, valid), None))
}

fn profile<K: Word>(
    table: &SkmTable,
    bases: &[u8],
    (counts, valid): (&mut [u64], &mut [u8]),
    touched: Option<usize>,
) -> Result<()> {
    let facts = table.facts();
    let k = facts.k;
    let windows = counts.len();
    let lanes = Lanes::detect();
    let (mask, top) = (K::ones(2 * k), 2 * (k - 1));
    let mut search = Search::<K> { touched, ..Search::new(table) };
    search.reserve(windows);
    let mut batch = Batch::default();
    for start in (0..windows).step_by(BATCH) {
        let end = (start + BATCH).min(windows);
        batch.text.clear();
        batch.text.extend_from_slice(&bases[start..end + k as usize - 1]);
        batch.prepare(k as usize, false, lanes);
        for (first, end) in &batch.windows {
            valid[start + first..start + end].fill(1);
            let (mut forward, mut back) = (K::default(), K::default());
            let codes = &batch.codes[*first..end + k as usize - 1];
            for (i, code) in codes.iter().enumerate() {
                let code = u64::from(*code);
                forward = forward.up_all(2).or(K::from_low(code)).and(mask);
                back = back.down(2).or(K::from_low(code ^ 3).up(top));
                if let Some(window) = (i + 1).checked_sub(k as usize) {
                    let kmer = if facts.canonical { forward.min(back) } else { forward };
                    search.wanted.push((kmer, (first + window) as u32));
                }
            }
        }
        search.run(&mut counts[start..end])?;
    }
    Ok(())
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kmers::skm::{SkmWriter, TableFacts};
    use seqmill_base::Budget;
    use seqmill_base::sink::AtomicFile;

    /// A table of some of the k-mers, with their low bits as counts.
    fn table(folder: &std::path::Path, k: u32, every: usize, n: u64) -> (SkmTable, Vec<u64>) {
        let job = Job::new(Budget::new(64 << 20, 0).unwrap());
        let lease = job.budget.must_reserve(job.budget.account("index", u64::MAX), 0).unwrap();
        let path = folder.join(format!("{k}-{n}.skm"));
        let mut x = 1_u64;
        let mut kmers: Vec<u64> = (0..n)
            .map(|_| {
                x = x.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(5);
                x >> (64 - 2 * k)
            })
            .collect();
        kmers.sort_unstable();
        kmers.dedup();
        let kept: Vec<u64> = kmers.iter().copied().step_by(every).collect();
        let counts: Vec<u64> = kept.iter().map(|kmer| kmer % 1000 + 1).collect();
        let file = AtomicFile::create(&path, true).unwrap();
        let mut writer = SkmWriter::<u64>::new(file.file(), &path, k, lease);
        writer.put(&kept, &counts).unwrap();
        let facts = TableFacts {
            k,
            canonical: false,
            flags: 0,
            distinct: kept.len() as u64,
            total: counts.iter().sum(),
        };
        writer.finish(&facts, &serde_json::json!({})).unwrap();
        file.commit().unwrap();
        (SkmTable::open(&path).unwrap(), kmers)
    }

    #[test]
    fn many_are_found_as_one_by_one() {
        let folder = std::env::temp_dir().join(format!("seqmill-query-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        for (k, n) in [(31, 40_000), (31, 700), (32, 40_000), (7, 5_000), (31, 0)] {
            let (table, kmers) = table(&folder, k, 2, n);
            for part in [1, 5, 70, kmers.len()] {
                // Out of order, some twice, and some that no k-mer is.
                let mut wanted: Vec<u64> = kmers.iter().rev().take(part).copied().collect();
                wanted.extend(kmers.iter().take(part));
                wanted.extend([0, u64::MAX, u64::MAX >> 2]);
                let found = lookup_packed(&table, &wanted).unwrap();
                for (kmer, count) in wanted.iter().zip(found) {
                    assert_eq!(table.find(*kmer).unwrap(), count, "{k} {n} {kmer}");
                }
            }
        }
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
