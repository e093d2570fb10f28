"""From the keywords of `convert` and `scan_alignments` to what the engine is asked to do.

Whatever needs no file is checked here, so that a wrong option is told before anything is read.
"""

import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

from seqmill._addresses import is_remote, keep_secret, shown
from seqmill._filters import parse_filter, parse_flags
from seqmill._inputs import RANGES_MAX
from seqmill._keywords import ConvertOptions, PathLike, Texts
from seqmill._lists import Interval, read_list, read_regions_file
from seqmill.errors import InputError
from seqmill.limits import parse_size

__all__ = [
    "check_names",
    "check_word",
    "engine_options",
    "input_paths",
    "semantic_options",
    "summarize_options",
]

_COUNTS: Final[Mapping[str, tuple[int, int]]] = {
    "max_tags": (0, 1 << 16),
    "min_mapq": (0, 255),
    "min_length": (0, 1 << 31),
    "max_length": (0, 1 << 31),
    "limit": (0, (1 << 63) - 1),
    "offset": (0, (1 << 63) - 1),
    "batch_rows": (1, 1_000_000),
}
_LEVELS: Final = (-(1 << 31), (1 << 31) - 1)
_WORDS: Final[Mapping[str, tuple[str, ...]]] = {
    "profile": ("sam", "bio", "basic"),
    "tags": ("struct", "columns", "sam", "binary", "none"),
    "tags_from": ("all", "listed"),
    "discover": ("sample", "full"),
    "coords": ("11", "01"),
    "cigar": ("text", "ops", "struct"),
    "seq": ("text", "packed"),
    "qual": ("text", "phred"),
    "on_bad_record": ("error", "skip"),
}
_DEFAULTS: Final[Mapping[str, Any]] = {
    **{name: words[0] for name, words in _WORDS.items()},
    **dict.fromkeys(("require_flags", "exclude_flags", "exclude_all_flags"), 0),
    **dict.fromkeys(("min_mapq", "offset"), 0),
    **dict.fromkeys(("record_paths", "strict", "compat"), False),
    "verify": True,
    "max_tags": 256,
    "batch_bytes": 2 << 20,
    "row_group_bytes": 64 << 20,
}
# Named in the manual as coming: refused with a word, never ignored.
_NOT_YET: Final = ("bloom", "subsample", "unordered", "allow_network")

_DURATION: Final = re.compile(r"(?P<number>[0-9]+(?:\.[0-9]+)?)\s*(?P<unit>s|min|h)")
_SECONDS: Final = {"s": 1, "min": 60, "h": 3600}
_INTERVAL_PARTS: Final = 3
_SHOWN_ITEMS: Final = 20
_STAGE_THREADS: Final = ("loading_threads", "processing_threads", "writing_threads")
_BUFFERS: Final = ("read_ahead", "process_buffer", "write_buffer")
_IO_MODES: Final = ("read", "map", "direct")


def _wrong(option: str, value: object, allowed: str) -> InputError:
    return InputError(
        f"{value!r} is not allowed; {option} takes {allowed}",
        option=option,
        value=value,
        allowed=allowed,
    )


def _check_count(option: str, value: object, low: int, high: int) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
        raise _wrong(option, value, f"{low:,} to {high:,}")
    return value


def check_word(option: str, value: object, allowed: Sequence[str]) -> str:
    """Check a word of a closed choice."""
    if value not in allowed:
        raise _wrong(option, value, ", ".join(allowed))
    return str(value)


def _check_switch(option: str, value: object) -> bool:
    if not isinstance(value, bool):
        raise _wrong(option, value, "True or False")
    return value


def _size(option: str, value: int | str) -> int:
    try:
        return parse_size(value)
    except InputError as error:
        message = str(error).replace("; memory takes", f"; {option} takes")
        raise InputError(message, option=option, value=value, allowed=error.allowed) from None


