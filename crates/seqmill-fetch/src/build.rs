//! Writing a store index: facts of files, one after the other, into sections.

use crate::archives::Archives;
use crate::facts::{Facts, Notes, gather};
use crate::flat::{
    ALIGNMENT, BYTE_ORDER, ContigRecord, DirectoryRecord, FileRecord, Format, HEADER_BYTES,
    HEADER_SUMMED, MAGIC, REGULAR_BYTES, SECTIONS, Section, VERSION, hash_slots, name_hash,
};
use crate::index::Index;
use crate::options::OpenOptions;
use crate::spool::Spool;
use crate::walk::{Found, Walk};
use seqmill_base::{Error, Job, Result};
use seqmill_io::fasta::FaiRecord;
use std::io::{Seek, SeekFrom, Write};
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use xxhash_rust::xxh3::Xxh3;

/// Files that are read at a time.
const BATCH_FILES: usize = 256;

/// An index under construction.
pub(crate) struct Builder<'a> {
    folder: &'a Path,
    sections: [Spool; SECTIONS],
    files: u64,
    contigs: u64,
    blocks: u64,
    /// Bytes of strings that belong to files and contigs; paths of directories follow them.
    content_strings: u64,
}

impl<'a> Builder<'a> {
    /// A builder that puts what does not fit into memory into `folder`.
    pub(crate) fn new(folder: &'a Path) -> Self {
        Self {
            folder,
            sections: Default::default(),
            files: 0,
            contigs: 0,
            blocks: 0,
            content_strings: 0,
        }
    }

    fn push(&mut self, section: Section, bytes: &[u8]) -> Result<()> {
        let folder = self.folder;
        self.sections.get_mut(section as usize).map_or(Ok(()), |s| s.push(bytes, folder))
    }

    fn length(&self, section: Section) -> u64 {
        self.sections.get(section as usize).map_or(0, Spool::length)
    }

    /// Appends a file.
    fn add(&mut self, found: &Found, facts: &Facts) -> Result<()> {
        let too_many = |_| Error::input("a file has too many contigs or blocks");
        let contigs = u32::try_from(facts.contigs.len()).map_err(too_many)?;
        let blocks = u32::try_from(facts.blocks.len()).map_err(too_many)?;
        let regular = (0..).zip(&facts.blocks).all(|(i, b): (u64, _)| b.1 == i * REGULAR_BYTES);
        let record = FileRecord {
            name_offset: self.length(Section::Strings),
            name_length: u32::try_from(found.name.len()).map_err(too_many)?,
            format: facts.format.unwrap_or(Format::Plain),
            flags: facts.flags | if regular { FileRecord::REGULAR } else { 0 },
            suffix_length: u16::try_from(found.suffix.len()).map_err(too_many)?,
            size: facts.size,
            mtime_ns: facts.mtime_ns,
            gzi_digest: facts.gzi_digest,
            fai_digest: facts.fai_digest,
            first_contig: self.contigs,
            first_block: facts.sample.unwrap_or(self.length(Section::Blocks) / 8),
            contigs,
            blocks,
            bases: facts.contigs.iter().fold(0, |sum, c| sum.saturating_add(c.length)),
            hash_offset: self.length(Section::Hash) / 4,
        };
        self.push(Section::Files, &record.to_bytes())?;
        self.push(Section::Strings, &found.name)?;
        self.push(Section::Strings, &found.suffix)?;
        if let Some((kind, text)) = &facts.failure {
            for part in [kind, text] {
                let length = u32::try_from(part.len()).map_err(too_many)?;
                self.push(Section::Strings, &length.to_le_bytes())?;
            }
            self.push(Section::Strings, kind.as_bytes())?;
            self.push(Section::Strings, text.as_bytes())?;
        }
        for block in &facts.blocks {
            self.push(Section::Blocks, &block.0.to_le_bytes())?;
        }
        if !regular {
            for block in &facts.blocks {
                self.push(Section::Blocks, &block.1.to_le_bytes())?;
            }
        }
        self.add_contigs(&facts.contigs)?;
        self.files += 1;
        self.content_strings = self.length(Section::Strings);
        self.blocks += u64::from(blocks);
        Ok(())
    }

