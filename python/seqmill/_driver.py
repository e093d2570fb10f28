"""Runs the engine for one output, or for many at a time inside one budget.

Outputs do not depend on threads and memory, so both are dealt out as they come free: the largest
inputs first, each with a share of the threads by its size, small ones with one thread.
"""

import copy
import json
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal

from seqmill import _native
from seqmill._footer import count_rows, is_made_of
from seqmill._host import Host
from seqmill._sums import sum_figures
from seqmill.errors import CancelledError, InputError, NotFoundError, SeqmillError
from seqmill.report import JobReport

__all__ = ["Driver", "FileResult", "Task", "state_directory"]

PHASE: Final = "convert"
_LEAST_SHARE: Final = 40 << 20
"""Budget without which one more job at a time would only make all of them slow."""
_THREAD_BYTES: Final = 1 << 20
_POLL_SECONDS: Final = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class FileResult:
    """What became of one output.

    Attributes
    ----------
    inputs
        The inputs that it was made of.
    output
        Its path; None where there is none.
    status
        ``"done"``, ``"skipped"`` (was finished already), ``"failed"`` or ``"not started"``.
    records, bytes, seconds
        Records in it, its size, and how long it took; None unless it is done.
    error
        What went wrong.
    """

    inputs: tuple[str, ...]
    output: str | None
    status: Literal["done", "skipped", "failed", "not started"]
    records: int | None = None
    bytes: int | None = None
    seconds: float | None = None
    error: BaseException | None = None

    def to_dict(self) -> dict[str, Any]:
        """Give the result as JSON values."""
        return {
            "inputs": list(self.inputs),
            "output": self.output,
            "status": self.status,
            "records": self.records,
            "bytes": self.bytes,
            "seconds": self.seconds,
            "error": None if self.error is None else f"{type(self.error).__name__}: {self.error}",
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """One output to make.

    Attributes
    ----------
    name
        How it is called in messages.
    options
        What the engine is asked to do, without threads and memory.
    drop_empty
        Whether an output without records is taken away again.
    """

    name: str
    options: dict[str, Any]
    drop_empty: bool = False

    @property
    def inputs(self) -> tuple[str, ...]:
        """Its inputs."""
        return tuple(self.options["inputs"])

    @property
    def output(self) -> str | None:
        """Path of the output."""
        return self.options.get("output")

    def size(self) -> int:
        """Count the bytes of its inputs, as far as the file system knows them."""
        total = 0
        for path in self.inputs:
            with suppress(OSError):
                total += Path(path).stat().st_size
        return total


def state_directory(output: str) -> Path:
    """Give the folder in which an interrupted job keeps what it needs to go on."""
    return Path(f"{output}.seqmill")


@dataclass(slots=True)
class _Running:
    task: Task
    threads: int
    latest: Mapping[str, Any] = field(default_factory=dict)


@dataclass(slots=True)
class Driver:
    """Runs tasks and puts what they measured into a report.

    Attributes
    ----------
    report
        The report of the whole job.
    threads, memory
        What all tasks together may use.
    at_once
        Most tasks at a time; None: enough to keep the threads busy.
    fail_fast
        Stop at the first task that fails.
    overview
        Gather the counts for the pictures.
    """

    report: JobReport
    threads: int
    memory: int
    at_once: int | None = None
    fail_fast: bool = False
    overview: bool = False
    warnings: list[str] = field(default_factory=list)
    _sums: dict[str, Any] = field(default_factory=dict)
    _cancelled: threading.Event = field(default_factory=threading.Event)

    def run(self, tasks: Sequence[Task]) -> list[FileResult]:
        """Run one task or several; a single one raises what goes wrong, see :meth:`run_all`."""
        try:
            return [self.run_alone(tasks[0])] if len(tasks) == 1 else self.run_all(tasks)
        except BaseException as error:
            self.warnings += getattr(error, "warnings", [])
            raise
        finally:
            for text in self.warnings:
                self.report.warn(text)

    def run_alone(self, task: Task) -> FileResult:
        """Run the only task on the calling thread; what goes wrong is raised."""

        def tell(raw: Mapping[str, Any]) -> bool:
            return self.report.feed({"phase": PHASE, **raw})

        options = self._with_resources(task.options, self.threads, self.memory)
        result = self._run(task, options, tell)
        self.report.detail.update(self._sums)
        return result

    def run_all(self, tasks: Sequence[Task]) -> list[FileResult]:
        """Run several tasks; gives a result for each, in their order.

        Raises
        ------
        InputError, NotFoundError
            If no task got anywhere because the options are wrong.
        CancelledError
            If the progress callback asked for it.
        """
        self.report.plan(len(tasks))
        results: dict[str, FileResult] = {}
        waiting = sorted(tasks, key=lambda task: (-task.size(), task.name))
        at_once = self._most_at_once(len(tasks))
        overhead = Host().status_bytes("VmRSS") or 0
        pool = max(1, self.memory - overhead - self.memory // 20)
        running: dict[Future[FileResult], _Running] = {}
        finished: list[_Running] = []
        try:
            with ThreadPoolExecutor(at_once, thread_name_prefix="seqmill-file") as executor:
                try:
                    while waiting or running:
                        while waiting and len(running) < at_once:
                            one = self._next(waiting, running, at_once)
                            share = pool * one.threads // self.threads
                            running[executor.submit(self._guarded, one, share)] = one
                        done, _ = wait(running, _POLL_SECONDS, FIRST_COMPLETED)
                        for future in done:
                            one = running.pop(future)
                            finished.append(one)
                            results[one.task.name] = self._settle(one.task, future)
                            if results[one.task.name].error is not None and self.fail_fast:
                                waiting.clear()
                                self._cancelled.set()
                        self._show([*finished, *running.values()], len(tasks))
                except BaseException:
                    self._cancelled.set()
                    raise
        finally:
            self.report.detail.update(self._sums)
        found = [results.get(task.name) or _not_started(task) for task in tasks]
        self.report.detail["files"] = [result.to_dict() for result in found]
        _raise_common_mistake(found, fail_fast=self.fail_fast)
        return found

    def _most_at_once(self, tasks: int) -> int:
        room = max(1, self.memory // _LEAST_SHARE - 1)
        wanted = self.at_once if self.at_once is not None else self.threads
        return max(1, min(wanted, self.threads, room, tasks))

    def _next(self, waiting: list[Task], running: Mapping[Any, _Running], at_once: int) -> _Running:
        """Take the largest task and give it threads by its part of what is left."""
        task = waiting[0]
        sizes = [max(1, one.size()) for one in waiting]
        free = self.threads - sum(one.threads for one in running.values())
        places = at_once - len(running) - 1
        # Every other place that can be taken now keeps at least one thread.
        most = max(1, free - min(places, len(waiting) - 1))
        threads = round(self.threads * sizes[0] / sum(sizes))
        del waiting[0]
        return _Running(task, min(most, max(1, threads)))

    def _guarded(self, one: _Running, share: int) -> FileResult:
        """Run a task on a thread of its own."""

        def tell(raw: Mapping[str, Any]) -> bool:
            one.latest = raw
            return not self._cancelled.is_set()

        # The engine takes off its budget what the process holds when the task begins; here that
        # is also what the other tasks hold, whose shares are not in this one.
        held = Host().status_bytes("VmRSS") or 0
        memory = (share + held + _THREAD_BYTES * one.threads) * 20 // 19 + 1
        options = self._with_resources(one.task.options, one.threads, memory)
        return self._run(one.task, options, tell)

    def _settle(self, task: Task, future: "Future[FileResult]") -> FileResult:
        try:
            result = future.result()
        except CancelledError as error:
            if not self._cancelled.is_set():
                raise
            return FileResult(
                inputs=task.inputs, output=task.output, status="not started", error=error
            )
        except (SeqmillError, OSError) as error:
            self.warnings += getattr(error, "warnings", [])
            self.report.fail_unit(task.name, error)
            return FileResult(inputs=task.inputs, output=task.output, status="failed", error=error)
        state = "skipped" if result.status == "skipped" else "run"
        self.report.count_unit(state, task.name, records=result.records)
        return result

    def _show(self, all_started: Sequence[_Running], files: int) -> None:
        def total(key: str) -> int:
            return sum(int(one.latest.get(key) or 0) for one in all_started)

        sample = {
            "phase": PHASE,
            "file_index": max(0, len(all_started) - 1),
            "files": files,
            "rss": Host().status_bytes("VmRSS"),
            **{key: total(key) for key in ("records", "input_bytes", "output_bytes")},
        }
        if not self.report.feed(sample):
            raise CancelledError("the progress callback asked to stop")

    def _run(
        self, task: Task, options: dict[str, Any], tell: Callable[[Mapping[str, Any]], bool]
    ) -> FileResult:
        started = time.monotonic()
        if _is_finished(options):
            tell({})
            return FileResult(
                inputs=task.inputs,
                output=task.output,
                status="skipped",
                records=count_rows(str(task.output)),
                bytes=_size_of(task.output),
            )
        if options.get("index_only"):
            (index,) = _native.make_chunk_index(json.dumps(options), tell)
            return FileResult(
                inputs=task.inputs,
                output=str(index),
                status="done",
                bytes=_size_of(str(index)),
                seconds=time.monotonic() - started,
            )
        document = json.loads(_native.convert(json.dumps(options), tell, self.overview))
        records, size = document["records"], document["bytes"]
        output = task.output
        if task.drop_empty and records == 0 and output is not None:
            Path(output).unlink()
            with suppress(OSError):
                Path(output).parent.rmdir()
            output = None
        self._add(document, output)
        return FileResult(
            inputs=task.inputs,
            output=output,
            status="done",
            records=records,
            bytes=size,
            seconds=time.monotonic() - started,
        )

    def _add(self, document: dict[str, Any], output: str | None) -> None:
        metrics = copy.copy(document["metrics"])
        metrics["memory"] = {k: v for k, v in metrics["memory"].items() if k != "limit"}
        metrics["detail"] = detail = dict(metrics["detail"])
        # Lists of counts add up place by place, which a report cannot know.
        overview, format_ = detail.pop("overview", None), detail.pop("format", None)
        if output is not None:
            sizes = {key: document[key] for key in ("bytes", "records")}
            metrics["outputs"] = [{"path": output, **sizes}]
        self.report.add_run(metrics)
        with _SUM_LOCK:
            self.warnings += [text for text in document["warnings"] if text not in self.warnings]
            for name, value in (("overview", overview), ("format", format_)):
                if value is not None:
                    self._sums[name] = sum_figures(self._sums.get(name), value)

    def _with_resources(
        self, options: Mapping[str, Any], threads: int, memory: int
    ) -> dict[str, Any]:
        resources = {**options.get("resources", {}), "threads": threads, "memory": memory}
        return {**options, "resources": resources}


_SUM_LOCK: Final = threading.Lock()


def _is_finished(options: Mapping[str, Any]) -> bool:
    """Tell whether `--resume` finds the output complete, made of these inputs and options."""
    output = options.get("output")
    if not options.get("resume") or output in (None, "-") or not Path(str(output)).exists():
        return False
    return is_made_of(str(output), options)


def _size_of(output: str | None) -> int | None:
    return None if output is None else Path(output).stat().st_size


def _not_started(task: Task) -> FileResult:
    return FileResult(inputs=task.inputs, output=task.output, status="not started")


def _raise_common_mistake(results: Sequence[FileResult], *, fail_fast: bool) -> None:
    """Raise what stopped the job: the first failure, or options that are wrong for every file."""
    errors = [result.error for result in results if result.status == "failed"]
    if fail_fast and errors and errors[0] is not None:
        raise errors[0]
    if len(errors) == len(results):
        for error in errors:
            if not isinstance(error, InputError | NotFoundError):
                return
        if errors and errors[0] is not None:
            raise errors[0]
