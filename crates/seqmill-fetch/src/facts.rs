//! What the index says of one file, read from its side files or found by reading it.

use crate::archives::{Archives, SUFFIX};
use crate::aside::{is_unwritable, write_aside};
use crate::flat::{FileRecord, Format};
use crate::gzip::{recompress, recompressed_path};
use crate::options::{Content, OpenOptions};
use crate::place::Place;
use crate::probe::check_side_files;
use crate::walk::Found;
use seqmill_base::{Error, ErrorKind, FormatKind, Job, Result};
use seqmill_io::bgzf::{BLOCK_MAX_BYTES, EOF_MARKER, GziIndex, is_bgzf};
use seqmill_io::fasta::{FaiIndex, FaiRecord, build_side_files, parse_fai};
use seqmill_io::{IoMode, Source, open_source};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use xxhash_rust::xxh3::xxh3_64;

/// Everything the index holds of one file.
#[derive(Debug, Default)]
pub(crate) struct Facts {
    pub(crate) format: Option<Format>,
    pub(crate) flags: u8,
    pub(crate) size: u64,
    pub(crate) mtime_ns: i64,
    pub(crate) gzi_digest: u64,
    pub(crate) fai_digest: u64,
    pub(crate) contigs: Vec<FaiRecord>,
    /// Starts of the blocks: in the file, in the text.
    pub(crate) blocks: Vec<(u64, u64)>,
    pub(crate) failure: Option<(String, String)>,
    /// Number of the sample in its archive.
    pub(crate) sample: Option<u64>,
    pub(crate) notes: Notes,
}

/// What a build has to tell.
#[derive(Debug, Default)]
pub(crate) struct Notes {
    pub(crate) warnings: Vec<String>,
    /// Files that were written.
    pub(crate) built: Vec<String>,
}

/// `PATH` with something appended.
pub(crate) fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// Digest of size and time of a side file; 0 for one that is not there.
fn side_digest(place: &Place, path: &Path) -> u64 {
    place.version(path).map_or(0, |(size, mtime_ns)| digest_of(size, mtime_ns))
}

pub(crate) fn digest_of(size: u64, mtime_ns: i64) -> u64 {
    let mut bytes = [0; 16];
    let (a, b) = bytes.split_at_mut(8);
    a.copy_from_slice(&size.to_le_bytes());
    b.copy_from_slice(&mtime_ns.to_le_bytes());
    xxh3_64(&bytes).max(1)
}

/// The suffix of the side file that lists the contigs.
pub(crate) fn contig_list_suffix(content: Content) -> &'static str {
    match content {
        Content::Sequence => ".fai",
        Content::Tracks => ".idx",
    }
}

/// Reads or builds what is known of a file. An error of the file itself becomes part of the facts.
pub(crate) fn gather(
    base: &Path,
    found: &Found,
    archives: &Archives,
    options: &OpenOptions,
    job: &Job,
) -> Result<Facts> {
    let path = base.join(found.relative_path());
    let mut facts = Facts::default();
    let files = options.place();
    match facts.fill(&path, found, archives, options, job) {
        Ok(()) => {}
        Err(error) => match error.kind() {
            ErrorKind::Format(kind) => {
                let error = error.at_path(&path);
                let (place, told) = (place_of(&error, &path), error.to_string());
                let told = told.strip_prefix(&format!("{}: ", place.display())).unwrap_or(&told);
                facts.fail(kind.class_name().to_owned(), failure_text(base, place, told));
            }
            // What a server refuses it may give at the next attempt.
            ErrorKind::Io if files.remote().is_none() && error.errno().is_some_and(is_of_file) => {
                let kind = format!("{SYSTEM_ERROR}{}", error.errno().unwrap_or(0));
                facts.fail(kind, failure_text(base, place_of(&error, &path), ""));
            }
            _ => return Err(error),
        },
    }
    facts.gzi_digest = side_digest(&files, &with_suffix(&path, ".gzi"));
    facts.fai_digest =
        side_digest(&files, &with_suffix(&path, contig_list_suffix(options.content)));
    Ok(facts)
}

/// The file that an error is of: the one that was read, or one beside it.
fn place_of<'e>(error: &'e Error, path: &'e Path) -> &'e Path {
    error.place().path.as_deref().unwrap_or(path)
}

/// What is kept of an error: its file, which may move with the folder, and what it told.
fn failure_text(base: &Path, place: &Path, told: &str) -> String {
    format!("{}\0{told}", place.strip_prefix(base).unwrap_or(place).display())
}

