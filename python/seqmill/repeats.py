"""Families of interspersed repeats in an assembled genome, without a library.

The engine is :mod:`seqmill._native`; here options are checked and results are put into objects.
Coordinates are 0-based and half-open.
"""

import json
import math
import os
import warnings
from collections.abc import Sequence
from typing import Any, Final, Literal, TypeAlias

from seqmill import _native
from seqmill._addresses import local_path
from seqmill._keywords import PathLike
from seqmill._outputs import refuse_inputs, telling_of_state
from seqmill._repeat_config import (
    IndexConfig,
    MemoryHints,
    MemoryUsageBreakdown,
    PipelineConfig,
    settle,
)
from seqmill._repeat_known import KnownComparison, KnownRepeats, compare, read_known
from seqmill._repeat_result import DroppedFamily, RepeatResult, RepeatTable
from seqmill.errors import InputError
from seqmill.limits import choose_memory, choose_threads
from seqmill.progress import ProgressArg
from seqmill.report import JobReport

__all__ = [
    "DroppedFamily",
    "IndexConfig",
    "KnownComparison",
    "MemoryHints",
    "MemoryUsageBreakdown",
    "PipelineConfig",
    "RepeatResult",
    "RepeatTable",
    "find_repeats",
]

Format: TypeAlias = Literal[
    "library", "bed", "gff3", "softmask", "hardmask", "freq", "stockholm", "parquet", "arrow"
]
FORMATS: Final = (
    "library",
    "bed",
    "gff3",
    "softmask",
    "hardmask",
    "freq",
    "stockholm",
    "parquet",
    "arrow",
)
"""Names of the output formats."""
_PHASE: Final = "repeats"
_SIGNED: Final = (
    "match",
    "mismatch",
    "gap_open",
    "gap_extend",
    "cap_penalty",
    "min_improvement",
)
_SUFFIXES: Final = {
    "library": ".families.fa",
    "bed": ".bed",
    "gff3": ".gff3",
    "softmask": ".softmasked.fa",
    "hardmask": ".hardmasked.fa",
}
"""Ends of the names of outputs that could be a known annotation, too."""
_REPRISE_FORMATS: Final = ("library", "bed", "freq")
"""What the files of the reference program hold; it writes all of them."""
_MOST: Final = (1 << 31) - 1


