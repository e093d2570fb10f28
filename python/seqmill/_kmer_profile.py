"""Profiles of sequences and of whole files: as arrays, and as lines of text."""

import os
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from seqmill import _native
from seqmill._outputs import refuse_existing, refuse_inputs

if TYPE_CHECKING:
    from seqmill._kmer_table import KmerTable

__all__ = ["profile_bases", "profile_lines", "profile_records", "write_profile_table"]

_WINDOWS = 1 << 20


def profile_bases(table: "KmerTable", bases: bytes) -> Any:
    """Give a masked array with the count of each window of a sequence."""
    windows = max(len(bases) - table.k + 1, 0)
    counts, valid = np.zeros(windows, np.uint64), np.zeros(windows, np.uint8)
    table._native.profile(bases, counts, valid)  # noqa: SLF001 - same module group
    return np.ma.MaskedArray(counts, valid == 0)


def profile_records(table: "KmerTable", path: str | os.PathLike[str]) -> Iterator[tuple[str, Any]]:
    """Give the name and the profile of each record of a file that has a window."""
    name: bytes | None = None
    parts: list[tuple[bytes, bytes]] = []
    for record, start, counts, valid in _native.kmers_profile(table.path, path, _WINDOWS):
        if start == 0 and name is not None:
            yield _text(name), _join(parts)
            parts = []
        name = record
        parts.append((counts, valid))
    if name is not None:
        yield _text(name), _join(parts)


def write_profile_table(
    table: "KmerTable",
    path: str | os.PathLike[str],
    output: str | os.PathLike[str],
    *,
    force: bool,
) -> int:
    """Write the profile of every record of a file as Parquet.

    A row has the name of the record, the first window (0-based) and the list of counts, null where
    a window holds a break; a record of more than about 2^20 windows has several rows.

    Returns
    -------
    int
        Bytes that were written.
    """
    refuse_existing(output, force=force)
    refuse_inputs([output], [table.path, path])
    return _native.kmers_profile_table(table.path, path, _WINDOWS, output, force)


def _join(parts: list[tuple[bytes, bytes]]) -> Any:
    counts = np.frombuffer(b"".join(counts for counts, _ in parts), np.uint64)
    known = np.frombuffer(b"".join(known for _, known in parts), np.uint8)
    return np.ma.MaskedArray(counts, known == 0)


def _text(name: bytes) -> str:
    return name.decode("utf-8", "surrogateescape")


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
        text = _text(name)
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
