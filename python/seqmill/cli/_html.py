"""The HTML report: one small file, readable offline and without script, light and dark."""

import importlib.util
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any, Final

from seqmill._units import format_count, format_seconds, format_size
from seqmill.errors import InputError

__all__ = [
    "MOST_BYTES",
    "Figure",
    "Section",
    "Table",
    "missing_packages",
    "require_extra",
    "write_page",
]

MOST_BYTES: Final = 300 * 1024
"""No page is larger."""

_MANY_RECORDS: Final = 1000
_NEEDED: Final = ("jinja2", "matplotlib")
_TEMPLATES: Final = "report_templates"
_MOST_JSON_BYTES: Final = 96 * 1024
_MOST_ROWS: Final = 60
_MOST_TEXT: Final = 300
_MIB: Final = 1 << 20
_STATES: Final = (
    ("busy_s", "at work"),
    ("wait_input_s", "waiting for input"),
    ("wait_output_s", "waiting for output"),
    ("wait_memory_s", "waiting for memory"),
)


@dataclass(frozen=True, slots=True)
class Table:
    """A table of a page.

    Attributes
    ----------
    columns
        Headings.
    rows
        Cells as text.
    right
        Headings of the columns that stand at the right edge.
    """

    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    right: Sequence[str] = ()

    @property
    def left_out(self) -> int:
        """How many rows a page leaves out."""
        return max(0, len(self.rows) - _MOST_ROWS)


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """A picture of a page.

    Attributes
    ----------
    caption, note
        What it shows, and what to read from it.
    svg
        Markup of :mod:`seqmill.cli._pictures`; it is not escaped.
    table
        The same in numbers.
    wide
        Whether it takes the whole width.
    """

    caption: str
    svg: str
    note: str = ""
    table: Table | None = None
    wide: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """A part of a page with pictures, or a table, or both."""

    title: str
    text: str = ""
    figures: Sequence[Figure] = ()
    table: Table | None = None


def missing_packages() -> list[str]:
    """Name the packages that pages take and that are not installed."""
    return [name for name in _NEEDED if importlib.util.find_spec(name) is None]


def require_extra() -> None:
    """Refuse to go on when the packages that make pages are not installed.

    Raises
    ------
    InputError
        Names what is missing and how to get it.
    """
    missing = missing_packages()
    if missing:
        raise InputError(
            f"--html needs {' and '.join(missing)}, which this installation lacks: "
            "pip install 'seqmill[report]'"
        )


def write_page(
    path: str | os.PathLike[str],
    *,
    title: str,
    document: Mapping[str, Any],
    sections: Iterable[Section] = (),
) -> None:
    """Write a report as one HTML file; an earlier one is replaced.

    Parameters
    ----------
    path
        File to write; it appears when it is complete.
    title
        Heading of the page.
    document
        Metrics document of the job (``result.metrics.to_dict()``). It is also embedded as JSON,
        its longest lists cut where the page would get too large.
    sections
        What the page shows of the results, before where time and memory went.

    Raises
    ------
    InputError
        If the extra `report` is not installed.
    """
    require_extra()
    page = render_page(title=title, document=document, sections=sections)
    target = Path(path)
    part = target.with_name(f".{target.name}.part")
    try:
        part.write_text(page, encoding="utf-8", errors="backslashreplace")
        os.replace(part, target)  # noqa: PTH105 - one atomic step
    finally:
        part.unlink(missing_ok=True)