def find_repeats(
    path: PathLike,
    *,
    output: PathLike | None = None,
    formats: Sequence[Format] = ("library", "bed"),
    distance: int = 0,
    seed_length: int | None = None,
    match: int = 1,
    mismatch: int = -1,
    gap_open: int = -5,
    gap_extend: int = -1,
    cap_penalty: int = -20,
    max_extend: int = 10_000,
    max_families: int = 100_000,
    max_gap: int = 5,
    stop_after: int = 100,
    min_length: int = 50,
    min_frequency: int = 3,
    min_improvement: int = 3,
    tandem_distance: int = 500,
    keep_rare: bool = False,
    annotate: bool = False,
    cluster: float | None = None,
    order: Literal["position", "family"] = "position",
    reset_softmask: bool = False,
    repeatmasker_names: bool = False,
    index: IndexConfig | None = None,
    pipeline: PipelineConfig | None = None,
    compat: Literal["none", "reprise"] = "none",
    known: PathLike | None = None,
    known_types: Sequence[str] = (),
    overview: bool = False,
    threads: int | str | None = None,
    memory: int | str | None = None,
    tmpdir: PathLike | None = None,
    progress: ProgressArg = False,
    metrics: PathLike | None = None,
    force: bool = False,
    resume: bool = False,
) -> RepeatResult:
    """Find families of interspersed repeats in a genome.

    The result depends on the genome and on the parameters alone, never on threads, memory or an
    interruption.

    Parameters
    ----------
    path
        FASTA of an assembly: plain, gzip or BGZF. Case does not matter; N and IUPAC codes match
        nothing.
    output
        Beginning of the names of the files to write, such as ``"out/yeast"``; None writes none.
    formats
        What to write: any of `library`, `bed`, `gff3`, `softmask`, `hardmask`, `freq`,
        `stockholm`, `parquet`, `arrow`.
    distance
        Mismatches allowed between a seed and its occurrences; 2 and more are slow.
    seed_length
        Length of seeds; None follows from the length of the genome.
    match, mismatch, gap_open, gap_extend
        Scores of the extension; the first column of a gap costs `gap_open`.
    cap_penalty
        Least that a copy may contribute below its own best.
    max_extend
        Most columns of a consensus in each direction.
    max_families
        Stop after so many families.
    max_gap
        Half width of the band.
    stop_after
        Columns without progress before an extension stops.
    min_length
        Least length of a family and of an element.
    min_frequency
        Least number of occurrences of a seed.
    min_improvement
        Score that every added column must earn.
    tandem_distance
        Occurrences of a seed closer than this count once.
    keep_rare
        Report families with fewer than `min_frequency` elements too.
    annotate
        Search the finished library against the rest of the genome and add the elements found;
        they are `annotated` in the column `source`.
    cluster
        Leave out of the library (and of Stockholm) sequences of which a longer one covers 80 % at
        this identity, 0.5 to 1; see `dropped` of the result. Elements and tables keep them.
    order
        Order of BED and GFF3: by ``"position"``, or by ``"family"`` as they were found.
    reset_softmask
        Drop the lower case that the input has.
    repeatmasker_names
        Add ``#Unknown`` to the names of the library, as RepeatMasker wants them.
    index, pipeline
        How seeds are counted and passed on.
    compat
        ``"reprise"`` gives the files of REPrise 1.0.1, quirks included, and nothing else.
    known
        Known annotation to compare with: BED, GFF, the ``.out`` of RepeatMasker, or a soft-masked
        FASTA file (also this one), each plain or gzip. See `comparison` of the result.
    known_types
        Patterns such as ``"TY*"``: only rows of `known` with such a type, class or name count.
    overview
        Gather counts for pictures.
    threads, memory, tmpdir, progress, metrics, force, resume
        See :ref:`job-options`.

    Returns
    -------
    RepeatResult
        Tables of families, elements and seeds, sequences, and figures.

    Raises
    ------
    InputError
        If a parameter is wrong, or `known` and the genome have no sequence in common.
    FormatError
        If the file is not FASTA of nucleotides, or `known` is broken; names the place.
    BudgetError
        If `memory` is too small for the genome; names the least that works.
    OutputExistsError
        If an output exists and `force` is not given.

    Examples
    --------
    >>> import tempfile
    >>> from seqmill import simulate
    >>> folder = simulate.write_example_data(tempfile.mkdtemp())
    >>> found = find_repeats(folder / "genome.fa", threads=1)
    >>> len(found.families) > 0, found.metrics.totals["bases"]
    (True, 95000)
    """
    if output is not None:
        _check_output(os.fspath(output), formats if compat == "none" else ["bed"], known)
    annotation = None if known is None else read_known(known, known_types)
    index = IndexConfig() if index is None else index
    pipeline = PipelineConfig() if pipeline is None else pipeline
    if compat not in ("none", "reprise"):
        message = f"compat {compat!r} is neither 'none' nor 'reprise'"
        raise InputError(message, option="compat", value=compat, allowed="none, reprise")
    for name in formats:
        if name not in FORMATS:
            message = f"format {name!r} does not exist; there are {', '.join(FORMATS)}"
            raise InputError(message, option="formats", value=name)
    if compat == "reprise":
        _check_compat(formats, annotate=annotate, cluster=cluster)
    if cluster is not None and not math.isfinite(cluster):
        raise InputError(f"cluster {cluster} is no identity", option="cluster", value=cluster)
    if order not in ("position", "family"):
        message = f"order {order!r} is neither 'position' nor 'family'"
        raise InputError(message, option="order", value=order, allowed="position, family")
    parameters = {
        "seed_length": settle("seed_length", seed_length, None, index.seed_length),
        "distance": settle("distance", distance, 0, index.distance),
        "match": match,
        "mismatch": mismatch,
        "gap_open": gap_open,
        "gap_extend": gap_extend,
        "cap_penalty": cap_penalty,
        "max_extend": max_extend,
        "max_families": max_families,
        "max_gap": max_gap,
        "stop_after": stop_after,
        "min_length": min_length,
        "min_frequency": settle("min_frequency", min_frequency, 3, index.min_frequency),
        "min_improvement": min_improvement,
        "tandem_distance": tandem_distance,
        "max_frequency": index.max_frequency,
        "max_positions_per_kmer": index.max_positions_per_kmer,
        "keep_rare": keep_rare,
        "compat": compat,
    }
    _check_numbers(parameters)
    limits = (
        choose_threads(settle("threads", threads, None, pipeline.threads)),
        choose_memory(settle("memory", memory, None, pipeline.max_memory)),
    )
    hints = index.memory_hints
    request = {
        "input": local_path(path, "repeats"),
        "output": None if output is None else os.fspath(output),
        "formats": list(dict.fromkeys(formats)),
        "parameters": parameters,
        "resources": {"threads": limits[0].value, "memory": limits[1].value},
        "hints": {
            "expected_unique_kmers": hints.expected_unique_kmers,
            "expected_total_positions": hints.expected_total_positions,
            "aggressive_preallocation": hints.aggressive_preallocation,
        },
        "parallel": index.parallel,
        "pipeline": {
            "batch_size": pipeline.batch_size,
            "channel_capacity": pipeline.channel_capacity,
            "backpressure_threshold": (
                pipeline.backpressure_threshold if pipeline.backpressure else None
            ),
        },
        "annotate": annotate,
        "cluster": None if cluster is None else float(cluster),
        "family_order": order == "family",
        "reset_softmask": reset_softmask,
        "repeatmasker_names": repeatmasker_names,
        "force": force,
        "resume": resume,
        "version": _native.version(),
    }
    report = JobReport(
        "repeats",
        options={key: value for key, value in parameters.items() if value is not None},
        inputs=[os.fspath(path)],
        threads=limits[0],
        memory=limits[1],
        metrics=metrics,
        progress=progress,
    )
    del tmpdir  # Nothing is spilled: what does not fit is counted in more partitions.
    track = hints.track_memory_usage
    return _run(request, report, annotation, overview=overview, track=track)


