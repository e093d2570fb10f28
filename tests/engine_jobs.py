"""Jobs of k-mers and coverage that divide into units, for the tests of engines."""

import os
import random
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import seqmill
from seqmill.kmers import run_count

_LETTERS = bytes(b"ACGT"[value & 3] for value in range(256))
FORMATS = ("skm", "json", "hist")


def write_genome(path: Path, records: int = 6, bases: int = 60_000) -> Path:
    """Write FASTA with records of different lengths, one of them without bases."""
    chance = random.Random(7)  # noqa: S311 - a test's sequence
    with path.open("wb") as out:
        for number in range(records):
            length = bases * (1 + number % 3) // 2 if number != 1 else 0
            sequence = chance.randbytes(length).translate(_LETTERS)
            sequence = sequence[: length // 2] + b"NNn" + sequence[length // 3 :]
            out.write(f">r{number} text\n".encode())
            for begin in range(0, len(sequence) if length else 0, 70):
                out.write(sequence[begin : begin + 70] + b"\n")
    return path


def count(source: Path, folder: Path, **options: Any) -> dict[str, bytes]:
    """Count into several formats; gives their bytes."""
    folder.mkdir(exist_ok=True)
    outputs = [(name, str(folder / f"o.{name}")) for name in FORMATS]
    run_count(source, outputs, k=21, canonical=True, **options)
    return {name: Path(path).read_bytes() for name, path in outputs}


def measure(source: Path, output: Path, **options: Any) -> dict[str, bytes]:
    """Measure windows; gives the bytes of all files."""
    seqmill.measure_coverage(source, windows=2000, output=output, region_files=True, **options)
    return contents(output)


def contents(folder: Path) -> dict[str, bytes]:
    """Read all files below a folder."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


@contextmanager
def hunting(state: Path, *, after: str | None = None, deaths: int = 1) -> Iterator[list[int]]:
    """Kill workers in the middle of units, once the file `after` of the state is there.

    Which worker runs a unit stands in the unit's file of attempts. Gives what was killed.
    """
    killed: list[int] = []
    over = threading.Event()

    def hunt() -> None:
        while not over.is_set() and len(killed) < deaths:
            if after is None or (state / after).exists():
                for path in (state / "parts").glob("*.attempts"):
                    pid = _at_work(path)
                    if pid is not None and pid not in killed:
                        killed.append(pid)
                        with suppress(ProcessLookupError):
                            os.kill(pid, signal.SIGKILL)
                        break
            time.sleep(0.0005)

    thread = threading.Thread(target=hunt)
    thread.start()
    try:
        yield killed
    finally:
        over.set()
        thread.join()


def _at_work(path: Path) -> int | None:
    """Give the process that has begun a unit and not ended it."""
    begun: dict[str, bool] = {}
    with suppress(OSError):
        for line in path.read_text(encoding="utf-8").splitlines():
            word, _, token = line.partition(" ")
            begun[token] = word == "begin"
    at_work = [token for token, is_open in begun.items() if is_open]
    return int(at_work[-1].split(":")[1]) if at_work else None
