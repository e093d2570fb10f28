"""Exact k-mer counts of anything, inside a memory budget.

Jobs run in the engine; here options are checked and results opened. Everything that a scattered
count needs is a plain function that can be pickled: :func:`plan_chunks`, :func:`count_batch`,
:func:`merge_kmers`.
"""

import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, Literal, Unpack

from seqmill._engines import is_on_engine
from seqmill._kmer_jobs import (
    CountResources,
    KmerJob,
    Output,
    PathLike,
    ResourceOptions,
    as_paths,
    check_counts,
    check_k,
    check_text,
    choose_outputs,
    native_count,
    run_job,
    temporary_table,
)
from seqmill._kmer_places import check_part, find_part
from seqmill._kmer_plan import ChunkPlan, chunk_regions, plan_chunks, read_plan, resolve_regions
from seqmill._kmer_sequence import count_sequence
from seqmill._kmer_sets import combine_tables
from seqmill._kmer_table import KmerTable
from seqmill._outputs import refuse_inputs
from seqmill.errors import FormatError, InputError

__all__ = [
    "ChunkPlan",
    "KmerJob",
    "KmerTable",
    "combine_kmers",
    "count_batch",
    "count_kmers",
    "count_sequence",
    "merge_kmers",
    "plan_chunks",
    "read_plan",
    "run_count",
]

OPERATIONS: Final = ("union-sum", "intersect-min", "subtract", "difference")
Operation = Literal["union-sum", "intersect-min", "subtract", "difference"]


def run_count(
    inputs: PathLike | Sequence[PathLike],
    outputs: Sequence[Output],
    *,
    k: int = 31,
    canonical: bool = False,
    min_count: int | None = None,
    max_count: int | None = None,
    soft_mask: Literal["keep", "skip"] = "keep",
    min_base_qual: int = 0,
    require_flags: int = 0,
    exclude_flags: int = 0x900,
    regions: Sequence[str] = (),
    regions_file: PathLike | None = None,
    strict: bool = False,
    pretty: bool = False,
    kmer_text: bool = False,
    hist_max: int | None = None,
    unit_bases: int | None = None,
    chunks: Sequence[tuple[int, int]] | None = None,
    stretches: Sequence[tuple[str, int, int]] | None = None,
    part: tuple[int, int | None] | None = None,
    **resources: Unpack[CountResources],
) -> KmerJob:
    """Count files into outputs of any formats; what :func:`count_kmers` and the command run.

    Parameters
    ----------
    inputs
        FASTA, FASTQ or BAM; plain, gzip or BGZF; ``-`` is stdin.
    outputs
        Pairs of a format and a path.
    k, canonical, min_count, max_count, soft_mask, min_base_qual
        See :func:`count_kmers`.
    require_flags, exclude_flags
        Which reads of BAM are counted.
    regions, regions_file
        Count only what lies wholly inside, in FASTA; region strings are 1-based inclusive.
    strict
        A BGZF file without its end marker is an error.
    pretty, kmer_text, hist_max
        How JSON, columns and histograms are written.
    unit_bases
        A unit that a resumed job can skip ends with the record in which its bases reach this,
        2^31 by default. On an engine: about so many bytes of text are a unit, 10^8 by default.
    chunks, stretches
        Which chunks of a plan these are, and where they lie; for :func:`count_batch`.
    part
        The stretch of the only input that is counted, instead; see :mod:`seqmill._kmer_places`.
    **resources
        See :ref:`job-options`.

    Returns
    -------
    KmerJob
        Totals, histogram and metrics.
    """
    paths = as_paths(inputs)
    check_k(k)
    check_text(soft_mask, min_base_qual)
    check_counts(min_count=min_count, max_count=max_count, hist_max=hist_max)
    refuse_inputs([path for _, path in outputs], paths)
    where = stretches
    if regions or regions_file is not None:
        where = resolve_regions(paths, list(regions), regions_file)
    request: dict[str, Any] = {
        "k": k,
        "canonical": canonical,
        "min_count": min_count or 0,
        "max_count": max_count,
        "skip_lower": soft_mask == "skip",
        "min_base_quality": min_base_qual,
        "require_flags": require_flags,
        "exclude_flags": exclude_flags,
        "regions": None if where is None else [list(item) for item in where],
        "strict": strict,
        "pretty": pretty,
        "kmer_text": kmer_text,
        "hist_max": hist_max,
        "unit_bases": unit_bases or _unit_bases(resources),
        "chunks": None if chunks is None else [list(pair) for pair in chunks],
    }
    if part is not None:
        request["parts"] = [list(part)]
    return run_job("kmers count", native_count, request, paths, outputs, **resources)


