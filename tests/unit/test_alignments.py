import json
import multiprocessing
import os
import pickle
import threading
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from jsonschema import Draft202012Validator

import seqmill
from seqmill import alignments, simulate
from seqmill._footer import read_metadata, read_row_groups
from seqmill._keywords import ConvertOptions, ScanOptions
from seqmill._lazy import translate_predicate
from seqmill.errors import (
    BudgetError,
    CancelledError,
    ChecksumError,
    FormatError,
    InputError,
    NotFoundError,
    OutputExistsError,
)
from seqmill.progress import Progress
from seqmill.report import load_schema

RECORDS = 835


@pytest.fixture(scope="module")
def small(example_data: Path) -> Path:
    return example_data / "small.bam"


@pytest.fixture(scope="module")
def damaged(tmp_path_factory: pytest.TempPathFactory, small: Path) -> Path:
    """A file with a wrong checksum in its last but one block."""
    data = bytearray(small.read_bytes())
    data[-28 - 8] ^= 1
    path = tmp_path_factory.mktemp("damaged") / "damaged.bam"
    path.write_bytes(data)
    return path


def test_public_names() -> None:
    assert seqmill.__all__ == [
        "Archive",
        "ArchiveWriter",
        "CoverageTable",
        "FastaStore",
        "KmerTable",
        "__version__",
        "convert",
        "count_kmers",
        "find_repeats",
        "measure_coverage",
        "merge_kmers",
        "scan_alignments",
    ]
    assert set(seqmill.__all__) <= set(dir(seqmill))
    assert seqmill.convert is alignments.convert
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = seqmill.nothing


@pytest.mark.parametrize("suffix", ["parquet", "arrow", "feather", "ipc", "arrows"])
def test_every_format_holds_the_same_table(small: Path, tmp_path: Path, suffix: str) -> None:
    output = tmp_path / f"out.{suffix}"
    done = seqmill.convert(small, output)
    assert (done.records, done.outputs, done.warnings) == (RECORDS, (str(output),), ())
    with seqmill.scan_alignments(small) as scan:
        expected = scan.to_table()
    if suffix == "parquet":
        found = pq.read_table(output, read_dictionary=["rname", "rnext"])
    elif suffix == "arrows":
        found = pa.ipc.open_stream(output).read_all()
    else:
        found = pa.ipc.open_file(output).read_all()
    assert found.column_names == expected.column_names
    assert found.num_rows == RECORDS
    for name in expected.column_names:
        assert found[name].to_pylist() == expected[name].to_pylist(), name


def test_metadata_say_what_the_file_is(small: Path, tmp_path: Path) -> None:
    for suffix in ("parquet", "arrow"):
        output = tmp_path / f"out.{suffix}"
        seqmill.convert(small, output, min_mapq=30)
        metadata = read_metadata(str(output))
        assert metadata["seqmill.schema"] == "alignments/1"
        assert json.loads(metadata["sam.references"])[0] == ["chr1", 60_000]
        assert json.loads(metadata["seqmill.options"])["min_mapq"] == 30
        assert str(tmp_path) not in json.dumps(metadata)
        if suffix == "parquet":
            arrow = {k.decode(): v.decode() for k, v in pq.read_metadata(output).metadata.items()}
            assert metadata == arrow
    seqmill.convert(small, tmp_path / "bare.parquet", provenance=False)
    assert "seqmill.options" not in read_metadata(str(tmp_path / "bare.parquet"))


def test_existing_output_is_refused_and_replaced(small: Path, tmp_path: Path) -> None:
    output = tmp_path / "out.parquet"
    output.write_text("precious")
    with pytest.raises(OutputExistsError) as caught:
        seqmill.convert(small, output)
    assert caught.value.path == str(output)
    assert output.read_text() == "precious"
    seqmill.convert(small, output, force=True)
    assert pq.read_metadata(output).num_rows == RECORDS


