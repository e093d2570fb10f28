"""Counts equal to those of Jellyfish and KMC, dumped and sorted."""

import gzip
import hashlib
import random
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from conftest import RunCommand

INPUTS = {
    "yeast": (["yeast/S288C.fa.gz"], "fa"),
    "yeasts7": (["yeast/*.fa.gz"], "fa"),
    "brassica_napus": (["genome/brassica_napus*.fa.gz"], "fa"),
    "giab": (["fastq/giab*.fastq.gz"], "fq"),
}


def by_jellyfish(path: Path, k: int, folder: Path, *, canonical: bool) -> Path:
    """Dump columns of text, in whatever order."""
    flags = ["-C"] if canonical else []
    table, text = folder / "c.jf", folder / "jellyfish.txt"
    run("jellyfish", "count", *flags, "-m", str(k), "-s", "32M", "-o", str(table), str(path))
    # Without -L 1 nothing is left out either, but it says so.
    run("jellyfish", "dump", "-c", "-L", "1", "-o", str(text), str(table))
    table.unlink()
    return text


def by_kmc(path: Path, k: int, folder: Path, *, canonical: bool) -> Path:
    """Dump columns of text; counts would end at 255 and singles be dropped by default."""
    kind = "-fq" if path.suffix == ".fq" else "-fm"
    flags = [] if canonical else ["-b"]
    database, text, scratch = folder / "kmc", folder / "kmc.txt", folder / "kmc_scratch"
    scratch.mkdir()
    flags += [f"-k{k}", "-ci1", "-cs4294967295", "-cx4294967295", "-t1", "-m2", kind]
    run("kmc", *flags, str(path), str(database), str(scratch))
    run("kmc_dump", "-ci1", "-cx4294967295", str(database), str(text))
    for suffix in ("kmc_pre", "kmc_suf"):
        database.with_suffix(f".{suffix}").unlink()
    shutil.rmtree(scratch)
    return text


COUNTERS: dict[str, Callable[..., Path]] = {"jellyfish": by_jellyfish, "kmc": by_kmc}


def run(*command: str) -> None:
    told = subprocess.run(command, capture_output=True, text=True, check=False)
    assert told.returncode == 0, told.stderr


def sorted_hash(path: Path) -> str:
    """Hash the sorted lines with a tab between the columns; removes the file."""
    aside = path.with_suffix(".sorted")
    command = f"tr ' ' '\\t' < {path} | LC_ALL=C sort -S 256M -o {aside}"
    run("bash", "-eu", "-o", "pipefail", "-c", command)
    path.unlink()
    with aside.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    aside.unlink()
    return found


def our_hash(run_seqmill: "RunCommand", path: Path, k: int, tmp: Path, *, canonical: bool) -> str:
    flags = ["--canonical"] if canonical else []
    told = run_seqmill(
        "kmers", "count", path, "-k", str(k), *flags, "-o", "ours.tsv", "-f", "-m", "256M",
        cwd=tmp, timeout=900,
    )  # fmt: skip
    assert told.returncode == 0, told.stderr
    with (tmp / "ours.tsv").open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    (tmp / "ours.tsv").unlink()
    return found


def need(counter: str) -> None:
    if shutil.which(counter) is None:
        pytest.skip(f"{counter} is not on PATH (Debian package {counter})")


@pytest.mark.parametrize("canonical", [False, True])
@pytest.mark.parametrize("counter", list(COUNTERS))
def test_small_sequences(
    run_seqmill: "RunCommand", tmp_path: Path, counter: str, *, canonical: bool
) -> None:
    need(counter)
    draw = random.Random(4)  # noqa: S311 - a seed
    unit = "".join(draw.choices("ACGTacgtN", weights=[9] * 8 + [1], k=3000))
    path = tmp_path / "in.fa"
    lines = [f">s{i}\n{unit[i:]}\n{unit[: 10 * i]}\r\n" for i in range(40)]
    # One k-mer more often than a byte or a word of 16 bits can say.
    path.write_text("".join(lines) + f">a\n{'A' * 70_000}\n", newline="")
    for k in (5, 21, 31, 32, 51):
        theirs = sorted_hash(COUNTERS[counter](path, k, tmp_path, canonical=canonical))
        assert our_hash(run_seqmill, path, k, tmp_path, canonical=canonical) == theirs, k


@pytest.mark.slow
@pytest.mark.parametrize("k", [21, 31])
@pytest.mark.parametrize("what", [(c, name) for c in COUNTERS for name in INPUTS], ids="-".join)
def test_real_sequences(
    run_seqmill: "RunCommand", shared_data: Path, tmp_path: Path, what: tuple[str, str], k: int
) -> None:
    counter, name = what
    need(counter)
    patterns, suffix = INPUTS[name]
    path = tmp_path / f"in.{suffix}"
    with path.open("wb") as out:
        for pattern in patterns:
            for packed in sorted((shared_data / "real").glob(pattern)):
                with gzip.open(packed) as file:
                    shutil.copyfileobj(file, out)
    assert path.stat().st_size > 0
    theirs = sorted_hash(COUNTERS[counter](path, k, tmp_path, canonical=True))
    assert our_hash(run_seqmill, path, k, tmp_path, canonical=True) == theirs
