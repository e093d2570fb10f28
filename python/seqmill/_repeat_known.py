"""A known annotation of repeats, and how far what was found agrees with it, base by base."""

import fnmatch
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from seqmill._keywords import PathLike
from seqmill._text_lines import read_lines
from seqmill.errors import FormatError, InputError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Spans = NDArray[np.int64]

__all__ = ["KnownClass", "KnownComparison", "KnownRepeats", "compare", "read_known"]

_SOFT_MASK: Final = "soft mask"
_UNNAMED: Final = "repeat"
_KINDS: Final = {
    ".bed": "bed",
    ".gff": "gff",
    ".gff3": "gff",
    ".gtf": "gff",
    ".out": "repeatmasker",
    ".fa": "fasta",
    ".fasta": "fasta",
    ".fna": "fasta",
}
_BED_COLUMNS: Final = 3
_GFF_COLUMNS: Final = 9
_OUT_COLUMNS: Final = 11
# Gaps are no repeats, whatever their case.
_LOWER_CASE: Final = re.compile(r"[a-mo-z]+")
# EDTA and RepeatModeler tell the class of an element here; the type is broader.
_CLASSIFICATION: Final = re.compile(r"(?:^|;)\s*classification=([^;]+)", re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownClass:
    """One kind of repeat of a known annotation.

    Attributes
    ----------
    name
        Its name there.
    elements
        How many there are.
    bases, found_bases
        Bases they cover, and those of them that were found.
    """

    name: str
    elements: int
    bases: int
    found_bases: int

    @property
    def sensitivity(self) -> float:
        """Share of its bases that were found."""
        return self.found_bases / self.bases if self.bases else 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownComparison:
    """How far found repeats agree with a known annotation; bases count once on each side.

    Attributes
    ----------
    known_bases, found_bases, common_bases
        Bases of the annotation, of what was found, and of both.
    classes
        The kinds of repeats of the annotation, those with most bases first.
    unknown_sequences
        Sequences of the annotation that the genome does not have; they do not count.

    Examples
    --------
    >>> told = KnownComparison(known_bases=200, found_bases=160, common_bases=120, classes=())
    >>> told.sensitivity, told.precision, round(told.f1, 4)
    (0.6, 0.75, 0.6667)
    """

    known_bases: int
    found_bases: int
    common_bases: int
    classes: tuple[KnownClass, ...]
    unknown_sequences: tuple[str, ...] = ()

    @property
    def sensitivity(self) -> float:
        """Share of the known bases that were found."""
        return self.common_bases / self.known_bases if self.known_bases else 0.0

    @property
    def precision(self) -> float:
        """Share of the found bases that are known."""
        return self.common_bases / self.found_bases if self.found_bases else 0.0

    @property
    def f1(self) -> float:
        """Harmonic mean of both."""
        whole = self.known_bases + self.found_bases
        return 2 * self.common_bases / whole if whole else 0.0

    def to_dict(self) -> dict[str, Any]:
        """Give the figures for the metrics document."""
        return {
            "known_bases": self.known_bases,
            "found_bases": self.found_bases,
            "common_bases": self.common_bases,
            "sensitivity": self.sensitivity,
            "precision": self.precision,
            "f1": self.f1,
            "classes": [
                {
                    "name": one.name,
                    "elements": one.elements,
                    "bases": one.bases,
                    "found_bases": one.found_bases,
                }
                for one in self.classes
            ],
            "unknown_sequences": len(self.unknown_sequences),
        }


@dataclass(frozen=True, slots=True)
class KnownRepeats:
    """The spans of an annotation by class and sequence, 0-based and half-open."""

    path: str
    classes: Mapping[str, Mapping[str, "Spans"]]


def read_known(path: PathLike, types: Sequence[str] = ()) -> KnownRepeats:
    """Read an annotation: BED, GFF, RepeatMasker's ``.out``, or the lower case of a FASTA file.

    Parameters
    ----------
    path
        The file, plain or gzip; what it is follows from its name.
    types
        Patterns such as ``"TY*"``; of GFF, BED and ``.out`` only rows whose type, class or name
        matches one of them count. None: all.

    Raises
    ------
    InputError
        If the kind of the file is unknown or no row matches.
    FormatError
        If a row is broken; names the line.
    """
    import numpy as np  # noqa: PLC0415 - not needed by `--help`

    name = str(path)
    kind = _kind_of(name)
    spans: dict[str, dict[str, list[tuple[int, int]]]] = {}
    patterns = [pattern.lower() for pattern in types]
    for chrom, start, end, label, words in _READERS[kind](
        name, read_lines(name, errors="surrogateescape")
    ):
        if patterns and not any(
            fnmatch.fnmatchcase(word.lower(), pattern) for word in words for pattern in patterns
        ):
            continue
        spans.setdefault(label, {}).setdefault(chrom, []).append((start, end))
    if not spans:
        what = f"matches {', '.join(types)}" if types else "is a repeat"
        message = f"{name}: nothing in it {what}"
        raise InputError(message, option="known", value=name)
    arrays = {
        label: {chrom: np.array(own, dtype=np.int64) for chrom, own in by_chrom.items()}
        for label, by_chrom in spans.items()
    }
    return KnownRepeats(name, arrays)


def compare(
    known: KnownRepeats, covered: Callable[[str], "Spans | None"], found_bases: int
) -> KnownComparison:
    """Compare an annotation with what was found.

    Parameters
    ----------
    known
        The annotation.
    covered
        Gives the spans that were found in a sequence, sorted and apart; None if the genome has no
        such sequence.
    found_bases
        Bases found in the whole genome.
    """
    names = {chrom for by_chrom in known.classes.values() for chrom in by_chrom}
    found = {chrom: covered(chrom) for chrom in sorted(names)}
    missing = tuple(chrom for chrom, spans in found.items() if spans is None)
    if len(missing) == len(found):
        message = f"{known.path}: its sequences, such as {missing[0]!r}, are not in the genome"
        raise InputError(message, option="known", value=known.path)
    classes = []
    for label, by_chrom in known.classes.items():
        inside = {chrom: spans for chrom, spans in by_chrom.items() if found[chrom] is not None}
        bases, common = _agreement(inside, found)
        count = sum(len(spans) for spans in inside.values())
        one = KnownClass(name=label, elements=count, bases=bases, found_bases=common)
        classes.append(one)
    whole: dict[str, list[Spans]] = {}
    for by_chrom in known.classes.values():
        for chrom, spans in by_chrom.items():
            if found[chrom] is not None:
                whole.setdefault(chrom, []).append(spans)
    bases, common = _agreement({chrom: _joined(parts) for chrom, parts in whole.items()}, found)
    return KnownComparison(
        known_bases=bases,
        found_bases=found_bases,
        common_bases=common,
        classes=tuple(sorted(classes, key=lambda one: (-one.bases, one.name))),
        unknown_sequences=missing,
    )


def _joined(parts: "Sequence[Spans]") -> "Spans":
    import numpy as np  # noqa: PLC0415 - not needed by `--help`

    return np.concatenate(parts)


def _agreement(
    known: "Mapping[str, Spans]", found: "Mapping[str, Spans | None]"
) -> tuple[int, int]:
    """Count the bases of spans, each base once, and those of them that were found."""
    bases = common = 0
    for chrom, spans in known.items():
        merged = merge_spans(spans)
        bases += int((merged[:, 1] - merged[:, 0]).sum())
        own = found[chrom]
        if own is not None and len(own):
            common += int((_before(own, merged[:, 1]) - _before(own, merged[:, 0])).sum())
    return bases, common


def merge_spans(spans: "Spans") -> "Spans":
    """Sort spans and join those that touch.

    Examples
    --------
    >>> import numpy as np
    >>> merge_spans(np.array([[5, 9], [0, 3], [2, 5], [20, 21]])).tolist()
    [[0, 9], [20, 21]]
    """
    import numpy as np  # noqa: PLC0415 - not needed by `--help`

    ordered = spans[np.argsort(spans[:, 0], kind="stable")]
    ends = np.maximum.accumulate(ordered[:, 1])
    begins = np.ones(len(ordered), dtype=bool)
    begins[1:] = ordered[1:, 0] > ends[:-1]
    firsts = np.flatnonzero(begins)
    lasts = np.append(firsts[1:], len(ordered)) - 1
    return np.column_stack((ordered[firsts, 0], ends[lasts]))


def _before(spans: "Spans", places: "NDArray[np.int64]") -> "NDArray[np.int64]":
    """Count the bases of merged spans that lie before each place."""
    import numpy as np  # noqa: PLC0415 - not needed by `--help`

    lengths = spans[:, 1] - spans[:, 0]
    total = np.concatenate(([0], np.cumsum(lengths)))
    number = np.searchsorted(spans[:, 0], places, side="right")
    last_end = np.concatenate(([0], spans[:, 1]))[number]
    counted: NDArray[np.int64] = total[number] - np.maximum(last_end - places, 0) * (number > 0)
    return counted


def _kind_of(name: str) -> str:
    suffixes = Path(name.lower()).suffixes
    if suffixes and suffixes[-1] in {".gz", ".bgz"}:
        suffixes.pop()
    kind = _KINDS.get(suffixes[-1]) if suffixes else None
    if kind is None:
        allowed = ", ".join(_KINDS)
        message = f"{name}: unknown kind of annotation; its name must end with {allowed} (or .gz)"
        raise InputError(message, option="known", value=name, allowed=allowed)
    return kind


Row = tuple[str, int, int, str, tuple[str, ...]]
"""Sequence, start, end, class, and the words that patterns are matched with."""


def _span(name: str, number: int, start: str, end: str, offset: int) -> tuple[int, int]:
    try:
        span = int(start) - offset, int(end)
    except ValueError:
        span = (-1, -1)
    if not 0 <= span[0] <= span[1]:
        message = f"{name}: line {number}: {start!r} to {end!r} is no span"
        raise FormatError(message, path=name, line=number)
    return span


def _too_short(name: str, number: int, needed: int) -> FormatError:
    message = f"{name}: line {number}: fewer than {needed} columns"
    return FormatError(message, path=name, line=number)


def _bed(name: str, lines: Iterable[tuple[int, str]]) -> Iterator[Row]:
    for number, line in lines:
        if not line or line.startswith(("#", "track", "browser")):
            continue
        fields = line.split("\t")
        if len(fields) < _BED_COLUMNS:
            raise _too_short(name, number, _BED_COLUMNS)
        start, end = _span(name, number, fields[1], fields[2], 0)
        label = fields[3] if len(fields) > _BED_COLUMNS else _UNNAMED
        yield fields[0], start, end, label, (label,)


def _gff(name: str, lines: Iterable[tuple[int, str]]) -> Iterator[Row]:
    for number, line in lines:
        if line.startswith(("##FASTA", ">")):
            return
        if not line or line[0] == "#":
            continue
        fields = line.split("\t")
        if len(fields) < _GFF_COLUMNS:
            raise _too_short(name, number, _GFF_COLUMNS)
        start, end = _span(name, number, fields[3], fields[4], 1)
        told = _CLASSIFICATION.search(fields[8])
        label = told[1] if told else fields[2]
        yield fields[0], start, end, label, (label, fields[2])


def _repeatmasker(name: str, lines: Iterable[tuple[int, str]]) -> Iterator[Row]:
    for number, line in lines:
        fields = line.split()
        # Two lines of headings and an empty one.
        if not fields or not fields[0].isdigit():
            continue
        if len(fields) < _OUT_COLUMNS:
            raise _too_short(name, number, _OUT_COLUMNS)
        start, end = _span(name, number, fields[5], fields[6], 1)
        yield fields[4], start, end, fields[10], (fields[10], fields[9])


def _fasta(name: str, lines: Iterable[tuple[int, str]]) -> Iterator[Row]:
    del name
    chrom, at = "", 0
    begun = ended = 0
    for _, line in lines:
        if line.startswith(">"):
            if begun < ended:
                yield chrom, begun, ended, _SOFT_MASK, (_SOFT_MASK,)
            chrom, at, begun, ended = (line[1:].split() or [""])[0], 0, 0, 0
            continue
        letters = line.strip()
        for part in _LOWER_CASE.finditer(letters):
            # A stretch may go on from line to line.
            if at + part.start() != ended:
                if begun < ended:
                    yield chrom, begun, ended, _SOFT_MASK, (_SOFT_MASK,)
                begun = at + part.start()
            ended = at + part.end()
        at += len(letters)
    if begun < ended:
        yield chrom, begun, ended, _SOFT_MASK, (_SOFT_MASK,)


_READERS: Final = {"bed": _bed, "gff": _gff, "repeatmasker": _repeatmasker, "fasta": _fasta}
