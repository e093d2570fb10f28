//! Arrow IPC, file and stream format (the Arrow columnar specification, "Serialization and
//! interprocess communication"), over the encoder of the Arrow crates.
//!
//! Batches are encoded in parallel without copying their buffers; one writer appends them in
//! order. Dictionaries are written once, before the first batch.

use arrow_array::RecordBatch;
use arrow_buffer::Buffer;
use arrow_ipc::convert::IpcSchemaEncoder;
use arrow_ipc::writer::{DictionaryTracker, IpcWriteOptions, StreamEncoder};
use arrow_ipc::{Block, CompressionType, MessageHeader, MetadataVersion};
use arrow_schema::{ArrowError, Schema, SchemaRef};
use flatbuffers::FlatBufferBuilder;
use seqmill_base::write_behind::WriteBehind;
use seqmill_base::{Error, Result};
use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, IoSlice, Seek, SeekFrom, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// Bytes of one `write` at most: larger ones cost system time (`bam.md` §17).
const WRITE_BYTES: usize = 1 << 20;
/// Pieces of one `write` at most; the system allows 1,024.
const WRITE_PIECES: usize = 256;
/// First bytes of the file format, padded so that the buffers behind are aligned.
const FILE_START: [u8; 64] = {
    let mut start = [0; 64];
    let magic = *b"ARROW1";
    let mut i = 0;
    while i < magic.len() {
        start[i] = magic[i];
        i += 1;
    }
    start
};
/// End of the file format.
const FILE_END: &[u8; 6] = b"ARROW1";
/// End of a stream: a continuation mark and a length of 0.
const STREAM_END: [u8; 8] = [0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0];
/// Continuation mark and length before the metadata of a message.
const PREFIX_BYTES: usize = 8;

/// Compression of the buffers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IpcCompression {
    /// None: the file can be mapped.
    None,
    /// LZ4 frames.
    Lz4,
    /// Zstandard of the given level.
    Zstd(i32),
}

impl IpcCompression {
    /// Bytes that the state of one compressor takes. Buffers of a batch may pass the 1 MiB of a
    /// page: the tables of higher levels are twice as large for them.
    pub fn state_bytes(self) -> u64 {
        match self {
            Self::None | Self::Lz4 => 0,
            Self::Zstd(level) => 2 * crate::parquet::Codec::Zstd(level).state_bytes(),
        }
    }
}

fn explain(error: &ArrowError) -> Error {
    Error::internal(format!("cannot encode Arrow data: {error}"))
}

fn options(compression: IpcCompression) -> Result<IpcWriteOptions> {
    let plain = IpcWriteOptions::try_new(64, false, MetadataVersion::V5);
    let options = plain.and_then(|o| match compression {
        IpcCompression::None => Ok(o),
        IpcCompression::Lz4 => o.try_with_compression(Some(CompressionType::LZ4_FRAME)),
        IpcCompression::Zstd(level) => o
            .try_with_compression(Some(CompressionType::ZSTD))?
            .try_with_compression_level(Some(level)),
    });
    options.map_err(|e| explain(&e))
}

/// One encoded batch: a message as it stands in the file.
pub struct IpcMessage {
    buffers: Vec<Buffer>,
    metadata_bytes: usize,
    total_bytes: usize,
}

impl IpcMessage {
    /// Bytes in the file.
    pub fn bytes(&self) -> usize {
        self.total_bytes
    }
}

/// Encodes batches; one for each thread.
pub struct IpcEncoder {
    inner: StreamEncoder,
}

impl IpcEncoder {
    /// An encoder for the schema of `empty`, a batch without rows that has the dictionaries.
    pub fn new(empty: &RecordBatch, compression: IpcCompression) -> Result<Self> {
        Ok(Self { inner: begin(empty, compression)?.0 })
    }