def test_input_is_never_replaced(small: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy.parquet"
    copy.write_bytes(small.read_bytes())
    with pytest.raises(InputError, match="is an input and the output"):
        seqmill.convert(copy, copy, force=True)
    assert copy.read_bytes() == small.read_bytes()


@pytest.mark.parametrize(
    ("keywords", "words"),
    [
        ({}, "give an output"),
        ({"output": "x.parquet", "out_dir": "d"}, "give an output"),
        ({"output": "x.txt"}, "names no format"),
        ({"output": "-", "format": "parquet"}, "needs a file"),
        ({"output": "x.parquet", "name": "{stem}.parquet"}, "name needs out_dir"),
        ({"out_dir": "d", "name": "{wrong}"}, "no name of a file"),
        ({"out_dir": "d", "name": "../{stem}.parquet"}, "no name of a file"),
        ({"out_dir": "d", "partition_by": "colour"}, "partition_by takes source"),
        ({"output": "x.parquet", "index_only": True}, "writes no table"),
        ({"output": "x.parquet", "min_mapq": 256}, "min_mapq takes 0 to 255"),
        ({"output": "x.parquet", "regions": []}, "None selects everything"),
        ({"output": "x.parquet", "regions": [("chr1", 5, 3)]}, "0-based and half-open"),
        ({"output": "x.parquet", "tag_types": ["NM"]}, "tags with a type"),
        ({"output": "x.parquet", "tag_types": ["NM:q"]}, "none of A i f Z H"),
        ({"output": "x.parquet", "shard": (4, 4)}, "shard takes"),
        ({"output": "x.parquet", "compression": "zstd:x"}, "zstd:3"),
        ({"output": "x.parquet", "compression": "brotli"}, "brotli"),
        ({"output": "x.parquet", "checkpoint_every": "1s|2s"}, "checkpoint_every takes"),
        ({"output": "x.parquet", "batch_bytes": "many"}, "batch_bytes takes"),
        ({"output": "x.parquet", "io": "tape"}, "read, map, direct"),
        ({"output": "x.parquet", "strict": 1}, "True or False"),
        ({"output": "x.parquet", "bloom": ["qname"]}, "cannot do that yet"),
        ({"output": "x.parquet", "files_in_flight": 0}, "1 and more"),
        ({"output": "-", "resume": True}, "needs an output that is a file"),
    ],
)
def test_wrong_options_are_told(
    small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, keywords: Any, words: str
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError) as caught:
        seqmill.convert(small, **keywords)
    assert words in str(caught.value)
    assert list(tmp_path.rglob("*.parquet*")) == []


def test_options_of_one_file_are_refused_for_several(small: Path, tmp_path: Path) -> None:
    for name in ("index", "mate", "bad_records"):
        with pytest.raises(InputError, match=name):
            seqmill.convert([small, small.with_name("long.bam")], out_dir=tmp_path, **{name: small})  # type: ignore[arg-type]


def test_unknown_keywords_are_told(small: Path) -> None:
    with pytest.raises(TypeError, match="did you mean 'min_mapq'"):
        seqmill.convert(small, "x.parquet", min_mpq=3)  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="writes no file"):
        seqmill.scan_alignments(small, compression="zstd")  # type: ignore[call-arg]
    with pytest.raises(InputError, match="such addresses"):
        seqmill.scan_alignments("ftp://host/x.bam")


def test_names_that_do_not_exist(small: Path, tmp_path: Path) -> None:
    output = tmp_path / "out.parquet"
    for keywords in ({"regions": "chr9"}, {"columns": "qname,nope"}, {"filter": "flag.nope"}):
        with pytest.raises(NotFoundError):
            seqmill.convert(small, output, **keywords)  # type: ignore[arg-type]
    with pytest.raises(FileNotFoundError):
        seqmill.convert(tmp_path / "absent.bam", output)
    assert list(tmp_path.iterdir()) == []


def test_budget_too_small_names_one_that_works(small: Path, tmp_path: Path) -> None:
    with pytest.raises(BudgetError) as caught:
        seqmill.convert(small, tmp_path / "out.parquet", memory="1M", threads=1)
    assert caught.value.needed
    assert caught.value.needed > 1 << 20
    assert list(tmp_path.iterdir()) == []


