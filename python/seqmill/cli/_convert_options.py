"""Options of `seqmill convert` by section; each is a keyword of the functions in Python too."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, TypeVar

import click

from seqmill.cli._options import GroupName, SizeType, grouped_option

__all__ = [
    "column_options",
    "filter_options",
    "input_options",
    "output_options",
    "pool_options",
]

_Command = TypeVar("_Command", bound=Callable[..., Any])
_FILE: Final = click.Path(path_type=Path)


def _section(group: GroupName, *rows: tuple[str, dict[str, Any]]) -> Callable[[_Command], _Command]:
    """Make one decorator of a section's options; a row is the declaration and its attributes."""

    def decorate(command: _Command) -> _Command:
        for declaration, attributes in reversed(rows):
            command = grouped_option(group, *declaration.split(), **attributes)(command)
        return command

    return decorate


def _text(metavar: str, text: str, **more: Any) -> dict[str, Any]:
    return {"metavar": metavar, "help": text, **more}


def _switch(text: str) -> dict[str, Any]:
    return {"is_flag": True, "default": None, "flag_value": True, "help": text}


def _off(text: str) -> dict[str, Any]:
    return {"is_flag": True, "default": None, "flag_value": False, "type": bool, "help": text}


def _number(text: str, *, low: int = 0, metavar: str = "N", high: int | None = None) -> Any:
    return {"type": click.IntRange(low, high), "metavar": metavar, "help": text}


def _choice(words: str, text: str) -> dict[str, Any]:
    return {"type": click.Choice(words.split()), "help": text}


def _names(
    ctx: click.Context,  # noqa: ARG001 - click's signature
    param: click.Parameter,  # noqa: ARG001
    value: str | None,
) -> list[str] | None:
    return None if value is None else [name for name in value.split(",") if name]


def _shard(ctx: click.Context, param: click.Parameter, value: str | None) -> tuple[int, int] | None:
    if value is None:
        return None
    part, slash, parts = value.partition("/")
    if not (slash and part.isdecimal() and parts.isdecimal() and int(part) < int(parts)):
        message = f"'{value}' is no I/N with 0 <= I < N, such as 0/4"
        raise click.BadParameter(message, ctx, param)
    return int(part), int(parts)


input_options: Final = _section(
    "input",
    (
        "--index",
        _text("FILE", "BAI or CSI of the only input, if not beside it.", type=_FILE),
    ),
    ("--reference", _text("FILE", "FASTA with the reference of a CRAM file.", type=_FILE)),
    ("--mate", _text("FILE", "Mates of a FASTA or FASTQ input.", type=_FILE)),
    (
        "--on-bad-record",
        _choice("error skip", "What a damaged record means; skip counts it.  [default: error]"),
    ),
    ("--bad-records", _text("FILE", "Write a list of the damaged records skipped.", type=_FILE)),
    ("--strict", _switch("Treat what would be a warning as an error.")),
    ("--no-verify verify", _off("Do not compare checksums, nor look at tags that are not used.")),
)

filter_options: Final = _section(
    "filter",
    ("--min-mapq", _number("Least mapping quality (255 passes).", high=255, metavar="Q")),
    (
        "--require-flags",
        _text("FLAGS", "All of these flags: a number, 0x…, or names such as PAIRED,READ1."),
    ),
    ("--exclude-flags", _text("FLAGS", "None of these flags.")),
    ("--exclude-all-flags", _text("FLAGS", "Not all of these flags at once.")),
    (
        "--read-group read_groups",
        _text("NAME", "Only this read group, or those in @FILE; may be repeated.", multiple=True),
    ),
    (
        "--tag-in",
        _text(
            "TAG=VALUE",
            "Only records whose tag has this value (as SAM text), or one in @FILE, such as "
            "CB=@barcodes.txt; may be repeated.",
            multiple=True,
        ),
    ),
    (
        "--name-in",
        _text("NAME", "Only this read, or those in @FILE; may be repeated.", multiple=True),
    ),
    ("--min-length", _number("Least length of the sequence.")),
    ("--max-length", _number("Greatest length of the sequence.")),
    (
        "--filter",
        _text("TEXT", "An expression, such as 'mapq >= 30 and not flag.dup and tags.NM <= 2'."),
    ),
    ("--limit", _number("At most so many records, after all filters.")),
    ("--offset", _number("Leave out so many records first.")),
    (
        "--shard",
        _text("I/N", "Only part I of N (from 0) by the chunk index.", callback=_shard),
    ),
)

