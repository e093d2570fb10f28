"""Coverage by region, window and base: depth of alignments, content of sequence.

Numbers are 0-based half-open, region strings 1-based inclusive.
"""

import json
import os
import shutil
import tempfile
import warnings
import weakref
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self, Unpack

from seqmill import _native
from seqmill._addresses import local_path
from seqmill._coverage_merge import merge_parts
from seqmill._coverage_request import (
    CoverageOptions,
    PathLike,
    Regions,
    check_output,
    coverage_semantic,
)
from seqmill._engines import open_job
from seqmill._outputs import refuse_inputs, state_directory, telling_of_state
from seqmill.errors import InputError, NotFoundError
from seqmill.limits import choose_memory, choose_threads
from seqmill.progress import ProgressArg
from seqmill.report import JobReport, Metrics

if TYPE_CHECKING:
    from typing_extensions import CapsuleType

    from seqmill.engine.job import EngineJob

__all__ = ["CoverageTable", "measure_coverage", "merge_coverage"]

TABLE: Final = "coverage.tsv"
SUMMARY: Final = "coverage_summary.json"
_PHASE: Final = "coverage"
_USEFUL_BYTES: Final = 512 << 20


class CoverageTable:
    """Coverage of regions: a folder with a table, a summary and a file for each region.

    Nothing is loaded that is not asked for; the table speaks the Arrow PyCapsule protocol, so
    ``polars.DataFrame(table)`` and ``pyarrow.table(table)`` work.

    Parameters
    ----------
    path
        Folder that :func:`measure_coverage` or ``seqmill coverage`` wrote.

    Attributes
    ----------
    path
        The folder.
    metrics
        Figures of the job that made it; None for a table that was opened.
    """

    def __init__(self, path: PathLike) -> None:
        self.path = Path(path)
        self.metrics: Metrics | None = None
        self._cleanup: weakref.finalize[..., Any] | None = None
        self._rows = _native.CoverageRows(self.path / TABLE)

    @property
    def summary(self) -> dict[str, Any]:
        """The content of ``coverage_summary.json``."""
        text = (self.path / SUMMARY).read_text(encoding="utf-8")
        summary: dict[str, Any] = json.loads(text)
        return summary

    @property
    def columns(self) -> list[str]:
        """Names of the columns."""
        return self._heading()

    def _heading(self) -> list[str]:
        with (self.path / TABLE).open(encoding="utf-8", newline="\n") as lines:
            return lines.readline().rstrip("\r\n").split("\t")

    def __len__(self) -> int:
        """Count the regions, duplicates included."""
        with (self.path / TABLE).open("rb") as lines:
            return sum(1 for _ in lines) - 1

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """Give the rows as dictionaries, in the order of the list."""
        with (self.path / TABLE).open(encoding="utf-8", newline="\n") as lines:
            names = next(lines).rstrip("\r\n").split("\t")
            for line in lines:
                values = line.rstrip("\r\n").split("\t")
                yield {name: _value(name, value) for name, value in zip(names, values, strict=True)}

    def __getitem__(self, region: str) -> dict[str, Any]:
        """Give the first row of a region, called as the table calls it: ``chr1:1-100``."""
        for row in self:
            if row["region"] == region:
                return row
        message = f"region {region!r} is not in the table"
        raise NotFoundError(message)

    def __arrow_c_stream__(self, requested_schema: object | None = None) -> "CapsuleType":
        """Give the rows as an Arrow stream."""
        return self._rows.__arrow_c_stream__(requested_schema)

    def __arrow_c_schema__(self) -> "CapsuleType":
        """Give the schema of the rows."""
        return self._rows.__arrow_c_schema__()

    def to_arrow(self) -> Any:
        """Give the rows as a `pyarrow.Table`."""
        import pyarrow as pa  # noqa: PLC0415 - an extra

        return pa.table(self)

    def to_polars(self) -> Any:
        """Give the rows as a `polars.DataFrame`."""
        import polars as pl  # noqa: PLC0415 - an extra

        return pl.DataFrame(self)

    def save(self, output: PathLike, *, force: bool = False) -> "CoverageTable":
        """Copy the folder to `output`."""
        target = check_output(output)
        if target.exists() and any(target.iterdir()) and not force:
            from seqmill.errors import OutputExistsError  # noqa: PLC0415 - seldom

            message = f"{target}: output exists; use --force to replace it"
            raise OutputExistsError(message, path=str(target))
        shutil.copytree(self.path, target, dirs_exist_ok=True)
        return CoverageTable(target)

    def merge(
        self,
        *others: "CoverageTable | PathLike",
        regions: Regions | None = None,
        output: PathLike | None = None,
        force: bool = False,
    ) -> "CoverageTable":
        """Put this table and others together, see :func:`merge_coverage`."""
        parts = [self.path, *(o.path if isinstance(o, CoverageTable) else o for o in others)]
        return merge_coverage(parts, regions=regions, output=output, force=force)

    def __repr__(self) -> str:
        """Name the folder."""
        return f"CoverageTable({os.fspath(self.path)!r})"

    def __reduce__(self) -> tuple[type[Self], tuple[str]]:
        """Pickle as the folder's path."""
        return type(self), (os.fspath(self.path.absolute()),)


