//! Statistics of sequence (`kmers.md` §6.2): the file is read once for names and lengths, once for
//! the regions, and again only where the different k-mers of a region do not fit in memory.

use super::columns::SEQUENCE_NUMBERS;
use super::counts::{LOOK_UP_BYTES, RegionCounts, open_table};
use super::distinct::{Allowance, Class, CountDistinct, counter};
use super::options::{Options, Semantic, Share};
use super::spool::Spool;
use super::stats::Bins;
use super::targets::{Sequence, Stretch, Walk};
use crate::kmers::skm::SkmTable;
use seqmill_base::budget::AccountId;
use seqmill_base::{Error, Job, Lease, Result};
use seqmill_io::fasta::OpenArchive;
use seqmill_io::sequence::{Piece, SequenceOptions, SequenceStream, TextPart, open_sequence};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Codes of symbols: 0–3 bases, then what else is counted.
const CODE_N: u8 = 4;
const CODE_OTHER: u8 = 5;
/// Lower case, besides the code.
const LOWER: u8 = 8;
const CODES: [u8; 256] = codes();

const fn codes() -> [u8; 256] {
    let mut table = [CODE_OTHER; 256];
    let mut i = 0;
    let letters = *b"ACGTN";
    while i < letters.len() {
        #[expect(clippy::cast_possible_truncation, reason = "five letters")]
        let code = i as u8;
        table[letters[i] as usize] = code;
        i += 1;
    }
    let mut letter = b'a';
    while letter <= b'z' {
        table[letter as usize] = table[letter.to_ascii_uppercase() as usize] | LOWER;
        letter += 1;
    }
    table
}

/// A FASTA file whose names and lengths are known.
pub(super) struct Sequences {
    path: PathBuf,
    account: AccountId,
    threads: usize,
    strict: bool,
    /// What is read, and the number of its first sequence; none: the whole file.
    part: Option<(TextPart, u32)>,
    archives: Option<OpenArchive>,
    pub warnings: Vec<String>,
}

impl Sequences {
    /// Reads the names and lengths of all sequences, and where each begins in the text; or takes
    /// them from the plan of a divided job, which knows where they begin in the file.
    pub(super) fn open(
        path: &Path,
        options: &Options,
        job: &Job,
    ) -> Result<(Self, Vec<Sequence>, Vec<u64>)> {
        if path == Path::new("-") {
            return Err(Error::input("FASTA from a pipe cannot be read twice; give a file"));
        }
        let pool = job.budget.pool();
        let account = job.budget.account("reader", pool / 2);
        let mut threads = options.threads.saturating_sub(1);
        while threads > 0 && SequenceStream::claim_bytes(threads) > pool / 4 {
            threads -= 1;
        }
        let strict = options.semantic.strict;
        let archives = options.archives;
        let (path, warnings) = (path.to_path_buf(), Vec::new());
        let mut content = Self { path, account, threads, strict, part: None, archives, warnings };
        if let Some(known) = &options.sequences {
            let (list, places) = read_sequences(known)?;
            content.part = options.share.as_ref().and_then(|share| first_part(share, &places));
            return Ok((content, list, places));
        }
        let mut stream = content.stream(job)?;
        let (mut list, mut offsets): (Vec<Sequence>, Vec<u64>) = (Vec::new(), Vec::new());
        let names = job.budget.account("names", pool);
        let mut lease = job.budget.must_reserve(names, 0)?;
        while let Some(piece) = stream.next_piece()? {
            match piece {
                Piece::Start { header, offset } => {
                    let name = header.split(u8::is_ascii_whitespace).next().unwrap_or_default();
                    let name = String::from_utf8_lossy(name).into_owned();
                    let bytes = name.len() + 2 * size_of::<Sequence>();
                    lease.resize(lease.bytes() + bytes as u64)?;
                    list.push(Sequence { name, length: 0 });
                    offsets.push(offset);
                }
                Piece::End { bases } => {
                    if let Some(last) = list.last_mut() {
                        last.length = bases;
                    }
                }
                Piece::Bases(_) | Piece::Qualities(_) => {}
            }
        }
        content.warnings = stream.warnings().to_vec();
        Ok((content, list, offsets))
    }

