//! References that a CRAM refers to: a FASTA, the local cache by MD5, or the place that the header
//! names. Never the network.

use md5::{Digest, Md5};
use noodles_fasta as fasta;
use noodles_fasta::record::{Definition, Sequence};
use noodles_fasta::repository::Adapter;
use seqmill_base::{Error, FormatKind, Lease, Result};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Bases summed at once.
const SUM_BYTES: usize = 64 << 10;
/// Bytes of a FASTA read at once.
const READ_BYTES: usize = 1 << 20;

/// One reference as the header describes it.
#[derive(Debug, Clone)]
struct Wanted {
    name: Vec<u8>,
    length: usize,
    md5: Option<String>,
    place: Option<String>,
}

#[derive(Default)]
struct State {
    /// Tells the account that references are charged to.
    charge: Option<Lease>,
    held: Vec<Held>,
    failure: Option<Error>,
}

/// A reference in memory.
struct Held {
    name: Vec<u8>,
    /// Known once the decoder has asked for it: tells whether it is still in use.
    sequence: Option<Arc<Sequence>>,
    /// Whether its MD5 is the one of the header.
    verified: bool,
    lease: Lease,
}

/// References are let go of when there are more bytes of them than this, and more than one.
const KEPT_BYTES: u64 = 32 << 20;

/// Loads references when they are needed and keeps them.
pub struct ReferenceStore {
    repository: fasta::Repository,
    stand_ins: fasta::Repository,
    sums: Vec<(Vec<u8>, String)>,
    state: Arc<Mutex<State>>,
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

impl ReferenceStore {
    /// A store for the references of this header text; `fasta` is the file the user named.
    pub fn new(header: &str, fasta: Option<&Path>) -> Self {
        let mut wanted = Vec::new();
        for line in header.lines().filter(|line| line.starts_with("@SQ\t")) {
            let get = |name: &str| {
                let found = line.split('\t').find_map(|field| field.strip_prefix(name));
                found.map(ToOwned::to_owned)
            };
            let Some(name) = get("SN:") else { continue };
            let length = get("LN:").and_then(|n| n.parse().ok()).unwrap_or(0);
            let (md5, place) = (get("M5:"), get("UR:"));
            wanted.push(Wanted { name: name.into_bytes(), length, md5, place });
        }
        let state = Arc::new(Mutex::new(State::default()));
        let lookup = Lookup {
            wanted,
            fasta: fasta.map(Path::to_path_buf),
            state: Arc::clone(&state),
            stand_in: false,
        };
        let sums = lookup.wanted.iter().filter_map(|w| Some((w.name.clone(), w.md5.clone()?)));
        let sums = sums.collect();
        let stand_ins = Lookup {
            wanted: lookup.wanted.clone(),
            fasta: None,
            state: Arc::clone(&state),
            stand_in: true,
        };
        Self {
            repository: fasta::Repository::new(lookup),
            stand_ins: fasta::Repository::new(stand_ins),
            sums,
            state,
        }
    }

    pub(super) fn repository(&self) -> &fasta::Repository {
        &self.repository
    }

    /// References without bases: noodles wants one for slices of several references even if all
    /// bases are in the file.
    pub(super) fn stand_ins(&self) -> &fasta::Repository {
        &self.stand_ins
    }

    pub(super) fn charge_to(&self, lease: Lease) {
        lock(&self.state).charge = Some(lease);
    }

    /// Loads a reference and lets go of those that are not in use, as sorted files do not come back
    /// to them.
    pub(super) fn prepare(&self, name: &[u8]) -> Result<Arc<Sequence>> {
        let known = lock(&self.state).held.iter().any(|h| h.name == name);
        if !known {
            self.let_go();
        }
        match self.repository.get(name) {
            Some(Ok(sequence)) => {
                let mut state = lock(&self.state);
                if let Some(held) = state.held.iter_mut().find(|h| h.name == name) {
                    held.sequence.get_or_insert_with(|| Arc::clone(&sequence));
                }
                Ok(sequence)
            }
            _ => Err(self.take_failure().unwrap_or_else(|| Error::internal("no reference"))),
        }
    }

