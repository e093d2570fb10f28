use super::*;
use seqmill_base::ErrorKind;
use std::sync::atomic::{AtomicU64, Ordering};

const PATH: &str = "https://host/folder/data.bin";

fn data(n: usize) -> Vec<u8> {
    (0..n).map(|i| (i.wrapping_mul(i) >> 5) as u8).collect()
}

/// Runs `work` with readers that serve `bytes`; gives the longest range and how many there were.
fn served<T>(remote: &Arc<Remote>, bytes: &[u8], work: impl FnOnce(&Path) -> T) -> (T, u64, u64) {
    let path = Path::new(PATH);
    remote.add(path.to_path_buf(), RemoteObject { size: bytes.len() as u64, tag: 7 });
    let (longest, count) = (AtomicU64::new(0), AtomicU64::new(0));
    let queue = remote.queue();
    let result = std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                while let Some(request) = queue.next_request() {
                    longest.fetch_max(request.length, Ordering::Relaxed);
                    count.fetch_add(1, Ordering::Relaxed);
                    let begin = request.offset as usize;
                    let range = &bytes[begin..begin + request.length as usize];
                    for piece in range.chunks(1000) {
                        queue.append(request.id, piece);
                    }
                    queue.finish(request.id, Ok(()));
                }
            });
        }
        let result = work(path);
        remote.close();
        result
    });
    assert_eq!(remote.lock().held, 0);
    (result, longest.into_inner(), count.into_inner())
}

#[test]
fn bytes_are_those_of_the_file_in_any_order() {
    let bytes = data(3_000_001);
    let remote = Remote::new(4, 100_000);
    let (all, longest, count) = served(&remote, &bytes, |path| {
        let source = remote.open(path).unwrap();
        let mut buffer = vec![0; 70_000];
        for offset in [2_999_000, 0, 1_500_000, 1_400_000, 1_450_000, 0] {
            let got = source.read_at(&mut buffer, offset).unwrap();
            assert_eq!(buffer[..got], bytes[offset as usize..][..got]);
            assert_eq!(got, 70_000.min(bytes.len() - offset as usize));
        }
        assert_eq!(source.read_at(&mut buffer, 3_000_001).unwrap(), 0);
        let mut all = Vec::new();
        loop {
            let got = source.read_at(&mut buffer, all.len() as u64).unwrap();
            if got == 0 {
                return all;
            }
            all.extend_from_slice(&buffer[..got]);
            assert!(remote.lock().held <= 500_000);
        }
    });
    assert!(all == bytes);
    assert!(longest <= 100_000);
    assert!(count < 80, "{count}");
}

#[test]
fn a_lone_read_asks_for_little() {
    let bytes = data(3_000_000);
    let remote = Remote::new(8, 1 << 20);
    let ((), longest, count) = served(&remote, &bytes, |path| {
        let source = remote.open(path).unwrap();
        source.read_at(&mut [0; 100], 1_000_000).unwrap();
    });
    assert_eq!((longest, count), (64 << 10, 1));
}

#[test]
fn fingerprints_are_those_of_local_copies() {
    let folder = std::env::temp_dir().join(format!("seqmill-remote-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    for n in [0, 10, 2_500_000] {
        let bytes = data(n);
        std::fs::write(folder.join("copy"), &bytes).unwrap();
        let remote = Remote::new(2, 300_000);
        let (print, ..) =
            served(&remote, &bytes, |path| remote.open(path).unwrap().fingerprint().unwrap());
        let local = seqmill_base::fingerprint::fingerprint(&folder.join("copy")).unwrap();
        assert_eq!((print.size, print.hash, print.mtime_ns), (local.size, local.hash, 7));
    }
    std::fs::remove_dir_all(folder).unwrap();
}

#[test]
fn errors_and_short_answers_reach_the_reader() {
    let remote = Remote::new(2, 1000);
    remote.add(PATH.into(), RemoteObject { size: 5000, tag: 0 });
    let source = remote.open(Path::new(PATH)).unwrap();
    let reader = remote.queue();
    let thread = std::thread::spawn(move || {
        let first = reader.next_request().unwrap();
        let error = Error::system(Path::new(PATH), libc::ETIMEDOUT, "byte 0: too slow");
        reader.finish(first.id, Err(error));
        let second = reader.next_request().unwrap();
        reader.append(second.id, b"few");
        reader.finish(second.id, Ok(()));
    });
    let error = source.read_at(&mut [0; 10], 0).unwrap_err();
    assert_eq!((error.kind(), error.errno()), (ErrorKind::Io, Some(libc::ETIMEDOUT)));
    assert!(error.to_string().contains("https://host/folder/data.bin: byte 0: too slow"));
    assert_eq!(source.read_at(&mut [0; 10], 0).unwrap_err().kind(), ErrorKind::Internal);
    thread.join().unwrap();
    assert!(remote.open(Path::new("https://host/other")).is_err());
}

#[test]
fn a_cancelled_job_waits_no_longer() {
    let remote = Remote::new(2, 1000);
    remote.add(PATH.into(), RemoteObject { size: 5000, tag: 0 });
    let token = CancelToken::default();
    let watch = remote.stop_with(token.clone());
    token.cancel();
    let source = remote.open(Path::new(PATH)).unwrap();
    assert_eq!(source.read_at(&mut [0; 10], 0).unwrap_err().kind(), ErrorKind::Cancelled);
    assert_eq!(remote.lock().asked.len(), 0);
    drop(watch);
    assert!(remote.lock().jobs.is_empty());
}
