"""Windows of many contigs as flat arrays: 25 bytes each, never Python objects."""

import gzip
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from seqmill._store import is_minus
from seqmill.errors import FormatError, InputError, NameNotFoundError

if TYPE_CHECKING:
    from seqmill._store import StoreBase

__all__ = ["Intervals", "as_intervals", "find_unique_contig", "parse_region", "read_bed_lines"]

PathLike = str | os.PathLike[str]
_DTYPES: Final = (np.uint32, np.uint32, np.int64, np.int64, np.int8)
_GZIP_MAGIC: Final = b"\x1f\x8b"
_BED_COLUMNS: Final = 3
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
    """

    files: NDArray[np.uint32]
    contigs: NDArray[np.uint32]
    starts: NDArray[np.int64]
    ends: NDArray[np.int64]
    strands: NDArray[np.int8]

    def __post_init__(self) -> None:
        """Bring the arrays into the types that the engine takes."""
        names = ("files", "contigs", "starts", "ends", "strands")
        for name, dtype in zip(names, _DTYPES, strict=True):
            array = np.ascontiguousarray(getattr(self, name), dtype)
            if array.shape != (len(self.files),):
                message = f"{name} has the shape {array.shape}; all arrays have one length"
                raise InputError(message, option=name)
            object.__setattr__(self, name, array)

    def __len__(self) -> int:
        """Count the windows."""
        return len(self.files)

    def __getitem__(self, chosen: Any) -> "Intervals":
        """Choose windows by a slice, a mask or an array of numbers."""
        return Intervals(*(array[chosen] for array in self.arrays))

    @property
    def arrays(self) -> tuple[NDArray[Any], ...]:
        """The arrays in the order in which the engine takes them."""
        return (self.files, self.contigs, self.starts, self.ends, self.strands)

    @classmethod
    def from_windows(cls, store: "StoreBase", windows: Iterable[Sequence[Any]]) -> "Intervals":
        """Take ``(name, contig, start, end[, strand])`` tuples."""
        rows: list[tuple[int, int, int, int, int]] = []
        known: dict[tuple[Any, Any], tuple[int, int]] = {}
        for name, contig, start, end, *strand in windows:
            place = known.get((name, contig))
            if place is None:
                place = known[name, contig] = store.resolve(name, contig)
            minus = is_minus(strand[0]) if strand else False
            rows.append((*place, int(start), int(end), -1 if minus else 1))
        columns = zip(*rows, strict=True) if rows else ((),) * len(_DTYPES)
        return cls(
            *(np.array(column, dtype) for column, dtype in zip(columns, _DTYPES, strict=True))
        )

    @classmethod
    def from_bed(
        cls,
        store: "StoreBase",
        path: PathLike,
        *,
        name: str | Mapping[str, str] | None = None,
        file_column: int | None = None,
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

        Returns
        -------
        Intervals
            In file order.
        """

        def windows() -> Iterable[Sequence[Any]]:
            homes: dict[str, str | int] = {}
            for columns in read_bed_lines(path):
                contig = columns[0]
                if file_column is not None:
                    home: str | int = columns[file_column]
                elif isinstance(name, str):
                    home = name
                elif name is not None:
                    home = name[contig]
                else:
                    if contig not in homes:
                        homes[contig] = find_unique_contig(store, contig)
                    home = homes[contig]
                has_strand = len(columns) > _STRAND_COLUMN
                strand = columns[_STRAND_COLUMN] if has_strand else "+"
                yield home, contig, columns[1], columns[2], strand

        return cls.from_windows(store, windows())

    def resize(
        self, length: int, anchor: Literal["center", "start", "end"] = "center"
    ) -> "Intervals":
        """Give all windows one length around their centre, or from their start or end.

        Start and end are those of the strand: the start of a window on the reverse strand is its
        highest position.
        """
        if anchor not in ("center", "start", "end"):
            message = f"{anchor!r} is no anchor; anchor takes 'center', 'start' or 'end'"
            raise InputError(message, option="anchor", value=anchor)
        if anchor == "center":
            starts = self.starts + (self.ends - self.starts - length) // 2
        else:
            keeps_low = (self.strands >= 0) == (anchor == "start")
            starts = np.where(keeps_low, self.starts, self.ends - length)
        return Intervals(self.files, self.contigs, starts, starts + length, self.strands)

    def shift(self, bases: NDArray[np.int64]) -> "Intervals":
        """Move each window along its contig, towards higher positions."""
        starts, ends = self.starts + bases, self.ends + bases
        return Intervals(self.files, self.contigs, starts, ends, self.strands)

    def turn(self, which: NDArray[np.bool_]) -> "Intervals":
        """Change the strand of some windows."""
        strands = np.where(which, -self.strands, self.strands)
        return Intervals(self.files, self.contigs, self.starts, self.ends, strands)

    def digest(self) -> str:
        """Give a digest of all windows, in order."""
        import hashlib  # noqa: PLC0415 - only for state_dict

        hasher = hashlib.blake2b(digest_size=16)
        for array in self.arrays:
            hasher.update(array.tobytes())
        return hasher.hexdigest()


