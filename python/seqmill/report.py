"""The report of a job: its events while it runs, its metrics document at the end.

The document's schema, `seqmill.metrics/1`, ships as `metrics.schema.json` beside this module. A
measurement that is missing is None, never 0.
"""

import copy
import json
import os
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from types import TracebackType
from typing import IO, Any, Final, Self

import seqmill
from seqmill._addresses import without_secrets
from seqmill._document import add_run, bottleneck, describe_input, empty_sections, rates
from seqmill._export import EventWriter, Exporter, Guarded, open_exporter
from seqmill._host import Host
from seqmill._usage import cgroup_peak, read_memory, read_usage
from seqmill.errors import CancelledError, exit_code
from seqmill.limits import Limit
from seqmill.progress import SAMPLE_SECONDS, Progress, ProgressArg, ProgressFeed, open_display

__all__ = ["SCHEMA", "JobReport", "Metrics", "command_line", "load_schema"]

SCHEMA: Final = "seqmill.metrics/1"

_MEMORY_SAMPLES_MAX: Final = 400

command_line: ContextVar[tuple[str, ...] | None] = ContextVar("command_line", default=None)
"""Arguments of the command that runs; None in a Python program."""


def load_schema() -> dict[str, Any]:
    """Load the JSON Schema of the metrics document.

    Examples
    --------
    >>> load_schema()["title"]
    'seqmill.metrics/1'
    """
    from importlib import resources  # noqa: PLC0415 - it loads much that a job does not need

    text = resources.files("seqmill").joinpath("metrics.schema.json").read_text(encoding="utf-8")
    schema: dict[str, Any] = json.loads(text)
    return schema


@dataclass(frozen=True, kw_only=True)
class Metrics:
    """Figures of a job that has ended, by section of the metrics document.

    Attributes
    ----------
    job
        Identity, versions, start and end, status, exit code.
    inputs, outputs
        One mapping for each file.
    options
        Options as they were resolved, threads and memory with their sources.
    totals
        Bytes, records, units, seconds, rates.
    stages
        Seconds of work and of waiting for each stage.
    memory, io, engine
        Memory by kind and by consumer, system calls and faults, where units ran.
    detail
        The command's own figures.
    """

    job: dict[str, Any]
    inputs: list[dict[str, Any]]
    outputs: list[dict[str, Any]]
    options: dict[str, Any]
    totals: dict[str, Any]
    stages: list[dict[str, Any]]
    memory: dict[str, Any]
    io: dict[str, Any]
    engine: dict[str, Any]
    detail: dict[str, Any]

    @property
    def warnings(self) -> list[str]:
        """Warnings of the job in the order in which they came."""
        return list(self.detail.get("warnings", []))

    def to_dict(self) -> dict[str, Any]:
        """Give the metrics document as a mapping of its own."""
        sections = {item.name: getattr(self, item.name) for item in fields(self)}
        return {"schema": SCHEMA, **copy.deepcopy(sections)}


