"""Windows of sequence as tensors: datasets for `torch.utils.data`, and a loader of threads.

What a sample holds depends on seed, epoch and its number only, never on workers or ranks.
"""

from collections.abc import Callable, Sequence
from operator import index
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np
from numpy.typing import DTypeLike, NDArray

from seqmill._encodings import Channels, Encode
from seqmill._intervals import Intervals, as_intervals
from seqmill._loader import Loader
from seqmill._random_windows import Chooser, Weights
from seqmill._sampling import draw_bits
from seqmill._streams import Stream, WindowStream
from seqmill._tensors import Batch, Reader, import_torch
from seqmill.errors import InputError

if TYPE_CHECKING:
    import os

    from seqmill.fetch import FastaStore

__all__ = ["Loader", "RandomWindows", "WindowDataset", "WindowStream", "collate", "worker_init"]

_JITTER, _FLIP = 1, 2
_WORKER_CACHE_BYTES: Final = 0


def collate(samples: Sequence[Any]) -> Any:
    """Make a batch of samples; those of :class:`WindowDataset` already are one, without a copy.

    Parameters
    ----------
    samples
        What a dataset gave.

    Returns
    -------
    torch.Tensor
        As `torch.utils.data.default_collate` makes it.
    """
    whole = getattr(samples, "whole", None)
    if whole is not None:
        return whole
    from torch.utils.data import default_collate  # noqa: PLC0415

    return default_collate(list(samples))


def worker_init(worker: int) -> None:
    """Prepare a worker process: one thread of torch, no block cache (batches do not use it).

    Parameters
    ----------
    worker
        Its number.
    """
    _ = worker
    torch = import_torch()
    torch.set_num_threads(1)
    info = torch.utils.data.get_worker_info()
    store = getattr(getattr(info, "dataset", None), "store", None)
    if store is not None:
        store._native.limit_cache(_WORKER_CACHE_BYTES)  # noqa: SLF001 - of the same package


class WindowDataset:
    r"""The windows of a list of intervals: map-style.

    Parameters
    ----------
    store
        The files.
    intervals
        :class:`~seqmill.fetch.Intervals`, or tuples ``(name, contig, start, end[, strand])``.
    length
        Length of every window, around the centre of its interval; None keeps the intervals' own.
    encode, dtype, channels
        As in :meth:`FastaStore.fetch`: ``"onehot"``, ``"tokens"``, ``"array"``, ``"softmask"`` or
        ``"2bit"``.
    rc
        ``"random"`` reverses and complements half of the samples; ``"both"`` gives two samples an
        interval, forward then reverse.
    jitter
        Most bases by which a window is moved to either side, drawn for each sample and epoch.
    pad
        Fill what lies outside of the contig; False makes it an error.
    transform
        Called with each sample.
    seed
        Of jitter and strands.

    Examples
    --------
    >>> import tempfile, pathlib, seqmill
    >>> path = pathlib.Path(tempfile.mkdtemp(), "tiny.fa")
    >>> _ = path.write_text(">chr1\nACGTN\n")
    >>> store = seqmill.FastaStore.open(path)
    >>> dataset = WindowDataset(store, [("tiny", "chr1", 0, 4)], rc="both", encode="tokens")
    >>> len(dataset)
    2
    """

    def __init__(
        self,
        store: "FastaStore",
        intervals: Any,
        length: int | None = None,
        *,
        encode: Encode = "onehot",
        dtype: DTypeLike | None = None,
        channels: Channels = "last",
        rc: Literal[False, "random", "both"] = False,
        jitter: int = 0,
        pad: bool = True,
        transform: Callable[[Any], Any] | None = None,
        seed: int = 0,
    ) -> None:
        if rc not in (False, "random", "both"):
            message = f"{rc!r} is not allowed; rc takes False, 'random' or 'both'"
            raise InputError(message, option="rc", value=rc)
        if jitter < 0:
            raise InputError("jitter is negative", option="jitter", value=jitter)
        windows = as_intervals(intervals, store)
        self.store = store
        self.intervals = windows if length is None else windows.resize(length)
        self.rc = rc
        self.jitter = jitter
        self.seed = seed
        self.epoch = 0
        self._reader = Reader(store, encode, dtype, channels, pad, transform)

    def set_epoch(self, epoch: int) -> None:
        """Begin an epoch: jitter and strands are drawn anew."""
        self.epoch = epoch

    def __len__(self) -> int:
        """Count the samples."""
        return len(self.intervals) * (2 if self.rc == "both" else 1)

    def __getitem__(self, number: int) -> Any:
        """Read one sample."""
        return self.read(self._numbers([number]))[0]

    def __getitems__(self, indices: Sequence[int]) -> list[Any]:
        """Read a batch of samples at once; a DataLoader asks for this if it is there."""
        found = self.read(self._numbers(indices))
        batch = Batch(found)
        batch.whole = None if isinstance(found, list) else found
        return batch

    def _numbers(self, indices: Sequence[int]) -> NDArray[np.uint64]:
        """Give the numbers of samples, of which those below zero count from the end."""
        count = len(self)
        found = np.array([index(each) for each in indices], np.int64)
        wrong = found[(found < -count) | (found >= count)]
        if len(wrong):
            message = f"sample {wrong[0]} of {count}"
            raise IndexError(message)
        return (found % max(count, 1)).astype(np.uint64)

    def windows_of(self, numbers: NDArray[np.uint64]) -> Intervals:
        """Give the windows of samples as they are read: moved and turned."""
        places = numbers >> np.uint64(1) if self.rc == "both" else numbers
        chosen = self.intervals[places.astype(np.int64)]
        if self.jitter:
            width = np.uint64(2 * self.jitter + 1)
            bits = draw_bits(places, self.seed, self.epoch, _JITTER)
            chosen = chosen.shift((bits % width).astype(np.int64) - self.jitter)
        if self.rc == "both":
            chosen = chosen.turn((numbers & np.uint64(1)).astype(bool))
        elif self.rc == "random":
            bits = draw_bits(places, self.seed, self.epoch, _FLIP)
            chosen = chosen.turn((bits >> np.uint64(63)).astype(bool))
        return chosen

    def read(self, numbers: NDArray[np.uint64], *, pinned: bool = False) -> Any:
        """Read the samples of `numbers` as one tensor, or a list where they were transformed."""
        return self._reader.read(self.windows_of(numbers), pinned=pinned)

    def digest(self) -> str:
        """Give a digest of all that decides which windows the samples are."""
        return f"{self.intervals.digest()}-{self.rc}-{self.jitter}"

    def sample_bytes(self) -> int:
        """Give the bytes of the longest sample."""
        lengths = self.intervals.ends - self.intervals.starts
        return self._reader.sample_bytes(int(lengths.max()) if len(lengths) else 0)