def _value(name: str, text: str) -> Any:
    if name in ("region", "label"):
        return text or None
    if text == "NA":
        return None
    return float(text) if "." in text else int(text)


def measure_coverage(
    source: PathLike,
    regions: Regions | None = None,
    *,
    output: PathLike | None = None,
    engine: Any = None,
    scheduler: Any = None,
    unit_bases: int | None = None,
    threads: int | str | None = None,
    memory: int | str | None = None,
    tmpdir: PathLike | None = None,
    progress: ProgressArg = False,
    metrics: PathLike | None = None,
    force: bool = False,
    resume: bool = False,
    **options: Unpack[CoverageOptions],
) -> CoverageTable:
    """Measure the coverage of regions: depth of alignments, or content of sequence.

    Parameters
    ----------
    source
        BAM, SAM or CRAM sorted by coordinate, or FASTA, recognised by content.
    regions
        A file with regions (one a line, or BED), region strings (1-based inclusive), or tuples of
        name, begin and end (0-based half-open). None: whole sequences.
    output
        Folder to write; None: a temporary one that lives as long as the table.
    engine, scheduler
        Where it is measured, see :mod:`seqmill.engine`: ``"local"``, ``"dask"``, an engine, a
        cluster or client object of Dask; and the address of a scheduler.
    unit_bases
        On an engine: regions of about so many bases are a unit. By default 10^7 of alignments,
        10^8 of sequence.
    threads, memory, tmpdir, progress, metrics, force, resume
        See :ref:`job-options`.
    **options
        See :class:`seqmill._coverage_request.CoverageOptions`.

    Returns
    -------
    CoverageTable
        In the order of the list, duplicates included.

    Raises
    ------
    InputError
        If an option is wrong.
    FormatError
        If the input or a list of regions is damaged, or the input is not sorted.
    BudgetError
        If `memory` is too small.

    Examples
    --------
    >>> import tempfile
    >>> from seqmill import simulate
    >>> folder = simulate.write_example_data(tempfile.mkdtemp())
    >>> table = measure_coverage(folder / "small.bam", ["chr1:1-5,000"])
    >>> table["chr1:1-5000"]["length"]
    5000
    """
    unknown = set(options) - set(CoverageOptions.__annotations__)
    if unknown:
        message = f"{min(unknown)!r} is no option of measure_coverage"
        raise InputError(message, option=min(unknown))
    path = local_path(source, "coverage")
    semantic = coverage_semantic(regions, options)
    threads_limit = choose_threads(threads)
    memory_limit = choose_memory(memory, useful=_USEFUL_BYTES)
    temporary = None
    if output is None:
        temporary = Path(tempfile.mkdtemp(prefix="seqmill-coverage-", dir=tmpdir))
    folder = temporary / "out" if temporary is not None else check_output(str(output))
    if options.get("per_base") is not None:
        refuse_inputs([os.fspath(options["per_base"] or "")], [path])
    request = {
        "input": path,
        "output": os.fspath(folder),
        "semantic": semantic,
        "per_base": _optional_path(options.get("per_base")),
        "index": _optional_path(options.get("index")),
        "threads": threads_limit.value,
        "memory": memory_limit.value,
        "force": force,
        "resume": resume,
        "version": _native.version(),
    }
    report = JobReport(
        "coverage",
        options={**options, "regions": None if regions is None else str(regions)},
        inputs=[source],
        threads=threads_limit,
        memory=memory_limit,
        metrics=metrics,
        progress=progress,
    )
    try:
        opening = open_job(
            engine,
            scheduler,
            report=report,
            state=state_directory(folder),
            threads=None if threads is None else threads_limit,
            memory=None if memory is None else memory_limit,
            resume=resume,
            force=force,
        )
        with report, telling_of_state([folder], resume=resume), opening as job:
            _run(request, report, job, unit_bases)
        table = CoverageTable(folder)
    except BaseException:
        if temporary is not None:
            shutil.rmtree(temporary, ignore_errors=True)
        raise
    table.metrics = report.metrics
    if temporary is not None:
        table._cleanup = weakref.finalize(  # noqa: SLF001 - of this module
            table, shutil.rmtree, temporary, ignore_errors=True
        )
    return table


