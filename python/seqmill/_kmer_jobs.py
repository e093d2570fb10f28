"""Runs the k-mer engine for one job, and hands what it measured to the report."""

import errno
import json
import os
import tempfile
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal, TypedDict

from seqmill import _native
from seqmill._addresses import local_path
from seqmill._engines import open_job
from seqmill._outputs import state_directory, telling_of_state
from seqmill.errors import InputError
from seqmill.limits import choose_memory, choose_threads
from seqmill.progress import ProgressArg
from seqmill.report import JobReport, Metrics

__all__ = [
    "FORMATS",
    "CountResources",
    "Format",
    "KmerJob",
    "Output",
    "PathLike",
    "ResourceOptions",
    "as_paths",
    "check_counts",
    "choose_outputs",
    "choose_tmpdir",
    "run_job",
    "temporary_table",
    "to_text",
]

PathLike = str | os.PathLike[str]
Format = Literal["skm", "json", "tsv", "fasta", "hist", "arrow", "parquet"]
Output = tuple[str, str]

FORMATS: Final = ("skm", "json", "tsv", "fasta", "hist", "arrow", "parquet")
_SUFFIXES: Final = {
    ".skm": "skm",
    ".tsv": "tsv",
    ".json": "json",
    ".parquet": "parquet",
    ".arrow": "arrow",
    ".hist": "hist",
    ".fasta": "fasta",
    ".fa": "fasta",
}
USEFUL_MEMORY: Final = 512 << 20
"""More memory than this does not make counting faster."""

_K_MAX: Final = 255
_COUNT_MAX: Final = (1 << 64) - 1
_QUALITY_MAX: Final = 93
_SOFT_MASKS: Final = ("keep", "skip")


class ResourceOptions(TypedDict, total=False):
    """Keywords that every k-mer job has."""

    threads: int | str | None
    memory: int | str | None
    tmpdir: PathLike | None
    progress: ProgressArg
    metrics: PathLike | None
    force: bool
    resume: bool


class CountResources(ResourceOptions, total=False):
    """Keywords of jobs that engines can do."""

    engine: Any
    scheduler: Any


@dataclass(frozen=True, kw_only=True)
class KmerJob:
    """What a k-mer job gave.

    Attributes
    ----------
    total, distinct
        Occurrences and distinct k-mers, before filters.
    stored
        K-mers in the table.
    histogram
        Pairs of a count and the number of distinct k-mers that have it.
    outputs
        Files that were written.
    metrics
        Figures of the job.
    """

    total: int
    distinct: int
    stored: int
    histogram: list[tuple[int, int]] = field(repr=False)
    outputs: tuple[str, ...]
    inputs: list[dict[str, Any]] = field(repr=False)
    metrics: Metrics = field(repr=False)


def to_text(path: PathLike) -> str:
    r"""Give a path as text for the engine; bytes that are no UTF-8 as hexadecimal digits.

    Examples
    --------
    >>> to_text("a.fa"), to_text(os.fsdecode(b"\xff"))
    ('a.fa', '\x00ff')
    """
    text = os.fspath(path)
    try:
        text.encode()
    except UnicodeEncodeError:
        return f"\0{os.fsencode(text).hex()}"
    return text


def as_paths(inputs: PathLike | Sequence[PathLike]) -> list[str]:
    """Make a list of paths of one or several."""
    several = [inputs] if isinstance(inputs, str | os.PathLike) else list(inputs)
    if not several:
        raise InputError("no input given", option="inputs")
    return [local_path(path, "kmers") for path in several]


