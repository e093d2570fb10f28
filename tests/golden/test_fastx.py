"""FASTA and FASTQ against a slow parser: real files, line ends, mates, damage, interruptions."""

import gzip
import hashlib
import itertools
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import pyarrow as pa
import pytest

import seqmill
from seqmill import _native, errors
from seqmill.progress import Progress
from tests.conftest import RunCommand, find_shared_data

SHARED = find_shared_data()
FASTA = (
    []
    if SHARED is None
    else sorted([*SHARED.glob("real/fasta_oddities/*"), *SHARED.glob("real/*/*.fa.gz")])
)
THREADS = [1, 2, 8]
RESOURCES = [("1", "64MiB"), ("1", "512MiB"), ("2", "64MiB"), ("3", "1GiB"), ("8", "1GiB")]
# Bytes that are no part of a sequence.
OTHER_BYTES = bytes([*range(33), *range(127, 256)])
pytestmark = pytest.mark.filterwarnings("ignore:.*gzip without blocks")


class Read(NamedTuple):
    name: str
    description: str | None
    sequence: str
    quality: str = ""


def parse_head(head: bytes) -> tuple[str, str | None]:
    """Name up to the first white space, and what follows without white space around it."""
    text = head.decode()
    name = text.split()[0] if text and not text[0].isspace() else ""
    return name, text[len(name) :].strip() or None


def parse_fasta(data: bytes) -> list[Read]:
    reads = []
    for record in (b"\n" + data).split(b"\n>")[1:]:
        head, _, lines = record.partition(b"\n")
        sequence = lines.translate(None, OTHER_BYTES)
        reads.append(Read(*parse_head(head.rstrip(b"\r")), sequence.decode()))
    return reads


def parse_fastq(data: bytes) -> list[Read]:
    lines = [line.rstrip(b"\r") for line in data.split(b"\n")]
    return [
        Read(*parse_head(head[1:]), sequence.decode(), quality.decode())
        for head, sequence, _, quality in zip(*[iter(lines)] * 4, strict=False)
        if head
    ]


def content_of(path: Path) -> bytes:
    data = path.read_bytes()
    return gzip.decompress(data) if data.startswith(b"\x1f\x8b") else data


def table_of(path: Path, **options: Any) -> pa.Table:
    with seqmill.scan_alignments(path, **options) as scan:
        return scan.to_table()


def reads_of(table: pa.Table) -> list[Read]:
    names = ["name", "description", "sequence", "quality"]
    columns = [table[name].to_pylist() for name in names if name in table.column_names]
    return [Read(*values) for values in zip(*columns, strict=True)]


def make_fastq(count: int, seed: int, name: str = "r{}") -> bytes:
    """FASTQ whose reads have 0 to 300 bases."""
    rng = random.Random(seed)  # noqa: S311
    qualities = bytes(range(33, 127))
    lines = []
    for i in range(count):
        length = rng.choice([0, 1, 30, 300])
        sequence = bytes(rng.choices(b"ACGTNacgt.-*", k=length))
        head = name.format(i) + rng.choice(["", " 1:N:0:AC", "\tx y"])
        lines += [b"@" + head.encode(), sequence, b"+", bytes(rng.choices(qualities, k=length))]
    return b"\n".join(lines) + b"\n"


def bgzf(data: bytes) -> bytes:
    return _native.bgzf_compress(data) + _native.BGZF_EOF


FORMS: dict[str, Callable[[bytes], bytes]] = {
    "plain": lambda data: data,
    "gzip": gzip.compress,
    "bgzf": bgzf,
    "crlf": lambda data: data.replace(b"\n", b"\r\n"),
    "no end of the last line": lambda data: data.removesuffix(b"\n"),
    "blank lines at the end": lambda data: data + b"\n\r\n\n\n\n\n",
}


@pytest.mark.skipif(SHARED is None, reason="no shared data")
@pytest.mark.parametrize("path", FASTA, ids=lambda path: path.name)
def test_real_fasta(path: Path) -> None:
    expected = parse_fasta(content_of(path))
    table = table_of(path, threads=1, columns=["+length", "+ordinal"])
    assert reads_of(table) == expected
    assert table["length"].to_pylist() == [len(read.sequence) for read in expected]
    assert table["ordinal"].to_pylist() == list(range(len(expected)))
    for threads in THREADS[1:]:
        assert table_of(path, threads=threads, columns=["+length", "+ordinal"]) == table


