"""Runs many tasks at a time inside one budget.

Outputs do not depend on threads and memory, so both are dealt out as they come free: the largest
inputs first, each with a share of the threads by its size, small ones with one thread.
"""

import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final

from seqmill._host import Host
from seqmill._tasks import PHASE, FileResult, Task, raise_common_mistake
from seqmill.errors import BudgetError, CancelledError, SeqmillError

if TYPE_CHECKING:
    from seqmill._driver import Driver

__all__ = ["Crew"]

_LEAST_SHARE: Final = 40 << 20
"""Budget without which one more task at a time would only make all of them slow."""
_THREAD_BYTES: Final = 1 << 20
_POLL_SECONDS: Final = 0.1


@dataclass(slots=True)
class _Running:
    task: Task
    threads: int
    latest: Mapping[str, Any] = field(default_factory=dict)


class Crew:
    """Shares the threads and the memory of a driver among its tasks.

    Parameters
    ----------
    driver
        Runs a task, and has the limits.
    tasks
        What is to be done.
    """

    def __init__(self, driver: "Driver", tasks: Sequence[Task]) -> None:
        self._driver = driver
        self._tasks = tasks
        self._waiting = sorted(tasks, key=lambda task: (-task.size(), task.name))
        self._running: dict[Future[FileResult], _Running] = {}
        self._finished: list[_Running] = []
        self._too_large: list[Task] = []
        self._results: dict[str, FileResult] = {}
        self._cancelled = threading.Event()
        held = Host().status_bytes("VmRSS") or 0
        self._pool = max(1, driver.memory - held - driver.memory // 20)
        self._at_once = self._most_at_once()

    def run(self) -> list[FileResult]:
        """Run all tasks; gives a result for each, in their order.

        Raises
        ------
        InputError, NotFoundError
            If no task got anywhere because the options are wrong.
        CancelledError
            If the progress callback asked for it.
        """
        self._driver.report.plan(len(self._tasks))
        with ThreadPoolExecutor(self._at_once, thread_name_prefix="seqmill-file") as executor:
            try:
                while self._waiting or self._running:
                    self._start(executor)
                    self._collect()
                    self._show()
                self._run_alone(executor)
            except BaseException:
                self._cancelled.set()
                raise
        found = [self._results.get(task.name) or _not_started(task) for task in self._tasks]
        self._driver.report.detail["files"] = [result.to_dict() for result in found]
        raise_common_mistake(found, fail_fast=self._driver.fail_fast)
        return found

    def _most_at_once(self) -> int:
        driver = self._driver
        room = max(1, driver.memory // _LEAST_SHARE - 1)
        wanted = driver.at_once if driver.at_once is not None else driver.threads
        return max(1, min(wanted, driver.threads, room, len(self._tasks)))

    def _start(self, executor: ThreadPoolExecutor) -> None:
        while self._waiting and len(self._running) < self._at_once:
            one = self._next()
            share = self._pool * one.threads // self._driver.threads
            self._running[executor.submit(self._work, one, share)] = one

    def _next(self) -> _Running:
        """Take the largest task and give it threads by its part of what is left."""
        sizes = [max(1, task.size()) for task in self._waiting]
        task = self._waiting.pop(0)
        free = self._driver.threads - sum(one.threads for one in self._running.values())
        places = self._at_once - len(self._running) - 1
        # Every other place that can be taken now keeps at least one thread.
        most = max(1, free - min(places, len(self._waiting)))
        wanted = round(self._driver.threads * sizes[0] / sum(sizes))
        return _Running(task, min(most, max(1, wanted)))

    def _work(self, one: _Running, share: int) -> FileResult:
        """Run a task on a thread of the executor."""

        def tell(raw: Mapping[str, Any]) -> bool:
            one.latest = raw
            return not self._cancelled.is_set()

        # The engine takes off its budget what the process holds when the task begins; here that
        # is also what the other tasks hold, whose shares are not in this one.
        held = Host().status_bytes("VmRSS") or 0
        memory = (share + held + _THREAD_BYTES * one.threads) * 20 // 19 + 1
        options = self._driver.with_resources(one.task.options, one.threads, memory)
        return self._driver.run_task(one.task, options, tell)

    def _collect(self) -> None:
        done, _ = wait(self._running, _POLL_SECONDS, FIRST_COMPLETED)
        for future in done:
            one = self._running.pop(future)
            self._finished.append(one)
            if isinstance(future.exception(), BudgetError) and len(self._tasks) > 1:
                one.latest = {}
                self._too_large.append(one.task)
                continue
            result = self._results[one.task.name] = self._settle(one.task, future)
            if result.status == "failed" and self._driver.fail_fast:
                self._waiting.clear()
                self._too_large.clear()
                self._cancelled.set()

    def _run_alone(self, executor: ThreadPoolExecutor) -> None:
        """Run the tasks whose share was too small for a record; alone each may have everything."""
        for task in self._too_large:
            again = replace(task, options={**task.options, "resume": True}, is_retry=True)
            one = _Running(again, self._driver.threads)
            self._driver.report.count_unit("retried", task.name)
            self._finished.append(one)
            future = executor.submit(self._work, one, self._pool)
            while not wait([future], _POLL_SECONDS).done:
                self._show()
            self._results[task.name] = self._settle(task, future)

    def _settle(self, task: Task, future: "Future[FileResult]") -> FileResult:
        report = self._driver.report
        try:
            result = future.result()
        except CancelledError:
            if not self._cancelled.is_set():
                raise
            return _not_started(task)
        except (SeqmillError, OSError) as error:
            self._driver.warnings += getattr(error, "warnings", [])
            report.fail_unit(task.name, error)
            return FileResult(inputs=task.inputs, output=task.output, status="failed", error=error)
        state = "skipped" if result.status == "skipped" else "run"
        report.count_unit(state, task.name, records=result.records)
        return result

    def _show(self) -> None:
        started = [*self._finished, *self._running.values()]

        def total(key: str) -> int:
            return sum(int(one.latest.get(key) or 0) for one in started)

        sample = {
            "phase": PHASE,
            "file_index": max(0, len(started) - 1),
            "files": len(self._tasks),
            "rss": Host().status_bytes("VmRSS"),
            **{key: total(key) for key in ("records", "input_bytes", "output_bytes")},
        }
        if not self._driver.report.feed(sample):
            raise CancelledError("the progress callback asked to stop")


def _not_started(task: Task) -> FileResult:
    return FileResult(inputs=task.inputs, output=task.output, status="not started")