    fn stream(&self, job: &Job) -> Result<SequenceStream> {
        let (threads, strict, archives) = (self.threads, self.strict, self.archives);
        let options = SequenceOptions { threads, strict, archives, qualities: false };
        let source = open_sequence(&self.path, archives, job, self.account)?;
        let part = self.part.map(|(part, _)| part);
        SequenceStream::of_part(source, part, options, job, self.account)
    }
}

/// The file from the first sequence of a share on.
fn first_part(share: &Share, places: &[u64]) -> Option<(TextPart, u32)> {
    let first = share.stretches.first()?.0;
    let begin = *places.get(first as usize)?;
    // A place of 0 is also that of a file which is read from its beginning only.
    (begin > 0).then_some((TextPart { begin, end: None }, first))
}

/// Notes the sequences of a file for those that do the shares of a job.
pub(super) fn write_sequences(path: &Path, list: &[Sequence], places: &[u64]) -> Result<()> {
    let line = |(s, place): (&Sequence, &u64)| format!("{}\t{}\t{place}\n", s.name, s.length);
    let text: String = list.iter().zip(places).map(line).collect();
    seqmill_base::sink::write_atomically(path, text.as_bytes())
}

fn read_sequences(path: &Path) -> Result<(Vec<Sequence>, Vec<u64>)> {
    let text = std::fs::read_to_string(path).map_err(|e| Error::io(path, &e))?;
    let parse = |line: &str| {
        let mut fields = line.rsplit('\t');
        let (place, length) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
        Some((Sequence { name: fields.next()?.to_owned(), length }, place))
    };
    let known: Option<Vec<(Sequence, u64)>> = text.lines().map(parse).collect();
    known.map(|list| list.into_iter().unzip()).ok_or_else(|| {
        let text = "this is no list of sequences of a divided job";
        Error::format(seqmill_base::FormatKind::Other, text).at_path(path)
    })
}

/// A region whose end is not reached.
struct Open {
    index: u64,
    stretch: Stretch,
    /// Positions that were taken.
    at: u64,
    counts: [u64; 16],
    /// Bases since the last break.
    run: u64,
    kmers: u64,
    bins: Bins,
    /// Bin in which the next k-mer begins.
    bin: u64,
    bin_end: u64,
    values: Vec<u64>,
    distinct: Box<dyn CountDistinct>,
    /// Counts of its k-mers in a table.
    looked_up: Option<RegionCounts>,
    /// Everything is counted, not only different k-mers.
    first_pass: bool,
}

/// What is left to count of a region.
type Waiting = BTreeMap<u64, (Stretch, Vec<Class>)>;

struct Pass<'a> {
    options: &'a Options,
    allowance: Allowance,
    regions: Lease,
    waiting: Waiting,
    codes: Vec<u8>,
    table: Option<SkmTable>,
}

/// Measures all regions and writes the results.
pub(super) fn measure_sequences(
    content: &Sequences,
    options: &Options,
    walk: Walk<'_>,
    spools: (&mut Spool, &mut Spool),
    job: &Job,
) -> Result<()> {
    let (rows, values) = spools;
    let pool = job.budget.pool();
    let account = job.budget.account("kmers", pool);
    let lease = job.budget.must_reserve(account, 0)?;
    let regions = lease.sibling(options.semantic.kmer_db.as_ref().map_or(0, |_| LOOK_UP_BYTES))?;
    let most = pool.saturating_sub(job.budget.reserved()) / 2;
    let mut pass = Pass {
        options,
        allowance: Allowance { lease, most },
        regions,
        waiting: BTreeMap::new(),
        codes: Vec::new(),
        table: open_table(&options.semantic)?,
    };
    let mut walk = walk;
    let next = || walk.advance().map(|(index, stretch)| (index, stretch, None));
    pass.run(content, next, job, |open, distinct| {
        let (row, bins) = open.result(distinct, &options.semantic);
        rows.put(open.index, &row)?;
        values.put(open.index, &bins)
    })?;
    while !pass.waiting.is_empty() {
        // One class of each region in each pass; a class that is too large is halved again.
        let mut list: Vec<(u64, Stretch, Class)> = Vec::new();
        for (index, (stretch, classes)) in &mut pass.waiting {
            list.extend(classes.pop().map(|class| (*index, *stretch, class)));
        }
        pass.waiting.retain(|_, (_, classes)| !classes.is_empty());
        let mut list =
            list.into_iter().map(|(index, stretch, class)| (index, stretch, Some(class)));
        let mut row = Vec::new();
        pass.run(
            content,
            || list.next(),
            job,
            |open, distinct| {
                rows.get(open.index, &mut row)?;
                if let Some(sum) = row.get_mut(DISTINCT) {
                    *sum += distinct;
                }
                rows.put(open.index, &row)
            },
        )?;
    }
    Ok(())
}

