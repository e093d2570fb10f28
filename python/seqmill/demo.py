"""The five-minute tour: every capability once; each joins with an entry in :data:`STEPS`."""

import os
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Final

import seqmill
from seqmill import _tour_coverage, _tour_fetch, _tour_kmers, _tour_pack, _tour_repeats, simulate
from seqmill._text_lines import open_bytes
from seqmill._tour import StepResult, Tour
from seqmill._units import format_count, format_size
from seqmill.errors import InternalError, OutputExistsError
from seqmill.limits import choose_memory, choose_threads
from seqmill.progress import ProgressArg
from seqmill.report import JobReport, Metrics

__all__ = ["STEPS", "Demo", "Step", "StepResult", "Tour", "run_demo"]

PAGE_NAME: Final = "index.html"

_SEED: Final = 20_261
_MARKER: Final = ".seqmill-demo"
_MARKER_TEXT: Final = "Made by `seqmill demo`, which may replace what is in this folder.\n"
_GENOME: Final = simulate.GenomeOptions(
    contigs=(("chr1", 700_000), ("chr2", 400_000), ("chrM", 16_000)),
    families=(
        simulate.RepeatFamily(name="alpha", length=300, copies=300),
        simulate.RepeatFamily(name="beta", length=1_200, copies=60, divergence=0.05),
    ),
    gaps=4,
)
_PAIRS: Final = 100_000
_LONG_READS: Final = 700
_RELIABLE_MAPQ: Final = 30
# A page has room for the pictures of so many files.
_PICTURED_FILES: Final = 2
_FIRST_BYTES: Final = 4096
_SHARED_SECTIONS: Final = ("totals", "stages", "memory", "io", "inputs", "outputs")


@dataclass(frozen=True, slots=True)
class Step:
    """A stop of the tour.

    Attributes
    ----------
    name
        Name of the capability.
    needs
        Public name of `seqmill` that it shows; without it the step is left out.
    run
        Does it and gives the rows of the table.
    """

    name: str
    needs: str | None
    run: Callable[[Tour], Iterator[StepResult]]

    def exists(self) -> bool:
        """Tell whether this installation has the capability."""
        return self.needs is None or getattr(seqmill, self.needs, None) is not None


@dataclass(frozen=True, slots=True)
class Demo:
    """What a tour has shown.

    Attributes
    ----------
    folder
        Where everything was written.
    results
        Rows of the table.
    metrics
        Figures of the whole tour.
    pictured
        Metrics documents of the files whose pictures the page shows, by file name.
    throughput
        Windows a second by workers.
    repeats, archive
        What the search for repeats found, and what packing put where.
    """

    folder: Path
    results: tuple[StepResult, ...]
    metrics: Metrics
    pictured: dict[str, dict[str, Any]]
    throughput: tuple[dict[str, Any], ...] = ()
    repeats: dict[str, Any] = field(default_factory=dict)
    archive: dict[str, Any] = field(default_factory=dict)

    @property
    def ok(self) -> bool:
        """Whether everything worked."""
        return all(result.ok for result in self.results)


def _simulate(tour: Tour) -> Iterator[StepResult]:
    if tour.alignments or tour.genomes:
        return
    genome = simulate.simulate_genome(_GENOME, seed=_SEED)
    yield tour.measure("simulate a collection of genomes", partial(_write_genomes, tour, genome))
    short, long = tour.folder / "short.bam", tour.folder / "long.bam"
    yield tour.measure("simulate short reads", partial(_write_short_reads, tour, genome, short))
    yield tour.measure("simulate long reads", partial(_write_long_reads, tour, genome, long))
    tour.alignments += [path for path in (short, long) if path in tour.expected]
    tour.genomes += sorted((tour.folder / "genomes").glob("*.fa.gz"))


def _write_genomes(tour: Tour, genome: simulate.Genome) -> str:
    folder = tour.folder / "genomes"
    folder.mkdir(exist_ok=True)
    members = simulate.simulate_collection(genome, seed=_SEED)
    simulate.write_fasta(folder / "ancestor.fa.gz", genome.contigs)
    genome.write_repeats(folder / "ancestor.repeats.tsv")
    for number, member in enumerate(members, start=1):
        simulate.write_fasta(folder / f"member{number}.fa.gz", member.contigs)
    bases = format_count(len(genome.letters))
    return f"{len(members) + 1} genomes of {bases} bases, {len(genome.repeats)} copies of repeats"


def _write_short_reads(tour: Tour, genome: simulate.Genome, path: Path) -> str:
    options = simulate.ShortReadOptions(pairs=_PAIRS)
    reads = simulate.simulate_short_reads(genome, options, seed=_SEED)
    reads.write_bam(path)
    tour.expected[path] = len(reads)
    return f"{path.name}: {format_count(len(reads))} records, {format_size(path.stat().st_size)}"


def _write_long_reads(tour: Tour, genome: simulate.Genome, path: Path) -> str:
    options = simulate.LongReadOptions(reads=_LONG_READS, mean_length=6_000)
    reads = simulate.simulate_long_reads(genome, options, seed=_SEED)
    reads.write_bam(path)
    reads.write_fastq(path.with_suffix(".fq.gz"))
    tour.expected[path] = len(reads)
    return f"{path.name}: {format_count(len(reads))} records, {format_size(path.stat().st_size)}"


def _convert(tour: Tour) -> Iterator[StepResult]:
    for number, path in enumerate(tour.alignments):
        formats = (("parquet", "Parquet"), ("arrow", "Arrow")) if number == 0 else _ONLY_PARQUET
        for suffix, words in formats:
            output = tour.folder / f"{_stem(path)}.{suffix}"
            yield tour.measure(
                f"convert {path.name} to {words}",
                partial(_convert_one, tour, path, output),
                source=path,
            )