    /// Fails unless a reference has the MD5 that the header names: slices of several references
    /// have no sum of their own (`CRAMv3 §8.5`).
    pub(super) fn verify(&self, name: &[u8], sequence: &Sequence) -> Result<()> {
        let is_this = |held: &Held| held.name == name && held.verified;
        let Some((_, wanted)) = self.sums.iter().find(|(own, _)| own == name) else {
            return Ok(());
        };
        if lock(&self.state).held.iter().any(is_this) {
            return Ok(());
        }
        let mut sum = Md5::new();
        for part in sequence.as_ref().chunks(SUM_BYTES) {
            sum.update(part.to_ascii_uppercase());
        }
        let found = format!("{:032x}", u128::from_be_bytes(sum.finalize().into()));
        if !found.eq_ignore_ascii_case(wanted) {
            let text = format!(
                "the reference {} is not the one of the header: its MD5 differs ({found}, M5 {wanted})",
                String::from_utf8_lossy(name)
            );
            return Err(Error::format(FormatKind::SequenceReference, text));
        }
        if let Some(held) = lock(&self.state).held.iter_mut().find(|h| h.name == name) {
            held.verified = true;
        }
        Ok(())
    }

    /// Forgets references that are not in use, if they are many.
    pub(super) fn let_go(&self) {
        let bytes: u64 = lock(&self.state).held.iter().map(|h| h.lease.bytes()).sum();
        if bytes <= KEPT_BYTES {
            return;
        }
        self.repository.clear();
        self.stand_ins.clear();
        let in_use = |held: &mut Held| {
            held.sequence.as_ref().is_some_and(|sequence| Arc::strong_count(sequence) > 1)
        };
        lock(&self.state).held.retain_mut(in_use);
    }

    /// Why the last reference could not be loaded.
    pub(super) fn take_failure(&self) -> Option<Error> {
        lock(&self.state).failure.take()
    }
}

struct Lookup {
    wanted: Vec<Wanted>,
    fasta: Option<PathBuf>,
    state: Arc<Mutex<State>>,
    /// Bases do not matter.
    stand_in: bool,
}

impl Adapter for Lookup {
    fn get(&mut self, name: &[u8]) -> Option<io::Result<fasta::Record>> {
        // `None` would make noodles panic.
        Some(self.load(name).map_err(|error| {
            lock(&self.state).failure = Some(error);
            io::Error::other("no reference")
        }))
    }
}

impl Lookup {
    fn load(&self, name: &[u8]) -> Result<fasta::Record> {
        let bases = self.find(name)?;
        Ok(fasta::Record::new(Definition::new(name, None), Sequence::from(bases)))
    }

    fn find(&self, name: &[u8]) -> Result<Vec<u8>> {
        let wanted = self.wanted.iter().find(|w| w.name == name);
        if self.stand_in {
            let length = wanted.map_or(0, |w| w.length);
            self.hold(length as u64, name)?;
            return Ok(vec![b'N'; length]);
        }
        if let Some(path) = &self.fasta {
            return self.read_fasta(path, name);
        }
        let shown = String::from_utf8_lossy(name);
        let Some(wanted) = wanted else { return Err(missing(&shown, None)) };
        if let Some(md5) = &wanted.md5
            && let Some(path) = cached(md5)
        {
            return self.read_raw(&path, name);
        }
        if let Some(path) = wanted.place.as_deref().and_then(local_path)
            && path.is_file()
            && index_path(&path).is_file()
        {
            return self.read_fasta(&path, name);
        }
        Err(missing(&shown, wanted.md5.as_deref()))
    }

