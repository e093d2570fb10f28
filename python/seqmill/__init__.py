"""Alignments and sequences to tables, fast and inside a memory budget."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from seqmill.alignments import convert, scan_alignments
    from seqmill.archive import Archive, ArchiveWriter
    from seqmill.coverage import CoverageTable, measure_coverage
    from seqmill.fetch import FastaStore
    from seqmill.repeats import find_repeats

__all__ = [
    "Archive",
    "ArchiveWriter",
    "CoverageTable",
    "FastaStore",
    "__version__",
    "convert",
    "find_repeats",
    "measure_coverage",
    "scan_alignments",
]

# Loaded when somebody asks: `seqmill --help` needs none of them.
_HOMES = {
    "Archive": "seqmill.archive",
    "ArchiveWriter": "seqmill.archive",
    "CoverageTable": "seqmill.coverage",
    "FastaStore": "seqmill.fetch",
    "convert": "seqmill.alignments",
    "find_repeats": "seqmill.repeats",
    "measure_coverage": "seqmill.coverage",
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
