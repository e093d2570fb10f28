"""`seqmill unpack`: sequence out of AGC archives, what they hold, and whether it is sound."""

import sys
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
    output_option,
    pass_session,
    region_options,
    resource_options,
    resume_option,
)

if TYPE_CHECKING:
    from seqmill.archive import Archive

__all__ = ["command"]

_MODES: Final = (
    "sample", "regions", "regions_file", "contig", "all_samples", "listing", "info", "verify",
    "subset", "rename",
)  # fmt: skip
_JOINED: Final = {"regions": "region", "regions_file": "region"}


@click.command(
    "unpack",
    cls=JobCommand,
    short_help="Read genomes out of AGC archives.",
    examples=[
        Example("a genome", "seqmill unpack genomes.agc --sample sample2 -o second.fa"),
        Example(
            "regions of genomes, 1-based inclusive",
            "seqmill unpack genomes.agc -r chr2@sample1:101-160 -r chrM@sample2",
        ),
        Example(
            "every genome as BGZF, a file for each",
            "seqmill unpack genomes.agc --all --gzip -o genomes/",
        ),
        Example("what there is", "seqmill unpack genomes.agc --list contigs"),
        Example("whether it is sound", "seqmill unpack genomes.agc --verify"),
        Example(
            "some of the genomes as an archive",
            "seqmill unpack genomes.agc --subset sample1 --subset sample3 -o some.agc",
        ),
    ],
)
@click.argument("archive", metavar="ARCHIVE", type=click.Path(path_type=Path))
@grouped_option(
    "input", "-s", "--sample", multiple=True, metavar="NAME", help="This sample; may be repeated."
)
@grouped_option(
    "input",
    "-c",
    "--contig",
    multiple=True,
    metavar="NAME",
    help="This contig; NAME@SAMPLE where several samples have it; may be repeated.",
)
@region_options
@grouped_option("input", "-a", "--all", "all_samples", is_flag=True, help="Every sample.")
@grouped_option(
    "input",
    "-l",
    "--list",
    "listing",
    is_flag=False,
    flag_value="samples",
    type=click.Choice(["samples", "contigs", "reference"]),
    help="List samples (default), contigs with lengths, or the reference sample.",
)
@grouped_option("input", "--info", is_flag=True, help="Tell version, sizes and counts.")
@grouped_option(
    "input",
    "--verify",
    is_flag=True,
    help="Decode everything, compare lengths, bounds and checksums, and print the faults.",
)
@grouped_option(
    "input", "--no-verify", is_flag=True, help="Do not compare checksums of samples that go out."
)
@grouped_option(
    "input",
    "--subset",
    multiple=True,
    metavar="NAME",
    help="Write an archive of this sample, without packing it anew; may be repeated.",
)
@grouped_option(
    "input",
    "--rename",
    multiple=True,
    metavar="OLD=NEW",
    help="Write an archive in which this sample has a new name; may be repeated.",
)
@output_option(
    "File to write, BGZF with indices if it ends with .gz; a folder (for --all and --sample) for "
    "a file of each sample; - is stdout, the default."
)
@grouped_option(
    "output",
    "-w",
    "--line-width",
    type=click.IntRange(1, 2_000_000_000),
    default=80,
    help="Bases a line.  [default: 80]",
)
@grouped_option(
    "output", "-z", "--gzip", is_flag=True, default=None, help="Write BGZF whatever the name says."
)
@metrics_option
@force_option
@resume_option
@resource_options
@display_options
@pass_session
def command(
    session: Session,
    /,
    *,
    archive: Path,
    output: str | None,
    **options: Any,
) -> int:
    """Read genomes out of AGC archives of any version.

    Regions are CONTIG:START-END or CONTIG@SAMPLE:START-END, 1-based inclusive. Sequence comes out
    in upper case. Exactly one of --sample, --contig, --region, --all, --list, --info, --verify,
    --subset and --rename says what is wanted.
    """
    mode = _mode(options)
    if mode in ("listing", "info", "verify") and output not in (None, "-"):
        name = "list" if mode == "listing" else mode
        message = f"--{name} prints on standard output; -o has no effect there"
        raise click.UsageError(message)
    from seqmill.archive import Archive  # noqa: PLC0415 - brings the engine

    with Archive(archive, memory=options["memory"]) as opened:
        if mode == "listing":
            _list(opened, options["listing"])
        elif mode == "info":
            _tell(opened, session)
        elif mode == "verify":
            return _verify(opened, options, session)
        elif mode in ("subset", "rename"):
            _derive(opened, mode, output, options, session)
        else:
            _unpack(opened, mode, output, options, session)
    return 0