@pytest.mark.skipif(SHARED is None, reason="no shared data")
def test_real_fastq() -> None:
    assert SHARED is not None
    path = SHARED / "real/fastq/giab_trio_hiseq_R1.fastq.gz"
    expected = parse_fastq(content_of(path))
    table = table_of(path, threads=1, columns=["+mean_qual"], memory="2GiB")
    assert reads_of(table) == expected
    means = np.array([sum(read.quality.encode()) / len(read.quality) - 33 for read in expected])
    np.testing.assert_allclose(table["mean_qual"].to_numpy(), means, rtol=1e-6)
    for threads in THREADS[1:]:
        again = table_of(path, threads=threads, columns=["+mean_qual"], memory="2GiB")
        assert again == table


@pytest.mark.parametrize("form", FORMS)
def test_forms_of_fastq_are_the_same(form: str, tmp_path: Path) -> None:
    data = make_fastq(30_000, seed=5)
    path = tmp_path / "reads"
    path.write_bytes(FORMS[form](data))
    expected = parse_fastq(data)
    tables = [table_of(path, threads=threads) for threads in THREADS]
    assert reads_of(tables[0]) == expected
    assert tables[1] == tables[0]
    assert tables[2] == tables[0]


@pytest.mark.parametrize("form", FORMS)
def test_forms_of_fasta_are_the_same(form: str, tmp_path: Path) -> None:
    rng = random.Random(6)  # noqa: S311
    lines = []
    for i in range(2000):
        lines.append(f">s{i} chromosome {i}".encode())
        lines += [
            bytes(rng.choices(b"ACGTNacgt>", k=60)).lstrip(b">")
            for _ in range(rng.choice([0, 1, 50]))
        ]
    data = b"\n".join([*lines, b">long", *[b"ACGTACGTAC" * 6] * 60_000]) + b"\n"
    path = tmp_path / "sequences"
    path.write_bytes(FORMS[form](data))
    expected = parse_fasta(data)
    tables = [table_of(path, threads=threads) for threads in THREADS]
    assert reads_of(tables[0]) == expected
    assert tables[1] == tables[0]
    assert tables[2] == tables[0]


def test_outputs_have_the_same_bytes(tmp_path: Path, run_seqmill: RunCommand) -> None:
    path = tmp_path / "reads.fq.gz"
    path.write_bytes(bgzf(make_fastq(20_000, seed=7)))
    for suffix in ("parquet", "arrow", "arrows"):
        made = set()
        for threads, memory in [
            (1, "64MiB"),
            (1, "512MiB"),
            (2, "64MiB"),
            (3, "1GiB"),
            (8, "1GiB"),
        ]:
            output = tmp_path / f"out.{suffix}"
            done = run_seqmill(
                "convert", path, "-o", output, "-f", "-@", str(threads), "-m", memory
            )
            assert done.returncode == 0, done.stderr
            made.add(hashlib.sha256(output.read_bytes()).hexdigest())
        assert len(made) == 1


def test_schema(tmp_path: Path) -> None:
    (tmp_path / "a.fq").write_bytes(b"@r\nA\n+\nI\n")
    (tmp_path / "a.fa").write_bytes(b">r\nA\n")
    table = table_of(tmp_path / "a.fq")
    assert table.column_names == ["name", "description", "sequence", "quality"]
    assert [field.nullable for field in table.schema] == [False, True, False, False]
    assert table.schema.metadata[b"seqmill.schema"] == b"reads/1"
    assert table_of(tmp_path / "a.fa").column_names == ["name", "description", "sequence"]
    assert table_of(tmp_path / "a.fq", columns=["quality", "name"]).column_names == [
        "quality",
        "name",
    ]
    with seqmill.scan_alignments([tmp_path / "a.fq", tmp_path / "a.fq"]) as scan:
        assert scan.to_table()["source"].to_pylist() == ["a.fq", "a.fq"]


