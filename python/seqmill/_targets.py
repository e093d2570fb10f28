"""Which outputs a conversion has: one, one for each input, or one for each partition."""

import errno
import os
from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias
from urllib.parse import quote

from seqmill._keywords import PathLike
from seqmill._outputs import refuse_inputs
from seqmill._request import check_word
from seqmill._scan import AlignmentScan
from seqmill._tasks import Task
from seqmill.errors import InputError, OutputExistsError

__all__ = ["output_format", "plan_tasks"]

FormatName: TypeAlias = Literal["parquet", "arrow", "arrows"]

FORMATS: Final[Mapping[str, FormatName]] = {
    ".parquet": "parquet",
    ".arrow": "arrow",
    ".feather": "arrow",
    ".ipc": "arrow",
    ".arrows": "arrows",
}
_SUFFIXES: Final = {"parquet": ".parquet", "arrow": ".arrow", "arrows": ".arrows"}
_PARTITIONS: Final = ("source", "rname", "read_group")
_NO_VALUE: Final = "__HIVE_DEFAULT_PARTITION__"
_SHARDS_MAX: Final = 99_999
_PASSES_MAX: Final = 1024
"""Partitions of an input without an index, each of which is a pass over it."""


def output_format(path: str, chosen: str | None) -> FormatName:
    """Find the format of an output: as chosen, else by its suffix.

    Examples
    --------
    >>> output_format("x.parquet", None), output_format("-", None), output_format("x", "arrow")
    ('parquet', 'arrows', 'arrow')
    """
    if chosen is not None:
        names = tuple(dict.fromkeys(FORMATS.values()))
        word = check_word("format", chosen, names)
        if path == "-" and word != "arrows":
            raise InputError(
                f"format {word} needs a file; standard output takes arrows",
                option="format",
                value=word,
            )
        return next(name for name in names if name == word)
    if path == "-":
        return "arrows"
    suffix = Path(path).suffix.lower()
    if suffix not in FORMATS:
        allowed = ", ".join(FORMATS)
        raise InputError(
            f"{path}: suffix {suffix!r} names no format; use one of {allowed}, or give the format "
            "(parquet, arrow, arrows)",
            option="output",
            value=path,
            allowed=allowed,
        )
    return FORMATS[suffix]


def plan_tasks(
    paths: Sequence[str],
    request: Mapping[str, Any],
    *,
    output: str | None,
    out_dir: PathLike | None,
    name: str | None,
    partition_by: str | Sequence[str] | None,
    chosen_format: str | None,
    index_only: bool,
    shards: int | None = None,
) -> list[Task]:
    """List the outputs and what each is made of.

    Raises
    ------
    InputError
        If it is not clear what to write where.
    OutputExistsError
        If an output exists and may not be replaced.
    """
    if index_only:
        if output is not None or out_dir is not None:
            raise InputError(
                "index_only writes no table; leave out output and out_dir", option="index_only"
            )
        return [_index_task(path, request) for path in paths]
    _check_combination(output, out_dir, name, partition_by)
    _check_shards(shards, out_dir, partition_by, request)
    _check_counts(partition_by, shards, request["semantic"])
    if output is not None:
        tasks = [_task(paths, output, request, output_format(output, chosen_format))]
    else:
        folder = Path(os.fspath(out_dir or "."))
        if partition_by is not None:
            tasks = list(_partitions(paths, folder, request, partition_by, chosen_format))
        else:
            tasks = [
                _task([path], place, request, output_format(target, chosen_format), **semantic)
                for path, target in _targets(paths, folder, name, chosen_format)
                for place, semantic in _shards(target, shards)
            ]
    _check_single(tasks, paths, request)
    _check_outputs(tasks, request, made=out_dir is not None)
    for task in tasks:
        if out_dir is not None and task.output is not None:
            Path(task.output).parent.mkdir(parents=True, exist_ok=True)
    return tasks


def _check_combination(
    output: str | None,
    out_dir: PathLike | None,
    name: str | None,
    partition_by: str | Sequence[str] | None,
) -> None:
    if (output is None) == (out_dir is None):
        raise InputError(
            "give an output for all inputs, or out_dir for one output of each (-o or --out-dir)",
            option="output",
        )
    for option, value in (("name", name), ("partition_by", partition_by)):
        if value is not None and out_dir is None:
            raise InputError(f"{option} needs out_dir", option=option, value=value)
    if name is not None and partition_by is not None:
        raise InputError("name has no meaning with partition_by", option="name", value=name)


