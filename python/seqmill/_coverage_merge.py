"""Parts of a coverage job put together in the order of the list (`kmers.md` §6.5)."""

import json
import os
import re
import shutil
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Final

from seqmill._coverage_request import Regions
from seqmill._outputs import refuse_existing
from seqmill._text_lines import read_lines
from seqmill.errors import FormatError, InputError

__all__ = ["merge_parts"]

_TABLE: Final = "coverage.tsv"
_MERGED: Final = "merged_coverage.txt"
_SUMMARY: Final = "coverage_summary.json"
_DETAILS: Final = ("metric", "k", "strand", "input")
_FOLDER: Final = "coverage"
_NAME_CHARACTERS: Final = 180
_BED_FIELDS: Final = 3
_LISTED: Final = 10


@dataclass(frozen=True, slots=True)
class _Entry:
    """A region of a part: its row of the table and the place of its lines."""

    part: int
    row: str
    offset: int
    size: int


@dataclass(slots=True)
class _Parts:
    """Everything that the parts hold, by region."""

    paths: list[Path]
    heading: str | None = None
    entries: dict[str, list[_Entry]] = field(default_factory=dict)
    order: list[str] = field(default_factory=list)
    ends: dict[tuple[str, int], list[int]] = field(default_factory=dict)
    details: dict[str, Any] | None = None
    has_files: bool = False

    def take(self, number: int) -> None:
        """Read the table and the lines of a part."""
        folder = self.paths[number]
        table = folder / _TABLE
        with table.open(encoding="utf-8", newline="\n") as rows, (folder / _MERGED).open("rb") as m:
            heading = rows.readline().rstrip("\r\n")
            if self.heading is None:
                if not heading.startswith("region\tlabel\tlength\t"):
                    message = f"{table}: no table of coverage: its columns do not begin region"
                    raise FormatError(message, path=str(table), line=1)
                self.heading = heading
            elif heading != self.heading:
                message = f"{table}: other columns than in {self.paths[0] / _TABLE}"
                raise FormatError(message, path=str(table))
            for line, text in enumerate(rows, start=2):
                row = text.rstrip("\r\n")
                region = row.partition("\t")[0]
                name, begin, end = _split_region(region, table, line)
                offset = m.tell()
                size = _skip_lines(m, name, end, folder / _MERGED)
                self.entries.setdefault(region, []).append(_Entry(number, row, offset, size))
                self.order.append(region)
                self.ends.setdefault((name, begin), []).append(end)
            if m.read(1):
                message = f"{folder / _MERGED}: more lines than the regions of {table}"
                raise FormatError(message, path=str(folder / _MERGED))
        self._take_details(folder)
        self.has_files |= (folder / _FOLDER).is_dir()

    def _take_details(self, folder: Path) -> None:
        path = folder / _SUMMARY
        if not path.exists():
            return
        try:
            details = json.loads(path.read_text(encoding="utf-8")).get("details") or {}
        except (ValueError, AttributeError) as error:
            message = f"{path}: no summary of coverage: {error}"
            raise FormatError(message, path=str(path)) from None
        same = {key: details.get(key) for key in (*_DETAILS, "options")}
        if self.details is None:
            self.details = same
        elif same != self.details:
            differing = [key for key in same if same[key] != self.details[key]]
            key = differing[0]
            message = (
                f"{path}: {key} is {same[key]!r}, in {self.paths[0] / _SUMMARY} "
                f"it is {self.details[key]!r}"
            )
            raise FormatError(message, path=str(path))


def _split_region(region: str, path: Path, line: int) -> tuple[str, int, int]:
    name, colon, stretch = region.rpartition(":")
    begin, dash, end = stretch.partition("-")
    if not colon or not dash or not begin.isdecimal() or not end.isdecimal():
        message = f"{path}: line {line}: {region[:200]!r} is no region"
        raise FormatError(message, path=str(path), line=line)
    return name, int(begin), int(end)


def _skip_lines(lines: IO[bytes], name: str, end: int, path: Path) -> int:
    """Pass over the lines of a region, up to the one that ends where the region does."""
    prefix, suffix = f"{name}:".encode(), f"-{end}".encode()
    size = 0
    for line in iter(lines.readline, b""):
        size += len(line)
        region, blank, value = line.rstrip(b"\r\n").rpartition(b" ")
        if not blank or not value.isdigit() or not region.startswith(prefix):
            break
        if region.endswith(suffix):
            return size
    message = f"{path}: the lines of {name}, which end at {end}, are not there"
    raise FormatError(message, path=str(path))


