"""`seqmill repeats`: families of interspersed repeats."""

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, cast

import click

from seqmill._outputs import refuse_existing
from seqmill.cli._options import (
    Example,
    JobCommand,
    Session,
    display_options,
    force_option,
    grouped_option,
    html_option,
    metrics_option,
    output_option,
    pass_session,
    resource_options,
    resume_option,
)
from seqmill.errors import InputError

if TYPE_CHECKING:
    from seqmill.repeats import Format, RepeatResult

__all__ = ["command"]

_FORMATS: Final = "library,bed,gff3,softmask,hardmask,freq,stockholm,parquet,arrow"
_NUMBERS: Final = (
    ("match", 1, "Score of a match."),
    ("mismatch", -1, "Score of a mismatch."),
    ("gap-open", -5, "Score of the first column of a gap."),
    ("gap-extend", -1, "Score of every further column of a gap."),
    ("cap-penalty", -20, "Least that a copy may contribute below its own best."),
    ("max-extend", 10_000, "Most columns of a consensus in each direction."),
    ("max-families", 100_000, "Stop after so many families."),
    ("max-gap", 5, "Half width of the band."),
    ("stop-after", 100, "Columns without progress before an extension stops."),
    ("min-length", 50, "Least length of a family and of an element."),
    ("min-frequency", 3, "Least number of occurrences of a seed."),
    ("min-improvement", 3, "Score that every added column must earn."),
    ("tandem-distance", 500, "Occurrences of a seed closer than this count once."),
)


def _parameter_options(command: Any) -> Any:
    for name, default, text in reversed(_NUMBERS):
        command = grouped_option(
            "filter",
            f"--{name}",
            type=int,
            default=default,
            metavar="N",
            help=f"{text}  [default: {default}]",
        )(command)
    return command


@click.command(
    "repeats",
    cls=JobCommand,
    short_help="Find families of interspersed repeats in a genome.",
    examples=[
        Example("library and elements", "seqmill repeats genome.fa -o found"),
        Example(
            "seeds with one mismatch, the soft-masked genome, and a page with pictures",
            "seqmill repeats genome.fa -o near --distance 1 --format library,bed,softmask "
            "--html near.html -m 256M",
        ),
        Example(
            "a library without what a longer sequence covers at 90 % identity",
            "seqmill repeats genome.fa -o few --cluster 0.9",
        ),
        Example(
            "against the soft mask that the genome came with",
            "seqmill repeats genome.fa -o judged --known genome.fa --html judged.html",
        ),
        Example(
            "the files of REPrise, byte for byte",
            "seqmill repeats genome.fa -o same --compat reprise -@ 2",
        ),
    ],
)
@click.argument("genome", metavar="GENOME", type=click.Path(allow_dash=True))
@grouped_option(
    "filter",
    "--distance",
    type=click.IntRange(min=0),
    default=0,
    metavar="N",
    help="Mismatches between a seed and its occurrences; 2 and more are slow.  [default: 0]",
)
@grouped_option(
    "filter",
    "--seed-length",
    type=click.IntRange(2, 32),
    metavar="N",
    help="Length of seeds.  [default: from the length of the genome]",
)
@_parameter_options
@grouped_option("filter", "--keep-rare", is_flag=True, help="Also families with few elements.")
@grouped_option(
    "filter",
    "--annotate",
    is_flag=True,
    help="Also search the library against the rest of the genome: finds copies without a seed.",
)
@grouped_option(
    "output",
    "--cluster",
    type=click.FloatRange(0.5, 1.0),
    metavar="IDENTITY",
    help="Leave out of the library what a longer sequence covers to 80 % at this identity, "
    "0.5 to 1.",
)
@grouped_option(
    "output",
    "--compat",
    type=click.Choice(["none", "reprise"]),
    default="none",
    help="reprise: the result and the files of REPrise 1.0.1, byte for byte.  [default: none]",
)
@output_option("Beginning of the names of the outputs, such as out/yeast.", required=True)
@grouped_option(
    "output",
    "--format",
    "formats",
    default="library,bed",
    metavar="LIST",
    help=f"What to write, separated by commas: {_FORMATS}.  [default: library,bed]",
)
@grouped_option(
    "output",
    "--order",
    type=click.Choice(["position", "family"]),
    default="position",
    help="Order of BED and GFF3.  [default: position]",
)
@grouped_option(
    "output", "--reset-softmask", is_flag=True, help="Drop the lower case that the input has."
)
@grouped_option(
    "output",
    "--repeatmasker-names",
    is_flag=True,
    help="Add #Unknown to the names of the library, for RepeatMasker -lib.",
)
@grouped_option(
    "input",
    "--known",
    type=click.Path(),
    metavar="FILE",
    help="Known annotation to compare with: .bed, .gff3, RepeatMasker's .out, or a soft-masked "
    "FASTA file (also GENOME itself).",
)
@grouped_option(
    "input",
    "--known-types",
    metavar="LIST",
    help="Only rows of --known whose type, class or name matches one of these patterns, "
    "separated by commas, such as 'LTR*,DNA*'.",
)
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
    genome: str,
    html: Path | None,
    formats: str,
    known_types: str | None,
    **options: Any,
) -> int:
    """Find families of interspersed repeats in an assembled genome, without a library.

    GENOME is FASTA: plain, gzip or BGZF; - is stdin. Case does not matter, N and IUPAC codes match
    nothing. The output is the same for every number of threads and every memory budget.
    """
    if html is not None:
        from seqmill.cli._html import require_extra  # noqa: PLC0415 - not needed by `--help`

        require_extra()
        refuse_existing(html, force=options["force"])
    from seqmill.repeats import find_repeats  # noqa: PLC0415 - brings the engine

    names = [name for name in formats.split(",") if name]
    if not names:
        message = f"--format names nothing; there are {_FORMATS}"
        raise InputError(message, option="--format", value=formats, allowed=_FORMATS)
    done = find_repeats(
        genome,
        formats=cast("list[Format]", names),
        known_types=[name for name in (known_types or "").split(",") if name],
        progress=session.progress,
        overview=html is not None,
        **options,
    )
    if html is not None:
        from seqmill.cli._repeat_page import write_repeat_page  # noqa: PLC0415 - brings jinja2

        write_repeat_page(html, done, genome)
        if not session.quiet:
            click.echo(f"page: {html}", err=True)
    if not session.quiet:
        _show_summary(done)
    if session.verbose:
        from seqmill.cli._render import show_metrics  # noqa: PLC0415 - brings rich

        click.echo(done.memory_usage.human_readable(), err=True)
        show_metrics(done.metrics, session)
    return 0


def _show_summary(done: "RepeatResult") -> None:
    from seqmill._units import format_count, format_seconds  # noqa: PLC0415

    detail, totals = done.metrics.detail, done.metrics.totals
    bases = totals["bases"] or 1
    click.echo(
        f"{format_count(detail['families'])} families, {format_count(detail['elements'])} "
        f"elements, {100 * detail['masked_bases'] / bases:.2f} % of {format_count(bases)} bases; "
        f"{format_seconds(totals['wall_s'] or 0)}",
        err=True,
    )
    if detail["dropped"]:
        kept = detail["families"] - len(detail["dropped"])
        click.echo(f"library: {format_count(kept)} families stand for all", err=True)
    told = done.comparison
    if told is not None:
        click.echo(
            f"against the known annotation: sensitivity {told.sensitivity:.3f}, "
            f"precision {told.precision:.3f}, F1 {told.f1:.3f} (by bases)",
            err=True,
        )
    for path in done.outputs:
        click.echo(path, err=True)
