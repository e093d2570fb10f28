"""The stop of the tour at `repeats`."""

from functools import partial
from typing import TYPE_CHECKING

import seqmill
from seqmill._units import format_count

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from seqmill._tour import StepResult, Tour

__all__ = ["show_repeats"]


def show_repeats(tour: "Tour") -> "Iterator[StepResult]":
    """Find the families of the first genome and mask it."""
    for genome in tour.genomes[:1]:
        yield tour.measure("find repeats", partial(_find, tour, genome), source=genome)


def _find(tour: "Tour", genome: "Path") -> str:
    folder = tour.folder / "repeats"
    folder.mkdir(exist_ok=True)
    done = seqmill.find_repeats(
        genome,
        output=folder / genome.name.split(".")[0],
        formats=("library", "bed", "softmask"),
        overview=True,
        force=True,
        **tour.options("threads", "memory", "tmpdir"),
    )
    detail, bases = done.metrics.detail, done.metrics.totals["bases"] or 1
    share = 100 * detail["masked_bases"] / bases
    text = (
        f"{format_count(detail['families'])} families, {format_count(detail['elements'])} "
        f"elements, {share:.1f} % of the bases masked"
    )
    tour.repeats = {"text": text, "overview": done.overview}
    return text
