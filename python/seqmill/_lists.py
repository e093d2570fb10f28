"""Lists that come from files: values one a line, regions, BED."""

from collections.abc import Iterator
from typing import TypeAlias

from seqmill._regions import is_bed, read_bed_lines
from seqmill._text_lines import read_lines
from seqmill.errors import FormatError

__all__ = ["Interval", "read_list", "read_regions_file"]

Interval: TypeAlias = tuple[str, int, int | None]
"""Name, begin and end of a region, 0-based and half-open; without an end: to that of the name."""


def _lines(path: str) -> Iterator[str]:
    """Give the lines of a list that hold something."""
    for _, line in read_lines(path):
        if text := line.strip():
            yield text


def read_list(text: str) -> list[str]:
    """Read the lines of ``@FILE``; any other text is a list of itself."""
    if not text.startswith("@"):
        return [text]
    return list(_lines(text[1:]))


def read_regions_file(path: str) -> tuple[list[str], list[Interval]]:
    """Read a BED file, or one region string a line."""
    regions: list[str] = []
    intervals: list[Interval] = []
    if is_bed(path):
        intervals += ((name, int(b), int(e)) for name, b, e, *_ in read_bed_lines(path))
    else:
        regions += (line for line in _lines(path) if not line.startswith("#"))
    if not regions and not intervals:
        raise FormatError(f"{path}: holds no region", path=path)
    return regions, intervals