/// File and words of what was kept.
pub(crate) fn split_failure(text: &str) -> (&str, &str) {
    text.split_once('\0').unwrap_or((text, ""))
}

/// An error number in the place of a class name.
const SYSTEM_ERROR: &str = "OSError:";

/// The error number that the name of a failure holds, if the system refused a file.
pub(crate) fn system_errno(kind: &[u8]) -> Option<i32> {
    std::str::from_utf8(kind).ok()?.strip_prefix(SYSTEM_ERROR)?.parse().ok()
}

/// Whether an error of the system is about one file, so that others may do.
fn is_of_file(errno: i32) -> bool {
    matches!(
        errno,
        libc::EACCES
            | libc::EPERM
            | libc::ENOENT
            | libc::EISDIR
            | libc::ENOTDIR
            | libc::EIO
            | libc::ELOOP
            | libc::ESTALE
    )
}

impl Facts {
    fn fail(&mut self, kind: String, text: String) {
        self.failure = Some((kind, text));
        self.flags |= FileRecord::UNREADABLE;
        self.contigs.clear();
        self.blocks.clear();
    }

    fn fill(
        &mut self,
        path: &Path,
        found: &Found,
        archives: &Archives,
        options: &OpenOptions,
        job: &Job,
    ) -> Result<()> {
        let place = options.place();
        (self.size, self.mtime_ns) = place.version(path)?;
        if let Some(sample) = found.sample {
            return self.fill_sample(path, sample, archives, options);
        }
        if found.suffix == SUFFIX.as_bytes() {
            // It was left as a file because it could not be opened: this says why.
            return archives.get(path, options)?.samples().map(|_| ());
        }
        let source = place.open(path)?;
        let format = sniff(source.as_ref())?;
        self.format = Some(format);
        match (format, options.content) {
            (Format::Gzip, _) => self.fill_gzip(path, &source, options, job),
            (_, Content::Tracks) => self.fill_tracks(path, &source, options),
            (_, Content::Sequence) => self.fill_sequence(path, &source, options, job),
        }
    }

    fn fill_gzip(
        &mut self,
        path: &Path,
        source: &Arc<dyn Source>,
        options: &OpenOptions,
        job: &Job,
    ) -> Result<()> {
        let Some(folder) = options.cache_directory.as_ref().filter(|_| options.recompress_gzip)
        else {
            let what = "gzip but not BGZF; recompress with `bgzip`, or ask for gzip=\"recompress\"";
            return Err(Error::format(FormatKind::NotBgzf, what));
        };
        let copy = recompressed_path(folder, path, self.size, self.mtime_ns);
        if !copy.exists() {
            recompress(source, &copy)?;
            self.notes.built.push(copy.display().to_string());
        }
        let copy = open_source(&copy, IoMode::Read)?;
        let sides = build_side_files(&copy, true, options.threads, job)?;
        self.blocks = sides.gzi.unwrap_or_default().entries().to_vec();
        self.take_contigs(sides.fai, path);
        Ok(())
    }

    fn fill_tracks(
        &mut self,
        path: &Path,
        source: &Arc<dyn Source>,
        options: &OpenOptions,
    ) -> Result<()> {
        if self.format != Some(Format::Bgzf) {
            return Err(Error::format(FormatKind::NotBgzf, "a track must be BGZF"));
        }
        self.check_eof(path, source.as_ref(), options)?;
        let place = options.place();
        self.blocks = read_gzi(&place, &with_suffix(path, ".gzi"))?;
        let list = with_suffix(path, ".idx");
        let text = place.read(&list)?;
        self.contigs = crate::tracks::parse_idx(&text, &list)?;
        Ok(())
    }