def _check_compat(formats: Sequence[str], *, annotate: bool, cluster: float | None) -> None:
    """Refuse what the files of the reference program do not have."""
    if cluster is not None:
        message = "cluster changes the library, which compat 'reprise' gives as it is"
        raise InputError(message, option="cluster", value=cluster)
    if annotate:
        message = "annotate adds elements, which compat 'reprise' gives as they are"
        raise InputError(message, option="annotate", value=annotate)
    other = [name for name in formats if name not in _REPRISE_FORMATS]
    if other:
        message = f"compat 'reprise' writes the four files of that program, no {other[0]}"
        raise InputError(message, option="formats", value=other[0])


def _check_output(prefix: str, formats: Sequence[str], known: PathLike | None) -> None:
    """Refuse a beginning of names that is none, and outputs that would replace the annotation."""
    if os.path.basename(prefix) in ("", "-", ".", ".."):  # noqa: PTH119 - as it was given
        message = f"output {prefix!r} is no beginning of a name, such as out/yeast"
        raise InputError(message, option="output", value=prefix)
    for name in formats:
        if known is not None and name in _SUFFIXES:
            refuse_inputs([prefix + _SUFFIXES[name]], [known])


def _check_numbers(parameters: dict[str, Any]) -> None:
    for name, value in parameters.items():
        if isinstance(value, bool) or value is None or isinstance(value, str):
            continue
        if not isinstance(value, int):
            message = f"{name} {value!r} is no whole number"
            raise InputError(message, option=name, value=value)
        # The engine knows the exact ranges; here is what its numbers can hold.
        least = -_MOST if name in _SIGNED else 0
        if not least <= value <= _MOST:
            message = f"{name} {value} is out of range; it must be {least} to {_MOST}"
            raise InputError(message, option=name, value=value, allowed=f"{least} to {_MOST}")


def _run(
    request: dict[str, Any],
    report: JobReport,
    known: KnownRepeats | None,
    *,
    overview: bool,
    track: bool,
) -> RepeatResult:
    places = [] if request["output"] is None else [request["output"]]
    with report, telling_of_state(places, resume=bool(request.get("resume"))):
        run = _native.find_repeats(
            json.dumps(request), lambda raw: report.feed({"phase": _PHASE, **raw})
        )
        summary = json.loads(run.summary(overview))
        figures = summary["metrics"]
        figures["memory"] = {k: v for k, v in figures["memory"].items() if k != "limit"}
        figures["outputs"] = summary["outputs"]
        report.add_run(figures)
        comparison = None if known is None else _compare(run, known, report)
        for text in summary["warnings"]:
            report.warn(text)
        if not track:
            report.detail.pop("memory_samples", None)
    for text in summary["warnings"]:
        warnings.warn(text, stacklevel=3)
    return RepeatResult(
        outputs=tuple(item["path"] for item in summary["outputs"]),
        metrics=report.metrics,
        warnings=tuple(report.metrics.warnings),
        overview=summary["overview"],
        comparison=comparison,
        _run=run,
        _counts={name: summary[name] for name in ("families", "elements", "seeds")},
    )


def _compare(run: Any, known: KnownRepeats, report: JobReport) -> KnownComparison:
    """Compare what was found with an annotation, and note it in the report."""
    import numpy as np  # noqa: PLC0415 - not needed by `--help`

    def covered(chrom: str) -> Any:
        raw = run.covered(chrom.encode("utf-8", "surrogateescape"))
        return None if raw is None else np.frombuffer(raw, dtype="<i8").reshape(-1, 2)

    comparison = compare(known, covered, report.detail["masked_bases"])
    report.detail["known"] = comparison.to_dict()
    for chrom in comparison.unknown_sequences[:1]:
        number = len(comparison.unknown_sequences)
        text = f"{known.path}: sequences that are not in the genome: {chrom!r}, {number} in all"
        report.warn(text)
    return comparison
