//! Files of many shapes are written and, where a Python with pyarrow is at hand, read back.
//!
//! `SEQMILL_PYTHON` names that Python; else `.venv/bin/python` at the root of the repository.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stderr,
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::cast_sign_loss,
    reason = "helpers of tests"
)]

#[path = "parquet_roundtrip/tables.rs"]
mod tables;

use arrow_array::{ArrayRef, Int64Array, RecordBatch, StringArray, UInt16Array};
use arrow_ipc::writer::StreamWriter;
use arrow_schema::{DataType, Field, Schema};
use seqmill_table::parquet::{
    Codec, EncodedBatch, FileFigures, FileState, GroupDictionaries, GroupEnd, LeafEncoding,
    LeafOptions, PageEncoder, ParquetFile, Plan, SortingColumn,
};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use tables::{Random, batch, flat_schema, nested_schema};

/// Reads a Parquet file and an IPC stream and compares schemas, values and statistics.
const CHECKER: &str = r#"
import sys, math
import pyarrow as pa, pyarrow.parquet as pq, pyarrow.compute as pc
def leaves(path, array):
    if pa.types.is_struct(array.type):
        for i, field in enumerate(array.type):
            yield from leaves(path + [field.name], pc.struct_field(array, i))
    elif pa.types.is_list(array.type):
        yield from leaves(path + ["list", "element"], pc.list_flatten(array))
    else:
        yield ".".join(path), array
def bare(t):
    # Nested dictionaries are announced as text.
    if pa.types.is_dictionary(t):
        return t.value_type
    if pa.types.is_struct(t):
        return pa.struct([f.with_type(bare(f.type)) for f in t])
    if pa.types.is_list(t):
        return pa.list_(t.value_field.with_type(bare(t.value_type)))
    return t
bad = 0
for line in sys.stdin.read().split("\n"):
    if not line:
        continue
    parquet, stream = line.split("\t")
    want = pa.ipc.open_stream(stream).read_all()
    try:
        file = pq.ParquetFile(parquet)
        have = file.read()
        have.validate()
        schema = pa.schema([f if pa.types.is_dictionary(f.type) else f.with_type(bare(f.type)) for f in want.schema])
        assert file.schema_arrow.equals(schema, check_metadata=False), (file.schema_arrow, schema)
        assert have.num_rows == want.num_rows, (have.num_rows, want.num_rows)
        for name in want.column_names:
            a, b = have[name].to_pylist(), want[name].to_pylist()
            if repr(a) != repr(b):
                at = [i for i in range(len(a)) if repr(a[i]) != repr(b[i])][0]
                raise AssertionError((name, at, a[at], b[at]))
        row = 0
        for g in range(file.metadata.num_row_groups):
            group = file.metadata.row_group(g)
            part = want.slice(row, group.num_rows)
            row += group.num_rows
            values = {}
            for name in part.column_names:
                for chunk in part[name].chunks:
                    for path, array in leaves([name], chunk):
                        values.setdefault(path, []).extend(array.to_pylist())
            assert group.total_byte_size == sum(group.column(c).total_uncompressed_size for c in range(group.num_columns))
            for c in range(group.num_columns):
                column = group.column(c)
                stats = column.statistics
                assert column.has_offset_index
                if stats is None or not stats.has_min_max:
                    continue
                found = [v for v in values[column.path_in_schema] if v is not None and v == v]
                least, greatest = min(found), max(found)
                text = lambda v: v.encode() if isinstance(v, str) else v
                if isinstance(least, (str, bytes)):
                    assert text(stats.min) <= text(least) and text(stats.max) >= text(greatest), column
                    if len(text(least)) <= 64: assert text(stats.min) == text(least), column
                    if len(text(greatest)) <= 64: assert text(stats.max) == text(greatest), column
                else:
                    assert (stats.min, stats.max) == (least, greatest), (column, least, greatest)
    except Exception as error:
        bad += 1
        print(parquet, type(error).__name__, error)
sys.exit(bad > 0)
"#;

