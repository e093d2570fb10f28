"""Random numbers that are the same on every machine and with every version of NumPy.

The methods of ``numpy.random.Generator`` may change their streams between versions (NEP 19), and
a sequential generator ties what is drawn to the order in which it is drawn. Here a number is a
function of a key and a counter (SplitMix64), computed with 64-bit integers alone: a read has the
same bases whether it is written to a BAM in coordinate order or to a FASTQ in name order.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

_GOLDEN = 0x9E3779B97F4A7C15
_MIX_1 = np.uint64(0xBF58476D1CE4E5B9)
_MIX_2 = np.uint64(0x94D049BB133111EB)
_MASK_64 = (1 << 64) - 1
_FRACTION_BITS = 53
# The sum of four uniform 16-bit numbers: its mean, and its standard deviation.
_BELL_MEAN = 2 * 0xFFFF
_BELL_DEVIATION = 37837


class Draws:
    """A stream of random numbers with a name.

    Parameters
    ----------
    seed
        Any integer.
    name
        Streams of different names are independent.

    Examples
    --------
    >>> Draws(1, "doc").below(100, 5).tolist()
    [60, 50, 26, 93, 10]
    >>> Draws(1, "doc").child("other").below(100, 5).tolist()
    [12, 65, 63, 67, 48]
    """

    __slots__ = ("_key", "_next")

    def __init__(self, seed: int, name: str) -> None:
        digest = hashlib.sha256(f"{seed}/{name}".encode()).digest()
        self._key = int.from_bytes(digest[:8], "little")
        self._next = 0

    def child(self, name: str) -> Draws:
        """Give a stream of its own, whatever was drawn from this one so far."""
        return Draws(self._key, name)

    def at(self, counters: NDArray[np.uint64]) -> NDArray[np.uint64]:
        """Give 64 random bits for each counter; the same counter gives the same bits."""
        bits = counters * np.uint64(_GOLDEN)
        bits += np.uint64((self._key + _GOLDEN) & _MASK_64)
        bits ^= bits >> np.uint64(30)
        bits *= _MIX_1
        bits ^= bits >> np.uint64(27)
        bits *= _MIX_2
        bits ^= bits >> np.uint64(31)
        return bits

    def bits(self, count: int) -> NDArray[np.uint64]:
        """Draw 64-bit numbers."""
        counters = np.arange(self._next, self._next + count, dtype=np.uint64)
        self._next += count
        return self.at(counters)

    def below(self, high: int | NDArray[np.int64], count: int) -> NDArray[np.int64]:
        """Draw integers from 0 to below `high` (which may be an array; at most 2^31)."""
        halves = (self.bits(count) >> np.uint64(32)).astype(np.int64)
        return (halves * high) >> 32

    def one(self, low: int, high: int) -> int:
        """Draw one integer from `low` to below `high`."""
        return low + int(self.below(high - low, 1)[0])

    def chance(self, probability: float | NDArray[Any], count: int) -> NDArray[np.bool_]:
        """Draw booleans that are true with this probability."""
        limit = np.asarray(np.multiply(probability, 1 << _FRACTION_BITS), dtype=np.uint64)
        return (self.bits(count) >> np.uint64(64 - _FRACTION_BITS)) < limit

    def pick(self, weights: Sequence[int], count: int) -> NDArray[np.int64]:
        """Draw indices with integer weights."""
        edges = np.cumsum(np.asarray(weights, dtype=np.int64))
        return np.searchsorted(edges, self.below(int(edges[-1]), count), side="right")

    def bell(self, mean: int, deviation: int, count: int) -> NDArray[np.int64]:
        """Draw bell-shaped integers (the sum of four uniform ones; no logarithm, no sine)."""
        bits = self.bits(count)
        total = np.zeros(count, dtype=np.int64)
        for shift in (0, 16, 32, 48):
            total += ((bits >> np.uint64(shift)) & np.uint64(0xFFFF)).astype(np.int64)
        return mean + (total - _BELL_MEAN) * deviation // _BELL_DEVIATION

    def quantiles(self, table: Sequence[int], count: int) -> NDArray[np.int64]:
        """Draw integers from the distribution with these equally spaced quantiles."""
        points = np.asarray(table, dtype=np.int64)
        halves = (self.bits(count) >> np.uint64(32)).astype(np.int64) * (len(points) - 1)
        slot = halves >> 32
        rest = (halves & 0xFFFFFFFF) >> 16
        out: NDArray[np.int64] = points[slot] + ((points[slot + 1] - points[slot]) * rest >> 16)
        return out
