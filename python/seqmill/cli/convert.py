"""`seqmill convert`: alignments and reads to Parquet and Arrow."""

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from seqmill._outputs import refuse_existing
from seqmill.cli._convert_options import (
    column_options,
    filter_options,
    input_options,
    output_options,
    pool_options,
)
from seqmill.cli._options import (
    Example,
    JobCommand,
    Session,
    display_options,
    engine_options,
    force_option,
    html_option,
    metrics_option,
    output_option,
    pass_session,
    region_options,
    resource_options,
    resume_option,
)

if TYPE_CHECKING:
    from seqmill.alignments import ConvertResult

__all__ = ["command"]

_COLUMNS: Final = ("input", "output", "status", "records", "size", "time")
_RIGHT: Final = ("records", "size", "time")
_LISTED_FILES: Final = 50


@click.command(
    "convert",
    cls=JobCommand,
    short_help="Turn alignments and reads into Parquet or Arrow.",
    examples=[
        Example("all fields and all tags as Parquet", "seqmill convert small.bam -o small.parquet"),
        Example(
            "good alignments of some cells in some regions, with little memory",
            "seqmill convert small.bam -o cells.arrow -R regions.bed --min-mapq 30 "
            "--exclude-flags UNMAP,DUP --tag-in CB=@barcodes.txt -@ 2 -m 128M",
        ),
        Example(
            "one file for each input, and a page with pictures",
            "seqmill convert *.bam --out-dir tables --html report.html",
        ),
        Example(
            "three columns into a pipe",
            "seqmill convert small.bam -o - --columns qname,pos,mapq > small.arrows",
        ),
    ],
)
@click.argument("inputs", metavar="INPUT...", nargs=-1, required=True)
@input_options
@region_options
@filter_options
@column_options
@output_option(
    "File to write, one for all inputs: .parquet, .arrow (.feather, .ipc) or .arrows; - is stdout."
)
@output_options
@metrics_option
@html_option
@force_option
@resume_option
@resource_options
@engine_options
@pool_options
@display_options
@pass_session
def command(
    session: Session,
    /,
    *,
    inputs: tuple[str, ...],
    html: Path | None,
    explain: bool,
    **options: Any,
) -> int:
    """Turn alignments and reads into Parquet or Arrow.

    INPUT is SAM, BAM, CRAM, FASTA or FASTQ, recognised by content; - is stdin, @FILE stands for
    the paths in a file. Every field and tag of every record is kept unless options say otherwise.
    Lists may come from a file: @FILE, one a line.
    """
    if explain:
        return _explain(inputs, options, session)
    if html is not None:
        from seqmill.cli._html import require_extra  # noqa: PLC0415 - not needed by `--help`

        require_extra()
        refuse_existing(html, force=options["force"])
    import seqmill  # noqa: PLC0415 - brings the engine

    arguments = {name: value for name, value in options.items() if value not in (None, ())}
    for name in ("regions", "read_groups", "name_in"):
        if name in arguments:
            arguments[name] = _expand(arguments[name], files=name != "regions")
    if "tag_in" in arguments:
        arguments["tag_in"] = _tag_in(arguments["tag_in"])
    done = seqmill.convert(
        list(inputs),
        arguments.pop("output", None),
        progress=session.progress,
        overview=html is not None,
        **arguments,
    )
    if html is not None:
        _write_page(html, done, quiet=session.quiet)
    if len(done.files) == 1:
        _show_summary(done, quiet=session.quiet)
    else:
        _show_files(done, session)
    if session.verbose:
        from seqmill.cli._render import show_metrics  # noqa: PLC0415 - brings rich

        show_metrics(done.metrics, session)
    return 1 if done.failed else 0


def _expand(values: tuple[str, ...], *, files: bool) -> list[str]:
    from seqmill._lists import read_list  # noqa: PLC0415 - not needed by `--help`

    return [item for value in values for item in (read_list(value) if files else [value])]


def _tag_in(values: tuple[str, ...]) -> dict[str, list[str]]:
    from seqmill._lists import read_list  # noqa: PLC0415 - not needed by `--help`

    found: dict[str, list[str]] = {}
    for value in values:
        tag, equals, text = value.partition("=")
        if not equals:
            message = f"'{value}' is no TAG=VALUE; write NH=1 or CB=@FILE"
            raise click.BadParameter(message, param_hint="--tag-in")
        found.setdefault(tag, []).extend(read_list(text))
    return found


