"""Jobs that write archives: packing files, copying samples, renaming them."""

import json
import os
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal, TypedDict, Unpack

from seqmill import _native
from seqmill._archive_jobs import choose_limits
from seqmill._lists import read_list
from seqmill._outputs import refuse_existing, refuse_inputs
from seqmill.errors import InputError
from seqmill.progress import ProgressArg
from seqmill.report import JobReport, Metrics

__all__ = [
    "PackOptions",
    "PackResult",
    "check_exists",
    "copy_samples",
    "engine_options",
    "pack",
    "plan_inputs",
    "rename_samples",
    "sample_name",
]

PathLike = str | os.PathLike[str]

_USEFUL_BYTES: Final = 1 << 30
_SUFFIXES: Final = (".fna", ".gz", ".fa", ".fasta")
_NOT_SEMANTIC: Final = frozenset(
    {"output", "force", "threads", "tmpdir", "inputs", "archive_samples"}
)


class PackOptions(TypedDict, total=False):
    """Options of a writer.

    Attributes
    ----------
    kmer_length
        k: length of the k-mers at which contigs are cut, 17 to 32; 31 by default.
    segment_size
        S: least distance of two cuts, 100 to 1,000,000; 60,000 by default.
    min_match
        L: shortest match, 15 to 32; 20 by default.
    pack_size
        B: samples of a batch and entries of a pack. By default 64,000,000 divided by the bases
        of the first sample, at least 50 and at most 2,000.
    adaptive
        Look for new cuts in contigs that have none.
    level
        ``"fast"``, ``"default"`` or ``"max"``: effort, never the format.
    letters
        What becomes of symbols that are none of the 16 IUPAC letters: ``"refuse"`` (default),
        ``"n"`` or ``"drop"``.
    empty
        What becomes of records without sequence: ``"skip"`` (default, with a warning) or
        ``"refuse"``.
    duplicates
        What becomes of names that come again: ``"refuse"`` (default) or ``"rename"``.
    """

    kmer_length: int
    segment_size: int
    min_match: int
    pack_size: int | None
    adaptive: bool
    level: Literal["fast", "default", "max"]
    letters: Literal["refuse", "n", "drop"]
    empty: Literal["skip", "refuse"]
    duplicates: Literal["refuse", "rename"]


