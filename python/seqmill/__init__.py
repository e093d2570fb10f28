"""Alignments and sequences to tables, fast and inside a memory budget."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from seqmill.alignments import convert, scan_alignments
    from seqmill.archive import Archive, ArchiveWriter
    from seqmill.coverage import CoverageTable, measure_coverage
    from seqmill.fetch import FastaStore
    from seqmill.kmers import KmerTable, count_kmers, merge_kmers
    from seqmill.repeats import find_repeats

__all__ = [
    "Archive",
    "ArchiveWriter",
    "CoverageTable",
    "FastaStore",
    "KmerTable",
    "__version__",
    "convert",
    "count_kmers",
    "find_repeats",
    "measure_coverage",
    "merge_kmers",
    "scan_alignments",
]

# Loaded when somebody asks: `seqmill --help` needs none of them.
_HOMES = {
    "Archive": "seqmill.archive",
    "ArchiveWriter": "seqmill.archive",
    "CoverageTable": "seqmill.coverage",
    "FastaStore": "seqmill.fetch",
    "KmerTable": "seqmill.kmers",
    "convert": "seqmill.alignments",
    "count_kmers": "seqmill.kmers",
    "find_repeats": "seqmill.repeats",
    "measure_coverage": "seqmill.coverage",
    "merge_kmers": "seqmill.kmers",
    "scan_alignments": "seqmill.alignments",
}


def __getattr__(name: str) -> Any:
    """Load a public name, or look up the version: reading package metadata is slow."""
    if name == "__version__":
        from importlib.metadata import version  # noqa: PLC0415

        return version("seqmill")
    if name in _HOMES:
        value = globals()[name] = getattr(import_module(_HOMES[name]), name)
        return value
    message = f"module {__name__!r} has no attribute {name!r}"
    raise AttributeError(message)


def __dir__() -> list[str]:
    """List the public names too."""
    return sorted({*globals(), *__all__})