def as_intervals(windows: Any, store: "StoreBase") -> Intervals:
    """Take :class:`Intervals` as they are, or a sequence of tuples."""
    return windows if isinstance(windows, Intervals) else Intervals.from_windows(store, windows)


def read_bed_lines(path: PathLike) -> Iterable[list[str]]:
    """Read the columns of the lines of a BED file, the first three of them checked."""
    shown = os.fspath(path)
    with Path(path).open("rb") as head:
        packed = head.read(2) == _GZIP_MAGIC
    with gzip.open(path, "rt") if packed else Path(path).open() as lines:
        for number, line in enumerate(lines, 1):
            text = line.rstrip("\r\n")
            if not text.strip() or text.startswith(("#", "track", "browser")):
                continue
            columns = text.split("\t") if "\t" in text else text.split()
            if len(columns) < _BED_COLUMNS or not (columns[1] + columns[2]).isdecimal():
                message = f"{shown}: line {number}: a BED line is contig, start and end"
                raise FormatError(message, path=shown, line=number)
            if int(columns[1]) > int(columns[2]):
                message = f"{shown}: line {number}: start is behind end"
                raise FormatError(message, path=shown, line=number)
            yield columns


def find_unique_contig(store: "StoreBase", contig: str) -> int:
    """Find the one file of a store that has a contig of this name."""
    found = []
    native = store._native  # noqa: SLF001 - of the same package
    for file in range(len(native)):
        try:
            native.find_contig(file, contig)
        except NameNotFoundError as error:
            if len(native) == 1:
                raise
            _ = error
            continue
        found.append(file)
    if len(found) == 1:
        return found[0]
    if not found:
        message = f"no file of the store has a contig {contig!r}"
        raise NameNotFoundError(message, name=contig)
    names = ", ".join(native.name(file) for file in found[:3])
    message = f"contig {contig!r} is in {len(found)} files ({names}, ...); say which file is meant"
    raise InputError(message, option="name", value=contig)


def parse_region(text: str, has_contig: Any) -> tuple[str, int, int | None]:
    """Read a region string, 1-based inclusive, as 0-based half-open.

    `has_contig` tells whether a contig of a name exists: a name that exists as a whole wins.

    Examples
    --------
    >>> parse_region("chr1:1,001-2,000", lambda name: name == "chr1")
    ('chr1', 1000, 2000)
    """
    if text.startswith("{") and "}" in text:
        name, _, rest = text[1:].partition("}")
        return (name, *_bounds(rest.removeprefix(":"), text)) if rest else (name, 0, None)
    if has_contig(text):
        return text, 0, None
    name, colon, rest = text.rpartition(":")
    if not colon or not has_contig(name):
        return text, 0, None
    return (name, *_bounds(rest, text))


def _bounds(text: str, region: str) -> tuple[int, int | None]:
    first, dash, last = text.replace(",", "").partition("-")
    numbers = [item for item in (first, last) if item]
    if not numbers or not all(item.isascii() and item.isdecimal() for item in numbers):
        message = f"region {region!r}: positions are whole numbers, as in chr1:1,000-2,000"
        raise InputError(message, option="region", value=region)
    begin = max(int(first) - 1, 0) if first else 0
    end = int(last) if dash and last else None
    if end is not None and begin > end:
        message = f"region {region!r}: begin is behind end"
        raise InputError(message, option="region", value=region)
    return begin, end
