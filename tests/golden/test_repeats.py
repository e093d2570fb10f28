"""`--compat reprise` against what REPrise 1.0.1 wrote (`data/repeats`), byte for byte."""

import gzip
import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
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


def judged(folder: Path, bed: Path) -> tuple[float, float]:
    """Give sensitivity and precision by bases; tandem arrays count on neither side."""
    truth, found, decoys = (covered(p) for p in (folder / "truth.bed", bed, folder / "tandem.bed"))
    both = wanted = told = 0
    for chrom, bases in truth.items():
        without = decoys.get(chrom, set())
        real, own = bases - without, found.get(chrom, set()) - without
        both, wanted, told = both + len(real & own), wanted + len(real), told + len(own)
    return both / wanted, both / told


def sequences(text: str) -> list[str]:
    return ["".join(entry.split("\n")[1:]) for entry in text.split(">")[1:]]


def best_scores(planted: list[str], library: list[str]) -> list[float]:
    """Give the score of each best local alignment (match 1, else -1) as a share of its length."""
    twins = [one[::-1].translate(str.maketrans("ACGT", "TGCA")) for one in library]
    # What stands between two sequences costs more than any alignment can have.
    columns = np.frombuffer("|".join(library + twins).encode(), dtype=np.uint8)
    apart, steps = columns == ord("|"), np.arange(len(columns) + 1, dtype=np.int64)
    shares = []
    for sequence in planted:
        row, best = np.zeros(len(columns) + 1, dtype=np.int64), 0
        for letter in sequence.encode():
            new = row - 1
            new[1:] = np.maximum(new[1:], row[:-1] + np.where(columns == letter, 1, -1))
            new[1:][apart] = 0
            # Gaps along the row: the best of all places to the left, less the way.
            row = np.maximum(np.maximum.accumulate(np.maximum(new, 0) + steps) - steps, 0)
            row[1:][apart] = 0
            best = max(best, int(row.max()))
        shares.append(best / len(sequence))
    return shares


@pytest.mark.parametrize("distance", [0, 1])
def test_default_mode_finds_the_planted_elements(
    shared_data: Path, tmp_path: Path, distance: int
) -> None:
    folder = shared_data / "repeats" / "sim"
    reference = tmp_path / "reference.bed"
    ends = [line.split("\t") for line in (folder / f"d{distance}.bed").read_text().splitlines()]
    reference.write_text("".join(f"{c}\t{start}\t{int(end) + 1}\n" for c, start, end, *_ in ends))
    theirs = judged(folder, reference)
    find_repeats(folder / "genome.fa.gz", output=tmp_path / "out", distance=distance)
    sensitivity, precision = judged(folder, tmp_path / "out.bed")
    assert precision >= 0.995 > theirs[1]
    assert sensitivity >= theirs[0]


@pytest.mark.slow
@pytest.mark.parametrize("distance", [0, 1])
def test_as_many_families_as_the_reference(
    shared_data: Path, tmp_path: Path, distance: int
) -> None:
    folder = shared_data / "repeats" / "sim"
    find_repeats(folder / "genome.fa.gz", output=tmp_path / "out", distance=distance)
    planted = sequences((folder / "families.fa").read_text())
    assert len(planted) == 16
    ours, reprise = (
        best_scores(planted, sequences(text))
        for text in (
            (tmp_path / "out.families.fa").read_text(),
            (folder / f"d{distance}.reprof").read_text(),
        )
    )
    # 95 % of the length at 95 % identity, and 80 % at 80 %.
    for least in (0.95 * 0.9, 0.8 * 0.6):
        found, known = (sum(share >= least for share in own) for own in (ours, reprise))
        assert found >= known > 0, (least, ours, reprise)


def test_annotated_copies_are_copies(shared_data: Path, tmp_path: Path) -> None:
    folder = shared_data / "repeats" / "sim"
    find_repeats(folder / "genome.fa.gz", output=tmp_path / "out", distance=1, annotate=True)
    sensitivity, precision = judged(folder, tmp_path / "out.bed")
    assert sensitivity >= 0.68
    assert precision >= 0.99