fn folder(name: &str) -> PathBuf {
    let path = std::env::temp_dir().join(format!("seqmill-parquet-{name}-{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&path);
    std::fs::create_dir_all(&path).unwrap();
    path
}

/// What is written: batches, and after which of them a group ends.
struct Case {
    plan: Arc<Plan>,
    batches: Vec<RecordBatch>,
    group_ends: Vec<usize>,
}

struct Paths {
    data: PathBuf,
    spool: PathBuf,
    overflow: PathBuf,
}

impl Paths {
    fn new(folder: &Path, name: &str) -> Self {
        let with = |suffix: &str| folder.join(format!("{name}.{suffix}"));
        Self { data: with("parquet"), spool: with("spool"), overflow: with("overflow") }
    }
}

impl Case {
    /// Writes batches from `first` on; stops behind the first state asked for.
    fn write(
        &self,
        paths: &Paths,
        open_page_bytes: u64,
        from: Option<(&FileState, usize)>,
        stop_after: Option<usize>,
    ) -> Result<FileFigures, FileState> {
        let Paths { data, spool, overflow } = paths;
        let (mut file, first) = match from {
            None => {
                (ParquetFile::create(data, spool, overflow, self.plan.clone(), open_page_bytes), 0)
            }
            Some((state, first)) => (
                ParquetFile::resume(
                    data,
                    spool,
                    overflow,
                    self.plan.clone(),
                    open_page_bytes,
                    state,
                ),
                first,
            ),
        };
        let file_ref = file.as_mut().unwrap();
        let mut encoder = PageEncoder::new(self.plan.clone()).unwrap();
        let mut group = GroupDictionaries::new(&self.plan);
        for (i, batch) in self.batches.iter().enumerate().skip(first) {
            let end = self.group_ends.contains(&i).then(|| GroupEnd {
                sorting: Some(vec![SortingColumn {
                    leaf: 0,
                    descending: false,
                    nulls_first: false,
                }]),
            });
            let encoded = encoder.encode(batch).unwrap();
            let assigned = group.assign(encoded, end);
            let closed = file_ref.append(encoder.finish(assigned).unwrap()).unwrap();
            if closed && stop_after.is_some_and(|at| at <= i) {
                let state = file_ref.state().unwrap();
                // What a killed run leaves behind the checkpoint.
                if let Some(batch) = self.batches.get(i + 1) {
                    let encoded = encoder.encode(batch).unwrap();
                    let assigned = group.assign(encoded, Some(GroupEnd::default()));
                    file_ref.append(encoder.finish(assigned).unwrap()).unwrap();
                    file_ref.state().unwrap();
                }
                return Err(state);
            }
        }
        let last = group.assign(EncodedBatch::empty(), Some(GroupEnd::default()));
        file_ref.append(encoder.finish(last).unwrap()).unwrap();
        let keys = [("seqmill.version".to_owned(), "1".to_owned())];
        Ok(file.unwrap().finish(&keys, "seqmill version 1").unwrap())
    }

    fn write_stream(&self, path: &Path) {
        let file = std::fs::OpenOptions::new().write(true).create_new(true).open(path).unwrap();
        let mut writer = StreamWriter::try_new(file, self.plan.schema()).unwrap();
        self.batches.iter().for_each(|batch| writer.write(batch).unwrap());
        writer.finish().unwrap();
    }
}

fn options(encoding: LeafEncoding, data_type: &DataType, plain: bool) -> LeafOptions {
    let number = data_type.is_integer();
    let text = matches!(data_type, DataType::Utf8 | DataType::Binary | DataType::Dictionary(..));
    let encoding = match encoding {
        LeafEncoding::DeltaBinary | LeafEncoding::DeltaLength if number => {
            LeafEncoding::DeltaBinary
        }
        LeafEncoding::DeltaBinary | LeafEncoding::DeltaLength if text => LeafEncoding::DeltaLength,
        LeafEncoding::DeltaBinary | LeafEncoding::DeltaLength => LeafEncoding::Plain,
        other => other,
    };
    LeafOptions { encoding, statistics: true, plain_fallback: plain }
}

fn plan(schema: &Schema, codec: Codec, encoding: LeafEncoding, plain: bool) -> Arc<Plan> {
    Plan::new(schema, codec, &|_, data_type| options(encoding, data_type, plain)).unwrap()
}

fn python() -> Option<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../.venv/bin/python");
    let python = std::env::var_os("SEQMILL_PYTHON").map_or(root, PathBuf::from);
    let works = Command::new(&python).args(["-c", "import pyarrow.parquet"]).output();
    works.is_ok_and(|out| out.status.success()).then_some(python)
}

/// Reads pairs of files with pyarrow and compares them.
fn check(pairs: &[(PathBuf, PathBuf)]) {
    let Some(python) = python() else {
        eprintln!("SKIPPED reading back: no Python with pyarrow (set SEQMILL_PYTHON)");
        return;
    };
    let mut child = Command::new(python)
        .args(["-c", CHECKER])
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    for (parquet, stream) in pairs {
        writeln!(stdin, "{}\t{}", parquet.display(), stream.display()).unwrap();
    }
    drop(stdin);
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}

#[test]
fn every_type_encoding_and_null_pattern() {
    let folder = folder("matrix");
    let mut pairs = Vec::new();
    let mut r = Random(7);
    let codecs = [Codec::Zstd(1), Codec::None, Codec::Lz4, Codec::Snappy, Codec::Gzip(3)];
    let encodings = [LeafEncoding::Plain, LeafEncoding::Dictionary, LeafEncoding::DeltaBinary];
    for (s, schema) in [flat_schema(true), flat_schema(false), nested_schema()].iter().enumerate() {
        for (e, &encoding) in encodings.iter().enumerate() {
            for percent in [0, 30, 100] {
                for varied in [false, true] {
                    let codec = codecs[(s + e + percent / 30 + usize::from(varied)) % codecs.len()];
                    let sizes = [1, 0, 7, 300, 64, 1000];
                    let mut batches: Vec<RecordBatch> =
                        sizes.iter().map(|n| batch(schema, *n, percent, varied, &mut r)).collect();
                    // Slices that begin inside a byte of the bitmaps.
                    let whole = batches[5].clone();
                    batches.push(whole.slice(3, 500));
                    batches.push(whole.slice(511, 200));
                    let plan = plan(schema, codec, encoding, varied);
                    let case = Case { plan, batches, group_ends: vec![3, 5] };
                    let name = format!("{s}-{e}-{percent}-{varied}");
                    let paths = Paths::new(&folder, &name);
                    let figures =
                        case.write(&paths, u64::MAX, None, None).unwrap_or_else(|_| panic!());
                    assert_eq!(figures.row_groups, 3);
                    assert_eq!(figures.bytes, paths.data.metadata().unwrap().len());
                    let stream = folder.join(format!("{name}.arrows"));
                    case.write_stream(&stream);
                    pairs.push((paths.data, stream));
                }
            }
        }
    }
    check(&pairs);
    if std::env::var_os("SEQMILL_KEEP").is_none() {
        std::fs::remove_dir_all(&folder).unwrap();
    }
}

#[test]
fn no_rows_and_no_groups() {
    let folder = folder("empty");
    let mut pairs = Vec::new();
    for (i, schema) in [flat_schema(true), nested_schema()].iter().enumerate() {
        let plan = plan(schema, Codec::Zstd(1), LeafEncoding::Dictionary, false);
        for (j, batches) in
            [vec![], vec![batch(schema, 0, 0, true, &mut Random(1))]].into_iter().enumerate()
        {
            let case = Case { plan: plan.clone(), batches, group_ends: vec![0] };
            let paths = Paths::new(&folder, &format!("{i}-{j}"));
            let figures = case.write(&paths, 0, None, None).unwrap_or_else(|_| panic!());
            assert_eq!((figures.rows, figures.row_groups), (0, 0));
            let stream = folder.join(format!("{i}-{j}.arrows"));
            case.write_stream(&stream);
            pairs.push((paths.data, stream));
        }
    }
    check(&pairs);
    std::fs::remove_dir_all(&folder).unwrap();
}

#[test]
fn dictionaries_fall_back_within_a_group_and_begin_anew_with_the_next() {
    let folder = folder("fallback");
    let schema = Schema::new(vec![
        Field::new("long", DataType::Utf8, true),
        Field::new("number", DataType::Int64, true),
        Field::new("small", DataType::UInt16, false),
    ]);
    let batches: Vec<RecordBatch> = (0..12)
        .map(|b: i64| {
            // Every value twice in a page, so that no page is too varied by itself.
            let text = (0..8000).map(|i| Some(format!("{:0100}", b * 4000 + i / 2)));
            let number = (0..8000).map(|i| (i % 5 != 0).then_some((b % 6) * 2000 + i / 4));
            let small = (0..8000).map(|i| (i % 7) as u16);
            let columns: Vec<ArrayRef> = vec![
                Arc::new(text.collect::<StringArray>()),
                Arc::new(number.collect::<Int64Array>()),
                Arc::new(small.collect::<UInt16Array>()),
            ];
            RecordBatch::try_new(Arc::new(schema.clone()), columns).unwrap()
        })
        .collect();
    let mut pairs = Vec::new();
    for plain in [false, true] {
        let plan = plan(&schema, Codec::Zstd(1), LeafEncoding::Dictionary, plain);
        let case = Case { plan, batches: batches.clone(), group_ends: vec![5] };
        let paths = Paths::new(&folder, &format!("{plain}"));
        let figures = case.write(&paths, u64::MAX, None, None).unwrap_or_else(|_| panic!());
        let of = |i: usize| figures.leaves[i].encodings.clone();
        let fallback = if plain {
            vec!["PLAIN", "RLE_DICTIONARY"]
        } else {
            vec!["DELTA_LENGTH_BYTE_ARRAY", "RLE_DICTIONARY"]
        };
        assert_eq!(of(0), fallback);
        assert_eq!(of(1), ["RLE_DICTIONARY"]);
        assert_eq!(of(2), ["RLE_DICTIONARY"]);
        let stream = folder.join(format!("{plain}.arrows"));
        case.write_stream(&stream);
        pairs.push((paths.data, stream));
    }
    check(&pairs);
    std::fs::remove_dir_all(&folder).unwrap();
}

#[test]
fn overflow_and_resume_do_not_show_in_the_bytes() {
    let folder = folder("resume");
    let mut r = Random(99);
    let schema = nested_schema();
    let sizes = [500, 400, 0, 300, 200, 100, 600];
    let batches: Vec<RecordBatch> =
        sizes.iter().map(|n| batch(&schema, *n, 20, true, &mut r)).collect();
    let plan = plan(&schema, Codec::Zstd(1), LeafEncoding::Dictionary, false);
    let case = Case { plan, batches, group_ends: vec![1, 3, 4] };
    let paths = Paths::new(&folder, "whole");
    let whole = case.write(&paths, u64::MAX, None, None).unwrap_or_else(|_| panic!());
    let bytes = std::fs::read(&paths.data).unwrap();
    for open_page_bytes in [0, 20_000] {
        let paths = Paths::new(&folder, "overflow");
        let figures = case.write(&paths, open_page_bytes, None, None).unwrap_or_else(|_| panic!());
        assert!(figures.overflow_bytes > 0);
        assert_eq!(figures.leaves, whole.leaves);
        assert!(std::fs::read(&paths.data).unwrap() == bytes);
    }
    for stop in [0, 2, 4] {
        let paths = Paths::new(&folder, "resumed");
        let state = case.write(&paths, 1000, None, Some(stop)).unwrap_err();
        let text = serde_json::to_string(&state).unwrap();
        let state: FileState = serde_json::from_str(&text).unwrap();
        let next = case.group_ends.iter().find(|end| **end >= stop).unwrap() + 1;
        let figures =
            case.write(&paths, 1000, Some((&state, next)), None).unwrap_or_else(|_| panic!());
        assert_eq!(figures.leaves, whole.leaves);
        assert!(std::fs::read(&paths.data).unwrap() == bytes);
    }
    std::fs::remove_dir_all(&folder).unwrap();
}

#[test]
fn any_encoder_may_take_any_step() {
    let folder = folder("encoders");
    let mut r = Random(42);
    let schema = nested_schema();
    let batches: Vec<RecordBatch> =
        [400, 300, 500].iter().map(|n| batch(&schema, *n, 20, false, &mut r)).collect();
    for encoding in [LeafEncoding::Dictionary, LeafEncoding::DeltaLength] {
        let plan = plan(&schema, Codec::Zstd(1), encoding, false);
        let case = Case { plan: plan.clone(), batches: batches.clone(), group_ends: vec![1] };
        let paths = Paths::new(&folder, "one");
        case.write(&paths, u64::MAX, None, None).unwrap_or_else(|_| panic!());
        let bytes = std::fs::read(&paths.data).unwrap();
        // As if each step ran on a thread that had not worked before, all first steps ahead.
        let fresh = || PageEncoder::new(plan.clone()).unwrap();
        let mut encoded: Vec<EncodedBatch> =
            batches.iter().rev().map(|batch| fresh().encode(batch).unwrap()).collect();
        let mut group = GroupDictionaries::new(&plan);
        let Paths { data, spool, overflow } = &paths;
        let mut file = ParquetFile::create(data, spool, overflow, plan.clone(), 0).unwrap();
        let first = GroupEnd {
            sorting: Some(vec![SortingColumn { leaf: 0, descending: false, nulls_first: false }]),
        };
        for end in [None, Some(first), Some(GroupEnd::default())] {
            let assigned = group.assign(encoded.pop().unwrap(), end);
            file.append(fresh().finish(assigned).unwrap()).unwrap();
        }
        let keys = [("seqmill.version".to_owned(), "1".to_owned())];
        file.finish(&keys, "seqmill version 1").unwrap();
        assert!(std::fs::read(data).unwrap() == bytes);
    }
    std::fs::remove_dir_all(&folder).unwrap();
}

#[test]
fn more_groups_than_their_ordinals_can_count() {
    let folder = folder("groups");
    let schema = Schema::new(vec![Field::new("a", DataType::Int32, true)]);
    let one = batch(&schema, 1, 0, true, &mut Random(5));
    let plan = plan(&schema, Codec::None, LeafEncoding::DeltaBinary, false);
    let count = 33_000;
    let case = Case { plan, batches: vec![one; count], group_ends: (0..count).collect() };
    let paths = Paths::new(&folder, "groups");
    let figures = case.write(&paths, 0, None, None).unwrap_or_else(|_| panic!());
    assert_eq!(figures.row_groups, count as u64);
    let stream = folder.join("groups.arrows");
    case.write_stream(&stream);
    check(&[(paths.data, stream)]);
    std::fs::remove_dir_all(&folder).unwrap();
}

#[test]
fn what_does_not_fit_is_an_error() {
    let schema = Schema::new(vec![Field::new("a", DataType::Int32, false)]);
    let plan = plan(&schema, Codec::Zstd(1), LeafEncoding::Plain, false);
    assert_eq!(plan.leaf_index("a"), Some(0));
    assert_eq!(plan.leaf_index("b"), None);
    let other = Schema::new(vec![Field::new("a", DataType::Int64, false)]);
    let mut encoder = PageEncoder::new(plan).unwrap();
    assert!(encoder.encode(&batch(&other, 3, 0, true, &mut Random(3))).is_err());
    let bad = |encoding| {
        Plan::new(&schema, Codec::None, &|_, _| LeafOptions {
            encoding,
            statistics: true,
            plain_fallback: false,
        })
    };
    assert!(bad(LeafEncoding::DeltaLength).is_err());
    let plan = bad(LeafEncoding::Plain).unwrap();
    assert!(PageEncoder::new(plan).is_ok());
    let plan = Plan::new(&schema, Codec::Zstd(99), &|_, _| LeafOptions {
        encoding: LeafEncoding::Plain,
        statistics: true,
        plain_fallback: false,
    });
    assert!(PageEncoder::new(plan.unwrap()).is_err());
    assert_eq!(nested_schema().fields().len(), 34);
}
