"""Jobs on engines, for those that can be divided: nothing of an engine is loaded for the others.

The package :mod:`seqmill.engine` is a third of the start of a command.
"""

from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from seqmill.errors import InputError
from seqmill.limits import Limit

if TYPE_CHECKING:
    from collections.abc import Iterator

    from seqmill.engine.job import EngineJob
    from seqmill.report import JobReport

__all__ = ["is_on_engine", "open_job"]


def is_on_engine(engine: Any, scheduler: Any) -> bool:
    """Tell whether a job is divided into units.

    Examples
    --------
    >>> is_on_engine("local", None), is_on_engine(None, "local:2")
    (False, True)
    """
    return engine not in (None, "local") or scheduler is not None


@contextmanager
def open_job(
    engine: Any,
    scheduler: Any,
    *,
    report: "JobReport",
    state: Path | None,
    threads: Limit | None,
    memory: Limit | None,
    resume: bool,
    force: bool,
) -> "Iterator[EngineJob | None]":
    """Open the engine that is asked for; None stands for one native pipeline in this process.

    Parameters
    ----------
    engine, scheduler
        See :func:`seqmill.engine.registry.open_engine`.
    report
        The report of the job.
    state
        Folder of its state; None if it writes no file.
    threads, memory
        What a unit may use; None: what workers have.
    resume, force
        Go on with state that is there, or discard it.

    Raises
    ------
    InputError
        If there is no such engine, or the job writes no file.
    """
    if not is_on_engine(engine, scheduler):
        yield None
        return
    from seqmill.engine.job import EngineJob  # noqa: PLC0415 - see above
    from seqmill.engine.registry import open_engine  # noqa: PLC0415

    with ExitStack() as last, open_engine(engine, scheduler) as opened:
        if opened is None or state is None:
            message = "an engine reads and writes files, not standard input and output"
            raise InputError(message, option="engine")
        yield EngineJob(
            engine=opened,
            report=report,
            state=state,
            threads=None if threads is None else threads.value,
            memory=None if memory is None else memory.value,
            resume=resume,
            force=force,
            last=last,
        )