def test_lists_and_regions_from_files(small: Path, tmp_path: Path, example_data: Path) -> None:
    import gzip  # noqa: PLC0415

    names = tmp_path / "names.txt.gz"
    with seqmill.scan_alignments(small, columns="qname") as scan:
        some = sorted(set(scan.to_table()["qname"].to_pylist()))[:5]
    names.write_bytes(gzip.compress("\n".join([*some, ""]).encode()))
    with seqmill.scan_alignments(small, name_in=f"@{names}") as scan:
        assert set(scan.to_table()["qname"].to_pylist()) == set(some)
    bed = example_data / "regions.bed"
    regions = [line.split("\t")[:3] for line in bed.read_text().splitlines()]
    strings = tmp_path / "regions.txt"
    strings.write_text("".join(f"{n}:{int(b) + 1}-{e}\n" for n, b, e in regions))
    tuples = [(name, int(begin), int(end)) for name, begin, end in regions]
    wanted: list[Any] = [{"regions_file": bed}, {"regions_file": strings}, {"regions": tuples}]
    counts = [seqmill.scan_alignments(small, **keywords).count() for keywords in wanted]
    assert len(set(counts)) == 1
    assert 0 < counts[0] < RECORDS


@pytest.mark.parametrize(
    ("name", "text", "line"),
    [
        ("a.bed", "chr1\t1\t5\nchr1\t7\t2\n", 2),
        ("b.bed", "chr1\tx\t5\n", 1),
        ("c.bed", "chr1\n", 1),
        ("d.bed", "# nothing\ntrack x\n", None),
        ("e.txt", "\n", None),
    ],
)
def test_bad_lines_of_region_files(
    small: Path, tmp_path: Path, name: str, text: str, line: int | None
) -> None:
    path = tmp_path / name
    path.write_text(text)
    with pytest.raises(FormatError) as caught:
        seqmill.scan_alignments(small, regions_file=path)
    assert (caught.value.path, caught.value.line) == (str(path), line)


def test_progress_begins_and_ends(small: Path, tmp_path: Path) -> None:
    seen: list[Progress] = []
    seqmill.convert(small, tmp_path / "out.parquet", progress=seen.append)
    assert seen[0].phase == "convert"
    assert [progress.done for progress in seen] == [False] * (len(seen) - 1) + [True]
    assert (seen[-1].fraction, seen[-1].records) == (1.0, RECORDS)


def test_progress_comes_on_the_calling_thread(small: Path, tmp_path: Path) -> None:
    threads: set[int] = set()

    def note(progress: Progress) -> None:
        del progress
        threads.add(threading.get_ident())

    seqmill.convert([small, small.with_name("long.bam")], out_dir=tmp_path, progress=note)
    assert threads == {threading.get_ident()}


def test_progress_cancels(small: Path, tmp_path: Path) -> None:
    with pytest.raises(CancelledError) as caught:
        seqmill.convert(small, tmp_path / "out.parquet", progress=lambda _: False)
    assert not (tmp_path / "out.parquet").exists()
    if (tmp_path / "out.parquet.seqmill").exists():
        assert any("--resume" in note for note in caught.value.__notes__)


def test_error_in_progress_is_raised(small: Path, tmp_path: Path) -> None:
    class Stop(Exception):  # noqa: N818 - of the user
        pass

    def callback(progress: Progress) -> None:
        raise Stop(progress.phase)

    for keywords in ({"output": tmp_path / "out.parquet"}, {"out_dir": tmp_path / "dir"}):
        with pytest.raises(Stop, match="convert"):
            seqmill.convert([small, small.with_name("long.bam")], progress=callback, **keywords)  # type: ignore[arg-type]


def test_metrics_follow_the_schema(small: Path, tmp_path: Path) -> None:
    inputs = [small, small.with_name("long.bam")]
    target = tmp_path / "metrics.json"
    for keywords in ({"output": tmp_path / "out.parquet"}, {"out_dir": tmp_path / "dir"}):
        done = seqmill.convert(inputs, metrics=target, overview=True, **keywords)  # type: ignore[arg-type]
        document = json.loads(target.read_text())
        Draft202012Validator(load_schema()).validate(document)
        assert document["totals"] == done.metrics.totals
        assert document["totals"]["records_out"] == done.records == RECORDS + 32
        assert sum(document["detail"]["overview"]["mapq"]) == done.records
        references = document["detail"]["overview"]["references"]
        assert sum(reference["records"] for reference in references) == done.records
        assert document["memory"]["limit"] == 512 << 20 or document["memory"]["limit"] > 512 << 20
        assert all(len(sample) == 2 for sample in document["detail"]["memory_samples"])
        assert sum(item["records"] for item in document["outputs"]) == done.records