def choose_outputs(output: PathLike, formats: Sequence[str] = ()) -> list[Output]:
    """Settle which files are written in which formats.

    Parameters
    ----------
    output
        The file; with several formats the prefix of all names.
    formats
        Formats; without any the suffix of `output` decides, else it is a table.

    Examples
    --------
    >>> choose_outputs("x.tsv.gz"), choose_outputs("x", ["json", "hist"])
    ([('tsv', 'x.tsv.gz')], [('json', 'x.json'), ('hist', 'x.hist')])
    """
    text = os.fspath(output)
    wrong = [name for name in formats if name not in FORMATS]
    if wrong:
        raise InputError(
            f"{wrong[0]!r} is not a format; format takes {', '.join(FORMATS)}",
            option="format",
            value=wrong[0],
            allowed=", ".join(FORMATS),
        )
    if not formats:
        suffix = Path(text.removesuffix(".gz")).suffix
        return [(_SUFFIXES.get(suffix, "tsv" if text == "-" else "skm"), text)]
    if len(set(formats)) == 1:
        return [(formats[0], text)]
    if text == "-":
        raise InputError("several formats cannot go to stdout", option="output", value="-")
    return [(name, f"{text}.{name}") for name in dict.fromkeys(formats)]


def check_k(k: int) -> int:
    """Fail unless `k` is a length that k-mers may have."""
    if not isinstance(k, int) or isinstance(k, bool) or not 1 <= k <= _K_MAX:
        allowed = f"1 to {_K_MAX}"
        raise InputError(f"k is {k!r}; it takes {allowed}", option="k", value=k, allowed=allowed)
    return k


def check_text(soft_mask: str, min_base_qual: int) -> None:
    """Fail unless the options that say which bases count are ones there are."""
    if soft_mask not in _SOFT_MASKS:
        allowed = ", ".join(_SOFT_MASKS)
        raise InputError(
            f"soft_mask is {soft_mask!r}; it takes {allowed}",
            option="soft_mask",
            value=soft_mask,
            allowed=allowed,
        )
    if not 0 <= min_base_qual <= _QUALITY_MAX:
        allowed = f"0 to {_QUALITY_MAX}"
        raise InputError(f"min_base_qual takes {allowed}", option="min_base_qual", allowed=allowed)


def check_counts(**limits: int | None) -> None:
    """Fail unless limits of counts are whole numbers, and the least is not above the greatest."""
    for name, value in limits.items():
        whole = isinstance(value, int) and not isinstance(value, bool)
        least = int(name == "hist_max")
        if value is not None and not (whole and least <= value <= _COUNT_MAX):
            allowed = f"{least} to {_COUNT_MAX}"
            raise InputError(
                f"{name} is {value!r}; it takes {allowed}",
                option=name,
                value=value,
                allowed=allowed,
            )
    low, high = limits.get("min_count"), limits.get("max_count")
    if low is not None and high is not None and low > high:
        raise InputError(
            f"min_count {low} is above max_count {high}", option="min_count", value=low
        )


def temporary_table(folder: str) -> str:
    """Make a name for a table that nobody asked to keep."""
    handle, path = tempfile.mkstemp(suffix=".skm", prefix="seqmill-", dir=folder)
    os.close(handle)
    return path


def choose_tmpdir(tmpdir: PathLike | None, outputs: Sequence[Output]) -> str:
    """Find the folder for temporary files."""
    for told in (tmpdir, os.environ.get("SEQMILL_TMPDIR"), os.environ.get("TMPDIR")):
        if told:
            if not Path(told).is_dir():
                raise InputError(f"tmpdir {os.fspath(told)!r} is not a folder", option="tmpdir")
            return os.fspath(told)
    files = [path for _, path in outputs if path != "-"]
    if not files:
        return tempfile.gettempdir()
    return os.path.dirname(files[0]) or "."  # noqa: PTH120 - keeps `a/`


Native = Callable[[str, Callable[[dict[str, Any]], object] | None], str]


def _refuse_folders(inputs: Sequence[str]) -> None:
    """Refuse folders before there is a state: one can be opened as a file, but not read."""
    for path in inputs:
        if os.path.isdir(path):  # noqa: PTH112 - as it was given
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), path)


