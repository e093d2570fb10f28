"""`seqmill kmers`: exact counts of k-mers, sorted tables, and what is done with them."""

import os
from pathlib import Path
from typing import Any

import click

from seqmill.cli._kmers_options import (
    JobGroup,
    choose_strand,
    count_filter_options,
    format_options,
    job_options,
    kmer_options,
    show_job,
    split_formats,
)
from seqmill.cli._kmers_plan import chunk, plan
from seqmill.cli._kmers_tables import dump, hist, profile, query, stats, verify
from seqmill.cli._options import (
    Example,
    JobCommand,
    Session,
    engine_options,
    grouped_option,
    html_option,
    pass_session,
    region_options,
)
from seqmill.errors import InputError

__all__ = ["command"]


@click.group(
    "kmers",
    cls=JobGroup,
    short_help="Count k-mers exactly, and look them up.",
    examples=[
        Example(
            "canonical 21-mers of reads, as a table and a histogram",
            "seqmill kmers count reads.fq.gz -k 21 --canonical --format skm,hist -o reads",
        ),
        Example(
            "the classic index of a reference: {k-mer: count} of forward 31-mers",
            "seqmill kmers index genome.fa.gz -o global_index.json",
        ),
        Example(
            "scatter and gather",
            "seqmill kmers plan genome.fa.gz -o plan.tsv && "
            "seqmill kmers chunk genome.fa.gz --plan plan.tsv --batch 0 -o part_0.skm && "
            "seqmill kmers merge part_*.skm --plan plan.tsv -o all.skm",
        ),
    ],
)
def command() -> None:
    """Count k-mers exactly inside a memory budget, and work with the tables."""


@command.command(
    "count",
    cls=JobCommand,
    short_help="Count files into a table.",
    examples=[
        Example("a table", "seqmill kmers count genome.fa.gz -o genome.skm"),
        Example(
            "text of what occurs twice and more, with little memory",
            "seqmill kmers count genome.fa.gz -k 15 --min-count 2 -m 128M -o twice.tsv",
        ),
        Example(
            "a page with the spectrum",
            "seqmill kmers count reads.fq.gz -k 21 --canonical -o reads.skm --html reads.html",
        ),
    ],
)
@click.argument("inputs", metavar="INPUT...", nargs=-1, required=True)
@kmer_options
@grouped_option(
    "input",
    "--min-base-qual",
    type=int,
    default=0,
    metavar="Q",
    help="Bases of reads with a lower quality are no bases.  [default: 0]",
)
@grouped_option(
    "input", "--require-flags", type=int, default=0, help="Reads of BAM must have these flags."
)
@grouped_option(
    "input",
    "--exclude-flags",
    type=int,
    default=0x900,
    help="Reads of BAM with these flags are left out.  [default: 2304]",
)
@grouped_option("input", "--per-input", is_flag=True, help="One output each; -o is a folder.")
@region_options
@count_filter_options
@format_options()
@grouped_option(
    "output",
    "--chunk-size",
    type=int,
    default=1_000_000,
    help="Accepted for plans; counting needs no chunks.",
)
@grouped_option(
    "resources",
    "--unit-bases",
    type=click.IntRange(min=1),
    metavar="N",
    help="--resume goes on behind whole units of N bases; on an engine, bytes of text in a unit.  "
    "[default: 2147483648; on an engine 100000000]",
)
@engine_options
@html_option
@job_options
@pass_session
def count(session: Session, /, *, inputs: tuple[str, ...], **options: Any) -> int:
    """Count the k-mers of FASTA, FASTQ or BAM (- is stdin) as one, or one output each."""
    if options["chunk_size"] < options["k"]:
        raise InputError(
            f"chunk size {options['chunk_size']} is below k = {options['k']}", option="chunk_size"
        )
    del options["chunk_size"]
    html = options.pop("html")
    if html is not None:
        from seqmill.cli._html import require_extra  # noqa: PLC0415 - not needed by `--help`

        require_extra()
    output, formats = options.pop("output"), split_formats(options.pop("formats"))
    per_input = options.pop("per_input")
    if per_input and (html is not None or options["metrics"] is not None):
        what = "metrics" if html is None else "html"
        raise InputError(f"--{what} is of one job; --per-input makes several", option=what)
    if not per_input:
        job = _count(session, list(inputs), output, formats, dict(options))
        show_job(job, session)
        if html is not None:
            from seqmill.cli._kmers_page import write_spectrum  # noqa: PLC0415 - brings matplotlib

            write_spectrum(html, job, k=options["k"], force=options["force"])
        return 0
    return _count_each(session, inputs, output, formats, options)


