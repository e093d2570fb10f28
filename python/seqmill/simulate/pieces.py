"""Byte strings and numbers of different lengths, handled many at a time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

_POWERS_OF_TEN = np.array([10**k for k in range(1, 19)], dtype=np.int64)


@dataclass(frozen=True, slots=True, eq=False)
class Pieces:
    """Items of different lengths, end to end in one array.

    Attributes
    ----------
    values
        What the items hold.
    lengths
        Values of each item.
    starts
        Where each item begins in `values`.

    Examples
    --------
    >>> words = Pieces.of(np.frombuffer(b"aabccc", np.uint8), np.array([2, 1, 3]))
    >>> words.take(np.array([2, 0])).values.tobytes()
    b'cccaa'
    """

    values: NDArray[Any]
    lengths: NDArray[np.int64]
    starts: NDArray[np.int64]

    @classmethod
    def of(cls, values: NDArray[Any], lengths: NDArray[np.int64]) -> Pieces:
        """Cut values into items of these lengths."""
        return cls(values, lengths, begin_of(lengths))

    @classmethod
    def repeated(cls, text: bytes, count: int) -> Pieces:
        """Give the same bytes for every item."""
        values = np.tile(np.frombuffer(text, dtype=np.uint8), count)
        return cls.of(values, np.full(count, len(text), dtype=np.int64))

    @classmethod
    def rows(cls, matrix: NDArray[Any]) -> Pieces:
        """Make each row of a matrix an item."""
        count, width = matrix.shape
        return cls.of(matrix.reshape(-1), np.full(count, width, dtype=np.int64))

    def __len__(self) -> int:
        """Give the number of items."""
        return len(self.lengths)

    def take(self, items: NDArray[np.int64]) -> Pieces:
        """Choose items by number."""
        lengths = self.lengths[items]
        return Pieces.of(self.values[places(self.starts[items], lengths)], lengths)

    def only(self, wanted: NDArray[np.bool_]) -> Pieces:
        """Keep the wanted items and empty the others."""
        if wanted.all():
            return self
        kept = self.values[np.repeat(wanted, self.lengths)]
        return Pieces.of(kept, np.where(wanted, self.lengths, 0))

    def item(self, number: int) -> NDArray[Any]:
        """Give one item."""
        start = int(self.starts[number])
        return self.values[start : start + int(self.lengths[number])]


def begin_of(lengths: NDArray[np.int64]) -> NDArray[np.int64]:
    """Give where each of several items begins when they stand end to end."""
    ends = np.cumsum(lengths)
    return ends - lengths


def places(starts: NDArray[np.int64], lengths: NDArray[np.int64]) -> NDArray[np.int64]:
    """Give the places ``start, start + 1, ...`` of every item, one item after the other."""
    flat = np.repeat(starts - begin_of(lengths), lengths)
    flat += np.arange(len(flat))
    return flat


def places_backward(starts: NDArray[np.int64], lengths: NDArray[np.int64]) -> NDArray[np.int64]:
    """Give the places of every item from its last to its first."""
    flat = np.repeat(starts + lengths - 1 + begin_of(lengths), lengths)
    flat -= np.arange(len(flat))
    return flat


def join(parts: Sequence[Pieces]) -> Pieces:
    """Put the parts of each item one after the other.

    Examples
    --------
    >>> left = Pieces.repeated(b"x", 2)
    >>> join([left, decimal(np.array([5, 60]))]).values.tobytes()
    b'x5x60'
    """
    total = np.zeros(len(parts[0]), dtype=np.int64)
    for part in parts:
        total += part.lengths
    starts = begin_of(total)
    out = np.empty(int(total.sum()), dtype=parts[0].values.dtype)
    for part in parts:
        out[places(starts, part.lengths)] = part.values
        starts = starts + part.lengths
    return Pieces.of(out, total)


def decimal(numbers: NDArray[np.int64]) -> Pieces:
    """Write non-negative numbers in decimal digits.

    Examples
    --------
    >>> decimal(np.array([0, 7, 1234])).values.tobytes()
    b'071234'
    """
    lengths = np.searchsorted(_POWERS_OF_TEN, numbers, side="right").astype(np.int64) + 1
    ends = np.cumsum(lengths)
    out = np.empty(int(ends[-1]) if len(ends) else 0, dtype=np.uint8)
    rest = numbers.astype(np.int64)
    at = ends - 1
    while len(rest):
        out[at] = ord("0") + rest % 10
        rest = rest // 10
        more = rest > 0
        rest, at = rest[more], at[more] - 1
    return Pieces.of(out, lengths)