def _check_shards(
    shards: int | None,
    out_dir: PathLike | None,
    partition_by: str | Sequence[str] | None,
    request: Mapping[str, Any],
) -> None:
    if shards is None:
        return
    if not isinstance(shards, int) or isinstance(shards, bool) or not 1 <= shards <= _SHARDS_MAX:
        raise InputError(
            f"{shards!r} is not allowed; shards takes 1 to {_SHARDS_MAX:,}",
            option="shards",
            value=shards,
        )
    if out_dir is None or partition_by is not None or "shard" in request["semantic"]:
        raise InputError(
            "shards needs out_dir, and neither partition_by nor shard", option="shards"
        )


def _check_counts(
    partition_by: str | Sequence[str] | None, shards: int | None, semantic: Mapping[str, Any]
) -> None:
    """Refuse what counts records of an input where each output has a part of them."""
    for option in ("limit", "offset"):
        if option in semantic and (partition_by is not None or shards is not None):
            divided = "shards" if partition_by is None else "partition_by"
            message = f"{option} counts records of one output, but {divided} makes several"
            raise InputError(f"{message}; leave one of them out", option=option)


def _shards(target: str, shards: int | None) -> Iterator[tuple[str, dict[str, Any]]]:
    """Give the outputs of one input, and what each is of it.

    Examples
    --------
    >>> [place for place, _ in _shards("d/x.parquet", 2)]
    ['d/x.00000-of-00002.parquet', 'd/x.00001-of-00002.parquet']
    """
    if shards is None:
        yield target, {}
        return
    stem, suffix = os.path.splitext(target)  # noqa: PTH122 - also where there is none
    for part in range(shards):
        yield f"{stem}.{part:05}-of-{shards:05}{suffix}", {"shard": (part, shards)}


def _check_single(tasks: Sequence[Task], paths: Sequence[str], request: Mapping[str, Any]) -> None:
    """Refuse what makes sense for one input or one output only."""
    given = {"index": request.get("index"), "mate": request["semantic"].get("mate")}
    for option, value in given.items():
        if value is not None and len(paths) > 1:
            raise InputError(
                f"{option} belongs to one input; {len(paths)} are given", option=option
            )
    if request.get("bad_records") is not None and len(tasks) > 1:
        raise InputError("bad_records needs one output, not a folder of them", option="bad_records")
    if request["resume"] and tasks[0].output == "-":
        raise InputError("resume needs an output that is a file", option="resume")


def _task(
    paths: Sequence[str], output: str, request: Mapping[str, Any], format_: str, **semantic: Any
) -> Task:
    options = {
        **request,
        "inputs": list(paths),
        "output": output,
        "semantic": {"format": format_, **request["semantic"], **semantic},
    }
    alone = len(paths) == 1 and "shard" not in semantic
    return Task(name=paths[0] if alone else output, options=options)


def _index_task(path: str, request: Mapping[str, Any]) -> Task:
    return Task(name=path, options={**request, "inputs": [path], "index_only": True})


def _stem(path: str) -> str:
    """Take the suffixes off.

    Examples
    --------
    >>> _stem("runs/a.sam.gz"), _stem("b.bam"), _stem("-")
    ('a', 'b', 'stdin')
    """
    if path == "-":
        return "stdin"
    name = Path(path).name
    name = name.removesuffix(".gz")
    return name.rsplit(".", 1)[0] if "." in name[1:] else name


def _targets(
    paths: Sequence[str], folder: Path, name: str | None, chosen_format: str | None
) -> Iterator[tuple[str, str]]:
    pattern = name if name is not None else "{stem}" + _SUFFIXES.get(chosen_format or "parquet", "")
    taken: dict[str, str] = {}
    for path in paths:
        try:
            file = pattern.format(stem=_stem(path))
        except (KeyError, IndexError, ValueError):
            file = ""
        if not file or Path(file).name != file:
            raise InputError(
                f"{pattern!r} is no name of a file; name takes text with {{stem}}, such as "
                "'{stem}.parquet'",
                option="name",
                value=name,
            )
        if file in taken:
            raise InputError(
                f"{taken[file]} and {path} would both become {file}; rename one, or use "
                "different folders",
                option="name",
                value=name,
            )
        taken[file] = path
        yield path, str(folder / file)


def _check_outputs(tasks: Sequence[Task], request: Mapping[str, Any], *, made: bool) -> None:
    """Refuse outputs that exist or are inputs; `made`: folders are made, not only used."""
    for task in tasks:
        output = task.output
        if output in (None, "-"):
            continue
        target = Path(str(output))
        if not made and not target.parent.is_dir():
            raise FileNotFoundError(
                errno.ENOENT, os.strerror(errno.ENOENT), os.fspath(target.parent)
            )
        refuse_inputs([target], task.inputs)
        if target.exists() and not request["force"] and not request["resume"]:
            raise OutputExistsError(
                f"{output}: output exists; use --force (force=True) to replace it",
                path=str(output),
            )


