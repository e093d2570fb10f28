//! Writing tables: in order from one thread, or encoded by many and put in order.

use super::block::checksum_of;
use super::encode::encode_block;
use super::{BLOCK_KMERS, END_MAGIC, HEADER_BYTES, MAGIC, VERSION, key_words};
use crate::kmers::lanes::Lanes;
use crate::kmers::word::Word;
use seqmill_base::write_behind::WriteBehind;
use seqmill_base::{Error, Lease, Result};
use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use xxhash_rust::xxh3::{Xxh3, xxh3_64};

/// Blocks that the sequential writer collects before it writes them.
const WRITE_BYTES: usize = 1 << 18;
/// Portions that threads leave to others to be written, and the bytes of each at most.
const LEFT_PORTIONS: usize = 4;
const LEFT_BYTES: usize = 1 << 18;
/// Buffers up to this are kept for other portions.
const KEPT_BYTES: usize = 1 << 20;

/// What a table says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TableFacts {
    /// Length of the k-mers.
    pub k: u32,
    /// Whether a k-mer and its reverse complement are one.
    pub canonical: bool,
    /// See [`super::FILTERED`].
    pub flags: u8,
    /// K-mers stored.
    pub distinct: u64,
    /// Occurrences, before filters.
    pub total: u64,
}

/// What a table is in its file.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TableFile {
    /// Bytes.
    pub bytes: u64,
    /// A checksum of the checksums of all blocks and of what is no block, as
    /// [`super::SkmTable::digest`] finds it.
    pub digest: u64,
}

/// How blocks are encoded.
#[derive(Debug, Clone, Copy)]
struct Form {
    /// Words of a k-mer.
    words: usize,
    lanes: Lanes,
}

/// Encoded blocks and where each begins.
#[derive(Default)]
struct Encoded {
    bytes: Vec<u8>,
    /// First k-mer's words, least significant first, of all blocks.
    firsts: Vec<u64>,
    lengths: Vec<u32>,
}

impl Encoded {
    fn push<K: Word>(&mut self, kmers: &[K], counts: &[u64], form: Form) {
        let Some(first) = kmers.first() else { return };
        let before = self.bytes.len();
        encode_block(kmers, counts, &mut self.bytes, form.lanes);
        self.firsts.extend((0..form.words).map(|i| first.word(i)));
        self.lengths.push((self.bytes.len() - before) as u32);
    }

    fn clear(&mut self) {
        self.bytes.clear();
        self.firsts.clear();
        self.lengths.clear();
    }
}

/// Where the bytes of a table go, from any thread.
struct Target<'f> {
    file: &'f File,
    path: PathBuf,
    behind: Mutex<WriteBehind>,
}

impl Target<'_> {
    fn write(&self, bytes: &[u8], at: u64) -> Result<()> {
        self.file.write_all_at(bytes, at).map_err(|e| Error::io(&self.path, &e))?;
        // Whoever else is at it need not be waited for: this is advice.
        if let Ok(mut behind) = self.behind.try_lock() {
            behind.advance(self.file, at + bytes.len() as u64);
        }
        Ok(())
    }
}

/// Writes a table into an open file from its beginning.
pub struct SkmWriter<'f, K> {
    target: Arc<Target<'f>>,
    form: Form,
    at: u64,
    firsts: Vec<u64>,
    offsets: Vec<u64>,
    /// What the index holds is reserved as it grows.
    lease: Lease,
    distinct: u64,
    kmers: Vec<K>,
    counts: Vec<u64>,
    encoded: Encoded,
    digest: Xxh3,
}

impl<'f, K: Word> SkmWriter<'f, K> {
    /// Begins a table in `file`, named `path` in messages.
    pub fn new(file: &'f File, path: &Path, k: u32, lease: Lease) -> Self {
        Self {
            target: Arc::new(Target {
                file,
                path: path.to_path_buf(),
                behind: Mutex::new(WriteBehind::new(0)),
            }),
            form: Form { words: key_words(k), lanes: Lanes::detect() },
            at: HEADER_BYTES as u64,
            firsts: Vec::new(),
            offsets: Vec::new(),
            lease,
            distinct: 0,
            kmers: Vec::new(),
            counts: Vec::new(),
            encoded: Encoded::default(),
            digest: Xxh3::new(),
        }
    }

    /// Adds k-mers, each greater than the one before.
    pub fn put(&mut self, kmers: &[K], counts: &[u64]) -> Result<()> {
        let (mut kmers, mut counts) = (kmers, counts);
        if !self.kmers.is_empty() {
            let missing = (BLOCK_KMERS - self.kmers.len()).min(kmers.len());
            self.kmers.extend_from_slice(&kmers[..missing]);
            self.counts.extend_from_slice(&counts[..missing]);
            (kmers, counts) = (&kmers[missing..], &counts[missing..]);
            if self.kmers.len() == BLOCK_KMERS {
                self.encoded.push(&self.kmers, &self.counts, self.form);
                self.distinct += BLOCK_KMERS as u64;
                self.kmers.clear();
                self.counts.clear();
            }
        }
        while kmers.len() >= BLOCK_KMERS {
            let (block, rest) = kmers.split_at(BLOCK_KMERS);
            let (block_counts, rest_counts) = counts.split_at(BLOCK_KMERS);
            self.encoded.push(block, block_counts, self.form);
            self.distinct += BLOCK_KMERS as u64;
            (kmers, counts) = (rest, rest_counts);
            if self.encoded.bytes.len() >= WRITE_BYTES {
                self.write_encoded()?;
            }
        }
        self.kmers.extend_from_slice(kmers);
        self.counts.extend_from_slice(counts);
        if self.encoded.bytes.len() >= WRITE_BYTES { self.write_encoded() } else { Ok(()) }
    }

