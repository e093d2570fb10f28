"""What `find_repeats` can be told about memory and the pipeline, and what it tells of memory."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from seqmill.errors import InputError
from seqmill.limits import parse_size

__all__ = ["IndexConfig", "MemoryHints", "MemoryUsageBreakdown", "PipelineConfig", "settle"]

_KIB: Final = 1024
_UNITS: Final = ("B", "KB", "MB", "GB", "TB")


def _check(name: str, value: float | None, least: float, most: float | None = None) -> None:
    if value is not None and (value < least or (most is not None and value > most)):
        allowed = f"{least} and more" if most is None else f"{least} to {most}"
        message = f"{name} {value} is out of range; it must be {allowed}"
        raise InputError(message, option=name, value=value, allowed=allowed)


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryHints:
    """What is known of a genome before it is read.

    Attributes
    ----------
    expected_unique_kmers
        Distinct canonical k-mers; None estimates them from the length of the genome.
    expected_total_positions
        Occurrences of all seeds that are kept.
    aggressive_preallocation
        Reserve the whole index account at the start rather than for each partition.
    track_memory_usage
        Keep the course of memory over time; False keeps the peaks alone.

    Examples
    --------
    >>> MemoryHints(expected_unique_kmers=8_000_000).expected_unique_kmers
    8000000
    """

    expected_unique_kmers: int | None = None
    expected_total_positions: int | None = None
    aggressive_preallocation: bool = False
    track_memory_usage: bool = True

    def __post_init__(self) -> None:
        """Check the values."""
        _check("expected_unique_kmers", self.expected_unique_kmers, 0)
        _check("expected_total_positions", self.expected_total_positions, 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexConfig:
    """How seeds are counted and listed.

    A field that repeats a keyword of the job is None for the keyword's value; both given and
    different is an error.

    Attributes
    ----------
    seed_length, distance, min_frequency
        As the keywords of :func:`find_repeats`.
    max_frequency
        Seeds that occur more often are not used; None for no limit.
    max_positions_per_kmer
        Only so many occurrences of a seed are used on each strand; None for all. Seeds whose
        lists were cut are counted in the report.
    parallel
        Count and claim with all threads; False leaves them to the loop that extends seeds.
    memory_hints
        What is known of sizes.

    Examples
    --------
    >>> IndexConfig(distance=1).parallel
    True
    """

    seed_length: int | None = None
    distance: int | None = None
    min_frequency: int | None = None
    max_frequency: int | None = None
    max_positions_per_kmer: int | None = None
    parallel: bool = True
    memory_hints: MemoryHints = field(default_factory=MemoryHints)

    def __post_init__(self) -> None:
        """Check the values."""
        _check("max_frequency", self.max_frequency, 1)
        _check("max_positions_per_kmer", self.max_positions_per_kmer, 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class PipelineConfig:
    """How candidate seeds travel from those who list them to the one who claims their places.

    Batches go to whoever claims the places of candidates, and to those who work out seeds ahead
    of their turn (fewer seeds in a batch as long as much of that is in vain). Nothing here
    changes a byte of the output.

    Attributes
    ----------
    batch_size
        Seeds in a batch.
    channel_capacity
        Batches that may be on their way; fewer if their account has no room for so many.
    max_memory
        As the keyword `memory`: bytes or ``"2G"``.
    backpressure
        Let the producer wait above `backpressure_threshold` until use is under half of it; the
        size of batches stays. False: only the bounds hold it back.
    backpressure_threshold
        Share of the channel, or of its account, in use.
    threads
        As the keyword.

    Examples
    --------
    >>> PipelineConfig(batch_size=500).channel_capacity
    64
    """

    batch_size: int = 100
    channel_capacity: int = 64
    max_memory: int | str | None = None
    backpressure: bool = True
    backpressure_threshold: float = 0.8
    threads: int | None = None

    def __post_init__(self) -> None:
        """Check the values."""
        _check("batch_size", self.batch_size, 1, 1_000_000)
        _check("channel_capacity", self.channel_capacity, 1, 1_000_000)
        _check("backpressure_threshold", self.backpressure_threshold, 0.0, 1.0)
        if self.max_memory is not None:
            parse_size(self.max_memory)


def settle(name: str, keyword: Any, default: Any, configured: Any) -> Any:
    """Give the value of a keyword that a configuration may repeat.

    Examples
    --------
    >>> settle("distance", 0, 0, 1), settle("distance", 1, 0, None)
    (1, 1)
    """
    if configured is None:
        return keyword
    if keyword not in (default, configured):
        message = f"{name} is {keyword!r} as a keyword and {configured!r} in the configuration"
        raise InputError(message, option=name, value=keyword)
    return configured


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryUsageBreakdown:
    """What held memory in a run, at most.

    Attributes
    ----------
    total_bytes
        Sum of the parts below.
    kmers_bytes, positions_bytes, frequencies_bytes
        K-mers with the tables that count them, lists of occurrences, counts.
    vec_storage_bytes
        Capacity beyond what is used.
    overhead_bytes
        Sequence, masks, rows, buffers, headers.
    peak_bytes
        Bytes reserved at most at one time.
    pool_bytes
        Bytes of the buffers that the pools kept for the next batch.
    accounts
        Share and peak of every account.

    Examples
    --------
    >>> usage = MemoryUsageBreakdown(total_bytes=4096, kmers_bytes=1024, positions_bytes=2048,
    ...     frequencies_bytes=512, vec_storage_bytes=0, overhead_bytes=512, peak_bytes=4096)
    >>> usage.human_readable()
    'Total: 4.0 KB (K-mers: 1.0 KB, Positions: 2.0 KB, Frequencies: 512 B, Overhead: 512 B)'
    >>> usage.percentages()["positions"]
    50.0
    """

    total_bytes: int
    kmers_bytes: int
    positions_bytes: int
    frequencies_bytes: int
    vec_storage_bytes: int
    overhead_bytes: int
    peak_bytes: int
    pool_bytes: int = 0
    accounts: tuple[Mapping[str, Any], ...] = ()

    def percentages(self) -> dict[str, float]:
        """Give the share of each part in percent; they sum to 100."""
        parts = {
            "kmers": self.kmers_bytes,
            "positions": self.positions_bytes,
            "frequencies": self.frequencies_bytes,
            "vec_storage": self.vec_storage_bytes,
            "overhead": self.overhead_bytes,
        }
        whole = sum(parts.values())
        if not whole:
            return {**dict.fromkeys(parts, 0.0), "overhead": 100.0}
        return {name: 100 * size / whole for name, size in parts.items()}

    def human_readable(self) -> str:
        """Give the parts in one line."""
        parts = (
            ("K-mers", self.kmers_bytes),
            ("Positions", self.positions_bytes),
            ("Frequencies", self.frequencies_bytes),
            ("Overhead", self.overhead_bytes + self.vec_storage_bytes),
        )
        listed = ", ".join(f"{name}: {_size(size)}" for name, size in parts)
        return f"Total: {_size(self.total_bytes)} ({listed})"

    def memory_report(self) -> str:
        """Give current and peak use in one line."""
        return (
            f"Memory Usage - Current: {_size(self.total_bytes)}, "
            f"Peak: {_size(self.peak_bytes)}, Net Pool: {_size(self.pool_bytes)}"
        )


def _size(size: int) -> str:
    value = float(size)
    for unit in _UNITS[:-1]:
        if value < _KIB:
            return f"{size} B" if unit == "B" else f"{value:.1f} {unit}"
        value /= _KIB
    return f"{value:.1f} {_UNITS[-1]}"
