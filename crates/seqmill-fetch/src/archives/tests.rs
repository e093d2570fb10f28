//! Archives as a backend, with one whose lines are `SAMPLE CONTIG BASES`.

use super::*;
use crate::batch::Window;
use crate::encode::Encoder;
use crate::options::Root;
use crate::window::OutOfRange;
use seqmill_base::CancelToken;
use seqmill_io::fasta::ContigInfo;

struct Lined(Vec<(Vec<u8>, ContigInfo, Vec<u8>)>);

fn open_lined(path: &Path, _: u64) -> Result<Shared> {
    let text = std::fs::read(path).map_err(|e| Error::io(path, &e))?;
    let mut rows = Vec::new();
    for line in text.split(|&b| b == b'\n').filter(|line| !line.is_empty()) {
        let mut words = line.split(|&b| b == b' ').map(<[u8]>::to_vec);
        let (Some(sample), Some(name), Some(bases)) = (words.next(), words.next(), words.next())
        else {
            return Err(Error::format(FormatKind::Other, "not lined").at_path(path));
        };
        rows.push((sample, ContigInfo { name, length: bases.len() as u64 }, bases));
    }
    Ok(Arc::new(Lined(rows)))
}

impl Lined {
    fn of(&self, sample: usize) -> Vec<&(Vec<u8>, ContigInfo, Vec<u8>)> {
        let name = &self.samples().unwrap()[sample];
        self.0.iter().filter(|row| &row.0 == name).collect()
    }
}

impl SequenceArchive for Lined {
    fn samples(&self) -> Result<Vec<Vec<u8>>> {
        let mut names: Vec<Vec<u8>> = self.0.iter().map(|row| row.0.clone()).collect();
        names.dedup();
        Ok(names)
    }

    fn contigs(&self, sample: usize) -> Result<Vec<ContigInfo>> {
        Ok(self.of(sample).iter().map(|row| row.1.clone()).collect())
    }

    fn record(&self, sample: usize, contig: usize) -> Result<Option<(Vec<u8>, u64)>> {
        let found = self.contigs(sample)?.into_iter().nth(contig);
        Ok(found.map(|info| (info.name, info.length)))
    }

    fn read_range(&self, sample: usize, contig: usize, start: u64, into: &mut [u8]) -> Result<()> {
        let bases = &self.of(sample)[contig].2;
        let start = usize::try_from(start).unwrap();
        into.copy_from_slice(&bases[start..start + into.len()]);
        Ok(())
    }

    fn cost_bases(&self) -> u64 {
        1
    }
}

fn options() -> OpenOptions {
    let suffixes = [".fa", ".agc"].map(str::to_owned).into();
    OpenOptions { suffixes, archives: Some(open_lined), ..OpenOptions::default() }
}

fn folder(name: &str) -> PathBuf {
    let folder = std::env::temp_dir().join(format!("seqmill-{name}-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    folder
}

fn names(store: &Store) -> Vec<String> {
    (0..store.files())
        .map(|file| String::from_utf8_lossy(store.name(file).unwrap()).into_owned())
        .collect()
}

#[test]
fn samples_are_files_of_the_store() {
    let folder = folder("archive");
    std::fs::write(folder.join("x.agc"), b"s2 c1 ACGTACGTN\ns2 c2 TT\ns1 c1 GGA\n").unwrap();
    std::fs::write(folder.join("x-y.fa"), b">c\nACG\n").unwrap();
    let root = Root::Directory(folder.clone());
    let store = Store::open(root.clone(), options()).unwrap();
    assert_eq!(names(&store), ["x-y", "x/s1", "x/s2"]);
    assert!(store.path(2).unwrap().ends_with("x.agc"));
    let file = store.find_file(b"x/s2").unwrap();
    let contig = store.find_contig(file, b"c1").unwrap();
    let place = store.place(&contig, 1, Some(9), OutOfRange::Error).unwrap();
    let identity = Encoder::identity();
    let mut out = [0; 8];
    store.read(&contig, &place, true, (&identity, b'N'), &mut out).unwrap();
    assert_eq!(&out, b"NACGTACG");
    let window = |file, start, end| Window {
        file,
        contig: 0,
        place: Place { start, end, left: 0, right: 0 },
        minus: false,
    };
    let windows = [window(2, 4, 9), window(0, 1, 3), window(1, 0, 3), window(2, 0, 2)];
    let mut out = [0; 12];
    let cancel = CancelToken::default();
    store.read_many(&windows, 0, (&identity, b'N'), &mut out, 2, &cancel).unwrap();
    assert_eq!(&out, b"ACGTNCGGGAAC");
    assert!(store.pack(2, &cancel).is_err());
    drop(store);
    let again = Store::open(root.clone(), options()).unwrap();
    assert!(!again.was_built());
    // Another file is added: what is known of the samples is copied.
    std::fs::write(folder.join("z.fa"), b">c\nACG\n").unwrap();
    let grown = Store::open(root.clone(), options()).unwrap();
    assert_eq!(names(&grown), ["x-y", "x/s1", "x/s2", "z"]);
    assert_eq!(grown.find_contig(2, b"c2").unwrap().length(), 2);
    assert_eq!(
        grown.build_id(),
        Store::open(root, OpenOptions { no_cache: true, ..options() }).unwrap().build_id()
    );
    std::fs::remove_dir_all(folder).unwrap();
}

#[test]
fn one_sample_is_named_behind_a_colon_and_damage_is_told() {
    let folder = folder("sample");
    std::fs::write(folder.join("x.agc"), b"s:2 c1 ACGT\ns1 c1 GGA\n").unwrap();
    std::fs::write(folder.join("bad.agc"), b"nonsense\n").unwrap();
    let open = |files: &[&str], archives| {
        let files = files.iter().map(PathBuf::from).collect();
        Store::open(Root::Files(folder.clone(), files), OpenOptions { archives, ..options() })
    };
    assert_eq!(names(&open(&["x.agc:s:2"], Some(open_lined)).unwrap()), ["x/s:2"]);
    let error = open(&["x.agc:s3"], Some(open_lined)).err().unwrap();
    assert!(error.to_string().contains("no sample \"s3\""), "{error}");
    for (file, opener, words) in
        [("bad.agc", Some(open_lined as _), "not lined"), ("x.agc", None, "this build")]
    {
        let store = open(&[file], opener).unwrap();
        let failure = store.failure(0).unwrap().unwrap();
        assert!(failure.to_string().contains(words), "{failure}");
    }
    std::fs::remove_dir_all(folder).unwrap();
}
