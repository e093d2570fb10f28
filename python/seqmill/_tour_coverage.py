"""The stop of the tour that shows coverage."""

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

import seqmill
from seqmill._units import format_count
from seqmill.errors import NotAlignmentsError, RecordError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from seqmill._tour import StepResult, Tour

__all__ = ["show_coverage"]

_WINDOW: Final = 10_000
_SHARED_SECTIONS: Final = ("totals", "stages", "memory", "io", "inputs", "outputs")


def show_coverage(tour: "Tour") -> "Iterator[StepResult]":
    """Measure the depth of the first alignment file in windows, mates counted once."""
    for path in tour.alignments[:1]:
        yield tour.measure(
            f"coverage of {path.name} in windows of {format_count(_WINDOW)}",
            partial(_windows, tour, path),
            source=path,
        )


def _windows(tour: "Tour", path: Path) -> str:
    try:
        table = seqmill.measure_coverage(
            path,
            output=tour.folder / f"{path.name.split('.')[0]}.coverage",
            windows=_WINDOW,
            mates="once",
            force=True,
            **tour.job_options,
        )
    except NotAlignmentsError:
        return "reads without alignments have no depth"
    except RecordError as error:
        if "not sorted" not in str(error):
            raise
        return "not sorted by coordinate: left out"
    if table.metrics is not None:
        document = table.metrics.to_dict()
        tour.report.add_run({key: document[key] for key in _SHARED_SECTIONS if key in document})
        pictured = tour.pictured.setdefault(path.name, {"detail": {}})
        pictured["detail"]["profile"] = document["detail"]["profile"]
    summary = table.summary
    return f"{format_count(len(table))} windows, median depth {summary['median_coverage']:g}"
