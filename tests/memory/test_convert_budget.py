"""The memory budget bounds the resident set of the whole command, whatever the file.

Every job is a process of its own, started with `posix_spawn` by a parent of a few MiB (a child's
peak begins with what its parent held), and its peak is what the kernel says in `wait4`.
"""

import hashlib
import itertools
import json
import random
import re
import struct
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from seqmill import _native
from tests.peaks import SEQMILL, Ended, run_measured

MIB = 1 << 20
UNMAPPED = b"r\t4\t*\t0\t0\t*\t*\t0\t0\tACGT\tIIII\n"
SHORT_READS = "real/bam/HG002_illumina_wgs_10regions.merged.bam"
LONG_READS = (
    "real/bam/pacbio_hifi_fiberseq_MM_ML.bam",
    "real/bam/ont_mixed_readgroups_ubam.bam",
    "real/bam/pacbio_hifi_NA12878_chr21.unmappedname.bam",
)
FILES = (SHORT_READS, *LONG_READS)
BUDGETS = (64 * MIB, 128 * MIB, 512 * MIB)
THREADS = (1, 2, 8)
IO_MODES = ("read", "map")
# Batches are taken and dropped; says what the process held before, and how many records came.
STREAM = """
import json, sys
import pyarrow
import seqmill
def status(name):
    with open("/proc/self/status") as file:
        return next(int(l.split()[1]) * 1024 for l in file if l.startswith(name))
path, memory, threads, io = sys.argv[1], *map(int, sys.argv[2:4]), sys.argv[4]
idle = status("VmRSS:")
records = 0
with seqmill.scan_alignments(path, memory=idle + memory, threads=threads, io=io) as scan:
    for batch in scan:
        records += batch.num_rows
print(json.dumps([idle, status("VmHWM:"), records]))
"""


Run = Callable[..., Ended]


@pytest.fixture(scope="module")
def measure(command_environment: dict[str, str]) -> Run:
    """Run a program with arguments; `data_limit` bounds its private memory."""

    def run(*command: object, data_limit: int = 0) -> Ended:
        return run_measured(command, command_environment, data_limit=data_limit)

    return run


@pytest.fixture(scope="module")
def convert(measure: Run) -> Run:
    """Run `seqmill convert` with a budget in bytes."""

    def run(
        source: Path, output: Path, memory: int, *options: object, data_limit: int = 0
    ) -> Ended:
        return measure(
            SEQMILL,
            *("convert", source, "-o", output, "-m", memory, "-q", *options),
            data_limit=data_limit,
        )

    return run


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


# Neighbours differ in all of budget, threads and way to read; the rest is for the long suite.
QUICK = [(64 * MIB, 1, "map"), (64 * MIB, 8, "read"), (128 * MIB, 2, "map"), (512 * MIB, 8, "read")]
ALL = list(itertools.product(BUDGETS, THREADS, IO_MODES))


def check_files(
    names: tuple[str, ...],
    cases: list[tuple[int, int, str]],
    shared_data: Path,
    convert: Run,
    tmp_path: Path,
) -> None:
    for name, suffix in itertools.product(names, ("parquet", "arrow")):
        output = tmp_path / f"out.{suffix}"
        digests = set()
        for memory, threads, io in cases:
            ended = convert(shared_data / name, output, memory, "-@", threads, "--io", io)
            assert ended.code == 0, ended.errors
            assert ended.peak <= memory, (name, suffix, memory >> 20, threads, io)
            digests.add(digest(output))
            output.unlink()
        assert len(digests) == 1, "the output depends on the resources"


def test_files_within_the_budget(shared_data: Path, convert: Run, tmp_path: Path) -> None:
    check_files((SHORT_READS, LONG_READS[0]), QUICK, shared_data, convert, tmp_path)


def test_small_budgets(shared_data: Path, convert: Run, tmp_path: Path) -> None:
    """Where the program itself is most of it: refused, or kept to."""
    output = tmp_path / "out.parquet"
    for memory, threads in [(36 * MIB, 1), (42 * MIB, 1), (48 * MIB, 2)]:
        ended = convert(shared_data / SHORT_READS, output, memory, "-@", threads, "-f")
        assert ended.code in (0, 78), ended.errors
        assert ended.peak <= memory, (memory >> 20, threads)
    assert ended.code == 0, ended.errors


@pytest.mark.slow
def test_all_files_within_the_budget(shared_data: Path, convert: Run, tmp_path: Path) -> None:
    check_files(FILES, ALL, shared_data, convert, tmp_path)


