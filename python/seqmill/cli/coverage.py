"""`seqmill coverage`: depth of alignments and content of sequence, by region, window and base."""

import shutil
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click

from seqmill._outputs import refuse_existing
from seqmill.cli._options import (
    Example,
    JobCommand,
    Session,
    color_option,
    display_options,
    engine_options,
    force_option,
    grouped_option,
    html_option,
    metrics_option,
    pass_session,
    region_options,
    resource_options,
    resume_option,
)

if TYPE_CHECKING:
    from seqmill.coverage import CoverageTable

__all__ = ["command"]

_Command = TypeVar("_Command", bound=Callable[..., Any])

_PATH: Final = click.Path(path_type=Path)


class _CoverageCommand(JobCommand):
    """Hands `seqmill coverage merge …` to the command that merges."""

    def make_context(
        self,
        info_name: str | None,
        args: list[str],
        parent: click.Context | None = None,
        **extra: Any,
    ) -> click.Context:
        if args and args[0] == "merge":
            return merge.make_context(f"{info_name} merge", args[1:], parent=parent, **extra)
        return super().make_context(info_name, args, parent=parent, **extra)


def _output(text: str, *, required: bool = False) -> Callable[[_Command], _Command]:
    decorator: Callable[[_Command], _Command] = grouped_option(
        "output",
        "-o",
        "--output",
        metavar="DIR",
        required=required,
        type=click.Path(allow_dash=True),
        help=text,
    )
    return decorator


@click.command(
    "coverage",
    cls=_CoverageCommand,
    short_help="Measure coverage by region, window and base.",
    examples=[
        Example(
            "depth of the regions of a BED file, mates counted once",
            "seqmill coverage small.bam -R regions.bed --mates once -o depth",
        ),
        Example(
            "windows of 1,000 bases, and runs of equal depth",
            "seqmill coverage small.bam --windows 1000 --per-base runs.bed.gz -o windows",
        ),
        Example(
            "content and 21-mers of a stretch of sequence, on the terminal",
            "seqmill coverage genome.fa.gz -r chr1:1-5,000 -k 21",
        ),
        Example(
            "parts that were measured one by one, put together",
            "seqmill coverage small.bam -r chr1 -o one && "
            "seqmill coverage small.bam -r chr2 -o two && "
            "seqmill coverage merge one two -o both",
        ),
    ],
)
@click.argument("source", metavar="INPUT", type=click.Path(allow_dash=True))
@region_options
@grouped_option("input", "--bed/--no-bed", default=None, help="The list is BED, or is not.")
@grouped_option(
    "input",
    "--on-bad-region",
    type=click.Choice(["error", "skip"]),
    default="error",
    help="What becomes of a bad line of the list.  [default: error]",
)
@grouped_option(
    "input",
    "--windows",
    metavar="W",
    type=click.IntRange(min=1),
    help="Windows of W bases instead of regions.",
)
@grouped_option("input", "--index", metavar="FILE", type=_PATH, help="BAI or CSI of the input.")
@grouped_option(
    "input", "--reference", metavar="FILE", type=_PATH, help="FASTA with the reference of a CRAM."
)
@grouped_option("input", "--strict", is_flag=True, help="A missing BGZF end marker is an error.")
@grouped_option("input", "--no-verify", is_flag=True, help="Do not compare checksums of blocks.")
@grouped_option(
    "filter",
    "--mates",
    type=click.Choice(["both", "once", "proper"]),
    default="both",
    help="How often mates count a position: both, as samtools depth; once; or once if they are a "
    "proper pair, as mosdepth.  [default: both]",
)
@grouped_option("filter", "--count-deletions", is_flag=True, help="Deleted positions are covered.")
@grouped_option(
    "filter",
    "--min-mapq",
    metavar="Q",
    type=click.IntRange(0, 255),
    default=0,
    help="Least mapping quality.  [default: 0]",
)
@grouped_option(
    "filter",
    "--min-baseq",
    metavar="Q",
    type=click.IntRange(0, 255),
    default=0,
    help="Least quality of a base.  [default: 0]",
)
@grouped_option(
    "filter",
    "--exclude-flags",
    metavar="FLAGS",
    help="Records with any of these do not count.  [default: UNMAP,SECONDARY,QCFAIL,DUP]",
)
@grouped_option("filter", "--require-flags", metavar="FLAGS", help="Records need all of these.")
@grouped_option(
    "columns",
    "--thresholds",
    metavar="N,N…",
    default="1,5,10,30",
    help="Depths for which positions are counted.  [default: 1,5,10,30]",
)
@grouped_option(
    "columns",
    "--bins",
    metavar="B",
    type=click.IntRange(1, 1_000_000),
    default=1,
    help="Lines of a region file for each region.  [default: 1]",
)
@grouped_option(
    "columns",
    "--value",
    type=click.Choice(["mean", "sum", "max", "min"]),
    default="mean",
    help="What a line shows of depth.  [default: mean]",
)
@grouped_option(
    "columns",
    "-k",
    "k",
    metavar="K",
    type=click.IntRange(1, 255),
    help="Length of the k-mers of sequence.  [default: 31, or that of --kmer-db]",
)
@grouped_option("columns", "--canonical", is_flag=True, help="Same as --strand canonical.")
@grouped_option(
    "columns",
    "--strand",
    type=click.Choice(["forward", "canonical"]),
    help="Whether a k-mer and its reverse complement are one.  [default: forward]",
)
@grouped_option(
    "columns",
    "--soft-mask",
    type=click.Choice(["keep", "skip"]),
    default="keep",
    help="Whether lower case breaks k-mers.  [default: keep]",
)
@grouped_option(
    "columns",
    "--kmer-db",
    metavar="TABLE",
    type=_PATH,
    help="Look the k-mers of sequence up in this table: mean_count, median_count, min_count, "
    "max_count.",
)
@_output("Folder to write; without it, or with -, the table goes to stdout.")
@grouped_option(
    "output", "--per-base", metavar="FILE", type=_PATH, help="Write runs of equal depth (BED)."
)
@grouped_option(
    "output",
    "--region-files/--no-region-files",
    default=None,
    help="Write a file for each region.  [default: unless --windows is given]",
)
@grouped_option("output", "--parquet", is_flag=True, help="Write coverage.parquet, too.")
@grouped_option(
    "output",
    "--single",
    metavar="REGION",
    help="Write one JSON object about a region of sequence ('all': about everything).",
)
@grouped_option(
    "resources",
    "--unit-bases",
    type=click.IntRange(min=1),
    metavar="N",
    help="On an engine, regions of about N bases are a unit.  [default: 10000000 of alignments, "
    "100000000 of sequence]",
)
@engine_options
@metrics_option
@html_option
@force_option
@resume_option
@resource_options
@display_options
@pass_session
def command(
    session: Session,
    /,
    *,
    source: str,
    regions: tuple[str, ...],
    regions_file: Path | None,
    output: str | None,
    html: Path | None,
    single: str | None,
    **options: Any,
) -> int:
    """Measure coverage by region, window and base.

    INPUT is BAM, SAM or CRAM sorted by coordinate, or FASTA, recognised by content. Regions are
    1-based inclusive; without any, whole sequences are measured. 'seqmill coverage merge DIR…'
    puts parts together.
    """
    from seqmill.cli._coverage_job import run_coverage, run_single  # noqa: PLC0415 - engine

    if single is not None:
        return run_single(source, single, output, options)
    if html is not None:
        from seqmill.cli._html import require_extra  # noqa: PLC0415 - not needed by `--help`

        require_extra()
        refuse_existing(html, force=options["force"])
    asked = list(regions)
    if output in (None, "-"):
        with tempfile.TemporaryDirectory(dir=options["tmpdir"]) as folder:
            table = run_coverage(
                source, asked, regions_file, Path(folder) / "out", session=session, options=options
            )
            with (table.path / "coverage.tsv").open("rb") as lines:
                shutil.copyfileobj(lines, sys.stdout.buffer)
            sys.stdout.buffer.flush()
            return _finish(table, html, session)
    table = run_coverage(
        source, asked, regions_file, Path(str(output)), session=session, options=options
    )
    if not session.quiet:
        summary = table.summary
        click.echo(
            f"{output}: {summary['total_regions']} lines, mean {summary['mean_coverage']:g}, "
            f"median {summary['median_coverage']:g}",
            err=True,
        )
    return _finish(table, html, session)


