"""Numbers for each position of a contig, read by window: :class:`TrackStore`."""

import os
from collections.abc import Sequence
from typing import Any, Unpack

import numpy as np
from numpy.typing import DTypeLike, NDArray

from seqmill._encodings import choose_encoding
from seqmill._store import OutOfRange, StoreBase, StoreOptions, Strand, is_minus
from seqmill.errors import InputError

__all__ = ["TrackStore"]

PathLike = str | os.PathLike[str]


class TrackStore(StoreBase):
    """Many tracks: ``NAME.track.gz`` is BGZF of raw numbers, contigs back to back.

    Beside it stand ``.gzi`` and ``.idx``: a line with contig and byte offset each, then a line with
    an empty name and the total size. The type of the numbers is not in the file.

    Parameters
    ----------
    path
        A directory, a file, a list of files or a glob pattern.
    dtype
        Type of the elements.
    channels
        Elements for each position, one beside the other.
    **options
        See :class:`seqmill._store.StoreOptions`.
    """

    _content = "tracks"
    _default_suffixes = (".track.gz",)

    def __init__(
        self,
        path: PathLike | Sequence[PathLike],
        dtype: DTypeLike = "<f4",
        channels: int = 1,
        **options: Unpack[StoreOptions],
    ) -> None:
        self.dtype = np.dtype(dtype)
        if channels < 1:
            message = f"{channels} channels hold nothing; channels takes 1 or more"
            raise InputError(message, option="channels", value=channels)
        self.channels = channels
        super().__init__(path, **options)

    def __reduce__(self) -> tuple[Any, ...]:
        """Carry the way to the index, and what the bytes mean."""
        return (*super().__reduce__(), {"dtype": self.dtype, "channels": self.channels})

    @property
    def _width(self) -> int:
        return self.dtype.itemsize * self.channels

    def lengths(self, name: str | bytes | int) -> list[tuple[str, int]]:
        """List the contigs of a track and their lengths in positions, in file order."""
        return [(contig, size // self._width) for contig, size in self.contigs(name)]

    def read_bytes(
        self, name: str | bytes | int, contig: str | bytes | int, start: int, end: int | None
    ) -> NDArray[np.uint8]:
        """Read a window of bytes; positions are bytes."""
        file, number = self.resolve(name, contig)
        encoding = choose_encoding("array")
        place = self._native.place(file, number, start, end, "error")
        out: NDArray[np.uint8] = encoding.empty(None, place[1] - place[0])
        self._native.read(file, number, place, False, encoding.native, 0, out)
        self._warn()
        return out

    def fetch(
        self,
        name: str | bytes | int,
        contig: str | bytes | int,
        start: int = 0,
        end: int | None = None,
        *,
        strand: Strand = "+",
        out_of_range: OutOfRange = "error",
        pad_value: float = float("nan"),
    ) -> NDArray[Any]:
        """Read one window of numbers.

        Parameters
        ----------
        name, contig
            Track and contig.
        start, end
            0-based half-open, in positions; no end is the end of the contig.
        strand
            ``"-"`` reverses the window.
        out_of_range
            ``"error"``, ``"pad"`` with `pad_value`, ``"clip"`` or ``"shift"``.
        pad_value
            What stands at positions outside of the contig.

        Returns
        -------
        numpy.ndarray
            (n,), with several channels (n, channels).
        """
        file, number = self.resolve(name, contig)
        width = self._width
        native = self._native
        last = None if end is None else end * width
        first, behind, left, right = native.place(file, number, start * width, last, out_of_range)
        raw = self.read_bytes(file, number, first, behind)
        values = raw[: len(raw) // width * width].view(self.dtype)
        shape = (-1, self.channels) if self.channels > 1 else (-1,)
        values = values.reshape(shape)
        if left or right:
            sides = ((left // width, right // width), (0, 0))[: values.ndim]
            values = np.pad(values, sides, constant_values=pad_value)
        return values[::-1] if is_minus(strand) else values