def check_streams(
    names: tuple[str, ...], cases: list[tuple[int, int, str]], shared_data: Path, measure: Run
) -> None:
    for name in names:
        counts = set()
        for memory, threads, io in cases:
            path = shared_data / name
            ended = measure(sys.executable, "-c", STREAM, path, memory, threads, io)
            assert ended.code == 0, ended.errors
            idle, peak, records = json.loads(ended.output)
            assert peak <= idle + memory, (name, memory >> 20, threads, io)
            counts.add(records)
        assert len(counts) == 1


def test_streams_within_the_budget(shared_data: Path, measure: Run) -> None:
    pytest.importorskip("pyarrow")
    check_streams((SHORT_READS, LONG_READS[0]), QUICK, shared_data, measure)


@pytest.mark.slow
def test_all_streams_within_the_budget(shared_data: Path, measure: Run) -> None:
    pytest.importorskip("pyarrow")
    check_streams(FILES, ALL, shared_data, measure)


def idle_data(measure: Run) -> int:
    """Private memory of the command before it does anything."""
    program = "import seqmill.cli.convert as _; print(open('/proc/self/status').read())"
    lines = measure(sys.executable, "-c", program).output.decode().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmData:"))


@pytest.mark.parametrize("memory", BUDGETS)
def test_enforced_by_the_kernel(
    memory: int, shared_data: Path, measure: Run, convert: Run, tmp_path: Path
) -> None:
    """What is allocated, touched or not, stays within the budget and what was there before."""
    limit = memory + idle_data(measure)
    for name, suffix in itertools.product((SHORT_READS, LONG_READS[0]), ("parquet", "arrow")):
        output = tmp_path / f"out.{suffix}"
        ended = convert(shared_data / name, output, memory, "-@", 2, "-f", data_limit=limit)
        assert ended.code == 0, ended.errors


def header(*references: tuple[bytes, int]) -> bytes:
    parts = [b"BAM\1", struct.pack("<ii", 0, len(references))]
    for name, length in references:
        parts += [struct.pack("<i", len(name) + 1), name, b"\0", struct.pack("<i", length)]
    return b"".join(parts)