    fn add_contigs(&mut self, contigs: &[FaiRecord]) -> Result<()> {
        let slots = hash_slots(u32::try_from(contigs.len()).unwrap_or(u32::MAX));
        let mut table = vec![0_u32; slots];
        for (contig, id) in contigs.iter().zip(1_u32..) {
            let hash = name_hash(&contig.name);
            let record = self.contig_record(contig, hash)?;
            self.push(Section::Contigs, &record.to_bytes())?;
            self.push(Section::Strings, &contig.name)?;
            if slots == 0 {
                continue;
            }
            let mut slot = usize::try_from(hash & (slots as u64 - 1)).unwrap_or(0);
            while table.get(slot).is_some_and(|&taken| taken != 0) {
                slot = (slot + 1) & (slots - 1);
            }
            if let Some(free) = table.get_mut(slot) {
                *free = id;
            }
        }
        for id in table {
            self.push(Section::Hash, &id.to_le_bytes())?;
        }
        self.contigs += contigs.len() as u64;
        Ok(())
    }

    fn contig_record(&mut self, contig: &FaiRecord, name_hash: u64) -> Result<ContigRecord> {
        let too_long = |_| Error::input("the name of a contig is too long");
        let narrow =
            (u32::try_from(contig.line_bases).ok()).zip(u32::try_from(contig.line_width).ok());
        let (lines, flags) = if let Some(lines) = narrow {
            (lines, 0)
        } else {
            let at = self.length(Section::Strings);
            self.push(Section::Strings, &contig.line_bases.to_le_bytes())?;
            self.push(Section::Strings, &contig.line_width.to_le_bytes())?;
            let low = u32::try_from(at & u64::from(u32::MAX)).unwrap_or(0);
            ((low, u32::try_from(at >> 32).unwrap_or(0)), ContigRecord::WIDE)
        };
        Ok(ContigRecord {
            name_offset: self.length(Section::Strings),
            name_length: u32::try_from(contig.name.len()).map_err(too_long)?,
            line_bases: lines.0,
            line_width: lines.1,
            flags,
            length: contig.length,
            offset: contig.offset,
            name_hash,
        })
    }

    /// Writes the index into `out`, which must be empty.
    pub(crate) fn finish(
        self,
        mut out: impl Write + Seek,
        path: &Path,
        options_hash: u64,
    ) -> Result<()> {
        let failed = |e: std::io::Error| Error::io(path, &e);
        let folder = self.folder;
        let counts = [self.files, self.contigs, self.blocks];
        let (mut whole, mut content) = (Xxh3::new(), Xxh3::new());
        let mut borders = Vec::with_capacity(SECTIONS + 1);
        let mut at = HEADER_BYTES as u64;
        out.write_all(&[0; HEADER_BYTES]).map_err(failed)?;
        let mut buffered = std::io::BufWriter::with_capacity(1 << 18, &mut out);
        for (i, section) in self.sections.into_iter().enumerate() {
            borders.push(at);
            // Directories have times of their own: equal files and contigs have one id.
            let mut counted = match i {
                _ if i == Section::Directories as usize => 0,
                _ if i == Section::Strings as usize => self.content_strings,
                _ => u64::MAX,
            };
            section.drain(folder, |piece| {
                whole.update(piece);
                let part = usize::try_from(counted).unwrap_or(usize::MAX).min(piece.len());
                content.update(piece.get(..part).unwrap_or_default());
                counted -= part as u64;
                at += piece.len() as u64;
                buffered.write_all(piece).map_err(failed)
            })?;
            let padding =
                vec![0; usize::try_from(at.next_multiple_of(ALIGNMENT as u64) - at).unwrap_or(0)];
            // The border of the last section is the file's end, and a section's records are
            // counted in the header or by its length, so only the others are padded.
            if i + 1 < SECTIONS {
                whole.update(&padding);
                buffered.write_all(&padding).map_err(failed)?;
                at += padding.len() as u64;
            }
        }
        borders.push(at);
        buffered.flush().map_err(failed)?;
        drop(buffered);
        content.update(&options_hash.to_le_bytes());
        let mut header = Vec::with_capacity(HEADER_SUMMED + 8);
        header.extend(MAGIC);
        header.extend(VERSION.to_le_bytes());
        header.extend(BYTE_ORDER.to_le_bytes());
        header.extend(at.to_le_bytes());
        header.extend(options_hash.to_le_bytes());
        header.extend(content.digest().to_le_bytes());
        for number in counts.into_iter().chain(borders).chain([whole.digest()]) {
            header.extend(number.to_le_bytes());
        }
        header.extend(xxhash_rust::xxh3::xxh3_64(&header).to_le_bytes());
        out.seek(SeekFrom::Start(0)).map_err(failed)?;
        out.write_all(&header).map_err(failed)
    }
}

