"""Windows of many contigs as flat arrays: 25 bytes each, never Python objects."""

import os
from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np
from numpy.typing import DTypeLike, NDArray

from seqmill._regions import read_bed_lines, read_summit
from seqmill._sampling import draw_bits
from seqmill._store import is_minus
from seqmill.errors import (
    FormatError,
    InputError,
    NameNotFoundError,
    OutOfRangeError,
    SeqmillError,
)

if TYPE_CHECKING:
    from seqmill._store import StoreBase
    from seqmill.fetch import FastaStore

__all__ = ["Intervals", "as_intervals", "find_unique_contig"]

PathLike = str | os.PathLike[str]
Anchor = Literal["center", "start", "end", "summit"]
_CODES: Final = ("I", "I", "q", "q", "b")
_PIECE_BASES: Final = 16 << 20
_DTYPES: Final = (np.uint32, np.uint32, np.int64, np.int64, np.int8)
_STRAND_COLUMN: Final = 5


@dataclass(frozen=True, slots=True, eq=False)
class Intervals:
    """Windows of the contigs of a store, 0-based half-open.

    Attributes
    ----------
    files, contigs
        Numbers, as :meth:`FastaStore.resolve` gives them.
    starts, ends
        Positions; they may lie outside of the contig.
    strands
        1 or -1.
    summits
        A position of interest in each window, where a file has told one.

    Examples
    --------
    >>> import numpy as np
    >>> windows = Intervals([0, 0], [0, 1], [10, 20], [20, 40], [1, -1])
    >>> windows.resize(4).starts.tolist(), windows.resize(4, "start").starts.tolist()
    ([13, 28], [10, 36])
    """

    files: NDArray[np.uint32]
    contigs: NDArray[np.uint32]
    starts: NDArray[np.int64]
    ends: NDArray[np.int64]
    strands: NDArray[np.int8]
    summits: NDArray[np.int64] | None = None

    def __post_init__(self) -> None:
        """Bring the arrays into the types that the engine takes."""
        names = ("files", "contigs", "starts", "ends", "strands", "summits")
        for name, dtype in zip(names, (*_DTYPES, np.int64), strict=True):
            if name == "summits" and self.summits is None:
                continue
            column = np.ascontiguousarray(_exact(name, getattr(self, name), np.dtype(dtype)))
            if column.shape != (len(self.files),):
                message = f"{name} has the shape {column.shape}; all arrays have one length"
                raise InputError(message, option=name)
            object.__setattr__(self, name, column)

    def __len__(self) -> int:
        """Count the windows."""
        return len(self.files)

    def __getitem__(self, chosen: Any) -> "Intervals":
        """Choose windows by a slice, a mask or an array of numbers."""
        summits = None if self.summits is None else self.summits[chosen]
        files, contigs, starts, ends, strands = (column[chosen] for column in self.arrays)
        return Intervals(files, contigs, starts, ends, strands, summits)

    @property
    def arrays(self) -> tuple[NDArray[Any], ...]:
        """The arrays in the order in which the engine takes them."""
        return (self.files, self.contigs, self.starts, self.ends, self.strands)

    @classmethod
    def from_windows(cls, store: "StoreBase", windows: Iterable[Sequence[Any]]) -> "Intervals":
        """Take ``(name, contig, start, end[, strand])`` tuples."""
        # Flat from the beginning: a list of tuples would take twenty times the memory.
        columns = tuple(array(code) for code in _CODES)
        known: dict[tuple[Any, Any], tuple[int, int]] = {}
        for window in windows:
            try:
                name, contig, start, end, *strand = window
                place = known.get((name, contig))
                if place is None:
                    place = known[name, contig] = store.resolve(name, contig)
                minus = is_minus(*strand) if strand else False
                row = (*place, start, end, -1 if minus else 1)
                for column, value in zip(columns, row, strict=True):
                    column.append(value)
            except SeqmillError:
                raise
            except (TypeError, ValueError, OverflowError):
                message = f"{window!r} is no window; one is (name, contig, start, end[, strand])"
                raise InputError(message, option="windows", value=window) from None
        return cls(*map(_as_array, columns, _DTYPES))

    def lengths(self) -> NDArray[np.int64]:
        """Give the bases of each window.

        Raises
        ------
        OutOfRangeError
            If a window ends before it starts.
        """
        found = self.ends - self.starts
        if len(found) and found.min() < 0:
            row = int(found.argmin())
            window = f"{self.starts[row]}-{self.ends[row]}"
            message = f"window number {row}, {window} (0-based, half-open), has a negative length"
            raise OutOfRangeError(message)
        return found

    @classmethod
    def from_bed(
        cls,
        store: "StoreBase",
        path: PathLike,
        *,
        name: str | Mapping[str, str] | None = None,
        file_column: int | None = None,
        summit_column: int | None = None,
    ) -> "Intervals":
        """Read a BED file, plain or compressed.

        Parameters
        ----------
        store
            The store that the contigs are of.
        path
            BED with three columns or more; the sixth is the strand.
        name
            The file that the contigs are of, or a mapping from contigs to files.
        file_column
            Column (from 0) that names the file. Without it and `name`, a contig's name must be
            unique in the store.
        summit_column
            Column (from 0) with the distance of a summit from the start, -1 for none, as the tenth
            column of narrowPeak (9) has it; without one the centre counts.

        Returns
        -------
        Intervals
            In file order.
        """
        summits = array("q")

        def windows() -> Iterable[Sequence[Any]]:
            homes: dict[str, str | int] = {}
            for columns in read_bed_lines(path):
                if summit_column is not None:
                    summits.append(read_summit(columns, summit_column))
                contig = columns[0]
                home = None if file_column is None else _read_file_name(columns, file_column)
                if home is None and contig not in homes:
                    homes[contig] = _find_home(store, contig, name)
                has_strand = len(columns) > _STRAND_COLUMN
                strand = columns[_STRAND_COLUMN] if has_strand else "+"
                place = homes[contig] if home is None else home
                yield place, contig, int(columns[1]), int(columns[2]), strand

        found = cls.from_windows(store, windows())
        if summit_column is None:
            return found
        return replace(found, summits=_as_array(summits, np.int64))

    def resize(self, length: int, anchor: Anchor = "center") -> "Intervals":
        """Give all windows one length around their centre or summit, or from their start or end.

        Start and end are those of the strand: the start of a window on the reverse strand is its
        highest position. A summit is at place ``length // 2`` of its window.
        """
        if anchor not in ("center", "start", "end", "summit"):
            message = f"{anchor!r} is no anchor; take 'center', 'start', 'end' or 'summit'"
            raise InputError(message, option="anchor", value=anchor)
        if anchor == "center":
            starts = self.starts + (self.ends - self.starts - length) // 2
        elif anchor == "summit":
            if self.summits is None:
                message = "these windows have no summits; read them with summit_column"
                raise InputError(message, option="anchor", value=anchor)
            starts = self.summits - length // 2
        else:
            keeps_low = (self.strands >= 0) == (anchor == "start")
            starts = np.where(keeps_low, self.starts, self.ends - length)
        return self._moved(starts, starts + length)

    def _moved(self, starts: NDArray[np.int64], ends: NDArray[np.int64]) -> "Intervals":
        return Intervals(self.files, self.contigs, starts, ends, self.strands, self.summits)

    def jitter(self, bases: int, seed: int = 0, epoch: int = 0) -> "Intervals":
        """Move each window by at most `bases` to either side, by seed, epoch and its number."""
        if bases < 0:
            raise InputError("jitter is negative", option="bases", value=bases)
        numbers = np.arange(len(self), dtype=np.uint64)
        bits = draw_bits(numbers, seed, epoch) % np.uint64(2 * bases + 1)
        return self.shift(bits.astype(np.int64) - bases)

    def filter(
        self, store: "FastaStore", *, max_n: float | None = None, inside: bool = False
    ) -> "Intervals":
        """Keep windows that are fit to be read.

        Parameters
        ----------
        store
            The store that they are of.
        max_n
            Largest share of N, as which also counts what lies outside of the contig.
        inside
            Leave out windows that reach outside of their contig.

        Returns
        -------
        Intervals
            In the same order.
        """
        kept = np.ones(len(self), bool)
        if inside:
            clipped = store._native.measure_many(self.arrays, "clip")  # noqa: SLF001 - of ours
            kept &= np.asarray(clipped, np.int64) == self.ends - self.starts
        if max_n is not None:
            for rows in self._pieces(np.flatnonzero(kept)):
                kept[rows] = self[rows]._share_of_n(store) <= max_n  # noqa: SLF001 - its own
        return self[kept]

    def _pieces(self, rows: NDArray[np.int64]) -> Iterator[NDArray[np.int64]]:
        """Cut rows into pieces of a bounded number of bases, of one row at least."""
        bases = np.cumsum((self.ends - self.starts)[rows])
        begin = 0
        while begin < len(rows):
            before = int(bases[begin - 1]) if begin else 0
            end = int(np.searchsorted(bases, before + _PIECE_BASES, side="right"))
            yield rows[begin : max(end, begin + 1)]
            begin = max(end, begin + 1)

    def _share_of_n(self, store: "FastaStore") -> NDArray[np.float64]:
        found = store.fetch_many(self, case="upper", out_of_range="pad")
        if not isinstance(found, tuple):
            share: NDArray[np.float64] = (found == ord("N")).sum(axis=1) / max(found.shape[1], 1)
            return share
        data, offsets = found
        sums = np.concatenate([[0], np.cumsum(data == ord("N"))])
        counts: NDArray[np.int64] = sums[offsets[1:]] - sums[offsets[:-1]]
        ragged: NDArray[np.float64] = counts / np.maximum(np.diff(offsets), 1)
        return ragged

    def shift(self, bases: NDArray[np.int64]) -> "Intervals":
        """Move each window along its contig, towards higher positions."""
        return self._moved(self.starts + bases, self.ends + bases)

    def turn(self, which: NDArray[np.bool_]) -> "Intervals":
        """Change the strand of some windows."""
        strands = np.where(which, -self.strands, self.strands)
        return Intervals(self.files, self.contigs, self.starts, self.ends, strands, self.summits)

    def digest(self) -> str:
        """Give a digest of all windows, in order."""
        import hashlib  # noqa: PLC0415 - only for state_dict

        hasher = hashlib.blake2b(digest_size=16)
        for column in self.arrays:
            hasher.update(column.tobytes())
        return hasher.hexdigest()