def merge_parts(
    paths: Sequence[Path], regions: Regions | None, output: Path, *, force: bool
) -> None:
    """Write the outputs of a job over the whole list from the outputs of its parts."""
    folders = [path.parent if path.is_file() else path for path in paths]
    for path, folder in zip(paths, folders, strict=True):
        if path.is_file() and path.name != _TABLE:
            message = f"{path}: a part is a folder, or the {_TABLE} in it"
            raise InputError(message, option="parts", value=str(path))
        if not folder.is_dir():
            raise FileNotFoundError(2, "no such folder", str(folder))
    for name in (_TABLE, _MERGED, _SUMMARY, _FOLDER):
        refuse_existing(output / name, force=force)
    parts = _Parts(folders)
    for number in range(len(folders)):
        parts.take(number)
    if regions is None:
        order = parts.order
        labels: list[str | None] = [None] * len(order)
    else:
        listed = [_resolve(parts, asked) for asked in _asked(regions)]
        order, labels = [region for region, _ in listed], [label for _, label in listed]
    _check(parts, order)
    staged = output.with_name(f".{output.name}.part")
    shutil.rmtree(staged, ignore_errors=True)
    try:
        _write(parts, order, labels, staged)
        _publish(staged, output)
    finally:
        shutil.rmtree(staged, ignore_errors=True)


@dataclass(frozen=True, slots=True)
class _Asked:
    """A line of the list: a region as it was asked for."""

    text: str
    name: str
    begin: int
    end: int | None
    label: str | None
    place: str


def _asked(regions: Regions) -> Iterator[_Asked]:
    if isinstance(regions, str | os.PathLike) and Path(regions).is_file():
        yield from _asked_in_file(Path(regions))
        return
    if isinstance(regions, os.PathLike):
        raise FileNotFoundError(2, "no such file", os.fspath(regions))
    texts = [regions] if isinstance(regions, str) else regions
    for region in texts:
        if isinstance(region, str):
            yield _parse(region, None, f"region {region!r}")
        else:
            name, begin, end = region
            yield _Asked(str(region), name, begin + 1, end, None, f"region {region!r}")


def _asked_in_file(path: Path) -> Iterator[_Asked]:
    bed = path.name.lower().removesuffix(".gz").endswith(".bed")
    for number, line in read_lines(path):
        text, place = line.strip(), f"{path}: line {number}"
        if not text or text.startswith("#"):
            continue
        if not bed:
            region, _, label = text.partition("\t")
            yield _parse(region.strip(), label.split("\t")[0].strip() or None, place)
            continue
        fields = text.split("\t") if "\t" in text else text.split()
        if fields[0] in ("track", "browser"):
            continue
        if len(fields) < _BED_FIELDS or not (fields[1] + fields[2]).isdecimal():
            raise FormatError(f"{place}: {text[:200]!r} is no line of BED", path=str(path))
        named = (fields[3].strip() if len(fields) > _BED_FIELDS else "") or None
        yield _Asked(text, fields[0], int(fields[1]) + 1, int(fields[2]), named, place)


_RANGE: Final = re.compile(r"(?P<begin>[0-9,]+)(?:-(?P<end>[0-9,]*))?")


def _parse(text: str, label: str | None, place: str) -> _Asked:
    """Read a region string; whether a colon belongs to the name is decided by the parts."""
    bare = text
    if text.startswith("{") and "}" in text:
        name, _, stretch = text[1:].partition("}")
        bare = f"{name}:{stretch.removeprefix(':')}" if stretch else name
        if not stretch:
            return _Asked(text, name, 1, None, label, place)
    name, colon, stretch = bare.rpartition(":")
    found = _RANGE.fullmatch(stretch) if colon else None
    if found is None:
        return _Asked(text, bare, 1, None, label, place)
    begin = int(found["begin"].replace(",", "") or 0)
    end = (found["end"] or "").replace(",", "")
    return _Asked(text, name, begin, int(end) if end else None, label, place)


def _resolve(parts: _Parts, asked: _Asked) -> tuple[str, str | None]:
    """Find the region of the parts that a line of the list stands for.

    An end that is not given, or lies behind the sequence, is that of the sequence: no region of
    the parts that begins there reaches farther.
    """
    whole = parts.ends.get((asked.text, 1))
    if whole:
        return f"{asked.text}:1-{max(whole)}", asked.label
    exact = f"{asked.name}:{asked.begin}-{asked.end}"
    if exact in parts.entries:
        return exact, asked.label
    ends = parts.ends.get((asked.name, asked.begin), [])
    if asked.end is not None:
        ends = [end for end in ends if end < asked.end]
    if not ends:
        message = f"{asked.place}: {asked.text!r} is in none of the parts"
        raise FormatError(message)
    return f"{asked.name}:{asked.begin}-{max(ends)}", asked.label


