"""Coverage against stored results of samtools depth, mosdepth and the definition."""

import gzip
from itertools import groupby
from pathlib import Path

import pytest

from seqmill.coverage import measure_coverage, merge_coverage

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")

DEPTH_FILES = {
    "default": {},
    "J": {"count_deletions": True},
    "Q20": {"min_mapq": 20},
    "q20": {"min_baseq": 20},
    "G0": {"exclude_flags": 0},
}


@pytest.fixture
def data(shared_data: Path) -> Path:
    folder = shared_data / "kmers"
    if not folder.is_dir():
        pytest.skip("no folder kmers in the shared data")
    return folder


def read_table(path: Path) -> list[dict[str, str]]:
    heading, *lines = (path / "coverage.tsv").read_text().splitlines()
    names = heading.split("\t")
    return [dict(zip(names, line.split("\t"), strict=True)) for line in lines]


def read_runs(path: Path) -> list[tuple[str, ...]]:
    opener = gzip.open if path.suffix == ".gz" else open
    with opener(path, "rt") as lines:
        return [tuple(line.split()) for line in lines]


def runs_of_depth(path: Path) -> list[tuple[str, ...]]:
    """Join the positions of `samtools depth -aa` to runs."""
    with gzip.open(path, "rt") as lines:
        rows = [tuple(line.split()) for line in lines]
    runs = []
    for (name, value), same in groupby(rows, key=lambda row: (row[0], row[2])):
        positions = [int(row[1]) for row in same]
        runs.append((name, str(positions[0] - 1), str(positions[-1]), value))
    return runs


@pytest.mark.parametrize("name", DEPTH_FILES)
def test_every_base_is_as_deep_as_samtools_says(data: Path, tmp_path: Path, name: str) -> None:
    runs = tmp_path / "runs.bed"
    measure_coverage(data / "depth/small.bam", per_base=runs, **DEPTH_FILES[name])
    assert read_runs(runs) == runs_of_depth(data / f"depth/small.depth.{name}.tsv.gz")


@pytest.mark.parametrize("mates", ["once", "proper"])
def test_every_base_is_as_deep_as_mosdepth_says(data: Path, tmp_path: Path, mates: str) -> None:
    runs = tmp_path / "runs.bed.gz"
    measure_coverage(data / "depth/small.bam", per_base=runs, mates=mates)
    assert read_runs(runs) == read_runs(data / "depth/small.mosdepth.per-base.bed.gz")


@pytest.mark.parametrize("regions", ["regions.txt", "regions.bed"])
@pytest.mark.parametrize("mates", ["both", "once"])
@pytest.mark.parametrize(("threads", "memory"), [(1, "1G"), (2, "2G"), (4, "1G")])
def test_regions_of_alignments(
    data: Path, regions: str, mates: str, threads: int, memory: str
) -> None:
    table = measure_coverage(
        data / "depth/small.bam",
        data / "depth" / regions,
        mates=mates,
        threads=threads,
        memory=memory,
    )
    heading, *lines = (data / "depth/small.regions.expected.tsv").read_text().splitlines()
    names = heading.split("\t")
    known = [dict(zip(names, line.split("\t"), strict=True)) for line in lines]
    expected = {row["region"]: row for row in known if row.pop("mates") == mates}
    rows = read_table(table.path)
    assert [row["region"] for row in rows]
    for row in rows:
        wanted = expected[row["region"]]
        assert {name: row[name] for name in wanted} == wanted


@pytest.mark.parametrize("name", ["edge.fa", "edge_crlf.fa", "edge_noeol.fa"])
@pytest.mark.parametrize("k", [5, 31])
@pytest.mark.parametrize("canonical", [False, True])
def test_regions_of_sequence(data: Path, name: str, k: int, canonical: bool) -> None:  # noqa: FBT001
    table = measure_coverage(data / name, data / "edge.regions.txt", k=k, canonical=canonical)
    heading, *lines = (data / "edge.regions.expected.tsv").read_text().splitlines()
    names = heading.split("\t")
    strand = "canon" if canonical else "fwd"
    columns = {f"kmers_k{k}": "kmers", f"distinct_{strand}_k{k}": "distinct_kmers"}
    rows = read_table(table.path)
    assert len(rows) == len(lines)
    for row, line in zip(rows, lines, strict=True):
        wanted = dict(zip(names, line.split("\t"), strict=True))
        for column in ("region", "length", "acgt", "gc", "n", "other", "lower", "gc_fraction"):
            assert row[column] == wanted[column]
        for column, own in columns.items():
            assert row[own] == wanted[column]


def test_parts_make_the_whole(data: Path, tmp_path: Path) -> None:
    regions = data / "depth/regions.txt"
    lines = [line for line in regions.read_text().splitlines() if line and line[0] != "#"]
    parts = []
    for number, line in enumerate(lines):
        listed = tmp_path / f"{number}.txt"
        listed.write_text(line)
        part = tmp_path / f"part{number}"
        measure_coverage(data / "depth/small.bam", listed, output=part, bins=7)
        parts.append(part)
    whole = tmp_path / "whole"
    measure_coverage(data / "depth/small.bam", regions, output=whole, bins=7)
    merged = merge_coverage(parts[::-1], regions=regions, output=tmp_path / "merged")
    files = sorted(path.relative_to(whole) for path in whole.rglob("*") if path.is_file())
    assert len(files) == len(lines) + 3
    for file in files:
        assert (merged.path / file).read_bytes() == (whole / file).read_bytes(), file


def test_lines_that_are_no_regions(data: Path, tmp_path: Path) -> None:
    from seqmill.errors import FormatError  # noqa: PLC0415

    fasta = tmp_path / "x.fa"
    fasta.write_text(">chr1\n" + "ACGTA" * 7 + "\n>len31\n" + "A" * 31 + "\n")
    for line in (data / "bad_regions.txt").read_text().splitlines():
        region = line.split("\t")[0]
        listed = tmp_path / "bad.txt"
        listed.write_text(f"len31\n{region}\n")
        with pytest.raises(FormatError, match="line 2") as caught:
            measure_coverage(fasta, listed)
        assert caught.value.line == 2
        assert len(measure_coverage(fasta, listed, on_bad_region="skip")) == 1