def as_intervals(
    windows: Any, store: "StoreBase", length: int | NDArray[np.int64] | None = None
) -> Intervals:
    """Take :class:`Intervals` as they are, or make them of tuples or arrays.

    Parameters
    ----------
    windows
        :class:`Intervals`; tuples; a structured array with the fields file, contig, start, end and,
        if there is one, strand; or with `length` four arrays: files, contigs, starts, strands.
    store
        The store that they are of.
    length
        Bases of each window, or of every one.

    Returns
    -------
    Intervals
        The windows.
    """
    if length is not None:
        return _from_four_arrays(windows, length)
    if isinstance(windows, Intervals):
        return windows
    fields = getattr(getattr(windows, "dtype", None), "names", None)
    if fields is None:
        return Intervals.from_windows(store, windows)
    missing = {"file", "contig", "start", "end"} - set(fields)
    if missing:
        message = f"a structured array of windows lacks the field {min(missing)!r}"
        raise InputError(message, option="windows")
    strands = windows["strand"] if "strand" in fields else np.ones(len(windows), np.int8)
    files, contigs, starts, ends = (windows[name] for name in ("file", "contig", "start", "end"))
    return Intervals(files, contigs, starts, ends, strands)


def _from_four_arrays(windows: Any, length: int | NDArray[np.int64]) -> Intervals:
    try:
        files, contigs, starts, strands = windows
    except (TypeError, ValueError, IndexError):
        message = "with length, windows are four arrays: files, contigs, starts and strands"
        raise InputError(message, option="windows") from None
    starts = _exact("starts", starts, np.dtype(np.int64))
    lengths = _exact("length", length, np.dtype(np.int64))
    if lengths.shape not in ((), starts.shape):
        message = f"length has the shape {lengths.shape}; it is one number or one for each window"
        raise InputError(message, option="length")
    return Intervals(files, contigs, starts, starts + lengths, strands)


