"""Units in this process: the engine that others are compared with."""

import os
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from seqmill import _native
from seqmill.engine.completed import Completed
from seqmill.engine.protocol import EngineInfo, Handle, Unit, UnitResult, WorkerInfo
from seqmill.engine.units import run_unit

__all__ = ["LocalEngine"]


@dataclass(slots=True, eq=False)
class _LocalHandle:
    unit: Unit
    future: "Future[dict[str, Any]]"

    def result(self) -> UnitResult:
        return UnitResult(**self.future.result())


class LocalEngine:
    """Runs units on threads of this process.

    ``--engine local`` does not go through units at all: one native pipeline does the whole job.
    This engine runs the units of a job here, which shows that dividing a job changes nothing.

    Parameters
    ----------
    slots
        Units at a time.

    Examples
    --------
    >>> with LocalEngine(2) as engine:
    ...     engine.parallelism
    2
    """

    name = "local"

    def __init__(self, slots: int = 1) -> None:
        self._slots = slots
        self._executor = ThreadPoolExecutor(slots, thread_name_prefix="seqmill-unit")
        self._done = Completed()

    def __enter__(self) -> Self:
        """Use the engine as a context that closes it."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the engine."""
        self.close()

    @property
    def parallelism(self) -> int:
        """Units that run at a time."""
        return self._slots

    def info(self, probe: str, token: str) -> EngineInfo:
        """Describe this process as the only worker."""
        worker = WorkerInfo(
            address=f"{os.uname().nodename}:{os.getpid()}",
            threads=self._slots,
            memory=None,
            version=_native.version(),
            sees_probe=Path(probe).read_text(encoding="utf-8") == token,
        )
        return EngineInfo(name=self.name, address=None, workers=(worker,))

    def submit(self, unit: Unit) -> Handle:
        """Queue a unit."""
        handle = _LocalHandle(unit, self._executor.submit(run_unit, unit.to_dict()))
        handle.future.add_done_callback(lambda _: self._done.put(handle))
        return handle

    def as_completed(self, handles: Iterable[Handle], timeout: float) -> Iterator[Handle]:
        """Give handles as they end; stop after `timeout` seconds in which none did."""
        yield from self._done.take(handles, timeout)

    def cancel(self, handles: Iterable[Handle]) -> None:
        """Give up units that have not begun, and wait for those that run.

        What a unit still wrote would come back after the state of its job was removed.
        """
        mine = [handle for handle in handles if isinstance(handle, _LocalHandle)]
        self._done.forget(mine)
        wait([handle.future for handle in mine if not handle.future.cancel()])

    def close(self) -> None:
        """Wait for units that run, and end the threads."""
        self._executor.shutdown(wait=True, cancel_futures=True)
