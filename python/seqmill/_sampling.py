"""From sample numbers to random numbers, orders and shards: no state, the same everywhere.

Every random number is a pure function of a seed, an epoch, what it is for and the number of the
sample (SplitMix64 with the first three as its seed and the last as its counter), so that workers
need to share nothing.
"""

import os
from typing import Final

import numpy as np
from numpy.typing import NDArray

from seqmill.errors import InputError

__all__ = ["Permutation", "draw_bits", "draw_fractions", "find_rank"]

_MASK: Final = (1 << 64) - 1
_GOLDEN: Final = 0x9E3779B97F4A7C15
_ROUNDS: Final = 8
_PERMUTATION: Final = 0x5045524D
_DOUBLE_BITS: Final = 53


def _mix(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))


def _make_key(words: tuple[int, ...]) -> np.uint64:
    key = 0
    for word in words:
        state = np.array([(key + word * _GOLDEN + _GOLDEN) & _MASK], np.uint64)
        key = int(_mix(state)[0])
    return np.uint64(key)


def draw_bits(numbers: NDArray[np.uint64], *key: int) -> NDArray[np.uint64]:
    """Draw 64 random bits for each of `numbers`.

    Parameters
    ----------
    numbers
        Counters, such as numbers of samples.
    *key
        Seed, epoch and whatever else tells these draws from others.

    Returns
    -------
    numpy.ndarray
        uint64.

    Examples
    --------
    >>> import numpy as np
    >>> bool((draw_bits(np.arange(4, dtype=np.uint64), 7)[2:] == draw_bits(
    ...     np.arange(2, 4, dtype=np.uint64), 7)).all())
    True
    """
    state = numbers * np.uint64(_GOLDEN) + _make_key(key)
    return _mix(_mix(state))


def draw_fractions(numbers: NDArray[np.uint64], *key: int) -> NDArray[np.float64]:
    """Draw a number from 0 to below 1 for each of `numbers`."""
    bits = draw_bits(numbers, *key) >> np.uint64(64 - _DOUBLE_BITS)
    return bits.astype(np.float64) * 2.0**-_DOUBLE_BITS


class Permutation:
    """A random order of `count` things that is computed place by place, never stored.

    A Feistel network permutes the next power of two; what lands above `count` goes round again.

    Parameters
    ----------
    count
        How many things there are.
    *key
        Seed and epoch.

    Examples
    --------
    >>> import numpy as np
    >>> sorted(Permutation(6, 1, 0)(np.arange(6, dtype=np.uint64)).tolist())
    [0, 1, 2, 3, 4, 5]
    """

    def __init__(self, count: int, *key: int) -> None:
        self.count = count
        self._bits = max(1, (count - 1).bit_length())
        self._keys = [_make_key((*key, _PERMUTATION, step)) for step in range(_ROUNDS)]

    def __call__(self, places: NDArray[np.uint64]) -> NDArray[np.uint64]:
        """Give what stands at each of `places`, all of which are below `count`."""
        values = self._round_trip(places)
        while (outside := values >= self.count).any():
            values[outside] = self._round_trip(values[outside])
        return values

    def _round_trip(self, values: NDArray[np.uint64]) -> NDArray[np.uint64]:
        high_bits = self._bits // 2
        low_bits = self._bits - high_bits
        for key in self._keys:
            low = values & np.uint64((1 << low_bits) - 1)
            high = values >> np.uint64(low_bits)
            turned = _mix(low * np.uint64(_GOLDEN) + key) & np.uint64((1 << high_bits) - 1)
            values = (low << np.uint64(high_bits)) | (high ^ turned)
            high_bits, low_bits = low_bits, high_bits
        return values


def find_rank(rank: int | None, world: int | None) -> tuple[int, int]:
    """Find which of how many processes of one training this is.

    What is told counts; else `torch.distributed`, if it is initialised; else the environment
    (``RANK``, ``WORLD_SIZE``); else there is one.
    """
    if (rank is None) != (world is None):
        message = "rank and world go together; give both or neither"
        raise InputError(message, option="rank")
    if rank is None or world is None:
        rank, world = _find_distributed() or (_told("RANK", "0"), _told("WORLD_SIZE", "1"))
    if not 0 <= rank < world:
        message = f"rank {rank} is none of {world}; ranks count from 0"
        raise InputError(message, option="rank", value=rank)
    return rank, world


def _told(variable: str, otherwise: str) -> int:
    text = os.environ.get(variable, otherwise)
    if not (text.isascii() and text.isdecimal()):
        message = f"{variable}={text!r} in the environment is no whole number"
        raise InputError(message, option="rank", value=text)
    return int(text)


def _find_distributed() -> tuple[int, int] | None:
    import sys  # noqa: PLC0415 - beside its only use

    # If nobody has imported it, nobody has initialised it.
    torch = sys.modules.get("torch")
    distributed = getattr(torch, "distributed", None)
    if distributed is None or not (distributed.is_available() and distributed.is_initialized()):
        return None
    return distributed.get_rank(), distributed.get_world_size()
