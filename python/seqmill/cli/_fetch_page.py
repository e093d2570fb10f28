"""Pictures of `seqmill fetch`: lengths of windows, throughput against workers."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from seqmill._units import format_count, format_size
from seqmill.cli._html import Figure, Section, Table, write_page
from seqmill.cli._pictures import compact, draw_bars

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["fetch_sections", "throughput_section", "write_fetch_page"]

_BARS: Final = 12


def write_fetch_page(path: "Path", document: Mapping[str, Any]) -> None:
    """Write the page of one run."""
    write_page(path, title="Windows", document=document, sections=fetch_sections(document))


def fetch_sections(document: Mapping[str, Any]) -> list[Section]:
    """Make the sections of what a metrics document says of windows and store."""
    detail = document["detail"]
    store, windows = detail["store"], detail.get("windows")
    rows = [
        ("files", format_count(store["files"])),
        ("contigs", format_count(store["contigs"])),
        ("index", format_size(store["index_bytes"])),
    ]
    if windows is not None:
        rows += [
            ("windows", format_count(windows["count"])),
            ("bases", format_count(windows["bases"])),
        ]
    table = Table(("what", "how much"), rows, right=("how much",))
    figures = []
    if windows is not None and windows["lengths"]:
        figures.append(_lengths(windows["lengths"]))
    return [Section(title="Store and windows", table=table, figures=figures)]


def _lengths(counts: Sequence[Sequence[int]]) -> Figure:
    """Draw how many windows have which length; neighbouring lengths share a bar."""
    step = -(-len(counts) // _BARS)
    labels, values = [], []
    for at in range(0, len(counts), step):
        group = counts[at : at + step]
        first, last = group[0][0], group[-1][0]
        labels.append(format_count(first) if first == last else f"{compact(first)}-{compact(last)}")
        values.append(sum(count for _, count in group))
    texts = [format_count(value) for value in values]
    svg = draw_bars(labels, [("windows", values, texts)], label="Windows by length")
    return Figure(caption="Windows by length in bases", svg=svg)


def throughput_section(points: Sequence[Mapping[str, Any]]) -> Section:
    """Draw how many windows a second so many workers read.

    Parameters
    ----------
    points
        For each: `workers`, `windows_per_s`, `bases_per_s`.

    Returns
    -------
    Section
        The picture, and the same in numbers.
    """
    columns = ("workers", "windows a second", "bases a second")
    rows = [
        (
            str(point["workers"]),
            format_count(round(point["windows_per_s"])),
            format_count(round(point["bases_per_s"])),
        )
        for point in points
    ]
    svg = draw_bars(
        [row[0] for row in rows],
        [("windows a second", [point["windows_per_s"] for point in points], [r[1] for r in rows])],
        label="Windows a second against workers",
        wide=True,
    )
    figure = Figure(
        caption="Throughput against workers",
        note="Workers are threads that read one batch together and share one index; more than "
        "there are processors cannot help.",
        svg=svg,
        wide=True,
        table=Table(columns, rows, right=columns),
    )
    return Section(title="Reading windows", figures=[figure])