def test_metrics_of_a_failed_job(damaged: Path, tmp_path: Path) -> None:
    target = tmp_path / "metrics.json"
    with pytest.raises(ChecksumError):
        seqmill.convert(damaged, tmp_path / "out.parquet", metrics=target)
    job = json.loads(target.read_text())["job"]
    assert (job["status"], job["exit_code"]) == ("failed", 65)


def test_many_files(small: Path, damaged: Path, tmp_path: Path) -> None:
    long = small.with_name("long.bam")
    done = seqmill.convert([small, damaged, long], out_dir=tmp_path, threads=2)
    assert [file.status for file in done.files] == ["done", "failed", "done"]
    assert isinstance(done.failed[0].error, ChecksumError)
    assert done.metrics.job["exit_code"] == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["long.parquet", "small.parquet"]
    with pytest.raises(ChecksumError):
        seqmill.convert([damaged, long], out_dir=tmp_path / "fast", fail_fast=True, threads=1)


def test_many_files_give_the_bytes_of_one(small: Path, tmp_path: Path) -> None:
    for number in range(6):
        (tmp_path / f"in{number}.bam").write_bytes(small.read_bytes())
    inputs = sorted(tmp_path.glob("in*.bam"))
    for threads, at_once in ((1, None), (4, None), (4, 2), (8, 6)):
        folder = tmp_path / f"{threads}-{at_once}"
        done = seqmill.convert(
            inputs,
            out_dir=folder,
            threads=threads,
            files_in_flight=at_once,
            name="{stem}.pq",
            format="parquet",
        )
        assert not done.failed
        for path in inputs:
            one = tmp_path / f"one-{path.stem}.parquet"
            seqmill.convert(path, one, force=True)
            assert (folder / f"{path.stem}.pq").read_bytes() == one.read_bytes()


def test_wrong_option_for_all_files_is_raised(small: Path, tmp_path: Path) -> None:
    with pytest.raises(NotFoundError):
        seqmill.convert([small, small.with_name("long.bam")], out_dir=tmp_path, columns="nope")


def test_two_outputs_of_one_name(small: Path, tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "small.bam").write_bytes(small.read_bytes())
    with pytest.raises(InputError, match="would both become"):
        seqmill.convert([small, tmp_path / "a" / "small.bam"], out_dir=tmp_path / "out")


def test_inputs_from_a_list(small: Path, tmp_path: Path) -> None:
    listed = tmp_path / "inputs.txt"
    listed.write_text(f"{small}\n\n{small.with_name('long.bam')}\n")
    done = seqmill.convert(f"@{listed}", tmp_path / "all.parquet")
    table = pq.read_table(done.outputs[0])
    assert table["source"].to_pylist() == ["small.bam"] * RECORDS + ["long.bam"] * 32


def test_resume_skips_what_is_finished(small: Path, tmp_path: Path) -> None:
    inputs = [small, small.with_name("long.bam")]
    for suffix in ("parquet", "arrow"):
        folder = tmp_path / suffix
        keywords: dict[str, Any] = {"out_dir": folder, "format": suffix, "resume": True}
        seqmill.convert(inputs, min_mapq=20, **keywords)
        (folder / f"long.{suffix}").unlink()
        again = seqmill.convert(inputs, min_mapq=20, tags_from="all", **keywords)
        assert [file.status for file in again.files] == ["skipped", "done"]
        other = seqmill.convert(inputs, min_mapq=21, **keywords)
        assert [type(file.error) for file in other.failed] == [OutputExistsError] * 2


