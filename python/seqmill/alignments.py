"""Alignments and reads to tables: files with :func:`convert`, batches with :func:`scan_alignments`.

The engine is :mod:`seqmill._native`; here options are checked, many files are driven, and what
comes out is put into objects.
"""

import os
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, Unpack

from seqmill import _native
from seqmill._driver import Driver
from seqmill._engines import open_job
from seqmill._keywords import ConvertOptions, PathLike, ScanOptions
from seqmill._outputs import state_directory, telling_of_state
from seqmill._request import (
    check_names,
    engine_options,
    input_paths,
    semantic_options,
    summarize_options,
)
from seqmill._scan import AlignmentScan
from seqmill._targets import plan_tasks
from seqmill._tasks import FileResult
from seqmill.errors import InputError
from seqmill.limits import Limit, choose_memory, choose_threads
from seqmill.progress import ProgressArg
from seqmill.report import JobReport, Metrics

__all__ = [
    "AlignmentScan",
    "ConvertOptions",
    "ConvertResult",
    "FileResult",
    "ScanOptions",
    "convert",
    "scan_alignments",
]

_USEFUL_BYTES: Final = 512 << 20
"""More than this the pipeline has no use for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ConvertResult:
    """What a conversion has made.

    Attributes
    ----------
    records
        Records in all outputs.
    outputs
        Paths of the outputs that are there now.
    files
        What became of each output.
    metrics
        Figures of the job.
    warnings
        Warnings in the order in which they came.
    """

    records: int
    outputs: tuple[str, ...]
    files: tuple[FileResult, ...]
    metrics: Metrics
    warnings: tuple[str, ...]

    @property
    def failed(self) -> tuple[FileResult, ...]:
        """The files of several that failed or were not reached."""
        return tuple(file for file in self.files if file.status in ("failed", "not started"))


def convert(
    inputs: PathLike | Sequence[PathLike],
    output: PathLike | None = None,
    *,
    out_dir: PathLike | None = None,
    name: str | None = None,
    partition_by: str | Sequence[str] | None = None,
    format: Literal["parquet", "arrow", "arrows"] | None = None,  # noqa: A002 - its public name
    files_in_flight: int | None = None,
    fail_fast: bool = False,
    overview: bool = False,
    shards: int | None = None,
    engine: Any = None,
    scheduler: Any = None,
    threads: int | str | None = None,
    memory: int | str | None = None,
    tmpdir: PathLike | None = None,
    progress: ProgressArg = False,
    metrics: PathLike | None = None,
    force: bool = False,
    resume: bool = False,
    **options: Unpack[ConvertOptions],
) -> ConvertResult:
    """Turn alignments or reads into Parquet or Arrow.

    Every field and every tag of every record is in the output once, in file order. The output
    depends on the input and on the options alone, never on threads, memory or an interruption.

    Parameters
    ----------
    inputs
        SAM, BAM, CRAM, FASTA or FASTQ, recognised by content; ``-`` is standard input, ``@FILE``
        stands for the paths in a file.
    output
        File to write, one for all inputs; the suffix says which format. ``-`` is standard output.
    out_dir
        Folder for one output for each input, instead of `output`.
    name
        Name of the outputs in `out_dir`; by default ``"{stem}.parquet"``.
    partition_by
        Split the outputs in `out_dir` by ``"source"``, ``"rname"``, ``"read_group"``, in the order
        given, into folders like ``rname=chr1``.
    format
        Format, where the suffix does not say it.
    files_in_flight
        Most files at a time; by default enough to keep the threads busy.
    fail_fast
        Stop at the first of several files that fails; otherwise the rest go on.
    overview
        Gather counts for pictures into ``metrics.detail["overview"]``.
    shards
        Outputs in `out_dir` for each input, in the order of the records, by its chunk index.
    engine, scheduler
        Where the outputs are made, see :mod:`seqmill.engine`: ``"local"``, ``"dask"``, an engine,
        or a client or cluster of Dask; and the address of its scheduler, its file, or
        ``"local:N"``. `threads` and `memory` are then those of each worker.
    threads, memory, tmpdir, progress, metrics, force, resume
        See :ref:`job-options`.
    **options
        See :class:`ConvertOptions` and :class:`ScanOptions`.

    Returns
    -------
    ConvertResult
        Counts, paths and figures. Of several files some may have failed: see `failed`.

    Raises
    ------
    InputError
        If an option is wrong.
    NotFoundError
        If a region, a column or a tag does not exist.
    FormatError
        If an input is damaged; its class says how, its attributes where.
    OutputExistsError
        If an output exists and `force` is not given.
    BudgetError
        If `memory` is too small for a record.

    Examples
    --------
    >>> import tempfile
    >>> from seqmill import simulate
    >>> folder = simulate.write_example_data(tempfile.mkdtemp())
    >>> done = convert(folder / "small.bam", folder / "small.parquet", min_mapq=30)
    >>> done.records, done.metrics.totals["records_in"]
    (713, 835)
    """
    check_names(options, ConvertOptions.__annotations__, "convert")
    paths = input_paths(inputs)
    chosen = {
        "out_dir": out_dir,
        "name": name,
        "partition_by": partition_by,
        "format": format,
        "files_in_flight": files_in_flight,
        "fail_fast": fail_fast or None,
        "shards": shards,
        **options,
    }
    limits = _limits(threads, memory)
    request = {
        "semantic": semantic_options(options),
        "force": force,
        "resume": resume,
        "version": _native.version(),
        "write_chunk_index": bool(options.get("write_chunk_index", False)),
        **engine_options(options, limits[0].value),
    }
    if tmpdir is not None:
        request["resources"]["tmpdir"] = os.fspath(tmpdir)
    if files_in_flight is not None and files_in_flight < 1:
        raise InputError("files_in_flight is 1 and more", option="files_in_flight")
    tasks = plan_tasks(
        paths,
        request,
        output=None if output is None else os.fspath(output),
        out_dir=out_dir,
        name=name,
        partition_by=partition_by,
        chosen_format=format,
        index_only=bool(options.get("index_only", False)),
        shards=shards,
    )
    report = JobReport(
        "convert",
        options=summarize_options(chosen),
        inputs=paths,
        threads=limits[0],
        memory=limits[1],
        metrics=metrics,
        progress=progress,
    )
    driver = Driver(
        report=report,
        threads=limits[0].value,
        memory=limits[1].value,
        at_once=files_in_flight,
        fail_fast=fail_fast,
        overview=overview,
    )
    opening = open_job(
        engine,
        scheduler,
        report=report,
        state=state_directory(out_dir if out_dir is not None else str(tasks[0].output)),
        threads=None if threads is None else limits[0],
        memory=None if memory is None else limits[1],
        resume=resume,
        force=force,
    )
    places = [task.output for task in tasks if task.output is not None]
    with report, opening as job, telling_of_state(places, resume=resume):
        files = driver.run(tasks) if job is None else driver.run_on_engine(job, tasks)
    return _result(files, driver, report)


def _result(files: Sequence[FileResult], driver: Driver, report: JobReport) -> ConvertResult:
    for text in driver.warnings:
        warnings.warn(text, stacklevel=3)
    done = [file for file in files if file.status in ("done", "skipped")]
    return ConvertResult(
        records=sum(file.records or 0 for file in done),
        outputs=tuple(file.output for file in done if file.output is not None),
        files=tuple(files),
        metrics=report.metrics,
        warnings=tuple(report.metrics.warnings),
    )


def scan_alignments(
    inputs: PathLike | Sequence[PathLike],
    *,
    threads: int | str | None = None,
    memory: int | str | None = None,
    tmpdir: PathLike | None = None,
    **options: Unpack[ScanOptions],
) -> AlignmentScan:
    """Open alignments or reads as a stream of Arrow batches.

    Headers are read at once, records when somebody asks for them.

    Parameters
    ----------
    inputs
        SAM, BAM, CRAM, FASTA or FASTQ, recognised by content; ``@FILE`` stands for the paths in a
        file. Several inputs follow one another, told apart by the column `source`.
    threads, memory, tmpdir
        See :ref:`job-options`.
    **options
        See :class:`ScanOptions`.

    Returns
    -------
    AlignmentScan
        Speaks the Arrow PyCapsule protocol, so ``polars.DataFrame(scan)`` and
        ``pyarrow.table(scan)`` work without a copy.

    Raises
    ------
    InputError
        If an option is wrong.
    FormatError
        If the header of an input is damaged; records raise it when they are read.

    Examples
    --------
    >>> import tempfile
    >>> from seqmill import simulate
    >>> folder = simulate.write_example_data(tempfile.mkdtemp())
    >>> with scan_alignments(folder / "small.bam", regions="chr1:1-5,000") as scan:
    ...     scan.references[0], scan.count()
    (('chr1', 60000), 62)
    """
    check_names(options, ScanOptions.__annotations__, "scan_alignments")
    limits = _limits(threads, memory)
    request = {
        "inputs": input_paths(inputs),
        "semantic": semantic_options(options),
        "version": _native.version(),
        **engine_options(options, limits[0].value),
    }
    request["resources"] |= {"threads": limits[0].value, "memory": limits[1].value}
    if tmpdir is not None:
        request["resources"]["tmpdir"] = os.fspath(tmpdir)
    return AlignmentScan(request)


def _limits(threads: int | str | None, memory: int | str | None) -> tuple[Limit, Limit]:
    return choose_threads(threads), choose_memory(memory, useful=_USEFUL_BYTES)