    /// Encodes a batch whose dictionaries are those of the empty batch.
    pub fn encode(&mut self, batch: &RecordBatch) -> Result<IpcMessage> {
        let buffers = self.inner.encode(batch).map_err(|e| explain(&e))?;
        // The prefix may be spread over several buffers.
        let prefix: Vec<u8> =
            buffers.iter().flat_map(|b| b.iter().copied()).take(PREFIX_BYTES).collect();
        let size = prefix.last_chunk::<4>().map_or(0, |b| u32::from_le_bytes(*b));
        let metadata = size as usize;
        let total_bytes = buffers.iter().map(Buffer::len).sum();
        Ok(IpcMessage { buffers, metadata_bytes: metadata + PREFIX_BYTES, total_bytes })
    }
}

/// An encoder that has written schema and dictionaries, and what it wrote.
fn begin(empty: &RecordBatch, compression: IpcCompression) -> Result<(StreamEncoder, Vec<u8>)> {
    let schema = empty.schema();
    let mut encoder = StreamEncoder::try_new_with_options(&schema, options(compression)?)
        .map_err(|e| explain(&e))?;
    let mut bytes = Vec::new();
    for buffer in encoder.encode(empty).map_err(|e| explain(&e))? {
        bytes.extend_from_slice(&buffer);
    }
    // The last message is the batch without rows: it only served to send the dictionaries.
    let last = walk(&bytes)?.into_iter().filter(|m| m.is_batch).map(|m| m.start).next_back();
    bytes.truncate(last.unwrap_or(bytes.len()));
    Ok((encoder, bytes))
}

/// A message found in written bytes.
#[derive(Debug, Clone, Copy)]
struct Message {
    start: usize,
    metadata_bytes: usize,
    body_bytes: usize,
    is_batch: bool,
    is_dictionary: bool,
}

impl Message {
    fn end(&self) -> usize {
        self.start + self.metadata_bytes + self.body_bytes
    }

    fn block(&self, base: u64) -> Result<Block> {
        let too_long = |_| Error::internal("Arrow message is too long");
        Ok(Block::new(
            i64::try_from(base + self.start as u64).map_err(too_long)?,
            i32::try_from(self.metadata_bytes).map_err(too_long)?,
            i64::try_from(self.body_bytes).map_err(too_long)?,
        ))
    }
}

/// Reads the head of the message at `start`, whose bytes begin at the first of `bytes`.
fn message_at(bytes: &[u8], start: usize) -> Result<Message> {
    let damaged = || Error::internal("Arrow messages cannot be read back");
    let size = bytes.get(4..).and_then(|b| b.first_chunk::<4>()).ok_or_else(damaged)?;
    let metadata_bytes = u32::from_le_bytes(*size) as usize + PREFIX_BYTES;
    let metadata = bytes.get(PREFIX_BYTES..metadata_bytes).ok_or_else(damaged)?;
    let message = arrow_ipc::root_as_message(metadata).map_err(|_| damaged())?;
    let header = message.header_type();
    Ok(Message {
        start,
        metadata_bytes,
        body_bytes: usize::try_from(message.bodyLength()).map_err(|_| damaged())?,
        is_batch: header == MessageHeader::RecordBatch,
        is_dictionary: header == MessageHeader::DictionaryBatch,
    })
}

fn walk(bytes: &[u8]) -> Result<Vec<Message>> {
    let mut messages = Vec::new();
    let mut at = 0;
    while let Some(rest) = bytes.get(at..).filter(|rest| !rest.is_empty()) {
        let message = message_at(rest, at)?;
        at = message.end();
        messages.push(message);
    }
    Ok(messages)
}

/// Where a stream goes.
enum Target {
    /// A file that may be resumed.
    File(File),
    /// Standard output or another stream.
    Stream(Box<dyn Write + Send>),
}

/// Appends messages to a file or stream.
pub struct IpcWriter {
    target: Target,
    path: PathBuf,
    schema: SchemaRef,
    /// The file format, with a footer.
    footer: bool,
    at: u64,
    /// Bytes up to the end of the last message that is whole.
    whole: u64,
    dictionaries: Vec<Block>,
    batches: Vec<Block>,
    behind: WriteBehind,
}

