"""Genome collections in AGC archives: :class:`Archive`.

Coordinates as numbers are 0-based half-open, region strings 1-based inclusive. The engine is
:mod:`seqmill._native`; here names are looked up, options are checked and jobs are driven.
"""

import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Self

from seqmill import _native
from seqmill._archive_jobs import (
    UnpackResult,
    VerifyResult,
    check_selection,
    find_records,
    unpack,
    verify,
)
from seqmill._archive_pack import PackOptions, PackResult, copy_samples, rename_samples
from seqmill._archive_samples import Contig, Parameters, Sample
from seqmill._archive_writer import ArchiveWriter
from seqmill.errors import InputError
from seqmill.limits import choose_memory, parse_size
from seqmill.progress import ProgressArg

if TYPE_CHECKING:
    from seqmill.fetch import FastaStore

__all__ = [
    "Archive",
    "ArchiveWriter",
    "Contig",
    "PackOptions",
    "PackResult",
    "Parameters",
    "Sample",
    "UnpackResult",
    "VerifyResult",
]

PathLike = str | os.PathLike[str]

_USEFUL_BYTES: Final = 256 << 20
"""More than this an open archive has no use for."""
_CURRENT: Final = (3, 0)
_OLD_SEGMENT_SIZE: Final = 60_000
"""Archives of version 1 do not say their segment size."""


