//! What an interrupted run leaves so that a later one can go on: the ranking, and the loop.

use crate::find::{Element, Family, LoopState};
use crate::mask::Mask;
use crate::rank::{Ranking, Seed};
use seqmill_base::sink::AtomicFile;
use seqmill_base::{Error, Lease, Result};
use std::fs::File;
use std::io::{BufReader, Read, Write};
use std::path::Path;
use std::sync::Arc;
use xxhash_rust::xxh3::Xxh3;

const RANKING_MAGIC: u64 = 0x3152_4e4b_5253_4d53;
const LOOP_MAGIC: u64 = 0x3150_4f4f_4c53_4d53;
/// Bytes of the buffer for reading and writing.
const BUFFER_BYTES: usize = 1 << 16;

struct Out<'a> {
    file: &'a File,
    /// What is neither hashed nor written yet.
    buffer: Vec<u8>,
    hash: Xxh3,
    path: &'a Path,
}

impl Out<'_> {
    fn bytes(&mut self, bytes: &[u8]) -> Result<()> {
        if self.buffer.len() + bytes.len() > BUFFER_BYTES {
            self.flush()?;
        }
        self.buffer.extend_from_slice(bytes);
        Ok(())
    }

    fn flush(&mut self) -> Result<()> {
        self.hash.update(&self.buffer);
        self.file.write_all(&self.buffer).map_err(|e| Error::io(self.path, &e))?;
        self.buffer.clear();
        Ok(())
    }

    fn word(&mut self, value: u64) -> Result<()> {
        self.bytes(&value.to_le_bytes())
    }

    fn narrow(&mut self, value: u32) -> Result<()> {
        self.bytes(&value.to_le_bytes())
    }
}

/// Writes a file whole, with its checksum at the end.
fn save(path: &Path, magic: u64, fill: impl FnOnce(&mut Out<'_>) -> Result<()>) -> Result<()> {
    let aside = AtomicFile::create(path, true)?;
    let buffer = Vec::with_capacity(BUFFER_BYTES);
    let mut out = Out { file: aside.file(), buffer, hash: Xxh3::new(), path };
    out.word(magic)?;
    fill(&mut out)?;
    out.flush()?;
    out.word(out.hash.digest())?;
    out.flush()?;
    aside.commit()
}

struct In<'a> {
    file: BufReader<File>,
    hash: Xxh3,
    left: u64,
    path: &'a Path,
}

impl In<'_> {
    fn damaged(&self) -> Error {
        Error::input("state is damaged; use --force to begin anew").at_path(self.path)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        let mut bytes = [0; N];
        self.left = self.left.checked_sub(N as u64).ok_or_else(|| self.damaged())?;
        self.file.read_exact(&mut bytes).map_err(|e| Error::io(self.path, &e))?;
        self.hash.update(&bytes);
        Ok(bytes)
    }

    fn word(&mut self) -> Result<u64> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    fn narrow(&mut self) -> Result<u32> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    /// A number of items of at least `bytes` each; never more than the file can hold.
    fn count(&mut self, bytes: u64) -> Result<usize> {
        let count = self.word()?;
        if count.saturating_mul(bytes) > self.left {
            return Err(self.damaged());
        }
        usize::try_from(count).map_err(|_| self.damaged())
    }
}

/// Reads a file that [`save`] wrote; `None` if there is none.
fn read<T>(
    path: &Path,
    magic: u64,
    take: impl FnOnce(&mut In<'_>) -> Result<T>,
) -> Result<Option<T>> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(Error::io(path, &e)),
    };
    let left = file.metadata().map_err(|e| Error::io(path, &e))?.len();
    let file = BufReader::with_capacity(BUFFER_BYTES, file);
    let mut input = In { file, hash: Xxh3::new(), left, path };
    if input.word()? != magic {
        return Err(input.damaged());
    }
    let value = take(&mut input)?;
    let digest = input.hash.digest();
    if input.word()? != digest || input.left != 0 {
        return Err(input.damaged());
    }
    Ok(Some(value))
}

/// Keeps a ranking.
pub(crate) fn save_ranking(path: &Path, ranking: &Ranking) -> Result<()> {
    save(path, RANKING_MAGIC, |out| {
        out.word(ranking.seeds.len() as u64)?;
        for seed in &ranking.seeds {
            out.word(seed.kmer)?;
            out.word(seed.offset)?;
            for part in [seed.first, seed.count, seed.forward, seed.reverse] {
                out.narrow(part)?;
            }
        }
        out.word(ranking.positions.len() as u64)?;
        for place in &ranking.positions {
            out.narrow(*place)?;
        }
        let figures = ranking.figures;
        for figure in [
            figures.windows,
            figures.admitted,
            figures.partitions,
            figures.splits,
            figures.candidates,
            ranking.cut_seeds,
        ] {
            out.word(figure)?;
        }
        Ok(())
    })
}

