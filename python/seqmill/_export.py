"""Writers of the metrics file: one document, a stream of events, or Prometheus text."""

import json
import math
import os
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any, Final, Protocol

from seqmill.errors import InputError

__all__ = ["EventWriter", "Exporter", "open_exporter", "to_json"]

_JSON_INTEGER_MAX: Final = 2**53 - 1

# Prometheus name of a stage time, and the figure of the document that it holds.
_STAGE_STATES: Final = {
    "busy": "busy_s",
    "input": "wait_input_s",
    "output": "wait_output_s",
    "memory": "wait_memory_s",
}
_MEMORY_KINDS: Final = {
    "reserved_peak": "reserved_peak",
    "anon_peak": "anon_peak",
    "mapped_peak": "mapped_peak",
    "rss_peak": "rss_peak",
    "cgroup_peak": "cgroup_peak",
}


class Exporter(Protocol):
    """Takes the events of a job as they come and the document at its end."""

    def event(self, event: Mapping[str, Any]) -> None:
        """Take an event."""

    def finish(self, document: Mapping[str, Any]) -> None:
        """Take the final document and close."""


def to_json(value: Any, *, indent: int | None = None) -> str:
    """Write JSON with integers that every reader keeps: above 2^53-1 they are strings.

    Examples
    --------
    >>> to_json({"small": 1, "large": 2**60, "odd": float("nan")})
    '{"small": 1, "large": "1152921504606846976", "odd": null}'
    """
    return json.dumps(_plain(value), indent=indent, ensure_ascii=False, allow_nan=False)


def _plain(value: Any) -> Any:
    if value is None or isinstance(value, bool | str):
        return value
    if isinstance(value, int):
        return value if abs(value) <= _JSON_INTEGER_MAX else str(value)
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, Sequence | set | frozenset):
        return [_plain(item) for item in value]
    return str(value)


def open_exporter(path: str | os.PathLike[str]) -> Exporter:
    """Choose the writer for a metrics file by its suffix.

    Parameters
    ----------
    path
        A file ending in `.json`, `.jsonl` or `.prom`; `-` writes the document to stdout.

    Raises
    ------
    InputError
        If the suffix is another one.
    OSError
        If the folder does not exist or may not be written to.
    """
    if os.fspath(path) == "-":
        return _DocumentWriter(None)
    path = Path(path)
    makers: dict[str, Callable[[Path], Exporter]] = {
        ".json": _DocumentWriter,
        ".jsonl": _open_events,
        ".prom": _PrometheusWriter,
    }
    maker = makers.get(path.suffix)
    if maker is None:
        allowed = "a file ending in .json, .jsonl or .prom, or - for stdout"
        raise InputError(
            f"{str(path)!r} is not a metrics file; metrics takes {allowed}",
            option="metrics",
            value=str(path),
            allowed=allowed,
        )
    # A job of hours must not find out at its end that its figures have nowhere to go.
    with path.open("a", encoding="utf-8"):
        pass
    return maker(path)


def _open_events(path: Path) -> "EventWriter":
    return EventWriter(path.open("w", encoding="utf-8"), close=True)


class _DocumentWriter:
    """Writes the final document alone."""

    def __init__(self, path: Path | None) -> None:
        self._path = path

    def event(self, event: Mapping[str, Any]) -> None:
        """Leave events out."""

    def finish(self, document: Mapping[str, Any]) -> None:
        text = f"{to_json(document, indent=2)}\n"
        if self._path is None:
            sys.stdout.write(text)
        else:
            _replace(self._path, text)


class EventWriter:
    """Writes one event a line and flushes each.

    Parameters
    ----------
    stream
        Where to.
    close
        Whether the stream is closed at the end of the job.
    """

    def __init__(self, stream: IO[str], *, close: bool = False) -> None:
        self._stream = stream
        self._close = close

    def event(self, event: Mapping[str, Any]) -> None:
        """Write the event."""
        self._stream.write(f"{to_json(event)}\n")
        self._stream.flush()

    def finish(self, document: Mapping[str, Any]) -> None:  # noqa: ARG002 - `job_end` holds it
        """Close the stream if it is ours."""
        if self._close:
            self._stream.close()


