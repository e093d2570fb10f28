"""`seqmill info`: versions, CPU features, usable threads and memory."""

import json
import platform
from importlib import metadata
from typing import Any, Final

import click

from seqmill._units import format_size
from seqmill.cli._options import (
    Example,
    JobCommand,
    Session,
    color_option,
    grouped_option,
    pass_session,
)
from seqmill.limits import Limit, choose_memory, choose_threads

__all__ = ["command"]

# Distribution names; the extra that brings each is in pyproject.toml.
_PACKAGES: Final = (
    "click",
    "numpy",
    "rich",
    "pyarrow",
    "polars",
    "pandas",
    "duckdb",
    "jinja2",
    "matplotlib",
    "dask",
    "obstore",
)


@click.command(
    "info",
    cls=JobCommand,
    short_help="Tell versions, CPU features and usable resources.",
    examples=[
        Example("what a bug report should hold", "seqmill info"),
        Example("the same for programs", "seqmill info --json"),
        Example("what a job may use here", "seqmill info | grep usable"),
    ],
)
@grouped_option("output", "--json", "as_json", is_flag=True, help="Write JSON instead of a table.")
@color_option
@pass_session
def command(session: Session, *, as_json: bool) -> None:
    """Tell versions, CPU features, usable threads and memory, and which source won."""
    facts = gather_facts()
    if as_json:
        click.echo(json.dumps(facts, indent=2))
        return
    from seqmill.cli._render import print_table  # noqa: PLC0415 - brings rich

    print_table(("", ""), _rows(facts), choice=session.color)


def gather_facts() -> dict[str, Any]:
    """Gather everything that `seqmill info` tells."""
    return {
        "version": metadata.version("seqmill"),
        "native": _native_facts(),
        "python": platform.python_version(),
        "implementation": platform.python_implementation(),
        "platform": platform.platform(),
        "machine": platform.machine(),
        "threads": _limit(choose_threads()),
        "memory": _limit(choose_memory()),
        "packages": {name: _version(name) for name in _PACKAGES},
    }


def _native_facts() -> dict[str, Any] | None:
    try:
        from seqmill import _native  # noqa: PLC0415 - its absence is one of the facts
    except ImportError:
        return None
    return {
        "version": _native.version(),
        "features": list(_native.features()),
        "debug_build": _native.debug_build(),
    }


def _limit(limit: Limit) -> dict[str, Any]:
    return {"value": limit.value, "source": limit.source}


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _rows(facts: dict[str, Any]) -> list[tuple[str, str]]:
    native = facts["native"]
    engine = "not built: run `make build`" if native is None else native["version"]
    if native is not None and native["debug_build"]:
        engine += " (debug build: slow)"
    features = [] if native is None else native["features"]
    threads, memory = facts["threads"], facts["memory"]
    return [
        ("seqmill", facts["version"]),
        ("engine", engine),
        ("CPU features in use", " ".join(features) or "none"),
        ("Python", f"{facts['python']} ({facts['implementation']})"),
        ("platform", facts["platform"]),
        ("usable threads", f"{threads['value']} ({threads['source']})"),
        ("usable memory", f"{format_size(memory['value'])} ({memory['source']})"),
        *((name, version or "not installed") for name, version in facts["packages"].items()),
    ]
