"""`seqmill fetch`: windows out of FASTA files, as `samtools faidx` writes them."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Final, NamedTuple

import click

from seqmill.cli._options import (
    Example,
    JobCommand,
    color_option,
    force_option,
    grouped_option,
    memory_option,
    output_option,
    region_options,
    threads_option,
)

if TYPE_CHECKING:
    from seqmill.fetch import FastaStore

__all__ = ["command"]

_STEP_BASES: Final = 8 << 20
_BATCH_BASES: Final = 8 << 20
_BATCH_WINDOWS: Final = 4096


class Wanted(NamedTuple):
    """A window and how it was asked for."""

    label: str
    file: int
    contig: int
    start: int
    end: int | None
    minus: bool
    columns: list[str] | None = None


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
    type=click.Choice(["fasta", "bed-seq"]),
    default="fasta",
    help="FASTA, or the columns of the BED file and the sequence.  [default: fasta]",
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

    PATH is a folder, a file or a pattern in quotes; REGION is 1-based inclusive, such as
    chr1:1,001-2,000. FASTA may be plain or BGZF; missing .fai and .gzi files are built.
    """
    from seqmill.errors import InputError  # noqa: PLC0415 - brings more than `--help` needs

    minus = options["reverse_complement"] or options["strand"] == "-"
    store = _open(path, options)
    if options["check"]:
        return _check(store, options)
    asked = [*more, *regions]
    with _output(output, force=force) as out:
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
            wanted = _wanted(store, asked, regions_file, name, minus=minus)
            _write(store, wanted, out, options)
    return 0


def _open(path: str, options: dict[str, Any]) -> "FastaStore":
    from seqmill import FastaStore  # noqa: PLC0415 - brings the engine
    from seqmill.limits import choose_memory  # noqa: PLC0415

    return FastaStore.open(
        path,
        gzip=options["gzip"],
        strict_eof=options["strict"],
        verify="none" if options["no_verify"] else "crc",
        num_workers=None if options["threads"] in (None, "auto") else options["threads"],
        memory=choose_memory(options["memory"], useful=256 << 20).value,
        strict=not options["check"],
    )


def _check(store: "FastaStore", options: dict[str, Any]) -> int:
    from seqmill.limits import choose_memory, choose_threads  # noqa: PLC0415

    threads = choose_threads(options["threads"]).value
    memory = choose_memory(options["memory"], useful=512 << 20).value
    faults = 0
    for _, fault in store.iter_check(threads=threads, memory=memory):
        if fault is not None:
            faults += 1
            click.echo(fault)
    click.echo(f"{len(store)} files read, {faults} faults", err=True)
    return 1 if faults else 0


@contextmanager
def _output(output: str | None, *, force: bool) -> Iterator[BinaryIO]:
    if output in (None, "-"):
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    from seqmill.errors import OutputExistsError  # noqa: PLC0415

    path = Path(str(output))
    if path.exists() and not force:
        message = f"{path}: output exists; use --force to replace it"
        raise OutputExistsError(message, path=str(path))
    part = path.with_name(f".{path.name}.part")
    try:
        with part.open("wb") as out:
            yield out
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
    if native.was_built:
        lines.append(str(store.index_path))
    out.write("".join(f"{line}\n" for line in lines).encode("utf-8", "surrogateescape"))


def _pack(store: "FastaStore", out: BinaryIO) -> None:
    for name in store.names:
        path, size = store.pack(name)
        out.write(f"{path}\t{size}\n".encode("utf-8", "surrogateescape"))


