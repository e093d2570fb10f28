"""Running the units of a stage: windows, retries, what counts as failed (`workflow.md` D.4)."""

import os
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from seqmill import _native
from seqmill.engine.failures import describe_error, rebuild_error, same_failure
from seqmill.engine.journal import Journal
from seqmill.engine.protocol import Engine, EngineInfo, Handle, Unit, UnitResult
from seqmill.errors import CancelledError, EngineError
from seqmill.report import JobReport

__all__ = ["BACKOFF_SECONDS", "Outcome", "Stage", "check_engine", "unit_resources"]

BACKOFF_SECONDS: Final = (1.0, 4.0, 16.0)
"""Pauses before a unit that failed for a passing reason is tried again."""

_FAILURES_MAX: Final = 3
"""A unit that failed so often by what does not pass has no chance, however its messages differ."""
_WINDOW: Final = 4
_POLL_SECONDS: Final = 1.0
"""How long nothing may end before units that wait for their next attempt are looked at."""
_TOTALS: Final = {"records": "records", "input_bytes": "input_bytes", "output_bytes": "bytes"}
_WORKER_SHARE: Final = 0.6

Repair = Callable[[Sequence[str]], None]


@dataclass(slots=True)
class Outcome:
    """What became of the units of a stage, by their keys."""

    results: dict[str, UnitResult] = field(default_factory=dict)
    failures: dict[str, BaseException] = field(default_factory=dict)
    skipped: set[str] = field(default_factory=set)


@dataclass(slots=True)
class _Attempts:
    unit: Unit
    failures: list[Mapping[str, Any]] = field(default_factory=list)
    repairs: int = 0
    not_before: float = 0.0
    begun: int = 0
    """How many repairs of parts there had been when it was submitted."""

    @property
    def passing(self) -> int:
        return sum(bool(failure.get("transient")) for failure in self.failures)

    def is_hopeless(self, told: Mapping[str, Any]) -> bool:
        """Tell whether one more failure, which does not pass, is one too many."""
        lasting = len(self.failures) - self.passing + 1
        again = any(same_failure(told, earlier) for earlier in self.failures)
        return again or lasting >= _FAILURES_MAX