def _exact(name: str, values: Any, dtype: "np.dtype[Any]") -> NDArray[Any]:
    """Give values as another type of integers, all of which must have room in it."""
    found = np.asarray(values)
    if found.dtype == dtype:
        return found
    if found.dtype.kind in "USO" and name == "strands":
        found = np.array([_strand(strand) for strand in found.tolist()], np.int8)
    if found.size == 0:
        return found.astype(dtype)
    room = np.iinfo(dtype)
    if found.dtype.kind not in "iub" or int(found.min()) < room.min or int(found.max()) > room.max:
        message = f"{name} are whole numbers from {room.min} to {room.max}"
        raise InputError(message, option=name)
    return found.astype(dtype)


def _strand(strand: Any) -> int:
    return -1 if is_minus(strand.decode("latin-1") if isinstance(strand, bytes) else strand) else 1


def _read_file_name(columns: Sequence[str], at: int) -> str:
    if at >= len(columns):
        message = f"the line of {':'.join(columns[:3])} has no column {at} (from 0) for the file"
        raise FormatError(message)
    return columns[at]


def _find_home(store: "StoreBase", contig: str, name: str | Mapping[str, str] | None) -> str | int:
    """Find the file that a contig is of."""
    if name is None:
        return find_unique_contig(store, contig)
    if isinstance(name, str):
        return name
    if contig not in name:
        message = f"contig {contig!r} is not in the mapping; name must have a file for each"
        raise NameNotFoundError(message, name=contig)
    return name[contig]


def _as_array(column: "array[int]", dtype: DTypeLike) -> NDArray[Any]:
    return np.array(column, dtype)


def find_unique_contig(store: "StoreBase", contig: str) -> int:
    """Find the one file of a store that has a contig of this name."""
    native = store._native  # noqa: SLF001 - of the same package
    found = native.files_with_contig(contig, store.min_contig_length)
    if not found and len(native) == 1:
        # The error has names that resemble this one.
        store.resolve(0, contig)
    if len(found) == 1:
        return found[0]
    if not found:
        message = f"no file of the store has a contig {contig!r}"
        raise NameNotFoundError(message, name=contig)
    names = ", ".join(native.name(file) for file in found[:3])
    more = ", ..." if len(found) > 3 else ""  # noqa: PLR2004 - as many as are named
    which = f"{len(found)} files ({names}{more})"
    message = f"contig {contig!r} is in {which}; name (--name) says which"
    raise InputError(message, option="name", value=contig)
