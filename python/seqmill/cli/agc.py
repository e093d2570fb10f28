"""`seqmill agc`: the commands and options of the reference program, over ours."""

import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from seqmill.cli._options import Example, JobCommand, color_option

if TYPE_CHECKING:
    from seqmill.archive import Archive

__all__ = ["command"]

_Options = dict[str, Any]


@click.command(
    "agc",
    cls=JobCommand,
    short_help="Take the commands of the program agc.",
    context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False},
    examples=[
        Example("an archive of genomes", "seqmill agc create -o new.agc sample1.fa sample2.fa"),
        Example("its samples", "seqmill agc listset genomes.agc"),
        Example(
            "a range, 0-based with both ends", "seqmill agc getctg genomes.agc chr2@sample2:0-9"
        ),
    ],
)
@click.argument("name", metavar="COMMAND")
@click.argument("arguments", metavar="[ARGUMENT]...", nargs=-1, type=click.UNPROCESSED)
@color_option
def command(*, name: str, arguments: tuple[str, ...]) -> None:
    """Take the commands of the program agc with their own options.

    COMMAND is create, append, getcol, getset, getctg, listref, listset, listctg or info. Ranges of
    getctg are 0-based with both ends included. Faults have exit codes, as everywhere here.
    """
    if name not in _COMMANDS:
        message = f"no agc command {name!r}; there are {', '.join(_COMMANDS)}"
        raise click.UsageError(message)
    _COMMANDS[name].main(list(arguments), prog_name=f"seqmill agc {name}", standalone_mode=False)


def _int(letter: str, name: str, default: int, least: int, most: int) -> Callable[..., Any]:
    return click.option(f"-{letter}", name, type=click.IntRange(least, most), default=default)


def _output() -> Callable[..., Any]:
    return click.option("-o", "output", default="-")


def _threads(command: Callable[..., Any]) -> Callable[..., Any]:
    command = click.option("-t", "threads", type=click.IntRange(1, 4096), default=1)(command)
    return click.option("-v", "verbosity", type=click.IntRange(0, 2), default=0)(command)


def _writing(command: Callable[..., Any]) -> Callable[..., Any]:
    for option in (
        click.option("-a", "adaptive", is_flag=True),
        click.option("-c", "concatenated", is_flag=True),
        click.option("-d", "no_command", is_flag=True),
        click.option("-f", "fallback", type=click.FloatRange(0, 0.05), default=0),
        click.option("-i", "listed", type=click.Path(path_type=Path)),
        _output(),
        _threads,
    ):
        command = option(command)
    return command


@contextmanager
def _target(output: str) -> Iterator[str]:
    """Give a file to write an archive to; of standard output, one that is copied there."""
    if output != "-":
        yield output
        return
    with tempfile.TemporaryDirectory(prefix="seqmill-") as folder:
        path = Path(folder, "out.agc")
        yield os.fspath(path)
        with path.open("rb") as packed:
            shutil.copyfileobj(packed, sys.stdout.buffer)


def _pack(target: str, files: Sequence[str], options: _Options, **more: Any) -> None:
    from seqmill._archive_pack import pack, plan_inputs  # noqa: PLC0415 - brings the engine

    paths = list(files)
    if options["listed"] is not None:
        lines = options["listed"].read_text().splitlines()
        paths += [line.strip() for line in lines if line.strip()]
    if options["fallback"]:
        click.echo("seqmill: warning: -f has no effect: groups are found by k-mers", err=True)
    rule: Any = "record" if options["concatenated"] else "file"
    pack(
        target,
        plan_inputs(paths, rule),
        samples=rule,
        threads=options["threads"],
        adaptive=options["adaptive"],
        progress="plain" if options["verbosity"] else "none",
        **more,
    )


@click.command("create")
@click.argument("files", nargs=-1, required=True)
@_int("b", "pack_size", 50, 1, 1_000_000_000)
@_int("k", "kmer_length", 31, 17, 32)
@_int("l", "min_match", 20, 15, 32)
@_int("s", "segment_size", 60_000, 100, 1_000_000)
@_writing
def _create(*, files: tuple[str, ...], output: str, **options: Any) -> None:
    sizes = {name: options[name] for name in ("pack_size", "kmer_length", "min_match")}
    with _target(output) as target:
        _pack(target, files, options, segment_size=options["segment_size"], force=True, **sizes)


