"""Options that several `seqmill kmers` commands share, and the group they are in."""

from collections.abc import Callable, Sequence
from typing import Any, Final, TypeVar

import click

from seqmill.cli._options import (
    Example,
    JobCommand,
    Session,
    display_options,
    force_option,
    grouped_option,
    metrics_option,
    output_option,
    resource_options,
    resume_option,
)
from seqmill.errors import InputError

__all__ = [
    "JobGroup",
    "count_filter_options",
    "format_options",
    "job_options",
    "kmer_options",
    "show_job",
    "split_formats",
]

_Command = TypeVar("_Command", bound=Callable[..., Any])

FORMATS: Final = "skm, json, tsv, fasta, hist, arrow, parquet"


class JobGroup(JobCommand, click.Group):
    """A command that has commands."""

    def __init__(self, *args: Any, examples: Sequence[Example] = (), **kwargs: Any) -> None:
        super().__init__(*args, examples=examples, **kwargs)

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the options, then the commands."""
        super().format_options(ctx, formatter)
        self.format_commands(ctx, formatter)


def _chain(command: _Command, *decorators: Callable[[Any], Any]) -> _Command:
    for decorator in reversed(decorators):
        command = decorator(command)
    return command


def kmer_options(command: _Command) -> _Command:
    """Add `-k`, `--canonical`, `--strand` and `--soft-mask`."""
    return _chain(
        command,
        grouped_option(
            "input", "-k", "k", type=int, default=31, help="Length of the k-mers.  [default: 31]"
        ),
        grouped_option(
            "input",
            "--canonical",
            is_flag=True,
            help="Count a k-mer and its reverse complement as one.",
        ),
        grouped_option(
            "input",
            "--strand",
            type=click.Choice(["forward", "canonical"]),
            help="forward counts k-mers as they are written.  [default: forward]",
        ),
        grouped_option(
            "input",
            "--soft-mask",
            type=click.Choice(["keep", "skip"]),
            default="keep",
            help="skip takes lower case for no bases.  [default: keep]",
        ),
        grouped_option(
            "input", "--strict", is_flag=True, help="A missing BGZF end marker is an error."
        ),
    )


def count_filter_options(command: _Command) -> _Command:
    """Add `--min-count` and `--max-count`."""
    return _chain(
        command,
        grouped_option(
            "filter", "--min-count", type=int, metavar="M", help="Keep counts of at least M."
        ),
        grouped_option(
            "filter", "--max-count", type=int, metavar="X", help="Keep counts of at most X."
        ),
    )


def format_options(*, required: bool = True) -> Callable[[_Command], _Command]:
    """Make `-o`, which is stdout unless `required`, `--format` and how formats are written."""
    default = "" if required else ", the default"

    def add(command: _Command) -> _Command:
        return _chain(
            command,
            output_option(
                "File to write; its suffix is the format, else --format. With several formats the "
                f"prefix of their names. - is stdout{default}.",
                required=required,
            ),
            grouped_option(
                "output",
                "--format",
                "formats",
                metavar="LIST",
                help=f"One or several of {FORMATS}; a comma list.",
            ),
            grouped_option(
                "output", "--pretty", is_flag=True, help="JSON with a line for each k-mer."
            ),
            grouped_option(
                "output",
                "--kmer-text",
                is_flag=True,
                help="K-mers as letters in Arrow and Parquet.",
            ),
            grouped_option(
                "output",
                "--hist-max",
                type=click.IntRange(min=1),
                metavar="M",
                help="Fold counts above M into M in histograms.",
            ),
        )

    return add


def job_options(command: _Command) -> _Command:
    """Add what every job has."""
    return _chain(
        command, metrics_option, force_option, resume_option, resource_options, display_options
    )


def split_formats(formats: str | None) -> list[str]:
    """Read a comma list of formats."""
    return [name.strip() for name in (formats or "").split(",") if name.strip()]


def choose_strand(*, canonical: bool, strand: str | None) -> bool:
    """Settle whether k-mers are counted canonically."""
    if canonical and strand == "forward":
        raise InputError("--canonical contradicts --strand forward", option="strand")
    return canonical or strand == "canonical"


def show_job(job: Any, session: Session) -> None:
    """Print the summary of a job on stderr."""
    if not session.quiet:
        text = f"{job.total:,} k-mers, {job.distinct:,} distinct, {job.stored:,} stored"
        click.echo(text, err=True)
    if session.verbose:
        from seqmill.cli._render import show_metrics  # noqa: PLC0415 - brings rich

        show_metrics(job.metrics, session)