_CHOICES: Final[dict[str, tuple[str, ...]]] = {
    "level": ("fast", "default", "max"),
    "letters": ("refuse", "n", "drop"),
    "empty": ("skip", "refuse"),
    "duplicates": ("refuse", "rename"),
}
_RANGES: Final[dict[str, tuple[int, int]]] = {
    "kmer_length": (17, 32),
    "segment_size": (100, 1_000_000),
    "min_match": (15, 32),
    "pack_size": (1, 1_000_000_000),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class PackResult:
    """What was packed.

    Attributes
    ----------
    samples, contigs, bases
        What went in.
    output
        The archive.
    bytes
        Its size.
    warnings
        What was left out or changed, and what is odd.
    metrics
        Figures of the job.
    overview
        What pictures show: what each sample put in (of many samples neighbours share a row), and
        the bytes of the archive by what they hold.
    """

    samples: int
    contigs: int
    bases: int
    output: str
    bytes: int
    warnings: tuple[str, ...]
    metrics: Metrics
    overview: dict[str, Any] = field(repr=False)


def sample_name(path: PathLike) -> str:
    """Give the name of a sample after its file.

    Examples
    --------
    >>> sample_name("data/x.1.fa.gz"), sample_name("y.fna"), sample_name("HG002#1.fasta")
    ('x.1', 'y', 'HG002#1')
    """
    name = os.path.basename(os.fspath(path))  # noqa: PTH119 - bytes of a path stay as they are
    stem = os.path.splitext(name)[0]  # noqa: PTH122
    while True:
        shorter = next((stem[: -len(s)] for s in _SUFFIXES if stem.endswith(s)), None)
        if not shorter:
            return stem
        stem = shorter


def plan_inputs(
    paths: Sequence[str], rule: str, reference: PathLike | None = None
) -> list[tuple[str | None, Sequence[PathLike]]]:
    """Give files as samples: one of each file, or the files of many samples.

    Paths that begin with ``@`` are lists of paths. A file named twice is used once.
    """
    named = [item for p in paths for item in (read_list(p) if p.startswith("@") else [p])]
    files = list(dict.fromkeys(named))
    planned: list[tuple[str | None, Sequence[PathLike]]] = []
    if reference is not None:
        planned.append((sample_name(reference), [reference]))
        files = [path for path in files if path != os.fspath(reference)]
    if rule != "file":
        return planned + [(None, [path]) for path in files]
    return planned + [("stdin" if path == "-" else sample_name(path), [path]) for path in files]


def engine_options(options: Mapping[str, Any]) -> dict[str, Any]:
    """Check options and give them as the engine takes them."""
    unknown = set(options) - set(PackOptions.__annotations__)
    if unknown:
        name = min(unknown)
        raise InputError(f"{name!r} is no option of a writer", option=name)
    chosen = {key: value for key, value in options.items() if value is not None}
    for name, (least, most) in _RANGES.items():
        value = chosen.get(name, least)
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
            allowed = f"{least:,} to {most:,}"
            message = f"{value!r} is not allowed; {name} takes {allowed}"
            raise InputError(message, option=name, value=value, allowed=allowed)
    for name, words in _CHOICES.items():
        value = chosen.get(name, words[0])
        if value not in words:
            allowed = ", ".join(map(repr, words))
            message = f"{value!r} is not allowed; {name} takes {allowed}"
            raise InputError(message, option=name, value=value, allowed=allowed)
    return {
        "kmer_length": chosen.get("kmer_length", 31),
        "segment_size": chosen.get("segment_size", 60_000),
        "min_match": chosen.get("min_match", 20),
        "pack_size": chosen.get("pack_size"),
        "adaptive": bool(chosen.get("adaptive", False)),
        "level": chosen.get("level", "default"),
        "letters": chosen.get("letters", "refuse"),
        "refuse_empty": chosen.get("empty") == "refuse",
        "rename_duplicates": chosen.get("duplicates") == "rename",
    }


def check_exists(path: str) -> None:
    """Raise for an archive that is not there."""
    if not os.path.exists(path):  # noqa: PTH110 - raises below with the path
        os.stat(path)  # noqa: PTH116


def _refuse_equal_names(
    inputs: Sequence[tuple[str | None, Sequence[PathLike]]], *, rename: bool
) -> None:
    """Two files of one name must not become one sample."""
    seen: dict[str, PathLike] = {}
    for name, paths in inputs:
        if name is None or not paths:
            continue
        if name in seen and not rename:
            message = (
                f"{os.fspath(paths[0])} and {os.fspath(seen[name])} would both be sample {name!r}; "
                "duplicates=rename tells them apart"
            )
            raise InputError(message, option="duplicates", value=name)
        seen.setdefault(name, paths[0])


def _refuse_other_sizes(path: str, options: Mapping[str, Any], memory: int) -> None:
    """Refuse sizes that are not those of the archive that is added to."""
    asked = {name: options[name] for name in _RANGES if options.get(name) is not None}
    if not asked:
        return
    k, least, pack_size, segment = _native.ArchiveReader(path, memory).parameters
    known = {"kmer_length": k, "min_match": least, "pack_size": pack_size, "segment_size": segment}
    for name, value in asked.items():
        if value != known[name]:
            message = f"{path}: {name} is {known[name]} in this archive and stays so, not {value}"
            raise InputError(message, option=name, value=value)


def pack(
    output: PathLike,
    inputs: Sequence[tuple[str | None, Sequence[PathLike]]],
    *,
    samples: Literal["file", "record", "pansn"] = "file",
    append: bool = False,
    source: tuple[_native.ArchiveReader, str, Sequence[tuple[int, str]]] | None = None,
    threads: int | str | None = None,
    memory: int | str | None = None,
    tmpdir: PathLike | None = None,
    progress: ProgressArg = False,
    metrics: PathLike | None = None,
    force: bool = False,
    command: str = "pack",
    **options: Unpack[PackOptions],
) -> PackResult:
    """Run one packing job."""
    target = os.fspath(output)
    if append:
        check_exists(target)
    else:
        refuse_existing(target, force=force)
    limits = choose_limits(threads, memory, _USEFUL_BYTES)
    request = {
        "output": target,
        "append": append,
        "samples": samples,
        "inputs": [
            {"name": name, "paths": [os.fspath(path) for path in paths]} for name, paths in inputs
        ],
        "archive_samples": [] if source is None else source[2],
        "force": force,
        "threads": limits[0].value,
        "tmpdir": None if tmpdir is None else os.fspath(tmpdir),
        **engine_options(options),
    }
    if append:
        _refuse_other_sizes(target, options, limits[1].value)
    _refuse_equal_names(inputs, rename=options.get("duplicates") == "rename")
    paths = [os.fspath(path) for _, paths in inputs for path in paths]
    _check_files(target, paths, request["tmpdir"])
    report = JobReport(
        command,
        options={key: value for key, value in request.items() if key not in _NOT_SEMANTIC},
        inputs=paths if source is None else [source[1]],
        threads=limits[0],
        memory=limits[1],
        metrics=metrics,
        progress=progress,
    )
    with report:
        answer = json.loads(
            _native.archive_pack(
                json.dumps(request),
                limits[1].value,
                lambda raw: report.feed({"phase": "pack", **raw}),
                None if source is None else source[0],
            )
        )
        sizes = {"bytes": answer["bytes"], "records": answer["contigs"]}
        report.add_run(answer["metrics"] | {"outputs": [{"path": target, **sizes}]})
        for text in answer["warnings"]:
            report.warn(text)
    for text in answer["warnings"]:
        warnings.warn(text, stacklevel=3)
    told = {key: answer[key] for key in ("samples", "contigs", "bases", "bytes", "overview")}
    return PackResult(
        output=target, warnings=tuple(answer["warnings"]), metrics=report.metrics, **told
    )


def _check_files(target: str, paths: Sequence[str], tmpdir: str | None) -> None:
    """Raise for files that are missing, and for an output that is one of them."""
    for path in paths:
        if path != "-":
            os.stat(path)  # noqa: PTH116 - a file that is missing is told before the work
    if tmpdir is not None and not os.path.isdir(tmpdir):  # noqa: PTH112
        raise InputError(f"{tmpdir}: tmpdir is no folder", option="tmpdir", value=tmpdir)
    refuse_inputs([target], paths)


def copy_samples(
    native: _native.ArchiveReader,
    path: str,
    numbers: Sequence[tuple[int, str]],
    output: PathLike,
    parameters: Mapping[str, int],
    **job: Any,
) -> PackResult:
    """Pack samples of an archive into another one."""
    options: Any = parameters
    return pack(output, [], source=(native, path, numbers), command="subset", **options, **job)


def rename_samples(
    native: _native.ArchiveReader,
    path: str,
    names: Sequence[str],
    output: PathLike,
    *,
    threads: int | str | None = None,
    memory: int | str | None = None,
    progress: ProgressArg = False,
    metrics: PathLike | None = None,
    force: bool = False,
) -> int:
    """Copy an archive with other names of its samples."""
    limits = choose_limits(threads, memory, _USEFUL_BYTES)
    report = JobReport(
        "rename",
        inputs=[path],
        threads=limits[0],
        memory=limits[1],
        metrics=metrics,
        progress=progress,
    )
    with report:
        return _native.archive_rename(
            native,
            os.fspath(output),
            list(names),
            force,
            limits[1].value,
            lambda raw: report.feed({"phase": "rename", **raw}),
        )