def _count(
    session: Session, inputs: list[str], output: str, formats: list[str], options: dict[str, Any]
) -> Any:
    from seqmill._kmer_jobs import choose_outputs  # noqa: PLC0415 - brings the engine
    from seqmill.kmers import run_count  # noqa: PLC0415

    canonical = choose_strand(
        canonical=options.pop("canonical"), strand=options.pop("strand", None)
    )
    return run_count(
        inputs,
        choose_outputs(output, formats),
        canonical=canonical,
        progress=session.progress,
        **options,
    )


def _count_each(
    session: Session,
    inputs: tuple[str, ...],
    output: str,
    formats: list[str],
    options: dict[str, Any],
) -> int:
    names: dict[str, str] = {}
    for path in inputs:
        name = _base_name(path)
        if name in names:
            raise InputError(
                f"{names[name]} and {path} would have one output name, {name}", option="inputs"
            )
        names[name] = path
    formats = formats or ["skm"]
    Path(output).mkdir(parents=True, exist_ok=True)
    failed = 0
    for name, path in names.items():
        target = str(Path(output) / name)
        if len(formats) == 1:
            target = f"{target}.{formats[0]}"
        try:
            show_job(_count(session, [path], target, formats, dict(options)), session)
        except (ValueError, OSError) as error:
            from seqmill.cli._render import show_error  # noqa: PLC0415

            failed += 1
            show_error(str(error), [], session)
            if len(names) == 1:
                raise
    return 1 if failed else 0


def _base_name(path: str) -> str:
    name = os.path.basename(path)  # noqa: PTH119 - also `-`
    for suffix in (".gz", ".bgz", ".bgzf"):
        name = name.removesuffix(suffix)
    stem, dot, suffix = name.rpartition(".")
    known = ("fa", "fasta", "fna", "ffn", "frn", "fq", "fastq", "bam", "ubam")
    return stem if dot and suffix.lower() in known else name


@command.command(
    "index",
    cls=JobCommand,
    short_help="The classic index of a reference as JSON.",
    examples=[
        Example("all of it", "seqmill kmers index genome.fa.gz -o index.json"),
        Example(
            "of one region", "seqmill kmers index --reference genome.fa.gz --region chr1 -o i.json"
        ),
        Example("one line for each k-mer", "seqmill kmers index genome.fa.gz --pretty -o i.json"),
    ],
)
@click.argument("reference_file", metavar="[REFERENCE]", required=False)
@grouped_option("input", "--reference", metavar="FILE", help="The reference, as the argument.")
@kmer_options
@region_options
@count_filter_options
@format_options()
@engine_options
@job_options
@pass_session
def index(
    session: Session, /, *, reference_file: str | None, reference: str | None, **options: Any
) -> None:
    """Count k = 31, forward, into one JSON object {k-mer: count}."""
    found = reference_file or reference
    if found is None or (reference_file and reference):
        raise InputError("give one reference", option="reference")
    output, formats = options.pop("output"), split_formats(options.pop("formats"))
    show_job(_count(session, [found], output, formats or ["json"], options), session)


