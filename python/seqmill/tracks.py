"""Numbers for each position of a contig, read by window: :class:`TrackStore`.

:class:`SequenceTracks` reads sequence and tracks of the same windows in one call.
"""

import json
import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Unpack

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
)
from seqmill.errors import FormatError, InputError

if TYPE_CHECKING:
    from seqmill.fetch import FastaStore

__all__ = ["SequenceTracks", "TrackMeaning", "TrackStore"]

PathLike = str | os.PathLike[str]

_SUFFIX: Final = ".track.gz"
_NOTE_SUFFIX: Final = ".track.json"
_DTYPE: Final = np.dtype("<f4")


class TrackMeaning(NamedTuple):
    """What the bytes of a track are.

    Attributes
    ----------
    dtype
        Type of the elements.
    channels
        Elements for each position, one beside the other.
    description
        Words for people.
    """

    dtype: np.dtype[Any]
    channels: int = 1
    description: str = ""

    @property
    def width(self) -> int:
        """Bytes of a position."""
        return self.dtype.itemsize * self.channels


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
        self.dtype = None if dtype is None else np.dtype(dtype)
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
            told = _read_note(self._native.path(file))
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
        meaning = self.meaning(file)
        width, channels = meaning.width, meaning.channels
        native = self._native
        whole = native.place(file, number, 0, None, "error")[1]
        if whole % width:
            message = f"contig {contig!r} has {whole} bytes, which are no positions of {width}"
            raise FormatError(message, path=native.path(file))
        last = None if end is None else end * width
        first, behind, left, right = native.place(file, number, start * width, last, out_of_range)
        raw = self.read_bytes(file, number, first, behind)
        values = raw.view(meaning.dtype)
        values = values.reshape((-1, channels) if channels > 1 else (-1,))
        if left or right:
            _check_pad(pad_value, meaning.dtype)
            sides = ((left // width, right // width), (0, 0))[: values.ndim]
            values = np.pad(values, sides, constant_values=pad_value)
        return values[::-1] if is_minus(strand) else values

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
        lengths = intervals.ends - intervals.starts
        meanings = [self.meaning(int(file)) for file in np.unique(intervals.files)]
        kinds = {(meaning.dtype, meaning.channels) for meaning in meanings}
        if len(kinds) > 1 or (len(lengths) and (lengths != lengths[0]).any()):
            message = "windows of one batch must have one length, and tracks of one type"
            raise InputError(message, option="windows")
        dtype, channels = kinds.pop() if kinds else (_DTYPE, 1)
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
                row[...] = self.fetch(
                    file,
                    contig,
                    start,
                    end,
                    strand=strand,
                    out_of_range=out_of_range,
                    pad_value=pad_value,
                )
            return out
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


def _check_pad(value: float, dtype: np.dtype[Any]) -> None:
    if dtype.kind != "f" and not np.isfinite(value):
        message = f"{value} does not fit into {dtype}; give pad_value"
        raise InputError(message, option="pad_value", value=value)


def _read_note(track: "str | os.PathLike[str]") -> TrackMeaning:
    """Read ``NAME.track.json`` beside a track, if it is there."""
    path = os.fspath(track).removesuffix(_SUFFIX) + _NOTE_SUFFIX
    try:
        with open(path, encoding="utf-8") as file:  # noqa: PTH123 - bytes of a path stay as they are
            told = json.load(file)
    except FileNotFoundError:
        return TrackMeaning(_DTYPE)
    except ValueError as error:
        raise FormatError(f"{path}: this is no JSON ({error})", path=path) from error
    try:
        dtype = np.dtype(told.get("dtype", _DTYPE))
        channels, description = told.get("channels", 1), told.get("description", "")
    except (TypeError, AttributeError) as error:
        raise FormatError(f"{path}: {error}", path=path) from error
    fine = isinstance(channels, int) and channels >= 1 and isinstance(description, str)
    if not fine or dtype.kind not in "fiub":
        message = f"{path}: dtype is a type of numbers, channels 1 or more, description a text"
        raise FormatError(message, path=path)
    return TrackMeaning(dtype, channels, description)
