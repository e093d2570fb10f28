"""`seqmill kmers hist|stats|dump|verify|query|profile`: what is asked of a table."""

import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import click

from seqmill._outputs import refuse_existing, refuse_inputs
from seqmill.cli._kmers_options import format_options, split_formats
from seqmill.cli._options import (
    Example,
    JobCommand,
    Session,
    force_option,
    grouped_option,
    memory_option,
    output_option,
    pass_session,
)
from seqmill.errors import InputError

__all__ = ["dump", "hist", "profile", "query", "stats", "verify"]

_MAKE = "seqmill kmers count genome.fa.gz -k 21 -o t.skm && "


@click.command(
    "hist",
    cls=JobCommand,
    short_help="Print how many k-mers have each count.",
    examples=[
        Example("count and number", f"{_MAKE}seqmill kmers hist t.skm"),
        Example("for a plot", f"{_MAKE}seqmill kmers hist t.skm --hist-max 10000 -o t.hist"),
        Example("the first lines", f"{_MAKE}seqmill kmers hist t.skm | head -2"),
    ],
)
@click.argument("table")
@grouped_option("output", "--hist-max", type=click.IntRange(min=1), metavar="M", help="Fold above.")
@output_option("File to write; - is stdout, the default.")
@force_option
@memory_option
def hist(table: str, *, hist_max: int | None, output: str | None, force: bool, memory: Any) -> None:
    """Print COUNT and NUMBER OF DISTINCT of the stored k-mers."""
    _open(table).dump(output or "-", "hist", hist_max=hist_max, force=force, memory=memory)


@click.command(
    "stats",
    cls=JobCommand,
    short_help="Print header and footer of a table as JSON.",
    examples=[
        Example("all of it", f"{_MAKE}seqmill kmers stats t.skm"),
        Example("one figure", f"{_MAKE}seqmill kmers stats t.skm | grep distinct"),
        Example("without blanks", f"{_MAKE}seqmill kmers stats t.skm --compact"),
    ],
)
@click.argument("table")
@grouped_option("output", "--compact", is_flag=True, help="One line.")
def stats(table: str, *, compact: bool) -> None:
    """Print what a table holds and what was counted."""
    click.echo(json.dumps(_open(table).info, indent=None if compact else 2))


@click.command(
    "dump",
    cls=JobCommand,
    short_help="Write a table in other formats.",
    examples=[
        Example("columns of text", f"{_MAKE}seqmill kmers dump t.skm -o t.tsv.gz"),
        Example("to a pipe", f"{_MAKE}seqmill kmers dump t.skm | head -2"),
        Example("several", f"{_MAKE}seqmill kmers dump t.skm --format json,parquet -o t"),
    ],
)
@click.argument("table")
@format_options(required=False)
@force_option
@memory_option
def dump(table: str, *, output: str | None, formats: str | None, **options: Any) -> None:
    """Write a table as JSON, text, FASTA, histogram, Arrow or Parquet; text is the default."""
    _open(table).dump(output or "-", *split_formats(formats), **options)


@click.command(
    "verify",
    cls=JobCommand,
    short_help="Check every block of a table.",
    examples=[
        Example("a table", f"{_MAKE}seqmill kmers verify t.skm"),
        Example("several", f"{_MAKE}seqmill kmers verify t.skm t.skm"),
        Example("only the exit code", f"{_MAKE}seqmill kmers verify -q t.skm"),
    ],
)
@click.argument("tables", metavar="TABLE...", nargs=-1, required=True)
@grouped_option("display", "-q", "--quiet", is_flag=True, help="Say nothing of sound tables.")
def verify(tables: tuple[str, ...], *, quiet: bool) -> None:
    """Compare checksums, order and sums of every block."""
    for path in tables:
        table = _open(path)
        table.verify()
        if not quiet:
            click.echo(f"{path}: {len(table):,} k-mers, sound")


