"""Random windows of every real genome equal those of `samtools faidx`; so do the side files."""

import random
import shutil
import subprocess
from pathlib import Path

import pytest

from seqmill import FastaStore

WINDOWS = 10_000
LENGTHS = (1, 59, 60, 61, 1000, 3000)
FOLDERS = ("yeast", "genome", "collections/sarscov2_300")


@pytest.fixture(autouse=True)
def _tools() -> None:
    for tool in ("samtools", "bgzip"):
        if shutil.which(tool) is None:
            pytest.skip(f"{tool} is not installed")


def read_with_samtools(path: Path, regions: list[str], listing: Path) -> list[str]:
    """The sequences of regions; samtools clips those that reach beyond their contig."""
    listing.write_text("\n".join(regions) + "\n")
    command = ["samtools", "faidx", path, "-r", listing, "-n", "1000000"]
    told = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return [record.partition("\n")[2].replace("\n", "") for record in told.split(">")[1:]]


def draw_windows(store: FastaStore, count: int, seed: str) -> list[tuple[str, str, int, int]]:
    draw = random.Random(seed)  # noqa: S311
    contigs = [(name, *contig) for name in store.names for contig in store.contigs(name)]
    windows = []
    for _ in range(count):
        name, contig, length = draw.choice(contigs)
        # samtools has no words for a window that begins behind the end.
        start = draw.randrange(length)
        windows.append((name, contig, start, start + draw.choice(LENGTHS)))
    return windows


@pytest.mark.slow
@pytest.mark.parametrize("folder", FOLDERS)
def test_ten_thousand_windows_of_real_genomes(
    folder: str, shared_data: Path, tmp_path: Path
) -> None:
    paths = sorted((shared_data / "real" / folder).glob("*.fa.gz"))
    assert paths
    ours, theirs = tmp_path / "ours", tmp_path / "theirs"
    for root in (ours, theirs):
        root.mkdir()
        for path in paths:
            shutil.copyfile(path, root / path.name)
    store = FastaStore.open(ours)
    many = len(paths) > 50
    count = WINDOWS if many else WINDOWS * len(paths)
    windows = [
        window
        for name in ([None] if many else store.names)
        for window in draw_windows(
            store if name is None else FastaStore.open(ours / f"{name}.fa.gz"),
            WINDOWS,
            f"{folder} {name}",
        )
    ]
    assert len(windows) == count
    found = store.fetch_many(windows, encode="str", out_of_range="clip", threads=2)
    by_name: dict[str, list[int]] = {}
    for row, window in enumerate(windows):
        by_name.setdefault(window[0], []).append(row)
    for name, rows in by_name.items():
        path = theirs / f"{name}.fa.gz"
        regions = [f"{windows[row][1]}:{windows[row][2] + 1}-{windows[row][3]}" for row in rows]
        expected = read_with_samtools(path, regions, tmp_path / "regions.txt")
        assert [found[row] for row in rows] == expected
        for suffix in (".fai", ".gzi"):
            side = path.with_name(path.name + suffix)
            assert (ours / side.name).read_bytes() == side.read_bytes()
    for row in range(0, len(windows), 97):
        alone = store.fetch(*windows[row], encode="str", out_of_range="clip")
        assert alone == found[row]