    /// Reserves what a reference takes: noodles copies it once.
    fn hold(&self, bytes: u64, name: &[u8]) -> Result<()> {
        let mut state = lock(&self.state);
        let Some(charge) = &state.charge else { return Ok(()) };
        let too_long = |e: Error| {
            let text = format!(
                "the reference {} of {bytes} bases does not fit: {}",
                String::from_utf8_lossy(name),
                e.message()
            );
            Error::budget(text, e.needed().unwrap_or(0))
        };
        let copy = charge.sibling(bytes).map_err(too_long)?;
        let own = charge.sibling(bytes).map_err(too_long)?;
        drop(copy);
        state.held.push(Held { name: name.to_vec(), sequence: None, verified: false, lease: own });
        Ok(())
    }

    /// A file of the cache: nothing but bases.
    fn read_raw(&self, path: &Path, name: &[u8]) -> Result<Vec<u8>> {
        let failed = |e: io::Error| Error::io(path, &e);
        let file = File::open(path).map_err(failed)?;
        let length = file.metadata().map_err(failed)?.len();
        self.hold(length, name)?;
        let mut bases = vec![0; usize::try_from(length).unwrap_or(usize::MAX)];
        file.read_exact_at(&mut bases, 0).map_err(failed)?;
        Ok(bases)
    }