/// The ranking that was kept, if one was; its bytes are reserved in `lease`.
pub(crate) fn load_ranking(path: &Path, length: u32, mut lease: Lease) -> Result<Option<Ranking>> {
    read(path, RANKING_MAGIC, |input| {
        let mut ranking = Ranking::default();
        let seeds = input.count(32)?;
        let mut bytes = (seeds * size_of::<Seed>()) as u64;
        lease.resize(bytes)?;
        ranking.seeds.reserve_exact(seeds);
        for _ in 0..seeds {
            let (kmer, offset) = (input.word()?, input.word()?);
            let [first, count, forward, reverse] =
                [input.narrow()?, input.narrow()?, input.narrow()?, input.narrow()?];
            ranking.seeds.push(Seed { kmer, first, count, offset, forward, reverse });
        }
        let positions = input.count(4)?;
        bytes += positions as u64 * 4;
        lease.resize(bytes)?;
        ranking.positions.reserve_exact(positions);
        for _ in 0..positions {
            ranking.positions.push(input.narrow()?);
        }
        let sound = ranking.positions.iter().all(|p| *p < length)
            && ranking.seeds.iter().all(|s| {
                let end = s.offset.saturating_add(u64::from(s.forward) + u64::from(s.reverse));
                s.first < length && end <= positions as u64
            });
        if !sound {
            return Err(input.damaged());
        }
        let figures = &mut ranking.figures;
        for figure in [
            &mut figures.windows,
            &mut figures.admitted,
            &mut figures.partitions,
            &mut figures.splits,
            &mut figures.candidates,
            &mut ranking.cut_seeds,
        ] {
            *figure = input.word()?;
        }
        ranking.lease = Some(lease);
        Ok(ranking)
    })
}

/// Keeps the loop.
pub(crate) fn save_loop(path: &Path, state: &LoopState, waiting: &[(u32, u64, u32)]) -> Result<()> {
    save(path, LOOP_MAGIC, |out| {
        out.word(waiting.len() as u64)?;
        for (count, kmer, seed) in waiting {
            out.narrow(*count)?;
            out.word(*kmer)?;
            out.narrow(*seed)?;
        }
        for mask in [&*state.masked, &state.covered] {
            out.word(mask.word_count() as u64)?;
            for word in mask.words() {
                out.word(word)?;
            }
        }
        out.word(state.families.len() as u64)?;
        for family in &state.families {
            out.word(family.seed)?;
            out.word(family.elements_from)?;
            for part in [family.copies, family.left, family.elements] {
                out.narrow(part)?;
            }
            out.word(family.consensus.len() as u64)?;
            out.bytes(&family.consensus)?;
        }
        out.word(state.elements.len() as u64)?;
        for element in &state.elements {
            out.narrow(element.place)?;
            for part in [element.start, element.end, element.score, i32::from(element.reverse)] {
                out.bytes(&part.to_le_bytes())?;
            }
            out.narrow(element.columns[0])?;
            out.narrow(element.columns[1])?;
            out.narrow(element.anchor)?;
        }
        let figures = state.figures;
        for figure in [figures.extended, figures.requeued, figures.ahead_used, figures.ahead_wasted]
        {
            out.word(figure)?;
        }
        Ok(())
    })
}

/// The loop that was kept, if one was.
pub(crate) fn load_loop(path: &Path, length: u32, seeds: usize) -> Result<Option<LoopState>> {
    read(path, LOOP_MAGIC, |input| {
        let mut state = LoopState::default();
        for _ in 0..input.count(16)? {
            let waiting = (input.narrow()?, input.word()?, input.narrow()?);
            if waiting.2 as usize >= seeds {
                return Err(input.damaged());
            }
            state.waiting.push(waiting);
        }
        let mut mask = || {
            let count = input.count(8)?;
            let words = (0..count).map(|_| input.word()).collect::<Result<Vec<u64>>>()?;
            Mask::from_words(words, length).ok_or_else(|| input.damaged())
        };
        state.masked = Arc::new(mask()?);
        state.covered = mask()?;
        for _ in 0..input.count(36)? {
            let (seed, elements_from) = (input.word()?, input.word()?);
            let [copies, left, elements] = [input.narrow()?, input.narrow()?, input.narrow()?];
            let columns = input.count(1)?;
            let mut consensus = Vec::with_capacity(columns);
            for _ in 0..columns {
                let [code] = input.array()?;
                if code > 3 {
                    return Err(input.damaged());
                }
                consensus.push(code);
            }
            if left as usize > columns {
                return Err(input.damaged());
            }
            state.families.push(Family { seed, copies, consensus, left, elements_from, elements });
        }
        for _ in 0..input.count(32)? {
            state.elements.push(element(input, length)?);
        }
        let ends = state.families.iter().map(|f| f.elements_from + u64::from(f.elements));
        if ends.max().unwrap_or(0) > state.elements.len() as u64 {
            return Err(input.damaged());
        }
        let figures = &mut state.figures;
        for figure in [
            &mut figures.extended,
            &mut figures.requeued,
            &mut figures.ahead_used,
            &mut figures.ahead_wasted,
        ] {
            *figure = input.word()?;
        }
        Ok(state)
    })
}

fn element(input: &mut In<'_>, length: u32) -> Result<Element> {
    let place = input.narrow()?;
    let mut signed = [0; 4];
    for part in &mut signed {
        *part = i32::from_le_bytes(input.array()?);
    }
    let [start, end, score, reverse] = signed;
    let columns = [input.narrow()?, input.narrow()?];
    let anchor = input.narrow()?;
    if place >= length {
        return Err(input.damaged());
    }
    let reverse = reverse != 0;
    Ok(Element { place, start, end, reverse, score, columns, anchor, annotated: false })
}