def _check(parts: _Parts, order: Sequence[str]) -> None:
    """Each region is there as often as in the list."""
    wanted, found = Counter(order), Counter(parts.order)
    wrong = [
        region
        for region in dict.fromkeys([*order, *parts.order])
        if wanted[region] != found[region] or _is_doubled(parts, region, wanted[region])
    ]
    if not wrong:
        return
    shown = []
    for region in wrong[:_LISTED]:
        places = sorted({str(parts.paths[e.part]) for e in parts.entries.get(region, [])})
        where = f" (in {', '.join(places)})" if places else ""
        shown.append(f"{region} is there {found[region]} times, not {wanted[region]}{where}")
    more = f", and {len(wrong) - _LISTED} more" if len(wrong) > _LISTED else ""
    raise FormatError(f"parts do not make the list: {'; '.join(shown)}{more}")


def _is_doubled(parts: _Parts, region: str, wanted: int) -> bool:
    """Tell whether parts disagree about a region, or one was given twice."""
    entries = parts.entries[region]
    rows = {_without_label(entry.row) for entry in entries}
    return len(rows) > 1 or len(entries) != wanted


def _without_label(row: str) -> str:
    region, _, rest = row.partition("\t")
    _, _, figures = rest.partition("\t")
    return f"{region}\t{figures}"


def _write(parts: _Parts, order: Sequence[str], labels: Sequence[str | None], folder: Path) -> None:
    (folder / _FOLDER if parts.has_files else folder).mkdir(parents=True)
    sources = [(path / _MERGED).open("rb") for path in parts.paths]
    left = {region: iter(entries) for region, entries in parts.entries.items()}
    values: Counter[int] = Counter()
    lengths: dict[str, int] = {}
    names: Counter[str] = Counter()
    try:
        with (
            (folder / _TABLE).open("w", encoding="utf-8", newline="\n") as table,
            (folder / _MERGED).open("wb") as merged,
        ):
            if parts.heading is not None:
                table.write(f"{parts.heading}\n")
            for region, label in zip(order, labels, strict=True):
                entry = next(left[region])
                columns = entry.row.split("\t")
                if label is not None:
                    columns[1] = label
                table.write("\t".join(columns) + "\n")
                lengths[region] = int(columns[2])
                source = sources[entry.part]
                source.seek(entry.offset)
                lines = source.read(entry.size)
                merged.write(lines)
                values.update(int(line.rpartition(b" ")[2]) for line in lines.splitlines())
                if parts.has_files:
                    (folder / _FOLDER / _file_name(region, names)).write_bytes(lines)
    finally:
        for source in sources:
            source.close()
    details = {
        "regions": len(lengths),
        "bases": sum(lengths.values()),
        **(parts.details or dict.fromkeys(_DETAILS)),
    }
    if details.get("options") is None:
        details.pop("options", None)
    text = json.dumps(_summary(values, details), indent=2, ensure_ascii=False)
    (folder / _SUMMARY).write_text(f"{text}\n", encoding="utf-8")


def _file_name(region: str, names: "Counter[str]") -> str:
    """Give the name of a region file, as the engine does."""
    name, _, stretch = region.rpartition(":")
    safe = re.sub(r"[^A-Za-z0-9._+-]", "_", name)[:_NAME_CHARACTERS]
    stem = f"coverage_{safe}_{stretch}"
    while True:
        names[stem] += 1
        if names[stem] == 1:
            return f"{stem}.txt"
        other = f"{stem}.{names[stem]}"
        if other not in names:
            names[other] = 1
            return f"{other}.txt"


def _summary(values: "Counter[int]", details: dict[str, Any]) -> dict[str, Any]:
    n, total = values.total(), sum(value * count for value, count in values.items())
    mean = 0 if n == 0 else total // n if total % n == 0 else total / n
    middle = [_at(values, (n - 1) // 2), _at(values, n // 2)] if n else [0, 0]
    return {
        "total_regions": n,
        "min_coverage": min(values, default=0),
        "max_coverage": max(values, default=0),
        "mean_coverage": mean,
        "median_coverage": sum(middle) / 2,
        "details": details,
    }


def _at(values: "Counter[int]", place: int) -> int:
    before = 0
    for value in sorted(values):
        before += values[value]
        if place < before:
            return value
    return 0


def _publish(staged: Path, output: Path) -> None:
    output.parent.mkdir(parents=True, exist_ok=True)
    if not output.exists():
        staged.replace(output)
        return
    target = output / _FOLDER
    if target.is_dir():
        for path in target.glob("coverage_*.txt"):
            path.unlink()
    if (staged / _FOLDER).is_dir():
        target.mkdir(exist_ok=True)
        for path in (staged / _FOLDER).iterdir():
            path.replace(target / path.name)
    (output / "coverage.parquet").unlink(missing_ok=True)
    for name in (_TABLE, _MERGED, _SUMMARY):
        (staged / name).replace(output / name)