/// The facts of a file as an earlier index holds them, if the file is what it was.
fn facts_of_index(
    index: &Index,
    base: &Path,
    found: &Found,
    options: &OpenOptions,
) -> Option<Facts> {
    let id = index.find_file(&found.name).ok()??;
    let record = index.file(id).ok()?;
    let path = index.relative_path(&record).ok()?;
    let sample = (record.format == Format::Archive).then_some(record.first_block);
    if path != found.relative_path().as_os_str().as_encoded_bytes() || sample != found.sample {
        return None;
    }
    if record.has(FileRecord::UNREADABLE) || (options.strict_eof && record.has(FileRecord::NO_EOF))
    {
        return None;
    }
    crate::load::is_unchanged(base, index, &record, options).ok().filter(|same| *same)?;
    let blocks = if sample.is_some() { None } else { Some(index.blocks(&record).ok()?) };
    let mut facts = Facts {
        format: Some(record.format),
        flags: record.flags & !FileRecord::REGULAR,
        size: record.size,
        mtime_ns: record.mtime_ns,
        gzi_digest: record.gzi_digest,
        fai_digest: record.fai_digest,
        sample,
        ..Facts::default()
    };
    for i in 0..blocks.map_or(0, |blocks| blocks.count) {
        let blocks = blocks?;
        facts.blocks.push((blocks.compressed(i), blocks.uncompressed(i)?));
    }
    for i in 0..record.contigs {
        let contig = index.contig(&record, i).ok()?;
        let mut known = index.geometry(&contig).ok()?;
        known.name = index.contig_name(&contig).ok()?.to_vec();
        facts.contigs.push(known);
    }
    Some(facts)
}

/// Reads every file of `walk` and fills a builder; files that `earlier` knows are copied.
pub(crate) fn fill(
    builder: &mut Builder<'_>,
    base: &Path,
    walk: &Walk,
    earlier: Option<&Index>,
    options: &OpenOptions,
    job: &Job,
) -> Result<Notes> {
    let mut notes = Notes::default();
    for batch in walk.found.chunks(BATCH_FILES) {
        job.cancel.check()?;
        let gathered = gather_batch(base, batch, (&walk.archives, earlier), options, job);
        for (found, facts) in batch.iter().zip(gathered) {
            let facts = facts?;
            builder.add(found, &facts)?;
            notes.warnings.extend(facts.notes.warnings);
            notes.built.extend(facts.notes.built);
        }
    }
    for directory in &walk.directories {
        let record = DirectoryRecord {
            path_offset: builder.length(Section::Strings),
            path_length: u32::try_from(directory.path.len()).unwrap_or(0),
            mtime_ns: directory.mtime_ns,
            listing: directory.listing,
        };
        builder.push(Section::Strings, &directory.path)?;
        builder.push(Section::Directories, &record.to_bytes())?;
    }
    Ok(notes)
}

fn gather_batch(
    base: &Path,
    batch: &[Found],
    (archives, earlier): (&Archives, Option<&Index>),
    options: &OpenOptions,
    job: &Job,
) -> Vec<Result<Facts>> {
    let next = AtomicUsize::new(0);
    let results: Vec<Mutex<Option<Result<Facts>>>> =
        batch.iter().map(|_| Mutex::new(None)).collect();
    let work = || {
        while let Some((found, slot)) = {
            let i = next.fetch_add(1, Ordering::Relaxed);
            batch.get(i).zip(results.get(i))
        } {
            let known = earlier.and_then(|index| facts_of_index(index, base, found, options));
            let facts = known.map_or_else(|| gather(base, found, archives, options, job), Ok);
            *slot.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = Some(facts);
        }
    };
    // A few files are not worth a thread: each takes some microseconds.
    let threads = options.threads.min(batch.len() / 4).min(16);
    if threads <= 1 {
        work();
    } else {
        std::thread::scope(|scope| {
            for _ in 0..threads {
                scope.spawn(work);
            }
        });
    }
    let taken = |slot: Mutex<Option<Result<Facts>>>| {
        slot.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner)
    };
    let lost = || Err(Error::internal("a file was not read"));
    results.into_iter().map(|slot| taken(slot).unwrap_or_else(lost)).collect()
}
