"""The stop of the tour at `fetch`."""

import time
from functools import partial
from typing import TYPE_CHECKING, Final

import seqmill
from seqmill._units import format_count, format_size
from seqmill.limits import choose_threads

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from seqmill._tour import StepResult, Tour

__all__ = ["show_fetch"]

_SEED: Final = 20_261
_WINDOWS: Final = 512
_WINDOW_BASES: Final = 2_000
_FETCH_SECONDS: Final = 0.3
_WORKERS_MAX: Final = 8


def show_fetch(tour: "Tour") -> "Iterator[StepResult]":
    """Index the genomes of the tour and read windows with some numbers of workers."""
    if not tour.genomes:
        return
    yield tour.measure("index the genomes", partial(_index_genomes, tour.genomes))
    most = min(choose_threads(tour.job_options["threads"]).value, _WORKERS_MAX)
    for workers in sorted({1, 2, 4, most}):
        if workers <= most:
            words = f"fetch windows with {workers} worker{'s' if workers > 1 else ''}"
            yield tour.measure(words, partial(_fetch_windows, tour, workers))


def _index_genomes(genomes: "list[Path]") -> str:
    store = seqmill.FastaStore.open(genomes)
    contigs = len(store.contig_table()[0])
    return f"{len(store)} files, {contigs} contigs, index of {format_size(store.index_bytes)}"


def _fetch_windows(tour: "Tour", workers: int) -> str:
    from seqmill._random_windows import random_windows  # noqa: PLC0415 - brings NumPy

    store = seqmill.FastaStore.open(tour.genomes, cache_size=0)
    windows = random_windows(store, _WINDOW_BASES, _WINDOWS, seed=_SEED)
    begin, rounds = time.perf_counter(), 0
    while (passed := time.perf_counter() - begin) < _FETCH_SECONDS or rounds == 0:
        store.fetch_many(windows, encode="onehot", threads=workers)
        rounds += 1
    rate = rounds * _WINDOWS / passed
    point = {"workers": workers, "windows_per_s": rate, "bases_per_s": rate * _WINDOW_BASES}
    tour.throughput.append(point)
    bases = format_count(_WINDOW_BASES)
    return f"{format_count(round(rate))} windows of {bases} bases a second, one-hot"
