"""Profiles of sequences and of whole files: as arrays, and as lines of text."""

import os
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final

from seqmill import _native
from seqmill._outputs import refuse_existing, refuse_inputs
from seqmill.limits import choose_memory

if TYPE_CHECKING:
    from seqmill._kmer_table import KmerTable

__all__ = ["profile_bases", "profile_lines", "profile_records", "write_profile_table"]

PathLike = str | os.PathLike[str]
Memory = int | str | None
_USEFUL_BYTES: Final = 384 << 20
"""What a profile has use for, beside a table that is in memory as a whole."""


def _choose(table: "KmerTable", memory: Memory) -> int:
    return choose_memory(memory, useful=_USEFUL_BYTES + 2 * table.path.stat().st_size).value


def profile_bases(table: "KmerTable", bases: bytes) -> Any:
    """Give a masked array with the count of each window of a sequence."""
    import numpy as np  # noqa: PLC0415 - text needs none

    windows = max(len(bases) - table.k + 1, 0)
    counts, valid = np.zeros(windows, np.uint64), np.zeros(windows, np.uint8)
    table._native.profile(bases, counts, valid)  # noqa: SLF001 - same module group
    return np.ma.MaskedArray(counts, valid == 0)


def profile_records(
    table: "KmerTable", path: PathLike, memory: Memory = None
) -> Iterator[tuple[str, Any]]:
    """Give the name and the profile of each record of a file that has a window."""
    name: bytes | None = None
    parts: list[tuple[bytes, bytes]] = []
    stretches = _native.kmers_profile(table.path, path, _choose(table, memory))
    for record, start, counts, valid in stretches:
        if start == 0 and name is not None:
            yield _text(name), _join(parts)
            parts = []
        name = record
        parts.append((counts, valid))
    if name is not None:
        yield _text(name), _join(parts)


def write_profile_table(
    table: "KmerTable", path: PathLike, output: PathLike, *, force: bool, memory: Memory = None
) -> int:
    """Write the profile of every record of a file as Parquet.

    A row has the name of the record, the first window (0-based) and the list of counts, null where
    a window holds a break; a record of more than 2^20 windows has several rows.

    Returns
    -------
    int
        Bytes that were written.

    Raises
    ------
    BudgetError
        If `memory` is too small; names the least that works.
    """
    refuse_existing(output, force=force)
    refuse_inputs([output], [table.path, path])
    return _native.kmers_profile_table(table.path, path, output, force, _choose(table, memory))


def _join(parts: list[tuple[bytes, bytes]]) -> Any:
    import numpy as np  # noqa: PLC0415 - text needs none

    counts = np.frombuffer(b"".join(counts for counts, _ in parts), np.uint64)
    known = np.frombuffer(b"".join(known for _, known in parts), np.uint8)
    return np.ma.MaskedArray(counts, known == 0)


def _text(name: bytes) -> str:
    return name.decode("utf-8", "surrogateescape")


def profile_lines(
    table: "KmerTable", path: PathLike, *, runs: bool, memory: Memory = None
) -> Iterator[str]:
    """Give the lines of the profile of every record of a file, some at a time.

    Parameters
    ----------
    table
        Where counts are looked up.
    path
        FASTA or FASTQ.
    runs
        Give bedGraph, runs of equal counts, instead of a line for each window.
    memory
        See :ref:`job-options`.
    """
    for text in _native.kmers_profile_lines(table.path, path, runs, _choose(table, memory)):
        yield _text(text)