    fn write_encoded(&mut self) -> Result<()> {
        let mut encoded = std::mem::take(&mut self.encoded);
        let written = self.append(&encoded);
        encoded.clear();
        self.encoded = encoded;
        written
    }

    fn append(&mut self, encoded: &Encoded) -> Result<()> {
        let at = self.claim(encoded)?;
        self.target.write(&encoded.bytes, at)
    }

    /// Takes the place behind what there is for blocks, which are written afterwards.
    fn claim(&mut self, encoded: &Encoded) -> Result<u64> {
        let held = 8 * (self.firsts.len() + self.offsets.len() + encoded.firsts.len()) as u64
            + 8 * encoded.lengths.len() as u64;
        if 2 * held > self.lease.bytes() {
            self.lease.resize(4 * held)?;
        }
        let at = self.at;
        self.firsts.extend_from_slice(&encoded.firsts);
        let mut blocks = encoded.bytes.as_slice();
        for length in &encoded.lengths {
            self.offsets.push(self.at);
            self.at += u64::from(*length);
            let (block, others) = blocks.split_at(*length as usize);
            self.digest.update(checksum_of(block));
            blocks = others;
        }
        Ok(at)
    }

    /// K-mers so far.
    pub fn distinct(&self) -> u64 {
        self.distinct + self.kmers.len() as u64
    }

    /// Writes what is left, index, footer and header.
    pub fn finish(mut self, facts: &TableFacts, footer: &serde_json::Value) -> Result<TableFile> {
        let kmers = std::mem::take(&mut self.kmers);
        let counts = std::mem::take(&mut self.counts);
        self.encoded.push(&kmers, &counts, self.form);
        self.write_encoded()?;
        self.offsets.push(self.at);
        let index_at = self.at;
        let mut index = Vec::with_capacity(8 * (self.firsts.len() + self.offsets.len() + 1));
        for word in self.firsts.iter().chain(&self.offsets) {
            index.extend_from_slice(&word.to_le_bytes());
        }
        index.extend_from_slice(&xxh3_64(&index).to_le_bytes());
        self.target.write(&index, index_at)?;
        let footer_at = index_at + index.len() as u64;
        let mut tail = serde_json::to_vec(footer)
            .map_err(|e| Error::internal(format!("footer of a table: {e}")))?;
        let length = tail.len() as u32;
        tail.extend_from_slice(&length.to_le_bytes());
        tail.extend_from_slice(&END_MAGIC);
        self.target.write(&tail, footer_at)?;
        let header = header_bytes(facts, index_at, footer_at);
        self.target.write(&header, 0)?;
        for part in [&index, &tail, header.as_slice()] {
            self.digest.update(part);
        }
        let bytes = footer_at + tail.len() as u64;
        Ok(TableFile { bytes, digest: self.digest.digest() })
    }
}

fn header_bytes(facts: &TableFacts, index_at: u64, footer_at: u64) -> [u8; HEADER_BYTES] {
    let mut header = Vec::with_capacity(HEADER_BYTES);
    header.extend_from_slice(&MAGIC);
    header.extend_from_slice(&VERSION.to_le_bytes());
    header.extend_from_slice(&(facts.k as u16).to_le_bytes());
    header.extend_from_slice(&[
        u8::from(facts.canonical),
        key_words(facts.k) as u8,
        facts.flags,
        0,
        0,
        0,
        0,
        0,
    ]);
    for number in [facts.distinct, facts.total, index_at, footer_at, 0] {
        header.extend_from_slice(&number.to_le_bytes());
    }
    header.extend_from_slice(&xxh3_64(&header).to_le_bytes());
    let mut out = [0; HEADER_BYTES];
    out.copy_from_slice(&header);
    out
}

struct Order<'f, K> {
    writer: SkmWriter<'f, K>,
    /// Whose k-mers come next.
    turn: usize,
    kmers: Vec<K>,
    counts: Vec<u64>,
    /// Number of the next portion to be made and to get its place in the file.
    made: u64,
    placed: u64,
    /// Portions without a place yet.
    encoded: BTreeMap<u64, Encoded>,
    /// Whether a thread is writing: it goes on with what the others leave.
    writing: bool,
    failed: bool,
    /// Threads that wait for a change.
    waiting: u32,
    /// Buffers of blocks that were written, to be filled again.
    spare: Vec<Encoded>,
}

