//! The text of a sequence file in chunks: plain, gzip or BGZF, inflated here or ahead of time.

use super::part::TextPart;
use crate::bgzf::{BlockMark, Inflater, UnitScanner, VirtualOffset, is_bgzf};
use crate::gzip::GzipStream;
use crate::source::Source;
use seqmill_base::budget::AccountId;
use seqmill_base::{Error, FormatKind, Job, Lease, Result};
use std::collections::BTreeMap;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

/// Bytes of a chunk of plain or gzip text, and of BGZF units.
const CHUNK_BYTES: usize = 1 << 18;
/// What a unit may have beyond that.
const UNIT_MARGIN: usize = 1 << 16;
/// Bytes that tell what a file is.
const HEAD_BYTES: usize = 4096;
/// Chunks in flight for each thread that reads ahead.
const AHEAD: u64 = 2;
/// Bytes of a chunk behind the part that is read: k-mers that begin in it end there.
const BEYOND_BYTES: usize = 1 << 12;

/// Bytes held at most with so many threads: chunks waiting, in work and at hand, and what the
/// scanner and gzip hold.
pub(super) fn claim_bytes(threads: usize) -> u64 {
    let chunks = (AHEAD + 1) * threads as u64 + 2;
    chunks * ((CHUNK_BYTES + UNIT_MARGIN) as u64 + UnitScanner::CLAIM_BYTES)
}

/// How the text is packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Packing {
    Plain,
    Gzip,
    Bgzf,
}

/// A stretch of text and what is known of its place.
struct Chunk {
    data: Vec<u8>,
    marks: Vec<BlockMark>,
    /// Bytes of the file up to its end.
    file_end: u64,
    /// It lies behind the end of the part that is read.
    beyond: bool,
    lease: Lease,
}

/// Memory for a chunk.
struct Room {
    data: Vec<u8>,
    marks: Vec<BlockMark>,
    lease: Lease,
}

impl From<Chunk> for Room {
    fn from(Chunk { data, marks, lease, .. }: Chunk) -> Self {
        Self { data, marks, lease }
    }
}

/// Chunks one after the other from the file.
enum Producer {
    Plain { source: Arc<dyn Source>, at: u64, end: Option<u64> },
    Gzip(Box<GzipStream>),
    Bgzf { scanner: Box<UnitScanner>, marker_missing: bool, stretches: u32 },
}

/// What is done to a unit outside of the lock.
enum Raw {
    Text(Chunk),
    Unit(crate::bgzf::CompressedUnit, bool, Room),
}

/// Reserves and hands out the chunks; shared by threads that read ahead.
struct Feed {
    producer: Producer,
    job: Job,
    account: AccountId,
}

impl Feed {
    /// The next chunk, not inflated yet if it is BGZF.
    fn next(&mut self, recycled: Option<Room>) -> Result<Option<Raw>> {
        let claim = (CHUNK_BYTES + UNIT_MARGIN) as u64;
        let mut room = if let Some(room) = recycled {
            room
        } else {
            let lease = self.job.budget.must_reserve(self.account, claim)?;
            Room { data: Vec::new(), marks: Vec::new(), lease }
        };
        let data = &mut room.data;
        data.clear();
        let mut beyond = false;
        let (got, file_end) = match &mut self.producer {
            Producer::Plain { source, at, end } => {
                let left = end.map(|end| end.saturating_sub(*at));
                beyond = left == Some(0);
                let most = match left {
                    Some(0) => BEYOND_BYTES,
                    Some(left) => usize::try_from(left).unwrap_or(CHUNK_BYTES).min(CHUNK_BYTES),
                    None => CHUNK_BYTES,
                };
                data.resize(most, 0);
                let got = source.read_at(data, *at)?;
                data.truncate(got);
                *at += got as u64;
                source.done_until(*at);
                if got == 0 {
                    source.check_unchanged()?;
                }
                (got, *at)
            }
            Producer::Gzip(stream) => (stream.append(data, CHUNK_BYTES)?, stream.consumed()),
            Producer::Bgzf { scanner, marker_missing, stretches } => {
                let compressed =
                    self.job.budget.must_reserve(self.account, UnitScanner::CLAIM_BYTES)?;
                let unit = scanner.next_unit(compressed)?;
                if unit.is_none() {
                    *marker_missing = !scanner.ended_with_marker();
                }
                let begins = unit.as_ref().is_some_and(|unit| unit.first_record.is_some());
                *stretches += u32::from(begins);
                return Ok(unit.map(|unit| Raw::Unit(unit, *stretches > 1, room)));
            }
        };
        let Room { data, marks, lease } = room;
        Ok((got > 0).then_some(Raw::Text(Chunk { data, marks, file_end, beyond, lease })))
    }

    fn marker_missing(&self) -> bool {
        matches!(self.producer, Producer::Bgzf { marker_missing: true, .. })
    }
}

