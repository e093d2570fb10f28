"""`--compat reprise` against what REPrise 1.0.1 wrote (`data/repeats`), byte for byte."""

import gzip
import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from seqmill import find_repeats

if TYPE_CHECKING:
    import subprocess

Run = Callable[..., "subprocess.CompletedProcess[str]"]
MOST_NAMED = 6
TANDEM: dict[str, Any] = {"tandem_distance": 10}
CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "tiny/d0": ("tiny/tst.fa", TANDEM),
    "tiny/d1": ("tiny/tst.fa", {**TANDEM, "distance": 1}),
    "tiny/d2": ("tiny/tst.fa", {**TANDEM, "distance": 2}),
    "tiny/d1_k11": (
        "tiny/tst.fa",
        {**TANDEM, "distance": 1, "seed_length": 11, "min_length": 30, "min_frequency": 2},
    ),
    "sim/d0": ("sim/genome.fa.gz", {}),
    "sim/d1": ("sim/genome.fa.gz", {"distance": 1}),
    "sim/d0_options": (
        "sim/genome.fa.gz",
        {
            "seed_length": 13,
            "match": 2,
            "mismatch": -3,
            "gap_open": -6,
            "gap_extend": -2,
            "cap_penalty": -25,
            "max_gap": 7,
            "stop_after": 150,
            "min_length": 80,
            "min_frequency": 5,
            "min_improvement": 4,
            "tandem_distance": 300,
        },
    ),
}


def stored(folder: Path, name: str, suffix: str) -> bytes | None:
    path = folder / f"{name}{suffix}"
    if path.exists():
        return path.read_bytes()
    packed = path.with_name(f"{path.name}.gz")
    return gzip.decompress(packed.read_bytes()) if packed.exists() else None


@pytest.mark.parametrize("threads", [1, 2, 4])
@pytest.mark.parametrize("case", CASES)
def test_files_of_the_reference(shared_data: Path, tmp_path: Path, case: str, threads: int) -> None:
    folder = shared_data / "repeats"
    genome, options = CASES[case]
    find_repeats(
        folder / genome, output=tmp_path / "out", compat="reprise", threads=threads, **options
    )
    compared = 0
    for suffix in (".freq", ".reprof", ".bed", ".masked"):
        expected = stored(folder, case, suffix)
        if expected is not None:
            assert (tmp_path / f"out{suffix}").read_bytes() == expected, suffix
            compared += 1
    assert compared >= 3
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "out.bed",
        "out.freq",
        "out.masked",
        "out.reprof",
    ]


@pytest.mark.parametrize("case", CASES)
def test_the_least_budget_is_named_and_gives_the_same(
    run_seqmill: Run, shared_data: Path, tmp_path: Path, case: str
) -> None:
    folder = shared_data / "repeats"
    genome, options = CASES[case]
    told_options = [f"--{key.replace('_', '-')}={value}" for key, value in options.items()]
    command = ["repeats", folder / genome, "-o", tmp_path / "out", "--compat", "reprise", "-f"]
    budget, named = "4M", 0
    # Each stage names what it needs; none may need another stage to be told twice.
    while True:
        told = run_seqmill(*command, *told_options, "-@", "1", "--progress", "none", "-m", budget)
        if told.returncode == 0:
            break
        assert told.returncode == 78, told.stderr
        least = re.search(r"at least (?:--memory )?([0-9.]+[KMG]i?B)", told.stderr)
        assert least, told.stderr
        budget, named = least[1], named + 1
        assert named <= MOST_NAMED, told.stderr
    assert named > 0
    for suffix in (".freq", ".reprof", ".bed"):
        assert (tmp_path / f"out{suffix}").read_bytes() == stored(folder, case, suffix), suffix


def covered(path: Path, column: int = 3) -> dict[str, set[int]]:
    bases: dict[str, set[int]] = {}
    for line in path.read_text().splitlines():
        chrom, start, end = line.split("\t")[:column]
        bases.setdefault(chrom, set()).update(range(int(start), int(end)))
    return bases


@pytest.mark.parametrize(("distance", "sensitivity"), [(0, 0.5366), (1, 0.5767)])
def test_default_mode_finds_the_planted_families(
    shared_data: Path, tmp_path: Path, distance: int, sensitivity: float
) -> None:
    folder = shared_data / "repeats" / "sim"
    find_repeats(folder / "genome.fa.gz", output=tmp_path / "out", distance=distance)
    truth, found = covered(folder / "truth.bed"), covered(tmp_path / "out.bed")
    decoys = covered(folder / "tandem.bed")
    both = wanted = told = 0
    for chrom, bases in truth.items():
        without = decoys.get(chrom, set())
        real, own = bases - without, found.get(chrom, set()) - without
        both, wanted, told = both + len(real & own), wanted + len(real), told + len(own)
    assert both / told >= 0.995
    assert both / wanted >= sensitivity - 0.0001
