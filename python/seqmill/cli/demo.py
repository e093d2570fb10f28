"""`seqmill demo`: the five-minute tour."""

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from seqmill.cli._options import (
    Example,
    JobCommand,
    Session,
    display_options,
    force_option,
    grouped_option,
    metrics_option,
    pass_session,
    resource_options,
)

if TYPE_CHECKING:
    from seqmill.cli._html import Section
    from seqmill.demo import Demo

__all__ = ["command"]

_COLUMNS: Final = ("what ran", "input", "time", "peak memory", "result")
_RIGHT: Final = ("input", "time", "peak memory")


@click.command(
    "demo",
    cls=JobCommand,
    short_help="Show in five minutes what seqmill can do.",
    examples=[
        Example("simulate genomes and reads, then run every capability", "seqmill demo"),
        Example("the same on a file of your own", "seqmill demo tour --input small.bam"),
        Example("with little memory, and with figures", "seqmill demo -m 256M --metrics tour.json"),
    ],
)
@click.argument(
    "folder",
    metavar="[DIR]",
    default="seqmill-demo",
    type=click.Path(path_type=Path, file_okay=False),
)
@grouped_option(
    "input",
    "--input",
    "inputs",
    metavar="FILE",
    multiple=True,
    type=click.Path(path_type=Path, dir_okay=False),
    help="An alignment file or a genome (FASTA) of your own instead of simulated ones; may be "
    "repeated.",
)
@metrics_option
@force_option
@resource_options
@display_options
@pass_session
def command(
    session: Session,
    *,
    folder: Path,
    inputs: tuple[Path, ...],
    metrics: str | None,
    force: bool,
    threads: int | str | None,
    memory: int | str | None,
    tmpdir: Path | None,
) -> int:
    """Run every capability once, print one table, and write a page with pictures.

    Everything goes into DIR (default: seqmill-demo); DIR/index.html is the page. A tour replaces
    an earlier one, and no other files unless --force is given.
    """
    from seqmill.cli._render import print_table, show_metrics  # noqa: PLC0415 - slow
    from seqmill.demo import run_demo  # noqa: PLC0415 - brings NumPy

    demo = run_demo(
        folder,
        inputs=inputs,
        threads=threads,
        memory=memory,
        tmpdir=tmpdir,
        progress=False if session.progress == "auto" else session.progress,
        metrics=metrics,
        force=force,
        announce=None if session.quiet else _announce,
    )
    rows = [result.cells() for result in demo.results]
    print_table(_COLUMNS, rows, right=_RIGHT, choice=session.color)
    if session.verbose:
        show_metrics(demo.metrics, session)
    _write_page(demo, quiet=session.quiet)
    return 0 if demo.ok else 1


def _announce(what: str) -> None:
    click.echo(f"{what} ...", err=True)


def _write_page(demo: "Demo", *, quiet: bool) -> None:
    """Write the page; without the packages that it takes, the table has to do."""
    from seqmill.cli._html import missing_packages, write_page  # noqa: PLC0415 - as above
    from seqmill.demo import PAGE_NAME  # noqa: PLC0415

    missing = missing_packages()
    if missing:
        click.echo(
            f"no pictures: {' and '.join(missing)} missing; pip install 'seqmill[report]'", err=True
        )
        return
    path = demo.folder / PAGE_NAME
    title = "A tour of seqmill"
    write_page(path, title=title, document=demo.metrics.to_dict(), sections=_sections(demo))
    if not quiet:
        click.echo(f"pictures: {path}", err=True)


def _sections(demo: "Demo") -> "list[Section]":
    from dataclasses import replace  # noqa: PLC0415 - not needed by `--help`

    from seqmill.cli._coverage_page import coverage_sections  # noqa: PLC0415
    from seqmill.cli._html import Section, Table  # noqa: PLC0415
    from seqmill.cli._overview import alignment_sections  # noqa: PLC0415

    rows = [result.cells() for result in demo.results]
    sections = [Section(title="What ran", table=Table(_COLUMNS, rows, right=_RIGHT))]
    document: dict[str, Any]
    for name, document in demo.pictured.items():
        found = [*alignment_sections(document), *coverage_sections(document)]
        sections += [
            replace(section, title=f"{name}: {section.title[0].lower()}{section.title[1:]}")
            for section in found
        ]
    if demo.throughput:
        from seqmill.cli._fetch_page import throughput_section  # noqa: PLC0415

        sections.insert(1, throughput_section(demo.throughput))
    counted = demo.metrics.to_dict()["detail"].get("kmers")
    if counted:
        from seqmill.cli import _kmers_page  # noqa: PLC0415

        sections.append(_kmers_page.tour_section(counted))
    if demo.repeats:
        from seqmill.cli._repeat_page import tour_section  # noqa: PLC0415

        sections.append(tour_section(demo.repeats))
    if demo.archive:
        from seqmill.cli import _pack_page  # noqa: PLC0415

        sections.append(_pack_page.tour_section(demo.archive))
    return sections