    fn read_fasta(&self, path: &Path, name: &[u8]) -> Result<Vec<u8>> {
        let entry = find_entry(path, name)?;
        let failed = |e: io::Error| Error::io(path, &e);
        let file = File::open(path).map_err(failed)?;
        let size = file.metadata().map_err(failed)?.len();
        let mut magic = [0; 2];
        if file.read_at(&mut magic, 0).map_err(failed)? == 2 && magic == [0x1f, 0x8b] {
            let text =
                "a compressed reference cannot be read at a place; give an uncompressed FASTA";
            return Err(Error::input(text).at_path(path));
        }
        let lines = entry.length.div_ceil(entry.line_bases.max(1));
        let spread = lines.saturating_mul(entry.line_bytes.saturating_sub(entry.line_bases));
        let end = entry.offset.saturating_add(entry.length).saturating_add(spread);
        // The last line may lack its end.
        if entry.length > size || end > size.saturating_add(2) {
            return Err(mismatch(path, "the index reaches beyond the file"));
        }
        self.hold(entry.length, name)?;
        let length = usize::try_from(entry.length).unwrap_or(usize::MAX);
        let mut bases = Vec::with_capacity(length);
        let mut buffer = vec![0; READ_BYTES];
        let mut at = entry.offset;
        while bases.len() < length {
            let got = file.read_at(&mut buffer, at).map_err(failed)?;
            let part = buffer.get(..got).unwrap_or_default();
            if part.is_empty() {
                return Err(mismatch(path, "a sequence is shorter than the index says"));
            }
            at += got as u64;
            let missing = length - bases.len();
            bases.extend(part.iter().copied().filter(u8::is_ascii_graphic).take(missing));
        }
        Ok(bases)
    }
}

fn mismatch(path: &Path, what: &str) -> Error {
    Error::format(FormatKind::IndexMismatch, format!("index does not match: {what}")).at_path(path)
}

fn missing(name: &str, md5: Option<&str>) -> Error {
    let sum = md5.map(|m| format!(" (M5 {m})")).unwrap_or_default();
    let text = format!(
        "the reference {name}{sum} is needed: give it with --reference, or put it into the local \
         cache (REF_CACHE); it is not fetched from the network"
    );
    Error::format(FormatKind::SequenceReference, text)
}

/// One line of a `.fai`.
struct Entry {
    length: u64,
    offset: u64,
    line_bases: u64,
    line_bytes: u64,
}

fn index_path(fasta: &Path) -> PathBuf {
    let mut name = fasta.as_os_str().to_owned();
    name.push(".fai");
    PathBuf::from(name)
}

fn find_entry(fasta: &Path, name: &[u8]) -> Result<Entry> {
    let path = index_path(fasta);
    let text = std::fs::read(&path).map_err(|e| {
        if e.kind() == io::ErrorKind::NotFound && fasta.is_file() {
            let text =
                format!("the index {} is missing: make it with samtools faidx", path.display());
            return Error::not_found(text);
        }
        Error::io(if fasta.is_file() { &path } else { fasta }, &e)
    })?;
    for line in text.split(|b| *b == b'\n') {
        let mut fields = line.split(|b| *b == b'\t');
        if fields.next() != Some(name) {
            continue;
        }
        let mut number =
            || -> Option<u64> { std::str::from_utf8(fields.next()?).ok()?.trim().parse().ok() };
        let entry = (|| {
            Some(Entry {
                length: number()?,
                offset: number()?,
                line_bases: number()?,
                line_bytes: number()?,
            })
        })();
        return entry.ok_or_else(|| mismatch(&path, "a line is malformed"));
    }
    let shown = String::from_utf8_lossy(name);
    let text = format!("the reference {shown} is not in {}", fasta.display());
    Err(Error::format(FormatKind::SequenceReference, text))
}

/// A place of the header that is a local file.
fn local_path(place: &str) -> Option<PathBuf> {
    let path =
        place.strip_prefix("file://").or_else(|| place.strip_prefix("file:")).unwrap_or(place);
    (!path.contains("://") && path.starts_with('/')).then(|| PathBuf::from(path))
}

/// The file of the local cache that holds the sequence of this MD5: `REF_PATH`, then `REF_CACHE`,
/// then the user's cache folder, as samtools has them.
fn cached(md5: &str) -> Option<PathBuf> {
    if md5.len() != 32 || !md5.bytes().all(|b| b.is_ascii_hexdigit()) {
        return None;
    }
    let mut templates: Vec<String> = Vec::new();
    if let Ok(list) = std::env::var("REF_PATH") {
        templates.extend(list.split(':').filter(|t| t.starts_with('/')).map(ToOwned::to_owned));
    }
    if let Ok(cache) = std::env::var("REF_CACHE") {
        templates.push(cache);
    }
    let home = std::env::var("XDG_CACHE_HOME")
        .or_else(|_| std::env::var("HOME").map(|home| format!("{home}/.cache")));
    if let Ok(home) = home {
        templates.push(format!("{home}/hts-ref/%2s/%2s/%s"));
    }
    templates.iter().map(|t| PathBuf::from(fill_template(t, md5))).find(|path| path.is_file())
}

/// `%2s` takes so many digits of the sum, `%s` the rest; without any the sum is appended.
fn fill_template(template: &str, md5: &str) -> String {
    let mut path = String::new();
    let mut rest = md5;
    let mut used = false;
    let mut parts = template.split('%');
    path.push_str(parts.next().unwrap_or(""));
    for part in parts {
        let digits = part.bytes().take_while(u8::is_ascii_digit).count();
        let (number, tail) = part.split_at(digits);
        let Some(tail) = tail.strip_prefix('s') else {
            path.push('%');
            path.push_str(part);
            continue;
        };
        used = true;
        let count = number.parse().unwrap_or(rest.len()).min(rest.len());
        let (taken, left) = rest.split_at(count);
        path.push_str(taken);
        path.push_str(tail);
        rest = left;
    }
    if !used {
        if !path.ends_with('/') {
            path.push('/');
        }
        path.push_str(md5);
    }
    path
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn templates_are_filled_as_samtools_does() {
        let md5 = "0123456789abcdef0123456789abcdef";
        assert_eq!(fill_template("/c/%2s/%2s/%s", md5), "/c/01/23/456789abcdef0123456789abcdef");
        assert_eq!(fill_template("/c", md5), format!("/c/{md5}"));
        assert_eq!(fill_template("/a%20/%s", md5), format!("/a%20/{md5}"));
    }

    #[test]
    fn only_local_places_are_read() {
        assert_eq!(local_path("file:/x/y.fa"), Some(PathBuf::from("/x/y.fa")));
        assert_eq!(local_path("file:///x/y.fa"), Some(PathBuf::from("/x/y.fa")));
        assert_eq!(local_path("https://example.org/y.fa"), None);
        assert_eq!(local_path("y.fa"), None);
    }
}
