"""Plans: a reference cut into chunks that overlap by k - 1 bases, in batches."""

import itertools
import os
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from seqmill import _native
from seqmill._kmer_jobs import PathLike, check_k
from seqmill._outputs import refuse_existing
from seqmill.errors import FormatError, InputError

__all__ = ["Chunk", "ChunkPlan", "chunk_regions", "plan_chunks", "read_plan", "resolve_regions"]

COLUMNS: Final = ("chunk_id", "record", "start", "end", "bases", "batch")
CHUNK_SIZE: Final = 1_000_000
BATCH_BASES: Final = 64_000_000
_CUTS_MAX: Final = 2_000_000
"""A plan is held as a whole, some 300 bytes a chunk."""


@dataclass(frozen=True, slots=True)
class Chunk:
    """A stretch of a record, 0-based half-open, and the batch it belongs to."""

    chunk_id: int
    record: str
    start: int
    end: int
    batch: int


@dataclass(frozen=True, slots=True)
class ChunkPlan:
    """All chunks of a file.

    Attributes
    ----------
    chunks
        In file order.
    k
        Length of the k-mers that the overlap is made for.
    """

    chunks: tuple[Chunk, ...]
    k: int

    def __len__(self) -> int:
        """Count the chunks."""
        return len(self.chunks)

    @property
    def batches(self) -> int:
        """Number of batches."""
        return self.chunks[-1].batch + 1 if self.chunks else 0

    @property
    def bases(self) -> int:
        """Symbols of all records: what the reference must have."""
        ends = {chunk.record: chunk.end for chunk in self.chunks}
        return sum(ends.values())

    def lines(self) -> Iterator[str]:
        """Give the lines of the file."""
        yield "\t".join(COLUMNS)
        for c in self.chunks:
            yield "\t".join(
                map(str, (c.chunk_id, c.record, c.start, c.end, c.end - c.start, c.batch))
            )

    def save(self, path: PathLike, *, force: bool = False) -> None:
        """Write the plan; it appears under its name when it is whole."""
        target = Path(path)
        refuse_existing(target, force=force)
        aside = target.with_name(f".{target.name}.part")
        text = "".join(f"{line}\n" for line in self.lines())
        aside.write_text(text, encoding="utf-8", errors="surrogateescape")
        os.replace(aside, target)  # noqa: PTH105 - also over a file


def cut_record(length: int, k: int, chunk_size: int) -> Iterator[tuple[int, int]]:
    """Cut a record: chunk i begins at i * (S - k + 1); the last is the first to reach the end.

    Examples
    --------
    >>> list(cut_record(10, 3, 5)), list(cut_record(5, 3, 5)), list(cut_record(0, 3, 5))
    ([(0, 5), (3, 8), (6, 10)], [(0, 5)], [])
    """
    step = chunk_size - k + 1
    start = 0
    while start < length:
        end = min(start + chunk_size, length)
        yield start, end
        if end == length:
            return
        start += step


