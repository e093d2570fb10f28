"""The context in which an archive is written: :class:`ArchiveWriter`."""

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self, Unpack

from seqmill._archive_pack import PackOptions, PackResult, check_exists, engine_options, pack
from seqmill.errors import InputError, OutputExistsError
from seqmill.progress import ProgressArg

__all__ = ["ArchiveWriter"]

PathLike = str | os.PathLike[str]
Source = PathLike | Sequence[PathLike] | Iterable[tuple[str, Any]] | Mapping[str, Any]


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
            check_exists(self._path)
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
            self._clean()

    def add(self, name: str, source: Source) -> None:
        """Add a sample; the first one of a new archive is its reference.

        Parameters
        ----------
        name
            Name of the sample.
        source
            A FASTA file in any packing, several of them, or an iterable of (header, sequence)
            or a mapping, which is written to a temporary file.
        """
        if self._result is not None:
            raise InputError("the archive is complete", option="add")
        if any(name == known for known, _ in self._inputs):
            raise InputError(f"sample {name!r} was added already", option="name", value=name)
        if isinstance(source, str | os.PathLike):
            self._inputs.append((name, [source]))
            return
        if isinstance(source, list | tuple) and source:
            paths = [item for item in source if isinstance(item, str | os.PathLike)]
            if len(paths) == len(source):
                self._inputs.append((name, paths))
                return
        records = source.items() if isinstance(source, Mapping) else source
        self._inputs.append((name, [self._spool(name, records)]))

    def close(self) -> None:
        """Pack what was added."""
        if self._result is not None:
            return
        try:
            self._result = pack(
                self._path, self._inputs, append=self._append, **self._job, **self._options
            )
        finally:
            self._clean()

    def _clean(self) -> None:
        """Remove what was written beside the archive."""
        if self._folder is not None:
            import shutil  # noqa: PLC0415 - whoever only reads needs none

            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder = None

    def _spool(self, name: str, records: Iterable[Any]) -> str:
        """Write records as FASTA beside the archive."""
        if self._folder is None:
            home = self._job["tmpdir"] or os.path.dirname(os.path.abspath(self._path))  # noqa: PTH100, PTH120
            import tempfile  # noqa: PLC0415 - whoever only reads needs none

            self._folder = tempfile.mkdtemp(prefix=".seqmill-", dir=home)
        path = Path(self._folder, f"{len(self._inputs)}.fa")
        with path.open("wb") as out:
            for record in records:
                head, body = _record(name, record)
                out.write(b">" + head + b"\n" + body + b"\n")
        return os.fspath(path)


def _record(name: str, record: Any) -> tuple[bytes, bytes]:
    """Give header and sequence of a record; neither may look like another record."""
    if isinstance(record, str | bytes) or len(record) != 2:  # noqa: PLR2004 - a pair
        message = f"{name}: {record!r:.60} is no pair of header and sequence"
        raise InputError(message, option="source", value=record)
    header, sequence = record
    head = header.encode() if isinstance(header, str) else bytes(header)
    if b"\n" in head or b"\r" in head:
        message = f"{name}: the header {header!r} has a line end"
        raise InputError(message, option="source", value=header)
    if isinstance(sequence, int):
        message = f"{name}: the sequence of {header!r} is a number"
        raise InputError(message, option="source", value=header)
    body = sequence.encode() if isinstance(sequence, str) else bytes(sequence)
    if b">" in body:
        message = f"{name}: the sequence of {header!r} holds '>', which begins another record"
        raise InputError(message, option="source", value=header)
    return head, body
