"""Where the batches of a plan lie in the text of an indexed FASTA file.

Batches follow one another, so that cutting the text where each begins gives every window of k
bases to exactly one of them: the one that it begins in. A task then reads its own stretch only.
"""

import os
import struct
from bisect import bisect_right
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from seqmill._kmer_plan import ChunkPlan
from seqmill._text_lines import is_gzip
from seqmill.errors import FormatError

__all__ = ["BatchPart", "check_part", "find_part"]

_FAI_FIELDS: Final = 5
_BLOCK_TEXT_BYTES: Final = 1 << 16
_BLOCK_PAIR: Final = struct.Struct("<QQ")


@dataclass(frozen=True, slots=True)
class BatchPart:
    """The stretch of text that a batch is.

    Attributes
    ----------
    begin, end
        Bytes of a plain file, virtual offsets of a BGZF file; an end of None is that of the file.
    bases
        Symbols of sequence in it: what the index is compared with.
    """

    begin: int
    end: int | None
    bases: int


@dataclass(frozen=True, slots=True)
class _Record:
    """A line of a `.fai` file."""

    length: int
    offset: int
    line_bases: int
    line_bytes: int

    def place(self, base: int) -> int:
        """Give the offset of a base in the text, or of what follows the last one."""
        if self.line_bases == 0:
            return self.offset
        lines, rest = divmod(base, self.line_bases)
        return self.offset + lines * self.line_bytes + rest


def find_part(reference: str | os.PathLike[str], plan: ChunkPlan, batch: int) -> BatchPart | None:
    """Find the text of a batch by the index beside a file.

    Parameters
    ----------
    reference
        FASTA, plain or BGZF, with `.fai` (and `.gzi`) beside it.
    plan
        The plan.
    batch
        Number of the batch.

    Returns
    -------
    BatchPart or None
        None if there is no index, it is older than the file, or it is of another file than the
        plan: the file has to be read from its beginning.
    """
    path = Path(reference)
    records = _read_fai(path)
    if records is None or not _fits(plan, records):
        return None
    blocks: list[tuple[int, int]] | None = None
    if is_gzip(path):
        blocks = _read_gzi(path)
        if blocks is None:
            return None
    begin, bases_before = _boundary(plan, records, batch)
    end, bases_up_to = _boundary(plan, records, batch + 1)
    try:
        return BatchPart(
            0 if begin is None else _virtual(begin, blocks),
            None if end is None else _virtual(end, blocks),
            bases_up_to - bases_before,
        )
    except IndexError:
        return None


def check_part(part: BatchPart, bases: int, reference: str | os.PathLike[str], output: str) -> None:
    """Compare what a stretch of text held with what the index said; a wrong partial goes.

    Raises
    ------
    FormatError
        If the index is not of this file.
    """
    if bases == part.bases:
        return
    Path(output).unlink()
    name = os.fspath(reference)
    raise FormatError(
        f"{name}: its index says that the batch has {part.bases:,} bases, but there are {bases:,}; "
        "make the index anew",
        path=name,
    )


def _boundary(plan: ChunkPlan, records: dict[str, _Record], batch: int) -> tuple[int | None, int]:
    """Give where a batch begins in the text, and how many bases lie before it.

    The place is None for the beginning of the file, and behind the last batch for its end.
    """
    if batch == 0:
        return None, 0
    first = next((chunk for chunk in plan.chunks if chunk.batch >= batch), None)
    before = 0
    previous: _Record | None = None
    for name, record in records.items():
        if first is not None and name == first.record:
            break
        before += record.length
        previous = record
    if first is None:
        return None, before
    if first.start > 0:
        return records[first.record].place(first.start), before + first.start
    # With its header line, which begins somewhere behind the bases of the record before.
    return (None if previous is None else previous.place(previous.length)), before


def _fits(plan: ChunkPlan, records: dict[str, _Record]) -> bool:
    """Whether an index has the records of a plan, in its order and with its lengths."""
    planned: dict[str, int] = {}
    for chunk in plan.chunks:
        planned[chunk.record] = max(chunk.end, planned.get(chunk.record, 0))
    indexed = {name: record.length for name, record in records.items() if record.length}
    return list(planned.items()) == list(indexed.items())


def _read_fai(path: Path) -> dict[str, _Record] | None:
    index = _beside(path, ".fai")
    if index is None:
        return None
    records: dict[str, _Record] = {}
    with index.open(encoding="utf-8", errors="surrogateescape") as lines:
        for line in lines:
            name, *numbers = line.rstrip("\n").split("\t")
            # A line of FASTQ has one more.
            if len(numbers) != _FAI_FIELDS - 1 or not all(map(str.isdecimal, numbers)):
                return None
            if name in records:
                return None
            records[name] = _Record(*map(int, numbers))
    return records


def _read_gzi(path: Path) -> list[tuple[int, int]] | None:
    """Read where blocks begin: in the text, and in the file."""
    index = _beside(path, ".gzi")
    if index is None:
        return None
    data = index.read_bytes()
    pairs = data[8:]
    if len(data) < 8 or len(pairs) != _BLOCK_PAIR.size * int.from_bytes(data[:8], "little"):  # noqa: PLR2004 - the count before the pairs
        return None
    found = sorted((text, file) for file, text in _BLOCK_PAIR.iter_unpack(pairs))
    return [(0, 0), *found]


def _virtual(place: int, blocks: list[tuple[int, int]] | None) -> int:
    if blocks is None:
        return place
    text, file = blocks[bisect_right(blocks, (place, 1 << 63)) - 1]
    if place - text >= _BLOCK_TEXT_BYTES:
        raise IndexError
    return file << 16 | (place - text)


def _beside(path: Path, suffix: str) -> Path | None:
    """Give a side file that is not older than its file."""
    side = path.with_name(f"{path.name}{suffix}")
    try:
        fresh = side.stat().st_mtime_ns >= path.stat().st_mtime_ns
    except OSError:
        return None
    return side if fresh else None