def plan_chunks(
    reference: PathLike,
    *,
    k: int = 31,
    chunk_size: int = CHUNK_SIZE,
    batch_bases: int = BATCH_BASES,
    max_batches: int | None = None,
) -> ChunkPlan:
    r"""Cut a reference into chunks, each window of k bases in exactly one.

    Parameters
    ----------
    reference
        FASTA or FASTQ.
    k
        Length of the k-mers; chunks overlap by k - 1 bases.
    chunk_size
        Bases of a chunk.
    batch_bases
        A batch is closed by the chunk with which its bases reach this.
    max_batches
        Batches are made larger where there would be more than so many; None: as many as there are.

    Returns
    -------
    ChunkPlan
        The chunks in file order.

    Raises
    ------
    InputError
        If `chunk_size` is below `k`.
    FormatError
        If two records have one name.

    Examples
    --------
    >>> import tempfile, pathlib
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "tiny.fa"
    >>> _ = path.write_text(">a\nACGTACGTAC\n")
    >>> [(c.start, c.end) for c in plan_chunks(path, k=3, chunk_size=5).chunks]
    [(0, 5), (3, 8), (6, 10)]
    """
    check_k(k)
    if chunk_size < k:
        raise InputError(
            f"chunk size {chunk_size} is below k = {k}", option="chunk_size", value=chunk_size
        )
    if batch_bases < 1:
        raise InputError("batch_bases is 1 and more", option="batch_bases", value=batch_bases)
    if max_batches is not None and max_batches < 1:
        raise InputError("max_batches is 1 and more", option="max_batches", value=max_batches)
    records = _native.kmers_records(os.fspath(reference))
    cuts = sum(max(length - k, 0) // (chunk_size - k + 1) for _, length in records)
    if cuts > _CUTS_MAX:
        message = (
            f"chunk size {chunk_size} cuts the records at {cuts:,} places; at most "
            f"{_CUTS_MAX:,} are kept: give more"
        )
        raise InputError(message, option="chunk_size", value=chunk_size)
    if max_batches is not None:
        total = sum(
            end - start for _, length in records for start, end in cut_record(length, k, chunk_size)
        )
        batch_bases = max(batch_bases, -(-total // max_batches))
    chunks: list[Chunk] = []
    seen: set[bytes] = set()
    batch = filled = 0
    for name, length in records:
        if name in seen:
            text = name.decode("utf-8", "replace")
            path = os.fspath(reference)
            raise FormatError(f"{path}: two records are named {text!r}", path=path)
        seen.add(name)
        record = name.decode("utf-8", "surrogateescape")
        for start, end in cut_record(length, k, chunk_size):
            chunks.append(Chunk(len(chunks), record, start, end, batch))
            filled += end - start
            if filled >= batch_bases:
                batch, filled = batch + 1, 0
    return ChunkPlan(tuple(chunks), k)


def read_plan(path: PathLike, k: int | None = None) -> ChunkPlan:
    """Read a plan; k follows from the overlap, or is given.

    Raises
    ------
    FormatError
        If the file is no plan; names the line.
    """
    name = os.fspath(path)
    chunks: list[Chunk] = []
    overlap = None
    number = 0
    with open(name, encoding="utf-8", errors="surrogateescape") as file:  # noqa: PTH123
        for number, line in enumerate(file, 1):
            fields = line.rstrip("\r\n").split("\t")
            if number == 1:
                if tuple(fields) != COLUMNS:
                    raise FormatError(f"{name}: line 1 is not the header of a plan", path=name)
                continue
            values = [f for f in (fields[0], *fields[2:]) if f.isascii() and f.isdecimal()]
            if len(fields) != len(COLUMNS) or len(values) != len(COLUMNS) - 1:
                raise FormatError(
                    f"{name}: line {number} is no chunk of a plan", path=name, line=number
                )
            chunk = Chunk(int(values[0]), fields[1], int(values[1]), int(values[2]), int(values[4]))
            if chunk.chunk_id != len(chunks) or chunk.start >= chunk.end:
                raise FormatError(
                    f"{name}: line {number}: chunks are numbered from 0 and hold bases",
                    path=name,
                    line=number,
                )
            if chunks and chunks[-1].record == chunk.record:
                overlap = chunks[-1].end - chunk.start
            elif chunk.start != 0:
                raise FormatError(
                    f"{name}: line {number}: the first chunk of a record begins at 0",
                    path=name,
                    line=number,
                )
            if chunk.batch not in ((chunks[-1].batch, chunks[-1].batch + 1) if chunks else (0,)):
                raise FormatError(
                    f"{name}: line {number}: batches are numbered from 0 and follow one another",
                    path=name,
                    line=number,
                )
            chunks.append(chunk)
    if number == 0:
        raise FormatError(f"{name}: is empty and no plan", path=name)
    found = k if k is not None else (31 if overlap is None else overlap + 1)
    return ChunkPlan(tuple(chunks), found)


def chunk_regions(
    plan: ChunkPlan, batch: int, k: int
) -> tuple[list[tuple[str, int, int]], list[tuple[int, int]]]:
    """Give the stretches of a batch, and the numbers of its chunks as a range.

    Chunks that follow one another in a record overlap by exactly k - 1 bases, so that together
    they hold each window once: they are counted as one stretch.
    """
    chosen = [chunk for chunk in plan.chunks if chunk.batch == batch]
    if not plan.chunks and batch == 0:
        # A file of no record is legal: its only batch holds nothing.
        return [], []
    if not chosen:
        raise InputError(
            f"the plan has no batch {batch}; it has {plan.batches}", option="batch", value=batch
        )
    # Of all chunks: what this batch shares with its neighbours is counted in one of them only.
    for before, chunk in itertools.pairwise(plan.chunks):
        overlap = before.end - chunk.start
        if before.record == chunk.record and overlap != k - 1:
            raise InputError(
                f"chunks {before.chunk_id} and {chunk.chunk_id} of the plan overlap by {overlap} "
                f"bases; k = {k} needs {k - 1}: give chunk the k of the plan",
                option="k",
                value=k,
            )
    stretches: list[tuple[str, int, int]] = []
    for chunk in chosen:
        last = stretches[-1] if stretches else None
        if last is not None and last[0] == chunk.record:
            stretches[-1] = (chunk.record, last[1], chunk.end)
        else:
            stretches.append((chunk.record, chunk.start, chunk.end))
    return stretches, [(chosen[0].chunk_id, chosen[-1].chunk_id)]


def resolve_regions(
    paths: Sequence[str], regions: Sequence[str], regions_file: PathLike | None
) -> list[tuple[str, int, int]]:
    """Find what region strings and files mean for the records of the inputs.

    Raises
    ------
    InputError
        If a region is not one of the inputs.
    FormatError
        If a line of the file is not; names the line.
    """
    if "-" in paths:
        raise InputError("regions need a file, not stdin", option="region")
    file = None if regions_file is None else os.fspath(regions_file)
    found, notes = _native.kmers_regions(paths, list(regions), file)
    for text in notes:
        warnings.warn(text, stacklevel=4)
    return [(name.decode("utf-8", "surrogateescape"), start, end) for name, start, end in found]
