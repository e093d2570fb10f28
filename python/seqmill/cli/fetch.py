"""`seqmill fetch`: windows out of FASTA files, as `samtools faidx` writes them."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Final

import click

from seqmill._outputs import refuse_existing, refuse_inputs
from seqmill.cli._options import (
    Example,
    JobCommand,
    color_option,
    force_option,
    grouped_option,
    html_option,
    memory_option,
    metrics_option,
    output_option,
    region_options,
    threads_option,
)

if TYPE_CHECKING:
    from seqmill.cli._fetch_output import Figures
    from seqmill.cli._fetch_room import Room
    from seqmill.fetch import FastaStore
    from seqmill.report import JobReport

__all__ = ["command"]

_USEFUL_BYTES: Final = 256 << 20
_CACHE_BYTES: Final = 1 << 20


@click.command(
    "fetch",
    cls=JobCommand,
    short_help="Read windows of sequence out of many FASTA files.",
    examples=[
        Example("a region, as samtools faidx prints it", "seqmill fetch genome.fa.gz chr1:101-160"),
        Example(
            "the intervals of a BED file, reverse strands complemented",
            "seqmill fetch genome.fa.gz -R regions.bed --format bed-seq -o windows.tsv",
        ),
        Example(
            "what a file or a folder of genomes holds", "seqmill fetch genome.fa.gz --list contigs"
        ),
    ],
)
@click.argument("path", metavar="PATH", type=click.Path())
@click.argument("more", metavar="[REGION]...", nargs=-1)
@region_options
@grouped_option("input", "--name", metavar="NAME", help="File of the store that regions are of.")
@grouped_option(
    "input", "-i", "--reverse-complement", is_flag=True, help="Reverse complement every window."
)
@grouped_option(
    "input", "--strand", type=click.Choice(["+", "-"]), default="+", help="Same as -i if -."
)
@grouped_option(
    "input",
    "--out-of-range",
    type=click.Choice(["error", "pad", "clip", "shift"]),
    default="error",
    help="What becomes of a region that reaches outside of its contig.  [default: error]",
)
@grouped_option(
    "input",
    "--gzip",
    type=click.Choice(["error", "recompress"]),
    default="error",
    help="What becomes of gzip without blocks; recompress keeps a copy in the cache folder.",
)
@grouped_option("input", "--no-verify", is_flag=True, help="Do not compare checksums of blocks.")
@grouped_option("input", "--strict", is_flag=True, help="A missing BGZF end marker is an error.")
@output_option("File to write; - is stdout, the default.")
@grouped_option(
    "output",
    "--format",
    "format_",
    type=click.Choice(["fasta", "bed-seq", "npy", "npz"]),
    default="fasta",
    help="FASTA; the columns of the BED file and the sequence; a NumPy array of windows of one "
    "length; or arrays with offsets and places.  [default: fasta]",
)
@grouped_option(
    "output",
    "--encode",
    type=click.Choice(["array", "tokens", "onehot", "2bit", "softmask"]),
    help="What bases become in npy and npz.  [default: array, which is ASCII]",
)
@grouped_option(
    "output",
    "-w",
    "--width",
    type=click.IntRange(min=1),
    default=60,
    help="Bases a line of FASTA.  [default: 60]",
)
@grouped_option(
    "output",
    "--list",
    "listing",
    type=click.Choice(["names", "contigs"]),
    help="List the files, or their contigs and lengths, instead of sequence.",
)
@grouped_option(
    "output",
    "--index-only",
    is_flag=True,
    help="Build side files and the index, and print what was built.",
)
@grouped_option(
    "output",
    "--pack",
    is_flag=True,
    help="Write packed sidecars, from which windows are read without inflating.",
)
@grouped_option(
    "output",
    "--check",
    is_flag=True,
    help="Read everything and compare it with checksums, side files and index; print the faults.",
)
@force_option
@metrics_option
@html_option
@threads_option
@memory_option
@color_option
def command(
    *,
    path: str,
    more: tuple[str, ...],
    regions: tuple[str, ...],
    regions_file: Path | None,
    name: str | None,
    output: str | None,
    force: bool,
    **options: Any,
) -> int:
    """Read windows of sequence out of many FASTA files.

    PATH is a folder, a file, an address (https, s3, gs, az; extra remote), ARCHIVE.agc,
    ARCHIVE.agc:SAMPLE or a pattern in quotes; REGION is
    1-based inclusive, such as chr1:1,001-2,000. FASTA may be plain or BGZF; missing .fai and .gzi
    files are built.
    """
    from seqmill.errors import InputError  # noqa: PLC0415 - brings more than `--help` needs

    if options["encode"] and options["format_"] not in ("npy", "npz"):
        message = "--encode is for --format npy and npz; text has its letters"
        raise InputError(message, option="encode", value=options["encode"])
    html = options["html"]
    if html is not None:
        from seqmill.cli._html import require_extra  # noqa: PLC0415 - brings jinja2

        require_extra()
        refuse_existing(html, force=force)
    asked = [*more, *regions]
    with _report(path, options) as report:
        room = _room(options)
        store = _open(path, options, room)
        room.check()
        report.detail["store"] = {
            "files": len(store),
            "contigs": len(store.contig_table()[0]),
            "index_bytes": store.index_bytes,
            "index_built": store._native.was_built,  # noqa: SLF001 - of the same package
        }
        failed = 0
        with _output(output, store, force=force) as out:
            if options["check"]:
                failed = report.detail["faults"] = _check(store, out, room)
            else:
                _write(store, out, (asked, regions_file, name), options, report, room=room)
    if html is not None:
        from seqmill.cli._fetch_page import write_fetch_page  # noqa: PLC0415 - brings jinja2

        write_fetch_page(html, report.metrics.to_dict())
    return 1 if failed else 0


def _report(path: str, options: dict[str, Any]) -> "JobReport":
    from seqmill.limits import choose_memory, choose_threads  # noqa: PLC0415
    from seqmill.report import JobReport  # noqa: PLC0415

    told = ("format_", "encode", "out_of_range", "no_verify", "gzip", "strict", "listing")
    return JobReport(
        "fetch",
        options={key.rstrip("_"): options[key] for key in told},
        inputs=[path] if Path(path).is_file() else [],
        threads=choose_threads(options["threads"]),
        memory=choose_memory(options["memory"], useful=_USEFUL_BYTES),
        metrics=options["metrics"],
    )


def _write(
    store: "FastaStore",
    out: BinaryIO,
    wanted: tuple[list[str], Path | None, str | None],
    options: dict[str, Any],
    report: "JobReport",
    *,
    room: "Room",
) -> None:
    """Write what was asked for, and note how much that was."""
    from seqmill.errors import InputError  # noqa: PLC0415

    asked, regions_file, name = wanted
    if options["listing"]:
        _list(store, options["listing"], out)
    elif options["index_only"]:
        _tell_built(store, out)
    elif options["pack"]:
        _pack(store, out)
    elif not asked and regions_file is None:
        message = "no region; give REGION, -r or -R, or --list, --pack, --check or --index-only"
        raise InputError(message, option="region")
    else:
        from seqmill.cli._fetch_windows import find_wanted  # noqa: PLC0415 - brings NumPy

        minus = options["reverse_complement"] or options["strand"] == "-"
        windows = find_wanted(store, asked, regions_file, name, minus=minus)
        figures = _write_windows(store, windows, out, options, room)
        report.add_run({"totals": {"records_out": figures.windows}})
        lengths: dict[int, int] = {}
        for length in figures.lengths:
            lengths[length] = lengths.get(length, 0) + 1
        report.detail["windows"] = {
            "count": figures.windows,
            "bases": figures.bases,
            "lengths": sorted(lengths.items()),
        }


def _write_windows(
    store: "FastaStore",
    windows: Iterator[Any],
    out: BinaryIO,
    options: dict[str, Any],
    room: "Room",
) -> "Figures":
    from seqmill.cli._fetch_output import TextOptions, write_arrays, write_text  # noqa: PLC0415

    if options["format_"] in ("npy", "npz"):
        return write_arrays(
            store,
            windows,
            out,
            encode=options["encode"] or "array",
            out_of_range=options["out_of_range"],
            room=room,
            kind=options["format_"],
        )
    text = TextOptions(
        out_of_range=options["out_of_range"],
        room=room,
        bed=options["format_"] == "bed-seq",
        width=options["width"],
    )
    return write_text(store, windows, out, text)


def _room(options: dict[str, Any]) -> "Room":
    from seqmill.cli._fetch_room import Room  # noqa: PLC0415
    from seqmill.limits import choose_memory, choose_threads  # noqa: PLC0415

    memory = choose_memory(options["memory"], useful=_USEFUL_BYTES)
    return Room(memory.value, choose_threads(options["threads"]).value)


def _open(path: str, options: dict[str, Any], room: "Room") -> "FastaStore":
    from seqmill import FastaStore  # noqa: PLC0415 - brings the engine

    return FastaStore.open(
        path,
        gzip=options["gzip"],
        strict_eof=options["strict"],
        verify="none" if options["no_verify"] else "crc",
        num_workers=None if options["threads"] in (None, "auto") else options["threads"],
        memory=room.memory,
        # Batches hardly ever meet a block again.
        cache_size=_CACHE_BYTES,
        strict=not options["check"],
    )


def _check(store: "FastaStore", out: BinaryIO, room: "Room") -> int:
    faults = 0
    for _, fault in store.iter_check(threads=room.threads, memory=room.memory):
        if fault is not None:
            faults += 1
            out.write(f"{fault}\n".encode("utf-8", "surrogateescape"))
    click.echo(f"{len(store)} files read, {faults} faults", err=True)
    return faults


@contextmanager
def _output(output: str | None, store: "FastaStore", *, force: bool) -> Iterator[BinaryIO]:
    if output in (None, "-"):
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    path = Path(str(output))
    refuse_existing(path, force=force)
    if path.exists():
        native = store._native  # noqa: SLF001 - of the same package
        refuse_inputs([path], [native.path(file) for file in range(len(native))])
    part = path.with_name(f".{path.name}.part")
    try:
        with part.open("wb") as out:
            yield out
            out.flush()
            os.fsync(out.fileno())
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def _list(store: "FastaStore", listing: str, out: BinaryIO) -> None:
    for name in store.names:
        lines = [name]
        if listing == "contigs":
            lines = [f"{name}\t{contig}\t{length}" for contig, length in store.contigs(name)]
        out.write("".join(f"{line}\n" for line in lines).encode("utf-8", "surrogateescape"))


def _tell_built(store: "FastaStore", out: BinaryIO) -> None:
    native = store._native  # noqa: SLF001 - of the same package
    lines = [*native.built]
    # The index of a single file has no name: it lies in a file that goes with the process.
    if native.was_built and store.index_path.is_file() and store.index_path.parts[1] != "proc":
        lines.append(str(store.index_path))
    out.write("".join(f"{line}\n" for line in lines).encode("utf-8", "surrogateescape"))


def _pack(store: "FastaStore", out: BinaryIO) -> None:
    for name in store.names:
        path, size = store.pack(name)
        out.write(f"{path}\t{size}\n".encode("utf-8", "surrogateescape"))