@click.command(
    "query",
    cls=JobCommand,
    short_help="Look up k-mers.",
    examples=[
        Example("one", f"{_MAKE}seqmill kmers query t.skm ACGTACGTACGTACGTACGTA"),
        Example(
            "many",
            f"{_MAKE}seqmill kmers dump t.skm | head -5 | cut -f 1 > list.txt && "
            "seqmill kmers query t.skm --kmers list.txt",
        ),
        Example(
            "into a file", f"{_MAKE}seqmill kmers query t.skm ACGTACGTACGTACGTACGTA -o counts.tsv"
        ),
    ],
)
@click.argument("table")
@click.argument("kmers", metavar="[KMER]...", nargs=-1)
@grouped_option("input", "--kmers", "file", metavar="FILE", help="K-mers, one a line; - is stdin.")
@grouped_option("input", "--strict", is_flag=True, help="What is no k-mer is an error.")
@output_option("File to write; - is stdout, the default.")
@force_option
@pass_session
def query(
    session: Session,
    /,
    *,
    table: str,
    kmers: tuple[str, ...],
    file: str | None,
    strict: bool,
    output: str | None,
    force: bool,
) -> None:
    """Print the count of each k-mer, 0 where it is absent, NA for what is no k-mer."""
    if not kmers and file is None:
        raise InputError("give k-mers, or --kmers FILE", option="kmers")
    opened = _open(table)
    wrong = 0
    with _writing(output, [table, *([file] if file else [])], force=force) as out:
        for batch in _batches(kmers, file):
            for kmer, count in zip(batch, opened.query_or_none(batch), strict=True):
                if count is None:
                    wrong += 1
                    if strict:
                        raise InputError(
                            f"{kmer!r} is not a k-mer of {opened.k} bases", option="kmers"
                        )
                out.write(f"{kmer}\t{'NA' if count is None else count}\n")
    if wrong:
        import warnings  # noqa: PLC0415

        warnings.warn(f"{wrong} of the words asked for are no k-mers", stacklevel=1)
    del session


def _batches(kmers: Sequence[str], file: str | None) -> Iterator[list[str]]:
    if kmers:
        yield list(kmers)
    if file is None:
        return
    batch: list[str] = []
    with click.open_file(file, encoding="utf-8", errors="surrogateescape") as lines:
        for line in lines:
            if word := line.strip():
                batch.append(word)
            if len(batch) >= 1 << 16:
                yield batch
                batch = []
    yield batch


@contextmanager
def _writing(output: str | None, inputs: Sequence[str], *, force: bool) -> Iterator[IO[str]]:
    """Write to stdout, or to a file that takes its name when it is whole."""
    if output in (None, "-"):
        yield sys.stdout
        return
    target = Path(str(output))
    refuse_existing(target, force=force)
    refuse_inputs([target], inputs)
    aside = target.with_name(f".{target.name}.part")
    try:
        with aside.open("w", encoding="utf-8", errors="surrogateescape") as out:
            yield out
        aside.replace(target)
    finally:
        aside.unlink(missing_ok=True)


@click.command(
    "profile",
    cls=JobCommand,
    short_help="Counts along sequences.",
    examples=[
        Example("a count for each window", f"{_MAKE}seqmill kmers profile t.skm genome.fa.gz"),
        Example(
            "runs of equal counts",
            f"{_MAKE}seqmill kmers profile t.skm genome.fa.gz --format bedgraph -o t.bedgraph",
        ),
        Example(
            "a row with all counts for each record",
            f"{_MAKE}seqmill kmers profile t.skm genome.fa.gz -o t.parquet",
        ),
    ],
)
@click.argument("table")
@click.argument("sequences")
@grouped_option(
    "output",
    "--format",
    "format_",
    type=click.Choice(["tsv", "bedgraph", "parquet"]),
    help="record, start, count; runs of equal counts; or a list of counts for each record.  "
    "[default: that of the suffix, else tsv]",
)
@output_option("File to write; - is stdout, the default.")
@force_option
@memory_option
def profile(
    table: str,
    sequences: str,
    *,
    format_: str | None,
    output: str | None,
    force: bool,
    memory: Any,
) -> None:
    """Print the count of the window that begins at each position (0-based); NA across a break."""
    from seqmill._kmer_profile import (  # noqa: PLC0415 - brings the engine
        profile_lines,
        write_profile_table,
    )

    opened = _open(table)
    if format_ is None:
        suffix = Path(output or "").suffix.removeprefix(".")
        format_ = suffix if suffix in ("bedgraph", "parquet") else "tsv"
    if format_ == "parquet":
        if output in (None, "-"):
            raise InputError("Parquet needs a file; give -o", option="output")
        write_profile_table(opened, sequences, str(output), force=force, memory=memory)
        return
    with _writing(output, [table, sequences], force=force) as out:
        runs = format_ == "bedgraph"
        for text in profile_lines(opened, sequences, runs=runs, memory=memory):
            out.write(text)


def _open(path: str) -> Any:
    from seqmill.kmers import KmerTable  # noqa: PLC0415 - brings the engine

    return KmerTable(path)