@pytest.mark.parametrize("indexed", [True, False])
def test_partitions_hold_every_record_once(small: Path, tmp_path: Path, indexed: bool) -> None:  # noqa: FBT001
    path = tmp_path / "in.bam"
    path.write_bytes(small.read_bytes())
    if indexed:
        (tmp_path / "in.bam.bai").write_bytes(small.with_name("small.bam.bai").read_bytes())
    folder = tmp_path / "parts"
    done = seqmill.convert(path, out_dir=folder, partition_by=["rname", "read_group"])
    assert done.records == RECORDS
    assert len(done.outputs) == len(list(folder.rglob("*.parquet")))
    frame = pl.scan_parquet(folder / "**/*.parquet", hive_partitioning=False).collect()
    with seqmill.scan_alignments(path) as scan:
        whole = scan.to_polars()
    key = ["qname", "flag", "pos"]
    assert frame.select(key).sort(key).equals(whole.select(key).sort(key))
    for output in done.outputs:
        part = pq.read_table(output)
        place = dict(piece.split("=") for piece in Path(output).parts if "=" in piece)
        names = set(part["rname"].to_pylist())
        groups = {row["RG"] for row in part["tags"].to_pylist()}
        assert groups == {place["read_group"]}
        wanted = place["rname"].replace("%2A", "*").replace("%3A", ":")
        assert names == ({None} if wanted.startswith("__HIVE") else {wanted})