def _partitions(
    paths: Sequence[str],
    folder: Path,
    request: Mapping[str, Any],
    partition_by: str | Sequence[str],
    chosen_format: str | None,
) -> Iterator[Task]:
    """List one task for each partition; those without records leave no file."""
    keys = partition_by.split(",") if isinstance(partition_by, str) else list(partition_by)
    if not keys or len(set(keys)) != len(keys) or not set(keys) <= set(_PARTITIONS):
        allowed = "source, rname, read_group, each at most once"
        raise InputError(
            f"{partition_by!r} is not allowed; partition_by takes {allowed}",
            option="partition_by",
            value=partition_by,
            allowed=allowed,
        )
    format_ = output_format(f"part{_SUFFIXES['parquet']}", chosen_format)
    groups = [[path] for path in paths] if "source" in keys else [list(paths)]
    if "source" in keys:
        _check_sources(paths)
    for group in groups:
        with AlignmentScan({**request, "inputs": group}) as scan:
            names = [name for name, _ in scan.references] if "rname" in keys else []
            read_groups = _read_groups(scan.header) if "read_group" in keys else []
        indexed = len(group) == 1 and _has_index(group[0], request)
        if len(names) > _PASSES_MAX and not indexed:
            raise InputError(
                f"{group[0]}: {len(names):,} references without an index would be as many passes "
                "over the file; index it first, such as with samtools index",
                option="partition_by",
            )
        choices = {
            "source": [(Path(path).name, _Part()) for path in group],
            "rname": [*_by_name(names, request, indexed=indexed)],
            "read_group": [*_by_read_group(read_groups)],
        }
        for combination in product(*(choices[key] for key in keys)):
            yield _partition(
                group, folder, request, dict(zip(keys, combination, strict=True)), format_
            )


def _check_sources(paths: Sequence[str]) -> None:
    """Refuse inputs of one name: the same files would hold both, one after the other."""
    places: dict[str, str] = {}
    for path in paths:
        name = Path(path).name
        if name in places:
            message = f"{places[name]} and {path} would both be source={name}; rename one of them"
            raise InputError(message, option="partition_by")
        places[name] = path


class _Part:
    """Conditions of a partition: an expression, or regions for the index."""

    def __init__(self, condition: Any = None, **semantic: Any) -> None:
        self.condition = condition
        self.semantic = semantic


def _partition(
    group: Sequence[str],
    folder: Path,
    request: Mapping[str, Any],
    parts: Mapping[str, tuple[str, _Part]],
    format_: str,
) -> Task:
    place = folder
    semantic: dict[str, Any] = {}
    given = request["semantic"].get("filter")
    conditions = [] if given is None else [given]
    for key, (value, part) in parts.items():
        text = value if value == _NO_VALUE else quote(value, safe="")
        place /= f"{key}={text}"
        semantic |= part.semantic
        if part.condition is not None:
            conditions.append(part.condition)
    if conditions:
        semantic["filter"] = conditions[0] if len(conditions) == 1 else {"and": conditions}
    output = str(place / f"part-00000{_SUFFIXES[format_]}")
    task = _task(group, output, request, format_, **semantic)
    return Task(name=output, options=task.options, drop_empty=True)


def _by_name(
    names: Sequence[str], request: Mapping[str, Any], *, indexed: bool
) -> Iterator[tuple[str, _Part]]:
    free = not {"regions", "intervals"} & request["semantic"].keys()
    for name in names:
        if indexed and free:
            yield name, _Part(whole_reference=name)
        else:
            yield name, _Part({"compare": ["rname", "==", name]})
    yield _NO_VALUE, _Part(regions=["*"]) if indexed and free else _Part({"is_null": "rname"})


def _by_read_group(names: Sequence[str]) -> Iterator[tuple[str, _Part]]:
    for name in names:
        yield name, _Part({"compare": ["tags.RG", "==", name]})
    unknown = {"not": {"in": ["tags.RG", list(names)]}}
    yield _NO_VALUE, _Part({"or": [{"is_null": "tags.RG"}, unknown]})


def _read_groups(header: str) -> list[str]:
    lines = (line.split("\t") for line in header.splitlines() if line.startswith("@RG\t"))
    found = (field[3:] for fields in lines for field in fields if field.startswith("ID:"))
    return list(dict.fromkeys(found))


def _has_index(path: str, request: Mapping[str, Any]) -> bool:
    if request.get("index") is not None:
        return True
    beside = [Path(f"{path}{suffix}") for suffix in (".bai", ".csi")]
    beside += [Path(path).with_suffix(suffix) for suffix in (".bai", ".csi")]
    return any(index.exists() for index in beside)