/// Place of the different k-mers in a result.
const DISTINCT: usize = 7;

impl Pass<'_> {
    /// Reads the file once; `next` gives regions in the order of the file.
    fn run(
        &mut self,
        content: &Sequences,
        mut next: impl FnMut() -> Option<(u64, Stretch, Option<Class>)>,
        job: &Job,
        mut done: impl FnMut(&Open, u64) -> Result<()>,
    ) -> Result<()> {
        let mut stream = content.stream(job)?;
        let mut open: Vec<Open> = Vec::new();
        let mut ahead = next();
        let (mut reference, mut at) = (None::<u32>, 0);
        let first = content.part.map_or(0, |(_, first)| first);
        while ahead.is_some() || !open.is_empty() {
            let Some(piece) = stream.next_piece()? else { break };
            match piece {
                Piece::Start { .. } => {
                    reference = Some(reference.map_or(first, |r| r + 1));
                    at = 0;
                }
                Piece::Bases(bases) => {
                    let Some(reference) = reference else { continue };
                    let end = at + bases.len() as u64;
                    while let Some((index, stretch, class)) = ahead
                        && (stretch.reference, stretch.begin) < (reference, end)
                    {
                        if stretch.begin >= stretch.end {
                            let empty = self.begin(index, stretch, class)?;
                            self.close(empty, &mut done)?;
                        } else {
                            open.push(self.begin(index, stretch, class)?);
                        }
                        ahead = next();
                    }
                    if !open.is_empty() {
                        self.take(&mut open, at, bases, &mut done)?;
                    }
                    at = end;
                }
                Piece::End { .. } | Piece::Qualities(_) => {}
            }
        }
        // What is left are regions of sequences without bases.
        while let Some((index, stretch, class)) = ahead {
            if stretch.begin < stretch.end {
                let text = "the file changed while it was read";
                let kind = seqmill_base::FormatKind::Changed;
                return Err(Error::format(kind, text).at_path(&content.path));
            }
            let empty = self.begin(index, stretch, class)?;
            self.close(empty, &mut done)?;
            ahead = next();
        }
        Ok(())
    }

    fn begin(&mut self, index: u64, stretch: Stretch, class: Option<Class>) -> Result<Open> {
        let semantic = &self.options.semantic;
        let bins = Bins::new(stretch.end - stretch.begin, semantic.bins);
        self.regions.resize(self.regions.bytes() + self.region_bytes(bins))?;
        let looked_up = self.table.is_some() && class.is_none();
        Ok(Open {
            index,
            stretch,
            at: stretch.begin,
            counts: [0; 16],
            run: 0,
            kmers: 0,
            bins,
            bin: 0,
            bin_end: stretch.begin + bins.edge(1),
            values: vec![0; usize::try_from(bins.count()).unwrap_or(0)],
            distinct: counter(semantic.k, semantic.canonical, class.unwrap_or(Class::ALL)),
            looked_up: looked_up.then(RegionCounts::default),
            first_pass: class.is_none(),
        })
    }

    /// Bytes of an open region.
    fn region_bytes(&self, bins: Bins) -> u64 {
        let counts = if self.table.is_some() { RegionCounts::BYTES } else { 0 };
        size_of::<Open>() as u64 + 8 * bins.count() + 512 + counts
    }

    /// Gives a piece of sequence to the open regions, and closes those that end in it.
    fn take(
        &mut self,
        open: &mut Vec<Open>,
        at: u64,
        bases: &[u8],
        done: &mut impl FnMut(&Open, u64) -> Result<()>,
    ) -> Result<()> {
        let masked = self.options.semantic.skip_soft_masked;
        let k = self.options.semantic.k as u64;
        self.codes.clear();
        self.codes.extend(bases.iter().map(|base| {
            let code = CODES.get(usize::from(*base)).copied().unwrap_or(CODE_OTHER);
            // Counters take every code above 3 for a break.
            if masked { code } else { code & !LOWER }
        }));
        let mut i = 0;
        while i < open.len() {
            let Some(region) = open.get_mut(i) else { break };
            let from = usize::try_from(region.at - at).unwrap_or(usize::MAX);
            let most = usize::try_from(region.stretch.end - at).unwrap_or(usize::MAX);
            let range = from..most.min(bases.len());
            let codes = self.codes.get(range.clone()).unwrap_or_default();
            if region.first_pass {
                let bases = bases.get(range).unwrap_or_default();
                region.count(bases, codes, k);
                if let (Some(counts), Some(table)) = (&mut region.looked_up, &self.table) {
                    counts.take(table, bases, masked)?;
                }
            }
            let mut left = Vec::new();
            region.distinct.take(codes, &mut self.allowance, &mut left);
            if !left.is_empty() {
                let waiting = self.waiting.entry(region.index);
                waiting.or_insert_with(|| (region.stretch, Vec::new())).1.append(&mut left);
            }
            region.at += codes.len() as u64;
            if region.at < region.stretch.end {
                i += 1;
                continue;
            }
            let region = open.swap_remove(i);
            self.close(region, done)?;
        }
        Ok(())
    }

    fn close(
        &mut self,
        mut region: Open,
        done: &mut impl FnMut(&Open, u64) -> Result<()>,
    ) -> Result<()> {
        let distinct = region.distinct.finish(&mut self.allowance)?;
        let bytes = self.region_bytes(region.bins);
        self.regions.resize(self.regions.bytes().saturating_sub(bytes))?;
        done(&region, distinct)
    }
}