@command.command(
    "merge",
    cls=JobCommand,
    short_help="Merge partial counts into one.",
    examples=[
        Example(
            "two tables",
            "seqmill kmers count genome.fa.gz -o a.skm && "
            "seqmill kmers count reads.fq.gz -o b.skm && seqmill kmers merge a.skm b.skm "
            "-o ab.skm",
        ),
        Example(
            "JSON of another tool",
            'echo \'{"ACG": 2, "CGT": 1}\' > x.json && seqmill kmers merge x.json -o x.tsv',
        ),
        Example(
            "columns of text",
            "printf 'ACG 2\\nAAA 1\\n' > x.txt && seqmill kmers merge x.txt -o x.skm",
        ),
    ],
)
@click.argument("inputs", metavar="PART...", nargs=-1, required=True)
@grouped_option(
    "input", "--plan", "plan_file", metavar="FILE", help="Every chunk must be there exactly once."
)
@grouped_option(
    "input", "--allow-filtered", is_flag=True, help="Take tables from which k-mers were filtered."
)
@grouped_option("input", "-k", "k", type=int, help="Of text that does not say it.")
@grouped_option("input", "--canonical", is_flag=True, default=None, help="As -k.")
@count_filter_options
@format_options()
@job_options
@pass_session
def merge(
    session: Session, /, *, inputs: tuple[str, ...], plan_file: str | None, **options: Any
) -> None:
    """Merge tables, JSON or two columns of text; counts are summed."""
    chunks = None
    if plan_file is not None:
        from seqmill.kmers import read_plan  # noqa: PLC0415 - brings the engine

        chunks = len(read_plan(plan_file))
    _combine(session, "union-sum", inputs, plan_chunks=chunks, **options)


def _combine(session: Session, operation: str, inputs: tuple[str, ...], **options: Any) -> None:
    from seqmill import _native  # noqa: PLC0415 - brings the engine
    from seqmill._kmer_jobs import check_counts, choose_outputs, run_job  # noqa: PLC0415

    outputs = choose_outputs(options.pop("output"), split_formats(options.pop("formats")))
    names = ("threads", "memory", "tmpdir", "metrics", "force", "resume")
    resources = {name: options.pop(name) for name in names}
    low = options.get("min_count")
    check_counts(min_count=low, max_count=options.get("max_count"))
    request = {"operation": operation, **options, "min_count": low or 0}
    command_name = "kmers merge" if operation == "union-sum" else "kmers setop"
    job = run_job(
        command_name,
        _native.kmers_merge,
        request,
        list(inputs),
        outputs,
        progress=session.progress,
        **resources,
    )
    show_job(job, session)


@command.command(
    "setop",
    cls=JobCommand,
    short_help="Set operations on tables.",
    examples=[
        Example(
            "in both, with the lesser count",
            "seqmill kmers count genome.fa.gz -o a.skm && seqmill kmers count reads.fq.gz "
            "-o b.skm && seqmill kmers setop intersect-min a.skm b.skm -o both.skm",
        ),
        Example(
            "of the first, what the second lacks",
            "seqmill kmers count genome.fa.gz -o a.skm && seqmill kmers count reads.fq.gz "
            "-o b.skm && seqmill kmers setop difference a.skm b.skm -o only.tsv",
        ),
        Example(
            "counts taken away",
            "seqmill kmers count genome.fa.gz -o a.skm && "
            "seqmill kmers setop subtract a.skm a.skm -o nothing.skm",
        ),
    ],
)
@click.argument(
    "operation",
    type=click.Choice(["union-sum", "intersect-min", "subtract", "difference"]),
)
@click.argument("inputs", metavar="TABLE...", nargs=-1, required=True)
@grouped_option(
    "input", "--allow-filtered", is_flag=True, help="Take tables from which k-mers were filtered."
)
@format_options()
@job_options
@pass_session
def setop(session: Session, /, *, operation: str, inputs: tuple[str, ...], **options: Any) -> None:
    """Combine sorted tables as streams; k and strand must agree."""
    _combine(session, operation, inputs, **options)


for _other in (plan, chunk, hist, stats, dump, verify, query, profile):
    command.add_command(_other)
