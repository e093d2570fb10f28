//! Writing to the disk begins while a file is still growing, so that the sync at its end is short.

use std::fs::File;
use std::os::fd::AsRawFd;

/// Writing is begun in steps of this size, unless told otherwise.
const STEP_BYTES: u64 = 32 << 20;

/// How far writing to the disk was begun.
#[derive(Debug)]
pub struct WriteBehind {
    begun: u64,
    step: u64,
}

impl WriteBehind {
    /// For a file of which `bytes` bytes are on the disk or will be synced anyway.
    pub fn new(bytes: u64) -> Self {
        Self { begun: bytes, step: STEP_BYTES }
    }

    /// For a file that is empty and will be small: writing is begun in steps of so many bytes.
    pub fn in_steps(step: u64) -> Self {
        Self { begun: 0, step }
    }

    /// Tells that the file now has `written` bytes.
    pub fn advance(&mut self, file: &File, written: u64) {
        if written < self.begun + self.step {
            self.begun = self.begun.min(written);
            return;
        }
        begin_writing(file, self.begun, written - self.begun);
        self.begun = written;
    }
}

/// Advice only: a failure changes nothing but the time the sync takes.
fn begin_writing(file: &File, start: u64, bytes: u64) {
    let (Ok(start), Ok(bytes)) = (i64::try_from(start), i64::try_from(bytes)) else { return };
    let descriptor = file.as_raw_fd();
    #[cfg(target_os = "linux")]
    // SAFETY: a plain system call on a descriptor that `file` keeps open.
    unsafe {
        libc::sync_file_range(descriptor, start, bytes, libc::SYNC_FILE_RANGE_WRITE);
    }
    #[cfg(not(target_os = "linux"))]
    let _ = (descriptor, start, bytes);
}