impl IpcWriter {
    /// Begins a file; `footer` makes it the file format instead of the stream format.
    pub fn create(
        path: &Path,
        empty: &RecordBatch,
        compression: IpcCompression,
        footer: bool,
    ) -> Result<Self> {
        let mut open = OpenOptions::new();
        let file = open.read(true).write(true).create(true).truncate(true).open(path);
        let target = Target::File(file.map_err(|e| Error::io(path, &e))?);
        Self::begin(target, path, empty, compression, footer)
    }

    /// Begins a stream into `out`.
    pub fn stream(
        out: Box<dyn Write + Send>,
        empty: &RecordBatch,
        compression: IpcCompression,
    ) -> Result<Self> {
        Self::begin(Target::Stream(out), Path::new("<stdout>"), empty, compression, false)
    }

    fn begin(
        target: Target,
        path: &Path,
        empty: &RecordBatch,
        compression: IpcCompression,
        footer: bool,
    ) -> Result<Self> {
        let mut writer = Self {
            target,
            path: path.to_path_buf(),
            schema: empty.schema(),
            footer,
            at: 0,
            whole: 0,
            dictionaries: Vec::new(),
            batches: Vec::new(),
            behind: WriteBehind::new(0),
        };
        if footer {
            writer.put([&FILE_START[..]])?;
        }
        let (_, bytes) = begin(empty, compression)?;
        for message in walk(&bytes)?.iter().filter(|m| m.is_dictionary) {
            writer.dictionaries.push(message.block(writer.at)?);
        }
        writer.put([&bytes[..]])?;
        writer.whole = writer.at;
        Ok(writer)
    }

    /// Goes on with a file of which `bytes` bytes count.
    pub fn resume(path: &Path, schema: SchemaRef, bytes: u64, footer: bool) -> Result<Self> {
        let io = |e: std::io::Error| Error::io(path, &e);
        let mut file = OpenOptions::new().read(true).write(true).open(path).map_err(io)?;
        if file.metadata().map_err(io)?.len() < bytes {
            return Err(Error::input(
                "state is damaged: the data are shorter than the checkpoint says",
            )
            .at_path(path));
        }
        file.set_len(bytes).map_err(io)?;
        file.seek(SeekFrom::Start(bytes)).map_err(io)?;
        let mut writer = Self {
            target: Target::File(file),
            path: path.to_path_buf(),
            schema,
            footer,
            at: bytes,
            whole: bytes,
            dictionaries: Vec::new(),
            batches: Vec::new(),
            behind: WriteBehind::new(bytes),
        };
        if footer {
            writer.find_blocks(bytes)?;
        }
        Ok(writer)
    }

    /// Walks the messages that are there: the footer lists them.
    fn find_blocks(&mut self, end: u64) -> Result<()> {
        let Target::File(file) = &self.target else { return Ok(()) };
        let io = |e: std::io::Error| Error::io(&self.path, &e);
        let mut at = FILE_START.len() as u64;
        let mut head = Vec::new();
        while at < end {
            let mut prefix = [0; PREFIX_BYTES];
            file.read_exact_at(&mut prefix, at).map_err(io)?;
            let size = prefix.last_chunk::<4>().map_or(0, |b| u32::from_le_bytes(*b));
            head.resize(PREFIX_BYTES + size as usize, 0);
            file.read_exact_at(&mut head, at).map_err(io)?;
            let message = message_at(&head, 0)?;
            if message.is_dictionary {
                self.dictionaries.push(message.block(at)?);
            } else if message.is_batch {
                self.batches.push(message.block(at)?);
            }
            at += message.end() as u64;
        }
        Ok(())
    }

    /// Appends a batch.
    pub fn append(&mut self, message: &IpcMessage) -> Result<()> {
        if self.footer {
            let parts = Message {
                start: 0,
                metadata_bytes: message.metadata_bytes,
                body_bytes: message.total_bytes - message.metadata_bytes,
                is_batch: true,
                is_dictionary: false,
            };
            self.batches.push(parts.block(self.at)?);
        }
        self.put(message.buffers.iter().map(Buffer::as_slice))?;
        self.whole = self.at;
        Ok(())
    }

