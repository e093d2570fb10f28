"""Writing archives: :class:`ArchiveWriter`, and the jobs behind it."""

import json
import os
import shutil
import tempfile
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Literal, Self, TypedDict, Unpack

from seqmill import _native
from seqmill._archive_jobs import choose_limits
from seqmill._lists import read_list
from seqmill.errors import InputError, OutputExistsError
from seqmill.progress import ProgressArg
from seqmill.report import JobReport, Metrics

__all__ = ["ArchiveWriter", "PackOptions", "PackResult", "copy_samples", "pack", "plan_inputs", "rename_samples",
           "sample_name"]  # fmt: skip

PathLike = str | os.PathLike[str]
Source = PathLike | Sequence[PathLike] | Iterable[tuple[str, Any]]

_USEFUL_BYTES: Final = 1 << 30
_SUFFIXES: Final = (".fna", ".gz", ".fa", ".fasta")
_NOT_SEMANTIC: Final = frozenset({"output", "force", "threads", "tmpdir", "inputs", "archive"})


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
    """

    samples: int
    contigs: int
    bases: int
    output: str
    bytes: int
    warnings: tuple[str, ...]
    metrics: Metrics


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
    named = [item for path in paths for item in (read_list(path) if path[0] == "@" else [path])]
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


def _output_bytes(path: str) -> None:
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


def pack(
    output: PathLike,
    inputs: Sequence[tuple[str | None, Sequence[PathLike]]],
    *,
    samples: Literal["file", "record", "pansn"] = "file",
    append: bool = False,
    archive: dict[str, Any] | None = None,
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
        _output_bytes(target)
    elif os.path.lexists(target) and not force:
        message = f"{target}: output exists; use --force to replace it"
        raise OutputExistsError(message, path=target)
    limits = choose_limits(threads, memory, _USEFUL_BYTES)
    request = {
        "output": target,
        "append": append,
        "samples": samples,
        "inputs": [
            {"name": name, "paths": [os.fspath(path) for path in paths]} for name, paths in inputs
        ],
        "archive": archive,
        "force": force,
        "threads": limits[0].value,
        "tmpdir": None if tmpdir is None else os.fspath(tmpdir),
        **engine_options(options),
    }
    _refuse_equal_names(inputs, rename=options.get("duplicates") == "rename")
    for item in request["inputs"]:
        for path in item["paths"]:
            if path != "-":
                os.stat(path)  # noqa: PTH116 - a file that is missing is told before the work
    if tmpdir is not None and not os.path.isdir(request["tmpdir"]):  # noqa: PTH112
        raise InputError(f"{tmpdir}: tmpdir is no folder", option="tmpdir", value=tmpdir)
    paths = [path for _, paths in inputs for path in paths]
    report = JobReport(
        command,
        options={key: value for key, value in request.items() if key not in _NOT_SEMANTIC},
        inputs=[os.fspath(path) for path in paths] if archive is None else [archive["path"]],
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
            )
        )
        sizes = {"bytes": answer["bytes"], "records": answer["contigs"]}
        report.add_run(answer["metrics"] | {"outputs": [{"path": target, **sizes}]})
        for text in answer["warnings"]:
            report.warn(text)
    for text in answer["warnings"]:
        warnings.warn(text, stacklevel=3)
    return PackResult(
        samples=answer["samples"],
        contigs=answer["contigs"],
        bases=answer["bases"],
        output=target,
        bytes=answer["bytes"],
        warnings=tuple(answer["warnings"]),
        metrics=report.metrics,
    )


class ArchiveWriter:
    """Writes an archive, or adds to one; complete or absent at the end of the block.

    Nothing is packed before the block ends. An archive that is added to is replaced only then;
    whatever stops the job before leaves it as it was.

    Parameters
    ----------
    path
        The archive.
    append
        Add to the archive that is there; its sizes are kept.
    threads, memory, tmpdir, progress, metrics, force
        See :ref:`job-options`.
    **options
        See :class:`PackOptions`.

    Examples
    --------
    >>> import tempfile, pathlib
    >>> folder = pathlib.Path(tempfile.mkdtemp())
    >>> with ArchiveWriter(folder / "x.agc") as writer:
    ...     writer.add("first", [("chr1 of it", b"ACGTTGCA" * 10), ("chr2", "GGG")])
    >>> with ArchiveWriter(folder / "x.agc", append=True) as writer:
    ...     writer.add("second", [("chr1", "ACGTTGCA" * 9)])
    >>> writer.result.samples
    1
    """

    def __init__(
        self,
        path: PathLike,
        *,
        append: bool = False,
        threads: int | str | None = None,
        memory: int | str | None = None,
        tmpdir: PathLike | None = None,
        progress: ProgressArg = False,
        metrics: PathLike | None = None,
        force: bool = False,
        **options: Unpack[PackOptions],
    ) -> None:
        self._path = os.fspath(path)
        self._append = append
        self._job: dict[str, Any] = {
            "threads": threads,
            "memory": memory,
            "tmpdir": tmpdir,
            "progress": progress,
            "metrics": metrics,
            "force": force,
        }
        self._options = options
        engine_options(options)
        if append:
            _output_bytes(self._path)
        elif os.path.lexists(self._path) and not force:
            message = f"{self._path}: output exists; use force=True to replace it"
            raise OutputExistsError(message, path=self._path)
        self._inputs: list[tuple[str | None, Sequence[PathLike]]] = []
        self._folder: str | None = None
        self._result: PackResult | None = None

    @property
    def result(self) -> PackResult:
        """What was packed; only after the end of the block."""
        if self._result is None:
            raise InputError("nothing was packed yet", option="result")
        return self._result

    def __enter__(self) -> Self:
        """Begin."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Pack what was added, unless the block has failed."""
        try:
            if error is None:
                self.close()
        finally:
            if self._folder is not None:
                shutil.rmtree(self._folder, ignore_errors=True)
                self._folder = None

    def add(self, name: str, source: Source) -> None:
        """Add a sample; the first one of a new archive is its reference.

        Parameters
        ----------
        name
            Name of the sample.
        source
            A FASTA file in any packing, several of them, or an iterable of (header, sequence),
            which is written to a temporary file.
        """
        if self._result is not None:
            raise InputError("the archive is complete", option="add")
        if any(name == known for known, _ in self._inputs):
            raise InputError(f"sample {name!r} was added already", option="name", value=name)
        if isinstance(source, str | os.PathLike):
            self._inputs.append((name, [source]))
            return
        items = list(source) if isinstance(source, list | tuple) else source
        if isinstance(items, list) and all(isinstance(i, str | os.PathLike) for i in items):
            self._inputs.append((name, items))
            return
        self._inputs.append((name, [self._spool(name, items)]))

    def close(self) -> None:
        """Pack what was added."""
        if self._result is not None:
            return
        self._result = pack(
            self._path, self._inputs, append=self._append, **self._job, **self._options
        )

    def _spool(self, name: str, records: Iterable[Any]) -> str:
        """Write records as FASTA beside the archive."""
        if self._folder is None:
            home = self._job["tmpdir"] or os.path.dirname(os.path.abspath(self._path))  # noqa: PTH100, PTH120
            self._folder = tempfile.mkdtemp(prefix=".seqmill-", dir=home)
        path = Path(self._folder, f"{len(self._inputs)}.fa")
        with path.open("wb") as out:
            for record in records:
                header, sequence = record
                head = header.encode() if isinstance(header, str) else bytes(header)
                if b"\n" in head or b"\r" in head:
                    message = f"{name}: the header {header!r} has a line end"
                    raise InputError(message, option="source", value=header)
                body = sequence.encode() if isinstance(sequence, str) else bytes(sequence)
                out.write(b">" + head + b"\n" + body + b"\n")
        return os.fspath(path)


def copy_samples(
    path: str,
    numbers: Sequence[tuple[int, str]],
    output: PathLike,
    parameters: Mapping[str, int],
    **job: Any,
) -> PackResult:
    """Pack samples of an archive into another one."""
    archive = {"path": path, "samples": list(numbers)}
    options: Any = parameters
    return pack(output, [], archive=archive, command="subset", **options, **job)


def rename_samples(
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
            path,
            os.fspath(output),
            list(names),
            force,
            limits[1].value,
            lambda raw: report.feed({"phase": "rename", **raw}),
        )
