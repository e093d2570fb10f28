"""The page of a coverage job: along each sequence, and by region."""

from collections.abc import Mapping
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from seqmill._units import format_count
from seqmill.cli._html import Figure, Section, Table, write_page
from seqmill.cli._pictures import draw_bars, draw_histogram

if TYPE_CHECKING:
    from seqmill.coverage import CoverageTable

__all__ = ["coverage_sections", "write_coverage_page"]

_PICTURED_SEQUENCES: Final = 12
_PICTURED_REGIONS: Final = 30
_LISTED_REGIONS: Final = 200
_TITLE: Final = "Coverage"


def write_coverage_page(path: Path, table: "CoverageTable") -> None:
    """Write the page of a job."""
    document = table.metrics.to_dict() if table.metrics is not None else {}
    sections = [*coverage_sections(document), *_region_sections(table)]
    write_page(path, title=_TITLE, document=document, sections=sections)


def coverage_sections(document: Mapping[str, Any]) -> list[Section]:
    """Make the section with depth along each sequence, from the profile of a metrics document."""
    profile = (document.get("detail") or {}).get("profile")
    if not profile:
        return []
    shown = [item for item in profile if any(item["sums"])][:_PICTURED_SEQUENCES]
    figures = tuple(_along(item) for item in shown)
    without = len(profile) - sum(1 for item in profile if any(item["sums"]))
    text = f"Of the longest {len(profile)} sequences, {without} have no depth." if without else ""
    return [Section(title="Along the sequences", text=text, figures=figures)] if figures else []


def _along(item: Mapping[str, Any]) -> Figure:
    length, sums = item["length"], item["sums"]
    points = len(sums)
    # The first position of a point is the least one that falls into it.
    edges = [-(-point * length // points) for point in range(points + 1)]
    means = [
        total / (end - begin) for total, begin, end in zip(sums, edges, edges[1:], strict=False)
    ]
    name = item["name"]
    svg = draw_histogram(
        edges, means, label=f"Depth along {name}", x_label="position", y_label="mean depth"
    )
    mean = sum(sums) / length
    return Figure(
        caption=name,
        note=f"{format_count(length)} bases, mean depth {mean:.2f} over what was measured.",
        svg=svg,
    )


def _region_sections(table: "CoverageTable") -> list[Section]:
    rows = list(islice(table, _LISTED_REGIONS))
    if not rows:
        return []
    names = table.columns
    value, label = ("mean", "Mean depth") if "mean" in names else ("coverage", "Share of windows")
    few = rows[:_PICTURED_REGIONS]
    values = [row[value] or 0.0 for row in few]
    texts = ["NA" if row[value] is None else f"{row[value]:.2f}" for row in few]
    svg = draw_bars([row["region"] for row in few], [("", values, texts)], label=label, wide=True)
    total = len(table)
    note = f"The first {len(few)} of {format_count(total)} regions." if total > len(few) else ""
    figure = Figure(caption=label, note=note, svg=svg, wide=True)
    cells = [["NA" if row[name] is None else _cell(row[name]) for name in names] for row in rows]
    text = f"The first {len(rows)} of {format_count(total)} regions." if total > len(rows) else ""
    listed = Table(names, cells, right=names[2:])
    return [
        Section(title="Regions", figures=(figure,)),
        Section(title="Table of regions", text=text, table=listed),
    ]


def _cell(value: object) -> str:
    return format_count(value) if isinstance(value, int) else str(value)
