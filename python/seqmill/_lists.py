"""Lists that come from files: values one a line, regions, BED."""

from collections.abc import Iterator
from typing import Final, TypeAlias

from seqmill._text_lines import read_lines
from seqmill.errors import FormatError

__all__ = ["Interval", "read_list", "read_regions_file"]

Interval: TypeAlias = tuple[str, int, int | None]
"""Name, begin and end of a region, 0-based and half-open; without an end: to that of the name."""

_BED_FIELDS: Final = 3


def _lines(path: str) -> Iterator[tuple[int, str]]:
    """Give the lines of a list that hold something, with their numbers."""
    for number, line in read_lines(path):
        if text := line.strip():
            yield number, text


def read_list(text: str) -> list[str]:
    """Read the lines of ``@FILE``; any other text is a list of itself."""
    if not text.startswith("@"):
        return [text]
    return [line for _, line in _lines(text[1:])]


def read_regions_file(path: str) -> tuple[list[str], list[Interval]]:
    """Read a BED file, or one region string a line."""
    is_bed = path.removesuffix(".gz").lower().endswith(".bed")
    regions: list[str] = []
    intervals: list[Interval] = []
    for number, line in _lines(path):
        if line.startswith("#"):
            continue
        if not is_bed:
            regions.append(line)
        elif line.split()[0] not in ("track", "browser"):
            intervals.append(_bed_line(path, number, line))
    if not regions and not intervals:
        raise FormatError(f"{path}: holds no region", path=path)
    return regions, intervals


def _bed_line(path: str, number: int, line: str) -> Interval:
    fields = line.split("\t") if "\t" in line else line.split()
    numbers = [field for field in fields[1:_BED_FIELDS] if field.isascii() and field.isdecimal()]
    if len(numbers) == _BED_FIELDS - 1 and int(numbers[0]) <= int(numbers[1]):
        return fields[0], int(numbers[0]), int(numbers[1])
    raise FormatError(
        f"{path}: line {number} is no BED line; expected a name, a begin and an end not below it, "
        f"found {line[:60]!r}",
        path=path,
        line=number,
    )