/// Inflates what is not text yet.
fn finish(raw: Raw, inflater: &mut Inflater) -> Result<Chunk> {
    match raw {
        Raw::Text(chunk) => Ok(chunk),
        Raw::Unit(unit, beyond, room) => {
            let Room { mut data, mut marks, mut lease } = room;
            lease.resize(lease.bytes().max(unit.inflated_bytes() as u64))?;
            inflater.inflate_unit(&unit, &mut data, &mut marks)?;
            let before = unit.first_record.unwrap_or(0).min(data.len());
            if before > 0 {
                data.drain(..before);
                let before = u32::try_from(before).unwrap_or(u32::MAX);
                for mark in &mut marks {
                    mark.start = mark.start.saturating_sub(before);
                }
            }
            Ok(Chunk { data, marks, file_end: unit.file_end, beyond, lease })
        }
    }
}

/// What the threads that read ahead share with the reader.
struct Ahead {
    /// The feed and the number of the next chunk.
    feed: Mutex<(Feed, u64, bool)>,
    ready: Mutex<Ready>,
    changed: Condvar,
}

#[derive(Default)]
struct Ready {
    chunks: BTreeMap<u64, Result<Option<Chunk>>>,
    /// What chunks that were taken apart leave.
    spare: Vec<Room>,
    wanted: u64,
    closed: bool,
}

enum Mode {
    Here { feed: Box<Feed>, inflater: Inflater },
    Ahead { shared: Arc<Ahead>, threads: Vec<std::thread::JoinHandle<()>> },
}

/// The text of a file.
pub(super) struct Text {
    mode: Mode,
    packing: Packing,
    current: Option<Chunk>,
    path: std::path::PathBuf,
    /// Offset of the chunk at hand in the text.
    base: u64,
    length: u64,
    consumed: u64,
    marker_missing: bool,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

pub(super) fn packing_of(source: &dyn Source) -> Result<Packing> {
    let mut head = vec![0; HEAD_BYTES];
    let got = source.read_at(&mut head, 0)?;
    head.truncate(got);
    let foreign: [(&[u8], &str); 4] = [
        (&[0x28, 0xb5, 0x2f, 0xfd], "zstd"),
        (b"BZh", "bzip2"),
        (&[0xfd, b'7', b'z', b'X', b'Z'], "xz"),
        (b"PK\x03\x04", "zip"),
    ];
    if let Some((_, name)) = foreign.iter().find(|(magic, _)| head.starts_with(magic)) {
        let text = format!("is compressed with {name}; plain, gzip and BGZF are read");
        return Err(Error::format(FormatKind::Sequence, text).at_path(source.path()).at_offset(0));
    }
    if is_bgzf(&head) {
        Ok(Packing::Bgzf)
    } else if head.starts_with(&[0x1f, 0x8b]) {
        Ok(Packing::Gzip)
    } else {
        Ok(Packing::Plain)
    }
}

impl Text {
    /// The text of a whole file (`part` is none), or of a part and what follows it.
    pub(super) fn new(
        source: Arc<dyn Source>,
        part: Option<TextPart>,
        threads: usize,
        job: &Job,
        account: AccountId,
    ) -> Result<Self> {
        let path = source.path().to_path_buf();
        let packing = packing_of(source.as_ref())?;
        let TextPart { begin, end } = part.unwrap_or(TextPart { begin: 0, end: None });
        let producer = match packing {
            Packing::Plain => Producer::Plain { source, at: begin, end },
            Packing::Gzip => Producer::Gzip(Box::new(GzipStream::new(source))),
            Packing::Bgzf => {
                let end = end.map(VirtualOffset);
                let mut stretches = vec![(VirtualOffset(begin), end)];
                stretches.extend(end.map(|end| (end, None)));
                let scanner = Box::new(UnitScanner::new(source, stretches, CHUNK_BYTES));
                Producer::Bgzf { scanner, marker_missing: false, stretches: 0 }
            }
        };
        let feed = Feed { producer, job: job.clone(), account };
        let threads = if packing == Packing::Bgzf { threads } else { threads.min(1) };
        let mode = if threads == 0 {
            Mode::Here { feed: Box::new(feed), inflater: Inflater::new(true) }
        } else {
            start_threads(feed, threads)?
        };
        Ok(Self {
            mode,
            packing,
            current: None,
            path,
            base: if packing == Packing::Plain { begin } else { 0 },
            length: 0,
            consumed: 0,
            marker_missing: false,
        })
    }

    /// Puts the next chunk into `data`, whose old content is dropped; false at the end.
    pub(super) fn next_chunk(&mut self, data: &mut Vec<u8>) -> Result<bool> {
        self.base += self.length;
        let old = self.current.take().map(|mut old| {
            old.data = std::mem::take(data);
            Room::from(old)
        });
        let next = match &mut self.mode {
            Mode::Here { feed, inflater } => {
                let next =
                    feed.next(old).and_then(|raw| raw.map(|r| finish(r, inflater)).transpose());
                if matches!(next, Ok(None)) {
                    self.marker_missing = feed.marker_missing();
                }
                next
            }
            Mode::Ahead { shared, .. } => {
                let next = shared.take(old);
                if matches!(next, Ok(None)) {
                    self.marker_missing = lock(&shared.feed).0.marker_missing();
                }
                next
            }
        };
        let next = next.map_err(|e| e.at_path(&self.path))?;
        let Some(mut chunk) = next else {
            self.length = 0;
            return Ok(false);
        };
        self.consumed = chunk.file_end;
        self.length = chunk.data.len() as u64;
        *data = std::mem::take(&mut chunk.data);
        self.current = Some(chunk);
        Ok(true)
    }

