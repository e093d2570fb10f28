"""Depth of real alignments against samtools depth, base by base."""

import shutil
import subprocess
from pathlib import Path

import pytest

from seqmill.coverage import measure_coverage

pytestmark = [
    pytest.mark.filterwarnings("ignore::UserWarning"),
    pytest.mark.skipif(shutil.which("samtools") is None, reason="samtools is not on PATH"),
]

FILES = (
    "airway_SRR1039508_paired_rnaseq.bam",
    "hcc1395_rnaseq_spliced.bam",
    "pacbio_isoseq_ptprc.bam",
    "tenx_scatac_chrM.bam",
)


def expand(path: Path) -> dict[tuple[str, int], int]:
    depth = {}
    with path.open() as lines:
        for line in lines:
            name, begin, end, value = line.rstrip("\n").split("\t")
            if value != "0":
                depth |= {(name, at + 1): int(value) for at in range(int(begin), int(end))}
    return depth


def samtools(path: Path, *arguments: str) -> dict[tuple[str, int], int]:
    done = subprocess.run(
        ["samtools", "depth", *arguments, str(path)], capture_output=True, text=True, check=True
    )
    rows = (line.split("\t") for line in done.stdout.splitlines())
    return {(name, int(at)): int(value) for name, at, value in rows if value != "0"}


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize(
    ("arguments", "keywords"),
    [
        ((), {}),
        (("-J",), {"count_deletions": True}),
        (("-Q", "20"), {"min_mapq": 20}),
        (("-q", "20"), {"min_baseq": 20}),
    ],
)
def test_depth_is_that_of_samtools(
    shared_data: Path,
    tmp_path: Path,
    name: str,
    arguments: tuple[str, ...],
    keywords: dict[str, object],
) -> None:
    path = shared_data / "real" / "bam" / name
    if not path.exists():
        pytest.skip(f"{path} is not there")
    runs = tmp_path / "runs.bed"
    measure_coverage(path, per_base=runs, **keywords)
    assert expand(runs) == samtools(path, *arguments)


def test_an_index_gives_the_same_as_the_whole_file(shared_data: Path, tmp_path: Path) -> None:
    indexed = shared_data / "real/bam/HG002_illumina_wgs_10regions.merged.bam"
    if not indexed.exists():
        pytest.skip(f"{indexed} is not there")
    bare = tmp_path / "bare.bam"
    bare.symlink_to(indexed)
    regions = ["20:10000000-10009999", "chr20", "1:9,012,000-9,016,000", "20:10005000-10005000"]
    one, other = (
        measure_coverage(path, regions, mates="once", bins=50) for path in (indexed, bare)
    )
    for name in ("coverage.tsv", "merged_coverage.txt"):
        assert (one.path / name).read_bytes() == (other.path / name).read_bytes()
