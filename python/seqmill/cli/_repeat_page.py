"""Pictures of `seqmill repeats`: landscape, families, share of repeats along sequences."""

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from seqmill._units import format_count
from seqmill.cli._html import Figure, Section, Table, write_page
from seqmill.cli._pictures import draw_bars, draw_line

if TYPE_CHECKING:
    from pathlib import Path

    from seqmill._repeat_known import KnownComparison
    from seqmill.repeats import RepeatResult

__all__ = ["known_section", "repeat_sections", "tour_section", "write_repeat_page"]

_LISTED_FAMILIES: Final = 40
_DRAWN_SEQUENCES: Final = 8
_DRAWN_FAMILIES: Final = 20
_DIVERGENCE_STEP: Final = 2
_COVERED: Final = (
    "Only what this run found. Small letters of the input are not counted, though they stay in a "
    "soft-masked output unless --reset-softmask is given."
)


def write_repeat_page(path: "Path", done: "RepeatResult", genome: str) -> None:
    """Write the page of one run."""
    document = done.metrics.to_dict()
    sections = repeat_sections(document, done.overview or {})
    if done.comparison is not None:
        sections.insert(1, known_section(done.comparison))
    title = f"Repeats of {os.path.basename(genome)}"  # noqa: PTH119 - also `-`
    write_page(path, title=title, document=document, sections=sections)


def repeat_sections(document: Mapping[str, Any], overview: Mapping[str, Any]) -> list[Section]:
    """Make the sections of what a run found."""
    detail = document["detail"]
    bases = document["totals"]["bases"] or 1
    rows = [
        ("families", format_count(detail["families"])),
        ("elements", format_count(detail["elements"])),
        ("bases in the library", format_count(detail["library_bases"])),
        ("bases covered by elements", format_count(detail["masked_bases"])),
        ("share of all bases", f"{100 * detail['masked_bases'] / bases:.2f} %"),
        ("seed length", str(detail["seed_length"])),
        ("seeds tried", format_count(detail["seeds"])),
    ]
    table = Table(("what", "how much"), rows, right=("how much",))
    sections = [Section(title="What was found", table=table)]
    families = overview.get("families") or []
    if families:
        figures = [_landscape(overview["landscape"]), _copies(families), _lengths(families)]
        sections.append(Section(title="Families", figures=figures, table=_family_table(families)))
    if detail["dropped"]:
        sections.append(_dropped_section(detail["dropped"]))
    sequences = [one for one in overview.get("sequences") or [] if any(one["masked"])]
    if sequences:
        figures = [_along(one) for one in sequences[:_DRAWN_SEQUENCES]]
        sections.append(Section(title="Repeats along sequences", text=_COVERED, figures=figures))
    return sections


def _dropped_section(dropped: Sequence[Mapping[str, Any]]) -> Section:
    """List what `--cluster` left out of the library."""
    columns = ("family", "stands for it", "covered", "identity")
    rows = [
        (
            f"fam{one['family']}",
            f"fam{one['by']}",
            _percent(one["coverage"]),
            _percent(one["identity"]),
        )
        for one in dropped[:_LISTED_FAMILIES]
    ]
    text = (
        f"{format_count(len(dropped))} sequences are not in the library, because a longer one "
        "covers them; their elements stay. The metrics list all."
    )
    table = Table(columns, rows, right=columns[2:])
    return Section(title="Left out of the library", text=text, table=table)


def known_section(told: "KnownComparison") -> Section:
    """Compare with a known annotation."""
    rows = [
        ("all", "", format_count(told.known_bases), _percent(told.sensitivity)),
        *(
            (
                one.name,
                format_count(one.elements),
                format_count(one.bases),
                _percent(one.sensitivity),
            )
            for one in told.classes
        ),
    ]
    table = Table(("class", "elements", "bases", "found"), rows, ("elements", "bases", "found"))
    text = (
        f"Sensitivity {_percent(told.sensitivity)}: so much of the known bases was found. "
        f"Precision {_percent(told.precision)}: so much of the {format_count(told.found_bases)} "
        f"bases found is known. F1 {_percent(told.f1)}."
    )
    return Section(title="Against the known annotation", text=text, table=table)


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def tour_section(shown: Mapping[str, Any]) -> Section:
    """Make the section of the tour: the landscape, and one sequence."""
    overview = shown["overview"]
    figures = [_landscape(overview["landscape"])]
    figures += [_along(one) for one in overview["sequences"][:1] if any(one["masked"])]
    return Section(title="Repeats", text=shown["text"], figures=figures)


def _landscape(bins: Sequence[int]) -> Figure:
    """Draw the bases of elements by their divergence from the consensus."""
    used = max((i for i, count in enumerate(bins) if count), default=0) + 1
    labels, values = [], []
    for at in range(0, used, _DIVERGENCE_STEP):
        labels.append(f"{at}-{at + _DIVERGENCE_STEP}")
        values.append(sum(bins[at : at + _DIVERGENCE_STEP]))
    texts = [format_count(value) for value in values]
    svg = draw_bars(labels, [("bases", values, texts)], label="Bases by divergence")
    note = "Young families lie at the left, old ones at the right."
    return Figure(caption="Repeat landscape: bases by divergence in percent", svg=svg, note=note)


def _copies(families: Sequence[Mapping[str, Any]]) -> Figure:
    shown = sorted(families, key=lambda one: -one["elements"])[:_DRAWN_FAMILIES]
    values = [one["elements"] for one in shown]
    svg = draw_bars(
        [one["family"] for one in shown],
        [("elements", values, [format_count(value) for value in values])],
        label="Elements by family",
    )
    return Figure(caption="Families with most elements", svg=svg)


def _lengths(families: Sequence[Mapping[str, Any]]) -> Figure:
    shown = sorted(families, key=lambda one: -one["length"])[:_DRAWN_FAMILIES]
    values = [one["length"] for one in shown]
    svg = draw_bars(
        [one["family"] for one in shown],
        [("bases", values, [format_count(value) for value in values])],
        label="Length of the consensus by family",
    )
    return Figure(caption="Longest families", svg=svg)


def _family_table(families: Sequence[Mapping[str, Any]]) -> Table:
    columns = ("family", "length", "elements", "bases", "identity", "GC")
    rows = [
        (
            one["family"],
            format_count(one["length"]),
            format_count(one["elements"]),
            format_count(one["covered_bases"]),
            f"{100 * one['mean_identity']:.1f} %",
            f"{100 * one['gc']:.1f} %",
        )
        for one in families[:_LISTED_FAMILIES]
    ]
    return Table(columns, rows, right=columns[1:])


def _along(sequence: Mapping[str, Any]) -> Figure:
    """Draw the share of each hundredth of a sequence that elements cover."""
    count = len(sequence["masked"])
    step = sequence["length"] / count
    points = [((i + 0.5) * step, 100 * share) for i, share in enumerate(sequence["masked"])]
    svg = draw_line(
        [x for x, _ in points],
        [y for _, y in points],
        label=f"Share of {sequence['name']} covered by elements",
        y_label="percent",
        x_label="position",
    )
    caption = f"{sequence['name']}: percent covered by elements, by position"
    return Figure(caption=caption, svg=svg, wide=True)