def _unit_bases(resources: CountResources) -> int:
    if is_on_engine(resources.get("engine"), resources.get("scheduler")):
        from seqmill.engine.kmers import UNIT_BYTES  # noqa: PLC0415 - seldom

        return UNIT_BYTES
    return 1 << 31


def count_kmers(
    inputs: PathLike | Sequence[PathLike],
    *,
    k: int = 31,
    canonical: bool = False,
    min_count: int | None = None,
    max_count: int | None = None,
    soft_mask: Literal["keep", "skip"] = "keep",
    min_base_qual: int = 0,
    regions: Sequence[str] = (),
    output: PathLike | None = None,
    **resources: Unpack[CountResources],
) -> KmerTable:
    r"""Count the k-mers of files inside a memory budget.

    Windows that hold anything but A, C, G, T are skipped; case does not matter. All inputs are
    counted as one. The result is the same for every number of threads and every budget.

    Parameters
    ----------
    inputs
        FASTA, FASTQ or BAM; plain, gzip or BGZF; ``-`` is stdin.
    k
        Length of the k-mers, 1 to 255.
    canonical
        Count a k-mer and its reverse complement as one.
    min_count, max_count
        Counts that the table keeps; its total and histogram are those of everything.
    soft_mask
        ``"skip"`` takes lower case for no bases.
    min_base_qual
        Bases of FASTQ and BAM with a lower quality are no bases.
    regions
        Count only what lies wholly inside; 1-based inclusive, FASTA only.
    output
        Where the table goes; its suffix decides the format. Without, a temporary table is made
        that is gone with the object.
    **resources
        `threads`, `memory`, `tmpdir`, `progress`, `metrics`, `force`, `resume`: see
        :ref:`job-options`; `engine`, `scheduler`: where it is counted, see :mod:`seqmill.engine`.

    Returns
    -------
    KmerTable
        The table; `metrics` are the job's figures.

    Raises
    ------
    FormatError
        If an input breaks its format; names file, line and offset.
    BudgetError
        If the memory is below the least that works.

    Examples
    --------
    >>> import seqmill, tempfile, pathlib
    >>> folder = pathlib.Path(tempfile.mkdtemp())
    >>> _ = (folder / "tiny.fa").write_text(">a\nACGTACGT\n>b\nACGNT\n")
    >>> table = seqmill.count_kmers(folder / "tiny.fa", k=3)
    >>> table["ACG"], table.total, table.distinct
    (3, 7, 4)
    """
    outputs = [] if output is None else choose_outputs(output)
    kept = next((path for name, path in outputs if name == "skm"), None)
    path = kept
    if path is None:
        path = temporary_table(os.fspath(resources.get("tmpdir") or tempfile.gettempdir()))
        Path(path).unlink()
        outputs = [*outputs, ("skm", path)]
    job = run_count(
        inputs,
        outputs,
        k=k,
        canonical=canonical,
        min_count=min_count,
        max_count=max_count,
        soft_mask=soft_mask,
        min_base_qual=min_base_qual,
        regions=regions,
        **resources,
    )
    return KmerTable._open(path, job.metrics, drop=kept is None)  # noqa: SLF001 - same module group


