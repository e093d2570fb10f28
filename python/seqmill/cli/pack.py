"""`seqmill pack`: genomes into AGC archives."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

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

if TYPE_CHECKING:
    from seqmill.archive import PackResult

__all__ = ["command"]


@click.command(
    "pack",
    cls=JobCommand,
    short_help="Write genomes into AGC archives.",
    examples=[
        Example(
            "genomes that resemble the first one",
            "seqmill pack -o yeasts.agc sample1.fa sample2.fa sample3.fa.gz",
        ),
        Example("one more genome", "seqmill pack --append genomes.agc genome.fa.gz"),
        Example(
            "one file in which every record is a genome, with little memory",
            "seqmill pack -o viruses.agc --samples record --letters n viruses.fa -m 128M",
        ),
        Example(
            "standard input, named sample#haplotype#contig",
            "cat haplotypes.fa | seqmill pack -o haplotypes.agc --samples pansn -",
        ),
    ],
)
@click.argument("inputs", metavar="FASTA...", nargs=-1, required=True)
@grouped_option(
    "input",
    "--samples",
    type=click.Choice(["file", "record", "pansn"]),
    default="file",
    help="A sample is a file, a record, or the records that share sample#haplotype.  "
    "[default: file]",
)
@grouped_option(
    "input",
    "--reference",
    metavar="FILE",
    help="First sample, by which contigs are cut; otherwise the first that comes.",
)
@grouped_option(
    "input",
    "--letters",
    type=click.Choice(["refuse", "n", "drop"]),
    default="refuse",
    help="What becomes of symbols that are none of the 16 IUPAC letters.  [default: refuse]",
)
@grouped_option(
    "input",
    "--empty",
    type=click.Choice(["skip", "refuse"]),
    default="skip",
    help="What becomes of records without sequence; skip warns.  [default: skip]",
)
@grouped_option(
    "input",
    "--duplicates",
    type=click.Choice(["refuse", "rename"]),
    default="refuse",
    help="What becomes of names that come again; rename adds .2, .3.  [default: refuse]",
)
@output_option("Archive to write.")
@grouped_option(
    "output",
    "--append",
    metavar="ARCHIVE",
    help="Add to this archive instead; it is replaced when the new one is complete.",
)
@grouped_option(
    "output",
    "-k",
    "--kmer-length",
    type=click.IntRange(17, 32),
    help="Length of the k-mers at which contigs are cut.  [default: 31]",
)
@grouped_option(
    "output",
    "--segment-size",
    type=click.IntRange(100, 1_000_000),
    help="Least distance of two cuts.  [default: 60000]",
)
@grouped_option(
    "output",
    "--min-match",
    type=click.IntRange(15, 32),
    help="Shortest match.  [default: 20]",
)
@grouped_option(
    "output",
    "--pack-size",
    type=click.IntRange(1, 1_000_000_000),
    help="Samples of a batch: more make the archive smaller and a single sample slower to read.  "
    "[default: by the size of the first sample, 50 to 2000]",
)
@grouped_option(
    "output", "--adaptive", is_flag=True, help="Look for new cuts in contigs that have none."
)
@grouped_option(
    "output",
    "--level",
    type=click.Choice(["fast", "default", "max"]),
    default="default",
    help="Effort; never the format.  [default: default]",
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
    inputs: tuple[str, ...],
    reference: str | None,
    output: str | None,
    append: str | None,
    html: Path | None,
    **options: Any,
) -> None:
    """Write genomes into AGC archives, which hold what differs from a reference.

    FASTA may be plain, gzip or BGZF; - is stdin, @FILE stands for the paths in a file. Case, line
    width and blanks are not kept. Without --append the first genome becomes the reference.
    """
    if (output is None) == (append is None):
        message = "give -o for a new archive or --append for one that is there"
        raise click.UsageError(message)
    from seqmill._archive_pack import pack, plan_inputs  # noqa: PLC0415 - brings the engine

    options.pop("resume")
    if html is not None:
        from seqmill.cli._html import require_extra  # noqa: PLC0415 - brings the extra

        require_extra()
        refuse_existing(html, force=options["force"])
    rule = options.pop("samples")
    done = pack(
        str(append or output),
        plan_inputs(inputs, rule, reference),
        samples=rule,
        append=append is not None,
        progress=session.progress,
        **options,
    )
    _tell(done, session)
    if html is not None:
        from seqmill.cli._pack_page import write_pack_page  # noqa: PLC0415 - brings matplotlib

        write_pack_page(html, done)
        if not session.quiet:
            click.echo(f"page: {html}", err=True)


def _tell(done: "PackResult", session: Session) -> None:
    if not session.quiet:
        from seqmill._units import format_count, format_size  # noqa: PLC0415

        click.echo(
            f"{done.output}: {format_count(done.samples)} samples, "
            f"{format_count(done.contigs)} contigs, {format_count(done.bases)} bases added; "
            f"{format_size(done.bytes)}",
            err=True,
        )
    if session.verbose:
        from seqmill.cli._render import show_metrics  # noqa: PLC0415 - brings rich

        show_metrics(done.metrics, session)
