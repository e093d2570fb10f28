"""Indices of coordinate-sorted BAM files (BAI, SAMv1 §5.2)."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from seqmill.simulate.bam import bins_of
from seqmill.simulate.pieces import places

if TYPE_CHECKING:
    from numpy.typing import NDArray

_WINDOW_SHIFT = 14
_STATISTICS_BIN = 37450


@dataclass(frozen=True, slots=True, eq=False)
class IndexRows:
    """What the index needs of each record, in file order.

    Attributes
    ----------
    contig
        Number, or -1.
    begin, end
        Place on the contig (0-based, half-open).
    mapped
        Whether the record is mapped.
    first, last
        Virtual offsets of its begin and end.
    """

    contig: NDArray[np.int64]
    begin: NDArray[np.int64]
    end: NDArray[np.int64]
    mapped: NDArray[np.bool_]
    first: NDArray[np.uint64]
    last: NDArray[np.uint64]

    def part(self, start: int, stop: int) -> IndexRows:
        """Give some of the rows."""
        names = ("contig", "begin", "end", "mapped", "first", "last")
        return IndexRows(*(getattr(self, name)[start:stop] for name in names))


def build_index(rows: IndexRows, contigs: int) -> bytes:
    """Build the index of a coordinate-sorted file."""
    numbers = np.arange(contigs)
    placed = int((rows.contig >= 0).sum())
    order = rows.contig[:placed]
    starts = np.searchsorted(order, numbers, side="left").tolist()
    stops = np.searchsorted(order, numbers, side="right").tolist()
    parts = [b"BAI\1", struct.pack("<i", contigs)]
    for start, stop in zip(starts, stops, strict=True):
        parts.append(_contig_index(rows.part(start, stop)))
    parts.append(struct.pack("<Q", len(rows.contig) - placed))
    return b"".join(parts)


def _contig_index(rows: IndexRows) -> bytes:
    count = len(rows.begin)
    if count == 0:
        return struct.pack("<ii", 0, 0)
    bins = bins_of(rows.begin, rows.end)
    order = np.argsort(bins, kind="stable")
    sorted_bins, first, last = bins[order], rows.first[order], rows.last[order]
    # A chunk goes on while the next record of the bin begins in the block where the last ended.
    new = np.ones(count, dtype=np.bool_)
    gap = first[1:] >> np.uint64(16) > last[:-1] >> np.uint64(16)
    new[1:] = (sorted_bins[1:] != sorted_bins[:-1]) | gap
    begins = np.flatnonzero(new)
    chunk_ends = np.append(begins[1:], count) - 1
    chunks = np.stack([first[begins], last[chunk_ends]], axis=1).astype("<u8")
    numbers, first_chunk = np.unique(sorted_bins[begins], return_index=True)
    edges = np.append(first_chunk, len(begins)).tolist()
    parts = [struct.pack("<i", len(numbers) + 1)]
    for number, low, high in zip(numbers.tolist(), edges[:-1], edges[1:], strict=True):
        parts.append(struct.pack("<Ii", number, high - low) + chunks[low:high].tobytes())
    mapped = int(rows.mapped.sum())
    bounds = (int(rows.first[0]), int(rows.last[-1]), mapped, count - mapped)
    parts.append(struct.pack("<Ii4Q", _STATISTICS_BIN, 2, *bounds))
    windows = _windows(rows)
    parts.append(struct.pack("<i", len(windows)) + windows.astype("<u8").tobytes())
    return b"".join(parts)


def _windows(rows: IndexRows) -> NDArray[np.uint64]:
    """Give for each window of 16 KiB the offset of the first record that reaches into it."""
    low = rows.begin >> _WINDOW_SHIFT
    high = (rows.end - 1) >> _WINDOW_SHIFT
    each = high - low + 1
    none = np.iinfo(np.uint64).max
    out = np.full(int(high.max()) + 1, none, dtype=np.uint64)
    np.minimum.at(out, places(low, each), np.repeat(rows.first, each))
    # A window without records takes the offset of the one before it.
    empty = out == none
    known = np.where(empty, 0, np.arange(len(out)))
    filled = out[np.maximum.accumulate(known)]
    return np.where(filled == none, rows.first[0], filled)