def merge_kmers(
    inputs: PathLike | Sequence[PathLike],
    *,
    output: PathLike | None = None,
    plan: "PathLike | ChunkPlan | None" = None,
    min_count: int | None = None,
    max_count: int | None = None,
    k: int | None = None,
    canonical: bool | None = None,
    allow_filtered: bool = False,
    **resources: Unpack[ResourceOptions],
) -> KmerTable:
    """Merge partial counts into one table; counts are summed.

    Parameters
    ----------
    inputs
        Tables, JSON or text of two columns, in any mixture.
    output
        Where the table goes; its suffix decides the format. Without, a temporary table.
    plan
        A plan whose chunks must all be there, each exactly once.
    min_count, max_count
        Counts that the result keeps.
    k, canonical
        Of text that does not say so itself.
    allow_filtered
        Take tables from which k-mers were filtered.
    **resources
        See :ref:`job-options`.

    Returns
    -------
    KmerTable
        The merged table.

    Raises
    ------
    FormatError
        If k or strand differ, a partial is filtered, or a chunk is missing or there twice.
    """
    check_counts(min_count=min_count, max_count=max_count)
    chunks = None
    if plan is not None:
        chunks = len(plan if isinstance(plan, ChunkPlan) else read_plan(plan))
    return combine_tables(
        "union-sum",
        as_paths(inputs),
        output,
        min_count=min_count or 0,
        max_count=max_count,
        k=k,
        canonical=canonical,
        plan_chunks=chunks,
        allow_filtered=allow_filtered,
        **resources,
    )


def combine_kmers(
    operation: Operation,
    inputs: Sequence[PathLike],
    *,
    output: PathLike | None = None,
    **resources: Unpack[ResourceOptions],
) -> KmerTable:
    """Do a set operation on tables, as a stream.

    Parameters
    ----------
    operation
        ``"union-sum"``, ``"intersect-min"``, ``"subtract"`` (the first less the others, where
        above 0) or ``"difference"`` (of the first, what no other has).
    inputs
        Tables of one k and strand.
    output
        Where the result goes; without, a temporary table.
    **resources
        See :ref:`job-options`.

    Returns
    -------
    KmerTable
        The result.
    """
    if operation not in OPERATIONS:
        allowed = ", ".join(OPERATIONS)
        raise InputError(
            f"{operation!r} is not an operation; it takes {allowed}",
            option="operation",
            value=operation,
            allowed=allowed,
        )
    return combine_tables(operation, as_paths(inputs), output, **resources)


def count_batch(
    reference: PathLike,
    plan: "PathLike | ChunkPlan",
    batch: int,
    *,
    k: int | None = None,
    output: PathLike,
    canonical: bool = False,
    soft_mask: Literal["keep", "skip"] = "keep",
    **resources: Unpack[ResourceOptions],
) -> str:
    """Count one batch of a plan into a partial: the scatter step of any engine.

    Parameters
    ----------
    reference
        The file that was planned.
    plan, batch
        The plan, or its file, and the number of the batch.
    k
        Length of the k-mers; by default the plan's.
    output
        The partial, a table.
    canonical, soft_mask
        As in :func:`count_kmers`.
    **resources
        See :ref:`job-options`.

    Returns
    -------
    str
        The partial's path.

    Raises
    ------
    InputError
        If the plan was made for another k, or has no such batch.
    FormatError
        If the plan is not of this file.
    """
    chosen = plan if isinstance(plan, ChunkPlan) else read_plan(plan)
    stretches, chunks = chunk_regions(chosen, batch, chosen.k if k is None else k)
    part = find_part(reference, chosen, batch)
    done = run_count(
        reference,
        [("skm", os.fspath(output))],
        k=chosen.k if k is None else k,
        canonical=canonical,
        soft_mask=soft_mask,
        chunks=chunks,
        stretches=None if part else stretches,
        part=(part.begin, part.end) if part else None,
        **resources,
    )
    path = str(done.outputs[0])
    found = done.inputs[0]["bases"]
    if part is not None:
        check_part(part, found, reference, path)
    elif found != chosen.bases:
        Path(path).unlink()
        name = os.fspath(reference)
        raise FormatError(
            f"{name}: the plan is of a file of {chosen.bases:,} bases, but there are {found:,}; "
            "plan it anew",
            path=name,
        )
    return path
