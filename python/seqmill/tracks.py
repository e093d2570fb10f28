"""Numbers for each position of a contig, read by window: :class:`TrackStore`.

:class:`SequenceTracks` reads sequence and tracks of the same windows in one call.
"""

import os
from collections.abc import Mapping, Sequence
from operator import index
from typing import TYPE_CHECKING, Any, Unpack

import numpy as np
from numpy.typing import DTypeLike, NDArray

from seqmill._encodings import choose_encoding
from seqmill._intervals import Intervals, as_intervals
from seqmill._store import (
    OutOfRange,
    StoreBase,
    StoreOptions,
    Strand,
    check_threads,
    is_minus,
    out_of_any_range,
)
from seqmill._track_meaning import DTYPE, KINDS, TrackMeaning, check_pad, read_note
from seqmill.errors import FormatError, InputError, OutOfRangeError

if TYPE_CHECKING:
    from seqmill.fetch import FastaStore

__all__ = ["SequenceTracks", "TrackMeaning", "TrackStore"]

PathLike = str | os.PathLike[str]


class TrackStore(StoreBase):
    """Many tracks: ``NAME.track.gz`` is BGZF of raw numbers, contigs back to back.

    Beside it stand ``.gzi`` and ``.idx``: a line with contig and byte offset each, then a line with
    an empty name and the total size. The type of the numbers is not in the file: it is told here,
    or by ``NAME.track.json`` (an object that may have ``dtype``, ``channels`` and ``description``).

    Parameters
    ----------
    path
        A directory, a file, a list of files or a glob pattern.
    dtype
        Type of the elements; None asks ``NAME.track.json``, without which it is little-endian
        float32.
    channels
        Elements for each position, one beside the other; None as for `dtype`.
    **options
        See :class:`seqmill._store.StoreOptions`.
    """

    _content = "tracks"
    _default_suffixes = (".track.gz",)

    def __init__(
        self,
        path: PathLike | Sequence[PathLike],
        dtype: DTypeLike | None = None,
        channels: int | None = None,
        **options: Unpack[StoreOptions],
    ) -> None:
        self.dtype = None if dtype is None else _check_dtype(dtype)
        if channels is not None and channels < 1:
            message = f"{channels} channels hold nothing; channels takes 1 or more"
            raise InputError(message, option="channels", value=channels)
        self.channels = channels
        self._meanings: dict[int, TrackMeaning] = {}
        super().__init__(path, **options)

    def __reduce__(self) -> tuple[Any, ...]:
        """Carry the way to the index, and what the bytes mean."""
        state: dict[str, Any] = {"dtype": self.dtype, "channels": self.channels, "_meanings": {}}
        return (*super().__reduce__(), state)

    def meaning(self, name: str | bytes | int) -> TrackMeaning:
        """Tell what the bytes of a track are."""
        file = self._file(name)
        if file not in self._meanings:
            told = read_note(self._native.path(file))
            self._meanings[file] = told._replace(
                dtype=told.dtype if self.dtype is None else self.dtype,
                channels=told.channels if self.channels is None else self.channels,
            )
        return self._meanings[file]

    def lengths(self, name: str | bytes | int) -> list[tuple[str, int]]:
        """List the contigs of a track and their lengths in positions, in file order."""
        width = self.meaning(name).width
        return [(contig, size // width) for contig, size in self.contigs(name)]

    def read_bytes(
        self, name: str | bytes | int, contig: str | bytes | int, start: int, end: int | None
    ) -> NDArray[np.uint8]:
        """Read a window of bytes; positions are bytes."""
        file, number = self.resolve(name, contig)
        encoding = choose_encoding("array")
        try:
            place = self._native.place(file, number, start, end, "error")
        except OverflowError:
            raise out_of_any_range(start, end) from None
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
        meaning = self.meaning(file)
        width, channels = meaning.width, meaning.channels
        positions, start = self._positions(file, number), index(start)
        beyond = 0 if out_of_range == "error" else start
        last = max(positions, beyond) if end is None else index(end)
        if out_of_range == "error" and not 0 <= start <= last <= positions:
            raise _out_of_range(self._native.path(file), contig, (start, last), positions)
        try:
            first, behind, left, right = self._native.place(
                file, number, start * width, last * width, out_of_range
            )
        except OverflowError:
            raise out_of_any_range(start, end) from None
        raw = self.read_bytes(file, number, first, behind)
        values = raw.view(meaning.dtype)
        values = values.reshape((-1, channels) if channels > 1 else (-1,))
        if left or right:
            check_pad(pad_value, meaning.dtype)
            sides = ((left // width, right // width), (0, 0))[: values.ndim]
            values = np.pad(values, sides, constant_values=pad_value)
        # Tensors have no strides below zero.
        return values[::-1].copy() if is_minus(strand) else values

    def _positions(self, file: int, number: int) -> int:
        """Give the length of a contig in positions."""
        width = self.meaning(file).width
        size = self._native.place(file, number, 0, None, "error")[1]
        if size % width:
            path = self._native.path(file)
            message = f"{path}: contig number {number} has {size} bytes, no positions of {width}"
            raise FormatError(message, path=path)
        return size // width

    def fetch_many(
        self,
        windows: "Intervals | Sequence[Any]",
        *,
        out_of_range: OutOfRange = "error",
        pad_value: float = float("nan"),
        threads: int = 1,
    ) -> NDArray[Any]:
        """Read windows of one length, one row each.

        Parameters
        ----------
        windows
            :class:`Intervals`, or ``(name, contig, start, end[, strand])``, in positions.
        out_of_range, pad_value
            As in :meth:`fetch`; ``"clip"`` would make rows of different lengths.
        threads
            Threads that read.

        Returns
        -------
        numpy.ndarray
            (windows, length), with several channels (windows, length, channels).
        """
        intervals = as_intervals(windows, self)
        lengths = intervals.lengths()
        meanings = [self.meaning(int(file)) for file in np.unique(intervals.files)]
        kinds = {(meaning.dtype, meaning.channels) for meaning in meanings}
        if len(kinds) > 1 or (len(lengths) and (lengths != lengths[0]).any()):
            message = "windows of one batch must have one length, and tracks of one type"
            raise InputError(message, option="windows")
        dtype, channels = kinds.pop() if kinds else (DTYPE, 1)
        length = int(lengths[0]) if len(lengths) else 0
        shape = (len(lengths), length, channels) if channels > 1 else (len(lengths), length)
        out = np.empty(shape, dtype)
        width = dtype.itemsize * channels
        if out_of_range != "error":
            for row, (file, contig, start, end, strand) in zip(
                out,
                zip(*(column.tolist() for column in intervals.arrays), strict=True),
                strict=True,
            ):
                values = self.fetch(
                    file,
                    contig,
                    start,
                    end,
                    strand=strand,
                    out_of_range=out_of_range,
                    pad_value=pad_value,
                )
                if len(values) != length:
                    message = "a window that is clipped makes a row of another length; pad it"
                    raise InputError(message, option="out_of_range", value=out_of_range)
                row[...] = values
            return out
        self._check_inside(intervals)
        files, contigs, starts, ends, _ = intervals.arrays
        plus = np.ones(len(lengths), np.int8)
        self._native.read_many(
            (files, contigs, starts * width, ends * width, plus),
            "error",
            length * width,
            choose_encoding("array").native,
            0,
            out.reshape(-1).view(np.uint8),
            check_threads(threads),
        )
        self._warn()
        minus = intervals.strands < 0
        out[minus] = out[minus, ::-1]
        return out

    def _check_inside(self, intervals: Intervals) -> None:
        """Refuse windows that reach outside: their places in bytes might be some other's."""
        pairs = (intervals.files.astype(np.uint64) << np.uint64(32)) | intervals.contigs
        contigs, of = np.unique(pairs, return_inverse=True)
        lengths = [self._positions(pair >> 32, pair & 0xFFFFFFFF) for pair in contigs.tolist()]
        positions = np.array(lengths, np.int64)[of]
        wrong = np.flatnonzero((intervals.starts < 0) | (intervals.ends > positions))
        if len(wrong):
            file, contig, start, end, _ = (column[wrong[0]].item() for column in intervals.arrays)
            path = self._native.path(file)
            raise _out_of_range(path, contig, (start, end), int(positions[wrong[0]]))


class SequenceTracks:
    """Sequence and tracks of the same windows in one call.

    Files and contigs of the tracks have the names that those of the sequences have.

    Parameters
    ----------
    sequences
        The FASTA files.
    tracks
        The tracks, by what they are called in results.
    """

    def __init__(self, sequences: "FastaStore", tracks: Mapping[str, TrackStore]) -> None:
        self.sequences = sequences
        self.tracks = dict(tracks)
        self._places: dict[tuple[str, int, int], tuple[int, int]] = {}

    def _place(self, label: str, file: int, contig: int) -> tuple[int, int]:
        """Find the contig of a track that has the names of one of the sequences."""
        key = (label, file, contig)
        if key not in self._places:
            native = self.sequences._native  # noqa: SLF001 - of the same package
            name, (contig_name, _) = native.name(file), native.contigs(file)[contig]
            self._places[key] = self.tracks[label].resolve(name, contig_name)
        return self._places[key]

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
        **encoding: Any,
    ) -> tuple[Any, dict[str, NDArray[Any]]]:
        """Read one window.

        Parameters
        ----------
        name, contig, start, end, strand, out_of_range
            As in :meth:`FastaStore.fetch`.
        pad_value
            What tracks have outside of their contig.
        **encoding
            Of the sequence: `encode`, `dtype` and so on.

        Returns
        -------
        tuple
            The sequence, and the values of each track.
        """
        file, number = self.sequences.resolve(name, contig)
        if end is None:
            end = self.sequences._native.place(file, number, 0, None, "error")[1]  # noqa: SLF001
        bases = self.sequences.fetch(
            file, number, start, end, strand=strand, out_of_range=out_of_range, **encoding
        )
        values = {
            label: track.fetch(
                *self._place(label, file, number),
                start,
                end,
                strand=strand,
                out_of_range=out_of_range,
                pad_value=pad_value,
            )
            for label, track in self.tracks.items()
        }
        return bases, values

    def fetch_many(
        self,
        windows: "Intervals | Sequence[Any]",
        *,
        out_of_range: OutOfRange = "error",
        pad_value: float = float("nan"),
        threads: int = 1,
        **encoding: Any,
    ) -> tuple[Any, dict[str, NDArray[Any]]]:
        """Read many windows of one length; parameters as in :meth:`fetch`."""
        intervals = as_intervals(windows, self.sequences)
        bases = self.sequences.fetch_many(
            intervals, out_of_range=out_of_range, threads=threads, **encoding
        )
        values = {}
        for label, track in self.tracks.items():
            pairs = zip(intervals.files.tolist(), intervals.contigs.tolist(), strict=True)
            places = [self._place(label, *pair) for pair in pairs]
            files, contigs = zip(*places, strict=True) if places else ((), ())
            own = Intervals(
                np.array(files, np.uint32),
                np.array(contigs, np.uint32),
                intervals.starts,
                intervals.ends,
                intervals.strands,
            )
            values[label] = track.fetch_many(
                own, out_of_range=out_of_range, pad_value=pad_value, threads=threads
            )
        return bases, values


def _check_dtype(dtype: DTypeLike) -> np.dtype[Any]:
    try:
        found = np.dtype(dtype)
    except TypeError:
        found = np.dtype("V1")
    if found.kind not in KINDS:
        message = f"{dtype!r} is no type of numbers, such as '<f4' or 'uint8'"
        raise InputError(message, option="dtype", value=dtype)
    return found


def _out_of_range(
    path: os.PathLike[str], contig: str | bytes | int, window: tuple[int, int], positions: int
) -> OutOfRangeError:
    return OutOfRangeError(
        f"{os.fspath(path)}: contig {contig!r}: window {window[0]}-{window[1]} (0-based, "
        f"half-open) reaches out of a contig of {positions} positions"
    )
