"""Profiles of whole files as lines of text."""

import os
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from seqmill import _native

if TYPE_CHECKING:
    from seqmill._kmer_table import KmerTable

__all__ = ["profile_lines"]

_WINDOWS = 1 << 20


def profile_lines(table: "KmerTable", path: str | os.PathLike[str], *, runs: bool) -> Iterator[str]:
    """Give the lines of the profile of every record of a file.

    Parameters
    ----------
    table
        Where counts are looked up.
    path
        FASTA or FASTQ.
    runs
        Give bedGraph, runs of equal counts, instead of a line for each window.
    """
    stretches = _native.kmers_profile(table.path, os.fspath(path), _WINDOWS)
    if not runs:
        while (lines := stretches.next_lines()) is not None:
            yield lines.decode("utf-8", "surrogateescape")
        return
    run: list[Any] | None = None
    for name, start, counts, valid in stretches:
        text = name.decode("utf-8", "surrogateescape")
        values = np.frombuffer(counts, np.uint64)
        known = np.frombuffer(valid, np.uint8)
        edges = np.flatnonzero((values[1:] != values[:-1]) | (known[1:] != known[:-1])) + 1
        for begin, end in zip([0, *edges.tolist()], [*edges.tolist(), len(values)], strict=True):
            count = int(values[begin]) if known[begin] else None
            if run is not None and run[0] == text and run[2:] == [start + begin, count]:
                run[2] = start + end
                continue
            if run is not None and run[3] is not None:
                yield f"{run[0]}\t{run[1]}\t{run[2]}\t{run[3]}\n"
            run = [text, start + begin, start + end, count]
    if run is not None and run[3] is not None:
        yield f"{run[0]}\t{run[1]}\t{run[2]}\t{run[3]}\n"