    /// Offset of the first byte, in a plain file.
    pub(super) fn base(&self) -> u64 {
        self.base
    }

    /// Whether the chunk at hand lies behind the part.
    pub(super) fn is_beyond(&self) -> bool {
        self.current.as_ref().is_some_and(|chunk| chunk.beyond)
    }

    /// Bytes of the file up to the end of the chunk at hand.
    pub(super) fn consumed(&self) -> u64 {
        self.consumed
    }

    /// Whether the text has ended and the file is BGZF without its end marker.
    pub(super) fn lacks_end_marker(&self) -> bool {
        self.marker_missing
    }

    /// Says where the byte `place` of the text lies in the file.
    pub(super) fn locate(&self, error: Error, place: u64) -> Error {
        match self.packing {
            // Of gzip it is only known how far into the text a byte is.
            Packing::Plain | Packing::Gzip => error.at_offset(place),
            Packing::Bgzf => {
                let within = place.saturating_sub(self.base);
                let marks = self.current.as_ref().map(|c| c.marks.as_slice()).unwrap_or_default();
                let block = marks.iter().rev().find(|m| u64::from(m.start) <= within);
                match block {
                    Some(mark) => {
                        let inside = u32::try_from(within - u64::from(mark.start)).unwrap_or(0);
                        error.at_voffset(VirtualOffset::new(mark.offset, inside).0)
                    }
                    None => error.at_offset(self.consumed),
                }
            }
        }
    }
}

fn start_threads(feed: Feed, threads: usize) -> Result<Mode> {
    let shared = Arc::new(Ahead {
        feed: Mutex::new((feed, 0, false)),
        ready: Mutex::default(),
        changed: Condvar::new(),
    });
    let mut handles = Vec::with_capacity(threads);
    for _ in 0..threads {
        let shared = Arc::clone(&shared);
        let builder = std::thread::Builder::new().name("seqmill-inflate".to_owned());
        let handle = builder
            .spawn(move || shared.work(AHEAD * threads as u64))
            .map_err(|e| Error::internal(format!("no thread can be started: {e}")))?;
        handles.push(handle);
    }
    Ok(Mode::Ahead { shared, threads: handles })
}

impl Ahead {
    /// Makes chunks until the text ends, an error comes up or the reader goes.
    fn work(&self, depth: u64) {
        let mut inflater = Inflater::new(true);
        loop {
            let (number, raw) = {
                let mut feed = lock(&self.feed);
                let number = feed.1;
                let mut ready = lock(&self.ready);
                while !ready.closed && number >= ready.wanted + depth {
                    ready = self.changed.wait(ready).unwrap_or_else(PoisonError::into_inner);
                }
                if ready.closed || feed.2 {
                    return;
                }
                let spare = ready.spare.pop();
                drop(ready);
                feed.1 += 1;
                let raw = feed.0.next(spare);
                feed.2 = !matches!(raw, Ok(Some(_)));
                (number, raw)
            };
            let last = !matches!(raw, Ok(Some(_)));
            let chunk = raw.and_then(|raw| raw.map(|r| finish(r, &mut inflater)).transpose());
            lock(&self.ready).chunks.insert(number, chunk);
            self.changed.notify_all();
            if last {
                return;
            }
        }
    }

    /// The next chunk in order, for the memory of the one before.
    fn take(&self, old: Option<Room>) -> Result<Option<Chunk>> {
        let mut ready = lock(&self.ready);
        ready.spare.extend(old);
        let number = ready.wanted;
        loop {
            match ready.chunks.remove(&number) {
                Some(Ok(Some(chunk))) => {
                    ready.wanted += 1;
                    self.changed.notify_all();
                    return Ok(Some(chunk));
                }
                // The end stays, however often it is asked for.
                Some(end) => {
                    let answer = match &end {
                        Err(error) => Err(error.clone()),
                        Ok(_) => Ok(None),
                    };
                    ready.chunks.insert(number, end);
                    return answer;
                }
                None => {
                    ready = self.changed.wait(ready).unwrap_or_else(PoisonError::into_inner);
                }
            }
        }
    }
}

impl Drop for Text {
    fn drop(&mut self) {
        if let Mode::Ahead { shared, threads } = &mut self.mode {
            lock(&shared.ready).closed = true;
            shared.changed.notify_all();
            for thread in threads.drain(..) {
                let _ = thread.join();
            }
        }
    }
}