def _wanted(
    store: "FastaStore", asked: list[str], bed: Path | None, name: str | None, *, minus: bool
) -> Iterator[Wanted]:
    from seqmill._intervals import parse_region, read_bed_lines  # noqa: PLC0415

    find = _finder(store, name)

    def has(contig: str) -> bool:
        return find(contig) is not None

    lists = list(asked)
    is_bed = bed is not None and bed.name.removesuffix(".gz").endswith(".bed")
    if bed is not None and not is_bed:
        lists += [line.strip() for line in bed.read_text().splitlines() if line.strip()]
    for region in lists:
        contig, start, end = parse_region(region, has)
        place = find(contig) or _missing(store, contig, name)
        yield Wanted(region, *place, start, end, minus)
    if bed is None or not is_bed:
        return
    for columns in read_bed_lines(bed):
        contig, first, last = columns[:3]
        place = find(contig) or _missing(store, contig, name)
        reverse = minus != (len(columns) > 5 and columns[5] == "-")  # noqa: PLR2004 - BED's sixth
        label = f"{contig}:{int(first) + 1}-{last}"
        yield Wanted(label, *place, int(first), int(last), reverse, columns)


def _finder(store: "FastaStore", name: str | None) -> Callable[[str], tuple[int, int] | None]:
    from seqmill._intervals import find_unique_contig  # noqa: PLC0415
    from seqmill.errors import NameNotFoundError  # noqa: PLC0415

    known: dict[str, tuple[int, int] | None] = {}

    def find(contig: str) -> tuple[int, int] | None:
        if contig not in known:
            try:
                file = find_unique_contig(store, contig) if name is None else name
                known[contig] = store.resolve(file, contig)
            except NameNotFoundError:
                known[contig] = None
        return known[contig]

    return find


def _missing(store: "FastaStore", contig: str, name: str | None) -> tuple[int, int]:
    """Raise the error for a contig that is not there, with names that resemble it."""
    from seqmill._intervals import find_unique_contig  # noqa: PLC0415

    return store.resolve(find_unique_contig(store, contig) if name is None else name, contig)


def _write(
    store: "FastaStore", wanted: Iterator[Wanted], out: BinaryIO, options: dict[str, Any]
) -> None:
    """Write short windows in batches, so that blocks they share are inflated once."""
    batch: list[Wanted] = []
    bases = 0
    for item in wanted:
        length = None if item.end is None else item.end - item.start
        if length is None or length > _STEP_BASES:
            _flush(store, batch, out, options)
            bases = 0
            _flush(store, [item], out, options)
            continue
        batch.append(item)
        bases += length
        if bases > _BATCH_BASES or len(batch) >= _BATCH_WINDOWS:
            _flush(store, batch, out, options)
            bases = 0
    _flush(store, batch, out, options)


def _flush(
    store: "FastaStore", batch: list[Wanted], out: BinaryIO, options: dict[str, Any]
) -> None:
    from seqmill.limits import choose_threads  # noqa: PLC0415

    if not batch:
        return
    policy = options["out_of_range"]
    ends = [_end_of(store, item) if item.end is None else item.end for item in batch]
    rows = [
        (item.file, item.contig, item.start, end, "-" if item.minus else "+")
        for item, end in zip(batch, ends, strict=True)
    ]
    threads = choose_threads(options["threads"]).value if len(batch) > 1 else 1
    texts = store.fetch_many(rows, encode="bytes", out_of_range=policy, threads=threads)
    for item, text in zip(batch, texts, strict=True):
        if options["format_"] == "fasta":
            label = f"{item.label}/rc" if item.minus else item.label
            out.write(f">{label}\n".encode("utf-8", "surrogateescape"))
            out.write(_fold(text, options["width"]))
        else:
            columns = item.columns or [item.label]
            out.write("\t".join(columns).encode("utf-8", "surrogateescape") + b"\t" + text + b"\n")
    batch.clear()


def _end_of(store: "FastaStore", item: Wanted) -> int:
    # The whole contig: its end is its length.
    length = store._native.place(item.file, item.contig, 0, None, "error")[1]  # noqa: SLF001
    return max(length, item.start)


def _fold(text: bytes, width: int) -> bytes:
    return b"".join(text[at : at + width] + b"\n" for at in range(0, len(text), width))
