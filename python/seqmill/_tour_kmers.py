"""The stop of the tour at `kmers`."""

from functools import partial
from typing import TYPE_CHECKING, Final

from seqmill._units import format_count, format_size
from seqmill.errors import InternalError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from seqmill._tour import StepResult, Tour

__all__ = ["show_kmers"]

_K: Final = 21
# A table of more k-mers is not loaded to look all of them up.
_MOST_LOADED: Final = 5_000_000
_RANDOM_WORDS: Final = 1_000_000
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

    options = tour.options("threads", "memory", "tmpdir")
    table = seqmill.count_kmers(genomes, k=_K, canonical=True, output=output, force=True, **options)
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
    import numpy as np  # noqa: PLC0415 - slow to import

    import seqmill  # noqa: PLC0415 - as above

    table = seqmill.KmerTable(path)
    if table.distinct > _MOST_LOADED:
        # The table stays in its map; random words are rarely in it.
        words = np.random.default_rng(1).integers(0, 4**_K, _RANDOM_WORDS, dtype=np.uint64)
        found = int((table.query(words) > 0).sum())
        return f"{format_count(_RANDOM_WORDS)} random look-ups, {format_count(found)} found"
    kmers, counts = table.to_numpy()
    if not (table.query(kmers) == counts).all():
        raise InternalError("look-ups give other counts than the table")
    return f"{format_count(len(kmers))} look-ups, all right"
