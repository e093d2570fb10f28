"""Peak memory of `seqmill kmers count` in child processes, and the bytes it gives."""

import json
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

if TYPE_CHECKING:
    from conftest import RunCommand


def write_genome(path: Path, bases: int) -> None:
    """Write sequence of which no k-mer repeats, then some of it again, then one base."""
    random = np.random.default_rng(8)
    letters = np.frombuffer(b"ACGT", np.uint8)
    sequence = letters[random.integers(0, 4, bases)]
    with path.open("wb") as out:
        for number, part in enumerate([sequence, sequence[: bases // 3]]):
            out.write(b">s%d\n" % number)
            out.write(part.tobytes() + b"\n")
        out.write(b">poly\n" + b"A" * (bases // 4) + b"\n>pair\n" + b"AC" * (bases // 8) + b"\n")


def check(run_seqmill: "RunCommand", folder: Path, settings: list[tuple[str, str]], k: int) -> None:
    tables = set()
    for memory, threads in settings:
        told = run_seqmill(
            "kmers", "count", "in.fa", "-k", str(k), "--canonical", "-m", memory, "-@", threads,
            "-o", "out.skm", "-f", "-q", "--metrics", "m.json", cwd=folder, timeout=900,
        )  # fmt: skip
        assert told.returncode == 0, told.stderr
        figures = json.loads((folder / "m.json").read_text())["memory"]
        assert figures["rss_peak"] <= figures["limit"], (memory, threads)
        tables.add((folder / "out.skm").read_bytes())
    assert len(tables) == 1


def test_little_memory_gives_the_same_bytes(run_seqmill: "RunCommand", tmp_path: Path) -> None:
    write_genome(tmp_path / "in.fa", 3_000_000)
    check(run_seqmill, tmp_path, [("64M", "1"), ("64M", "3"), ("256M", "2")], 31)


def test_records_of_megabytes_fit_beside_the_bins(
    run_seqmill: "RunCommand", tmp_path: Path
) -> None:
    draw = np.random.default_rng(9)
    bases = np.frombuffer(b"ACGT", np.uint8)[draw.integers(0, 4, 2_500_000)]
    qualities = draw.integers(ord("+"), ord("I") + 1, len(bases), np.uint8)
    header = b"h" * 1_500_000
    texts = [header + b"\n" + bases.tobytes(), qualities.tobytes()]
    (tmp_path / "in.fq").write_bytes(b"@" + b"\n+\n".join(texts) + b"\n")
    masked = np.where(qualities < ord("!") + 15, np.uint8(ord("N")), bases)
    (tmp_path / "in.fa").write_bytes(b">" + header + b"\n" + masked.tobytes() + b"\n")
    dumps = []
    for name, options in (("in.fq", ["--min-base-qual", "15"]), ("in.fa", [])):
        told = run_seqmill(
            "kmers", "count", name, "-k", "31", *options, "-m", "64M", "-@", "2", "-o", "out.tsv",
            "-f", "-q", "--metrics", "m.json", cwd=tmp_path, timeout=300,
        )  # fmt: skip
        assert told.returncode == 0, told.stderr
        figures = json.loads((tmp_path / "m.json").read_text())["memory"]
        assert figures["rss_peak"] <= figures["limit"], name
        dumps.append((tmp_path / "out.tsv").read_bytes())
    assert dumps[0] == dumps[1] != b""


@pytest.mark.slow
@pytest.mark.parametrize("k", [13, 31, 51])
def test_spilling_gives_the_same_bytes(run_seqmill: "RunCommand", tmp_path: Path, k: int) -> None:
    write_genome(tmp_path / "in.fa", 24_000_000)
    settings = [("64M", "1"), ("128M", "2"), ("256M", "1"), ("256M", "8"), ("2G", "3")]
    check(run_seqmill, tmp_path, settings, k)