    fn fill_sequence(
        &mut self,
        path: &Path,
        source: &Arc<dyn Source>,
        options: &OpenOptions,
        job: &Job,
    ) -> Result<()> {
        let blocked = self.format == Some(Format::Bgzf);
        if blocked {
            self.check_eof(path, source.as_ref(), options)?;
        }
        let (fai_path, gzi_path) = (with_suffix(path, ".fai"), with_suffix(path, ".gzi"));
        let place = options.place();
        let has_fai = place.has(&fai_path);
        let has_gzi = !blocked || place.has(&gzi_path);
        if has_fai && has_gzi {
            let sides = (fai_path.as_path(), gzi_path.as_path());
            let read = self.read_sides(&place, path, source, sides, options.rebuild_stale);
            let Err(error) = read else { return Ok(()) };
            let repairable = matches!(
                error.kind(),
                ErrorKind::Format(FormatKind::StaleIndex | FormatKind::IndexFormat)
            );
            if !(options.rebuild_stale && options.build_missing && repairable) {
                return Err(error);
            }
            self.notes.warnings.push(format!("{error}; its side files are built anew"));
            self.contigs.clear();
        } else if !options.build_missing {
            let (missing, tool) =
                if has_fai { (&gzi_path, "bgzip -r") } else { (&fai_path, "samtools faidx") };
            return Err(Error::format(
                FormatKind::IndexFormat,
                format!("{} is missing; `{tool}` makes it", missing.display()),
            ));
        }
        let keep = has_fai && has_gzi;
        let sides = build_side_files(source, blocked, options.threads, job)?;
        let writable = place.remote().is_none();
        if writable && (keep || !has_fai) {
            self.write_side(&fai_path, &sides.fai.to_bytes())?;
        }
        if let Some(gzi) = &sides.gzi {
            if writable && (keep || !has_gzi) {
                self.write_side(&gzi_path, &gzi.to_bytes())?;
            }
            self.blocks = gzi.entries().to_vec();
        }
        self.take_contigs(sides.fai, path);
        Ok(())
    }

    fn read_sides(
        &mut self,
        place: &Place,
        path: &Path,
        source: &Arc<dyn Source>,
        (fai_path, gzi_path): (&Path, &Path),
        distrusted: bool,
    ) -> Result<()> {
        let text = place.read(fai_path)?;
        let fai = parse_fai(&text, fai_path)?;
        if self.format == Some(Format::Bgzf) {
            self.blocks = read_gzi(place, gzi_path)?;
        }
        let older =
            |side: &Path| place.version(side).is_ok_and(|(_, written)| written < self.mtime_ns);
        // The versions of remote files have no order: a look at the contents costs little.
        if distrusted
            || place.remote().is_some()
            || older(fai_path)
            || (!self.blocks.is_empty() && older(gzi_path))
        {
            check_side_files(source, &self.blocks, &fai.records)?;
        }
        self.take_contigs(fai, path);
        Ok(())
    }

    fn take_contigs(&mut self, fai: FaiIndex, path: &Path) {
        if let Some(name) = fai.duplicates.first() {
            let more = match fai.duplicates.len() {
                1 => String::new(),
                n => format!(" and {} more", n - 1),
            };
            self.notes.warnings.push(format!(
                "{}: contig {:?}{more} comes more than once; the first one is used",
                path.display(),
                String::from_utf8_lossy(name)
            ));
        }
        self.contigs = fai.records;
    }

    fn write_side(&mut self, path: &Path, content: &[u8]) -> Result<()> {
        match write_aside(path, content) {
            Ok(()) => self.notes.built.push(path.display().to_string()),
            // The store index holds the same.
            Err(error) if is_unwritable(&error) => {}
            Err(error) => return Err(error),
        }
        Ok(())
    }

    fn check_eof(&mut self, path: &Path, source: &dyn Source, options: &OpenOptions) -> Result<()> {
        let mut end = [0; EOF_MARKER.len()];
        let at = self.size.saturating_sub(end.len() as u64);
        let got = source.read_at(&mut end, at)?;
        if got == end.len() && end == EOF_MARKER {
            return Ok(());
        }
        self.flags |= FileRecord::NO_EOF;
        let what = "the BGZF end marker is missing; the file may be truncated";
        if options.strict_eof {
            return Err(Error::format(FormatKind::Truncated, what));
        }
        self.notes.warnings.push(format!("{}: {what}", path.display()));
        Ok(())
    }
}

/// Decides by the first bytes what a file is.
fn sniff(source: &dyn Source) -> Result<Format> {
    let mut head = vec![0; 512];
    let got = source.read_at(&mut head, 0)?;
    head.truncate(got);
    if !head.starts_with(&[0x1f, 0x8b]) {
        return Ok(Format::Plain);
    }
    if !is_bgzf(&head) {
        // Other subfields may stand before the one that counts.
        head.resize(BLOCK_MAX_BYTES + 12, 0);
        let got = source.read_at(&mut head, 0)?;
        head.truncate(got);
    }
    Ok(if is_bgzf(&head) { Format::Bgzf } else { Format::Gzip })
}

/// Reads a `.gzi` file; what is wrong with it is a fault of the index.
fn read_gzi(place: &Place, path: &Path) -> Result<Vec<(u64, u64)>> {
    let bytes = place.read(path)?;
    let index = GziIndex::from_bytes(&bytes, path)
        .map_err(|e| Error::format(FormatKind::IndexFormat, e.message()).at_path(path))?;
    Ok(index.entries().to_vec())
}