def _optional_path(path: PathLike | None) -> str | None:
    return None if path is None else os.fspath(path)


def _run(
    request: dict[str, Any], report: JobReport, job: "EngineJob | None", unit_bases: int | None
) -> None:
    def tell(raw: dict[str, Any]) -> bool:
        return report.feed({"phase": _PHASE, **raw})

    try:
        if job is None:
            answer = json.loads(_native.measure_coverage(json.dumps(request), tell))
        else:
            from seqmill.engine.coverage import coverage_on_engine  # noqa: PLC0415 - seldom

            answer = coverage_on_engine(job, request, unit_bases)
    except BaseException as error:
        for text in getattr(error, "warnings", []):
            report.warn(text)
        raise
    figures = answer["metrics"]
    figures["memory"] = {k: v for k, v in figures["memory"].items() if k != "limit"}
    figures["outputs"] = [{"path": request["output"], "records": answer["rows"]}]
    report.add_run(figures)
    for text in answer["warnings"]:
        report.warn(text)
        warnings.warn(text, stacklevel=4)


def merge_coverage(
    parts: Sequence[PathLike],
    *,
    regions: Regions | None = None,
    output: PathLike | None = None,
    force: bool = False,
) -> CoverageTable:
    """Put parts that were measured one by one together, in the order of the list.

    Parameters
    ----------
    parts
        Folders of :func:`measure_coverage`, or their ``coverage.tsv``.
    regions
        The list; None: the order of the parts.
    output
        Folder to write; None: a temporary one that lives as long as the table.
    force
        Replace what is there.

    Returns
    -------
    CoverageTable
        Byte for byte what one job over the list writes.

    Raises
    ------
    FormatError
        If a region is missing, is there more often than in the list, or parts have other columns.
    """
    temporary = None
    if output is None:
        temporary = Path(tempfile.mkdtemp(prefix="seqmill-coverage-"))
    folder = temporary / "out" if temporary is not None else check_output(str(output))
    try:
        merge_parts([Path(part) for part in parts], regions, folder, force=force)
        table = CoverageTable(folder)
    except BaseException:
        if temporary is not None:
            shutil.rmtree(temporary, ignore_errors=True)
        raise
    if temporary is not None:
        table._cleanup = weakref.finalize(  # noqa: SLF001 - of this module
            table, shutil.rmtree, temporary, ignore_errors=True
        )
    return table
