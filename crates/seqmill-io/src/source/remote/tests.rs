use super::*;
use seqmill_base::ErrorKind;
use std::sync::atomic::{AtomicU64, Ordering};

const PATH: &str = "https://host/folder/data.bin";

fn data(n: usize) -> Vec<u8> {
    (0..n).map(|i| (i.wrapping_mul(i) >> 5) as u8).collect()
}

/// Lets readers end, also where the test fails.
struct Closing<'a>(&'a Remote);

impl Drop for Closing<'_> {
    fn drop(&mut self) {
        self.0.close();
    }
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
        let _closing = Closing(remote);
        work(path)
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
fn what_is_read_twice_is_asked_for_once() {
    let bytes = data(3_000_000);
    let remote = Remote::new(8, 1 << 20);
    let ((), _, count) = served(&remote, &bytes, |path| {
        let source = remote.open(path).unwrap();
        let mut buffer = vec![0; 65_536];
        // As blocks are read: each with more behind it than it has.
        for offset in (0..2_900_000).step_by(26_000) {
            source.read_at(&mut buffer, offset).unwrap();
            assert_eq!(buffer, bytes[offset as usize..][..65_536]);
        }
    });
    assert!(count < 20, "{count}");
}

#[test]
fn what_is_expected_is_on_its_way_before_it_is_read() {
    let bytes = data(30_000_000);
    let remote = Remote::new(8, 1 << 20);
    let ((), longest, count) = served(&remote, &bytes, |path| {
        let source = remote.open(path).unwrap();
        let places: Vec<u64> = (0..29).map(|i| 1_000 + i * 1_000_000).collect();
        let stretches: Vec<_> = places.iter().map(|at| (*at, at + 900_000)).collect();
        source.expect(&stretches);
        let mut buffer = vec![0; 70_000];
        for at in places {
            for offset in [at, at + 5_000, at + 40_000] {
                source.read_at(&mut buffer, offset).unwrap();
                assert_eq!(buffer, bytes[offset as usize..][..70_000]);
            }
            let held = remote.lock().held;
            assert!(held <= 8 << 20 && (held > 6 << 20 || at > 20_000_000), "{held} at {at}");
        }
        source.expect(&[]);
    });
    assert_eq!(longest, 900_000);
    assert_eq!(count, 29);
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
