"""What an open archive gives out: its sizes, samples and contigs."""

from collections.abc import Iterator, Mapping
from itertools import pairwise
from typing import TYPE_CHECKING, Final, NamedTuple

from seqmill.errors import OutOfRangeError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from seqmill import _native

__all__ = ["Contig", "Parameters", "Sample"]

_PIECE_BASES: Final = 32 << 20


def _cut(first: int, last: int) -> Iterator[tuple[int, int]]:
    """Cut a range into pieces.

    A damaged archive may claim any length: what is there is read before more is allocated.
    """
    return pairwise([*range(first, last, _PIECE_BASES), last] if last > first else [first, last])


class Parameters(NamedTuple):
    """The sizes that an archive was made with."""

    kmer_length: int
    """k: length of the k-mers at which contigs are cut."""
    segment_size: int | None
    """S: least distance of two cuts; archives of version 1 do not say it."""
    min_match: int
    """L: shortest match of the delta code."""
    pack_size: int
    """B: samples of a batch, entries of a pack."""


class Contig:
    """A contig of a sample.

    Attributes
    ----------
    name
        Header up to its first blank.
    header
        The whole header.
    length
        Bases.
    """

    __slots__ = ("_contig", "_native", "_sample", "header", "length", "name")

    def __init__(self, native: "_native.ArchiveReader", sample: int, contig: int) -> None:
        self._native = native
        self._sample = sample
        self._contig = contig
        self.header, self.length = native.contig(sample, contig)
        self.name = native.contig_name(sample, contig)

    def __len__(self) -> int:
        """Give the length in bases."""
        return self.length

    def __repr__(self) -> str:
        """Show name and length."""
        return f"<Contig {self.name!r}, {self.length} bases>"

    def sequence(self, start: int = 0, end: int | None = None) -> "NDArray[np.uint8]":
        """Read bases as an array of letters.

        Parameters
        ----------
        start, end
            0-based half-open; no end is the end of the contig.

        Returns
        -------
        numpy.ndarray
            Upper-case letters, one byte each.
        """
        first, last = self._range(start, end)
        import numpy as np  # noqa: PLC0415 - slow to load, and most of what is here needs none

        pieces = []
        for begin, stop in _cut(first, last):
            piece = np.empty(stop - begin, np.uint8)
            self._native.read(self._sample, self._contig, begin, piece)
            pieces.append(piece)
        return pieces[0] if len(pieces) == 1 else np.concatenate(pieces)

    def text(self, start: int = 0, end: int | None = None) -> bytes:
        """Read bases as bytes; see :meth:`sequence`."""
        first, last = self._range(start, end)
        read, place = self._native.read_bytes, (self._sample, self._contig)
        pieces = [read(*place, begin, stop) for begin, stop in _cut(first, last)]
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def _range(self, start: int, end: int | None) -> tuple[int, int]:
        last = self.length if end is None else end
        if not 0 <= start <= last <= self.length:
            message = (
                f"contig {self.name!r}: {start} to {last} is not within its {self.length} bases"
            )
            raise OutOfRangeError(message, option="start", value=start)
        return start, last


class Sample(Mapping[str, Contig]):
    """A sample of an archive: its contigs by short name, in input order."""

    def __init__(self, native: "_native.ArchiveReader", number: int) -> None:
        self._native = native
        self._number = number

    @property
    def name(self) -> str:
        """Name of the sample."""
        return self._native.sample_name(self._number)

    @property
    def contigs(self) -> list[Contig]:
        """All contigs; also those whose name comes again."""
        return [Contig(self._native, self._number, i) for i in range(len(self))]

    def __len__(self) -> int:
        """Count the contigs."""
        return self._native.contig_count(self._number)

    def __iter__(self) -> Iterator[str]:
        """Go through the short names."""
        return (self._native.contig_name(self._number, i) for i in range(len(self)))

    def __contains__(self, name: object) -> bool:
        """Tell whether there is a contig of a short name."""
        return isinstance(name, str | bytes) and self._native.has_contig(self._number, name)

    def __getitem__(self, name: str) -> Contig:
        """Find a contig by its short name."""
        return Contig(self._native, self._number, self._native.find_contig(self._number, name))

    def __repr__(self) -> str:
        """Show name and number of contigs."""
        return f"<Sample {self.name!r}, {len(self)} contigs>"