column_options: Final = _section(
    "columns",
    ("--profile", _choice("sam bio basic", "Names and types of the columns.  [default: sam]")),
    (
        "--columns",
        _text(
            "NAMES",
            "These columns in this order; +NAME,… adds to the usual.",
            callback=_names,
        ),
    ),
    ("--exclude-columns", _text("NAMES", "Not these columns.", callback=_names)),
    (
        "--tags",
        _choice(
            "struct columns sam binary none",
            "One struct, a column for each tag, SAM text, raw bytes, none.  [default: struct]",
        ),
    ),
    (
        "--tag tag_types",
        _text(
            "TAG:TYPE",
            "A tag and its SAM type, such as NM:i or ML:B:C, instead of looking for the tags; may "
            "be repeated.",
            multiple=True,
        ),
    ),
    (
        "--tags-from",
        _choice(
            "all listed",
            "Keep tags that are not listed, or drop them.  [default: all]",
        ),
    ),
    (
        "--discover",
        _choice("sample full", "Find tags in a sample or in all records.  [default: sample]"),
    ),
    ("--max-tags", _number("Most tag fields, the most frequent first.  [default: 256]")),
    (
        "--coords",
        _choice("11 01", "11: 1-based, both ends included; 01: 0-based, half-open.  [default: 11]"),
    ),
    ("--cigar", _choice("text ops struct", "Form of the CIGAR.  [default: text]")),
    ("--seq", _choice("text packed", "Sequence as text or as BAM's nibbles.  [default: text]")),
    ("--qual", _choice("text phred", "Qualities as text or as raw values.  [default: text]")),
    ("--record-paths", _switch("Keep full paths of the inputs, not only their names.")),
)

output_options: Final = _section(
    "output",
    ("--out-dir", _text("DIR", "Folder for one output for each input, instead of -o.", type=_FILE)),
    (
        "--name",
        _text("TEXT", "Names of the outputs in --out-dir.  [default: {stem}.parquet]"),
    ),
    (
        "--partition-by",
        _text(
            "KEYS",
            "Split the outputs in --out-dir by source, rname, read_group (in the order given).",
            callback=_names,
        ),
    ),
    (
        "--shards",
        _number("Outputs in --out-dir for each input, by its chunk index (--index-only).", low=1),
    ),
    ("--format", _choice("parquet arrow arrows", "Format, where the suffix does not say it.")),
    (
        "--compression",
        _text(
            "NAME[:LEVEL]",
            "zstd, lz4, snappy, gzip or none.  [default: zstd:1 for Parquet, none for Arrow]",
        ),
    ),
    ("--compression-level", {"type": int, "metavar": "N", "help": "Level of the compression."}),
    (
        "--row-group-bytes",
        _text("SIZE", "Arrow data in a Parquet row group.  [default: 64M]", type=SizeType()),
    ),
    ("--batch-bytes", _text("SIZE", "Arrow data in a batch.  [default: 2M]", type=SizeType())),
    ("--batch-rows", _number("Rows in a batch; wins over --batch-bytes.", low=1)),
    ("--compat", _switch("Parquet that old readers understand: plain and dictionary encodings.")),
    ("--no-provenance provenance", _off("Leave version and options out of the metadata.")),
    ("--write-chunk-index", _switch("Write the chunk index INPUT.smci beside each input too.")),
    ("--index-only", _switch("Write the chunk index and nothing else.")),
    (
        "--explain",
        {
            "is_flag": True,
            "help": "INPUT is Parquet made here: show how many row groups the regions touch.",
        },
    ),
    ("--fail-fast", {"is_flag": True, "help": "Stop at the first of several inputs that fails."}),
    (
        "--checkpoint-every",
        _text("RULE", "Bytes of output, seconds, or either: 1GiB|30s.  [default: 1GiB|30s]"),
    ),
)

pool_options: Final = _section(
    "resources",
    (
        "--files-in-flight",
        _number("Most files at a time.  [default: as the threads allow]", low=1),
    ),
    ("--loading-threads", _number("Threads for reading alone.", low=1)),
    ("--processing-threads", _number("Threads for making columns alone.", low=1)),
    ("--writing-threads", _number("Threads for encoding and writing alone.", low=1)),
    ("--read-ahead", _text("SIZE", "Input that waits.  [default: 32M]", type=SizeType())),
    ("--process-buffer", _text("SIZE", "Columns that wait.  [default: 64M]", type=SizeType())),
    ("--write-buffer", _text("SIZE", "Encoded data that wait.  [default: 64M]", type=SizeType())),
    ("--io", _choice("read map direct", "How files are read.  [default: read]")),
    ("--queue-depth", _number("Reads in flight with --io direct.", low=1)),
    (
        "--concurrent-ranges",
        _number("Ranges of remote inputs in flight, 1 to 64.  [default: 8]", low=1),
    ),
)