/// Takes the k-mers of many buckets in order from many threads; blocks are encoded by each.
pub struct OrderedBlocks<'f, K> {
    order: Mutex<Order<'f, K>>,
    changed: Condvar,
    form: Form,
    target: Arc<Target<'f>>,
}

impl<'f, K: Word> OrderedBlocks<'f, K> {
    /// Puts blocks in order for `writer`.
    pub fn new(writer: SkmWriter<'f, K>) -> Self {
        let (form, target) = (writer.form, Arc::clone(&writer.target));
        let order = Order {
            writer,
            turn: 0,
            kmers: Vec::new(),
            counts: Vec::new(),
            made: 0,
            placed: 0,
            encoded: BTreeMap::new(),
            writing: false,
            failed: false,
            waiting: 0,
            spare: Vec::new(),
        };
        Self { order: Mutex::new(order), changed: Condvar::new(), form, target }
    }

    fn lock(&self) -> MutexGuard<'_, Order<'f, K>> {
        self.order.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait<'g>(
        &self,
        mut order: MutexGuard<'g, Order<'f, K>>,
        ready: impl Fn(&Order<'f, K>) -> bool,
    ) -> Result<MutexGuard<'g, Order<'f, K>>> {
        while !order.failed && !ready(&order) {
            order.waiting += 1;
            order = self.changed.wait(order).unwrap_or_else(PoisonError::into_inner);
            order.waiting -= 1;
        }
        if order.failed { Err(Error::cancelled()) } else { Ok(order) }
    }

    /// Tells those who wait of a change. Mostly nobody does.
    fn tell(&self, order: MutexGuard<'_, Order<'f, K>>) {
        let waiting = order.waiting;
        drop(order);
        if waiting > 0 {
            self.changed.notify_all();
        }
    }

    /// Lets everybody who waits go: the work has failed.
    pub fn fail(&self) {
        self.lock().failed = true;
        self.changed.notify_all();
    }

    /// Whether the k-mers of a bucket are those that come next.
    pub fn is_turn(&self, bucket: usize) -> bool {
        self.lock().turn == bucket
    }

    /// Adds k-mers of bucket `bucket`, once all before it are in; `last` ends the bucket.
    pub fn put(&self, bucket: usize, kmers: &[K], counts: &[u64], last: bool) -> Result<()> {
        let mut order = self.wait(self.lock(), |o| o.turn == bucket)?;
        let mut head = std::mem::take(&mut order.kmers);
        let mut head_counts = std::mem::take(&mut order.counts);
        let whole = (head.len() + kmers.len()) / BLOCK_KMERS * BLOCK_KMERS;
        // What fills the first block up, then whole blocks, then what is left for the next.
        let fill = if whole == 0 { kmers.len() } else { BLOCK_KMERS - head.len() };
        head.extend_from_slice(&kmers[..fill]);
        head_counts.extend_from_slice(&counts[..fill]);
        let end = if whole == 0 { fill } else { whole + fill - head.len() };
        if whole == 0 {
            (order.kmers, order.counts) = (head, head_counts);
            if last {
                order.turn += 1;
                self.tell(order);
            }
            return Ok(());
        }
        order.kmers = kmers[end..].to_vec();
        order.counts = counts[end..].to_vec();
        let number = order.made;
        order.made += 1;
        order.writer.distinct += whole as u64;
        order.turn += usize::from(last);
        let mut encoded = order.spare.pop().unwrap_or_default();
        self.tell(order);
        encoded.push(&head, &head_counts, self.form);
        let blocks = kmers[fill..end].chunks(BLOCK_KMERS);
        for (kmers, counts) in blocks.zip(counts[fill..end].chunks(BLOCK_KMERS)) {
            encoded.push(kmers, counts, self.form);
        }
        self.write(number, encoded)
    }

    /// Writes a portion in its turn, or leaves it to the thread that writes, or whose turn it is.
    fn write(&self, number: u64, encoded: Encoded) -> Result<()> {
        let is_small = encoded.bytes.len() <= LEFT_BYTES;
        let mut order = self.wait(self.lock(), |o| {
            let may_write = o.placed == number && !o.writing;
            may_write || (is_small && o.encoded.len() < LEFT_PORTIONS)
        })?;
        order.encoded.insert(number, encoded);
        if order.writing {
            return Ok(());
        }
        order.writing = true;
        loop {
            let next = order.placed;
            let Some(mut encoded) = order.encoded.remove(&next) else { break };
            let at = order.writer.claim(&encoded)?;
            order.placed += 1;
            self.tell(order);
            self.target.write(&encoded.bytes, at)?;
            encoded.clear();
            order = self.lock();
            if encoded.bytes.capacity() <= KEPT_BYTES || order.spare.is_empty() {
                order.spare.push(encoded);
            }
        }
        order.writing = false;
        self.tell(order);
        Ok(())
    }

    /// The writer, with what is left.
    pub fn into_writer(self) -> Result<SkmWriter<'f, K>> {
        let order = self.order.into_inner().unwrap_or_else(PoisonError::into_inner);
        let mut writer = order.writer;
        writer.put(&order.kmers, &order.counts)?;
        Ok(writer)
    }
}