class RandomWindows(Stream):
    """Windows drawn from all contigs of a store: iterable, sharded, resumable.

    Parameters
    ----------
    store
        The files.
    length
        Length of every window.
    seed
        Of places and strands.
    samples
        Samples an epoch; None never ends.
    weights
        ``"bases"``: every window is as likely as every other; ``"contigs"``: every contig, then
        every window in it; ``"files"``: every file, then every window in it; or a function of
        file name, contig name and length.
    max_n_fraction
        Draw again what holds more N than this.
    exclude
        BED file or intervals that no window may overlap.
    rc
        ``"random"`` reverses and complements half of the samples.
    encode, dtype, channels, transform
        As in :class:`WindowDataset`.
    rank, world
        As in :class:`WindowStream`.

    Raises
    ------
    InputError
        If no contig is long enough, or nothing passes `max_n_fraction` and `exclude`.
    """

    def __init__(
        self,
        store: "FastaStore",
        length: int,
        seed: int = 0,
        *,
        samples: int | None = None,
        weights: Weights = "bases",
        max_n_fraction: float = 1.0,
        exclude: "str | os.PathLike[str] | Intervals | None" = None,
        rc: Literal[False, "random"] = False,
        encode: Encode = "onehot",
        dtype: DTypeLike | None = None,
        channels: Channels = "last",
        transform: Callable[[Any], Any] | None = None,
        rank: int | None = None,
        world: int | None = None,
    ) -> None:
        super().__init__(rank, world)
        if rc not in (False, "random"):
            message = f"{rc!r} is not allowed; rc takes False or 'random'"
            raise InputError(message, option="rc", value=rc)
        self.store = store
        self.length = length
        self.seed = seed
        self.epoch = 0
        self.samples = samples
        self.rc = rc
        self._reader = Reader(store, encode, dtype, channels, False, transform)
        self._chooser = Chooser.make(store, length, weights, max_n_fraction, exclude)

    def windows_of(self, numbers: NDArray[np.uint64]) -> Intervals:
        """Give the windows of samples: pure functions of seed, epoch and number."""
        chosen = self._chooser.choose(self.store, numbers, self.seed, self.epoch)
        if self.rc == "random":
            bits = draw_bits(numbers, self.seed, self.epoch, _FLIP)
            chosen = chosen.turn((bits >> np.uint64(63)).astype(bool))
        return chosen

    def read(self, numbers: NDArray[np.uint64], *, pinned: bool = False) -> Any:
        """Read samples by their numbers."""
        return self._reader.read(self.windows_of(numbers), pinned=pinned)

    def digest(self) -> str:
        """Give a digest of all that decides which windows the samples are."""
        return f"{self._chooser.digest()}-{self.rc}-{self.samples}"

    def sample_bytes(self) -> int:
        """Give the bytes of a sample."""
        return self._reader.sample_bytes(self.length)