_ONLY_PARQUET: Final = (("parquet", "Parquet"),)


def _stem(path: Path) -> str:
    """Take the suffixes off: ``a.sam.gz`` becomes ``a``."""
    name = path.name.removesuffix(".gz")
    return name.rsplit(".", 1)[0] if "." in name[1:] else name


def _convert_one(tour: Tour, path: Path, output: Path) -> str:
    done = seqmill.convert(path, output, force=True, overview=True, **tour.job_options)
    document = done.metrics.to_dict()
    tour.report.add_run({key: document[key] for key in _SHARED_SECTIONS if key in document})
    tour.pictured.setdefault(path.name, document)
    return (
        f"{output.name}: {_compare(tour, path, done.records)}, {format_size(output.stat().st_size)}"
    )


def _compare(tour: Tour, path: Path, records: int) -> str:
    """Name the count, and check it where the truth is known."""
    expected = tour.expected.get(path, records)
    if records != expected:
        raise InternalError(f"{records} records instead of the {expected} written")
    return f"{format_count(records)} records"


def _scan(tour: Tour) -> Iterator[StepResult]:
    for path in tour.alignments[:1]:
        yield tour.measure(
            f"count the records of {path.name}", partial(_count, tour, path), source=path
        )
        yield tour.measure(
            f"count those of {path.name} with a mapping quality of {_RELIABLE_MAPQ}",
            partial(_count, tour, path, min_mapq=_RELIABLE_MAPQ),
            source=path,
        )


def _count(tour: Tour, path: Path, **filters: Any) -> str:
    with seqmill.scan_alignments(path, **filters, **tour.options("threads", "memory")) as scan:
        records = scan.count()
    return f"{format_count(records)} records" if filters else _compare(tour, path, records)


STEPS: Final = (
    Step("simulate", None, _simulate),
    Step("convert", "convert", _convert),
    Step("scan", "scan_alignments", _scan),
    Step("coverage", "measure_coverage", _tour_coverage.show_coverage),
    Step("fetch", "FastaStore", _tour_fetch.show_fetch),
    Step("repeats", "find_repeats", _tour_repeats.show_repeats),
    Step("pack", "Archive", _tour_pack.show_archives),
    Step("kmers", "count_kmers", _tour_kmers.show_kmers),
)
"""The stops of the tour in order."""


def run_demo(
    folder: str | os.PathLike[str] = "seqmill-demo",
    *,
    inputs: Sequence[str | os.PathLike[str]] = (),
    threads: int | str | None = None,
    memory: int | str | None = None,
    tmpdir: str | os.PathLike[str] | None = None,
    progress: ProgressArg = False,
    metrics: str | os.PathLike[str] | None = None,
    force: bool = False,
    announce: Callable[[str], None] | None = None,
) -> Demo:
    """Run every capability once.

    Parameters
    ----------
    folder
        Where to write; an earlier tour in it is replaced.
    inputs
        Alignment files and genomes (FASTA) to show; without any, both are simulated.
    threads, memory, tmpdir, progress, metrics
        See :ref:`job-options`.
    force
        Write into a folder that holds other files.
    announce
        Called with what is about to run.

    Returns
    -------
    Demo
        The rows of the table, and figures for the page of :mod:`seqmill.cli.demo`.

    Raises
    ------
    OutputExistsError
        If `folder` holds files that no tour has written, and `force` is not given.
    FileNotFoundError
        If an input does not exist.
    """
    target = Path(folder)
    paths = [Path(path) for path in inputs]
    for path in paths:
        path.stat()
    _claim(target, force=force)
    chosen_threads, chosen_memory = choose_threads(threads), choose_memory(memory)
    job_options = {"threads": threads, "memory": memory, "tmpdir": tmpdir, "progress": progress}
    report = JobReport(
        "demo",
        options={"inputs": [path.name for path in paths]},
        inputs=paths,
        threads=chosen_threads,
        memory=chosen_memory,
        metrics=metrics,
    )
    with report:
        genomes = [path for path in paths if _is_fasta(path)]
        tour = Tour(
            folder=target,
            alignments=[path for path in paths if path not in genomes],
            genomes=genomes,
            job_options=job_options,
            report=report,
            announce=announce or (lambda _: None),
        )
        results = tuple(result for step in STEPS if step.exists() for result in step.run(tour))
        # Each step began a new peak; that of the tour is the highest of them.
        peaks = [result.peak_bytes for result in results if result.peak_bytes is not None]
        report.add_run({"memory": {"rss_peak": max(peaks, default=None)}})
        report.detail["throughput"] = tour.throughput
        report.detail["steps"] = [asdict(result) for result in results]
    pictured = dict(list(tour.pictured.items())[:_PICTURED_FILES])
    found = (tuple(tour.throughput), tour.repeats, tour.archive)
    return Demo(target, results, report.metrics, pictured, *found)


def _is_fasta(path: Path) -> bool:
    """Tell whether a file begins as FASTA does, compressed or not; damage is found by the jobs."""
    try:
        with open_bytes(path) as text:
            return bool(text.read(_FIRST_BYTES).lstrip().startswith(b">"))
    except (EOFError, OSError, zlib.error):
        return False


def _claim(folder: Path, *, force: bool) -> None:
    """Make the folder, or make sure that what is in it may be replaced."""
    marker = folder / _MARKER
    if folder.is_dir() and any(folder.iterdir()) and not marker.exists() and not force:
        raise OutputExistsError(
            f"{folder}: holds files that are not of a tour; choose another folder or use --force",
            path=str(folder),
        )
    folder.mkdir(parents=True, exist_ok=True)
    marker.write_text(_MARKER_TEXT, encoding="utf-8")