class JobReport:
    """Records one job, also one that fails; use it as a context.

    Give `feed` to the engine, hand over what the engine returned with :meth:`add_run`, and read
    `metrics` after the end.

    Parameters
    ----------
    command
        Name of the command, such as ``"convert"``.
    options
        Options as they were resolved.
    inputs
        Paths of all inputs.
    threads, memory
        Resources and the sources that they come from.
    metrics
        Metrics file: `.json`, `.jsonl` or `.prom`.
    progress
        What to show, or whom to call, see :func:`seqmill.progress.open_display`.
    stream
        Where the display goes; by default stderr.

    Examples
    --------
    >>> with JobReport("convert") as report:
    ...     report.add_run({"totals": {"records_in": 5}})
    >>> report.metrics.totals["records_in"], report.metrics.job["status"]
    (5, 'ok')
    """

    def __init__(
        self,
        command: str,
        *,
        options: Mapping[str, Any] | None = None,
        inputs: Sequence[str | os.PathLike[str]] = (),
        threads: Limit | None = None,
        memory: Limit | None = None,
        metrics: str | os.PathLike[str] | None = None,
        progress: ProgressArg = False,
        stream: IO[str] | None = None,
    ) -> None:
        self._host = Host.current()
        self._id = os.urandom(6).hex()
        self._lock = threading.Lock()
        self._usage = read_usage(self._host)
        self._clock = time.monotonic()
        self._sections = empty_sections()
        self._sections["inputs"] = [describe_input(os.fspath(path)) for path in inputs]
        self._sections["options"] = dict(options or {})
        self._add_limits(threads, memory)
        self._sections["job"] |= self._identity(command)
        self._phase: str | None = None
        self._memory_interval = 0.0
        self._partial_failure = False
        self._metrics: Metrics | None = None
        self._exporters = _open_exporters(metrics, progress, stream)
        self._display = None if callable(progress) else open_display(progress, stream)
        listeners: list[Callable[[Progress], object]] = [self._sample]
        if callable(progress):
            listeners.append(progress)
        if self._display is not None:
            listeners.append(self._display.update)
        self.feed = ProgressFeed(
            listeners,
            files=[os.fspath(path) for path in inputs],
            input_total=_total_bytes(self._sections["inputs"]) if len(inputs) > 1 else None,
        )

    @property
    def metrics(self) -> Metrics:
        """Figures of the job; only after its end."""
        if self._metrics is None:
            message = "the job has not ended"
            raise RuntimeError(message)
        return self._metrics

    @property
    def detail(self) -> dict[str, Any]:
        """The command's own figures, to be filled in by the command."""
        detail: dict[str, Any] = self._sections["detail"]
        return detail

    def __enter__(self) -> Self:
        """Begin the job."""
        job, memory = self._sections["job"], self._sections["memory"]
        info = {key: job[key] for key in ("command", "version", "native_version", "argv")}
        self._emit("job_start", info={**info, "memory": memory["limit"]})
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """End the job: take the display away, then write the document."""
        try:
            if error is None:
                self.feed.finish()
        except BaseException as failure:
            error = failure
            raise
        finally:
            if self._display is not None:
                self._display.close()
            self._end(error)

    def plan(self, units: int) -> None:
        """Tell how many units the job has."""
        self._sections["totals"]["units_total"] = units
        self._emit("plan", units=units)

    def count_unit(self, state: str, name: str, **figures: Any) -> None:
        """Count a unit that came to its end: `state` is `run`, `skipped` or `retried`."""
        totals = self._sections["totals"]
        with self._lock:
            totals[f"units_{state}"] = (totals[f"units_{state}"] or 0) + 1
        kinds = {"run": "unit_done", "skipped": "unit_skipped", "retried": "unit_retry"}
        self._emit(kinds[state], unit=name, **figures)

    def fail_unit(self, name: str, error: BaseException) -> None:
        """Note an input that failed while the job goes on: the job ends with exit code 1."""
        self._partial_failure = True
        failure = {"input": name, "error": _error_text(error), "exit_code": exit_code(error)}
        self.detail.setdefault("failures", []).append(failure)
        self.warn(f"{name}: failed: {_error_text(error)}")

    def warn(self, text: str) -> None:
        """Note a warning."""
        self.detail.setdefault("warnings", []).append(text)
        self._emit("warning", text=text)

    def add_run(self, run: Mapping[str, Any]) -> None:
        """Add the figures of one run of the engine, as the engine gave them."""
        with self._lock:
            add_run(self._sections, run)

    def describe_engine(self, **figures: Any) -> None:
        """Say where the units run."""
        self._sections["engine"] |= figures

    def _sample(self, progress: Progress) -> None:
        self._watch_memory()
        if progress.rss is not None:
            self._keep_memory_sample(progress.rss)
        phase = self._phase
        if progress.phase != phase:
            self._phase = progress.phase
            if phase is not None:
                self._emit("stage_end", stage=phase)
            self._emit("stage_start", stage=progress.phase)
        values = asdict(progress)
        stage = values.pop("phase")
        self._emit("sample", stage=stage, **values)

    def _keep_memory_sample(self, rss: int) -> None:
        """Note resident memory over time; of a long job every other sample is kept, and so on."""
        samples: list[list[float]] = self.detail.setdefault("memory_samples", [])
        now = time.monotonic() - self._clock
        if samples and now - samples[-1][0] < self._memory_interval:
            return
        samples.append([round(now, 3), rss])
        if len(samples) > _MEMORY_SAMPLES_MAX:
            del samples[1::2]
            self._memory_interval = max(2 * self._memory_interval, SAMPLE_SECONDS)

    def _watch_memory(self) -> None:
        memory, now = self._sections["memory"], read_memory(self._host)
        for key, value in (
            ("rss_peak", now.rss_peak),
            ("anon_peak", now.anon),
            ("mapped_peak", now.mapped),
        ):
            if value is not None:
                memory[key] = max(value, memory[key] or 0)

    def _emit(self, kind: str, *, stage: str | None = None, **values: Any) -> None:
        if not self._exporters:
            return
        event = {
            "v": 1,
            "t": round(time.monotonic() - self._clock, 6),
            "ts": _now(),
            "job": self._id,
            "kind": kind,
            "host": os.uname().nodename,
            "pid": os.getpid(),
            "worker": None,
            "stage": stage,
            **values,
        }
        with self._lock:
            for exporter in self._exporters:
                exporter.event(event)

    def _end(self, error: BaseException | None) -> None:
        if self._phase is not None:
            self._emit("stage_end", stage=self._phase)
        job = self._sections["job"]
        job["ended"] = _now()
        job["status"] = _status(error, partial_failure=self._partial_failure)
        job["error"] = None if error is None else _error_text(error)
        job["exit_code"] = int(self._partial_failure) if error is None else exit_code(error)
        self._add_process_figures()
        self._metrics = Metrics(**self._sections)
        document = self._metrics.to_dict()
        self._emit("job_end", metrics=document)
        for exporter in self._exporters:
            exporter.finish(document)

    def _add_process_figures(self) -> None:
        # The process is measured as a whole and from here, so that a job that failed, or that
        # ran the engine several times, has the same figures as any other.
        self._watch_memory()
        used = asdict(read_usage(self._host).since(self._usage))
        totals, last = self._sections["totals"], self.feed.last
        totals["wall_s"] = time.monotonic() - self._clock
        for key in ("cpu_user_s", "cpu_sys_s"):
            totals[key] = used.pop(key)
        self._sections["io"] |= used
        self._sections["memory"]["cgroup_peak"] = cgroup_peak(self._host)
        if last is not None:
            for key, value in (
                ("bytes_in", last.input_bytes),
                ("bytes_out", last.output_bytes),
                ("records_in", last.records),
            ):
                if totals[key] is None:
                    totals[key] = value
        totals |= rates(totals)
        if self._sections["stages"]:
            self.detail["bottleneck"] = bottleneck(self._sections["stages"])

    def _add_limits(self, threads: Limit | None, memory: Limit | None) -> None:
        options = self._sections["options"]
        for name, limit in (("threads", threads), ("memory", memory)):
            if limit is not None:
                options |= {name: limit.value, f"{name}_source": limit.source}
        if memory is not None:
            self._sections["memory"] |= {"limit": memory.value, "limit_source": memory.source}

    def _identity(self, command: str) -> dict[str, Any]:
        argv = command_line.get()
        native_version, features = _native_facts()
        return {
            "id": self._id,
            "command": command,
            "argv": None if argv is None else [without_secrets(word) for word in argv],
            "version": native_version or seqmill.__version__,
            "native_version": native_version,
            "features": features,
            "started": _now(),
        }


def _open_exporters(
    metrics: str | os.PathLike[str] | None, progress: ProgressArg, stream: IO[str] | None
) -> list[Exporter]:
    exporters: list[Exporter] = []
    if metrics is not None:
        exporters.append(Guarded(open_exporter(metrics)))
    if progress == "json":
        exporters.append(EventWriter(stream if stream is not None else sys.stderr))
    return exporters


def _native_facts() -> tuple[str | None, list[str]]:
    try:
        from seqmill import _native  # noqa: PLC0415 - slow to load, and absent before a build
    except ImportError:
        return None, []
    return _native.version(), list(_native.features())


def _total_bytes(inputs: Sequence[Mapping[str, Any]]) -> int | None:
    sizes = [item["bytes"] for item in inputs]
    return None if None in sizes else sum(sizes)


def _status(error: BaseException | None, *, partial_failure: bool) -> str:
    if error is None:
        return "failed" if partial_failure else "ok"
    stopped = isinstance(error, CancelledError | KeyboardInterrupt | SystemExit)
    return "cancelled" if stopped else "failed"


def _error_text(error: BaseException) -> str:
    text = str(error)
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