def test_filters(tmp_path: Path) -> None:
    data = make_fastq(3000, seed=8)
    path = tmp_path / "reads.fq"
    path.write_bytes(data)
    reads = parse_fastq(data)
    found = reads_of(table_of(path, min_length=1, max_length=30))
    assert found == [read for read in reads if 1 <= len(read.sequence) <= 30]
    assert reads_of(table_of(path, offset=10, limit=5)) == reads[10:15]
    assert reads_of(table_of(path, name_in=["r7", "r2999"])) == [reads[7], reads[2999]]
    with seqmill.scan_alignments(path, min_length=300) as scan:
        assert scan.count() == sum(len(read.sequence) >= 300 for read in reads)


@pytest.mark.parametrize(
    "options", [{"regions": "chr1"}, {"tags": "none"}, {"min_mapq": 3}, {"coords": "01"}]
)
def test_options_of_alignments_do_not_apply(options: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "reads.fq"
    path.write_bytes(make_fastq(3, seed=8))
    with pytest.raises(errors.InputError, match="does not apply to FASTQ input"):
        table_of(path, **options)


def test_reads_and_alignments_do_not_mix(tmp_path: Path) -> None:
    (tmp_path / "a.fq").write_bytes(b"@r\nA\n+\nI\n")
    (tmp_path / "a.fa").write_bytes(b">r\nA\n")
    (tmp_path / "a.sam").write_bytes(b"r\t4\t*\t0\t0\t*\t*\t0\t0\tA\tI\n")
    for pair in itertools.permutations(["a.fq", "a.fa", "a.sam"], 2):
        with pytest.raises(errors.InputError, match="different columns"):
            seqmill.scan_alignments([tmp_path / name for name in pair]).to_table()


@pytest.mark.parametrize("threads", THREADS)
def test_mates_stand_side_by_side(threads: int, tmp_path: Path) -> None:
    first, second = make_fastq(20_000, 1, "r{}/1"), make_fastq(20_000, 2, "r{}/2")
    (tmp_path / "1.fq").write_bytes(first)
    (tmp_path / "2.fq.gz").write_bytes(bgzf(second))
    table = table_of(tmp_path / "1.fq", mate=tmp_path / "2.fq.gz", threads=threads)
    assert reads_of(table) == parse_fastq(first)
    mates = parse_fastq(second)
    assert table["sequence2"].to_pylist() == [read.sequence for read in mates]
    assert table["quality2"].to_pylist() == [read.quality for read in mates]


def replace_line(data: bytes, number: int, line: bytes) -> bytes:
    lines = data.split(b"\n")
    lines[number - 1] = line
    return b"\n".join(lines)


# What is wrong, both files, which of them is named, and at which line.
MatesCase: TypeAlias = tuple[str, bytes, bytes, str, int]


def damaged_mates() -> Iterator[MatesCase]:
    first, second = make_fastq(5000, 1), make_fastq(5000, 2)
    yield "less mates", first, make_fastq(4000, 2), "1.fq", 16_001
    yield "more mates", make_fastq(4000, 1), second, "2.fq", 16_001
    yield "another name", first, replace_line(second, 8001, b"@other"), "2.fq", 8001
    yield "no mate at all", first, replace_line(second, 8001, b"other"), "2.fq", 8001


@pytest.mark.parametrize("case", list(damaged_mates()), ids=lambda case: case[0])
@pytest.mark.parametrize("threads", THREADS)
def test_wrong_mates(
    case: tuple[str, bytes, bytes, str, int], threads: int, tmp_path: Path
) -> None:
    _, first, second, name, line = case
    (tmp_path / "1.fq").write_bytes(first)
    (tmp_path / "2.fq").write_bytes(second)
    with pytest.raises(errors.SequenceFormatError) as caught:
        table_of(tmp_path / "1.fq", mate=tmp_path / "2.fq", threads=threads)
    assert Path(str(caught.value.path)).name == name
    assert caught.value.line == line


def test_a_mate_file_has_the_same_format(tmp_path: Path) -> None:
    (tmp_path / "a.fq").write_bytes(b"@r\nA\n+\nI\n")
    (tmp_path / "a.fa").write_bytes(b">r\nA\n")
    with pytest.raises(errors.InputError, match="mate file is FASTA"):
        table_of(tmp_path / "a.fq", mate=tmp_path / "a.fa")


DAMAGED = {
    "space in bases": (12_002, b"AC GT", "sequence"),
    "no plus": (12_003, b"x", "separator"),
    "another name behind plus": (12_003, b"+x", "separator"),
    "no at": (12_001, b"x", "name"),
    "short quality": (12_004, b"II" * 500, "quality"),
    "control character": (12_004, b"\x01", "quality"),
    "no UTF-8": (12_001, b"@\xff", "name"),
}


@pytest.mark.parametrize("damage", DAMAGED)
@pytest.mark.parametrize("form", ["plain", "gzip", "bgzf"])
@pytest.mark.parametrize("threads", THREADS)
def test_damage_names_its_line(damage: str, form: str, threads: int, tmp_path: Path) -> None:
    number, line, field = DAMAGED[damage]
    path = tmp_path / "reads.fq"
    path.write_bytes(FORMS[form](replace_line(make_fastq(5000, seed=9), number, line)))
    output = tmp_path / "out.parquet"
    with pytest.raises(errors.SequenceFormatError) as caught:
        seqmill.convert(path, output, threads=threads)
    assert (caught.value.line, caught.value.field) == (number, field)
    assert caught.value.record == (number - 1) // 4
    assert list(tmp_path.iterdir()) == [path]


def test_cut_files(tmp_path: Path) -> None:
    path = tmp_path / "reads.fq"
    for cut, expected in {
        b"@a\nACGT\n+\nIII": errors.SequenceFormatError,
        b"@a\nACGT\n+\n": errors.SequenceFormatError,
        b"@a\nACGT\n+": errors.TruncatedError,
        b"@a\nACGT": errors.TruncatedError,
        b"@a\nA\n+\nI\n\n@b\nA\n+\nI\n": errors.SequenceFormatError,
    }.items():
        path.write_bytes(cut)
        with pytest.raises(expected):
            table_of(path)
    path.write_bytes(gzip.compress(make_fastq(1000, 1))[:-20])
    with pytest.raises(errors.FormatError):
        table_of(path)


def test_fasta_with_other_bytes(tmp_path: Path) -> None:
    path = tmp_path / "a.fa"
    path.write_bytes(b">a\nACGT\nAC\x00GT\n")
    with pytest.raises(errors.SequenceFormatError) as caught:
        table_of(path)
    assert (caught.value.line, caught.value.field) == (3, "sequence")


UNKNOWN = {
    b"": errors.EmptyInputError,
    gzip.compress(b""): errors.EmptyInputError,
    b"hello\n": errors.NotAlignmentsError,
    b"\x00" * 100: errors.NotAlignmentsError,
    b"##fileformat=VCFv4.2\n": errors.NotAlignmentsError,
    gzip.compress(b"chr1\t0\t100\n"): errors.NotAlignmentsError,
}


def test_content_that_is_something_else(tmp_path: Path) -> None:
    path = tmp_path / "x"
    for content, expected in UNKNOWN.items():
        path.write_bytes(content)
        with pytest.raises(expected):
            table_of(path)
    path.write_bytes(b"##fileformat=VCFv4.2\n")
    with pytest.raises(errors.NotAlignmentsError, match="VCF"):
        table_of(path)


@pytest.mark.parametrize("form", ["plain", "gzip", "bgzf", "mate"])
def test_interrupted_runs_go_on(form: str, tmp_path: Path) -> None:
    data = make_fastq(20_000, seed=3) * 20
    source, whole, output = (tmp_path / name for name in ("reads", "whole.parquet", "out.parquet"))
    source.write_bytes(gzip.compress(data, 1) if form == "gzip" else FORMS.get(form, bgzf)(data))
    # A slow compression, so that there is something to interrupt.
    options: dict[str, Any] = {"row_group_bytes": "512KiB", "threads": 2, "compression": "zstd:9"}
    if form == "mate":
        options["mate"] = tmp_path / "mate"
        options["mate"].write_bytes(make_fastq(20_000, seed=4) * 20)
    seqmill.convert(source, whole, **options)

    def stop(info: Progress) -> bool:
        return info.output_bytes < 1 << 20

    with pytest.raises(errors.CancelledError):
        seqmill.convert(source, output, checkpoint_every="64KiB", progress=stop, **options)
    done = seqmill.convert(source, output, resume=True, checkpoint_every="64KiB", **options)
    assert done.metrics.detail["resumed_from"]
    assert output.read_bytes() == whole.read_bytes()
