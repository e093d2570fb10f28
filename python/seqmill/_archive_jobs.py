"""Jobs on archives: writing FASTA, checking; and how records of them are named."""

import json
import os
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from seqmill import _native
from seqmill._outputs import refuse_existing, refuse_inputs
from seqmill._regions import is_bed, parse_region, read_bed_lines, read_region_lines
from seqmill.errors import FormatError, InputError, NameNotFoundError, OutOfRangeError
from seqmill.limits import Limit, choose_memory, choose_threads
from seqmill.progress import ProgressArg
from seqmill.report import JobReport, Metrics

__all__ = [
    "UnpackResult",
    "VerifyResult",
    "check_selection",
    "choose_limits",
    "find_queries",
    "find_records",
    "unpack",
    "verify",
]

PathLike = str | os.PathLike[str]
Piece = tuple[int, int, int, int, str]
"""Sample, contig, start, end and header of what is wanted."""

_USEFUL_BYTES: Final = 192 << 20
_GZIP_LEVEL: Final = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class UnpackResult:
    """What was written.

    Attributes
    ----------
    records
        Contigs or regions.
    bases
        Their bases.
    outputs
        Paths that are there now.
    metrics
        Figures of the job.
    """

    records: int
    bases: int
    outputs: tuple[str, ...]
    metrics: Metrics


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifyResult:
    """What a check has found.

    Attributes
    ----------
    samples, contigs, bases, parts
        What was decoded.
    checksums
        Samples whose checksum was compared; archives of other programs have none.
    fault_count
        Number of faults.
    faults
        The first thousand of them, as exceptions with their places.
    metrics
        Figures of the job.
    """

    samples: int
    contigs: int
    bases: int
    parts: int
    checksums: int
    fault_count: int
    faults: tuple[FormatError, ...]
    metrics: Metrics

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong."""
        return self.fault_count == 0


def choose_limits(
    threads: int | str | None, memory: int | str | None, useful: int
) -> tuple[Limit, Limit]:
    """Settle threads and memory."""
    return choose_threads(threads), choose_memory(memory, useful=useful)


class _Names:
    """Finds contigs by ``contig`` or ``contig@sample``; each name is looked up once."""

    def __init__(self, native: "_native.ArchiveReader") -> None:
        self._native = native
        self._known: dict[str, list[tuple[int, int]]] = {}

    def places(self, text: str) -> list[tuple[int, int]]:
        """Give sample and contig of a name; two of them if it is not unique."""
        if text not in self._known:
            self._known[text] = self._look(text)
        return self._known[text]

    def _look(self, text: str) -> list[tuple[int, int]]:
        found = self._native.find_in_all(text, 2)
        if len(found) == 1:
            # Raises where several contigs of the sample have the name.
            self._native.find_contig(found[0][0], text)
        at = text.rfind("@")
        # The name of a contig or of a sample may hold the character, too.
        while not found and at > 0:
            contig, sample = text[:at], text[at + 1 :]
            if self._native.has_sample(sample):
                number = self._native.find_sample(sample)
                if self._native.has_contig(number, contig):
                    return [(number, self._native.find_contig(number, contig))]
            at = text.rfind("@", 0, at)
        return found

    def unique(self, text: str) -> tuple[int, int]:
        """Give sample and contig of a name, or raise."""
        found = self.places(text)
        if not found:
            message = f"the archive has no contig {text!r}; names are contig or contig@sample"
            raise NameNotFoundError(message, name=text)
        if len(found) > 1:
            names = " and ".join(repr(self._native.sample_name(sample)) for sample, _ in found)
            message = f"several samples have a contig {text!r} ({names}); write {text}@SAMPLE"
            raise InputError(message, option="contig", value=text)
        return found[0]


def check_selection(
    samples: Sequence[str] | None,
    contigs: Sequence[str] | None,
    regions: Sequence[str] | None,
    regions_file: PathLike | None,
) -> None:
    """Refuse a selection that is empty, which is not everything, and two at once.

    Examples
    --------
    >>> check_selection(None, ["chr1"], None, None)
    >>> check_selection([], None, None, None)
    Traceback (most recent call last):
    ...
    seqmill.errors.InputError: samples is empty; without a selection every sample is unpacked
    """
    given = {"samples": samples, "contigs": contigs, "regions": regions}
    chosen = {name: names for name, names in given.items() if names is not None}
    for name, names in chosen.items():
        if not names:
            message = f"{name} is empty; without a selection every sample is unpacked"
            raise InputError(message, option=name)
    if len(chosen) + (regions_file is not None and regions is None) > 1:
        message = "samples, contigs and regions are alternatives; give one of them"
        raise InputError(message, option="samples")


def find_records(
    native: "_native.ArchiveReader",
    contigs: Sequence[str],
    regions: Sequence[str],
    regions_file: PathLike | None,
) -> list[Piece]:
    """Find what is meant by names, region strings and a file of regions."""
    names = _Names(native)
    pieces: list[Piece] = []
    for text in contigs:
        sample, contig = names.unique(text)
        header, length = native.contig(sample, contig)
        pieces.append((sample, contig, 0, length, header))
    asked = list(regions)
    if regions_file is not None and not is_bed(regions_file):
        asked += read_region_lines(regions_file)
    for text in asked:
        name, start, end = parse_region(text, lambda name: bool(names.places(name)))
        pieces.append(_piece(native, names.unique(name), start, end, text))
    if regions_file is not None and is_bed(regions_file):
        for columns in read_bed_lines(regions_file):
            name, first, last = columns[:3]
            label = f"{name}:{int(first) + 1}-{last}"
            pieces.append(_piece(native, names.unique(name), int(first), int(last), label))
    return pieces


def find_queries(native: "_native.ArchiveReader", queries: Sequence[str]) -> list[Piece]:
    """Find what the reference program's queries mean: 0-based, both ends included.

    A query that is the name of a contig as a whole wins. Ends beyond the contig are clipped, and
    the header has the numbers that were asked for.
    """
    names = _Names(native)
    pieces: list[Piece] = []
    for query in queries:
        place, colon, numbers = query.rpartition(":")
        if names.places(query) or not colon or not names.places(place):
            sample, contig = names.unique(query)
            header, length = native.contig(sample, contig)
            pieces.append((sample, contig, 0, length, header))
            continue
        first, dash, last = numbers.partition("-")
        if not (dash and first.isdecimal() and last.isdecimal() and int(first) <= int(last)):
            message = f"query {query!r}: a range is FROM-TO, 0-based with both ends included"
            raise InputError(message, option="query", value=query)
        sample, contig = names.unique(place)
        header, length = native.contig(sample, contig)
        start, end = min(int(first), length), min(int(last) + 1, length)
        pieces.append((sample, contig, start, end, f"{header}:{numbers}"))
    return pieces


def _piece(
    native: "_native.ArchiveReader", place: tuple[int, int], start: int, end: int | None, text: str
) -> Piece:
    length = native.contig(*place)[1]
    last = length if end is None else end
    if not 0 <= start <= last <= length:
        message = f"region {text!r} is not within the {length} bases of its contig"
        raise OutOfRangeError(message, option="region", value=text)
    return (*place, start, last, text)


def unpack(
    native: "_native.ArchiveReader",
    path: str,
    output: str,
    *,
    samples: list[str] | None,
    pieces: list[Piece] | None,
    line_width: int,
    gzip: bool | int | None,
    verify: bool,
    threads: int | str | None,
    memory: int | str | None,
    progress: ProgressArg,
    metrics: PathLike | None,
    force: bool,
) -> UnpackResult:
    """Write FASTA: one file, or a folder with a file of each sample."""
    if line_width < 1:
        raise InputError(f"{line_width} bases a line are not possible", option="line_width")
    every = samples is None
    numbers = range(len(native)) if every else [native.find_sample(name) for name in samples or ()]
    if output != "-" and (output.endswith("/") or Path(output).is_dir()):
        if pieces is not None:
            message = f"{output}: a folder takes samples; contigs and regions go to one file"
            raise InputError(message, option="output", value=output)
        level = _level(gzip) if gzip else None
        plan = _folder_plan(native, path, Path(output), numbers, level, force=force)
    else:
        refuse_inputs([output], [path])
        plan = [(output, {"samples": list(numbers)} if pieces is None else {"pieces": pieces})]
        packed = output.endswith((".gz", ".bgz")) if gzip is None else gzip
        level = _level(packed) if packed else None
    limits = choose_limits(threads, memory, _USEFUL_BYTES)
    report = JobReport(
        "unpack",
        options={"line_width": line_width, "gzip": level is not None},
        inputs=[path],
        threads=limits[0],
        memory=limits[1],
        metrics=metrics,
        progress=progress,
    )
    records = bases = 0
    with report:
        for target, selection in plan:
            options = {
                "selection": selection,
                "output": target,
                "line_width": line_width,
                "gzip": level,
                "force": force,
                "threads": limits[0].value,
                "verify": verify,
            }
            answer = json.loads(
                _native.archive_unpack(
                    native,
                    json.dumps(options),
                    limits[1].value,
                    lambda raw: report.feed({"phase": "unpack", **raw}),
                )
            )
            records += answer["records"]
            bases += answer["bases"]
            sizes = {"bytes": answer["bytes"], "records": answer["records"]}
            report.add_run(answer["metrics"] | {"outputs": [{"path": target, **sizes}]})
    outputs = tuple(target for target, _ in plan)
    return UnpackResult(records=records, bases=bases, outputs=outputs, metrics=report.metrics)


def _folder_plan(
    native: "_native.ArchiveReader",
    path: str,
    folder: Path,
    numbers: Sequence[int],
    level: int | None,
    *,
    force: bool,
) -> list[tuple[str, dict[str, Any]]]:
    """List the file of each sample, and make the folder."""
    suffix = ".fa" if level is None else ".fa.gz"
    names = [_file_name(native.sample_name(i)) + suffix for i in numbers]
    _refuse_duplicates(names)
    targets = [os.fspath(folder / name) for name in names]
    for target in targets:
        refuse_existing(target, force=force)
    refuse_inputs(targets, [path])
    folder.mkdir(parents=True, exist_ok=True)
    return [(target, {"samples": [i]}) for target, i in zip(targets, numbers, strict=True)]


def _level(gzip: bool | int) -> int:  # noqa: FBT001 - yes, no or how much
    return _GZIP_LEVEL if gzip is True else int(gzip)


def _file_name(sample: str) -> str:
    """Make a name of a file of the name of a sample."""
    return sample.replace("/", "_").replace("\0", "_")


def _refuse_duplicates(names: Sequence[str]) -> None:
    seen: set[str] = set()
    for name in names:
        if name in seen:
            message = f"two samples would be written to {name!r}; write one FASTA instead"
            raise InputError(message, option="output", value=name)
        seen.add(name)


def verify(
    native: "_native.ArchiveReader",
    path: str,
    *,
    threads: int | str | None,
    memory: int | str | None,
    progress: ProgressArg,
    metrics: PathLike | None,
) -> VerifyResult:
    """Check an archive."""
    limits = choose_limits(threads, memory, _USEFUL_BYTES)
    report = JobReport(
        "verify",
        inputs=[path],
        threads=limits[0],
        memory=limits[1],
        metrics=metrics,
        progress=progress,
    )
    with report:
        text, faults = _native.archive_verify(
            native,
            limits[0].value,
            limits[1].value,
            lambda raw: report.feed({"phase": "verify", **raw}),
        )
        counts = json.loads(text)
        report.detail.update(counts)
        if counts["samples"] > counts["checksums"]:
            missing = counts["samples"] - counts["checksums"]
            report.detail["samples_without_checksum"] = missing
    for fault in faults[:1]:
        warnings.warn(str(fault), stacklevel=4)
    fault_count = counts.pop("faults")
    return VerifyResult(
        **counts, fault_count=fault_count, faults=tuple(faults), metrics=report.metrics
    )