def record(name: bytes, bases: int, tags: bytes = b"") -> bytes:
    fixed = struct.pack("<iiBBHHHIiii", 0, 1, len(name) + 1, 60, 0, 1, 0, bases, -1, -1, 0)
    cigar = struct.pack("<I", min(bases, (1 << 28) - 1) << 4)
    body = [fixed, name, b"\0", cigar, bytes((bases + 1) // 2), bytes(bases), tags]
    size = sum(map(len, body))
    return b"".join([struct.pack("<i", size), *body])


def write_bam(path: Path, *records: bytes) -> Path:
    data = header((b"chr1", 1 << 28)) + b"".join(records)
    path.write_bytes(_native.bgzf_compress(data, 1) + _native.BGZF_EOF)
    return path


@pytest.mark.parametrize("suffix", ["parquet", "arrow"])
def test_one_record_that_cannot_fit(suffix: str, convert: Run, tmp_path: Path) -> None:
    """80 MB in one record: refused by name, and done with as much as the message asks for."""
    huge = record(b"huge", 53_000_000)
    source = write_bam(tmp_path / "in.bam", record(b"a", 100), huge, record(b"b", 100))
    output = tmp_path / f"out.{suffix}"
    ended = convert(source, output, 64 * MIB, "-@", 1)
    assert ended.code == 78
    assert "record 1" in ended.errors
    assert "--memory" in ended.errors
    assert not output.exists()
    ended = convert(source, output, 512 * MIB, "-@", 1, "--resume")
    assert ended.code == 0, ended.errors
    assert ended.peak <= 512 * MIB


def test_records_of_a_megabyte(convert: Run, tmp_path: Path) -> None:
    source = write_bam(tmp_path / "in.bam", *(record(b"r%d" % i, 700_000) for i in range(60)))
    digests = set()
    for memory, threads in [(64 * MIB, 1), (96 * MIB, 2), (128 * MIB, 8)]:
        output = tmp_path / "out.parquet"
        ended = convert(source, output, memory, "-@", threads, "-f")
        assert ended.code == 0, ended.errors
        assert ended.peak <= memory, (memory >> 20, threads)
        digests.add(digest(output))
    assert len(digests) == 1


def array(tag: bytes, subtype: bytes, data: bytes) -> bytes:
    width = {b"C": 1, b"S": 2}[subtype]
    return tag + b"B" + subtype + struct.pack("<I", len(data) // width) + data


def large_records(kind: str) -> list[bytes]:
    """Records with which single batches are large, or have very many columns."""
    draw = random.Random(kind)  # noqa: S311 - data of a test
    if kind == "arrays":
        tags = [
            array(b"XB", b"S", draw.randbytes(3 << 20))
            + array(b"XC", b"C", draw.randbytes(2 << 20))
            for _ in range(6)
        ]
        return [record(b"r", 100, one) for one in tags]
    if kind == "huge array":
        huge = record(b"h", 100, array(b"XC", b"C", draw.randbytes(1 << 20) * 40))
        return [record(b"a", 100), huge, record(b"b", 100)]
    if kind == "long reads":
        return [record(b"r%d" % i, 5_000_000) for i in range(5)]
    names = [bytes((65 + i // 26, 97 + i % 26)) for i in range(250)]
    if kind == "many tags":
        tags = [b"".join(name + b"Zvalue%d\0" % i for i, name in enumerate(names))]
        return [record(b"r%d" % i, 100, tags[0]) for i in range(3000)]
    pairs = [(names[i], names[(i * 7 + 1) % 250]) for i in range(250)]
    rare = [b"".join(name + b"Zv%d\0" % i for name in pair) for i, pair in enumerate(pairs)]
    return [record(b"r%d" % i, 50, rare[i % 250]) for i in range(40_000)]


def run_or_follow_advice(source: Path, output: Path, threads: int, convert: Run) -> Ended:
    """Convert with 64 MiB or, where that is refused, with what the message says."""
    memory = 64 * MIB
    ended = convert(source, output, memory, "-@", threads, "-f")
    if ended.code == 78:
        ((size, unit),) = re.findall(r"--memory ([0-9.]+)([MG])iB", ended.errors)
        memory = int(float(size) * (MIB << 10 if unit == "G" else MIB)) + 1
        ended = convert(source, output, memory, "-@", threads, "-f")
    assert ended.code == 0, (threads, ended.errors)
    assert ended.peak <= memory, (threads, memory >> 20, ended.peak >> 20)
    return ended


@pytest.mark.parametrize("suffix", ["parquet", "arrow"])
@pytest.mark.parametrize(
    "kind", ["arrays", "huge array", "long reads", "many tags", "many rare tags"]
)
def test_large_records(kind: str, suffix: str, convert: Run, tmp_path: Path) -> None:
    """With any number of threads: within the budget, or refused with one that then does it."""
    source = write_bam(tmp_path / "in.bam", *large_records(kind))
    output = tmp_path / f"out.{suffix}"
    digests = set()
    for threads in THREADS:
        run_or_follow_advice(source, output, threads, convert)
        digests.add(digest(output))
    assert len(digests) == 1


@pytest.mark.parametrize("suffix", ["parquet", "arrow"])
def test_header_that_escapes_make_longer(suffix: str, convert: Run, tmp_path: Path) -> None:
    """A name of control characters, which JSON writes with six each."""
    source = tmp_path / "in.sam"
    source.write_bytes(b"@SQ\tSN:" + b"\x0f" * 1_750_000 + b"\tLN:9\n" + UNMAPPED)
    ended = run_or_follow_advice(source, tmp_path / f"out.{suffix}", 1, convert)
    assert "characters SAM does not allow" in ended.errors
    assert len(ended.errors) < 2000, "the message shows the whole name"


@pytest.mark.parametrize("claim", [1 << 24, 1 << 28, (1 << 30) - 100])
def test_claims_allocate_nothing(claim: int, convert: Run, tmp_path: Path) -> None:
    """Lengths that the file only claims: of the header text, of references, of a record."""
    text = b"BAM\1" + struct.pack("<i", claim) + b"@HD"
    many = b"BAM\1" + struct.pack("<ii", 0, claim)
    long_record = header((b"chr1", 1000)) + struct.pack("<i", claim) + record(b"a", 10)[4:]
    for number, data in enumerate([text, many, long_record]):
        for wrapped in (data, _native.bgzf_compress(data, 1) + _native.BGZF_EOF):
            source, output = tmp_path / f"{number}.bam", tmp_path / "out.parquet"
            source.write_bytes(wrapped)
            ended = convert(source, output, 64 * MIB)
            assert ended.code == 65, ended.errors
            assert ended.peak <= 64 * MIB
            assert sorted(tmp_path.glob("out*")) == []