def check_names(options: Mapping[str, Any], known: Iterable[str], function: str) -> None:
    """Refuse keywords that do not exist, and with other words those that are to come.

    Raises
    ------
    InputError
        If a keyword is named in the manual as coming.
    TypeError
        If there is no such keyword.
    """
    for name in options.keys() - set(known):
        if name in _NOT_YET:
            raise InputError(
                f"{name}: this version cannot do that yet; leave it out",
                option=name,
                value=options[name],
            )
        if name in ConvertOptions.__annotations__:
            message = f"{function}() writes no file and has no keyword {name!r}"
        else:
            from difflib import get_close_matches  # noqa: PLC0415 - seldom

            near = get_close_matches(name, sorted(known), n=1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            message = f"{function}() got an unexpected keyword argument {name!r}{hint}"
        raise TypeError(message)


def input_paths(inputs: PathLike | Sequence[PathLike]) -> list[str]:
    """List the inputs; ``@FILE`` stands for the paths in a file, one a line.

    Raises
    ------
    InputError
        If there is none, or one of them is an address that cannot be read.
    """
    given = [inputs] if isinstance(inputs, str | os.PathLike) else list(inputs)
    paths: list[str] = []
    for path in (os.fspath(item) for item in given):
        paths += read_list(path) if path.startswith("@") else [path]
    if not paths:
        raise InputError("no input is given", option="inputs")
    seen = [keep_secret(path) if is_remote(path) else path for path in paths]
    for place in {place for place in seen if seen.count(place) > 1}:
        if len({path for path, own in zip(paths, seen, strict=True) if own == place}) > 1:
            message = f"{place}: two inputs differ only behind the question mark"
            raise InputError(message, option="inputs", value=place)
    return seen


def _texts(value: Texts | Iterable[str]) -> list[str]:
    return read_list(value) if isinstance(value, str) else [str(item) for item in value]


def _names(value: Texts) -> list[str]:
    if isinstance(value, str):
        return [name.strip() for name in value.split(",") if name.strip()]
    return list(value)


def _regions(options: Mapping[str, Any]) -> dict[str, Any]:
    given = options.get("regions")
    regions: list[str] = []
    intervals: list[Interval] = []
    if given is not None:
        single = isinstance(given, str) or (
            isinstance(given, tuple) and len(given) == _INTERVAL_PARTS and isinstance(given[1], int)
        )
        items = [given] if single else list(given)
        if not items:
            raise InputError("regions is empty; None selects everything", option="regions")
        for item in items:
            if isinstance(item, str):
                regions.append(item)
            else:
                intervals.append(_interval(item))
    if options.get("regions_file") is not None:
        more = read_regions_file(os.fspath(options["regions_file"]))
        regions += more[0]
        intervals += more[1]
    found: dict[str, Any] = {"regions": regions, "intervals": intervals}
    return {name: value for name, value in found.items() if value}


def _local(option: str, value: PathLike) -> str:
    path = os.fspath(value)
    if is_remote(path):
        message = f"{shown(path)}: {option} must be a local file; copy it first"
        raise InputError(message, option=option, value=shown(path))
    return path


def _interval(item: Any) -> Interval:
    allowed = "text, or (name, begin, end) with 0 <= begin <= end, 0-based and half-open"
    try:
        name, begin, end = item
    except (TypeError, ValueError):
        raise _wrong("regions", item, allowed) from None
    whole = isinstance(begin, int) and (end is None or isinstance(end, int))
    if not isinstance(name, str) or not whole or begin < 0 or (end is not None and end < begin):
        raise _wrong("regions", item, allowed)
    return name, begin, end


def _tag_types(value: Any) -> list[tuple[str, str]]:
    if isinstance(value, str):
        value = [value]
    items = value.items() if isinstance(value, Mapping) else value
    pairs = []
    for item in items:
        name, _, kind = item.partition(":") if isinstance(item, str) else (item[0], "", item[1])
        if not kind:
            raise _wrong("tag_types", item, "tags with a type, such as NM:i, RG:Z or ML:B:C")
        pairs.append((str(name), str(kind)))
    return pairs


def _tag_in(value: Mapping[str, object]) -> list[tuple[str, list[str]]]:
    pairs = []
    for tag, wanted in value.items():
        several = isinstance(wanted, Iterable) and not isinstance(wanted, str | bytes)
        items = _texts(wanted) if isinstance(wanted, str) or several else [str(wanted)]  # type: ignore[arg-type]
        pairs.append((tag, items))
    return pairs


def _shard(option: str, value: Any) -> tuple[int, int]:
    allowed = "(i, n) with 0 <= i < n"
    try:
        part, parts = value
    except (TypeError, ValueError):
        raise _wrong(option, value, allowed) from None
    if not (isinstance(part, int) and isinstance(parts, int) and 0 <= part < parts):
        raise _wrong(option, value, allowed)
    return part, parts


def _compression(options: Mapping[str, Any]) -> dict[str, Any]:
    text, level = options.get("compression"), options.get("compression_level")
    found: dict[str, Any] = {}
    if text is not None:
        name, colon, number = str(text).partition(":")
        found["compression"] = name
        if colon:
            if not number.removeprefix("-").isdecimal() or level is not None:
                raise _wrong("compression", text, "a name, or a name and a level such as zstd:3")
            level = int(number)
    if level is not None:
        found["compression_level"] = _check_count("compression_level", level, *_LEVELS)
    return found


_SEMANTIC: Final[Mapping[str, Callable[[str, Any], Any]]] = {
    **{name: lambda name, value: check_word(name, value, _WORDS[name]) for name in _WORDS},
    **dict.fromkeys(("record_paths", "strict", "verify", "compat"), _check_switch),
    **dict.fromkeys(
        ("require_flags", "exclude_flags", "exclude_all_flags"),
        lambda name, value: parse_flags(value, name),
    ),
    **dict.fromkeys(("batch_bytes", "row_group_bytes"), _size),
    **{name: lambda name, value: _check_count(name, value, *_COUNTS[name]) for name in _COUNTS},
    **dict.fromkeys(("columns", "exclude_columns"), lambda _, value: _names(value)),
    **dict.fromkeys(("read_groups", "name_in"), lambda _, value: _texts(value)),
    "reference": _local,
    "mate": lambda _, value: keep_secret(path) if is_remote(path := os.fspath(value)) else path,
    "tag_types": lambda _, value: _tag_types(value),
    "tag_in": lambda _, value: _tag_in(value),
    "shard": _shard,
    "filter": lambda _, value: parse_filter(value),
}


def semantic_options(options: Mapping[str, Any]) -> dict[str, Any]:
    """Give what can change a byte of the output, as the engine names it.

    Raises
    ------
    InputError
        If an option is out of range or malformed.
    FormatError
        If a line of a list or region file is wrong.

    Examples
    --------
    >>> semantic_options({"min_mapq": 30, "exclude_flags": "UNMAP,DUP", "regions": "chr1"})
    {'min_mapq': 30, 'exclude_flags': 1028, 'regions': ['chr1']}
    """
    given = ((name, value) for name, value in options.items() if value is not None)
    found = {name: _SEMANTIC[name](name, value) for name, value in given if name in _SEMANTIC}
    # An option at its default is the same as none, also in what an output says of itself.
    changed = {name: value for name, value in found.items() if value != _DEFAULTS.get(name)}
    return changed | _regions(options) | _compression(options)


def _checkpoint(value: int | str | None) -> dict[str, Any]:
    """Read ``1GiB|30s``: bytes of output, seconds, or both.

    Examples
    --------
    >>> _checkpoint("1GiB|30s")
    {'checkpoint_bytes': 1073741824, 'checkpoint_seconds': 30.0}
    """
    found: dict[str, Any] = {}
    if value is None:
        return found
    for part in str(value).split("|"):
        duration = _DURATION.fullmatch(part.strip())
        name = "checkpoint_seconds" if duration else "checkpoint_bytes"
        if name in found:
            raise _wrong("checkpoint_every", value, "a size, a time, or both, such as 1GiB|30s")
        if duration:
            found[name] = float(duration["number"]) * _SECONDS[duration["unit"]]
        else:
            found[name] = _size("checkpoint_every", part.strip())
    return found


def _ranges(value: int | None) -> dict[str, int]:
    name = "concurrent_ranges"
    return {} if value is None else {name: _check_count(name, value, 1, RANGES_MAX)}


def engine_options(options: Mapping[str, Any], threads: int) -> dict[str, Any]:
    """Give what cannot change the output: how to read, pools, buffers, checkpoints."""
    resources: dict[str, Any] = {}
    for option in _BUFFERS:
        if options.get(option) is not None:
            resources[option] = _size(option, options[option])
    if options.get("io") is not None:
        resources["io"] = check_word("io", options["io"], _IO_MODES)
    if options.get("queue_depth") is not None:
        resources["queue_depth"] = _check_count("queue_depth", options["queue_depth"], 1, 1024)
    counts = [options.get(option) for option in _STAGE_THREADS]
    if any(count is not None for count in counts):
        # Measured need: loading 1, processing 0.4, writing 3 to 4 (bytes of Parquet with zstd).
        defaults = (max(1, threads // 4), max(1, threads // 8))
        rest = max(1, threads - sum(defaults))
        resources["stage_threads"] = [
            default if count is None else _check_count(option, count, 1, 4096)
            for option, count, default in zip(
                _STAGE_THREADS, counts, (*defaults, rest), strict=True
            )
        ]
    found: dict[str, Any] = {"resources": resources, **_checkpoint(options.get("checkpoint_every"))}
    for option in ("index", "bad_records"):
        if options.get(option) is not None:
            found[option] = os.fspath(options[option])
    if is_remote(found.get("index", "")):
        found["index"] = keep_secret(found["index"])
    found |= _ranges(options.get("concurrent_ranges"))
    if not _check_switch("provenance", options.get("provenance", True)):
        found["no_provenance"] = True
    return found


def summarize_options(options: Mapping[str, Any]) -> dict[str, Any]:
    """Give the options for the report; of a long list only its length."""
    found: dict[str, Any] = {}
    for name, value in options.items():
        if value is None:
            continue
        if isinstance(value, os.PathLike):
            found[name] = os.fspath(value)
        elif isinstance(value, Mapping):
            found[name] = summarize_options(value)
        elif isinstance(value, Sequence | set | frozenset) and not isinstance(value, str):
            items = list(value)
            long = len(items) > _SHOWN_ITEMS
            found[name] = f"{len(items)} values" if long else [_plain(item) for item in items]
        else:
            found[name] = _plain(value)
    return found


def _plain(value: object) -> Any:
    if isinstance(value, str | int | float | bool) or value is None:
        return value
    return [_plain(item) for item in value] if isinstance(value, tuple | list) else str(value)
