"""Windows drawn at random from the contigs of a store."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from seqmill._intervals import Intervals
from seqmill._sampling import draw_fractions
from seqmill.errors import InputError

if TYPE_CHECKING:
    import os

    from seqmill.fetch import FastaStore

__all__ = ["Chooser", "Weights", "random_windows"]

Weights = Literal["bases", "contigs", "files"] | Callable[[str, str, int], float]

_CONTIG, _PLACE = 3, 4
_ATTEMPTS: Final = 10_000


@dataclass(frozen=True, slots=True, eq=False)
class Chooser:
    """The contigs that windows come from, and what windows must be.

    Attributes
    ----------
    files, contigs, rooms
        Contigs, and the places that a window has in each.
    sums
        Weights of the contigs, added up.
    taken
        Where windows must not lie: begins and ends, not touching, on one line on which the
        contigs follow one another; and where each contig begins there.
    """

    length: int
    files: NDArray[np.uint32]
    contigs: NDArray[np.uint32]
    rooms: NDArray[np.int64]
    sums: NDArray[np.float64]
    most_n: float
    taken: tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]] | None

    @classmethod
    def make(
        cls,
        store: "FastaStore",
        length: int,
        weights: Weights,
        most_n: float,
        exclude: "str | os.PathLike[str] | Intervals | None",
    ) -> "Chooser":
        """Look through the contigs of a store."""
        if length < 1:
            raise InputError("a window has 1 base or more", option="length", value=length)
        if not 0.0 <= most_n <= 1.0:
            message = f"max_n_fraction takes 0 to 1, not {most_n}"
            raise InputError(message, option="max_n_fraction", value=most_n)
        files, contigs, lengths = store.contig_table()
        long = lengths >= length
        if not long.any():
            longest = int(lengths.max()) if len(lengths) else 0
            message = f"no contig has {length} bases; the longest has {longest}"
            raise InputError(message, option="length", value=length)
        files, contigs, lengths = files[long], contigs[long], lengths[long]
        rooms = lengths - length + 1
        sums = np.cumsum(_weigh(store, weights, files, contigs, lengths, rooms))
        if not (np.isfinite(sums[-1]) and sums[-1] > 0):
            raise InputError("weights must be finite and not all zero", option="weights")
        taken = None if exclude is None else _find_taken(store, files, contigs, lengths, exclude)
        return cls(length, files, contigs, rooms, sums, most_n, taken)

    def digest(self) -> str:
        """Give a digest of all that decides which windows are drawn."""
        hasher = hashlib.blake2b(digest_size=16)
        for array in (self.files, self.contigs, self.rooms, self.sums, *(self.taken or ())):
            hasher.update(array.tobytes())
        return f"{hasher.hexdigest()}-{self.length}-{self.most_n}"

    def choose(
        self, store: "FastaStore", numbers: NDArray[np.uint64], seed: int, epoch: int
    ) -> Intervals:
        """Draw the windows of samples, each as often as it takes."""
        which = np.zeros(len(numbers), np.int64)
        starts = np.zeros(len(numbers), np.int64)
        left = np.arange(len(numbers))
        for attempt in range(_ATTEMPTS):
            drawn = numbers[left]
            contig = self._draw_contigs(drawn, seed, epoch, attempt)
            place = draw_fractions(drawn, seed, epoch, _PLACE, attempt) * self.rooms[contig]
            start = np.minimum(place.astype(np.int64), self.rooms[contig] - 1)
            which[left], starts[left] = contig, start
            left = left[~self._is_fine(store, contig, start)]
            if not len(left):
                return self._windows(which, starts)
        message = f"{_ATTEMPTS} draws found no window that max_n_fraction and exclude allow"
        raise InputError(message, option="max_n_fraction", value=self.most_n)

    def _draw_contigs(
        self, numbers: NDArray[np.uint64], seed: int, epoch: int, attempt: int
    ) -> NDArray[np.int64]:
        points = draw_fractions(numbers, seed, epoch, _CONTIG, attempt) * self.sums[-1]
        found = np.searchsorted(self.sums, points, side="right")
        # Rounding may reach the sum of all: that is the last contig that has a weight.
        last = int(np.searchsorted(self.sums, self.sums[-1], side="left"))
        contigs: NDArray[np.int64] = np.minimum(found, last).astype(np.int64)
        return contigs

    def _windows(self, which: NDArray[np.int64], starts: NDArray[np.int64]) -> Intervals:
        strands = np.ones(len(which), np.int8)
        return Intervals(
            self.files[which], self.contigs[which], starts, starts + self.length, strands
        )

    def _is_fine(
        self, store: "FastaStore", which: NDArray[np.int64], starts: NDArray[np.int64]
    ) -> NDArray[np.bool_]:
        fine = np.ones(len(which), bool)
        if self.taken is not None:
            begins, ends, lines = self.taken
            first = lines[which] + starts
            nearest = np.searchsorted(ends, first, side="right")
            inside = nearest < len(begins)
            fine[inside] = begins[nearest[inside]] >= first[inside] + self.length
        if self.most_n < 1.0 and fine.any():
            kept = np.flatnonzero(fine)
            # So many windows as a batch has; their blocks are inflated again for the batch.
            bases = store.fetch_many(self._windows(which[kept], starts[kept]), case="upper")
            share = (bases == ord("N")).mean(axis=1)
            fine[kept] = share <= self.most_n
        return fine


def random_windows(store: "FastaStore", length: int, count: int, *, seed: int = 0) -> Intervals:
    """Draw windows of one length, every place in the store as likely as every other.

    Parameters
    ----------
    store
        The files.
    length, count
        Bases of a window, and how many windows.
    seed
        The same seed gives the same windows.

    Returns
    -------
    Intervals
        The windows.
    """
    numbers = np.arange(count, dtype=np.uint64)
    return Chooser.make(store, length, "bases", 1.0, None).choose(store, numbers, seed, 0)


def _weigh(  # noqa: PLR0917 - one row of columns
    store: "FastaStore",
    weights: Weights,
    files: NDArray[np.uint32],
    contigs: NDArray[np.uint32],
    lengths: NDArray[np.int64],
    rooms: NDArray[np.int64],
) -> NDArray[np.float64]:
    if callable(weights):
        found = np.empty(len(files), np.float64)
        for file in np.unique(files):
            names = store._native.contigs(int(file))  # noqa: SLF001 - of the same package
            name = store._native.name(int(file))  # noqa: SLF001
            for row in np.flatnonzero(files == file):
                found[row] = weights(name, names[contigs[row]][0], int(lengths[row]))
        if (found < 0).any():
            raise InputError("a weight is negative", option="weights")
        return found
    if weights == "bases":
        return rooms.astype(np.float64)
    if weights == "contigs":
        return np.ones(len(files), np.float64)
    if weights == "files":
        _, groups = np.unique(files, return_inverse=True)
        share: NDArray[np.float64] = rooms / np.bincount(groups, weights=rooms)[groups]
        return share
    message = f"{weights!r} is not allowed; weights takes 'bases', 'contigs', 'files' or a function"
    raise InputError(message, option="weights", value=weights)


def _find_taken(
    store: "FastaStore",
    files: NDArray[np.uint32],
    contigs: NDArray[np.uint32],
    lengths: NDArray[np.int64],
    exclude: Any,
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    windows = exclude if isinstance(exclude, Intervals) else Intervals.from_bed(store, exclude)
    # A base between contigs: windows at the end of one do not touch the next.
    lines = np.cumsum(lengths + 1) - (lengths + 1)

    def key(some_files: NDArray[Any], some_contigs: NDArray[Any]) -> NDArray[np.uint64]:
        high = some_files.astype(np.uint64) << np.uint64(32)
        return high | some_contigs.astype(np.uint64)

    keys = key(files, contigs)
    wanted = key(windows.files, windows.contigs)
    rows = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
    known = (keys[rows] == wanted) & (windows.ends > windows.starts)
    rows = rows[known]
    begins = lines[rows] + np.clip(windows.starts[known], 0, lengths[rows])
    ends = lines[rows] + np.clip(windows.ends[known], 0, lengths[rows])
    order = np.argsort(begins, kind="stable")
    begins, ends = begins[order], np.maximum.accumulate(ends[order])
    # What overlaps becomes one.
    first = np.ones(len(begins), bool)
    first[1:] = begins[1:] > ends[:-1]
    return begins[first], ends[np.append(np.flatnonzero(first)[1:] - 1, -1)[: first.sum()]], lines
