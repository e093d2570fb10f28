"""Real files: what comes out is what `samtools view` prints."""

import subprocess
from collections.abc import Iterator
from itertools import zip_longest
from pathlib import Path
from shutil import which

import pytest

import seqmill
from tests.conftest import find_shared_data
from tests.oracles.sam_text import sam_lines, sort_tags_of, sorted_tags

SHARED = find_shared_data()
REAL = [] if SHARED is None else sorted((SHARED / "real" / "bam").glob("*.bam"))
pytestmark = [
    pytest.mark.skipif(which("samtools") is None, reason="samtools is not installed"),
    pytest.mark.filterwarnings("ignore:.*index is older"),
]
FILES = [pytest.param(path, id=path.name) for path in REAL]


def samtools_lines(path: Path, *more: str) -> Iterator[str]:
    command = ["samtools", "view", "--no-PG", str(path), *more]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            yield line.removesuffix("\n")
    assert process.returncode == 0


def assert_equal_lines(found: Iterator[str], expected: Iterator[str]) -> None:
    for number, (ours, theirs) in enumerate(zip_longest(found, expected), start=1):
        assert ours == theirs, f"line {number}"


@pytest.mark.parametrize("path", FILES)
def test_tags_as_text(path: Path) -> None:
    with seqmill.scan_alignments(path, tags="sam") as scan:
        found = (line for batch in scan for line in sam_lines(batch))
        assert_equal_lines(found, samtools_lines(path))


@pytest.mark.parametrize("path", FILES)
def test_tags_as_struct_lose_nothing(path: Path, tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    output = tmp_path / "out.parquet"
    seqmill.convert(path, output)
    table = parquet.read_table(output)
    found = sam_lines(table, sorted_tags(table))
    assert_equal_lines(found, map(sort_tags_of, samtools_lines(path)))


@pytest.mark.parametrize("path", FILES)
def test_counts(path: Path) -> None:
    for ours, theirs in (
        ({"min_mapq": 30}, ["-q", "30"]),
        ({"exclude_flags": 0x904}, ["-F", "0x904"]),
        ({"require_flags": "PAIRED,REVERSE"}, ["-f", "0x11"]),
        ({"exclude_all_flags": 0x11}, ["-G", "0x11"]),
    ):
        with seqmill.scan_alignments(path, **ours) as scan:  # type: ignore[arg-type]
            (number,) = samtools_lines(path, "-c", *theirs)
            assert scan.count() == int(number)


def test_examples_without_shared_data(example_data: Path) -> None:
    for name in ("small.bam", "long.bam"):
        with seqmill.scan_alignments(example_data / name) as scan:
            table = scan.to_table()
        found = sam_lines(table, sorted_tags(table))
        assert_equal_lines(found, map(sort_tags_of, samtools_lines(example_data / name)))


def test_lists_select_what_samtools_selects(example_data: Path) -> None:
    small, barcodes = example_data / "small.bam", example_data / "barcodes.txt"
    (number,) = samtools_lines(small, "-c", "-D", f"CB:{barcodes}")
    with seqmill.scan_alignments(small, tag_in={"CB": f"@{barcodes}"}) as scan:
        assert scan.count() == int(number) > 0
    (number,) = samtools_lines(small, "-c", "-L", str(example_data / "regions.bed"), "-M")
    with seqmill.scan_alignments(small, regions_file=example_data / "regions.bed") as scan:
        assert scan.count() == int(number) > 0
