"""Alignments and sequences to tables, fast and inside a memory budget."""

from typing import Any

__all__ = ["__version__"]


def __getattr__(name: str) -> Any:
    """Look up the version when somebody asks: reading package metadata is slow."""
    if name == "__version__":
        from importlib.metadata import version  # noqa: PLC0415

        return version("seqmill")
    message = f"module {__name__!r} has no attribute {name!r}"
    raise AttributeError(message)