@click.command("append")
@click.argument("archive")
@click.argument("files", nargs=-1)
@_writing
def _append(*, archive: str, files: tuple[str, ...], output: str, **options: Any) -> None:
    with _target(output) as target:
        if target == archive:
            _pack(target, files, options, append=True)
            return
        # A folder of its own: another process may write the same output.
        home = os.path.dirname(os.path.abspath(target))  # noqa: PTH100, PTH120
        with tempfile.TemporaryDirectory(prefix=".seqmill-", dir=home) as folder:
            part = os.path.join(folder, "part.agc")  # noqa: PTH118
            shutil.copyfile(archive, part)
            _pack(part, files, options, append=True)
            os.replace(part, target)  # noqa: PTH105 - names as they were given


def _open(path: str) -> "Archive":
    from seqmill.archive import Archive  # noqa: PLC0415 - brings the engine

    return Archive(path)


def _reading(command: Callable[..., Any]) -> Callable[..., Any]:
    for option in (
        _int("g", "gzip", 0, 0, 9),
        _int("l", "line_width", 80, 40, 2_000_000_000),
        _output(),
        click.option("-p", "no_prefetch", is_flag=True),
        click.option("-s", "streaming", is_flag=True),
        _threads,
    ):
        command = option(command)
    return command


def _unpack(archive: "Archive", output: str, options: _Options, **what: Any) -> None:
    archive.unpack(
        output,
        line_width=options["line_width"],
        gzip=options["gzip"] or False,
        threads=options["threads"],
        force=True,
        **what,
    )


@click.command("getcol")
@click.argument("archive")
@click.option("-f", "fast", is_flag=True)
@click.option("-r", "no_reference", is_flag=True)
@_reading
def _getcol(*, archive: str, no_reference: bool, output: str, **options: Any) -> None:
    with _open(archive) as opened:
        names = list(opened)
        if no_reference:
            names = names[1:]
        if opened.version < (3, 0):
            names.sort(key=str.encode)
        target = output if output == "-" else os.path.join(output, "")  # noqa: PTH118
        if names:
            _unpack(opened, target, options, samples=names)


@click.command("getset")
@click.argument("archive")
@click.argument("names", nargs=-1, required=True)
@_reading
def _getset(*, archive: str, names: tuple[str, ...], output: str, **options: Any) -> None:
    with _open(archive) as opened:
        _unpack(opened, output, options, samples=list(names))


@click.command("getctg")
@click.argument("archive")
@click.argument("queries", nargs=-1, required=True)
@_reading
def _getctg(*, archive: str, queries: tuple[str, ...], output: str, **options: Any) -> None:
    from seqmill._archive_jobs import find_queries, unpack  # noqa: PLC0415 - brings the engine

    with _open(archive) as opened:
        reader = opened._reader  # noqa: SLF001 - of the same package
        unpack(
            reader,
            archive,
            output,
            samples=None,
            pieces=find_queries(reader, queries),
            line_width=options["line_width"],
            gzip=options["gzip"] or False,
            verify=True,
            threads=options["threads"],
            memory=None,
            progress="none",
            metrics=None,
            force=True,
        )


def _write(output: str, lines: Sequence[str], end: str = "\n") -> None:
    text = "".join(f"{line}{end}" for line in lines).encode("utf-8", "surrogateescape")
    if output == "-":
        sys.stdout.buffer.write(text)
    else:
        Path(output).write_bytes(text)


@click.command("listref")
@click.argument("archive")
@_output()
def _listref(*, archive: str, output: str) -> None:
    with _open(archive) as opened:
        _write(output, [opened.reference or ""], end="")


@click.command("listset")
@click.argument("archive")
@_output()
def _listset(*, archive: str, output: str) -> None:
    with _open(archive) as opened:
        _write(output, sorted(opened, key=lambda name: name.encode("utf-8", "surrogateescape")))


@click.command("listctg")
@click.argument("archive")
@click.argument("names", nargs=-1, required=True)
@_output()
def _listctg(*, archive: str, names: tuple[str, ...], output: str) -> None:
    with _open(archive) as opened:
        lines = []
        for name in names:
            lines += [name, *(f"   {contig.header}" for contig in opened[name].contigs)]
        _write(output, lines)


@click.command("info")
@click.argument("archive")
@_output()
def _info(*, archive: str, output: str) -> None:
    with _open(archive) as opened:
        sizes = opened.parameters
        lines = [
            f"No. samples      : {len(opened)}",
            f"k-mer length     : {sizes.kmer_length}",
            f"Min. match length: {sizes.min_match}",
            f"Batch size       : {sizes.pack_size}",
            f"Reference name   : {opened.reference or ''}",
            "Command lines:",
            *opened.commands,
        ]
        _write(output, lines)


_COMMANDS: Final[dict[str, click.Command]] = {
    "create": _create,
    "append": _append,
    "getcol": _getcol,
    "getset": _getset,
    "getctg": _getctg,
    "listref": _listref,
    "listset": _listset,
    "listctg": _listctg,
    "info": _info,
}