def _mode(options: dict[str, Any]) -> str:
    given = {_JOINED.get(name, name) for name in _MODES if options[name] not in (None, (), False)}
    if len(given) != 1:
        message = (
            "give exactly one of --sample, --contig, --region, --all, --list, --info, --verify, "
            "--subset and --rename"
        )
        raise click.UsageError(message)
    return given.pop()


def _unpack(
    archive: "Archive", mode: str, output: str | None, options: dict[str, Any], session: Session
) -> None:
    done = archive.unpack(
        output or "-",
        samples=options["sample"] or None,
        contigs=options["contig"] or None,
        regions=options["regions"] or None,
        regions_file=options["regions_file"],
        line_width=options["line_width"],
        gzip=options["gzip"],
        verify=not options["no_verify"],
        threads=options["threads"],
        memory=options["memory"],
        progress=session.progress,
        metrics=options["metrics"],
        force=options["force"],
    )
    _ = mode
    if not session.quiet and output not in (None, "-"):
        from seqmill._units import format_count  # noqa: PLC0415 - not needed by `--help`

        files = f"{len(done.outputs)} files" if len(done.outputs) > 1 else done.outputs[0]
        text = f"{files}: {format_count(done.records)} records, {format_count(done.bases)} bases"
        click.echo(text, err=True)
    _show_metrics(done.metrics, session)


def _show_metrics(metrics: Any, session: Session) -> None:
    if session.verbose:
        from seqmill.cli._render import show_metrics  # noqa: PLC0415 - brings rich

        show_metrics(metrics, session)


def _write(lines: list[str]) -> None:
    sys.stdout.buffer.write("".join(f"{line}\n" for line in lines).encode("utf-8", "replace"))


def _list(archive: "Archive", listing: str) -> None:
    if listing == "reference":
        _write([archive.reference or ""])
    elif listing == "samples":
        _write(list(archive))
    else:
        for name, sample in archive.items():
            _write([f"{name}\t{c.name}\t{c.length}\t{c.header}" for c in sample.contigs])


def _tell(archive: "Archive", session: Session) -> None:
    from seqmill.cli._render import print_table  # noqa: PLC0415 - brings rich

    sizes = archive.parameters
    rows = [
        ("file version", ".".join(map(str, archive.version))),
        ("samples", str(len(archive))),
        ("reference", archive.reference or ""),
        ("k-mer length", str(sizes.kmer_length)),
        ("segment size", "" if sizes.segment_size is None else str(sizes.segment_size)),
        ("shortest match", str(sizes.min_match)),
        ("pack size", str(sizes.pack_size)),
        *((key, value) for key, value in archive.facts.items()),
        *(("command", text) for text in archive.commands),
    ]
    print_table(("", ""), rows, choice=session.color)


def _verify(archive: "Archive", options: dict[str, Any], session: Session) -> int:
    import warnings  # noqa: PLC0415 - not needed by `--help`

    from seqmill._units import format_count  # noqa: PLC0415
    from seqmill.errors import ExitCode  # noqa: PLC0415

    with warnings.catch_warnings():
        # The faults are printed below.
        warnings.simplefilter("ignore")
        found = archive.verify(
            threads=options["threads"],
            memory=options["memory"],
            progress=session.progress,
            metrics=options["metrics"],
        )
    _write([str(fault) for fault in found.faults])
    if not session.quiet:
        text = (
            f"{format_count(found.samples)} samples, {format_count(found.contigs)} contigs, "
            f"{format_count(found.bases)} bases, {format_count(found.parts)} parts read; "
            f"{format_count(found.checksums)} samples had checksums; "
            f"{format_count(found.fault_count)} faults"
        )
        click.echo(text, err=True)
    _show_metrics(found.metrics, session)
    return ExitCode.done if found.ok else ExitCode.data


def _derive(
    archive: "Archive", mode: str, output: str | None, options: dict[str, Any], session: Session
) -> None:
    if output in (None, "-"):
        message = f"--{mode} writes an archive; say with -o where"
        raise click.UsageError(message)
    names: Any = options["subset"]
    if mode == "rename":
        pairs = [text.partition("=") for text in options["rename"]]
        for old, equals, new in pairs:
            if not (old and equals and new):
                message = f"'{old}{equals}{new}' is no OLD=NEW"
                raise click.BadParameter(message, param_hint="--rename")
        names = {old: new for old, _, new in pairs}
    work = archive.subset if mode == "subset" else archive.rename
    work(
        names,
        str(output),
        memory=options["memory"],
        progress=session.progress,
        metrics=options["metrics"],
        force=options["force"],
    )
    if not session.quiet:
        click.echo(f"{output}: written", err=True)