class Stage:
    """Runs units on an engine and records them in a journal.

    Parameters
    ----------
    engine
        Where they run.
    journal
        Where those that are done are recorded; only the client writes it.
    report
        Counts units, and is told of progress.
    name
        Name of the stage in the display.
    keep_going
        A unit that fails is noted and the rest go on; otherwise it ends the job.
    repair
        Called with the names of parts that a unit found damaged; makes them anew.
    """

    def __init__(
        self,
        engine: Engine,
        journal: Journal,
        report: JobReport,
        name: str,
        *,
        keep_going: bool = False,
        repair: Repair | None = None,
    ) -> None:
        self._engine, self._journal, self._report = engine, journal, report
        self._name, self._keep_going, self._repair = name, keep_going, repair
        self._active: dict[int, tuple[Handle, _Attempts]] = {}
        self._waiting: deque[_Attempts] = deque()
        self._repairs = 0
        self._repaired: dict[str, int] = {}
        self._units = 0
        self._outcome = Outcome()
        self._totals = dict.fromkeys(_TOTALS, 0)

    def run(
        self, units: Sequence[Unit], *, final_paths: Mapping[str, Path] | None = None
    ) -> Outcome:
        """Run the units that are not done already.

        Parameters
        ----------
        units
            The units, in an order that is a function of the job alone.
        final_paths
            By key: where a part lies if it was given its final name already.
        """
        self._units = len(units)
        for unit in units:
            known = self._journal.verified(unit, elsewhere=(final_paths or {}).get(unit.key))
            if known is None:
                self._waiting.append(_Attempts(unit))
                continue
            self._add(unit.key, known)
            self._outcome.skipped.add(unit.key)
            self._report.count_unit("skipped", unit.description)
        self._tell()
        try:
            while self._waiting or self._active:
                self._submit()
                self._collect()
                self._tell()
        except BaseException:
            self._engine.cancel([handle for handle, _ in self._active.values()])
            raise
        return self._outcome

    def _submit(self) -> None:
        room = _WINDOW * max(1, self._engine.parallelism) - len(self._active)
        now = time.monotonic()
        for _ in range(len(self._waiting)):
            if room <= 0:
                break
            one = self._waiting.popleft()
            if one.not_before > now:
                self._waiting.append(one)
                continue
            one.begun = self._repairs
            handle = self._engine.submit(replace(one.unit, attempt=len(one.failures)))
            self._active[id(handle)] = (handle, one)
            room -= 1

    def _collect(self) -> None:
        if not self._active:
            time.sleep(_POLL_SECONDS)
            return
        handles = [handle for handle, _ in self._active.values()]
        for handle in self._engine.as_completed(handles, _POLL_SECONDS):
            _, one = self._active.pop(id(handle))
            try:
                result = handle.result()
            except EngineError as error:
                result = UnitResult(key=one.unit.key, error=describe_error(error))
            if result.error is None:
                self._settle(one, result)
            else:
                self._fail(one, result)
            break

    def _settle(self, one: _Attempts, result: UnitResult) -> None:
        known = self._outcome.results.get(one.unit.key)
        if known is None:
            self._journal.record(one.unit, result)
            self._add(one.unit.key, result)
            self._report.count_unit("run", one.unit.description, worker=result.worker)

    def _mend(self, one: _Attempts, names: Sequence[str]) -> bool:
        """Have bad parts made anew; False if that was done often enough.

        What was made anew since the attempt began is not what it found bad or missing: others had
        found the same. To make it once more would only take it away from those that read it.
        """
        bad = [name for name in names if self._repaired.get(name, 0) <= one.begun]
        if not bad:
            return True
        if self._repair is None or one.repairs >= len(BACKOFF_SECONDS):
            return False
        one.repairs += 1
        self._repair(bad)
        self._repairs += 1
        self._repaired |= dict.fromkeys(bad, self._repairs)
        return True

    def _fail(self, one: _Attempts, result: UnitResult) -> None:
        """Try again, or give the unit up: the same error twice is no accident."""
        told = dict(result.error or {})
        if told.get("bad_parts") and self._mend(one, [str(name) for name in told["bad_parts"]]):
            self._again(one, told, 0.0)
            return
        if told.get("transient"):
            passed = one.passing
            if passed < len(BACKOFF_SECONDS):
                one.failures.append(told)
                self._again(one, told, BACKOFF_SECONDS[passed])
                return
        elif told.get("class") != "EngineError" and not one.is_hopeless(told):
            one.failures.append(told)
            self._again(one, told, 0.0)
            return
        error = rebuild_error(told)
        error.add_note(f"in unit {one.unit.description!r} on worker {result.worker}")
        if not self._keep_going or isinstance(error, EngineError):
            raise error
        self._outcome.failures[one.unit.key] = error

    def _again(self, one: _Attempts, told: Mapping[str, Any], pause: float) -> None:
        one.not_before = time.monotonic() + pause
        self._report.count_unit("retried", one.unit.description, error=str(told.get("message")))
        self._waiting.append(one)

    def _tell(self) -> None:
        done = len(self._outcome.results) + len(self._outcome.failures)
        sample = {
            "phase": self._name,
            "file_index": max(0, min(done, self._units - 1)),
            "files": self._units,
            **self._totals,
        }
        if not self._report.feed(sample):
            raise CancelledError("the progress callback asked to stop")

    def _add(self, key: str, result: UnitResult) -> None:
        self._outcome.results[key] = result
        for name, total in _TOTALS.items():
            self._totals[name] += int(result.stats.get(total) or 0)


def check_engine(engine: Engine, journal: Journal) -> EngineInfo:
    """Ask every worker for its version, and whether it sees what the client writes.

    Raises
    ------
    EngineError
        If a worker has another version, or does not read a fresh file of the client.
    """
    token = os.urandom(16).hex()
    probe = (journal.state / f"probe-{token[:8]}").absolute()
    probe.write_text(token, encoding="utf-8")
    try:
        info = engine.info(str(probe), token)
    finally:
        probe.unlink(missing_ok=True)
    if not info.workers:
        message = f"{info.name} at {info.address} has no workers"
        raise EngineError(message, transient=True)
    for worker in info.workers:
        if worker.version != _native.version():
            message = (
                f"worker {worker.address} has seqmill {worker.version}, the client "
                f"{_native.version()}; install the same version everywhere"
            )
            raise EngineError(message, worker=worker.address)
        if not worker.sees_probe:
            message = (
                f"worker {worker.address} does not see {probe.parent}; client and workers need "
                "storage that they share, under the same path"
            )
            raise EngineError(message, worker=worker.address)
    return info


def unit_resources(info: EngineInfo, threads: int | None, memory: int | None) -> dict[str, Any]:
    """Settle what every unit may use: what was asked for, within what the least worker has.

    Dask spills at 0.60 of a worker's limit, pauses at 0.80 and kills at 0.95; units stay below.
    """
    shares = [
        int(worker.memory * _WORKER_SHARE) // max(1, worker.threads)
        for worker in info.workers
        if worker.memory
    ]
    known = [*shares, *([] if memory is None else [memory])]
    return {"threads": threads or 1, "memory": min(known) if known else None}