def test_row_groups_end_where_the_reference_changes(small: Path, tmp_path: Path) -> None:
    output = tmp_path / "out.parquet"
    for rows in (1, 7, 100):
        target = 8 * 400 * rows
        seqmill.convert(
            small, output, row_group_bytes=target, batch_bytes=max(400, target // 9), force=True
        )
        file = pq.ParquetFile(output)
        for number in range(file.num_row_groups):
            names = file.read_row_group(number, columns=["rname"])["rname"].to_pylist()
            # A group goes on to another reference only while it is small.
            first = next((at for at, name in enumerate(names) if name != names[0]), 0)
            assert first <= 1.5 * rows


def test_explain_counts_row_groups(small: Path, tmp_path: Path) -> None:
    from seqmill._explain import explain_regions  # noqa: PLC0415

    output = tmp_path / "out.parquet"
    seqmill.convert(small, output, row_group_bytes="32K", batch_bytes="8K")
    groups = read_row_groups(str(output))
    assert len(groups) == pq.read_metadata(output).num_row_groups > 5
    for region in ("chr1:1-500", "chr2", "{HLA-A*01:01}:5-9", "chr1:59,990"):
        (found,) = explain_regions(output, [region])
        (records,) = [seqmill.scan_alignments(small, regions=region).count()]
        assert records <= found.rows < RECORDS
        assert 0 <= found.groups < found.all_groups
    assert explain_regions(output, ["chr1"])[0].groups > 1
    with pytest.raises(FormatError, match="not a Parquet file"):
        explain_regions(small, ["chr1"])


def test_chunk_index_and_shards(small: Path, tmp_path: Path) -> None:
    path = tmp_path / "in.bam"
    path.write_bytes(small.read_bytes())
    done = seqmill.convert(path, index_only=True)
    assert done.outputs == (f"{path}.smci",)
    counts = [seqmill.scan_alignments(path, shard=(part, 3)).count() for part in range(3)]
    assert sum(counts) == RECORDS


def test_keywords_are_those_of_convert() -> None:
    assert set(ScanOptions.__annotations__) < set(ConvertOptions.__annotations__)
    documented = {
        name.strip()
        for options in (ScanOptions, ConvertOptions)
        for line in (options.__doc__ or "").splitlines()
        if line.startswith("    ") and not line.startswith("     ")
        for name in line.split(",")
    }
    assert set(ConvertOptions.__annotations__) <= documented


def test_scan_tells_what_is_there(small: Path) -> None:
    with seqmill.scan_alignments(small) as scan:
        assert scan.references[0] == ("chr1", 60_000)
        assert scan.header.startswith("@HD")
        assert scan.schema.names[:3] == ["qname", "flag", "rname"]
        assert scan.schema.metadata[b"seqmill.coords"] == b"11"
        assert scan.metrics is None
        assert scan.count() == RECORDS
        assert repr(scan) == f"AlignmentScan({small})"
    with pytest.raises(InputError, match="closed"):
        scan.count()


def test_every_consumer_sees_the_same(small: Path) -> None:
    duckdb = pytest.importorskip("duckdb")
    pytest.importorskip("pandas")
    with seqmill.scan_alignments(small) as scan:
        table = scan.to_table()
        assert table.equals(pa.table(scan))
        assert pa.Table.from_batches(scan).equals(table)
        assert scan.to_reader().read_all().equals(table)
        assert scan.metrics
        assert scan.metrics["totals"]["records_out"] == RECORDS
        frame = scan.to_polars()
        assert frame.equals(pl.DataFrame(scan))
        assert frame["qname"].to_list() == table["qname"].to_pylist()
        assert scan.to_polars(lazy=True).collect().equals(frame)
        assert scan.to_pandas()["pos"].notna().sum() == frame["pos"].is_not_null().sum()
        with duckdb.connect() as connection:
            relation = scan.to_duckdb(connection)
            assert relation.aggregate("count(*), sum(mapq)").fetchall() == [
                (RECORDS, frame["mapq"].sum())
            ]


@pytest.mark.parametrize(
    "consumer", ["to_table", "to_polars", "to_pandas", "count", "reader", "lazy"]
)
def test_errors_have_our_classes(damaged: Path, consumer: str) -> None:
    scan = seqmill.scan_alignments(damaged)
    consume = {
        "reader": lambda: scan.to_reader().read_all(),
        "lazy": lambda: scan.to_polars(lazy=True).collect(),
    }.get(consumer) or getattr(scan, consumer)
    expected = pl.exceptions.ComputeError if consumer == "lazy" else ChecksumError
    with pytest.raises((ChecksumError, expected), match="checksum of the BGZF block"):
        consume()


def test_iteration_may_end_early_and_begin_anew(small: Path) -> None:
    before = threading.active_count()
    with seqmill.scan_alignments(small, batch_rows=10, threads=2) as scan:
        for _ in range(20):
            assert next(iter(scan)).num_rows == 10
        assert sum(batch.num_rows for batch in scan) == RECORDS
    assert threading.active_count() == before


def test_scans_in_threads(small: Path) -> None:
    with seqmill.scan_alignments(small, batch_rows=50) as scan:
        rows: list[int] = []
        workers = [
            threading.Thread(target=lambda: rows.append(sum(b.num_rows for b in scan)))
            for _ in range(4)
        ]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
    assert rows == [RECORDS] * 4


def test_pickle_is_paths_and_options(small: Path) -> None:
    scan = seqmill.scan_alignments(small, min_mapq=30)
    copy = pickle.loads(pickle.dumps(scan))  # noqa: S301 - our own
    assert copy.count() == scan.count() < RECORDS


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_scan_works_after_fork(small: Path) -> None:
    scan = seqmill.scan_alignments(small, threads=2)
    assert scan.count() == RECORDS
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            total = sum(batch.num_rows for batch in scan) + scan.count()
            os.write(write, str(total).encode())
        finally:
            os._exit(0)
    os.close(write)
    assert os.waitpid(child, 0)[1] == 0
    assert os.read(read, 100) == str(2 * RECORDS).encode()
    os.close(read)


def _count(scan: alignments.AlignmentScan) -> int:
    return scan.count()


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_scan_goes_to_other_processes(small: Path, method: str) -> None:
    with multiprocessing.get_context(method).Pool(1) as pool:
        assert pool.apply(_count, (seqmill.scan_alignments(small),)) == RECORDS


LAZY = [
    pl.col("mapq") >= 30,
    pl.lit(30) <= pl.col("mapq"),
    (pl.col("flag") & 0x904) == 0,
    (pl.col("flag") & 16) != 0,
    (pl.col("flag") & 3) == 3,
    ~(pl.col("rname") == "chr1"),
    pl.col("rname").is_null() | (pl.col("pos") > 20_000),
    pl.col("rnext").is_not_null() & (pl.col("tlen") > 0),
    pl.col("tags").struct.field("NM") <= 1,
    pl.col("tags").struct.field("CB").str.starts_with("A"),
    pl.col("seq").str.len_bytes() > 90,
    pl.col("mapq").is_in([0, 60]) & (pl.col("pos") < 30_000),
    (pl.col("mapq") > 3.5) | (pl.col("qname") == "nobody"),
    pl.col("pos") + 1 > pl.col("pnext"),
    ~((pl.col("pos") > 100) & (pl.col("mapq") < 60)),
]


@pytest.mark.parametrize("predicate", LAZY, ids=str)
def test_lazy_filters_give_what_eager_ones_give(small: Path, predicate: pl.Expr) -> None:
    scan = seqmill.scan_alignments(small, batch_rows=100)
    eager, lazy = scan.to_polars(), scan.to_polars(lazy=True)
    wanted = eager.filter(predicate)
    assert lazy.filter(predicate).collect().equals(wanted)
    columns = ["pos", "qname"]
    assert lazy.filter(predicate).select(columns).collect().equals(wanted.select(columns))
    assert lazy.filter(predicate).head(3).collect().equals(wanted.head(3))
    assert lazy.head(50).filter(predicate).collect().equals(eager.head(50).filter(predicate))


def test_simple_comparisons_go_to_the_engine(small: Path) -> None:
    schema = seqmill.scan_alignments(small).to_polars(lazy=True).collect_schema()
    pushed = [translate_predicate(predicate, schema) for predicate in LAZY]
    assert pushed[0] == pushed[1] == {"compare": ["mapq", ">=", 30]}
    assert pushed[8] == {"compare": ["tags.NM", "<=", 1]}
    assert pushed[11] == {"compare": ["pos", "<", 30_000]}
    assert [number for number, found in enumerate(pushed) if found is None] == [9, 10, 12, 13]


@pytest.mark.parametrize(
    "options", [{"tags": "columns"}, {"profile": "bio"}, {"limit": 20, "offset": 5}]
)
def test_lazy_with_other_columns(small: Path, options: dict[str, Any]) -> None:
    scan = seqmill.scan_alignments(small, **options)
    eager, lazy = scan.to_polars(), scan.to_polars(lazy=True)
    assert lazy.collect().equals(eager)
    predicate = pl.col(eager.columns[3]) > 1000
    for columns in ([eager.columns[0], "NM"] if "NM" in eager.columns else ["qname"], ["seq"][:0]):
        if columns:
            found = lazy.filter(predicate).select(columns).collect()
            assert found.equals(eager.filter(predicate).select(columns))


def test_basic_has_text_whatever_the_options_say(small: Path, tmp_path: Path) -> None:
    binary = {"profile": "basic", "seq": "packed", "qual": "phred"}
    with seqmill.scan_alignments(small, profile="basic") as scan:
        expected = scan.to_table()
    with seqmill.scan_alignments(small, **binary) as scan:
        assert scan.to_table() == expected
    seqmill.convert(small, tmp_path / "out.parquet", **binary)
    found = pq.read_table(tmp_path / "out.parquet")
    assert found["sequence"].to_pylist() == expected["sequence"].to_pylist()
    assert found["quality_scores"].to_pylist() == expected["quality_scores"].to_pylist()


def test_simulated_reads_survive(tmp_path: Path) -> None:
    genome = simulate.simulate_genome(simulate.GenomeOptions(), seed=3)
    reads = simulate.simulate_long_reads(genome, simulate.LongReadOptions(reads=20), seed=3)
    reads.write_bam(tmp_path / "in.bam")
    with seqmill.scan_alignments(tmp_path / "in.bam") as scan:
        assert scan.count() == len(reads)


def test_regions_of_an_open_scan(small: Path) -> None:
    with seqmill.scan_alignments(small) as scan:
        name = scan.references[0][0]
        for region in (f"{name}:1-400", (name, 100, 900), [f"{name}:5-9", f"{name}:700-800"]):
            part = scan.within(region, columns=["qname", "pos"])
            with seqmill.scan_alignments(small, regions=region, columns=["qname", "pos"]) as alone:
                expected = alone.to_table()
            assert part.to_table() == expected
            assert pa.table(part) == expected
            assert part.count() == expected.num_rows
            assert pickle.loads(pickle.dumps(part)).to_table() == expected  # noqa: S301
            part.close()
        whole = scan.count()
        assert whole > part.count() > 0
        with pytest.raises(NotFoundError):
            scan.within("nowhere").count()