def render_page(
    *, title: str, document: Mapping[str, Any], sections: Iterable[Section] = ()
) -> str:
    """Give the text of a report; see :func:`write_page`."""
    import jinja2  # noqa: PLC0415 - an extra
    from markupsafe import Markup  # noqa: PLC0415

    folder = resources.files("seqmill").joinpath(_TEMPLATES)
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {"svg": Markup, "cut": _cut}
    template = environment.from_string(
        folder.joinpath("page.html.j2").read_text(encoding="utf-8"),
        globals={"most_rows": _MOST_ROWS},
    )
    values = {
        "title": title,
        "style": Markup(folder.joinpath("page.css").read_text(encoding="utf-8")),  # noqa: S704
        "summary": _summary(document),
        "tiles": _tiles(document),
        "sections": list(sections),
        "stages": _stages(document),
        "states": [name for _, name in _STATES],
        "memory": _memory_figure(document),
        "memory_rows": _memory_table(document),
        "bottleneck": (document.get("detail") or {}).get("bottleneck"),
        "warnings": _cut_list((document.get("detail") or {}).get("warnings")),
        "files": _file_table(document),
        "options": _option_table(document),
        "document": _embedded(document, _MOST_JSON_BYTES),
    }
    page = template.render(values)
    if _is_too_large(page):
        values["document"] = _embedded(document, _MOST_JSON_BYTES // 8)
        page = template.render(values)
    while _is_too_large(page) and values["sections"]:
        values["sections"] = values["sections"][:-1]
        page = template.render(values)
    return page


def _is_too_large(page: str) -> bool:
    return len(page.encode(errors="backslashreplace")) > MOST_BYTES


def _cut(value: object, length: int = _MOST_TEXT) -> str:
    text = str(value)
    return text if len(text) <= length else f"{text[:length]}…"


def _cut_list(values: Sequence[str] | None) -> list[str]:
    kept = [_cut(value) for value in (values or ())[:_MOST_ROWS]]
    more = len(values or ()) - len(kept)
    return [*kept, f"and {more} more"] if more else kept


def _summary(document: Mapping[str, Any]) -> dict[str, Any]:
    job = document.get("job") or {}
    argv = job.get("argv")
    return {
        "command": _cut(" ".join(_quote(word) for word in argv), 1000) if argv else None,
        "name": job.get("command"),
        "status": job.get("status"),
        "error": job.get("error"),
        "version": job.get("version"),
        "features": " ".join(job.get("features") or ()),
        "started": _minute(job.get("started")),
    }


def _quote(word: str) -> str:
    import shlex  # noqa: PLC0415 - only when a page is made

    return shlex.quote(word)


def _minute(time: str | None) -> str | None:
    """Shorten 2026-01-31T12:59:00.123456Z to the minute."""
    return None if time is None else f"{time[:10]} {time[11:16]} UTC"


def _tiles(document: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """Choose the figures that stand at the top: heading, figure, explanation."""
    totals, memory = document.get("totals") or {}, document.get("memory") or {}
    made, rate, wall = (totals.get(k) for k in ("records_out", "records_per_s", "wall_s"))
    records = totals.get("records_in")
    # Of some jobs, such as counting k-mers, what is written are not the records that were read.
    are_read = made is not None and records is not None and made > records
    if made is not None and not are_read:
        records = made
    cpu = [totals.get(key) for key in ("cpu_user_s", "cpu_sys_s")]
    bytes_in, bytes_out = totals.get("bytes_in"), totals.get("bytes_out")
    tiles = []
    if records is not None and (records or bytes_in):
        # Of a few long records a rate says nothing.
        note = f"{format_count(rate)} a second" if rate and records >= _MANY_RECORDS else ""
        tiles.append(("records read" if are_read else "records", format_count(records), note))
    if wall is not None:
        known = [value for value in cpu if value is not None]
        note = f"{format_seconds(sum(known))} of CPU" if known else ""
        tiles.append(("time", format_seconds(wall), note))
    if bytes_in:
        speed = totals.get("mb_in_per_s")
        tiles.append(("read", format_size(bytes_in), f"{speed:.3g} MB a second" if speed else ""))
    if bytes_out:
        note = f"{bytes_out / bytes_in:.2f} x the input" if bytes_in else ""
        tiles.append(("written", format_size(bytes_out), note))
    peak, limit = memory.get("rss_peak"), memory.get("limit")
    if peak is not None:
        note = f"of {format_size(limit)} allowed" if limit else ""
        tiles.append(("peak memory", format_size(peak), note))
    return tiles


def _stages(document: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Give for each stage the widths of its bar in percent of the longest one."""
    found = []
    for stage in document.get("stages") or ():
        seconds = [float(stage.get(key) or 0.0) for key, _ in _STATES]
        found.append((stage, seconds))
    longest = max((sum(seconds) for _, seconds in found), default=0.0) or 1.0
    return [
        {
            "name": stage.get("name"),
            "threads": stage.get("threads"),
            "widths": [round(value / longest * 100, 2) for value in seconds],
            "seconds": [format_seconds(value) for value in seconds],
        }
        for stage, seconds in found
    ]


def _memory_figure(document: Mapping[str, Any]) -> Figure | None:
    """Draw memory over time from ``detail.memory_samples``: pairs of seconds and bytes."""
    from seqmill.cli._pictures import draw_line  # noqa: PLC0415 - brings matplotlib

    samples: Sequence[Any] = (document.get("detail") or {}).get("memory_samples") or ()
    if len(samples) < 2:  # noqa: PLR2004 - a line has two ends
        return None
    step = -(-len(samples) // 400)
    kept = [*samples[::step], samples[-1]]
    limit = (document.get("memory") or {}).get("limit")
    highest = max(value for _, value in kept)
    # A limit far above what was used would press the line to the ground.
    shown = limit if limit and limit < 6 * highest else None
    svg = draw_line(
        [time for time, _ in kept],
        [value / _MIB for _, value in kept],
        label="Resident memory over time",
        y_label="resident memory, MiB",
        limit=shown / _MIB if shown else None,
        limit_text=f"limit {format_size(shown)}" if shown else "",
    )
    return Figure(caption="Memory over time", svg=svg, wide=True)


def _memory_table(document: Mapping[str, Any]) -> Table | None:
    memory = document.get("memory") or {}
    names = (
        ("limit", "limit"),
        ("peak of the process", "rss_peak"),
        ("peak of private memory", "anon_peak"),
        ("peak of mapped files", "mapped_peak"),
        ("peak of reservations", "reserved_peak"),
    )
    rows = [(name, format_size(memory[key])) for name, key in names if memory.get(key) is not None]
    rows += [
        (_cut(item.get("name"), 60), format_size(item["peak"]))
        for item in memory.get("consumers") or ()
        if item.get("peak")
    ]
    return Table(("memory", "bytes"), rows, right=("bytes",)) if rows else None


def _file_table(document: Mapping[str, Any]) -> Table | None:
    rows = []
    for kind, key in (("input", "inputs"), ("output", "outputs")):
        for item in document.get(key) or ():
            size, records = item.get("bytes"), item.get("records")
            cells = (
                kind,
                str(item.get("path")),
                "" if size is None else format_size(size),
                "" if records is None else format_count(records),
            )
            rows.append(cells)
    columns = ("", "file", "size", "records")
    return Table(columns, rows, right=("size", "records")) if rows else None


def _option_table(document: Mapping[str, Any]) -> Table | None:
    options = document.get("options") or {}
    rows = [
        (str(name), value if isinstance(value, str) else json.dumps(value, default=str))
        for name, value in options.items()
        if value is not None
    ]
    return Table(("option", "value"), rows) if rows else None


def _embedded(document: Mapping[str, Any], most_bytes: int) -> Any:
    """Give the document for the page, its lists and texts cut until it is small enough."""
    if len(json.dumps(document, default=str)) <= most_bytes:
        return document
    for items in (1000, 300, 100, 30, 10, 3, 1):
        smaller = {**_trimmed(document, items), "trimmed": True}
        if len(json.dumps(smaller, default=str)) <= most_bytes:
            return smaller
    return {"schema": document.get("schema"), "trimmed": True}


def _trimmed(value: Any, items: int) -> Any:
    if isinstance(value, Mapping):
        return {key: _trimmed(inner, items) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_trimmed(inner, items) for inner in value[:items]]
    return _cut(value, 2000) if isinstance(value, str) else value
