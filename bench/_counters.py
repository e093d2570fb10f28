"""Counters of k-mers that `kmers.py` compares with, and how each is called."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

__all__ = ["PEERS", "Peer"]


@dataclass(frozen=True, slots=True)
class Peer:
    """A counter on PATH.

    Attributes
    ----------
    program
        The command's name.
    command
        Makes the command of k, input and folder for its files.
    most_k
        The longest k-mer it counts.
    """

    program: str
    command: Callable[[int, Path, Path], list[str]]
    most_k: int = 256


def _kmc(k: int, path: Path, folder: Path) -> list[str]:
    kind = "-fq" if path.suffix == ".fastq" else "-fm"
    # Without these, counts end at 255 and k-mers that are seen once are dropped.
    flags = [f"-k{k}", "-ci1", "-cs4294967295", "-cx4294967295", "-t1", kind]
    return ["kmc", *flags, str(path), str(folder / "kmc"), str(folder)]


def _jellyfish(k: int, path: Path, folder: Path) -> list[str]:
    flags = ["-C", "-t", "1", "-m", str(k), "-s", "64M", "-o", str(folder / "jellyfish.jf")]
    return ["jellyfish", "count", *flags, str(path)]


def _yak(k: int, path: Path, folder: Path) -> list[str]:
    return ["yak", "count", "-t1", f"-k{k}", "-o", str(folder / "yak"), str(path)]


def _fastk(k: int, path: Path, folder: Path) -> list[str]:
    flags = [f"-k{k}", "-t1", "-T1", f"-P{folder}", f"-N{folder / 'fastk'}"]
    return ["FastK", *flags, str(path)]


def _meryl(k: int, path: Path, folder: Path) -> list[str]:
    flags = [f"k={k}", "threads=1", "memory=4"]
    return ["meryl", *flags, "count", str(path), "output", str(folder / "meryl")]


PEERS = {
    "KMC": Peer("kmc", _kmc),
    "Jellyfish": Peer("jellyfish", _jellyfish),
    "yak": Peer("yak", _yak, most_k=31),
    "FastK": Peer("FastK", _fastk),
    "meryl": Peer("meryl", _meryl, most_k=64),
}
