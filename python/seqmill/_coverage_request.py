"""From the keywords of `measure_coverage` to what the engine is asked to do."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, Literal, TypedDict

from seqmill._filters import parse_flags
from seqmill.errors import InputError

__all__ = ["CoverageOptions", "PathLike", "Regions", "check_output", "coverage_semantic"]

PathLike = str | os.PathLike[str]
Regions = PathLike | Sequence[str | tuple[str, int, int | None]]

_BINS_MAX: Final = 1_000_000
_K_MAX: Final = 255
_QUALITY_MAX: Final = 255
_DEPTH_MAX: Final = (1 << 32) - 1
_POSITION_MAX: Final = (1 << 63) - 1


class CoverageOptions(TypedDict, total=False):
    """Keywords that change the result of :func:`seqmill.measure_coverage`.

    Attributes
    ----------
    bed
        Whether a list of regions is BED; None: its name says so.
    on_bad_region
        ``"error"`` (default) or ``"skip"``.
    windows
        Windows of this many bases instead of regions.
    bins
        Lines of the region files for each region, 1 by default.
    value
        What a line shows of depth: ``"mean"`` (rounded half to even), ``"sum"``, ``"max"``,
        ``"min"``.
    thresholds
        Depths for which the table counts positions; 1, 5, 10, 30.
    mates
        ``"both"`` counts each record by itself, ``"once"`` counts what two mates cover once,
        ``"proper"`` does so for proper pairs only.
    count_deletions
        Deleted positions count as covered.
    min_mapq, min_baseq
        Least qualities of a record and of a base.
    exclude_flags, require_flags
        Flag bits, as a number or names; by default UNMAP,SECONDARY,QCFAIL,DUP do not count.
    k, canonical, soft_mask
        k-mers of FASTA input: length, whether both strands are one, and ``"skip"`` if lower case
        breaks them.
    kmer_db
        Table of k-mers in which those of FASTA input are looked up: columns ``mean_count``,
        ``median_count``, ``min_count``, ``max_count``. Without `k` and `canonical`, those of the
        table.
    per_base
        File for runs of equal depth; ``.gz`` is compressed as BGZF.
    region_files
        A file for each region; by default unless there are windows.
    parquet
        The table as ``coverage.parquet``, too.
    index
        BAI or CSI of the input, when it is not beside it.
    reference
        FASTA with the reference of a CRAM.
    strict, verify
        Warnings of the format are errors; checksums of blocks are compared (default).
    """

    bed: bool | None
    on_bad_region: Literal["error", "skip"]
    windows: int | None
    bins: int
    value: Literal["mean", "sum", "max", "min"]
    thresholds: Sequence[int]
    mates: Literal["both", "once", "proper"]
    count_deletions: bool
    min_mapq: int
    min_baseq: int
    exclude_flags: int | str
    require_flags: int | str
    k: int
    canonical: bool
    soft_mask: Literal["keep", "skip"]
    kmer_db: PathLike | None
    per_base: PathLike | None
    region_files: bool | None
    parquet: bool
    index: PathLike | None
    reference: PathLike | None
    strict: bool
    verify: bool


_WORDS: Final = {
    "on_bad_region": ("error", "skip"),
    "value": ("mean", "sum", "max", "min"),
    "mates": ("both", "once", "proper"),
    "soft_mask": ("keep", "skip"),
}
_COUNTS: Final = {
    "windows": (1, _POSITION_MAX),
    "bins": (1, _BINS_MAX),
    "min_mapq": (0, _QUALITY_MAX),
    "min_baseq": (0, _QUALITY_MAX),
    "k": (1, _K_MAX),
}
_COPIED: Final = ("bed", "count_deletions", "canonical", "parquet", "strict", "verify")


def _wrong(option: str, value: object, allowed: str) -> InputError:
    return InputError(
        f"{value!r} is not allowed; {option} takes {allowed}",
        option=option,
        value=value,
        allowed=allowed,
    )


def coverage_semantic(regions: Regions | None, options: CoverageOptions) -> dict[str, Any]:
    """Check the options and give what can change the output as the engine takes it.

    Raises
    ------
    InputError
        If a value is not allowed.
    """
    given: dict[str, Any] = {key: value for key, value in options.items() if value is not None}
    for name, words in _WORDS.items():
        if name in given and given[name] not in words:
            raise _wrong(name, given[name], f"one of {', '.join(words)}")
    for name, (low, high) in _COUNTS.items():
        if name in given and not _is_within(given[name], low, high):
            raise _wrong(name, given[name], f"{low} to {high}")
    semantic: dict[str, Any] = {name: given[name] for name in _COUNTS if name in given}
    semantic |= {name: given[name] for name in ("value", "mates") if name in given}
    semantic |= {name: bool(given[name]) for name in _COPIED if name in given}
    if "thresholds" in given:
        thresholds = list(given["thresholds"])
        if not all(_is_within(n, 0, _DEPTH_MAX) for n in thresholds):
            raise _wrong("thresholds", given["thresholds"], f"numbers from 0 to {_DEPTH_MAX}")
        semantic["thresholds"] = thresholds
    for name in ("exclude_flags", "require_flags"):
        if name in given:
            semantic[name] = parse_flags(given[name], name)
    if "reference" in given:
        semantic["reference"] = os.fspath(given["reference"])
    semantic |= _of_table(given)
    semantic["skip_bad_regions"] = given.get("on_bad_region") == "skip"
    semantic["skip_soft_masked"] = given.get("soft_mask") == "skip"
    semantic["region_files"] = bool(given.get("region_files", "windows" not in given))
    return semantic | _regions(regions)


def _of_table(given: dict[str, Any]) -> dict[str, Any]:
    """Give the table, and its k and strand where no others were asked for."""
    if "kmer_db" not in given:
        return {}
    from seqmill.kmers import KmerTable  # noqa: PLC0415 - brings NumPy

    table = KmerTable(given["kmer_db"])
    own = {"k": table.k, "canonical": table.strand == "canonical"}
    chosen = {name: given.get(name, value) for name, value in own.items()}
    return {"kmer_db": os.fspath(given["kmer_db"]), **chosen}


def _is_within(value: object, low: int, high: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and low <= value <= high


def _regions(regions: Regions | None) -> dict[str, Any]:
    if regions is None:
        return {}
    if isinstance(regions, os.PathLike):
        return {"regions_files": [os.fspath(regions)]}
    if isinstance(regions, str):
        is_file = Path(regions).is_file()
        return {"regions_files": [regions]} if is_file else {"regions": [regions]}
    return {"regions": [_region_text(region) for region in regions]}


def _region_text(region: str | tuple[str, int, int | None]) -> str:
    """Give a region as a string; a tuple is 0-based half-open.

    Examples
    --------
    >>> _region_text(("HLA:1", 0, 10)), _region_text(("chr1", 5, None))
    ('{HLA:1}:1-10', '{chr1}:6-')
    """
    if isinstance(region, str):
        return region
    name, begin, end = region
    if not _is_within(begin, 0, _POSITION_MAX) or (end is not None and end <= begin):
        raise _wrong("regions", region, "a name, a begin of 0 and more, and an end behind it")
    return f"{{{name}}}:{begin + 1}-{'' if end is None else end}"


def check_output(output: PathLike) -> Path:
    """Give the output folder as a path with a name, for the state lies beside it."""
    path = Path(output)
    if path.exists() and not path.is_dir():
        message = f"{path}: is no folder, as which coverage is written"
        raise InputError(message, option="output", value=os.fspath(output))
    return path if path.name not in ("", "..") else path.resolve()
