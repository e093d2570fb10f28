"""The stop of the tour at `kmers`."""

from functools import partial
from typing import TYPE_CHECKING, Final

from seqmill._units import format_count, format_size

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from seqmill._tour import StepResult, Tour

__all__ = ["show_kmers"]

_K: Final = 21
# So many bars have room in the picture.
_COUNTS: Final = 8


def show_kmers(tour: "Tour") -> "Iterator[StepResult]":
    """Count the k-mers of the genomes of the tour, and look some up."""
    if not tour.genomes:
        return
    table = tour.folder / "kmers.skm"
    work = partial(_count, tour, tour.genomes, table)
    yield tour.measure(f"count {_K}-mers of the genomes", work)
    yield tour.measure("look k-mers up", partial(_look_up, table))


def _count(tour: "Tour", genomes: "list[Path]", output: "Path") -> str:
    import seqmill  # noqa: PLC0415 - brings NumPy

    table = seqmill.count_kmers(genomes, k=_K, canonical=True, output=output, force=True)
    size = output.stat().st_size
    counts, numbers = table.histogram()
    tour.report.detail["kmers"] = {
        "k": _K,
        "files": len(genomes),
        "total": table.total,
        "distinct": table.distinct,
        "histogram": list(zip(counts.tolist(), numbers.tolist(), strict=True))[:_COUNTS],
    }
    return (
        f"{format_count(table.total)} k-mers, {format_count(table.distinct)} distinct, "
        f"{format_size(size)}"
    )


def _look_up(path: "Path") -> str:
    import seqmill  # noqa: PLC0415 - brings NumPy

    table = seqmill.KmerTable(path)
    kmers, counts = table.to_numpy()
    found = table.query(kmers)
    same = "all right" if (found == counts).all() else "wrong"
    return f"{format_count(len(kmers))} look-ups, {same}"