def run_job(
    command: str,
    native: Native,
    request: Mapping[str, Any],
    inputs: Sequence[str],
    outputs: Sequence[Output],
    *,
    threads: int | str | None = None,
    memory: int | str | None = None,
    tmpdir: PathLike | None = None,
    progress: ProgressArg = False,
    metrics: PathLike | None = None,
    force: bool = False,
    resume: bool = False,
    engine: Any = None,
    scheduler: Any = None,
) -> KmerJob:
    """Run a job and report it; only counting may be given an engine."""
    used = choose_threads(threads)
    budget = choose_memory(memory, useful=USEFUL_MEMORY)
    shown = {name: value for name, value in request.items() if value not in (None, [], "")}
    options = {
        **request,
        "inputs": [to_text(path) for path in inputs],
        "outputs": [(name, to_text(path)) for name, path in outputs],
        "threads": used.value,
        "memory": budget.value,
        "tmpdir": to_text(choose_tmpdir(tmpdir, outputs)),
        "force": force,
        "resume": resume,
    }
    report = JobReport(
        command,
        options={**shown, "formats": [name for name, _ in outputs]},
        inputs=inputs,
        threads=used,
        memory=budget,
        metrics=metrics,
        progress=progress,
    )
    phase = command.rpartition(" ")[2]
    files = [path for _, path in outputs if path != "-"]
    opening = open_job(
        engine,
        scheduler,
        report=report,
        state=state_directory(files[0]) if files else None,
        threads=None if threads is None else used,
        memory=None if memory is None else budget,
        resume=resume,
        force=force,
    )
    with report, telling_of_state(files[:1], resume=resume), opening as job:
        _refuse_folders(inputs)
        if job is None:
            answer = json.loads(
                native(json.dumps(options), lambda raw: report.feed({"phase": phase, **raw}))
            )
        else:
            from seqmill.engine.kmers import count_on_engine  # noqa: PLC0415 - seldom

            # Workers run in folders of their own.
            place = None if tmpdir is None else to_text(Path(tmpdir).absolute())
            told = {**options, "tmpdir": place}
            answer = count_on_engine(job, told, inputs, outputs)
        report.add_run(_figures(answer, outputs))
        for text in answer["warnings"]:
            report.warn(text)
    for text in answer["warnings"]:
        warnings.warn(text, stacklevel=3)
    return KmerJob(
        total=answer["total"],
        distinct=answer["distinct"],
        stored=answer["stored"],
        histogram=[(count, number) for count, number in answer["histogram"]],
        outputs=tuple(path for _, path in outputs),
        inputs=answer["inputs"],
        metrics=report.metrics,
    )


def _figures(answer: Mapping[str, Any], outputs: Sequence[Output]) -> dict[str, Any]:
    found = answer["inputs"]
    sizes = [item["size"] for item in found if item["size"] is not None]
    return {
        "totals": {
            "bytes_in": sum(sizes) if sizes else None,
            "bytes_out": answer["bytes"],
            "bases": sum(item["bases"] for item in found),
            "records_in": sum(item["records"] for item in found),
            "records_out": answer["stored"],
            "units_skipped": answer["resumed_units"],
        },
        "stages": answer["stages"],
        "memory": answer["memory"],
        "outputs": [
            {"path": path, "bytes": Path(path).stat().st_size if path != "-" else None}
            for _, path in outputs
        ],
        "detail": {
            "total": answer["total"],
            "distinct": answer["distinct"],
            "stored": answer["stored"],
            "skipped_symbols": sum(item["skipped"] for item in found),
            "spilled_bytes": answer["spilled"],
            "spill_files": int(answer["spilled"] > 0),
            "counting_threads": answer["threads"],
            "seconds": answer["seconds"],
        },
    }


def native_count(options: str, tell: Callable[[dict[str, Any]], object] | None) -> str:
    """Count; a function, so that tests can stand in its place."""
    return _native.kmers_count(options, tell)