    /// Bytes written.
    pub fn bytes(&self) -> u64 {
        self.at
    }

    /// Makes what was written durable and returns the length that counts: where an append failed,
    /// up to the message before.
    pub fn sync(&mut self) -> Result<u64> {
        if let Target::File(file) = &self.target {
            file.sync_data().map_err(|e| Error::io(&self.path, &e))?;
        }
        Ok(self.whole)
    }

    /// Ends the stream, writes the footer of a file with `metadata`, syncs; returns the length.
    pub fn finish(mut self, metadata: &[(String, String)]) -> Result<u64> {
        self.put([&STREAM_END[..]])?;
        if self.footer {
            let footer = self.footer_bytes(metadata);
            let size = i32::try_from(footer.len())
                .map_err(|_| Error::internal("Arrow footer is too long"))?;
            self.put([&footer[..], &size.to_le_bytes(), FILE_END])?;
        }
        match &mut self.target {
            Target::File(file) => file.sync_all().map_err(|e| Error::io(&self.path, &e))?,
            Target::Stream(out) => out.flush().map_err(|e| Error::io(&self.path, &e))?,
        }
        Ok(self.at)
    }

    fn footer_bytes(&self, metadata: &[(String, String)]) -> Vec<u8> {
        let mut builder = FlatBufferBuilder::new();
        let dictionaries = builder.create_vector(&self.dictionaries);
        let batches = builder.create_vector(&self.batches);
        let mut tracker = DictionaryTracker::new(true);
        let schema: &Schema = &self.schema;
        let schema = IpcSchemaEncoder::new()
            .with_dictionary_tracker(&mut tracker)
            .schema_to_fb_offset(&mut builder, schema);
        let custom: arrow_schema::Metadata = metadata.iter().cloned().collect();
        let custom = (!metadata.is_empty())
            .then(|| arrow_ipc::convert::metadata_to_fb(&mut builder, &custom));
        let mut footer = arrow_ipc::FooterBuilder::new(&mut builder);
        footer.add_version(MetadataVersion::V5);
        footer.add_schema(schema);
        footer.add_dictionaries(dictionaries);
        footer.add_recordBatches(batches);
        if let Some(custom) = custom {
            footer.add_custom_metadata(custom);
        }
        let root = footer.finish();
        builder.finish(root, None);
        builder.finished_data().to_vec()
    }

    /// Appends pieces one after the other, in calls of at most [`WRITE_BYTES`] without copying them.
    fn put<'p>(&mut self, pieces: impl IntoIterator<Item = &'p [u8]>) -> Result<()> {
        let mut slices = Vec::new();
        let mut bytes = 0;
        for piece in pieces.into_iter().flat_map(|piece| piece.chunks(WRITE_BYTES)) {
            if bytes + piece.len() > WRITE_BYTES || slices.len() == WRITE_PIECES {
                self.write(&mut slices)?;
                slices.clear();
                bytes = 0;
            }
            bytes += piece.len();
            slices.push(IoSlice::new(piece));
        }
        self.write(&mut slices)
    }

    fn write(&mut self, mut slices: &mut [IoSlice<'_>]) -> Result<()> {
        while !slices.is_empty() {
            let written = match &mut self.target {
                Target::File(file) => file.write_vectored(slices),
                Target::Stream(out) => out.write_vectored(slices),
            };
            match written {
                Ok(0) => return Err(Error::io(&self.path, &ErrorKind::WriteZero.into())),
                Ok(bytes) => {
                    self.at += bytes as u64;
                    IoSlice::advance_slices(&mut slices, bytes);
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(Error::io(&self.path, &error)),
            }
        }
        if let Target::File(file) = &self.target {
            self.behind.advance(file, self.at);
        }
        Ok(())
    }
}
