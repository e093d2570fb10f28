"""Runs the engine for one output, and hands what it measured to the report."""

import copy
import json
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from seqmill import _native
from seqmill._footer import count_rows, is_made_of
from seqmill._inputs import open_inputs
from seqmill._outputs import state_directory
from seqmill._sums import sum_figures
from seqmill._tasks import PHASE, FileResult, Task
from seqmill.report import JobReport

if TYPE_CHECKING:
    from seqmill.engine.job import EngineJob

__all__ = ["Driver", "is_finished"]


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

    def run(self, tasks: Sequence[Task]) -> list[FileResult]:
        """Run one task or several.

        A single one raises what goes wrong; of several, those that fail say so in their results.
        """
        try:
            if len(tasks) == 1:
                return [self.run_alone(tasks[0])]
            from seqmill._crew import Crew  # noqa: PLC0415 - one file needs no crew

            return Crew(self, tasks).run()
        except BaseException as error:
            self.warnings += getattr(error, "warnings", [])
            raise
        finally:
            self.report.detail.update(self._sums)
            for text in self.warnings:
                self.report.warn(text)

    def run_on_engine(self, job: "EngineJob", tasks: Sequence[Task]) -> list[FileResult]:
        """Run the tasks as units of an engine; like :meth:`run` otherwise."""
        from seqmill.engine.convert import convert_on_engine  # noqa: PLC0415 - seldom

        try:
            found = convert_on_engine(
                job, tasks, fail_fast=self.fail_fast, overview=self.overview, add=self.add
            )
        finally:
            self.report.detail.update(self._sums)
            for text in self.warnings:
                self.report.warn(text)
        if len(tasks) > 1:
            self.report.detail["files"] = [result.to_dict() for result in found]
        return found

    def run_alone(self, task: Task) -> FileResult:
        """Run the only task on the calling thread; what goes wrong is raised."""

        def tell(raw: Mapping[str, Any]) -> bool:
            return self.report.feed({"phase": PHASE, **raw})

        options = self.with_resources(task.options, self.threads, self.memory)
        return self.run_task(task, options, tell)

    def run_task(
        self, task: Task, options: dict[str, Any], tell: Callable[[Mapping[str, Any]], bool]
    ) -> FileResult:
        """Run a task on this thread; `tell` gets the engine's counters."""
        started = time.monotonic()
        if not task.is_retry and is_finished(options):
            tell({})
            _clear_state(str(task.output))
            return FileResult(
                inputs=task.inputs,
                output=task.output,
                status="skipped",
                records=count_rows(str(task.output)),
                bytes=_size_of(task.output),
            )
        if options.get("index_only"):
            with open_inputs(options) as (request, _):
                (index,) = _native.make_chunk_index(json.dumps(request), tell)
            return FileResult(
                inputs=task.inputs,
                output=str(index),
                status="done",
                bytes=_size_of(str(index)),
                seconds=time.monotonic() - started,
            )
        with open_inputs(options) as (request, remote):
            answer = _native.convert(json.dumps(request), tell, self.overview, remote)
        document = json.loads(answer)
        records, size = document["records"], document["bytes"]
        output = task.output
        if task.drop_empty and records == 0 and output is not None:
            Path(output).unlink()
            with suppress(OSError):
                Path(output).parent.rmdir()
            output = None
        self.add(document, output)
        return FileResult(
            inputs=task.inputs,
            output=output,
            status="done",
            records=records,
            bytes=size,
            seconds=time.monotonic() - started,
        )

    def add(self, document: dict[str, Any], output: str | None) -> None:
        """Add what a run of the native pipeline measured to the report."""
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

    @staticmethod
    def with_resources(options: Mapping[str, Any], threads: int, memory: int) -> dict[str, Any]:
        """Add threads and memory to what the engine is asked to do."""
        resources = {**options.get("resources", {}), "threads": threads, "memory": memory}
        return {**options, "resources": resources}


_SUM_LOCK: Final = threading.Lock()


def is_finished(options: Mapping[str, Any]) -> bool:
    """Tell whether `--resume` finds the output complete, made of these inputs and options."""
    output = options.get("output")
    if not options.get("resume") or output in (None, "-") or not Path(str(output)).exists():
        return False
    return is_made_of(str(output), options)


def _clear_state(output: str) -> None:
    """Remove the state of a run that was killed after it had published its output."""
    state = state_directory(output)
    if state.is_dir() and not (state / "data.partial").exists():
        from shutil import rmtree  # noqa: PLC0415 - seldom

        rmtree(state)


def _size_of(output: str | None) -> int | None:
    return None if output is None else Path(output).stat().st_size