class _PrometheusWriter:
    """Replaces a text file for the collector of a node at every sample."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._job: Mapping[str, Any] = {}

    def event(self, event: Mapping[str, Any]) -> None:
        if event["kind"] == "job_start":
            self._job = {"id": event["job"], **event["info"]}
        if event["kind"] in ("job_start", "sample"):
            totals = {
                "bytes_in": event.get("input_bytes"),
                "bytes_out": event.get("output_bytes"),
                "records_in": event.get("records"),
            }
            memory = {"rss": event.get("rss"), "limit": self._job.get("memory")}
            document = {"job": self._job, "totals": totals, "memory": memory}
            _replace(self._path, to_prometheus(document))

    def finish(self, document: Mapping[str, Any]) -> None:
        _replace(self._path, to_prometheus(document))


def to_prometheus(document: Mapping[str, Any]) -> str:
    """Write the figures of a document, whole or in part, in the Prometheus text format.

    Examples
    --------
    >>> print(to_prometheus({"totals": {"bytes_in": 7}}), end="")
    # HELP seqmill_bytes_read_total Bytes of input consumed.
    # TYPE seqmill_bytes_read_total counter
    seqmill_bytes_read_total 7
    """
    lines: list[str] = []
    for name, kind, text, samples in _families(document):
        known = [(labels, value) for labels, value in samples if value is not None]
        if known:
            lines += [f"# HELP {name} {text}", f"# TYPE {name} {kind}"]
            lines += [f"{name}{_labels(labels)} {value}" for labels, value in known]
    return "".join(f"{line}\n" for line in lines)


_Samples = list[tuple[dict[str, str], Any]]


def _families(document: Mapping[str, Any]) -> Iterator[tuple[str, str, str, _Samples]]:
    job, totals = document.get("job", {}), document.get("totals", {})
    memory, stages = document.get("memory", {}), document.get("stages", [])
    consumers = memory.get("consumers", [])
    yield (
        "seqmill_bytes_read_total",
        "counter",
        "Bytes of input consumed.",
        [({}, totals.get("bytes_in"))],
    )
    yield (
        "seqmill_bytes_written_total",
        "counter",
        "Bytes of output written.",
        [({}, totals.get("bytes_out"))],
    )
    yield (
        "seqmill_records_total",
        "counter",
        "Records by direction.",
        [({"direction": way}, totals.get(f"records_{way}")) for way in ("in", "out", "filtered")],
    )
    yield (
        "seqmill_units_total",
        "counter",
        "Units of work by state.",
        [
            ({"state": state}, totals.get(f"units_{state}"))
            for state in ("run", "skipped", "retried")
        ],
    )
    yield (
        "seqmill_stage_seconds_total",
        "counter",
        "Thread seconds of a stage by state.",
        [
            ({"stage": stage["name"], "state": state}, stage.get(figure))
            for stage in stages
            for state, figure in _STAGE_STATES.items()
        ],
    )
    kinds = {"rss": "rss", **_MEMORY_KINDS}
    yield (
        "seqmill_memory_bytes",
        "gauge",
        "Memory by kind.",
        [({"kind": kind}, memory.get(figure)) for kind, figure in kinds.items()],
    )
    yield (
        "seqmill_memory_limit_bytes",
        "gauge",
        "Memory budget of the job.",
        [({}, memory.get("limit"))],
    )
    spilled = [item["spilled_bytes"] for item in consumers if item.get("spilled_bytes") is not None]
    yield (
        "seqmill_spill_bytes_total",
        "counter",
        "Bytes spilled to disk.",
        [({}, sum(spilled) if spilled else None)],
    )
    info = {"job": job.get("id"), "command": job.get("command"), "version": job.get("version")}
    labels = {key: str(value) for key, value in info.items() if value is not None}
    yield "seqmill_job_info", "gauge", "The job.", [(labels, 1 if labels else None)]


def _labels(labels: Mapping[str, str]) -> str:
    def escape(value: str) -> str:
        return value.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')

    inner = ",".join(f'{key}="{escape(value)}"' for key, value in labels.items())
    return f"{{{inner}}}" if inner else ""


def _replace(path: Path, text: str) -> None:
    part = path.with_name(f".{path.name}.part")
    part.write_text(text, encoding="utf-8")
    part.replace(path)


class Guarded:
    """Keeps a job alive when its metrics cannot be written: one warning, then silence."""

    def __init__(self, exporter: Exporter) -> None:
        self._exporter: Exporter | None = exporter

    def event(self, event: Mapping[str, Any]) -> None:
        """Pass an event on."""
        self._call("event", event)

    def finish(self, document: Mapping[str, Any]) -> None:
        """Pass the document on."""
        self._call("finish", document)

    def _call(self, name: str, value: Mapping[str, Any]) -> None:
        if self._exporter is None:
            return
        try:
            getattr(self._exporter, name)(value)
        except OSError as error:
            self._exporter = None
            warnings.warn(f"metrics are not written any more: {error}", stacklevel=2)
