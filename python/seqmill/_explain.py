"""Which row groups of a table a region touches: what a reader of the table has to read."""

import json
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from seqmill._footer import RowGroup, read_metadata, read_row_groups
from seqmill._keywords import PathLike
from seqmill._lists import Interval, read_regions_file
from seqmill.errors import FormatError, InputError, NotFoundError

__all__ = ["Touched", "explain_regions"]

_RANGE: Final = re.compile(r"(?P<begin>[0-9,]*)(?P<dash>-?)(?P<end>[0-9,]*)")
_NAMES: Final = {"sam": ("rname", "pos", "end"), "bio": ("chrom", "start", "end")}
_END_OF_ALL: Final = 1 << 62


@dataclass(frozen=True, slots=True)
class Touched:
    """How much of a table one region touches.

    Attributes
    ----------
    region
        The region as it was given.
    groups, all_groups
        Row groups that may hold its records, and all there are.
    rows, all_rows
        Rows in those, and all there are.
    """

    region: str
    groups: int
    all_groups: int
    rows: int
    all_rows: int


def explain_regions(
    path: PathLike, regions: Sequence[str], regions_file: PathLike | None = None
) -> list[Touched]:
    """Find the row groups that each region touches, by the statistics in the footer.

    Parameters
    ----------
    path
        Parquet made by `convert`.
    regions
        Region strings (1-based, inclusive).
    regions_file
        BED file, else one region string a line.

    Returns
    -------
    list[Touched]
        One for each region.

    Raises
    ------
    InputError
        If no region is given or one cannot be read.
    FormatError
        If the file is not such a table.
    """
    name = os.fspath(path)
    metadata = read_metadata(name)
    groups = read_row_groups(name)
    if "sam.references" not in metadata:
        raise FormatError(f"{name}: was not made by seqmill convert", path=name)
    references = [reference for reference, _ in json.loads(metadata["sam.references"])]
    texts = list(regions)
    intervals: list[Interval] = []
    if regions_file is not None:
        more, intervals = read_regions_file(os.fspath(regions_file))
        texts += more
    wanted = [(text, parse_region(text, references)) for text in texts]
    wanted += [(f"{one[0]}:{one[1] + 1}-{one[2]}", one) for one in intervals]
    if not wanted:
        raise InputError("explain needs a region (-r or -R)", option="explain")
    columns = _NAMES.get(metadata.get("seqmill.profile", "sam"), _NAMES["bio"])
    shift = 1 if metadata.get("seqmill.coords") == "11" else 0
    found = []
    for text, interval in wanted:
        touched = [group for group in groups if _touches(group, interval, columns, shift)]
        found.append(
            Touched(
                text,
                len(touched),
                len(groups),
                sum(group.rows for group in touched),
                sum(group.rows for group in groups),
            )
        )
    return found


def parse_region(text: str, references: Sequence[str]) -> Interval:
    """Read a region string; a name that exists as a whole wins.

    Examples
    --------
    >>> parse_region("chr1:1,001-2,000", ["chr1"]), parse_region("HLA:1", ["HLA:1"])
    (('chr1', 1000, 2000), ('HLA:1', 0, None))
    """
    if text in references:
        return text, 0, None
    if text.startswith("{") and "}" in text:
        name, _, bounds = text[1:].partition("}")
        bounds = bounds.removeprefix(":")
    else:
        name, _, bounds = text.rpartition(":")
        name, bounds = (name, bounds) if name else (bounds, "")
    if name not in references:
        raise NotFoundError(f"reference {name!r} is not in the table", name=name)
    match = _RANGE.fullmatch(bounds)
    if match is None:
        raise InputError(
            f"region {text!r}: positions are whole numbers, 1-based, as in chr1:1,000-2,000",
            option="regions",
            value=text,
        )
    begin = int(match["begin"].replace(",", "") or 1)
    if begin == 0:
        message = f"region {text!r}: position 0 stands before the first base, which is 1"
        raise InputError(message, option="regions", value=text)
    end = match["end"].replace(",", "")
    return name, begin - 1, int(end) if end else None


def _touches(
    group: RowGroup, interval: Interval, columns: tuple[str, str, str], shift: int
) -> bool:
    """Tell whether a group may hold a record of the region; without statistics it may."""
    name, begin, end = interval
    rname, pos, last = (group.bounds.get(column) for column in columns)
    if rname is not None and not rname[0] <= name.encode() <= rname[1]:
        return False
    if pos is not None and _number(pos[0]) - shift >= (end if end is not None else _END_OF_ALL):
        return False
    return last is None or _number(last[1]) > begin


def _number(data: bytes) -> int:
    return int.from_bytes(data, "little", signed=True)
