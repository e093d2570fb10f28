"""Places as users write them: region strings, lists of them, and BED lines."""

import os
from collections.abc import Callable, Iterator, Sequence
from typing import Final

from seqmill._text_lines import read_lines
from seqmill.errors import FormatError, InputError

__all__ = ["is_bed", "parse_region", "read_bed_lines", "read_region_lines", "read_summit"]

PathLike = str | os.PathLike[str]
_BED_COLUMNS: Final = 3
_DIGITS_MAX: Final = 18
"""No contig has a position of more digits, and what the engine counts with has room for these."""


def is_bed(path: PathLike) -> bool:
    """Tell whether a file of regions is BED, by its suffix; else it has a region string a line.

    Examples
    --------
    >>> is_bed("peaks.BED.gz"), is_bed("regions.txt")
    (True, False)
    """
    name = os.fspath(path).lower()
    return name.removesuffix(".gz").removesuffix(".bgz").endswith(".bed")


def read_region_lines(path: PathLike) -> Iterator[str]:
    """Read the region strings of a file, plain or compressed; empty lines are left out."""
    for _, text in read_lines(path, errors="surrogateescape"):
        region = text.strip()
        if region:
            yield region


def _is_position(text: str) -> bool:
    return text.isascii() and text.isdecimal() and len(text.lstrip("0")) <= _DIGITS_MAX


def read_bed_lines(path: PathLike) -> Iterator[list[str]]:
    """Read the columns of the lines of a BED file, the first three of them checked."""
    shown = os.fspath(path)
    for number, text in read_lines(path, errors="surrogateescape"):
        if not text.strip() or text.startswith("#"):
            continue
        columns = text.split("\t") if "\t" in text else text.split()
        fine = len(columns) >= _BED_COLUMNS and all(map(_is_position, columns[1:_BED_COLUMNS]))
        # A contig may be called like that, and even begin so.
        if not fine and text.split(maxsplit=1)[0] in ("track", "browser"):
            continue
        if not fine:
            message = (
                f"{shown}: line {number} is no BED line; a BED line is contig, start and end, "
                f"found {text[:60]!r}"
            )
            raise FormatError(message, path=shown, line=number)
        if int(columns[1]) > int(columns[2]):
            message = f"{shown}: line {number}: start is behind end"
            raise FormatError(message, path=shown, line=number)
        yield columns


def read_summit(columns: Sequence[str], at: int) -> int:
    """Read the position of the summit in a BED line; the centre, if it tells none."""
    start, end = int(columns[1]), int(columns[2])
    told = columns[at] if at < len(columns) else "-1"
    if not _is_position(told.removeprefix("-")):
        message = f"summit {told!r} of {':'.join(columns[:3])} is no whole number"
        raise FormatError(message)
    return start + (int(told) if int(told) >= 0 else (end - start) // 2)


def parse_region(text: str, has_contig: Callable[[str], bool]) -> tuple[str, int, int | None]:
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
    if not numbers or not all(map(_is_position, numbers)):
        message = f"region {region[:100]!r}: positions are whole numbers, as in chr1:1,000-2,000"
        raise InputError(message, option="region", value=region)
    begin = int(first) - 1 if first else 0
    end = int(last) if dash and last else None
    if begin < 0:
        # samtools view takes it for 1, samtools faidx for no base at all.
        message = f"region {region[:100]!r}: position 0 stands before the first base, which is 1"
        raise InputError(message, option="region", value=region)
    if end is not None and begin > end:
        message = f"region {region!r}: begin is behind end"
        raise InputError(message, option="region", value=region)
    return begin, end