def _show_summary(done: "ConvertResult", *, quiet: bool) -> None:
    """Say in one line what came out."""
    if quiet:
        return
    from seqmill._units import format_count, format_seconds, format_size  # noqa: PLC0415

    (file,) = done.files
    if file.status == "skipped":
        click.echo(f"{file.output}: finished already, nothing to do", err=True)
        return
    if file.output in (None, "-"):
        return
    size = "" if file.bytes is None else f"{format_size(file.bytes)}, "
    counted = "" if file.records is None else f"{format_count(file.records)} records, "
    click.echo(f"{file.output}: {counted}{size}{format_seconds(file.seconds or 0)}", err=True)


def _show_files(done: "ConvertResult", session: Session) -> None:
    """Show what became of each file, the failures with their reasons below."""
    from seqmill.cli._render import show_error  # noqa: PLC0415 - not needed by `--help`

    if not session.quiet:
        _print_files(done, session)
    for file in done.failed:
        if file.status == "failed":
            show_error(str(file.error), [], session)


def _print_files(done: "ConvertResult", session: Session) -> None:
    from seqmill._units import format_count, format_seconds, format_size  # noqa: PLC0415
    from seqmill.cli._render import print_table  # noqa: PLC0415 - brings rich

    rows = [
        (
            ", ".join(os.path.basename(path) for path in file.inputs),  # noqa: PTH119 - also `-`
            file.output or "",
            file.status,
            "" if file.records is None else format_count(file.records),
            "" if file.bytes is None else format_size(file.bytes),
            "" if file.seconds is None else format_seconds(file.seconds),
        )
        for file in done.files
        # A partition without records has left no file.
        if file.output is not None or file.records != 0
    ]
    # Thousands of files: what went wrong counts, and how many there are.
    shown = rows if len(rows) <= _LISTED_FILES else [row for row in rows if row[2] == "failed"]
    print_table(_COLUMNS, shown, right=_RIGHT, stream=sys.stderr, choice=session.color)
    states = [file.status for file in done.files]
    counts = ", ".join(f"{states.count(state)} {state}" for state in dict.fromkeys(states))
    click.echo(f"{len(states)} files: {counts}; {format_count(done.records)} records", err=True)


def _write_page(path: Path, done: "ConvertResult", *, quiet: bool) -> None:
    from seqmill.cli._html import Section, Table, write_page  # noqa: PLC0415 - brings jinja2
    from seqmill.cli._overview import alignment_sections  # noqa: PLC0415

    document = done.metrics.to_dict()
    sections = alignment_sections(document)
    if len(done.files) > 1:
        rows = [
            (", ".join(file.inputs), file.status, str(file.records or ""), str(file.error or ""))
            for file in done.files
        ]
        table = Table(("input", "status", "records", "error"), rows, right=("records",))
        sections.insert(0, Section(title="Files", table=table))
    names = {Path(name).name for file in done.files for name in file.inputs}
    title = f"Conversion of {next(iter(names))}" if len(names) == 1 else "Conversion of files"
    write_page(path, title=title, document=document, sections=sections)
    if not quiet:
        click.echo(f"page: {path}", err=True)


def _explain(inputs: tuple[str, ...], options: dict[str, Any], session: Session) -> int:
    """Show how many row groups of a table a region touches."""
    from seqmill._explain import explain_regions  # noqa: PLC0415 - not needed by `--help`
    from seqmill._units import format_count  # noqa: PLC0415
    from seqmill.cli._render import print_table  # noqa: PLC0415 - brings rich

    rows = [
        (
            path,
            found.region,
            f"{format_count(found.groups)} of {format_count(found.all_groups)}",
            f"{format_count(found.rows)} of {format_count(found.all_rows)}",
        )
        for path in inputs
        for found in explain_regions(path, options["regions"], options["regions_file"])
    ]
    columns = ("table", "region", "row groups", "rows in them")
    print_table(columns, rows, right=columns[2:], choice=session.color)
    return 0