impl Open {
    fn count(&mut self, bases: &[u8], codes: &[u8], k: u64) {
        for base in bases {
            let code = CODES.get(usize::from(*base)).copied().unwrap_or(CODE_OTHER);
            if let Some(count) = self.counts.get_mut(usize::from(code & 15)) {
                *count += 1;
            }
        }
        for (code, position) in codes.iter().zip(self.at..) {
            if *code > 3 {
                self.run = 0;
                continue;
            }
            self.run += 1;
            if self.run < k {
                continue;
            }
            self.kmers += 1;
            let start = position + 1 - k;
            while start >= self.bin_end {
                self.bin += 1;
                self.bin_end = self.stretch.begin + self.bins.edge(self.bin + 1);
            }
            let bin = usize::try_from(self.bin).unwrap_or(usize::MAX);
            if let Some(value) = self.values.get_mut(bin) {
                *value += 1;
            }
        }
    }

    /// The numbers of the table, and the values of the bins.
    fn result(&self, distinct: u64, options: &Semantic) -> ([u64; SEQUENCE_NUMBERS], Vec<u64>) {
        let count = |code: u8| {
            let of = |code: u8| self.counts.get(usize::from(code)).copied().unwrap_or(0);
            of(code) + of(code | LOWER)
        };
        let length = self.stretch.end - self.stretch.begin;
        let acgt = count(0) + count(1) + count(2) + count(3);
        let lower = self.counts.iter().skip(usize::from(LOWER)).sum();
        let mut values = self.values.clone();
        values.resize(usize::try_from(options.bins).unwrap_or(0), 0);
        let [sum, n, median, min, max] =
            self.looked_up.as_ref().map_or([0; 5], RegionCounts::numbers);
        let row = [
            length,
            acgt,
            count(1) + count(2),
            count(CODE_N),
            count(CODE_OTHER),
            lower,
            self.kmers,
            distinct,
            (length + 1).saturating_sub(options.k as u64).max(1),
            sum,
            n,
            median,
            min,
            max,
        ];
        (row, values)
    }
}
