"""Pictures of `seqmill pack`: size by sample, what each genome added, where the bytes go."""

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from seqmill._units import format_count, format_size
from seqmill.cli._html import Figure, Section, Table, write_page
from seqmill.cli._pictures import draw_bars, draw_line, share

if TYPE_CHECKING:
    from pathlib import Path

    from seqmill.archive import PackResult

__all__ = ["pack_sections", "tour_section", "write_pack_page"]

_MOST_BARS: Final = 40
_STREAMS: Final = {
    "references": "references",
    "deltas": "differences from them",
    "names": "names",
    "descriptions": "where segments lie",
    "splitters": "splitters and keys",
    "digests": "checksums",
    "footer": "footer, parameters",
}


def write_pack_page(path: "Path", done: "PackResult") -> None:
    """Write the page of one run."""
    document = done.metrics.to_dict()
    title = f"Archive {os.path.basename(done.output)}"  # noqa: PTH119 - as it was given
    write_page(
        path, title=title, document=document, sections=pack_sections(document, done.overview)
    )


def pack_sections(document: Mapping[str, Any], overview: Mapping[str, Any]) -> list[Section]:
    """Make the sections of what a run wrote."""
    detail, streams = document["detail"], overview["streams"]
    stored, bases = sum(streams.values()), document["totals"]["bases"] or 0
    rows = [
        ("samples added", format_count(detail["samples"])),
        ("contigs added", format_count(detail["contigs"])),
        ("bases added", format_count(bases)),
        ("bytes of the archive", format_count(stored)),
        ("segments", format_count(detail["segments"])),
        ("groups", format_count(detail["groups"])),
        ("bases of all references", format_count(detail["reference_bases"])),
    ]
    table = Table(("what", "how much"), rows, right=("how much",))
    sections = [Section(title="What was packed", table=table)]
    sections.append(Section(title="Where the bytes go", figures=[_streams(streams)]))
    samples = _samples(overview)
    if samples:
        figures = [_sizes(samples), _novelty(samples)]
        sections.append(Section(title="Samples", figures=figures, table=_sample_table(samples)))
    return sections


def tour_section(shown: Mapping[str, Any]) -> Section:
    """Make the section of the tour: where the bytes go, and what each genome added."""
    figures = [_streams(shown["overview"]["streams"])]
    samples = _samples(shown["overview"])
    if samples:
        figures.append(_novelty(samples))
    return Section(title="Archives", text=shown["text"], figures=figures)


def _samples(overview: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Give the rows, with the bytes that each takes in the archive.

    Differences are compressed together with those of other genomes: each has its share of their
    bytes by what it put in.
    """
    ratio = overview["delta_ppm"] / 1_000_000
    return [
        {
            **row,
            "label": row["name"] if row["count"] == 1 else f"{row['name']} … {row['last']}",
            "stored": row["reference_bytes"] + round(row["delta_bytes"] * ratio),
            # Neighbouring segments share the k-mer at which they were cut.
            "novelty": min(100.0, 100 * row["reference_bases"] / (row["bases"] or 1)),
        }
        for row in overview["samples"]
    ]


def _streams(streams: Mapping[str, int]) -> Figure:
    whole = sum(streams.values())
    shown = [(text, streams.get(name, 0)) for name, text in _STREAMS.items()]
    shown = [(text, size) for text, size in shown if size]
    texts = [f"{format_size(size)}  ({share(size, whole)})" for _, size in shown]
    svg = draw_bars(
        [text for text, _ in shown],
        [("bytes", [size for _, size in shown], texts)],
        label="Bytes of the archive by what they hold",
        wide=True,
    )
    return Figure(caption="Bytes of the archive", svg=svg, wide=True)


def _sizes(samples: Sequence[Mapping[str, Any]]) -> Figure:
    note = (
        "References of groups that a genome opened, and its share of the differences. The first "
        "genome is the reference: nearly all of it is stored as it is."
    )
    values = [row["stored"] for row in samples]
    drawn = ("Stored bytes by sample", "bytes", values, [format_size(value) for value in values])
    return Figure(caption="Size by sample", note=note, **_by_sample(samples, *drawn))


def _novelty(samples: Sequence[Mapping[str, Any]]) -> Figure:
    note = (
        "Percent of a genome's bases that resembled nothing in the archive yet and became a new "
        "reference. Falling bars: the collection is nearly complete."
    )
    values = [row["novelty"] for row in samples]
    drawn = ("New sequence by sample", "percent", values, [f"{value:.2f} %" for value in values])
    return Figure(caption="Novelty of each added genome", note=note, **_by_sample(samples, *drawn))


def _by_sample(
    samples: Sequence[Mapping[str, Any]],
    label: str,
    unit: str,
    values: Sequence[float],
    texts: Sequence[str],
) -> dict[str, Any]:
    """Draw a bar for each sample, or a line where they are many."""
    if len(samples) <= _MOST_BARS:
        svg = draw_bars([row["label"] for row in samples], [(unit, values, texts)], label=label)
    else:
        svg = _along(samples, values, label, unit)
    return {"svg": svg, "wide": len(samples) > _MOST_BARS}


def _along(
    samples: Sequence[Mapping[str, Any]], values: Sequence[float], label: str, y_label: str
) -> str:
    """Draw what was averaged over neighbours, in the order in which they came."""
    places, at = [], 0
    for row in samples:
        places.append(at + row["count"] / 2)
        at += row["count"]
    per_sample = y_label == "bytes"
    heights = [
        value / row["count"] if per_sample else value
        for value, row in zip(values, samples, strict=True)
    ]
    return draw_line(places, heights, label=label, y_label=y_label, x_label="sample")


def _sample_table(samples: Sequence[Mapping[str, Any]]) -> Table:
    columns = ("sample", "bases", "segments", "new groups", "new bases", "stored", "of the bases")
    rows = [
        (
            row["label"],
            format_count(row["bases"]),
            format_count(row["segments"]),
            format_count(row["groups"]),
            format_count(row["reference_bases"]),
            format_size(row["stored"]),
            f"{8 * row['stored'] / (row['bases'] or 1):.3f} bits",
        )
        for row in samples
    ]
    return Table(columns, rows, right=columns[1:])
