"""Pictures of an alignment file, from the overview that the engine gathers as it converts.

The overview stands in the metrics document under ``detail.overview``; whatever is missing there
is left out here::

    mapq              256 counts
    flags             16 counts, one for each bit
    length_log2_bins  {edges, counts}: bases of the records
    tlen              {edges, counts}: absolute template lengths
    references        [{name, length, records, bases}]: the largest, then the rest (length null)
    tags              [{tag, type, count}]
    quality           94 counts of records by their mean base quality
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from seqmill._units import format_count
from seqmill.cli._html import Figure, Section, Table
from seqmill.cli._pictures import compact, count_texts, draw_bars, draw_histogram, share

__all__ = ["alignment_sections"]

FLAGS: Final = (
    "paired",
    "properly paired",
    "unmapped",
    "mate unmapped",
    "reverse strand",
    "mate reverse",
    "first of pair",
    "last of pair",
    "secondary",
    "failed quality checks",
    "duplicate",
    "supplementary",
)
_UNMAPPED_BIT: Final = 2
_MOST_REFERENCES: Final = 24
_MOST_TAGS: Final = 28
_UNAVAILABLE_MAPQ: Final = 255
_SHOWN_SHARE: Final = 0.998


def alignment_sections(document: Mapping[str, Any]) -> list[Section]:
    """Make the sections about the content of the alignments that a job has read.

    Parameters
    ----------
    document
        A metrics document.

    Returns
    -------
    list[Section]
        Empty if the job left no overview.
    """
    overview = (document.get("detail") or {}).get("overview")
    if not isinstance(overview, Mapping):
        return []
    records = (document.get("totals") or {}).get("records_out")
    if records is None:
        records = sum(overview.get("mapq") or ())
    groups = (
        ("What the records are", (_flags, _tags)),
        ("Quality and length", (_mapping_quality, _qualities, _lengths, _templates)),
        ("Where they lie", (_references,)),
    )
    sections = []
    for title, makers in groups:
        figures = [make(overview, records) for make in makers]
        found = tuple(figure for figure in figures if figure is not None)
        if found:
            sections.append(Section(title=title, figures=found))
    return sections


def _flags(overview: Mapping[str, Any], records: int) -> Figure | None:
    counts = list(overview.get("flags") or ())[: len(FLAGS)]
    if not counts:
        return None
    names = FLAGS[: len(counts)]
    svg = draw_bars(
        names, [("", counts, count_texts(counts, records))], label="Records with each flag"
    )
    rows = [
        (name, f"0x{1 << bit:x}", format_count(count), share(count, records))
        for bit, (name, count) in enumerate(zip(names, counts, strict=True))
    ]
    table = Table(("flag", "bit", "records", "share"), rows, right=("bit", "records", "share"))
    note = ""
    if len(counts) > _UNMAPPED_BIT and records:
        mapped = records - counts[_UNMAPPED_BIT]
        note = f"{share(mapped, records)} of {format_count(records)} records are mapped."
    return Figure(caption="Flags", note=note, svg=svg, table=table)


def _mapping_quality(overview: Mapping[str, Any], records: int) -> Figure | None:
    counts = list(overview.get("mapq") or ())
    if not any(counts):
        return None
    top = max(value for value, count in enumerate(counts) if count)
    # 255 stands for "not available" and would stretch the axis.
    unknown = counts[_UNAVAILABLE_MAPQ] if top == _UNAVAILABLE_MAPQ else 0
    if unknown and any(counts[:_UNAVAILABLE_MAPQ]):
        top = max(v for v, count in enumerate(counts[:_UNAVAILABLE_MAPQ]) if count)
    shown = counts[: top + 1]
    edges = [value - 0.5 for value in range(len(shown) + 1)]
    svg = draw_histogram(
        edges, shown, label="Records by mapping quality", x_label="mapping quality", log_y=True
    )
    good = sum(counts[30:_UNAVAILABLE_MAPQ])
    note = f"{share(good, records)} of the records have a mapping quality of 30 or more"
    note += f"; {share(unknown, records)} have 255 (not available)." if unknown else "."
    return Figure(caption="Mapping quality", note=note, svg=svg)


def _bins(value: Any) -> tuple[list[float], list[float]] | None:
    """Check bins, and cut off the empty ones at both ends."""
    if not isinstance(value, Mapping):
        return None
    edges, counts = list(value.get("edges") or ()), list(value.get("counts") or ())
    if len(edges) != len(counts) + 1 or not any(counts):
        return None
    filled = [place for place, count in enumerate(counts) if count]
    first, last = filled[0], filled[-1]
    return edges[first : last + 2], counts[first : last + 1]


def _without_tail(
    edges: list[float], counts: list[float]
) -> tuple[list[float], list[float], float]:
    """Cut off a long thin tail, and tell how many it holds."""
    total, seen = sum(counts), 0.0
    for place, count in enumerate(counts):
        seen += count
        if seen >= total * _SHOWN_SHARE:
            return edges[: place + 2], counts[: place + 1], total - seen
    return edges, counts, 0.0


def _median(edges: Sequence[float], counts: Sequence[float]) -> float:
    """Estimate the median inside its bin."""
    half, seen = sum(counts) / 2, 0.0
    for place, count in enumerate(counts):
        if seen + count >= half:
            part = (half - seen) / count if count else 0.0
            return edges[place] + (edges[place + 1] - edges[place]) * part
        seen += count
    return edges[-1]


def _lengths(overview: Mapping[str, Any], records: int) -> Figure | None:
    del records
    bins = _bins(overview.get("length_log2_bins"))
    if bins is None:
        return None
    edges, counts = bins
    # A bin is too wide to name a median inside it.
    most = max(range(len(counts)), key=lambda place: counts[place])
    low, high = edges[most], max(edges[most], edges[most + 1] - 1)
    note = (
        f"{share(counts[most], sum(counts))} of the reads have {format_count(low)} to "
        f"{format_count(high)} bases."
    )
    positive = [max(edge, 0.5) for edge in edges]
    svg = draw_histogram(
        positive, counts, label="Records by read length", x_label="bases", log_x=True
    )
    return Figure(caption="Read length", note=note, svg=svg)


def _qualities(overview: Mapping[str, Any], records: int) -> Figure | None:
    del records
    counts = list(overview.get("quality") or ())
    if not any(counts):
        return None
    top = max(value for value, count in enumerate(counts) if count)
    edges = [float(value) for value in range(top + 2)]
    median = _median(edges, counts[: top + 1])
    note = f"Half of the records have a mean quality of about {median:.0f} or more."
    svg = draw_histogram(
        edges, counts[: top + 1], label="Records by mean base quality", x_label="mean base quality"
    )
    return Figure(caption="Base quality", note=note, svg=svg)


def _templates(overview: Mapping[str, Any], records: int) -> Figure | None:
    del records
    bins = _bins(overview.get("tlen"))
    if bins is None:
        return None
    edges, counts = bins
    note = f"Median about {compact(_median(edges, counts))} bases."
    edges, counts, beyond = _without_tail(edges, counts)
    if beyond:
        note += f" {format_count(beyond)} longer than {compact(edges[-1])} bases are not shown."
    svg = draw_histogram(edges, counts, label="Records by template length", x_label="bases")
    return Figure(caption="Template length (insert size)", note=note, svg=svg)


def _references(overview: Mapping[str, Any], records: int) -> Figure | None:
    found = [item for item in overview.get("references") or () if item.get("records")]
    if not found:
        return None
    found.sort(key=lambda item: item.get("length") is None)
    shown = found[:_MOST_REFERENCES]
    names = [str(item.get("name")) for item in shown]
    counts = [item["records"] for item in shown]
    depths = [_depth(item) for item in shown]
    panels: list[tuple[str, Sequence[float], Sequence[str]]] = [
        ("records", counts, [f"{compact(n)}  ({share(n, records)})" for n in counts])
    ]
    if any(depth is not None for depth in depths):
        texts = ["" if depth is None else f"{depth:.3g}x" for depth in depths]
        panels.append(("mean depth", [depth or 0.0 for depth in depths], texts))
    svg = draw_bars(names, panels, label="Records and mean depth by reference", wide=True)
    rows = [
        (
            str(item.get("name")),
            "" if item.get("length") is None else format_count(item["length"]),
            format_count(item["records"]),
            "" if depth is None else f"{depth:.2f}",
        )
        for item in found
        for depth in [_depth(item)]
    ]
    columns = ("reference", "length", "records", "mean depth")
    table = Table(columns, rows, right=columns[1:])
    more = len(found) - len(shown)
    notes = [f"The {len(shown)} largest of {len(found)}; the table has all."] if more else []
    if len(panels) > 1:
        notes.append("Mean depth is of all records here, also of duplicates and secondary ones.")
    note = " ".join(notes)
    return Figure(caption="References", note=note, svg=svg, table=table, wide=True)


def _depth(item: Mapping[str, Any]) -> float | None:
    bases, length = item.get("bases"), item.get("length")
    return bases / length if bases is not None and length else None


def _tags(overview: Mapping[str, Any], records: int) -> Figure | None:
    found = sorted(
        (item for item in overview.get("tags") or () if item.get("count")),
        key=lambda item: (-item["count"], str(item.get("tag"))),
    )
    if not found:
        return None
    shown = found[:_MOST_TAGS]
    names = [f"{item.get('tag')}:{item.get('type')}" for item in shown]
    counts = [item["count"] for item in shown]
    svg = draw_bars(names, [("", counts, count_texts(counts, records))], label="Records by tag")
    rows = [
        (
            str(item.get("tag")),
            str(item.get("type")),
            format_count(item["count"]),
            share(item["count"], records),
        )
        for item in found
    ]
    table = Table(("tag", "type", "records", "share"), rows, right=("records", "share"))
    more = len(found) - len(shown)
    note = f"The {len(shown)} most frequent of {len(found)}; the table has all." if more else ""
    return Figure(caption="Tags", note=note, svg=svg, table=table)