def _finish(table: "CoverageTable", html: Path | None, session: Session) -> int:
    if html is not None:
        from seqmill.cli._coverage_page import write_coverage_page  # noqa: PLC0415 - brings jinja2

        write_coverage_page(html, table)
        if not session.quiet:
            click.echo(f"{html}: page written", err=True)
    if session.verbose and table.metrics is not None:
        from seqmill.cli._render import show_metrics  # noqa: PLC0415 - brings rich

        show_metrics(table.metrics, session)
    return 0


@click.command(
    "merge",
    cls=JobCommand,
    short_help="Put parts of a coverage job together.",
    examples=[
        Example(
            "two parts in the order of the list",
            "seqmill coverage small.bam -R regions.bed -o part && "
            "seqmill coverage merge part -R regions.bed -o whole",
        ),
    ],
)
@click.argument("parts", metavar="DIR...", nargs=-1, required=True, type=_PATH)
@region_options
@_output("Folder to write.", required=True)
@force_option
@color_option
def merge(
    *,
    parts: tuple[Path, ...],
    regions: tuple[str, ...],
    regions_file: Path | None,
    output: str,
    force: bool,
) -> int:
    """Put parts of a coverage job together.

    DIR is the output of `seqmill coverage`, or the coverage.tsv in it. Each region of the list
    must be there exactly as often as in the list; without a list the order is that of the parts.
    """
    from seqmill.coverage import merge_coverage  # noqa: PLC0415 - brings the engine
    from seqmill.errors import InputError  # noqa: PLC0415

    if regions and regions_file is not None:
        message = "give regions by -r or by -R, not both"
        raise InputError(message, option="region")
    listed = regions_file if regions_file is not None else (list(regions) or None)
    table = merge_coverage(list(parts), regions=listed, output=output, force=force)
    click.echo(f"{output}: {table.summary['total_regions']} lines", err=True)
    return 0
