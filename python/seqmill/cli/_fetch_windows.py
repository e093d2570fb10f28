"""The windows that `seqmill fetch` is asked for: region strings, lists of them, BED files."""

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, NamedTuple

from seqmill._intervals import find_unique_contig
from seqmill._regions import is_bed, parse_region, read_bed_lines, read_region_lines
from seqmill.errors import NameNotFoundError

if TYPE_CHECKING:
    from pathlib import Path

    from seqmill.fetch import FastaStore

__all__ = ["Wanted", "end_of", "find_wanted"]


class Wanted(NamedTuple):
    """A window and how it was asked for."""

    label: str
    file: int
    contig: int
    start: int
    end: int | None
    minus: bool
    columns: list[str] | None = None


def find_wanted(
    store: "FastaStore", asked: list[str], bed: "Path | None", name: str | None, *, minus: bool
) -> Iterator[Wanted]:
    """Find the windows one after the other; with `minus` each is turned round."""
    find = _finder(store, name)

    def has(contig: str) -> bool:
        return find(contig) is not None

    lists = list(asked)
    if bed is not None and not is_bed(bed):
        lists += read_region_lines(bed)
    for region in lists:
        contig, start, end = parse_region(region, has)
        place = find(contig) or _missing(store, contig, name)
        yield Wanted(region, *place, start, end, minus)
    if bed is None or not is_bed(bed):
        return
    for columns in read_bed_lines(bed):
        contig, first, last = columns[:3]
        place = find(contig) or _missing(store, contig, name)
        reverse = minus != (len(columns) > 5 and columns[5] == "-")  # noqa: PLR2004 - BED's sixth
        label = f"{contig}:{int(first) + 1}-{last}"
        yield Wanted(label, *place, int(first), int(last), reverse, columns)


def _finder(store: "FastaStore", name: str | None) -> Callable[[str], tuple[int, int] | None]:
    known: dict[str, tuple[int, int] | None] = {}

    def find(contig: str) -> tuple[int, int] | None:
        if contig not in known:
            try:
                file = find_unique_contig(store, contig) if name is None else name
                known[contig] = store.resolve(file, contig)
            except NameNotFoundError:
                known[contig] = None
        return known[contig]

    return find


def _missing(store: "FastaStore", contig: str, name: str | None) -> tuple[int, int]:
    """Raise the error for a contig that is not there, with names that resemble it."""
    return store.resolve(find_unique_contig(store, contig) if name is None else name, contig)


def end_of(store: "FastaStore", item: Wanted) -> int:
    """Give the end of a window: that of the contig, if none was told."""
    if item.end is not None:
        return item.end
    # The whole contig: its end is its length.
    length = store._native.place(item.file, item.contig, 0, None, "error")[1]  # noqa: SLF001
    return max(length, item.start)
