//! Gzip without blocks: inflated in one go from front to back.

use crate::source::Source;
use seqmill_base::{Error, FormatKind, Result};
use std::path::PathBuf;
use std::sync::Arc;

/// Members of a gzip file inflated one after the other.
pub struct GzipStream {
    inner: flate2::bufread::MultiGzDecoder<std::io::BufReader<SourceReader>>,
    path: PathBuf,
    consumed: u64,
}

/// Inflated text of a gzip file of any number of members, as a reader.
pub struct GzipReader(flate2::bufread::MultiGzDecoder<std::io::BufReader<SourceReader>>);

impl GzipReader {
    /// A reader from the beginning of `source`.
    pub fn new(source: Arc<dyn Source>) -> Self {
        let reader = SourceReader { source, at: 0, failure: None };
        let buffered = std::io::BufReader::with_capacity(1 << 16, reader);
        Self(flate2::bufread::MultiGzDecoder::new(buffered))
    }
}

impl std::io::Read for GzipReader {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        self.0.read(buffer)
    }
}

/// A source as a stream.
struct SourceReader {
    source: Arc<dyn Source>,
    at: u64,
    failure: Option<Error>,
}

impl std::io::Read for SourceReader {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        match self.source.read_at(buffer, self.at) {
            Ok(n) => {
                self.at += n as u64;
                Ok(n)
            }
            Err(error) => {
                let errno = error.errno().map(std::io::Error::from_raw_os_error);
                self.failure = Some(error);
                Err(errno.unwrap_or_else(|| std::io::Error::other("read failed")))
            }
        }
    }
}

impl GzipStream {
    /// A stream from the beginning of `source`.
    pub fn new(source: Arc<dyn Source>) -> Self {
        let path = source.path().to_path_buf();
        let reader = SourceReader { source, at: 0, failure: None };
        let buffered = std::io::BufReader::with_capacity(1 << 16, reader);
        Self { inner: flate2::bufread::MultiGzDecoder::new(buffered), path, consumed: 0 }
    }

    /// Bytes of the file read so far.
    pub fn consumed(&self) -> u64 {
        self.consumed
    }

    /// Appends up to `n` bytes; fewer only at the end, and before damage, which is the error.
    pub fn append(&mut self, data: &mut Vec<u8>, n: usize) -> Result<usize> {
        use std::io::Read;

        let start = data.len();
        data.resize(start + n, 0);
        let mut done = 0;
        while let Some(room) = data.get_mut(start + done..).filter(|r| !r.is_empty()) {
            match self.inner.read(room) {
                Ok(0) => break,
                Ok(got) => done += got,
                Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
                Err(e) => {
                    data.truncate(start + done);
                    return Err(self.explain(&e));
                }
            }
        }
        data.truncate(start + done);
        self.consumed = self.inner.get_ref().get_ref().at;
        Ok(done)
    }

    fn explain(&mut self, error: &std::io::Error) -> Error {
        let reader = self.inner.get_mut().get_mut();
        if let Some(failure) = reader.failure.take() {
            return failure;
        }
        let text = error.to_string();
        let kind = if error.kind() == std::io::ErrorKind::UnexpectedEof {
            FormatKind::Truncated
        } else if text.contains("checksum") {
            FormatKind::Checksum
        } else {
            FormatKind::Inflate
        };
        Error::format(kind, format!("the gzip stream is damaged near byte {}: {text}", reader.at))
            .at_path(&self.path)
    }
}