class Archive(Mapping[str, Sample]):
    r"""A genome collection, open for reading: its samples by name, in the order of the archive.

    Reads every version of the format. Handles are small: they pickle, survive a fork, and may be
    used by several threads at once.

    Parameters
    ----------
    path
        The archive.
    memory
        What the open archive may take, tables and decoded parts together.
    cache
        What of it is kept between reads; 16 MiB unless `memory` is small.

    Raises
    ------
    FormatError
        If the file is no archive, or a damaged one; says where.
    BudgetError
        If its tables do not fit into `memory`.

    Examples
    --------
    >>> import tempfile, pathlib
    >>> folder = pathlib.Path(tempfile.mkdtemp())
    >>> _ = (folder / "a.fa").write_text(">chr1 first\nACGTNACGTTGCA\n")
    >>> with ArchiveWriter(folder / "x.agc") as writer:
    ...     writer.add("a", folder / "a.fa")
    >>> with Archive(folder / "x.agc") as archive:
    ...     list(archive), archive["a"]["chr1"].text(1, 6)
    (['a'], b'CGTNA')
    """

    def __init__(
        self,
        path: PathLike,
        *,
        memory: int | str | None = None,
        cache: int | str | None = None,
    ) -> None:
        self._path = os.fspath(path)
        self._place = os.path.abspath(self._path)  # noqa: PTH100 - also after a change of folder
        limit = choose_memory(memory, useful=_USEFUL_BYTES).value
        self._options = (limit, None if cache is None else parse_size(cache))
        self._open: _native.ArchiveReader | None = _native.ArchiveReader(self._path, *self._options)

    @property
    def path(self) -> Path:
        """The file."""
        return Path(self._path)

    @property
    def _reader(self) -> "_native.ArchiveReader":
        if self._open is None:
            raise InputError(f"{self._path}: the archive is closed", option="path")
        return self._open

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle by path and options."""
        return _reopen, (type(self), self._place, *self._options)

    def __enter__(self) -> Self:
        """Begin a block at whose end the archive is closed."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close the archive."""
        self.close()

    def close(self) -> None:
        """Let go of the file; samples that were taken out go on."""
        self._open = None
        for name in ("_store", "_prefix"):
            self.__dict__.pop(name, None)

    def __len__(self) -> int:
        """Count the samples."""
        return len(self._reader)

    def __iter__(self) -> Iterator[str]:
        """Go through the names of the samples."""
        native = self._reader
        return (native.sample_name(i) for i in range(len(native)))

    def __contains__(self, name: object) -> bool:
        """Tell whether there is a sample of a name."""
        return isinstance(name, str | bytes) and self._reader.has_sample(name)

    def __getitem__(self, name: str) -> Sample:
        """Find a sample by its name."""
        return Sample(self._reader, self._reader.find_sample(name))

    def __repr__(self) -> str:
        """Show path and number of samples."""
        count = "closed" if self._open is None else f"{len(self)} samples"
        return f"<Archive {self._path!r}, {count}>"

    @property
    def reference(self) -> str | None:
        """Name of the first sample, whose k-mers say where contigs are cut."""
        return self._reader.sample_name(0) if len(self) else None

    @property
    def parameters(self) -> Parameters:
        """The sizes that the archive was made with."""
        k, least, pack, segment = self._reader.parameters
        return Parameters(k, segment, least, pack)

    @property
    def version(self) -> tuple[int, int]:
        """Version of the file: major and minor."""
        return divmod(self._reader.version, 1000)

    @property
    def facts(self) -> dict[str, str]:
        """What the archive says of itself, such as the program that made it."""
        return dict(self._reader.facts)

    @property
    def commands(self) -> list[str]:
        """Command lines that made it; only in archives of versions 1 and 2."""
        return self._reader.commands

    @property
    def samples(self) -> _native.ArchiveTable:
        """Samples with their contigs and bases, as an Arrow stream."""
        return self._reader.table("samples")

    @property
    def contigs(self) -> _native.ArchiveTable:
        """Contigs of all samples with their lengths, as an Arrow stream."""
        return self._reader.table("contigs")

    @cached_property
    def _store(self) -> "FastaStore":
        from seqmill.fetch import FastaStore  # noqa: PLC0415 - only when windows are read

        return FastaStore.open(self._place)

    @cached_property
    def _prefix(self) -> str:
        """Give what a store puts in front of the names of samples."""
        # All names have it: what the shortest one has more than the shortest sample.
        shortest = min(self._store.names, key=len)
        return shortest[: len(shortest) - min(map(len, self))]

    def fetch(
        self,
        sample: str,
        contig: str,
        start: int = 0,
        end: int | None = None,
        **options: Any,
    ) -> Any:
        """Read one window; see :meth:`seqmill.FastaStore.fetch`, of which a sample is a file.

        Parameters
        ----------
        sample, contig
            Their names.
        start, end
            0-based half-open; no end is the end of the contig.
        **options
            Strand, encoding and the others.
        """
        return self._store.fetch(self._prefix + sample, contig, start, end, **options)

    def fetch_many(self, windows: Any, **options: Any) -> Any:
        """Read many windows; see :meth:`seqmill.FastaStore.fetch_many`.

        Parameters
        ----------
        windows
            A sequence of ``(sample, contig, start, end[, strand])``, or :class:`Intervals` of the
            store.
        **options
            Encoding and the others.
        """
        rows = windows
        from seqmill._intervals import Intervals  # noqa: PLC0415 - brings NumPy

        if not isinstance(windows, Intervals):
            rows = [(self._prefix + row[0], *row[1:]) for row in windows]
        return self._store.fetch_many(rows, **options)

    def unpack(
        self,
        output: PathLike,
        *,
        samples: Sequence[str] | str | None = None,
        contigs: Sequence[str] | str | None = None,
        regions: Sequence[str] | str | None = None,
        regions_file: PathLike | None = None,
        line_width: int = 80,
        gzip: bool | int | None = None,
        verify: bool = True,
        threads: int | str | None = None,
        memory: int | str | None = None,
        progress: ProgressArg = False,
        metrics: PathLike | None = None,
        force: bool = False,
    ) -> UnpackResult:
        """Write sequence as FASTA.

        Parameters
        ----------
        output
            A file, ``-`` for standard output, or a folder (one that exists, or a path that ends
            with ``/``) for one file of each sample. BGZF, with its indices beside it, if the
            name ends with ``.gz``.
        samples
            Names of samples in the order wanted; all of them without any selection.
        contigs
            Short names, ``contig@sample`` where several samples have one.
        regions, regions_file
            ``contig@sample:start-end`` or ``contig:start-end``, 1-based inclusive; a BED file
            (known by its suffix) or one region a line.
        line_width
            Bases a line.
        gzip
            Write BGZF whatever the name says (a number is its level); of a folder, its files.
        verify
            Compare the checksums of samples that are written whole.
        threads, memory, progress, metrics, force
            See :ref:`job-options`.

        Returns
        -------
        UnpackResult
            Counts, paths and figures.

        Raises
        ------
        NameNotFoundError
            If there is no such sample or contig.
        FormatError
            If a part that is needed is damaged, or a checksum is wrong; no output is left then.
        """
        check_selection(samples, contigs, regions, regions_file)
        pieces = None
        if contigs or regions or regions_file is not None:
            pieces = find_records(self._reader, _texts(contigs), _texts(regions), regions_file)
        return unpack(
            self._reader,
            self._path,
            os.fspath(output),
            samples=None if samples is None else _texts(samples),
            pieces=pieces,
            line_width=line_width,
            gzip=gzip,
            verify=verify,
            threads=threads,
            memory=memory,
            progress=progress,
            metrics=metrics,
            force=force,
        )

    def subset(self, names: Sequence[str] | str, output: PathLike, **job: Any) -> PackResult:
        """Write some of the samples into a new archive; the first one becomes its reference.

        Also the way to bring an archive of version 1 or 2 to version 3.

        Parameters
        ----------
        names
            The samples, in the order wanted.
        output
            The new archive.
        **job
            Threads, memory, tmpdir, progress, metrics, force; see :ref:`job-options`.
        """
        find = self._reader.find_sample
        chosen = [(find(name), name) for name in dict.fromkeys(_texts(names))]
        return copy_samples(self._reader, self._path, chosen, output, self._sizes(), **job)

    def rename(self, names: Mapping[str, str], output: PathLike, **job: Any) -> None:
        """Write a copy in which samples have new names.

        Parameters
        ----------
        names
            New names by old ones.
        output
            The new archive.
        **job
            Memory, progress, metrics, force; see :ref:`job-options`.
        """
        native = self._reader
        for old in names:
            native.find_sample(old)
        renamed = [names.get(name, name) for name in self]
        twice = next((n for n, count in Counter(renamed).items() if count > 1), None)
        if twice is not None:
            message = f"two samples would have the name {twice!r}"
            raise InputError(message, option="names", value=twice)
        if self.version >= _CURRENT:
            rename_samples(native, self._path, renamed, output, **job)
        else:  # The collection of old versions is laid out in another way.
            numbers = list(enumerate(renamed))
            copy_samples(native, self._path, numbers, output, self._sizes(), **job)

    def _sizes(self) -> dict[str, int]:
        sizes = self.parameters
        kept = {name: getattr(sizes, name) for name in ("kmer_length", "min_match", "pack_size")}
        return {"segment_size": sizes.segment_size or _OLD_SEGMENT_SIZE, **kept}

    def verify(
        self,
        *,
        threads: int | str | None = None,
        memory: int | str | None = None,
        progress: ProgressArg = False,
        metrics: PathLike | None = None,
    ) -> VerifyResult:
        """Decode everything and compare it with lengths, bounds and checksums.

        Parameters
        ----------
        threads, memory, progress, metrics
            See :ref:`job-options`.

        Returns
        -------
        VerifyResult
            What was checked, and the faults with their places.
        """
        job: Any = {"threads": threads, "memory": memory, "progress": progress, "metrics": metrics}
        return verify(self._reader, self._path, **job)


def _texts(value: Sequence[str] | str | None) -> list[str]:
    if value is None:
        return []
    return [value] if isinstance(value, str) else list(value)


def _reopen(cls: type[Archive], path: str, memory: int, cache: int | None) -> Archive:
    return cls(path, memory=memory, cache=cache)
